//! What the operator asks for by hand, through the control socket.

use std::time::Duration;

use anyhow::Result;

use super::change::Change;
use super::enforce::{Mode, Refusal};
use super::hold::{Ended, Held};
use super::kept::{LastGood, Trial};
use super::ready::Ready;
use super::trouble::Trouble;
use super::{Daemon, sessions};
use crate::control::{Answer, Became, Command, Session};
use crate::dataplane::Error;
use crate::inputs::{self, Said};

/// As many sessions as are listed.
const LISTED: usize = 50;

impl Daemon {
    /// Does it, or says why not.
    pub(super) fn obey(&mut self, command: Command) -> Answer {
        self.settle();
        let done = match command {
            Command::Apply { confirm, cut, own } => {
                let confirm = confirm.map(Duration::from_secs);
                self.apply(confirm, cut, &own).unwrap_or_else(|it| *it)
            }
            Command::Confirm => self.confirm(),
            Command::Revert => self.revert(),
            Command::Reload => self.reload(),
            Command::Pause { seconds } => self.pause(Duration::from_secs(seconds)),
            Command::Status { .. } => Answer::refused("status is answered from the pins"),
            Command::Events => Answer::refused("events are streamed, not answered"),
        };
        self.say();
        done
    }

    /// An answer about what is in force now.
    pub(super) fn done(&self, became: Became, what: &str, stderr: String) -> Answer {
        let Some(enforced) = &self.enforced else {
            return Answer::new(became, 0, format!("{what}\n"), stderr);
        };
        let text = if enforced.open {
            format!(
                "{what}: generation 0 is in force on {}, and everything passes\n",
                enforced.guarded()
            )
        } else {
            format!(
                "{what}: generation {} is in force on {}\n",
                enforced.generation,
                enforced.guarded()
            )
        };
        let mut answer = Answer::new(became, 0, text, stderr);
        answer.generation = Some(enforced.in_force());
        answer.until = enforced.deadline.map(|it| it.until);
        answer
    }

    /// Why nothing may switch now.
    pub(super) fn held(&self) -> Result<Option<Held>, Error> {
        self.enforced.as_ref().map_or(Ok(None), |it| it.held())
    }

    fn not_held(&self) -> Result<(), Box<Answer>> {
        match self.held() {
            Ok(None) => Ok(()),
            Ok(Some(held)) => Err(Box::new(Answer::refused(&held.to_string()))),
            Err(error) => Err(Box::new(Answer::refused(&error.to_string()))),
        }
    }

    fn apply(
        &mut self,
        confirm: Option<Duration>,
        cut: usize,
        own: &[Session],
    ) -> Result<Answer, Box<Answer>> {
        self.not_held()?;
        let refused = |trouble: Trouble| {
            log::error!(
                "apply refused, what was in force stays: {}",
                trouble.summary()
            );
            Box::new(trouble.answer())
        };
        let said = inputs::read(&self.args).map_err(|error| refused(Trouble::Unreadable(error)))?;
        let ready = self.prepare(said).map_err(refused)?;
        let talk = ready.findings.render(false);
        if self.is_in_force(&ready) {
            // Whatever kept files from being in force is over: these are.
            self.problems.clear();
            if let Some(enforced) = &mut self.enforced {
                // It enforces the same; what is told of it may differ.
                enforced.ready = ready;
                enforced.reverted = false;
                enforced.outer_problems.clear();
                enforced.write_down(&self.directories);
            }
            self.explain();
            self.is_good().map_err(refused)?;
            return Ok(self.done(Became::Unchanged, "unchanged", talk));
        }
        self.spares_sessions(&ready, cut, own)?;
        let mode = confirm.map_or(Mode::Change, Mode::Trial);
        self.put_in_force(ready, mode).map_err(refused)?;
        self.say_switched("applied");
        let Some(time) = confirm else {
            self.is_good().map_err(refused)?;
            return Ok(self.done(Became::Done, "applied", talk));
        };
        let before = match self.enforced.as_ref().and_then(|it| it.previous.as_ref()) {
            Some(previous) => format!("generation {}", previous.generation),
            None => "generation 0, which passes everything,".to_owned(),
        };
        let seconds = time.as_secs();
        let mut answer = self.done(Became::Unconfirmed, "unconfirmed", talk);
        answer.stdout += &format!(
            "`portcullis confirm` keeps it; in {seconds} s {before} is in force again by itself\n"
        );
        Ok(answer)
    }

