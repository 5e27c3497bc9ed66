//! What changes what is in force: a reload, the time, names, the host itself.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use jiff::Timestamp;

use super::enforce::{Banked, Enforced, Mode, Refusal};
use super::kept::Trial;
use super::names::Known;
use super::notes::Notes;
use super::ready::Ready;
use super::trouble::Trouble;
use super::{Daemon, files, sessions};
use crate::control::{Answer, Became};
use crate::dataplane::Pinned;
use crate::facts::collect::{self, Answers, Wanted};
use crate::facts::{Facts, Interface};
use crate::inputs::{self, Said};

/// How long a change that failed is left alone, unless something else changes.
const PAUSE: Duration = Duration::from_secs(60);

/// How often an audit that is overdue is told.
const REMIND: Duration = Duration::from_secs(24 * 60 * 60);

/// Why the same configuration means something else now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Change {
    /// An `allow` has ended.
    Expiry,
    /// The clock was set back: what had ended may not have.
    Clock,
    /// A name has other addresses.
    Names,
    /// The host has other interfaces, addresses or resolvers.
    Host,
}

impl Change {
    const fn text(self) -> &'static str {
        match self {
            Self::Expiry => "an allow has ended",
            Self::Clock => "the clock was set back",
            Self::Names => "names resolve anew",
            Self::Host => "interfaces, addresses or resolvers of this host changed",
        }
    }
}

/// What is looked at to see whether the host changed.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Host {
    interfaces: Vec<Interface>,
    resolvers: Vec<IpAddr>,
}

impl Host {
    pub(super) fn of(facts: &Facts) -> Self {
        Self::new(facts.interfaces.clone(), facts.resolvers.clone())
    }

    /// Without what no policy hangs on.
    fn new(mut interfaces: Vec<Interface>, resolvers: Vec<IpAddr>) -> Self {
        for interface in &mut interfaces {
            (interface.up, interface.mtu) = (true, 0);
        }
        Self {
            interfaces,
            resolvers,
        }
    }
}

impl Daemon {
    /// Whether the host is another one than the policy in force was made for.
    pub(super) fn look_at_the_host(&mut self) {
        self.try_again();
        let Some(enforced) = &mut self.enforced else {
            return;
        };
        // What was detached on purpose stays so until somebody asks for it by a reload.
        if enforced.look_for_detached(&self.directories) {
            self.change = None;
            self.look_for_lost();
            return;
        }
        match collect::changing() {
            Ok((interfaces, resolvers)) => {
                let host = Host::new(interfaces, resolvers);
                if host != self.host {
                    self.host = host;
                    self.change = Some(Change::Host);
                    self.not_before = None;
                }
            }
            Err(error) => log::warn!("{error:#}"),
        }
        // What the change explains is no loss.
        if self.change.is_none() {
            self.look_for_lost();
        }
        self.remind();
    }

    /// Audits that have outlasted their time, once a day.
    fn remind(&mut self) {
        let Some(enforced) = &self.enforced else {
            return;
        };
        if self.reminded.is_some_and(|last| last.elapsed() < REMIND) {
            return;
        }
        let overdue = enforced.ready.overdue(Timestamp::now());
        if !overdue.is_empty() {
            self.reminded = Some(Instant::now());
        }
        for what in overdue {
            log::error!(
                "{what}: what it would deny still passes; say `stage = \"enforce\"`, or a later day"
            );
        }
    }

    /// What time alone changes.
    pub(super) fn look_at_the_clock(&mut self) {
        self.settle();
        let Some(enforced) = &mut self.enforced else {
            return;
        };
        if enforced.open
            || enforced.deadline.is_some()
            || self.not_before.is_some_and(|then| then > Instant::now())
        {
            return;
        }
        let (now, made) = (Timestamp::now(), enforced.ready.facts.time);
        let next = enforced.ready.resolved.next_change();
        let due = next.is_some_and(|at| at <= now).then_some(Change::Expiry);
        // A policy of later than now was made by a clock that was wrong.
        let back = (now < made).then_some(Change::Clock);
        let change = self.change.or(due).or(back);
        if let Some(change) = change
            && !enforced.look_for_detached(&self.directories)
        {
            self.change = None;
            self.resolve_again(change);
        }
    }

