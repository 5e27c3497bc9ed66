//! What an explanation is judged by: the rules in force, every documented flow and where it stands on this host, who plays which role.
//! Owned, so that it lives as long as its policy does, whatever becomes of the configuration it was made from.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::RangeInclusive;

use agent_common::event::Direction;
use agent_common::tables::{Plane, other};
use ipnet::IpNet;

use crate::events::decode::Transport;
use crate::policy::{PortRange, Transport as Carrier};
use crate::rule::{DefaultAction, Peers, Precedence, RowId};

/// Everything that explanations under one policy need.
#[derive(Clone, Debug, Default)]
pub struct Knowledge {
    /// The rules, by their index in events.
    pub(super) rules: Vec<KnownRule>,
    /// Where to find the rules of a port.
    pub(super) index: PortIndex,
    /// The flows of all products: the selected ones first, in the order of the configuration.
    pub(super) flows: Vec<KnownFlow>,
    /// Peers as the configuration has them, by product and role or group.
    pub(super) bindings: Vec<Binding>,
    /// `allow`s that are over.
    pub(super) expired: Vec<ExpiredAllow>,
    /// What happens to a flow that no rule names: ingress, egress.
    pub(super) defaults: [DefaultAction; 2],
}

/// A rule in force.
#[derive(Clone, Debug)]
pub(super) struct KnownRule {
    /// Its id.
    pub(super) id: String,
    /// The rows that it does.
    pub(super) rows: Vec<RowId>,
    /// Where it stands in the order of judgement.
    pub(super) precedence: Precedence,
    /// Whom it admits, or blocks.
    pub(super) peers: Peers,
    /// It reaches multicast or broadcast groups, not single hosts.
    pub(super) to_groups: bool,
    /// The flows that it does, as places in [`Knowledge::flows`].
    pub(super) flows: Vec<usize>,
    /// Where its peers are written, unless roles say them.
    pub(super) written: Option<Written>,
}

/// A list of peers in the configuration.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Written {
    /// The table's header without brackets.
    pub(super) table: String,
    /// The key in it.
    pub(super) key: String,
    /// The entries as they are written; sets as `@name`.
    pub(super) entries: Vec<String>,
}

/// Whom a role or a group of a product is bound to.
#[derive(Clone, Debug)]
pub(super) struct Binding {
    /// The product's name in the configuration.
    pub(super) product: String,
    /// The role or the group.
    pub(super) role: String,
    /// How it is written.
    pub(super) written: Written,
    /// Whom it admits.
    pub(super) peers: Peers,
}

/// An `allow` that is over.
#[derive(Clone, Debug)]
pub(super) struct ExpiredAllow {
    /// `allow/NAME`.
    pub(super) id: String,
    /// Its name.
    pub(super) name: String,
    /// When it ended, as it is written.
    pub(super) ended: String,
    /// Its places.
    pub(super) places: Vec<Place>,
    /// Whom it admitted.
    pub(super) peers: Peers,
    /// Why it was there.
    pub(super) reason: String,
}

/// A table of port classes, and a range in it.
pub(super) type Place = (Plane, RangeInclusive<u16>);

/// A documented flow over one transport.
#[derive(Clone, Debug)]
pub(super) struct KnownFlow {
    /// The row.
    pub(super) row: RowId,
    /// The product's name in the configuration; the policy's id where the product is not selected.
    pub(super) product: String,
    /// The service in the vendor's word.
    pub(super) service: String,
    /// The roles that begin it.
    pub(super) from: Vec<String>,
    /// The roles (or the group) that are asked.
    pub(super) to: Vec<String>,
    /// It is sent to a multicast or broadcast group.
    pub(super) via_group: bool,
    /// This host plays one of `from`.
    pub(super) leaves: bool,
    /// This host plays one of `to`.
    pub(super) comes: bool,
    /// What carries it.
    pub(super) carrier: Carrier,
    /// Ports in force; those of a product that is not selected are the documented ones.
    pub(super) ports: Vec<PortRange>,
    /// Documented defaults that are not in force: the port's name and the default.
    pub(super) moved: Vec<(String, PortRange)>,
    /// Ports that have a name in the document, each with what is in force; none where the product is not selected.
    pub(super) named: Vec<(String, Vec<PortRange>)>,
    /// Where it stands.
    pub(super) state: State,
}

