//! Two routers by keepalived that share addresses: each hears the other where a rule says so, and holds what the other does not.

use std::time::Duration;

use portcullis_tests::daemon::{Agent, CONFIGURATION, portcullis_text};
use portcullis_tests::netns::Namespace;
use portcullis_tests::process::{Running, wait_for};

use crate::site::{CLIENT, LIMIT, SERVER, Site, configuration};

/// How long routers may take to agree: many times an advertisement's interval.
const AGREEMENT: Duration = Duration::from_secs(10);

/// What the other end sends comes from its own addresses (VRRP's over IPv6 from the link-local one); what this one sends goes to VRRP's
/// groups (RFC 9568 section 5.1.1.2 and 5.1.2.2).
const RULE: &str = r#"
[allow.vrrp-in]
direction = "ingress"
protocol = ["vrrp"]
peers = ["10.88.1.5", "fe80::/10"]
reason = "a test"

[allow.vrrp-out]
direction = "egress"
protocol = ["vrrp"]
peers = ["224.0.0.18", "ff02::12"]
reason = "a test"
"#;

/// Virtual addresses, of each family one that the server is to hold and one that the client is to hold.
const SERVERS: [&str; 2] = ["10.88.0.100", "fd88::100"];
const CLIENTS: [&str; 2] = ["10.88.0.200", "fd88::200"];

/// keepalived on a host, with a higher priority for the addresses that it is to hold.
#[track_caller]
fn router(host: &Namespace, own: [&str; 2]) -> Running {
    let mut text = "global_defs {\n vrrp_version 3\n}\n".to_owned();
    let both = SERVERS.iter().chain(&CLIENTS);
    for (number, address) in both.enumerate() {
        let priority = if own.contains(address) { 150 } else { 100 };
        let (number, prefix) = (number + 51, if address.contains(':') { 48 } else { 16 });
        // The first address of a router of IPv6 is a link-local one (RFC 9568 section 5.2.9).
        let first = if address.contains(':') {
            format!("fe80::{number}/64\n  ")
        } else {
            String::new()
        };
        text += &format!(
            "vrrp_instance V{number} {{\n state BACKUP\n interface eth0\n virtual_router_id {number}\n priority {priority}\n \
             advert_int 0.1\n virtual_ipaddress {{\n  {first}{address}/{prefix}\n }}\n}}\n"
        );
    }
    let path = "/run/portcullis-keepalived.conf";
    host.write(path, &text).unwrap();
    let mut command = host.words(&format!(
        "keepalived --dont-fork --log-console --vrrp --use-file {path} --pid /run/keepalived.pid --vrrp_pid /run/vrrp.pid"
    ));
    Running::start(&mut command).unwrap()
}

/// The virtual addresses that a host holds.
fn held(host: &Namespace) -> anyhow::Result<Vec<&'static str>> {
    let addresses = host.ip("-o address show dev eth0")?;
    let is_held = |address: &&&str| addresses.contains(&format!(" {address}/"));
    let both = SERVERS.iter().chain(&CLIENTS);
    Ok(both.filter(is_held).copied().collect())
}

#[track_caller]
fn wait_held(site: &Site, when: &str, server: &[&str], client: &[&str]) {
    let mut last = Default::default();
    let agreed = wait_for(when, AGREEMENT, || {
        last = (held(&site.server)?, held(&site.client)?);
        Ok((last.0 == server && last.1 == client).then_some(()))
    });
    assert!(
        agreed.is_ok(),
        "{when}: held by the server and the client: {last:?}"
    );
}

#[track_caller]
fn check(hook: &str) {
    let site = Site::new();
    let without = configuration(hook, "deny", "");
    let with = configuration(hook, "deny", RULE);
    let mut agent = Agent::start(&site.server, &without, "json").unwrap();
    let mut routers = [router(&site.server, SERVERS), router(&site.client, CLIENTS)];
    let all = [&SERVERS[..], &CLIENTS[..]].concat();

    wait_held(&site, "no rule: neither hears the other", &all, &all);
    for (direction, from, to) in [
        ("ingress", CLIENT[0], "224.0.0.18"),
        ("egress", SERVER[0], "224.0.0.18"),
    ] {
        let told = agent.wait_event("a denied advertisement", LIMIT, |event| {
            event["verdict"] == "deny"
                && event["transport"] == "vrrp"
                && event["direction"] == direction
                && event["src"] == from
                && event["dst"] == to
        });
        told.unwrap();
    }

    site.server.write(CONFIGURATION, &with).unwrap();
    portcullis_text(&site.server, &["apply"]).unwrap();
    wait_held(&site, "a rule: each holds its own", &SERVERS, &CLIENTS);

    site.server.write(CONFIGURATION, &without).unwrap();
    portcullis_text(&site.server, &["apply"]).unwrap();
    wait_held(&site, "the rule is gone", &all, &all);
    for router in &mut routers {
        router.stop(LIMIT).unwrap();
    }
    agent.stop().unwrap();
}

#[test]
fn routers_hear_each_other_by_a_rule_at_xdp() {
    check("xdp");
}

#[test]
fn routers_hear_each_other_by_a_rule_at_tc() {
    check("tc");
}
