//! The programs in the kernel, by BPF_PROG_TEST_RUN. What a program decided is read from what it wrote: counters, balance and events,
//! which must agree with its return value and with each other.

use agent_common::event::Direction;
use agent_common::flow::{ASKED_SLOTS, BEGAN_TABLES, FlowTable};
use agent_common::tables::{OPEN_BANK, RuleCounter, Switch, Timeouts};
use agent_common::verdict::{Action, Reason};
use anyhow::{Context as _, Result, bail, ensure};
use aya::maps::{Array, MapData, RingBuf};
use jiff::Timestamp;
use portcullis::compile::tables::Tables;
use portcullis::dataplane::object::BPF_OBJECT;
use portcullis::dataplane::testrun::Entry;
use portcullis::dataplane::{BankSizes, Counters, Dataplane, Options};
use portcullis::events::decode::decode;

use super::{Rows, Seen, World};

/// Programs that were loaded, seen through one of their hooks for ingress. Lives on a throw-away host, where its pins are.
pub struct InKernel {
    dataplane: Dataplane,
    events: RingBuf<MapData>,
    ingress: Entry,
    generation: u32,
    /// The policy in force, its tables and its bank.
    in_force: Option<(String, Tables, u32)>,
}

impl InKernel {
    /// Loads the programs; attaches nothing.
    ///
    /// # Errors
    /// When the kernel refuses them.
    pub fn load(ingress: Entry) -> Result<Self> {
        let sizes = BankSizes::default().with_room();
        let dataplane = Dataplane::load(BPF_OBJECT, sizes, &Options::default())?;
        Ok(Self {
            events: dataplane.events()?,
            dataplane,
            ingress,
            generation: 0,
            in_force: None,
        })
    }

    fn forget(&mut self) -> Result<()> {
        // With time-outs of nothing, whatever is a tick old has expired.
        let later = self.dataplane.clock().now()?.tick().wrapping_add(2);
        for table in [FlowTable::New, FlowTable::Established] {
            let mut flows = self.dataplane.flows(table)?;
            flows.sweep(later, &Timeouts::default())?;
            ensure!(flows.entries()?.is_empty(), "flows are left in {table:?}");
        }
        for (name, slots) in [("BEGAN", BEGAN_TABLES), ("ASKED", 1)] {
            let map = self.dataplane.ebpf().map_mut(name).context(name)?;
            let mut stamps: Array<_, [u32; ASKED_SLOTS as usize]> = map.try_into()?;
            let never = Box::new([0; ASKED_SLOTS as usize]);
            for slot in 0..slots {
                stamps.set(slot, *never, 0)?;
            }
        }
        Ok(())
    }

    fn enforce(&mut self, rows: &Rows, policy: &str) -> Result<()> {
        let hz = self.dataplane.hz();
        let tables = rows.tables(policy, hz)?;
        if rows.is_generation_0(policy) {
            self.dataplane
                .switch_to(Switch::to(OPEN_BANK, OPEN_BANK, 0))?;
            self.in_force = Some((policy.to_owned(), tables, OPEN_BANK));
            return Ok(());
        }
        self.generation += 1;
        let bank = self.dataplane.free_bank()?;
        self.dataplane.write(bank, &tables, self.generation)?;
        self.dataplane
            .switch_to(Switch::to(bank, bank, self.generation))?;
        self.in_force = Some((policy.to_owned(), tables, bank));
        Ok(())
    }

    /// What the programs have counted so far: reasons and balance, rules of the bank in force.
    fn counted(&self) -> Result<(Counters, Vec<RuleCounter>)> {
        let bank = self.in_force.as_ref().map_or(OPEN_BANK, |it| it.2);
        let rules = if bank == OPEN_BANK {
            Vec::new()
        } else {
            self.dataplane.rule_counters(bank)?
        };
        Ok((self.dataplane.counters()?, rules))
    }

