//! The decision over ICMP, ICMPv6, DHCP and groups.

use std::rc::Rc;

use agent_common::event::Direction;
use agent_common::flow::FlowTable;
use agent_common::net::tcp::{ACK, SYN};

use super::build::{
    allow_in, allow_out, block, rule, set, tables, tcp as tcp_port, udp as udp_port,
};
use super::wire::{Host, Packet, echo, echo_reply, icmp, tcp, udp, unreachable};
use crate::compile::tables::Tables;
use crate::rule::DefaultAction::{self, Audit, Deny, Open};
use crate::rule::{Precedence, Rule, Service};

fn policy(ingress: DefaultAction, egress: DefaultAction, rules: &[Rule]) -> Rc<Tables> {
    tables(&set(ingress, egress, rules.to_vec()))
}

/// What a host says of one packet after another: `>` it sends, `<` it gets.
#[track_caller]
fn check(host: &Host, rows: &[(char, Packet, &str)]) {
    for (number, (way, packet, expected)) in rows.iter().enumerate() {
        let seen = match way {
            '>' => host.sends(packet),
            _ => host.gets(packet),
        };
        assert_eq!(seen, *expected, "row {number}");
    }
}

/// Each pair: the host's end and the peer's, a router between, and the host's and the peer's addresses.
const FAMILIES: [[&str; 5]; 2] = [
    [
        "192.0.2.10",
        "198.51.100.7",
        "192.0.2.10:",
        "198.51.100.7:",
        "198.51.100.254",
    ],
    [
        "2001:db8::10",
        "2001:db8:5::7",
        "[2001:db8::10]:",
        "[2001:db8:5::7]:",
        "2001:db8:5::fe",
    ],
];

#[test]
fn errors_pass_about_packets_that_the_host_sends() {
    let rules = [
        allow_out(udp_port(53), &["any"]),
        allow_out(tcp_port(443), &["any"]),
        allow_out(Service::Icmp(vec![8]), &["any"]),
        allow_out(Service::Icmpv6(vec![128]), &["any"]),
        allow_in(tcp_port(80), &["any"]),
        allow_in(udp_port(161), &["any"]),
    ];
    for [host, peer, here, there, router] in FAMILIES {
        let at = |end: &str, port: u16| format!("{end}{port}");
        let world = Host::new(policy(Deny, Deny, &rules));
        let question = udp(&at(here, 40_053), &at(there, 53));
        let connection = tcp(&at(here, 40_443), &at(there, 443), SYN);
        let ping = echo(host, peer, 77);
        let web = tcp(&at(here, 80), &at(there, 5_000), ACK);
        let snmp = udp(&at(here, 161), &at(there, 5_000));
        let about = |packet: &Packet| unreachable(router, host, packet);
        for packet in [&question, &connection, &ping, &snmp] {
            check(&world, &[('<', about(packet), "deny unrelated")]);
        }
        check(
            &world,
            &[
                ('>', question.clone(), "allow rule"),
                ('<', about(&question), "allow related"),
                ('>', connection.clone(), "allow rule"),
                ('<', about(&connection), "allow related"),
                ('>', ping.clone(), "allow rule"),
                ('<', about(&ping), "allow related"),
                ('<', about(&echo(host, peer, 78)), "deny unrelated"),
                // an answer: the port is open to the peer, for UDP while the question is fresh
                ('<', about(&web), "allow related"),
                ('<', udp(&at(there, 5_000), &at(here, 161)), "allow rule"),
                ('<', about(&snmp), "allow related"),
                // the quoted source is not whom the error is for
                (
                    '<',
                    about(&udp(&at(there, 53), &at(here, 40_053))),
                    "deny unrelated",
                ),
                // what the host would not send
                (
                    '<',
                    about(&udp(&at(here, 40_053), &at(there, 54))),
                    "deny unrelated",
                ),
                (
                    '<',
                    about(&tcp(&at(here, 40_443), &at(there, 444), SYN)),
                    "deny unrelated",
                ),
            ],
        );
        // Nothing is refreshed by what only quotes.
        world.wait(170);
        check(&world, &[('<', about(&question), "allow related")]);
        world.wait(20);
        check(&world, &[('<', about(&question), "deny unrelated")]);
    }
}

