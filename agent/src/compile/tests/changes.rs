//! Flows over a change of policy, and under block lists.

use std::rc::Rc;

use agent_common::event::Direction;
use agent_common::net::tcp::{ACK, PSH, SYN};

use super::build::{allow_in, allow_out, block, tcp as tcp_port, udp as udp_port};
use super::flows::{HOST, WEB, check, connect, entries, policy, web_client};
use super::wire::{Host, echo, echo_reply, tcp, udp};
use crate::compile::open_tables;
use crate::rule::DefaultAction::{Audit, Deny, Open};
use crate::rule::Service;

#[test]
fn a_switch_judges_flows_again() {
    let allowed = || web_client();
    let narrower = || policy(Deny, Deny, &[allow_out(tcp_port(443), &["203.0.113.0/24"])]);
    let blocked = || {
        policy(
            Deny,
            Open,
            &[block(Direction::Egress, Service::All, &["198.51.100.7"])],
        )
    };
    let audited = || policy(Deny, Audit, &[]);
    for (next, sends, gets) in [
        (allowed(), "allow reply", "allow reply"),
        (narrower(), "deny ended", "deny ended"),
        (blocked(), "deny block", "deny block"),
        (audited(), "audit reply (quiet)", "audit reply (quiet)"),
        (policy(Deny, Open, &[]), "allow reply", "allow reply"),
    ] {
        for reply_first in [false, true] {
            let mut host = Host::new(allowed());
            connect(&host);
            host.0.switch(next.clone());
            let mut rows = [
                ('>', tcp(HOST, WEB, PSH | ACK), sends),
                ('<', tcp(WEB, HOST, ACK), gets),
            ];
            if reply_first {
                rows.reverse();
            }
            check(&host, &rows);
            // back: the flow is there again
            host.0.switch(allowed());
            check(&host, &[('<', tcp(WEB, HOST, ACK), "allow reply")]);
        }
    }
}

#[test]
fn a_switch_ends_what_a_peer_may_no_longer_ask() {
    let open = policy(Deny, Deny, &[allow_in(tcp_port(22), &["198.51.100.0/24"])]);
    let shut = policy(Deny, Deny, &[allow_in(tcp_port(22), &["203.0.113.0/24"])]);
    let (peer, service) = ("198.51.100.7:5000", "192.0.2.10:22");
    let mut host = Host::new(open);
    check(
        &host,
        &[
            ('<', tcp(peer, service, SYN), "allow rule"),
            ('>', tcp(service, peer, SYN | ACK), "allow answer"),
        ],
    );
    host.0.switch(shut);
    check(
        &host,
        &[
            ('<', tcp(peer, service, ACK), "deny no-rule"),
            ('>', tcp(service, peer, PSH | ACK), "deny no-rule"),
        ],
    );
}

#[test]
fn connections_of_an_open_host_outlive_the_switch_to_a_closed_one() {
    let mut host = Host::new(policy(Open, Open, &[]));
    check(
        &host,
        &[
            ('>', tcp(HOST, WEB, SYN), "allow default"),
            ('<', tcp(WEB, HOST, SYN | ACK), "allow default"),
            ('>', tcp(HOST, WEB, ACK), "allow reply"),
        ],
    );
    entries(&host, 0, 1);
    host.wait(4_000);
    host.0.switch(web_client());
    check(&host, &[('<', tcp(WEB, HOST, ACK), "allow reply")]);
}

#[test]
fn a_block_is_final_in_both_directions() {
    let peer = "203.0.113.9";
    let rules = [
        block(Direction::Ingress, Service::All, &["203.0.113.0/24"]),
        block(Direction::Egress, Service::All, &["203.0.113.0/24"]),
        allow_in(tcp_port(443), &["any"]),
        allow_out(tcp_port(443), &["any"]),
    ];
    for default in [Deny, Audit, Open] {
        let host = Host::new(policy(default, default, &rules));
        check(
            &host,
            &[
                (
                    '<',
                    tcp("203.0.113.9:5000", "192.0.2.10:443", SYN),
                    "deny block",
                ),
                (
                    '<',
                    tcp("203.0.114.9:5000", "192.0.2.10:443", SYN),
                    "allow rule",
                ),
                (
                    '>',
                    tcp("192.0.2.10:443", "203.0.113.9:5000", SYN | ACK),
                    "deny block",
                ),
                ('>', tcp(HOST, "203.0.113.9:443", SYN), "deny block"),
                ('>', tcp(HOST, "203.0.114.9:443", SYN), "allow rule"),
                ('<', udp("203.0.113.9:53", "192.0.2.10:161"), "deny block"),
                ('<', echo(peer, "192.0.2.10", 1), "deny block"),
                ('>', echo("192.0.2.10", peer, 1), "deny block"),
                ('>', echo_reply("192.0.2.10", peer, 1), "deny block"),
            ],
        );
    }
}

/// A port that the host blocks from a peer does not answer that peer either.
#[test]
fn a_block_of_a_port_stops_its_answers() {
    let rules = [
        block(Direction::Ingress, udp_port(161), &["203.0.113.0/24"]),
        block(Direction::Egress, udp_port(161), &["203.0.113.0/24"]),
        allow_in(udp_port(161), &["any"]),
    ];
    let host = Host::new(policy(Deny, Open, &rules));
    check(
        &host,
        &[
            ('<', udp("203.0.113.9:5000", "192.0.2.10:161"), "deny block"),
            ('>', udp("192.0.2.10:161", "203.0.113.9:5000"), "deny block"),
            (
                '>',
                udp("192.0.2.10:40001", "203.0.113.9:5000"),
                "allow default",
            ),
            (
                '<',
                udp("198.51.100.7:5000", "192.0.2.10:161"),
                "allow rule",
            ),
            (
                '>',
                udp("192.0.2.10:161", "198.51.100.7:5000"),
                "allow answer",
            ),
        ],
    );
}

#[test]
fn generation_zero_learns_what_the_first_policy_keeps() {
    let mut host = Host::new(Rc::new(open_tables(250)));
    let (service, peer) = ("192.0.2.10:22", "198.51.100.9:5000");
    check(
        &host,
        &[
            ('>', tcp(HOST, WEB, SYN), "allow default"),
            ('<', tcp(WEB, HOST, SYN | ACK), "allow default"),
            ('>', tcp(HOST, WEB, ACK), "allow reply"),
            ('<', tcp(peer, service, SYN), "allow default"),
            ('>', tcp(service, peer, SYN | ACK), "allow answer"),
        ],
    );
    entries(&host, 0, 1);
    host.wait(4_000);
    host.0.switch(web_client());
    check(
        &host,
        &[
            ('<', tcp(WEB, HOST, ACK), "allow reply"),
            ('<', tcp(peer, service, ACK), "deny no-rule"),
        ],
    );
}
