//! What is seen of a single SEAL server on trial, and what is proposed for it.

use serde_json::{Value, json};

use super::*;
use crate::host::Input;
use crate::policy::catalogue::embedded;

const CONFIG: &str = r#"schema = 1
interfaces = ["eth0"]

[default]
ingress = "deny"
egress = "deny"

[product.seal-output-engine]
roles = ["node"]
topologies = ["single-server"]
stage = "audit"
audit-until = 2199-12-31

[product.seal-output-engine.options]
# who looks at metrics
monitoring = false
rest-from-outside = true

[product.seal-output-engine.peers]
print-client = "none"       # nobody yet
api-client = "none"
admin-browser = ["10.0.200.0/24"]

[product.seal-output-engine.skip]
"single-server/3" = "plain text"

[block.incident]
peers = ["192.0.2.0/24"]

[failsafe.ssh]
tcp = [22]
peers = ["10.0.200.0/24"]
"#;

fn facts(listens: &[u16]) -> Facts {
    let listeners: Vec<Value> = listens
        .iter()
        .map(|port| json!({ "transport": "tcp", "address": "0.0.0.0", "port": port, "program": "seal-rest" }))
        .collect();
    serde_json::from_value(json!({
        "schema": 1, "time": "2026-11-21T12:00:00Z", "hostname": "node1", "kernel": "6.12.0",
        "interfaces": [{
            "name": "eth0", "index": 2, "link_type": 1, "up": true, "mtu": 1500, "driver": null, "master": null, "parent": null,
            "addresses": [{ "address": "10.0.0.11/24", "broadcast": null }],
            "forwards_v4": false, "forwards_v6": false, "has_lease": false }],
        "resolvers": ["10.0.0.53"], "names": {}, "ephemeral": { "first": 32768, "last": 60999 }, "reserved_ports": [],
        "ssh_ports": [22], "listeners": listeners, "hz": 250, "cpus": 2
    }))
    .unwrap()
}

/// `in tcp 443 10.1.0.5`, as the JSON sink writes it; `out …` is of a unit.
fn event(text: &str) -> Value {
    let words: Vec<&str> = text.split(' ').collect();
    let &[way, transport, port, peer] = words.as_slice() else {
        panic!("{text}");
    };
    let incoming = way == "in";
    let (src, dst) = if incoming {
        (peer, "10.0.0.11")
    } else {
        ("10.0.0.11", peer)
    };
    json!({
        "verdict": "audit", "reason": "no-rule", "direction": if incoming { "ingress" } else { "egress" },
        "transport": transport, "src": src, "dst": dst, "src_port": 50000, "dst_port": port.parse::<u16>().unwrap(),
        "tcp_flags": if transport == "tcp" { Some("SYN") } else { None }, "count": 3,
        "first": "2026-11-20T08:00:00Z", "last": "2026-11-21T09:00:00Z",
        "unit": if incoming { None } else { Some("relay.service") },
    })
}

struct Made {
    proposal: Proposal,
    seen: Seen,
}

#[track_caller]
fn made(events: &[Value], listens: &[u16], enforce: bool) -> Made {
    let said = Said::of(Texts {
        input: Input::single("/etc/portcullis/portcullis.toml", CONFIG),
        shipped: embedded(),
        own: Vec::new(),
    });
    let facts = facts(listens);
    let understood = understand(&said, &facts);
    let understood = understood.unwrap_or_else(|it| panic!("{}", it.render(false)));
    let mut seen = Seen::default();
    for event in events {
        seen.take(event, &understood.knowledge, &(32768..=60999));
    }
    let proposal = propose(&said, &understood, &facts, &seen, None, enforce).unwrap();
    Made { proposal, seen }
}

/// What is proposed and asked for these flows, in short words.
#[track_caller]
fn check(events: &[&str], listens: &[u16], expected: &[&str]) {
    let events: Vec<Value> = events.iter().map(|it| event(it)).collect();
    let Made { proposal, .. } = made(&events, listens, false);
    let mut found = Vec::new();
    for ((_, name), say) in &proposal.options {
        found.push(format!("option {name} = {}", say.value));
    }
    for ((_, role), bind) in &proposal.bind {
        let peers: Vec<String> = bind.peers.iter().map(ToString::to_string).collect();
        found.push(format!("{role} {}", peers.join(" ")));
    }
    for ((_, name), say) in &proposal.ports {
        found.push(format!("port {name} = {}", say.value));
    }
    for (_, role) in &proposal.nobody {
        found.push(format!("nobody {role}"));
    }
    for it in &proposal.asked {
        found.push(format!("ask {} {} {}", it.kind, it.flow.port, it.flow.peer));
    }
    for it in &proposal.scanners {
        found.push(format!("scanner {}", it.peer));
    }
    assert_eq!(found, expected, "{events:?}");
    let proof = &proposal.proof;
    assert!(
        proof.errors.is_empty() && proof.denied.is_empty(),
        "{proof:?}"
    );
    assert_eq!(proposal.is_empty(), proposal.diff().is_empty());
    let silent = expected
        .iter()
        .all(|it| it.starts_with("ask") || it.starts_with("scanner"));
    assert_eq!(proposal.is_empty(), silent, "{}", proposal.diff());
}

#[test]
fn hosts_are_bound_to_documented_roles() {
    check(&[], &[], &[]);
    check(&["in tcp 443 10.1.0.5"], &[], &["print-client 10.1.0.5"]);
    check(
        &[
            "in tcp 443 10.1.0.5",
            "in tcp 515 10.1.0.5",
            "in tcp 443 10.1.0.6",
        ],
        &[],
        &["print-client 10.1.0.5 10.1.0.6"],
    );
    check(&["in tcp 9000 10.1.0.5"], &[], &["admin-browser 10.1.0.5"]);
    // bound already
    check(&["in tcp 9000 10.0.200.5"], &[], &[]);
}

