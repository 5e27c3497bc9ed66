//! What `portcullis doctor` asks of the kernel: by trying it, and without touching what is in force.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::drivers::{self, Advice};
use super::error::Error;
use super::load::{Dataplane, Options};
use super::netdev::{self, XdpFeatures};
use super::netlink::{self, Parent};
use super::pinned::{self, LinkView};
use super::pins::Pins;
use super::sizes::BankSizes;
use super::sys::{self, AttachType};
use super::{detach_all, probe};

/// What came of loading the shipped programs, without attaching them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TriedOut {
    /// Frames in several buffers are taken (Linux 5.18 and later).
    pub frags: bool,
    /// Jiffies a second, as measured.
    pub hz: u32,
    /// How long verifier and compiler took.
    pub took: Duration,
    /// How long the wait for running programs takes, which a bank that was left needs.
    pub grace: Duration,
}

/// Loads every program of `object` with small tables, measures, and removes all of it. Pins lie beside `root`, on the same file system.
///
/// # Errors
/// What keeps the agent from working on this host.
pub fn try_out(object: &[u8], root: &Path) -> Result<TriedOut, Error> {
    let mut name = root.as_os_str().to_owned();
    name.push("-doctor");
    let scratch = PathBuf::from(name);
    // What a doctor that was killed left.
    detach_all(&scratch)?;
    let begun = Instant::now();
    let loaded = load_and_measure(object, &scratch, begun);
    let removed = detach_all(&scratch);
    let found = loaded?;
    removed?;
    Ok(found)
}

fn load_and_measure(object: &[u8], scratch: &Path, begun: Instant) -> Result<TriedOut, Error> {
    const SMALL: u32 = 1024;
    let sizes = BankSizes {
        nodes: 1,
        v6_nodes: 1,
        cell_blocks: 1,
        rules: 1,
    };
    let options = Options {
        root: scratch.to_path_buf(),
        flows_new: SMALL,
        flows_established: SMALL,
        ..Options::default()
    };
    let loaded = Dataplane::load(object, sizes, &options)?;
    let took = begun.elapsed();
    let waiting = Instant::now();
    super::grace()?;
    Ok(TriedOut {
        frags: loaded.takes_frags(),
        hz: loaded.hz(),
        took,
        grace: waiting.elapsed(),
    })
}

/// Programs and filters on the hooks of an interface, ours among them, in the order in which they run.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Hooks {
    /// Programs at XDP; mostly one.
    pub xdp: Vec<u32>,
    /// Programs at TCX ingress and egress; none where the kernel has no TCX.
    pub tcx: Option<[Vec<u32>; 2]>,
    /// Filters at clsact ingress and egress: kind, and the id of a BPF program.
    pub clsact: [Vec<(String, Option<u32>)>; 2],
}

/// What is attached to an interface.
///
/// # Errors
/// What the kernel says; EPERM without CAP_NET_ADMIN.
pub fn hooks(index: u32) -> io::Result<Hooks> {
    let tcx = |hook| match sys::tcx_programs(index, hook) {
        Ok(ids) => Ok(Some(ids)),
        // before 6.6, or built without CONFIG_NET_XGRESS
        Err(error) if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EOPNOTSUPP)) => {
            Ok(None)
        }
        Err(error) => Err(error),
    };
    let clsact = |parent| -> io::Result<Vec<(String, Option<u32>)>> {
        let found = netlink::filters(index, parent)?;
        Ok(found.into_iter().map(|it| (it.kind, it.program)).collect())
    };
    Ok(Hooks {
        xdp: netlink::interface(index)?.xdp.ids(),
        tcx: tcx(AttachType::TcxIngress)?
            .zip(tcx(AttachType::TcxEgress)?)
            .map(|(ingress, egress)| [ingress, egress]),
        clsact: [clsact(Parent::Ingress)?, clsact(Parent::Egress)?],
    })
}

/// What of ours is attached, of every version, by its pins under `root`.
///
/// # Errors
/// Missing privileges, or what the kernel says of a pin.
pub fn ours(root: &Path) -> Result<Vec<LinkView>, Error> {
    let mut found = Vec::new();
    if !root.exists() {
        return Ok(found);
    }
    for pins in Pins::new(root).all()? {
        found.extend(pinned::links(&pins)?);
    }
    Ok(found)
}

/// The name of a program that somebody else loaded; needs CAP_SYS_ADMIN.
#[must_use]
pub fn program_name(id: u32) -> Option<String> {
    let mut loaded = aya::programs::loaded_programs().filter_map(Result::ok);
    let found = loaded.find(|program| program.id() == id)?;
    let name = found.name_as_str()?.to_owned();
    (!name.is_empty()).then_some(name)
}

/// What `hook = "auto"` takes for a driver's interface.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Auto {
    /// XDP, else TC.
    pub xdp: bool,
    /// Why.
    pub why: String,
}

/// What `hook = "auto"` takes for the driver of an interface, and its name.
///
/// # Errors
/// What the kernel says of the interface.
pub fn auto(interface: &str) -> io::Result<(Option<String>, Auto)> {
    let driver = drivers::driver(interface)?;
    let (advice, why) = drivers::advice(driver.as_deref());
    let xdp = advice == Advice::Xdp;
    Ok((driver, Auto { xdp, why }))
}

/// What the driver's XDP can; `None` where the kernel (before 6.3) does not say.
///
/// # Errors
/// What the kernel says of the interface.
pub fn xdp_features(index: u32) -> io::Result<Option<XdpFeatures>> {
    netdev::xdp_features(index)
}

/// Offloads that change what a program at XDP sees.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Offloads {
    /// The card takes the VLAN tag out of a frame before XDP.
    pub vlan_taken_out: bool,
    /// The card merges segments, which native XDP can't have.
    pub large_receive: bool,
}

/// The offloads of an interface.
///
/// # Errors
/// What the kernel says of the interface.
pub fn offloads(interface: &str) -> io::Result<Offloads> {
    const ETHTOOL_GFLAGS: u32 = 0x25;
    const LRO: u32 = 1 << 15;
    const RXVLAN: u32 = 1 << 8;
    let flags = drivers::ethtool_value(interface, ETHTOOL_GFLAGS)?;
    Ok(Offloads {
        vlan_taken_out: flags & RXVLAN != 0,
        large_receive: flags & LRO != 0,
    })
}

/// Capabilities that loading and attaching need, and this set lacks; bits as in /proc/PID/status.
#[must_use]
pub fn capabilities_missing(set: u64) -> Vec<&'static str> {
    probe::missing(set)
}

/// Whether pins can lie there.
///
/// # Errors
/// No BPF file system, or what the kernel says of the directory.
pub fn bpffs(root: &Path) -> Result<(), Error> {
    probe::bpffs(root)
}
