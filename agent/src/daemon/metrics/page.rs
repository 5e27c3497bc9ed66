//! The page of metrics, in the text format of OpenMetrics 1.0. Pure.
//!
//! Labels are words of closed lists, names of the configuration and ids of rows: their number is bounded by the configuration. No address,
//! port or interface is a label.

use std::sync::atomic::AtomicU64;

use jiff::Timestamp;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::Running;
use crate::commands::status::{Conntrack, Counts, State, Table, View};
use crate::events::ring::CAPACITY;

type Labels = Vec<(&'static str, String)>;
type Level = Gauge<f64, AtomicU64>;

/// What is registered so far.
struct Page {
    registry: Registry,
}

impl Page {
    fn counters<'a>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (Vec<(&'static str, &'a str)>, u64)>,
    ) {
        let family = Family::<Labels, Counter>::default();
        for (labels, value) in values {
            family.get_or_create(&owned(labels)).inc_by(value);
        }
        self.registry.register(name, help, family);
    }

    fn gauges<'a>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (Vec<(&'static str, &'a str)>, f64)>,
    ) {
        let family = Family::<Labels, Level>::default();
        for (labels, value) in values {
            family.get_or_create(&owned(labels)).set(value);
        }
        self.registry.register(name, help, family);
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) {
        let counter = Counter::<u64>::default();
        counter.inc_by(value);
        self.registry.register(name, help, counter);
    }

    fn gauge(&mut self, name: &str, help: &str, value: f64) {
        let gauge = Level::default();
        gauge.set(value);
        self.registry.register(name, help, gauge);
    }
}

