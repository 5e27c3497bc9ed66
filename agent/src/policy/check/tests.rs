//! Every refusal by example: one coherent text, one edit that breaks it, and what is said.

mod flows;

use crate::diagnose::{Findings, Source};
use crate::policy::catalogue::{Catalogue, check_files};
use crate::policy::kinds::Kind;

/// A text that uses every table of the schema and gives no finding.
const WHOLE: &str = include_str!("sample.toml");

/// Replaces `old` (which must be there) by `new` and compares all that is said: kind and a
/// part of the message, in the order of the text.
#[track_caller]
fn check(old: &str, new: &str, expected: &[(&str, &str)]) {
    assert!(WHOLE.contains(old), "the sample has no `{old}`");
    compare(&WHOLE.replacen(old, new, 1), expected);
}

#[track_caller]
fn compare(text: &str, expected: &[(&str, &str)]) {
    let findings = check_files(vec![Source::new("sample.toml", text)]);
    let rendered = findings.render(false);
    assert_eq!(findings.len(), expected.len(), "{rendered}");
    for (finding, (kind, words)) in findings.iter().zip(expected) {
        assert_eq!(&finding.kind, kind, "{rendered}");
        assert!(finding.message.contains(words), "{words}\n{rendered}");
        assert!(
            finding.place.is_some(),
            "a finding about a text has a place"
        );
        assert!(
            finding.help.is_some() || ["missing-key", "value", "syntax"].contains(kind),
            "a refusal says the way out: {rendered}"
        );
    }
}

#[test]
fn the_sample_is_whole() {
    compare(WHOLE, &[]);
}

#[test]
fn head() {
    check(
        "schema = 1",
        "schema = 2",
        &[("schema", "schema 2 is not known")],
    );
    check(
        "id = \"sample\"",
        "id = \"Sample_1\"",
        &[("name", "`Sample_1` is no name")],
    );
    check(
        "[\"ingress\", \"egress\"]",
        "[]",
        &[("covers", "names no direction")],
    );
    check(
        "vendor = \"Somebody\"\n",
        "",
        &[("missing-key", "`vendor` is missing")],
    );
    check(
        "id = \"sample\"",
        "id = \"sample\"\nreplaces = true",
        // The file stands in for whatever it replaces; alone it may say so.
        &[],
    );
}

#[test]
fn table_rows_are_one_to_n() {
    check(
        "rows = 6",
        "rows = 7",
        &[("row-missing", "prints 7 rows; not here: 7")],
    );
    check(
        "rows = 6",
        "rows = 4000000000",
        &[("row-missing", "not here: 7, 8, 9, 10, 11, 12, 13, 14, …")],
    );
    check(
        "rows = 6",
        "rows = 5",
        &[("row-beyond", "main/6 is beyond the table's 5")],
    );
    check(
        "id = \"main/6\"",
        "id = \"main/2\"",
        &[
            ("row-missing", "not here: 6"),
            ("row-twice", "main/2 stands twice"),
        ],
    );
    check(
        "id = \"main/6\"",
        "id = \"maim/6\"",
        &[
            ("row-missing", "not here: 6"),
            ("unknown-name", "no table is called `maim`"),
        ],
    );
    check(
        "id = \"main/6\"",
        "id = \"other/main/6\"",
        &[("row-id", "names a product")],
    );
}

#[test]
fn nothing_is_there_that_nothing_uses() {
    check(
        "[roles.device]",
        "[roles.device]\n[roles.nobody]",
        &[("unused", "role `nobody`")],
    );
    check(
        "[options.extra]",
        "[options.spare]\ndefault = false\n[options.extra]",
        &[("unused", "option `spare`")],
    );
    check(
        "[ports.web]",
        "[ports.spare]\ndefault = 1\n[ports.web]",
        &[("unused", "port `spare`")],
    );
    check(
        "[groups.cloud]",
        "[groups.spare]\n[groups.cloud]",
        &[("unused", "group `spare`")],
    );
    check(
        "[versions.firmware]",
        "[versions.firmware]\n[versions.spare]",
        &[("unused", "version line `spare`")],
    );
    // `several` names a role and does not use it.
    check(
        "several = [\"server\"]",
        "several = [\"server\", \"idle\"]\n[roles.idle]",
        &[("unused", "role `idle`")],
    );
}

