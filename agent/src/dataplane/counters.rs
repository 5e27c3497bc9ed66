//! Counters and flows as plain values: sums over CPUs.

use std::path::Path;

use agent_common::event::Direction;
use agent_common::flow::{
    COUNTED_BY_AGENT, COUNTED_BY_PROGRAMS, FlowCounts, FlowKey, FlowRecord, FlowTable,
};
use agent_common::tables::{Balance, RuleCounter, Timeouts, reason_slot};
use agent_common::verdict::{Reason, Through};
use aya::Pod;
use aya::maps::{HashMap, Map, MapData, MapError, PerCpuArray, PerCpuValues, RingBuf};

use super::error::Error;
use super::pins::Pins;

/// What the programs counted since the state was made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Counters {
    /// What became of denied and audited packets.
    pub balance: Balance,
    /// Packets by direction and reason that were not passed by a rule; only those that are not 0.
    pub reasons: Vec<(Direction, Reason, u64)>,
    /// Packets on their way through this host, ingress and egress: passed, audited, denied. Their reasons count them as well.
    pub through: [[u64; 3]; 2],
}

impl Counters {
    pub(super) fn read(pins: &Pins) -> Result<Self, Error> {
        let balance: PerCpuArray<MapData, Balance> = per_cpu(pins, "BALANCE")?;
        let balance = balance.get(&0, 0).map_err(Error::map("BALANCE"))?;
        let slots: PerCpuArray<MapData, u64> = per_cpu(pins, "REASONS")?;
        let count = |direction, number: u8| -> Result<u64, Error> {
            let slot = reason_slot(direction, number);
            let values = slots.get(&slot, 0).map_err(Error::map("REASONS"))?;
            Ok(values.iter().sum())
        };
        let mut reasons = Vec::new();
        let mut through = [[0; 3]; 2];
        for direction in [Direction::Ingress, Direction::Egress] {
            for &reason in Reason::ALL {
                let sum = count(direction, reason as u8)?;
                if sum != 0 {
                    reasons.push((direction, reason, sum));
                }
            }
            for (sum, what) in through[direction as usize].iter_mut().zip(Through::ALL) {
                *sum = count(direction, what as u8)?;
            }
        }
        Ok(Self {
            balance: sum_balance(&balance),
            reasons,
            through,
        })
    }
}

fn sum_balance(values: &PerCpuValues<Balance>) -> Balance {
    values.iter().fold(Balance::default(), |sum, one| Balance {
        reported: sum.reported + one.reported,
        suppressed: sum.suppressed + one.suppressed,
        lost: sum.lost + one.lost,
        audit_reported: sum.audit_reported + one.audit_reported,
        audit_suppressed: sum.audit_suppressed + one.audit_suppressed,
        audit_lost: sum.audit_lost + one.audit_lost,
    })
}

/// What became of entries of the flow tables, over all CPUs and whoever counted.
pub(super) fn flow_counts(pins: &Pins) -> Result<FlowCounts, Error> {
    let counts: PerCpuArray<MapData, FlowCounts> = per_cpu(pins, "FLOW_COUNTS")?;
    let mut sum = FlowCounts::default();
    for slot in [COUNTED_BY_PROGRAMS, COUNTED_BY_AGENT] {
        let values = match counts.get(&slot, 0) {
            // Pinned by a version that counted nothing itself.
            Err(MapError::OutOfBounds { .. } | MapError::KeyNotFound) => continue,
            values => values.map_err(Error::map("FLOW_COUNTS"))?,
        };
        for one in values.iter() {
            sum.made += one.made;
            sum.removed += one.removed;
            sum.found_full += one.found_full;
        }
    }
    Ok(sum)
}

/// One rule over all CPUs: sums, and the latest tick.
pub(super) fn sum_rule(values: &[RuleCounter]) -> RuleCounter {
    values
        .iter()
        .fold(RuleCounter::default(), |sum, one| RuleCounter {
            passed: sum.passed + one.passed,
            audited: sum.audited + one.audited,
            near: sum.near + one.near,
            last: sum.last.max(one.last),
        })
}

/// How full a flow table is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FlowUse {
    /// Entries that are live.
    pub entries: usize,
    /// Entries that outlived their time-out.
    pub expired: usize,
    /// Entries that there is room for.
    pub capacity: u32,
}

/// What became of an entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Entered {
    /// It was made.
    Made,
    /// It was there.
    Known,
    /// There was no room for it.
    Full,
}

/// A flow table.
pub struct Flows {
    map: HashMap<MapData, FlowKey, FlowRecord>,
    name: &'static str,
    capacity: u32,
}

