//! From the ring to the sinks: what reading events asks of the machine, which is the ring, two clocks and the names of interfaces.

use std::collections::HashMap;
use std::io;
use std::ops::RangeInclusive;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::losses::Losses;
use crate::events::journal::Journal;
use crate::events::json::JsonLines;
use crate::events::ring::{Ring, TURN, Turn};
use crate::events::sink::QUEUE;
use crate::events::watch::Watch;
use crate::events::{self, Knowledge, ReportCounts, Sink};
use crate::host::schema;

/// How long sinks may take for their last entries.
const PATIENCE: Duration = Duration::from_secs(3);

/// Turns that are read at the end at most: programs go on writing.
const LAST_TURNS: usize = 64;

/// Linux's range, until the facts say this host's (`net.ipv4.ip_local_port_range`).
const EPHEMERAL: RangeInclusive<u16> = 32_768..=60_999;

pub(super) struct Reporter {
    ring: Option<Ring>,
    reporter: events::Reporter,
    /// Names of interfaces by index.
    names: HashMap<u32, Arc<str>>,
    /// Begin of the monotonic clock that merging goes by.
    began: Instant,
    /// Octets were found that are no event, and it was said.
    told: bool,
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
            reporter: events::Reporter::new(window, EPHEMERAL, sinks),
            names: HashMap::new(),
            began: Instant::now(),
            told: false,
        })
    }

    /// Reads this ring from now on, and what is left in the one before.
    pub(super) fn listen(&mut self, ring: Ring) {
        self.read();
        self.ring = Some(ring);
    }

    /// Explains by this policy what it decides. What was gathered before is said by the policy that it was gathered under.
    pub(super) fn explain_by(
        &mut self,
        generation: u32,
        knowledge: &Rc<Knowledge>,
        window: Duration,
        ephemeral: RangeInclusive<u16>,
    ) {
        self.read();
        let now = self.began.elapsed();
        self.reporter
            .explain_by(generation, knowledge, window, ephemeral, now);
        // Indices are given anew to interfaces that were made anew.
        self.names.clear();
    }

    /// One turn: what lies in the ring, and the windows that have ended. What it found.
    pub(super) fn turn(&mut self) -> Turn {
        let turn = self.read();
        self.reporter.turn(self.began.elapsed());
        turn
    }

    /// What became of the events so far.
    pub(super) fn counts(&self) -> ReportCounts {
        self.reporter.counts()
    }

    /// Those who watch what the sinks are given.
    pub(super) fn watch(&self) -> &Watch {
        self.reporter.watch()
    }

    fn read(&mut self) -> Turn {
        let Some(ring) = &mut self.ring else {
            return Turn::default();
        };
        let (now, time) = (self.began.elapsed(), Timestamp::now());
        ring.drain(TURN, |octets| {
            let name = |index| name_of(&mut self.names, index);
            if let Err(error) = self.reporter.event(octets, now, time, name)
                && !self.told
            {
                // The first says what it is; the rest is a number.
                log::error!("an event can't be read: {error}");
                self.told = true;
            }
        })
    }

    /// What is new among the losses. `ring` counts the packets that ever found the ring full.
    pub(super) fn look_at_losses(&self, losses: &mut Losses, ring: u64) -> Vec<String> {
        losses.look(self.began.elapsed(), ring, &self.reporter.counts().sinks)
    }

    /// Says everything that is gathered, and what became of it.
    pub(super) fn close(mut self) -> ReportCounts {
        for _ in 0..LAST_TURNS {
            if !self.read().more {
                break;
            }
        }
        let counts = self.reporter.close(self.began.elapsed(), PATIENCE);
        if counts.undecodable > 0 {
            log::error!("{} events could not be read", counts.undecodable);
        }
        counts
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
