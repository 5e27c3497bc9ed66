//! One sequence of packets in three worlds: the programs in the kernel, the decision over tables in memory, and the list of rules gone
//! through one by one over frames that another parser read. They must agree on every packet, with all that each has written before.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use agent_common::event::Direction;
use agent_common::verdict::Action;
use anyhow::{Context as _, Result};
use serde::Serialize;

use crate::packet::Packet;
use crate::random::{self, Near, Random};
use crate::rows::kernel::{Expected, InKernel};
use crate::rows::memory::InMemory;
use crate::rows::reference::InReference;
use crate::rows::{Before, Does, Policy, Row, Rows, RuleText, Seen, World as _};

/// The three worlds.
pub struct Worlds<'a> {
    /// The programs.
    pub kernel: &'a mut InKernel,
    /// Their twin in memory.
    pub memory: InMemory,
    /// The rules.
    pub reference: InReference,
    /// Other rows for the rules alone, where it is to be seen that a difference is found.
    pub reference_rows: Option<&'a Rows>,
}

/// Packets under one policy, and then under another.
#[derive(Clone)]
pub struct Sequence {
    /// What it came from.
    pub seed: u64,
    policies: [String; 2],
    steps: Vec<Step>,
    /// The second policy takes over before this step.
    switch: usize,
}

#[derive(Clone)]
struct Step {
    direction: Direction,
    packet: Packet,
}

/// The first packet on which worlds differ.
struct Difference {
    step: usize,
    expected: Seen,
    text: String,
}

impl Sequence {
    /// Names of its policies, in the order in which they are in force.
    #[must_use]
    pub const fn policies(&self) -> &[String; 2] {
        &self.policies
    }

    /// The sequence of a seed: its rules and policies are added to the rows.
    pub fn of(seed: u64, rows: &mut Rows, packets: usize) -> Self {
        let random = &mut Random::new(seed);
        let own = format!("random-{seed}-");
        for number in 0..random.below(12) {
            let rule = random::rule(random);
            rows.rules.insert(format!("{own}{number}"), rule);
        }
        let policies = ["first", "second"].map(|name| {
            let policy = random::policy(random, rows, &own);
            let name = format!("{own}{name}");
            rows.policies.insert(name.clone(), policy);
            name
        });
        let used = policies.iter().flat_map(|name| &rows.policies[name].rules);
        let near = Near::to(used.map(|name| &rows.rules[name]));
        let mut steps: Vec<Step> = Vec::new();
        for _ in 0..packets {
            steps.push(next(random, &near, &steps));
        }
        Self {
            seed,
            policies,
            steps,
            switch: packets / 2,
        }
    }

    /// Takes rules and policies out of the rows again.
    pub fn forget(&self, rows: &mut Rows) {
        let own = format!("random-{}-", self.seed);
        rows.rules.retain(|name, _| !name.starts_with(&own));
        rows.policies.retain(|name, _| !name.starts_with(&own));
    }

    /// Runs it; where the worlds differ, as few packets as show it, in the words of a row to keep.
    ///
    /// # Errors
    /// When a world can't be asked, or contradicts itself.
    pub fn run(&self, rows: &Rows, worlds: &mut Worlds<'_>) -> Result<Option<String>> {
        if self.quick(rows, worlds)? {
            return Ok(None);
        }
        let Some(mut found) = self.slow(rows, worlds)? else {
            return Ok(Some(format!(
                "seed {}: the kernel's counters differ, and packet by packet they do not",
                self.seed
            )));
        };
        // As few packets as show it: halves, quarters and so on are left out while it stays wrong.
        let mut least = self.clone();
        least.steps.truncate(found.step + 1);
        let mut size = least.steps.len() / 2;
        while size > 0 {
            let mut at = 0;
            while at + 1 < least.steps.len() {
                let mut shorter = least.clone();
                let end = (at + size).min(least.steps.len() - 1);
                shorter.steps.drain(at..end);
                let gone = end.min(least.switch) - at.min(least.switch);
                shorter.switch -= gone;
                match shorter.slow(rows, worlds)? {
                    Some(difference) => {
                        shorter.steps.truncate(difference.step + 1);
                        (least, found) = (shorter, difference);
                    }
                    None => at += size,
                }
            }
            size /= 2;
        }
        Ok(Some(least.told(rows, &found)?))
    }

    fn begin(&self, rows: &Rows, worlds: &mut Worlds<'_>) -> Result<()> {
        worlds.kernel.begin(rows, &self.policies[0])?;
        worlds.memory.begin(rows, &self.policies[0])?;
        worlds
            .reference
            .begin(worlds.reference_rows.unwrap_or(rows), &self.policies[0])
    }

    fn switch(&self, rows: &Rows, worlds: &mut Worlds<'_>) -> Result<()> {
        worlds.kernel.switch(rows, &self.policies[1])?;
        worlds.memory.switch(rows, &self.policies[1])?;
        worlds
            .reference
            .switch(worlds.reference_rows.unwrap_or(rows), &self.policies[1])
    }

