//! The packets that prove a rule: its flows at every edge, and their neighbours.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

use agent_common::event::Direction;
use ipnet::IpNet;

use crate::facts::Facts;
use crate::reference::{Content, Packet};
use crate::rule::{Peers, Rule, Service};

const SYN: u8 = 2;
const SYN_ACK: u8 = 18;

/// How a packet stands to the rule that it is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// At an edge of the rule's own ports and peers.
    Edge,
    /// Its port is one beside the rule's.
    Port,
    /// Its peer is the address just outside of a prefix.
    Peer,
    /// The rule's port over the other transport.
    Transport,
    /// The rule's flow the other way round.
    Direction,
    /// The rule's port sent to a single host where the rule names a group, or to a group where it does not.
    Destination,
}

impl Place {
    /// In words.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Edge => "at an edge of the rule",
            Self::Port => "one port beside the rule",
            Self::Peer => "from or to just outside of the rule's peers",
            Self::Transport => "the rule's port over the other transport",
            Self::Direction => "the rule's flow the other way round",
            Self::Destination => "to a group instead of a host, or to a host instead of a group",
        }
    }
}

/// This host's side of the packets.
pub(super) struct Own {
    addresses: Vec<IpAddr>,
    /// The port of a client: the first that the kernel gives away.
    client: u16,
}

impl Own {
    pub(super) fn of(facts: &Facts) -> Self {
        Self {
            addresses: facts.own_addresses().collect(),
            client: facts.ephemeral.first,
        }
    }

    /// The address that talks to this peer: link-local to link-local. A host without one of the family has one made up.
    pub(super) fn address(&self, peer: IpAddr) -> IpAddr {
        let mut own: Vec<IpAddr> = self.addresses.clone();
        own.retain(|address| address.is_ipv4() == peer.is_ipv4());
        own.sort_by_key(|address| is_link_local(*address) != is_link_local(peer));
        let made_up: IpAddr = match peer {
            IpAddr::V4(_) => Ipv4Addr::new(192, 0, 2, 254).into(),
            IpAddr::V6(_) => Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0xfffe).into(),
        };
        own.first().copied().unwrap_or(made_up)
    }

    /// The first packet of a flow between this host and a peer, or to a group.
    pub(super) fn first(&self, direction: Direction, peer: IpAddr, content: Content) -> Packet {
        let own = self.address(peer);
        let (source, destination) = match direction {
            Direction::Ingress => (peer, own),
            Direction::Egress => (own, peer),
        };
        Packet {
            direction,
            source,
            destination,
            hop_limit: 255,
            link_group: false,
            router_alert: false,
            content,
        }
    }

    pub(super) fn tcp(&self, port: u16) -> Content {
        Content::Tcp {
            from: self.client,
            to: port,
            flags: SYN,
        }
    }

    pub(super) fn udp(&self, port: u16) -> Content {
        Content::Udp {
            from: self.client,
            to: port,
        }
    }
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}

/// The packet that answers the first one of a flow, where that is a question.
pub(super) fn answer(first: &Packet) -> Option<Packet> {
    if first.is_to_group() {
        return None;
    }
    let content = match first.content {
        Content::Tcp {
            from,
            to,
            flags: SYN,
        } => Content::Tcp {
            from: to,
            to: from,
            flags: SYN_ACK,
        },
        Content::Udp { from, to } => Content::Udp { from: to, to: from },
        Content::Icmp {
            kind, identifier, ..
        } => Content::Icmp {
            kind: match (first.source, kind) {
                (IpAddr::V4(_), 8) => 0,
                (IpAddr::V6(_), 128) => 129,
                _ => return None,
            },
            identifier,
            quoted: None,
        },
        _ => return None,
    };
    Some(Packet {
        direction: match first.direction {
            Direction::Ingress => Direction::Egress,
            Direction::Egress => Direction::Ingress,
        },
        source: first.destination,
        destination: first.source,
        content,
        ..first.clone()
    })
}

/// All packets that are about a rule.
pub(super) fn of_rule(rule: &Rule, own: &Own) -> Vec<(Place, Packet)> {
    let mut cases = Vec::new();
    let (mut inside, mut outside) = peers(&rule.peers);
    for list in [&mut inside, &mut outside] {
        list.retain(|peer| match rule.service {
            Service::Icmp(_) | Service::Dhcp4 => peer.is_ipv4(),
            Service::Icmpv6(_) | Service::Dhcp6 => peer.is_ipv6(),
            _ => true,
        });
    }
    let mut add = |place: Place, direction: Direction, peer: IpAddr, content: &Content| {
        cases.push((place, shaped(own.first(direction, peer, content.clone()))));
    };
    let here = rule.direction;
    let back = match here {
        Direction::Ingress => Direction::Egress,
        Direction::Egress => Direction::Ingress,
    };
    let contents = contents(&rule.service, here, own);
    if !rule.groups.is_empty() {
        return of_group(rule, own, &contents, &inside, &outside);
    }
    for &peer in &inside {
        for (place, content) in &contents {
            add(*place, here, peer, content);
            if *place == Place::Edge {
                add(Place::Direction, back, peer, content);
            }
        }
    }
    for &peer in &outside {
        for (place, content) in &contents {
            if *place == Place::Edge {
                add(Place::Peer, here, peer, content);
            }
        }
    }
    if let (Service::Udp(_), Some(&peer)) = (&rule.service, inside.first()) {
        for (place, content) in &contents {
            if *place == Place::Edge {
                cases.push((Place::Destination, to_everyone(own, here, peer, content)));
            }
        }
    }
    cases
}

