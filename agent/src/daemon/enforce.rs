//! A ready policy into force, and from one to the next.
//!
//! A first start attaches in generation 0, which passes and learns, and then switches. Where something is in force already (a restart, an
//! upgrade, a policy that outgrew its tables) the new load is filled and switched first, and then takes the place of the old one behind
//! its links: no packet is judged by nothing.

use std::time::Duration;

use agent_common::flow::FlowTable;
use agent_common::switch::Switch;
use agent_common::tables::{OPEN_BANK, POLICY_BANKS, Timeouts};
use jiff::Timestamp;
use log::Log;

use super::adopt;
use super::files::Directories;
use super::guard::{Guard, is_attached};
use super::hold::Deadline;
use super::notes::{NotedFlow, NotedInterface};
use super::ready::Ready;
use super::record::{fold_others, read_totals, write_totals};
use super::totals::{BankRules, Clock, Totals};
use crate::dataplane::object::BPF_OBJECT;
use crate::dataplane::{BankSizes, Dataplane, Error, Options, Pinned, detach_all, grace};
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
        "--confirm makes a first policy unconfirmed, and one is in force already, of which this process knows too little to fall back to it; start without --confirm and then use `portcullis apply --confirm`, or end enforcement by `portcullis detach` before"
    )]
    NotFirst,
}

impl From<Findings> for Refusal {
    fn from(findings: Findings) -> Self {
        Self::Findings(Box::new(findings))
    }
}

/// How the next policy comes into force.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Mode {
    /// By hand, or by a reload: what was in force stays whole in its bank, for `revert`.
    Change,
    /// The same, and after this time the programs fall back by themselves unless it is confirmed.
    Trial(Duration),
    /// The same texts on a host, or at a time, that is another now: the bank for `revert` stays what it was.
    Follow,
}

impl Mode {
    const fn trial(self) -> Option<Duration> {
        match self {
            Self::Trial(time) => Some(time),
            Self::Change | Self::Follow => None,
        }
    }
}

/// A policy in a bank, and what it was made from.
pub(super) struct Banked {
    pub(super) ready: Box<Ready>,
    pub(super) bank: u32,
    pub(super) generation: u32,
}

/// What is in force.
pub(super) struct Enforced {
    pub(super) dataplane: Dataplane,
    pub(super) ready: Box<Ready>,
    pub(super) generation: u32,
    pub(super) bank: u32,
    /// The highest generation that was given.
    latest: u32,
    pub(super) since: Timestamp,
    /// What was in force before, whole in its bank: the fallback.
    pub(super) previous: Option<Banked>,
    /// A trial or a pause that ends by itself.
    pub(super) deadline: Option<Deadline>,
    /// A first policy was not confirmed, or was reverted: generation 0 is in force, and `ready` is not.
    pub(super) open: bool,
    pub(super) interfaces: Vec<NotedInterface>,
    /// What keeps the host from being guarded as configured.
    pub(super) problems: Vec<String>,
    /// Everything was taken away, as it was looked at last.
    pub(super) detached: bool,
    /// What went away since it was attached.
    pub(super) lost: Vec<String>,
    /// Why the configuration on disk is not the one in force.
    pub(super) outer_problems: Vec<String>,
    /// The configuration on disk was taken back, and what was before it is in force.
    pub(super) reverted: bool,
    pub(super) totals: Totals,
    /// Flows that were open before the first attach, and that this policy ended.
    pub(super) cut: Vec<NotedFlow>,
    logger: Option<aya_log::EbpfLogger<&'static dyn Log>>,
}

/// What is attached before a load, by its pins.
struct Before {
    pinned: Option<Pinned>,
    attached: bool,
    /// Generation 0 is in force.
    open: bool,
    /// The tick at which a pause ends.
    pause: Option<u32>,
    latest: u32,
}

impl Before {
    fn look(directories: &Directories) -> Result<Self, Error> {
        let pinned = Pinned::open(&directories.pins)?;
        let attached = is_attached(&directories.pins, pinned.as_ref())?;
        let (mut open, mut pause, mut latest) = (false, None, 0);
        if let Some(pinned) = &pinned {
            let word = pinned.switch()?;
            let (bank, paused) = word.in_force(pinned.clock().now()?.tick());
            open = bank == OPEN_BANK;
            pause = word.deadline().filter(|_| paused);
            latest = last_generation(pinned)?;
        }
        Ok(Self {
            pinned,
            attached,
            open,
            pause,
            latest,
        })
    }
}

