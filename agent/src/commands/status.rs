//! `portcullis status`: what is in force and what it has counted, answered from the pins, with or without a daemon.

mod text;
mod view;

use std::collections::BTreeMap;

use agent_common::event::Direction;
use agent_common::flow::FlowTable;
use agent_common::switch::Switch;
use agent_common::tables::{OPEN_BANK, Timeouts};
use anyhow::Result;
use jiff::Timestamp;

pub(crate) use self::view::{Conntrack, Counts, Filter, Forwarded, Interface, State, Table, View};
use super::{Outcome, Status};
use crate::cli::StatusArgs;
use crate::control;
use crate::daemon::files::{self, Directories};
use crate::daemon::{Clock, NotedInterface, Notes, totals_now};
use crate::dataplane::{Counters, Error, LinkView, Pinned, guarded_by_others};
use crate::failsafe;
use crate::rule::Forward;

/// Shows it. Exit code 3 where no daemon runs, 77 where the pins may not be read.
///
/// # Errors
///
/// Where the result can't be written as JSON, which does not happen.
pub fn run(args: &StatusArgs) -> Result<Outcome> {
    let directories = Directories {
        state: args.state.clone(),
        runtime: args.runtime.clone(),
        pins: args.pins.pins.clone(),
    };
    let json = args.format.json();
    let outcome = answer(&directories, json);
    if outcome.status != Status::NoPermission {
        return Ok(outcome);
    }
    // The daemon may say what this user may not look up.
    let asked = control::ask(&directories.runtime, control::Command::Status { json });
    Ok(match asked {
        Ok(told) => super::control::outcome(told),
        Err(_) => outcome,
    })
}

/// What `portcullis status` says: the daemon gives the same answer through its control socket.
#[must_use]
pub fn answer(directories: &Directories, json: bool) -> Outcome {
    let pid = files::running(&directories.runtime);
    let view = match look(directories, pid) {
        Ok(view) => view,
        Err(error) if error.is_permission() => {
            return Outcome::refused(Status::NoPermission, &error.to_string());
        }
        Err(error) => return Outcome::refused(Status::Failed, &error.to_string()),
    };
    let stdout = if json {
        match serde_json::to_string_pretty(&view) {
            Ok(text) => text + "\n",
            Err(error) => return Outcome::refused(Status::Failed, &error.to_string()),
        }
    } else {
        text::text(&view)
    };
    let status = if pid.is_some() {
        Status::Done
    } else {
        Status::NotRunning
    };
    Outcome {
        stdout,
        stderr: String::new(),
        status,
    }
}

/// What is in force and what it has counted.
///
/// # Errors
/// What the kernel says of the pins.
pub(crate) fn look(directories: &Directories, pid: Option<u32>) -> Result<View, Error> {
    let mut view = View::nothing(pid);
    let others = guarded_by_others(&directories.pins)?;
    if !others.is_empty() {
        view.state = State::Degraded;
        view.problems.push(format!(
            "{}: programs of another version are in force, whose tables this one can't read; `portcullis run` of this version replaces them, `portcullis detach` removes them",
            others.join(", ")
        ));
    }
    let Some(pinned) = Pinned::open(&directories.pins)? else {
        stood_in_for(&mut view, directories);
        return Ok(view);
    };
    view.pins = Some(pinned.directory().display().to_string());
    let notes = match files::read_json::<Notes>(&directories.notes()) {
        // Notes of another load are about what is in force no more.
        Ok(notes) => notes.filter(|notes| notes.load == pinned.load()),
        Err(error) => {
            view.problems.push(format!("{error:#}"));
            None
        }
    };
    interfaces(&mut view, pinned.links(), notes.as_ref());
    let word = pinned.switch()?;
    let clock = clock(&pinned)?;
    let (bank, paused) = word.in_force(clock.tick);
    let head = pinned.head(bank)?;
    view.generation = Some(head.generation);
    view.forward = Forward::of(head.flags).map(Forward::name);
    let expired = word.deadline().is_some_and(|tick| passed(clock.tick, tick));
    view.deadline = word
        .deadline()
        .filter(|_| !expired)
        .map(|tick| clock.time_until(tick));
    let mut reverted = expired && !word.is_pause();
    if let Some(notes) = notes {
        if notes.generation == head.generation {
            view.since = Some(notes.since);
            view.policy_hash = Some(notes.policy_hash);
        }
        view.problems.extend(notes.problems);
        view.products = notes.products;
        view.audits = notes.audits;
        view.unresolved = notes.unresolved;
        view.cut = notes.cut;
        reverted |= notes.reverted;
    }
    view.state = state(&view, word, paused, expired, reverted);
    view.counters = Some(counts(&pinned, directories, &clock)?);
    // Read first: an entry that is made meanwhile must not count as evicted.
    let entries = pinned.flow_counts()?;
    let usage = |table| -> Result<Table, Error> {
        let flows = pinned.flows(table)?;
        let timeouts = Timeouts::for_hz(clock.hz);
        Ok(flows.usage(clock.tick, &timeouts)?.into())
    };
    let new = usage(FlowTable::New)?;
    let there = entries.removed + (new.entries + new.expired) as u64;
    view.conntrack = Some(Conntrack {
        established: usage(FlowTable::Established)?,
        new,
        evicted: entries.made.saturating_sub(there),
        found_full: entries.found_full,
    });
    Ok(view)
}

