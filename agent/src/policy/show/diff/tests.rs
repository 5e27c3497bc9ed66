use super::*;
use crate::diagnose::Source;

const SAMPLE: &str = include_str!("../../check/sample.toml");

fn read(text: &str) -> (Catalogue, Policy) {
    let source = Source::new("x.toml", text);
    let (catalogue, findings) = Catalogue::from_sources(vec![source], vec![]);
    assert!(!findings.has_errors(), "{}", findings.render(false));
    let policy = catalogue.iter().next().unwrap().1.clone();
    (catalogue, policy)
}

/// The sample with words replaced, each of which must be there.
#[track_caller]
fn edited(edits: &[(&str, &str)]) -> String {
    let mut text = SAMPLE.to_owned();
    for (from, to) in edits {
        assert!(text.contains(from), "not in the sample: {from}");
        text = text.replace(from, to);
    }
    text
}

#[test]
fn differences_are_named() {
    let (catalogue, old) = read(SAMPLE);
    let (_, same) = read(&edited(&[("id = \"sample\"", "id = \"renamed\"")]));
    let comparison = diff(&catalogue, &old, &same);
    assert_eq!(comparison.text(false), "no difference\n");
    assert_eq!(comparison.text(true), "no difference\n");
    let (_, new) = read(&edited(&[
        ("default = 8080", "default = 8081"),
        ("rows = 6", "rows = 5"),
        (
            "[[rows]]\nid = \"main/6\"\nservice = \"unknown\"\nundecidable = \"no port\"\n",
            "",
        ),
        ("[roles.device]", "[roles.gadget]"),
        ("to = [\"device\"]", "to = [\"gadget\"]"),
    ]));
    let comparison = diff(&catalogue, &old, &new);
    let short = "sample => sample

role server
  - ingress tcp 8080 from client: always (main/1)
  + ingress tcp 8082 from client: always (main/1)
  - egress udp 1900 to device via discovery: firmware >= 4.1 (main/2)
  + egress udp 1900 to gadget via discovery: firmware >= 4.1 (main/2)

role client
  - egress tcp 8080 to server: always (main/1)
  + egress tcp 8082 to server: always (main/1)

role gadget
  + ingress udp 1900 from server via discovery: firmware >= 4.1 (main/2)

role device
  - ingress udp 1900 from server via discovery: firmware >= 4.1 (main/2)

words of the configuration
  + roles gadget
  - roles device
  ~ ports web default: \"8080\" => \"8081\"

lines of the document
  - rows main/6: unknown

cells and remarks that say something else (lines: 2, remarks: 1); --all lists them
";
    assert_eq!(comparison.text(false), short);
    let all = comparison.text(true);
    assert!(
        all.ends_with(
            "
lines of the document
  ~ tables main rows: 6 => 5
  ~ rows main/1 flows: client -> server tcp 8080, web + 1, 443 named web, web-next \
=> client -> server tcp 8081, web + 1, 443 named web, web-next
  ~ rows main/2 flows: server -> device udp 1900 via discovery \
=> server -> gadget udp 1900 via discovery
  - rows main/6: unknown
"
        ),
        "{all}"
    );
    let json = comparison.to_json();
    assert_eq!(json["differences"][0]["key"], "rows");
    assert_eq!(json["flows"][1]["change"], "opens");
    assert_eq!(json["flows"][1]["ports"][0], "8082");
    assert_eq!(json["flows"][1]["new"][0]["row"], "main/1");
}