    /// The same configuration on a host, or at a time, that is another now.
    pub(super) fn resolve_again(&mut self, change: Change) {
        let what = change.text();
        match self.resolved_again(change) {
            Ok(()) => {
                self.not_before = None;
                self.say_switched(what);
            }
            Err(trouble) => {
                log::error!("{what}, but the policy in force stays:");
                trouble.log();
                self.not_before = Some(Instant::now() + PAUSE);
                let problem = format!("{what}: {}", trouble.summary());
                if !self.problems.contains(&problem) {
                    self.problems.push(problem);
                }
                self.note_problems();
                self.say();
            }
        }
    }

    fn resolved_again(&mut self, change: Change) -> Result<(), Trouble> {
        let Some(enforced) = &self.enforced else {
            return Ok(());
        };
        let said = enforced.ready.said.clone();
        let facts = if change == Change::Host {
            self.facts().map_err(Trouble::Unreadable)?
        } else {
            Facts {
                time: Timestamp::now(),
                names: self.known.names(),
                ..enforced.ready.facts.clone()
            }
        };
        let host = Host::of(&facts);
        self.tell_unsaid_forwarding(&said, &facts);
        let ready = Ready::follow(said, facts)?;
        match &mut self.enforced {
            Some(enforced) if enforced.takes(&ready) && enforced.ready.same_as(&ready) => {
                // The same is enforced; an interface that was made anew is not guarded yet.
                enforced.ready = ready;
                if change == Change::Host {
                    enforced.guard(true);
                }
                enforced.write_down(&self.directories);
                self.explain();
            }
            _ => self.bring(ready, Mode::Follow, change == Change::Host)?,
        }
        self.host = host;
        if let Err(error) = self.keep_as_good() {
            log::error!("{error:#}");
        }
        Ok(())
    }

    /// Forwarding that was turned on after the policy came into force, with nothing said about it, opens nothing and stands in the way of no
    /// other change: it is told, and what is on its way through is denied.
    pub(super) fn tell_unsaid_forwarding(&mut self, said: &Said, facts: &Facts) {
        let problem = "this host forwards now, and nothing says what becomes of such packets: they are denied; add [forward] with default = \"deny\", \"pass\" or \"same-rules\", or turn forwarding off";
        let unsaid = said.config.as_ref().is_some_and(|it| it.forward.is_none());
        let told = self.problems.iter().any(|it| it == problem);
        if facts.forwards() && unsaid {
            if !told {
                log::error!("{problem}");
                self.problems.push(problem.to_owned());
                self.note_problems();
            }
        } else if told {
            self.problems.retain(|it| it != problem);
            self.note_problems();
        }
    }

    /// Reads everything again and puts it in force, or keeps what is and says why.
    pub(super) fn reload(&mut self) -> Answer {
        self.manager.reloading();
        let answer = self.reloaded();
        self.say();
        self.manager.ready();
        answer
    }

    fn reloaded(&mut self) -> Answer {
        self.settle();
        match self.held() {
            Ok(None) => {}
            Ok(Some(held)) => {
                log::error!("reload refused: {held}");
                return Answer::refused(&held.to_string());
            }
            Err(error) => return Answer::refused(&error.to_string()),
        }
        let said = match inputs::read(&self.args) {
            Ok(said) => said,
            Err(error) => return self.reload_refused(&Trouble::Unreadable(error)),
        };
        if let Some(mark) = self.mark_on(&said) {
            let message = format!(
                "the texts on disk {}, so what is in force stays; `portcullis apply` puts them in force all the same",
                mark.what()
            );
            log::error!("reload refused: {message}");
            return Answer::refused(&message);
        }
        let done = self.prepare(said).and_then(|ready| {
            super::log::findings(&ready.findings);
            self.put_in_force(ready, Mode::Change)
        });
        match done.and_then(|()| self.is_good()) {
            Ok(()) => {
                self.say_switched("reloaded");
                self.done(Became::Done, "reloaded", String::new())
            }
            Err(trouble) => self.reload_refused(&trouble),
        }
    }

