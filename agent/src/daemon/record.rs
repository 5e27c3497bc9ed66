//! What is in force, written down: the plan and notes for `status`, the sums of counters by row.

use agent_common::tables::RuleCounter;
use jiff::Timestamp;

use super::enforce::Enforced;
use super::files::{self, Directories};
use super::notes::Notes;
use super::totals::{BankRules, Clock, Totals};
use crate::dataplane::{Dataplane, Pinned};

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
        write_totals(directories, &self.totals);
    }
}

pub(super) fn write_totals(directories: &Directories, totals: &Totals) {
    tell(files::replace_json(&directories.totals(), 0o600, totals));
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

/// The counters of loads that are left: from now on the file speaks for them. Called when no packet is judged by their programs any more.
pub(super) fn fold_others(totals: &mut Totals, dataplane: &Dataplane, before: Option<&Pinned>) {
    let now = before.and_then(|pinned| {
        let now = pinned.clock().now();
        now.inspect_err(|error| log::warn!("counters of the earlier load are left out: {error}"))
            .ok()
    });
    let clock = now.map(|now| Clock {
        tick: now.tick(),
        hz: dataplane.hz(),
        time: Timestamp::now(),
    });
    let others = |rules: &BankRules| rules.load != dataplane.number();
    for rules in totals.banks.clone().into_iter().filter(others) {
        let counted = before.and_then(|pinned| counters_of(pinned, &rules));
        match counted.zip(clock.as_ref()) {
            Some((counters, clock)) => totals.fold(&rules, &counters, clock),
            None => totals.banks.retain(|held| *held != rules),
        }
    }
}

/// The sums as they are now: what the file says, and what the banks that it names have counted since.
#[must_use]
pub fn totals_now(directories: &Directories, pinned: &Pinned, clock: &Clock) -> Totals {
    // Said nowhere else: the sums by row are a convenience, the rest comes from the kernel.
    let read = || -> Totals {
        let read = files::read_json(&directories.totals());
        read.ok().flatten().unwrap_or_default()
    };
    let mut totals = read();
    loop {
        let (sums, all) = totals
            .clone()
            .with_banks(clock, |rules| counters_of(pinned, rules));
        if all {
            return sums;
        }
        // A bank was written anew meanwhile: before that the file was.
        let again = read();
        if again == totals {
            return sums;
        }
        totals = again;
    }
}

/// The counters of a bank, where it still holds that policy.
fn counters_of(pinned: &Pinned, rules: &BankRules) -> Option<Vec<RuleCounter>> {
    let policy = (rules.bank, rules.generation);
    pinned
        .counters_of(rules.load, policy, rules.rules.len())
        .ok()?
}