/// The same datagram to everyone on the link.
fn to_everyone(own: &Own, direction: Direction, peer: IpAddr, content: &Content) -> Packet {
    let everyone: IpAddr = match peer {
        IpAddr::V4(_) => Ipv4Addr::BROADCAST.into(),
        IpAddr::V6(_) => Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1).into(),
    };
    Packet {
        destination: everyone,
        ..own.first(direction, peer, content.clone())
    }
}

fn of_group(
    rule: &Rule,
    own: &Own,
    contents: &[(Place, Content)],
    inside: &[IpAddr],
    outside: &[IpAddr],
) -> Vec<(Place, Packet)> {
    let mut cases = Vec::new();
    for &group in &rule.groups {
        let family = |peer: &&IpAddr| peer.is_ipv4() == group.is_ipv4();
        for (place, content) in contents {
            match rule.direction {
                Direction::Egress => {
                    cases.push((*place, own.first(Direction::Egress, group, content.clone())));
                }
                Direction::Ingress => {
                    let to_group = |peer: IpAddr| Packet {
                        destination: group,
                        ..own.first(Direction::Ingress, peer, content.clone())
                    };
                    let inside = inside.iter().filter(family);
                    cases.extend(inside.map(|&peer| (*place, to_group(peer))));
                    if *place == Place::Edge {
                        let outside = outside.iter().filter(family);
                        cases.extend(outside.map(|&peer| (Place::Peer, to_group(peer))));
                    }
                }
            }
        }
    }
    for &peer in inside {
        for (_, content) in contents.iter().filter(|it| it.0 == Place::Edge) {
            let packet = own.first(rule.direction, peer, content.clone());
            cases.push((Place::Destination, packet));
        }
    }
    cases
}

/// Hop limit and router alert as the link's own messages have them (RFC 2710 section 3).
fn shaped(mut packet: Packet) -> Packet {
    if let (IpAddr::V6(source), Content::Icmp { kind, .. }) = (packet.source, &packet.content) {
        let is_listener = matches!(kind, 130 | 131 | 132 | 143);
        if is_listener && source.is_unicast_link_local() {
            packet.hop_limit = 1;
            packet.router_alert = true;
        }
    }
    packet
}

/// What a rule's packets carry, and what those beside it do.
fn contents(service: &Service, direction: Direction, own: &Own) -> Vec<(Place, Content)> {
    let echo = |kind: u8| Content::Icmp {
        kind,
        identifier: 1,
        quoted: None,
    };
    match service {
        Service::Tcp(ranges) => ports(ranges, |port| own.tcp(port), |port| own.udp(port)),
        Service::Udp(ranges) => ports(ranges, |port| own.udp(port), |port| own.tcp(port)),
        Service::Icmp(kinds) | Service::Icmpv6(kinds) => {
            let edges = kinds.iter().map(|&kind| (Place::Edge, echo(kind)));
            let beside = kinds
                .iter()
                .flat_map(|kind| [kind.wrapping_sub(1), kind.wrapping_add(1)]);
            let beside = beside.filter(|kind| !kinds.contains(kind));
            edges
                .chain(beside.map(|kind| (Place::Port, echo(kind))))
                .collect()
        }
        Service::Protocol(number) => {
            let beside = [number.wrapping_sub(1), number.wrapping_add(1)];
            // These have rules of their own kind, or are headers before others.
            let beside = beside.into_iter().filter(|it| {
                !matches!(
                    it,
                    0 | 1 | 6 | 17 | 43 | 44 | 51 | 58 | 60 | 135 | 139 | 140 | 253 | 254
                )
            });
            std::iter::once((Place::Edge, Content::Protocol(*number)))
                .chain(beside.map(|it| (Place::Port, Content::Protocol(it))))
                .collect()
        }
        Service::Dhcp4 => dhcp(68, 67, direction),
        Service::Dhcp6 => dhcp(546, 547, direction),
        Service::All => vec![
            (Place::Edge, own.tcp(1)),
            (Place::Edge, own.tcp(443)),
            (Place::Edge, own.tcp(65_535)),
            (Place::Edge, own.udp(1)),
            (Place::Edge, own.udp(65_535)),
            (Place::Edge, Content::Protocol(47)),
        ],
    }
}