    fn reload_refused(&mut self, trouble: &Trouble) -> Answer {
        log::error!("reload refused, what was in force stays:");
        trouble.log();
        self.problems = vec![format!("reload refused: {}", trouble.summary())];
        self.note_problems();
        trouble.answer()
    }

    /// Texts understood, on this host as it is now.
    pub(super) fn prepare(&self, said: Said) -> Result<Box<Ready>, Trouble> {
        let facts = self.facts().map_err(Trouble::Unreadable)?;
        Ok(Ready::prepare(said, facts)?)
    }

    /// Into the kernel. What is kept on disk is the caller's, but for the mark of a trial, which must be there before the switch.
    pub(super) fn put_in_force(&mut self, ready: Box<Ready>, mode: Mode) -> Result<(), Trouble> {
        let (names, host) = (ready.said.names(), Host::of(&ready.facts));
        if let Mode::Trial(_) = mode {
            let first = self.enforced.as_ref().is_none_or(|it| it.open);
            let trial = Trial::begin(ready.said.texts.hash(), first);
            trial.write(&self.directories).map_err(|error| {
                Trouble::Unreadable(
                    error.context("nothing is tried that a restart could take for confirmed"),
                )
            })?;
            if let Err(trouble) = self.bring(ready, mode, true) {
                self.write_mark();
                return Err(trouble);
            }
            self.trial = Some(trial);
        } else {
            self.bring(ready, mode, true)?;
        }
        self.problems.clear();
        if let Some(enforced) = &mut self.enforced
            && !enforced.outer_problems.is_empty()
        {
            enforced.outer_problems.clear();
            enforced.write_notes(&self.directories);
        }
        self.host = host;
        self.change = None;
        self.not_before = None;
        self.asking.need(names);
        Ok(())
    }

    /// The next policy, through larger tables where it needs them.
    fn bring(&mut self, ready: Box<Ready>, mode: Mode, attach: bool) -> Result<(), Trouble> {
        if let Some(enforced) = &mut self.enforced
            && enforced.takes(&ready)
        {
            enforced.switch(ready, &self.directories, mode, attach)?;
        } else {
            let along = self.enforced.as_ref();
            let (mut larger, kept) = Enforced::bring_up(ready, &self.directories, mode, along)?;
            let ring = larger.dataplane.events().map_err(Refusal::from)?;
            if let Some(old) = self.enforced.take() {
                larger.outer_problems = old.outer_problems;
                larger.reverted = old.reverted && mode == Mode::Follow;
                larger.previous = kept.map(|bank| Banked {
                    ready: old.ready,
                    bank,
                    generation: old.generation,
                });
                larger.write_notes(&self.directories);
            }
            self.enforced = Some(larger);
            self.reporter.listen(ring.into());
        }
        self.leave_to_the_programs();
        self.explain();
        Ok(())
    }

    pub(super) fn explain(&mut self) {
        if let Some(enforced) = &self.enforced {
            let ready = &enforced.ready;
            self.reporter.explain_by(
                enforced.in_force(),
                &ready.knowledge,
                ready.config.events.window,
                ready.facts.ephemeral.range(),
            );
        }
    }

    /// This host now, with what is known of names.
    pub(super) fn facts(&self) -> Result<Facts> {
        let collected = collect::collect(&Wanted::default())?;
        for note in &collected.notes {
            log::warn!("{note}");
        }
        let mut facts = collected.facts;
        facts.names = self.known.names();
        Ok(facts)
    }

