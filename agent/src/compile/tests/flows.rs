//! The decision over flows: who begins, what answers, what continues, what ends.

use std::rc::Rc;

use agent_common::flow::FlowTable;
use agent_common::net::tcp::{ACK, FIN, PSH, RST, SYN};

use super::build::{allow_in, allow_out, set, tables, tcp as tcp_port, udp as udp_port};
use super::wire::{Host, Packet, echo, echo_reply, tcp, udp};
use crate::compile::memory::Limits;
use crate::compile::tables::Tables;
use crate::rule::DefaultAction::{self, Audit, Deny, Open};
use crate::rule::{Rule, Service};

/// Who sends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Who {
    Host,
    Peer,
}

/// First packet, second packet the other way, third as the first.
#[derive(Clone, Copy, Debug)]
enum Transport {
    Tcp,
    Udp,
    Echo,
}

fn three(transport: Transport, v6: bool, from: Who) -> [Packet; 3] {
    let (host, peer) = if v6 {
        ("2001:db8::10", "2001:db8:5::7")
    } else {
        ("192.0.2.10", "198.51.100.7")
    };
    let (a, b) = match from {
        Who::Host => (host, peer),
        Who::Peer => (peer, host),
    };
    let end = |address: &str, port: u16| {
        if v6 {
            format!("[{address}]:{port}")
        } else {
            format!("{address}:{port}")
        }
    };
    let (client, server) = (end(a, 40_001), end(b, 7_777));
    match transport {
        Transport::Tcp => [
            tcp(&client, &server, SYN),
            tcp(&server, &client, SYN | ACK),
            tcp(&client, &server, ACK),
        ],
        Transport::Udp => [
            udp(&client, &server),
            udp(&server, &client),
            udp(&client, &server),
        ],
        Transport::Echo => [echo(a, b, 9), echo_reply(b, a, 9), echo(a, b, 9)],
    }
}

pub(super) fn policy(ingress: DefaultAction, egress: DefaultAction, rules: &[Rule]) -> Rc<Tables> {
    tables(&set(ingress, egress, rules.to_vec()))
}

/// Without any rule: first packet, answer, continuation, and how many entries there are then.
#[track_caller]
fn check_defaults(
    (ingress, egress, from): (DefaultAction, DefaultAction, Who),
    expected: [&str; 3],
    entries: usize,
) {
    for transport in [Transport::Tcp, Transport::Udp, Transport::Echo] {
        for v6 in [false, true] {
            let host = Host::new(policy(ingress, egress, &[]));
            let packets = three(transport, v6, from);
            let case =
                format!("{ingress:?} in, {egress:?} out, {from:?} begins, {transport:?}, v6 {v6}");
            for (number, (packet, expected)) in packets.iter().zip(expected).enumerate() {
                let by_host = (from == Who::Host) == (number != 1);
                let seen = if by_host {
                    host.sends(packet)
                } else {
                    host.gets(packet)
                };
                // An audited flow of TCP is logged at its SYN; the others have no first packet to tell.
                let expected = match (transport, number, expected) {
                    (Transport::Tcp, 2, "audit no-rule") if from == Who::Peer => {
                        "audit no-rule (quiet)"
                    }
                    _ => expected,
                };
                assert_eq!(seen, expected, "{case}: packet {number}");
                if seen.starts_with("deny") {
                    break;
                }
            }
            let found = host.0.flows(FlowTable::New) + host.0.flows(FlowTable::Established);
            assert_eq!(found, entries, "{case}: entries");
        }
    }
}

#[test]
fn state_replies_and_answers_follow_what_passes() {
    use Who::{Host, Peer};
    let denied = ["deny no-rule", "", ""];
    // Whatever the egress default, an answer to what came in passes by what let it in, and leaves no entry.
    for egress in [Deny, Audit, Open] {
        check_defaults((Deny, egress, Peer), denied, 0);
        check_defaults(
            (Audit, egress, Peer),
            ["audit no-rule", "audit answer (quiet)", "audit no-rule"],
            0,
        );
        check_defaults(
            (Open, egress, Peer),
            ["allow default", "allow answer", "allow default"],
            0,
        );
    }
    for ingress in [Deny, Audit, Open] {
        check_defaults((ingress, Deny, Host), denied, 0);
    }
    // A reply inherits; where the ingress default is open, it passes by that.
    for ingress in [Deny, Audit] {
        check_defaults(
            (ingress, Audit, Host),
            [
                "audit no-rule",
                "audit reply (quiet)",
                "audit reply (quiet)",
            ],
            1,
        );
        check_defaults(
            (ingress, Open, Host),
            ["allow default", "allow reply", "allow reply"],
            1,
        );
    }
    check_defaults(
        (Open, Audit, Host),
        ["audit no-rule", "allow default", "audit reply (quiet)"],
        1,
    );
    check_defaults(
        (Open, Open, Host),
        ["allow default", "allow default", "allow reply"],
        1,
    );
}

