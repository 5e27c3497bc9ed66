//! Flows that were open before the programs saw any, entered by hand: where the flow tables are new.
//!
//! The programs are attached already, or are about to be, so nothing that they entered is written over: an entry is made only where there
//! is none, and a stamp is one word, which is stored whole.

use std::collections::HashSet;
use std::os::fd::AsFd as _;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use agent_common::flow::{
    ASKED_SLOTS, BEGAN_TABLES, COUNTED_BY_AGENT, FlowCounts, FlowKey, FlowRecord, FlowTable, stamp,
};
use aya::maps::{MapData, PerCpuArray, PerCpuValues};

use super::counters::{self, Entered, Flows};
use super::error::Error;
use super::load::Dataplane;
use super::mapping::Mapping;
use super::pins::Pins;
use crate::adopt::{Note, OpenFlow};

/// Ports of a table of stamps.
const PORTS: usize = 65_536;

/// What became of flows that were open.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Adopted {
    /// Entries that were made.
    pub(crate) entered: usize,
    /// Flows that the programs had met already.
    pub(crate) known: usize,
    /// Flows that found no room.
    pub(crate) without_room: usize,
    /// Flows whose turn came too late.
    pub(crate) late: usize,
}

/// Stamps in memory, shared with the programs.
struct Stamps {
    began: Mapping<[u32; PORTS]>,
    asked: Mapping<[u32; ASKED_SLOTS as usize]>,
}

impl Stamps {
    fn open(pins: &Pins) -> Result<Self, Error> {
        Ok(Self {
            began: map(pins, "BEGAN", BEGAN_TABLES)?,
            asked: map(pins, "ASKED", 1)?,
        })
    }
}

fn map<const N: usize>(
    pins: &Pins,
    name: &'static str,
    count: u32,
) -> Result<Mapping<[u32; N]>, Error> {
    let data = MapData::from_pin(pins.state().join(name)).map_err(Error::map(name))?;
    Mapping::new(data.fd().as_fd(), count, true).map_err(Error::system(format!("{name}: mapping")))
}

impl Dataplane {
    /// Whether flow tables or stamps were made by this load: what was open before is not in them.
    #[must_use]
    pub(crate) fn forgot_flows(&self) -> bool {
        self.forgot
    }

    /// Enters flows that were open, connections first, for so long. The table that gives old entries to new flows gets no more than it
    /// holds.
    ///
    /// # Errors
    /// What the kernel says of the maps; what was entered by then stays.
    pub(crate) fn adopt(
        &mut self,
        flows: &[OpenFlow],
        patience: Duration,
    ) -> Result<Adopted, Error> {
        let until = Instant::now() + patience;
        let stamps = Stamps::open(&self.pins)?;
        let mut tables = Tables::open(&self.pins)?;
        let now = self.clock().now()?.tick();
        let mut adopted = Adopted::default();
        let mut entered = Ok(());
        for table in [FlowTable::Established, FlowTable::New] {
            let notes = flows.iter().map(|flow| flow.note(now));
            for note in notes.filter(|note| note.belongs_to(table)) {
                if Instant::now() > until {
                    adopted.late += 1;
                    continue;
                }
                entered = tables.take(&note, &stamps, now, &mut adopted);
                if entered.is_err() {
                    break;
                }
            }
            if entered.is_err() {
                break;
            }
        }
        self.count_made(tables.made)?;
        entered.map(|()| adopted)
    }

    /// Counts entries that were made among the new flows: what is neither there nor removed any more was evicted.
    fn count_made(&self, made: u64) -> Result<(), Error> {
        const NAME: &str = "FLOW_COUNTS";
        if made == 0 {
            return Ok(());
        }
        let mut counts: PerCpuArray<MapData, FlowCounts> = counters::per_cpu(&self.pins, NAME)?;
        let before = counts.get(&COUNTED_BY_AGENT, 0).map_err(Error::map(NAME))?;
        let mut after: Vec<FlowCounts> = before.iter().copied().collect();
        if let Some(first) = after.first_mut() {
            first.made += made;
        }
        let after =
            PerCpuValues::try_from(after).map_err(Error::system(format!("{NAME}: CPUs")))?;
        counts
            .set(COUNTED_BY_AGENT, after, 0)
            .map_err(Error::map(NAME))
    }
}

/// Both flow tables.
struct Tables {
    established: Flows,
    new: Flows,
    /// Flows that the programs have met, in whichever table: what they meet while others are entered is not written over either, but may
    /// be in the one table as they have it and in the other as it was found, and then the first that they ask decides.
    met: HashSet<FlowKey>,
    /// Entries that may be made in `new`, and that were.
    room: u64,
    made: u64,
}

impl Tables {
    fn open(pins: &Pins) -> Result<Self, Error> {
        let new = Flows::open(pins, FlowTable::New)?;
        let established = Flows::open(pins, FlowTable::Established)?;
        let met = [new.entries()?, established.entries()?];
        Ok(Self {
            met: met.into_iter().flatten().map(|(key, _)| key).collect(),
            established,
            room: u64::from(new.capacity()),
            new,
            made: 0,
        })
    }

    fn take(
        &mut self,
        note: &Note,
        stamps: &Stamps,
        now: u32,
        adopted: &mut Adopted,
    ) -> Result<(), Error> {
        match note {
            Note::Entry {
                table,
                key,
                entry,
                stamp: (began, port),
            } => {
                match self.enter(*table, key, entry.record())? {
                    Entered::Made => adopted.entered += 1,
                    Entered::Known => adopted.known += 1,
                    Entered::Full => {
                        adopted.without_room += 1;
                        return Ok(());
                    }
                }
                write(
                    &stamps.began,
                    *began as usize * PORTS + usize::from(*port),
                    now,
                );
            }
            Note::Question(slot) => write(&stamps.asked, usize::from(*slot), now),
            Note::Nothing => {}
        }
        Ok(())
    }

    fn enter(
        &mut self,
        table: FlowTable,
        key: &FlowKey,
        record: FlowRecord,
    ) -> Result<Entered, Error> {
        if self.met.contains(key) {
            return Ok(Entered::Known);
        }
        if table == FlowTable::Established {
            match self.established.enter(key, record)? {
                // One that finds no room among the connections stays with the others, as the programs have it.
                Entered::Full => {}
                other => return Ok(other),
            }
        }
        if self.made == self.room {
            return Ok(Entered::Full);
        }
        let entered = self.new.enter(key, record)?;
        self.made += u64::from(entered == Entered::Made);
        Ok(entered)
    }
}

fn write<const N: usize>(stamps: &Mapping<[u32; N]>, at: usize, now: u32) {
    // Every table and port is within the mapping.
    if let Some(word) = stamps.word32(at) {
        word.store(stamp(now), Ordering::Relaxed);
    }
}
