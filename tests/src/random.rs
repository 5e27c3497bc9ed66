//! Random policies, and packets that come near them: on their ports and beside them, from their peers and from just outside.

use std::net::IpAddr;

use agent_common::event::Direction;
use ipnet::IpNet;

use crate::packet::{Extension, Fragment, Icmp, Packet, Tcp, Udp};
use crate::rows::{Does, Kind, Policy, Rows, RuleText, Through, Way};

/// xorshift64* (Vigna, 2016): the same numbers on every machine, so that a seed is a test.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The numbers of a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    /// A number below `limit`, which is not 0.
    pub fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit as u64).unwrap_or(0)
    }

    /// True once in so many.
    pub fn one_in(&mut self, many: usize) -> bool {
        self.below(many) == 0
    }

    /// One of a list that is not empty.
    pub fn of<T: Clone>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())].clone()
    }

    /// Any octet.
    pub fn octet(&mut self) -> u8 {
        self.next().to_le_bytes()[0]
    }

    fn port(&mut self) -> u16 {
        let [low, high, ..] = self.next().to_le_bytes();
        u16::from_le_bytes([low, high])
    }
}

/// Addresses on the host's side, IPv4 and IPv6: its own more often than others.
const OWN: [&[&str]; 2] = [
    &[
        "10.0.0.1",
        "10.0.0.1",
        "10.0.0.1",
        "10.0.0.1",
        "10.0.0.2",
        "10.0.255.255",
        "255.255.255.255",
        "224.0.0.251",
        "239.255.255.250",
        "0.0.0.0",
    ],
    &[
        "fd00::1",
        "fd00::1",
        "fd00::1",
        "fd00::1",
        "fe80::1",
        "fd00::2",
        "ff02::1",
        "ff02::1:ff00:1",
        "ff02::c",
        "::",
    ],
];
const PEERS: [&[&str]; 2] = [
    &[
        "10.1.0.9",
        "10.1.0.9",
        "192.0.2.7",
        "198.51.100.4",
        "203.0.113.5",
        "10.0.0.53",
        "239.1.2.3",
        "239.255.255.250",
        "255.255.255.255",
    ],
    &[
        "fd00:1::9",
        "fd00:1::9",
        "2001:db8:bad::7",
        "2001:db8:51::4",
        "2001:db8:4711::5",
        "fd00::53",
        "fe80::9",
        "ff02::16",
        "ff02::c",
    ],
];
const PREFIXES: &[&str] = &[
    "10.1.0.0/16",
    "10.1.0.9/32",
    "10.1.0.8/30",
    "192.0.2.0/24",
    "198.51.100.0/25",
    "203.0.113.4/31",
    "10.0.0.0/8",
    "128.0.0.0/1",
    "0.0.0.0/0",
    "fd00:1::/64",
    "fd00:1::9/128",
    "fd00:1::8/125",
    "2001:db8::/32",
    "2001:db8:51::/48",
    "2001:db8:4711::/49",
    "fe80::/10",
    "8000::/1",
    "::/0",
];
const GROUPS: &[&str] = &[
    "239.255.255.250",
    "224.0.0.251",
    "255.255.255.255",
    "10.0.255.255",
    "ff02::c",
    "ff02::1",
];
const PORTS: &[u16] = &[
    443, 443, 444, 80, 5000, 53, 1900, 1900, 22, 8000, 8010, 8011, 9000, 49_500, 32_767, 32_768,
    60_999, 61_000, 67, 68, 546, 547, 0, 65_535,
];
const CLIENT_PORTS: &[u16] = &[40_000, 40_000, 41_000, 1023, 49_500, 53, 67, 68, 546, 547];
const FLAGS: &[&str] = &[
    "S", "S", "SA", "A", "PA", "FA", "R", "RA", "", "SF", "FPU", "SEC", "SU", "SAU", "RU", "AU",
];
const KINDS: [&[u8]; 2] = [
    &[0, 3, 5, 8, 8, 11, 12, 13],
    &[1, 2, 128, 128, 129, 130, 133, 134, 135, 136, 137, 143],
];
const EXTENSIONS: &[Extension] = &[
    Extension::RouterAlert,
    Extension::PaddedRouterAlert,
    Extension::HopByHop,
    Extension::Destination,
    Extension::Routing0,
    Extension::Mobility,
];

/// The other way.
#[must_use]
pub const fn other_way(direction: Direction) -> Direction {
    match direction {
        Direction::Ingress => Direction::Egress,
        Direction::Egress => Direction::Ingress,
    }
}

