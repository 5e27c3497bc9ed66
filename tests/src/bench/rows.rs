//! The rows: a policy, a packet, the verdict that it must get, what it is compared with and the limit.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use agent_common::event::Direction;
use anyhow::{Context as _, Result};
use portcullis::dataplane::testrun::Entry;
use portcullis::rule::{Peers, Rule};

use super::loaded::Loaded;
use super::policy::{admits, grid, prefixes};
use super::report::Limit;
use crate::interpreter::Cost;
use crate::packet::{Extension, Icmp, Packet, tcp, udp};

/// This host.
pub(super) const HOST: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
/// Who is admitted where not everybody is.
pub(super) const PEER: Ipv4Addr = Ipv4Addr::new(11, 1, 2, 3);
const HOST6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
const PEER6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x1234, 0x5678, 0, 0, 0, 9);

/// Open to anyone.
const OPEN: u16 = 443;
/// Open to the peer alone.
const NARROW: u16 = 8443;
/// Open to nobody.
const CLOSED: u16 = 23;
/// The port from which this host began its flow to the peer's [`OPEN`].
pub(super) const OURS: u16 = 40_000;

/// Policies of as many rules, as so many ports for so many prefixes each.
const SIZES: [(&str, u16, u32); 4] = [
    ("10 rules", 2, 3),
    ("1,000 rules", 10, 100),
    ("65,000 rules, 254 ports", 254, 256),
    ("65,000 rules, 4,000 ports", 4_000, 16),
];

/// What a row is compared with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Against {
    /// xdp-filter, as it denies.
    Filter,
    /// Another row.
    Row(String),
}

/// Something that is measured.
#[derive(Debug)]
pub struct Row {
    /// What, for people.
    pub name: String,
    /// What it is compared with.
    pub against: Against,
    /// Most that it may take.
    pub limit: Option<Limit>,
    policy: String,
    frame: Vec<u8>,
    passes: bool,
    entry: Entry,
}

/// Rows and the policies that they need.
#[derive(Default)]
pub struct Rows {
    /// They, in the order of the table.
    pub rows: Vec<Row>,
    loaded: Vec<(String, Loaded)>,
}

impl Rows {
    /// All rows whose name has `only` in it, loaded from this object.
    ///
    /// # Errors
    /// Where a policy can't be compiled or loaded.
    pub fn load(object: &[u8], only: &str) -> Result<Self> {
        let mut rows = described()?;
        let wanted: Vec<String> = rows
            .iter()
            .filter(|row| row.name.contains(only))
            .flat_map(|row| match &row.against {
                Against::Row(other) => vec![row.name.clone(), other.clone()],
                _ => vec![row.name.clone()],
            })
            .collect();
        rows.retain(|row| wanted.contains(&row.name));
        let mut loaded: Vec<(String, Loaded)> = Vec::new();
        for row in &rows {
            if loaded.iter().any(|(policy, _)| *policy == row.policy) {
                continue;
            }
            let number = loaded.len().to_string();
            let policy = Loaded::new(object, &number, &rules(&row.policy)?)
                .with_context(|| row.policy.clone())?;
            loaded.push((row.policy.clone(), policy));
        }
        Ok(Self { rows, loaded })
    }

    /// Mean nanoseconds of a row's packet, `repeat` times.
    ///
    /// # Errors
    /// Where the program can't be run or gives another verdict.
    pub fn time(&mut self, row: usize, repeat: u32) -> Result<f64> {
        let (row, policy) = self.at(row)?;
        policy.time(row.entry, &row.frame, row.passes, repeat)
    }

    /// What a row's packet takes, counted.
    ///
    /// # Errors
    /// Where the program can't be gone through or gives another verdict.
    pub fn cost(&mut self, row: usize) -> Result<Cost> {
        let (row, policy) = self.at(row)?;
        policy.cost(row.entry, &row.frame, row.passes)
    }

    /// The number of the row with this name.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<usize> {
        self.rows.iter().position(|row| row.name == name)
    }

    /// The frame that xdp-filter gets beside them: a segment that it denies as these programs do.
    ///
    /// # Errors
    /// None that is expected.
    pub fn denied() -> Result<Vec<u8>> {
        to(CLOSED).frame()
    }

    fn at(&mut self, row: usize) -> Result<(&Row, &mut Loaded)> {
        let row = self.rows.get(row).context("no such row")?;
        let mut loaded = self.loaded.iter_mut();
        let policy = loaded.find(|(policy, _)| *policy == row.policy);
        Ok((row, &mut policy.context("a policy that nobody loaded")?.1))
    }
}

/// A segment that begins a connection of the peer to this port.
fn to(port: u16) -> Packet {
    tcp((PEER.into(), OURS), (HOST.into(), port), "S")
}

fn to6(port: u16) -> Packet {
    tcp((PEER6.into(), OURS), (HOST6.into(), port), "S")
}

