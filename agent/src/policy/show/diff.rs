//! What one policy says otherwise than another: two editions of a document, or the shipped
//! file and the operator's own.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::{Filter, SCHEMA, json as shown};
use crate::policy::catalogue::Catalogue;
use crate::policy::schema::Policy;

/// One thing that differs: `null` where a side has nothing.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// The table it stands in, in the words of `policy show`: `document`, `options`, `rows`.
    pub table: String,
    /// The entry: an option's name, a row's `table/n`; `None` for the whole table.
    pub entry: Option<String>,
    /// The key in that entry; `None` where the whole entry is new or gone.
    pub key: Option<String>,
    /// What the first policy says.
    pub old: Value,
    /// What the second policy says.
    pub new: Value,
}

/// All that differs between two policies, in the order of the second; rows are matched by
/// table and number, whatever the products' ids.
#[derive(Clone, Debug)]
pub struct Comparison {
    old: String,
    new: String,
    differences: Vec<Difference>,
}

/// Compares two policies.
#[must_use]
pub fn diff(catalogue: &Catalogue, old: &Policy, new: &Policy) -> Comparison {
    let everything = Filter::default();
    let (left, right) = (
        plain(shown(catalogue, old, &everything), old.id()),
        plain(shown(catalogue, new, &everything), new.id()),
    );
    let mut differences = Vec::new();
    for (table, there) in &right {
        let here = left.get(table).unwrap_or(&Value::Null);
        match (here, there) {
            (Value::Object(here), Value::Object(there)) if table == "document" => {
                fields(table, None, here, there, &mut differences);
            }
            (Value::Object(here), Value::Object(there)) => {
                entries(table, here, there, &mut differences);
            }
            _ => push(table, None, None, here, there, &mut differences),
        }
    }
    Comparison {
        old: old.id().to_owned(),
        new: new.id().to_owned(),
        differences,
    }
}

/// What `policy show` says, with rows keyed by their short id and citations of own rows cut to
/// it, so that two products can be compared.
fn plain(value: Value, product: &str) -> Map<String, Value> {
    let prefix = format!("{product}/");
    let short = |id: &str| id.strip_prefix(&prefix).unwrap_or(id).to_owned();
    let Value::Object(mut policy) = value else {
        return Map::new();
    };
    for key in ["schema", "product"] {
        policy.shift_remove(key);
    }
    let mut rows = Map::new();
    if let Some(Value::Array(list)) = policy.shift_remove("rows") {
        for row in list {
            let Value::Object(mut row) = row else {
                continue;
            };
            let id = row.shift_remove("id");
            for key in ["table", "row"] {
                row.shift_remove(key);
            }
            if let Some(Value::Array(cited)) = row.get_mut("contradicts") {
                for id in cited {
                    *id = json!(id.as_str().map(short));
                }
            }
            if let Some(from) = row.get_mut("restored_from") {
                *from = json!(from.as_str().map(short));
            }
            let id = id.as_ref().and_then(Value::as_str).map(short);
            rows.insert(id.unwrap_or_default(), Value::Object(row));
        }
    }
    policy.insert("rows".to_owned(), Value::Object(rows));
    policy
}

fn entries(
    table: &str,
    old: &Map<String, Value>,
    new: &Map<String, Value>,
    differences: &mut Vec<Difference>,
) {
    for (entry, there) in new {
        match (old.get(entry), there) {
            (Some(Value::Object(here)), Value::Object(there)) => {
                fields(table, Some(entry), here, there, differences);
            }
            (here, there) => {
                let here = here.unwrap_or(&Value::Null);
                push(table, Some(entry), None, here, there, differences);
            }
        }
    }
    for (entry, here) in old.iter().filter(|(entry, _)| !new.contains_key(*entry)) {
        push(table, Some(entry), None, here, &Value::Null, differences);
    }
}

/// Keys of a row that follow from its flows: a difference is said once, there.
const UNIONS: &[&str] = &["from", "to", "transport", "ports"];

