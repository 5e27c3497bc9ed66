//! The few commands of bpf(2) that aya has no words for: programs given as instructions, runs over live frames, links of a bare program.
//!
//! Structures are the commands' parts of `union bpf_attr` (include/uapi/linux/bpf.h).

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};

const BPF_MAP_CREATE: i32 = 0;
const BPF_MAP_LOOKUP_ELEM: i32 = 1;
const BPF_MAP_UPDATE_ELEM: i32 = 2;
const BPF_PROG_LOAD: i32 = 5;
const BPF_PROG_TEST_RUN: i32 = 10;
const BPF_LINK_CREATE: i32 = 28;

const BPF_MAP_TYPE_ARRAY: u32 = 2;
const BPF_MAP_TYPE_PROG_ARRAY: u32 = 3;
const BPF_PROG_TYPE_XDP: u32 = 6;
const BPF_XDP: u32 = 37;
const BPF_F_TEST_XDP_LIVE_FRAMES: u32 = 1 << 1;
/// A program that takes frames in several buffers.
pub(crate) const BPF_F_XDP_HAS_FRAGS: u32 = 1 << 5;
const XDP_FLAGS_DRV_MODE: u32 = 1 << 2;

/// The helper that jumps into another program and does not come back.
pub(crate) const TAIL_CALL: i32 = 12;

/// In place of a register: the constant is a map, by its descriptor.
const BPF_PSEUDO_MAP_FD: u8 = 1;
/// In place of a register: the constant is a map's value, by the map's descriptor.
const BPF_PSEUDO_MAP_VALUE: u8 = 2;

/// `struct bpf_insn`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Instruction {
    code: u8,
    /// Destination in the low half, source in the high one.
    registers: u8,
    offset: i16,
    immediate: i32,
}

pub(crate) const fn instruction(
    code: u8,
    to: u8,
    from: u8,
    offset: i16,
    immediate: i32,
) -> Instruction {
    Instruction {
        code,
        registers: to | from << 4,
        offset,
        immediate,
    }
}

#[repr(C)]
#[derive(Default)]
struct Create {
    kind: u32,
    key: u32,
    value: u32,
    entries: u32,
    rest: [u32; 4],
}

#[repr(C)]
#[derive(Default)]
struct Element {
    map: u32,
    padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

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
    name: [u8; 16],
    interface: u32,
    attach_type: u32,
}

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

