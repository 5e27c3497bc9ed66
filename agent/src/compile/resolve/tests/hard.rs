//! The hard rows of the documents: two own roles, groups, versions, choices, moved ports, flows
//! inside a host.

use super::super::Resolved;
use super::{catalogue_of, product, product_lines, resolve_product};
use crate::host::Product;

const HARD: &str = "hard";

fn hard(roles: &[&str], topologies: &[&str]) -> Product {
    product(HARD, roles, topologies)
}

fn resolved(product: Product) -> Resolved {
    resolve_product(&catalogue_of(&[include_str!("hard.toml")]), product)
}

/// The rules that a row makes, without their product's name.
#[track_caller]
fn check(product: Product, row: &str, expected: &[&str]) {
    let resolved = resolved(product);
    let full = format!("hard/{row}");
    let lines: Vec<String> = product_lines(&resolved)
        .into_iter()
        .zip(
            resolved
                .rule_set
                .rules
                .iter()
                .filter(|rule| rule.product.is_some()),
        )
        .filter(|(_, rule)| rule.rows.contains(&full))
        .map(|(line, rule)| {
            let end = if rule.stated { "" } else { " (other end)" };
            line.replace("hard/", "") + end
        })
        .collect();
    assert_eq!(lines, expected, "row {row}");
}

/// Where a flow of a row stands if it makes no rule: `list: needs or why`.
#[track_caller]
fn check_place(product: Product, row: &str, flow: u32, expected: &str) {
    let resolved = resolved(product);
    let full = format!("hard/{row}");
    let is = |id: &super::super::FlowId| id.row == full && id.flow == flow;
    let mut places = Vec::new();
    let inactive = resolved.inactive.iter().filter(|it| is(&it.flow));
    places.extend(inactive.map(|it| format!("inactive: {}", it.needs)));
    let inside = resolved.host_only.iter().filter(|it| is(&it.flow));
    places.extend(inside.map(|it| format!("host-only: {}", it.why)));
    let others = resolved.other_roles.iter().filter(|it| is(it));
    places.extend(others.map(|_| "other-roles".to_owned()));
    let skipped = resolved.skipped.iter().filter(|it| it.row == full);
    places.extend(skipped.map(|it| format!("skipped: {}", it.reason)));
    let undecided = resolved.undecided.iter().filter(|it| it.row == full);
    places.extend(undecided.map(|it| format!("undecided: {}", it.why)));
    assert_eq!(places, [expected], "{row}#{flow}");
}

#[test]
fn what_is_stated_at_one_end_holds_at_both() {
    let server = || {
        hard(&["server"], &["base"])
            .peers("client", &["10.1.0.0/24"])
            .peers("browser", &["10.2.0.0/24"])
    };
    check(
        server(),
        "main/1",
        &["ingress tcp 443 10.1.0.0/24,10.2.0.0/24 allow main/1"],
    );
    let client = hard(&["client"], &["base"]).peers("server", &["10.0.0.12"]);
    check(
        client,
        "main/1",
        &["egress tcp 443 10.0.0.12/32 allow main/1 (other end)"],
    );
    // the same flow is printed at both ends, in two rows
    check(
        hard(&["server"], &["base"]).peers("database", &["10.3.0.1"]),
        "main/3",
        &["egress tcp 1433 10.3.0.1/32 allow main/2,main/3"],
    );
    check(
        hard(&["database"], &["base"]).peers("server", &["10.0.0.12"]),
        "main/2",
        &["ingress tcp 1433 10.0.0.12/32 allow main/2,main/3"],
    );
    // one of two roles without peers: the other still makes the rule
    check(
        hard(&["server"], &["base"])
            .peers("client", &["none"])
            .peers("browser", &["any"]),
        "main/1",
        &["ingress tcp 443 any allow main/1"],
    );
}

