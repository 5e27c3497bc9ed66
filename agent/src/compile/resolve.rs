//! From configuration, catalogue and facts to rules: who may reach what on this host.
//!
//! Pure. Every flow of every row of a selected product comes out in exactly one place: in a
//! rule, or in one of the lists that say why it makes none.

mod crossing;
mod needs;
mod notices;
mod own;
mod peers;
mod product;
mod stage;
mod words;

use agent_common::event::Direction;

pub use self::crossing::{Crossing, crossings};
pub use self::needs::{Need, Needs, needs};
use self::peers::PeerBook;
use self::product::{Draft, Place, Selected};
use self::words::Wildcard;
use crate::diagnose::Findings;
use crate::facts::Facts;
use crate::host::HostConfig;
use crate::policy::{Catalogue, schema};
use crate::rule::{Forward, Precedence, RowId, Rule, RuleSet};

/// A flow of a row: the row, and the flow's number in it counted from 1, once per transport.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub struct FlowId {
    /// The whole id of the row.
    pub row: RowId,
    /// The flow's number; 0 for a row without flows.
    pub flow: u32,
}

impl std::fmt::Display for FlowId {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}#{}", self.row, self.flow)
    }
}

/// A flow that makes no rule because it stays inside a host.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HostOnly {
    /// The product's name in the configuration.
    pub product: String,
    /// Which flow.
    pub flow: FlowId,
    /// Why it stays inside.
    pub why: String,
}

/// A row of which no flow can be made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Undecided {
    /// The product's name in the configuration.
    pub product: String,
    /// Which row.
    pub row: RowId,
    /// Why.
    pub why: String,
}

/// A flow that would open something if something else held.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Inactive {
    /// The product's name in the configuration.
    pub product: String,
    /// Which flow.
    pub flow: FlowId,
    /// What does not hold.
    pub why: String,
    /// The keys of the product's table that would change it, separated by commas.
    pub needs: String,
    /// Whether this host plays one of the flow's roles.
    pub concerns: bool,
}

/// A row that the operator left out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Skipped {
    /// The product's name in the configuration.
    pub product: String,
    /// Which row.
    pub row: RowId,
    /// The operator's reason.
    pub reason: String,
}

/// An `allow` that is over.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Expired {
    /// Its id, `allow/NAME`.
    pub id: String,
    /// The first instant at which it was over.
    pub at: jiff::Timestamp,
}

/// What a configuration means on a host.
#[derive(Clone, Debug, Default)]
pub struct Resolved {
    /// The rules and the defaults: what is compiled.
    pub rule_set: RuleSet,
    /// The flows that each rule of the set does, in the order of its rules; empty for rules
    /// that come from no product.
    pub flows: Vec<Vec<FlowId>>,
    /// Flows that stay inside a host.
    pub host_only: Vec<HostOnly>,
    /// Rows of which no flow can be made.
    pub undecided: Vec<Undecided>,
    /// Flows that something is missing for.
    pub inactive: Vec<Inactive>,
    /// Rows that the operator left out.
    pub skipped: Vec<Skipped>,
    /// Flows in which this host plays no role.
    pub other_roles: Vec<FlowId>,
    /// Interfaces with an address that are not guarded.
    pub unguarded: Vec<String>,
    /// Host names that never resolved; they admit nobody.
    pub unresolved: Vec<String>,
    /// `allow`s that are over.
    pub expired: Vec<Expired>,
    /// What is wrong, or should be known.
    pub findings: Findings,
}

impl Resolved {
    /// When time alone changes the rules next: the first end of an `allow`.
    #[must_use]
    pub fn next_change(&self) -> Option<jiff::Timestamp> {
        self.rule_set
            .rules
            .iter()
            .filter_map(|rule| rule.until)
            .min()
    }

    /// Rules of one direction with the flows that they do, in the order of judgement.
    pub fn rules_of(&self, direction: Direction) -> impl Iterator<Item = (&Rule, &[FlowId])> {
        self.rule_set
            .rules
            .iter()
            .zip(&self.flows)
            .filter(move |(rule, _)| rule.direction == direction)
            .map(|(rule, flows)| (rule, flows.as_slice()))
    }
}

