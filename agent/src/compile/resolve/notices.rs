//! What follows from a configuration on this host and should be known: warnings about what was
//! said, none of which changes a rule.

use super::Resolved;
use super::peers::PeerBook;
use super::product::Selected;
use super::words::Wildcard;
use crate::diagnose::{Finding, Findings};
use crate::host::{HostConfig, Span};

/// All of them. What the configuration alone shows is found where it is checked.
pub(super) fn all(
    config: &HostConfig,
    selected: &[Selected<'_>],
    resolved: &Resolved,
    book: &PeerBook<'_>,
    wildcards: &[Wildcard],
) -> Findings {
    let mut findings = Findings::new();
    unresolved(config, book, &mut findings);
    wildcard(config, wildcards, &mut findings);
    for one in selected {
        contradictions(config, one, resolved, &mut findings);
    }
    expired(config, resolved, &mut findings);
    findings
}

fn at(config: &HostConfig, finding: Finding, span: &Span) -> Finding {
    let (source, span) = config.sources.locate(span.clone());
    finding.at(&source, span)
}

/// A name that never resolved admits nobody.
fn unresolved(config: &HostConfig, book: &PeerBook<'_>, findings: &mut Findings) {
    for (name, spans) in &book.unresolved {
        let finding = Finding::warning(
            "name-unresolved",
            format!("the name `{name}` has never resolved, so it admits nobody"),
        )
        .help(
            "correct the name, or write addresses; it admits its addresses as soon as it resolves",
        );
        findings.push(match spans.iter().find(|span| !span.is_empty()) {
            Some(span) => at(config, finding, span),
            None => finding,
        });
    }
}

/// A document names hosts by wildcard: the port is open to anyone.
fn wildcard(config: &HostConfig, wildcards: &[Wildcard], findings: &mut Findings) {
    for open in wildcards {
        let finding = Finding::warning(
            "any-by-wildcard",
            format!(
                "{} names {}, which can't be resolved to addresses: port {} is open to any host",
                open.row,
                open.names.join(", "),
                open.ports.join(", ")
            ),
        )
        .help("leave the row out under `skip`, and add an [allow] that cites it with the addresses that you know");
        findings.push(at(config, finding, &open.span));
    }
}

/// Rows that contradict each other and both make rules here: one finding for each pair.
fn contradictions(
    config: &HostConfig,
    selected: &Selected<'_>,
    resolved: &Resolved,
    findings: &mut Findings,
) {
    let active = |row: &str| {
        let rules = &resolved.rule_set.rules;
        rules.iter().any(|rule| {
            rule.product.as_deref() == Some(selected.product.name.as_str())
                && rule.rows.iter().any(|id| id == row)
        })
    };
    let policy = selected.policy;
    for row in policy.rows_in_order() {
        let id = policy.row_id(row);
        for other in &row.contradicts {
            let other = other.get_ref().full(policy.id());
            if !active(&id) || !active(&other) {
                continue;
            }
            let short = row.id.get_ref();
            let note = row
                .note
                .as_deref()
                .map_or(String::new(), |note| format!(": {note}"));
            let finding = Finding::warning(
                "contradiction",
                format!("{id} and {other} contradict each other, and both are opened{note}"),
            )
            .help(format!(
                "if one of them does not hold for you, leave it out: under [product.{}.skip] write \
                 \"{short}\" = \"why\", or the same for the other",
                selected.product.name
            ));
            findings.push(at(config, finding, &selected.product.span));
        }
    }
}

/// An `allow` that is over.
fn expired(config: &HostConfig, resolved: &Resolved, findings: &mut Findings) {
    for over in &resolved.expired {
        let Some(allow) = config
            .allows
            .iter()
            .find(|allow| over.id.strip_prefix("allow/") == Some(allow.name.as_str()))
        else {
            continue;
        };
        let finding = Finding::warning(
            "expired",
            format!("{} is over since {} and admits nobody", over.id, over.at),
        )
        .help(format!(
            "remove [allow.{}], or give it a later `expires`",
            allow.name
        ));
        findings.push(at(config, finding, &allow.span));
    }
}