/// What becomes of the ports of the role `server` by an edit of the sample.
#[track_caller]
fn check(edits: &[(&str, &str)], expected: &[&str]) {
    let (catalogue, old) = read(SAMPLE);
    let (_, new) = read(&edited(edits));
    let seen = |old, new| -> Vec<String> {
        let text = diff(&catalogue, old, new).text(false);
        let after = text.split_once("role server\n").map_or("", |(_, it)| it);
        let lines = after.lines().take_while(|line| line.starts_with("  "));
        lines.map(|line| line.trim_start().to_owned()).collect()
    };
    assert_eq!(seen(&old, &new), expected);
    // Seen from the other side each change is its opposite.
    let signs = |lines: &[String]| -> Vec<char> {
        let mut signs: Vec<char> = lines.iter().filter_map(|it| it.chars().next()).collect();
        signs.sort_unstable();
        signs
    };
    let turned: Vec<char> = signs(&seen(&new, &old));
    let mut opposite: Vec<char> = signs(&seen(&old, &new))
        .into_iter()
        .map(|sign| match sign {
            '+' => '-',
            '-' => '+',
            same => same,
        })
        .collect();
    opposite.sort_unstable();
    assert_eq!(turned, opposite);
}

#[test]
fn what_opens_is_compared_and_not_how_it_is_written() {
    const WEB: &str = "tcp = [\"web\", \"web-next\", 443]";
    // Two ports are one range, one flow is two, a port loses its name, a range is cut elsewhere.
    check(
        &[(WEB, "tcp = [\"web\", \"web-next\", 8080, 8081, 443]")],
        &[],
    );
    check(
        &[(
            WEB,
            "tcp = [\"8080-8081\", 443] }, { from = [\"client\"], to = [\"server\"], tcp = [\"web\", \"web-next\"]",
        )],
        &[],
    );
    check(
        &[(WEB, "tcp = [\"8080-8085\", \"web\", \"web-next\", 443]")],
        &["+ ingress tcp 8082-8085 from client: always (main/1)"],
    );
    check(
        &[(WEB, "tcp = [\"web\", \"web-next\"]")],
        &["- ingress tcp 443 from client: always (main/1)"],
    );
}

#[test]
fn conditions_are_compared_by_what_they_mean() {
    const CLOUD: &str = "when = [\"place=here\", \"!legacy\"]";
    check(&[(CLOUD, "when = [\"!legacy\", \"place=here\"]")], &[]);
    check(
        &[
            (CLOUD, "when = [\"!legacy\"]"),
            // inside a host, so that the option is still of use
            (
                "\nwhen = [\"extra\"]",
                "\nwhen = [\"extra\", \"place=here\"]",
            ),
        ],
        &[
            "~ egress esp to group cloud: wider: !legacy and place=here (main/3) => !legacy (main/3)",
            "~ egress tcp 443 to group cloud: wider: !legacy and place=here (main/3) => !legacy (main/3)",
        ],
    );
    check(
        &[(CLOUD, "when = [\"place=there\", \"!legacy\"]")],
        &[
            "~ egress esp to group cloud: otherwise: !legacy and place=here (main/3) => !legacy and place=there (main/3)",
            "~ egress tcp 443 to group cloud: otherwise: !legacy and place=here (main/3) => !legacy and place=there (main/3)",
        ],
    );
    // On and off together are always.
    check(
        &[(
            "tcp = [\"web\", \"web-next\", 443] }",
            "tcp = [\"web\", \"web-next\", 443], when = [\"legacy\"] }, \
             { from = [\"client\"], to = [\"server\"], tcp = [\"web\", \"web-next\", 443], when = [\"!legacy\"] }",
        )],
        &[],
    );
    check(
        &[("firmware = \"4.1\"", "firmware = \"4.10\"")],
        &[
            "~ egress udp 1900 to device via discovery: narrower: firmware >= 4.1 (main/2) => firmware >= 4.10 (main/2)",
        ],
    );
}

