//! What a host must say of a product before its roles' flows can become rules: who the peers
//! are, which options, versions and ports decide.

use std::collections::BTreeSet;

use agent_common::event::Direction;

use super::crossing::Other;
use super::product::Selected;
use crate::diagnose::Keyed;
use crate::host::Product;
use crate::host::schema::Stage;
use crate::policy::schema::Scope;
use crate::policy::values::PortRef;
use crate::policy::{Policy, Truth};

/// One thing to say, and what hangs on it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Need {
    /// The policy's name for it.
    pub name: String,
    /// Ids of the rows that hang on it, without the product's.
    pub rows: Vec<String>,
    /// Whether any of them opens something as long as no option is turned. Then it must be
    /// said, if it has no default.
    pub now: bool,
    /// Otherwise the conditions of which one must hold first, as a row writes them.
    pub when: Vec<String>,
    /// Whether this host asks it (egress), is asked by it (ingress), or both.
    pub directions: Vec<Direction>,
}

/// Everything that can be said, in the order of the policy.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Needs {
    /// Roles at the other end.
    pub roles: Vec<Need>,
    /// Groups without documented members.
    pub groups: Vec<Need>,
    /// Options that rows of these roles hang on.
    pub options: Vec<Need>,
    /// Version lines that rows of these roles hang on.
    pub versions: Vec<Need>,
    /// Ports with a name.
    pub ports: Vec<Need>,
}

/// What a host in these roles must or can say of a product. A topology that is not there, and a
/// role that is not there, have no rows.
#[must_use]
pub fn needs(policy: &Policy, roles: &[&str], topologies: &[&str]) -> Needs {
    let product = bare(policy.id(), roles, topologies);
    let selected = Selected::new(&product, policy);
    let mut needs = Needs::default();
    for row in policy.rows_in_order() {
        if !selected.holds_here(row) || policy.scope_of(row) == Some(Scope::Host) {
            continue;
        }
        let id = row.id.get_ref().to_string();
        for part in row.parts() {
            let pairs = selected.pairs(part.flow).crossing;
            if pairs.is_empty() {
                continue;
            }
            // What was not said and has no default does not fail.
            let unmet = selected.unmet(row, part.flow).conditions.into_iter();
            let unmet = unmet.filter(|(_, truth)| *truth == Truth::Fails);
            let unmet: Vec<String> = unmet.map(|(condition, _)| condition.to_string()).collect();
            let note = |list: &mut Vec<Need>, name: &str, directions: &[Direction]| {
                add(list, name, &id, &unmet, directions);
            };
            let mut all: Vec<Direction> = Vec::new();
            for pair in &pairs {
                all.push(pair.direction);
                let one = [pair.direction];
                if let Other::Role(role) = pair.other {
                    note(&mut needs.roles, role, &one);
                }
            }
            for group in selected.open_groups(part.flow, &pairs) {
                note(&mut needs.groups, group, &all);
            }
            for condition in policy.flow_conditions(row, part.flow) {
                note(&mut needs.options, condition.option(), &all);
            }
            for line in row.since.keys() {
                note(&mut needs.versions, line, &all);
            }
            for port in part.ports() {
                let PortRef::Named(name) = port else { continue };
                note(&mut needs.ports, name, &all);
                let table = policy.ports.get(name);
                for option in table.iter().flat_map(|table| &table.say_when) {
                    note(&mut needs.options, option.get_ref(), &all);
                }
            }
        }
    }
    let lists = [
        &mut needs.roles,
        &mut needs.groups,
        &mut needs.options,
        &mut needs.versions,
        &mut needs.ports,
    ];
    for need in lists.into_iter().flatten() {
        absorb(&mut need.when);
    }
    let order = |list: &mut Vec<Need>, keys: Vec<&str>| {
        list.sort_by_key(|need| keys.iter().position(|key| *key == need.name));
    };
    order(&mut needs.roles, policy.roles.keys().collect());
    order(&mut needs.groups, policy.groups.keys().collect());
    order(&mut needs.options, policy.options.keys().collect());
    order(&mut needs.versions, policy.versions.keys().collect());
    order(&mut needs.ports, policy.ports.keys().collect());
    needs
}

/// Drops what asks for more than another does: with `x`, `x and y` says nothing.
fn absorb(when: &mut Vec<String>) {
    let asked = |text: &str| -> BTreeSet<String> { text.split(AND).map(str::to_owned).collect() };
    let all = when.clone();
    when.retain(|one| {
        let less = |other: &&String| *other != one && asked(other).is_subset(&asked(one));
        !all.iter().any(|other| less(&other))
    });
}

/// Between conditions that must all hold.
const AND: &str = " and ";

fn add(list: &mut Vec<Need>, name: &str, row: &str, unmet: &[String], directions: &[Direction]) {
    let need = match list.iter_mut().position(|need| need.name == name) {
        Some(known) => &mut list[known],
        None => {
            list.push(Need {
                name: name.to_owned(),
                rows: Vec::new(),
                now: false,
                when: Vec::new(),
                directions: Vec::new(),
            });
            let last = list.len() - 1;
            &mut list[last]
        }
    };
    if !need.rows.iter().any(|known| known == row) {
        need.rows.push(row.to_owned());
    }
    need.now |= unmet.is_empty();
    let when = unmet.join(AND);
    if !need.now && !need.when.contains(&when) {
        need.when.push(when);
    }
    for direction in directions {
        if !need.directions.contains(direction) {
            need.directions.push(*direction);
        }
    }
}

/// A product of which only roles and topologies are said.
fn bare(id: &str, roles: &[&str], topologies: &[&str]) -> Product {
    let nowhere = |word: &str| toml::Spanned::new(0..0, word.to_owned());
    Product {
        name: id.to_owned(),
        span: 0..0,
        policy: nowhere(id),
        roles: roles.iter().map(|role| nowhere(role)).collect(),
        topologies: Some(topologies.iter().map(|name| nowhere(name)).collect()),
        stage: Stage::default(),
        stage_span: None,
        audit_until: None,
        options: Keyed::default(),
        versions: Keyed::default(),
        peers: Keyed::default(),
        groups: Keyed::default(),
        ports: Keyed::default(),
        skip: Keyed::default(),
    }
}
