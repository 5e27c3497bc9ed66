//! Random policies: tables say what the rules say, tries find what a list finds.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;

use agent_common::decide;
use agent_common::event::Direction;
use agent_common::lookup::Lookup;
use agent_common::net::{IpProto, tcp};
use agent_common::packet::Segment;
use agent_common::tables::{CellAction, Plane, facts as fact, other};
use agent_common::trie::Classified;
use agent_common::verdict::Action;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use proptest::collection::vec;
use proptest::prelude::*;

use super::build::{cell, class, facts, group_cell, v4, v6};
use super::naive::{Asks, judge};
use super::wire::{Host, udp};
use crate::compile::memory::Memory;
use crate::compile::{Settings, compile};
use crate::facts::PortRange;
use crate::rule::{DefaultAction, Peers, Precedence, Rule, RuleSet, Service};

/// Few distinct bits, so that prefixes nest, touch and share long beginnings.
fn any_prefix() -> impl Strategy<Value = IpNet> {
    let v4 =
        (0_u32..16, 0_u32..4, prop_oneof![0_u8..=32, 14_u8..=26]).prop_map(|(a, b, length)| {
            let bits = 10 << 24 | a.wrapping_mul(0x1111_1111) & 0x0303_0303 | b << 15;
            IpNet::from(
                Ipv4Net::new(Ipv4Addr::from_bits(bits), length)
                    .unwrap()
                    .trunc(),
            )
        });
    let v6 = (0_u128..16, 0_u128..4, 0_u128..2, 0_u8..=128).prop_map(|(a, b, c, length)| {
        let bits = 0x2001_0db8 << 96 | a << 78 | b << 31 | c;
        IpNet::from(
            Ipv6Net::new(Ipv6Addr::from_bits(bits), length)
                .unwrap()
                .trunc(),
        )
    });
    prop_oneof![v4, v6]
}

fn any_peers() -> impl Strategy<Value = Peers> {
    prop_oneof![
        1 => Just(Peers::Any),
        6 => vec(any_prefix(), 0..5).prop_map(Peers::Prefixes),
    ]
}

fn any_ports() -> impl Strategy<Value = Vec<std::ops::RangeInclusive<u16>>> {
    let port = prop_oneof![
        0_u16..12,
        32_766_u16..32_771,
        60_998_u16..61_002,
        65_533_u16..=65_535
    ];
    vec((port.clone(), port, any::<bool>()), 1..4).prop_map(|ranges| {
        ranges
            .into_iter()
            .map(|(a, b, one)| if one { a..=a } else { a.min(b)..=a.max(b) })
            .collect()
    })
}

fn any_service() -> impl Strategy<Value = Service> {
    prop_oneof![
        4 => any_ports().prop_map(Service::Tcp),
        4 => any_ports().prop_map(Service::Udp),
        1 => vec(prop_oneof![Just(0_u8), Just(3), Just(8), Just(255)], 1..3).prop_map(Service::Icmp),
        1 => vec(prop_oneof![Just(1_u8), Just(128), Just(129), Just(135)], 1..3).prop_map(Service::Icmpv6),
        1 => prop_oneof![Just(0_u8), Just(2), Just(50), Just(255)].prop_map(Service::Protocol),
        1 => Just(Service::Dhcp4),
        1 => Just(Service::Dhcp6),
        1 => Just(Service::All),
    ]
}

fn any_rule() -> impl Strategy<Value = Rule> {
    let precedence = prop_oneof![
        1 => Just(Precedence::Block),
        1 => Just(Precedence::Failsafe),
        4 => Just(Precedence::Allow),
        1 => Just(Precedence::AuditStage),
    ];
    let direction = prop_oneof![Just(Direction::Ingress), Just(Direction::Egress)];
    let groups = prop_oneof![
        2 => Just(Vec::new()),
        1 => proptest::sample::subsequence(GROUPS[..3].to_vec(), 1..=3)
            .prop_map(|groups| groups.iter().map(|text| text.parse().unwrap()).collect()),
    ];
    (precedence, direction, any_service(), any_peers(), groups).prop_map(
        |(precedence, direction, service, peers, groups)| Rule {
            id: format!("{precedence:?} {direction:?} {service:?} {peers:?} {groups:?}"),
            rows: Vec::new(),
            direction,
            service,
            peers,
            // Rows alone name groups.
            groups: if precedence == Precedence::Allow {
                groups
            } else {
                Vec::new()
            },
            precedence,
            product: None,
            stated: true,
            until: None,
        },
    )
}