/// Where a documented flow stands on this host.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum State {
    /// A rule does it.
    Open,
    /// It would be open, but nobody is at the other end.
    Unbound,
    /// The operator left its row out, for this reason.
    Skipped(String),
    /// It hangs on options.
    Option(Vec<Need>),
    /// It hangs on versions.
    Version(Vec<Need>),
    /// It belongs to other topologies.
    Topology(Need),
    /// It stays inside a host.
    HostOnly(String),
    /// This host plays none of its roles.
    OtherRole,
    /// Its product is not selected here.
    OtherProduct,
}

/// What would have to be said for a row to hold.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Need {
    /// The line that says it.
    pub(super) line: String,
    /// What the row has to do with it, as the rest of a sentence about the row.
    pub(super) words: String,
}

impl KnownFlow {
    /// Whether the port is one of those in force.
    pub(super) fn has(&self, port: u16) -> bool {
        self.ports.iter().any(|range| range.contains(port))
    }

    /// Whether this host is at the end that the direction asks for.
    pub(super) fn goes(&self, direction: Direction) -> bool {
        match (&self.state, direction) {
            (State::HostOnly(_), _) => self.comes || self.leaves,
            (_, Direction::Ingress) => self.comes,
            (_, Direction::Egress) => self.leaves,
        }
    }

    /// Whether the role stands at one end only: others than the hosts of the service itself.
    pub(super) fn is_strange(&self, role: &str) -> bool {
        let at = |list: &[String]| list.iter().any(|it| it == role);
        !(at(&self.from) && at(&self.to))
    }

    /// The roles at the other end.
    pub(super) fn others(&self, direction: Direction) -> &[String] {
        match direction {
            Direction::Ingress => &self.from,
            Direction::Egress => &self.to,
        }
    }
}

/// Rules by port: single ports in a map, ranges in a list.
#[derive(Clone, Debug, Default)]
pub(super) struct PortIndex {
    single: BTreeMap<(Plane, u16), Vec<usize>>,
    ranges: Vec<(Place, usize)>,
}

impl PortIndex {
    pub(super) fn add(&mut self, places: &[Place], rule: usize) {
        for (plane, range) in places {
            if range.start() == range.end() {
                let list = self.single.entry((*plane, *range.start())).or_default();
                if list.last() != Some(&rule) {
                    list.push(rule);
                }
            } else {
                self.ranges.push(((*plane, range.clone()), rule));
            }
        }
    }

    /// The rules with this port, in the order of judgement.
    pub(super) fn at(&self, plane: Plane, port: u16) -> Vec<usize> {
        let mut found: Vec<usize> = self.single.get(&(plane, port)).cloned().unwrap_or_default();
        let wide = self.ranges.iter();
        let wide = wide.filter(|((at, range), _)| *at == plane && range.contains(&port));
        found.extend(wide.map(|(_, rule)| *rule));
        found.sort_unstable();
        found.dedup();
        found
    }
}

/// Whether an address is among the peers.
pub(super) fn admits(peers: &Peers, address: Option<IpAddr>) -> bool {
    match (peers, address) {
        (Peers::Any, _) => true,
        (Peers::Prefixes(_), None) => false,
        (Peers::Prefixes(prefixes), Some(address)) => prefixes
            .iter()
            .any(|prefix: &IpNet| prefix.contains(&address)),
    }
}

/// The places that a packet may be judged at, the plainest first; none for what is no IP.
pub(super) fn places(direction: Direction, transport: Transport, port: u16) -> Vec<(Plane, u16)> {
    let (tcp, udp, others) = match direction {
        Direction::Ingress => (Plane::IngressTcp, Plane::IngressUdp, Plane::IngressOther),
        Direction::Egress => (Plane::EgressTcp, Plane::EgressUdp, Plane::EgressOther),
    };
    match transport {
        Transport::Tcp => vec![(tcp, port)],
        Transport::Udp => {
            let mut places = vec![(udp, port)];
            places.extend(match port {
                67 | 68 => Some((others, other::DHCP4)),
                546 | 547 => Some((others, other::DHCP6)),
                _ => None,
            });
            places
        }
        Transport::Icmp(kind, _) => vec![(others, other::icmp(kind))],
        Transport::Icmpv6(kind, _) => vec![(others, other::icmpv6(kind))],
        Transport::Protocol(number) => vec![(others, other::protocol(number))],
        Transport::Link(_) => Vec::new(),
    }
}

/// What rows call the transport; none where rows can't name it.
pub(super) fn carrier(transport: Transport) -> Option<Carrier> {
    match transport {
        Transport::Tcp => Some(Carrier::Tcp),
        Transport::Udp => Some(Carrier::Udp),
        Transport::Protocol(number) => Some(Carrier::Protocol(number)),
        Transport::Icmp(..) | Transport::Icmpv6(..) | Transport::Link(_) => None,
    }
}