#[test]
fn errors_about_flows_survive_a_switch_that_the_flow_survives() {
    let wide = || policy(Deny, Deny, &[allow_out(udp_port(53), &["any"])]);
    let narrow = policy(
        Deny,
        Deny,
        &[allow_out(
            udp_port(53),
            &["203.0.113.0/24", "2001:db8:9::/48"],
        )],
    );
    for [host, _, here, there, router] in FAMILIES {
        for (next, expected) in [
            (wide(), "allow related"),
            (narrow.clone(), "deny unrelated"),
        ] {
            let mut world = Host::new(wide());
            let question = udp(&format!("{here}40053"), &format!("{there}53"));
            check(&world, &[('>', question.clone(), "allow rule")]);
            world.0.switch(next);
            check(
                &world,
                &[('<', unreachable(router, host, &question), expected)],
            );
        }
    }
}

#[test]
fn the_host_reports_errors_about_what_it_let_in() {
    let rules = [
        allow_in(udp_port(161), &["198.51.100.0/24", "2001:db8:5::/48"]),
        allow_in(Service::Icmp(vec![8]), &["any"]),
        allow_in(Service::Icmpv6(vec![128]), &["any"]),
    ];
    for [host, peer, here, there, _] in FAMILIES {
        let world = Host::new(policy(Deny, Deny, &rules));
        let about = |packet: &Packet| unreachable(host, peer, packet);
        check(
            &world,
            &[
                (
                    '>',
                    about(&udp(&format!("{there}5000"), &format!("{here}161"))),
                    "allow related",
                ),
                (
                    '>',
                    about(&udp(&format!("{there}5000"), &format!("{here}162"))),
                    "deny unrelated",
                ),
                ('>', about(&echo(peer, host, 5)), "allow related"),
                ('>', about(&echo_reply(peer, host, 5)), "deny unrelated"),
                // not to whom the quoted packet came from
                (
                    '>',
                    about(&udp(&format!("{here}161"), &format!("{there}5000"))),
                    "deny unrelated",
                ),
            ],
        );
    }
}

#[test]
fn echo_goes_each_way_by_its_own_rule() {
    let all = |direction: fn(Service, &[&str]) -> Rule| {
        [
            direction(Service::Icmp(vec![8]), &["any"]),
            direction(Service::Icmpv6(vec![128]), &["any"]),
        ]
    };
    for [host, peer, ..] in FAMILIES {
        let inward = Host::new(policy(Deny, Deny, &all(allow_in)));
        check(
            &inward,
            &[
                ('<', echo(peer, host, 1), "allow rule"),
                ('>', echo_reply(host, peer, 1), "allow answer"),
                ('>', echo(host, peer, 1), "deny no-rule"),
                ('<', echo_reply(peer, host, 1), "deny no-rule"),
            ],
        );
        assert_eq!(inward.0.flows(FlowTable::New), 0);
        let outward = Host::new(policy(Deny, Deny, &all(allow_out)));
        check(
            &outward,
            &[
                ('<', echo(peer, host, 1), "deny no-rule"),
                ('>', echo_reply(host, peer, 1), "deny no-rule"),
                ('>', echo(host, peer, 1), "allow rule"),
                ('<', echo_reply(peer, host, 1), "allow reply"),
                ('<', echo_reply(peer, host, 2), "deny no-rule"),
            ],
        );
    }
}

#[test]
fn redirects_never_pass() {
    for default in [Deny, Audit, Open] {
        let world = Host::new(policy(default, default, &[]));
        for (kind, [host, peer, ..]) in [(5, FAMILIES[0]), (137, FAMILIES[1])] {
            check(
                &world,
                &[
                    ('<', icmp(peer, host, kind, 1, &[0; 40]), "deny redirect"),
                    ('>', icmp(host, peer, kind, 1, &[0; 40]), "deny redirect"),
                ],
            );
        }
    }
}