/// Groups and broadcast addresses; rules name some of the first three.
const GROUPS: [&str; 7] = [
    "239.255.255.250",
    "ff02::c",
    "192.0.2.255",
    "224.0.0.251",
    "ff02::fb",
    "198.51.100.255",
    "255.255.255.255",
];

fn any_default() -> impl Strategy<Value = DefaultAction> {
    prop_oneof![
        Just(DefaultAction::Deny),
        Just(DefaultAction::Audit),
        Just(DefaultAction::Open)
    ]
}

/// Rules in any order: compile brings them into the order of judgement.
fn any_set() -> impl Strategy<Value = RuleSet> {
    (vec(any_rule(), 0..14), any_default(), any_default()).prop_map(|(rules, ingress, egress)| {
        RuleSet {
            rules,
            ingress,
            egress,
            ..RuleSet::default()
        }
    })
}

/// First and last address of a prefix and their outer neighbours.
fn around(prefix: &IpNet) -> Vec<IpAddr> {
    match prefix {
        IpNet::V4(prefix) => {
            let (first, last) = (prefix.network().to_bits(), prefix.broadcast().to_bits());
            [first, last, first.wrapping_sub(1), last.wrapping_add(1)]
                .map(|bits| Ipv4Addr::from_bits(bits).into())
                .into()
        }
        IpNet::V6(prefix) => {
            let (first, last) = (prefix.network().to_bits(), prefix.broadcast().to_bits());
            [first, last, first.wrapping_sub(1), last.wrapping_add(1)]
                .map(|bits| Ipv6Addr::from_bits(bits).into())
                .into()
        }
    }
}

/// Every address and port where something may change, and some in between.
fn probes(set: &RuleSet) -> (Vec<IpAddr>, Vec<u16>) {
    let mut peers: BTreeSet<IpAddr> = [
        "0.0.0.0",
        "255.255.255.255",
        "192.0.2.10",
        "192.0.2.77",
        "192.0.2.255",
        "::",
        "2001:db8::10",
        "2001:db8::77",
        "fe80::1",
        "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
    ]
    .iter()
    .map(|text| text.parse().unwrap())
    .collect();
    let mut ports: BTreeSet<u16> =
        [0, 1, 53, 32_767, 32_768, 40_000, 60_999, 61_000, 65_535].into();
    for rule in &set.rules {
        if let Peers::Prefixes(prefixes) = &rule.peers {
            peers.extend(prefixes.iter().flat_map(around));
        }
        if let Service::Tcp(ranges) | Service::Udp(ranges) = &rule.service {
            for range in ranges {
                let (first, last) = (*range.start(), *range.end());
                ports.extend([first, last, first.wrapping_sub(1), last.wrapping_add(1)]);
            }
        }
    }
    (peers.into_iter().collect(), ports.into_iter().collect())
}

fn places(direction: Direction, ports: &[u16]) -> Vec<(Asks, Plane, u16)> {
    let (tcp, udp, others) = match direction {
        Direction::Ingress => (Plane::IngressTcp, Plane::IngressUdp, Plane::IngressOther),
        Direction::Egress => (Plane::EgressTcp, Plane::EgressUdp, Plane::EgressOther),
    };
    let mut places = vec![
        (Asks::Dhcp4, others, other::DHCP4),
        (Asks::Dhcp6, others, other::DHCP6),
    ];
    for &port in ports {
        places.push((Asks::Tcp(port), tcp, port));
        places.push((Asks::Udp(port), udp, port));
    }
    for number in [0, 1, 2, 3, 8, 50, 128, 129, 130, 135, 255] {
        places.push((Asks::Icmp(number), others, other::icmp(number)));
        places.push((Asks::Icmpv6(number), others, other::icmpv6(number)));
        places.push((Asks::Protocol(number), others, other::protocol(number)));
    }
    places
}

