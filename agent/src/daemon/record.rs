//! What is in force, written down: the plan and notes for `status`, the sums of counters by row.

use jiff::Timestamp;

use super::enforce::Enforced;
use super::files::{self, Directories};
use super::notes::Notes;
use super::totals::{BankRules, Clock, Totals};
use crate::dataplane::Pinned;

impl Enforced {
    /// Plan, notes and totals to where `status` finds them.
    pub(super) fn write_down(&self, directories: &Directories) {
        if self.open {
            // Nothing is in force that a plan could be compared with.
            tell(files::remove(&directories.plan()));
            self.write_notes(directories);
            self.write_totals(directories);
            return;
        }
        let mut plan = self.ready.plan.clone();
        plan["generation"] = self.generation.into();
        plan["since"] = self.since.to_string().into();
        plan["policy_hash"] = self.ready.hash.clone().into();
        tell(files::replace_json(&directories.plan(), 0o644, &plan));
        self.write_notes(directories);
        self.write_totals(directories);
    }

    pub(super) fn write_notes(&self, directories: &Directories) {
        let notes = Notes {
            schema: 1,
            load: self.dataplane.number(),
            generation: self.in_force(),
            since: self.since,
            policy_hash: self.ready.hash.clone(),
            interfaces: self.interfaces.clone(),
            products: self.ready.products.clone(),
            audits: self.ready.default_audits(),
            problems: [self.outer_problems.as_slice(), &self.lost, &self.problems].concat(),
            unresolved: self.ready.resolved.unresolved.clone(),
            reverted: self.open || self.reverted,
            cut: self.cut.clone(),
        };
        tell(files::replace_json(&directories.notes(), 0o644, &notes));
    }

    pub(super) fn write_totals(&self, directories: &Directories) {
        tell(files::replace_json(
            &directories.totals(),
            0o600,
            &self.totals,
        ));
    }
}

/// A file that can't be written is told; enforcement goes on.
fn tell(result: anyhow::Result<()>) {
    if let Err(error) = result {
        log::error!("{error:#}");
    }
}

pub(super) fn read_totals(directories: &Directories) -> Totals {
    match files::read_json(&directories.totals()) {
        Ok(totals) => totals.unwrap_or_default(),
        Err(error) => {
            log::error!("counters by row begin at 0 again: {error:#}");
            Totals::default()
        }
    }
}

/// The counters of a load that is left.
pub(super) fn fold_all(totals: &mut Totals, before: &Pinned, hz: u32) {
    let tick = match before.clock().now() {
        Ok(now) => now.tick(),
        Err(error) => {
            log::warn!("counters of the earlier load are left out: {error}");
            return;
        }
    };
    let clock = Clock {
        tick,
        hz,
        time: Timestamp::now(),
    };
    for rules in totals.banks.clone() {
        if let Some(counters) = counters_of(before, &rules) {
            totals.fold(rules.bank, &counters, &clock);
        }
    }
}

/// The counters of a bank, where it still holds that policy.
#[must_use]
pub fn counters_of(
    pinned: &Pinned,
    rules: &BankRules,
) -> Option<Vec<agent_common::tables::RuleCounter>> {
    let head = pinned.head(rules.bank).ok()?;
    (head.generation == rules.generation)
        .then(|| pinned.rule_counters(rules.bank, rules.rules.len()).ok())?
}
