//! Which flows of a product cross this host's border: the part of the rows that needs peers,
//! groups, ports, choices and versions to be said.

use std::collections::{BTreeMap, BTreeSet};

use crate::host::Product;
use crate::policy::schema::Scope;
use crate::policy::values::Version;
use crate::policy::{Condition, FlowPart, OptionValues, Policy, Row, Truth};

/// A product's table and the policy that it selects, with what was said of it.
pub(super) struct Selected<'a> {
    pub(super) product: &'a Product,
    pub(super) policy: &'a Policy,
    pub(super) options: OptionValues,
    topologies: BTreeSet<&'a str>,
    versions: BTreeMap<String, Version>,
}

/// A flow that begins or ends at this host, in a row that holds in the topologies and is not
/// skipped.
pub(super) struct Crossing<'a> {
    pub(super) row: &'a Row,
    pub(super) part: FlowPart<'a>,
    /// Roles of hosts at the other end.
    pub(super) others: BTreeSet<&'a str>,
    /// Whether this host begins it.
    pub(super) leaves: bool,
    /// Whether options and versions let it hold.
    pub(super) truth: Truth,
    /// Choices that it hangs on and that were not said.
    pub(super) options_unsaid: Vec<&'a str>,
    /// Version lines that it hangs on and that were not said.
    pub(super) versions_unsaid: Vec<&'a str>,
}

impl<'a> Selected<'a> {
    pub(super) fn new(product: &'a Product, policy: &'a Policy) -> Self {
        Self {
            product,
            policy,
            options: product.option_values(policy),
            topologies: product.topologies_in(policy),
            versions: product.versions_said(),
        }
    }

    /// Every flow that crosses this host's border, whether or not it holds.
    pub(super) fn crossings(&self) -> Vec<Crossing<'a>> {
        let (product, policy) = (self.product, self.policy);
        let mut crossings = Vec::new();
        for row in policy.rows_in_order() {
            let stays = policy.scope_of(row) == Some(Scope::Host);
            let skipped = product.skipped(&policy.row_id(row)).is_some();
            if stays || skipped || !policy.row_in(row, &self.topologies) {
                continue;
            }
            crossings.extend(row.parts().filter_map(|part| self.crossing(row, part)));
        }
        crossings
    }

    /// Two own roles stay inside, except where other hosts play one of them too: the flow
    /// leaves for a to-role, and comes from a from-role, that is `several`.
    fn crossing(&self, row: &'a Row, part: FlowPart<'a>) -> Option<Crossing<'a>> {
        let plays = |role: &str| self.product.plays(role);
        let several = |role: &str| self.policy.several(role, &self.topologies);
        let mut others = BTreeSet::new();
        let mut leaves = false;
        for from in part.flow.from.iter().map(|role| role.get_ref().as_str()) {
            leaves |= part.flow.to_group.is_some() && plays(from);
            for to in part.flow.to.iter().map(|role| role.get_ref().as_str()) {
                let both = plays(from) && plays(to);
                if plays(from) && (!both || several(to)) {
                    leaves = true;
                    others.insert(to);
                }
                if plays(to) && (!both || several(from)) {
                    others.insert(from);
                }
            }
        }
        (leaves || !others.is_empty()).then(|| {
            let (truth, options_unsaid, versions_unsaid) = self.truth(row, &part);
            Crossing {
                row,
                part,
                others,
                leaves,
                truth,
                options_unsaid,
                versions_unsaid,
            }
        })
    }

    fn truth(&self, row: &'a Row, part: &FlowPart<'a>) -> (Truth, Vec<&'a str>, Vec<&'a str>) {
        let (mut options, mut versions) = (Vec::new(), Vec::new());
        let mut fails = false;
        let conditions = self.policy.flow_conditions(row, part.flow);
        for condition in conditions {
            match self.options.holds(condition) {
                Truth::Holds => {}
                Truth::Fails => fails = true,
                Truth::Unsaid => options.push(Condition::option(condition)),
            }
        }
        for (line, from) in row.since.iter() {
            match self.versions.get(line) {
                Some(version) if version >= from => {}
                Some(_) => fails = true,
                None => versions.push(line),
            }
        }
        let truth = match (fails, options.is_empty() && versions.is_empty()) {
            (true, _) => Truth::Fails,
            (false, true) => Truth::Holds,
            (false, false) => Truth::Unsaid,
        };
        (truth, options, versions)
    }
}

impl Crossing<'_> {
    /// The row as a finding names it.
    pub(super) fn label(&self) -> String {
        format!("{} {}", self.row.id.get_ref(), self.row.service)
    }
}
