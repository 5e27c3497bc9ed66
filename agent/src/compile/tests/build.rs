//! Rules, facts and worlds in few words.

use std::net::IpAddr;
use std::rc::Rc;

use agent_common::event::Direction;
use agent_common::lookup::Lookup;
use agent_common::net::{V4, V6};
use agent_common::tables::{Cell, Plane};
use agent_common::trie::Classified;

use crate::compile::memory::Memory;
use crate::compile::tables::Tables;
use crate::compile::{Settings, compile};
use crate::facts::{Facts, Interface, InterfaceAddress, PortRange};
use crate::rule::{DefaultAction, Peers, Precedence, Rule, RuleSet, Service};

/// A host at 192.0.2.10/24 and 2001:db8::10/64, with the kernel's ephemeral range.
pub(super) fn facts() -> Facts {
    let address = |text: &str, broadcast: Option<&str>| InterfaceAddress {
        address: text.parse().unwrap(),
        broadcast: broadcast.map(|text| text.parse().unwrap()),
    };
    let interface = |name: &str, index, link_type, addresses| Interface {
        name: name.into(),
        index,
        link_type,
        up: true,
        mtu: 1500,
        driver: None,
        master: None,
        parent: None,
        addresses,
        forwards_v4: false,
        forwards_v6: false,
        has_lease: false,
    };
    Facts {
        schema: 1,
        time: jiff::Timestamp::UNIX_EPOCH,
        hostname: "host".into(),
        kernel: "6.18.0".into(),
        interfaces: vec![
            interface("lo", 1, 772, vec![address("127.0.0.1/8", None)]),
            interface(
                "eth0",
                2,
                1,
                vec![
                    address("192.0.2.10/24", Some("192.0.2.255")),
                    address("2001:db8::10/64", None),
                    address("fe80::10/64", None),
                ],
            ),
        ],
        resolvers: Vec::new(),
        names: Default::default(),
        ephemeral: PortRange {
            first: 32_768,
            last: 60_999,
        },
        reserved_ports: Vec::new(),
        ssh_ports: vec![22],
        listeners: None,
        hz: Some(250),
        cpus: 2,
    }
}

/// A rule of these parts; peers as text, `any` for anyone.
pub(super) fn rule(
    precedence: Precedence,
    direction: Direction,
    service: Service,
    peers: &[&str],
) -> Rule {
    Rule {
        id: format!(
            "{precedence:?}/{direction:?}/{service:?}/{}",
            peers.join("+")
        ),
        rows: Vec::new(),
        direction,
        service,
        peers: if peers == ["any"] {
            Peers::Any
        } else {
            Peers::Prefixes(peers.iter().map(|text| prefix(text)).collect())
        },
        groups: Vec::new(),
        precedence,
        product: None,
        stated: true,
        until: None,
    }
}

fn prefix(text: &str) -> ipnet::IpNet {
    text.parse()
        .or_else(|_| text.parse::<IpAddr>().map(Into::into))
        .unwrap()
}

/// One port as a service.
pub(super) fn tcp(port: u16) -> Service {
    Service::Tcp(vec![port..=port])
}

/// One port as a service.
pub(super) fn udp(port: u16) -> Service {
    Service::Udp(vec![port..=port])
}

/// Rules that let these in.
pub(super) fn allow_in(service: Service, peers: &[&str]) -> Rule {
    rule(Precedence::Allow, Direction::Ingress, service, peers)
}

/// Rules that let these out.
pub(super) fn allow_out(service: Service, peers: &[&str]) -> Rule {
    rule(Precedence::Allow, Direction::Egress, service, peers)
}

/// A block list in one direction.
pub(super) fn block(direction: Direction, service: Service, peers: &[&str]) -> Rule {
    rule(Precedence::Block, direction, service, peers)
}

/// Rules in the order of judgement.
pub(super) fn set(
    ingress: DefaultAction,
    egress: DefaultAction,
    rules: impl IntoIterator<Item = Rule>,
) -> RuleSet {
    let mut rules: Vec<Rule> = rules.into_iter().collect();
    rules.sort_by_key(|rule| rule.precedence);
    RuleSet {
        rules,
        ingress,
        egress,
        ..RuleSet::default()
    }
}

/// Compiled for [`facts`].
#[track_caller]
pub(super) fn tables(set: &RuleSet) -> Rc<Tables> {
    Rc::new(compile(set, &facts(), &Settings::default()).unwrap())
}

/// The cell that the decision reads, the way it reads it.
pub(super) fn cell(world: &Memory, plane: Plane, port: u16, peer: IpAddr) -> Cell {
    let port_class = world.port_class(plane, port).unwrap();
    let peer_class = if world.asks_peer(port_class) {
        class(world, peer)
    } else {
        0
    };
    world.cell(port_class, peer_class).unwrap()
}

/// The cell that the decision reads for UDP from a peer to a group, the way it reads it.
pub(super) fn group_cell(world: &Memory, port: u16, to: IpAddr, peer: IpAddr) -> Cell {
    let mut port_class = world.port_class(Plane::IngressGroup, port).unwrap();
    let first = world.cell(port_class, 0).unwrap();
    if first.by_destination().is_some() {
        let row = world.cell(port_class, class(world, to)).unwrap();
        port_class = row.by_destination().unwrap();
    }
    world.cell(port_class, class(world, peer)).unwrap()
}

/// The peer class of an address.
pub(super) fn class(world: &Memory, address: IpAddr) -> u16 {
    match address {
        IpAddr::V4(address) => v4(address).class(world),
        IpAddr::V6(address) => v6(address).class(world),
    }
    .unwrap()
}

/// As the decision wants it.
pub(super) fn v4(address: std::net::Ipv4Addr) -> V4 {
    V4(address.to_bits())
}

/// As the decision wants it.
pub(super) fn v6(address: std::net::Ipv6Addr) -> V6 {
    let bits = address.to_bits();
    V6((bits >> 64) as u64, bits as u64)
}