/// What a host with a policy says of one packet after another: `>` it sends, `<` it gets.
#[track_caller]
pub(super) fn check(host: &Host, rows: &[(char, Packet, &str)]) {
    for (number, (way, packet, expected)) in rows.iter().enumerate() {
        let seen = match way {
            '>' => host.sends(packet),
            _ => host.gets(packet),
        };
        assert_eq!(seen, *expected, "row {number}");
    }
}

pub(super) const WEB: &str = "198.51.100.7:443";
pub(super) const HOST: &str = "192.0.2.10:40001";

pub(super) fn web_client() -> Rc<Tables> {
    policy(
        Deny,
        Deny,
        &[allow_out(tcp_port(443), &["198.51.100.0/24"])],
    )
}

/// A connection of the host to [`WEB`], complete.
#[track_caller]
pub(super) fn connect(host: &Host) {
    check(
        host,
        &[
            ('>', tcp(HOST, WEB, SYN), "allow rule"),
            ('<', tcp(WEB, HOST, SYN | ACK), "allow reply"),
            ('>', tcp(HOST, WEB, ACK), "allow reply"),
        ],
    );
}

#[track_caller]
pub(super) fn entries(host: &Host, new: usize, established: usize) {
    assert_eq!(
        (
            host.0.flows(FlowTable::New),
            host.0.flows(FlowTable::Established)
        ),
        (new, established),
        "entries: new, established"
    );
}

#[test]
fn only_the_flow_itself_is_replied_to() {
    let host = Host::new(web_client());
    check(
        &host,
        &[
            ('<', tcp(WEB, HOST, SYN | ACK), "deny no-rule"),
            ('>', tcp(HOST, WEB, SYN), "allow rule"),
            // a SYN answers nothing, wherever it goes to
            ('<', tcp(WEB, HOST, SYN), "deny no-rule"),
            (
                '<',
                tcp("198.51.100.8:443", HOST, SYN | ACK),
                "deny no-rule",
            ),
            (
                '<',
                tcp("198.51.100.7:444", HOST, SYN | ACK),
                "deny no-rule",
            ),
            ('<', tcp(WEB, "192.0.2.10:40002", SYN | ACK), "deny no-rule"),
            ('<', tcp(WEB, "192.0.2.11:40001", SYN | ACK), "deny no-rule"),
            ('<', udp(WEB, HOST), "deny no-rule"),
            ('<', tcp(WEB, HOST, SYN | ACK), "allow reply"),
            ('<', tcp(WEB, HOST, FIN | PSH), "deny tcp-flags"),
        ],
    );
    entries(&host, 1, 0);
}

#[test]
fn a_connection_moves_between_the_tables() {
    let host = Host::new(web_client());
    connect(&host);
    entries(&host, 0, 1);
    // An idle connection lives for five days; half open or closing it lives for two minutes.
    host.wait(431_000);
    check(&host, &[('<', tcp(WEB, HOST, ACK), "allow reply")]);
    // What the peer sends shortens nothing: anybody may have forged it.
    check(
        &host,
        &[
            ('<', tcp(WEB, HOST, RST), "allow reply"),
            ('<', tcp(WEB, HOST, FIN | ACK), "allow reply"),
        ],
    );
    host.wait(431_000);
    check(
        &host,
        &[
            ('<', tcp(WEB, HOST, ACK), "allow reply"),
            ('>', tcp(HOST, WEB, FIN | ACK), "allow reply"),
        ],
    );
    entries(&host, 1, 0);
    host.wait(110);
    check(&host, &[('<', tcp(WEB, HOST, ACK), "allow reply")]);
    host.wait(130);
    check(&host, &[('<', tcp(WEB, HOST, ACK), "deny no-rule")]);
    // The same ports again.
    connect(&host);
    entries(&host, 0, 1);
}

