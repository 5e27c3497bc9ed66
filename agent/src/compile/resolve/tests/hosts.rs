//! Two whole hosts from their configuration files, against lists made from the documents and the
//! files by hand.

use super::{catalogue, facts, lines};
use crate::compile::resolve::{Resolved, resolve};
use crate::host::{Input, load};
use crate::policy::Catalogue;
use crate::rule::DefaultAction;

#[track_caller]
fn check(configuration: &str, catalogue: &Catalogue, expected: &str) -> Resolved {
    let (config, findings) = load(&Input::single("portcullis.toml", configuration));
    assert!(findings.is_empty(), "{}", findings.render(false));
    let resolved = resolve(&config.expect("read"), catalogue, &facts());
    let found = lines(&resolved);
    let expected: Vec<&str> = expected.lines().collect();
    let missing: Vec<_> = expected
        .iter()
        .filter(|line| !found.iter().any(|it| it == *line))
        .collect();
    let beyond: Vec<_> = found
        .iter()
        .filter(|line| !expected.contains(&line.as_str()))
        .collect();
    assert_eq!((missing, beyond), (vec![], vec![]));
    assert_eq!(found.len(), expected.len(), "a rule stands twice");
    resolved
}

#[test]
fn a_node_of_a_seal_cluster() {
    let resolved = check(
        include_str!("../../../../tests/data/host-seal-node.toml"),
        &catalogue(),
        include_str!("host-seal-node.txt"),
    );
    let rules = &resolved.rule_set;
    assert_eq!(
        (rules.ingress, rules.egress),
        (DefaultAction::Deny, DefaultAction::Open)
    );
    let skipped: Vec<_> = resolved.skipped.iter().map(|it| it.row.as_str()).collect();
    assert_eq!(skipped, ["seal-output-engine/cluster/37"]);
    let dpf: Vec<_> = resolved
        .inactive
        .iter()
        .filter(|it| it.flow.row == "seal-output-engine/cluster/30")
        .map(|it| it.needs.as_str())
        .collect();
    assert_eq!(dpf, ["options.dpf = true"]);
}

#[test]
fn a_broker_for_soti_connect() {
    let resolved = check(
        include_str!("../../../../tests/data/host-mqtt-broker.toml"),
        &catalogue(),
        include_str!("host-mqtt-broker.txt"),
    );
    let rules = &resolved.rule_set;
    assert_eq!(
        (rules.ingress, rules.egress),
        (DefaultAction::Deny, DefaultAction::Deny)
    );
    let syslog = rules.rules.iter().find(|rule| rule.id == "allow/syslog");
    assert_eq!(syslog.map(|rule| rule.stated), Some(false));
    let plain: Vec<_> = resolved
        .inactive
        .iter()
        .filter(|it| it.concerns)
        .map(|it| format!("{}: {}", it.flow, it.needs))
        .collect();
    assert_eq!(
        plain,
        ["soti-connect/third-party/3#1: options.mqtt-plain = true"]
    );
}
