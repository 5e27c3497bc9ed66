//! Every refusal by example: one coherent text, one edit that breaks it, and what is said.

use crate::diagnose::{Findings, Source};
use crate::policy::catalogue::{Catalogue, check_files};

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
            finding.help.is_some() || *kind == "missing-key" || *kind == "value",
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
        &[("document", "names no direction")],
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
        &[("row-number", "prints 7 rows; not here: 7")],
    );
    check(
        "rows = 6",
        "rows = 4000000000",
        &[("row-number", "not here: 7, 8, 9, 10, 11, 12, 13, 14, …")],
    );
    check(
        "rows = 6",
        "rows = 5",
        &[("row-number", "main/6 is beyond the table's 5")],
    );
    check(
        "id = \"main/6\"",
        "id = \"main/2\"",
        &[
            ("row-number", "not here: 6"),
            ("row-number", "main/2 stands twice"),
        ],
    );
    check(
        "id = \"main/6\"",
        "id = \"maim/6\"",
        &[
            ("row-number", "not here: 6"),
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
fn what_is_not_required_hangs_on_something() {
    check(
        "when = [\"place=here\", \"!legacy\"]\n",
        "",
        &[
            ("unused", "option `legacy`"),
            ("unused", "option `place`"),
            ("requirement", "main/3 is not `required`"),
        ],
    );
    // A condition on each flow does as well as one on the row,
    check(
        "when = [\"place=here\", \"!legacy\"]\nflows = [{",
        "flows = [{ when = [\"place=here\", \"!legacy\"],",
        &[],
    );
    // one on some flows does not.
    check(
        "when = [\"place=here\", \"!legacy\"]\nflows = [{",
        "flows = [{ from = [\"server\"], to = [\"client\"], tcp = [1] }, { when = [\"place=here\", \"!legacy\"],",
        &[("requirement", "main/3 is not `required`")],
    );
    // The table's condition counts for its rows.
    check(
        "service = \"inside\"",
        "service = \"inside\"\nrequirement = \"off-by-default\"",
        &[],
    );
}

#[test]
fn a_row_has_flows_or_says_why_not() {
    check(
        "undecidable = \"no port\"\n",
        "",
        &[("undecidable", "main/6 has no flow")],
    );
    check(
        "undecidable = \"no port\"\n",
        "undecidable = \"no port\"\nflows = [{ from = [\"server\"], to = [\"client\"], tcp = [1] }]",
        &[("undecidable", "has flows and is undecidable")],
    );
}

#[test]
fn inferred_flows_open_what_is_printed_or_hang_on_an_option() {
    let concluded = "inferred = \"the cell is empty; main/4 states it\"\n\
                     flows = [{ from = [\"server\"], to = [\"client\"], tcp = [\"dynamic\"] }]";
    let with = |flow: &str| format!("inferred = \"guessed\"\nflows = [{{ {flow} }}]");
    let refused: &[(&str, &str)] = &[
        // Another peer, port, transport or direction than main/4 prints.
        (
            "from = [\"device\"], to = [\"client\"], tcp = [\"dynamic\"]",
            "from `device` to `client`",
        ),
        (
            "from = [\"server\"], to = [\"device\"], tcp = [\"dynamic\"]",
            "to `device`",
        ),
        (
            "from = [\"client\"], to = [\"server\"], tcp = [\"dynamic\"]",
            "from `client` to `server`",
        ),
        (
            "from = [\"server\"], to = [\"client\"], tcp = [\"dynamic\", 99]",
            "tcp 99",
        ),
        (
            "from = [\"server\"], to = [\"client\"], udp = [\"dynamic\"]",
            "udp dynamic",
        ),
        (
            "from = [\"server\"], to = [\"client\"], protocol = [\"gre\"]",
            "gre from",
        ),
        // An option that is on by default is no switch to turn it on; a choice is none either.
        (
            "from = [\"server\"], to = [\"client\"], tcp = [99], when = [\"legacy\"]",
            "tcp 99",
        ),
        (
            "from = [\"server\"], to = [\"client\"], tcp = [99], when = [\"!extra\"]",
            "tcp 99",
        ),
        (
            "from = [\"server\"], to = [\"client\"], tcp = [99], when = [\"place=here\"]",
            "tcp 99",
        ),
        // Printed, but only under more conditions, in newer versions, or inside a host.
        (
            "from = [\"server\"], to-group = \"cloud\", tcp = [443]",
            "to `cloud`",
        ),
        (
            "from = [\"server\"], to = [\"device\"], via = \"discovery\", udp = [1900]",
            "udp 1900",
        ),
        (
            "from = [\"server\"], to = [\"server\"], tcp = [6002]",
            "tcp 6002",
        ),
    ];
    for (flow, words) in refused {
        check(concluded, &with(flow), &[("inferred", words)]);
    }
    let allowed = [
        "from = [\"server\"], to = [\"client\"], tcp = [99], when = [\"extra\"]",
        "from = [\"server\"], to = [\"client\"], tcp = [99], when = [\"!legacy\"]",
        "from = [\"server\"], to-group = \"cloud\", tcp = [443], when = [\"place=here\", \"!legacy\"]",
    ];
    for flow in allowed {
        check(concluded, &with(flow), &[]);
    }
    // Printed in one topology only, concluded in all.
    check(
        "lost = [\"usage\"]",
        "topologies = [\"wide\"]\nlost = [\"usage\"]",
        &[("inferred", "main/5 concludes")],
    );
    check(
        "service = \"printed twice\"",
        "service = \"printed twice\"\ntopologies = [\"wide\"]",
        &[],
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
        &[("circle", "`wide` adds to itself")],
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
            ("option", "both a default and choices"),
            ("option", "`legacy` is a choice, not a switch"),
        ],
    );
    check(
        "choices = [\"here\", \"there\"]",
        "choices = [\"here\"]",
        &[("option", "a single choice")],
    );
    check(
        "choices = [\"here\", \"there\"]",
        "why = \"x\"",
        &[
            ("option", "neither a default nor choices"),
            ("option", "`place` is a switch, not a choice"),
        ],
    );
    check(
        "\"place=here\"",
        "\"place\"",
        &[("option", "`place` is a choice")],
    );
    check(
        "say-when = [\"extra\"]",
        "say-when = [\"place\"]",
        &[("option", "`place` is a choice")],
    );
}

#[test]
fn ports_lead_to_numbers() {
    check(
        "\"web + 1\"",
        "\"web-next + 1\"",
        &[("circle", "`web-next` follows itself")],
    );
    check(
        "\"web + 1\"",
        "\"webb + 1\"",
        &[("unknown-name", "no port is called `webb`")],
    );
    check("\"web + 1\"", "\"web + 60000\"", &[("port", "above 65535")]);
    check(
        "default = \"web + 1\"\nmany = true",
        "default = \"web + 1\"",
        &[("port", "`web` can be many")],
    );
    check(
        "suggest =",
        "say-when = [\"extra\"]\nsuggest =",
        &[("port", "no default to take away")],
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
        &[("group", "10.0.0.1 is no multicast address")],
    );
    check(
        "names = [\"a.example.com\"",
        "names = [\"a_b.example.com\"",
        &[("group", "no host name")],
    );
    check(
        "names = [\"a.example.com\"",
        "answers = \"unicast\"\nnames = [\"a.example.com\"",
        &[("group", "answers but no kind")],
    );
    check(
        "names = [\"a.example.com\"",
        "ours = \"x\"\nnames = [\"a.example.com\"",
        &[("group", "no addresses to be ours")],
    );
    check(
        "kind = \"multicast\"",
        "kind = \"multicast\"\nnames = [\"a.example.com\"]",
        &[("group", "has a kind and host names")],
    );
}

#[test]
fn flows_are_complete() {
    let flow = "{ from = [\"server\"], to = [\"client\"], tcp = [\"dynamic\"] }]\n\n[[rows]]\nid = \"main/5\"";
    let with = |own: &str| format!("{own}]\n\n[[rows]]\nid = \"main/5\"\nwhen = [\"extra\"]");
    let rows: &[(&str, &[(&str, &str)])] = &[
        (
            "{ from = [\"server\"], to = [\"client\"], tcp = [\"dynamic\"] }",
            &[],
        ),
        (
            "{ from = [], to = [\"client\"], tcp = [1] }",
            &[("flow", "comes from nobody")],
        ),
        (
            "{ from = [\"server\"], tcp = [1] }",
            &[("flow", "needs `to` or `to-group`")],
        ),
        (
            "{ from = [\"server\"], to = [\"client\"], to-group = \"cloud\", tcp = [1] }",
            &[("flow", "one of them only")],
        ),
        (
            "{ from = [\"server\"], to = [\"client\"] }",
            &[("flow", "has no port")],
        ),
        (
            "{ from = [\"server\"], to = [\"client\"], tcp = [1, 1] }",
            &[("flow", "stands twice")],
        ),
        (
            "{ from = [\"server\"], to = [\"client\"], via = \"discovery\", tcp = [1] }",
            &[("flow", "something else than UDP")],
        ),
        (
            "{ from = [\"server\"], to = [\"client\"], via = \"cloud\", udp = [1] }",
            &[("flow", "`via` needs a multicast or broadcast group")],
        ),
        (
            "{ from = [\"server\"], to-group = \"discovery\", udp = [1] }",
            &[("flow", "`to-group` needs a group of hosts")],
        ),
        (
            "{ to = [\"client\"], tcp = [1] }",
            &[("missing-key", "`from` is missing")],
        ),
        (
            "{ from = [\"server\"], to = [\"client\"], protocol = [\"tcp\"] }",
            &[("value", "protocol tcp has its own place")],
        ),
    ];
    for (own, expected) in rows {
        check(flow, &with(own), expected);
    }
}

#[test]
fn citations_are_coherent() {
    check(
        "contradicts = [\"main/3\"]",
        "contradicts = [\"main/1\"]",
        &[("contradicts", "contradicts itself")],
    );
    check(
        "when = [\"place=here\", \"!legacy\"]",
        "when = [\"place=here\", \"!legacy\"]\ncontradicts = [\"main/1\"]",
        &[("contradicts", "written twice")],
    );
    check(
        "lost = [\"usage\"]\n",
        "",
        &[("restored-from", "has lost none")],
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
    assert_eq!(load(&[WHOLE], &[&broken]), (0, vec!["row-number"]));
}