#[test]
fn two_own_roles_stay_inside_unless_other_hosts_play_one() {
    let both = |topology| {
        hard(&["server", "database"], &[topology])
            .option("extra", true)
            .peers("server", &["10.0.0.12"])
            .peers("database", &["10.3.0.1"])
    };
    check_place(
        both("base"),
        "main/2",
        1,
        "host-only: from `server` to a role of the same host",
    );
    // the other servers reach this database; this server reaches no other database
    check(
        both("cluster"),
        "main/2",
        &["ingress tcp 1433 10.0.0.12/32 allow main/2,main/3"],
    );
    let server = |topology| hard(&["server"], &[topology]).peers("server", &["10.0.0.12"]);
    check(server("base"), "main/4", &[]);
    check(
        server("cluster"),
        "main/4",
        &[
            "ingress tcp 8301 10.0.0.12/32 allow main/4",
            "egress tcp 8301 10.0.0.12/32 allow main/4",
            "ingress udp 8301 10.0.0.12/32 allow main/4",
            "egress udp 8301 10.0.0.12/32 allow main/4",
        ],
    );
    check(
        server("cluster"),
        "main/15",
        &[
            "ingress esp  10.0.0.12/32 allow main/15",
            "egress esp  10.0.0.12/32 allow main/15",
            "ingress vrrp  10.0.0.12/32 allow main/15",
            "egress vrrp  10.0.0.12/32 allow main/15",
        ],
    );
    check(
        hard(&["server"], &["base"]).peers("database", &["10.3.0.1"]),
        "main/19",
        &[
            "ingress tcp 7000 10.3.0.1/32 allow main/19",
            "egress tcp 7000 10.3.0.1/32 allow main/19",
        ],
    );
    // several servers, and they are this host alone
    check_place(
        hard(&["server"], &["cluster"]).peers("server", &["10.0.0.11"]),
        "main/4",
        2,
        "inactive: peers.server",
    );
}

#[test]
fn groups() {
    let server = || hard(&["server"], &["base"]).peers("device", &["10.4.0.0/24"]);
    check(
        server().group("discovery", &["239.1.2.3"]),
        "main/6",
        &[
            "egress udp 49501 10.4.0.0/24 allow main/6",
            "egress udp 49501 10.4.0.0/24 via 239.1.2.3 allow main/6",
            "egress udp 3289 10.4.0.0/24 via 255.255.255.255 allow main/6",
        ],
    );
    check_place(server(), "main/6", 2, "inactive: groups.discovery");
    let device = hard(&["device"], &["base"])
        .version("firmware", "4.1.0")
        .peers("client", &["10.1.0.0/24"]);
    check(
        device,
        "main/5",
        &[
            "ingress udp 1900 10.1.0.0/24 via 239.255.255.250 via ff02::c allow main/5",
            "egress udp 1900 10.1.0.0/24 via 239.255.255.250 via ff02::c allow main/5",
        ],
    );
    // a wildcard has no addresses: anyone, and loudly
    check(server(), "main/7", &["egress tcp 443 any allow main/7"]);
    let loud = resolved(server());
    let kinds: Vec<_> = loud.findings.iter().map(|finding| finding.kind).collect();
    assert!(kinds.contains(&"any-by-wildcard"), "{kinds:?}");
    // one name has an answer, the other never had
    check(
        server(),
        "main/8",
        &["egress tcp 443 10.1.0.21/32,2001:db8:1::21/128 allow main/8"],
    );
    assert_eq!(loud.unresolved, ["licence.example.com"]);
    check_place(server(), "main/9", 1, "inactive: groups.mirror");
    check(
        server().group("mirror", &["10.5.0.1"]),
        "main/9",
        &["egress tcp 443 10.5.0.1/32 allow main/9"],
    );
    // whoever is no from-role is no end of a flow to a group
    check_place(hard(&["device"], &["base"]), "main/7", 1, "other-roles");
}

