//! `[metrics] listen`: counters and states for Prometheus, off unless an address or a socket is said.
//!
//! What is in force and what it counted is read from the pins at a scrape, as `status` does; what only this process knows is left by the
//! main loop in [`Running`]. A thread of its own serves it, so that no client can keep the main loop waiting.

mod page;
mod server;

use std::sync::{Arc, Mutex, PoisonError};

use self::server::Server;
use super::files::Directories;
use crate::control::Became;
use crate::events::ReportCounts;
use crate::events::ring::Turn;
use crate::host::HostConfig;
use crate::host::schema::Listen;

/// What only the process knows.
#[derive(Clone, Debug, Default)]
struct Running {
    /// Of reloads and of `apply`.
    changes: Changes,
    /// What became of events.
    report: ReportCounts,
    /// Octets that one turn found in the ring at most.
    ring_peak: u64,
}

/// What became of the requests for another policy, by signal or by command.
#[derive(Clone, Copy, Debug, Default)]
struct Changes {
    done: u64,
    unconfirmed: u64,
    unchanged: u64,
    refused: u64,
}

/// Serves metrics where the configuration in force says so.
#[derive(Default)]
pub(super) struct Metrics {
    running: Arc<Mutex<Running>>,
    server: Option<Server>,
    /// Where to serve while no policy is in force by this process.
    otherwise: Option<Listen>,
    /// What went wrong, as it was told.
    told: Option<String>,
    /// Since the last time that it was left for the server.
    ring_peak: u64,
}

impl Metrics {
    /// Serves there while no policy is in force by this process.
    pub(super) fn otherwise(&mut self, listen: Option<Listen>) {
        self.otherwise = listen;
    }

    /// Counts a request for another policy.
    pub(super) fn asked(&mut self, became: Became) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let changes = &mut running.changes;
        *match became {
            Became::Done => &mut changes.done,
            Became::Unconfirmed => &mut changes.unconfirmed,
            Became::Unchanged => &mut changes.unchanged,
            Became::Refused => &mut changes.refused,
        } += 1;
    }

    /// Takes note of how full the ring was.
    pub(super) fn read(&mut self, turn: Turn) {
        self.ring_peak = self.ring_peak.max(turn.octets);
    }

    /// Leaves what the process knows for the next scrape.
    pub(super) fn publish(&mut self, report: ReportCounts) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.report = report;
        running.ring_peak = running.ring_peak.max(self.ring_peak);
        self.ring_peak = 0;
    }

    /// Listens where the configuration in force says so, and nowhere else. An address that this host does not have yet is tried again at
    /// the next call.
    pub(super) fn listen(&mut self, config: Option<&HostConfig>, directories: &Directories) {
        let wanted = match config {
            Some(config) => config.metrics.listen.clone(),
            None => self.otherwise.clone(),
        };
        let wanted = wanted.as_ref();
        if self.server.as_ref().map(Server::listens) == wanted {
            return;
        }
        // The old one ends first: it may hold the same port.
        self.server = None;
        let Some(wanted) = wanted else {
            self.told = None;
            return;
        };
        match Server::start(wanted, directories, Arc::clone(&self.running)) {
            Ok(server) => {
                log::info!("metrics are served on {wanted}");
                (self.server, self.told) = (Some(server), None);
            }
            Err(error) => {
                let error = format!("{error:#}");
                if self.told.as_ref() != Some(&error) {
                    log::error!("{error}; it is tried again until it works");
                    self.told = Some(error);
                }
            }
        }
    }
}
