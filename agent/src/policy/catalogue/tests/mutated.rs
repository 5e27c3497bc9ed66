//! Ten thousand broken policies: each gives findings with a place, or is a policy.

use super::super::embedded;
use crate::diagnose::Source;
use crate::policy::Catalogue;
use crate::policy::show::{self, Filter};

const TEXTS: usize = 10_000;

/// A small generator of numbers (Knuth's MMIX constants), so that a failure can be repeated.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % limit.max(1)
    }
}

/// One random edit: a line dropped, doubled or moved, a slice cut, a word replaced.
fn mutate(text: &str, numbers: &mut Numbers) -> String {
    const WORDS: &[&str] = &[
        "\"",
        "[",
        "]",
        "{",
        "}",
        "=",
        "\n",
        "#",
        "'''",
        "-1",
        "0",
        "70000",
        "\"any\"",
        "true",
        "1979-05-27",
        "x",
        "\"switch + 1\"",
        "[[rows]]\n",
        "[ports.rest]\n",
        "ä",
        "\u{0}",
        "\\",
        "\"!x\"",
        "1e9",
        "99999999999999999999",
    ];
    let boundary = |offset: usize| {
        let mut offset = offset.min(text.len());
        while !text.is_char_boundary(offset) {
            offset -= 1;
        }
        offset
    };
    let mut lines: Vec<&str> = text.split('\n').collect();
    let (at, other) = (numbers.below(lines.len()), numbers.below(lines.len()));
    match numbers.below(6) {
        0 => drop(lines.remove(at)),
        1 => lines.insert(other, lines[at]),
        2 => lines.swap(at, other),
        kind => {
            let start = boundary(numbers.below(text.len() + 1));
            let length = if kind == 5 { 0 } else { numbers.below(12) };
            let end = boundary(start + length);
            let word = if kind == 3 {
                ""
            } else {
                WORDS[numbers.below(WORDS.len())]
            };
            return format!("{}{word}{}", &text[..start], &text[end.max(start)..]);
        }
    }
    lines.join("\n")
}

/// The head of a policy and a few of its rows, so that ten thousand texts are read in seconds;
/// one in fifty is whole.
fn some_of(text: &str, numbers: &mut Numbers) -> String {
    let mut parts: Vec<&str> = text.split_inclusive("\n[[rows]]").collect();
    if numbers.below(50) > 0 && parts.len() > 4 {
        let head = parts.remove(0);
        let at = numbers.below(parts.len() - 2);
        parts = std::iter::once(head)
            .chain(parts.drain(at..at + 2))
            .collect();
    }
    parts.concat()
}

/// Returns whether the text was refused.
fn check(text: String) -> bool {
    let lines = text.lines().count();
    let source = Source::new("mutated.toml", text);
    let (catalogue, findings) = Catalogue::from_sources(vec![source], vec![]);
    // Findings can be shown whatever they point at, and a policy whatever it became.
    let rendered = findings.render(false);
    assert_eq!(rendered.is_empty(), findings.is_empty());
    for finding in &findings {
        let place = finding.place.as_ref();
        let place = place.unwrap_or_else(|| panic!("no place: {}", finding.message));
        assert!(
            (1..=lines + 1).contains(&place.line) && place.column >= 1,
            "{place}"
        );
    }
    assert!(findings.has_errors() || catalogue.iter().count() == 1);
    for (_, policy) in catalogue.iter() {
        let everything = Filter::default();
        assert!(!show::text(&catalogue, policy, &everything).is_empty());
        assert!(show::json(&catalogue, policy, &everything).is_object());
    }
    findings.has_errors()
}

#[test]
fn mutated_texts_give_findings_or_a_policy() {
    const SAMPLE: &str = include_str!("../../check/sample.toml");
    let mut texts: Vec<String> = embedded()
        .iter()
        .map(|source| source.text().to_owned())
        .collect();
    texts.push(SAMPLE.to_owned());
    let run = |seed: u64| {
        let mut numbers = Numbers(seed);
        let mut refused = 0;
        for count in 0..TEXTS / 2 {
            let whole = &texts[count % texts.len()];
            // The sample is always whole, and so may still be a policy.
            let mut text = if whole == SAMPLE {
                whole.clone()
            } else {
                some_of(whole, &mut numbers)
            };
            for _ in 0..=numbers.below(3) {
                text = mutate(&text, &mut numbers);
            }
            refused += usize::from(check(text));
        }
        refused
    };
    let refused = std::thread::scope(|scope| {
        let other = scope.spawn(|| run(2));
        run(1) + other.join().unwrap()
    });
    // Both ends were reached: an edit inside a sentence harms nothing.
    assert!(
        (TEXTS / 2..TEXTS - 100).contains(&refused),
        "{refused} were refused"
    );
}
