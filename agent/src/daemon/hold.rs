//! What ends by itself, in the kernel: a policy on trial, a pause. While one of them is under way nothing else switches.

use std::time::{Duration, Instant};

use agent_common::switch::Switch;
use agent_common::tables::{OPEN_BANK, TICK_SHIFT};
use jiff::Timestamp;

use super::enforce::{Banked, Enforced};
use super::files::Directories;
use super::totals::Clock;
use crate::dataplane::{Dataplane, Error};

/// When a trial or a pause ends by itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadline {
    tick: u32,
    /// From then on the kernel's clock is asked.
    due: Instant,
    /// The same in people's time, as it was reckoned at the beginning.
    pub(super) until: Timestamp,
    pub(super) pause: bool,
}

/// Why nothing else switches now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Held {
    pub(super) pause: bool,
    /// Seconds left, rounded up.
    pub(super) left: u64,
}

impl std::fmt::Display for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { pause, left } = self;
        if *pause {
            write!(
                f,
                "enforcement is paused for another {left} s; `portcullis revert` ends the pause at once"
            )
        } else {
            write!(
                f,
                "an unconfirmed policy is in force for another {left} s; `portcullis confirm` keeps it, `portcullis revert` takes it back at once"
            )
        }
    }
}

impl Deadline {
    /// So long from now.
    pub(super) fn after(dataplane: &Dataplane, time: Duration, pause: bool) -> Result<Self, Error> {
        let jiffies = time
            .as_secs()
            .saturating_mul(u64::from(dataplane.hz()))
            .min(u64::from(u32::MAX >> 2) << TICK_SHIFT);
        // One more: the tick that has begun is not a whole one.
        let ticks = u32::try_from(jiffies >> TICK_SHIFT).unwrap_or(u32::MAX >> 2) + 1;
        let now = dataplane.clock().now()?.tick();
        Ok(Self::of(
            dataplane.hz(),
            now,
            now.wrapping_add(ticks),
            pause,
        ))
    }

    /// At this tick.
    pub(super) fn at(dataplane: &Dataplane, tick: u32, pause: bool) -> Result<Self, Error> {
        let now = dataplane.clock().now()?.tick();
        Ok(Self::of(dataplane.hz(), now, tick, pause))
    }

    fn of(hz: u32, now: u32, tick: u32, pause: bool) -> Self {
        let clock = Clock {
            tick: now,
            hz,
            time: Timestamp::now(),
        };
        // A second early: asking costs little.
        let ahead = Duration::from_secs(seconds(tick.wrapping_sub(now), hz).saturating_sub(1));
        let now = Instant::now();
        Self {
            tick,
            due: now.checked_add(ahead).unwrap_or(now),
            until: clock.time_until(tick),
            pause,
        }
    }

    /// The switch word with this end.
    pub(super) fn on(&self, word: Switch) -> Switch {
        if self.pause {
            word.paused_until(self.tick)
        } else {
            word.until(self.tick)
        }
    }
}

/// Ticks in seconds, rounded up.
fn seconds(ticks: u32, hz: u32) -> u64 {
    (u64::from(ticks) << TICK_SHIFT).div_ceil(u64::from(hz.max(1)))
}

/// What a deadline that has passed left in force.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Ended {
    /// The policy that was on trial is out of force.
    Trial,
    /// Denials are denials again.
    Pause,
}

impl Enforced {
    /// Why nothing else may switch now.
    pub(super) fn held(&self) -> Result<Option<Held>, Error> {
        let Some(deadline) = self.deadline else {
            return Ok(None);
        };
        let left = deadline.tick.wrapping_sub(self.clock()?.tick);
        // Beyond half of the circle it has passed.
        let left = if left as i32 > 0 { left } else { 0 };
        Ok(Some(Held {
            pause: deadline.pause,
            left: seconds(left, self.dataplane.hz()),
        }))
    }

    /// Whether a trial's or a pause's time is up; the programs' clock decides, whatever people's clock says meanwhile.
    pub(super) fn is_over(&self) -> Result<Option<Ended>, Error> {
        let Some(deadline) = self.deadline.filter(|it| it.due <= Instant::now()) else {
            return Ok(None);
        };
        let over = self.clock()?.tick.wrapping_sub(deadline.tick) as i32 >= 0;
        let ended = if deadline.pause {
            Ended::Pause
        } else {
            Ended::Trial
        };
        Ok(over.then_some(ended))
    }

    /// The policy in force stays without an end: a trial that was confirmed, a pause that is over.
    pub(super) fn stay(&mut self, directories: &Directories) -> Result<(), Error> {
        let fallback = self.previous.as_ref().map_or(OPEN_BANK, |it| it.bank);
        self.dataplane
            .switch_to(Switch::to(self.bank, fallback, self.generation))?;
        if self.deadline.take().is_some_and(|it| !it.pause) {
            // What the trial listed no more is left now.
            self.guard(true);
        }
        self.write_down(directories);
        Ok(())
    }

    /// Denials are audits for so long.
    pub(super) fn pause(&mut self, time: Duration, directories: &Directories) -> Result<(), Error> {
        let fallback = self.previous.as_ref().map_or(OPEN_BANK, |it| it.bank);
        let deadline = Deadline::after(&self.dataplane, time, true)?;
        let word = Switch::to(self.bank, fallback, self.generation);
        self.dataplane.switch_to(deadline.on(word))?;
        self.deadline = Some(deadline);
        self.write_down(directories);
        Ok(())
    }

    /// What was in force before is again, generation 0 where nothing was; the same that the programs do by themselves at a deadline.
    pub(super) fn go_back(&mut self, directories: &Directories) -> Result<(), Error> {
        match self.previous.take() {
            Some(previous) => {
                let word = Switch::to(previous.bank, OPEN_BANK, previous.generation);
                self.dataplane.switch_to(word)?;
                let Banked {
                    ready,
                    bank,
                    generation,
                } = previous;
                (self.ready, self.bank, self.generation) = (ready, bank, generation);
            }
            None => {
                self.dataplane
                    .switch_to(Switch::to(OPEN_BANK, OPEN_BANK, 0))?;
                self.open = true;
            }
        }
        (self.deadline, self.reverted) = (None, true);
        self.since = Timestamp::now();
        if !self.open {
            self.guard(true);
        }
        self.write_down(directories);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_rounded_up() {
        for (ticks, hz, expected) in [
            (0, 250, 0),
            (1, 250, 1),
            (4, 250, 2),
            (235, 250, 61),
            (4, 1000, 1),
        ] {
            assert_eq!(seconds(ticks, hz), expected, "{ticks} at {hz}");
        }
    }

    #[test]
    fn a_deadline_is_put_on_a_word() {
        let word = Switch::to(1, 2, 7);
        for pause in [false, true] {
            let deadline = Deadline::of(250, 1_000, 1_235, pause);
            assert_eq!(deadline.on(word).deadline(), Some(1_235));
            assert_eq!(deadline.on(word).is_pause(), pause);
            assert!(deadline.due > Instant::now() + Duration::from_secs(50));
        }
    }

    #[test]
    fn what_holds_says_how_long_and_the_way_out() {
        let text = Held {
            pause: false,
            left: 42,
        }
        .to_string();
        assert!(
            text.contains("42 s") && text.contains("portcullis confirm"),
            "{text}"
        );
        let text = Held {
            pause: true,
            left: 7,
        }
        .to_string();
        assert!(
            text.contains("7 s") && text.contains("portcullis revert"),
            "{text}"
        );
    }
}
