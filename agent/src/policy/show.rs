//! A policy as its readers see it: as JSON that other programs rely on, and as text.

mod diff;
mod graph;
mod text;
mod words;

use serde::Serialize;
use serde_json::{Map, Value, json};
use toml::Spanned;

use super::catalogue::Catalogue;
use super::schema::{Policy, Row};
use super::select::FlowPart;
use super::values::PortRef;
use crate::diagnose::{Keyed, nearest};

pub use diff::{Comparison, Difference, diff};
pub use graph::{dot, mermaid};
pub use text::text;
pub use words::flows_in_words;

/// The number that JSON output carries.
pub const SCHEMA: u32 = 1;

/// Which rows to show; nothing said: all.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Rows in which this role takes part.
    pub role: Option<String>,
    /// Rows that hold in this topology and what it adds to.
    pub topology: Option<String>,
}

impl Filter {
    /// Whether the filter's words are the policy's.
    ///
    /// # Errors
    ///
    /// A message that names the nearest word, for a role or topology that the policy lacks.
    pub fn check(&self, policy: &Policy) -> Result<(), String> {
        known("role", self.role.as_deref(), &policy.roles)?;
        known("topology", self.topology.as_deref(), &policy.topologies)
    }

    /// The rows to show, in the order of the tables and the printed lines.
    #[must_use]
    pub fn rows<'a>(&self, policy: &'a Policy) -> Vec<&'a Row> {
        let topologies = self
            .topology
            .as_deref()
            .map(|name| policy.implied_topologies([name]));
        let mut rows = policy.rows_in_order();
        rows.retain(|row| {
            let in_topology = topologies
                .as_ref()
                .is_none_or(|implied| policy.row_in(row, implied));
            let with_role = self.role.as_deref().is_none_or(|role| row.mentions(role));
            in_topology && with_role
        });
        rows
    }
}

fn known<T>(what: &str, word: Option<&str>, table: &Keyed<T>) -> Result<(), String> {
    let Some(word) = word.filter(|word| !table.contains(word)) else {
        return Ok(());
    };
    let hint = match nearest(word, table.keys()) {
        Some(near) => format!("`{near}` is the nearest that is known"),
        None => format!("known: {}", table.keys().collect::<Vec<_>>().join(", ")),
    };
    Err(format!("no {what} is called `{word}`; {hint}"))
}

/// Whole ids of the rows that a row contradicts, whichever end says so.
#[must_use]
pub fn contradictions(catalogue: &Catalogue, policy: &Policy, row: &Row) -> Vec<String> {
    let own = policy.row_id(row);
    let mut ids: Vec<String> = row
        .contradicts
        .iter()
        .map(|reference| reference.get_ref().full(policy.id()))
        .collect();
    // The policy itself may stand outside the catalogue: a file under `policy check`.
    let others = catalogue
        .iter()
        .map(|(_, other)| other)
        .filter(|other| other.id() != policy.id());
    for other in others.chain([policy]) {
        for candidate in other.rows_in_order() {
            let says_so = candidate
                .contradicts
                .iter()
                .any(|reference| reference.get_ref().full(other.id()) == own);
            let id = other.row_id(candidate);
            if says_so && !ids.contains(&id) {
                ids.push(id);
            }
        }
    }
    ids
}

/// The policy as JSON: every key always there, `null` where nothing is known.
#[must_use]
pub fn json(catalogue: &Catalogue, policy: &Policy, filter: &Filter) -> Value {
    let rows: Vec<Value> = filter
        .rows(policy)
        .into_iter()
        .map(|row| row_json(catalogue, policy, row))
        .collect();
    json!({
        "schema": SCHEMA,
        "product": policy.id(),
        "document": {
            "name": policy.name,
            "vendor": policy.vendor,
            "title": policy.document.title,
            "edition": policy.document.edition,
            "covers": policy.document.covers,
            "silent": policy.document.silent,
        },
        "tables": keyed(&policy.tables, |table| json!({
            "title": table.title,
            "rows": table.rows,
            "topologies": table.topologies,
            "when": strings(&table.when),
            "scope": table.scope,
        })),
        "roles": keyed(&policy.roles, |role| json!({
            "summary": role.summary,
            "linux": role.linux,
        })),
        "topologies": keyed(&policy.topologies, |topology| json!({
            "adds_to": topology.adds_to,
            "several": topology.several,
        })),
        "options": keyed(&policy.options, |option| json!({
            "default": option.default,
            "choices": option.choices,
            "why": option.why,
        })),
        "versions": keyed(&policy.versions, |line| json!({ "summary": line.summary })),
        "ports": keyed(&policy.ports, |port| json!({
            "default": port.default.as_ref().map(|default| default.get_ref().to_string()),
            "many": port.many,
            "suggest": port.suggest.map(|range| range.to_string()),
            "say_when": port.say_when,
            "configure": port.configure,
            "why": port.why,
        })),
        "groups": keyed(&policy.groups, |group| json!({
            "kind": group.kind,
            "addresses": group.addresses,
            "answers": group.answers,
            "names": group.names,
            "ours": group.ours,
        })),
        "rows": rows,
    })
}

