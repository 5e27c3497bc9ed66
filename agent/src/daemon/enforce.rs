//! A ready policy into force, and from one to the next.
//!
//! A first start attaches in generation 0, which passes and learns, and then switches. Where something is in force already (a restart, an
//! upgrade, a policy that outgrew its tables) the new load is filled and switched first, and then takes the place of the old one behind
//! its links: no packet is judged by nothing.

use std::time::Duration;

use agent_common::flow::FlowTable;
use agent_common::tables::{OPEN_BANK, POLICY_BANKS, Switch, TICK_SHIFT, Timeouts};
use jiff::Timestamp;
use log::Log;

use super::files::{self, Directories};
use super::guard::{Guard, is_attached};
use super::notes::{NotedInterface, Notes};
use super::ready::Ready;
use super::totals::{BankRules, Clock, Totals};
use crate::dataplane::object::BPF_OBJECT;
use crate::dataplane::{BankSizes, Dataplane, Error, Options, Pinned, detach_all};
use crate::diagnose::Findings;

/// Why a policy did not come into force.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    /// The policy itself.
    #[error("the policy has errors")]
    Findings(Box<Findings>),
    /// The kernel.
    #[error(transparent)]
    Dataplane(#[from] Error),
    /// None of the interfaces could be guarded.
    #[error("no interface could be guarded, and nothing is attached:\n{0}")]
    Unguarded(String),
    /// `--confirm` where something is in force.
    #[error(
        "--confirm makes a first policy unconfirmed, and one is in force already; start without it, or end enforcement by `portcullis detach` before"
    )]
    NotFirst,
}

impl From<Findings> for Refusal {
    fn from(findings: Findings) -> Self {
        Self::Findings(Box::new(findings))
    }
}

/// A policy that falls back by itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pending {
    tick: u32,
    /// The same in people's time.
    pub(super) until: Timestamp,
}

/// What is in force.
pub(super) struct Enforced {
    pub(super) dataplane: Dataplane,
    pub(super) ready: Box<Ready>,
    pub(super) generation: u32,
    since: Timestamp,
    interfaces: Vec<NotedInterface>,
    /// What keeps the host from being guarded as configured.
    pub(super) problems: Vec<String>,
    /// Everything was taken away, as it was looked at last.
    pub(super) detached: bool,
    /// What went away since it was attached.
    lost: Vec<String>,
    /// Why the configuration on disk is not the one in force.
    pub(super) outer_problems: Vec<String>,
    totals: Totals,
    pub(super) pending: Option<Pending>,
    /// The hash of a policy that was not confirmed in time.
    pub(super) reverted: Option<String>,
    logger: Option<aya_log::EbpfLogger<&'static dyn Log>>,
}

impl Enforced {
    /// Loads and attaches, whatever is in force now. With `confirm` a first policy falls back to generation 0 after that time.
    pub(super) fn bring_up(
        mut ready: Box<Ready>,
        directories: &Directories,
        confirm: Option<Duration>,
    ) -> Result<Self, Refusal> {
        let before = Pinned::open(&directories.pins)?;
        let attached = is_attached(&directories.pins, before.as_ref())?;
        if attached && confirm.is_some() {
            return Err(Refusal::NotFirst);
        }
        let generation = match &before {
            Some(before) => last_generation(before)?.wrapping_add(1),
            None => 1,
        };
        let options = Options {
            root: directories.pins.clone(),
            flows_new: ready.config.conntrack.new,
            flows_established: ready.config.conntrack.established,
            ..Options::default()
        };
        let sizes = BankSizes::of(&ready.tables).with_room();
        let mut dataplane = Dataplane::load(BPF_OBJECT, sizes, &options)?;
        for note in dataplane.notes() {
            log::warn!("{note}");
        }
        let logger = aya_log::EbpfLogger::init(dataplane.ebpf());
        let logger = logger
            .inspect_err(|error| log::warn!("the programs' own log can't be read: {error}"))
            .ok();
        ready.with_hz(dataplane.hz())?;
        let bank = dataplane.free_bank()?;
        dataplane.write(bank, &ready.tables, generation)?;
        let word = Switch::to(bank, OPEN_BANK, generation);
        let (guard, pending) = if attached {
            dataplane.switch_to(word)?;
            (Guard::all(&mut dataplane, &ready), None)
        } else {
            let guard = Guard::all(&mut dataplane, &ready);
            if guard.failed_altogether() {
                drop(dataplane);
                // What this start made goes again; the failure is what counts.
                if let Err(error) = detach_all(&directories.pins) {
                    log::error!("cleaning up: {error}");
                }
                if let Some(error) = guard.refused {
                    return Err(error.into());
                }
                return Err(Refusal::Unguarded(guard.problems.join("\n")));
            }
            let pending = match confirm {
                Some(confirm) => Some(deadline(&dataplane, confirm)?),
                None => None,
            };
            dataplane.switch_to(pending.map_or(word, |it| word.until(it.tick)))?;
            (guard, pending)
        };
        let mut totals = read_totals(directories);
        if let Some(before) = &before
            && before.load() == totals.load
        {
            fold_all(&mut totals, before, dataplane.hz());
        }
        totals.load = dataplane.number();
        totals.banks.clear();
        totals.enter(BankRules::of(bank, generation, &ready.resolved.rule_set));
        let mut enforced = Self {
            dataplane,
            ready,
            generation,
            since: Timestamp::now(),
            interfaces: guard.interfaces,
            problems: guard.problems,
            detached: false,
            lost: Vec::new(),
            outer_problems: Vec::new(),
            totals,
            pending,
            reverted: None,
            logger,
        };
        enforced.write_down(directories);
        drop(before);
        if let Err(error) = enforced.dataplane.retire_others() {
            log::warn!("tables of an earlier load stay pinned: {error}");
        }
        Ok(enforced)
    }

