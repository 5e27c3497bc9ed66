//! What one policy says otherwise than another: two editions of a document, two products of one
//! family, or the shipped file and the operator's own. First which ports open and close for which
//! role, then the words of the host's configuration, then the documents' lines.

mod clauses;
mod lines;
mod openings;
mod text;

use serde_json::{Map, Value, json};

use super::{Filter, SCHEMA, json as shown};
use crate::policy::catalogue::Catalogue;
use crate::policy::schema::Policy;
use lines::Line;
use openings::Opening;

/// One thing that differs: `null` where a side has nothing.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// The table it stands in, in the words of `policy show`: `document`, `options`, `rows`.
    pub table: String,
    /// The entry: an option's name, a row's `table/n` in the second policy, or in the first
    /// where it is gone; `None` for the whole table.
    pub entry: Option<String>,
    /// The key in that entry; `None` where the whole entry is new or gone. `id` where a line
    /// has another number.
    pub key: Option<String>,
    /// What the first policy says.
    pub old: Value,
    /// What the second policy says.
    pub new: Value,
}

/// All that differs between two policies, in the order of the second; rows are matched by
/// table and what they say, whatever the products' ids.
#[derive(Clone, Debug)]
pub struct Comparison {
    old: String,
    new: String,
    openings: Vec<Opening>,
    differences: Vec<Difference>,
}

/// Compares two policies.
#[must_use]
pub fn diff(catalogue: &Catalogue, old: &Policy, new: &Policy) -> Comparison {
    let everything = Filter::default();
    let (left, old_rows) = plain(shown(catalogue, old, &everything), old.id());
    let (right, new_rows) = plain(shown(catalogue, new, &everything), new.id());
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
    for (old, new) in lines::pair(&old_rows, &new_rows) {
        line(old, new, &mut differences);
    }
    Comparison {
        old: old.id().to_owned(),
        new: new.id().to_owned(),
        openings: openings::openings(old, new),
        differences,
    }
}

/// What `policy show` says, rows apart and with ids and citations of own rows cut to
/// `table/n`, so that two products can be compared.
fn plain(value: Value, product: &str) -> (Map<String, Value>, Vec<Line>) {
    let prefix = format!("{product}/");
    let short = |id: &str| id.strip_prefix(&prefix).unwrap_or(id).to_owned();
    let Value::Object(mut policy) = value else {
        return (Map::new(), Vec::new());
    };
    for key in ["schema", "product"] {
        policy.shift_remove(key);
    }
    let mut rows = Vec::new();
    if let Some(Value::Array(list)) = policy.shift_remove("rows") {
        for row in list {
            let Value::Object(mut row) = row else {
                continue;
            };
            if let Some(Value::Array(cited)) = row.get_mut("contradicts") {
                for id in cited {
                    *id = json!(id.as_str().map(short));
                }
            }
            for key in ["id", "restored_from"] {
                if let Some(id) = row.get_mut(key) {
                    *id = json!(id.as_str().map(short));
                }
            }
            rows.push(row);
        }
    }
    (policy, rows)
}

/// A line of one document or of both.
fn line(old: Option<&Line>, new: Option<&Line>, differences: &mut Vec<Difference>) {
    let id = new.or(old).and_then(|line| line.get("id"));
    let id = id.and_then(Value::as_str);
    match (old, new) {
        (Some(old), Some(new)) => fields("rows", id, old, new, differences),
        (old, new) => {
            let whole = |line: Option<&Line>| line.cloned().map_or(Value::Null, Value::Object);
            push("rows", id, None, &whole(old), &whole(new), differences);
        }
    }
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

/// Keys of a row that follow from its flows or its id: a difference is said once, there.
const UNIONS: &[&str] = &["from", "to", "transport", "ports", "table", "row"];

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

    /// `{"schema","old","new","flows":[{"change","role","direction","transport","ports","peer",
    /// "old":[{"row","when"}],"new":[…]}],"differences":[{"table","entry","key","old","new"}]}`;
    /// `change` is `opens`, `closes`, or where both open it `wider`, `narrower`, `otherwise`.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let flows: Vec<Value> = self.openings.iter().map(Opening::to_json).collect();
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
            "flows": flows,
            "differences": differences,
        })
    }
}

#[cfg(test)]
mod tests;
