//! The agent as it ships, on a throw-away host: started with a configuration, asked, killed, detached.
//!
//! The host has directories of its own for configuration, state, run time and pins, so the agent runs with its defaults.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use crate::netns::Namespace;
use crate::notify::Notify;
use crate::process::{Lines, Running};

/// Where the agent looks for its configuration.
pub const CONFIGURATION: &str = "/etc/portcullis/portcullis.toml";

/// A reload after a detach has all programs verified anew, which takes seconds of a busy machine.
const COMMAND: Duration = Duration::from_secs(60);
const START: Duration = Duration::from_secs(60);
const STOP: Duration = Duration::from_secs(10);

/// The agent's binary of the same profile as this program: beside it, where cargo puts both.
///
/// # Errors
/// When it was not built.
pub fn binary() -> Result<PathBuf> {
    let this = std::env::current_exe().context("where does this program lie?")?;
    // TARGET/release/demo, or TARGET/release/deps/it-0123
    let beside = this.ancestors().skip(1).take(2);
    let mut binaries = beside.map(|directory| directory.join("portcullis"));
    binaries
        .find(|binary| binary.exists())
        .context("no portcullis beside this program: build it by `cargo xtask build` (with --debug for tests without --release)")
}

/// Runs `portcullis ARGUMENTS` to its end on a host.
///
/// # Errors
/// When it can't be started or hangs.
pub fn portcullis(host: &Namespace, arguments: &[&str]) -> Result<Output> {
    let mut command = host.command(binary()?);
    command.args(arguments);
    crate::process::output(&mut command, COMMAND)
}