#[test]
fn options_versions_and_topologies_decide() {
    let device = || hard(&["device"], &["base"]).peers("client", &["10.1.0.0/24"]);
    check_place(
        device(),
        "main/5",
        1,
        "inactive: versions.firmware = \"4.1.0\"",
    );
    check_place(
        device().version("firmware", "4.0.9"),
        "main/5",
        2,
        "inactive: versions.firmware = \"4.1.0\"",
    );
    let server = || {
        hard(&["server"], &["base"])
            .peers("server", &["10.0.0.12"])
            .peers("device", &["10.4.0.1"])
    };
    check_place(
        server(),
        "main/10",
        1,
        "inactive: options.hosting = \"cloud\"",
    );
    check_place(
        server().choose("hosting", "on-premise"),
        "main/10",
        1,
        "inactive: options.hosting = \"cloud\"",
    );
    check(
        server().choose("hosting", "cloud"),
        "main/10",
        &["ingress tcp 4646 10.4.0.1/32 allow main/10"],
    );
    check_place(
        server(),
        "extra/1",
        1,
        "inactive: topologies = [\"cluster\"], options.extra = true",
    );
    check_place(
        server().option("extra", true),
        "extra/1",
        1,
        "inactive: topologies = [\"cluster\"]",
    );
    // a missing condition comes before whose roles they are
    check_place(
        hard(&["browser"], &["base"]),
        "extra/2",
        1,
        "inactive: topologies = [\"cluster\"], options.extra = true",
    );
    check_place(
        hard(&["browser"], &["cluster"]).option("extra", true),
        "extra/2",
        1,
        "other-roles",
    );
    check_place(
        hard(&["server"], &["base"])
            .option("plain", false)
            .peers("browser", &["any"]),
        "main/16",
        1,
        "inactive: options.plain = true",
    );
}

#[test]
fn ports_in_force() {
    let server = || {
        hard(&["server"], &["base"])
            .peers("client", &["10.1.0.0/24"])
            .peers("database", &["10.3.0.1"])
    };
    check(
        server().port("switch", &["4000", "4010"]),
        "main/13",
        &["ingress tcp 4001,4011 10.1.0.0/24 allow main/13"],
    );
    check_place(server(), "main/11", 1, "inactive: ports.dynamic");
    check(
        server().port("dynamic", &["50000-50100"]),
        "main/11",
        &["egress tcp 135,445,50000-50100 10.1.0.0/24 allow main/11"],
    );
    check_place(
        server().option("named", true),
        "main/2",
        1,
        "inactive: ports.database",
    );
    check(
        server().option("named", true).port("database", &["1444"]),
        "main/2",
        &[
            "egress tcp 1444 10.3.0.1/32 allow main/2,main/3",
            "egress udp 1434 10.3.0.1/32 allow main/2,main/3",
        ],
    );
}

#[test]
fn rows_that_open_nothing() {
    let client = || hard(&["client"], &["base"]).peers("server", &["10.0.0.12"]);
    check_place(
        client(),
        "inside/1",
        1,
        "host-only: its flows never leave the host",
    );
    check_place(client(), "main/14", 0, "undecided: no port, no transport");
    check_place(client(), "main/18", 0, "undecided: a client's port");
    check_place(
        client().skip("main/1", "not here"),
        "main/1",
        1,
        "skipped: not here",
    );
    check_place(
        client().skip("main/14", "not here either"),
        "main/14",
        0,
        "skipped: not here either",
    );
    check_place(
        hard(&["server"], &["base"]).peers("device", &["none"]),
        "main/6",
        1,
        "inactive: peers.device",
    );
    check_place(
        hard(&["server"], &["base"]),
        "main/6",
        1,
        "inactive: peers.device",
    );
    check_place(client(), "main/16", 1, "other-roles");
}

#[test]
fn a_contradiction_is_one_finding_with_the_line_to_paste() {
    let browser = |skip: bool| {
        let server = hard(&["server"], &["base"]).peers("browser", &["10.2.0.0/24"]);
        if skip {
            server.skip("main/17", "old")
        } else {
            server
        }
    };
    check(
        browser(false),
        "main/17",
        &["ingress tcp 80 10.2.0.0/24 allow main/16,main/17"],
    );
    let found = |skip| {
        let findings = resolved(browser(skip)).findings;
        let contradictions = findings.iter().filter(|it| it.kind == "contradiction");
        contradictions
            .map(|it| it.help.clone().unwrap_or_default())
            .collect::<Vec<_>>()
    };
    let help = found(false);
    assert_eq!(help.len(), 1);
    assert!(
        help[0].contains("[product.hard.skip] write \"main/17\" ="),
        "{help:?}"
    );
    assert_eq!(found(true), Vec::<String>::new());
}