/// Both sides have the same keys: they come from one shape.
fn fields(
    table: &str,
    entry: Option<&str>,
    old: &Map<String, Value>,
    new: &Map<String, Value>,
    differences: &mut Vec<Difference>,
) {
    for (key, there) in new {
        if table == "rows" && UNIONS.contains(&key.as_str()) {
            continue;
        }
        let here = old.get(key).unwrap_or(&Value::Null);
        push(table, entry, Some(key), here, there, differences);
    }
}

fn push(
    table: &str,
    entry: Option<&str>,
    key: Option<&str>,
    old: &Value,
    new: &Value,
    differences: &mut Vec<Difference>,
) {
    if old != new {
        differences.push(Difference {
            table: table.to_owned(),
            entry: entry.map(str::to_owned),
            key: key.map(str::to_owned),
            old: old.clone(),
            new: new.clone(),
        });
    }
}

impl Comparison {
    /// All differences.
    #[must_use]
    pub fn differences(&self) -> &[Difference] {
        &self.differences
    }

    /// `{"schema","old","new","differences":[{"table","entry","key","old","new"}]}`.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let differences: Vec<Value> = self
            .differences
            .iter()
            .map(|it| {
                json!({
                    "table": it.table,
                    "entry": it.entry,
                    "key": it.key,
                    "old": it.old,
                    "new": it.new,
                })
            })
            .collect();
        json!({
            "schema": SCHEMA,
            "old": self.old,
            "new": self.new,
            "differences": differences,
        })
    }

    /// One line for each difference: `+` new, `-` gone, `~` said otherwise.
    #[must_use]
    pub fn text(&self) -> String {
        let mut out = String::new();
        for it in &self.differences {
            let mut place = it.table.clone();
            for part in [&it.entry, &it.key].into_iter().flatten() {
                place = format!("{place} {part}");
            }
            // Writing to a string can't fail.
            let _ = match (&it.key, &it.old, &it.new) {
                (None, Value::Null, new) => writeln!(out, "+ {place}{}", about(new)),
                (None, old, Value::Null) => writeln!(out, "- {place}{}", about(old)),
                (Some(key), old, new) if key == "flows" => {
                    writeln!(out, "~ {place}: {} => {}", flows(old), flows(new))
                }
                (_, old, new) => writeln!(out, "~ {place}: {old} => {new}"),
            };
        }
        if out.is_empty() {
            out = "no difference\n".to_owned();
        }
        out
    }
}

/// A row by its service and ports, anything else by its name alone.
fn about(entry: &Value) -> String {
    let Some(service) = entry.get("service").and_then(Value::as_str) else {
        return String::new();
    };
    let (transport, ports) = (words(entry, "transport", "/"), words(entry, "ports", ", "));
    format!(": {service} {transport} {ports}")
        .trim_end()
        .to_owned()
}

/// A row's flows on one line, each with what differs between flows of one kind.
fn flows(list: &Value) -> String {
    let flows = list.as_array().into_iter().flatten().map(|flow| {
        let word = |key: &str| flow.get(key).and_then(Value::as_str);
        let group = word("to_group").map(|group| format!("group {group}"));
        let mut line = format!(
            "{} -> {} {} {}",
            words(flow, "from", ", "),
            group.unwrap_or_else(|| words(flow, "to", ", ")),
            word("transport").unwrap_or_default(),
            words(flow, "ports", ", ")
        );
        for (label, value) in [
            ("via", word("via").map(str::to_owned)),
            ("named", Some(words(flow, "port_names", ", "))),
            ("when", Some(words(flow, "when", " and "))),
            ("encrypted", word("encrypted").map(str::to_owned)),
            ("inferred", word("inferred").map(str::to_owned)),
        ] {
            if let Some(value) = value.filter(|value| !value.is_empty()) {
                line = format!("{} {label} {value}", line.trim_end());
            }
        }
        line
    });
    match flows.collect::<Vec<_>>() {
        none if none.is_empty() => "none".to_owned(),
        some => some.join("; "),
    }
}

fn words(entry: &Value, key: &str, between: &str) -> String {
    let list = entry.get(key).and_then(Value::as_array);
    let words: Vec<&str> = list
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    words.join(between)
}
