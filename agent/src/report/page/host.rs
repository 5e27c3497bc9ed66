//! What is the host's and no product's: exceptions, the rules of the baseline, proof, denials, hashes.

use agent_common::event::Direction;
use maud::{Markup, html};
use serde_json::Value;

use super::super::{MANY, Report, addresses, some};
use super::{columns, instant};
use crate::host::Peers;

/// As the configuration has them; sets by name.
pub(super) fn bound(peers: &Peers) -> String {
    if peers.is_any() {
        return "anyone".to_owned();
    }
    if peers.is_nobody() {
        return "nobody".to_owned();
    }
    let entries = peers.entries().iter();
    let words: Vec<String> = entries
        .map(|it| match &it.set {
            Some(set) => format!("{} (@{set})", it.peer),
            None => it.peer.to_string(),
        })
        .collect();
    words.join(", ")
}

pub(super) fn exceptions(report: &Report<'_>) -> Markup {
    let config = report.config;
    let over = |name: &str| {
        report
            .resolved
            .expired
            .iter()
            .any(|it| it.id == format!("allow/{name}"))
    };
    let ports = |tcp: &[toml::Spanned<crate::policy::PortRange>],
                 udp: &[toml::Spanned<crate::policy::PortRange>]| {
        let word = |name: &str, list: &[toml::Spanned<crate::policy::PortRange>]| {
            let ports: Vec<String> = list.iter().map(|it| it.get_ref().to_string()).collect();
            (!ports.is_empty()).then(|| format!("{name} {}", ports.join(", ")))
        };
        let both = [word("tcp", tcp), word("udp", udp)];
        both.into_iter().flatten().collect::<Vec<_>>().join("; ")
    };
    html! {
        h2 { "Exceptions" }
        table.exceptions {
            (columns(&[14, 15, 25, 20, 14, 12]))
            thead { tr { th { "name" } th { "what" } th { "with whom" } th { "why" } th { "owner" } th { "ends" } } }
            tbody {
                @for it in &config.allows {
                    tr class=[over(&it.name).then_some("over")] {
                        td { "allow/" (it.name) }
                        td { (it.direction.name()) " " (ports(&it.tcp, &it.udp)) @for protocol in &it.protocol { " " (crate::policy::Transport::Protocol(protocol.get_ref().0)) } }
                        td { (bound(&it.peers)) }
                        td { (it.reason) @if let Some(cites) = &it.cites { div.note { "cites " (cites.get_ref()) } } }
                        td { (it.owner.as_deref().unwrap_or("nobody named")) }
                        td {
                            @match &it.expires {
                                Some(until) => { (until.get_ref().written) @if over(&it.name) { " (over)" } },
                                None => { span.bad { "never" } },
                            }
                        }
                    }
                }
                @for it in &config.blocks {
                    tr {
                        td { "block/" (it.name) }
                        td { "both ways " (ports(&it.tcp, &it.udp)) }
                        td { (bound(&it.peers)) }
                        td { (it.reason.as_deref().unwrap_or_default()) }
                        td { "" }
                        td { "" }
                    }
                }
                @for it in &config.failsafes {
                    tr {
                        td { "failsafe/" (it.name) }
                        td { "ingress " (ports(it.tcp.as_deref().unwrap_or_default(), &[])) @if it.tcp.is_none() { "tcp, the ports of sshd" } }
                        td { (bound(&it.peers)) }
                        td { "the administrator's way in" }
                        td { "" }
                        td { "" }
                    }
                }
            }
        }
        (baseline(report))
    }
}

/// What a host needs to live, as far as it is let.
fn baseline(report: &Report<'_>) -> Markup {
    let rules = report.resolved.rule_set.rules.iter();
    let rules: Vec<_> = rules.filter(|it| it.id.starts_with("baseline/")).collect();
    html! {
        @if !rules.is_empty() {
            h3 { "What a host needs to live" }
            table.baseline {
                (columns(&[34, 28, 38]))
                thead { tr { th { "rule" } th { "what" } th { "with whom" } } }
                tbody {
                    @for rule in rules {
                        tr {
                            td { (rule.id) }
                            td { (way(rule.direction)) " " (rule.service.transport()) " " (rule.service.ports(rule.direction).join(", ")) }
                            td { (some(&addresses(&rule.peers), MANY)) }
                        }
                    }
                }
            }
        }
    }
}

pub(super) fn proof(report: &Report<'_>) -> Markup {
    html! {
        h2 { "Proof" }
        @match &report.proof {
            Ok(proof) => {
                @let packets = proof.get("packets").and_then(Value::as_u64).unwrap_or(0);
                @let failures = proof.get("failures").and_then(Value::as_array).map_or(0, Vec::len);
                @if proof.get("proved").and_then(Value::as_bool) == Some(true) {
                    p { "Proved: " (spaced(packets)) " packets at every rule's edges and beside went through the programs that the kernel has verified, each to the fate that the list of rules, gone through one by one, says." }
                } @else {
                    p.bad { "NOT PROVED: " (failures) " or more of " (packets) " packets had another fate than the rules say; `portcullis verify` lists them." }
                }
            }
            Err(why) => { p.bad { "Not proved: " (why) } }
        }
    }
}

pub(super) fn denials(report: &Report<'_>) -> Markup {
    html! {
        h2 { "Denied and audited, by kind" }
        @match &report.denials {
            Err(why) => { p { "Not known: " (why) } }
            Ok(denials) => {
                @match denials.period {
                    Some((first, last)) => { p { "Entries from " (instant(first)) " to " (instant(last)) "." } },
                    None => { p { "No entry is about a denied or audited packet." } },
                }
                table.denials {
                    (columns(&[40, 20, 20, 20]))
                    thead { tr { th { "kind" } th { "verdict" } th.number { "entries" } th.number { "packets" } } }
                    tbody {
                        @for ((kind, verdict), (entries, packets)) in &denials.kinds {
                            tr { td { (kind) } td { (verdict) } td.number { (entries) } td.number { (packets) } }
                        }
                    }
                }
            }
        }
    }
}

pub(super) fn hashes(report: &Report<'_>) -> Markup {
    let in_force = report
        .status
        .as_ref()
        .ok()
        .and_then(|it| it.get("policy_hash")?.as_str());
    let written = report.said.texts.hash();
    html! {
        h2 { "Versions and hashes" }
        table.hashes {
            (columns(&[70, 30]))
            thead { tr { th { "text" } th { "FNV-1a, 64 bits" } } }
            tbody {
                @for (name, hash) in report.hashes() {
                    tr { td { (name) } td.id { (hash) } }
                }
                tr { td { "all that the operator wrote" } td.id { (written) } }
                @if let Some(hash) = in_force {
                    tr { td { "the policy in force" } td.id { (hash) } }
                }
            }
        }
        p.note { "The hashes tell texts apart; they protect against nobody." }
    }
}

fn way(direction: Direction) -> &'static str {
    match direction {
        Direction::Ingress => "ingress",
        Direction::Egress => "egress",
    }
}

/// A number that is read by people: `786 953`.
fn spaced(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push('\u{202f}');
        }
        out.push(digit);
    }
    out
}
