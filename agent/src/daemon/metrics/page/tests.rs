use std::collections::BTreeMap;

use super::*;
use crate::commands::status::{Forwarded, Interface, Table};
use crate::daemon::{NotedAudit, NotedProduct, RowTotal};
use crate::events::sink::SinkCounts;

const NOON: &str = "2026-03-03T12:00:00Z";

/// A host with everything that a page can tell of.
fn view() -> View {
    let row = RowTotal {
        passed: 7,
        audited: 2,
        near: 1,
        last: Some(Timestamp::UNIX_EPOCH),
    };
    let interface = |name: &str, hook, guarded| Interface {
        name: name.to_owned(),
        index: Some(2),
        guarded,
        hook,
        why: None,
        ingress: None,
        egress: None,
    };
    let table = |entries, expired, capacity| Table {
        entries,
        expired,
        capacity,
    };
    let mut view = View::nothing(Some(1));
    view.state = State::Audit;
    view.generation = Some(3);
    view.since = Some(Timestamp::UNIX_EPOCH);
    view.interfaces = vec![
        interface("eth0", Some("xdp"), true),
        interface("eth1", Some("tc"), true),
        interface("eth2", Some("tc"), true),
        interface("eth3", None, false),
    ];
    view.products = vec![NotedProduct {
        name: "seal \"two\"".to_owned(),
        policy: "seal-output-engine".to_owned(),
        stage: "audit".to_owned(),
        audit_until: "2026-03-01T00:00:00Z".parse().ok(),
    }];
    view.audits = vec![NotedAudit {
        direction: "egress".to_owned(),
        audit_until: "2026-03-04T00:00:00Z".parse().ok(),
    }];
    view.counters = Some(Counts {
        passed: 100,
        audited: 6,
        denied: 15,
        reported: 4,
        suppressed: 5,
        lost: 6,
        audit_reported: 1,
        audit_suppressed: 2,
        audit_lost: 3,
        put_back: 1,
        forwarded: Forwarded {
            passed: 7,
            audited: 0,
            denied: 2,
        },
        by_reason: BTreeMap::from([
            ("ingress", BTreeMap::from([("peer", 9)])),
            ("egress", BTreeMap::from([("peer", 6)])),
        ]),
        by_row: BTreeMap::from([("seal-output-engine/cluster/27".to_owned(), row)]),
    });
    view.conntrack = Some(Conntrack {
        established: table(3, 1, 1024),
        new: table(2, 0, 512),
        evicted: 5,
        found_full: 6,
    });
    view
}

fn running() -> Running {
    let sink = SinkCounts {
        given: 10,
        delivered: 8,
        queued: 0,
        lost: 2,
        told: 2,
    };
    Running {
        changes: super::super::Changes {
            refused: 2,
            ..Default::default()
        },
        report: crate::events::ReportCounts {
            sinks: vec![("journal", sink)],
            overflow: 4,
            ..Default::default()
        },
        ring_peak: 4096,
    }
}

fn text(view: &View) -> String {
    page(view, &running(), NOON.parse().unwrap()).unwrap()
}

#[track_caller]
fn check(text: &str, line: &str) {
    assert!(
        text.lines().any(|found| found == line),
        "no line `{line}` in\n{text}"
    );
}

