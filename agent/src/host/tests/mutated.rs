//! Broken configurations give findings, never a panic, and nothing in silence.

use proptest::prelude::*;

use super::input;
use crate::host::{load, set_file_names};

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

fn check(text: &str) {
    let texts = input(&[text, TEXTS[1]]);
    let (config, findings) = load(&texts);
    assert!(
        config.is_some() || findings.has_errors(),
        "nothing and no reason: {text}"
    );
    let _ = findings.render(false);
    let _ = set_file_names(&texts.files);
}

proptest! {
    #[test]
    fn pieces_put_in(which in 0..2usize, at in any::<prop::sample::Index>(), piece in 0..PIECES.len()) {
        let mut text = TEXTS[which].to_owned();
        let places: Vec<usize> = text.char_indices().map(|(place, _)| place).collect();
        text.insert_str(places[at.index(places.len())], PIECES[piece]);
        check(&text);
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
        check(&lines.join("\n"));
    }

    #[test]
    fn ends_cut_off(which in 0..2usize, at in any::<prop::sample::Index>()) {
        let places: Vec<usize> = TEXTS[which].char_indices().map(|(place, _)| place).collect();
        check(&TEXTS[which][..places[at.index(places.len())]]);
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
