//! Rules that name groups: whom they let ask, whom they let answer, and for how long.

use std::rc::Rc;

use agent_common::event::Direction;
use agent_common::flow::FlowTable;
use agent_common::net::tcp::SYN;

use super::build::{allow_in, allow_out, block, set, tables, udp as port};
use super::flows::policy;
use super::wire::{Host, Packet, tcp, udp};
use crate::compile::tables::Tables;
use crate::rule::DefaultAction::{Audit, Deny, Open};
use crate::rule::{Precedence, Rule};

const SSDP: [&str; 2] = ["239.255.255.250", "ff02::c"];
const LLMNR: [&str; 2] = ["224.0.0.252", "ff02::1:3"];

/// The rule, for these groups.
fn via(mut rule: Rule, groups: &[&str]) -> Rule {
    rule.groups = groups.iter().map(|text| text.parse().unwrap()).collect();
    rule
}

fn deny(rules: &[Rule]) -> Rc<Tables> {
    policy(Deny, Deny, rules)
}

/// UDP to a group, as it lies on the wire.
fn to_group(from: &str, to: &str) -> Packet {
    let mut packet = udp(from, to);
    packet.link_group = true;
    packet
}

/// What the host gets (`<`) and sends (`>`), one after the other.
#[track_caller]
fn check(host: &Host, steps: &[(char, Packet, &str)]) {
    for (number, (way, packet, expected)) in steps.iter().enumerate() {
        let seen = match way {
            '<' => host.gets(packet),
            _ => host.sends(packet),
        };
        assert_eq!(seen, *expected, "step {number}");
    }
}

/// A host that hears SSDP from two networks and LLMNR from another, both at the same port.
fn listener() -> Host {
    Host::new(deny(&[
        via(
            allow_in(port(1900), &["198.51.100.0/24", "2001:db8:5::/64"]),
            &SSDP,
        ),
        via(allow_in(port(1900), &["203.0.113.0/24"]), &LLMNR),
        allow_in(port(1901), &["198.51.100.0/24"]),
    ]))
}

#[test]
fn a_rule_for_a_group_admits_its_peers_to_its_group() {
    for (from, to, expected) in [
        ("198.51.100.7:5000", "239.255.255.250:1900", "allow rule"),
        ("[2001:db8:5::7]:5000", "[ff02::c]:1900", "allow rule"),
        ("203.0.113.7:5000", "224.0.0.252:1900", "allow rule"),
        // The peers of one rule, the group of the other.
        ("198.51.100.7:5000", "224.0.0.252:1900", "deny no-rule"),
        ("203.0.113.7:5000", "239.255.255.250:1900", "deny no-rule"),
        ("192.0.2.7:5000", "239.255.255.250:1900", "deny no-rule"),
        // Another port, another group, a broadcast address, a frame for many with an address of one.
        ("198.51.100.7:5000", "239.255.255.250:1902", "deny group"),
        ("198.51.100.7:5000", "224.0.0.251:1900", "deny group"),
        ("198.51.100.7:5000", "192.0.2.255:1900", "deny group"),
        ("198.51.100.7:5000", "255.255.255.255:1900", "deny group"),
        ("198.51.100.7:5000", "192.0.2.10:1900", "deny group"),
        ("[2001:db8:5::7]:5000", "[ff02::fb]:1900", "deny group"),
        // A rule for single hosts.
        ("198.51.100.7:5000", "239.255.255.250:1901", "deny group"),
    ] {
        check(&listener(), &[('<', to_group(from, to), expected)]);
    }
}

#[test]
fn a_rule_for_a_group_admits_nobody_to_the_host_itself() {
    for (from, to, expected) in [
        ("198.51.100.7:5000", "192.0.2.10:1900", "deny no-rule"),
        (
            "[2001:db8:5::7]:5000",
            "[2001:db8::10]:1900",
            "deny no-rule",
        ),
        ("198.51.100.7:5000", "192.0.2.10:1901", "allow rule"),
    ] {
        check(&listener(), &[('<', udp(from, to), expected)]);
    }
    // Groups carry no TCP.
    let mut segment = tcp("198.51.100.7:5000", "239.255.255.250:1900", SYN);
    segment.link_group = true;
    check(&listener(), &[('<', segment, "deny group")]);
}