    /// Whether a policy is what is in force, by the means that it asks for.
    fn is_in_force(&self, ready: &Ready) -> bool {
        self.enforced.as_ref().is_some_and(|it| {
            !it.open
                && !it.detached
                && it.lost.is_empty()
                && it.takes(ready)
                && ready.same_as(&it.ready)
        })
    }

    /// Refuses what would cut the operator off, or others without their number being known.
    fn spares_sessions(
        &self,
        ready: &Ready,
        cut: usize,
        own: &[Session],
    ) -> Result<(), Box<Answer>> {
        let before = self.enforced.as_ref();
        let before = before
            .filter(|it| !it.open && !it.detached)
            .map(|it| &*it.ready);
        let lost = sessions::cut(before, ready);
        let list = |sessions: &[Session]| -> String {
            let lines = sessions.iter().take(LISTED).map(|it| format!("  {it}\n"));
            let more = sessions.len().saturating_sub(LISTED);
            let rest = (more > 0).then(|| format!("  and {more} more\n"));
            lines.chain(rest).collect()
        };
        let refuse = |what: String, sessions: &[Session], way: &str| {
            let mut answer = Answer::refused(&what);
            answer.stderr += &list(sessions);
            answer.stderr += way;
            answer.stderr += "\nwhat was in force stays\n";
            Err(Box::new(answer))
        };
        let (mine, others): (Vec<Session>, Vec<Session>) =
            lost.sessions.iter().partition(|it| own.contains(it));
        if !mine.is_empty() {
            return refuse(
                "it would cut the session that you sit in:".to_owned(),
                &mine,
                "admit that peer, for example in [failsafe.ssh], or work from where the policy admits you",
            );
        }
        let (failsafe, others): (Vec<Session>, Vec<Session>) = others
            .iter()
            .partition(|it| lost.failsafe.contains(&it.local.port()));
        if !failsafe.is_empty() {
            return refuse(
                format!("it would cut sessions of a failsafe ({}):", failsafe.len()),
                &failsafe,
                "admit those peers in the failsafe, or end those sessions before",
            );
        }
        let count = others.len();
        if count > cut {
            return refuse(
                format!("it would cut {count} sessions:"),
                &others,
                &format!("if that is meant, repeat it with --cut {count}"),
            );
        }
        Ok(())
    }

    fn confirm(&mut self) -> Answer {
        let on_trial = self
            .enforced
            .as_ref()
            .is_some_and(|it| it.deadline.is_some_and(|deadline| !deadline.pause));
        if !on_trial {
            return Answer::refused(
                "no policy waits for its confirmation; `portcullis status` says what is in force",
            );
        }
        // On disk before it is for good: a crash in between leaves a trial that was confirmed.
        let kept = self.keep_as_good();
        if let Some(enforced) = &mut self.enforced
            && let Err(error) = enforced.stay(&self.directories)
        {
            return Answer::refused(&error.to_string());
        }
        self.say_switched("confirmed");
        let mut answer = self.done(Became::Done, "confirmed", String::new());
        if let Err(error) = kept.and_then(|()| self.unmark()) {
            log::error!("{error:#}");
            answer.code = 1;
            answer.stderr = format!(
                "error: {error:#}\nit is in force, but a restart will not know that it was confirmed\n"
            );
        }
        answer
    }

    fn revert(&mut self) -> Answer {
        let Some(enforced) = &mut self.enforced else {
            return Answer::refused(
                "an earlier process put in force what is; there is nothing to go back to",
            );
        };
        let ended = match enforced.deadline {
            Some(deadline) if deadline.pause => Some(Ended::Pause),
            Some(_) => Some(Ended::Trial),
            None => None,
        };
        if ended == Some(Ended::Pause) {
            if let Err(error) = enforced.stay(&self.directories) {
                return Answer::refused(&error.to_string());
            }
            self.say_switched("the pause was ended");
            return self.done(Became::Done, "the pause is over", String::new());
        }
        if ended.is_none() && enforced.previous.is_none() {
            return Answer::refused(
                "no earlier policy is held in the kernel; change the configuration back and apply it, `portcullis pause` lets denials pass for a while",
            );
        }
        match self.take_back() {
            Ok(()) => {
                log::error!("reverted by hand: {}", self.status());
                // On the host as it is now.
                if self.enforced.as_ref().is_some_and(|it| !it.open) {
                    self.resolve_again(Change::Host);
                }
                self.done(Became::Done, "reverted", String::new())
            }
            Err(error) => Answer::refused(&error.to_string()),
        }
    }

