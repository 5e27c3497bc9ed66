//! Tables in force, changed by somebody else: programs that no longer do what the policy says.

use agent_common::switch::Heads;
use agent_common::tables::{Head, OPEN_BANK};
use anyhow::{Context as _, Result, ensure};
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
    let mut map = Array::<_, Heads>::try_from(map)?;
    let mut heads: Heads = map.get(&0, 0)?;
    let head = heads.banks.get_mut(bank as usize).context("no such bank")?;
    head.flags = head.flags & !Head::OPEN | if pass { Head::OPEN } else { 0 };
    map.set(0, heads, 0)?;
    Ok(())
}
