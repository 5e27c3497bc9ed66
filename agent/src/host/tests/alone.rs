//! Findings that the configuration alone gives: for each kind texts and what is found in them.

use super::{brief, input};
use crate::host::load;

/// The lines that every text needs; a row's own text begins on line 4.
const TOP: &str = "schema = 1\ninterfaces = \"eth0\"\n\n";

/// A row: the text below [`TOP`] and what is found.
pub(in crate::host) const ROWS: &[(&str, &[&str])] = &[
    // syntax
    ("[default\n", &["4:9 syntax"]),
    (
        "[sets]\na = [\"10.0.0.1\" \"10.0.0.2\"]\n",
        &["5:17 syntax"],
    ),
    ("hook = \n", &["4:8 syntax"]),
    // unknown-key
    ("colour = 1\n", &["4:1 unknown-key"]),
    ("[default]\ningres = \"deny\"\n", &["5:1 unknown-key"]),
    (
        "[product.p]\nroles = \"r\"\nrole = \"r\"\n",
        &["6:1 unknown-key"],
    ),
    (
        "[baseline]\nicmp-echo = { inn = \"any\" }\n",
        &["5:15 unknown-key"],
    ),
    // missing-key
    ("[product.p]\n", &["4:10 missing-key"]),
    (
        "[allow.a]\ntcp = 1\n",
        &["4:8 missing-key", "4:8 missing-key", "4:8 missing-key"],
    ),
    ("[block.b]\n", &["4:8 missing-key"]),
    ("[failsafe.f]\n", &["4:11 missing-key", "4:11 missing-key"]),
    // a key with a fault of its own is not missing too
    (
        "[allow.a]\ndirection = \"in\"\ntcp = 1\npeers = 3\nreason = 4\n",
        &["5:13 value", "7:9 value", "8:10 value"],
    ),
    // value
    ("hook = \"ebpf\"\n", &["4:8 value"]),
    ("[default]\ningress = \"allow\"\n", &["5:11 value"]),
    (
        "[events]\nsinks = [\"journal\", \"syslog\"]\n",
        &["5:21 value"],
    ),
    ("[metrics]\nlisten = \"9469\"\n", &["5:10 value"]),
    ("[metrics]\nlisten = \"[::1]:0\"\n", &["5:10 value"]),
    (
        "[metrics]\nlisten = \"unix:metrics.sock\"\n",
        &["5:10 value"],
    ),
    ("[daemon]\nstate = \"var\"\n", &["5:9 value"]),
    ("[product.p]\nroles = [1]\n", &["5:10 value"]),
    ("[block.b]\npeers = true\n", &["5:9 value"]),
    ("[block.b]\npeers = { a = 1 }\n", &["5:9 value"]),
    ("[sets]\na = 3\n", &["5:5 value"]),
    (
        "[product.p.options]\no = 3\n",
        &["4:10 missing-key", "5:5 value"],
    ),
    // wrong-place
    ("ingress = \"deny\"\n", &["4:1 wrong-place"]),
    ("[default]\nhook = \"xdp\"\n", &["5:1 wrong-place"]),
    (
        "[product.p]\nroles = \"r\"\ninterfaces = [\"eth1\"]\negress = \"deny\"\n",
        &["6:1 wrong-place", "7:1 wrong-place"],
    ),
    (
        "[failsafe.f]\ntcp = 1\nudp = 1\npeers = \"any\"\n",
        &["6:1 wrong-place"],
    ),
    (
        "[block.b]\npeers = \"any\"\ndirection = \"ingress\"\n",
        &["6:1 wrong-place"],
    ),
    ("[allow]\ntcp = 1\n", &["5:1 wrong-place"]),
    // name
    ("[block.\"a/b\"]\npeers = \"any\"\n", &["4:8 name"]),
    ("[sets]\n\"a b\" = []\n", &["5:1 name"]),
    (
        "[failsafe.\"\"]\ntcp = 1\npeers = \"any\"\n",
        &["4:11 name"],
    ),
    // peer
    ("[block.b]\npeers = \"10.0.0\"\n", &["5:9 peer"]),
    (
        "[block.b]\npeers = [\"10.0.0.256\", \"10.0.0.0/33\"]\n",
        &["5:10 peer", "5:24 peer"],
    ),
    ("[block.b]\npeers = \"*.example.com\"\n", &["5:9 peer"]),
    ("[block.b]\npeers = \"::ffff:10.0.0.1\"\n", &["5:9 peer"]),
    (
        "[block.b]\npeers = \"10.0.0.1-2001:db8::1\"\n",
        &["5:9 peer"],
    ),
    ("[block.b]\npeers = \"\"\n", &["5:9 peer"]),
    // host-bits
    ("[block.b]\npeers = \"10.0.0.1/16\"\n", &["5:9 host-bits"]),
    ("[sets]\na = [\"2001:db8::1/64\"]\n", &["5:6 host-bits"]),
    ("[baseline]\ndns = \"10.0.0.53/8\"\n", &["5:7 host-bits"]),
    // inverted-range
    (
        "[block.b]\npeers = \"10.0.0.9-10.0.0.5\"\n",
        &["5:9 inverted-range"],
    ),
    (
        "[block.b]\npeers = \"any\"\ntcp = \"90-80\"\n",
        &["6:7 inverted-range"],
    ),
    (
        "[sets]\na = [\"2001:db8::2-2001:db8::1\"]\n",
        &["5:6 inverted-range"],
    ),
    // stands-alone
    (
        "[block.b]\npeers = [\"any\", \"10.0.0.1\"]\n",
        &["5:10 stands-alone"],
    ),
    (
        "[block.b]\npeers = [\"10.0.0.1\", \"none\"]\n",
        &["5:22 stands-alone"],
    ),
    ("[sets]\na = \"any\"\n", &["5:5 stands-alone"]),
    (
        "[product.p]\nroles = \"r\"\nstage = \"audit\"\naudit-until = true\n",
        &["7:15 value"],
    ),
    (
        "[default]\negress = \"audit\"\naudit-until = 3\n",
        &["6:15 value"],
    ),
    // empty-list
    ("[block.b]\npeers = []\n", &["5:9 empty-list"]),
    (
        "[block.b]\npeers = \"any\"\nudp = []\n",
        &["6:7 empty-list"],
    ),
    ("[product.p]\nroles = []\n", &["5:9 empty-list"]),
    // unknown-set
    ("[block.b]\npeers = \"@a\"\n", &["5:9 unknown-set"]),
    (
        "[sets]\nadmins = []\n[block.b]\npeers = \"@admin\"\n",
        &["7:9 unknown-set"],
    ),
    ("[block.b]\npeers = \"@\"\n", &["5:9 unknown-set"]),
    // set-without-sign
    (
        "[sets]\nadmins = []\n[block.b]\npeers = \"admins\"\n",
        &["7:9 set-without-sign"],
    ),
    (
        "[sets]\nadmins = []\n[baseline]\nntp = [\"admins\", \"10.0.0.1\"]\n",
        &["7:8 set-without-sign"],
    ),
    (
        "[sets]\nadmins = []\n[failsafe.ssh]\npeers = \"admins\"\n",
        &["7:9 set-without-sign"],
    ),
    // nested-set
    ("[sets]\na = []\nb = [\"@a\"]\n", &["6:6 nested-set"]),
    ("[sets]\na = \"@a\"\n", &["5:5 nested-set"]),
    (
        "[sets]\na = [\"10.0.0.1\", \"@b\"]\nb = []\n",
        &["5:18 nested-set"],
    ),
    // set-file
    (
        "[sets]\na = { file = \"/lists/gone\" }\n",
        &["5:14 set-file"],
    ),
    ("[sets.a]\nfile = \"/lists/gone\"\n", &["5:8 set-file"]),
    (
        "[sets]\na = { file = \"/lists/gone\" }\n[block.b]\npeers = \"@a\"\n",
        &["5:14 set-file"],
    ),
    (
        "[sets]\na = { file = \"/lists/bad\" }\n",
        &["/lists/bad:2:1 host-bits", "/lists/bad:3:1 stands-alone"],
    ),
    // port
    ("[failsafe.ssh]\ntcp = 65536\n", &["5:7 port"]),
    (
        "[failsafe.ssh]\ntcp = [-1, \"ssh\", \"1-\"]\n",
        &["5:8 port", "5:12 port", "5:19 port"],
    ),
    ("[failsafe.ssh]\ntcp = \"any\"\n", &["5:7 port"]),
    // port-zero
    ("[failsafe.ssh]\ntcp = 0\n", &["5:7 port-zero"]),
    ("[failsafe.ssh]\ntcp = \"0-1023\"\n", &["5:7 port-zero"]),
    (
        "[product.p]\nroles = \"r\"\n[product.p.ports]\nx = [80, 0]\n",
        &["7:10 port-zero"],
    ),
    // protocol
    (
        "[allow.a]\ndirection = \"egress\"\npeers = \"any\"\nreason = \"r\"\nprotocol = [\"tcp\", 300, \"foo\", \"esp\"]\n",
        &["8:13 protocol", "8:20 protocol", "8:25 protocol"],
    ),
    (
        "[allow.a]\ndirection = \"egress\"\npeers = \"any\"\nreason = \"r\"\nprotocol = 58\n",
        &["8:12 protocol"],
    ),
    (
        "[allow.a]\ndirection = \"egress\"\npeers = \"any\"\nreason = \"r\"\nprotocol = \"ESP\"\n",
        &["8:12 protocol"],
    ),
    // version
    (
        "[product.p]\nroles = \"r\"\nversions = { f = \"4.8b\" }\n",
        &["6:18 version"],
    ),
    (
        "[product.p]\nroles = \"r\"\nversions = { f = \"\" }\n",
        &["6:18 version"],
    ),
    (
        "[product.p]\nroles = \"r\"\nversions = { f = \"v4\" }\n",
        &["6:18 version"],
    ),
    // moment
    (
        "[default]\ningress = \"audit\"\naudit-until = 2027-01-31T00:00:00\n",
        &["6:15 moment"],
    ),
    ("[default]\naudit-until = 12:00:00\n", &["5:15 moment"]),
    (
        "[allow.a]\ndirection = \"egress\"\ntcp = 1\npeers = \"any\"\nreason = \"r\"\nexpires = 2027-01-31T00:00:00\n",
        &["9:11 moment"],
    ),
    (
        "[default]\ningress = \"audit\"\naudit-until = \"2027-01-31\"\n",
        &["6:15 moment"],
    ),
    // empty-reason
    (
        "[block.b]\npeers = \"any\"\nreason = \"\"\n",
        &["6:10 empty-reason"],
    ),
    (
        "[allow.a]\ndirection = \"egress\"\ntcp = 1\npeers = \"any\"\nreason = \" \"\n",
        &["8:10 empty-reason"],
    ),
    (
        "[product.p]\nroles = \"r\"\n[product.p.skip]\n\"t/1\" = \"\"\n",
        &["7:9 empty-reason"],
    ),
    // no-service
    (
        "[allow.a]\ndirection = \"egress\"\npeers = \"any\"\nreason = \"r\"\n",
        &["4:8 no-service"],
    ),
    (
        "[allow.a]\ndirection = \"ingress\"\npeers = \"none\"\nreason = \"r\"\nowner = \"o\"\n",
        &["4:8 no-service"],
    ),
    (
        "[allow.a]\n",
        &[
            "4:8 missing-key",
            "4:8 missing-key",
            "4:8 missing-key",
            "4:8 no-service",
        ],
    ),
    // baseline-value
    ("[baseline]\nntp = \"auto\"\n", &["5:7 baseline-value"]),
    ("[baseline]\ndns = true\n", &["5:7 baseline-value"]),
    (
        "[baseline]\ndns = [\"auto\", \"10.0.0.53\"]\n",
        &["5:8 baseline-value"],
    ),
    ("[baseline]\nmld-igmp = 1\n", &["5:12 baseline-value"]),
    (
        "[baseline]\nicmp-echo = { in = true }\n",
        &["5:20 baseline-value"],
    ),
    // out-of-range
    (
        "[conntrack]\nestablished = 1\nnew = -1\n",
        &["5:15 out-of-range", "6:7 out-of-range"],
    ),
    (
        "[events]\nwindow = \"60\"\nstrangers = { peer = 0 }\n",
        &["5:10 out-of-range", "6:22 out-of-range"],
    ),
    ("[events]\nwindow = \"2d\"\n", &["5:10 out-of-range"]),
    ("[daemon]\nbank-memory = \"1MiB\"\n", &["5:15 out-of-range"]),
    // audit-until
    ("[default]\ningress = \"audit\"\n", &["5:11 audit-until"]),
    (
        "[default]\ningress = \"audit\"\negress = \"audit\"\n",
        &["5:11 audit-until", "6:10 audit-until"],
    ),
    (
        "[product.p]\nroles = \"r\"\nstage = \"audit\"\n",
        &["6:9 audit-until"],
    ),
];