#[test]
fn every_word_names_something() {
    check(
        "adds-to = \"base\"",
        "adds-to = \"bas\"",
        &[("unknown-name", "no topology is called `bas`")],
    );
    check(
        "adds-to = \"base\"",
        "adds-to = \"wide\"",
        &[("topology-circle", "`wide` adds to itself")],
    );
    check(
        "several = [\"server\"]",
        "several = [\"servers\"]",
        &[("unknown-name", "`servers`")],
    );
    check(
        "topologies = [\"base\"]",
        "topologies = [\"basic\"]",
        &[("unknown-name", "no topology is called `basic`")],
    );
    check(
        "when = [\"extra\"]",
        "when = [\"extras\"]",
        &[("unknown-name", "no option is called `extras`")],
    );
    check(
        "say-when = [\"extra\"]",
        "say-when = [\"extras\"]",
        &[("unknown-name", "no option is called `extras`")],
    );
    check(
        "[\"web\", \"web-next\", 443]",
        "[\"web\", \"web-next\", \"wed\"]",
        &[("unknown-name", "no port is called `wed`")],
    );
    check(
        "firmware = \"4.1\"",
        "hardware = \"4.1\"",
        &[
            ("unused", "version line `firmware`"),
            ("unknown-name", "no version is called `hardware`"),
        ],
    );
    check(
        "device = \"server\"",
        "device = \"sever\"",
        &[("unknown-name", "no role is called `sever`")],
    );
    check(
        "place=here",
        "place=hear",
        &[("unknown-name", "no choice is called `hear`")],
    );
    check(
        "via = \"discovery\"",
        "via = \"discover\"",
        &[
            ("unused", "group `discovery`"),
            ("unknown-name", "no group is called `discover`"),
        ],
    );
    check(
        "restored-from = \"main/1\"",
        "restored-from = \"main/9\"",
        &[("unknown-row", "`main/9`")],
    );
    check(
        "restored-from = \"main/1\"",
        "restored-from = \"elsewhere/main/1\"",
        &[("unknown-row", "no row `elsewhere/main/1`")],
    );
    check(
        "restored-from = \"main/1\"",
        "restored-from = \"seal-output-engine/cluster/49\"",
        &[("unknown-row", "cluster/49")],
    );
    check(
        "restored-from = \"main/1\"",
        "restored-from = \"seal-output-engine/cluster/48\"",
        &[],
    );
}

#[test]
fn options_are_switches_or_choices() {
    check(
        "default = true",
        "default = true\nchoices = [\"a\", \"b\"]",
        &[
            ("option-shape", "both a default and choices"),
            ("not-a-switch", "`legacy` is a choice, not a switch"),
        ],
    );
    check(
        "choices = [\"here\", \"there\"]",
        "choices = [\"here\"]",
        &[("option-shape", "a single choice")],
    );
    check(
        "choices = [\"here\", \"there\"]",
        "why = \"x\"",
        &[
            ("option-shape", "neither a default nor choices"),
            ("not-a-choice", "`place` is a switch, not a choice"),
        ],
    );
    check(
        "\"place=here\"",
        "\"place\"",
        &[("not-a-switch", "`place` is a choice")],
    );
    check(
        "say-when = [\"extra\"]",
        "say-when = [\"place\"]",
        &[("not-a-switch", "`place` is a choice")],
    );
}

#[test]
fn ports_lead_to_numbers() {
    check(
        "\"web + 1\"",
        "\"web-next + 1\"",
        &[("port-circle", "`web-next` follows itself")],
    );
    check(
        "\"web + 1\"",
        "\"webb + 1\"",
        &[("unknown-name", "no port is called `webb`")],
    );
    check(
        "\"web + 1\"",
        "\"web + 60000\"",
        &[("port-overflow", "above 65535")],
    );
    check(
        "default = \"web + 1\"\nmany = true",
        "default = \"web + 1\"",
        &[("port-many", "`web` can be many")],
    );
    check(
        "suggest =",
        "say-when = [\"extra\"]\nsuggest =",
        &[("no-default", "no default to take away")],
    );
    check(
        "default = 8080",
        "default = 0",
        &[("value", "0 is no port")],
    );
    check(
        "\"49152-65535\"",
        "\"65535-49152\"",
        &[("value", "upside down")],
    );
}

#[test]
fn groups_are_addresses_or_names() {
    check(
        "\"239.255.255.250\"",
        "\"10.0.0.1\"",
        &[("group-address", "10.0.0.1 is no multicast address")],
    );
    check(
        "names = [\"a.example.com\"",
        "names = [\"a_b.example.com\"",
        &[("group-name", "no host name")],
    );
    check(
        "names = [\"a.example.com\"",
        "answers = \"unicast\"\nnames = [\"a.example.com\"",
        &[("group-answers", "answers but no kind")],
    );
    check(
        "names = [\"a.example.com\"",
        "ours = \"x\"\nnames = [\"a.example.com\"",
        &[("group-ours", "no addresses to be ours")],
    );
    check(
        "kind = \"multicast\"",
        "kind = \"multicast\"\nnames = [\"a.example.com\"]",
        &[("group-shape", "has a kind and host names")],
    );
}

