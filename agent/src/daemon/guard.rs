//! The listed interfaces: attached to, or why not.

use std::path::Path;

use super::notes::NotedInterface;
use super::ready::Ready;
use crate::dataplane::{Dataplane, Error, Pinned, guarded_by_others};

/// Whether programs of ours, of this version or another, are attached somewhere.
pub(super) fn is_attached(root: &Path, pinned: Option<&Pinned>) -> Result<bool, Error> {
    let mut links = pinned.iter().flat_map(|pinned| pinned.links());
    let here = links.any(|link| link.load.is_some() && link.index != 0);
    Ok(here || !guarded_by_others(root)?.is_empty())
}

/// What became of the listed interfaces.
pub(super) struct Guard {
    pub(super) interfaces: Vec<NotedInterface>,
    pub(super) problems: Vec<String>,
    /// Interfaces that are there.
    attempts: usize,
    /// The first refusal for want of a permission.
    pub(super) refused: Option<Error>,
}

impl Guard {
    /// Attaches to each listed interface, and with `leave` detaches from those that are listed no more. While a policy waits for its
    /// confirmation what it does not list stays guarded: nobody could attach there again when it falls back.
    pub(super) fn all(dataplane: &mut Dataplane, ready: &Ready, leave: bool) -> Self {
        let hook = ready.config.hook;
        let wanted = ready.interfaces();
        let mut found = Self {
            interfaces: Vec::new(),
            problems: Vec::new(),
            attempts: wanted.len(),
            refused: None,
        };
        for name in &wanted {
            let (guarded, why) = match dataplane.attach(name, hook) {
                Ok(attached) => {
                    let hook = attached.ingress.hook.name();
                    (true, format!("{hook}: {}", attached.why))
                }
                Err(error) => {
                    let (prefix, why) = about(name, &error);
                    found.problems.push(format!("{prefix}{why}"));
                    if error.is_permission() {
                        found.refused.get_or_insert(error);
                    }
                    (false, why)
                }
            };
            found.note(name, hook.name(), why, guarded);
        }
        for name in ready.missing() {
            let why = "no such interface; it is guarded once it is there".to_owned();
            found.problems.push(format!("{name}: {why}"));
            found.note(&name, hook.name(), why, false);
        }
        if leave {
            found.leave(dataplane, &wanted);
        }
        found
    }

    fn note(&mut self, name: &str, wanted: &str, why: String, guarded: bool) {
        self.interfaces.push(NotedInterface {
            name: name.to_owned(),
            wanted: wanted.to_owned(),
            why,
            guarded,
            unproved: false,
        });
    }

    /// Sends the probe through what is attached, once the switch says what is in force: what is not proved to decide is no guard.
    pub(super) fn prove(&mut self, dataplane: &Dataplane, ready: &Ready) {
        for interface in self.interfaces.iter_mut().filter(|it| it.guarded) {
            if let Err(error) = dataplane.prove(&interface.name, &ready.tables) {
                let (prefix, why) = about(&interface.name, &error);
                self.problems.push(prefix + &why);
                interface.why = why;
                (interface.guarded, interface.unproved) = (false, true);
            }
        }
    }

    fn leave(&mut self, dataplane: &mut Dataplane, wanted: &[String]) {
        let attached = match dataplane.attached() {
            Ok(attached) => attached,
            Err(error) => {
                self.problems.push(error.to_string());
                return;
            }
        };
        let mut others: Vec<(String, bool)> = attached
            .into_iter()
            .map(|link| (link.interface, link.index == 0))
            .filter(|(name, _)| !wanted.contains(name))
            .collect();
        others.dedup();
        for (name, gone) in others {
            match dataplane.detach(&name) {
                Ok(_) if gone => log::warn!("{name}: the interface is gone"),
                Ok(true) => log::info!("{name}: not listed any more, and not guarded any more"),
                Ok(false) => {}
                Err(error) => self.problems.push(error.to_string()),
            }
        }
    }

    /// There are interfaces to guard, and none is.
    pub(super) fn failed_altogether(&self) -> bool {
        self.attempts > 0 && self.interfaces.iter().all(|it| !it.guarded)
    }
}

/// An error of an interface: its name as a prefix, and what it says without it.
fn about(name: &str, error: &Error) -> (String, String) {
    let why = error.to_string();
    let prefix = format!("{name}: ");
    let why = why.strip_prefix(&prefix).unwrap_or(&why).to_owned();
    (prefix, why)
}