    pub(super) fn known_names(&self) -> Known {
        match files::read_json(&self.directories.names()) {
            Ok(known) => known.unwrap_or_default(),
            Err(error) => {
                log::warn!("addresses of names are asked for anew: {error:#}");
                Known::default()
            }
        }
    }

    pub(super) fn take_names(&mut self, answers: &Answers) {
        self.asking.done(answers);
        for (name, why) in &answers.failed {
            // Once, not at every attempt.
            if self.unanswered.get(name) != Some(why) {
                log::warn!("{name}: {why}");
            }
        }
        self.unanswered.clone_from(&answers.failed);
        let enforced = self.enforced.as_ref();
        if self.known.learn(answers, || sessions::peers(enforced)) {
            self.change = self.change.or(Some(Change::Names));
        }
        if !answers.resolved.is_empty()
            && let Err(error) = files::replace_json(&self.directories.names(), 0o600, &self.known)
        {
            log::error!("{error:#}");
        }
    }

    /// The policy of an earlier process stays; this one tells what it denies.
    pub(super) fn keep(&mut self, before: Option<&Pinned>, trouble: &Trouble) -> Result<()> {
        log::error!("what is in force stays, because the configuration can't be enforced:");
        trouble.log();
        self.problems = vec![format!(
            "an earlier policy is in force: {}",
            trouble.summary()
        )];
        self.note_problems();
        self.read_events_of(before)
    }

    /// Tells what an earlier process's policy denies.
    pub(super) fn read_events_of(&mut self, before: Option<&Pinned>) -> Result<()> {
        match before {
            Some(before) => {
                let ring = before.events().context("cannot read the event ring")?;
                self.reporter.listen(ring.into());
            }
            None => log::error!(
                "another version put it in force, whose events this one can't read: nobody reads what is denied"
            ),
        }
        Ok(())
    }

    /// The notes that `status` reads say what is wrong.
    pub(super) fn note_problems(&mut self) {
        if let Some(enforced) = &mut self.enforced {
            enforced.outer_problems.clone_from(&self.problems);
            enforced.write_notes(&self.directories);
            return;
        }
        // Notes of an earlier process stay, with what is wrong now.
        let path = self.directories.notes();
        let amended = files::read_json::<Notes>(&path).and_then(|notes| match notes {
            Some(mut notes) => {
                notes.problems.clone_from(&self.problems);
                files::replace_json(&path, 0o644, &notes)
            }
            None => Ok(()),
        });
        if let Err(error) = amended {
            log::error!("{error:#}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interface(name: &str) -> Interface {
        Interface {
            name: name.to_owned(),
            index: 2,
            link_type: 1,
            up: true,
            mtu: 1500,
            driver: None,
            master: None,
            parent: None,
            addresses: Vec::new(),
            forwards_v4: false,
            forwards_v6: false,
            has_lease: false,
        }
    }

    #[track_caller]
    fn check(change: impl FnOnce(&mut Interface), expected: bool) {
        let before = Host::new(vec![interface("eth0")], Vec::new());
        let mut changed = interface("eth0");
        change(&mut changed);
        let after = Host::new(vec![changed], Vec::new());
        assert_eq!(before != after, expected, "{after:?}");
    }

    #[test]
    fn a_policy_hangs_on_some_facts_and_not_on_others() {
        check(|_| {}, false);
        check(|it| it.up = false, false); // a cable that is pulled
        check(|it| it.mtu = 9000, false);
        check(|it| it.index = 3, true); // deleted and made again
        check(|it| it.forwards_v4 = true, true);
        check(|it| it.has_lease = true, true);
        check(|it| it.master = Some("bond0".to_owned()), true);
        let resolver = "10.0.0.53".parse().unwrap();
        assert_ne!(
            Host::new(Vec::new(), Vec::new()),
            Host::new(Vec::new(), vec![resolver])
        );
    }
}
