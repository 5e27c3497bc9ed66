//! What can go wrong between tables and programs in force, in words that say what to do.

use std::io;
use std::path::PathBuf;

use aya::maps::MapError;
use aya::programs::ProgramError;

/// Who holds a place where only one program can be.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SlotHolder {
    /// Ids of the programs, where the kernel says them.
    pub programs: Vec<u32>,
}

impl std::fmt::Display for SlotHolder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.programs.as_slice() {
            [] => f.write_str("another program"),
            [one] => write!(f, "program {one}"),
            several => {
                let ids: Vec<String> = several.iter().map(u32::to_string).collect();
                write!(f, "programs {}", ids.join(", "))
            }
        }
    }
}

/// Why the data plane could not be loaded, written, attached or removed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The process may not use BPF.
    #[error(
        "missing {}: run as root, or as uid 0 with CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON", missing.join(", ")
    )]
    Privileges {
        /// Names of the capabilities.
        missing: Vec<&'static str>,
    },
    /// No BPF file system where pins should be.
    #[error("{}: not on a BPF file system; mount one: `mount -t bpf bpf /sys/fs/bpf`", path.display())]
    NoBpffs {
        /// The directory for pins.
        path: PathBuf,
    },
    /// Another agent is at work in the same directory.
    #[error("{}: another portcullis is loading or detaching; try again when it is done", path.display())]
    Locked {
        /// The directory for pins.
        path: PathBuf,
    },
    /// A pinned map has another shape than this version gives it.
    #[error(
        "{}: a pinned map of {found} where {expected} is expected, made by something else; remove it, or end enforcement with `portcullis detach`",
        path.display()
    )]
    Foreign {
        /// The pin.
        path: PathBuf,
        /// Key and value size in octets as found.
        found: String,
        /// As expected.
        expected: String,
    },
    /// The kernel refused a program.
    #[error("the kernel refuses program {program}: {source}; the verifier's last words:\n{log}")]
    Program {
        /// Its name.
        program: &'static str,
        /// What the system call returned.
        source: io::Error,
        /// The end of the verifier's log.
        log: String,
    },
    /// The object lacks something that it should have.
    #[error(
        "the BPF object has no {0}; it is not of this version, build it with `cargo xtask build`"
    )]
    Object(&'static str),
    /// The object could not be loaded.
    #[error("the BPF object can't be loaded: {}", with_causes(.0))]
    Load(#[from] aya::EbpfError),
    /// A map could not be read or written.
    #[error("map {map}: {source}")]
    Map {
        /// Its name.
        map: &'static str,
        /// What the kernel said.
        source: Box<MapError>,
    },
    /// A program could not be used otherwise.
    #[error("program {program}: {source}")]
    ProgramUse {
        /// Its name.
        program: &'static str,
        /// What the kernel said.
        source: Box<ProgramError>,
    },
    /// A system call failed.
    #[error("{what}: {source}")]
    System {
        /// What was being done.
        what: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// The policy does not fit into the tables that are loaded.
    #[error(
        "the policy needs {need} {what} a bank, the loaded tables hold {have}; load larger ones"
    )]
    TooSmall {
        /// Which part.
        what: &'static str,
        /// How many it needs.
        need: usize,
        /// How many there are.
        have: usize,
    },
    /// The compiled tables contradict themselves.
    #[error("the compiled tables are malformed: {0}")]
    Malformed(&'static str),
    /// Switching to a bank that holds no policy.
    #[error("bank {0} holds no checked policy; nothing was switched")]
    BankEmpty(u32),
    /// Writing to a bank that programs may be reading.
    #[error("bank {0} is in force or the fallback; it can't be written")]
    BankInUse(u32),
    /// There is no such bank.
    #[error("there is no policy bank {0}")]
    NoBank(u32),
    /// What was read back is not what was written.
    #[error("bank {bank} differs from its policy after writing: {what}; nothing was switched")]
    Verify {
        /// The bank.
        bank: u32,
        /// Which table.
        what: String,
    },
    /// There is no such interface here.
    #[error("{0}: no such interface in this network namespace")]
    NoInterface(String),
    /// Loopback is never guarded.
    #[error("{0}: a loopback interface is never attached to; take it out of `interfaces`")]
    Loopback(String),
    /// A link layer that the programs can't read.
    #[error(
        "{interface}: its link layer (ARPHRD {link_type}) is neither Ethernet nor a tunnel that carries IP alone, so its frames can't be read; take it out of `interfaces`"
    )]
    LinkType {
        /// The interface.
        interface: String,
        /// `ARPHRD_…` as the kernel says it.
        link_type: u16,
    },
    /// XDP on a device whose frames begin with IP.
    #[error(
        "{0}: its frames have no Ethernet header, which XDP expects; say hook = \"tc\" or \"auto\""
    )]
    WithoutEthernet(String),
    /// Something else is attached where this should be.
    #[error(
        "{interface}: {what} is taken by {holder}, which is not ours and is left alone; remove it, or {instead}"
    )]
    Taken {
        /// The interface.
        interface: String,
        /// Which place.
        what: &'static str,
        /// Who holds it.
        holder: SlotHolder,
        /// The way round it.
        instead: &'static str,
    },
    /// The kernel, or the driver, refuses to attach.
    #[error("{interface}: {what} is refused: {source}{hint}")]
    Attach {
        /// The interface.
        interface: String,
        /// Which attachment.
        what: &'static str,
        /// What the kernel said.
        source: io::Error,
        /// What to do, with its punctuation; may be empty.
        hint: &'static str,
    },
    /// After attaching, something else was found attached.
    #[error("{interface}: {what} shows program {found}, not ours ({ours}), right after attaching")]
    NotInForce {
        /// The interface.
        interface: String,
        /// Which attachment.
        what: &'static str,
        /// The program that is there; 0 for none.
        found: u32,
        /// The program that should be.
        ours: u32,
    },
    /// An attached program does not do with the probe what the policy in force does.
    #[error(
        "{interface}: enforcement is not proved: program {program} at {hook} {} a probe that the policy in force {}; start the agent again, and tell its maintainers if that does not help",
        does(!*.expected),
        does(*.expected)
    )]
    Unproved {
        /// The interface.
        interface: String,
        /// The hook.
        hook: &'static str,
        /// The program's id.
        program: u32,
        /// Whether the policy in force lets the probe pass.
        expected: bool,
    },
    /// Jiffies a second are none of those that kernels are built with.
    #[error(
        "{jiffies} jiffies in {nanoseconds} ns are none of 100, 250, 300 or 1000 a second; time-outs would be wrong, so nothing is loaded"
    )]
    Hz {
        /// Jiffies counted.
        jiffies: u64,
        /// Nanoseconds gone by.
        nanoseconds: u64,
    },
    /// The clock stood still.
    #[error("the kernel's jiffies did not advance within {0} s")]
    ClockStopped(u64),
}

