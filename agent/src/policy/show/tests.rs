mod drawn;
mod shape;

use serde_json::{Value, json};

use super::*;

fn shown(filter: &Filter) -> Value {
    let (catalogue, _) = Catalogue::load([]);
    let seal = catalogue.get("seal-output-engine").unwrap();
    json(&catalogue, seal, filter)
}

#[track_caller]
fn check(id: &str, expected: Value) {
    let shown = shown(&Filter::default());
    let rows = shown["rows"].as_array().unwrap();
    let full = format!("seal-output-engine/{id}");
    let row = rows.iter().find(|row| row["id"] == full.as_str()).unwrap();
    // Pretty-printed, so that a difference shows its line; keys in their order.
    assert_eq!(format!("{row:#}"), format!("{expected:#}"));
}

#[test]
fn a_row_for_clients_and_peers() {
    check(
        "cluster/36",
        json!({
            "id": "seal-output-engine/cluster/36",
            "table": "cluster",
            "row": 36,
            "service": "seal-rest",
            "purpose": "REST API",
            "application": "HTTPS",
            "encrypted": "yes",
            "requirement": "required",
            "when": [],
            "since": null,
            "device": null,
            "direction": [],
            "printed": null,
            "lost": [],
            "restored_from": null,
            "inferred": null,
            "contradicts": ["seal-output-engine/single-server/8"],
            "baseline": null,
            "scope": null,
            "undecidable": null,
            "note": "the condition of single-server/8 kept for who is outside the cluster",
            "from": ["node", "api-client"],
            "to": ["node"],
            "transport": ["tcp"],
            "ports": ["8080"],
            "flows": [
                {
                    "from": ["node"], "to": ["node"], "via": null, "to_group": null,
                    "transport": "tcp", "ports": ["8080"], "port_names": ["rest"],
                    "when": [], "encrypted": "yes", "inferred": null
                },
                {
                    "from": ["api-client"], "to": ["node"], "via": null, "to_group": null,
                    "transport": "tcp", "ports": ["8080"], "port_names": ["rest"],
                    "when": ["rest-from-outside"], "encrypted": "yes", "inferred": null
                }
            ]
        }),
    );
}

#[test]
fn a_row_on_two_transports() {
    let part = |transport: &str| {
        json!({
            "from": ["node"], "to": ["node"], "via": null, "to_group": null,
            "transport": transport, "ports": ["8301"], "port_names": [null],
            "when": [], "encrypted": "unknown", "inferred": null
        })
    };
    check(
        "cluster/40",
        json!({
            "id": "seal-output-engine/cluster/40",
            "table": "cluster",
            "row": 40,
            "service": "Consul",
            "purpose": "gossip inside the site",
            "application": "Serf LAN",
            "encrypted": "unknown",
            "requirement": "required",
            "when": [],
            "since": null,
            "device": null,
            "direction": [],
            "printed": null,
            "lost": [],
            "restored_from": null,
            "inferred": null,
            "contradicts": [],
            "baseline": null,
            "scope": null,
            "undecidable": null,
            "note": "gossip is begun by either side, on both transports",
            "from": ["node"],
            "to": ["node"],
            "transport": ["tcp", "udp"],
            "ports": ["8301"],
            "flows": [part("tcp"), part("udp")]
        }),
    );
}

#[test]
fn a_contradiction_is_shown_at_both_ends() {
    let shown = shown(&Filter::default());
    let other = &shown["rows"][7];
    assert_eq!(other["id"], "seal-output-engine/single-server/8");
    assert_eq!(
        other["contradicts"],
        json!(["seal-output-engine/cluster/36"])
    );
}

#[test]
fn filters_choose_rows() {
    let count = |role: Option<&str>, topology: Option<&str>| {
        let filter = Filter {
            role: role.map(str::to_owned),
            topology: topology.map(str::to_owned),
        };
        shown(&filter)["rows"].as_array().unwrap().len()
    };
    assert_eq!(count(None, None), 60);
    assert_eq!(count(None, Some("single-server")), 12);
    assert_eq!(count(None, Some("cluster")), 48);
    assert_eq!(count(Some("dpf-server"), None), 2);
    assert_eq!(count(Some("node"), Some("cluster")), 48);
    assert_eq!(count(Some("island-checkout"), Some("cluster")), 1);
}

#[test]
fn words_that_are_not_there_are_named() {
    let (catalogue, _) = Catalogue::load([]);
    let seal = catalogue.get("seal-output-engine").unwrap();
    let filter = Filter {
        role: Some("nodes".to_owned()),
        topology: None,
    };
    assert_eq!(
        filter.check(seal),
        Err("no role is called `nodes`; `node` is the nearest that is known".to_owned())
    );
    assert_eq!(Filter::default().check(seal), Ok(()));
}

#[test]
fn text_shows_every_row() {
    let (catalogue, _) = Catalogue::load([]);
    let seal = catalogue.get("seal-output-engine").unwrap();
    let text = text(&catalogue, seal, &Filter::default());
    for row in &seal.rows {
        assert!(text.contains(&format!("\n  {}  ", row.id.get_ref())));
    }
    assert!(text.contains("lists ingress\n"), "{text}");
    assert!(
        text.contains("      api-client -> node: tcp 8080 (rest), when rest-from-outside\n"),
        "{text}"
    );
}

#[test]
fn graphs_draw_who_reaches_whom() {
    let (catalogue, _) = Catalogue::load([]);
    let seal = catalogue.get("seal-output-engine").unwrap();
    let filter = Filter {
        role: Some("api-client".to_owned()),
        topology: Some("cluster".to_owned()),
    };
    assert_eq!(
        dot(seal, &filter),
        "digraph \"seal-output-engine\" {\n  rankdir=LR;\n  node [shape=box];\n  \
         \"node\";\n  \"api-client\";\n  \
         \"node\" -> \"node\" [label=\"tcp 8080, 8081, 8082\"];\n  \
         \"api-client\" -> \"node\" [label=\"tcp 8080\", style=dashed];\n  \
         \"api-client\" -> \"node\" [label=\"tcp 8081, 8082\"];\n}\n"
    );
    assert_eq!(
        mermaid(seal, &filter),
        "flowchart LR\n  n0[\"node\"]\n  n1[\"api-client\"]\n  \
         n0 -->|\"tcp 8080, 8081, 8082\"| n0\n  \
         n1 -.->|\"tcp 8080\"| n0\n  n1 -->|\"tcp 8081, 8082\"| n0\n"
    );
}