#[repr(C)]
#[derive(Default)]
struct Link {
    program: u32,
    interface: u32,
    kind: u32,
    flags: u32,
    /// Room for what other kinds of links are told.
    rest: [u64; 4],
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

fn made<T>(command: i32, attributes: &mut T) -> io::Result<OwnedFd> {
    let number = bpf(command, attributes)?;
    // SAFETY: the commands that make something return a new descriptor, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

fn number(descriptor: &OwnedFd) -> io::Result<u32> {
    u32::try_from(descriptor.as_raw_fd()).map_err(io::Error::other)
}

fn length(octets: usize) -> io::Result<u32> {
    u32::try_from(octets).map_err(io::Error::other)
}

/// Octets that a program and this process share: an array map of one value.
#[derive(Debug)]
pub(crate) struct Array {
    map: OwnedFd,
    size: usize,
}

impl Array {
    /// Makes it, all zero.
    pub(crate) fn new(size: usize) -> io::Result<Self> {
        let mut create = Create {
            kind: BPF_MAP_TYPE_ARRAY,
            key: 4,
            value: length(size)?,
            entries: 1,
            ..Create::default()
        };
        let map = made(BPF_MAP_CREATE, &mut create)?;
        Ok(Self { map, size })
    }

    /// The octets, which are zero afterwards.
    pub(crate) fn take(&self) -> io::Result<Vec<u8>> {
        let key = 0_u32;
        // The kernel copies whole words.
        let mut octets = vec![0; self.size.next_multiple_of(8)];
        for (command, zeroed) in [(BPF_MAP_LOOKUP_ELEM, None), (BPF_MAP_UPDATE_ELEM, Some(()))] {
            let zeros = vec![0_u8; self.size.next_multiple_of(8)];
            let mut element = Element {
                map: number(&self.map)?,
                key: std::ptr::from_ref(&key) as u64,
                value: match zeroed {
                    None => octets.as_mut_ptr() as u64,
                    Some(()) => zeros.as_ptr() as u64,
                },
                ..Element::default()
            };
            bpf(command, &mut element)?;
        }
        octets.truncate(self.size);
        Ok(octets)
    }

    /// Where they lie, into a register: a constant of two instructions.
    pub(crate) fn address_into(&self, register: u8) -> [Instruction; 2] {
        constant(register, BPF_PSEUDO_MAP_VALUE, &self.map)
    }
}

/// One program, for others to jump into.
#[derive(Debug)]
pub(crate) struct Programs {
    map: OwnedFd,
}

impl Programs {
    /// Puts the program at index 0.
    pub(crate) fn of(program: BorrowedFd<'_>) -> io::Result<Self> {
        let mut create = Create {
            kind: BPF_MAP_TYPE_PROG_ARRAY,
            key: 4,
            value: 4,
            entries: 1,
            ..Create::default()
        };
        let map = made(BPF_MAP_CREATE, &mut create)?;
        let (key, value) = (0_u32, program.as_raw_fd());
        let mut element = Element {
            map: number(&map)?,
            key: std::ptr::from_ref(&key) as u64,
            value: std::ptr::from_ref(&value) as u64,
            ..Element::default()
        };
        bpf(BPF_MAP_UPDATE_ELEM, &mut element)?;
        Ok(Self { map })
    }

    /// The map, into a register: a constant of two instructions.
    pub(crate) fn address_in(&self, register: u8) -> [Instruction; 2] {
        constant(register, BPF_PSEUDO_MAP_FD, &self.map)
    }
}

/// A constant of two instructions that the kernel makes of a map.
fn constant(register: u8, kind: u8, map: &OwnedFd) -> [Instruction; 2] {
    [
        instruction(0x18, register, kind, 0, map.as_raw_fd()),
        instruction(0, 0, 0, 0, 0),
    ]
}

/// Has the kernel load an XDP program.
pub(crate) fn load(program: &[Instruction], flags: u32) -> io::Result<OwnedFd> {
    let mut load = Load {
        kind: BPF_PROG_TYPE_XDP,
        instructions: length(program.len())?,
        code: program.as_ptr() as u64,
        license: c"GPL".as_ptr() as u64,
        flags,
        // Programs that jump into each other must be of one attach type (Linux 6.18).
        attach_type: BPF_XDP,
        ..Load::default()
    };
    made(BPF_PROG_LOAD, &mut load)
}

/// Attaches an XDP program in the driver of an interface of this network namespace. It is detached with the descriptor.
pub(crate) fn attach(program: &OwnedFd, interface: u32) -> io::Result<OwnedFd> {
    let mut link = Link {
        program: number(program)?,
        interface,
        kind: BPF_XDP,
        flags: XDP_FLAGS_DRV_MODE,
        ..Link::default()
    };
    made(BPF_LINK_CREATE, &mut link)
}

/// What came of test runs.
#[derive(Clone, Copy, Debug)]
pub struct Ran {
    /// What the program returned last.
    pub returned: u32,
    /// Mean of a run.
    pub nanoseconds: u32,
}

/// Runs an XDP program over a frame again and again, each time as it left it.
pub(crate) fn run(program: &OwnedFd, frame: &[u8], repeat: u32) -> io::Result<Ran> {
    let mut run = Run {
        program: number(program)?,
        data_size: length(frame.len())?,
        data: frame.as_ptr() as u64,
        repeat,
        ..Run::default()
    };
    bpf(BPF_PROG_TEST_RUN, &mut run)?;
    Ok(Ran {
        returned: run.returned,
        nanoseconds: run.duration,
    })
}

/// Runs an XDP program over live frames: what it does with them happens.
pub(crate) fn run_live(program: &OwnedFd, frame: &[u8], repeat: u32, batch: u32) -> io::Result<()> {
    let mut run = Run {
        program: number(program)?,
        data_size: length(frame.len())?,
        data: frame.as_ptr() as u64,
        repeat,
        flags: BPF_F_TEST_XDP_LIVE_FRAMES,
        batch,
        ..Run::default()
    };
    bpf(BPF_PROG_TEST_RUN, &mut run).map(drop)
}
