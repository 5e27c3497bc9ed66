//! The least that an XDP program can be: it gives one verdict and looks at nothing.

use std::os::fd::OwnedFd;

use anyhow::{Context as _, Result};
use nix::net::if_::if_nametoindex;

use crate::bpf::{BPF_F_XDP_HAS_FRAGS, attach, instruction, load};
use crate::netns::Namespace;

/// XDP_DROP of include/uapi/linux/bpf.h.
pub const DROP: i32 = 1;
/// XDP_PASS.
pub const PASS: i32 = 2;

/// Such a program on an interface; it goes with this value.
#[derive(Debug)]
pub struct Bare {
    _link: OwnedFd,
}

impl Bare {
    /// Attaches it in the driver. It takes frames in several buffers, as ours does: drivers do less for one that does not.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn attach(host: &Namespace, interface: &str, verdict: i32) -> Result<Self> {
        let program = [
            instruction(0xb7, 0, 0, 0, verdict),
            instruction(0x95, 0, 0, 0, 0),
        ];
        let program = load(&program, BPF_F_XDP_HAS_FRAGS).context("load a bare program")?;
        let link = host.enter(|| {
            let index = if_nametoindex(interface)?;
            attach(&program, index)
        })?;
        let link = link.with_context(|| format!("attach a bare program to {interface}"))?;
        Ok(Self { _link: link })
    }
}
