//! Keys that are known, but not where they stand. They are taken out of the tree with a finding
//! of their own, because the list of the keys that are known there would not help.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::kinds::Kind;
use super::sources::Sources;
use crate::diagnose::{Finding, Findings};

/// Where a key must not stand (`*`: any name), which, and what to say.
struct Misplaced {
    table: &'static [&'static str],
    key: &'static str,
    message: &'static str,
    help: &'static str,
}

const HOST_KEY: &str = "is the host's and stands at the top of the file";
const ABOVE: &str = "move the line above the first [table]; a host has one set of interfaces and one hook, whatever its products";
const DEFAULT_KEY: &str = "belongs to the defaults of the host";
const FAILSAFE_KEY: &str = "has no place in a failsafe, which is ingress TCP and nothing else";
const BLOCK_KEY: &str = "has no place in a block, which holds in both directions";

const fn misplaced(
    table: &'static [&'static str],
    key: &'static str,
    message: &'static str,
    help: &'static str,
) -> Misplaced {
    Misplaced {
        table,
        key,
        message,
        help,
    }
}

const MISPLACED: &[Misplaced] = &[
    misplaced(&[], "ingress", DEFAULT_KEY, "write it under [default]"),
    misplaced(&[], "egress", DEFAULT_KEY, "write it under [default]"),
    misplaced(
        &[],
        "audit-until",
        "belongs to what it ends",
        "write it under [default] or [product.NAME]",
    ),
    misplaced(
        &[],
        "stage",
        "belongs to a product",
        "write it under [product.NAME]; a default is audited by `ingress = \"audit\"` under [default]",
    ),
    misplaced(
        &["product", "*"],
        "ingress",
        DEFAULT_KEY,
        "write it under [default]; a product has a `stage`",
    ),
    misplaced(
        &["product", "*"],
        "egress",
        DEFAULT_KEY,
        "write it under [default]; a product has a `stage`",
    ),
    misplaced(
        &["failsafe", "*"],
        "udp",
        FAILSAFE_KEY,
        "write an [allow.NAME] for it",
    ),
    misplaced(
        &["failsafe", "*"],
        "protocol",
        FAILSAFE_KEY,
        "write an [allow.NAME] for it",
    ),
    misplaced(
        &["failsafe", "*"],
        "direction",
        FAILSAFE_KEY,
        "drop the line",
    ),
    misplaced(&["block", "*"], "direction", BLOCK_KEY, "drop the line"),
];

/// Tables in which `interfaces` and `hook` land when they are written too low.
const LOW: &[&[&str]] = &[
    &["default"],
    &["product", "*"],
    &["allow", "*"],
    &["block", "*"],
    &["failsafe", "*"],
    &["baseline"],
    &["forward"],
    &["conntrack"],
    &["events"],
    &["metrics"],
    &["daemon"],
];

/// Tables that hold one table for each name.
const NAMED: &[&str] = &["product", "allow", "block", "failsafe"];

/// Takes misplaced keys out of the merged tree; gives those that belong to the top of the file.
pub(super) fn take_out(
    root: &mut Spanned<DeValue<'_>>,
    sources: &Sources,
    out: &mut Findings,
) -> Vec<&'static str> {
    let mut tops = Vec::new();
    let DeValue::Table(root) = root.get_mut() else {
        return tops;
    };
    for entry in MISPLACED {
        each(root, entry.table, &mut |table| {
            if let Some(finding) = remove(table, entry.key, entry.message, entry.help, sources) {
                out.push(finding);
            }
        });
    }
    for (path, key) in LOW
        .iter()
        .flat_map(|path| ["interfaces", "hook"].map(|key| (path, key)))
    {
        each(root, path, &mut |table| {
            if let Some(finding) = remove(table, key, HOST_KEY, ABOVE, sources) {
                tops.push(key);
                out.push(finding);
            }
        });
    }
    for name in NAMED {
        each(root, &[name], &mut |table| {
            let flat: Vec<String> = table
                .iter()
                .filter(|(_, value)| !value.get_ref().is_table())
                .map(|(key, _)| key.get_ref().to_string())
                .collect();
            let help = format!("write it under [{name}.NAME], with a name of your choice");
            let message = format!("stands in [{name}], which holds one table for each name");
            for key in flat {
                if let Some(finding) = remove(table, &key, &message, &help, sources) {
                    out.push(finding);
                }
            }
        });
    }
    tops
}

/// Calls `act` with every table that the path names.
fn each<'a>(table: &mut DeTable<'a>, path: &[&str], act: &mut dyn FnMut(&mut DeTable<'a>)) {
    let Some((step, rest)) = path.split_first() else {
        return act(table);
    };
    for (key, value) in table.iter_mut() {
        if *step != "*" && key.get_ref() != step {
            continue;
        }
        if let DeValue::Table(inner) = value.get_mut() {
            each(inner, rest, act);
        }
    }
}

fn remove(
    table: &mut DeTable<'_>,
    key: &str,
    message: &str,
    help: &str,
    sources: &Sources,
) -> Option<Finding> {
    let span = table.get_key_value(key).map(|(key, _)| key.span())?;
    table.remove(key);
    let finding = Kind::WrongPlace
        .finding(format!("`{key}` {message}"))
        .help(help);
    Some(sources.at(finding, span))
}
