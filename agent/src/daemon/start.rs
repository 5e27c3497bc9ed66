//! From the command line to the first policy in force.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use tokio::sync::mpsc::unbounded_channel;

use super::Daemon;
use super::change::Host;
use super::enforce::{Mode, Refusal};
use super::files::{Directories, Lock};
use super::guard::is_attached;
use super::kept::{LastGood, Trial};
use super::losses::Losses;
use super::metrics::Metrics;
use super::names::{Asking, Known};
use super::notify::Manager;
use super::ready::Ready;
use super::reporter::Reporter;
use super::signals::Signals;
use super::trouble::{Trouble, refused};
use crate::cli::RunArgs;
use crate::commands::{Outcome, Status};
use crate::dataplane::Pinned;
use crate::facts::Facts;
use crate::host::schema::{self, Daemon as Settings};
use crate::inputs::{self, Said};

/// Puts a policy in force, or leaves what is, and runs until told to stop.
pub(super) async fn start(args: &RunArgs) -> Result<Outcome> {
    let mut signals = Signals::new().context("cannot listen for signals")?;
    let said = inputs::read(&args.config);
    let directories = directories(args, said.as_ref().ok());
    // Privileges come first: without them nothing else is worth saying.
    let before = Pinned::open(&directories.pins).and_then(|before| {
        let in_force = is_attached(&directories.pins, before.as_ref())?;
        Ok((before, in_force))
    });
    let (before, in_force) = match before {
        Ok(before) => before,
        Err(error) => return Ok(refused(&Refusal::Dataplane(error))),
    };
    directories.prepare()?;
    let lock = match Lock::take(&directories.runtime)? {
        Ok(lock) => lock,
        Err(pid) => {
            let message = format!(
                "another `portcullis run` is at work (process {pid}, {}); stop it first, or send it SIGHUP to read its configuration again",
                directories.runtime.display()
            );
            return Ok(Outcome::refused(Status::Failed, &message));
        }
    };
    let (sender, receiver) = unbounded_channel();
    let mut daemon = Daemon {
        args: args.config.clone(),
        directories,
        enforced: None,
        problems: Vec::new(),
        trial: None,
        stands_in: false,
        stood_in_removed: false,
        reporter: Reporter::new(&sinks(args, said.as_ref().ok()), window(said.as_ref().ok()))
            .context("cannot start the sinks")?,
        manager: Manager::new(),
        known: Known::default(),
        asking: Asking::new(),
        answers: sender,
        unanswered: BTreeMap::new(),
        host: Host::default(),
        change: None,
        not_before: None,
        reminded: None,
        tried: Instant::now(),
        swept: Instant::now(),
        checked: Instant::now(),
        looked: Instant::now(),
        losses: Losses::default(),
        metrics: Metrics::default(),
        control: None,
        deaf: None,
        unread: None,
        _lock: lock,
    };
    daemon.known = daemon.known_names();
    let new = daemon.directories.is_new();
    let spare = said.as_ref().ok().cloned();
    match daemon.begin(said, args.confirm) {
        Ok(()) => {}
        Err(trouble @ Trouble::TakenBack(_)) => {
            // There was nothing before it: what it falls back to passes everything, and is attached or not.
            trouble.log();
            if in_force {
                daemon.read_events_of(before.as_ref())?;
            }
        }
        // What is in force stays, and is told of.
        Err(trouble) if in_force && trouble.is_survivable() => {
            daemon.keep(before.as_ref(), &trouble)?;
        }
        Err(trouble) if trouble.ends_a_start(new) => return Ok(trouble.outcome()),
        Err(trouble) => {
            let good = LastGood::read(&daemon.directories).ok().flatten();
            let good = good.map(|good| good.said());
            let candidates: Vec<&Said> = spare.iter().chain(&good).collect();
            let config = candidates.iter().find_map(|said| said.config.as_ref());
            let listen = config.and_then(|config| config.metrics.listen.clone());
            daemon.metrics.otherwise(listen);
            daemon.stand_in_for(&trouble, &candidates);
        }
    }
    drop(spare);
    drop(before);
    // What is lost from here on is this process's to tell, and who connects is told of it.
    daemon.look_at_losses();
    daemon.listen();
    daemon.let_read();
    daemon.serve_metrics();
    daemon.say();
    daemon.manager.ready();
    daemon.serve(&mut signals, receiver).await;
    Ok(daemon.stop())
}

