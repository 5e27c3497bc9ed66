//! Changes to the files of a configuration that leave everything else as it is written, and the diff that shows them.

use toml_edit::{Array, DocumentMut, InlineTable, Item, Table, TableLike, Value};

use crate::diagnose::Source;

/// A change.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Edit {
    /// More peers in a list of a product; `none` gives way to them.
    Peers {
        /// The product's name.
        product: String,
        /// `peers` or `groups`.
        table: &'static str,
        /// The role or the group.
        key: String,
        /// Addresses, as they are to be written; none of them: nobody.
        peers: Vec<String>,
    },
    /// A value of a product.
    Set {
        /// The product's name.
        product: String,
        /// A table in the product's, or the product's own.
        table: Option<&'static str>,
        /// The key.
        key: String,
        /// `true`, a number, or a text in quotes.
        value: String,
    },
    /// A key that goes.
    Remove {
        /// The product's name.
        product: String,
        /// The key.
        key: &'static str,
    },
}

/// Why a change could not be made.
#[derive(Debug, thiserror::Error)]
pub enum EditError {
    /// The file is no TOML.
    #[error("{0}: not understood: {1}")]
    Syntax(String, String),
    /// Nothing to add to.
    #[error("no file has a table [product.{0}]")]
    NoProduct(String),
    /// What is there takes no such change.
    #[error("{0}: `{1}` is written in a way that can't be added to; write it as a list")]
    Shape(String, String),
}

/// The files with all changes made.
///
/// # Errors
///
/// Where a file can't be understood or has no place for a change.
pub fn apply(files: &[Source], edits: &[Edit]) -> Result<Vec<Source>, EditError> {
    let mut documents = Vec::new();
    for file in files {
        let document: DocumentMut =
            file.text().parse().map_err(|error: toml_edit::TomlError| {
                EditError::Syntax(file.name().to_owned(), error.message().to_owned())
            })?;
        documents.push((file.name(), document));
    }
    for edit in edits {
        make(&mut documents, edit)?;
    }
    let texts = documents.iter();
    Ok(texts
        .map(|(name, document)| Source::new(*name, document.to_string()))
        .collect())
}

/// The path of a change, and its key.
fn place(edit: &Edit) -> (&str, Option<&'static str>, &str) {
    match edit {
        Edit::Peers {
            product,
            table,
            key,
            ..
        } => (product, Some(*table), key),
        Edit::Set {
            product,
            table,
            key,
            ..
        } => (product, *table, key),
        Edit::Remove { product, key } => (product, None, key),
    }
}

fn make(documents: &mut [(&str, DocumentMut)], edit: &Edit) -> Result<(), EditError> {
    let (product, table, key) = place(edit);
    // Where the key stands, else where its table does, else where the product's does.
    let depth = |document: &DocumentMut| -> usize {
        let found = document.get("product").and_then(|it| it.get(product));
        let Some(found) = found else { return 0 };
        let within = match table {
            Some(table) => found.get(table),
            None => Some(found),
        };
        match within {
            None => 1,
            Some(within) if within.get(key).is_some() => 3,
            Some(_) => 2,
        }
    };
    let depths = documents.iter().enumerate();
    let depths = depths.map(|(at, (_, document))| (depth(document), at));
    // The first of the deepest.
    let best = depths.max_by_key(|(depth, at)| (*depth, usize::MAX - at));
    let found = best.filter(|(depth, _)| *depth > 0);
    let (name, document) = found
        .and_then(|(_, at)| documents.get_mut(at))
        .ok_or_else(|| EditError::NoProduct(product.to_owned()))?;
    let shape = || EditError::Shape((*name).to_owned(), format!("product.{product}.{key}"));
    let of_product = document
        .get_mut("product")
        .and_then(Item::as_table_like_mut)
        .and_then(|it| it.get_mut(product))
        .ok_or_else(shape)?;
    let inline = of_product.is_inline_table();
    let own = of_product.as_table_like_mut().ok_or_else(shape)?;
    let within = match table {
        None => own,
        Some(table) => {
            if !own.contains_key(table) {
                own.insert(
                    table,
                    match inline {
                        true => Item::Value(Value::InlineTable(InlineTable::new())),
                        false => Item::Table(Table::new()),
                    },
                );
            }
            let within = own.get_mut(table).and_then(Item::as_table_like_mut);
            within.ok_or_else(shape)?
        }
    };
    match edit {
        Edit::Remove { key, .. } => {
            within.remove(key);
        }
        Edit::Set { value, .. } => {
            let value: Value = value.parse().map_err(|_| shape())?;
            put(within, key, value);
        }
        Edit::Peers { peers, .. } => {
            let before = within.get(key).and_then(Item::as_value);
            let value = longer(before, peers).ok_or_else(shape)?;
            put(within, key, value);
        }
    }
    Ok(())
}

/// A value in the place of another, with what is written around that.
fn put(table: &mut dyn TableLike, key: &str, mut value: Value) {
    if let Some(old) = table.get(key).and_then(Item::as_value) {
        *value.decor_mut() = old.decor().clone();
    }
    match table.get_mut(key) {
        Some(item) => *item = Item::Value(value),
        None => {
            table.insert(key, Item::Value(value));
        }
    }
}

