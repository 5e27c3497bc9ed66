use serde_json::json;

use super::*;
use crate::host::Input;
use crate::inputs::Texts;
use crate::meaning::meaning;
use crate::policy::catalogue::embedded;

const CONFIG: &str = r#"schema = 1
interfaces = ["eth0"]

[default]
ingress = "deny"
egress = "open"

[product.seal-output-engine]
roles = ["node"]
topologies = ["single-server"]

[product.seal-output-engine.peers]
print-client = ["10.1.0.0/16"]
api-client = "none"
admin-browser = ["10.0.200.0/24"]

[product.seal-output-engine.skip]
"single-server/3" = "plain text <script>alert(1)</script>"

[allow.backup]
direction = "ingress"
tcp = [10000]
peers = ["10.0.9.9"]
reason = "backup & restore"
owner = "storage team"
expires = 2026-01-31

[allow.probe]
direction = "egress"
udp = [161]
peers = ["10.0.9.8"]
reason = "probes"

[block.incident]
peers = ["192.0.2.0/24"]
reason = "incident"

[failsafe.ssh]
tcp = [22]
peers = ["10.0.200.0/24"]
"#;

fn facts() -> Facts {
    serde_json::from_value(json!({
        "schema": 1, "time": "2026-11-21T12:00:00Z", "hostname": "node1", "kernel": "6.12.0",
        "interfaces": [{
            "name": "eth0", "index": 2, "link_type": 1, "up": true, "mtu": 1500, "driver": null, "master": null, "parent": null,
            "addresses": [{ "address": "10.0.0.11/24", "broadcast": null }],
            "forwards_v4": false, "forwards_v6": false, "has_lease": false }],
        "resolvers": ["10.0.0.53"], "names": {}, "ephemeral": { "first": 32768, "last": 60999 }, "reserved_ports": [],
        "ssh_ports": [22], "listeners": null, "hz": 250, "cpus": 2
    }))
    .unwrap()
}

#[track_caller]
fn page(proof: Result<Value, String>, status: Result<Value, String>) -> String {
    let said = Said::of(Texts {
        input: Input::single("/etc/portcullis/portcullis.toml", CONFIG),
        shipped: embedded(),
        own: Vec::new(),
    });
    let facts = facts();
    let config = said.config.as_ref().unwrap();
    let meaning = meaning(config, &said.catalogue, &facts, &said.findings);
    let mut denials = Denials::default();
    let entry = json!({
        "schema": 1, "time": "2026-11-21T09:00:00Z", "message": "denied", "verdict": "deny", "difference": { "kind": "peer" }, "count": 41,
    });
    denials.add(&crate::events::shown::Shown::read(&entry).unwrap());
    Report {
        said: &said,
        config,
        facts: &facts,
        resolved: &meaning.resolved,
        knowledge: &Knowledge::gather(config, &said.catalogue, &facts, &meaning.resolved),
        warnings: Vec::new(),
        proof,
        status,
        denials: Ok(denials),
        time: facts.time,
    }
    .html()
}

/// The cells of the table's line that begins with this one, without tags.
#[track_caller]
fn line(page: &str, first: &str) -> String {
    let lines = page
        .split("<tr")
        .filter(|it| it.contains(&format!(">{first}</td>")));
    let found: Vec<&str> = lines.collect();
    assert_eq!(found.len(), 1, "{first} in {page}");
    let text = found[0].split_once('>').unwrap().1;
    let mut out = String::new();
    let mut tag = false;
    for character in text.chars() {
        match character {
            '<' => tag = true,
            '>' => {
                tag = false;
                out.push(' ');
            }
            _ if !tag => out.push(character),
            _ => {}
        }
    }
    out.split("</tbody")
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
}

#[test]
fn every_row_stands_once_with_its_state() {
    let proof = json!({
        "proved": true, "packets": 900, "failures": [],
        "rows": [{ "row": "seal-output-engine/single-server/1", "proved": true, "allowed": 7, "audited": 0, "denied": 5 }],
    });
    let status = json!({
        "state": "enforcing", "generation": 4, "policy_hash": "00112233",
        "counters": { "by_row": { "seal-output-engine/single-server/1": { "passed": 3, "audited": 0, "near": 1, "last": "2026-11-21T11:59:58.25Z" } } },
    });
    let page = page(Ok(proof), Ok(status));
    for (row, expected) in [
        (
            "single-server/1",
            "print-client → node: tcp 443 print jobs by IPPS in force tcp 443 in from 10.1.0.0/16 proved (12) 2026-11-21 11:59:58",
        ),
        (
            "single-server/3",
            "skipped plain text &lt;script&gt;alert(1)&lt;/script&gt; (portcullis.toml, line 18, `single-server/3`)",
        ),
        ("single-server/4", "inactive"),
        ("cluster/33", "inactive"),
        (
            "allow/backup",
            "ingress tcp 10000 10.0.9.9 backup &amp; restore storage team 2026-01-31 (over)",
        ),
        (
            "allow/probe",
            "egress udp 161 10.0.9.8 probes nobody named never",
        ),
        ("peer", "deny 1 41"),
        ("the policy in force", "00112233"),
    ] {
        let found = line(&page, row);
        assert!(found.contains(expected), "{row}: {found}");
    }
    let rows = page.matches("<td class=\"state\">").count();
    assert_eq!(rows, 60, "every printed line");
    assert!(
        page.contains("In force: enforcing, generation 4.") && page.contains("Proved: 900 packets")
    );
    assert!(!page.contains("<script"), "what is written in is escaped");
    assert!(
        !page.contains("http://") || !page.contains("src="),
        "nothing is fetched"
    );
    // the drawing: who comes, with whom it is bound to and the ports; nobody draws nothing
    let drawing = page
        .split("<svg")
        .nth(1)
        .unwrap()
        .split("</svg>")
        .next()
        .unwrap();
    for part in [
        "allow/probe",
        "10.0.9.8",
        "block/incident",
        "denied, before anything else",
        "baseline",
        "everything else",
        "print-client",
        "10.1.0.0/16",
        "tcp 443, 515",
        "node1",
        "admin-browser",
    ] {
        assert!(drawing.contains(part), "{part} is not in {drawing}");
    }
    assert!(!drawing.contains("api-client"));
}

#[test]
fn what_is_not_known_is_said() {
    let page = page(
        Err("permission denied".to_owned()),
        Err("no daemon runs".to_owned()),
    );
    assert!(page.contains("Not proved: permission denied"));
    assert!(page.contains("What is in force is not known: no daemon runs."));
    assert!(!page.contains("proved ("));
}

#[test]
fn long_lists_are_counted() {
    let words: Vec<String> = (0..4).map(|it| it.to_string()).collect();
    for (most, expected) in [
        (1, "0 and 3 more"),
        (3, "0, 1, 2 and 1 more"),
        (4, "0, 1, 2, 3"),
        (5, "0, 1, 2, 3"),
    ] {
        assert_eq!(some(&words, most), expected);
    }
}

#[test]
fn services_stand_by_transport() {
    for (services, expected) in [
        (&["tcp 53", "udp 53", "tcp 443"][..], "tcp 53, 443; udp 53"),
        (&["esp"], "esp"),
        (&[], ""),
    ] {
        let services: Vec<String> = services.iter().map(|it| (*it).to_owned()).collect();
        assert_eq!(diagram::by_transport(&services), expected);
    }
}