#[test]
fn neighbour_discovery_comes_from_the_link() {
    let rules = [
        allow_in(Service::Icmpv6(vec![133, 135, 136]), &["any"]),
        allow_in(Service::Icmpv6(vec![134]), &["any"]),
    ];
    let message = |kind: u8, source: &str, hop_limit: u8| {
        let mut packet = icmp(source, "ff02::1", kind, 0, &[0; 20]);
        packet.hop_limit = hop_limit;
        packet.link_group = true;
        packet
    };
    for default in [Deny, Audit, Open] {
        let world = Host::new(policy(default, default, &rules));
        check(
            &world,
            &[
                ('<', message(135, "fe80::1", 255), "allow rule"),
                ('<', message(135, "2001:db8::1", 255), "allow rule"),
                ('<', message(135, "::", 255), "allow rule"),
                ('<', message(135, "fe80::1", 254), "deny off-link"),
                ('<', message(136, "fe80::1", 255), "allow rule"),
                ('<', message(136, "fe80::1", 64), "deny off-link"),
                ('<', message(134, "fe80::1", 255), "allow rule"),
                ('<', message(134, "2001:db8::1", 255), "deny off-link"),
                ('<', message(134, "fe80::1", 1), "deny off-link"),
            ],
        );
    }
}

#[test]
fn listeners_are_asked_on_the_link_alone() {
    let rules = [
        allow_in(Service::Icmpv6(vec![130, 131, 132, 143]), &["any"]),
        allow_out(Service::Icmpv6(vec![131, 132, 143]), &["any"]),
    ];
    let message = |source: &str, hop_limit: u8, alert: bool| {
        let mut packet = icmp(source, "ff02::16", 143, 0, &[0; 8]);
        packet.hop_limit = hop_limit;
        packet.alert = alert;
        packet.link_group = true;
        packet
    };
    let world = Host::new(policy(Deny, Deny, &rules));
    check(
        &world,
        &[
            ('<', message("fe80::1", 1, true), "allow rule"),
            ('<', message("::", 1, true), "allow rule"),
            ('<', message("fe80::1", 2, true), "deny off-link"),
            ('<', message("fe80::1", 1, false), "deny off-link"),
            ('<', message("2001:db8::1", 1, true), "deny off-link"),
            ('>', message("fe80::10", 1, true), "allow rule"),
        ],
    );
}

fn dhcp(from: &str, to: &str, group: bool) -> Packet {
    let mut packet = udp(from, to);
    packet.link_group = group;
    packet
}

