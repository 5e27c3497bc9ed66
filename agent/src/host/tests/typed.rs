//! What is said of values of a wrong type: the key, what it takes, what stands there, a line to
//! write. Never the words of the reader.

use super::input;
use crate::host::load;
use crate::host::takes::{KEYS, Key};

/// A text in which the key has this value; a table's value stands in place of the table.
fn text(key: &Key, value: &str) -> String {
    let path: Vec<String> = key
        .path
        .split('.')
        .map(|part| part.replace('*', "x"))
        .collect();
    let (name, tables) = path.split_last().unwrap();
    let top = match key.path {
        "schema" => "interfaces = \"e\"\n",
        "interfaces" => "schema = 1\n",
        _ => "schema = 1\ninterfaces = \"e\"\n",
    };
    let header = if tables.is_empty() {
        String::new()
    } else {
        format!("[{}]\n", tables.join("."))
    };
    format!("{top}{header}{name} = {value}\n")
}

/// Messages and ways out of findings about the value.
fn said(text: &str) -> Vec<(&'static str, String, String)> {
    let (_, findings) = load(&input(&[text]));
    let about = findings
        .iter()
        .filter(|finding| finding.line() == Some(text.lines().count()));
    about
        .map(|it| {
            (
                it.kind,
                it.message.clone(),
                it.help.clone().unwrap_or_default(),
            )
        })
        .collect()
}

const OTHERS: [&str; 8] = [
    "1.5",
    "{ nonsense = 1 }",
    "[[1]]",
    "3",
    "true",
    "\"x y\"",
    "1979-05-27",
    "[{ a = 1 }]",
];

#[test]
fn every_key_says_what_it_takes() {
    let mut refused = 0;
    for key in KEYS {
        let mut wrong = 0;
        for value in OTHERS {
            let text = text(key, value);
            for (kind, message, help) in said(&text) {
                let whole = format!("{text}{kind}: {message}\n{help}");
                for theirs in [
                    "invalid type",
                    "invalid value",
                    "wanted",
                    "struct ",
                    "i64",
                    "u64",
                    "variant",
                    " map",
                    "sequence",
                    "string",
                    "boolean",
                    "integer",
                ] {
                    assert!(!message.contains(theirs), "{theirs}: {whole}");
                }
                assert!(!help.is_empty(), "no way out: {whole}");
                wrong += usize::from(["value", "wrong-place"].contains(&kind));
            }
        }
        assert!(
            wrong >= 2,
            "{}: {wrong} values of another type were refused",
            key.path
        );
        refused += wrong;
    }
    assert!(refused > 300, "{refused}");
}

#[test]
fn every_example_is_taken() {
    for key in KEYS.iter().filter(|key| !key.table) {
        let found = said(&text(key, key.example));
        let found: Vec<_> = found
            .iter()
            .filter(|(kind, ..)| ["value", "out-of-range", "peer", "port"].contains(kind))
            .collect();
        assert!(
            found.is_empty(),
            "{} = {}: {found:?}",
            key.path,
            key.example
        );
    }
}

#[test]
fn every_key_is_in_the_list() {
    // Each table says which keys it knows when it is given one that it does not.
    for table in KEYS.iter().map(|key| key.path).filter(|path| {
        KEYS.iter().any(|key| {
            key.path
                .rsplit_once('.')
                .is_some_and(|(above, name)| above == *path && name != "*")
        })
    }) {
        let header: Vec<String> = table
            .split('.')
            .map(|part| part.replace('*', "x"))
            .collect();
        let text = format!(
            "schema = 1\ninterfaces = \"e\"\n[{}]\nzzzzzzzz = 1\n",
            header.join(".")
        );
        let (_, findings) = load(&input(&[&text]));
        let Some(unknown) = findings
            .iter()
            .find(|finding| finding.kind == "unknown-key")
        else {
            continue;
        };
        let known = unknown
            .help
            .as_deref()
            .and_then(|help| help.strip_prefix("known here: "));
        for name in known
            .unwrap_or_else(|| panic!("{table}: {unknown:?}"))
            .split(", ")
        {
            let path = format!("{table}.{name}");
            assert!(
                KEYS.iter().any(|key| key.path == path),
                "{path} is not in the list"
            );
        }
    }
}

#[track_caller]
fn check(text: &str, expected: &str) {
    let (_, findings) = load(&input(&[text]));
    assert_eq!(findings.render(false), expected);
}

#[test]
fn a_whole_finding() {
    check(
        "schema = 1\ninterfaces = \"e\"\n[events.strangers]\npeer = \"20\"\n",
        "error[value]: `peer` takes a whole number without quotes, not the text \"20\"\n\
         \x20--> portcullis.toml:4:8\n  |\n4 | peer = \"20\"\n  |        ^^^^\n  |\n  \
         = help: write `peer = 5`\n",
    );
    check(
        "schema = 1\ninterfaces = \"e\"\n[product.p]\nroles = \"r\"\npeers = 3\n",
        "error[value]: `peers` takes keys of its own, not the number 3\n\
         \x20--> portcullis.toml:5:9\n  |\n5 | peers = 3\n  |         ^\n  |\n  \
         = help: write `[product.p.peers]` and below it `node = [\"10.0.0.11\"]`\n",
    );
}
