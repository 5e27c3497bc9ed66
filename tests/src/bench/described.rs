//! Which rows there are, their packets and their policies.

use std::net::{IpAddr, Ipv6Addr};
use std::ops::Range;

use agent_common::event::Direction;
use anyhow::{Context as _, Result};
use portcullis::dataplane::testrun::Entry;
use portcullis::host::{Input, load};
use portcullis::meaning::meaning;
use portcullis::policy::Catalogue;
use portcullis::policy::catalogue::embedded;
use portcullis::rule::{Peers, Rule};

use super::loaded::{HOST, InForce, PEER, Sent};
use super::policy::{admits, grid, prefixes};
use super::report::Limit;
use super::rows::{Against, Row};
use super::varied::Vary;
use crate::packet::{Extension, Icmp, Packet, tcp, udp};

const HOST6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
const PEER6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x1234, 0x5678, 0, 0, 0, 9);

/// Open to anyone.
const OPEN: u16 = 443;
/// Open to the peer alone.
const NARROW: u16 = 8443;
/// Open to nobody.
const CLOSED: u16 = 23;
/// The port from which this host began its flow to the peer's [`OPEN`].
const OURS: u16 = 40_000;

/// The policy of a host of the 1E platform.
const PRODUCT: &str = "1E platform";
const HOST_OF_PRODUCT: &str =
    include_str!("../../../agent/tests/data/hosts/1e-platform/single-server.toml");

/// The smallest policy, and 60,000 flows that this host began.
const MANY_FLOWS: &str = "60,000 flows";
const FLOWS: Range<u16> = 1_024..61_024;

/// Policies of as many rules, as so many ports for so many prefixes each.
const SIZES: [(&str, u16, u32); 4] = [
    ("10 rules", 2, 3),
    ("1,000 rules", 10, 100),
    ("65,000 rules, 254 ports", 254, 256),
    ("65,000 rules, 4,000 ports", 4_000, 16),
];

/// A segment that begins a connection of the peer to this port.
fn to(port: u16) -> Packet {
    tcp((PEER.into(), OURS), (HOST.into(), port), "S")
}

fn to6(port: u16) -> Packet {
    tcp((PEER6.into(), OURS), (HOST6.into(), port), "S")
}

/// What xdp-filter gets beside them: a segment that it denies as these programs do.
pub(super) fn denied() -> Packet {
    to(CLOSED)
}

/// All rows, those that others are compared with before them.
pub(super) fn described() -> Result<Vec<Row>> {
    let parts = [
        of_sizes()?,
        of_prefixes()?,
        rare()?,
        of_a_product()?,
        different()?,
    ];
    Ok(parts.into_iter().flatten().collect())
}

/// A packet that comes to XDP under a policy, beside xdp-filter as it denies, without a limit.
fn row(name: impl Into<String>, policy: &str, packet: &Packet, passes: bool) -> Result<Row> {
    let name = name.into();
    let sent = Sent {
        frame: packet.frame().with_context(|| name.clone())?,
        passes,
        entry: Entry::XdpIngress,
        vary: None,
    };
    Ok(Row {
        name,
        against: Against::Filter,
        limit: None,
        policy: policy.to_owned(),
        sent,
    })
}

impl Row {
    fn at(mut self, entry: Entry) -> Self {
        self.sent.entry = entry;
        self
    }

    fn varied(mut self, vary: Vary) -> Self {
        self.sent.vary = Some(vary);
        self
    }

    fn at_most(mut self, ratio: impl Into<Option<f64>>) -> Self {
        self.limit = ratio.into().map(Limit::Ratio);
        self
    }
}

/// Packets whose cost must not depend on how many rules there are: with the smallest policy, and with each of the others beside it.
fn of_sizes() -> Result<Vec<Row>> {
    let (smallest, ..) = SIZES[0];
    let mut rows = of_size(smallest)?;
    for (size, ..) in &SIZES[1..] {
        rows.extend(of_size(size)?.into_iter().map(|row| Row {
            against: Against::Row(row.name.clone()),
            name: format!("{}; {size}", row.name),
            ..row.at_most(1.10)
        }));
    }
    Ok(rows)
}

