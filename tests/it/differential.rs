//! Random policies and random, malformed, related packets: the programs in the kernel decide as the decision in memory does, packet by
//! packet, with all that each has written before.

use std::net::IpAddr;

use agent_common::event::Direction;
use portcullis::dataplane::testrun::Entry;
use portcullis_tests::netns::Namespace;
use portcullis_tests::packet::{Extension, Fragment, Icmp, Packet, Tcp, Udp};
use portcullis_tests::rows::kernel::InKernel;
use portcullis_tests::rows::memory::InMemory;
use portcullis_tests::rows::{Does, Policy, Rows, Seen, World as _};

/// xorshift64* (Vigna, 2016): the same numbers on every machine, so that a seed is a test.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next()).unwrap() % limit
    }

    fn one_in(&mut self, many: usize) -> bool {
        self.below(many) == 0
    }

    fn of<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())]
    }

    fn octet(&mut self) -> u8 {
        u8::try_from(self.below(256)).unwrap()
    }
}

const OWN: [&[&str]; 2] = [
    &[
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
const PORTS: &[u16] = &[
    443, 443, 444, 80, 5000, 53, 1900, 1900, 22, 8000, 8010, 8011, 9000, 49_500, 40_000, 41_000,
    67, 68, 546, 547, 0, 65_535,
];
const FLAGS: &[&str] = &[
    "S", "SA", "A", "PA", "FA", "R", "RA", "", "SF", "FPU", "SEC",
];
const EXTENSIONS: &[Extension] = &[
    Extension::RouterAlert,
    Extension::PaddedRouterAlert,
    Extension::HopByHop,
    Extension::Destination,
    Extension::Routing0,
    Extension::Mobility,
];

/// A packet between the host and a peer, in either order.
fn packet(random: &mut Random, direction: Direction) -> Packet {
    let family = random.below(2);
    let (own, peer): (IpAddr, IpAddr) = (
        random.of(OWN[family]).parse().unwrap(),
        random.of(PEERS[family]).parse().unwrap(),
    );
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
        packet.vlan = vec![7; 1 + random.below(2)];
    }
    if family == 0 && random.one_in(8) {
        packet.options = 4 * random.below(11);
    }
    if family == 1 && random.one_in(6) {
        packet.extensions = (0..=random.below(2))
            .map(|_| random.of(EXTENSIONS))
            .collect();
    }
    if random.one_in(15) {
        packet.fragment = Some(Fragment {
            offset: random.of(&[0, 8, 1480]),
            more: random.one_in(2),
            id: 9,
        });
    }
    match random.below(9) {
        0..=3 => {
            packet.tcp = Some(Tcp {
                from: random.of(PORTS),
                to: random.of(PORTS),
                flags: random.of(FLAGS).to_owned(),
            });
        }
        4 | 5 => {
            packet.udp = Some(Udp {
                from: random.of(PORTS),
                to: random.of(PORTS),
            });
        }
        6 | 7 => {
            packet.icmp = Some(Icmp {
                kind: random.of(if family == 0 {
                    &[0, 3, 5, 8, 8, 11, 12, 13]
                } else {
                    &[1, 2, 128, 128, 129, 130, 133, 134, 135, 136, 137, 143]
                }),
                code: random.octet() % 5,
                id: random.of(&[7, 8]),
                quotes: None,
            });
        }
        _ => packet.protocol = Some(random.of(&[0, 2, 4, 6, 17, 41, 44, 47, 50, 58, 59, 255])),
    }
    packet
}

/// Who answers for a group: a neighbour, or this host.
fn member(group: IpAddr, is_own: bool) -> IpAddr {
    match (group, is_own) {
        (IpAddr::V4(_), false) => [10, 0, 0, 53].into(),
        (IpAddr::V4(_), true) => [10, 0, 0, 1].into(),
        (IpAddr::V6(_), false) => [0xfe80, 0, 0, 0, 0, 0, 0, 9].into(),
        (IpAddr::V6(_), true) => [0xfe80, 0, 0, 0, 0, 0, 0, 1].into(),
    }
}

/// The packet that answers another: ends and ports changed, flags as a reply has them. For a group a member answers.
fn reversed(packet: &Packet, direction: Direction, random: &mut Random) -> Packet {
    let mut back = packet.clone();
    std::mem::swap(&mut back.from, &mut back.to);
    if let Some(group) = back.from.filter(IpAddr::is_multicast) {
        let is_own = direction == Direction::Ingress;
        back.from = Some(member(group, is_own));
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
fn error_about(packet: &Packet, random: &mut Random) -> Packet {
    let is_v4 = packet.from.is_some_and(|from| from.is_ipv4());
    let mut quoted = packet.clone();
    quoted.extensions.clear();
    quoted.fragment = None;
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

const fn other_way(direction: Direction) -> Direction {
    match direction {
        Direction::Ingress => Direction::Egress,
        Direction::Egress => Direction::Ingress,
    }
}

/// A policy of some of the rules of `packets.toml`.
fn policy(random: &mut Random, rows: &Rows) -> Policy {
    let mut default =
        || Some(random.of(&[Does::Deny, Does::Deny, Does::Deny, Does::Audit, Does::Allow]));
    let (ingress, egress) = (default(), default());
    Policy {
        ingress,
        egress,
        forwards: random.one_in(6),
        rules: rows
            .rules
            .keys()
            .filter(|_| !random.one_in(3))
            .cloned()
            .collect(),
    }
}

/// Octets of a frame that a test run of an skb asks for: the link header and an IPv6 header.
const WHOLE: usize = 14 + 40;

/// One policy and the packets under it; a second policy takes over half-way.
#[track_caller]
fn sequence(seed: u64, rows: &mut Rows, kernel: &mut InKernel, packets: usize) {
    let random = &mut Random::new(seed);
    let mut memory = InMemory::default();
    let names = [format!("first-{seed}"), format!("second-{seed}")];
    for name in &names {
        let made = policy(random, rows);
        rows.policies.insert(name.clone(), made);
    }
    kernel.begin(rows, &names[0]).unwrap();
    memory.begin(rows, &names[0]).unwrap();
    let mut past: Vec<(Direction, Packet)> = Vec::new();
    for number in 0..packets {
        if number == packets / 2 {
            kernel.switch(rows, &names[1]).unwrap();
            memory.switch(rows, &names[1]).unwrap();
        }
        let (direction, packet) = match (random.below(10), past.len()) {
            (0..=2, 1..) => {
                let (direction, packet) = &past[random.below(past.len())];
                (other_way(*direction), reversed(packet, *direction, random))
            }
            (3, 1..) => {
                let (direction, packet) = &past[random.below(past.len())];
                (other_way(*direction), error_about(packet, random))
            }
            (4, 1..) => past[random.below(past.len())].clone(),
            _ => {
                let direction = random.of(&[Direction::Ingress, Direction::Egress]);
                (direction, packet(random, direction))
            }
        };
        let mut frame = packet.frame().unwrap();
        // A few octets are damaged, or the end is missing.
        while random.one_in(5) {
            let at = random.below(frame.len());
            frame[at] = random.octet();
        }
        if random.one_in(10) && frame.len() > WHOLE {
            frame.truncate(WHOLE + random.below(frame.len() - WHOLE));
        }
        let told = || {
            let policies = names.each_ref().map(|name| &rows.policies[name]);
            format!(
                "seed {seed}, packet {number}, {direction:?}\n{packet:?}\n{frame:02x?}\n{policies:?}"
            )
        };
        let wanted = memory.judge(direction, &frame);
        let wanted = wanted.unwrap_or_else(|error| panic!("{error:#}\n{}", told()));
        let seen = kernel.judge(direction, &frame);
        let seen = seen.unwrap_or_else(|error| panic!("{error:#}\nmemory: {wanted:?}\n{}", told()));
        let said = |it: &Seen| (it.action, it.reason, it.reported);
        let same = said(&seen) == said(&wanted)
            // The kernel's counters name no rule of an answer or a reply.
            && (seen.rule.is_none() || seen.rule == wanted.rule);
        assert!(same, "kernel {seen:?}, memory {wanted:?}\n{}", told());
        past.push((direction, packet));
    }
}

#[track_caller]
fn check(ingress: Entry, seeds: std::ops::Range<u64>) {
    let host = Namespace::new("differential").unwrap();
    host.enter(|| {
        let mut rows = Rows::read().unwrap();
        let mut kernel = InKernel::load(ingress).unwrap();
        for seed in seeds {
            sequence(seed, &mut rows, &mut kernel, 60);
        }
    })
    .unwrap();
}

#[test]
fn kernel_and_memory_agree_at_xdp() {
    check(Entry::XdpIngress, 0..40);
}

#[test]
fn kernel_and_memory_agree_at_tc() {
    check(Entry::TcIngress, 1000..1040);
}

#[test]
#[ignore = "minutes: `cargo xtask test --long` runs it"]
fn kernel_and_memory_agree_for_long() {
    check(Entry::XdpIngress, 10_000..12_000);
}
