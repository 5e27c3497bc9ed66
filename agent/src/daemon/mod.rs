//! `portcullis run`: one loop that keeps the policy in force and tells what is denied.
//!
//! Everything that can happen is an [`Event`]; one task handles them one after the other, so that no two things change what is in force at
//! once. What blocks (sinks, names) has threads of its own. Enforcement does not hang on this process: it lies in pinned programs.

mod enforce;
pub mod files;
mod log;
mod names;
mod notes;
mod notify;
mod ready;
mod reporter;
mod signals;
mod totals;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::MissedTickBehavior;

use self::enforce::{Enforced, Refusal, is_attached};
use self::files::{Directories, Lock};
use self::names::{Asking, Known};
use self::notify::Manager;
use self::ready::Ready;
use self::reporter::Reporter;
use self::signals::{Signal, Signals};
use crate::cli::{ConfigArgs, RunArgs};
use crate::commands::{Outcome, Status};
use crate::dataplane::Pinned;
use crate::diagnose::{Findings, Severity};
use crate::events::ring::POLL;
use crate::facts::Facts;
use crate::facts::collect::{self, Answers, Wanted};
use crate::host::schema::{self, Daemon as Settings};
use crate::inputs::{self, Said};

pub use self::enforce::counters_of;
pub use self::notes::{NotedInterface, NotedProduct, Notes};
pub use self::totals::{BankRules, Clock, RowTotal, Totals};

/// How often established flows are swept.
const SWEEP: Duration = Duration::from_secs(60);

/// How often it is looked whether what was attached still is.
const CHECK: Duration = Duration::from_secs(5);

/// Everything that the daemon reacts to.
enum Event {
    /// The ring is to be read, and whatever goes by the clock looked at.
    Tick,
    /// A signal came.
    Signal(Signal),
    /// Names were resolved, or not.
    Names(Answers),
}

/// Runs until it is told to stop.
///
/// # Errors
///
/// What can be survived is told and survived; what is left are errors of the start.
pub fn run(args: &RunArgs) -> Result<Outcome> {
    log::start();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the event loop")?;
    runtime.block_on(start(args))
}