    /// Whether the tables that are loaded hold a policy, and are still what is attached.
    pub(super) fn takes(&self, ready: &Ready) -> bool {
        let attached = self.dataplane.attached();
        let ours = attached.is_ok_and(|links| {
            let mut links = links.iter();
            links.any(|link| link.load == Some(self.dataplane.number()))
        });
        ours && self.dataplane.sizes().hold(BankSizes::of(&ready.tables))
    }

    /// The next policy into the same tables. `attach`: interfaces are looked at again, too.
    pub(super) fn switch(
        &mut self,
        mut ready: Box<Ready>,
        directories: &Directories,
        attach: bool,
    ) -> Result<(), Refusal> {
        ready.with_hz(self.dataplane.hz())?;
        let bank = self.dataplane.free_bank()?;
        let clock = self.clock()?;
        if let Ok(counters) = self.dataplane.rule_counters(bank) {
            // The sums are on disk before the counters go.
            self.totals.fold(bank, &counters, &clock);
            self.write_totals(directories);
        }
        let generation = self.generation.wrapping_add(1);
        self.dataplane.write(bank, &ready.tables, generation)?;
        let (fallback, _) = self.dataplane.switch()?.in_force(clock.tick);
        self.dataplane
            .switch_to(Switch::to(bank, fallback, generation))?;
        self.generation = generation;
        self.since = Timestamp::now();
        self.reverted = None;
        self.totals
            .enter(BankRules::of(bank, generation, &ready.resolved.rule_set));
        if attach {
            let guard = Guard::all(&mut self.dataplane, &ready);
            self.interfaces = guard.interfaces;
            self.problems = guard.problems;
            self.lost.clear();
        }
        self.ready = ready;
        self.write_down(directories);
        Ok(())
    }

    /// Ticks and time of this moment.
    pub(super) fn clock(&self) -> Result<Clock, Error> {
        Ok(Clock {
            tick: self.dataplane.clock().now()?.tick(),
            hz: self.dataplane.hz(),
            time: Timestamp::now(),
        })
    }

    /// Looks whether an unconfirmed policy's time is up. True where the programs have fallen back.
    pub(super) fn fell_back(&mut self) -> Result<bool, Error> {
        let Some(pending) = self.pending else {
            return Ok(false);
        };
        // Asked a little early rather than late; the programs' clock decides.
        let early = jiff::SignedDuration::from_secs(1);
        if Timestamp::now() + early < pending.until {
            return Ok(false);
        }
        let tick = self.clock()?.tick;
        if (tick.wrapping_sub(pending.tick) as i32) < 0 {
            return Ok(false);
        }
        self.pending = None;
        self.reverted = Some(self.ready.hash.clone());
        Ok(true)
    }

    /// Looks whether everything of ours is gone, as `portcullis detach` leaves it.
    pub(super) fn look_for_detached(&mut self, directories: &Directories) -> bool {
        self.detached = matches!(Pinned::open(&directories.pins), Ok(None));
        self.detached
    }

