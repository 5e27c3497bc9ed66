//! `portcullis run`: one loop that keeps the policy in force and tells what is denied.
//!
//! Everything that can happen is an [`Event`]; one task handles them one after the other, so that no two things change what is in force at
//! once. What blocks (sinks, names) has threads of its own. Enforcement does not hang on this process: it lies in pinned programs.

mod adopt;
mod change;
mod command;
mod control;
mod enforce;
pub mod files;
mod guard;
mod hold;
mod kept;
mod log;
mod losses;
mod metrics;
mod names;
mod notes;
mod notify;
mod put_back;
mod ready;
mod record;
mod reporter;
mod sessions;
mod signals;
mod stand_in;
mod start;
mod totals;
mod trouble;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio::time::MissedTickBehavior;

use self::change::{Change, Host};
use self::control::{Asked, Control};
use self::enforce::Enforced;
use self::files::{Directories, Lock};
use self::kept::Trial;
use self::losses::Losses;
use self::metrics::Metrics;
use self::names::{Asking, Known};
use self::notify::Manager;
use self::reporter::Reporter;
use self::signals::{Signal, Signals};
use crate::cli::{ConfigArgs, RunArgs};
use crate::commands::Outcome;
use crate::events::ring::POLL;
use crate::facts::collect::Answers;

pub use self::notes::{NotedAudit, NotedFlow, NotedInterface, NotedProduct, Notes};
pub use self::record::totals_now;
pub use self::totals::{BankRules, Clock, RowTotal, Totals};

/// How often established flows are swept.
const SWEEP: Duration = Duration::from_secs(60);

/// How often the host is looked at: interfaces, addresses, resolvers, and whether what was attached still is.
const CHECK: Duration = Duration::from_secs(2);

// What somebody took away is seen, looked at once more, and back within five seconds.
const _: () = assert!(CHECK.as_millis() + put_back::SOON.as_millis() < 5_000);

/// How often the clock is looked at: an `allow` ends, and a fallback is told of, this late at most.
const LOOK: Duration = Duration::from_millis(200);

/// Everything that the daemon reacts to.
enum Event {
    /// The ring is to be read, and whatever goes by the clock looked at.
    Tick,
    /// A signal came.
    Signal(Signal),
    /// Names were resolved, or not.
    Names(Answers),
    /// A command was given through the control socket.
    Asked(Asked),
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
    runtime.block_on(start::start(args))
}