/// Whole texts, for what stands at the top; the rest are drop-ins.
pub(in crate::host) const WHOLE: &[(&[&str], &[&str])] = &[
    // schema
    (&["interfaces = \"a\"\n"], &["1:1 schema"]),
    (&["schema = 2\ninterfaces = \"a\"\n"], &["1:10 schema"]),
    (&["schema = \"1\"\ninterfaces = \"a\"\n"], &["1:10 value"]),
    (&[""], &["1:1 schema", "1:1 no-interfaces"]),
    (&[], &["1:1 schema", "1:1 no-interfaces"]),
    // no-interfaces
    (&["schema = 1\n"], &["1:1 no-interfaces"]),
    (&["schema = 1\ninterfaces = []\n"], &["2:14 no-interfaces"]),
    (
        &["schema = 1\n[default]\ninterfaces = \"a\"\n"],
        &["3:1 wrong-place"],
    ),
    // loopback
    (
        &["schema = 1\ninterfaces = [\"eth0\", \"lo\"]\n"],
        &["2:23 loopback"],
    ),
    (&["schema = 1\ninterfaces = \"lo\"\n"], &["2:14 loopback"]),
    (
        &["schema = 1\n", "interfaces = [\"lo\", \"*\"]\n"],
        &["conf.d/10.toml:1:15 loopback"],
    ),
    // said-twice
    (
        &[
            "schema = 1\ninterfaces = \"a\"\n[default]\negress = \"open\"\n",
            "[default]\ningress = \"deny\"\negress = \"deny\"\n",
        ],
        &["conf.d/10.toml:3:1 said-twice"],
    ),
    (
        &[
            "schema = 1\ninterfaces = \"a\"\n",
            "schema = 1\n",
            "interfaces = \"b\"\n",
        ],
        &[
            "conf.d/10.toml:1:1 said-twice",
            "conf.d/20.toml:1:1 said-twice",
        ],
    ),
    (
        &[
            "schema = 1\ninterfaces = \"a\"\n[sets]\na = []\n",
            "[sets.a]\nfile = \"/lists/good\"\n",
        ],
        &["conf.d/10.toml:1:7 said-twice"],
    ),
    // A fault in a drop-in has the drop-in's place.
    (
        &[
            "schema = 1\ninterfaces = \"a\"\n",
            "\n[block.b]\npeers = \"10.0.0.1/8\"\ncolour = 1\n",
        ],
        &[
            "conf.d/10.toml:3:9 host-bits",
            "conf.d/10.toml:4:1 unknown-key",
        ],
    ),
    (
        &["schema = 1\ninterfaces = \"a\"\n", "[events\n"],
        &["conf.d/10.toml:1:8 syntax"],
    ),
];

