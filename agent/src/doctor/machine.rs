//! What a doctor must know of a machine, as a value.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::dataplane::XdpFeatures;
use crate::dataplane::inspect::{Auto, Hooks, Offloads, TriedOut};
use crate::facts::{Facts, Interface};
use crate::host::glob;
use crate::host::schema::Hook;
use crate::rule::Forward;

/// A machine, looked at.
#[derive(Clone, Debug)]
pub struct Machine {
    /// What every command knows of it.
    pub facts: Facts,
    /// What the operator wants of it.
    pub configuration: Configuration,
    /// The kernel.
    pub kernel: Kernel,
    /// Interfaces, loopback left out, by name.
    pub devices: BTreeMap<String, Device>,
    /// Ids of the programs of ours that are attached.
    pub ours: Vec<u32>,
    /// Names of programs of others by id, where they may be seen.
    pub names: BTreeMap<u32, String>,
    /// journald.
    pub journal: Journal,
    /// The clock.
    pub clock: Clock,
    /// Octets of memory that can be had without swapping; `MemAvailable` of /proc/meminfo.
    pub available: Option<u64>,
    /// Who can send past the egress programs.
    pub senders: Senders,
}

/// The host's configuration.
#[derive(Clone, Debug)]
pub enum Configuration {
    /// There is no file of this name.
    Missing(String),
    /// It could not be read, and why.
    Unreadable(String),
    /// Read.
    Read(Configured),
}

/// What a configuration says, as far as it matters here.
#[derive(Clone, Debug, Default)]
pub struct Configured {
    /// Names and globs of interfaces to guard.
    pub interfaces: Vec<String>,
    /// Where ingress is to be judged.
    pub hook: Hook,
    /// What is said of forwarded packets.
    pub forward: Option<Forward>,
    /// Findings of error severity.
    pub errors: usize,
    /// Findings about services' ports in the ephemeral range: what, and the line to paste.
    pub ephemeral: Vec<(String, String)>,
    /// Octets of a bank with this policy; none where it does not compile.
    pub bank: Option<u64>,
    /// Octets of the flow tables.
    pub flows: u64,
}

/// The kernel.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// `uname -r`.
    pub release: String,
    /// What came of loading the programs.
    pub tried: Tried,
    /// Type information of the kernel itself.
    pub btf: bool,
    /// `net.core.bpf_jit_enable`, where it is there.
    pub jit: Option<u32>,
    /// `net.core.bpf_jit_harden`: 2 hardens programs of root, too.
    pub jit_harden: Option<u32>,
    /// The mode in /sys/kernel/security/lockdown, where it is there.
    pub lockdown: Option<String>,
    /// Capabilities that this process lacks.
    pub lacks: Vec<&'static str>,
    /// Capabilities that no process here can get.
    pub out_of_reach: Vec<&'static str>,
    /// Why no pins can lie where they should; none: they can.
    pub bpffs: Option<String>,
    /// TCX is there (Linux 6.6 and later); none: it could not be asked.
    pub tcx: Option<bool>,
}

/// What came of loading the programs.
#[derive(Clone, Debug)]
pub enum Tried {
    /// It was not tried, and why.
    Not(String),
    /// It failed.
    Failed(String),
    /// They load.
    Loaded(TriedOut),
}

/// What a driver and the kernel say of an interface.
#[derive(Clone, Debug)]
pub struct Device {
    /// The driver's name.
    pub driver: Option<String>,
    /// What `hook = "auto"` would take.
    pub auto: Auto,
    /// What its XDP can; none where the kernel does not say.
    pub features: Option<XdpFeatures>,
    /// Offloads; none where the driver does not say.
    pub offloads: Option<Offloads>,
    /// What is attached; none where it may not be asked.
    pub hooks: Option<Hooks>,
    /// Interfaces below it: members of a bond, ports of a bridge, the parent of a VLAN.
    pub lower: Vec<String>,
    /// Virtual functions that are turned on.
    pub virtual_functions: u32,
}

/// A limit on entries a time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RateLimit {
    /// The time; zero: no limit.
    pub interval: Duration,
    /// Entries; zero: no limit.
    pub burst: u32,
}

/// journald.
#[derive(Clone, Debug)]
pub struct Journal {
    /// Its socket takes entries.
    pub answers: bool,
    /// `Storage=`.
    pub storage: String,
    /// /var/log/journal is there.
    pub directory: bool,
    /// `RateLimitIntervalSec=` and `RateLimitBurst=`.
    pub limit: RateLimit,
    /// What our unit says instead.
    pub unit_limit: Option<RateLimit>,
    /// Octets that are free where it writes.
    pub free: Option<u64>,
}

/// The clock.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// Whether the kernel holds it for synchronized; none where it does not say.
    pub synchronized: Option<bool>,
}

/// A process with a packet socket.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Sender {
    /// The program, where it may be seen.
    pub program: Option<String>,
    /// The interface that the socket is bound to; none: all.
    pub interface: Option<String>,
}

/// Who can send past the egress programs.
#[derive(Clone, Debug, Default)]
pub struct Senders {
    /// Packet sockets.
    pub packet: Vec<Sender>,
    /// AF_XDP sockets.
    pub xdp: u32,
}

impl Machine {
    /// What the operator wants, where it could be read.
    pub(super) fn configured(&self) -> Option<&Configured> {
        match &self.configuration {
            Configuration::Read(configured) => Some(configured),
            _ => None,
        }
    }

    /// Whether an interface is to be guarded; without a configuration any may be.
    pub(super) fn guards(&self, interface: &str) -> bool {
        self.configured().is_none_or(|configured| {
            let mut patterns = configured.interfaces.iter();
            patterns.any(|pattern| glob(pattern, interface))
        })
    }

    /// Interfaces to be guarded that are here.
    pub(super) fn guarded(&self) -> impl Iterator<Item = (&Interface, &Device)> {
        let known = self.facts.interfaces.iter();
        known.filter_map(|interface| {
            let device = self.devices.get(&interface.name)?;
            self.guards(&interface.name).then_some((interface, device))
        })
    }

    /// Whether a packet that comes in by the interface passes programs of ours at one below it.
    pub(super) fn guarded_below(&self, interface: &str) -> bool {
        let Some(device) = self.devices.get(interface) else {
            return false;
        };
        !device.lower.is_empty()
            && device
                .lower
                .iter()
                .all(|lower| self.guards(lower) || self.guarded_below(lower))
    }

    /// A program of somebody else, in words.
    pub(super) fn named(&self, program: u32) -> String {
        match self.names.get(&program) {
            Some(name) => format!("program {program} ({name})"),
            None => format!("program {program}"),
        }
    }
}
