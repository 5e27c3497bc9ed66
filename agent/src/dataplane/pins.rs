//! Where everything is pinned, and how it is recognised.
//!
//! ```text
//! /sys/fs/bpf/portcullis/            0700
//!   v<ABI version>-<schema hash>/    one for each ABI; another version's is never opened
//!     state/MAP                      flows, stamps, counters, events: shared by all loads
//!     tables/<load>/MAP, PROGRAM     one load of the programs
//!     links/<interface>-<hook>       what is attached
//! ```
//!
//! Interface names are escaped (`%2E` for a dot): the BPF file system keeps names with dots for itself.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use agent_common::budget::{BUCKETS, Bucket};
use agent_common::event::DenyEvent;
use agent_common::flow::{ASKED_SLOTS, BEGAN_TABLES, FlowCounts, FlowEntry, FlowKey};
use agent_common::switch::Heads;
use agent_common::tables::{
    ABI_VERSION, BANKS, Balance, CELL_BLOCK, PLANES, REASON_SLOTS, RuleCounter, TICK_SHIFT,
};
use agent_common::trie::V6Node;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use super::error::Error;

/// The directory for pins where no other is said.
pub const DEFAULT_ROOT: &str = "/sys/fs/bpf/portcullis";

/// Maps that outlive a load, with the octets of their keys and values; 0 where the kernel has its own idea (ring buffer).
pub(super) const STATE_MAPS: [(&str, usize, usize); 9] = [
    ("FLOWS_NEW", size_of::<FlowKey>(), size_of::<FlowEntry>()),
    (
        "FLOWS_ESTABLISHED",
        size_of::<FlowKey>(),
        size_of::<FlowEntry>(),
    ),
    ("FLOW_COUNTS", 4, size_of::<FlowCounts>()),
    ("BEGAN", 4, 65_536 * 4),
    ("ASKED", 4, ASKED_SLOTS as usize * 4),
    ("EVENTS", 0, 0),
    ("BALANCE", 4, size_of::<Balance>()),
    ("REASONS", 4, 8),
    ("BUCKETS", 4, size_of::<Bucket>()),
];

/// Maps of one load.
pub(super) const TABLE_MAPS: [&str; 11] = [
    "HEADS",
    "PORT_CLASS",
    "V4_ROOT",
    "NODES",
    "V6_NODES",
    "CELLS",
    "RULES",
    "RARE_XDP",
    "RARE_XDP_FRAGS",
    "RARE_TC",
    "CLOCK",
];

/// Hash over everything that both sides must agree on besides the version: sizes and counts. FNV-1a (draft-eastlake-fnv).
const SCHEMA: u32 = {
    let sizes = [
        size_of::<FlowKey>(),
        size_of::<FlowEntry>(),
        size_of::<FlowCounts>(),
        size_of::<Heads>(),
        size_of::<V6Node>(),
        size_of::<RuleCounter>(),
        size_of::<Balance>(),
        size_of::<DenyEvent>(),
        size_of::<Bucket>(),
        BUCKETS as usize,
        BANKS as usize,
        PLANES as usize,
        CELL_BLOCK as usize,
        REASON_SLOTS as usize,
        BEGAN_TABLES as usize,
        ASKED_SLOTS as usize,
        TICK_SHIFT as usize,
    ];
    let mut hash: u32 = 0x811c_9dc5;
    let mut n = 0;
    while n < sizes.len() {
        let bytes = (sizes[n] as u32).to_le_bytes();
        let mut at = 0;
        while at < bytes.len() {
            hash = (hash ^ bytes[at] as u32).wrapping_mul(0x0100_0193);
            at += 1;
        }
        n += 1;
    }
    hash
};

/// Where a program is attached, as the name of a pin.
#[derive(Clone, Copy, PartialEq, Eq, Debug, PartialOrd, Ord, Hash)]
pub enum Hook {
    /// XDP in the driver.
    Xdp,
    /// XDP after the packet was built.
    XdpGeneric,
    /// TC ingress by a TCX link.
    TcIngress,
    /// TC egress by a TCX link.
    TcEgress,
    /// TC ingress by a clsact filter, which can't be pinned: the pin marks that it is ours.
    ClsactIngress,
    /// TC egress by a clsact filter.
    ClsactEgress,
    /// The clsact qdisc was made by us.
    ClsactQdisc,
}

impl Hook {
    /// All of them.
    pub const ALL: [Hook; 7] = [
        Hook::Xdp,
        Hook::XdpGeneric,
        Hook::TcIngress,
        Hook::TcEgress,
        Hook::ClsactIngress,
        Hook::ClsactEgress,
        Hook::ClsactQdisc,
    ];

