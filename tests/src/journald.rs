//! A real systemd-journald on a throw-away host, and what it has written.
//!
//! The host's `/run` is its own, so the machine's journal, if it has one, is neither asked nor written to.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::{Map, Value};

use crate::netns::Namespace;
use crate::notify::Notify;
use crate::process::{Running, wait_for};

const START: Duration = Duration::from_secs(10);
const STOP: Duration = Duration::from_secs(5);

/// One message: field to value. A field that occurs several times is an array, a binary one an array of octets.
pub type Entry = Map<String, Value>;

/// A journald that runs on a host.
#[derive(Debug)]
pub struct Journald<'host> {
    host: &'host Namespace,
    running: Running,
}

impl<'host> Journald<'host> {
    /// Starts it and waits until it takes messages.
    ///
    /// # Errors
    /// When journald is not installed or doesn't come up within seconds.
    pub fn start(host: &'host Namespace) -> Result<Self> {
        // The test says itself how much it sends.
        Self::start_with(host, "RateLimitBurst=0")
    }

    /// The same with a line of its configuration, journald.conf(5).
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_with(host: &'host Namespace, line: &str) -> Result<Self> {
        if host
            .read("/etc/machine-id")
            .unwrap_or_default()
            .trim()
            .is_empty()
        {
            // Any id will do; journald files what it gets under it.
            host.write("/etc/machine-id", "00112233445566778899aabbccddeeff\n")?;
        }
        // The kernel's own messages are the machine's.
        let fixed = "[Journal]\nStorage=volatile\nReadKMsg=no\nAudit=no\nForwardToConsole=no";
        host.write("/etc/systemd/journald.conf", &format!("{fixed}\n{line}\n"))?;
        host.enter(|| std::fs::create_dir_all("/run/systemd/journal"))??;
        let mut notify = Notify::new(host, "journald")?;
        let mut command = host.command("/lib/systemd/systemd-journald");
        command.env("NOTIFY_SOCKET", notify.path());
        let mut running = Running::start(&mut command)?;
        let mut said = running.error_lines();
        notify
            .wait("READY=1", &mut running, START)
            .with_context(|| {
                said.drain();
                format!("systemd-journald: {}", said.seen().join("; "))
            })?;
        Ok(Self { host, running })
    }

    /// All entries that match these `FIELD=value` words (all of different fields, any of the same), oldest first.
    ///
    /// # Errors
    /// When `journalctl` fails or prints what is no JSON.
    pub fn entries(&self, matches: &[&str]) -> Result<Vec<Entry>> {
        let mut line = "journalctl --output=json --all --no-pager --quiet".to_owned();
        for word in matches {
            line.push(' ');
            line.push_str(word);
        }
        let text = self.host.text(&line)?;
        text.lines()
            .map(|line| serde_json::from_str(line).with_context(|| format!("journalctl: {line}")))
            .collect()
    }

    /// Waits for an entry that matches the words and satisfies the condition.
    ///
    /// # Errors
    /// When none comes within `limit`.
    pub fn wait_entry(
        &self,
        matches: &[&str],
        limit: Duration,
        condition: impl Fn(&Entry) -> bool,
    ) -> Result<Entry> {
        wait_for(&format!("journal entry {matches:?}"), limit, || {
            Ok(self
                .entries(matches)?
                .into_iter()
                .find(|entry| condition(entry)))
        })
    }

    /// Sends it a signal: to hold it, and to let it go on.
    ///
    /// # Errors
    /// When it is gone.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        self.running.signal(signal)
    }

    /// Stops it; entries stay readable.
    ///
    /// # Errors
    /// When it does not end in an orderly way.
    pub fn stop(mut self) -> Result<()> {
        let status = self.running.stop(STOP)?;
        ensure!(status.success(), "systemd-journald: {status}");
        Ok(())
    }
}

/// A field's text, where the entry has it.
pub fn field<'entry>(entry: &'entry Entry, name: &str) -> Option<&'entry str> {
    entry.get(name).and_then(Value::as_str)
}