/// What the configuration means on the host that the facts describe. Expiry is judged by the
/// facts' time. Where the findings have errors, the result is good for showing, not for
/// enforcing.
#[must_use]
pub fn resolve(config: &HostConfig, catalogue: &Catalogue, facts: &Facts) -> Resolved {
    let selected: Vec<Selected<'_>> = config
        .products
        .iter()
        .filter_map(|product| {
            let policy = catalogue.get(product.policy.get_ref())?;
            Some(Selected::new(product, policy))
        })
        .collect();
    let mut resolved = Resolved::default();
    let mut book = PeerBook::new(config, facts);
    let mut wildcards = Vec::new();

    let mut rules: Vec<(Rule, Vec<FlowId>)> = Vec::new();
    let mut others = Vec::new();
    own::blocks(config, &mut book, &mut others);
    own::failsafes(config, facts, &mut book, &mut others);
    rules.extend(others.drain(..).map(|rule| (rule, Vec::new())));
    for one in &selected {
        rules.extend(place_all(one, &mut book, &mut wildcards, &mut resolved));
    }
    own::allows(config, facts, &mut book, &mut others);
    own::baseline(config, facts, &mut book, &mut others);
    others.extend(stage::rules(&selected));
    rules.extend(others.into_iter().map(|rule| (rule, Vec::new())));
    // Stable: what stands first in the configuration stays first within its kind.
    rules.sort_by_key(|(rule, _)| rule.precedence);

    let (set, flows) = rules.into_iter().unzip();
    resolved.flows = flows;
    let covers = |direction: schema::Direction| {
        selected
            .iter()
            .all(|it| it.policy.document.covers.contains(&direction))
    };
    let default = |direction| config.default_of(direction, covers(direction));
    resolved.rule_set = RuleSet {
        rules: set,
        ingress: default(schema::Direction::Ingress),
        egress: default(schema::Direction::Egress),
        forward: config
            .forward
            .as_ref()
            .map_or_else(Forward::default, |said| *said.get_ref()),
    };
    resolved.unguarded = peers::unguarded(config, facts);
    resolved.unresolved = book.unresolved.keys().cloned().collect();
    let expired = config
        .allows
        .iter()
        .filter(|allow| own::expired(allow, facts));
    resolved.expired = expired
        .filter_map(|allow| {
            Some(Expired {
                id: format!("allow/{}", allow.name),
                at: allow.expires.as_ref()?.get_ref().at,
            })
        })
        .collect();

    let mut findings = notices::all(config, &selected, &resolved, &book, &wildcards);
    findings.sort();
    resolved.findings = findings;
    resolved
}

/// Host names that a configuration needs as facts: those of its peers, and those of the groups
/// that its products' rows reach from here.
#[must_use]
pub fn names_needed<'a>(
    config: &'a HostConfig,
    catalogue: &'a Catalogue,
) -> std::collections::BTreeSet<&'a str> {
    let mut names = config.host_names();
    names.extend(words::group_names(config, catalogue));
    names
}

/// Puts every flow of a product in its place; the rules come back, identical ones merged.
fn place_all(
    selected: &Selected<'_>,
    book: &mut PeerBook<'_>,
    wildcards: &mut Vec<Wildcard>,
    resolved: &mut Resolved,
) -> Vec<(Rule, Vec<FlowId>)> {
    let product = &selected.product.name;
    let mut rules: Vec<(Rule, Vec<FlowId>)> = Vec::new();
    for row in selected.policy.rows_in_order() {
        let id = selected.policy.row_id(row);
        let skipped = |reason: String| Skipped {
            product: product.clone(),
            row: id.clone(),
            reason,
        };
        if row.flows.is_empty() {
            match selected.place_row(row) {
                Place::Skipped { reason } => resolved.skipped.push(skipped(reason)),
                Place::Undecided { why } => resolved.undecided.push(Undecided {
                    product: product.clone(),
                    row: id.clone(),
                    why,
                }),
                // A row without flows has no other place.
                _ => {}
            }
            continue;
        }
        for part in row.parts() {
            let flow = FlowId {
                row: id.clone(),
                flow: part.number,
            };
            match selected.place(row, &part, book, wildcards) {
                Place::Rules(drafts) => {
                    for draft in drafts {
                        merge(&mut rules, product, &flow, draft);
                    }
                }
                Place::Skipped { reason } => {
                    // The list names rows: one entry, however many flows the row has.
                    if resolved.skipped.last().is_none_or(|last| last.row != id) {
                        resolved.skipped.push(skipped(reason));
                    }
                }
                Place::Undecided { why } => resolved.undecided.push(Undecided {
                    product: product.clone(),
                    row: id.clone(),
                    why,
                }),
                Place::Inactive { why, needs } => resolved.inactive.push(Inactive {
                    product: product.clone(),
                    flow,
                    why,
                    needs,
                    concerns: selected.concerns(part.flow),
                }),
                Place::HostOnly { why } => resolved.host_only.push(HostOnly {
                    product: product.clone(),
                    flow,
                    why,
                }),
                Place::OtherRoles => resolved.other_roles.push(flow),
            }
        }
    }
    rules
}

/// Adds a flow to the rule that does the same already, or makes a new one.
fn merge(rules: &mut Vec<(Rule, Vec<FlowId>)>, product: &str, flow: &FlowId, draft: Draft) {
    let same = rules.iter_mut().find(|(rule, _)| {
        rule.direction == draft.direction
            && rule.service == draft.service
            && rule.groups == draft.groups
            && rule.peers == draft.peers
    });
    match same {
        Some((rule, flows)) => {
            if !rule.rows.contains(&flow.row) {
                rule.rows.push(flow.row.clone());
            }
            rule.stated |= draft.stated;
            flows.push(flow.clone());
        }
        None => rules.push((
            Rule {
                id: flow.to_string(),
                rows: vec![flow.row.clone()],
                direction: draft.direction,
                service: draft.service,
                peers: draft.peers,
                groups: draft.groups,
                precedence: Precedence::Allow,
                product: Some(product.to_owned()),
                stated: draft.stated,
                until: None,
            },
            vec![flow.clone()],
        )),
    }
}

#[cfg(test)]
pub(crate) mod tests;
