use serde::Deserialize;
use toml::Spanned;

use super::*;

#[derive(Debug, Deserialize)]
#[expect(
    dead_code,
    reason = "read for its findings and printed where a test fails"
)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct File {
    schema: u32,
    #[serde(default)]
    interfaces: OneOrMany<String>,
    #[serde(default)]
    product: Keyed<Product>,
    #[serde(default)]
    rows: Vec<Spanned<Row>>,
}

#[derive(Debug, Deserialize)]
#[expect(
    dead_code,
    reason = "read for its findings and printed where a test fails"
)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Product {
    #[serde(default)]
    roles: OneOrMany<String>,
    #[serde(default)]
    peers: Keyed<OneOrMany<String>>,
}

#[derive(Debug, Deserialize)]
#[expect(
    dead_code,
    reason = "read for its findings and printed where a test fails"
)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Row {
    id: Spanned<String>,
    #[serde(default)]
    tcp: Vec<Spanned<u16>>,
    #[serde(default)]
    flows: Vec<Row>,
}

/// The findings as `line:column kind message`, so that a test is a list of lines.
#[track_caller]
fn check(text: &str, expected: &[&str]) {
    let source = Source::new("test.toml", text);
    let mut findings = Findings::new();
    let file: Option<File> = read(&source, &mut findings);
    findings.sort();
    let seen: Vec<String> = findings
        .iter()
        .map(|finding| {
            format!(
                "{}:{} {} {}",
                finding.line().unwrap_or_default(),
                finding.column().unwrap_or_default(),
                finding.kind,
                finding.message
            )
        })
        .collect();
    assert_eq!(seen, expected, "{}\n{file:?}", findings.render(false));
}

#[test]
fn every_fault_of_a_text_comes_back() {
    check("schema = 1", &[]);
    check(
        "schema = 1\ninterfaces = \"eth0\"\n[product.a.peers]\nb = \"any\"\nc = [\"x\", \"y\"]\n",
        &[],
    );
    check(
        "schema = 1\ncolour = 3\n[[rows]]\nid = \"a\"\ntcp = [1, 70000, 2, -1]\n[[rows]]\nid = 3\n\
         [[rows]]\nid = \"c\"\nflow = []\n[[rows.flows]]\nid = \"d\"\ntpc = [3]\n",
        &[
            "2:1 unknown-key unknown key `colour`",
            "5:11 value invalid value: integer `70000`, expected u16",
            "5:21 value invalid value: integer `-1`, expected u16",
            "7:6 value invalid type: integer `3`, expected a string",
            "10:1 unknown-key unknown key `flow`",
            "13:1 unknown-key unknown key `tpc`",
        ],
    );
    check(
        "rows = 3",
        &[
            "1:1 missing-key key `schema` is missing",
            "1:8 value invalid type: integer `3`, expected a sequence",
        ],
    );
}

#[test]
fn syntax_errors_do_not_hide_the_rest() {
    check(
        "schema = 1\ninterfaces = [\"a\" \"b\"]\n[product.x]\nrole = \"y\"\n",
        &[
            "2:19 syntax missing comma between array elements, expected `,`",
            "4:1 unknown-key unknown key `role`",
        ],
    );
}

#[test]
fn unknown_keys_name_the_nearest() {
    let source = Source::new("test.toml", "schema = 1\ninterface = \"a\"\n");
    let mut findings = Findings::new();
    let _: Option<File> = read(&source, &mut findings);
    let rendered = findings.render(false);
    assert_eq!(
        rendered,
        "error[unknown-key]: unknown key `interface`\n --> test.toml:2:1\n  |\n\
         2 | interface = \"a\"\n  | ^^^^^^^^^\n  |\n  \
         = help: `interfaces` is the nearest key that is known here\n"
    );
}

#[test]
fn depth_is_a_finding() {
    for deep in [
        format!("schema = 1\nrows = {}", "[".repeat(100_000)),
        format!("schema = 1\nx{} = 1", ".x".repeat(100_000)),
        format!("schema = 1\nx = {}", "{a=".repeat(100_000)),
        format!("schema = 1\n[x{}]\n", ".x".repeat(100_000)),
    ] {
        let source = Source::new("test.toml", deep);
        let mut findings = Findings::new();
        let _: Option<File> = read(&source, &mut findings);
        assert!(findings.has_errors());
    }
}

#[test]
fn places_are_moved_into_the_text() {
    let source = Source::new("t", "aä\nbc");
    for start in 0..9 {
        for end in 0..9 {
            let finding = Finding::error("x", "y").at(&source, start..end);
            assert!(finding.render(false).contains("error[x]: y"));
        }
    }
    assert_eq!(source.place(4..5).line, 2);
    assert_eq!(source.place(3..3).column, 3);
}

#[test]
fn json_has_every_key() {
    let bare = Finding::warning("x", "m").to_json();
    assert_eq!(
        bare.to_string(),
        r#"{"severity":"warning","file":null,"line":null,"column":null,"message":"m","help":null}"#
    );
}
