//! Every product against a second reading of its document, both ways.
//!
//! `tests/expected/PRODUCT.tsv` was written from the vendor's document by another hand than the
//! policy. Whatever one of the two opens and the other does not is printed with its row.

mod cases;
mod compare;
mod hosts;
mod observe;
mod sheet;

use std::path::Path;

use self::compare::{Lacking, Outcome, compare};
use super::catalogue;
use crate::diagnose::Source;
use crate::policy::Catalogue;

const FIXTURE: &str = include_str!("expected/fixture.toml");
const SHEET: &str = include_str!("expected/fixture.tsv");

#[test]
fn every_product_opens_what_its_document_says() {
    let catalogue = catalogue();
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/expected");
    let mut report = String::new();
    for (id, policy) in catalogue.iter() {
        let path = directory.join(format!("{id}.tsv"));
        match std::fs::read_to_string(path) {
            Ok(text) => {
                let outcome = compare(&catalogue, policy, &text);
                eprintln!(
                    "{id}: {} hosts, {} flows agree",
                    outcome.hosts, outcome.agreed
                );
                if !outcome.is_clean() {
                    report += &outcome.table(id);
                }
            }
            Err(error) => report += &format!("\n{id}: tests/expected/{id}.tsv: {error}\n"),
        }
    }
    assert!(report.is_empty(), "{report}");
}

fn outcome(policy: &str, sheet: &str) -> Outcome {
    let (catalogue, findings) =
        Catalogue::from_sources(Vec::new(), vec![Source::new("fixture.toml", policy)]);
    assert!(!findings.has_errors(), "{}", findings.render(false));
    compare(&catalogue, catalogue.get("fixture").expect("read"), sheet)
}

#[test]
fn two_readings_that_agree() {
    let outcome = outcome(FIXTURE, SHEET);
    assert!(outcome.is_clean(), "{}", outcome.table("fixture"));
    // No empty sets were compared.
    assert!(
        outcome.hosts > 100 && outcome.agreed > 300,
        "{} {}",
        outcome.hosts,
        outcome.agreed
    );
}

/// One edit of either side, and every difference that comes of it: who lacks which flow.
#[track_caller]
fn check(policy: [&str; 2], sheet: [&str; 2], expected: &[(Lacking, &str)]) {
    let edited = |text: &str, [old, new]: [&str; 2]| {
        assert!(text.contains(old), "the fixture has no `{old}`");
        text.replacen(old, new, 1)
    };
    let outcome = outcome(&edited(FIXTURE, policy), &edited(SHEET, sheet));
    let table = outcome.table("fixture");
    assert_eq!(outcome.faults, Vec::<String>::new(), "{table}");
    let found: Vec<(Lacking, String)> = outcome
        .differences
        .iter()
        .map(|(flow, difference)| {
            let it = flow;
            let words = [
                &it.row,
                &it.role,
                &it.direction,
                &it.transport,
                &it.port,
                &it.peer,
            ];
            (difference.lacking, words.map(String::as_str).join(" "))
        })
        .collect();
    let found: Vec<(Lacking, &str)> = found
        .iter()
        .map(|(side, text)| (*side, text.as_str()))
        .collect();
    assert_eq!(found, expected, "{table}");
}

const SAME: [&str; 2] = ["", ""];

