//! Limits, sizes and the open bank.

use std::net::Ipv4Addr;
use std::rc::Rc;

use agent_common::event::Direction;
use agent_common::lookup::Lookup;
use agent_common::tables::{Cell, CellAction, Head, Plane, facts as fact};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::build::{allow_in, allow_out, block, cell, facts, set, tables, tcp, udp};
use crate::compile::memory::Memory;
use crate::compile::{CompileError, Settings, compile, open_tables};
use crate::rule::{DefaultAction, Peers, Precedence, Rule, RuleSet, Service};

/// Distinct hosts, far apart.
fn host(number: u32) -> IpNet {
    let bits = number.wrapping_mul(0x9e37_79b1);
    Ipv4Net::from(Ipv4Addr::from_bits(bits)).into()
}

fn with_peers(rule: Rule, peers: Vec<IpNet>) -> Rule {
    Rule {
        peers: Peers::Prefixes(peers),
        ..rule
    }
}

#[track_caller]
fn check(rules: Vec<Rule>, settings: Settings, expected: &[&str]) {
    let set = set(DefaultAction::Deny, DefaultAction::Deny, rules);
    let errors = compile(&set, &facts(), &settings)
        .map(|tables| tables.sizes)
        .expect_err("it is over a limit");
    let texts: Vec<String> = errors.iter().map(CompileError::to_string).collect();
    assert_eq!(texts.len(), expected.len(), "{texts:#?}");
    for (text, expected) in texts.iter().zip(expected) {
        assert!(text.contains(expected), "{text}\n does not say: {expected}");
    }
}

#[test]
fn limits_name_themselves_and_the_rules() {
    let many = |count: u16| -> Vec<Rule> { vec![allow_in(tcp(443), &["any"]); count.into()] };
    let mut too_many = many(u16::MAX);
    too_many.push(allow_in(tcp(443), &["any"]));
    check(
        too_many,
        Settings::default(),
        &["65536 rules, at most 65535 fit: most come from Allow (65536)"],
    );
    // The last rule of as many as fit still decides.
    let mut just = many(u16::MAX - 1);
    just.push(allow_in(tcp(80), &["any"]));
    let world = Memory::new(tables(&set(DefaultAction::Deny, DefaultAction::Deny, just)));
    let peer = "198.51.100.1".parse().unwrap();
    assert_eq!(cell(&world, Plane::IngressTcp, 80, peer).rule(), 65_534);
    assert_eq!(cell(&world, Plane::IngressTcp, 443, peer).rule(), 0);

    let each: Vec<Rule> = (0..65_535_u32)
        .map(|number| with_peers(allow_in(tcp(443), &[]), vec![host(number + 1)]))
        .collect();
    check(
        each,
        Settings::default(),
        &["classes of peers, at most 65535 fit"],
    );

    // Two rules for every second port: with the ports between them more classes than fit.
    let each = (0..u16::MAX)
        .step_by(2)
        .flat_map(|port| {
            [
                allow_in(tcp(port), &["10.0.0.1"]),
                allow_in(udp(port), &["any"]),
            ]
        })
        .take(65_535)
        .collect();
    check(
        each,
        Settings::default(),
        &["classes of ports, at most 65535 fit"],
    );
}

#[test]
fn memory_is_a_limit_of_its_own() {
    let random: Vec<IpNet> = (0..40_000_u128)
        .map(|number| {
            let bits = number.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
            IpNet::from(Ipv6Net::new(bits.into(), 48).unwrap().trunc())
        })
        .collect();
    let rules = || vec![with_peers(allow_in(tcp(443), &[]), random.clone())];
    check(
        rules(),
        Settings {
            bank_memory: 3 << 20,
            ..Settings::default()
        },
        &[
            "most prefixes are in Allow/Ingress/Tcp([443..=443])/ (40000); raise `[daemon] bank-memory`",
        ],
    );
    let fits = compile(
        &set(DefaultAction::Deny, DefaultAction::Deny, rules()),
        &facts(),
        &Settings::default(),
    )
    .unwrap();
    assert!(
        fits.sizes.bytes < Settings::default().bank_memory && fits.sizes.v6_nodes >= 20_000,
        "{:?}",
        fits.sizes
    );
}

#[test]
fn equal_blocks_are_laid_out_once() {
    // One address in each of 10,000 nets of 24 bits, always the same last octet.
    let same: Vec<IpNet> = (0..10_000_u32)
        .map(|number| Ipv4Net::from(Ipv4Addr::from_bits(10 << 24 | number << 8 | 7)).into())
        .collect();
    let sizes = tables(&set(
        DefaultAction::Deny,
        DefaultAction::Deny,
        [with_peers(allow_in(tcp(443), &[]), same)],
    ))
    .sizes;
    assert!(sizes.nodes < 10, "{sizes:?}");
}

#[test]
fn a_block_list_makes_ports_ask_and_any_does_not() {
    let rules = [
        allow_in(tcp(443), &["any"]),
        allow_in(tcp(80), &["10.0.0.0/8"]),
    ];
    for (blocked, asks_443) in [(false, false), (true, true)] {
        let mut rules = rules.to_vec();
        if blocked {
            rules.push(block(Direction::Ingress, Service::All, &["203.0.113.0/24"]));
        }
        let world = Memory::new(tables(&set(
            DefaultAction::Deny,
            DefaultAction::Deny,
            rules,
        )));
        let asks = |port| world.asks_peer(world.port_class(Plane::IngressTcp, port).unwrap());
        assert_eq!((asks(443), asks(80)), (asks_443, true));
        assert_eq!(
            asks(1),
            blocked,
            "a closed port asks only to tell the blocked"
        );
    }
}

#[test]
fn the_open_bank_opens_everything() {
    let tables = open_tables(250);
    assert_eq!(tables.head.flags & Head::OPEN, Head::OPEN);
    let world = Memory::new(Rc::new(tables));
    for plane in Plane::ALL {
        for peer in ["198.51.100.1", "2001:db8:1::1"] {
            let cell = cell(&world, plane, 4_242, peer.parse().unwrap());
            assert_eq!(
                (cell.action(), cell.is_default()),
                (CellAction::Allow, true)
            );
        }
    }
    assert_eq!(world.facts(0), Some(fact::OWN));
}

#[test]
fn equal_input_gives_equal_tables() {
    let rules = || {
        set(
            DefaultAction::Deny,
            DefaultAction::Audit,
            [
                allow_in(tcp(443), &["10.0.0.0/8", "2001:db8:7::/48"]),
                allow_out(udp(53), &["192.0.2.53"]),
                block(Direction::Egress, Service::All, &["203.0.113.0/24"]),
            ],
        )
    };
    assert_eq!(tables(&rules()), tables(&rules()));
}

#[test]
fn nobody_is_admitted_by_an_empty_list() {
    let empty = RuleSet {
        rules: vec![with_peers(allow_in(tcp(443), &[]), Vec::new())],
        ..RuleSet::default()
    };
    let world = Memory::new(tables(&empty));
    let found = cell(&world, Plane::IngressTcp, 443, "10.0.0.1".parse().unwrap());
    // the rule is still the nearest
    assert_eq!(found, Cell::new(CellAction::Deny, 0, 0));
    assert_eq!(empty.rules[0].precedence, Precedence::Allow);
}
