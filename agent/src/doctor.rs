//! Whether a host is fit for the agent: judgement over what was collected, with a remedy for each thing that is not as it should be.
//!
//! Pure: `collect` is the only part that looks at the machine, and gives a [`Machine`].

pub mod collect;
mod interface;
mod kernel;
mod machine;
mod network;
mod service;
mod show;

pub use machine::{
    Clock, Configuration, Configured, Device, Journal, Kernel, Machine, RateLimit, Sender, Senders,
    Tried,
};
pub use show::{json, text};

use serde::Serialize;

/// How a check ended.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Green,
    /// Works, but something is lost or not known.
    Yellow,
    /// The agent can't do its work, or not as configured.
    Red,
}

impl Level {
    /// The word of text and JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Green => "green",
            Self::Yellow => "yellow",
            Self::Red => "red",
        }
    }
}

/// One thing that was looked at; the keys of the JSON.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Check {
    /// What was looked at: a word that stays.
    pub id: &'static str,
    /// The interface, where it is about one.
    pub subject: Option<String>,
    /// How it ended.
    pub level: Level,
    /// What was found.
    pub found: String,
    /// What to do about it; always there unless green.
    pub remedy: Option<String>,
}

impl Check {
    fn new(
        id: &'static str,
        level: Level,
        found: impl Into<String>,
        remedy: Option<String>,
    ) -> Self {
        Self {
            id,
            subject: None,
            level,
            found: found.into(),
            remedy,
        }
    }

    fn green(id: &'static str, found: impl Into<String>) -> Self {
        Self::new(id, Level::Green, found, None)
    }

    fn yellow(id: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(id, Level::Yellow, found, Some(remedy.into()))
    }

    fn red(id: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(id, Level::Red, found, Some(remedy.into()))
    }

    fn of(mut self, interface: &str) -> Self {
        self.subject = Some(interface.to_owned());
        self
    }
}

/// Every check, in the order in which they are read: kernel, interfaces, network, services.
#[must_use]
pub fn judge(machine: &Machine) -> Vec<Check> {
    let mut checks = kernel::judge(machine);
    checks.extend(interface::judge(machine));
    checks.extend(network::judge(machine));
    checks.extend(service::judge(machine));
    checks
}

/// The worst of them.
#[must_use]
pub fn worst(checks: &[Check]) -> Level {
    let levels = checks.iter().map(|check| check.level);
    levels.max().unwrap_or(Level::Green)
}

#[cfg(test)]
mod tests;
