//! Every selection that can make a difference to a product's flows.
//!
//! A row hangs on few options and versions. All combinations of these are tried, the others as
//! they are by default; so nothing that hangs on two or three of them is left out, and not a
//! million cases are tried either.

use std::collections::{BTreeMap, BTreeSet};

use super::sheet::{Asked, Sheet};
use crate::policy::values::Version;
use crate::policy::{OptionValue, Policy};

/// What an operator says, besides roles and peers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Case<'a> {
    /// Topologies as they are written: the additions, or a base alone.
    pub(super) topologies: Vec<&'a str>,
    pub(super) said: Said,
}

/// Options and versions that are said, by name.
pub(super) type Said = BTreeMap<String, Value>;

/// One value.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Value {
    Switch(bool),
    Choice(String),
    Version(Version),
}

impl Case<'_> {
    /// The topologies and all that they add to.
    pub(super) fn implied<'p>(&'p self, policy: &'p Policy) -> BTreeSet<&'p str> {
        self.topologies
            .iter()
            .flat_map(|name| bases(policy, name))
            .collect()
    }

    /// Whether a condition of a line holds; what was not said does not.
    pub(super) fn holds(&self, asked: &Asked) -> bool {
        match (asked, self.said.get(asked.name())) {
            (Asked::On(_), Some(Value::Switch(on))) => *on,
            (Asked::Off(_), Some(Value::Switch(on))) => !*on,
            (Asked::Is(_, wanted), Some(Value::Choice(said))) => wanted == said,
            (Asked::AtLeast(_, from), Some(Value::Version(said))) => said >= from,
            _ => false,
        }
    }

    pub(super) fn option(&self, name: &str) -> Option<OptionValue> {
        match self.said.get(name)? {
            Value::Switch(on) => Some(OptionValue::Switch(*on)),
            Value::Choice(choice) => Some(OptionValue::Choice(choice.clone())),
            Value::Version(_) => None,
        }
    }
}

impl Case<'_> {
    /// The topologies, and what is said besides the usual.
    pub(super) fn words(&self, usual: &Said) -> String {
        let mut words = vec![self.topologies.join("+")];
        for (name, value) in &self.said {
            if usual.get(name) != Some(value) {
                words.push(match value {
                    Value::Switch(true) => name.clone(),
                    Value::Switch(false) => format!("!{name}"),
                    Value::Choice(choice) => format!("{name}={choice}"),
                    Value::Version(version) => format!("{name}={version}"),
                });
            }
        }
        let unsaid = usual.keys().filter(|name| !self.said.contains_key(*name));
        words.extend(unsaid.map(|name| format!("{name} unsaid")));
        words.join(" ")
    }
}

/// A topology and all that it adds to.
fn bases<'p>(policy: &'p Policy, name: &'p str) -> Vec<&'p str> {
    let mut found = vec![name];
    let mut next = Some(name);
    while let Some(name) = next {
        let base = policy
            .topologies
            .get(name)
            .and_then(|it| it.adds_to.as_ref());
        next = base
            .map(|base| base.get_ref().as_str())
            .filter(|base| !found.contains(base));
        found.extend(next);
    }
    found
}

/// Each topology, and every combination of additions to one base.
pub(super) fn topologies(policy: &Policy) -> Vec<Vec<&str>> {
    let root = |name| bases(policy, name).last().copied();
    let mut selections: Vec<Vec<&str>> = policy.topologies.keys().map(|name| vec![name]).collect();
    let roots = policy
        .topologies
        .keys()
        .filter(|name| root(name) == Some(*name));
    for base in roots {
        let additions: Vec<&str> = policy
            .topologies
            .keys()
            .filter(|name| *name != base && root(name) == Some(base))
            .collect();
        assert!(
            additions.len() <= 8,
            "too many additions to try all combinations"
        );
        for chosen in 0..1_u32 << additions.len() {
            let some = additions
                .iter()
                .zip(0..)
                .filter(|(_, bit)| chosen >> bit & 1 == 1);
            let some: Vec<&str> = some.map(|(name, _)| *name).collect();
            if some.len() > 1 {
                selections.push(some);
            }
        }
    }
    if selections.is_empty() {
        selections.push(Vec::new());
    }
    selections
}