/// A rule of some ports, types or protocols for some peers.
pub fn rule(random: &mut Random) -> RuleText {
    let directions = match random.below(4) {
        0 | 1 => vec![Way::Ingress],
        2 => vec![Way::Egress],
        _ => vec![Way::Ingress, Way::Egress],
    };
    let kind = match random.below(12) {
        0 => Kind::Block,
        1 => Kind::Failsafe,
        2 | 3 => Kind::Audit,
        _ => Kind::Allow,
    };
    let peers = (!random.one_in(4)).then(|| {
        let count = random.below(4);
        (0..count).map(|_| random.of(PREFIXES).to_owned()).collect()
    });
    let mut rule = RuleText {
        directions,
        peers,
        kind,
        ..RuleText::default()
    };
    if random.one_in(8) {
        // A discovery: UDP to groups.
        rule.udp = vec!["1900".to_owned(), random.of(PORTS).to_string()];
        let count = 1 + random.below(2);
        rule.groups = (0..count).map(|_| address(random.of(GROUPS))).collect();
        return rule;
    }
    match random.below(12) {
        0..=4 => rule.tcp = ranges(random),
        5..=7 => rule.udp = ranges(random),
        8 => (rule.tcp, rule.udp) = (ranges(random), ranges(random)),
        9 => {
            rule.icmp = vec![random.of(KINDS[0])];
            rule.icmpv6 = vec![random.of(KINDS[1]), random.of(KINDS[1])];
        }
        10 => rule.protocol = vec![random.of(&[0, 2, 47, 50, 132, 255])],
        _ if matches!(kind, Kind::Block) => rule.all = true,
        _ => rule.dhcp = vec![4, 6],
    }
    rule
}

fn ranges(random: &mut Random) -> Vec<String> {
    let count = 1 + random.below(3);
    let range = |random: &mut Random| {
        let first = if random.one_in(3) {
            random.port()
        } else {
            random.of(PORTS)
        };
        match random.of(&[0, 0, 1, 10, 1000, 65_535_u16]) {
            0 => first.to_string(),
            more => format!("{first}-{}", first.saturating_add(more)),
        }
    };
    (0..count).map(|_| range(random)).collect()
}

/// A policy of some of the rules that there are. Once in a while generation 0.
pub fn policy(random: &mut Random, rows: &Rows, near: &str) -> Policy {
    let mut default =
        || Some(random.of(&[Does::Deny, Does::Deny, Does::Deny, Does::Audit, Does::Allow]));
    let (mut ingress, egress) = (default(), default());
    if random.one_in(20) {
        ingress = None;
    }
    let modes = [Through::Deny, Through::Pass, Through::SameRules];
    let forward = random.one_in(4).then(|| random.of(&modes));
    let mut chosen = |name: &String| {
        let own = name.starts_with(near);
        (own || !name.starts_with("random")) && !random.one_in(if own { 5 } else { 2 })
    };
    Policy {
        ingress,
        egress,
        forward,
        rules: rows
            .rules
            .keys()
            .filter(|name| chosen(name))
            .cloned()
            .collect(),
    }
}

/// What packets of a sequence come near to: edges of the rules' ports and of their peers' prefixes.
#[derive(Clone, Debug, Default)]
pub struct Near {
    ports: Vec<u16>,
    peers: [Vec<IpAddr>; 2],
}

impl Near {
    /// The edges of these rules.
    pub fn to<'a>(rules: impl Iterator<Item = &'a RuleText>) -> Self {
        let mut near = Self::default();
        for rule in rules {
            for range in rule.tcp.iter().chain(&rule.udp) {
                let (first, last) = range.split_once('-').unwrap_or((range, range));
                let ends = [first, last].map(|text| text.parse::<u16>().unwrap_or(0));
                near.ports.extend(ends);
                near.ports.push(ends[0].saturating_sub(1));
                near.ports.push(ends[1].saturating_add(1));
            }
            for prefix in rule.peers.iter().flatten() {
                near.add(prefix);
            }
        }
        near
    }

    fn add(&mut self, prefix: &str) {
        match prefix.parse::<IpNet>() {
            Ok(IpNet::V4(net)) => {
                let (first, last) = (net.network().to_bits(), net.broadcast().to_bits());
                let edges = [first, first.saturating_sub(1), last, last.saturating_add(1)];
                self.peers[0].extend(edges.map(|bits| IpAddr::V4(bits.into())));
            }
            Ok(IpNet::V6(net)) => {
                let (first, last) = (net.network().to_bits(), net.broadcast().to_bits());
                let edges = [first, first.saturating_sub(1), last, last.saturating_add(1)];
                self.peers[1].extend(edges.map(|bits| IpAddr::V6(bits.into())));
            }
            Err(_) => {}
        }
    }

    fn port(&self, random: &mut Random) -> u16 {
        if self.ports.is_empty() || random.one_in(3) {
            random.of(PORTS)
        } else {
            random.of(&self.ports)
        }
    }

    fn peer(&self, random: &mut Random, family: usize) -> IpAddr {
        if self.peers[family].is_empty() || random.one_in(2) {
            address(random.of(PEERS[family]))
        } else {
            random.of(&self.peers[family])
        }
    }

    /// A packet between the host and a peer.
    pub fn packet(&self, random: &mut Random, direction: Direction) -> Packet {
        let family = random.below(2);
        let (own, peer) = (address(random.of(OWN[family])), self.peer(random, family));
        let (from, to) = match direction {
            Direction::Ingress => (peer, own),
            Direction::Egress => (own, peer),
        };
        let mut packet = Packet {
            from: Some(from),
            to: Some(to),
            payload: random.below(40),
            link_group: random.one_in(12),
            ..Packet::default()
        };
        if random.one_in(6) {
            packet.ttl = Some(random.of(&[255, 254, 1, 0]));
        }
        if random.one_in(25) {
            packet.vlan = vec![7; 1 + random.below(3)];
        }
        if family == 0 && random.one_in(8) {
            packet.options = 4 * random.below(11);
        }
        if family == 1 && random.one_in(6) {
            packet.extensions = (0..=random.below(3))
                .map(|_| random.of(EXTENSIONS))
                .collect();
        }
        if random.one_in(15) {
            packet.fragment = Some(Fragment {
                offset: random.of(&[0, 0, 8, 1480]),
                more: random.one_in(2),
                id: random.of(&[9, 10]),
            });
        }
        self.fill(random, &mut packet, family);
        packet
    }

    fn fill(&self, random: &mut Random, packet: &mut Packet, family: usize) {
        let mut ends = [random.of(CLIENT_PORTS), self.port(random)];
        if random.one_in(3) {
            ends.reverse();
        }
        let [from, to] = ends;
        match random.below(9) {
            0..=3 => {
                packet.tcp = Some(Tcp {
                    from,
                    to,
                    flags: random.of(FLAGS).to_owned(),
                });
            }
            4 | 5 => packet.udp = Some(Udp { from, to }),
            6 | 7 => {
                packet.icmp = Some(Icmp {
                    kind: random.of(KINDS[family]),
                    code: random.octet() % 5,
                    id: random.of(&[7, 8]),
                    quotes: None,
                });
            }
            _ => packet.protocol = Some(random.of(&[0, 2, 4, 6, 17, 41, 44, 47, 50, 58, 59, 255])),
        }
    }
}