    /// The end of a pin's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Hook::Xdp => "xdp",
            Hook::XdpGeneric => "xdp-generic",
            Hook::TcIngress => "tc-ingress",
            Hook::TcEgress => "tc-egress",
            Hook::ClsactIngress => "clsact-ingress",
            Hook::ClsactEgress => "clsact-egress",
            Hook::ClsactQdisc => "clsact-qdisc",
        }
    }

    /// Whether ingress is judged there.
    #[must_use]
    pub const fn is_ingress(self) -> bool {
        matches!(
            self,
            Hook::Xdp | Hook::XdpGeneric | Hook::TcIngress | Hook::ClsactIngress
        )
    }

    /// Whether the pin is a BPF link, which holds the attachment; the others are marks.
    pub(super) const fn is_link(self) -> bool {
        matches!(
            self,
            Hook::Xdp | Hook::XdpGeneric | Hook::TcIngress | Hook::TcEgress
        )
    }
}

/// The pins of one directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pins {
    root: PathBuf,
    abi: String,
}

impl Pins {
    /// Those of this version under `root`. Touches nothing.
    pub(super) fn new(root: &Path) -> Self {
        Self {
            root: root.to_path_buf(),
            abi: format!("v{ABI_VERSION}-{SCHEMA:08x}"),
        }
    }

    /// Those of another version's directory under the same root.
    pub(super) fn of_abi(&self, abi: &str) -> Self {
        Self {
            root: self.root.clone(),
            abi: abi.to_owned(),
        }
    }

    /// Those of every version under the root.
    pub(super) fn all(&self) -> Result<Vec<Self>, Error> {
        Ok(self.abis()?.iter().map(|abi| self.of_abi(abi)).collect())
    }

    /// Those of every other version.
    pub(super) fn others(&self) -> Result<Vec<Self>, Error> {
        let mut all = self.all()?;
        all.retain(|pins| pins.abi != self.abi);
        Ok(all)
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// The name of this ABI's directory.
    pub(super) fn abi(&self) -> &str {
        &self.abi
    }

    pub(super) fn home(&self) -> PathBuf {
        self.root.join(&self.abi)
    }

    pub(super) fn state(&self) -> PathBuf {
        self.home().join("state")
    }

    pub(super) fn tables(&self) -> PathBuf {
        self.home().join("tables")
    }

    pub(super) fn load(&self, load: u32) -> PathBuf {
        self.tables().join(load.to_string())
    }

    pub(super) fn links(&self) -> PathBuf {
        self.home().join("links")
    }

    pub(super) fn link(&self, interface: &str, hook: Hook) -> PathBuf {
        self.links()
            .join(format!("{}-{}", escape(interface), hook.name()))
    }

    /// Makes the directories, and holds the lock of the root while the result lives.
    pub(super) fn prepare(&self) -> Result<Flock<File>, Error> {
        super::probe::bpffs(&self.root)?;
        make(&self.root, 0o700)?;
        let lock = self.lock()?;
        for directory in [self.home(), self.state(), self.tables(), self.links()] {
            make(&directory, 0o700)?;
        }
        Ok(lock)
    }

    /// The lock of the root: no two loads, attachments or removals at a time. A load takes about a second, so it is waited for.
    pub(super) fn lock(&self) -> Result<Flock<File>, Error> {
        const PATIENCE: Duration = Duration::from_secs(5);
        let began = Instant::now();
        let mut directory = File::open(&self.root)
            .map_err(Error::system(format!("{}: opening", self.root.display())))?;
        loop {
            match Flock::lock(directory, FlockArg::LockExclusiveNonblock) {
                Ok(lock) => return Ok(lock),
                Err((again, Errno::EWOULDBLOCK)) if began.elapsed() < PATIENCE => {
                    // flock(2) knows no time limit
                    std::thread::sleep(Duration::from_millis(20));
                    directory = again;
                }
                Err((_, Errno::EWOULDBLOCK)) => {
                    return Err(Error::Locked {
                        path: self.root.clone(),
                    });
                }
                Err((_, errno)) => {
                    return Err(Error::system(format!("{}: locking", self.root.display()))(
                        errno.into(),
                    ));
                }
            }
        }
    }

    /// Names of the ABI directories that are there, ours among them.
    pub(super) fn abis(&self) -> Result<Vec<String>, Error> {
        let mut found: Vec<String> = names(&self.root)?
            .into_iter()
            .filter(|name| is_abi(name))
            .collect();
        found.sort_unstable();
        Ok(found)
    }

    /// Numbers of the loads that are pinned, in order.
    pub(super) fn loads(&self) -> Result<Vec<u32>, Error> {
        let mut found: Vec<u32> = names(&self.tables())?
            .iter()
            .filter_map(|name| name.parse().ok())
            .collect();
        found.sort_unstable();
        Ok(found)
    }

    /// Pins of attachments: interface, hook, path; in order of name.
    pub(super) fn attachments(&self) -> Result<Vec<(String, Hook, PathBuf)>, Error> {
        let mut found: Vec<_> = names(&self.links())?
            .into_iter()
            .filter_map(|name| {
                let (interface, hook) = parse_link(&name)?;
                Some((interface, hook, self.links().join(name)))
            })
            .collect();
        found.sort_unstable();
        Ok(found)
    }

    /// Removes this version's directory with all tables and state. What is no pin is left, and named in the result.
    pub(super) fn remove_home(&self) -> Result<Vec<PathBuf>, Error> {
        let mut left = Vec::new();
        for load in self.loads()? {
            left.extend(remove_flat(&self.load(load))?);
        }
        for directory in [self.state(), self.links()] {
            left.extend(remove_flat(&directory)?);
        }
        for directory in [self.tables(), self.home()] {
            if !remove_empty(&directory)? && left.is_empty() {
                left.push(directory);
            }
        }
        Ok(left)
    }

    /// Removes a load's pins and their directory.
    pub(super) fn remove_load(&self, load: u32) -> Result<(), Error> {
        remove_flat(&self.load(load)).map(|_| ())
    }
}

/// The name of an interface of this network namespace.
pub(super) fn name_of(index: u32) -> Option<String> {
    let mut name = [0u8; libc::IF_NAMESIZE];
    // SAFETY: room for the longest name with its end, as if_indextoname(3) asks.
    let found = unsafe { libc::if_indextoname(index, name.as_mut_ptr().cast()) };
    if found.is_null() {
        return None;
    }
    let name = std::ffi::CStr::from_bytes_until_nul(&name).ok()?;
    name.to_str().ok().map(str::to_owned)
}

/// Whether a directory's name is that of an ABI of ours: `v1-0123abcd`.
fn is_abi(name: &str) -> bool {
    let Some((version, hash)) = name.strip_prefix('v').and_then(|rest| rest.split_once('-')) else {
        return false;
    };
    !version.is_empty()
        && version.bytes().all(|byte| byte.is_ascii_digit())
        && hash.len() == 8
        && hash.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Unlinks the pins of a directory without descending, then removes it. What is no pin (a directory) is left, and named in the result.
pub(super) fn remove_flat(directory: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut left = Vec::new();
    for name in names(directory)? {
        let path = directory.join(name);
        let is_directory = fs::symlink_metadata(&path).is_ok_and(|found| found.is_dir());
        if is_directory {
            left.push(path);
        } else {
            unlink(&path)?;
        }
    }
    if left.is_empty() {
        remove_empty(directory)?;
    }
    Ok(left)
}

/// Removes a pin; one that is gone already is as well.
pub(super) fn unlink(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::system(format!(
            "{}: removing the pin",
            path.display()
        ))(error)),
        _ => Ok(()),
    }
}