#[test]
fn topologies_and_scope_count() {
    const OLD: &str = "title = \"Main\"\nrows = 6";
    check(
        &[(OLD, "title = \"Main\"\nrows = 6\ntopologies = [\"base\"]")],
        &[],
    );
    let wide = "title = \"Main\"\nrows = 6\ntopologies = [\"wide\"]";
    let (catalogue, old) = read(SAMPLE);
    let (_, new) = read(&edited(&[(OLD, wide)]));
    let text = diff(&catalogue, &old, &new).text(false);
    let line =
        "~ ingress tcp 443, 8080-8081 from client: narrower: always (main/1) => in wide (main/1)";
    assert!(text.contains(line), "{text}");
    // Inside a host nothing opens; between hosts a role's flow with itself does where several
    // play it.
    check(
        &[("rows = 1\nscope = \"host\"\n", "rows = 1\n")],
        &[
            "+ ingress tcp 6002 from server: in wide and extra (inner/1)",
            "+ egress tcp 6002 to server: in wide and extra (inner/1)",
        ],
    );
}

#[test]
fn too_many_situations_are_compared_as_written() {
    let option = |n: u32| format!("[options.o{n}]\ndefault = false\n");
    let options: String = (0..16).map(option).collect();
    let conditions = |last: &str| {
        let mut names: Vec<String> = (0..16).map(|n| format!("\"o{n}\"")).collect();
        names[15] = format!("\"{last}\"");
        format!(
            "tcp = [\"web\", \"web-next\", 443], when = [{}] }}",
            names.join(", ")
        )
    };
    let flow = "tcp = [\"web\", \"web-next\", 443] }";
    let with = |last: &str| {
        let conditions = conditions(last);
        read(&edited(&[
            (
                "[versions.firmware]",
                &format!("{options}\n[versions.firmware]"),
            ),
            (flow, &conditions),
        ]))
        .1
    };
    let (catalogue, _) = read(SAMPLE);
    let (on, off) = (with("o15"), with("!o15"));
    assert_eq!(diff(&catalogue, &on, &on).text(false), "no difference\n");
    let text = diff(&catalogue, &on, &off).text(false);
    assert!(
        text.contains("~ ingress tcp 443, 8080-8081 from client: otherwise: "),
        "{text}"
    );
}

/// The two products that are one.
#[test]
fn tachyon_and_the_1e_platform_open_the_same_ports() {
    let (catalogue, _) = Catalogue::load([]);
    let policy = |id: &str| catalogue.get(id).unwrap();
    let comparison = diff(&catalogue, policy("tachyon"), policy("1e-platform"));
    assert_eq!(
        comparison.text(false),
        "tachyon => 1e-platform

no port opens or closes for any role

lines of the document
  - rows remote-response-stack/1: Core and Background Channel tcp 443

cells and remarks that say something else (lines: 48, remarks: 10); --all lists them
"
    );
    // The lines after the one that is gone are known again, each by what it says.
    let renumbered: Vec<(&Value, &Value)> = comparison
        .differences
        .iter()
        .filter(|it| it.key.as_deref() == Some("id"))
        .map(|it| (&it.old, &it.new))
        .collect();
    let expected: Vec<(Value, Value)> = (1..=5)
        .map(|n| {
            let id = |n: u32| json!(format!("remote-response-stack/{n}"));
            (id(n + 1), id(n))
        })
        .collect();
    let expected: Vec<(&Value, &Value)> = expected.iter().map(|(old, new)| (old, new)).collect();
    assert_eq!(renumbered, expected);
    // No flow of any line differs, so nothing was hidden above.
    let flows = comparison.differences.iter();
    assert_eq!(
        flows
            .filter(|it| it.key.as_deref() == Some("flows"))
            .count(),
        0
    );
}

#[test]
fn products_that_are_two_close_and_open_everything() {
    let (catalogue, _) = Catalogue::load([]);
    let policy = |id: &str| catalogue.get(id).unwrap();
    let comparison = diff(
        &catalogue,
        policy("seal-output-engine"),
        policy("1e-platform"),
    );
    assert!(!comparison.openings.is_empty());
    for it in &comparison.openings {
        let old = policy("seal-output-engine").roles.get(&it.end.role);
        let expected = if old.is_some() {
            openings::Change::Closes
        } else {
            openings::Change::Opens
        };
        assert_eq!(it.change, expected, "{it:?}");
    }
}
