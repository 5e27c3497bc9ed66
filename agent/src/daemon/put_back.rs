//! What somebody takes away or puts in our place: told, put back and counted, unless it was `portcullis detach`.

use std::time::{Duration, Instant};

use super::Daemon;

/// How soon something that is gone is looked at again. A detach takes away one thing after the other; what it leaves no pins of is meant.
pub(super) const SOON: Duration = Duration::from_millis(500);

/// How often an interface that can't be guarded is tried again.
const AGAIN: Duration = Duration::from_secs(30);

impl Daemon {
    /// Looks whether what was attached still is.
    pub(super) fn look_for_lost(&mut self) {
        let Some(enforced) = &mut self.enforced else {
            return;
        };
        let seen_before = !enforced.lost.is_empty();
        if let Some(lost) = enforced.find_lost() {
            for lost in lost {
                log::error!("{lost}");
            }
            enforced.write_notes(&self.directories);
            self.say();
        } else if seen_before {
            self.put_back();
        } else {
            self.try_to_guard();
        }
    }

    /// Attaches what is gone again.
    fn put_back(&mut self) {
        let Some(enforced) = self.enforced.as_mut().filter(|it| !it.detached) else {
            // Somebody meant it; the look before may have come in the midst of it.
            self.say();
            return;
        };
        let lost = std::mem::take(&mut enforced.lost);
        enforced.guard(enforced.deadline.is_none());
        let guarded = enforced.interfaces.iter().filter(|it| it.guarded);
        let back: Vec<&str> = guarded
            .map(|it| it.name.as_str())
            .filter(|name| {
                let mut lost = lost.iter().filter_map(|it| it.split_once(": "));
                lost.any(|(gone, _)| gone == *name)
            })
            .collect();
        for name in &back {
            log::error!("{name}: somebody took away what was attached; it is in force again");
        }
        enforced.totals.put_back += back.len() as u64;
        for problem in &enforced.problems {
            log::error!("{problem}");
        }
        enforced.write_totals(&self.directories);
        enforced.write_notes(&self.directories);
        self.tried = Instant::now();
        self.say();
    }

    /// Tries listed interfaces again that are there and not guarded: what refused may be gone.
    fn try_to_guard(&mut self) {
        let Some(enforced) = self.enforced.as_mut().filter(|it| !it.detached) else {
            return;
        };
        let listed = enforced.ready.interfaces();
        let mut unguarded = enforced.interfaces.iter().filter(|it| !it.guarded);
        if self.tried.elapsed() < AGAIN || !unguarded.any(|it| listed.contains(&it.name)) {
            return;
        }
        self.tried = Instant::now();
        let before = enforced.problems.clone();
        enforced.guard(enforced.deadline.is_none());
        if enforced.problems != before {
            for line in enforced.interface_lines() {
                log::info!("{line}");
            }
            for problem in &enforced.problems {
                log::error!("{problem}");
            }
            enforced.write_notes(&self.directories);
            self.say();
        }
    }
}