/// What `portcullis ARGUMENTS` prints, which must succeed.
///
/// # Errors
/// As [`portcullis`], and when it fails.
pub fn portcullis_text(host: &Namespace, arguments: &[&str]) -> Result<String> {
    let output = portcullis(host, arguments)?;
    ensure!(
        output.status.success(),
        "portcullis {}: {}: {}{}",
        arguments.join(" "),
        output.status,
        String::from_utf8_lossy(&output.stderr),
        String::from_utf8_lossy(&output.stdout)
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The JSON that `portcullis ARGUMENTS` prints, whatever its exit code.
///
/// # Errors
/// As [`portcullis`], and when it prints none.
pub fn portcullis_json(host: &Namespace, arguments: &[&str]) -> Result<Value> {
    let output = portcullis(host, arguments)?;
    serde_json::from_slice(&output.stdout).with_context(|| {
        format!(
            "portcullis {}: {}: {}",
            arguments.join(" "),
            output.status,
            String::from_utf8_lossy(&output.stderr)
        )
    })
}

/// `portcullis run` on a host.
#[derive(Debug)]
pub struct Agent {
    running: Running,
    notify: Notify,
    events: Lines,
    log: Lines,
    /// Events that were read, the oldest first.
    seen: Vec<Value>,
    /// How many of them [`Self::next_event`] has given out.
    given: usize,
    /// It was stopped.
    ended: bool,
}

impl Agent {
    /// Writes the configuration, starts the agent with `--sink SINKS` and waits until it says READY.
    ///
    /// # Errors
    /// When it doesn't within seconds; with what it said.
    pub fn start(host: &Namespace, configuration: &str, sinks: &str) -> Result<Self> {
        host.write(CONFIGURATION, configuration)?;
        Self::start_as_it_stands(host, sinks)
    }

    /// The same with the configuration that is there.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_as_it_stands(host: &Namespace, sinks: &str) -> Result<Self> {
        Self::start_by(host, &binary()?, &["--sink", sinks])
    }

    /// The same by this binary, with these arguments of `run`.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_by(host: &Namespace, binary: &Path, arguments: &[&str]) -> Result<Self> {
        Self::start_changed(host, binary, arguments, |_| {})
    }

    /// The same, after `change` did to the process what it wants.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_changed(
        host: &Namespace,
        binary: &Path,
        arguments: &[&str],
        change: impl FnOnce(&mut Command),
    ) -> Result<Self> {
        let notify = Notify::new(host, "portcullis")?;
        let mut command = host.command(binary);
        command
            .arg("run")
            .args(arguments)
            .env("NOTIFY_SOCKET", notify.path());
        change(&mut command);
        let mut running = Running::start(&mut command)?;
        let mut agent = Self {
            events: running.lines(),
            log: running.error_lines(),
            running,
            notify,
            seen: Vec::new(),
            given: 0,
            ended: false,
        };
        let ready = agent.notify.wait("READY=1", &mut agent.running, START);
        ready.with_context(|| format!("portcullis run:\n{}", agent.log()))?;
        Ok(agent)
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.running.id()
    }

    /// What it has written on standard error so far.
    pub fn log(&mut self) -> String {
        self.log.drain();
        self.log.seen().join("\n")
    }

    /// What it has told the service manager so far, one assignment each.
    ///
    /// # Errors
    /// When the socket fails.
    pub fn said(&mut self) -> Result<&[String]> {
        self.notify.said()
    }

    /// Waits for the next event of the JSON sink.
    ///
    /// # Errors
    /// When none comes within `limit`, or a line is no JSON.
    pub fn next_event(&mut self, limit: Duration) -> Result<&Value> {
        if self.given == self.seen.len() {
            self.read(limit)?;
        }
        self.given += 1;
        Ok(&self.seen[self.given - 1])
    }

    /// Waits for an event that satisfies the condition, among those that came before, too.
    ///
    /// # Errors
    /// When none comes within `limit`; with what came instead.
    pub fn wait_event(
        &mut self,
        what: &str,
        limit: Duration,
        condition: impl Fn(&Value) -> bool,
    ) -> Result<Value> {
        let end = Instant::now() + limit;
        let mut looked = 0;
        loop {
            if let Some(event) = self.seen[looked..].iter().find(|event| condition(event)) {
                return Ok(event.clone());
            }
            looked = self.seen.len();
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() || self.read(left).is_err() {
                let log = self.log();
                let seen: Vec<_> = self.seen.iter().map(|event| &event["message"]).collect();
                bail!("no event within {limit:?}: {what}; seen {seen:?}; log:\n{log}");
            }
        }
    }

    /// All events that have come until now; after [`Self::stop`] to the last one.
    ///
    /// # Errors
    /// None: a line that is no JSON ends them.
    pub fn events(&mut self) -> Result<&[Value]> {
        // What a process wrote before its end comes through a thread that reads it, which may come later.
        let limit = if self.ended { STOP } else { Duration::ZERO };
        while self.read(limit).is_ok() {}
        Ok(&self.seen)
    }

    fn read(&mut self, limit: Duration) -> Result<()> {
        let line = self.events.next(limit)?;
        let line = line.context("the agent has closed its standard output")?;
        let event =
            serde_json::from_str(&line).with_context(|| format!("standard output: {line}"))?;
        self.seen.push(event);
        Ok(())
    }

    /// `kill -9`.
    ///
    /// # Errors
    /// When the system can't.
    pub fn kill(mut self) -> Result<()> {
        self.running.kill()?;
        Ok(())
    }

    /// Ends it as a service manager does: SIGTERM.
    ///
    /// # Errors
    /// When it doesn't end within seconds.
    pub fn stop(&mut self) -> Result<ExitStatus> {
        let status = self.running.stop(STOP)?;
        self.ended = true;
        Ok(status)
    }

    /// Asks it to read its configuration again (SIGHUP).
    ///
    /// # Errors
    /// When it has ended.
    pub fn hang_up(&self) -> Result<()> {
        self.running.signal(nix::sys::signal::SIGHUP)
    }
}

/// A file of the repository, for tests that read data.
pub fn repository(path: &str) -> PathBuf {
    let member = Path::new(env!("CARGO_MANIFEST_DIR"));
    member.parent().unwrap_or(member).join(path)
}