    /// The rule whose counter has grown by one.
    fn rule(
        &self,
        before: &[RuleCounter],
        after: &[RuleCounter],
        which: fn(&RuleCounter) -> u64,
    ) -> Result<Option<String>> {
        let grown: Vec<usize> = (0..after.len())
            .filter(|&rule| after.get(rule).map_or(0, which) != before.get(rule).map_or(0, which))
            .collect();
        let rules = self.in_force.as_ref().map(|it| it.1.rules.as_slice());
        match grown[..] {
            [] => Ok(None),
            // The last counter is of no rule.
            [rule] => Ok(rules.and_then(|rules| rules.get(rule)).cloned()),
            _ => bail!("one packet and {} rules counted it", grown.len()),
        }
    }
}

impl World for InKernel {
    fn begin(&mut self, rows: &Rows, policy: &str) -> Result<()> {
        self.forget()?;
        match &self.in_force {
            Some((present, ..)) if present == policy => Ok(()),
            _ => self.enforce(rows, policy),
        }
    }

    fn switch(&mut self, rows: &Rows, policy: &str) -> Result<()> {
        self.enforce(rows, policy)
    }

    fn pass(&mut self, _: u32) -> Result<()> {
        bail!("the kernel's clock can't be set")
    }

    fn judge(&mut self, direction: Direction, frame: &[u8]) -> Result<Seen> {
        let entry = match direction {
            Direction::Ingress => self.ingress,
            Direction::Egress => Entry::TcEgress,
        };
        let (before, rules_before) = self.counted()?;
        let ran = self.dataplane.test_run(entry, frame, &[], 1)?;
        let (after, rules_after) = self.counted()?;

        let grown = |field: fn(&agent_common::tables::Balance) -> u64| {
            field(&after.balance) - field(&before.balance)
        };
        let denied = grown(|it| it.reported + it.suppressed + it.lost);
        let audited = grown(|it| it.audit_reported + it.audit_suppressed + it.audit_lost);
        let action = match (ran.passed, denied, audited) {
            (false, 1, 0) => Action::Deny,
            (true, 0, 0) => Action::Allow,
            (true, 0, 1) => Action::Audit,
            (passed, ..) => bail!("passed: {passed}, counted {denied} denied, {audited} audited"),
        };
        let count = |counters: &Counters, reason: Reason| {
            let all = counters.reasons.iter();
            let mut here = all.filter(|it| (it.0, it.1) == (direction, reason));
            here.next().map_or(0, |it| it.2)
        };
        let counted: Vec<Reason> = Reason::ALL
            .iter()
            .copied()
            .filter(|&reason| count(&after, reason) != count(&before, reason))
            .collect();
        let (reason, rule) = match (&counted[..], action) {
            ([], Action::Allow) => {
                let rule = self.rule(&rules_before, &rules_after, |it| it.passed)?;
                ensure!(
                    rule.is_some(),
                    "passed, and neither a rule nor a reason says why"
                );
                (Reason::Rule, rule)
            }
            ([reason], Action::Allow) => (*reason, None),
            ([reason], Action::Deny) => (
                *reason,
                self.rule(&rules_before, &rules_after, |it| it.near)?,
            ),
            ([reason], Action::Audit) => (
                *reason,
                self.rule(&rules_before, &rules_after, |it| it.audited)?,
            ),
            (reasons, action) => bail!("{action:?}, counted by reasons {reasons:?}"),
        };
        let reported = grown(|it| it.reported + it.audit_reported);
        self.check_event(direction, action, reason, reported)?;
        Ok(Seen {
            action,
            reason,
            rule,
            reported: reported == 1,
        })
    }
}

impl InKernel {
    /// An event for each packet that was counted as reported, and it says the same.
    fn check_event(
        &mut self,
        direction: Direction,
        action: Action,
        reason: Reason,
        reported: u64,
    ) -> Result<()> {
        let mut found = 0;
        while let Some(octets) = self.events.next() {
            found += 1;
            let event = decode(&octets, Timestamp::UNIX_EPOCH, |_| None)?;
            ensure!(
                (event.direction, event.action, event.reason) == (direction, action, reason),
                "the event says {:?} {:?} {}, the counters {direction:?} {action:?} {}",
                event.direction,
                event.action,
                event.reason.name(),
                reason.name()
            );
        }
        ensure!(
            found == reported,
            "{found} events, {reported} counted as reported"
        );
        // Budgets of the rows are larger than what they send.
        ensure!(
            reported == 1 || action != Action::Deny,
            "a denial without an event"
        );
        Ok(())
    }
}