#[test]
fn a_question_by_a_group_may_be_answered() {
    let question = || to_group("198.51.100.7:5000", "239.255.255.250:1900");
    let answer = || udp("192.0.2.10:1900", "198.51.100.7:5000");
    // Nobody asked; somebody else asked; from another port.
    check(&listener(), &[('>', answer(), "deny no-rule")]);
    let host = listener();
    check(
        &host,
        &[
            ('<', question(), "allow rule"),
            ('>', answer(), "allow answer"),
            (
                '>',
                udp("192.0.2.10:1900", "198.51.100.8:5000"),
                "deny no-rule",
            ),
            (
                '>',
                udp("192.0.2.10:1900", "198.51.100.7:5001"),
                "deny no-rule",
            ),
            (
                '>',
                udp("192.0.2.10:1901", "198.51.100.7:5000"),
                "deny no-rule",
            ),
        ],
    );
    // Whoever forges questions fills no table.
    assert_eq!(host.0.flows(FlowTable::New), 0);
    host.wait(179);
    check(&host, &[('>', answer(), "allow answer")]);
    host.wait(5);
    check(&host, &[('>', answer(), "deny no-rule")]);
    // A question that is denied is none.
    check(
        &listener(),
        &[
            (
                '<',
                to_group("192.0.2.7:5000", "239.255.255.250:1900"),
                "deny no-rule",
            ),
            (
                '>',
                udp("192.0.2.10:1900", "192.0.2.7:5000"),
                "deny no-rule",
            ),
        ],
    );
}

/// A host that asks SSDP's group.
fn asker(extra: &[Rule]) -> Host {
    let mut rules = vec![via(allow_out(port(1900), &["203.0.113.0/24"]), &SSDP)];
    rules.extend_from_slice(extra);
    Host::new(deny(&rules))
}

fn search() -> Packet {
    to_group("192.0.2.10:40001", "239.255.255.250:1900")
}

#[test]
fn an_egress_rule_for_a_group_reaches_its_groups() {
    for (packet, expected) in [
        (search(), "allow rule"),
        (to_group("[fe80::10]:40001", "[ff02::c]:1900"), "allow rule"),
        (
            to_group("192.0.2.10:40001", "239.255.255.250:1901"),
            "deny group",
        ),
        (
            to_group("192.0.2.10:40001", "224.0.0.252:1900"),
            "deny group",
        ),
        (
            to_group("192.0.2.10:40001", "192.0.2.255:1900"),
            "deny group",
        ),
        // Its peers are those who hear it: they are not asked one by one.
        (udp("192.0.2.10:40001", "203.0.113.7:1900"), "deny no-rule"),
    ] {
        check(&asker(&[]), &[('>', packet, expected)]);
    }
}

#[test]
fn members_of_a_group_answer_the_port_that_asked() {
    let answer = || udp("192.0.2.7:1900", "192.0.2.10:40001");
    let denied = "deny no-rule";
    check(&asker(&[]), &[('<', answer(), denied)]);
    check(
        &asker(&[]),
        &[
            ('>', search(), "allow rule"),
            ('<', answer(), "allow reply"),
            (
                '<',
                udp("192.0.2.99:1900", "192.0.2.10:40001"),
                "allow reply",
            ),
            // From off the link, from another port, to another port, over TCP.
            ('<', udp("198.51.100.7:1900", "192.0.2.10:40001"), denied),
            ('<', udp("192.0.2.7:1901", "192.0.2.10:40001"), denied),
            ('<', udp("192.0.2.7:1900", "192.0.2.10:40002"), denied),
            ('<', tcp("192.0.2.7:1900", "192.0.2.10:40001", SYN), denied),
            // It is no flow: the host asks no member by it.
            ('>', udp("192.0.2.10:40001", "192.0.2.7:1900"), denied),
        ],
    );
    let v6 = asker(&[]);
    check(
        &v6,
        &[
            (
                '>',
                to_group("[fe80::10]:40001", "[ff02::c]:1900"),
                "allow rule",
            ),
            (
                '<',
                udp("[fe80::7]:1900", "[fe80::10]:40001"),
                "allow reply",
            ),
            ('<', udp("[2001:db8:5::7]:1900", "[fe80::10]:40001"), denied),
            // The window is the address' that asked.
            (
                '<',
                udp("[2001:db8::7]:1900", "[2001:db8::10]:40001"),
                denied,
            ),
        ],
    );
}

#[test]
fn a_window_closes() {
    let answer = || udp("192.0.2.7:1900", "192.0.2.10:40001");
    let host = asker(&[]);
    check(&host, &[('>', search(), "allow rule")]);
    host.wait(9);
    check(&host, &[('<', answer(), "allow reply")]);
    // An answer does not hold it open, another question does.
    host.wait(2);
    check(
        &host,
        &[
            ('<', answer(), "deny no-rule"),
            ('>', search(), "allow rule"),
            ('<', answer(), "allow reply"),
        ],
    );
    // A switch ends it, also to the same policy.
    let mut host = asker(&[]);
    check(&host, &[('>', search(), "allow rule")]);
    let tables = Rc::new(
        tables(&set(
            Deny,
            Deny,
            [via(allow_out(port(1900), &["any"]), &SSDP)],
        ))
        .as_ref()
        .clone(),
    );
    host.0.switch(tables);
    check(
        &host,
        &[
            ('<', answer(), "deny no-rule"),
            ('>', search(), "allow rule"),
            ('<', answer(), "allow reply"),
        ],
    );
}

