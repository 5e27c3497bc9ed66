//! Facts about a host, as a value: the third input besides policies and configuration.
//!
//! Collected at the edge, passed in, and written out by `portcullis facts`, so that a build server can check a configuration for another host.

pub mod collect;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::ops::RangeInclusive;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// Everything about a host that a policy's meaning depends on.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Facts {
    /// Version of this shape: 1.
    pub schema: u32,
    /// When they were collected. Expiry is judged by it.
    pub time: jiff::Timestamp,
    /// The host's name, for people.
    pub hostname: String,
    /// `uname -r`, for people.
    pub kernel: String,
    /// Network interfaces, loopback too.
    pub interfaces: Vec<Interface>,
    /// Resolvers in force (resolv.conf; behind a local stub, the stub's upstreams where it says them).
    pub resolvers: Vec<IpAddr>,
    /// Host names and what they last resolved to.
    pub names: BTreeMap<String, Name>,
    /// `net.ipv4.ip_local_port_range`.
    pub ephemeral: PortRange,
    /// `net.ipv4.ip_local_reserved_ports`.
    pub reserved_ports: Vec<PortRange>,
    /// TCP ports that sshd's configuration names and those it listens on; empty where neither is known.
    pub ssh_ports: Vec<u16>,
    /// Sockets that listen here, where they were asked for.
    pub listeners: Option<Vec<Listener>>,
    /// Jiffies a second, where they were measured; else 250 is assumed for time-outs in print.
    pub hz: Option<u32>,
    /// CPUs that a budget is shared among.
    pub cpus: u32,
}

/// A network interface.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its index.
    pub index: u32,
    /// ARPHRD_ number: 1 Ethernet, 772 loopback, 65534 none.
    pub link_type: u16,
    /// Administratively up.
    pub up: bool,
    /// Octets.
    pub mtu: u32,
    /// Kernel driver, where there is one.
    pub driver: Option<String>,
    /// Bond or bridge that it is a member of.
    pub master: Option<String>,
    /// Device that it is made upon, which all its packets pass, too: a VLAN's, a macvlan's.
    pub parent: Option<String>,
    /// Addresses.
    pub addresses: Vec<InterfaceAddress>,
    /// Whether IPv4 packets that arrive here may be forwarded.
    pub forwards_v4: bool,
    /// Whether IPv6 packets that arrive here may be forwarded.
    pub forwards_v6: bool,
    /// Whether a DHCP lease is known here.
    pub has_lease: bool,
}

/// As many devices as one stands upon, one below the other, at most (the kernel's own limit, MAX_NEST_DEV).
const STACKED: usize = 8;

impl Facts {
    /// The devices directly below one: a bond's or a bridge's members, a VLAN's parent.
    pub fn below<'a>(&'a self, upper: &'a Interface) -> impl Iterator<Item = &'a Interface> {
        self.interfaces.iter().filter(|it| {
            it.master.as_ref() == Some(&upper.name) || upper.parent.as_ref() == Some(&it.name)
        })
    }

    /// Whether a packet of this device passes one below it of which this holds: then it is seen there.
    pub fn any_below(&self, upper: &Interface, holds: &impl Fn(&Interface) -> bool) -> bool {
        self.any_within(upper, holds, STACKED)
    }

    fn any_within(
        &self,
        upper: &Interface,
        holds: &impl Fn(&Interface) -> bool,
        depth: usize,
    ) -> bool {
        depth > 0
            && self
                .below(upper)
                .any(|it| holds(it) || self.any_within(it, holds, depth - 1))
    }

    /// Whether every packet of this device passes one of which this holds: itself, or all that it lies upon.
    pub fn wholly(&self, device: &Interface, holds: &impl Fn(&Interface) -> bool) -> bool {
        self.wholly_within(device, holds, STACKED)
    }

    fn wholly_within(
        &self,
        device: &Interface,
        holds: &impl Fn(&Interface) -> bool,
        depth: usize,
    ) -> bool {
        if holds(device) {
            return true;
        }
        let mut below = self.below(device).peekable();
        depth > 0
            && below.peek().is_some()
            && below.all(|it| self.wholly_within(it, holds, depth - 1))
    }
}

