//! The way of an event through the daemon: decoded, merged, explained, given to every sink.

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::aggregate::{Aggregator, DEFAULT_CAPACITY, Output};
use super::decode::{DecodeError, decode};
use super::explain::Knowledge;
use super::fields::{Denied, Entry};
use super::sink::{Sink, SinkCounts};
use super::units::{MOUNTS, Units};

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
    knowledge: Arc<Knowledge>,
    generation: u32,
    interfaces: HashMap<u32, Arc<str>>,
    units: Units,
    sinks: Vec<Sink>,
    read: u64,
    undecodable: u64,
    overflow: u64,
}

impl Reporter {
    /// A reporter without a policy: everything is explained as near nothing until [`Reporter::set_policy`]. `window` is how long repeats are
    /// gathered, `ephemeral` this host's range of ports for its own questions.
    pub fn new(window: Duration, ephemeral: RangeInclusive<u16>, sinks: Vec<Sink>) -> Self {
        Self {
            aggregator: Aggregator::new(window, DEFAULT_CAPACITY, ephemeral),
            knowledge: Arc::new(Knowledge::default()),
            generation: 0,
            interfaces: HashMap::new(),
            units: Units::at(&MOUNTS),
            sinks,
            read: 0,
            undecodable: 0,
            overflow: 0,
        }
    }

    /// Explains by this policy from now on. What was gathered under the old one is explained by it.
    pub fn set_policy(&mut self, generation: u32, knowledge: Arc<Knowledge>, now: Duration) {
        let gathered = self.aggregator.flush();
        self.send_all(gathered, now);
        self.knowledge = knowledge;
        self.generation = generation;
    }

    /// The interfaces' names by index.
    pub fn set_interfaces<'a>(&mut self, names: impl IntoIterator<Item = (u32, &'a str)>) {
        self.interfaces = names
            .into_iter()
            .map(|(index, name)| (index, Arc::from(name)))
            .collect();
    }

    /// Takes one event of the ring. `now` is a monotonic time, `time` the wall clock.
    ///
    /// # Errors
    ///
    /// Where the octets are no event. It is counted; the caller says it once, because the next one will hardly be better.
    pub fn event(
        &mut self,
        octets: &[u8],
        now: Duration,
        time: Timestamp,
    ) -> Result<(), DecodeError> {
        self.read += 1;
        let name = |index| self.interfaces.get(&index).cloned();
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

    fn send_all(&mut self, outputs: impl IntoIterator<Item = Output>, now: Duration) {
        for output in outputs {
            let entry = match output {
                Output::Overflow(overflow) => {
                    self.overflow += overflow.count;
                    Entry::Overflow(overflow)
                }
                Output::Merged(merged) => {
                    let question = self.knowledge.question(&merged, self.generation);
                    let cgroup = merged.denial.cgroup;
                    Entry::Denied(Box::new(Denied {
                        explanation: self.knowledge.explain(&question),
                        unit: cgroup.and_then(|id| self.units.unit(id, now)),
                        merged: *merged,
                    }))
                }
            };
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