impl Flows {
    pub(super) fn open(pins: &Pins, table: FlowTable) -> Result<Self, Error> {
        Self::open_at(&pins.state().join(flow_map(table)), table)
    }

    pub(super) fn open_at(path: &Path, table: FlowTable) -> Result<Self, Error> {
        let name = flow_map(table);
        let data = MapData::from_pin(path).map_err(Error::map(name))?;
        let capacity = data.info().map_err(Error::map(name))?.max_entries();
        let map = Map::from_map_data(data)
            .and_then(HashMap::try_from)
            .map_err(Error::map(name))?;
        Ok(Self {
            map,
            name,
            capacity,
        })
    }

    /// Entries that there is room for.
    #[must_use]
    pub fn capacity(&self) -> u32 {
        self.capacity
    }

    /// The entries; one that the programs remove meanwhile may be left out or come twice.
    ///
    /// # Errors
    /// What the kernel says of the map.
    pub fn entries(&self) -> Result<Vec<(FlowKey, FlowRecord)>, Error> {
        let mut found = Vec::new();
        for key in self.map.keys() {
            match key.and_then(|key| Ok((key, self.map.get(&key, 0)?))) {
                Ok(entry) => found.push(entry),
                Err(MapError::KeyNotFound) => {}
                Err(error) => return Err(Error::map(self.name)(error)),
            }
        }
        Ok(found)
    }

    /// Enters a flow, over one that is there.
    ///
    /// # Errors
    /// Where the table is full, or what else the kernel says.
    pub fn insert(&mut self, key: &FlowKey, entry: FlowRecord) -> Result<(), Error> {
        self.map
            .insert(key, entry, 0)
            .map_err(Error::map(self.name))
    }

    /// Enters a flow unless it is there.
    pub(super) fn enter(&mut self, key: &FlowKey, entry: FlowRecord) -> Result<Entered, Error> {
        const BPF_NOEXIST: u64 = 1;
        match self.map.insert(key, entry, BPF_NOEXIST) {
            Ok(()) => Ok(Entered::Made),
            Err(MapError::SyscallError(error)) => match error.io_error.raw_os_error() {
                Some(libc::EEXIST) => Ok(Entered::Known),
                Some(libc::E2BIG | libc::ENOMEM) => Ok(Entered::Full),
                _ => Err(Error::map(self.name)(MapError::SyscallError(error))),
            },
            Err(error) => Err(Error::map(self.name)(error)),
        }
    }

    /// Counts the entries at tick `now`.
    ///
    /// # Errors
    /// What the kernel says of the map.
    pub fn usage(&self, now: u32, timeouts: &Timeouts) -> Result<FlowUse, Error> {
        let entries = self.entries()?;
        let expired = entries
            .iter()
            .filter(|(_, entry)| entry.expired(now, timeouts))
            .count();
        Ok(FlowUse {
            entries: entries.len() - expired,
            expired,
            capacity: self.capacity,
        })
    }

    /// Removes entries that have outlived their time-out at tick `now`, and counts both.
    ///
    /// # Errors
    /// What the kernel says of the map.
    pub fn sweep(&mut self, now: u32, timeouts: &Timeouts) -> Result<FlowUse, Error> {
        let mut usage = FlowUse {
            entries: 0,
            expired: 0,
            capacity: self.capacity,
        };
        for (key, entry) in self.entries()? {
            if !entry.expired(now, timeouts) {
                usage.entries += 1;
                continue;
            }
            usage.expired += 1;
            match self.map.remove(&key) {
                Ok(()) | Err(MapError::KeyNotFound) => {}
                Err(MapError::SyscallError(error))
                    if error.io_error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(Error::map(self.name)(error)),
            }
        }
        Ok(usage)
    }
}

/// The name of a flow table's map.
pub(super) const fn flow_map(table: FlowTable) -> &'static str {
    match table {
        FlowTable::New => "FLOWS_NEW",
        FlowTable::Established => "FLOWS_ESTABLISHED",
    }
}

/// The ring buffer of events.
pub(super) fn events(pins: &Pins) -> Result<RingBuf<MapData>, Error> {
    open(pins, "EVENTS")?
        .try_into()
        .map_err(Error::map("EVENTS"))
}

pub(super) fn per_cpu<V: Pod>(
    pins: &Pins,
    name: &'static str,
) -> Result<PerCpuArray<MapData, V>, Error> {
    open(pins, name)?.try_into().map_err(Error::map(name))
}

fn open(pins: &Pins, name: &'static str) -> Result<Map, Error> {
    MapData::from_pin(pins.state().join(name))
        .and_then(Map::from_map_data)
        .map_err(Error::map(name))
}
