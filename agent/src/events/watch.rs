//! Entries for those who watch at the moment. Nobody who watches can hold the daemon: what does not fit into the memory that all of them
//! share is overwritten, and whoever had not read it is told how much that was.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;
use tokio::sync::broadcast;

use super::fields::{Entry, SCHEMA};

/// Lines that are kept for the slowest; about 4 MB.
const KEPT: usize = 4_096;

/// Those who watch; cheap to clone.
#[derive(Clone, Debug)]
pub struct Watch {
    lines: broadcast::Sender<Arc<str>>,
}

/// One who watches.
pub type Watching = broadcast::Receiver<Arc<str>>;

impl Default for Watch {
    fn default() -> Self {
        Self {
            lines: broadcast::Sender::new(KEPT),
        }
    }
}

impl Watch {
    /// Watches from now on.
    #[must_use]
    pub fn watch(&self) -> Watching {
        self.lines.subscribe()
    }

    /// Tells an entry; never blocks, and costs nothing where nobody watches.
    pub fn tell(&self, entry: &Entry) {
        if self.lines.receiver_count() > 0 {
            // Whoever went away meanwhile needs it no more.
            let _ = self.lines.send(entry.json().to_string().into());
        }
    }

    /// Tells that packets were denied or audited of which no entry comes.
    pub fn missed(&self, missed: Missed) {
        if missed != Missed::default() && self.lines.receiver_count() > 0 {
            let _ = self.lines.send(missed.line().into());
        }
    }
}

/// What somebody who watches does not see.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Missed {
    /// Entries that came faster than they were read.
    pub entries: u64,
    /// Packets over their budget.
    pub suppressed: u64,
    /// Packets that found the ring full.
    pub lost: u64,
    /// Time without a daemon that would have told anything; its own lines have none.
    pub away: Duration,
}

impl Missed {
    /// The line of a stream that says it: an object with the key `missed`.
    #[must_use]
    pub fn line(&self) -> String {
        self.json().to_string()
    }

    /// The same as a value.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        json!({
            "schema": SCHEMA,
            "time": Timestamp::now(),
            "missed": { "entries": self.entries, "suppressed": self.suppressed, "lost": self.lost, "seconds": self.away.as_secs_f64() },
        })
    }

    /// What was missed, in words.
    #[must_use]
    pub fn text(&self) -> String {
        let parts = [
            (self.entries, "entries came faster than they were read here"),
            (self.suppressed, "packets over their budget have no entry"),
            (self.lost, "packets found the ring full and have no entry"),
        ];
        let mut words: Vec<String> = parts
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, what)| format!("{count} {what}"))
            .collect();
        if !self.away.is_zero() {
            words.push(format!(
                "for {:.1} s no daemon told what was denied; what the next one found of it is in the journal, and counted",
                self.away.as_secs_f64()
            ));
        }
        words.join("; ")
    }

    /// Reads it back.
    #[must_use]
    pub fn read(line: &serde_json::Value) -> Option<Self> {
        let missed = line.get("missed")?;
        let number = |key: &str| {
            missed
                .get(key)
                .and_then(serde_json::Value::as_u64)
                .unwrap_or(0)
        };
        Some(Self {
            entries: number("entries"),
            suppressed: number("suppressed"),
            lost: number("lost"),
            away: missed
                .get("seconds")
                .and_then(serde_json::Value::as_f64)
                .and_then(|it| Duration::try_from_secs_f64(it).ok())
                .unwrap_or_default(),
        })
    }
}