fn of_size(policy: &str) -> Result<Vec<Row>> {
    use Entry::{TcEgress, TcIngress};
    // Next to the admitted one, so that no policy tells the two apart earlier than another.
    let stranger: IpAddr = [11, 1, 9, 9].into();
    let (peer, host): (IpAddr, IpAddr) = (PEER.into(), HOST.into());
    let question = udp((peer, OURS), (host, CLOSED));
    let from_stranger = tcp((stranger, OURS), (host, NARROW), "S");
    let reply = tcp((peer, OPEN), (host, OURS), "A");
    let sent = tcp((host, OURS), (peer, OPEN), "A");
    let answer = tcp((host, OPEN), (peer, OURS), "A");
    let tagged = Packet {
        vlan: vec![7],
        ..to(OPEN)
    };
    let extended = Packet {
        extensions: vec![Extension::Destination],
        ..to6(OPEN)
    };
    let named = |name: &str, packet: &Packet, passes| row(name, policy, packet, passes);
    Ok(vec![
        named("closed port, SYN", &to(CLOSED), false)?.at_most(0.50),
        named("closed port, UDP", &question, false)?.at_most(0.50),
        named("allowed, any peer", &to(OPEN), true)?.at_most(0.38),
        named("allowed, one peer", &to(NARROW), true)?,
        named("another peer", &from_stranger, false)?,
        named("reply of a tracked flow", &reply, true)?.at_most(0.70),
        named("sent in a tracked flow, TC egress", &sent, true)?.at(TcEgress),
        named("answer of a service, TC egress", &answer, true)?.at(TcEgress),
        named("closed port, SYN, TC", &to(CLOSED), false)?.at(TcIngress),
        named("allowed, any peer, TC", &to(OPEN), true)?.at(TcIngress),
        named("allowed, any peer, IPv6", &to6(OPEN), true)?,
        named("allowed, any peer, VLAN tag", &tagged, true)?,
        named("allowed, any peer, extension header", &extended, true)?,
        named("ICMP error about a tracked flow", &unreachable(), true)?,
    ])
}

fn of_prefixes() -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (count, four, six) in [
        (1, None, None),
        (100, None, None),
        (10_000, Some(0.50), Some(0.75)),
        (100_000, None, None),
    ] {
        for (family, packet, limit) in [("IPv4", to(NARROW), four), ("IPv6", to6(NARROW), six)] {
            let policy = format!("{count} {family} prefixes");
            let name = format!("allowed, peer in {policy}");
            rows.push(row(name, &policy, &packet, true)?.at_most(limit));
        }
    }
    Ok(rows)
}

/// What the programs leave to others of theirs.
fn rare() -> Result<Vec<Row>> {
    let (policy, ..) = SIZES[0];
    let optioned = Packet {
        options: 4,
        ..to(OPEN)
    };
    Ok(vec![
        row("allowed, any peer, IPv4 option", policy, &optioned, true)?,
        row("echo request, not allowed", policy, &echo(), false)?,
    ])
}

/// A host of the 1E platform, whose document has the most rows.
fn of_a_product() -> Result<Vec<Row>> {
    let office: IpAddr = [10, 20, 3, 4].into();
    let stranger: IpAddr = [11, 9, 9, 9].into();
    let host: IpAddr = [10, 0, 0, 1].into();
    // Where the document has clients connect to.
    const SWITCH: u16 = 4_000;
    let rows = [
        ("closed port, SYN", office, CLOSED, false),
        ("allowed, a documented peer", office, SWITCH, true),
        ("another peer", stranger, SWITCH, false),
    ];
    let rows = rows.into_iter().map(|(name, from, port, passes)| {
        let packet = tcp((from, OURS), (host, port), "S");
        row(format!("{name}, {PRODUCT}"), PRODUCT, &packet, passes)
    });
    rows.collect()
}

