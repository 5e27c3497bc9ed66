//! Findings that need catalogue and facts: one configuration without any, and what each change
//! to it brings.

mod rows;

use std::collections::{BTreeMap, BTreeSet};

use rows::{BASE, ROWS};

use super::{brief, good, input};
use crate::compile::resolve;
use crate::diagnose::{Findings, Source};
use crate::facts::{Facts, PortRange};
use crate::host::check::check;
use crate::host::{Kind, load};
use crate::policy::Catalogue;

/// eth0 with both families, eth1 with IPv4 alone; port 41000 is reserved.
fn facts() -> Facts {
    let mut facts = resolve::tests::facts();
    let answer = |address: &str| crate::facts::Name {
        addresses: vec![address.parse().expect("an address")],
        at: facts.time,
    };
    let name = answer("10.9.0.1");
    facts.names.insert("v4.example.com".to_owned(), name);
    facts.reserved_ports = vec![PortRange {
        first: 41_000,
        last: 41_000,
    }];
    facts
}

fn catalogue() -> Catalogue {
    let sample = Source::new("sample.toml", include_str!("product.toml"));
    let (catalogue, findings) = Catalogue::from_sources(vec![sample], Vec::new());
    assert!(findings.is_empty(), "{}", findings.render(false));
    catalogue
}

fn changed(changes: &[(&str, &str)]) -> String {
    let mut text = BASE.to_owned();
    for (old, new) in changes {
        if old.is_empty() {
            text.push_str(new);
        } else {
            assert!(text.contains(old), "there is no `{old}`");
            text = text.replacen(old, new, 1);
        }
    }
    text
}

fn found(text: &str, catalogue: &Catalogue, facts: &Facts) -> Findings {
    let config = good(&[text]);
    let resolved = resolve::resolve(&config, catalogue, facts);
    check(&config, catalogue, facts, &resolved)
}

#[test]
fn changes_and_what_they_bring() {
    let (catalogue, facts) = (catalogue(), facts());
    let mut differences = Vec::new();
    for (changes, expected) in ROWS {
        let findings = found(&changed(changes), &catalogue, &facts);
        let seen = brief(&findings);
        if seen != *expected {
            let rendered = findings.render(false);
            differences.push(format!(
                "{changes:?}\n seen {seen:?}\n not  {expected:?}\n{rendered}"
            ));
        }
        if let Some(helpless) = findings.iter().find(|finding| finding.help.is_none()) {
            differences.push(format!("no way out: {}", helpless.render(false)));
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

#[test]
fn a_host_that_forwards_says_what_becomes_of_it() {
    #[track_caller]
    fn check(text: &str, forwards: bool, expected: &[&str]) {
        let mut facts = facts();
        facts.interfaces[0].forwards_v6 = forwards;
        assert_eq!(brief(&found(text, &catalogue(), &facts)), expected);
    }
    let said = format!("{BASE}[forward]\ndefault = \"deny\"\n");
    check(BASE, true, &["forward-unsaid"]);
    check(BASE, false, &[]);
    check(&said, true, &[]);
    check(&said, false, &[]);
}

/// What the reader is told, word for word.
#[test]
fn a_role_without_peers_lists_its_rows() {
    let findings = found(
        &changed(&[("device = \"any\"", "")]),
        &catalogue(),
        &facts(),
    );
    assert_eq!(
        findings.render(false),
        "error[role-without-peers]: the role `device` has no peers\n --> portcullis.toml:7:10\n  |\n\
         7 | [product.sample]\n  |          ^^^^^^\n  |\n  \
         = help: under [product.sample.peers] write `device = [\"…\"]`, \"any\" or \"none\"; rows that need it: main/2 discovery, main/5 beacon\n"
    );
}

#[test]
fn the_line_that_reserves_ports() {
    let text = changed(&[
        ("dynamic = 7000", "dynamic = 33000\nweb = [8080, 40001]"),
        ("\"here\"", "\"here\"\nextra = true"),
    ]);
    let findings = found(&text, &catalogue(), &facts());
    let line = "net.ipv4.ip_local_reserved_ports = 33000,40000,40001,40002,41000";
    assert!(!findings.is_empty());
    for finding in &findings {
        assert_eq!(finding.kind, "ephemeral-port");
        assert!(
            finding
                .help
                .as_deref()
                .is_some_and(|help| help.ends_with(line)),
            "{finding:?}"
        );
    }
}

/// Each kind has at least three examples, here or beside.
#[test]
fn every_kind_has_examples() {
    let alone = super::alone::ROWS.iter().map(|(_, found)| *found);
    let whole = super::alone::WHOLE.iter().map(|(_, found)| *found);
    let together = ROWS.iter().map(|(_, found)| *found);
    let mut examples: BTreeMap<&str, usize> = BTreeMap::new();
    for found in alone.chain(whole).chain(together) {
        let kinds: BTreeSet<&str> = found
            .iter()
            .filter_map(|found| found.rsplit(' ').next())
            .collect();
        for kind in kinds {
            *examples.entry(kind).or_default() += 1;
        }
    }
    // These have tests of their own: `too_many_are_cut_short`, and forwarding above.
    examples.extend([(Kind::TooMany.name(), 3), (Kind::ForwardUnsaid.name(), 3)]);
    let few: Vec<&str> = Kind::ALL
        .iter()
        .map(|kind| kind.name())
        .filter(|kind| examples.get(kind).is_none_or(|number| *number < 3))
        .collect();
    assert!(few.is_empty(), "fewer than three: {few:?}");
    assert_eq!(examples.len(), Kind::ALL.len(), "{examples:?}");
}

#[test]
fn severities() {
    let warnings: Vec<&str> = Kind::ALL
        .iter()
        .filter(|kind| kind.severity() == crate::diagnose::Severity::Warning)
        .map(|kind| kind.name())
        .collect();
    assert_eq!(
        warnings,
        [
            "role-not-linux",
            "beyond-document",
            "missing-interface",
            "ipv4-only-role",
            "ephemeral-port",
            "failsafe-any"
        ]
    );
}

/// A configuration with errors is looked at as far as it goes, and never to a panic.
#[test]
fn half_a_configuration_is_checked_too() {
    let (catalogue, facts) = (catalogue(), facts());
    let lines: Vec<&str> = BASE.lines().collect();
    for skipped in 0..lines.len() {
        let mut rest = lines.clone();
        rest.remove(skipped);
        let (config, _) = load(&input(&[&rest.join("\n")]));
        let Some(config) = config else { continue };
        let resolved = resolve::resolve(&config, &catalogue, &facts);
        let _ = check(&config, &catalogue, &facts, &resolved).render(false);
    }
}
