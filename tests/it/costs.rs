//! The way of a packet in instructions and look-ups, held to what tests/costs.toml says: nothing of it may grow unnoticed.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::{Context as _, Result};
use portcullis::dataplane::object::BPF_OBJECT;
use portcullis_tests::bench::rows::Rows;
use portcullis_tests::interpreter::Cost;
use portcullis_tests::netns::Namespace;

/// What each row takes, by its name.
const KNOWN: &str = include_str!("../costs.toml");

/// Of a row that takes less than it is known to, by more than this part, the file would no longer notice what is added.
const LESS: u32 = 20;

fn counted() -> Result<BTreeMap<String, Cost>> {
    Namespace::new("costs")?.enter(|| {
        let mut rows = Rows::load(BPF_OBJECT, "")?;
        let named = rows.rows.iter().enumerate();
        let counted = named.filter(|(_, row)| row.counts());
        let each: Vec<_> = counted
            .map(|(number, row)| (number, row.name.clone()))
            .collect();
        let each = each.into_iter();
        each.map(|(number, name)| {
            let cost = rows.cost(number).with_context(|| name.clone())?;
            Ok((name, cost))
        })
        .collect()
    })?
}

fn exceeds(now: Cost, known: Cost) -> bool {
    now.instructions > known.instructions
        || now.arrays > known.arrays
        || now.hashes > known.hashes
        || now.calls > known.calls
        || now.helpers > known.helpers
        || now.instructions + now.instructions / LESS < known.instructions
}

#[test]
fn no_packet_takes_more_than_it_is_known_to() {
    let known: BTreeMap<String, Cost> = toml::from_str(KNOWN).unwrap();
    let counted = counted().unwrap();
    let mut wrong = String::new();
    for (name, now) in &counted {
        match known.get(name) {
            Some(&known) if !exceeds(*now, known) => {}
            Some(known) => writeln!(wrong, "{name}: {now:?}, known as {known:?}").unwrap(),
            None => writeln!(wrong, "{name}: not known").unwrap(),
        }
    }
    for name in known.keys().filter(|name| !counted.contains_key(*name)) {
        writeln!(wrong, "{name}: no such row").unwrap();
    }
    let now = toml::to_string(&counted).unwrap();
    assert!(
        wrong.is_empty(),
        "{wrong}\nWhere that is meant, tests/costs.toml becomes:\n\n{now}"
    );
}

/// The way of a packet does not get longer with the policy: that is what the tables are for.
#[test]
fn no_packet_takes_more_with_more_rules() {
    let known: BTreeMap<String, Cost> = toml::from_str(KNOWN).unwrap();
    let mut compared = 0;
    for (name, cost) in &known {
        let Some((few, _)) = name.split_once(';') else {
            continue;
        };
        compared += 1;
        assert!(cost.arrays <= known[few].arrays + 2, "{name}");
        assert!(cost.instructions <= known[few].instructions + 60, "{name}");
    }
    assert!(compared >= 24, "{compared} rows");
}
