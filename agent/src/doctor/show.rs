//! The checks as text and as JSON.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::{Check, Level, worst};

/// The number that JSON output carries.
const SCHEMA: u32 = 1;

/// As JSON: every key always there.
#[must_use]
pub fn json(checks: &[Check]) -> Value {
    json!({ "schema": SCHEMA, "level": worst(checks), "checks": checks })
}

/// As text: a line each, its remedy below, and one line that counts them.
#[must_use]
pub fn text(checks: &[Check], colour: bool) -> String {
    let names: Vec<String> = checks.iter().map(name).collect();
    let width = names.iter().map(String::len).max().unwrap_or(0);
    let mut text = String::new();
    for (check, name) in checks.iter().zip(&names) {
        let level = painted(check.level, colour);
        let _ = writeln!(text, "{level}  {name:width$}  {}", check.found);
        if let Some(remedy) = &check.remedy {
            let _ = writeln!(text, "        {:width$}  do: {remedy}", "");
        }
    }
    let count = |level| checks.iter().filter(|check| check.level == level).count();
    let _ = writeln!(
        text,
        "{} red, {} yellow, {} green",
        count(Level::Red),
        count(Level::Yellow),
        count(Level::Green)
    );
    text
}

fn name(check: &Check) -> String {
    match &check.subject {
        Some(interface) => format!("{} {}", check.id, interface),
        None => check.id.to_owned(),
    }
}

fn painted(level: Level, colour: bool) -> String {
    let code = match level {
        Level::Green => 32,
        Level::Yellow => 33,
        Level::Red => 31,
    };
    let word = format!("{:6}", level.name());
    if colour {
        format!("\u{1b}[{code}m{word}\u{1b}[0m")
    } else {
        word
    }
}