impl Enforced {
    /// Loads and attaches, whatever is in force now. `along` is what this process has in force in tables that are too small: its policy
    /// decides until every program is replaced, and is what a trial falls back to. With it comes the bank that holds it in the new tables.
    pub(super) fn bring_up(
        mut ready: Box<Ready>,
        directories: &Directories,
        mode: Mode,
        along: Option<&Self>,
    ) -> Result<(Self, Option<u32>), Refusal> {
        let before = Before::look(directories)?;
        let load = before.pinned.as_ref().map(Pinned::load);
        let along =
            along.filter(|it| before.attached && !it.open && load == Some(it.dataplane.number()));
        if before.attached && !before.open && along.is_none() && mode.trial().is_some() {
            return Err(Refusal::NotFirst);
        }
        let generation = before.latest.wrapping_add(1);
        let options = Options {
            root: directories.pins.clone(),
            flows_new: ready.config.conntrack.new,
            flows_established: ready.config.conntrack.established,
            ..Options::default()
        };
        let mut need = BankSizes::of(&ready.tables);
        if let Some(along) = along {
            need = need.max(BankSizes::of(&along.ready.tables));
        }
        let mut dataplane = Dataplane::load(BPF_OBJECT, need.with_room(), &options)?;
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
        let kept = match along {
            Some(along) => {
                let bank = dataplane.free_bank()?;
                dataplane.write(bank, &along.ready.tables, along.generation)?;
                dataplane.switch_to(Switch::to(bank, OPEN_BANK, along.generation))?;
                Some(bank)
            }
            None => None,
        };
        let fallback = kept.filter(|_| mode != Mode::Follow).unwrap_or(OPEN_BANK);
        let word = Switch::to(bank, fallback, generation);
        let end = |dataplane: &Dataplane| match (mode.trial(), before.pause) {
            (Some(time), _) => Deadline::after(dataplane, time, false).map(Some),
            (None, Some(tick)) if before.attached => Deadline::at(dataplane, tick, true).map(Some),
            _ => Ok(None),
        };
        // A reader is told of the new tables before they count, and of the earlier ones until their counters are taken over.
        let mut totals = read_totals(directories);
        let enter = |totals: &mut Totals, bank, generation, ready: &Ready| {
            let rules = &ready.resolved.rule_set;
            totals.enter(BankRules::of(dataplane.number(), bank, generation, rules));
        };
        totals.banks.retain(|held| held.load != dataplane.number());
        enter(&mut totals, bank, generation, &ready);
        if let (Some(along), Some(bank)) = (along, kept) {
            enter(&mut totals, bank, along.generation, &along.ready);
        }
        write_totals(directories, &totals);
        let leave = mode.trial().is_none();
        let mut cut = Vec::new();
        let (mut guard, deadline) = if before.attached {
            // Another version's tables, or lost ones: replies are not to wait until this host sends.
            let forgot = dataplane.forgot_flows();
            if forgot {
                adopt::open(&mut dataplane, &ready);
            }
            let mut deadline = None;
            if along.is_none() {
                deadline = end(&dataplane)?;
                dataplane.switch_to(deadline.map_or(word, |it| it.on(word)))?;
            }
            let guard = Guard::all(&mut dataplane, &ready, leave);
            if forgot {
                // What began while the earlier programs were still in force.
                adopt::open(&mut dataplane, &ready);
            }
            if along.is_some() {
                deadline = end(&dataplane)?;
                dataplane.switch_to(deadline.map_or(word, |it| it.on(word)))?;
            }
            (guard, deadline)
        } else {
            let guard = Guard::all(&mut dataplane, &ready, leave);
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
            // Generation 0 passes everything and notes what begins from here on.
            let flows = adopt::open(&mut dataplane, &ready);
            cut = adopt::cut(&ready, &flows);
            let deadline = end(&dataplane)?;
            dataplane.switch_to(deadline.map_or(word, |it| it.on(word)))?;
            (guard, deadline)
        };
        guard.prove(&dataplane, &ready);
        if let Err(error) = grace() {
            log::warn!("packets under way may be missing in the counters by row: {error}");
        }
        fold_others(&mut totals, &dataplane, before.pinned.as_ref());
        let mut enforced = Self {
            dataplane,
            ready,
            generation,
            bank,
            latest: generation,
            since: Timestamp::now(),
            previous: None,
            deadline,
            open: false,
            interfaces: guard.interfaces,
            problems: guard.problems,
            detached: false,
            lost: Vec::new(),
            outer_problems: Vec::new(),
            reverted: false,
            totals,
            cut,
            logger,
        };
        enforced.write_down(directories);
        drop(before);
        if let Err(error) = enforced.dataplane.retire_others() {
            log::warn!("tables of an earlier load stay pinned: {error}");
        }
        Ok((enforced, kept.filter(|_| mode != Mode::Follow)))
    }