#[test]
fn options_are_turned_on_and_ask_for_their_roles() {
    check(
        &["in tcp 1948 10.1.0.9"],
        &[],
        &["option monitoring = true", "monitoring-server 10.1.0.9"],
    );
}

#[test]
fn what_no_document_covers_is_asked() {
    check(
        &["in tcp 9999 10.1.0.5"],
        &[9999],
        &["ask none 9999 10.1.0.5"],
    );
    check(&["out tcp 2525 10.1.0.5"], &[], &["ask none 2525 10.1.0.5"]);
    // a cluster's port on a single server
    check(
        &["in tcp 4222 10.1.0.5"],
        &[],
        &["ask topology 4222 10.1.0.5"],
    );
    // left out on purpose
    check(&["in tcp 631 10.1.0.5"], &[], &["ask skipped 631 10.1.0.5"]);
    // the way in is no product's
    check(&["in tcp 22 10.1.0.5"], &[], &["ask peer 22 10.1.0.5"]);
    check(
        &["in udp 443 10.1.0.5"],
        &[],
        &["ask transport 443 10.1.0.5"],
    );
}

#[test]
fn a_port_was_moved_where_nothing_else_can_be_meant() {
    let (known, moved) = ("in tcp 8082 10.1.0.7", "in tcp 18080 10.1.0.7");
    let bound = "api-client 10.1.0.7";
    check(&[known], &[8080], &[bound]);
    // something listens there, and nothing at the documented port
    check(&[known, moved], &[18080], &[bound, "port rest = 18080"]);
    let asked = "ask none 18080 10.1.0.7";
    check(&[known, moved], &[8080, 18080], &[bound, asked]);
    check(&[known, moved], &[], &[bound, asked]);
    // the documented port is in use, too
    check(
        &[known, moved, "in tcp 8080 10.1.0.8"],
        &[18080],
        &["api-client 10.1.0.7 10.1.0.8", asked],
    );
    // a stranger may mean anything
    check(&[moved], &[18080], &[asked]);
    // two places for one service
    check(
        &[known, moved, "in tcp 18081 10.1.0.7"],
        &[18080, 18081],
        &[bound, asked, "ask none 18081 10.1.0.7"],
    );
}

#[test]
fn a_scanner_is_bound_to_nothing() {
    let ports = [443, 9990, 9991, 9992, 9993, 9994, 9995, 9996, 9997, 9998];
    let flows: Vec<String> = ports
        .iter()
        .map(|port| format!("in tcp {port} 10.9.9.9"))
        .collect();
    let flows: Vec<&str> = flows.iter().map(String::as_str).collect();
    check(&flows, &[], &["scanner 10.9.9.9"]);
    check(&flows[..1], &[], &["print-client 10.9.9.9"]);
}

#[test]
fn the_diff_changes_what_it_says_and_nothing_else() {
    let events = [event("in tcp 443 10.1.0.5"), event("in tcp 1948 10.1.0.9")];
    let Made { proposal, seen } = made(&events, &[], true);
    let diff = proposal.diff();
    assert!(
        diff.starts_with(
            "--- a/etc/portcullis/portcullis.toml\n+++ b/etc/portcullis/portcullis.toml\n@@ "
        ),
        "{diff}"
    );
    let changed: Vec<&str> = diff
        .lines()
        .skip(2)
        .filter(|line| line.starts_with(['+', '-']))
        .collect();
    assert_eq!(
        changed,
        [
            "-stage = \"audit\"",
            "-audit-until = 2199-12-31",
            "+stage = \"enforce\"",
            "-monitoring = false",
            "+monitoring = true",
            "-print-client = \"none\"       # nobody yet",
            "+print-client = [\"10.1.0.5\"]       # nobody yet",
            "+monitoring-server = [\"10.1.0.9\"]",
        ],
        "{diff}"
    );
    let text = output::text(&proposal, &seen);
    for part in [
        "seen from 2026-11-20T08:00:00Z to 2026-11-21T09:00:00Z: 2 flows",
        "print-client = … and 10.1.0.5  under [product.seal-output-engine.peers]",
        "documented, and not seen in this period:",
        "seal-output-engine/single-server/2",
        "proved: with these files and every product enforced, 2 of 2 documented flows that were seen pass",
    ] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    assert!(!text.contains("single-server/3 "), "skipped:\n{text}");
    let json = output::json(&proposal, &seen);
    assert_eq!(json["diff"], diff.as_str());
    assert_eq!(json["proof"]["flows"], 2);
}

#[test]
fn what_is_missing_is_said() {
    let mut events = vec![event("in tcp 443 192.0.2.7")];
    events[0]["reason"] = json!("block");
    events.push(json!({ "message_id": crate::events::Message::Lost.id(), "count": 7 }));
    events.push(
        json!({ "MESSAGE_ID": crate::events::Message::Overflow.id(), "PORTCULLIS_COUNT": "9" }),
    );
    events.push(json!({ "MESSAGE": "enforcing generation 3 on eth0" }));
    events.push(json!({ "PORTCULLIS_VERDICT": "deny", "PORTCULLIS_REASON": "whim" }));
    let Made { proposal, seen } = made(&events, &[], false);
    assert!(proposal.is_empty());
    assert_eq!(
        (seen.blocked, seen.lost, seen.untold, seen.unread.len()),
        (3, 7, 9, 1)
    );
    let text = output::text(&proposal, &seen);
    assert!(
        text.contains("7 packets whose entries were lost: THE PICTURE IS NOT WHOLE"),
        "{text}"
    );
    assert!(text.contains("nothing is proposed"), "{text}");
}