/// Nothing is pinned: a daemon may run all the same, and the failsafe table stand in for the programs.
fn stood_in_for(view: &mut View, directories: &Directories) {
    let there = failsafe::is_there();
    if !there && !view.daemon {
        return;
    }
    if let Ok(Some(notes)) = files::read_json::<Notes>(&directories.notes())
        && notes.load == 0
    {
        view.since = Some(notes.since);
        view.problems.extend(notes.problems);
    } else if there {
        view.problems.push(format!(
            "the nftables table {} is in force; `portcullis detach` removes it",
            failsafe::TABLE
        ));
    }
    if !view.problems.is_empty() {
        view.state = State::Degraded;
    }
}

fn passed(now: u32, deadline: u32) -> bool {
    now.wrapping_sub(deadline) as i32 >= 0
}

/// Ticks, their rate and the time. The rate is told by the open bank's time-outs, which the load wrote for what it measured.
fn clock(pinned: &Pinned) -> Result<Clock, Error> {
    let timeouts = pinned.head(OPEN_BANK)?.timeouts;
    let hz = [100, 250, 300, 1000]
        .into_iter()
        .find(|&hz| Timeouts::for_hz(hz) == timeouts)
        .unwrap_or(250);
    Ok(Clock {
        tick: pinned.clock().now()?.tick(),
        hz,
        time: Timestamp::now(),
    })
}

fn state(view: &View, word: Switch, paused: bool, expired: bool, reverted: bool) -> State {
    let nothing = view
        .interfaces
        .iter()
        .all(|it| it.ingress.is_none() && it.egress.is_none());
    if nothing && view.interfaces.iter().all(|it| it.why.is_none()) {
        State::Detached
    } else if nothing || !view.problems.is_empty() {
        State::Degraded
    } else if word.deadline().is_some() && !word.is_pause() && !expired {
        State::PendingConfirm
    } else if paused {
        State::Paused
    } else if reverted {
        State::Reverted
    } else if !view.audits.is_empty() || view.products.iter().any(|it| it.stage == "audit") {
        State::Audit
    } else {
        State::Enforcing
    }
}

/// Interfaces by what is attached and by what the notes expect.
fn interfaces(view: &mut View, links: &[LinkView], notes: Option<&Notes>) {
    let mut found: BTreeMap<String, Interface> = BTreeMap::new();
    let noted = || notes.iter().flat_map(|notes| &notes.interfaces);
    let new = |name: &str| Interface {
        name: name.to_owned(),
        index: None,
        guarded: false,
        hook: None,
        why: None,
        ingress: None,
        egress: None,
    };
    for noted in noted() {
        let interface = found
            .entry(noted.name.clone())
            .or_insert_with(|| new(&noted.name));
        interface.why = Some(noted.why.clone());
        interface.guarded = noted.guarded;
    }
    for link in links {
        let interface = found
            .entry(link.interface.clone())
            .or_insert_with(|| new(&link.interface));
        let filter = Filter {
            mechanism: link.hook.mechanism().name(),
            program: link.program,
            link: link.link,
            load: link.load,
        };
        if link.index != 0 {
            interface.index = Some(link.index);
        }
        if link.hook.is_ingress() {
            interface.hook = Some(link.hook.in_force().name());
            interface.ingress = Some(filter);
        } else {
            interface.egress = Some(filter);
        }
    }
    for interface in found.values_mut() {
        let name = &interface.name;
        let expected = interface.guarded;
        let in_force =
            |filter: &Option<Filter>| filter.as_ref().is_some_and(|it| it.load.is_some());
        interface.guarded = interface.index.is_some()
            && in_force(&interface.ingress)
            && in_force(&interface.egress);
        if interface.guarded {
            // Whose problem says why.
            let unproved = |it: &NotedInterface| it.unproved && it.name == *name;
            interface.guarded = !noted().any(unproved);
            continue;
        }
        let attached = interface.ingress.is_some() || interface.egress.is_some();
        if attached && interface.index.is_none() {
            view.problems.push(format!(
                "{name}: the interface that was guarded is gone; a running agent guards one of that name once it is there"
            ));
        } else if attached {
            view.problems.push(format!(
                "{name}: not every program in its place is ours; a running agent puts them back"
            ));
        } else if expected {
            view.problems
                .push(format!("{name}: nothing is attached any more"));
        }
    }
    view.interfaces = found.into_values().collect();
}

fn counts(pinned: &Pinned, directories: &Directories, clock: &Clock) -> Result<Counts, Error> {
    let Counters {
        balance,
        reasons,
        through,
    } = pinned.counters()?;
    let totals = totals_now(directories, pinned, clock);
    let denied = balance.reported + balance.suppressed + balance.lost;
    let audited = balance.audit_reported + balance.audit_suppressed + balance.audit_lost;
    // What was denied or audited is counted by reason as well; the rest of it passed.
    let by_reason_all: u64 = reasons.iter().map(|(_, _, packets)| packets).sum();
    let mut by_reason = BTreeMap::from([("ingress", BTreeMap::new()), ("egress", BTreeMap::new())]);
    for (direction, reason, packets) in reasons {
        let direction = match direction {
            Direction::Ingress => "ingress",
            Direction::Egress => "egress",
        };
        by_reason
            .entry(direction)
            .or_default()
            .insert(reason.name(), packets);
    }
    Ok(Counts {
        passed: totals.passed + by_reason_all.saturating_sub(denied + audited),
        audited,
        denied,
        reported: balance.reported,
        suppressed: balance.suppressed,
        lost: balance.lost,
        audit_reported: balance.audit_reported,
        audit_suppressed: balance.audit_suppressed,
        audit_lost: balance.audit_lost,
        put_back: totals.put_back,
        forwarded: Forwarded::of(through),
        by_reason,
        by_row: totals.rows,
    })
}

#[cfg(test)]
mod tests;
