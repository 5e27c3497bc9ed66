//! The programs in the kernel, by BPF_PROG_TEST_RUN. What a program decided is read from what it wrote: counters, balance and events,
//! which must agree with its return value and with each other.

use std::collections::BTreeMap;

use agent_common::event::Direction;
use agent_common::switch::Switch;
use agent_common::tables::{OPEN_BANK, RuleCounter};
use agent_common::verdict::{Action, Reason};
use anyhow::{Context as _, Result, bail, ensure};
use aya::maps::{MapData, RingBuf};
use jiff::Timestamp;
use portcullis::compile::tables::Tables;
use portcullis::dataplane::object::BPF_OBJECT;
use portcullis::dataplane::testrun::{Entry, Ran};
use portcullis::dataplane::{BankSizes, Counters, Dataplane, Options};
use portcullis::events::decode::decode;
use portcullis::verify::forget;

use super::{Rows, Seen, World};
use crate::differential::has_event;

/// What the counters must say of packets that were judged one after the other.
#[derive(Clone, Debug, Default)]
pub struct Expected {
    reasons: BTreeMap<(u8, u8), u64>,
    /// By direction, of packets on their way through: passed, audited, denied.
    through: [[u64; 3]; 2],
    /// By rule id, none for packets that no rule came near: passed, audited, near.
    rules: BTreeMap<Option<String>, [u64; 3]>,
}

impl Expected {
    /// One packet more.
    pub fn add(&mut self, direction: Direction, seen: &Seen) {
        if seen.through {
            self.through[direction as usize][place(seen.action)] += 1;
        }
        let rule = match (seen.action, seen.reason) {
            (Action::Allow, Reason::Rule) => 0,
            (Action::Allow, _) => {
                self.add_reason(direction, seen);
                return;
            }
            (Action::Audit, _) => 1,
            (Action::Deny, _) => 2,
        };
        if rule > 0 {
            self.add_reason(direction, seen);
        }
        self.rules.entry(seen.rule.clone()).or_default()[rule] += 1;
    }

    fn add_reason(&mut self, direction: Direction, seen: &Seen) {
        let key = (direction as u8, seen.reason as u8);
        *self.reasons.entry(key).or_default() += 1;
    }
}

/// Where packets on their way through are counted.
const fn place(action: Action) -> usize {
    match action {
        Action::Allow => 0,
        Action::Audit => 1,
        Action::Deny => 2,
    }
}

/// What was counted since.
fn grown_through(before: &Counters, after: &Counters) -> [[u64; 3]; 2] {
    let mut grown = after.through;
    for (grown, before) in grown
        .iter_mut()
        .flatten()
        .zip(before.through.iter().flatten())
    {
        *grown -= before;
    }
    grown
}

