//! Port scanners of other authors against a guarded host: exactly the ports of its plan answer, to whom the plan names, and to no trick.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use ipnet::IpNet;
use portcullis_tests::daemon::{Agent, portcullis_json};
use portcullis_tests::netns::Namespace;
use serde_json::Value;

use crate::site::{CLIENT, SERVER, STRANGER, Site};

/// How long one scan may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// A node of a cluster, whose peers are the client's networks: forty TCP ports, and three over UDP.
pub(crate) fn node(hook: &str) -> String {
    format!(
        r#"schema = 1
interfaces = ["eth0"]
hook = "{hook}"

[default]
egress = "deny"

[sets]
clients = ["10.88.1.0/24", "fd88:0:0:1::/64"]

[product.seal-output-engine]
roles = ["node"]
topologies = ["cluster"]

[product.seal-output-engine.peers]
node = "@clients"
print-client = "@clients"
admin-browser = ["10.88.9.9/32"]
api-client = "none"

[failsafe.ssh]
tcp = [22]
peers = "@clients"

[baseline]
dns = false
dhcp-client = false
ntp = false
"#
    )
}

/// The ports that the plan opens to a peer on the host itself; a rule for groups opens none there.
#[track_caller]
pub(crate) fn planned(plan: &Value, transport: &str, peer: &str) -> BTreeSet<u16> {
    let peer: IpAddr = peer.parse().unwrap();
    let rules = plan["ingress"]["rules"].as_array().unwrap();
    let strings = |value: &Value| -> Vec<String> {
        let list = value.as_array().unwrap().iter();
        list.map(|it| it.as_str().unwrap().to_owned()).collect()
    };
    let admits = |rule: &&Value| {
        strings(&rule["peers"]).iter().any(|it| {
            it == "any"
                || it.parse::<IpAddr>().is_ok_and(|it| it == peer)
                || it.parse::<IpNet>().is_ok_and(|it| it.contains(&peer))
        })
    };
    let rules = rules.iter().filter(|rule| {
        rule["transport"] == transport && rule["groups"].as_array().unwrap().is_empty()
    });
    let ports = rules
        .filter(admits)
        .flat_map(|rule| strings(&rule["ports"]));
    ports.flat_map(|ports| range(&ports)).collect()
}

/// The ports at which a scanner sees that something answers, whatever it is: a connection, a reset, an ICMP error.
#[track_caller]
fn answered(from: &Namespace, kind: &str, to: &str) -> BTreeSet<u16> {
    let family = if to.contains(':') { "-6 " } else { "" };
    let line = format!(
        "nmap {family}-n -Pn --disable-arp-ping -e eth0 --min-rate 60000 --max-retries 1 \
         --initial-rtt-timeout 150ms --max-rtt-timeout 300ms {kind} -oX - {to}"
    );
    let output = from.output(&line, PATIENCE).unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success() && text.contains("hosts up=\"1\""),
        "{line}\n{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    // One element for a port of its own, one for all ports that are alike.
    let alike = text.split("<extrareasons ").skip(1);
    let alike = alike.map(|rest| (attribute(rest, "reason"), attribute(rest, "ports")));
    let alone = text.split("<port ").skip(1);
    let alone = alone.map(|rest| (attribute(rest, "reason"), attribute(rest, "portid")));
    alike
        .chain(alone)
        .filter(|(reason, _)| *reason != "no-response")
        .flat_map(|(_, ports)| ports.split(','))
        .flat_map(range)
        .collect()
}

/// The first attribute of this name.
#[track_caller]
fn attribute<'a>(element: &'a str, name: &str) -> &'a str {
    let begin = format!("{name}=\"");
    let rest = element.split(&begin).nth(1);
    let rest = rest.unwrap_or_else(|| panic!("{name}: {element}"));
    rest.split('"').next().unwrap()
}

/// `443`, `8300-8302`.
#[track_caller]
fn range(text: &str) -> RangeInclusive<u16> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    first.parse().unwrap()..=last.parse().unwrap()
}

