//! What the host itself is like: its interfaces, forwarding, ephemeral ports; and what the
//! defaults and failsafes mean there.

use agent_common::event::Direction;

use super::Out;
use crate::compile::resolve::Resolved;
use crate::facts::{Facts, PortRange};
use crate::host::kinds::Kind;
use crate::host::schema::Failsafe;
use crate::host::sources::Span;
use crate::host::{HostConfig, Peers};
use crate::policy::{Catalogue, schema};
use crate::rule::{DefaultAction, Precedence, Rule, Service};

pub(super) fn check(
    config: &HostConfig,
    catalogue: &Catalogue,
    facts: &Facts,
    resolved: &Resolved,
    out: &mut Out<'_>,
) {
    interfaces(config, facts, out);
    forwarding(config, facts, out);
    failsafes(config, out);
    beyond_documents(config, catalogue, out);
    ephemeral(config, facts, resolved, out);
}

fn interfaces(config: &HostConfig, facts: &Facts, out: &mut Out<'_>) {
    for pattern in &config.interfaces {
        let there = facts
            .interfaces
            .iter()
            .any(|interface| crate::host::glob(pattern.get_ref(), &interface.name));
        if there || pattern.get_ref() == "lo" {
            continue;
        }
        let known: Vec<&str> = facts
            .interfaces
            .iter()
            .map(|interface| interface.name.as_str())
            .filter(|name| *name != "lo")
            .collect();
        out.say(
            Kind::MissingInterface,
            format!("this host has no interface `{}`", pattern.get_ref()),
            format!(
                "it is guarded as soon as it is there; this host has {}",
                if known.is_empty() {
                    "none".to_owned()
                } else {
                    known.join(", ")
                }
            ),
            &pattern.span(),
        );
    }
}

fn forwarding(config: &HostConfig, facts: &Facts, out: &mut Out<'_>) {
    if config.forward.is_some() || !facts.forwards() {
        return;
    }
    let on: Vec<&str> = facts
        .interfaces
        .iter()
        .filter(|interface| interface.forwards_v4 || interface.forwards_v6)
        .map(|interface| interface.name.as_str())
        .collect();
    out.say_nowhere(
        Kind::ForwardUnsaid,
        format!(
            "this host forwards packets (on {}), and nothing says what becomes of them",
            on.join(", ")
        ),
        "add [forward] with default = \"deny\", \"pass\" or \"same-rules\"; or turn forwarding off (net.ipv4.ip_forward, net.ipv6.conf.all.forwarding)",
    );
}

fn failsafes(config: &HostConfig, out: &mut Out<'_>) {
    for failsafe in &config.failsafes {
        let Failsafe {
            name, span, peers, ..
        } = failsafe;
        if !peers.is_any() {
            continue;
        }
        let message = format!("the failsafe `{name}` admits any host");
        let help = format!(
            "under [failsafe.{name}] write `peers = [\"…\"]` with the administrators' networks"
        );
        match (span, peers) {
            (Some(name), Peers { span, .. }) => {
                let place = if span.is_empty() { name } else { span };
                out.say(Kind::FailsafeAny, message, help, place);
            }
            (None, _) => out.say_nowhere(Kind::FailsafeAny, message, help),
        }
    }
}

/// What is said to be denied goes beyond what a document lists.
fn beyond_documents(config: &HostConfig, catalogue: &Catalogue, out: &mut Out<'_>) {
    let said = [
        (schema::Direction::Ingress, &config.default.ingress),
        (schema::Direction::Egress, &config.default.egress),
    ];
    for (direction, said) in said {
        let Some(said) = said
            .as_ref()
            .filter(|it| *it.get_ref() == DefaultAction::Deny)
        else {
            continue;
        };
        let policies = config
            .products
            .iter()
            .filter_map(|product| catalogue.get(product.policy.get_ref()));
        for policy in policies.filter(|policy| !policy.document.covers.contains(&direction)) {
            let silent = policy.document.silent.as_deref();
            out.say(
                Kind::BeyondDocument,
                format!(
                    "the document of `{}` does not list {}, so what the product needs there is denied",
                    policy.id(),
                    direction.name()
                ),
                format!(
                    "say \"open\" here, or add an [allow.NAME] for each flow{}",
                    silent.map_or(String::new(), |what| format!("; not listed: {what}"))
                ),
                &said.span(),
            );
        }
    }
}