#[test]
fn half_open_connections_end_after_two_minutes() {
    for (seconds, expected) in [(118, "allow reply"), (125, "deny no-rule")] {
        let host = Host::new(web_client());
        check(&host, &[('>', tcp(HOST, WEB, SYN), "allow rule")]);
        host.wait(seconds);
        check(&host, &[('<', tcp(WEB, HOST, SYN | ACK), expected)]);
    }
}

#[test]
fn datagrams_and_echo_have_their_own_times() {
    let rules = [
        allow_out(udp_port(53), &["any"]),
        allow_out(Service::Icmp(vec![8]), &["any"]),
        allow_out(Service::Icmpv6(vec![128]), &["any"]),
    ];
    let (resolver, here) = ("198.51.100.53:53", "192.0.2.10:40053");
    let (a, b) = ("2001:db8::10", "2001:db8:5::7");
    for (seconds, expected) in [(178, "allow reply"), (185, "deny no-rule")] {
        let host = Host::new(policy(Deny, Deny, &rules));
        check(&host, &[('>', udp(here, resolver), "allow rule")]);
        host.wait(seconds);
        check(&host, &[('<', udp(resolver, here), expected)]);
    }
    for (seconds, expected) in [(29, "allow reply"), (33, "deny no-rule")] {
        let host = Host::new(policy(Deny, Deny, &rules));
        check(&host, &[('>', echo(a, b, 3), "allow rule")]);
        host.wait(seconds);
        check(
            &host,
            &[
                ('<', echo_reply(b, a, 4), "deny no-rule"),
                ('<', echo_reply(b, a, 3), expected),
            ],
        );
    }
}

#[test]
fn a_full_table_of_connections_keeps_them_in_the_first() {
    let host = Host::with_limits(
        web_client(),
        Limits {
            new: 10,
            established: 1,
        },
    );
    let second = "192.0.2.10:40002";
    connect(&host);
    check(
        &host,
        &[
            ('>', tcp(second, WEB, SYN), "allow rule"),
            ('<', tcp(WEB, second, SYN | ACK), "allow reply"),
            ('>', tcp(second, WEB, ACK), "allow reply"),
        ],
    );
    entries(&host, 1, 1);
    // Both live as long.
    host.wait(400_000);
    check(
        &host,
        &[
            ('<', tcp(WEB, second, ACK), "allow reply"),
            ('<', tcp(WEB, HOST, ACK), "allow reply"),
            ('>', tcp(second, WEB, FIN | ACK), "allow reply"),
        ],
    );
    entries(&host, 1, 1);
}

#[test]
fn a_lost_entry_is_picked_up_by_what_the_host_sends() {
    let host = Host::new(web_client());
    check(
        &host,
        &[
            ('<', tcp(WEB, HOST, ACK), "deny no-rule"),
            // neither a reset nor a SYN-ACK begins anything
            ('>', tcp(HOST, WEB, RST), "allow rule"),
            ('>', tcp(HOST, WEB, SYN | ACK), "allow rule"),
            ('<', tcp(WEB, HOST, ACK), "deny no-rule"),
            ('>', tcp(HOST, WEB, PSH | ACK), "allow rule"),
            ('<', tcp(WEB, HOST, ACK), "allow reply"),
            ('>', tcp(HOST, WEB, ACK), "allow reply"),
        ],
    );
    entries(&host, 0, 1);
}

#[test]
fn answers_to_datagrams_need_a_recent_question() {
    for (egress, unasked, kept) in [
        (Deny, "deny no-rule", 0),
        (Audit, "audit no-rule", 1),
        (Open, "allow default", 1),
    ] {
        let host = Host::new(policy(Deny, egress, &[allow_in(udp_port(161), &["any"])]));
        let (service, peer) = ("192.0.2.10:161", "198.51.100.7:5000");
        check(
            &host,
            &[
                ('<', udp(peer, service), "allow rule"),
                ('>', udp(service, peer), "allow answer"),
                ('>', udp(service, peer), "allow answer"),
            ],
        );
        entries(&host, 0, 0);
        host.wait(170);
        check(&host, &[('>', udp(service, peer), "allow answer")]);
        // An answer asks for nothing: the question grows older.
        host.wait(20);
        check(
            &host,
            &[
                ('>', udp(service, peer), unasked),
                ('>', udp(service, "198.51.100.8:5000"), unasked),
            ],
        );
        entries(&host, 2 * kept, 0);
        let fresh = Host::new(policy(Deny, egress, &[allow_in(udp_port(161), &["any"])]));
        check(&fresh, &[('>', udp(service, peer), unasked)]);
    }
}