/// What is wrong with a row, if anything.
fn differs(texts: &[&str], expected: &[&str]) -> Option<String> {
    let (_, findings) = load(&input(texts));
    let rendered = findings.render(false);
    if brief(&findings) != expected {
        let seen = brief(&findings);
        return Some(format!(
            "{texts:?}\n seen {seen:?}\n not  {expected:?}\n{rendered}"
        ));
    }
    let helpless = findings.iter().find(|finding| finding.help.is_none());
    helpless.map(|finding| format!("no way out: {}", finding.render(false)))
}

#[track_caller]
fn check(differences: impl Iterator<Item = String>) {
    let differences: Vec<String> = differences.collect();
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

#[test]
fn faults_of_a_text() {
    check(
        ROWS.iter()
            .filter_map(|(text, expected)| differs(&[&format!("{TOP}{text}")], expected)),
    );
}

#[test]
fn faults_of_whole_files() {
    check(
        WHOLE
            .iter()
            .filter_map(|(texts, expected)| differs(texts, expected)),
    );
}

#[test]
fn too_many_are_cut_short() {
    let many: String = (0..300).map(|number| format!("k{number} = 1\n")).collect();
    let (config, findings) = load(&input(&[&format!("{TOP}{many}")]));
    assert!(config.is_none());
    assert_eq!(
        findings
            .iter()
            .filter(|finding| finding.kind == "too-many")
            .count(),
        1
    );
    let mut lists = input(&[&format!("{TOP}[sets]\na = {{ file = \"/lists/many\" }}\n")]);
    lists
        .set_files
        .insert("/lists/many".to_owned(), Ok("x y\n".repeat(100_000)));
    let (_, findings) = load(&lists);
    assert_eq!(findings.len(), 51);
}

#[test]
fn both_places_of_a_key_that_is_said_twice() {
    let (_, findings) = load(&input(&[
        "schema = 1\ninterfaces = \"a\"\n",
        "interfaces = \"b\"\n",
    ]));
    assert_eq!(
        findings.render(false),
        "error[said-twice]: `interfaces` is said in two files\n --> conf.d/10.toml:1:1\n  |\n\
         1 | interfaces = \"b\"\n  | ^^^^^^^^^^\n  |\n ::: portcullis.toml:2:1\n  |\n\
         2 | interfaces = \"a\"\n  | ---------- first said here\n  |\n  \
         = help: a drop-in adds tables and keys and changes none: take one of the two out\n"
    );
}
