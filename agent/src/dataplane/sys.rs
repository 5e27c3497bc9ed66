//! The few bpf(2) commands and system calls that are used as they are, where a wrapper would guess: links are created without a silent
//! fallback, and detached although another process holds them.
//!
//! Layouts are those of `union bpf_attr` and `struct bpf_link_info` in include/uapi/linux/bpf.h.

use std::ffi::CString;
use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

const BPF_OBJ_PIN: i32 = 6;
const BPF_OBJ_GET: i32 = 7;
const BPF_PROG_TEST_RUN: i32 = 10;
const BPF_OBJ_GET_INFO_BY_FD: i32 = 15;
const BPF_PROG_QUERY: i32 = 16;
const BPF_MAP_LOOKUP_BATCH: i32 = 24;
const BPF_MAP_UPDATE_BATCH: i32 = 26;
const BPF_LINK_CREATE: i32 = 28;
const BPF_LINK_UPDATE: i32 = 29;
const BPF_LINK_DETACH: i32 = 34;

/// `bpf_attach_type`: where a link goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub(super) enum AttachType {
    Xdp = 37,
    TcxIngress = 46,
    TcxEgress = 47,
}

/// XDP_FLAGS_SKB_MODE of include/uapi/linux/if_link.h.
pub(super) const XDP_SKB: u32 = 1 << 1;
/// XDP_FLAGS_DRV_MODE.
pub(super) const XDP_DRIVER: u32 = 1 << 2;
/// BPF_F_BEFORE without a relative: before all others.
pub(super) const TCX_FIRST: u32 = 1 << 3;

/// Runs a command. `T` must be laid out as the command's part of `union bpf_attr`.
fn bpf<T>(command: i32, attributes: &mut T) -> io::Result<i32> {
    // SAFETY: the kernel reads and writes at most `size_of::<T>()` octets of attributes that live through the call; pointers inside are the
    // callers' duty.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            std::ptr::from_mut(attributes),
            size_of::<T>(),
        )
    };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result as i32)
    }
}

fn owned(fd: i32) -> OwnedFd {
    // SAFETY: the kernel just made this descriptor for us.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

fn path_string(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(io::Error::from)
}

/// Pins an object.
pub(super) fn pin(object: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    #[repr(C)]
    struct Attributes {
        path: u64,
        fd: u32,
        flags: u32,
    }
    let path = path_string(path)?;
    let mut attributes = Attributes {
        path: path.as_ptr() as u64,
        fd: object.as_raw_fd() as u32,
        flags: 0,
    };
    bpf(BPF_OBJ_PIN, &mut attributes).map(|_| ())
}

/// Opens a pinned object.
pub(super) fn open_pin(path: &Path) -> io::Result<OwnedFd> {
    #[repr(C)]
    struct Attributes {
        path: u64,
        fd: u32,
        flags: u32,
    }
    let path = path_string(path)?;
    let mut attributes = Attributes {
        path: path.as_ptr() as u64,
        fd: 0,
        flags: 0,
    };
    bpf(BPF_OBJ_GET, &mut attributes).map(owned)
}

/// What the kernel says of a link to an interface.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub(super) struct LinkInfo {
    kind: u32,
    /// Its id.
    pub(super) id: u32,
    /// The program behind it.
    pub(super) program: u32,
    reserved: u32,
    /// The interface's index; 0 where the interface is gone.
    pub(super) interface: u32,
    attach_type: u32,
    more: [u32; 4],
}

/// Asks for a link's information.
pub(super) fn link_info(link: BorrowedFd<'_>) -> io::Result<LinkInfo> {
    let mut info = LinkInfo::default();
    object_info(link, &mut info)?;
    Ok(info)
}

/// The id of a program.
pub(super) fn program_id(program: BorrowedFd<'_>) -> io::Result<u32> {
    #[derive(Default)]
    #[repr(C)]
    struct ProgramInfo {
        kind: u32,
        id: u32,
    }
    let mut info = ProgramInfo::default();
    object_info(program, &mut info)?;
    Ok(info.id)
}