fn dhcp(client: u16, server: u16, direction: Direction) -> Vec<(Place, Content)> {
    let pair = |client, server| match direction {
        Direction::Ingress => Content::Udp {
            from: server,
            to: client,
        },
        Direction::Egress => Content::Udp {
            from: client,
            to: server,
        },
    };
    vec![
        (Place::Edge, pair(client, server)),
        (Place::Port, pair(client + 2, server)),
        (Place::Port, pair(client, server + 2)),
    ]
}

/// Edges of port ranges, the ports beside them, and the edges over the other transport.
fn ports(
    ranges: &[RangeInclusive<u16>],
    this: impl Fn(u16) -> Content,
    other: impl Fn(u16) -> Content,
) -> Vec<(Place, Content)> {
    let mut found = Vec::new();
    for range in ranges {
        let (first, last) = (*range.start(), *range.end());
        for port in BTreeSet::from([first, last]) {
            found.push((Place::Edge, this(port)));
            found.push((Place::Transport, other(port)));
        }
        let beside = [first.checked_sub(1), last.checked_add(1)];
        for port in beside.into_iter().flatten() {
            if !ranges.iter().any(|range| range.contains(&port)) {
                found.push((Place::Port, this(port)));
            }
        }
    }
    found
}

/// The first and the last address of each prefix, and those just outside of all of them.
fn peers(peers: &Peers) -> (Vec<IpAddr>, Vec<IpAddr>) {
    let Peers::Prefixes(prefixes) = peers else {
        return (strangers().into(), Vec::new());
    };
    let mut inside = Vec::new();
    let mut outside = Vec::new();
    for prefix in prefixes {
        let (first, last) = (prefix.network(), prefix.broadcast());
        inside.extend([first, last]);
        outside.extend([before(first), after(last)].into_iter().flatten());
    }
    let admitted = |address: &IpAddr| {
        prefixes
            .iter()
            .any(|prefix: &IpNet| prefix.contains(address))
    };
    outside.retain(|address| !admitted(address));
    for list in [&mut inside, &mut outside] {
        list.sort_unstable();
        list.dedup();
    }
    (inside, outside)
}

/// Packets between hosts neither of which is this one; and what a DHCP server sends to an address that a host does not have yet.
pub(super) fn through(facts: &Facts) -> Vec<Packet> {
    let own: Vec<IpAddr> = facts.own_addresses().collect();
    let [v4, v4_other, v6, v6_other, _] = strangers();
    let mut packets = Vec::new();
    for (one, other) in [(v4, v4_other), (v6, v6_other)] {
        // Nobody's own address is one that stands for anyone; where it is, it is not on its way.
        if own.contains(&one) || own.contains(&other) {
            continue;
        }
        let echo = if one.is_ipv4() { 8 } else { 128 };
        let contents = [
            Content::Tcp {
                from: 40_000,
                to: 443,
                flags: SYN,
            },
            Content::Tcp {
                from: 443,
                to: 40_000,
                flags: SYN_ACK,
            },
            Content::Udp {
                from: 40_000,
                to: 53,
            },
            Content::Udp { from: 67, to: 68 },
            Content::Icmp {
                kind: echo,
                identifier: 1,
                quoted: None,
            },
            Content::Protocol(50),
        ];
        for direction in [Direction::Ingress, Direction::Egress] {
            for content in &contents {
                packets.push(Packet {
                    direction,
                    source: one,
                    destination: other,
                    hop_limit: 63,
                    link_group: false,
                    router_alert: false,
                    content: content.clone(),
                });
            }
        }
    }
    packets
}

/// Addresses that stand for anyone: of either family, low and high, and one of the link.
pub(super) fn strangers() -> [IpAddr; 5] {
    [
        Ipv4Addr::new(1, 0, 0, 1).into(),
        Ipv4Addr::new(223, 255, 255, 254).into(),
        Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 1).into(),
        Ipv6Addr::new(0x3fff, 0xffff, 0, 0, 0, 0, 0, 1).into(),
        Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0xfffe).into(),
    ]
}

fn before(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V4(it) => Some(Ipv4Addr::from_bits(it.to_bits().checked_sub(1)?).into()),
        IpAddr::V6(it) => Some(Ipv6Addr::from_bits(it.to_bits().checked_sub(1)?).into()),
    }
}

fn after(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V4(it) => Some(Ipv4Addr::from_bits(it.to_bits().checked_add(1)?).into()),
        IpAddr::V6(it) => Some(Ipv6Addr::from_bits(it.to_bits().checked_add(1)?).into()),
    }
}
