//! Broken configurations give findings, never a panic, and nothing in silence.

use std::sync::LazyLock;

use proptest::prelude::*;

use super::input;
use crate::compile::resolve::resolve;
use crate::compile::resolve::tests::{catalogue, facts};
use crate::host::{check, load, set_file_names};
use crate::policy::Catalogue;

static CATALOGUE: LazyLock<Catalogue> = LazyLock::new(catalogue);

const TEXTS: [&str; 2] = [
    include_str!("../../../tests/data/host-seal-node.toml"),
    include_str!("../../../tests/data/host-mqtt-broker.toml"),
];

/// Pieces that hit the grammar where it is thin.
const PIECES: [&str; 24] = [
    "\"",
    "'",
    "[",
    "]",
    "[[",
    "=",
    "\n",
    "{",
    "}",
    ",",
    ".",
    "#",
    "@",
    "0",
    "-",
    "any",
    "none",
    "true",
    "1e9",
    "2026-02-30",
    "\u{0}",
    "ä",
    "\"\"\"",
    "inf",
];

fn holds(text: &str) {
    let texts = input(&[text, TEXTS[1]]);
    let (config, findings) = load(&texts);
    assert!(
        config.is_some() || findings.has_errors(),
        "nothing and no reason: {text}"
    );
    for finding in &findings {
        assert!(finding.place.is_some(), "no place: {}", finding.message);
    }
    let _ = findings.render(false);
    let _ = set_file_names(&texts.files);
    // What is wrong with it on this host is looked for also where errors were found; in one text
    // of eight, for the sake of time.
    if let Some(config) = config.filter(|_| text.len().is_multiple_of(8)) {
        let resolved = resolve(&config, &CATALOGUE, &facts());
        let more = check::check(&config, &CATALOGUE, &facts(), &resolved);
        let _ = more.render(false);
    }
}

proptest! {
    // Ten thousand in all.
    #![proptest_config(ProptestConfig { cases: 3_400, ..ProptestConfig::default() })]

    #[test]
    fn pieces_put_in(which in 0..2usize, at in any::<prop::sample::Index>(), piece in 0..PIECES.len()) {
        let mut text = TEXTS[which].to_owned();
        let places: Vec<usize> = text.char_indices().map(|(place, _)| place).collect();
        text.insert_str(places[at.index(places.len())], PIECES[piece]);
        holds(&text);
    }

    #[test]
    fn lines_taken_out_and_doubled(which in 0..2usize, at in any::<prop::sample::Index>(), double in any::<bool>()) {
        let mut lines: Vec<&str> = TEXTS[which].lines().collect();
        let at = at.index(lines.len());
        if double {
            lines.insert(at, lines[at]);
        } else {
            lines.remove(at);
        }
        holds(&lines.join("\n"));
    }

    #[test]
    fn ends_cut_off(which in 0..2usize, at in any::<prop::sample::Index>()) {
        let places: Vec<usize> = TEXTS[which].char_indices().map(|(place, _)| place).collect();
        holds(&TEXTS[which][..places[at.index(places.len())]]);
    }
}

/// Every value of the two hosts in turn is replaced by one of another type: each is either
/// understood or found.
#[test]
fn values_of_other_types() {
    for text in TEXTS {
        let lines: Vec<&str> = text.lines().collect();
        for (number, line) in lines.iter().enumerate() {
            let Some((key, _)) = line.split_once('=') else {
                continue;
            };
            if line.starts_with('#') {
                continue;
            }
            for value in ["1.5", "{ nonsense = 1 }", "[[1]]", "99999999999"] {
                let mut changed: Vec<String> =
                    lines.iter().map(|line| (*line).to_owned()).collect();
                changed[number] = format!("{key} = {value}");
                let (_, findings) = load(&input(&[&changed.join("\n")]));
                assert!(findings.has_errors(), "{key} = {value} was taken");
            }
        }
    }
}
