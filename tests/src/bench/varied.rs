//! Test runs of packets that differ: one that is the same each time finds every table hot, and no flood is so kind.
//!
//! A test run gives its program the same frame again and again, as the program left it. So a small program goes first, writes another source
//! or another port into the frame, and jumps into the program that is measured. Its few instructions are part of the time.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use anyhow::{Context as _, Result};

use crate::bpf::{
    BPF_F_XDP_HAS_FRAGS, Instruction, Programs, Ran, TAIL_CALL, instruction, load, run,
};

/// What differs from one packet to the next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Vary {
    /// The source: any of 11.0.0.0/8, in an order without a pattern.
    Sources,
    /// The destination port of TCP: so many from the first on, one after the other.
    Ports {
        /// The first.
        first: u16,
        /// How many.
        count: u16,
    },
}

/// Where they are written: in a frame with an IPv4 header of 20 octets behind an Ethernet header.
const SOURCE: i16 = 26;
const PORT: i16 = 36;
const SEQUENCE: i16 = 38;
const HEADERS: i32 = 54;

/// A program behind one that writes the frame anew.
pub struct Varied {
    program: OwnedFd,
    _behind: Programs,
}

impl Varied {
    /// Puts it before an XDP program.
    ///
    /// # Errors
    /// What the kernel says: EINVAL where one of the programs takes frames in several buffers and the other does not.
    pub fn before(program: impl AsFd, frags: bool, vary: Vary) -> Result<Self> {
        let made = || -> io::Result<Self> {
            let behind = Programs::of(program.as_fd())?;
            let flags = if frags { BPF_F_XDP_HAS_FRAGS } else { 0 };
            Ok(Self {
                program: load(&writes(vary, &behind), flags)?,
                _behind: behind,
            })
        };
        made().context("a program that writes frames anew before ours")
    }

    /// Runs both over a frame so often.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn run(&self, frame: &[u8], repeat: u32) -> Result<Ran> {
        run(&self.program, frame, repeat).context("test runs of packets that differ")
    }
}

/// The program: r6 the context, r7 the frame.
fn writes(vary: Vary, behind: &Programs) -> Vec<Instruction> {
    let mut program = vec![
        instruction(0xbf, 6, 1, 0, 0),       // r6 = r1
        instruction(0x61, 2, 1, 4, 0),       // r2 = context.data_end
        instruction(0x61, 7, 1, 0, 0),       // r7 = context.data
        instruction(0xbf, 3, 7, 0, 0),       // r3 = r7
        instruction(0x07, 3, 0, 0, HEADERS), // r3 += all headers
    ];
    let body = match vary {
        // A linear congruential generator (Numerical Recipes, 1992) whose state is the sequence number; its upper bits are the better ones.
        Vary::Sources => vec![
            instruction(0x61, 0, 7, SEQUENCE, 0),
            instruction(0x24, 0, 0, 0, 1_664_525),
            instruction(0x04, 0, 0, 0, 1_013_904_223),
            instruction(0x63, 7, 0, SEQUENCE, 0),
            instruction(0x54, 0, 0, 0, !0xff), // the first octet of a word in memory is its lowest
            instruction(0x44, 0, 0, 0, 11),
            instruction(0x63, 7, 0, SOURCE, 0),
        ],
        Vary::Ports { first, count } => {
            let (first, count) = (i32::from(first), i32::from(count));
            vec![
                instruction(0x69, 0, 7, PORT, 0),
                instruction(0xdc, 0, 0, 0, 16), // from network byte order
                instruction(0x04, 0, 0, 0, 1),
                instruction(0xa6, 0, 0, 1, first + count), // if below: skip
                instruction(0xb4, 0, 0, 0, first),
                instruction(0xdc, 0, 0, 0, 16), // to network byte order
                instruction(0x6b, 7, 0, PORT, 0),
            ]
        }
    };
    // if r3 > r2: past the body
    program.push(instruction(0x2d, 3, 2, body.len() as i16, 0));
    program.extend(body);
    program.push(instruction(0xbf, 1, 6, 0, 0)); // r1 = r6
    program.extend(behind.address_in(2));
    program.extend([
        instruction(0xb7, 3, 0, 0, 0),
        instruction(0x85, 0, 0, 0, TAIL_CALL),
        instruction(0xb7, 0, 0, 0, 0), // XDP_ABORTED: it did not jump
        instruction(0x95, 0, 0, 0, 0),
    ]);
    program
}
