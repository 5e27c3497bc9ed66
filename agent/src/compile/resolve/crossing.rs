//! Which flows cross this host's border, and whether what they hang on holds. Rules, findings
//! and `init` all ask here.

use std::collections::BTreeSet;

use agent_common::event::Direction;

use super::product::Selected;
use crate::host::Product;
use crate::policy::schema::Scope;
use crate::policy::values::Version;
use crate::policy::{Condition, Flow, FlowPart, Policy, Row, Truth};

/// The end of a pair that is not this host.
#[derive(Clone, Copy)]
pub(super) enum Other<'a> {
    Role(&'a str),
    Group(&'a str),
}

/// A pair of roles of which this host plays one.
pub(super) struct Pair<'a> {
    pub(super) direction: Direction,
    pub(super) own: &'a str,
    pub(super) other: Other<'a>,
}

/// The pairs of a flow, sorted by what they are to this host.
#[derive(Default)]
pub(super) struct Pairs<'a> {
    pub(super) crossing: Vec<Pair<'a>>,
    /// The from-roles of pairs that stay inside.
    pub(super) inside: Vec<&'a str>,
}

/// What a flow hangs on and does not hold, or was not said.
pub(super) struct Unmet<'a> {
    pub(super) conditions: Vec<(&'a Condition, Truth)>,
    /// Version line, the version from which the row holds, and which of the two it is.
    pub(super) versions: Vec<(&'a str, &'a Version, Truth)>,
}

impl Unmet<'_> {
    /// Whether the flow holds: one thing that fails decides, then one that was not said.
    fn truth(&self) -> Truth {
        let truths = || {
            let conditions = self.conditions.iter().map(|(_, truth)| *truth);
            conditions.chain(self.versions.iter().map(|(.., truth)| *truth))
        };
        if truths().any(|truth| truth == Truth::Fails) {
            Truth::Fails
        } else if truths().next().is_some() {
            Truth::Unsaid
        } else {
            Truth::Holds
        }
    }
}

impl<'a> Selected<'a> {
    /// What of options and versions does not hold.
    pub(super) fn unmet(&self, row: &'a Row, flow: &'a Flow) -> Unmet<'a> {
        let conditions = self.policy.flow_conditions(row, flow);
        let asked = conditions.map(|condition| (condition, self.options.holds(condition)));
        Unmet {
            conditions: asked.filter(|(_, truth)| *truth != Truth::Holds).collect(),
            versions: self.policy.since_unmet(row, &self.versions).collect(),
        }
    }

    /// Two roles of this host stay inside, except where other hosts play one of them too: the
    /// flow leaves for a to-role, and comes from a from-role, that is `several`.
    pub(super) fn pairs<'f>(&self, flow: &'f Flow) -> Pairs<'f> {
        let mut pairs = Pairs::default();
        let several = |role: &str| self.policy.several(role, &self.topologies);
        let plays = |role: &str| self.product.plays(role);
        for from in flow.from.iter().map(|role| role.get_ref().as_str()) {
            if let Some(group) = &flow.to_group
                && plays(from)
            {
                pairs.crossing.push(Pair {
                    direction: Direction::Egress,
                    own: from,
                    other: Other::Group(group.get_ref()),
                });
            }
            for to in flow.to.iter().map(|role| role.get_ref().as_str()) {
                let both = plays(from) && plays(to);
                let leaves = plays(from) && (!both || several(to));
                let comes = plays(to) && (!both || several(from));
                if leaves {
                    pairs.crossing.push(Pair {
                        direction: Direction::Egress,
                        own: from,
                        other: Other::Role(to),
                    });
                }
                if comes {
                    pairs.crossing.push(Pair {
                        direction: Direction::Ingress,
                        own: to,
                        other: Other::Role(from),
                    });
                }
                if both && !leaves && !comes {
                    pairs.inside.push(from);
                }
            }
        }
        pairs
    }

    /// Groups that the operator must say before these pairs of a flow have another end.
    pub(super) fn open_groups<'f>(&self, flow: &'f Flow, pairs: &[Pair<'f>]) -> Vec<&'f str> {
        let asked = pairs.iter().filter_map(|pair| match pair.other {
            Other::Group(group) => Some(group),
            Other::Role(_) => None,
        });
        let via = flow.via.as_ref().map(|via| via.get_ref().as_str());
        let mut groups: Vec<&str> = asked.chain(via).collect();
        groups.dedup();
        groups.retain(|group| self.is_open(group));
        groups
    }
}

/// A flow that begins or ends at this host, in a row that holds in the topologies and is not
/// skipped.
pub struct Crossing<'a> {
    /// Its row.
    pub row: &'a Row,
    /// The flow on one transport.
    pub part: FlowPart<'a>,
    /// Roles of hosts at the other end.
    pub others: BTreeSet<&'a str>,
    /// Groups at the other end, or between, that the document leaves to the operator.
    pub open_groups: Vec<&'a str>,
    /// Whether options and versions let it hold.
    pub truth: Truth,
    /// Choices that it hangs on and that were not said.
    pub options_unsaid: Vec<&'a str>,
    /// Version lines that it hangs on and that were not said.
    pub versions_unsaid: Vec<&'a str>,
}

impl Crossing<'_> {
    /// The row as a finding names it.
    #[must_use]
    pub fn label(&self) -> String {
        format!("{} {}", self.row.id.get_ref(), self.row.service)
    }
}

/// Every flow that crosses this host's border, whether or not options and versions let it hold.
#[must_use]
pub fn crossings<'a>(product: &'a Product, policy: &'a Policy) -> Vec<Crossing<'a>> {
    let selected = Selected::new(product, policy);
    let mut crossings = Vec::new();
    for row in policy.rows_in_order() {
        let stays = policy.scope_of(row) == Some(Scope::Host);
        let skipped = product.skipped(&policy.row_id(row)).is_some();
        if stays || skipped || !selected.holds_here(row) {
            continue;
        }
        for part in row.parts() {
            let pairs = selected.pairs(part.flow).crossing;
            if pairs.is_empty() {
                continue;
            }
            let unmet = selected.unmet(row, part.flow);
            let others = pairs.iter().filter_map(|pair| match pair.other {
                Other::Role(role) => Some(role),
                Other::Group(_) => None,
            });
            let unsaid = |truth: &Truth| *truth == Truth::Unsaid;
            let options = unmet.conditions.iter().filter(|(_, truth)| unsaid(truth));
            let versions = unmet.versions.iter().filter(|(.., truth)| unsaid(truth));
            crossings.push(Crossing {
                row,
                others: others.collect(),
                open_groups: selected.open_groups(part.flow, &pairs),
                truth: unmet.truth(),
                options_unsaid: options.map(|(condition, _)| condition.option()).collect(),
                versions_unsaid: versions.map(|(line, ..)| *line).collect(),
                part,
            });
        }
    }
    crossings
}