/// Runs a program once over a frame, which comes by `lo`, and gives what it returned.
pub(super) fn test_run(program: BorrowedFd<'_>, frame: &[u8]) -> io::Result<u32> {
    #[repr(C)]
    struct Attributes {
        program: u32,
        returned: u32,
        octets_in: u32,
        octets_out: u32,
        data_in: u64,
        data_out: u64,
        repeat: u32,
        duration: u32,
    }
    let mut attributes = Attributes {
        program: program.as_raw_fd() as u32,
        returned: 0,
        octets_in: frame.len() as u32,
        octets_out: 0,
        data_in: frame.as_ptr() as u64,
        data_out: 0,
        repeat: 1,
        duration: 0,
    };
    bpf(BPF_PROG_TEST_RUN, &mut attributes)?;
    Ok(attributes.returned)
}

fn object_info<T>(object: BorrowedFd<'_>, info: &mut T) -> io::Result<()> {
    #[repr(C)]
    struct Attributes {
        fd: u32,
        length: u32,
        info: u64,
    }
    let mut attributes = Attributes {
        fd: object.as_raw_fd() as u32,
        length: size_of::<T>() as u32,
        info: std::ptr::from_mut(info) as u64,
    };
    bpf(BPF_OBJ_GET_INFO_BY_FD, &mut attributes).map(|_| ())
}

/// Attaches a program to an interface by a link that lives as long as its descriptor or its pin.
pub(super) fn link_create(
    program: BorrowedFd<'_>,
    interface: u32,
    attach_type: AttachType,
    flags: u32,
) -> io::Result<OwnedFd> {
    #[repr(C)]
    struct Attributes {
        program: u32,
        interface: u32,
        attach_type: u32,
        flags: u32,
        // tcx.relative_fd and tcx.expected_revision: unset
        relative: u32,
        reserved: u32,
        revision: u64,
    }
    let mut attributes = Attributes {
        program: program.as_raw_fd() as u32,
        interface,
        attach_type: attach_type as u32,
        flags,
        relative: 0,
        reserved: 0,
        revision: 0,
    };
    bpf(BPF_LINK_CREATE, &mut attributes).map(owned)
}

/// Puts another program behind a link: no packet passes in between without one.
pub(super) fn link_update(link: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    #[repr(C)]
    struct Attributes {
        link: u32,
        program: u32,
        flags: u32,
        old_program: u32,
    }
    let mut attributes = Attributes {
        link: link.as_raw_fd() as u32,
        program: program.as_raw_fd() as u32,
        flags: 0,
        old_program: 0,
    };
    bpf(BPF_LINK_UPDATE, &mut attributes).map(|_| ())
}

/// Ids of the programs at a TCX hook in the order in which they run. EINVAL where the kernel has no TCX.
pub(super) fn tcx_programs(interface: u32, hook: AttachType) -> io::Result<Vec<u32>> {
    /// The kernel's limit, BPF_MPROG_MAX of include/linux/bpf_mprog.h.
    const MOST: usize = 64;
    #[repr(C)]
    struct Attributes {
        interface: u32,
        attach_type: u32,
        query_flags: u32,
        attach_flags: u32,
        programs: u64,
        count: u32,
        padding: u32,
        program_flags: u64,
        links: u64,
        link_flags: u64,
        revision: u64,
    }
    let mut ids = [0u32; MOST];
    let mut attributes = Attributes {
        interface,
        attach_type: hook as u32,
        query_flags: 0,
        attach_flags: 0,
        programs: ids.as_mut_ptr() as u64,
        count: MOST as u32,
        padding: 0,
        program_flags: 0,
        links: 0,
        link_flags: 0,
        revision: 0,
    };
    bpf(BPF_PROG_QUERY, &mut attributes)?;
    Ok(ids.into_iter().take(attributes.count as usize).collect())
}

/// `struct { … } batch` of `union bpf_attr`.
#[repr(C)]
struct Batch {
    after: u64,
    last: u64,
    keys: u64,
    values: u64,
    count: u32,
    map: u32,
    element_flags: u64,
    flags: u64,
}

