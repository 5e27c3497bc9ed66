//! Every flow of every row of a selected product stands in exactly one place, whatever is
//! selected.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use proptest::prelude::*;

use super::{catalogue_of, facts, product};
use crate::compile::resolve::{FlowId, resolve};
use crate::host::Product;
use crate::policy::{Catalogue, Policy};
use crate::rule::Precedence;

/// How often each flow stands somewhere; a row without flows is flow 0.
fn places(policy: &Policy, resolved: &super::Resolved) -> BTreeMap<FlowId, Vec<&'static str>> {
    let mut places: BTreeMap<FlowId, Vec<&'static str>> = BTreeMap::new();
    for row in policy.rows_in_order() {
        let id = policy.row_id(row);
        let numbers: Vec<u32> = match row.flows.is_empty() {
            true => vec![0],
            false => row.parts().map(|part| part.number).collect(),
        };
        for flow in numbers {
            let id = FlowId {
                row: id.clone(),
                flow,
            };
            let mut here = Vec::new();
            let in_rules = resolved.flows.iter().any(|flows| flows.contains(&id));
            here.extend(in_rules.then_some("rules"));
            let skipped = resolved.skipped.iter().filter(|it| it.row == id.row);
            here.extend(skipped.map(|_| "skipped"));
            let undecided = resolved.undecided.iter().filter(|it| it.row == id.row);
            here.extend(undecided.map(|_| "undecided"));
            let inactive = resolved.inactive.iter().filter(|it| it.flow == id);
            here.extend(inactive.map(|_| "inactive"));
            let inside = resolved.host_only.iter().filter(|it| it.flow == id);
            here.extend(inside.map(|_| "host-only"));
            let others = resolved.other_roles.iter().filter(|it| **it == id);
            here.extend(others.map(|_| "other-roles"));
            places.insert(id, here);
        }
    }
    places
}

/// A selection by dice: which of everything that the policy knows is said, and how.
fn selection(policy: &Policy, dice: &[u8]) -> Product {
    let mut dice = dice.iter().copied().cycle();
    let mut roll = move |sides: u8| dice.next().unwrap_or_default() % sides;
    let roles: Vec<&str> = policy.roles.keys().filter(|_| roll(3) == 0).collect();
    let topologies: Vec<&str> = policy.topologies.keys().filter(|_| roll(2) == 0).collect();
    let mut product = product(policy.id(), &roles, &topologies);
    for (name, option) in policy.options.iter() {
        let choices = &option.choices;
        match roll(3) {
            0 => {}
            _ if !choices.is_empty() => {
                let choice = &choices[usize::from(roll(choices.len() as u8))];
                product = product.choose(name, choice.get_ref());
            }
            side => product = product.option(name, side == 1),
        }
    }
    for line in policy.versions.keys() {
        product = match roll(3) {
            0 => product,
            1 => product.version(line, "0.1"),
            _ => product.version(line, "99"),
        };
    }
    for role in policy.roles.keys() {
        product = match roll(6) {
            0 => product,
            1 => product.peers(role, &["none"]),
            2 => product.peers(role, &["any"]),
            3 => product.peers(role, &["10.0.0.11"]),
            4 => product.peers(role, &["never.example.com"]),
            _ => product.peers(role, &["10.7.0.0/24", "2001:db8:7::/64"]),
        };
    }
    for (name, port) in policy.ports.iter() {
        product = match roll(4) {
            0 => product.port(name, &["5000"]),
            1 if port.many => product.port(name, &["5000", "6000-6010"]),
            _ => product,
        };
    }
    for group in policy.groups.keys() {
        if roll(2) == 0 {
            product = product.group(group, &["239.1.2.3"]);
        }
    }
    for row in &policy.rows {
        if roll(8) == 0 {
            product = product.skip(&row.id.get_ref().to_string(), "left out");
        }
    }
    product
}

/// Every shipped product and the hard one, read once.
static EVERYTHING: LazyLock<Catalogue> =
    LazyLock::new(|| catalogue_of(&[include_str!("hard.toml")]));

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn each_flow_stands_in_exactly_one_place(dice in prop::collection::vec(any::<u8>(), 200..300)) {
        let catalogue = &*EVERYTHING;
        for (_, policy) in catalogue.iter() {
            let mut config = super::config();
            config.products.push(selection(policy, &dice));
            let resolved = resolve(&config, catalogue, &facts());
            for (flow, places) in places(policy, &resolved) {
                prop_assert_eq!(places.len(), 1, "{} stands in {:?}", flow, places);
            }
            for (rule, flows) in resolved.rule_set.rules.iter().zip(&resolved.flows) {
                // Rows make rules, and each rule of a row names them all.
                prop_assert_eq!(!flows.is_empty(), rule.product.is_some());
                for flow in flows {
                    prop_assert!(rule.rows.contains(&flow.row));
                }
                prop_assert!(rule.precedence <= Precedence::Allow);
            }
            // A role that this host does not play opens nothing.
            if config.products[0].roles.is_empty() {
                prop_assert!(resolved.flows.iter().all(Vec::is_empty));
            }
        }
    }
}

#[test]
fn the_dice_reach_every_place() {
    let catalogue = &*EVERYTHING;
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..60u8 {
        let dice: Vec<u8> = (0..251u32)
            .map(|n| ((n * 7 + u32::from(seed) * 31 + n * n) % 256) as u8)
            .collect();
        for (_, policy) in catalogue.iter() {
            let mut config = super::config();
            config.products.push(selection(policy, &dice));
            let resolved = resolve(&config, catalogue, &facts());
            seen.extend(places(policy, &resolved).into_values().flatten());
        }
    }
    let all = [
        "host-only",
        "inactive",
        "other-roles",
        "rules",
        "skipped",
        "undecided",
    ];
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), all);
}