#[test]
fn a_dhcp_client_lives() {
    let rules = [
        allow_in(Service::Dhcp4, &["any"]),
        allow_out(Service::Dhcp4, &["any"]),
        allow_in(Service::Dhcp6, &["fe80::/10"]),
        allow_out(Service::Dhcp6, &["any"]),
    ];
    let discover = || dhcp("0.0.0.0:68", "255.255.255.255:67", true);
    let offer = || dhcp("192.0.2.1:67", "255.255.255.255:68", true);
    let renew = || dhcp("192.0.2.10:68", "192.0.2.1:67", false);
    let extended = || dhcp("192.0.2.1:67", "192.0.2.10:68", false);
    let solicit = || dhcp("[fe80::10]:546", "[ff02::1:2]:547", true);
    let advertise = || dhcp("[fe80::1]:547", "[fe80::10]:546", false);
    let blocks = |directions: &[Direction]| -> Vec<Rule> {
        directions
            .iter()
            .map(|&direction| block(direction, Service::All, &["192.0.2.1", "fe80::1"]))
            .collect()
    };
    // A block list never reaches DHCP.
    for blocked in [vec![], blocks(&[Direction::Ingress, Direction::Egress])] {
        let is_blocked = !blocked.is_empty();
        let rules: Vec<Rule> = blocked.into_iter().chain(rules.clone()).collect();
        let world = Host::new(policy(Deny, Deny, &rules));
        check(
            &world,
            &[
                ('>', discover(), "allow rule"),
                ('<', offer(), "allow rule"),
                ('>', renew(), "allow rule"),
                ('<', extended(), "allow rule"),
                ('>', solicit(), "allow rule"),
                ('<', advertise(), "allow rule"),
                // the ports must be the server's and the client's
                (
                    '<',
                    dhcp("192.0.2.2:1067", "192.0.2.10:68", false),
                    "deny no-rule",
                ),
                (
                    '<',
                    dhcp("192.0.2.2:67", "192.0.2.10:69", false),
                    "deny no-rule",
                ),
                (
                    '<',
                    dhcp("192.0.2.2:1067", "255.255.255.255:68", true),
                    "deny group",
                ),
                (
                    '<',
                    dhcp("192.0.2.1:53", "192.0.2.10:69", false),
                    if is_blocked {
                        "deny block"
                    } else {
                        "deny no-rule"
                    },
                ),
                (
                    '<',
                    dhcp("[2001:db8::1]:547", "[fe80::10]:546", false),
                    "deny no-rule",
                ),
            ],
        );
        assert_eq!(world.0.flows(FlowTable::New), 0);
    }
    // A default on trial does not report what a rule allows.
    let world = Host::new(policy(Audit, Audit, &rules));
    check(
        &world,
        &[
            ('>', discover(), "allow rule"),
            ('<', offer(), "allow rule"),
            ('>', renew(), "allow rule"),
            ('<', extended(), "allow rule"),
        ],
    );
    // Without its rules nothing of it passes.
    let world = Host::new(policy(Deny, Deny, &[]));
    check(
        &world,
        &[
            ('>', discover(), "deny group"),
            ('<', offer(), "deny group"),
            ('>', renew(), "deny no-rule"),
            ('<', extended(), "deny no-rule"),
            ('>', solicit(), "deny group"),
            ('<', advertise(), "deny no-rule"),
        ],
    );
}

#[test]
fn a_rule_means_one_host_and_a_default_everything() {
    let rules = [
        allow_in(udp_port(5_353), &["any"]),
        allow_out(udp_port(5_353), &["any"]),
    ];
    let to_group = || {
        let mut packet = udp("192.0.2.20:5353", "224.0.0.251:5353");
        packet.link_group = true;
        packet
    };
    let to_port = |port: u16| {
        let mut packet = udp("192.0.2.20:5353", &format!("224.0.0.251:{port}"));
        packet.link_group = true;
        packet
    };
    for (default, named, other) in [
        (Deny, "deny group", "deny group"),
        (Audit, "audit no-rule", "audit no-rule"),
        (Open, "allow default", "allow default"),
    ] {
        let world = Host::new(policy(default, default, &rules));
        check(
            &world,
            &[
                ('<', to_group(), named),
                ('>', to_group(), named),
                ('<', to_port(1900), other),
                ('>', to_port(1900), other),
                ('<', udp("192.0.2.20:5353", "192.0.2.10:5353"), "allow rule"),
            ],
        );
        let mut segment = tcp("192.0.2.20:5000", "224.0.0.251:80", SYN);
        segment.link_group = true;
        check(&world, &[('<', segment, "deny group")]);
        let rules = [
            block(Direction::Ingress, Service::All, &["192.0.2.20"]),
            rule(
                Precedence::AuditStage,
                Direction::Ingress,
                udp_port(5_353),
                &["any"],
            ),
        ];
        let world = Host::new(policy(default, default, &rules));
        let mut neighbour = udp("192.0.2.21:5353", "224.0.0.251:5353");
        neighbour.link_group = true;
        check(
            &world,
            &[
                ('<', to_group(), "deny block"),
                ('<', neighbour, "audit no-rule"),
            ],
        );
    }
}
