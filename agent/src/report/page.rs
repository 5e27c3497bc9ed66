//! The page itself. What is written into it is escaped by maud.

mod host;

use jiff::Timestamp;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use serde_json::Value;

use self::host::{bound, denials, exceptions, hashes, proof};
use super::{Report, Standing, diagram};
use crate::host::Product;
use crate::host::schema::Stage;
use crate::plan::default_word;
use crate::policy::select::OptionValue;
use crate::policy::show::flows_in_words;
use crate::policy::{Policy, Row};

const STYLE: &str = include_str!("style.css");

pub(super) fn page(report: &Report<'_>) -> Markup {
    let facts = report.facts;
    let title = format!("Portcullis: {}", facts.hostname);
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                // Nothing is fetched: no icon either.
                link rel="icon" href="data:,";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                h1 { "What " (facts.hostname) " accepts and reaches" }
                p.lead { "Made on " (instant(report.time)) " by portcullis " (env!("CARGO_PKG_VERSION")) ", Linux " (facts.kernel) ". " (state(report)) }
                (summary(report))
                h2 { "Connections" }
                (diagram::diagram(report))
                @for (product, policy) in report.products() {
                    (of_product(report, product, policy))
                }
                (exceptions(report))
                (proof(report))
                (denials(report))
                (hashes(report))
                (signature())
            }
        }
    }
}

/// Widths of a table's columns, in percent.
fn columns(widths: &[u8]) -> Markup {
    html! { colgroup { @for width in widths { col style=(format!("width:{width}%")); } } }
}

