//! Facts about this host, read from this host: the one place that looks.
//!
//! What can't be read is told as a note and left at what is safe to assume; only the interfaces are indispensable. Everything is asked
//! in the caller's network namespace: interfaces by netlink, the rest by /proc.

mod leases;
mod links;
mod names;
pub(crate) mod netlink;
pub(crate) mod open;
mod operator;
mod resolvers;
mod sockets;
mod ssh;

use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;

pub use names::{Answers, Lookup};
pub use operator::own_connections;
pub use sockets::Connection;

use super::{Facts, Interface, PortRange};

/// How long names may take where somebody waits for them.
pub const NAMES_PATIENCE: Duration = Duration::from_secs(5);

/// What is collected besides what always is.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Host names to resolve.
    pub names: Vec<String>,
    /// How long to wait for the names; zero: they are left out.
    pub patience: Duration,
    /// Sockets that listen, too.
    pub listeners: bool,
}

/// Facts, and what could not be learnt.
#[derive(Clone, Debug)]
pub struct Collected {
    /// The facts.
    pub facts: Facts,
    /// What could not be learnt, and what stands in its place.
    pub notes: Vec<String>,
}

/// Looks at this host.
///
/// # Errors
///
/// Where the kernel does not say which interfaces there are.
pub fn collect(wanted: &Wanted) -> anyhow::Result<Collected> {
    let mut notes = Vec::new();
    // Names take longest: they are asked first, and waited for last.
    let lookup = Lookup::start(&wanted.names);
    let interfaces = interfaces()?;
    let resolvers = resolvers::in_force(&mut notes);
    let ephemeral = ephemeral(&mut notes);
    let reserved = text("/proc/sys/net/ipv4/ip_local_reserved_ports").unwrap_or_default();
    let cpus = match aya::util::online_cpus() {
        Ok(online) => u32::try_from(online.len()).unwrap_or(1).max(1),
        Err((what, error)) => {
            notes.push(format!("{what}: {error}; one CPU is assumed"));
            1
        }
    };
    let ssh_ports = ssh::ports(&mut notes);
    let listeners = wanted.listeners.then(|| sockets::listeners(&mut notes));
    let names = lookup.wait(wanted.patience);
    notes.extend(names.complaints());
    Ok(Collected {
        facts: Facts {
            schema: 1,
            time: jiff::Timestamp::now(),
            hostname: text("/proc/sys/kernel/hostname").unwrap_or_default(),
            kernel: text("/proc/sys/kernel/osrelease").unwrap_or_default(),
            interfaces,
            resolvers,
            names: names.resolved,
            ephemeral,
            reserved_ports: port_ranges(&reserved),
            ssh_ports,
            listeners,
            hz: None,
            cpus,
        },
        notes,
    })
}

/// The facts that change by themselves while a host runs, and are cheap to look at: interfaces and resolvers.
///
/// # Errors
///
/// As [`collect`].
pub fn changing() -> anyhow::Result<(Vec<Interface>, Vec<IpAddr>)> {
    Ok((interfaces()?, resolvers::in_force(&mut Vec::new())))
}

/// TCP connections that are established; none where they can't be listed.
#[must_use]
pub fn connections() -> Vec<Connection> {
    sockets::tcp_connections()
}

fn interfaces() -> anyhow::Result<Vec<Interface>> {
    let mut interfaces = links::interfaces().context("asking the kernel for its interfaces")?;
    for interface in &mut interfaces {
        let name = &interface.name;
        interface.forwards_v4 = flag(&format!("/proc/sys/net/ipv4/conf/{name}/forwarding"));
        interface.forwards_v6 = flag(&format!("/proc/sys/net/ipv6/conf/{name}/forwarding"));
        interface.has_lease |= leases::known(interface);
    }
    Ok(interfaces)
}

/// A small file's text without the line's end.
fn text(path: impl AsRef<Path>) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    Some(text.trim_end().to_owned())
}

fn flag(path: &str) -> bool {
    text(path).is_some_and(|value| value != "0")
}

/// net.ipv4.ip_local_port_range holds for IPv6 as well.
fn ephemeral(notes: &mut Vec<String>) -> PortRange {
    const PATH: &str = "/proc/sys/net/ipv4/ip_local_port_range";
    let read = text(PATH).and_then(|text| {
        let mut words = text.split_whitespace().map(str::parse);
        Some(PortRange {
            first: words.next()?.ok()?,
            last: words.next()?.ok()?,
        })
    });
    read.unwrap_or_else(|| {
        notes.push(format!(
            "{PATH} can't be read; the kernel's default 32768-60999 is assumed"
        ));
        PortRange {
            first: 32_768,
            last: 60_999,
        }
    })
}

/// The kernel's notation of a bitmap: `8080,9000-9010`.
fn port_ranges(text: &str) -> Vec<PortRange> {
    let one = |item: &str| {
        let (first, last) = item.split_once('-').unwrap_or((item, item));
        Some(PortRange {
            first: first.trim().parse().ok()?,
            last: last.trim().parse().ok()?,
        })
    };
    text.split(',').filter_map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_ports_are_read() {
        let range = |first, last| PortRange { first, last };
        for (text, expected) in [
            ("", vec![]),
            ("8080", vec![range(8080, 8080)]),
            ("8080,9000-9010", vec![range(8080, 8080), range(9000, 9010)]),
            ("junk,70000,1-2", vec![range(1, 2)]),
        ] {
            assert_eq!(port_ranges(text), expected, "{text}");
        }
    }

    #[test]
    fn this_host_has_a_loopback_and_a_time() {
        let collected = collect(&Wanted {
            listeners: true,
            ..Wanted::default()
        })
        .unwrap();
        let facts = &collected.facts;
        let loopback = facts.interfaces.iter().find(|it| it.name == "lo").unwrap();
        assert_eq!((loopback.link_type, loopback.index), (772, 1));
        assert!(facts.cpus >= 1 && facts.ephemeral.first < facts.ephemeral.last);
        assert!(!facts.kernel.is_empty() && facts.listeners.is_some());
        // What is written out is what a build server reads in.
        let text = serde_json::to_string(facts).unwrap();
        assert_eq!(&serde_json::from_str::<Facts>(&text).unwrap(), facts);
    }
}
