//! The least that an XDP program can be: it gives one verdict and looks at nothing; and the least that a filter can be.

use std::os::fd::OwnedFd;

use anyhow::{Context as _, Result, ensure};
use nix::net::if_::if_nametoindex;

use crate::bpf::{BPF_F_XDP_HAS_FRAGS, Ran, attach, instruction, load, run};
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

/// The least that a filter can be: it checks that there are Ethernet, IPv4 and TCP without options, looks at the port, and drops.
#[derive(Debug)]
pub struct Floor {
    program: OwnedFd,
}

impl Floor {
    /// Loads it.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn new() -> Result<Self> {
        let word = |word: u16| i32::from(word.to_be());
        let program = [
            instruction(0x61, 2, 1, 4, 0),            // r2 = context.data_end
            instruction(0x61, 7, 1, 0, 0),            // r7 = context.data
            instruction(0xbf, 3, 7, 0, 0),            // r3 = r7
            instruction(0x07, 3, 0, 0, 54),           // r3 += all headers
            instruction(0x2d, 3, 2, 10, 0),           // beyond the frame: pass
            instruction(0x69, 0, 7, 12, 0),           // EtherType
            instruction(0x55, 0, 0, 8, word(0x0800)), // not IPv4: pass
            instruction(0x71, 0, 7, 14, 0),           // version and header length
            instruction(0x55, 0, 0, 6, 0x45),         // options: pass
            instruction(0x71, 0, 7, 23, 0),           // protocol
            instruction(0x55, 0, 0, 4, 6),            // not TCP: pass
            instruction(0x69, 0, 7, 36, 0),           // destination port
            instruction(0x15, 0, 0, 2, word(9)),      // discard: pass
            instruction(0xb7, 0, 0, 0, DROP),
            instruction(0x95, 0, 0, 0, 0),
            instruction(0xb7, 0, 0, 0, PASS),
            instruction(0x95, 0, 0, 0, 0),
        ];
        let program = load(&program, BPF_F_XDP_HAS_FRAGS).context("load the least filter")?;
        Ok(Self { program })
    }

    /// Mean nanoseconds of a frame, which it must drop.
    ///
    /// # Errors
    /// What the kernel says, and where it gives another verdict.
    pub fn time(&self, frame: &[u8], repeat: u32) -> Result<f64> {
        let Ran {
            returned,
            nanoseconds,
        } = run(&self.program, frame, repeat)?;
        ensure!(returned == DROP as u32, "the least filter gave {returned}");
        Ok(f64::from(nanoseconds))
    }
}