/// The daemon between two events.
struct Daemon {
    /// Where the configuration is read again.
    args: ConfigArgs,
    directories: Directories,
    /// What is in force by this process; none where an earlier one's policy stays.
    enforced: Option<Enforced>,
    /// Why the configuration on disk is not the one in force.
    problems: Vec<String>,
    /// Texts that must not come into force by themselves.
    trial: Option<Trial>,
    /// No policy can be in force, and what `on-failure` says is.
    stands_in: bool,
    /// A table of an earlier process was looked for.
    stood_in_removed: bool,
    reporter: Reporter,
    manager: Manager,
    known: Known,
    asking: Asking,
    /// Where threads send their events.
    answers: UnboundedSender<Event>,
    /// Names without an answer, and why, as they were told.
    unanswered: BTreeMap<String, String>,
    /// The host that the policy in force was made for.
    host: Host,
    /// What asks for the next policy of the same configuration.
    change: Option<Change>,
    /// A change that failed is not tried again before.
    not_before: Option<Instant>,
    /// When overdue audits were told last.
    reminded: Option<Instant>,
    /// When interfaces that can't be guarded were tried last.
    tried: Instant,
    swept: Instant,
    checked: Instant,
    looked: Instant,
    losses: Losses,
    metrics: Metrics,
    /// The control socket; none where it can't be served now.
    control: Option<Control>,
    /// Why it is not, as it was told.
    deaf: Option<String>,
    /// Why the group that may read can't, as it was told.
    unread: Option<String>,
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
                Event::Signal(Signal::Reload) => {
                    // It says in the log what became of it.
                    let answer = self.reload();
                    self.metrics.asked(answer.became);
                }
                Event::Asked(asked) => {
                    let changes = asked.command.changes();
                    let answer = self.obey(asked.command);
                    if changes {
                        self.metrics.asked(answer.became);
                    }
                    // Whoever asked may be gone.
                    let _ = asked.answer.send(answer);
                }
                Event::Signal(Signal::Stop) => return,
                Event::Names(answers) => self.take_names(&answers),
            }
        }
    }

    /// True where the next turn should not wait.
    fn tick(&mut self) -> bool {
        let turn = self.reporter.turn();
        self.metrics.read(turn);
        self.manager.alive();
        if let Some(enforced) = &mut self.enforced {
            enforced.flush_log();
        }
        self.asking.turn(&self.answers, Event::Names);
        if self.looked.elapsed() >= LOOK {
            self.looked = Instant::now();
            self.look_at_the_clock();
        }
        let lost = self.enforced.as_ref().is_some_and(|it| !it.lost.is_empty());
        if self.checked.elapsed() >= if lost { put_back::SOON } else { CHECK } {
            self.checked = Instant::now();
            self.listen();
            self.let_read();
            self.look_at_the_host();
            self.look_at_losses();
            self.serve_metrics();
        }
        if self.swept.elapsed() >= SWEEP {
            self.swept = Instant::now();
            if let Some(enforced) = &self.enforced
                && let Err(error) = enforced.sweep()
            {
                ::log::warn!("sweeping established flows: {error}");
            }
        }
        turn.more
    }

    /// Metrics where the configuration in force wants them.
    fn serve_metrics(&mut self) {
        let config = self.enforced.as_ref().map(|it| &it.ready.config);
        self.metrics.publish(self.reporter.counts());
        self.metrics.listen(config, &self.directories);
    }

    /// Events that found the ring full, entries that a sink did not take.
    fn look_at_losses(&mut self) {
        let Some(enforced) = &self.enforced else {
            return;
        };
        match enforced.dataplane.counters() {
            Ok(counters) => {
                let balance = &counters.balance;
                let ring = balance.lost + balance.audit_lost;
                let suppressed = balance.suppressed + balance.audit_suppressed;
                let missed = self.losses.missed(suppressed, ring);
                self.reporter.watch().missed(missed);
                for line in self.reporter.look_at_losses(&mut self.losses, ring) {
                    ::log::warn!("{line}");
                }
            }
            Err(error) => ::log::warn!("reading counters: {error}"),
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
            if let (Some(trial), true) = (&self.trial, self.problems.is_empty()) {
                return format!(
                    "reverted: the configuration on disk {}, and nothing was in force before it; `portcullis apply` puts it in force",
                    trial.what()
                );
            }
            return format!("degraded: {}", self.problems.join("; "));
        };
        let (generation, guarded) = (enforced.generation, enforced.guarded());
        let in_force = format!("generation {generation} on {guarded}");
        let problem = self.problems.first().or(enforced.problem());
        if enforced.detached {
            "detached: nothing is filtered; a reload puts the policy back".to_owned()
        } else if enforced.open {
            format!(
                "reverted: generation {generation} was taken back, generation 0 is in force and everything passes on {guarded}"
            )
        } else if let Some(problem) = problem {
            format!("degraded: {in_force}; {problem}")
        } else if let Some(deadline) = enforced.deadline {
            let until = deadline.until;
            match deadline.pause {
                false => format!("unconfirmed: {in_force}, falls back at {until}"),
                true => format!("paused: {in_force}, denials pass until {until}"),
            }
        } else if enforced.reverted {
            format!(
                "reverted: {in_force}, the texts on disk were taken back; `portcullis apply` puts them in force"
            )
        } else if enforced.ready.audits() {
            format!("audit: {in_force}")
        } else {
            format!("enforcing {in_force}")
        }
    }

    /// The end of the process, not of enforcement.
    fn stop(mut self) -> Outcome {
        if let Some(enforced) = &mut self.enforced {
            enforced.look_for_detached(&self.directories);
        }
        let last = match &self.enforced {
            Some(enforced) if enforced.detached => {
                "stopped; nothing is in force, because it was detached".to_owned()
            }
            Some(enforced) if enforced.open => format!(
                "stopped; generation 0 is in force on {}, and everything passes; `portcullis detach` removes it",
                enforced.guarded()
            ),
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
