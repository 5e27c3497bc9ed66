//! Tables in force, changed by somebody else: programs that no longer do what the policy says.

use std::mem::{offset_of, size_of};

use agent_common::tables::{Head, OPEN_BANK};
use anyhow::{Result, ensure};
use aya::maps::{Array, Map, MapData};
use portcullis::dataplane::Pinned;

/// Says in the head of the bank in force that it lets everything pass, or takes that back.
///
/// # Errors
/// What the kernel says of the map.
pub fn let_everything_pass(pinned: &Pinned, pass: bool) -> Result<()> {
    let bank = pinned.switch()?.active();
    ensure!(bank != OPEN_BANK, "it does so anyway");
    let load = pinned.load().to_string();
    let path = pinned.directory().join("tables").join(load).join("HEADS");
    let map = Map::from_map_data(MapData::from_pin(path)?)?;
    let mut heads = Array::<_, [u8; size_of::<Head>()]>::try_from(map)?;
    let mut head = heads.get(&bank, 0)?;
    let at = offset_of!(Head, flags);
    let mut flags = [0; 4];
    flags.copy_from_slice(&head[at..at + 4]);
    let flags = u32::from_ne_bytes(flags) & !Head::OPEN | if pass { Head::OPEN } else { 0 };
    head[at..at + 4].copy_from_slice(&flags.to_ne_bytes());
    heads.set(bank, head, 0)?;
    Ok(())
}
