//! A flood: SYN segments from random sources to random ports, as fast as this machine can put them onto a cable.
//!
//! The kernel runs an XDP program of ours over live frames (BPF_PROG_TEST_RUN, Linux 5.18) that writes source and ports anew and sends each
//! frame out of an interface. Nothing is copied and no socket is in the way; on a veth pair the other end is the limit.

use std::io;
use std::os::fd::OwnedFd;

use anyhow::{Context as _, Result, ensure};
use nix::net::if_::if_nametoindex;

use crate::bpf::{Array, Instruction, instruction, load, run_live};
use crate::netns::Namespace;
use crate::packet::{Macs, tcp};

/// The first octet of all sources: 11.0.0.0/8, which no test gives to a host.
const SOURCES: u8 = 11;

/// Frames that the kernel sends before it looks at anything else.
const BATCH: u32 = 64;

/// The helpers of the program (include/uapi/linux/bpf.h).
const KTIME_GET_NS: i32 = 5;
const GET_PRANDOM_U32: i32 = 7;
const REDIRECT: i32 = 23;

/// Where the program writes: IPv4 identification and source; TCP ports and the lower half of the sequence number.
const IDENTIFICATION: usize = 18;
const SOURCE: usize = 26;
const SOURCE_PORT: usize = 34;
const PORT: usize = 36;
const SEQUENCE: usize = 40;

/// Writes a random source and random ports into the frame, and sends it. What that adds to the checksums of IPv4 and TCP is taken away again in
/// the identification and the sequence number, so that both stay right: sums of words in one's complement, in any order (RFC 1071).
fn program(frame: &[u8], interface: i32, times: &Array) -> Vec<Instruction> {
    const WORD: i32 = 0xffff;
    let call = |helper| instruction(0x85, 0, 0, 0, helper);
    let sum = |places: &[usize]| {
        let words = places.iter().map(|&at| match frame.get(at..at + 2) {
            Some(&[first, second]) => i32::from(u16::from_ne_bytes([first, second])),
            _ => 0,
        });
        words.sum::<i32>()
    };
    // r8 = r8 folded into a word, and stored
    let fold_and_store = |at: usize| {
        let fold = || {
            [
                instruction(0xbc, 1, 8, 0, 0),
                instruction(0x74, 1, 0, 0, 16),
                instruction(0x54, 8, 0, 0, WORD),
                instruction(0x0c, 8, 1, 0, 0),
            ]
        };
        let store = instruction(0x6b, 7, 8, at as i16, 0);
        [fold(), fold()].into_iter().flatten().chain([store])
    };
    let both = sum(&[SOURCE, SOURCE + 2]);
    let of_ip = both + sum(&[IDENTIFICATION]);
    let of_tcp = both + sum(&[SOURCE_PORT, PORT, SEQUENCE]);
    let mut body = vec![
        call(GET_PRANDOM_U32),
        // The first octet of a word in memory is its last in a register of a little-endian machine.
        instruction(0x54, 0, 0, 0, !0xff),
        instruction(0x44, 0, 0, 0, i32::from(SOURCES)),
        instruction(0x63, 7, 0, SOURCE as i16, 0),
        instruction(0xbc, 6, 0, 0, 0), // r6 = both halves of the source
        instruction(0x54, 6, 0, 0, WORD),
        instruction(0x74, 0, 0, 0, 16),
        instruction(0x0c, 6, 0, 0, 0),
        instruction(0xb4, 8, 0, 0, of_ip + 2 * WORD),
        instruction(0x1c, 8, 6, 0, 0), // r8 -= r6
    ];
    body.extend(fold_and_store(IDENTIFICATION));
    body.extend([
        call(GET_PRANDOM_U32),
        instruction(0x6b, 7, 0, PORT as i16, 0),
        instruction(0xbc, 8, 0, 0, 0),
        instruction(0x54, 8, 0, 0, WORD),
        instruction(0x74, 0, 0, 0, 16),
        instruction(0x6b, 7, 0, SOURCE_PORT as i16, 0),
        instruction(0x0c, 6, 8, 0, 0), // r6 += both ports
        instruction(0x0c, 6, 0, 0, 0),
        instruction(0xb4, 8, 0, 0, of_tcp + 4 * WORD),
        instruction(0x1c, 8, 6, 0, 0),
    ]);
    body.extend(fold_and_store(SEQUENCE));
    body.extend(clock(times));
    body.extend([
        instruction(0xb7, 1, 0, 0, interface),
        instruction(0xb7, 2, 0, 0, 0),
        call(REDIRECT),
        instruction(0x95, 0, 0, 0, 0), // exit
    ]);
    let mut program = vec![
        instruction(0x61, 2, 1, 4, 0),                 // r2 = context.data_end
        instruction(0x61, 7, 1, 0, 0),                 // r7 = context.data
        instruction(0xbf, 3, 7, 0, 0),                 // r3 = r7
        instruction(0x07, 3, 0, 0, 54),                // r3 += Ethernet, IPv4, TCP
        instruction(0x2d, 3, 2, body.len() as i16, 0), // behind the body, if r3 > r2
    ];
    program.extend(body);
    program.extend([
        instruction(0xb7, 0, 0, 0, 1), // XDP_DROP
        instruction(0x95, 0, 0, 0, 0),
    ]);
    program
}