/// Packets of which no two are alike. What rewrites them is part of their time.
fn different() -> Result<Vec<Row>> {
    let (smallest, ..) = SIZES[0];
    let (largest, ..) = SIZES[2];
    let ports = Vary::Ports {
        first: FLOWS.start,
        count: FLOWS.end - FLOWS.start,
    };
    let (peer, host): (IpAddr, IpAddr) = (PEER.into(), HOST.into());
    let reply = tcp((peer, OPEN), (host, FLOWS.start), "A");
    let many = "10000 IPv4 prefixes";
    let anyone = |what: &str, policy, packet: &Packet, passes| {
        let row = row(format!("random sources, {what}"), policy, packet, passes);
        row.map(|row| row.varied(Vary::Sources))
    };
    Ok(vec![
        row("replies of 60,000 flows in turn", MANY_FLOWS, &reply, true)?
            .varied(ports)
            .at_most(2.7),
        anyone("closed port", smallest, &to(CLOSED), false)?,
        anyone("closed port, 65,000 rules", largest, &to(CLOSED), false)?,
        anyone("not admitted of 10,000", many, &to(CLOSED), false)?,
        anyone("allowed", smallest, &to(OPEN), true)?,
    ])
}

/// A router says that a packet of the tracked flow could not be delivered.
fn unreachable() -> Packet {
    let quoted = Packet {
        cut: Some(28),
        ..tcp((HOST.into(), OURS), (PEER.into(), OPEN), "A")
    };
    let icmp = Icmp {
        kind: 3,
        code: 1,
        quotes: Some(Box::new(quoted)),
        ..Icmp::default()
    };
    from_the_peer(icmp)
}

fn echo() -> Packet {
    from_the_peer(Icmp {
        kind: 8,
        id: 7,
        ..Icmp::default()
    })
}

fn from_the_peer(icmp: Icmp) -> Packet {
    Packet {
        from: Some(PEER.into()),
        to: Some(HOST.into()),
        icmp: Some(icmp),
        ..Packet::default()
    }
}

/// A policy by its name.
pub(super) fn in_force(policy: &str) -> Result<InForce> {
    let one = OURS..OURS + 1;
    match policy {
        PRODUCT => product(),
        MANY_FLOWS => Ok(InForce {
            flows: FLOWS,
            ..InForce::only(sized(2, 3))
        }),
        _ => Ok(InForce {
            flows: one,
            ..InForce::only(rules(policy)?)
        }),
    }
}

/// What the host's configuration and the catalogue that ships come to.
fn product() -> Result<InForce> {
    let facts = crate::rows::facts(false, 250);
    let catalogue = Catalogue::from_sources(embedded(), Vec::new()).0;
    let (config, findings) = load(&Input::single("portcullis.toml", HOST_OF_PRODUCT));
    let config = config.context("the host's configuration has errors")?;
    let rules = meaning(&config, &catalogue, &facts, &findings)
        .resolved
        .rule_set;
    Ok(InForce {
        rules,
        facts,
        flows: 0..0,
    })
}

fn rules(policy: &str) -> Result<Vec<Rule>> {
    if let Some((_, ports, prefixes)) = SIZES.iter().find(|(name, ..)| *name == policy) {
        return Ok(sized(*ports, *prefixes));
    }
    let mut words = policy.split(' ');
    let count: u32 = words.next().context("a policy's name")?.parse()?;
    let v6 = words.next() == Some("IPv6");
    let mut peers = prefixes(count - 1, v6);
    let (address, length) = if v6 {
        (PEER6.into(), 128)
    } else {
        (PEER.into(), 32)
    };
    peers.push(ipnet::IpNet::new(address, length)?);
    Ok(vec![admits(
        0,
        Direction::Ingress,
        NARROW,
        Peers::Prefixes(peers),
    )])
}

fn only(address: IpAddr, length: u8) -> Peers {
    Peers::Prefixes(ipnet::IpNet::new(address, length).into_iter().collect())
}

/// Rules of so many ports for so many prefixes each, and a few by which all packets of the rows go.
fn sized(ports: u16, prefixes: u32) -> Vec<Rule> {
    let mut rules = vec![
        admits(0, Direction::Ingress, OPEN, Peers::Any),
        admits(1, Direction::Ingress, NARROW, only(PEER.into(), 32)),
        admits(2, Direction::Egress, OPEN, Peers::Any),
    ];
    rules.extend(grid(ports, prefixes));
    rules
}
