//! Words about a product's groups and conditions, and the names that its rows need resolved.

use std::collections::BTreeSet;

use crate::host::{HostConfig, Span};
use crate::policy::schema::Group;
use crate::policy::values::Condition;

/// A document's wildcard that lets anyone in.
pub(super) struct Wildcard {
    pub(super) row: String,
    pub(super) names: Vec<String>,
    pub(super) ports: Vec<String>,
    pub(super) span: Span,
}

/// The line of the product's table that makes a condition hold.
pub(super) fn need_of(condition: &Condition) -> String {
    match condition {
        Condition::On(option) => format!("options.{option} = true"),
        Condition::Off(option) => format!("options.{option} = false"),
        Condition::Is(option, choice) => format!("options.{option} = \"{choice}\""),
    }
}

/// Whether the document leaves a group's hosts to the operator.
pub(super) fn bound_by_host(group: &Group) -> bool {
    group.addresses.is_empty() && group.names.is_empty()
}

pub(super) fn quoted(words: &[&str], between: &str) -> String {
    let words: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    words.join(between)
}

/// The names of groups that a configuration needs resolved: those of documents whose rows make
/// rules here, as far as they are no wildcards.
pub(super) fn group_names<'a>(
    config: &'a HostConfig,
    policies: &'a crate::policy::Catalogue,
) -> BTreeSet<&'a str> {
    let mut names = BTreeSet::new();
    for product in &config.products {
        let Some(policy) = policies.get(product.policy.get_ref()) else {
            continue;
        };
        let flows = policy.rows.iter().flat_map(|row| &row.flows);
        let asked = flows
            .filter(|flow| flow.from.iter().any(|role| product.plays(role.get_ref())))
            .filter_map(|flow| flow.to_group.as_ref())
            .filter(|group| !product.groups.contains(group.get_ref()));
        for group in asked {
            let group = policy.groups.get(group.get_ref());
            let known = group.iter().flat_map(|group| &group.names);
            names.extend(
                known
                    .map(|name| name.get_ref().as_str())
                    .filter(|name| !name.contains('*')),
            );
        }
    }
    names
}
