//! Counters by row that never fall: a rule's counters belong to a bank and end with it, so they are added up by row before they do.
//!
//! Pure. The file says in one piece what is added up and which banks of which loads still count by themselves, so that a reader adds each
//! packet once. Whoever writes it does so before the banks change: it names a bank before the first packet is counted there, and speaks for
//! the bank's policy before its counters go. A reader that finds a bank with another policy reads the file again.

use std::collections::BTreeMap;

use agent_common::tables::RuleCounter;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::rule::RuleSet;

/// Version of the file's shape.
const SCHEMA: u32 = 2;

/// What the file holds.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Totals {
    schema: u32,
    /// What the banks hold that count by themselves.
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
    /// The load whose bank it is.
    #[serde(default)]
    pub load: u32,
    /// Its number there.
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
    pub fn of(load: u32, bank: u32, generation: u32, rules: &RuleSet) -> Self {
        let names = rules.rules.iter().map(|rule| {
            if rule.rows.is_empty() {
                vec![rule.id.clone()]
            } else {
                rule.rows.clone()
            }
        });
        Self {
            load,
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

    /// What the file says of a bank that holds this policy.
    #[must_use]
    pub fn held(&self, load: u32, bank: u32, generation: u32) -> Option<&BankRules> {
        let is =
            |held: &&BankRules| (held.load, held.bank, held.generation) == (load, bank, generation);
        self.banks.iter().find(is)
    }

    /// Takes a bank's last counters in for good: from now on the file speaks for them. Does nothing where it does already.
    pub fn fold(&mut self, rules: &BankRules, counters: &[RuleCounter], clock: &Clock) {
        let before = self.banks.len();
        self.banks.retain(|held| held != rules);
        if self.banks.len() < before {
            self.add(rules, counters, clock);
        }
    }

    /// Enters what a bank holds from now on.
    pub fn enter(&mut self, rules: BankRules) {
        self.banks
            .retain(|held| (held.load, held.bank) != (rules.load, rules.bank));
        self.banks.push(rules);
    }

    /// The sums with what the banks have counted by themselves, and whether all of these could be asked: `counters` gives those of a bank,
    /// none where it holds another policy by now.
    #[must_use]
    pub fn with_banks(
        mut self,
        clock: &Clock,
        mut counters: impl FnMut(&BankRules) -> Option<Vec<RuleCounter>>,
    ) -> (Self, bool) {
        let mut all = true;
        for rules in self.banks.clone() {
            match counters(&rules) {
                Some(counters) => self.add(&rules, &counters, clock),
                None => all = false,
            }
        }
        (self, all)
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
            load: 7,
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
        let mut totals = Totals::default();
        totals.enter(bank(0, &[&["p/t/1", "p/t/2"], &["failsafe/ssh"]]));
        let counters = vec![counter(5, 0, 990), counter(0, 0, 0)];
        let live = |totals: &Totals, counters: Vec<RuleCounter>| {
            let (sums, all) = totals
                .clone()
                .with_banks(&CLOCK, |_| Some(counters.clone()));
            assert!(all);
            sums
        };
        let now = live(&totals, counters.clone());
        check(&now, "p/t/1", 5, 0, Some(10));
        check(&now, "p/t/2", 5, 0, Some(10));
        check(&now, "failsafe/ssh", 0, 0, None);
        assert_eq!(now.passed, 5, "a packet counts once, however many rows");

        // The bank is written anew; the same row comes back in another one.
        totals.fold(
            &bank(0, &[&["p/t/1", "p/t/2"], &["failsafe/ssh"]]),
            &counters,
            &CLOCK,
        );
        totals.enter(bank(1, &[&["p/t/2"]]));
        let now = live(&totals, vec![counter(1, 2, 1_000)]);
        check(&now, "p/t/1", 5, 0, Some(10));
        check(&now, "p/t/2", 6, 2, Some(0));
        assert_eq!(now.passed, 6);
    }

    /// Two loads' banks of one number, as while programs are replaced.
    #[test]
    fn loads_count_apart() {
        let mut totals = Totals::default();
        totals.enter(bank(0, &[&["a"]]));
        totals.enter(BankRules {
            load: 8,
            ..bank(0, &[&["a"]])
        });
        let counters = |rules: &BankRules| Some(vec![counter(u64::from(rules.load), 0, 1_000)]);
        let (both, _) = totals.clone().with_banks(&CLOCK, counters);
        assert_eq!(both.passed, 15);
        totals.fold(&bank(0, &[&["a"]]), &[counter(7, 0, 1_000)], &CLOCK);
        let (folded, _) = totals.clone().with_banks(&CLOCK, counters);
        assert_eq!(
            folded,
            Totals {
                banks: totals.banks,
                ..both
            }
        );
    }

    #[test]
    fn a_bank_that_holds_another_policy_is_told() {
        let mut totals = Totals::default();
        totals.enter(bank(0, &[&["a"]]));
        totals.enter(bank(1, &[&["a"]]));
        let (sums, all) = totals.with_banks(&CLOCK, |rules| {
            (rules.bank == 1).then(|| vec![counter(3, 0, 1_000)])
        });
        assert_eq!((sums.passed, all), (3, false));
    }

    #[test]
    fn a_bank_counts_once() {
        let mut totals = Totals::default();
        let [left, held] = [bank(2, &[&["a"]]), bank(2, &[&["b"]])];
        totals.enter(left.clone());
        totals.enter(held.clone());
        assert_eq!(totals.held(7, 2, 3), Some(&held));
        // Neither another policy, nor another bank or load.
        for (load, bank, generation) in [(7, 2, 4), (7, 1, 3), (8, 2, 3)] {
            assert_eq!(totals.held(load, bank, generation), None);
        }
        for rules in [&left, &held, &held] {
            totals.fold(rules, &[counter(1, 0, 1_000)], &CLOCK);
        }
        assert_eq!(totals.passed, 1);
        assert!(!totals.rows.contains_key("a"));
    }

    /// Sums of a version that named the load once, for all its banks, go on; what those banks held is not known any more.
    #[test]
    fn sums_of_an_earlier_version_are_read() {
        let text = r#"{ "schema": 1, "load": 3, "banks": [{ "bank": 0, "generation": 5, "rules": [["a"]] }], "passed": 4,
            "rows": { "a": { "passed": 4, "audited": 0, "near": 1, "last": null } } }"#;
        let totals: Totals = serde_json::from_str(text).unwrap();
        let (sums, all) = totals.with_banks(&CLOCK, |rules| (rules.load != 0).then(Vec::new));
        check(&sums, "a", 4, 1, None);
        assert!(!all);
    }

    #[test]
    fn ticks_wrap() {
        let clock = Clock { tick: 5, ..CLOCK };
        assert_eq!(clock.time_of(u32::MAX - 4).as_second(), -10);
        assert_eq!(clock.time_until(15).as_second(), 10);
    }
}
