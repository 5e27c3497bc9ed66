//! Counters by row that never fall: a rule's counters belong to a bank and end with it, so they are added up by row before they do.
//!
//! Pure but for the two functions at the end of the file's life: the file says what is added up and which banks still count by themselves,
//! in one piece, so that a reader adds each packet once.

use std::collections::BTreeMap;

use agent_common::tables::RuleCounter;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::rule::RuleSet;

/// Version of the file's shape.
const SCHEMA: u32 = 1;

/// What the file holds.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Totals {
    schema: u32,
    /// The load whose banks count by themselves.
    pub load: u32,
    /// What those banks hold.
    pub banks: Vec<BankRules>,
    /// Packets that rules let pass, each once.
    pub passed: u64,
    /// How often what was attached was taken away by somebody, and put back: once for each interface.
    #[serde(default)]
    pub put_back: u64,
    /// Packets by row; rules without a row by their own id.
    pub rows: BTreeMap<String, RowTotal>,
}

/// A bank's rules, in the order of their counters.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct BankRules {
    /// Its number.
    pub bank: u32,
    /// Its policy.
    pub generation: u32,
    /// Under which names each rule is counted.
    pub rules: Vec<Vec<String>>,
}

/// Packets of a row.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct RowTotal {
    /// Let pass.
    pub passed: u64,
    /// Passed by audit, this row being the nearest.
    pub audited: u64,
    /// Denied, this row being the nearest.
    pub near: u64,
    /// When the last of them came, to about a second.
    pub last: Option<Timestamp>,
}

/// The clock that counters are stamped with, and the time of people at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// Ticks now.
    pub tick: u32,
    /// Jiffies a second.
    pub hz: u32,
    /// The time now.
    pub time: Timestamp,
}

impl Clock {
    /// When a tick was.
    #[must_use]
    pub fn time_of(&self, tick: u32) -> Timestamp {
        let jiffies = i64::from(self.tick.wrapping_sub(tick)) << agent_common::tables::TICK_SHIFT;
        let ago = jiff::SignedDuration::from_secs(jiffies / i64::from(self.hz.max(1)));
        self.time.checked_sub(ago).unwrap_or(self.time)
    }

    /// When a tick in the future will be.
    #[must_use]
    pub fn time_until(&self, tick: u32) -> Timestamp {
        let jiffies = i64::from(tick.wrapping_sub(self.tick)) << agent_common::tables::TICK_SHIFT;
        let ahead = jiff::SignedDuration::from_secs(jiffies / i64::from(self.hz.max(1)));
        self.time.checked_add(ahead).unwrap_or(self.time)
    }
}

impl Default for Totals {
    fn default() -> Self {
        Self {
            schema: SCHEMA,
            load: 0,
            banks: Vec::new(),
            passed: 0,
            put_back: 0,
            rows: BTreeMap::new(),
        }
    }
}

impl BankRules {
    /// The rules of a policy.
    #[must_use]
    pub fn of(bank: u32, generation: u32, rules: &RuleSet) -> Self {
        let names = rules.rules.iter().map(|rule| {
            if rule.rows.is_empty() {
                vec![rule.id.clone()]
            } else {
                rule.rows.clone()
            }
        });
        Self {
            bank,
            generation,
            rules: names.collect(),
        }
    }
}

impl Totals {
    /// Adds the counters of a bank's rules.
    pub fn add(&mut self, rules: &BankRules, counters: &[RuleCounter], clock: &Clock) {
        for (names, counter) in rules.rules.iter().zip(counters) {
            self.passed += counter.passed;
            let seen = counter.passed + counter.audited + counter.near > 0;
            for name in names {
                // Each rule is there from the first, so that a row that was never used shows as such.
                let total = self.rows.entry(name.clone()).or_default();
                total.passed += counter.passed;
                total.audited += counter.audited;
                total.near += counter.near;
                if seen {
                    // A tick is the low half of a word that began 300 s before its wrap.
                    let last = clock.time_of(counter.last as u32);
                    total.last = Some(total.last.map_or(last, |before| before.max(last)));
                }
            }
        }
    }