/// Reads the values of an array map behind the key `after`, as many as there is room for, and their keys; how many there were. `values` has
/// room for the same number of values for each key, every one of a multiple of 8 octets. ENOTSUPP (524) where the map knows no batches.
pub(super) fn lookup_batch<V: aya::Pod>(
    map: BorrowedFd<'_>,
    after: Option<u32>,
    keys: &mut [u32],
    values: &mut [V],
) -> io::Result<usize> {
    let mut last = 0_u32;
    let mut attributes = Batch {
        after: after
            .as_ref()
            .map_or(0, |after| std::ptr::from_ref(after) as u64),
        last: &raw mut last as u64,
        keys: keys.as_mut_ptr() as u64,
        values: values.as_mut_ptr() as u64,
        count: keys.len() as u32,
        map: map.as_raw_fd() as u32,
        element_flags: 0,
        flags: 0,
    };
    match bpf(BPF_MAP_LOOKUP_BATCH, &mut attributes) {
        Ok(_) => {}
        // The map ended; those before it were read.
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {}
        Err(error) => return Err(error),
    }
    Ok(attributes.count as usize)
}

/// Sets the values of these keys; how many were set. As [`lookup_batch`] otherwise.
pub(super) fn update_batch<V: aya::Pod>(
    map: BorrowedFd<'_>,
    keys: &[u32],
    values: &[V],
) -> io::Result<usize> {
    let mut attributes = Batch {
        after: 0,
        last: 0,
        keys: keys.as_ptr() as u64,
        values: values.as_ptr() as u64,
        count: keys.len() as u32,
        map: map.as_raw_fd() as u32,
        element_flags: 0,
        flags: 0,
    };
    bpf(BPF_MAP_UPDATE_BATCH, &mut attributes)?;
    Ok(attributes.count as usize)
}

/// Detaches a link, whoever else holds it.
pub(super) fn link_detach(link: BorrowedFd<'_>) -> io::Result<()> {
    #[repr(C)]
    struct Attributes {
        link: u32,
    }
    let mut attributes = Attributes {
        link: link.as_raw_fd() as u32,
    };
    bpf(BPF_LINK_DETACH, &mut attributes).map(|_| ())
}

/// Waits until every program that was running has ended (membarrier(2): a grace period of RCU, under which programs run).
pub(super) fn membarrier() -> io::Result<()> {
    const MEMBARRIER_CMD_GLOBAL: i32 = 1;
    // SAFETY: no pointers.
    let result = unsafe { libc::syscall(libc::SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// The same wait by other means, where membarrier is refused (EINVAL on hosts with nohz_full CPUs): an update of a map of maps returns only
/// after a grace period (maybe_wait_bpf_programs in kernel/bpf/syscall.c, since Linux 4.20).
pub(super) fn wait_by_map_of_maps() -> io::Result<()> {
    const ARRAY: u32 = 2;
    const ARRAY_OF_MAPS: u32 = 12;
    let inner = map_create(ARRAY, None)?;
    let outer = map_create(ARRAY_OF_MAPS, Some(&inner))?;
    map_update(&outer, 0, inner.as_raw_fd() as u32)
}

/// A map of one `u32` by `u32`.
fn map_create(kind: u32, inner: Option<&OwnedFd>) -> io::Result<OwnedFd> {
    const BPF_MAP_CREATE: i32 = 0;
    #[repr(C)]
    struct Attributes {
        kind: u32,
        key_size: u32,
        value_size: u32,
        max_entries: u32,
        flags: u32,
        inner: u32,
    }
    let mut attributes = Attributes {
        kind,
        key_size: 4,
        value_size: 4,
        max_entries: 1,
        flags: 0,
        inner: inner.map_or(0, |inner| inner.as_raw_fd() as u32),
    };
    bpf(BPF_MAP_CREATE, &mut attributes).map(owned)
}

fn map_update(map: &OwnedFd, key: u32, value: u32) -> io::Result<()> {
    const BPF_MAP_UPDATE_ELEM: i32 = 2;
    #[repr(C)]
    struct Attributes {
        map: u32,
        reserved: u32,
        key: u64,
        value: u64,
        flags: u64,
    }
    let mut attributes = Attributes {
        map: map.as_raw_fd() as u32,
        reserved: 0,
        key: &raw const key as u64,
        value: &raw const value as u64,
        flags: 0,
    };
    bpf(BPF_MAP_UPDATE_ELEM, &mut attributes).map(|_| ())
}