async fn start(args: &RunArgs) -> Result<Outcome> {
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
        rebuild: false,
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

/// Why a policy could not be put in force.
enum Trouble {
    /// A file can't be read, or this host can't be looked at.
    Unreadable(anyhow::Error),
    /// Findings, or what the kernel says.
    Refused(Refusal),
}

impl From<Refusal> for Trouble {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<Findings> for Trouble {
    fn from(findings: Findings) -> Self {
        Self::Refused(findings.into())
    }
}

impl Trouble {
    /// Whether what was in force before still is, so that the daemon can go on with it.
    fn is_survivable(&self) -> bool {
        !matches!(self, Self::Refused(Refusal::NotFirst))
    }

    fn outcome(&self) -> Outcome {
        match self {
            Self::Unreadable(error) => {
                let message = format!("{error:#}; nothing is attached");
                Outcome::refused(Status::Findings, &message)
            }
            Self::Refused(refusal) => refused(refusal),
        }
    }

    /// In a line.
    fn summary(&self) -> String {
        match self {
            Self::Unreadable(error) => format!("{error:#}"),
            Self::Refused(Refusal::Findings(findings)) => {
                let errors = findings.count(Severity::Error);
                let first = findings
                    .iter()
                    .find(|finding| finding.severity == Severity::Error);
                let first = first.map_or(String::new(), |finding| {
                    let place = match (finding.file(), finding.line()) {
                        (Some(file), Some(line)) => format!("{file}:{line}: "),
                        _ => String::new(),
                    };
                    format!(", first {place}{}", finding.message)
                });
                let s = if errors == 1 { "" } else { "s" };
                format!("the configuration has {errors} error{s}{first}")
            }
            Self::Refused(refusal) => refusal.to_string(),
        }
    }

    fn log(&self) {
        match self {
            Self::Refused(Refusal::Findings(findings)) => {
                log::findings(findings);
            }
            other => ::log::error!("{}", other.summary()),
        }
    }
}

fn refused(refusal: &Refusal) -> Outcome {
    match refusal {
        Refusal::Findings(findings) => {
            let colour = std::io::IsTerminal::is_terminal(&std::io::stderr());
            Outcome {
                stdout: String::new(),
                stderr: format!("{}\nnothing is attached\n", findings.render(colour)),
                status: Status::Findings,
            }
        }
        Refusal::Dataplane(error) if error.is_permission() => {
            Outcome::refused(Status::NoPermission, &error.to_string())
        }
        other => Outcome::refused(Status::Failed, &other.to_string()),
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

/// The daemon between two events.
struct Daemon {
    /// Where the configuration is read again.
    args: ConfigArgs,
    directories: Directories,
    /// The configuration in force, for when only the facts or the time change.
    said: Option<Said>,
    /// What is in force by this process; none where an earlier one's policy stays.
    enforced: Option<Enforced>,
    /// Why the configuration on disk is not the one in force.
    problems: Vec<String>,
    reporter: Reporter,
    manager: Manager,
    known: Known,
    asking: Asking,
    /// Where threads send their events.
    answers: UnboundedSender<Event>,
    /// Facts changed while nothing could be switched.
    rebuild: bool,
    swept: Instant,
    checked: Instant,
    looked: Instant,
    _lock: Lock,
}

impl Daemon {
    async fn serve(&mut self, signals: &mut Signals, mut receiver: UnboundedReceiver<Event>) {
        let mut timer = tokio::time::interval(POLL);
        timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let event = tokio::select! {
                signal = signals.next() => Event::Signal(signal),
                Some(event) = receiver.recv() => event,
                _ = timer.tick() => Event::Tick,
            };
            match event {
                Event::Tick => {
                    if self.tick() {
                        timer.reset_immediately();
                    }
                }
                Event::Signal(Signal::Reload) => self.reload(),
                Event::Signal(Signal::Stop) => return,
                Event::Names(answers) => self.take_names(&answers),
            }
        }
    }

    /// True where the next turn should not wait.
    fn tick(&mut self) -> bool {
        let more = self.reporter.turn();
        self.manager.alive();
        if let Some(enforced) = &mut self.enforced {
            enforced.flush_log();
        }
        self.asking.turn(&self.answers, Event::Names);
        if self.looked.elapsed() >= Duration::from_millis(200) {
            self.looked = Instant::now();
            self.look_at_the_clock();
        }
        if self.checked.elapsed() >= CHECK {
            self.checked = Instant::now();
            self.look_for_lost();
        }
        if self.swept.elapsed() >= SWEEP {
            self.swept = Instant::now();
            if let Some(enforced) = &self.enforced
                && let Err(error) = enforced.sweep()
            {
                ::log::warn!("sweeping established flows: {error}");
            }
        }
        more
    }

    /// An interface that was deleted, a `portcullis detach`: told, not repaired, because somebody meant it.
    fn look_for_lost(&mut self) {
        let Some(enforced) = &mut self.enforced else {
            return;
        };
        let Some(lost) = enforced.look_for_lost() else {
            return;
        };
        for lost in lost {
            ::log::error!("{lost}");
        }
        enforced.write_notes(&self.directories);
        self.say();
    }

    /// What time alone changes.
    fn look_at_the_clock(&mut self) {
        let Some(enforced) = &mut self.enforced else {
            return;
        };
        match enforced.fell_back() {
            Ok(false) => {}
            Ok(true) => {
                ::log::error!(
                    "generation {} was not confirmed in time: the programs have fallen back to generation 0, and everything passes",
                    enforced.generation
                );
                enforced.write_notes(&self.directories);
                self.say();
                return;
            }
            Err(error) => ::log::error!("{error}"),
        }
        if enforced.pending.is_some() || enforced.reverted.is_some() {
            return;
        }
        let next = enforced.ready.resolved.next_change();
        let due = next.is_some_and(|at| at <= Timestamp::now());
        if due || self.rebuild {
            self.rebuild = false;
            let what = if due {
                "an allow has ended"
            } else {
                "names resolve anew"
            };
            self.resolve_again(what);
        }
    }

    /// The same configuration by facts or time that have changed.
    fn resolve_again(&mut self, what: &str) {
        let (Some(said), Some(enforced)) = (&self.said, &mut self.enforced) else {
            return;
        };
        let mut facts = enforced.ready.facts.clone();
        facts.time = Timestamp::now();
        facts.names = self.known.names();
        let done = Ready::prepare(said.clone(), facts)
            .map_err(Trouble::from)
            .and_then(|ready| self.switch(ready, false));
        match done {
            Ok(()) => self.say_switched(what),
            Err(trouble) => {
                ::log::error!("{what}, but the policy in force stays:");
                trouble.log();
                // Time does not wait: said once, tried again at the next change or reload.
                self.problems.push(format!("{what}: {}", trouble.summary()));
                self.note_problems();
            }
        }
    }

    fn reload(&mut self) {
        if let Some(pending) = self.enforced.as_ref().and_then(|it| it.pending) {
            let left = pending.until.duration_since(Timestamp::now()).as_secs();
            ::log::error!(
                "reload refused: an unconfirmed policy is in force for another {} s",
                left.max(0)
            );
            return;
        }
        let done = match inputs::read(&self.args) {
            Ok(said) => self.put_in_force(said, None),
            Err(error) => Err(Trouble::Unreadable(error)),
        };
        match done {
            Ok(()) => self.say_switched("reloaded"),
            Err(trouble) => {
                ::log::error!("reload refused, what was in force stays:");
                trouble.log();
                self.problems = vec![format!("reload refused: {}", trouble.summary())];
                self.note_problems();
            }
        }
        self.say();
    }

    /// From texts to enforcement.
    fn put_in_force(&mut self, said: Said, confirm: Option<Duration>) -> Result<(), Trouble> {
        let names = said.names();
        let facts = self.facts().map_err(Trouble::Unreadable)?;
        let ready = Ready::prepare(said.clone(), facts)?;
        if let Some(enforced) = &self.enforced
            && enforced.reverted.as_ref() == Some(&ready.hash)
        {
            return Err(Trouble::Unreadable(anyhow::anyhow!(
                "this policy was not confirmed in time; change it, or start anew to enforce it"
            )));
        }
        log::findings(&ready.findings);
        let fits = self.enforced.as_ref().is_some_and(|it| it.takes(&ready));
        if fits {
            self.switch(ready, true)?;
        } else {
            let enforced = Enforced::bring_up(ready, &self.directories, confirm)?;
            let ring = enforced.dataplane.events().map_err(Refusal::from)?;
            self.enforced = Some(enforced);
            self.explain();
            self.reporter.listen(ring.into());
        }
        self.problems.clear();
        if let Some(enforced) = &mut self.enforced
            && !enforced.outer_problems.is_empty()
        {
            enforced.outer_problems.clear();
            enforced.write_notes(&self.directories);
        }
        self.said = Some(said);
        self.asking.need(names);
        Ok(())
    }

    /// The next policy, through larger tables where it needs them.
    fn switch(&mut self, ready: Box<Ready>, attach: bool) -> Result<(), Trouble> {
        let Some(enforced) = &mut self.enforced else {
            return Ok(());
        };
        if enforced.takes(&ready) {
            enforced.switch(ready, &self.directories, attach)?;
        } else {
            let mut larger = Enforced::bring_up(ready, &self.directories, None)?;
            if !enforced.outer_problems.is_empty() {
                larger.outer_problems = std::mem::take(&mut enforced.outer_problems);
                larger.write_notes(&self.directories);
            }
            let ring = larger.dataplane.events().map_err(Refusal::from)?;
            self.enforced = Some(larger);
            self.reporter.listen(ring.into());
        }
        self.explain();
        Ok(())
    }

    fn explain(&mut self) {
        if let Some(enforced) = &self.enforced {
            let ready = &enforced.ready;
            self.reporter.explain_by(
                enforced.generation,
                &ready.knowledge,
                ready.config.events.window,
                ready.facts.ephemeral.range(),
            );
        }
    }

    /// This host now, with what is known of names.
    fn facts(&self) -> Result<Facts> {
        let collected = collect::collect(&Wanted::default())?;
        for note in &collected.notes {
            ::log::warn!("{note}");
        }
        let mut facts = collected.facts;
        facts.names = self.known.names();
        Ok(facts)
    }

    fn known_names(&self) -> Known {
        match files::read_json(&self.directories.names()) {
            Ok(known) => known.unwrap_or_default(),
            Err(error) => {
                ::log::warn!("addresses of names are asked for anew: {error:#}");
                Known::default()
            }
        }
    }

    fn take_names(&mut self, answers: &Answers) {
        self.asking.done(answers);
        for (name, why) in &answers.failed {
            ::log::warn!("{name}: {why}");
        }
        if self.known.learn(answers) {
            self.rebuild = true;
        }
        if !answers.resolved.is_empty()
            && let Err(error) = files::replace_json(&self.directories.names(), 0o600, &self.known)
        {
            ::log::error!("{error:#}");
        }
    }

    /// The policy of an earlier process stays; this one tells what it denies.
    fn keep(&mut self, before: Option<&Pinned>, trouble: &Trouble) -> Result<()> {
        ::log::error!("what is in force stays, because the configuration can't be enforced:");
        trouble.log();
        self.problems = vec![format!(
            "an earlier policy is in force: {}",
            trouble.summary()
        )];
        self.note_problems();
        match before {
            Some(before) => {
                let ring = before.events().context("cannot read the event ring")?;
                self.reporter.listen(ring.into());
            }
            None => ::log::error!(
                "another version put it in force, whose events this one can't read: nobody reads what is denied"
            ),
        }
        Ok(())
    }

    /// The notes that `status` reads say what is wrong.
    fn note_problems(&mut self) {
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
            ::log::error!("{error:#}");
        }
    }

    fn say_started(&self) {
        let Some(enforced) = &self.enforced else {
            return;
        };
        for line in enforced.interface_lines() {
            ::log::info!("{line}");
        }
        for problem in &enforced.problems {
            ::log::error!("{problem}");
        }
        ::log::info!("{}", self.status());
    }

    fn say_switched(&mut self, what: &str) {
        if let Some(enforced) = &self.enforced {
            ::log::info!(
                "{what}: generation {} is in force on {}",
                enforced.generation,
                enforced.guarded()
            );
        }
        self.say();
    }

    /// Tells the service manager, and at the start the log, what is in force.
    fn say(&mut self) {
        let status = self.status();
        self.manager.status(status);
    }

    fn status(&self) -> String {
        let Some(enforced) = &self.enforced else {
            return format!("degraded: {}", self.problems.join("; "));
        };
        let (generation, guarded) = (enforced.generation, enforced.guarded());
        let in_force = format!("generation {generation} on {guarded}");
        let problem = self.problems.first().or(enforced.problem());
        if enforced.reverted.is_some() {
            format!(
                "reverted: generation {generation} was not confirmed in time, everything passes on {guarded}"
            )
        } else if let Some(problem) = problem {
            format!("degraded: {in_force}; {problem}")
        } else if let Some(pending) = enforced.pending {
            format!("unconfirmed: {in_force}, falls back at {}", pending.until)
        } else if enforced.ready.products.iter().any(|it| it.stage == "audit") {
            format!("audit: {in_force}")
        } else {
            format!("enforcing {in_force}")
        }
    }

    /// The end of the process, not of enforcement.
    fn stop(self) -> Outcome {
        let last = match &self.enforced {
            Some(enforced) => format!(
                "stopped; enforcement stays in force on {} (generation {}); `portcullis detach` ends it",
                enforced.guarded(),
                enforced.generation
            ),
            None => {
                "stopped; what an earlier process put in force stays; `portcullis detach` ends it"
                    .to_owned()
            }
        };
        let mut manager = self.manager;
        manager.stopping(last.clone());
        for (name, counts) in self.reporter.close().sinks {
            let left = counts.lost - counts.told + counts.queued;
            if left > 0 {
                ::log::error!("sink {name}: {left} packets were not told of");
            }
        }
        ::log::info!("{last}");
        Outcome::done(String::new())
    }
}
