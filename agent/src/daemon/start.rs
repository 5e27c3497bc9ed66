//! From the command line to the first policy in force.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use tokio::sync::mpsc::unbounded_channel;

use super::Daemon;
use super::change::Host;
use super::enforce::Refusal;
use super::files::{Directories, Lock};
use super::guard::is_attached;
use super::names::{Asking, Known};
use super::notify::Manager;
use super::reporter::Reporter;
use super::signals::Signals;
use super::trouble::{Trouble, refused};
use crate::cli::RunArgs;
use crate::commands::{Outcome, Status};
use crate::dataplane::Pinned;
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
        said: None,
        enforced: None,
        problems: Vec::new(),
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
        swept: Instant::now(),
        checked: Instant::now(),
        looked: Instant::now(),
        _lock: lock,
    };
    daemon.known = daemon.known_names();
    let brought = match said {
        Ok(said) => daemon.put_in_force(said, args.confirm),
        Err(error) => Err(Trouble::Unreadable(error)),
    };
    match brought {
        Ok(()) => daemon.say_started(),
        // What is in force stays, and is told of.
        Err(trouble) if in_force && trouble.is_survivable() => {
            daemon.keep(before.as_ref(), &trouble)?;
        }
        Err(trouble) => return Ok(trouble.outcome()),
    }
    drop(before);
    daemon.say();
    daemon.manager.ready();
    daemon.serve(&mut signals, receiver).await;
    Ok(daemon.stop())
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