fn described() -> Result<Vec<Row>> {
    use Entry::{TcEgress, TcIngress, XdpIngress};
    let mut rows = Vec::new();
    let mut row = |name: String, policy: &str, packet: Packet, passes, entry, against, limit| {
        let frame = packet.frame().with_context(|| name.clone())?;
        rows.push(Row {
            name,
            against,
            limit,
            policy: policy.to_owned(),
            frame,
            passes,
            entry,
        });
        anyhow::Ok(())
    };
    let stranger: IpAddr = [11, 9, 9, 9].into();
    let (peer, host): (IpAddr, IpAddr) = (PEER.into(), HOST.into());
    let of_each_size = [
        (
            "closed port, SYN",
            to(CLOSED),
            false,
            XdpIngress,
            Some(0.50),
        ),
        (
            "closed port, UDP",
            udp((peer, OURS), (host, CLOSED)),
            false,
            XdpIngress,
            Some(0.50),
        ),
        ("allowed, any peer", to(OPEN), true, XdpIngress, Some(0.38)),
        ("allowed, one peer", to(NARROW), true, XdpIngress, None),
        (
            "another peer",
            tcp((stranger, OURS), (host, NARROW), "S"),
            false,
            XdpIngress,
            None,
        ),
        (
            "reply of a tracked flow",
            tcp((peer, OPEN), (host, OURS), "A"),
            true,
            XdpIngress,
            Some(0.70),
        ),
        (
            "sent in a tracked flow, TC egress",
            tcp((host, OURS), (peer, OPEN), "A"),
            true,
            TcEgress,
            None,
        ),
        (
            "answer of a service, TC egress",
            tcp((host, OPEN), (peer, OURS), "A"),
            true,
            TcEgress,
            None,
        ),
    ];
    let (smallest, ..) = SIZES[0];
    for (name, packet, passes, entry, limit) in &of_each_size {
        let (against, limit) = (Against::Filter, limit.map(Limit::Ratio));
        row(
            (*name).to_owned(),
            smallest,
            packet.clone(),
            *passes,
            *entry,
            against,
            limit,
        )?;
    }
    for (size, ..) in &SIZES[1..] {
        for (name, packet, passes, entry, _) in &of_each_size {
            let (against, limit) = (Against::Row((*name).to_owned()), Some(Limit::Ratio(1.10)));
            row(
                format!("{name}; {size}"),
                size,
                packet.clone(),
                *passes,
                *entry,
                against,
                limit,
            )?;
        }
    }
    for (count, four, six) in [
        (1, None, None),
        (100, None, None),
        (10_000, Some(0.50), Some(0.75)),
        (100_000, None, None),
    ] {
        for (family, packet, limit) in [("IPv4", to(NARROW), four), ("IPv6", to6(NARROW), six)] {
            let policy = format!("{count} {family} prefixes");
            let (name, limit) = (
                format!("allowed, peer in {policy}"),
                limit.map(Limit::Ratio),
            );
            row(
                name,
                &policy,
                packet,
                true,
                XdpIngress,
                Against::Filter,
                limit,
            )?;
        }
    }
    let tagged = Packet {
        vlan: vec![7],
        ..to(OPEN)
    };
    let optioned = Packet {
        options: 4,
        ..to(OPEN)
    };
    let extended = Packet {
        extensions: vec![Extension::Destination],
        ..to6(OPEN)
    };
    for (name, packet, passes, entry) in [
        ("closed port, SYN, TC", to(CLOSED), false, TcIngress),
        ("allowed, any peer, TC", to(OPEN), true, TcIngress),
        ("allowed, any peer, IPv6", to6(OPEN), true, XdpIngress),
        ("allowed, any peer, VLAN tag", tagged, true, XdpIngress),
        ("allowed, any peer, IPv4 option", optioned, true, XdpIngress),
        (
            "allowed, any peer, extension header",
            extended,
            true,
            XdpIngress,
        ),
        (
            "ICMP error about a tracked flow",
            unreachable(),
            true,
            XdpIngress,
        ),
        ("echo request, not allowed", echo(), false, XdpIngress),
    ] {
        row(
            name.to_owned(),
            smallest,
            packet,
            passes,
            entry,
            Against::Filter,
            None,
        )?;
    }
    Ok(rows)
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

/// The rules of a policy by its name.
fn rules(policy: &str) -> Result<Vec<Rule>> {
    if let Some((_, ports, prefixes)) = SIZES.iter().find(|(name, ..)| *name == policy) {
        let mut rules = vec![
            admits(0, Direction::Ingress, OPEN, Peers::Any),
            admits(1, Direction::Ingress, NARROW, only(PEER.into(), 32)),
            admits(2, Direction::Egress, OPEN, Peers::Any),
        ];
        rules.extend(grid(*ports, *prefixes));
        return Ok(rules);
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
