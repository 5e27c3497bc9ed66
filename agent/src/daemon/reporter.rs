//! From the ring to the sinks: decode, merge, explain, deliver.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::events::aggregate::{Aggregator, DEFAULT_CAPACITY, Output};
use crate::events::explain::Knowledge;
use crate::events::fields::Denied;
use crate::events::journal::Journal;
use crate::events::json::JsonLines;
use crate::events::ring::{Ring, TURN, Turn};
use crate::events::sink::QUEUE;
use crate::events::{Entry, Sink, SinkCounts, decode};
use crate::host::schema;

/// Policies of which explanations can be given: the one in force and those whose packets may still be under way.
const REMEMBERED: usize = 3;

/// How long sinks may take for their last entries.
const PATIENCE: Duration = Duration::from_secs(3);

pub(super) struct Reporter {
    ring: Option<Ring>,
    aggregator: Aggregator,
    /// By generation.
    knowledge: BTreeMap<u32, Rc<Knowledge>>,
    sinks: Vec<Sink>,
    /// Names of interfaces by index.
    names: HashMap<u32, Arc<str>>,
    /// Begin of the monotonic clock that merging goes by.
    began: Instant,
    /// Events that were none.
    unread: u64,
}

impl Reporter {
    /// Starts the sinks. Nothing is read before [`Self::listen`].
    pub(super) fn new(wanted: &[schema::Sink], window: Duration) -> io::Result<Self> {
        let mut sinks = Vec::new();
        for sink in wanted {
            sinks.push(match sink {
                schema::Sink::Journal => Sink::start(sink.name(), Journal, QUEUE)?,
                schema::Sink::Json => {
                    Sink::start(sink.name(), JsonLines::new(io::stdout()), QUEUE)?
                }
            });
        }
        Ok(Self {
            ring: None,
            aggregator: Aggregator::new(window, DEFAULT_CAPACITY, 32_768..=60_999),
            knowledge: BTreeMap::new(),
            sinks,
            names: HashMap::new(),
            began: Instant::now(),
            unread: 0,
        })
    }

    /// Reads this ring from now on.
    pub(super) fn listen(&mut self, ring: Ring) {
        self.ring = Some(ring);
    }

    /// Explains by this policy what it decides. What was gathered before is said by the policy that it was gathered under.
    pub(super) fn explain_by(
        &mut self,
        generation: u32,
        knowledge: &Rc<Knowledge>,
        window: Duration,
        ephemeral: std::ops::RangeInclusive<u16>,
    ) {
        self.read();
        for output in self.aggregator.flush() {
            self.deliver(output);
        }
        self.aggregator = Aggregator::new(window, DEFAULT_CAPACITY, ephemeral);
        // Indices are given anew to interfaces that were made anew.
        self.names.clear();
        self.knowledge.insert(generation, Rc::clone(knowledge));
        while self.knowledge.len() > REMEMBERED {
            self.knowledge.pop_first();
        }
    }

    /// One turn: what lies in the ring, and the windows that have ended. True where more may lie there.
    pub(super) fn turn(&mut self) -> bool {
        let turn = self.read();
        let now = self.began.elapsed();
        for output in self.aggregator.expire(now) {
            self.deliver(output);
        }
        turn.more
    }

    fn read(&mut self) -> Turn {
        let Some(mut ring) = self.ring.take() else {
            return Turn::default();
        };
        let time = Timestamp::now();
        let now = self.began.elapsed();
        let mut outputs = Vec::new();
        let turn = ring.drain(TURN, |octets| {
            match decode(octets, time, |index| name_of(&mut self.names, index)) {
                Ok(denial) => outputs.extend(self.aggregator.feed(now, denial)),
                Err(error) => {
                    // The first says what it is; the rest is a number.
                    if self.unread == 0 {
                        log::error!("an event can't be read: {error}");
                    }
                    self.unread += 1;
                }
            }
        });
        self.ring = Some(ring);
        for output in outputs {
            self.deliver(output);
        }
        turn
    }

    fn deliver(&self, output: Output) {
        let entry = match output {
            Output::Overflow(overflow) => Entry::Overflow(overflow),
            Output::Merged(merged) => {
                let generation = merged.denial.generation;
                // A policy that is forgotten, or was another process's: the latest knows the host best.
                let known = self.knowledge.get_key_value(&generation);
                let known = known.or_else(|| self.knowledge.last_key_value());
                let explanation = match known {
                    Some((generation, knowledge)) => {
                        knowledge.explain(&knowledge.question(&merged, *generation))
                    }
                    None => {
                        let knowledge = Knowledge::default();
                        knowledge.explain(&knowledge.question(&merged, generation.wrapping_add(1)))
                    }
                };
                Entry::Denied(Box::new(Denied {
                    merged: *merged,
                    explanation,
                    unit: None,
                }))
            }
        };
        match self.sinks.split_last() {
            None => {}
            Some((last, others)) => {
                for sink in others {
                    sink.send(entry.clone());
                }
                last.send(entry);
            }
        }
    }

    /// Says everything that is gathered, and what became of it.
    pub(super) fn close(mut self) -> Vec<(&'static str, SinkCounts)> {
        while self.read().more {}
        for output in self.aggregator.flush() {
            self.deliver(output);
        }
        if self.unread > 0 {
            log::error!("{} events could not be read", self.unread);
        }
        let sinks = self.sinks.drain(..);
        sinks
            .map(|sink| (sink.name(), sink.close(PATIENCE)))
            .collect()
    }
}

fn name_of(names: &mut HashMap<u32, Arc<str>>, index: u32) -> Option<Arc<str>> {
    if let Some(name) = names.get(&index) {
        return Some(Arc::clone(name));
    }
    let name = nix::net::if_::if_indextoname(index).ok()?;
    let name: Arc<str> = name.to_str().ok()?.into();
    names.insert(index, Arc::clone(&name));
    Some(name)
}