/// Programs that were loaded, seen through one of their hooks for ingress. Lives on a throw-away host, where its pins are.
pub struct InKernel {
    dataplane: Dataplane,
    events: RingBuf<MapData>,
    ingress: Entry,
    generation: u32,
    /// The policy in force, its tables and its bank.
    in_force: Option<(String, Tables, u32)>,
    /// Octets of a frame in its first buffer; none where all are.
    first: Option<u32>,
    /// What was counted when [`Self::count`] was asked last.
    before: Option<(Counters, Vec<RuleCounter>)>,
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
            first: None,
            before: None,
        })
    }

    /// From now on packets come in by this hook.
    pub fn come_by(&mut self, ingress: Entry) {
        self.ingress = ingress;
    }

    /// The programs, for other questions.
    pub fn programs(&mut self) -> &mut Dataplane {
        &mut self.dataplane
    }

    /// From now on a frame has so many octets in its first buffer and the others in a second, as XDP has jumbo frames (Linux 6.18 and later). The
    /// kernel takes no less than an Ethernet header.
    pub fn cut_after(&mut self, first: u32) {
        self.first = Some(first);
    }

    /// The length that the event of a denied frame tells.
    ///
    /// # Errors
    /// When the frame passes, or has no event of its own.
    pub fn length_told(&mut self, rows: &Rows, policy: &str, frame: &[u8]) -> Result<u32> {
        self.begin(rows, policy)?;
        while self.events.next().is_some() {}
        let ran = self.ran(Direction::Ingress, frame)?;
        ensure!(!ran.passed, "the frame passed");
        let octets = self.events.next().context("no event")?;
        Ok(decode(&octets, Timestamp::UNIX_EPOCH, |_| None)?.length)
    }

    fn ran(&mut self, direction: Direction, frame: &[u8]) -> Result<Ran> {
        let entry = self.entry(direction);
        let first = match self.first {
            Some(first) if entry == Entry::XdpIngress => first,
            _ => return Ok(self.dataplane.test_run(entry, frame, &[], 1)?),
        };
        // struct xdp_md: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex
        let end = first.min(u32::try_from(frame.len())?);
        let context: Vec<u8> = [0, end, 0, 0, 0, 0].map(u32::to_ne_bytes).concat();
        Ok(self.dataplane.test_run(entry, frame, &context, 1)?)
    }

    /// Notes what is counted so far.
    ///
    /// # Errors
    /// What the kernel says of the maps.
    pub fn count(&mut self) -> Result<()> {
        self.before = Some(self.counted()?);
        Ok(())
    }

    /// Whether exactly this was counted since [`Self::count`].
    ///
    /// # Errors
    /// What the kernel says of the maps.
    pub fn counted_as(&self, expected: &Expected) -> Result<bool> {
        let (before, rules_before) = self.before.as_ref().context("nothing was counted")?;
        let (after, rules_after) = self.counted()?;
        let mut grown = Expected {
            through: grown_through(before, &after),
            ..Expected::default()
        };
        let before = &before.reasons;
        for &(direction, reason, count) in &after.reasons {
            let same = |it: &&(Direction, Reason, u64)| (it.0, it.1) == (direction, reason);
            let count = count - before.iter().find(same).map_or(0, |it| it.2);
            if count > 0 {
                grown.reasons.insert((direction as u8, reason as u8), count);
            }
        }
        let rules = self.in_force.as_ref().map(|it| it.1.rules.as_slice());
        for (place, after) in rules_after.iter().enumerate() {
            let before = rules_before.get(place).copied().unwrap_or_default();
            let counts = [
                after.passed - before.passed,
                after.audited - before.audited,
                after.near - before.near,
            ];
            if counts != [0; 3] {
                let id = rules.and_then(|rules| rules.get(place)).cloned();
                // Several rules of one text have one id.
                let sum = grown.rules.entry(id).or_default();
                *sum = [sum[0] + counts[0], sum[1] + counts[1], sum[2] + counts[2]];
            }
        }
        // Generation 0 has no counters of rules that could be read.
        let rules_agree = rules_after.is_empty() || grown.rules == expected.rules;
        let through_agrees = grown.through == expected.through;
        Ok(grown.reasons == expected.reasons && rules_agree && through_agrees)
    }

    /// Whether a frame goes on, and has an event, as it should.
    ///
    /// # Errors
    /// When the kernel can't be asked.
    pub fn does(&mut self, direction: Direction, frame: &[u8], expected: &Seen) -> Result<bool> {
        let ran = self.ran(direction, frame)?;
        let mut events = Vec::new();
        while let Some(octets) = self.events.next() {
            events.push(decode(&octets, Timestamp::UNIX_EPOCH, |_| None)?);
        }
        let told = match &events[..] {
            [] => !has_event(expected),
            [event] => {
                let rules = self.in_force.as_ref().map(|it| it.1.rules.as_slice());
                let rule = event.rule.and_then(|rule| rules?.get(usize::from(rule)));
                has_event(expected)
                    && (event.direction, event.action, event.reason)
                        == (direction, expected.action, expected.reason)
                    && rule == expected.rule.as_ref()
            }
            _ => false,
        };
        Ok(told && ran.passed == (expected.action != Action::Deny))
    }

    fn entry(&self, direction: Direction) -> Entry {
        match direction {
            Direction::Ingress => self.ingress,
            Direction::Egress => Entry::TcEgress,
        }
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
        forget(&mut self.dataplane)?;
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
        let (before, rules_before) = self.counted()?;
        let ran = self.ran(direction, frame)?;
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
        let through = grown_through(&before, &after);
        let is_through = through[direction as usize][place(action)];
        ensure!(
            through.iter().flatten().sum::<u64>() == is_through && is_through <= 1,
            "one packet, and counted as on its way through: {through:?}"
        );
        Ok(Seen {
            action,
            reason,
            rule,
            reported: reported == 1,
            through: is_through == 1,
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