#[test]
fn a_flood_of_spoofed_requests_leaves_no_entry() {
    let rules = [
        allow_in(tcp_port(443), &["any"]),
        allow_in(tcp_port(49_500), &["any"]),
        allow_in(udp_port(161), &["any"]),
        allow_in(udp_port(49_501), &["any"]),
        allow_in(Service::Icmp(vec![8]), &["any"]),
    ];
    for ingress in [Deny, Audit, Open] {
        for egress in [Deny, Audit, Open] {
            let host = Host::new(policy(ingress, egress, &rules));
            for number in 0_u32..500 {
                let address = std::net::Ipv4Addr::from_bits(0x0b00_0000 | (number * 7_919));
                let peer = format!("{address}:{}", 1024 + number % 60_000);
                let here = "192.0.2.10";
                for port in [443, 49_500] {
                    let service = format!("{here}:{port}");
                    check(
                        &host,
                        &[
                            ('<', tcp(&peer, &service, SYN), "allow rule"),
                            ('>', tcp(&service, &peer, SYN | ACK), "allow answer"),
                            ('<', tcp(&peer, &service, ACK), "allow rule"),
                            ('>', tcp(&service, &peer, PSH | ACK), "allow answer"),
                            ('>', tcp(&service, &peer, RST), "allow answer"),
                        ],
                    );
                }
                for port in [161, 49_501] {
                    let service = format!("{here}:{port}");
                    check(
                        &host,
                        &[
                            ('<', udp(&peer, &service), "allow rule"),
                            ('>', udp(&service, &peer), "allow answer"),
                        ],
                    );
                }
                let address = address.to_string();
                check(
                    &host,
                    &[
                        ('<', echo(&address, here, 7), "allow rule"),
                        ('>', echo_reply(here, &address, 7), "allow answer"),
                    ],
                );
            }
            entries(&host, 0, 0);
        }
    }
}

#[test]
fn an_audited_connection_from_outside_is_logged_at_its_syn() {
    let host = Host::new(policy(Audit, Deny, &[]));
    let (peer, service) = ("198.51.100.7:5000", "192.0.2.10:8080");
    check(
        &host,
        &[
            ('<', tcp(peer, service, SYN), "audit no-rule"),
            ('>', tcp(service, peer, SYN | ACK), "audit answer (quiet)"),
            ('<', tcp(peer, service, ACK), "audit no-rule (quiet)"),
            ('<', tcp(peer, service, FIN | ACK), "audit no-rule (quiet)"),
        ],
    );
}

#[test]
fn an_entry_decides_before_an_answer_in_the_ephemeral_range() {
    // Whoever may reach 49500 may be answered from there; a flow that the host began from there is its own.
    let rules = [
        allow_in(tcp_port(49_500), &["any"]),
        allow_in(tcp_port(8_080), &["any"]),
        allow_out(tcp_port(443), &["any"]),
    ];
    let host = Host::new(policy(Deny, Deny, &rules));
    check(
        &host,
        &[
            ('>', tcp("192.0.2.10:49500", WEB, SYN), "allow rule"),
            ('<', tcp(WEB, "192.0.2.10:49500", SYN | ACK), "allow rule"),
            ('>', tcp("192.0.2.10:49500", WEB, ACK), "allow reply"),
            ('>', tcp("192.0.2.10:8080", WEB, SYN), "allow rule"),
            ('<', tcp(WEB, "192.0.2.10:8080", SYN | ACK), "allow rule"),
            ('>', tcp("192.0.2.10:8080", WEB, ACK), "allow answer"),
        ],
    );
    // what came in by the rule moved the entry on
    entries(&host, 1, 1);
}