/// `2026-11-22 02:30:13 UTC`.
fn instant(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// Where somebody puts a name to it, on paper.
fn signature() -> Markup {
    html! {
        table.signature {
            tr { td { "Looked at by" } td { "on" } td { "signed" } }
        }
    }
}

fn state(report: &Report<'_>) -> String {
    match &report.status {
        Ok(status) => {
            let state = status
                .get("state")
                .and_then(Value::as_str)
                .unwrap_or("unknown");
            let generation = status.get("generation").and_then(Value::as_u64);
            let generation = generation.map_or(String::new(), |it| format!(", generation {it}"));
            format!("In force: {state}{generation}.")
        }
        Err(why) => format!("What is in force is not known: {why}."),
    }
}

fn summary(report: &Report<'_>) -> Markup {
    let set = &report.resolved.rule_set;
    let interfaces: Vec<&str> = report
        .config
        .interfaces
        .iter()
        .map(|it| it.get_ref().as_str())
        .collect();
    html! {
        table.facts {
            tr { th { "guarded interfaces" } td { (interfaces.join(", ")) } }
            tr { th { "what no rule names, coming in" } td { (default_word(set.ingress)) } }
            tr { th { "what no rule names, going out" } td { (default_word(set.egress)) } }
            tr { th { "rules" } td { (set.rules.len()) } }
            @if !report.resolved.unguarded.is_empty() {
                tr { th { "not guarded" } td.bad { (report.resolved.unguarded.join(", ")) } }
            }
            @for warning in &report.warnings {
                tr { th { "warning" } td { (warning) } }
            }
        }
    }
}

fn of_product(report: &Report<'_>, product: &Product, policy: &Policy) -> Markup {
    let rows: Vec<(&Row, Standing)> = policy
        .rows_in_order()
        .into_iter()
        .map(|row| (row, report.standing(product, policy, row)))
        .collect();
    html! {
        h2 { (policy.name) " by " (policy.vendor) }
        (of_installation(product, policy))
        h3 { "Peers" }
        table.peers {
            (columns(&[28, 72]))
            thead { tr { th { "role" } th { "bound to" } } }
            tbody {
                @for (role, peers) in product.peers.iter().chain(product.groups.iter()) {
                    tr { td { (role) } td { (bound(peers)) } }
                }
            }
        }
        h3 { "Every row of the document" }
        p.tally { (tally(&rows)) }
        table.rows {
            (columns(&[15, 26, 13, 25, 9, 12]))
            thead { tr { th { "row" } th { "as documented" } th { "state" } th { "what, or why" } th { "proof" } th { "last used" } } }
            tbody {
                @for (row, standing) in &rows {
                    (of_row(report, policy, row, standing))
                }
            }
        }
    }
}

/// `60 rows: 3 in force, 57 inactive`.
fn tally(rows: &[(&Row, Standing)]) -> String {
    let mut counts: Vec<(&str, usize)> = Vec::new();
    for (_, standing) in rows {
        match counts
            .iter_mut()
            .find(|(state, _)| *state == standing.state)
        {
            Some((_, count)) => *count += 1,
            None => counts.push((standing.state, 1)),
        }
    }
    let words: Vec<String> = counts
        .iter()
        .map(|(state, count)| format!("{count} {state}"))
        .collect();
    format!("{} rows: {}.", rows.len(), words.join(", "))
}

/// Document, roles, and what the operator says of the installation.
fn of_installation(product: &Product, policy: &Policy) -> Markup {
    let words = |list: &[toml::Spanned<String>]| -> String {
        let words: Vec<&str> = list.iter().map(|it| it.get_ref().as_str()).collect();
        words.join(", ")
    };
    let stage = match (product.stage, &product.audit_until) {
        (Stage::Enforce, _) => "enforced".to_owned(),
        (Stage::Audit, Some(until)) => format!("on trial until {}", until.get_ref().written),
        (Stage::Audit, None) => "on trial".to_owned(),
    };
    let topologies: Vec<&str> = product.topologies_in(policy).into_iter().collect();
    let values = product.option_values(policy);
    let options: Vec<String> = policy
        .options
        .iter()
        .map(|(name, _)| match values.get(name) {
            Some(OptionValue::Switch(true)) => format!("{name} on"),
            Some(OptionValue::Switch(false)) => format!("{name} off"),
            Some(OptionValue::Choice(choice)) => format!("{name} {choice}"),
            None => format!("{name} not said"),
        })
        .collect();
    let versions: Vec<String> = product
        .versions
        .iter()
        .map(|(line, version)| format!("{line} {}", version.get_ref()))
        .collect();
    let ports: Vec<String> = product
        .ports
        .iter()
        .map(|(name, list)| {
            let ranges: Vec<String> = list.iter().map(|it| it.get_ref().to_string()).collect();
            format!("{name} {}", ranges.join(" and "))
        })
        .collect();
    html! {
        table.facts {
            tr { th { "document" } td { (policy.document.title) ", " (policy.document.edition) } }
            tr { th { "roles of this host" } td { (words(&product.roles)) } }
            @for (name, said) in [
                ("installed as", topologies.join(", ")),
                ("versions", versions.join(", ")),
                ("options", options.join(", ")),
                ("ports that were moved", ports.join(", ")),
            ] {
                @if !said.is_empty() { tr { th { (name) } td { (said) } } }
            }
            tr { th { "stage" } td { (stage) } }
            @if let Some(silent) = &policy.document.silent {
                tr { th { "the document leaves out" } td { (silent) } }
            }
        }
    }
}

fn of_row(report: &Report<'_>, policy: &Policy, row: &Row, standing: &Standing) -> Markup {
    let id = policy.row_id(row);
    let short = id
        .strip_prefix(policy.id())
        .map_or(id.as_str(), |it| it.trim_start_matches('/'));
    html! {
        tr class=(standing.state.replace(' ', "-")) {
            td.id { (short) }
            td {
                (row.service)
                @for flow in flows_in_words(policy, row) { div.flow { (flow) } }
                @if let Some(purpose) = &row.purpose { div.note { (purpose) } }
            }
            td.state { (standing.state) }
            td { @for why in &standing.why { div { (why) } } }
            td {
                @match report.proved(&id) {
                    Some((true, packets)) => { "proved (" (packets) ")" },
                    Some((false, _)) => { span.bad { "NOT PROVED" } },
                    None => {},
                }
            }
            td {
                @match report.used(&id) {
                    Some((packets, Some(last))) if packets > 0 => { (last.split('.').next().unwrap_or_default().trim_end_matches('Z').replace('T', " ")) },
                    Some(_) => { "never" },
                    None => { "–" },
                }
            }
        }
    }
}