/// A range that takes so many ports is not listened on by one service, and reserving it would
/// take the ephemeral range away.
const RESERVABLE: usize = 256;

/// Ports of services here that an outgoing connection can hold first.
fn ephemeral(config: &HostConfig, facts: &Facts, resolved: &Resolved, out: &mut Out<'_>) {
    let mut found: Vec<(&Rule, Vec<PortRange>)> = Vec::new();
    for rule in &resolved.rule_set.rules {
        let judged = matches!(rule.precedence, Precedence::Allow | Precedence::Failsafe);
        if rule.direction != Direction::Ingress || !judged || rule.id.starts_with("baseline/") {
            continue;
        }
        let (Service::Tcp(ranges) | Service::Udp(ranges)) = &rule.service else {
            continue;
        };
        let unreserved: Vec<PortRange> = ranges
            .iter()
            .filter(|range| range.len() <= RESERVABLE)
            .map(|range| PortRange {
                first: *range.start(),
                last: *range.end(),
            })
            .filter(|range| overlaps(*range, facts.ephemeral))
            .filter(|range| !facts.reserved_ports.iter().any(|it| covers(*it, *range)))
            .collect();
        if !unreserved.is_empty() {
            found.push((rule, unreserved));
        }
    }
    if found.is_empty() {
        return;
    }
    let mut all: Vec<PortRange> = facts.reserved_ports.clone();
    all.extend(found.iter().flat_map(|(_, ranges)| ranges));
    let line = join(all);
    let mut said: Vec<(Span, String)> = Vec::new();
    for (rule, ranges) in found {
        let span = place(config, rule).unwrap_or(0..0);
        let ports = join(ranges);
        if said.contains(&(span.clone(), ports.clone())) {
            continue;
        }
        out.say(
            Kind::EphemeralPort,
            format!(
                "port {ports} ({}) lies in this host's ephemeral range {}: an outgoing connection can hold it before its service does",
                rule.rows.first().unwrap_or(&rule.id),
                join(vec![facts.ephemeral])
            ),
            format!("reserve it in /etc/sysctl.d/60-portcullis.conf: net.ipv4.ip_local_reserved_ports = {line}"),
            &span,
        );
        said.push((span, ports));
    }
}

/// Where the configuration asks for a rule.
fn place(config: &HostConfig, rule: &Rule) -> Option<Span> {
    if let Some(name) = &rule.product {
        let mut products = config.products.iter();
        return Some(products.find(|it| it.name == *name)?.span.clone());
    }
    let (table, name) = rule.id.split_once('/')?;
    match table {
        "allow" => Some(
            config
                .allows
                .iter()
                .find(|it| it.name == name)?
                .span
                .clone(),
        ),
        "failsafe" => config.failsafe(name)?.span.clone(),
        _ => None,
    }
}

fn overlaps(left: PortRange, right: PortRange) -> bool {
    left.first <= right.last && right.first <= left.last
}

fn covers(outer: PortRange, inner: PortRange) -> bool {
    outer.first <= inner.first && inner.last <= outer.last
}

/// Ports as the kernel's list of reserved ports is written.
fn join(mut ranges: Vec<PortRange>) -> String {
    ranges.sort_by_key(|range| (range.first, range.last));
    ranges.dedup();
    let words: Vec<String> = ranges
        .iter()
        .map(|range| {
            if range.first == range.last {
                range.first.to_string()
            } else {
                format!("{}-{}", range.first, range.last)
            }
        })
        .collect();
    words.join(",")
}