/// An address of an interface.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InterfaceAddress {
    /// Address and prefix length, host bits kept.
    pub address: IpNet,
    /// The subnet's broadcast address.
    pub broadcast: Option<Ipv4Addr>,
}

/// What a name resolved to.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Name {
    /// Addresses of the last good answer.
    pub addresses: Vec<IpAddr>,
    /// When it came.
    pub at: jiff::Timestamp,
}

/// Ports from `first` to `last`, both included.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PortRange {
    /// First port.
    pub first: u16,
    /// Last port.
    pub last: u16,
}

impl PortRange {
    /// As a range.
    pub fn range(self) -> RangeInclusive<u16> {
        self.first..=self.last
    }
}

/// A socket that listens.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listener {
    /// `tcp` or `udp`.
    pub transport: String,
    /// Local address; unspecified where it listens on all.
    pub address: IpAddr,
    /// Local port.
    pub port: u16,
    /// The program, where it may be seen.
    pub program: Option<String>,
}

impl Facts {
    /// Jiffies a second for time-outs: measured, or Debian's.
    pub fn hz_or_default(&self) -> u32 {
        self.hz.unwrap_or(250)
    }

    /// Every address of this host, loopback left out.
    pub fn own_addresses(&self) -> impl Iterator<Item = IpAddr> + '_ {
        const LOOPBACK: u16 = 772;
        self.interfaces
            .iter()
            .filter(|interface| interface.link_type != LOOPBACK)
            .flat_map(|interface| {
                interface
                    .addresses
                    .iter()
                    .map(|address| address.address.addr())
            })
    }

    /// Whether any interface forwards in either family.
    pub fn forwards(&self) -> bool {
        self.interfaces
            .iter()
            .any(|interface| interface.forwards_v4 || interface.forwards_v6)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `eth0` and `eth1` in `bond0`, a VLAN upon it, and a VLAN upon `eth2`.
    fn host() -> Facts {
        let device = |name: &str, master: Option<&str>, parent: Option<&str>| Interface {
            name: name.to_owned(),
            index: 2,
            link_type: 1,
            up: true,
            mtu: 1500,
            driver: None,
            master: master.map(str::to_owned),
            parent: parent.map(str::to_owned),
            addresses: Vec::new(),
            forwards_v4: false,
            forwards_v6: false,
            has_lease: false,
        };
        Facts {
            interfaces: vec![
                device("eth0", Some("bond0"), None),
                device("eth1", Some("bond0"), None),
                device("eth2", None, None),
                device("bond0", None, None),
                device("bond0.7", None, Some("bond0")),
                device("eth2.9", None, Some("eth2")),
                // What can't be, in a file that somebody wrote.
                device("a", Some("b"), None),
                device("b", Some("a"), None),
            ],
            ..crate::compile::resolve::tests::facts()
        }
    }

    /// Which of the devices are the lowest of those listed, and which are seen wholly.
    #[track_caller]
    fn check(listed: &[&str], lowest: &[&str], wholly: &[&str]) {
        let facts = host();
        let listed = |it: &Interface| listed.contains(&it.name.as_str());
        let named = |holds: &dyn Fn(&Interface) -> bool| -> Vec<&str> {
            let found = facts.interfaces.iter().filter(|it| holds(it));
            found.map(|it| it.name.as_str()).collect()
        };
        let found = named(&|it| listed(it) && !facts.any_below(it, &listed));
        assert_eq!(found, lowest);
        assert_eq!(named(&|it| facts.wholly(it, &listed)), wholly);
    }

    #[test]
    fn of_a_stack_the_lowest() {
        check(&["bond0"], &["bond0"], &["bond0", "bond0.7"]);
        check(&["eth0", "bond0"], &["eth0"], &["eth0", "bond0", "bond0.7"]);
        check(&["eth0"], &["eth0"], &["eth0"]);
        check(
            &["eth0", "eth1", "bond0.7"],
            &["eth0", "eth1"],
            &["eth0", "eth1", "bond0", "bond0.7"],
        );
        check(&["eth2", "eth2.9"], &["eth2"], &["eth2", "eth2.9"]);
        check(&["eth2.9"], &["eth2.9"], &["eth2.9"]);
        check(
            &["eth1", "eth2"],
            &["eth1", "eth2"],
            &["eth1", "eth2", "eth2.9"],
        );
        check(&[], &[], &[]);
    }
}
