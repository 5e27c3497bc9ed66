//! The way of an event through the daemon: decoded, merged, explained, given to every sink.

use std::collections::VecDeque;
use std::ops::RangeInclusive;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::aggregate::{Aggregator, DEFAULT_CAPACITY, Merged, Output};
use super::decode::{DecodeError, decode};
use super::explain::{Explanation, Knowledge};
use super::fields::{Denied, Entry};
use super::sink::{Sink, SinkCounts};
use super::units::{MOUNTS, Units};
use super::watch::Watch;

/// Policies of which explanations can be given: the one in force and those whose packets may still be under way.
const REMEMBERED: usize = 3;

/// What became of the events so far. `read` is what the kernel side counted as reported, less what still lies in the ring.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ReportCounts {
    /// Events that came out of the ring.
    pub read: u64,
    /// Octets that were no event, each a packet.
    pub undecodable: u64,
    /// Packets that wait for the end of their window.
    pub gathered: u64,
    /// Packets that were counted but not told apart.
    pub overflow: u64,
    /// Each sink's own; what every sink was given is `read` less `undecodable` less `gathered`.
    pub sinks: Vec<(&'static str, SinkCounts)>,
}

/// Reports denied packets under one policy after the other.
pub struct Reporter {
    aggregator: Aggregator,
    /// By generation, the latest last; their numbers begin anew after a detach.
    knowledge: VecDeque<(u32, Rc<Knowledge>)>,
    units: Units,
    sinks: Vec<Sink>,
    watch: Watch,
    read: u64,
    undecodable: u64,
    overflow: u64,
}

impl Reporter {
    /// A reporter without a policy: everything is explained as near nothing until [`Reporter::explain_by`]. `window` is how long repeats are
    /// gathered, `ephemeral` this host's range of ports for its own questions.
    pub fn new(window: Duration, ephemeral: RangeInclusive<u16>, sinks: Vec<Sink>) -> Self {
        Self {
            aggregator: Aggregator::new(window, DEFAULT_CAPACITY, ephemeral),
            knowledge: VecDeque::new(),
            units: Units::at(&MOUNTS),
            sinks,
            watch: Watch::default(),
            read: 0,
            undecodable: 0,
            overflow: 0,
        }
    }

    /// Explains by this policy what it decides. What was gathered before is said by the policy that it was gathered under. `window` and
    /// `ephemeral` as in [`Reporter::new`].
    pub fn explain_by(
        &mut self,
        generation: u32,
        knowledge: &Rc<Knowledge>,
        window: Duration,
        ephemeral: RangeInclusive<u16>,
        now: Duration,
    ) {
        let gathered = self.aggregator.flush();
        self.send_all(gathered, now);
        self.aggregator = Aggregator::new(window, DEFAULT_CAPACITY, ephemeral);
        self.knowledge.retain(|(known, _)| *known != generation);
        self.knowledge.push_back((generation, Rc::clone(knowledge)));
        if self.knowledge.len() > REMEMBERED {
            self.knowledge.pop_front();
        }
    }

    /// Takes one event of the ring. `now` is a monotonic time, `time` the wall clock, `name` gives an interface's name.
    ///
    /// # Errors
    ///
    /// Where the octets are no event. It is counted; the caller says it once, because the next one will hardly be better.
    pub fn event(
        &mut self,
        octets: &[u8],
        now: Duration,
        time: Timestamp,
        name: impl FnOnce(u32) -> Option<Arc<str>>,
    ) -> Result<(), DecodeError> {
        self.read += 1;
        let denial = decode(octets, time, name).inspect_err(|_| self.undecodable += 1)?;
        let output = self.aggregator.feed(now, denial);
        self.send_all(output, now);
        Ok(())
    }

    /// Says what was gathered in windows that have ended. To be called each time the ring was read.
    pub fn turn(&mut self, now: Duration) {
        let due = self.aggregator.expire(now);
        self.send_all(due, now);
    }

    /// Those who watch what the sinks are given.
    pub fn watch(&self) -> &Watch {
        &self.watch
    }

    /// What became of the events so far.
    pub fn counts(&self) -> ReportCounts {
        ReportCounts {
            read: self.read,
            undecodable: self.undecodable,
            gathered: self.aggregator.gathered(),
            overflow: self.overflow,
            sinks: self
                .sinks
                .iter()
                .map(|sink| (sink.name(), sink.counts()))
                .collect(),
        }
    }

    /// Says everything that is still gathered, and gives each sink `patience` to deliver it.
    pub fn close(mut self, now: Duration, patience: Duration) -> ReportCounts {
        let gathered = self.aggregator.flush();
        self.send_all(gathered, now);
        let mut counts = self.counts();
        let sinks = self.sinks.drain(..);
        counts.sinks = sinks
            .map(|sink| (sink.name(), sink.close(patience)))
            .collect();
        counts
    }

    /// By the policy that decided; one that is forgotten, or was another process's, by the latest, which knows the host best.
    fn explain(&self, merged: &Merged) -> Explanation {
        let decided = merged.denial.generation;
        let known = self.knowledge.iter().find(|(known, _)| *known == decided);
        match known.or_else(|| self.knowledge.back()) {
            Some((generation, knowledge)) => {
                knowledge.explain(&knowledge.question(merged, *generation))
            }
            None => {
                let nothing = Knowledge::default();
                let other = merged.denial.generation.wrapping_add(1);
                nothing.explain(&nothing.question(merged, other))
            }
        }
    }

    fn send_all(&mut self, outputs: impl IntoIterator<Item = Output>, now: Duration) {
        for output in outputs {
            let entry = match output {
                Output::Overflow(overflow) => {
                    self.overflow += overflow.count;
                    Entry::Overflow(overflow)
                }
                Output::Merged(merged) => Entry::Denied(Box::new(Denied {
                    explanation: self.explain(&merged),
                    unit: merged.denial.cgroup.and_then(|id| self.units.unit(id, now)),
                    merged: *merged,
                })),
            };
            self.watch.tell(&entry);
            if let Some((last, others)) = self.sinks.split_last() {
                for sink in others {
                    sink.send(entry.clone());
                }
                last.send(entry);
            }
        }
    }
}

#[cfg(test)]
mod tests;
