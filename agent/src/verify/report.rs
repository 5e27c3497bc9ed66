//! The proof in words, and as JSON.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use agent_common::event::Direction;
use agent_common::verdict::Action;
use serde_json::{Value, json};

use super::{Failure, Proof, Verified};
use crate::reference::{Content, Judged, Packet};

/// The schema of the JSON.
const SCHEMA: u32 = 1;

/// What the rules of one row come to.
#[derive(Default)]
struct Row<'a> {
    proofs: Vec<&'a Proof>,
}

impl Row<'_> {
    fn sum(&self, count: fn(&Proof) -> u64) -> u64 {
        self.proofs.iter().map(|proof| count(proof)).sum()
    }

    fn holds(&self) -> bool {
        self.proofs.iter().all(|proof| proof.holds())
    }
}

impl Verified {
    /// By row, or by rule where a rule comes from no vendor's document.
    fn rows(&self) -> Vec<(&str, Row<'_>)> {
        let mut order = Vec::new();
        let mut rows: BTreeMap<&str, Row<'_>> = BTreeMap::new();
        for proof in &self.proofs {
            let own = [proof.rule.clone()];
            let names = if proof.rows.is_empty() {
                &own[..]
            } else {
                &proof.rows
            };
            for name in names {
                // The names live in the proofs.
                let name = proof
                    .rows
                    .iter()
                    .find(|row| *row == name)
                    .unwrap_or(&proof.rule);
                if !rows.contains_key(name.as_str()) {
                    order.push(name.as_str());
                }
                rows.entry(name).or_default().proofs.push(proof);
            }
        }
        let mut found = Vec::new();
        for name in order {
            if let Some(row) = rows.remove(name) {
                found.push((name, row));
            }
        }
        found
    }

    /// For people: a line for each row, then what failed.
    #[must_use]
    pub fn text(&self) -> String {
        let rows = self.rows();
        let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        let mut text = String::new();
        for (name, row) in &rows {
            let state = match (row.holds(), row.sum(|it| it.own)) {
                (false, _) => "FAILED",
                // The sweep has no rule.
                (true, 0) if row.proofs.iter().any(|it| it.action.is_some()) => "nothing",
                (true, _) => "proved",
            };
            let _ = write!(
                text,
                "{state:8}{name:width$}  {:6} pass  {:6} denied",
                row.sum(|it| it.allowed),
                row.sum(|it| it.denied)
            );
            let audited = row.sum(|it| it.audited);
            if audited > 0 {
                let _ = write!(text, "  {audited} audited");
            }
            if state == "nothing" {
                text += "  no packet is decided by it: it has no peers, or rules before it decide";
            }
            text.push('\n');
        }
        for proof in self.proofs.iter().filter(|it| !it.holds()) {
            text += &self.failed(proof);
        }
        let failed: u64 = self.proofs.iter().map(|it| it.failed).sum();
        let _ = writeln!(
            text,
            "\n{}: {} rules, {} packets, {failed} with another fate than the rules say",
            if self.holds() { "proved" } else { "NOT PROVED" },
            self.rules.len(),
            self.packets()
        );
        text
    }

    fn failed(&self, proof: &Proof) -> String {
        let mut text = format!("\n{}", proof.rule);
        if !proof.rows.is_empty() {
            let _ = write!(text, " ({})", proof.rows.join(", "));
        }
        text.push('\n');
        for failure in &proof.failures {
            let place = failure.place.map_or("", |place| place.words());
            let _ = writeln!(
                text,
                "  {} at {}{}{place}",
                words(&failure.packet),
                failure.hook,
                if place.is_empty() { "" } else { ", " }
            );
            let _ = writeln!(
                text,
                "    expected {} ({}), seen {}",
                action(failure.expected.action),
                self.why(failure.expected),
                seen(failure)
            );
        }
        let more = proof.failed - proof.failures.len() as u64;
        if more > 0 {
            let _ = writeln!(text, "  and {more} more");
        }
        if let Some(counters) = &proof.counters {
            let _ = writeln!(text, "  {counters}");
        }
        text
    }

    fn why(&self, judged: Judged) -> String {
        let rule = judged.rule.and_then(|place| self.rules.get(place));
        match rule {
            Some(rule) => format!("{}: {rule}", judged.reason.name()),
            None => judged.reason.name().to_owned(),
        }
    }

    /// For machines.
    #[must_use]
    pub fn json(&self) -> Value {
        let rows = self.rows();
        let rows = rows.iter().map(|(name, row)| {
            json!({
                "row": name,
                "rules": row.proofs.iter().map(|it| &it.rule).collect::<Vec<_>>(),
                "proved": row.holds(),
                "decides": row.sum(|it| it.own),
                "allowed": row.sum(|it| it.allowed),
                "audited": row.sum(|it| it.audited),
                "denied": row.sum(|it| it.denied),
                "failed": row.sum(|it| it.failed),
            })
        });
        let failures = self.proofs.iter().flat_map(|proof| {
            proof.failures.iter().map(move |failure| {
                json!({
                    "rule": proof.rule,
                    "rows": proof.rows,
                    "packet": words(&failure.packet),
                    "place": failure.place.map(|place| place.words()),
                    "hook": failure.hook,
                    "expected": {
                        "verdict": action(failure.expected.action),
                        "reason": failure.expected.reason.name(),
                        "rule": failure.expected.rule.and_then(|place| self.rules.get(place)),
                    },
                    "seen": seen(failure),
                })
            })
        });
        let counters = self.proofs.iter().filter_map(|proof| {
            let counters = proof.counters.as_ref()?;
            Some(json!({ "rule": proof.rule, "rows": proof.rows, "text": counters }))
        });
        json!({
            "schema": SCHEMA,
            "proved": self.holds(),
            "packets": self.packets(),
            "rows": rows.collect::<Vec<_>>(),
            "failures": failures.collect::<Vec<_>>(),
            "counters": counters.collect::<Vec<_>>(),
        })
    }
}

const fn action(action: Action) -> &'static str {
    match action {
        Action::Allow => "allow",
        Action::Audit => "audit",
        Action::Deny => "deny",
    }
}

const fn seen(failure: &Failure) -> &'static str {
    if failure.passed { "passed" } else { "dropped" }
}

/// A packet in words: `ingress tcp/443 SYN from 10.1.0.9 (port 32768) to 10.0.0.1`.
fn words(packet: &Packet) -> String {
    let direction = match packet.direction {
        Direction::Ingress => "ingress",
        Direction::Egress => "egress",
    };
    let (what, port) = match &packet.content {
        Content::Tcp { from, to, flags } => {
            let flags = match flags {
                2 => "SYN",
                18 => "SYN-ACK",
                _ => "segment",
            };
            (format!("tcp/{to} {flags}"), Some(from))
        }
        Content::Udp { from, to } => (format!("udp/{to}"), Some(from)),
        Content::Icmp { kind, .. } if packet.source.is_ipv4() => {
            (format!("icmp type {kind}"), None)
        }
        Content::Icmp { kind, .. } => (format!("icmpv6 type {kind}"), None),
        Content::Protocol(number) => (format!("protocol {number}"), None),
    };
    let port = port.map_or(String::new(), |port| format!(" (port {port})"));
    let (source, destination) = (packet.source, packet.destination);
    format!("{direction} {what} from {source}{port} to {destination}")
}