#[test]
fn everything_is_on_the_page() {
    let text = text(&view());
    for line in [
        "portcullis_state{state=\"audit\"} 1.0",
        "portcullis_state{state=\"enforcing\"} 0.0",
        "portcullis_generation 3.0",
        "portcullis_interfaces{hook=\"tc\",guarded=\"true\"} 2.0",
        "portcullis_interfaces{hook=\"none\",guarded=\"false\"} 1.0",
        "portcullis_product_stage{product=\"seal \\\"two\\\"\",policy=\"seal-output-engine\",stage=\"audit\"} 1.0",
        "portcullis_default_audit{direction=\"ingress\"} 0.0",
        "portcullis_default_audit{direction=\"egress\"} 1.0",
        "portcullis_product_audit_overdue_days{product=\"seal \\\"two\\\"\"} 2.5",
        "portcullis_default_audit_overdue_days{direction=\"egress\"} -0.5",
        "portcullis_packets_total{verdict=\"passed\"} 100",
        "portcullis_packets_total{verdict=\"audited\"} 6",
        "portcullis_packets_total{verdict=\"denied\"} 15",
        "portcullis_forwarded_packets_total{verdict=\"passed\"} 7",
        "portcullis_forwarded_packets_total{verdict=\"denied\"} 2",
        "portcullis_events_total{verdict=\"denied\",outcome=\"lost\"} 6",
        "portcullis_events_total{verdict=\"audited\",outcome=\"suppressed\"} 2",
        "portcullis_reason_packets_total{direction=\"egress\",reason=\"peer\"} 6",
        "portcullis_row_packets_total{row=\"seal-output-engine/cluster/27\",verdict=\"near\"} 1",
        "portcullis_row_last_packet_timestamp_seconds{row=\"seal-output-engine/cluster/27\"} 0.0",
        "portcullis_put_back_total 1",
        "portcullis_flows{table=\"established\"} 3.0",
        "portcullis_flows_capacity{table=\"new\"} 512.0",
        "portcullis_flows_evicted 5.0",
        "portcullis_flows_found_full_total 6",
        "portcullis_changes_total{outcome=\"refused\"} 2",
        "portcullis_ring_peak_bytes 4096.0",
        "portcullis_ring_capacity_bytes 1048576.0",
        "portcullis_events_merged_over_total 4",
        "portcullis_sink_packets_total{sink=\"journal\",outcome=\"lost\"} 2",
    ] {
        check(&text, line);
    }
    assert!(text.ends_with("# EOF\n"));
}

/// What is denied, audited and passed is told once each: by verdict, and again by what became of the events.
#[test]
fn the_sums_agree() {
    let text = text(&view());
    let sum = |start: &str| -> u64 {
        let lines = text.lines().filter(|line| line.starts_with(start));
        lines
            .map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap())
            .sum()
    };
    for verdict in ["denied", "audited"] {
        let label = format!("{{verdict=\"{verdict}\"");
        assert_eq!(
            sum(&format!("portcullis_packets_total{label}")),
            sum(&format!("portcullis_events_total{label}")),
        );
    }
}

#[test]
fn a_host_without_anything_of_ours_has_a_page() {
    let text = text(&View::nothing(None));
    check(&text, "portcullis_state{state=\"detached\"} 1.0");
    assert!(!text.contains("portcullis_packets_total"));
}

/// Labels take their values from closed lists and from the configuration; an interface, an address or a port is none.
#[test]
fn labels_are_bounded() {
    let known = [
        "version",
        "state",
        "hook",
        "guarded",
        "product",
        "policy",
        "stage",
        "direction",
        "verdict",
        "outcome",
        "reason",
        "row",
        "table",
        "sink",
    ];
    for line in text(&view()).lines().filter(|line| !line.starts_with('#')) {
        let Some((_, labels)) = line.split_once('{') else {
            continue;
        };
        for (key, _) in labels.split(',').filter_map(|label| label.split_once('=')) {
            assert!(known.contains(&key), "{key} in {line}");
        }
    }
}

/// Names of metrics in a text; what a counter's line adds is left out.
fn named(text: &str) -> std::collections::BTreeSet<&str> {
    text.match_indices("portcullis_")
        .map(|(at, _)| {
            let rest = &text[at..];
            let end = rest.find(|c: char| c != '_' && !c.is_ascii_alphanumeric());
            &rest[..end.unwrap_or(rest.len())]
        })
        .collect()
}

/// The reference has every metric and no other; alerts and dashboard ask for metrics that are there.
#[test]
fn what_is_asked_for_is_on_the_page() {
    let text = text(&view());
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let page: String = lines.map(|line| format!("{line}\n")).collect();
    let served = named(&page);
    let documented = include_str!("../../../../../docs/metrics.md");
    assert_eq!(named(documented), served);
    for (what, text) in [
        (
            "alerts",
            include_str!("../../../../dist/prometheus/portcullis.rules.yml"),
        ),
        (
            "dashboard",
            include_str!("../../../../dist/grafana/portcullis.json"),
        ),
    ] {
        let asked = named(text);
        assert!(asked.len() > 5, "{what}");
        let unknown: Vec<_> = asked.difference(&served).collect();
        assert!(unknown.is_empty(), "{what}: {unknown:?}");
    }
}