#[test]
fn only_a_rule_that_names_a_group_opens_a_window() {
    let answer = || udp("192.0.2.7:1900", "192.0.2.10:40001");
    let elsewhere = via(allow_out(port(5353), &["any"]), &LLMNR);
    for (egress, passes) in [(Open, "allow default"), (Audit, "audit no-rule")] {
        let host = Host::new(policy(Deny, egress, std::slice::from_ref(&elsewhere)));
        check(
            &host,
            &[('>', search(), passes), ('<', answer(), "deny no-rule")],
        );
        assert_eq!(host.0.flows(FlowTable::New), 0, "{egress:?}");
    }
    let mut stage = allow_out(port(1900), &["any"]);
    stage.precedence = Precedence::AuditStage;
    check(
        &Host::new(deny(&[stage, elsewhere])),
        &[
            ('>', search(), "audit no-rule"),
            ('<', answer(), "deny no-rule"),
        ],
    );
}

#[test]
fn a_block_list_comes_before_groups_and_windows() {
    let blocked = |direction| block(direction, crate::rule::Service::All, &["192.0.2.7"]);
    let both = [blocked(Direction::Ingress), blocked(Direction::Egress)];
    let host = asker(&both);
    check(
        &host,
        &[
            ('>', search(), "allow rule"),
            ('<', udp("192.0.2.7:1900", "192.0.2.10:40001"), "deny block"),
            (
                '<',
                udp("192.0.2.8:1900", "192.0.2.10:40001"),
                "allow reply",
            ),
        ],
    );
    let mut rules = both.to_vec();
    rules.push(via(allow_in(port(1900), &["192.0.2.0/24"]), &SSDP));
    let host = Host::new(deny(&rules));
    check(
        &host,
        &[
            (
                '<',
                to_group("192.0.2.7:5000", "239.255.255.250:1900"),
                "deny block",
            ),
            ('>', udp("192.0.2.10:1900", "192.0.2.7:5000"), "deny block"),
            (
                '<',
                to_group("192.0.2.8:5000", "239.255.255.250:1900"),
                "allow rule",
            ),
            (
                '>',
                udp("192.0.2.10:1900", "192.0.2.8:5000"),
                "allow answer",
            ),
        ],
    );
}

#[test]
fn multicast_dns_asks_and_answers_at_one_port() {
    let rules = [
        via(allow_in(port(5353), &["192.0.2.0/24"]), &["224.0.0.251"]),
        via(allow_out(port(5353), &["192.0.2.0/24"]), &["224.0.0.251"]),
    ];
    check(
        &Host::new(deny(&rules)),
        &[
            (
                '<',
                udp("192.0.2.7:5353", "192.0.2.10:5353"),
                "deny no-rule",
            ),
            (
                '<',
                to_group("192.0.2.7:5353", "224.0.0.251:5353"),
                "allow rule",
            ),
            (
                '>',
                to_group("192.0.2.10:5353", "224.0.0.251:5353"),
                "allow rule",
            ),
            // To who wants a unicast answer (RFC 6762 section 5.4), and from who gives one.
            (
                '>',
                udp("192.0.2.10:5353", "192.0.2.7:5353"),
                "allow answer",
            ),
            ('<', udp("192.0.2.8:5353", "192.0.2.10:5353"), "allow reply"),
        ],
    );
}

#[test]
fn a_broadcast_group_is_reached_like_any_other() {
    let groups = ["192.0.2.255", "255.255.255.255"];
    let rules = [
        via(allow_out(port(3289), &["192.0.2.0/24"]), &groups),
        via(allow_in(port(3289), &["192.0.2.0/24"]), &groups),
    ];
    let host = Host::new(deny(&rules));
    for group in groups {
        let to = format!("{group}:3289");
        check(
            &host,
            &[
                ('>', to_group("192.0.2.10:40001", &to), "allow rule"),
                (
                    '<',
                    udp("192.0.2.7:3289", "192.0.2.10:40001"),
                    "allow reply",
                ),
                ('<', to_group("192.0.2.7:5000", &to), "allow rule"),
                (
                    '>',
                    udp("192.0.2.10:3289", "192.0.2.7:5000"),
                    "allow answer",
                ),
            ],
        );
        host.wait(11);
    }
    check(
        &host,
        &[(
            '<',
            to_group("192.0.2.7:5000", "198.51.100.255:3289"),
            "deny group",
        )],
    );
}
