//! The SEAL page against an expectation made from the page itself, both ways: every topology,
//! every role.

use std::collections::BTreeSet;

use agent_common::event::Direction;

use super::{catalogue, product, product_lines, resolve_product};
use crate::rule::Peers;

const SEAL: &str = "seal-output-engine";

/// Roles with a prefix for each, so that a rule says whom it means.
const ROLES: [(&str, &str); 8] = [
    ("node", "10.99.0.0/24"),
    ("print-client", "10.99.1.0/24"),
    ("api-client", "10.99.2.0/24"),
    ("admin-browser", "10.99.3.0/24"),
    ("monitoring-server", "10.99.4.0/24"),
    ("island-checkout", "10.99.5.0/24"),
    ("dpf-server", "10.99.6.0/24"),
    ("oidc-user", "10.99.7.0/24"),
];

const OPTIONS: [&str; 6] = [
    "monitoring",
    "remote-printing",
    "dpf",
    "rest-from-outside",
    "keycloak",
    "consul-gui-from-outside",
];

/// What a host of this role opens with every option on, as lines of `seal.tsv`.
fn opened(topology: &str, role: &str) -> BTreeSet<String> {
    let mut selected = product(SEAL, &[role], &[topology]);
    for option in OPTIONS {
        selected = selected.option(option, true);
    }
    for (role, prefix) in ROLES {
        selected = selected.peers(role, &[prefix]);
    }
    let resolved = resolve_product(&catalogue(), selected);
    let mut lines = BTreeSet::new();
    for rule in &resolved.rule_set.rules {
        if rule.product.is_none() {
            continue;
        }
        let direction = match rule.direction {
            Direction::Ingress => "ingress",
            Direction::Egress => "egress",
        };
        let Peers::Prefixes(prefixes) = &rule.peers else {
            panic!("{} admits anyone", rule.id);
        };
        for port in rule.service.ports(rule.direction) {
            for prefix in prefixes {
                let other = ROLES.iter().find(|(_, known)| *known == prefix.to_string());
                for row in &rule.rows {
                    let row = row.strip_prefix("seal-output-engine/").unwrap();
                    let transport = rule.service.transport();
                    let other = other.unwrap().0;
                    lines.insert(format!(
                        "{topology}\t{role}\t{direction}\t{transport}\t{port}\t{other}\t{row}"
                    ));
                }
            }
        }
    }
    lines
}

#[test]
fn every_role_opens_what_the_page_says() {
    let expected: BTreeSet<String> = include_str!("seal.tsv")
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(str::to_owned)
        .collect();
    let mut found = BTreeSet::new();
    for topology in ["single-server", "cluster"] {
        for (role, _) in ROLES {
            found.extend(opened(topology, role));
        }
    }
    let missing: Vec<_> = expected.difference(&found).collect();
    let beyond: Vec<_> = found.difference(&expected).collect();
    assert_eq!((missing, beyond), (vec![], vec![]));
    assert_eq!(expected.len(), 148);
}

#[test]
fn a_single_server_with_defaults() {
    let resolved = resolve_product(
        &catalogue(),
        product(SEAL, &["node"], &["single-server"])
            .option("monitoring", true)
            .peers("print-client", &["10.0.0.0/16", "2001:db8:10::/48"])
            .peers("api-client", &["none"])
            .peers("admin-browser", &["10.0.200.0/24"])
            .peers("monitoring-server", &["any"]),
    );
    assert_eq!(
        product_lines(&resolved),
        [
            "ingress tcp 443 10.0.0.0/16,2001:db8:10::/48 allow seal-output-engine/single-server/1",
            "ingress tcp 515 10.0.0.0/16,2001:db8:10::/48 allow seal-output-engine/single-server/2",
            "ingress tcp 631 10.0.0.0/16,2001:db8:10::/48 allow seal-output-engine/single-server/3",
            "ingress tcp 1948 any allow seal-output-engine/single-server/4",
            "ingress tcp 5601 10.0.200.0/24 allow seal-output-engine/single-server/7",
            "ingress tcp 9000 10.0.200.0/24 allow seal-output-engine/single-server/11",
        ]
    );
    // The page lists inbound connections only.
    assert!(
        resolved
            .rule_set
            .rules
            .iter()
            .all(|rule| rule.stated == rule.product.is_some())
    );
    assert_eq!(resolved.rule_set.egress, crate::rule::DefaultAction::Open);
}

#[test]
fn the_end_that_the_page_does_not_print_is_marked() {
    let resolved = resolve_product(
        &catalogue(),
        product(SEAL, &["node"], &["cluster"]).peers("node", &["10.0.0.11", "10.0.0.12"]),
    );
    let of_product = resolved
        .rule_set
        .rules
        .iter()
        .filter(|rule| rule.product.is_some());
    for rule in of_product {
        assert_eq!(
            rule.stated,
            rule.direction == Direction::Ingress,
            "{}",
            rule.id
        );
        assert_eq!(rule.peers.words(), ["10.0.0.12/32"]);
    }
}