/// What can be said, by name, and what is where nothing else is tried.
struct Words {
    values: BTreeMap<String, Vec<Option<Value>>>,
    usual: Said,
}

fn words(policy: &Policy, sheet: &Sheet) -> Words {
    let mut words = Words {
        values: BTreeMap::new(),
        usual: Said::new(),
    };
    for (name, option) in policy.options.iter() {
        let values = if option.choices.is_empty() {
            let default = option.default.unwrap_or_default();
            words.usual.insert(name.to_owned(), Value::Switch(default));
            [false, true].map(|on| Some(Value::Switch(on))).to_vec()
        } else {
            let choices = option
                .choices
                .iter()
                .map(|it| Some(Value::Choice(it.get_ref().clone())));
            choices.chain([None]).collect()
        };
        words.values.insert(name.to_owned(), values);
    }
    for (name, _) in policy.versions.iter() {
        let printed = policy
            .rows
            .iter()
            .filter_map(|row| row.since.get(name).cloned());
        let read = sheet.lines.iter().flat_map(|line| &line.conditions);
        let read = read.filter_map(|asked| match asked {
            Asked::AtLeast(line, from) if line == name => Some(from.clone()),
            _ => None,
        });
        let gates: BTreeSet<Version> = printed.chain(read).collect();
        let mut tried: BTreeSet<Version> = gates.iter().map(below).collect();
        tried.extend(gates.iter().cloned());
        if let Some(newest) = gates.last() {
            words
                .usual
                .insert(name.to_owned(), Value::Version(newest.clone()));
        }
        let tried = tried
            .into_iter()
            .map(|version| Some(Value::Version(version)));
        words
            .values
            .insert(name.to_owned(), tried.chain([None]).collect());
    }
    words
}

/// A version just below another: `4.7.1` gives `4.7.0.999`.
fn below(version: &Version) -> Version {
    let mut numbers: Vec<u32> = version
        .to_string()
        .split('.')
        .map(|it| it.parse().unwrap())
        .collect();
    while numbers.last() == Some(&0) {
        numbers.pop();
    }
    if let Some(last) = numbers.last_mut() {
        *last -= 1;
    }
    numbers.push(999);
    let text: Vec<String> = numbers.iter().map(u32::to_string).collect();
    text.join(".").parse().unwrap()
}

/// Options and versions: the usual, each thing changed alone, all switches on and off, and for
/// each row every combination of what it hangs on. The usual comes first.
pub(super) fn said(policy: &Policy, sheet: &Sheet) -> Vec<Said> {
    let words = words(policy, sheet);
    let mut all = vec![words.usual.clone()];
    for (name, values) in &words.values {
        all.extend(combined(&words, &[(name, values)]));
    }
    for on in [true, false] {
        let mut said = words.usual.clone();
        for value in said.values_mut() {
            if let Value::Switch(value) = value {
                *value = on;
            }
        }
        all.push(said);
    }
    for row in &policy.rows {
        let id = row.id.get_ref().to_string();
        let conditions = row
            .flows
            .iter()
            .flat_map(|flow| policy.flow_conditions(row, flow));
        let mut names: BTreeSet<&str> = conditions.map(|condition| condition.option()).collect();
        names.extend(row.since.keys());
        let lines = sheet.lines.iter().filter(|line| line.flow.row == id);
        names.extend(lines.flat_map(|line| &line.conditions).map(Asked::name));
        let values = |name: &&str| words.values.get_key_value(*name);
        let asked: Vec<(&String, &Vec<_>)> = names.iter().filter_map(values).collect();
        all.extend(combined(&words, &asked));
    }
    let mut seen = BTreeSet::new();
    all.retain(|said| seen.insert(said.clone()));
    all
}

/// Every combination of these values over the usual.
fn combined(words: &Words, asked: &[(&String, &Vec<Option<Value>>)]) -> Vec<Said> {
    let mut all = vec![words.usual.clone()];
    for (name, values) in asked {
        all = all
            .iter()
            .flat_map(|said| {
                values.iter().map(|value| {
                    let mut said = said.clone();
                    match value {
                        Some(value) => said.insert((*name).clone(), value.clone()),
                        None => said.remove(*name),
                    };
                    said
                })
            })
            .collect();
        assert!(
            all.len() <= 10_000,
            "a row hangs on too much to try all combinations"
        );
    }
    all
}