/// Counts frames, and for every batch adds one to the place of what a frame of it took: between the same frame of this batch and the last lies
/// all that is done for a batch, on the receiving side as well where that is this processor.
fn clock(times: &Array) -> Vec<Instruction> {
    let mut program = times.address_into(9).to_vec();
    program.extend([
        instruction(0x79, 1, 9, FRAMES, 0),
        instruction(0x07, 1, 0, 0, 1),
        instruction(0x7b, 9, 1, FRAMES, 0),
        instruction(0x57, 1, 0, 0, BATCH as i32 - 1),
        instruction(0x55, 1, 0, 12, 0), // behind this, if r1 is not 0
        instruction(0x85, 0, 0, 0, KTIME_GET_NS),
        instruction(0x79, 1, 9, LAST, 0),
        instruction(0x7b, 9, 0, LAST, 0),
        instruction(0x1f, 0, 1, 0, 0), // r0 -= r1: nanoseconds of a batch
        instruction(0x77, 0, 0, 0, BATCH.trailing_zeros() as i32),
        instruction(0xb5, 0, 0, 1, PLACES as i32 - 1),
        instruction(0xb7, 0, 0, 0, PLACES as i32 - 1),
        instruction(0x67, 0, 0, 0, 2),
        instruction(0x0f, 9, 0, 0, 0),
        instruction(0x61, 1, 9, COUNTS, 0),
        instruction(0x07, 1, 0, 0, 1),
        instruction(0x63, 9, 1, COUNTS, 0),
    ]);
    program
}

/// Where the clock's array has what: frames that were sent, when the last batch was, and from there on how often a frame took so many
/// nanoseconds, the last place being of everything beyond.
const FRAMES: i16 = 0;
const LAST: i16 = 8;
const COUNTS: i16 = 16;
const PLACES: usize = 16_384;

/// A program that floods from one interface.
#[derive(Debug)]
pub struct Generator {
    program: OwnedFd,
    frame: Vec<u8>,
    times: Array,
}

impl Generator {
    /// Floods from `interface` of a host, to the address `to`.
    ///
    /// # Errors
    /// Without root, and where the kernel can't run live frames.
    pub fn new(
        host: &Namespace,
        interface: &str,
        macs: Macs,
        to: std::net::IpAddr,
    ) -> Result<Self> {
        Self::of(host, interface, macs, to, "S")
    }

    /// The same, of segments with these flags.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn of(
        host: &Namespace,
        interface: &str,
        macs: Macs,
        to: std::net::IpAddr,
        flags: &str,
    ) -> Result<Self> {
        let from = std::net::IpAddr::from([SOURCES, 0, 0, 1]);
        let frame = tcp((from, 40_000), (to, 23), flags).frame_between(macs)?;
        let index = host
            .enter(|| if_nametoindex(interface))?
            .context("the flood's interface")?;
        let times = Array::new(COUNTS as usize + 4 * PLACES).context("an array for times")?;
        let program = program(&frame, i32::try_from(index).context("index")?, &times);
        let program = load(&program, 0).context("load the flood's program")?;
        Ok(Self {
            program,
            frame,
            times,
        })
    }

    /// Sends so many frames. To be called on the host (`Namespace::enter`), whose interface the program knows.
    ///
    /// # Errors
    /// What the kernel says; EINTR where a signal came in between.
    pub fn send(&self, frames: u32) -> io::Result<()> {
        run_live(&self.program, &self.frame, frames, BATCH)
    }

    /// Nanoseconds that a frame took since this was asked last, sending and, where it is on this processor, receiving: the median of all
    /// batches. What begins and ends a [`Self::send`] is not in it.
    ///
    /// # Errors
    /// What the kernel says of the array, and where nothing was sent.
    pub fn nanoseconds(&self) -> Result<f64> {
        let octets = self.times.take().context("times of the flood")?;
        let counts = octets.get(COUNTS as usize..).unwrap_or_default();
        let counts: Vec<u64> = counts
            .chunks_exact(4)
            .filter_map(|octets| octets.try_into().ok())
            .map(|octets| u32::from_ne_bytes(octets).into())
            .collect();
        let (mut seen, all) = (0, counts.iter().sum::<u64>());
        ensure!(all > 1, "nothing was sent");
        let middle = counts.iter().position(|count| {
            seen += count;
            seen * 2 >= all
        });
        Ok(middle.unwrap_or(PLACES) as f64)
    }
}
