use std::collections::BTreeSet;

use super::{FILL_IN, text};
use crate::compile::resolve::resolve;
use crate::compile::resolve::tests::{catalogue, catalogue_of, facts};
use crate::diagnose::{Findings, Severity, Source};
use crate::host::{HostConfig, Input, load};
use crate::meaning::meaning;
use crate::policy::{Catalogue, Policy};

/// The text with every line that is to be filled in as it stands.
fn filled_in(text: &str) -> String {
    let fill = |line: &str| match line.split_once(FILL_IN) {
        Some((key, _)) if line.starts_with("# ") => key[2..].trim_end().to_owned(),
        _ => line.to_owned(),
    };
    let lines: Vec<String> = text.lines().map(fill).collect();
    lines.join("\n")
}

fn read(text: &str) -> (HostConfig, Vec<&'static str>) {
    let (config, findings) = load(&Input::single("portcullis.toml", text));
    let kinds = findings.iter().map(|finding| finding.kind).collect();
    (config.expect("read"), kinds)
}

/// What flows of this host still need that is no matter of choice. What hangs on a switch that is
/// off as well need not be said before it is on.
fn missing(config: &HostConfig, catalogue: &Catalogue) -> Vec<String> {
    let resolved = resolve(config, catalogue, &facts());
    let unsaid = resolved.inactive.iter().filter(|it| {
        it.concerns
            && !it.why.contains("is off")
            && (it.why.contains("not said")
                || it.why.contains("no version")
                || it.why.contains("no value"))
    });
    let mut needs: Vec<String> = unsaid.map(|it| it.needs.clone()).collect();
    needs.sort();
    needs.dedup();
    needs
}

/// What `check` refuses.
fn errors(config: &HostConfig, catalogue: &Catalogue) -> Vec<String> {
    let meaning = meaning(config, catalogue, &facts(), &Findings::new());
    let errors = meaning
        .findings
        .iter()
        .filter(|finding| finding.severity == Severity::Error);
    errors.map(|finding| finding.message.clone()).collect()
}

/// Every choice of topology, and none.
fn topologies(policy: &Policy) -> Vec<Option<&str>> {
    policy.topologies.keys().map(Some).chain([None]).collect()
}

#[test]
fn filled_in_it_is_valid_as_it_stands() {
    let catalogue = catalogue_of(&[include_str!("../compile/resolve/tests/hard.toml")]);
    let mut texts = 0;
    for (id, policy) in catalogue.iter() {
        for role in policy.roles.keys() {
            for topology in topologies(policy) {
                let written = text(policy, &[role], &Vec::from_iter(topology));
                let (_, kinds) = read(&written);
                assert_eq!(
                    kinds,
                    ["no-interfaces"],
                    "{id} {role} {topology:?}\n{written}"
                );
                let filled = filled_in(&written);
                let (config, kinds) = read(&filled);
                assert_eq!(kinds, Vec::<&str>::new(), "{filled}");
                assert_eq!(
                    missing(&config, &catalogue),
                    Vec::<String>::new(),
                    "{filled}"
                );
                texts += 1;
            }
        }
    }
    assert!(texts > 30);
}

#[test]
fn check_names_what_is_to_be_filled_in() {
    let catalogue = catalogue();
    let policy = catalogue.get("seal-output-engine").expect("shipped");
    for (topology, roles) in [
        (
            "single-server",
            vec!["admin-browser", "api-client", "print-client"],
        ),
        (
            "cluster",
            vec!["admin-browser", "api-client", "node", "print-client"],
        ),
    ] {
        let written = text(policy, &["node"], &[topology]);
        let (config, _) = read(&written);
        let mut expected: Vec<String> = roles
            .iter()
            .map(|role| format!("the role `{role}` has no peers"))
            .collect();
        let mut found = errors(&config, &catalogue);
        found.sort();
        expected.sort();
        assert_eq!(found, expected);
        let marks = written
            .lines()
            .filter(|line| line.starts_with("# ") && line.contains(FILL_IN));
        // the interfaces, which the text alone shows, and the roles
        assert_eq!(marks.count(), 1 + roles.len(), "{written}");
    }
}

