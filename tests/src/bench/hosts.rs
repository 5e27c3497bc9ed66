//! Throw-away hosts to measure on: one that is guarded, one that floods or asks it, on a cable.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use portcullis::dataplane::{Counters, DEFAULT_ROOT, Pinned};

use crate::link::{cable, mac};
use crate::netns::Namespace;
use crate::packet::Macs;

/// The guarded host.
pub const GUARDED: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
/// The other one.
pub const PEER: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 2);
/// A port that the peer is admitted to, and nobody else; where streams are measured, their port.
pub const OPEN: u16 = 5201;
/// The same, where questions are answered.
pub const QUESTIONS: u16 = 5202;

/// A guarded host and its peer.
#[derive(Debug)]
pub struct Pair {
    /// The guarded host.
    pub guarded: Namespace,
    /// The other end of the cable.
    pub peer: Namespace,
    /// From the peer to the guarded host.
    pub macs: Macs,
}

impl Pair {
    /// Two hosts on a cable, `eth0` at both ends. Nobody says anything unasked, and no route filters what comes in.
    ///
    /// # Errors
    /// Without root, or where the kernel has no veth.
    pub fn new() -> Result<Self> {
        let (guarded, peer) = (Namespace::new("guarded")?, Namespace::new("peer")?);
        for host in [&guarded, &peer] {
            for scope in ["all", "default"] {
                host.sysctl(&format!("net/ipv6/conf/{scope}/disable_ipv6"), "1")?;
                host.sysctl(&format!("net/ipv4/conf/{scope}/rp_filter"), "0")?;
            }
        }
        let mut pair = Self {
            guarded,
            peer,
            macs: Macs {
                from: [0; 6],
                to: [0; 6],
            },
        };
        pair.plug("eth0", GUARDED, PEER)?;
        pair.macs = pair.macs_of("eth0")?;
        let [a, b, c, d, e, f] = pair.macs.from;
        let address = format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}");
        let host = &pair.guarded;
        host.ip(&format!("route add default via {PEER}"))?;
        host.ip(&format!(
            "neighbour replace {PEER} lladdr {address} dev eth0 nud permanent"
        ))?;
        Ok(pair)
    }

    /// One more cable.
    ///
    /// # Errors
    /// As [`cable`].
    pub fn plug(&self, interface: &str, guarded: Ipv4Addr, peer: Ipv4Addr) -> Result<()> {
        let [guarded, peer] = [guarded, peer].map(|address| format!("{address}/24"));
        cable(
            (&self.guarded, interface, &[&guarded]),
            (&self.peer, interface, &[&peer]),
        )
    }

    /// From the peer to the guarded host.
    ///
    /// # Errors
    /// When there is no such interface.
    pub fn macs_of(&self, interface: &str) -> Result<Macs> {
        Ok(Macs {
            from: mac(&self.peer, interface)?,
            to: mac(&self.guarded, interface)?,
        })
    }

    /// The guarded host reads frames as network cards with interrupts do (NAPI), also without a program at XDP.
    ///
    /// # Errors
    /// Where ethtool is missing or refuses.
    pub fn polled(&self) -> Result<()> {
        self.guarded.text("ethtool -K eth0 gro on").map(drop)
    }
}

/// A count of an interface, by its name in sysfs.
///
/// # Errors
/// When there is none.
pub fn statistic(host: &Namespace, interface: &str, name: &str) -> Result<u64> {
    let path = format!("/sys/class/net/{interface}/statistics/{name}");
    host.read(&path)?.trim().parse().context(path)
}

/// TCP segments that came as far as the host's TCP.
///
/// # Errors
/// When the kernel's table can't be read.
pub fn segments(host: &Namespace) -> Result<u64> {
    // /proc/net is the process's; thread-self is this thread's. The first line that begins so has the names, the second the numbers.
    let table = host.read("/proc/thread-self/net/snmp")?;
    let mut lines = table.lines().filter_map(|line| line.strip_prefix("Tcp: "));
    let (names, numbers) = (lines.next(), lines.next());
    let mut columns = names
        .unwrap_or_default()
        .split(' ')
        .zip(numbers.unwrap_or_default().split(' '));
    let segments = columns.find(|(name, _)| *name == "InSegs");
    segments
        .and_then(|(_, number)| number.parse().ok())
        .context("InSegs of /proc/net/snmp")
}

/// The calling thread stays on this processor from now on.
///
/// # Errors
/// Where there is no such processor.
pub fn pin_to(processor: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(processor)?;
    sched_setaffinity(Pid::from_raw(0), &set).with_context(|| format!("processor {processor}"))
}

/// What is pinned on a host, which must be something.
///
/// # Errors
/// Where nothing is, and what `ask` says.
pub fn pinned<T: Send>(
    host: &Namespace,
    ask: impl FnOnce(&Pinned) -> Result<T> + Send,
) -> Result<T> {
    host.enter(|| {
        let pinned = Pinned::open(Path::new(DEFAULT_ROOT))?;
        ask(&pinned.context("nothing is pinned")?)
    })?
}

/// What the programs on a host have counted.
///
/// # Errors
/// As [`pinned`].
pub fn counters(host: &Namespace) -> Result<Counters> {
    pinned(host, |pinned| Ok(pinned.counters()?))
}

/// A configuration of the agent: its peer is admitted to [`OPEN`] and [`QUESTIONS`] in both directions, and `more`. Nothing else is, also no failsafe to anyone,
/// so that each packet of a flood is denied.
pub fn configuration(hook: &str, interfaces: &str, egress: &str, more: &str) -> String {
    format!(
        r#"schema = 1
interfaces = [{interfaces}]
hook = "{hook}"

[default]
ingress = "deny"
egress = "{egress}"

[failsafe.ssh]
tcp = [22]
peers = "{PEER}"

[baseline]
dns = false
dhcp-client = false
ntp = false

[allow.served]
direction = "ingress"
tcp = [{OPEN}, {QUESTIONS}]
peers = "{PEER}"
reason = "what is measured"

[allow.asked]
direction = "egress"
tcp = [{OPEN}, {QUESTIONS}]
peers = "{PEER}"
reason = "what is measured"
{more}"#
    )
}

/// Runs `nft -f` with this on the guarded host.
///
/// # Errors
/// Where nft is missing or refuses.
pub fn nft(host: &Namespace, rules: &str) -> Result<()> {
    const FILE: &str = "/run/rules.nft";
    host.write(FILE, rules)?;
    let done = host.output(&format!("nft -f {FILE}"), crate::netns::HELPER_LIMIT)?;
    ensure!(
        done.status.success(),
        "nft (Debian's package nftables): {}",
        String::from_utf8_lossy(&done.stderr).trim()
    );
    Ok(())
}

/// The guarded host's address.
pub fn guarded() -> IpAddr {
    IpAddr::V4(GUARDED)
}