    /// Looks whether what was attached still is. The news, where there is any.
    pub(super) fn look_for_lost(&mut self) -> Option<&[String]> {
        let attached = self.dataplane.attached().unwrap_or_default();
        let there = |name: &str| {
            let live = attached
                .iter()
                .filter(|link| link.interface == name && link.index != 0 && link.load.is_some());
            live.count() >= 2
        };
        let guarded = self.interfaces.iter().filter(|it| it.guarded);
        let lost: Vec<String> = guarded
            .filter(|it| !there(&it.name))
            .map(|it| format!("{}: what was attached is gone, nothing is filtered there; a reload puts it back", it.name))
            .collect();
        if lost == self.lost {
            return None;
        }
        self.lost = lost;
        Some(&self.lost)
    }

    /// The first thing that keeps the host from being guarded as configured.
    pub(super) fn problem(&self) -> Option<&String> {
        self.lost.first().or(self.problems.first())
    }

    /// Removes flows that have outlived their time-out.
    pub(super) fn sweep(&self) -> Result<(), Error> {
        let tick = self.dataplane.clock().now()?.tick();
        let timeouts = Timeouts::for_hz(self.dataplane.hz());
        let mut flows = self.dataplane.flows(FlowTable::Established)?;
        let usage = flows.sweep(tick, &timeouts)?;
        if usage.entries >= usage.capacity as usize {
            log::warn!(
                "all {} entries for established flows are in use; more of them stay in the table of new ones (raise `[conntrack] established`)",
                usage.capacity
            );
        }
        Ok(())
    }

    /// What the programs have to say for themselves.
    pub(super) fn flush_log(&mut self) {
        if let Some(logger) = &mut self.logger {
            logger.flush();
        }
    }

    /// The guarded interfaces and their hooks, in words.
    pub(super) fn guarded(&self) -> String {
        let guarded = self.interfaces.iter().filter(|it| it.guarded);
        let names: Vec<&str> = guarded.map(|it| it.name.as_str()).collect();
        if names.is_empty() {
            "no interface".to_owned()
        } else {
            names.join(", ")
        }
    }

    /// Each interface in a line, for the log.
    pub(super) fn interface_lines(&self) -> impl Iterator<Item = String> {
        let guarded = self.interfaces.iter().filter(|it| it.guarded);
        guarded.map(|it| format!("{}: {}", it.name, it.why))
    }

    /// Plan, notes and totals to where `status` finds them.
    pub(super) fn write_down(&self, directories: &Directories) {
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
            generation: self.generation,
            since: self.since,
            policy_hash: self.ready.hash.clone(),
            interfaces: self.interfaces.clone(),
            products: self.ready.products.clone(),
            problems: [self.outer_problems.as_slice(), &self.lost, &self.problems].concat(),
            unresolved: self.ready.resolved.unresolved.clone(),
            reverted: self.reverted.is_some(),
        };
        tell(files::replace_json(&directories.notes(), 0o644, &notes));
    }

    fn write_totals(&self, directories: &Directories) {
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

fn read_totals(directories: &Directories) -> Totals {
    match files::read_json(&directories.totals()) {
        Ok(totals) => totals.unwrap_or_default(),
        Err(error) => {
            log::error!("counters by row begin at 0 again: {error:#}");
            Totals::default()
        }
    }
}

/// The counters of a load that is left.
fn fold_all(totals: &mut Totals, before: &Pinned, hz: u32) {
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

/// The latest generation that any bank holds.
fn last_generation(pinned: &Pinned) -> Result<u32, Error> {
    let mut last = 0;
    for bank in 0..POLICY_BANKS {
        last = last.max(pinned.head(bank)?.generation);
    }
    Ok(last)
}

/// The tick after which an unconfirmed policy is over.
fn deadline(dataplane: &Dataplane, after: Duration) -> Result<Pending, Error> {
    let jiffies = after
        .as_secs()
        .saturating_mul(u64::from(dataplane.hz()))
        .min(u64::from(u32::MAX >> 2) << TICK_SHIFT);
    // One more: the tick that has begun is not a whole one.
    let ticks = u32::try_from(jiffies >> TICK_SHIFT).unwrap_or(u32::MAX >> 2) + 1;
    let clock = Clock {
        tick: dataplane.clock().now()?.tick(),
        hz: dataplane.hz(),
        time: Timestamp::now(),
    };
    let tick = clock.tick.wrapping_add(ticks);
    Ok(Pending {
        tick,
        until: clock.time_until(tick),
    })
}