/// The list with more entries; a text becomes a list, `none` nothing.
fn longer(before: Option<&Value>, peers: &[String]) -> Option<Value> {
    let mut list = match before {
        None => Array::new(),
        Some(Value::Array(list)) => list.clone(),
        Some(Value::String(text)) if text.value() == "none" => Array::new(),
        Some(Value::String(text)) => Array::from_iter([text.value().as_str()]),
        Some(_) => return None,
    };
    if list.iter().all(|entry| entry.as_str() == Some("none")) {
        list.clear();
    }
    for peer in peers {
        list.push(peer.as_str());
    }
    Some(match list.is_empty() {
        true => Value::from("none"),
        false => Value::Array(list),
    })
}

/// The differences of the files as one unified diff; `patch -d / -p1` takes it, because the names count from the root.
#[must_use]
pub fn diff(before: &[Source], after: &[Source]) -> String {
    let pairs = before.iter().zip(after);
    let changed = pairs.filter(|(old, new)| old.text() != new.text());
    changed
        .map(|(old, new)| {
            let name = old.name().trim_start_matches('/');
            let diff = similar::TextDiff::from_lines(old.text(), new.text());
            let mut unified = diff.unified_diff();
            unified.header(&format!("a/{name}"), &format!("b/{name}"));
            unified.to_string()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peers(key: &str, peers: &[&str]) -> Edit {
        Edit::Peers {
            product: "p".to_owned(),
            table: "peers",
            key: key.to_owned(),
            peers: peers.iter().map(|it| (*it).to_owned()).collect(),
        }
    }

    fn set(table: Option<&'static str>, key: &str, value: &str) -> Edit {
        Edit::Set {
            product: "p".to_owned(),
            table,
            key: key.to_owned(),
            value: value.to_owned(),
        }
    }

    #[track_caller]
    fn check(before: &[&str], edits: &[Edit], after: &[&str]) {
        let files = before.iter().enumerate();
        let files: Vec<_> = files
            .map(|(at, text)| Source::new(format!("/etc/{at}.toml"), *text))
            .collect();
        let found = apply(&files, edits).unwrap();
        let texts: Vec<_> = found.iter().map(Source::text).collect();
        assert_eq!(texts, after);
        let same = files.iter().zip(&found).all(|(a, b)| a.text() == b.text());
        assert_eq!(diff(&files, &found).is_empty(), same);
    }

    #[test]
    fn what_is_written_stays() {
        check(
            &[
                "[product.p.peers]\n# who prints\nx = \"none\"      # FILL IN\n\n# more\n[baseline]\n",
            ],
            &[peers("x", &["10.0.0.1", "fd00::1"]), peers("y", &[])],
            &[
                "[product.p.peers]\n# who prints\nx = [\"10.0.0.1\", \"fd00::1\"]      # FILL IN\ny = \"none\"\n\n# more\n[baseline]\n",
            ],
        );
        check(
            &["[product.p.peers]\nx = [\"@a\"]\nz = \"@b\"\n"],
            &[peers("x", &["10.0.0.1"]), peers("z", &["10.0.0.2"])],
            &["[product.p.peers]\nx = [\"@a\", \"10.0.0.1\"]\nz = [\"@b\", \"10.0.0.2\"]\n"],
        );
        check(
            &[
                "[product.p]\nstage = \"audit\" # until June\naudit-until = 2027-01-01\nroles = [\"a\"]\n",
            ],
            &[
                set(None, "stage", "\"enforce\""),
                Edit::Remove {
                    product: "p".to_owned(),
                    key: "audit-until",
                },
                set(Some("options"), "x", "true"),
            ],
            &[
                "[product.p]\nstage = \"enforce\" # until June\nroles = [\"a\"]\n\n[product.p.options]\nx = true\n",
            ],
        );
    }

    #[test]
    fn the_file_that_says_it_is_changed() {
        check(
            &[
                "[product.p]\nroles = []\n",
                "[product.p.peers]\nx = \"none\"\n",
            ],
            &[peers("x", &["10.0.0.1"]), peers("y", &["10.0.0.2"])],
            &[
                "[product.p]\nroles = []\n",
                "[product.p.peers]\nx = [\"10.0.0.1\"]\ny = [\"10.0.0.2\"]\n",
            ],
        );
        check(
            &["product.p = { roles = [], peers = { x = \"none\" } }\n"],
            &[peers("x", &["10.0.0.1"]), set(Some("ports"), "w", "8443")],
            &[
                "product.p = { roles = [], peers = { x = [\"10.0.0.1\"] } , ports = { w = 8443 } }\n",
            ],
        );
    }

    #[test]
    fn what_has_no_place_is_said() {
        let files = [Source::new("a", "[product.q]\n")];
        let error = apply(&files, &[peers("x", &[])]).unwrap_err();
        assert_eq!(error.to_string(), "no file has a table [product.p]");
        let files = [Source::new("a", "[product.p.peers]\nx = 7\n")];
        let error = apply(&files, &[peers("x", &["10.0.0.1"])]).unwrap_err();
        assert!(error.to_string().contains("write it as a list"), "{error}");
    }
}