const fn does(passes: bool) -> &'static str {
    if passes { "passes" } else { "denies" }
}

impl Error {
    /// Whether the process lacks a permission (exit code 77).
    #[must_use]
    pub fn is_permission(&self) -> bool {
        let errno = match self {
            Self::Privileges { .. } => return true,
            // The verifier's word for what it dislikes is EACCES, too.
            Self::Program { source, .. } => return source.raw_os_error() == Some(libc::EPERM),
            Self::System { source, .. } => source,
            Self::Attach { source, .. } => source,
            _ => return false,
        };
        errno.kind() == io::ErrorKind::PermissionDenied
    }

    /// Whether this kernel does not take the programs.
    #[must_use]
    pub fn is_refused_program(&self) -> bool {
        matches!(self, Self::Program { .. } | Self::ProgramUse { .. })
    }

    /// For `map_err` on a system call.
    pub(super) fn system(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::System { what, source }
    }

    /// For `map_err` on a map.
    pub(super) fn map(map: &'static str) -> impl FnOnce(MapError) -> Self {
        move |source| Self::Map {
            map,
            source: Box::new(source),
        }
    }

    /// For `map_err` on a program that is loaded.
    pub(super) fn program(program: &'static str) -> impl FnOnce(ProgramError) -> Self {
        move |source| Self::ProgramUse {
            program,
            source: Box::new(source),
        }
    }
}
/// An error with what led to it, where its own words do not hold that.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}
