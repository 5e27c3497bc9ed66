//! A flood: SYN segments from random sources to random ports, as fast as this machine can put them onto a cable.
//!
//! The kernel runs an XDP program of ours over live frames (BPF_PROG_TEST_RUN, Linux 5.18) that writes source and ports anew and sends each
//! frame out of an interface. Nothing is copied and no socket is in the way; on a veth pair the other end is the limit.

use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

use anyhow::{Context as _, Result};
use nix::net::if_::if_nametoindex;

use crate::netns::Namespace;
use crate::packet::{Macs, tcp};

/// The first octet of all sources: 11.0.0.0/8, which no test gives to a host.
const SOURCES: u8 = 11;

/// Frames that the kernel sends before it looks at anything else.
const BATCH: u32 = 64;

const BPF_PROG_LOAD: i32 = 5;
const BPF_PROG_TEST_RUN: i32 = 10;
const BPF_PROG_TYPE_XDP: u32 = 6;
const BPF_F_TEST_XDP_LIVE_FRAMES: u32 = 1 << 1;

/// The helpers of the program (include/uapi/linux/bpf.h).
const GET_PRANDOM_U32: i32 = 7;
const REDIRECT: i32 = 23;

/// `struct bpf_insn`.
#[repr(C)]
struct Instruction {
    code: u8,
    /// Destination in the low half, source in the high one.
    registers: u8,
    offset: i16,
    immediate: i32,
}

const fn instruction(code: u8, to: u8, from: u8, offset: i16, immediate: i32) -> Instruction {
    Instruction {
        code,
        registers: to | from << 4,
        offset,
        immediate,
    }
}

/// Writes a random source and random ports into the frame, and sends it.
fn program(interface: i32) -> [Instruction; 18] {
    let call = |helper| instruction(0x85, 0, 0, 0, helper);
    [
        instruction(0x61, 2, 1, 4, 0),  // r2 = context.data_end
        instruction(0x61, 7, 1, 0, 0),  // r7 = context.data
        instruction(0xbf, 3, 7, 0, 0),  // r3 = r7
        instruction(0x07, 3, 0, 0, 54), // r3 += Ethernet, IPv4, TCP
        instruction(0x2d, 3, 2, 11, 0), // to the end, if r3 > r2
        call(GET_PRANDOM_U32),
        instruction(0x63, 7, 0, 26, 0), // source = r0
        instruction(0x72, 7, 0, 26, SOURCES as i32),
        call(GET_PRANDOM_U32),
        instruction(0x6b, 7, 0, 36, 0), // destination port = r0
        instruction(0x77, 0, 0, 0, 16), // r0 >>= 16
        instruction(0x6b, 7, 0, 34, 0), // source port = r0
        instruction(0xb7, 1, 0, 0, interface),
        instruction(0xb7, 2, 0, 0, 0),
        call(REDIRECT),
        instruction(0x95, 0, 0, 0, 0), // exit
        instruction(0xb7, 0, 0, 0, 1), // XDP_DROP
        instruction(0x95, 0, 0, 0, 0),
    ]
}

/// The part of `union bpf_attr` that loads a program.
#[repr(C)]
#[derive(Default)]
struct Load {
    kind: u32,
    instructions: u32,
    code: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel: u32,
    flags: u32,
}

/// The part of `union bpf_attr` that runs one.
#[repr(C)]
#[derive(Default)]
struct Run {
    program: u32,
    returned: u32,
    data_size: u32,
    data_size_out: u32,
    data: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
    context_size: u32,
    context_size_out: u32,
    context: u64,
    context_out: u64,
    flags: u32,
    cpu: u32,
    batch: u32,
    reserved: u32,
}

fn bpf<T>(command: i32, attributes: &mut T) -> io::Result<i32> {
    let size = size_of::<T>();
    // SAFETY: the attributes are laid out as the command's part of `union bpf_attr`, and they and what they point to live through the call.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attributes), size) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    i32::try_from(result).map_err(io::Error::other)
}

/// A program that floods from one interface.
#[derive(Debug)]
pub struct Generator {
    program: OwnedFd,
    frame: Vec<u8>,
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
        let from = std::net::IpAddr::from([SOURCES, 0, 0, 1]);
        let frame = tcp((from, 40_000), (to, 23), "S").frame_between(macs)?;
        let index = host
            .enter(|| if_nametoindex(interface))?
            .context("the flood's interface")?;
        let program = program(i32::try_from(index).context("index")?);
        let mut load = Load {
            kind: BPF_PROG_TYPE_XDP,
            instructions: u32::try_from(program.len()).context("length")?,
            code: program.as_ptr() as u64,
            license: c"GPL".as_ptr() as u64,
            ..Load::default()
        };
        let number = bpf(BPF_PROG_LOAD, &mut load).context("load the flood's program")?;
        // SAFETY: the kernel just made this descriptor, and nobody else has it.
        let program = unsafe { OwnedFd::from_raw_fd(number) };
        Ok(Self { program, frame })
    }

    /// Sends so many frames. To be called on the host (`Namespace::enter`), whose interface the program knows.
    ///
    /// # Errors
    /// What the kernel says; EINTR where a signal came in between.
    pub fn send(&self, frames: u32) -> io::Result<()> {
        let mut run = Run {
            program: u32::try_from(self.program.as_raw_fd()).map_err(io::Error::other)?,
            data_size: u32::try_from(self.frame.len()).map_err(io::Error::other)?,
            data: self.frame.as_ptr() as u64,
            repeat: frames,
            flags: BPF_F_TEST_XDP_LIVE_FRAMES,
            batch: BATCH,
            ..Run::default()
        };
        bpf(BPF_PROG_TEST_RUN, &mut run).map(drop)
    }
}