    /// Whether the tables that are loaded hold a policy, and are still what is attached.
    pub(super) fn takes(&self, ready: &Ready) -> bool {
        let attached = self.dataplane.attached();
        let ours = attached.is_ok_and(|links| {
            let mut links = links.iter();
            links.any(|link| link.load == Some(self.dataplane.number()))
        });
        ours && self.ready.config.conntrack == ready.config.conntrack
            && self.dataplane.sizes().hold(BankSizes::of(&ready.tables))
    }

    /// The next policy into the same tables. `attach`: interfaces are looked at again, too.
    pub(super) fn switch(
        &mut self,
        mut ready: Box<Ready>,
        directories: &Directories,
        mode: Mode,
        attach: bool,
    ) -> Result<(), Refusal> {
        ready.with_hz(self.dataplane.hz())?;
        let bank = self.dataplane.free_bank()?;
        let generation = self.latest.wrapping_add(1);
        self.hand_over(bank, generation, &ready)?;
        self.write_totals(directories);
        self.dataplane.write(bank, &ready.tables, generation)?;
        let fallback = match mode {
            Mode::Follow => self.previous.as_ref().map(|it| it.bank),
            Mode::Change | Mode::Trial(_) => (!self.open).then_some(self.bank),
        };
        let word = Switch::to(bank, fallback.unwrap_or(OPEN_BANK), generation);
        let deadline = match mode.trial() {
            Some(time) => Some(Deadline::after(&self.dataplane, time, false)?),
            None => None,
        };
        self.dataplane
            .switch_to(deadline.map_or(word, |it| it.on(word)))?;
        let before = Banked {
            ready: std::mem::replace(&mut self.ready, ready),
            bank: std::mem::replace(&mut self.bank, bank),
            generation: std::mem::replace(&mut self.generation, generation),
        };
        if mode != Mode::Follow {
            self.previous = (!self.open).then_some(before);
            self.cut.clear();
        }
        self.latest = generation;
        self.since = Timestamp::now();
        self.deadline = deadline;
        (self.open, self.reverted) = (false, self.reverted && mode == Mode::Follow);
        if attach {
            self.guard(deadline.is_none());
        }
        self.write_down(directories);
        Ok(())
    }

    /// The sums take over what a bank has counted, and name what it will hold: both are on disk before it is written.
    fn hand_over(&mut self, bank: u32, generation: u32, ready: &Ready) -> Result<(), Error> {
        let load = self.dataplane.number();
        let held = self.dataplane.head(bank)?.generation;
        if let Some(rules) = self.totals.held(load, bank, held).cloned()
            && let Ok(counters) = self.dataplane.last_counters(bank)
        {
            let clock = self.clock()?;
            self.totals.fold(&rules, &counters, &clock);
        }
        let rules = &ready.resolved.rule_set;
        self.totals
            .enter(BankRules::of(load, bank, generation, rules));
        Ok(())
    }

    /// Attaches where the policy wants it, and, unless a trial is under way, detaches elsewhere.
    pub(super) fn guard(&mut self, leave: bool) {
        let mut guard = Guard::all(&mut self.dataplane, &self.ready, leave);
        guard.prove(&self.dataplane, &self.ready);
        self.interfaces = guard.interfaces;
        self.problems = guard.problems;
        self.lost.clear();
    }

    /// The generation in force.
    pub(super) fn in_force(&self) -> u32 {
        if self.open { 0 } else { self.generation }
    }

    /// Ticks and time of this moment.
    pub(super) fn clock(&self) -> Result<Clock, Error> {
        Ok(Clock {
            tick: self.dataplane.clock().now()?.tick(),
            hz: self.dataplane.hz(),
            time: Timestamp::now(),
        })
    }

    /// Looks whether everything of ours is gone, as `portcullis detach` leaves it.
    pub(super) fn look_for_detached(&mut self, directories: &Directories) -> bool {
        self.detached = matches!(Pinned::open(&directories.pins), Ok(None));
        self.detached
    }

    /// Looks whether what was attached still is. The news, where there is any.
    pub(super) fn find_lost(&mut self) -> Option<&[String]> {
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
            .map(|it| {
                format!(
                    "{}: what was attached is gone, nothing is filtered there",
                    it.name
                )
            })
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
}

/// The latest generation that any bank holds.
fn last_generation(pinned: &Pinned) -> Result<u32, Error> {
    let mut last = 0;
    for bank in 0..POLICY_BANKS {
        last = last.max(pinned.head(bank)?.generation);
    }
    Ok(last)
}