#[test]
fn what_the_sheet_lacks_is_found() {
    use Lacking::{Both, Policy, Sheet};
    let line = "base\t-\tserver\tingress\ttcp\t443\tclient\tmain/1\n";
    check(
        SAME,
        [line, ""],
        &[(Sheet, "main/1 server ingress tcp 443 client")],
    );
    // A policy that opens one port, transport, role, topology or version more.
    check(
        ["tcp = [443]", "tcp = [443], udp = [443]"],
        SAME,
        &[
            (Sheet, "main/1 client egress udp 443 server"),
            (Sheet, "main/1 server ingress udp 443 client"),
        ],
    );
    check(
        [
            "from = [\"server\"], to = [\"database\"]",
            "from = [\"server\", \"client\"], to = [\"database\"]",
        ],
        SAME,
        &[
            (Sheet, "main/2 client egress tcp <database> database"),
            (Sheet, "main/2 database ingress tcp <database> client"),
        ],
    );
    check(
        [
            "since = { firmware = \"4.7.1\" }",
            "since = { firmware = \"4.7\" }",
        ],
        SAME,
        &[
            (Sheet, "main/5 client egress udp 5355 server via names"),
            (Sheet, "main/5 server ingress udp 5355 client via names"),
        ],
    );
    // Another condition: each side lacks it in cases of its own.
    check(
        ["when = [\"monitoring\"]", "when = [\"!monitoring\"]"],
        SAME,
        &[
            (Both, "main/3 client ingress tcp <agent-poke> server"),
            (Both, "main/3 client ingress tcp <agent> server"),
            (Both, "main/3 server egress tcp <agent-poke> client"),
            (Both, "main/3 server egress tcp <agent> client"),
        ],
    );
    // The same port by another name is another port.
    check(
        SAME,
        ["<agent>", "<agent-poke>"],
        &[
            (Policy, "main/3 client ingress tcp <agent-poke> server"),
            (Sheet, "main/3 client ingress tcp <agent> server"),
        ],
    );
}

#[test]
fn what_the_policy_lacks_is_found() {
    use Lacking::Policy;
    let more = "base\t-\tserver\tingress\tudp\t443\tclient\tmain/1\n";
    let header = "peer\trow\n";
    check(
        SAME,
        [header, &format!("{header}{more}")],
        &[(Policy, "main/1 server ingress udp 443 client")],
    );
    check(
        SAME,
        ["group:cloud", "database"],
        &[
            (Policy, "main/4 server egress tcp 8300 database"),
            (Lacking::Sheet, "main/4 server egress tcp 8300 group:cloud"),
        ],
    );
    // A role that no longer exists several times, and an addition that no longer adds.
    check(
        ["several = [\"server\"]", "several = []"],
        SAME,
        &[
            (Policy, "cluster/1 server egress esp - server"),
            (Policy, "cluster/1 server ingress esp - server"),
        ],
    );
}

/// A sheet that says something about nothing is no sheet.
#[track_caller]
fn check_fault(old: &str, new: &str, expected: &str) {
    assert!(SHEET.contains(old), "the sheet has no `{old}`");
    let outcome = outcome(FIXTURE, &SHEET.replacen(old, new, 1));
    let found = outcome.faults.join("\n");
    assert!(found.contains(expected), "{expected} is not in: {found}");
}

#[test]
fn words_that_name_nothing_are_found() {
    check_fault("topology\t", "topologies\t", "line 1 is not the header");
    check_fault(
        "base\t-\tserver",
        "bass\t-\tserver",
        "line 2: no topology is called `bass`",
    );
    check_fault("monitoring", "monitored", "no option is called `monitored`");
    check_fault("!hardened", "!hosting", "no switch is called `hosting`");
    check_fault(
        "hosting=cloud",
        "hosting=moon",
        "no choice is called `moon`",
    );
    check_fault(
        "firmware>=",
        "software>=",
        "no version line is called `software`",
    );
    check_fault("4.7.1", "4.7.x", "`4.7.x` is no version");
    check_fault("<agent>", "<agents>", "no port is called `agents`");
    check_fault("group:cloud", "group:clouds", "no group is called `clouds`");
    check_fault("via names", "via namers", "no group is called `namers`");
    check_fault(
        "tcp\t443\tclient",
        "tcp\t443\tclients",
        "no role is called `clients`",
    );
    check_fault("main/1\n", "main/9\n", "no row is called `main/9`");
    check_fault("# main/6: ", "# main/6 ", "nothing about row main/6");
    check_fault("# main/6: ", "# main/7: ", "a comment is about `main/7`");
    check_fault("ingress", "inbound", "`inbound` is no direction");
    check_fault("\tmain/1\n", "\n", "7 cells, not 8");
    check_fault(
        "# main/6",
        "base\t-\tserver\tingress\ttcp\t443\tclient\tmain/1\n# main/6",
        "again",
    );
    check_fault("!hardened", "!hardened hardened", "holds in no case");
}