    /// The kernel is asked for its verdict and its event after each packet, for its counters after many.
    fn quick(&self, rows: &Rows, worlds: &mut Worlds<'_>) -> Result<bool> {
        self.begin(rows, worlds)?;
        worlds.kernel.count()?;
        let mut expected = Expected::default();
        for (number, step) in self.steps.iter().enumerate() {
            if number == self.switch {
                if !worlds.kernel.counted_as(&expected)? {
                    return Ok(false);
                }
                self.switch(rows, worlds)?;
                worlds.kernel.count()?;
                expected = Expected::default();
            }
            let frame = step.packet.frame()?;
            let memory = worlds.memory.judge(step.direction, &frame)?;
            let wanted = worlds.reference.all(step.direction, &frame)?;
            if !wanted.contains(&memory) || !worlds.kernel.does(step.direction, &frame, &memory)? {
                return Ok(false);
            }
            expected.add(step.direction, &memory);
        }
        worlds.kernel.counted_as(&expected)
    }

    /// Packet by packet, with all that the kernel counts.
    fn slow(&self, rows: &Rows, worlds: &mut Worlds<'_>) -> Result<Option<Difference>> {
        self.begin(rows, worlds)?;
        for (number, step) in self.steps.iter().enumerate() {
            if number == self.switch {
                self.switch(rows, worlds)?;
            }
            let frame = step.packet.frame()?;
            let wanted = worlds.reference.all(step.direction, &frame)?;
            let memory = worlds.memory.judge(step.direction, &frame);
            let kernel = worlds.kernel.judge(step.direction, &frame);
            let agree = match (&memory, &kernel) {
                (Ok(memory), Ok(kernel)) => {
                    let said = |it: &Seen| (it.action, it.reason, it.reported);
                    wanted.contains(memory)
                        && said(kernel) == said(memory)
                        // The counters name no rule of an answer or a reply.
                        && (kernel.rule.is_none() || kernel.rule == memory.rule)
                }
                _ => false,
            };
            if agree {
                continue;
            }
            let expected = wanted
                .first()
                .cloned()
                .context("a frame without a verdict")?;
            return Ok(Some(Difference {
                step: number,
                expected,
                text: format!(
                    "kernel {}, memory {}, rules {wanted:?}; {:?}: {frame:02x?}",
                    shown(&kernel),
                    shown(&memory),
                    step.direction
                ),
            }));
        }
        Ok(None)
    }

    fn told(&self, rows: &Rows, found: &Difference) -> Result<String> {
        let [first, second] = self.policies.each_ref();
        let last = self.steps.len() - 1;
        let before: Vec<Before> = self.steps[..last]
            .iter()
            .enumerate()
            .map(|(number, step)| Before {
                direction: step.direction.into(),
                packet: step.packet.clone(),
                action: Does::Allow,
                switch: (number + 1 == self.switch && self.switch < last).then(|| second.clone()),
            })
            .collect();
        let step = &self.steps[last];
        let row = Row {
            name: format!("seed {}", self.seed),
            policy: if self.switch == 0 { second } else { first }.clone(),
            before,
            switch: (self.switch == last && last > 0).then(|| second.clone()),
            seconds: 0,
            direction: step.direction.into(),
            packet: step.packet.clone(),
            action: found.expected.action.into(),
            reason: found.expected.reason.name().to_owned(),
            rule: found.expected.rule.clone(),
            twin: None,
            through: found.expected.through,
            not_in_kernel: None,
            not_at_tc: None,
        };
        let policies = self
            .policies
            .iter()
            .map(|name| (name, &rows.policies[name]));
        // The others stand in the file.
        let used = policies.clone().flat_map(|(_, policy)| &policy.rules);
        let used = used.filter(|name| name.starts_with("random-"));
        let kept = Kept {
            rules: used.map(|name| (name, &rows.rules[name])).collect(),
            policies: policies.collect(),
            row: [row],
        };
        let mut text = format!("seed {}: {}\n", self.seed, found.text);
        let kept = toml::to_string(&kept).context("the row to keep")?;
        writeln!(text, "as a row to keep in tests/packets.toml:\n{kept}")?;
        Ok(text)
    }
}

/// What is added to `packets.toml`.
#[derive(Serialize)]
struct Kept<'a> {
    rules: BTreeMap<&'a String, &'a RuleText>,
    policies: BTreeMap<&'a String, &'a Policy>,
    row: [Row; 1],
}

fn shown(seen: &Result<Seen>) -> String {
    match seen {
        Ok(seen) => format!("{seen:?}"),
        Err(error) => format!("failed ({error:#})"),
    }
}

/// A packet of its own, or one that has to do with an earlier one.
fn next(random: &mut Random, near: &Near, past: &[Step]) -> Step {
    let (direction, mut packet) = match (random.below(10), past.len()) {
        (0..=2, 1..) => {
            let earlier = random.of(past);
            let back = random::reversed(&earlier.packet, earlier.direction, random);
            (random::other_way(earlier.direction), back)
        }
        (3, 1..) => {
            let earlier = random.of(past);
            let error = random::error_about(&earlier.packet, random);
            (random::other_way(earlier.direction), error)
        }
        (4, 1..) => {
            let earlier = random.of(past);
            (earlier.direction, earlier.packet)
        }
        _ => {
            let direction = random.of(&[Direction::Ingress, Direction::Egress]);
            (direction, near.packet(random, direction))
        }
    };
    if random.one_in(4) {
        random::damage(&mut packet, random);
    }
    Step { direction, packet }
}

/// Whether what was seen has an event: a denial, or an audit that is told.
#[must_use]
pub fn has_event(seen: &Seen) -> bool {
    seen.action != Action::Allow && seen.reported
}