impl Daemon {
    /// The first policy of this process: that of the files, or the last good one where they can't or must not be enforced.
    pub(super) fn begin(
        &mut self,
        said: Result<Said>,
        confirm: Option<Duration>,
    ) -> Result<(), Trouble> {
        let good = LastGood::read(&self.directories).unwrap_or_else(|error| {
            log::error!("the last good configuration can't be used: {error:#}");
            None
        });
        self.trial = Trial::read(&self.directories).unwrap_or_else(|error| {
            log::error!("{error:#}");
            None
        });
        if let (Some(trial), Some(good)) = (&self.trial, &good)
            && trial.hash == good.hash
        {
            // It was confirmed, and the process ended before it could say so here.
            self.trial = None;
            self.write_mark();
        }
        let trouble = match self.begin_with(said, confirm) {
            Ok(()) => return Ok(()),
            Err(trouble) => trouble,
        };
        if !trouble.is_survivable() {
            return Err(trouble);
        }
        let reverted = matches!(trouble, Trouble::TakenBack(_));
        if let Some(good) = good {
            log::error!("the configuration on disk is not enforced:");
            trouble.log();
            match self.begin_with_good(&good) {
                Ok(()) => {
                    self.stand_in(reverted, &trouble);
                    return Ok(());
                }
                Err(worse) => {
                    log::error!("the last good configuration can't be enforced either:");
                    worse.log();
                    return Err(worse);
                }
            }
        }
        Err(trouble)
    }

    fn begin_with(&mut self, said: Result<Said>, confirm: Option<Duration>) -> Result<(), Trouble> {
        let said = said.map_err(Trouble::Unreadable)?;
        if let Some(mark) = self.mark_on(&said) {
            return Err(Trouble::TakenBack(mark.what()));
        }
        let ready = self.prepare(said)?;
        super::log::findings(&ready.findings);
        self.put_in_force(ready, confirm.map_or(Mode::Change, Mode::Trial))?;
        if confirm.is_none() {
            self.is_good()?;
        }
        self.say_started();
        Ok(())
    }

    /// The last good configuration on this host as it is now; where that is an error, on the host that it was made for.
    fn begin_with_good(&mut self, good: &LastGood) -> Result<(), Trouble> {
        let said = good.said();
        let now = self.facts().map_err(Trouble::Unreadable)?;
        let forwards = now.forwards();
        let ready = match Ready::follow(said.clone(), now).map_err(Trouble::from) {
            Ok(ready) => ready,
            Err(trouble) => {
                log::error!(
                    "the last good configuration does not fit this host as it is now; it is enforced as it was made:"
                );
                trouble.log();
                let mut facts = Facts {
                    time: jiff::Timestamp::now(),
                    ..good.facts.clone()
                };
                for interface in &mut facts.interfaces {
                    interface.forwards_v4 |= forwards;
                }
                Ready::follow(said.clone(), facts)?
            }
        };
        let facts = ready.facts.clone();
        self.put_in_force(ready, Mode::Change)?;
        self.tell_unsaid_forwarding(&said, &facts);
        Ok(())
    }

    /// Says that what is in force is not what the files say.
    fn stand_in(&mut self, reverted: bool, trouble: &Trouble) {
        if let Some(enforced) = &mut self.enforced {
            enforced.reverted = reverted;
        }
        if !reverted {
            self.problems.push(format!(
                "the last good configuration is in force: {}",
                trouble.summary()
            ));
        }
        self.note_problems();
        self.say_started();
        if let Some(enforced) = &self.enforced {
            enforced.write_notes(&self.directories);
        }
        log::error!("{}", self.status());
    }
}

fn directories(args: &RunArgs, said: Option<&Said>) -> Directories {
    let settings = said
        .and_then(|said| said.config.as_ref())
        .map_or_else(Settings::default, |config| config.daemon.clone());
    let choose = |said: &Option<PathBuf>, configured: String| {
        said.clone().unwrap_or_else(|| PathBuf::from(configured))
    };
    Directories {
        state: choose(&args.state, settings.state),
        runtime: choose(&args.runtime, settings.runtime),
        pins: choose(&args.pins, settings.pins),
    }
}

fn sinks(args: &RunArgs, said: Option<&Said>) -> Vec<schema::Sink> {
    if !args.sinks.is_empty() {
        return args.sinks.iter().map(|sink| sink.sink()).collect();
    }
    said.and_then(|said| said.config.as_ref())
        .map_or_else(|| vec![schema::Sink::Journal], |it| it.events.sinks.clone())
}

fn window(said: Option<&Said>) -> Duration {
    let configured = said.and_then(|said| said.config.as_ref());
    configured.map_or(crate::events::aggregate::DEFAULT_WINDOW, |it| {
        it.events.window
    })
}
