//! Sizes of a compiled policy, its limits, and budgets of events.

use agent_common::tables::{Budget, CELL_BLOCK, Cell, Head, PLANES, TICK_SHIFT};
use serde::Serialize;

use super::tables::Tables;
use crate::facts::Facts;
use crate::host::schema::{Budgets, Daemon, Events};

/// Rules, port classes and peer classes that a policy may have: their numbers are words of 16 bits, and the last is kept.
pub const CLASS_LIMIT: u32 = 65_535;

/// What the compiler is told besides rules and facts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Settings {
    /// Octets that one bank may take: `[daemon] bank-memory`.
    pub bank_memory: u64,
    /// Events a second about peers under no configured prefix; what is over is counted as suppressed.
    pub strangers: Budgets,
    /// The same about all others: a budget of their own, so that a flood from elsewhere can't silence them.
    pub acquaintances: Budgets,
}

impl Default for Settings {
    fn default() -> Self {
        Self::of(&Daemon::default(), &Events::default())
    }
}

impl Settings {
    /// As the operator said.
    pub fn of(daemon: &Daemon, events: &Events) -> Self {
        Self {
            bank_memory: daemon.bank_memory,
            strangers: events.strangers,
            acquaintances: events.acquaintances,
        }
    }

    /// Sets the budgets of a head.
    pub(super) fn set_budgets(&self, head: &mut Head, facts: &Facts) {
        let bucket = |rate| bucket(rate, facts.cpus, facts.hz_or_default());
        head.budget_all = [self.strangers.all, self.acquaintances.all].map(bucket);
        head.budget_peer = [self.strangers.peer, self.acquaintances.peer].map(bucket);
    }
}

/// Seconds of a rate that a bucket can save up.
const BURST_SECONDS: u64 = 2;

/// The token bucket of one CPU for a rate that all CPUs share: `[events a second, CPUs, jiffies a second]`. A rate above zero always gives
/// at least one event of burst and one unit of refill.
pub fn bucket(events_a_second: u32, cpus: u32, hz: u32) -> Budget {
    if events_a_second == 0 {
        return Budget::default();
    }
    let (cpus, hz) = (u64::from(cpus.max(1)), u64::from(hz.max(1)));
    let units_a_second = u64::from(events_a_second) * u64::from(Budget::EVENT);
    // A tick is 64 jiffies.
    let refill = (units_a_second << TICK_SHIFT).div_ceil(hz * cpus);
    let burst = (units_a_second * BURST_SECONDS / cpus).max(Budget::EVENT.into());
    Budget {
        refill: refill.try_into().unwrap_or(u32::MAX),
        burst: burst.try_into().unwrap_or(u32::MAX),
    }
}

/// How large a policy became.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Sizes {
    /// Rules.
    pub rules: u32,
    /// Prefixes in all peer lists; a list that several rules name counts once.
    pub prefixes: u32,
    /// Port classes.
    pub port_classes: u32,
    /// Peer classes.
    pub peer_classes: u32,
    /// Blocks of 256 slots in the tries.
    pub nodes: u32,
    /// Heads of IPv6 nodes.
    pub v6_nodes: u32,
    /// Cells, the row of facts included.
    pub cells: u32,
    /// Octets of a bank that holds it.
    pub bytes: u64,
}

/// Octets of a bank whatever the policy: port classes of all planes, the IPv4 root, the head.
pub(super) const FIXED_OCTETS: u64 =
    PLANES as u64 * 65_536 * 2 + 65_536 * 4 + size_of::<Head>() as u64;

/// Octets that so many cells take, in whole map values.
pub(super) fn cell_octets(cells: u64) -> u64 {
    cells.next_multiple_of(CELL_BLOCK.into()) * size_of::<Cell>() as u64
}

impl Sizes {
    pub(super) fn of(tables: &Tables, prefixes: u32) -> Self {
        let cells = tables.cells.len() as u64;
        Self {
            rules: tables.rules.len() as u32,
            prefixes,
            port_classes: tables.head.facts_row,
            peer_classes: tables.head.peer_classes,
            nodes: tables.nodes.len() as u32,
            v6_nodes: tables.v6_nodes.len() as u32,
            cells: cells as u32,
            bytes: FIXED_OCTETS
                + size_of_val(tables.nodes.as_slice()) as u64
                + size_of_val(tables.v6_nodes.as_slice()) as u64
                + cell_octets(cells),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_keep_the_rate() {
        for (rate, cpus, hz) in [
            (50, 2, 250),
            (50, 256, 1000),
            (1, 1, 100),
            (10_000, 64, 300),
        ] {
            let budget = bucket(rate, cpus, hz);
            let a_second = u64::from(budget.refill) * u64::from(cpus) * u64::from(hz) / 64;
            let wanted = u64::from(rate) * u64::from(Budget::EVENT);
            assert!(
                a_second >= wanted && a_second <= wanted + wanted / 10 + u64::from(cpus * hz),
                "{rate} events on {cpus} CPUs at {hz}: {a_second} units for {wanted}"
            );
            assert!(budget.burst >= Budget::EVENT);
        }
        assert_eq!(bucket(0, 4, 250), Budget::default());
        assert_eq!(
            bucket(1, 4096, 1000),
            Budget {
                refill: 1,
                burst: Budget::EVENT
            }
        );
    }

    /// journald takes 10,000 entries in 30 s from one service (RateLimitBurst= and RateLimitIntervalSec= of journald.conf(5)).
    #[test]
    fn the_defaults_leave_journald_alone() {
        let settings = Settings::default();
        let in_thirty_seconds =
            (settings.strangers.all + settings.acquaintances.all) * (30 + BURST_SECONDS as u32);
        assert!(in_thirty_seconds <= 7_000, "{in_thirty_seconds}");
    }
}