/// The names of lines that are to be filled in.
fn marked(written: &str) -> BTreeSet<String> {
    let lines = written
        .lines()
        .filter(|line| line.starts_with("# ") && line.contains(FILL_IN));
    lines
        .map(|line| line[2..].split(" = ").next().unwrap().to_owned())
        .collect()
}

/// For every product, role and topology: what is marked is what `check` names, and filled in the
/// text is in order.
#[test]
fn what_is_marked_is_what_check_names() {
    let catalogue = catalogue();
    let mut texts = 0;
    for (id, policy) in catalogue.iter() {
        for role in policy.roles.keys() {
            for topology in topologies(policy).into_iter().flatten() {
                let written = text(policy, &[role], &[topology]);
                let (config, _) = read(&written);
                let named = errors(&config, &catalogue).into_iter();
                let mut named: BTreeSet<String> = named
                    .map(|message| message.split('`').nth(1).unwrap_or(&message).to_owned())
                    .collect();
                // The text alone shows that no interface is named.
                named.insert("interfaces".to_owned());
                assert_eq!(named, marked(&written), "{id} {role} {topology}");
                let (config, _) = read(&filled_in(&written));
                assert_eq!(
                    errors(&config, &catalogue),
                    Vec::<String>::new(),
                    "{id} {role} {topology}"
                );
                texts += 1;
            }
        }
    }
    assert!(texts > 100, "{texts}");
}

/// Lines of the text, in this order.
#[track_caller]
fn check(written: &str, expected: &[&str]) {
    let mut lines = written.lines();
    for line in expected {
        assert!(
            lines.any(|it| it == *line),
            "{line:?} is not in (the rest of)\n{written}"
        );
    }
}

#[test]
fn what_must_be_said_and_what_can_be() {
    let catalogue = catalogue();
    let policy = catalogue.get("seal-output-engine").expect("shipped");
    check(
        &text(policy, &["node"], &["cluster"]),
        &[
            "# interfaces = [\"eth0\"]                 # FILL IN",
            "egress = \"open\"",
            "roles = [\"node\"]",
            "topologies = [\"cluster\"]",
            "# monitoring: Prometheus reads metrics of seal-checkin. 1 row: cluster/10",
            "monitoring = false",
            "# node = [\"192.0.2.0/24\"]               # FILL IN",
            "# print-client: sends jobs by IPP, IPPS or LPR. They come to this host. 3 rows: cluster/2-4",
            "# print-client = [\"192.0.2.0/24\"]       # FILL IN",
            "# monitoring-server = [\"192.0.2.0/24\"]  # with monitoring",
            "# rest = 8080                           # documented; say it only where it was moved",
        ],
    );
    let single = text(policy, &["node"], &["single-server"]);
    assert!(
        !single.contains("\n# node ="),
        "nobody else is a node\n{single}"
    );
    check(
        &text(policy, &["node"], &[]),
        &["# topologies = [\"single-server\"]        # FILL IN"],
    );
}

#[test]
fn things_without_a_default() {
    let (catalogue, _) = Catalogue::from_sources(
        Vec::new(),
        vec![Source::new(
            "hard.toml",
            include_str!("../compile/resolve/tests/hard.toml"),
        )],
    );
    let policy = catalogue.get("hard").expect("read");
    check(
        &text(policy, &["server"], &["base"]),
        &[
            "egress = \"deny\"",
            "plain = true",
            "named = false",
            "# hosting = \"on-premise\"                # FILL IN: \"on-premise\" or \"cloud\"",
            "# database = [\"192.0.2.0/24\"]           # FILL IN",
            "# discovery = [\"239.255.0.1\"]           # FILL IN",
            "# mirror = [\"192.0.2.0/24\"]             # FILL IN",
            "# database = 1433                       # documented; say it only where it was moved",
            "# poke = 65000                          # documented: \"switch + 1\", and so it is unless said",
            "# dynamic = \"49152-65535\"               # FILL IN",
        ],
    );
    check(
        &text(policy, &["device", "client"], &["base"]),
        &[
            "roles = [\"device\", \"client\"]",
            "# server = [\"192.0.2.0/24\"]             # FILL IN",
        ],
    );
    check(
        &text(policy, &["device"], &["base"]),
        &["# firmware = \"4.1.0\"                    # FILL IN"],
    );
}
