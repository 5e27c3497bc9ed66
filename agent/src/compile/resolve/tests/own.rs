//! Rules of the host itself, and the defaults.

use super::{catalogue, config, facts, lines, nowhere, peers, product};
use crate::compile::resolve::resolve;
use crate::facts::Facts;
use crate::host::HostConfig;
use crate::host::schema::{Allow, BaselineItem, Block, Moment};
use crate::policy::Catalogue;
use crate::policy::schema::Direction;
use crate::rule::DefaultAction;

#[track_caller]
fn check(config: &HostConfig, facts: &Facts, expected: &[&str]) {
    assert_eq!(
        lines(&resolve(config, &Catalogue::default(), facts)),
        expected
    );
}

/// A configuration whose baseline is off.
fn bare() -> HostConfig {
    let mut config = config();
    let baseline = &mut config.baseline;
    for item in [
        &mut baseline.dns,
        &mut baseline.dhcp_client,
        &mut baseline.ntp,
        &mut baseline.icmp_echo_in,
        &mut baseline.icmp_echo_out,
        &mut baseline.neighbour_discovery,
        &mut baseline.router_advertisements,
        &mut baseline.mld_igmp,
    ] {
        *item = BaselineItem::Off;
    }
    config
}

#[test]
fn a_host_without_products() {
    check(
        &config(),
        &facts(),
        &[
            "ingress tcp 22 any allow failsafe/ssh",
            "egress udp 53 10.0.0.53/32 allow baseline/dns",
            "egress tcp 53 10.0.0.53/32 allow baseline/dns",
            "egress udp 123 any allow baseline/ntp",
            "ingress icmp 8 any allow baseline/icmp-echo-in",
            "ingress icmpv6 128 any allow baseline/icmp-echo-in",
            "egress icmp 8 any allow baseline/icmp-echo-out",
            "egress icmpv6 128 any allow baseline/icmp-echo-out",
            "ingress icmpv6 135,136 any allow baseline/neighbour-discovery",
            "egress icmpv6 133,135,136 any allow baseline/neighbour-discovery",
            "ingress icmpv6 134 fe80::/10 allow baseline/router-advertisements",
            "ingress icmpv6 130,131,132,143 any allow baseline/mld-igmp",
            "egress icmpv6 130,131,132,143 any allow baseline/mld-igmp",
            "ingress igmp  any allow baseline/mld-igmp",
            "egress igmp  any allow baseline/mld-igmp",
        ],
    );
    check(
        &bare(),
        &facts(),
        &["ingress tcp 22 any allow failsafe/ssh"],
    );
}

#[test]
fn dhcp_follows_the_lease_or_the_configuration() {
    let mut config = bare();
    let mut facts = facts();
    let ssh = "ingress tcp 22 any allow failsafe/ssh";
    config.baseline.dhcp_client = BaselineItem::Auto;
    check(&config, &facts, &[ssh]);
    facts.interfaces[0].has_lease = true;
    check(
        &config,
        &facts,
        &[
            ssh,
            "ingress udp 68 any allow baseline/dhcp-client",
            "egress udp 67 any allow baseline/dhcp-client",
            "ingress udp 546 any allow baseline/dhcp-client",
            "egress udp 547 any allow baseline/dhcp-client",
        ],
    );
    // a client asks by broadcast and multicast, whoever may answer
    config.baseline.dhcp_client = BaselineItem::Peers(peers(&["10.0.0.1"]));
    facts.interfaces[0].has_lease = false;
    check(
        &config,
        &facts,
        &[
            ssh,
            "ingress udp 68 10.0.0.1/32 allow baseline/dhcp-client",
            "egress udp 67 10.0.0.1/32,255.255.255.255/32,ff02::1:2/128 allow baseline/dhcp-client",
            "ingress udp 546 10.0.0.1/32 allow baseline/dhcp-client",
            "egress udp 547 10.0.0.1/32,255.255.255.255/32,ff02::1:2/128 allow baseline/dhcp-client",
        ],
    );
}