#[test]
fn citations_are_coherent() {
    check(
        "contradicts = [\"main/3\"]",
        "contradicts = [\"main/1\"]",
        &[("contradicts-itself", "contradicts itself")],
    );
    check(
        "when = [\"place=here\", \"!legacy\"]",
        "when = [\"place=here\", \"!legacy\"]\ncontradicts = [\"main/1\"]",
        &[("contradicts-twice", "written twice")],
    );
    check(
        "lost = [\"usage\"]\n",
        "",
        &[("nothing-lost", "has lost none")],
    );
}

#[test]
fn a_bad_row_does_not_hide_the_next() {
    let text = WHOLE
        .replace("service = \"web\"", "servise = \"web\"")
        .replace("service = \"discovery\"", "service = 3")
        .replace(
            "[\"dynamic\"] }]\n\n[[rows]]\nid = \"main/5\"",
            "[70000] }]\n\n[[rows]]\nid = \"main/5\"",
        );
    compare(
        &text,
        &[
            ("unknown-key", "unknown key `servise`"),
            ("value", "integer `3`"),
            ("value", "70000 is no port"),
        ],
    );
}

#[test]
fn ids_are_taken_once() {
    let load = |shipped: &[&str], own: &[&str]| -> (usize, Vec<&'static str>) {
        let sources = |texts: &[&str], what: &str| -> Vec<Source> {
            texts
                .iter()
                .enumerate()
                .map(|(index, text)| Source::new(format!("{what}{index}.toml"), *text))
                .collect()
        };
        let (catalogue, findings): (Catalogue, Findings) =
            Catalogue::from_sources(sources(shipped, "shipped"), sources(own, "own"));
        let kinds = findings.iter().map(|finding| finding.kind).collect();
        (catalogue.iter().count(), kinds)
    };
    let other = WHOLE.replace("id = \"sample\"", "id = \"other\"");
    let replacing = WHOLE.replace("id = \"sample\"", "id = \"sample\"\nreplaces = true");
    assert_eq!(load(&[WHOLE], &[&other]), (2, vec![]));
    assert_eq!(load(&[WHOLE], &[WHOLE]), (1, vec!["id-taken"]));
    assert_eq!(load(&[WHOLE], &[&replacing]), (1, vec![]));
    assert_eq!(load(&[], &[&replacing]), (1, vec!["replaces-nothing"]));
    assert_eq!(load(&[], &[WHOLE, WHOLE]), (1, vec!["id-taken"]));
    assert_eq!(
        load(&[WHOLE], &[&replacing, &replacing]),
        (1, vec!["id-taken"])
    );
    // A broken file that replaces a product leaves none, not the one it meant to replace.
    let broken = replacing.replace("rows = 6", "rows = 7");
    assert_eq!(load(&[WHOLE], &[&broken]), (0, vec!["row-missing"]));
}

/// Every kind stands as the expected one of some example, and [`compare`] takes no other than
/// what is found; so no refusal goes without an example.
#[test]
fn every_kind_has_an_example() {
    let examples = [include_str!("tests.rs"), include_str!("tests/flows.rs")].concat();
    let without: Vec<&str> = Kind::ALL
        .iter()
        .map(|kind| kind.name())
        .filter(|name| {
            !examples.contains(&format!("(\"{name}\", "))
                && !examples.contains(&format!("vec![\"{name}\"]"))
        })
        .collect();
    assert_eq!(without, Vec::<&str>::new());
    let mut names: Vec<&str> = Kind::ALL.iter().map(|kind| kind.name()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), Kind::ALL.len(), "two kinds have one name");
}

#[test]
fn no_text_is_read_beyond_reason() {
    check(
        "[topologies.wide]",
        "[topologies.wide",
        &[("syntax", "unclosed table")],
    );
    check(
        "[topologies.base]\n[topologies.wide]\nadds-to = \"base\"\nseveral = [\"server\"]\n",
        "",
        &[
            ("no-topology", "no topology"),
            ("unknown-name", "no topology is called `base`"),
        ],
    );
    let keys: String = (0..300)
        .map(|number| format!("key{number} = 1\n"))
        .collect();
    let findings = check_files(vec![Source::new("sample.toml", format!("{keys}{WHOLE}"))]);
    let many: Vec<&str> = findings
        .iter()
        .map(|finding| finding.kind)
        .filter(|kind| *kind != "unknown-key")
        .collect();
    assert_eq!((findings.len(), many), (201, vec!["too-many"]));
}