fn owned(labels: Vec<(&'static str, &str)>) -> Labels {
    labels
        .into_iter()
        .map(|(key, value)| (key, value.to_owned()))
        .collect()
}

/// The page for what is in force at `now`.
pub(super) fn page(
    view: &View,
    running: &Running,
    now: Timestamp,
) -> Result<String, std::fmt::Error> {
    let mut page = Page {
        registry: Registry::with_prefix("portcullis"),
    };
    in_force(&mut page, view);
    on_trial(&mut page, view, now);
    if let Some(counters) = &view.counters {
        packets(&mut page, counters);
    }
    if let Some(conntrack) = &view.conntrack {
        flows(&mut page, conntrack);
    }
    process(&mut page, running);
    let mut text = String::new();
    encode(&mut text, &page.registry)?;
    Ok(text)
}

fn in_force(page: &mut Page, view: &View) {
    let version = env!("CARGO_PKG_VERSION");
    page.gauges(
        "build_info",
        "The agent's version; always 1",
        [(vec![("version", version)], 1.0)],
    );
    page.gauges(
        "state",
        "1 for the state that `portcullis status` says, 0 for the others",
        State::ALL.map(|state| {
            let holds = f64::from(u8::from(state == view.state));
            (vec![("state", state.name())], holds)
        }),
    );
    page.gauge(
        "generation",
        "The compiled policy in force; 0 passes everything",
        f64::from(view.generation.unwrap_or(0)),
    );
    if let Some(since) = view.since {
        page.gauge(
            "in_force_since_timestamp_seconds",
            "When the generation came into force",
            since.as_second() as f64,
        );
    }
    page.gauge(
        "problems",
        "What keeps the host from being guarded as configured, as `portcullis status` lists it",
        view.problems.len() as f64,
    );
    page.gauge(
        "unresolved_names",
        "Host names of the configuration that never resolved and admit nobody",
        view.unresolved.len() as f64,
    );
    let hooks = ["xdp", "xdp-generic", "tc", "none"];
    let interfaces = hooks.into_iter().flat_map(|hook| {
        [true, false].map(|guarded| {
            let count = view
                .interfaces
                .iter()
                .filter(|it| it.hook.unwrap_or("none") == hook && it.guarded == guarded)
                .count();
            let guarded = if guarded { "true" } else { "false" };
            (vec![("hook", hook), ("guarded", guarded)], count as f64)
        })
    });
    page.gauges(
        "interfaces",
        "Interfaces by the hook of ingress that is in force, and by whether both directions are guarded",
        interfaces,
    );
}

fn on_trial(page: &mut Page, view: &View, now: Timestamp) {
    const DAY: f64 = 86_400.0;
    page.gauges(
        "product_stage",
        "1 for the stage of each product, `enforce` or `audit`",
        view.products.iter().map(|it| {
            let labels = vec![
                ("product", it.name.as_str()),
                ("policy", &it.policy),
                ("stage", &it.stage),
            ];
            (labels, 1.0)
        }),
    );
    page.gauges(
        "default_audit",
        "1 where a direction's default is `audit`: what no rule allows passes",
        ["ingress", "egress"].map(|direction| {
            let audits = view.audits.iter().any(|it| it.direction == direction);
            (vec![("direction", direction)], f64::from(u8::from(audits)))
        }),
    );
    let late = |until: Option<Timestamp>| {
        until.map(|until| (now.as_second() - until.as_second()) as f64 / DAY)
    };
    let products = view.products.iter().filter_map(|it| {
        let days = late(it.audit_until)?;
        (it.stage == "audit").then(|| (vec![("product", it.name.as_str())], days))
    });
    page.gauges(
        "product_audit_overdue_days",
        "Days since a product's `audit-until`; below 0 until then",
        products,
    );
    let defaults = view.audits.iter().filter_map(|it| {
        let days = late(it.audit_until)?;
        Some((vec![("direction", it.direction.as_str())], days))
    });
    page.gauges(
        "default_audit_overdue_days",
        "Days since the `audit-until` of `[default]`; below 0 until then",
        defaults,
    );
}

fn packets(page: &mut Page, counters: &Counts) {
    page.counters(
        "packets",
        "Packets by verdict; each has one",
        [
            ("passed", counters.passed),
            ("audited", counters.audited),
            ("denied", counters.denied),
        ]
        .map(|(verdict, packets)| (vec![("verdict", verdict)], packets)),
    );
    let forwarded = &counters.forwarded;
    page.counters(
        "forwarded_packets",
        "Those of them that were on their way through this host, by verdict",
        [
            ("passed", forwarded.passed),
            ("audited", forwarded.audited),
            ("denied", forwarded.denied),
        ]
        .map(|(verdict, packets)| (vec![("verdict", verdict)], packets)),
    );
    page.counters(
        "events",
        "Denied and audited packets by what became of their event in the kernel: told, over budget, or lost to a full ring",
        [
            ("denied", "reported", counters.reported),
            ("denied", "suppressed", counters.suppressed),
            ("denied", "lost", counters.lost),
            ("audited", "reported", counters.audit_reported),
            ("audited", "suppressed", counters.audit_suppressed),
            ("audited", "lost", counters.audit_lost),
        ]
        .map(|(verdict, outcome, packets)| {
            (vec![("verdict", verdict), ("outcome", outcome)], packets)
        }),
    );
    let reasons = counters.by_reason.iter().flat_map(|(direction, reasons)| {
        reasons.iter().map(move |(reason, &packets)| {
            (
                vec![("direction", *direction), ("reason", *reason)],
                packets,
            )
        })
    });
    page.counters(
        "reason_packets",
        "Packets that no rule let pass, by reason: denied, audited, and those that pass without a rule",
        reasons,
    );
    let rows = counters.by_row.iter().flat_map(|(row, total)| {
        [
            ("passed", total.passed),
            ("audited", total.audited),
            ("near", total.near),
        ]
        .map(|(verdict, packets)| (vec![("row", row.as_str()), ("verdict", verdict)], packets))
    });
    page.counters(
        "row_packets",
        "Packets by row of a vendor's table or by rule without a row; `near` were denied, this row being the nearest",
        rows,
    );
    let last = counters.by_row.iter().filter_map(|(row, total)| {
        let last = total.last?.as_second() as f64;
        Some((vec![("row", row.as_str())], last))
    });
    page.gauges(
        "row_last_packet_timestamp_seconds",
        "When the last packet of a row came",
        last,
    );
    page.counter(
        "put_back",
        "How often somebody took away what was attached to an interface, and it was put back",
        counters.put_back,
    );
}

fn flows(page: &mut Page, conntrack: &Conntrack) {
    let tables = [
        ("established", &conntrack.established),
        ("new", &conntrack.new),
    ];
    let each = |value: fn(&Table) -> f64| {
        tables.map(|(name, table)| (vec![("table", name)], value(table)))
    };
    page.gauges(
        "flows",
        "Live entries of the flow tables",
        each(|table| table.entries as f64),
    );
    page.gauges(
        "flows_expired",
        "Entries of the flow tables that have outlived their time-out and are not swept yet",
        each(|table| table.expired as f64),
    );
    page.gauges(
        "flows_capacity",
        "Entries that the flow tables have room for",
        each(|table| f64::from(table.capacity)),
    );
    page.gauge(
        "flows_evicted",
        "Entries of the table `new` that the kernel gave to other flows; at least so many",
        conntrack.evicted as f64,
    );
    page.counter(
        "flows_found_full",
        "Flows that found the table `established` full, and stayed where they may be evicted",
        conntrack.found_full,
    );
}

fn process(page: &mut Page, running: &Running) {
    let Running {
        changes,
        report,
        ring_peak,
    } = running;
    page.counters(
        "changes",
        "Requests for another policy, by signal or command, by outcome",
        [
            ("done", changes.done),
            ("unconfirmed", changes.unconfirmed),
            ("unchanged", changes.unchanged),
            ("refused", changes.refused),
        ]
        .map(|(outcome, count)| (vec![("outcome", outcome)], count)),
    );
    page.gauge(
        "ring_peak_bytes",
        "The most that one turn of the reader found in the ring of events since the agent started",
        *ring_peak as f64,
    );
    page.gauge(
        "ring_capacity_bytes",
        "Size of the ring of events",
        CAPACITY as f64,
    );
    page.counter(
        "events_unreadable",
        "Octets in the ring that were no event",
        report.undecodable,
    );
    page.counter(
        "events_merged_over",
        "Packets that were counted and not told apart, because too many kinds came at once",
        report.overflow,
    );
    let sinks = report.sinks.iter().flat_map(|(name, counts)| {
        [("delivered", counts.delivered), ("lost", counts.lost)]
            .map(|(outcome, packets)| (vec![("sink", *name), ("outcome", outcome)], packets))
    });
    page.counters(
        "sink_packets",
        "Packets whose entries a sink took or lost",
        sinks,
    );
}

#[cfg(test)]
mod tests;