    fn pause(&mut self, time: Duration) -> Answer {
        if let Err(answer) = self.not_held() {
            return *answer;
        }
        let Some(enforced) = self.enforced.as_mut().filter(|it| !it.open && !it.detached) else {
            return Answer::refused("nothing is enforced by this daemon that could be paused");
        };
        if let Err(error) = enforced.pause(time, &self.directories) {
            return Answer::refused(&error.to_string());
        }
        log::error!(
            "paused for {} s: what would be denied passes and is reported",
            time.as_secs()
        );
        let seconds = time.as_secs();
        let mut answer = self.done(Became::Done, "paused", String::new());
        answer.stdout += &format!(
            "what would be denied passes and is reported as audit; in {seconds} s it is denied again by itself, `portcullis revert` ends the pause at once\n"
        );
        answer
    }

    /// Takes as the daemon's own what the programs did by themselves at a deadline.
    pub(super) fn settle(&mut self) {
        let Some(enforced) = &mut self.enforced else {
            return;
        };
        match enforced.is_over() {
            Ok(None) => {}
            Ok(Some(Ended::Pause)) => {
                if let Err(error) = enforced.stay(&self.directories) {
                    log::error!("{error}");
                }
                self.say_switched("the pause is over");
            }
            Ok(Some(Ended::Trial)) => {
                let generation = enforced.generation;
                match self.take_back() {
                    Ok(()) => log::error!(
                        "generation {generation} was not confirmed in time: {}",
                        self.status()
                    ),
                    Err(error) => log::error!("{error}"),
                }
                self.say();
            }
            Err(error) => log::error!("{error}"),
        }
    }

    /// What was before is in force again, and the texts that are taken back stay out until somebody applies them.
    fn take_back(&mut self) -> Result<(), Error> {
        let Some(enforced) = &mut self.enforced else {
            return Ok(());
        };
        let first = enforced.previous.is_none();
        self.trial = Some(Trial::over(enforced.ready.said.texts.hash(), first));
        enforced.go_back(&self.directories)?;
        let open = enforced.open;
        self.write_mark();
        if !open && let Err(error) = self.keep_as_good() {
            log::error!("{error:#}");
        }
        self.problems.clear();
        // The host may be another one than when that policy was made.
        self.change = Some(Change::Host);
        self.not_before = None;
        self.explain();
        Ok(())
    }

    /// The mark on these texts, where there is one.
    pub(super) fn mark_on(&self, said: &Said) -> Option<&Trial> {
        let hash = said.texts.hash();
        self.trial.as_ref().filter(|it| it.hash == hash)
    }

    /// Writes the mark that holds, or takes it away.
    pub(super) fn write_mark(&self) {
        let written = match &self.trial {
            Some(trial) => trial.write(&self.directories),
            None => Trial::forget(&self.directories),
        };
        if let Err(error) = written {
            log::error!("{error:#}");
        }
    }

    fn unmark(&mut self) -> Result<()> {
        self.trial = None;
        Trial::forget(&self.directories)
    }

    /// Keeps what is in force for a start that can't enforce the files.
    pub(super) fn keep_as_good(&self) -> Result<()> {
        match &self.enforced {
            Some(enforced) if !enforced.open => {
                LastGood::of(&enforced.ready).write(&self.directories)
            }
            _ => Ok(()),
        }
    }

    /// What is in force is confirmed: kept, and no mark holds any more. That it can't be kept is told and survived.
    pub(super) fn is_good(&mut self) -> Result<(), Trouble> {
        if let Err(error) = self.keep_as_good().and_then(|()| self.unmark()) {
            log::error!("{error:#}");
            self.problems.push(format!("{error:#}"));
            self.note_problems();
        }
        Ok(())
    }
}

/// Where a policy can't be put in force for want of anything to fall back to.
impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Refused(Refusal::Dataplane(error))
    }
}
