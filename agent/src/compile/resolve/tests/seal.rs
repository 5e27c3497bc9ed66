//! What a plan of the SEAL page looks like: rules in their order, and which end is printed.

use agent_common::event::Direction;

use super::{catalogue, product, product_lines, resolve_product};

const SEAL: &str = "seal-output-engine";

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