    /// Takes a bank's counters in for good: from now on the file speaks for them.
    pub fn fold(&mut self, bank: u32, counters: &[RuleCounter], clock: &Clock) {
        let (gone, kept) = std::mem::take(&mut self.banks)
            .into_iter()
            .partition(|held| held.bank == bank);
        self.banks = kept;
        let gone: Vec<BankRules> = gone;
        for rules in &gone {
            self.add(rules, counters, clock);
        }
    }

    /// Enters what a bank holds from now on.
    pub fn enter(&mut self, rules: BankRules) {
        self.banks.retain(|held| held.bank != rules.bank);
        self.banks.push(rules);
    }

    /// The sums with what the banks of `load` have counted by themselves; `counters` gives those of a bank, none where the bank holds
    /// another policy by now.
    #[must_use]
    pub fn with_banks(
        mut self,
        load: u32,
        clock: &Clock,
        mut counters: impl FnMut(&BankRules) -> Option<Vec<RuleCounter>>,
    ) -> Self {
        if self.load != load {
            return self;
        }
        for rules in self.banks.clone() {
            if let Some(counters) = counters(&rules) {
                self.add(&rules, &counters, clock);
            }
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLOCK: Clock = Clock {
        tick: 1_000,
        hz: 64,
        time: Timestamp::UNIX_EPOCH,
    };

    fn counter(passed: u64, near: u64, last: u64) -> RuleCounter {
        RuleCounter {
            passed,
            near,
            last,
            ..RuleCounter::default()
        }
    }

    fn bank(bank: u32, rules: &[&[&str]]) -> BankRules {
        let rules = rules
            .iter()
            .map(|names| names.iter().map(|&name| name.to_owned()).collect());
        BankRules {
            bank,
            generation: bank + 1,
            rules: rules.collect(),
        }
    }

    #[track_caller]
    fn check(totals: &Totals, row: &str, passed: u64, near: u64, seconds_ago: Option<i64>) {
        let found = totals.rows[row];
        assert_eq!((found.passed, found.near), (passed, near), "{row}");
        assert_eq!(
            found.last.map(|it| -it.as_second()),
            seconds_ago,
            "{row}: last"
        );
    }

    #[test]
    fn sums_survive_their_banks() {
        let mut totals = Totals {
            load: 7,
            ..Totals::default()
        };
        totals.enter(bank(0, &[&["p/t/1", "p/t/2"], &["failsafe/ssh"]]));
        let counters = vec![counter(5, 0, 990), counter(0, 0, 0)];
        let live = totals
            .clone()
            .with_banks(7, &CLOCK, |_| Some(counters.clone()));
        check(&live, "p/t/1", 5, 0, Some(10));
        check(&live, "p/t/2", 5, 0, Some(10));
        check(&live, "failsafe/ssh", 0, 0, None);
        assert_eq!(live.passed, 5, "a packet counts once, however many rows");

        // The bank is written anew; the same row comes back in another one.
        totals.fold(0, &counters, &CLOCK);
        totals.enter(bank(1, &[&["p/t/2"]]));
        let now = totals
            .clone()
            .with_banks(7, &CLOCK, |_| Some(vec![counter(1, 2, 1_000)]));
        check(&now, "p/t/1", 5, 0, Some(10));
        check(&now, "p/t/2", 6, 2, Some(0));
        assert_eq!(now.passed, 6);
        // Another load's banks are not these.
        let other = totals
            .clone()
            .with_banks(8, &CLOCK, |_| Some(vec![counter(9, 9, 9)]));
        assert_eq!(other.passed, 5);
    }

    #[test]
    fn a_bank_counts_once() {
        let mut totals = Totals::default();
        totals.enter(bank(2, &[&["a"]]));
        totals.enter(bank(2, &[&["b"]]));
        totals.fold(2, &[counter(1, 0, 1_000)], &CLOCK);
        totals.fold(2, &[counter(1, 0, 1_000)], &CLOCK);
        assert_eq!(totals.passed, 1);
        assert!(!totals.rows.contains_key("a"));
    }

    #[test]
    fn ticks_wrap() {
        let clock = Clock { tick: 5, ..CLOCK };
        assert_eq!(clock.time_of(u32::MAX - 4).as_second(), -10);
        assert_eq!(clock.time_until(15).as_second(), 10);
    }
}
