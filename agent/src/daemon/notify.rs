//! What the service manager is told, sd_notify(3). Without one nothing is sent.

use std::time::{Duration, Instant};

use libsystemd::daemon::{NotifyState, notify, watchdog_enabled};

/// The line to the service manager.
#[derive(Debug)]
pub(super) struct Manager {
    /// How often it wants to hear that the main loop runs, and when it was told last.
    watchdog: Option<(Duration, Instant)>,
    status: String,
    complained: bool,
}

impl Manager {
    pub(super) fn new() -> Self {
        // Half of what is allowed, as sd_watchdog_enabled(3) advises.
        let watchdog = watchdog_enabled(false).map(|limit| (limit / 2, Instant::now()));
        Self {
            watchdog,
            status: String::new(),
            complained: false,
        }
    }

    /// What is in force; sent where it is news.
    pub(super) fn status(&mut self, status: String) {
        if self.status != status {
            self.status.clone_from(&status);
            self.send(&[NotifyState::Status(status)]);
        }
    }

    /// Enforcement is in force.
    pub(super) fn ready(&mut self) {
        self.send(&[NotifyState::Ready]);
    }

    /// The configuration is read again; [`Self::ready`] says that this is over.
    pub(super) fn reloading(&mut self) {
        self.send(&[NotifyState::Reloading]);
    }

    /// The daemon ends; `status` is its last word.
    pub(super) fn stopping(&mut self, status: String) {
        self.send(&[NotifyState::Stopping, NotifyState::Status(status)]);
    }

    /// Called by the main loop each time round.
    pub(super) fn alive(&mut self) {
        if let Some((every, last)) = &mut self.watchdog
            && last.elapsed() >= *every
        {
            *last = Instant::now();
            self.send(&[NotifyState::Watchdog]);
        }
    }

    fn send(&mut self, state: &[NotifyState]) {
        if let Err(error) = notify(false, state)
            && !self.complained
        {
            self.complained = true;
            log::warn!("the service manager can't be told what is in force: {error}");
        }
    }
}