fn address(text: &str) -> IpAddr {
    // Constants of this file.
    text.parse().unwrap_or(IpAddr::from([0, 0, 0, 0]))
}

/// Who answers for a group: a neighbour, or this host.
fn member(group: IpAddr, is_own: bool) -> IpAddr {
    address(match (group.is_ipv4(), is_own) {
        (true, false) => "10.0.0.53",
        (true, true) => "10.0.0.1",
        (false, false) => "fe80::9",
        (false, true) => "fe80::1",
    })
}

/// The packet that answers another: ends and ports changed, flags as a reply has them. For a group a member answers.
pub fn reversed(packet: &Packet, direction: Direction, random: &mut Random) -> Packet {
    let mut back = packet.clone();
    std::mem::swap(&mut back.from, &mut back.to);
    if let Some(group) = back.from.filter(IpAddr::is_multicast) {
        back.from = Some(member(group, direction == Direction::Ingress));
    }
    if let Some(tcp) = &mut back.tcp {
        std::mem::swap(&mut tcp.from, &mut tcp.to);
        tcp.flags = random
            .of(&["SA", "SA", "A", "PA", "FA", "R", "S"])
            .to_owned();
    }
    if let Some(udp) = &mut back.udp {
        std::mem::swap(&mut udp.from, &mut udp.to);
    }
    if let Some(icmp) = &mut back.icmp {
        icmp.kind = match icmp.kind {
            8 => 0,
            128 => 129,
            other => other,
        };
    }
    back
}

/// An ICMP error about another packet, to its sender.
pub fn error_about(packet: &Packet, random: &mut Random) -> Packet {
    let is_v4 = packet.from.is_some_and(|from| from.is_ipv4());
    let mut quoted = packet.clone();
    quoted.extensions.clear();
    quoted.fragment = None;
    quoted.cut = None;
    quoted.set.clear();
    // What quotes a quotation would grow without an end.
    if let Some(icmp) = &mut quoted.icmp {
        icmp.quotes = None;
    }
    if random.one_in(4) {
        quoted.cut = Some(20 + random.below(40));
    }
    Packet {
        from: packet.to,
        to: packet.from,
        icmp: Some(Icmp {
            kind: if is_v4 {
                random.of(&[3, 11, 12])
            } else {
                random.of(&[1, 2, 3, 4])
            },
            quotes: Some(Box::new(quoted)),
            ..Icmp::default()
        }),
        ..Packet::default()
    }
}

/// Octets of a frame that a test run of an skb asks for: the link header and an IPv6 header.
const WHOLE: usize = 14 + 40;

/// Overwrites a few octets, or cuts the end off.
pub fn damage(packet: &mut Packet, random: &mut Random) {
    let Ok(frame) = packet.frame() else {
        return;
    };
    let mut length = frame.len();
    if random.one_in(12) && length > WHOLE {
        length = WHOLE + random.below(length - WHOLE);
        packet.cut = Some(length);
    }
    while random.one_in(5) {
        // Headers more often than what they carry.
        let within = if random.one_in(2) {
            length.min(64)
        } else {
            length
        };
        let at = random.below(within);
        packet.set.push((at, random.octet()));
    }
}
