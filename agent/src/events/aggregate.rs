//! Merges repeats: the first denial at once, then one summary per window. Pure: the clock is passed in, and it is a monotonic one, so
//! that a clock set back or forth delays nothing.
//!
//! What is fed comes out: the counts of all that [`Aggregator`] gives add up to the denials that it was given.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use agent_common::event::Direction;
use agent_common::verdict::{Action, Reason};
use jiff::Timestamp;

use super::decode::{Asked, Denial, Transport};

/// How long repeats are gathered where the configuration does not say.
pub const DEFAULT_WINDOW: Duration = Duration::from_secs(60);

/// Keys that are remembered at most; about 4 MB.
pub const DEFAULT_CAPACITY: usize = 16_384;

/// What makes two denials the same for who reads the journal.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Key {
    interface: u32,
    direction: Direction,
    transport: Transport,
    peer: Option<IpAddr>,
    asked: Asked,
    reason: Reason,
    audited: bool,
}

/// Equal denials of one window.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Merged {
    /// The last of them.
    pub denial: Denial,
    /// What it asked for.
    pub asked: Asked,
    /// How many packets; never 0.
    pub count: u64,
    /// When the first of these came.
    pub first: Timestamp,
    /// When the last of these came.
    pub last: Timestamp,
    /// Whether they repeat one that was given at once.
    pub repeats: bool,
}

/// Packets of a window that were not told apart, because too many different ones came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Overflow {
    /// How many packets; never 0.
    pub count: u64,
    /// When the first of these came.
    pub first: Timestamp,
    /// When the last of these came.
    pub last: Timestamp,
    /// Different denials that are remembered at most.
    pub capacity: usize,
}

/// What there is to say.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Output {
    /// Of one kind of packet.
    Merged(Box<Merged>),
    /// Of those that were too many.
    Overflow(Overflow),
}

impl Output {
    /// The packets that it stands for.
    pub fn count(&self) -> u64 {
        match self {
            Self::Merged(merged) => merged.count,
            Self::Overflow(overflow) => overflow.count,
        }
    }
}

/// The repeats of a window so far; none before the second packet.
type Repeats = Option<Box<Merged>>;

/// Merges denials.
pub struct Aggregator {
    window: Duration,
    capacity: usize,
    ephemeral: RangeInclusive<u16>,
    open: HashMap<Key, Repeats>,
    /// When each key's window ends, soonest first: all windows are equally long, so new ones go to the end.
    ends: VecDeque<(Duration, Key)>,
    overflow: Option<(Duration, Overflow)>,
}

impl Aggregator {
    /// An empty one. `ephemeral` is this host's range of ports for its own questions.
    pub fn new(window: Duration, capacity: usize, ephemeral: RangeInclusive<u16>) -> Self {
        Self {
            window,
            capacity,
            ephemeral,
            open: HashMap::new(),
            ends: VecDeque::new(),
            overflow: None,
        }
    }

    /// Takes a denial in; gives it back at once where it is the first of its kind. `now` is a monotonic time.
    pub fn feed(&mut self, now: Duration, denial: Denial) -> Option<Output> {
        let asked = denial.asked(&self.ephemeral);
        let key = Key {
            interface: denial.interface_index,
            direction: denial.direction,
            transport: denial.transport,
            peer: denial.peer(),
            asked,
            reason: denial.reason,
            audited: denial.action == Action::Audit,
        };
        let time = denial.time;
        let one = |repeats| {
            Box::new(Merged {
                asked,
                count: 1,
                first: time,
                last: time,
                repeats,
                denial,
            })
        };
        if let Some(repeats) = self.open.get_mut(&key) {
            match repeats {
                Some(merged) => {
                    merged.count += 1;
                    merged.last = time;
                    merged.denial = one(true).denial;
                }
                None => *repeats = Some(one(true)),
            }
            return None;
        }
        if self.open.len() >= self.capacity {
            let end = now.saturating_add(self.window);
            let (_, overflow) = self.overflow.get_or_insert((
                end,
                Overflow {
                    count: 0,
                    first: time,
                    last: time,
                    capacity: self.capacity,
                },
            ));
            overflow.count += 1;
            overflow.last = time;
            return None;
        }
        self.open.insert(key, None);
        self.ends.push_back((now.saturating_add(self.window), key));
        Some(Output::Merged(one(false)))
    }

    /// The summaries of the windows that have ended. What repeated stays open for another window; what did not is forgotten.
    pub fn expire(&mut self, now: Duration) -> Vec<Output> {
        let mut due = Vec::new();
        while let Some(&(end, key)) = self.ends.front() {
            if end > now {
                break;
            }
            self.ends.pop_front();
            match self.open.get_mut(&key).and_then(Option::take) {
                Some(merged) => {
                    due.push(Output::Merged(merged));
                    self.ends.push_back((now.saturating_add(self.window), key));
                }
                None => {
                    self.open.remove(&key);
                }
            }
        }
        if let Some((_, overflow)) = self.overflow.take_if(|(end, _)| *end <= now) {
            due.push(Output::Overflow(overflow));
        }
        due
    }

    /// Everything that is still gathered, at the end of the daemon or before another policy explains.
    pub fn flush(&mut self) -> Vec<Output> {
        let mut rest = Vec::new();
        for (_, key) in self.ends.drain(..) {
            let merged = self.open.remove(&key).flatten();
            rest.extend(merged.map(Output::Merged));
        }
        rest.extend(
            self.overflow
                .take()
                .map(|(_, overflow)| Output::Overflow(overflow)),
        );
        rest
    }

    /// Packets that were fed and not yet given back.
    pub fn gathered(&self) -> u64 {
        let merged = self.open.values().flatten().map(|merged| merged.count);
        let overflow = self.overflow.iter().map(|(_, overflow)| overflow.count);
        merged.chain(overflow).sum()
    }
}

#[cfg(test)]
mod tests;