fn keyed<T>(table: &Keyed<T>, value: impl Fn(&T) -> Value) -> Value {
    let entries = table.iter().map(|(key, it)| (key.to_owned(), value(it)));
    Value::Object(entries.collect::<Map<String, Value>>())
}

fn strings<T: ToString>(list: &[Spanned<T>]) -> Vec<String> {
    list.iter().map(|it| it.get_ref().to_string()).collect()
}

fn row_json(catalogue: &Catalogue, policy: &Policy, row: &Row) -> Value {
    let id = row.id.get_ref();
    let when: Vec<String> = policy.conditions_of(row).map(ToString::to_string).collect();
    let since: Map<String, Value> = row
        .since
        .iter()
        .map(|(line, version)| (line.to_owned(), json!(version.to_string())))
        .collect();
    let parts: Vec<FlowPart<'_>> = row.parts().collect();
    let from = union(row.flows.iter().flat_map(|flow| strings(&flow.from)));
    let to = union(row.flows.iter().flat_map(|flow| strings(&flow.to)));
    let transport = union(parts.iter().map(|part| part.transport.to_string()));
    let ports = union(
        parts
            .iter()
            .flat_map(FlowPart::ports)
            .map(|port| policy.documented_port(port)),
    );
    let flows: Vec<Value> = parts
        .iter()
        .map(|part| flow_json(policy, row, part))
        .collect();
    json!({
        "id": policy.row_id(row),
        "table": id.table,
        "row": id.number,
        "service": row.service,
        "purpose": row.purpose,
        "application": row.application,
        "encrypted": row.encrypted,
        "requirement": row.requirement,
        "when": when,
        "since": (!since.is_empty()).then_some(since),
        "device": row.device,
        "direction": row.direction,
        "printed": row.printed,
        "lost": row.lost,
        "restored_from": row.restored_from.as_ref().map(|it| it.get_ref().full(policy.id())),
        "inferred": row.inferred,
        "contradicts": contradictions(catalogue, policy, row),
        "baseline": row.baseline,
        "scope": policy.scope_of(row),
        "undecidable": row.undecidable,
        "note": row.note,
        "from": from,
        "to": to,
        "transport": transport,
        "ports": ports,
        "flows": flows,
    })
}

fn flow_json(policy: &Policy, row: &Row, part: &FlowPart<'_>) -> Value {
    let flow = part.flow;
    let ports: Vec<String> = part
        .ports()
        .map(|port| policy.documented_port(port))
        .collect();
    // One entry for each of `ports`: its name, or null for a number.
    let names: Vec<Option<&str>> = part
        .ports()
        .map(|port| match port {
            PortRef::Named(name) => Some(name.as_str()),
            PortRef::Fixed(_) => None,
        })
        .collect();
    json!({
        "from": flow.from,
        "to": flow.to,
        "via": flow.via,
        "to_group": flow.to_group,
        "transport": part.transport.to_string(),
        "ports": ports,
        "port_names": names,
        "when": strings(&flow.when),
        "encrypted": policy.encrypted(row, flow),
        "inferred": flow.inferred.as_ref().or(row.inferred.as_ref()),
    })
}

/// Each once, in the order of first appearance.
fn union(words: impl Iterator<Item = String>) -> Vec<String> {
    let mut seen = Vec::new();
    for word in words {
        if !seen.contains(&word) {
            seen.push(word);
        }
    }
    seen
}

/// The word that a value is written as in a file.
fn word(value: impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(Value::String(word)) => word,
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests;