/// The first packet of a flow from or to this host.
fn segment<A>(direction: Direction, own: A, peer: A, protocol: IpProto, port: u16) -> Segment<A> {
    let (source, destination) = match direction {
        Direction::Ingress => (peer, own),
        Direction::Egress => (own, peer),
    };
    Segment {
        source,
        destination,
        protocol,
        // Neither a port of DHCP nor in the ephemeral range nor near any other in use.
        source_port: 20_000,
        destination_port: port,
        flags: if protocol == IpProto::TCP {
            tcp::SYN
        } else {
            0
        },
    }
}

fn decided<A: Classified>(
    world: &Memory,
    direction: Direction,
    segment: &Segment<A>,
) -> agent_common::verdict::Verdict {
    match direction {
        Direction::Ingress => decide::ingress(world, segment),
        Direction::Egress => decide::egress(world, segment),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn tables_say_what_the_rules_say(set in any_set(), reserved in any::<bool>()) {
        let mut facts = facts();
        if reserved {
            facts.reserved_ports = vec![PortRange { first: 32_769, last: 40_000 }];
        }
        let tables = Rc::new(compile(&set, &facts, &Settings::default()).unwrap());
        let (peers, ports) = probes(&set);
        for direction in [Direction::Ingress, Direction::Egress] {
            for (asks, plane, index) in places(direction, &ports) {
                for &peer in &peers {
                    let world = Memory::new(tables.clone());
                    let expected = judge(&set, &facts, direction, asks, peer);
                    let found = cell(&world, plane, index, peer);
                    prop_assert_eq!(found, expected, "{:?} {:?} {}", direction, asks, peer);
                    let (protocol, port) = match asks {
                        Asks::Tcp(port) => (IpProto::TCP, port),
                        Asks::Udp(port) => (IpProto::UDP, port),
                        _ => continue,
                    };
                    let verdict = match peer {
                        IpAddr::V4(peer) => {
                            let own = v4(Ipv4Addr::new(192, 0, 2, 10));
                            decided(&world, direction, &segment(direction, own, v4(peer), protocol, port))
                        }
                        IpAddr::V6(peer) => {
                            let own = v6("2001:db8::10".parse().unwrap());
                            decided(&world, direction, &segment(direction, own, v6(peer), protocol, port))
                        }
                    };
                    let back = judge(&set, &facts, Direction::Ingress, match asks {
                        Asks::Tcp(_) => Asks::Tcp(20_000),
                        _ => Asks::Udp(20_000),
                    }, peer);
                    // A datagram that would answer through a blocked port is blocked; a SYN answers nothing.
                    let blocked_back = direction == Direction::Egress
                        && protocol == IpProto::UDP
                        && back.action() == CellAction::Block
                        && expected.action() != CellAction::Block;
                    let expected_action = match expected.action() {
                        _ if blocked_back => Action::Deny,
                        CellAction::Allow => Action::Allow,
                        CellAction::Audit => Action::Audit,
                        CellAction::Deny | CellAction::Block => Action::Deny,
                    };
                    prop_assert_eq!(verdict.action(), expected_action, "{:?} {:?} {}", direction, asks, peer);
                    let rule = if blocked_back { back.rule() } else { expected.rule() };
                    prop_assert_eq!(verdict.rule(), rule);
                }
            }
        }
    }

    #[test]
    fn groups_say_what_the_rules_say(set in any_set()) {
        let facts = facts();
        let world = Memory::new(Rc::new(compile(&set, &facts, &Settings::default()).unwrap()));
        let (peers, ports) = probes(&set);
        let groups = GROUPS.map(|text| text.parse::<IpAddr>().unwrap());
        for &port in &ports {
            for &to in &groups {
                let expected = judge(&set, &facts, Direction::Egress, Asks::Group(port, to), to);
                prop_assert_eq!(cell(&world, Plane::EgressGroup, port, to), expected, "to {} {}", to, port);
                for &peer in peers.iter().filter(|peer| peer.is_ipv4() == to.is_ipv4()) {
                    let expected = judge(&set, &facts, Direction::Ingress, Asks::Group(port, to), peer);
                    prop_assert_eq!(group_cell(&world, port, to, peer), expected, "{} to {} {}", peer, to, port);
                    if port != 68 && port != 546 {
                        let mut packet = udp(&SocketAddr::new(peer, 20_000).to_string(), &SocketAddr::new(to, port).to_string());
                        packet.link_group = true;
                        let seen = Host(world.fresh()).gets(&packet);
                        let action = match expected.action() {
                            CellAction::Allow => "allow",
                            CellAction::Audit => "audit",
                            CellAction::Deny | CellAction::Block => "deny",
                        };
                        prop_assert!(seen.starts_with(action), "{} to {} {}: {}", peer, to, port, seen);
                    }
                }
            }
        }
    }

    #[test]
    fn peer_classes_keep_the_facts(prefixes in vec(any_prefix(), 0..30)) {
        let set = RuleSet {
            rules: vec![super::build::allow_in(super::build::tcp(443), &[])]
                .into_iter()
                .map(|rule| Rule { peers: Peers::Prefixes(prefixes.clone()), ..rule })
                .collect(),
            ..RuleSet::default()
        };
        let world = Memory::new(super::build::tables(&set));
        let bits = |address: IpAddr| world.facts(class(&world, address)).unwrap();
        for address in probes(&set).0 {
            let named = prefixes.iter().any(|prefix| prefix.prefix_len() > 0 && prefix.contains(&address));
            prop_assert_eq!(bits(address) & fact::ACQUAINTANCE != 0, named, "{}", address);
            let text = address.to_string();
            let own = ["192.0.2.10", "2001:db8::10", "fe80::10"].contains(&text.as_str());
            prop_assert_eq!(bits(address) & fact::OWN != 0, own, "{}", address);
            prop_assert_eq!(bits(address) & fact::BROADCAST != 0, text == "192.0.2.255", "{}", address);
            let on_link = ["192.0.2.0/24", "2001:db8::/64", "fe80::/64"]
                .iter()
                .any(|prefix| prefix.parse::<IpNet>().unwrap().contains(&address));
            prop_assert_eq!(bits(address) & fact::ON_LINK != 0, on_link, "{}", address);
        }
    }

    /// Each prefix has a rule of its own on its own port: the longest prefix of an address is found by the narrowest rule that admits it.
    #[test]
    fn tries_find_the_longest_prefix(prefixes in proptest::collection::btree_set(any_prefix(), 1..40)) {
        let prefixes: Vec<IpNet> = prefixes.into_iter().collect();
        let mut longest_first = prefixes.clone();
        longest_first.sort_by_key(|prefix| std::cmp::Reverse(prefix.prefix_len()));
        let set = RuleSet {
            rules: longest_first
                .iter()
                .map(|prefix| Rule {
                    peers: Peers::Prefixes(vec![*prefix]),
                    ..super::build::allow_in(super::build::tcp(443), &[])
                })
                .collect(),
            ..RuleSet::default()
        };
        let world = Memory::new(super::build::tables(&set));
        for address in probes(&set).0 {
            let linear = prefixes.iter().filter(|prefix| prefix.contains(&address)).max_by_key(|prefix| prefix.prefix_len());
            let found = cell(&world, Plane::IngressTcp, 443, address);
            match linear {
                Some(prefix) => {
                    prop_assert_eq!(found.action(), CellAction::Allow);
                    prop_assert_eq!(&longest_first[usize::from(found.rule())], prefix, "{}", address);
                }
                None => prop_assert_eq!(found.action(), CellAction::Deny, "{}", address),
            }
        }
    }
}