/// Errors about closed ports are not held back by a rate, so that all are heard.
#[track_caller]
pub(crate) fn speaks_of_each_port(host: &Namespace) {
    for key in ["net/ipv4/icmp_ratelimit", "net/ipv6/icmp/ratelimit"] {
        host.sysctl(key, "0").unwrap();
    }
}

/// A guarded server, its plan, and what scans it.
#[track_caller]
fn guarded(hook: &str) -> (Site, Agent, Value) {
    let site = Site::new();
    speaks_of_each_port(&site.server);
    let agent = Agent::start(&site.server, &node(hook), "json").unwrap();
    let plan = portcullis_json(&site.server, &["plan", "--json"]).unwrap();
    (site, agent, plan)
}

#[track_caller]
fn check_every_port(hook: &str, family: usize) {
    let (site, mut agent, plan) = guarded(hook);
    for (transport, kind, least) in [("tcp", "-sS -p-", 40), ("udp", "-sU -p-", 3)] {
        let known = planned(&plan, transport, CLIENT[family]);
        assert!(known.len() >= least, "{transport}: {known:?}");
        let seen = answered(&site.client, kind, SERVER[family]);
        assert_eq!(seen, known, "{transport} from a peer");
        let known = planned(&plan, transport, STRANGER[family]);
        let seen = answered(&site.stranger, kind, SERVER[family]);
        assert_eq!(seen, known, "{transport} from a stranger");
    }
    agent.stop().unwrap();
}

#[test]
fn every_port_at_xdp() {
    check_every_port("xdp", 0);
}

#[test]
fn every_port_at_tc_over_ipv6() {
    check_every_port("tc", 1);
}

#[test]
#[ignore = "half a minute more of the same: `cargo xtask test --long` runs it"]
fn every_port_at_xdp_over_ipv6() {
    check_every_port("xdp", 1);
}

#[test]
#[ignore = "half a minute more of the same: `cargo xtask test --long` runs it"]
fn every_port_at_tc() {
    check_every_port("tc", 0);
}

/// Scans that look for a hole: flags that no stack sends, ACKs out of nowhere, ports that answers come from.
#[track_caller]
fn check_tricks(hook: &str) {
    const PORTS: &str = "-p 1-1100";
    let (site, mut agent, plan) = guarded(hook);
    let mut known = planned(&plan, "tcp", CLIENT[0]);
    known.retain(|port| *port <= 1100);
    assert!(known.contains(&443) && known.len() > 3, "{known:?}");
    let seen = |from: &Namespace, kind: &str| answered(from, &format!("{kind} {PORTS}"), SERVER[0]);
    // The twin of all of them: the ports are there, and answer who may ask.
    assert_eq!(seen(&site.client, "-sS"), known);
    // An ACK of no connection is answered where a connection might be, and nowhere else.
    assert_eq!(seen(&site.client, "-sA"), known);
    let nothing = BTreeSet::new();
    for kind in [
        "-sF",
        "-sN",
        "-sX",
        "--scanflags SYNFIN",
        "--scanflags SYNRST",
        "--scanflags SYNFINACK",
    ] {
        assert_eq!(seen(&site.client, kind), nothing, "{kind} from a peer");
        assert_eq!(
            seen(&site.stranger, kind),
            nothing,
            "{kind} from a stranger"
        );
    }
    for kind in [
        "-sS",
        "-sA",
        "-sM",
        "-sS -g 53",
        "-sS -g 443",
        "-sA -g 22",
        "-sU",
        "-sU -g 53",
        "-sU -g 67",
        "-sU -g 123",
    ] {
        let seen = seen(&site.stranger, kind);
        let own = planned(&plan, "tcp", STRANGER[0]);
        assert!(
            seen.is_disjoint(&known) && seen.is_subset(&own),
            "{kind} from a stranger: {seen:?}"
        );
    }
    agent.stop().unwrap();
}

#[test]
fn no_trick_finds_a_hole_at_xdp() {
    check_tricks("xdp");
}

#[test]
#[ignore = "the same decision at the other hook: `cargo xtask test --long` runs it"]
fn no_trick_finds_a_hole_at_tc() {
    check_tricks("tc");
}