/// Removes a directory if it is empty. False where something is in it.
pub(super) fn remove_empty(directory: &Path) -> Result<bool, Error> {
    match fs::remove_dir(directory) {
        Ok(()) => Ok(true),
        Err(error) => match error.kind() {
            io::ErrorKind::NotFound => Ok(true),
            io::ErrorKind::DirectoryNotEmpty => Ok(false),
            _ => Err(Error::system(format!("{}: removing", directory.display()))(
                error,
            )),
        },
    }
}

/// Names in a directory; none where it is not there. Names that are no UTF-8 are none of ours.
pub(super) fn names(directory: &Path) -> Result<Vec<String>, Error> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => {
            return Err(Error::system(format!("{}: listing", directory.display()))(
                error,
            ));
        }
    };
    entries
        .filter_map(|entry| {
            entry
                .map(|found| found.file_name().into_string().ok())
                .transpose()
        })
        .collect::<io::Result<Vec<String>>>()
        .map_err(Error::system(format!("{}: listing", directory.display())))
}

fn make(directory: &Path, mode: u32) -> Result<(), Error> {
    match DirBuilder::new().mode(mode).create(directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(Error::system(format!(
            "{}: making the directory",
            directory.display()
        ))(error)),
        _ => Ok(()),
    }
}

/// An interface's name as part of a pin's: letters, digits, `_` and `-` as they are, every other octet as `%XX`.
fn escape(interface: &str) -> String {
    let mut escaped = String::with_capacity(interface.len());
    for byte in interface.bytes() {
        if byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-' {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

fn unescape(escaped: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(escaped.len());
    let mut rest = escaped.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
        let (high, low) = (digit(rest.next()?)?, digit(rest.next()?)?);
        bytes.push(high << 4 | low);
    }
    String::from_utf8(bytes).ok()
}

fn parse_link(name: &str) -> Option<(String, Hook)> {
    Hook::ALL.into_iter().find_map(|hook| {
        let escaped = name.strip_suffix(hook.name())?.strip_suffix('-')?;
        Some((unescape(escaped).filter(|name| !name.is_empty())?, hook))
    })
}

#[cfg(test)]
mod tests;
