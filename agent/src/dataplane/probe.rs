//! What this process may do and this machine has, looked at before anything is tried.

use std::fs;
use std::io;
use std::path::Path;

use nix::sys::statfs::{FsType, statfs};

use super::error::Error;

/// Bits of capabilities(7), include/uapi/linux/capability.h.
const CAP_NET_ADMIN: u32 = 12;
const CAP_SYS_ADMIN: u32 = 21;
const CAP_PERFMON: u32 = 38;
const CAP_BPF: u32 = 39;

/// The magic number of a BPF file system, include/uapi/linux/magic.h.
const BPF_FS_MAGIC: u64 = 0xcafe_4a11;

/// Whether this process may load and attach programs.
///
/// # Errors
/// [`Error::Privileges`] with what is missing.
pub(super) fn privileges() -> Result<(), Error> {
    let status = fs::read_to_string("/proc/self/status")
        .map_err(Error::system("/proc/self/status: reading"))?;
    let missing = missing(effective(&status).unwrap_or(0));
    if missing.is_empty() {
        Ok(())
    } else {
        Err(Error::Privileges { missing })
    }
}

fn effective(status: &str) -> Option<u64> {
    let digits = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(digits.trim(), 16).ok()
}

/// CAP_SYS_ADMIN stands for CAP_BPF and CAP_PERFMON (capabilities(7)).
pub(super) fn missing(effective: u64) -> Vec<&'static str> {
    let has = |capability: u32| effective >> capability & 1 == 1;
    let admin = has(CAP_SYS_ADMIN);
    [
        ("CAP_BPF", admin || has(CAP_BPF)),
        ("CAP_PERFMON", admin || has(CAP_PERFMON)),
        ("CAP_NET_ADMIN", has(CAP_NET_ADMIN)),
    ]
    .into_iter()
    .filter_map(|(name, there)| (!there).then_some(name))
    .collect()
}

/// Whether `root`, or the nearest directory above it that exists, lies on a BPF file system.
///
/// # Errors
/// [`Error::NoBpffs`], or what the kernel says of the directory.
pub(super) fn bpffs(root: &Path) -> Result<(), Error> {
    for directory in root.ancestors() {
        match statfs(directory) {
            Ok(found) if found.filesystem_type() == FsType(BPF_FS_MAGIC as _) => return Ok(()),
            Ok(_) => break,
            Err(nix::errno::Errno::ENOENT) => {}
            Err(errno) => {
                return Err(Error::system(format!("{}: looking", directory.display()))(
                    io::Error::from(errno),
                ));
            }
        }
    }
    Err(Error::NoBpffs {
        path: root.to_path_buf(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_that_are_missing() {
        let bit = |capability: u32| 1u64 << capability;
        for (effective, expected) in [
            (u64::MAX, vec![]),
            (bit(CAP_SYS_ADMIN) | bit(CAP_NET_ADMIN), vec![]),
            (bit(CAP_BPF) | bit(CAP_PERFMON) | bit(CAP_NET_ADMIN), vec![]),
            (bit(CAP_BPF) | bit(CAP_NET_ADMIN), vec!["CAP_PERFMON"]),
            (bit(CAP_SYS_ADMIN), vec!["CAP_NET_ADMIN"]),
            (0, vec!["CAP_BPF", "CAP_PERFMON", "CAP_NET_ADMIN"]),
        ] {
            assert_eq!(missing(effective), expected, "{effective:x}");
        }
    }

    #[test]
    fn the_effective_set_is_read() {
        let status = "Name:\tx\nCapPrm:\t0000000000000001\nCapEff:\t000001ffffffffff\nCapBnd:\t0\n";
        assert_eq!(effective(status), Some(0x1ff_ffff_ffff));
        assert_eq!(effective("Name:\tx\n"), None);
    }

    #[test]
    fn an_ordinary_directory_is_no_bpf_file_system() {
        for path in ["/proc/self", "/proc/no/such/thing"] {
            assert!(matches!(bpffs(Path::new(path)), Err(Error::NoBpffs { .. })));
        }
    }
}