#[test]
fn the_failsafe_follows_sshd() {
    let mut config = bare();
    let mut facts = facts();
    facts.ssh_ports = vec![22, 2222];
    check(
        &config,
        &facts,
        &["ingress tcp 22,2222 any allow failsafe/ssh"],
    );
    config.failsafes[0].tcp = Some(vec![nowhere("2200".parse().unwrap())]);
    config.failsafes[0].peers = peers(&["10.0.200.0/24"]);
    check(
        &config,
        &facts,
        &["ingress tcp 2200 10.0.200.0/24 allow failsafe/ssh"],
    );
}

#[test]
fn blocks_come_first_and_go_both_ways() {
    let mut config = bare();
    let block = |name: &str, tcp: &[&str], list: &[&str]| Block {
        name: name.to_owned(),
        span: 0..0,
        tcp: tcp
            .iter()
            .map(|text| nowhere(text.parse().unwrap()))
            .collect(),
        udp: Vec::new(),
        peers: peers(list),
        reason: None,
        force: false,
    };
    config.blocks = vec![
        block("all", &[], &["192.0.2.0/24"]),
        block("web", &["80", "443"], &["198.51.100.0/24"]),
        block("nobody", &[], &["none"]),
    ];
    check(
        &config,
        &facts(),
        &[
            "ingress any  192.0.2.0/24 deny block/all",
            "egress any  192.0.2.0/24 deny block/all",
            "ingress tcp 80,443 198.51.100.0/24 deny block/web",
            "egress tcp 80,443 198.51.100.0/24 deny block/web",
            "ingress tcp 22 any allow failsafe/ssh",
        ],
    );
}

fn allow(name: &str, expires: Option<&str>) -> Allow {
    Allow {
        name: name.to_owned(),
        span: 0..0,
        direction: Direction::Ingress,
        tcp: vec![nowhere("9100".parse().unwrap())],
        udp: Vec::new(),
        protocol: Vec::new(),
        peers: peers(&["10.0.5.0/24"]),
        reason: "Prometheus".to_owned(),
        owner: None,
        expires: expires.map(|text| {
            nowhere(Moment {
                written: text.to_owned(),
                at: text.parse().unwrap(),
            })
        }),
        cites: None,
    }
}

#[test]
fn an_allow_ends_when_it_says() {
    let mut config = bare();
    // the facts are of 12:00
    config.allows = vec![
        allow("over", Some("2026-11-21T11:59:59Z")),
        allow("now", Some("2026-11-21T12:00:00Z")),
        allow("soon", Some("2026-11-21T12:00:01Z")),
        allow("later", Some("2027-01-01T00:00:00Z")),
        allow("always", None),
    ];
    let resolved = resolve(&config, &Catalogue::default(), &facts());
    assert_eq!(
        lines(&resolved),
        [
            "ingress tcp 22 any allow failsafe/ssh",
            "ingress tcp 9100 10.0.5.0/24 allow allow/soon",
            "ingress tcp 9100 10.0.5.0/24 allow allow/later",
            "ingress tcp 9100 10.0.5.0/24 allow allow/always",
        ]
    );
    assert_eq!(
        resolved.next_change().map(|at| at.to_string()).as_deref(),
        Some("2026-11-21T12:00:01Z")
    );
    let expired: Vec<_> = resolved.expired.iter().map(|it| it.id.as_str()).collect();
    assert_eq!(expired, ["allow/over", "allow/now"]);
}

#[test]
fn the_default_follows_what_the_documents_cover() {
    let defaults = |config: &HostConfig| {
        let rules = resolve(config, &catalogue(), &facts()).rule_set;
        (rules.ingress, rules.egress)
    };
    let mut config = config();
    assert_eq!(
        defaults(&config),
        (DefaultAction::Deny, DefaultAction::Deny)
    );
    config
        .products
        .push(product("seal-output-engine", &["node"], &["single-server"]));
    assert_eq!(
        defaults(&config),
        (DefaultAction::Deny, DefaultAction::Open)
    );
    config.default.egress = Some(nowhere(DefaultAction::Audit));
    config.default.ingress = Some(nowhere(DefaultAction::Open));
    assert_eq!(
        defaults(&config),
        (DefaultAction::Open, DefaultAction::Audit)
    );
}
