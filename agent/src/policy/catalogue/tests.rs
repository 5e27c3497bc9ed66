use super::*;
use crate::policy::show::{self, Filter};

mod platform_1e;
mod soti_connect;
mod spinetix;

#[test]
fn shipped_policies_have_no_findings() {
    let (catalogue, findings) = Catalogue::load([]);
    assert!(findings.is_empty(), "{}", findings.render(false));
    assert_eq!(catalogue.iter().count(), EMBEDDED.len());
}

#[test]
fn seal_has_every_printed_line() {
    let (catalogue, _) = Catalogue::load([]);
    let seal = catalogue.get("seal-output-engine").unwrap();
    let count = |table: &str| {
        seal.rows
            .iter()
            .filter(|row| row.id.get_ref().table == table)
            .count()
    };
    assert_eq!((count("single-server"), count("cluster")), (12, 48));
}

/// Printed facts of every line: id, service, transports, port, application protocol. Cut from
/// the page's text by another way than the policy was written, so that a slip in it shows.
const SEAL: &str = include_str!("tests/seal-printed.tsv");

#[test]
fn seal_rows_say_what_is_printed() {
    let (catalogue, _) = Catalogue::load([]);
    let seal = catalogue.get("seal-output-engine").unwrap();
    let mut lines = 0;
    for line in SEAL.lines() {
        let cells: Vec<&str> = line.split('\t').collect();
        let [id, service, transports, port, application] = cells[..] else {
            panic!("five cells: {line}");
        };
        let row = seal.row(id).unwrap_or_else(|| panic!("no row {id}"));
        assert_eq!(row.service, service, "{id}");
        assert_eq!(row.application.as_deref(), Some(application), "{id}");
        for flow in &row.flows {
            let seen: Vec<String> = flow.transports().map(|it| it.to_string()).collect();
            assert_eq!(seen.join("/"), transports, "{id}");
        }
        for part in row.parts() {
            let ports: Vec<String> = part.ports().map(|it| seal.documented_port(it)).collect();
            assert_eq!(ports, [port], "{id}");
        }
        assert!(row.parts().next().is_some(), "{id} opens nothing");
        lines += 1;
    }
    assert_eq!(lines, seal.rows.len());
}

/// Who reaches a port in a topology with every option on.
#[track_caller]
fn reached_by(topology: &str, port: &str, expected: &[&str]) {
    let (catalogue, _) = Catalogue::load([]);
    let seal = catalogue.get("seal-output-engine").unwrap();
    let implied = seal.implied_topologies([topology]);
    let mut from: Vec<&str> = seal
        .rows
        .iter()
        .filter(|row| seal.row_in(row, &implied))
        .flat_map(Row::parts)
        .filter(|part| part.ports().any(|it| seal.documented_port(it) == port))
        .flat_map(|part| part.flow.from.iter().map(|role| role.get_ref().as_str()))
        .collect();
    from.sort_unstable();
    from.dedup();
    assert_eq!(from, expected, "{topology} {port}");
}

#[test]
fn seal_tells_clients_from_peers() {
    reached_by("single-server", "443", &["print-client"]);
    reached_by("cluster", "443", &["node", "print-client"]);
    for inner in [
        "27017", "9200", "9300", "4222", "6222", "8300", "53", "2118", "2128",
    ] {
        reached_by("single-server", inner, &[]);
        reached_by("cluster", inner, &["node"]);
    }
    for topology in ["single-server", "cluster"] {
        reached_by(topology, "2119", &["island-checkout"]);
        reached_by(topology, "2129", &["dpf-server"]);
    }
    reached_by("cluster", "8500", &["admin-browser", "node"]);
    reached_by("cluster", "32769", &["node", "oidc-user"]);
}

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

#[test]
fn mutated_texts_give_findings_or_a_policy() {
    const SAMPLE: &str = include_str!("../check/sample.toml");
    let mut numbers = Numbers(1);
    let mut refused = 0;
    for _ in 0..2_000 {
        let mut text = SAMPLE.to_owned();
        for _ in 0..=numbers.below(3) {
            text = mutate(&text, &mut numbers);
        }
        let source = Source::new("mutated.toml", text);
        let (catalogue, findings) = Catalogue::from_sources(vec![source], vec![]);
        // Findings can be shown whatever they point at, and a policy whatever it became.
        let rendered = findings.render(false);
        assert_eq!(rendered.is_empty(), findings.is_empty());
        assert!(findings.has_errors() || catalogue.iter().count() == 1);
        for (_, policy) in catalogue.iter() {
            let everything = Filter::default();
            assert!(!show::text(&catalogue, policy, &everything).is_empty());
            assert!(show::json(&catalogue, policy, &everything).is_object());
        }
        refused += usize::from(findings.has_errors());
    }
    // Both ends were reached: an edit inside a sentence harms nothing.
    assert!(
        (500..1_950).contains(&refused),
        "{refused} of 2,000 were refused"
    );
}
