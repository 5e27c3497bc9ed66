//! The rows of `packets.toml`: a policy, a packet, and what must become of it.
//!
//! The same rows run through the decision in memory ([`memory`]) and through the programs in the kernel ([`kernel`]). A denial names a
//! row that is allowed, so that a data path that denies everything can't pass, and every reason of the ABI has a row.

pub mod kernel;
pub mod memory;
mod policy;
pub mod reference;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use agent_common::event::Direction;
use agent_common::verdict::{Action, Reason};
use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

pub use policy::{Kind, Policy, RuleText, Through, facts};

use crate::packet::{Packet, is_default};

/// The whole file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Rows {
    /// Rules by name, which policies put together.
    pub rules: BTreeMap<String, RuleText>,
    /// Policies by name.
    pub policies: BTreeMap<String, Policy>,
    /// Reasons that no packet can meet, with why.
    pub unreachable: BTreeMap<String, String>,
    /// The rows.
    pub row: Vec<Row>,
}

/// One row.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Row {
    /// What it shows; unique.
    pub name: String,
    /// The policy in force.
    pub policy: String,
    /// Packets that go first, in this order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub before: Vec<Before>,
    /// Then this policy takes over.
    pub switch: Option<String>,
    /// Then so many seconds pass. Not in the kernel, whose clock a test doesn't set.
    #[serde(default, skip_serializing_if = "is_default")]
    pub seconds: u32,
    /// Which way the packet goes.
    pub direction: Way,
    /// The packet.
    pub packet: Packet,
    /// What happens to it.
    pub action: Does,
    /// Why: the word of [`Reason::name`].
    pub reason: String,
    /// The rule that decides; for a denial the rule with this port. Unsaid: not looked at.
    pub rule: Option<String>,
    /// For a denial: the row of a packet that is like it and passes.
    pub twin: Option<String>,
    /// It is on its way through the host, and counted as such.
    #[serde(default, skip_serializing_if = "is_default")]
    pub through: bool,
    /// Why the kernel can't be shown this packet, where it can't.
    pub not_in_kernel: Option<String>,
    /// Why a test run of TC refuses this packet, where it does.
    pub not_at_tc: Option<String>,
}

/// A packet that goes before the one that is looked at. It must pass unless it says otherwise.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Before {
    /// Which way it goes.
    pub direction: Way,
    /// The packet.
    pub packet: Packet,
    /// What happens to it.
    #[serde(default)]
    pub action: Does,
    /// Then this policy takes over.
    pub switch: Option<String>,
}

/// A direction, seen from the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Way {
    /// To the host.
    Ingress,
    /// From the host.
    Egress,
}

impl From<Way> for Direction {
    fn from(way: Way) -> Self {
        match way {
            Way::Ingress => Self::Ingress,
            Way::Egress => Self::Egress,
        }
    }
}

/// An action.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Does {
    /// Dropped.
    Deny,
    /// Passed.
    #[default]
    Allow,
    /// Passed and reported.
    Audit,
}

impl From<Direction> for Way {
    fn from(direction: Direction) -> Self {
        match direction {
            Direction::Ingress => Self::Ingress,
            Direction::Egress => Self::Egress,
        }
    }
}

impl From<Action> for Does {
    fn from(action: Action) -> Self {
        match action {
            Action::Deny => Self::Deny,
            Action::Allow => Self::Allow,
            Action::Audit => Self::Audit,
        }
    }
}

impl From<Does> for Action {
    fn from(does: Does) -> Self {
        match does {
            Does::Deny => Self::Deny,
            Does::Allow => Self::Allow,
            Does::Audit => Self::Audit,
        }
    }
}

/// What became of a packet.
#[derive(Clone, PartialEq, Eq)]
pub struct Seen {
    /// What happened to it.
    pub action: Action,
    /// Why.
    pub reason: Reason,
    /// The rule's id, where the world says one.
    pub rule: Option<String>,
    /// Whether it has an event of its own: an audited flow is reported once.
    pub reported: bool,
    /// Whether it was counted as on its way through the host.
    pub through: bool,
}

impl fmt::Debug for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rule = self.rule.as_deref().unwrap_or("no rule");
        let silent = if self.reported || self.action == Action::Allow {
            ""
        } else {
            ", no event"
        };
        let through = if self.through { ", through" } else { "" };
        let (action, reason) = (self.action, self.reason.name());
        write!(f, "{action:?} {reason} ({rule}{silent}{through})")
    }
}

/// Something that judges packets: memory, or the kernel at one of its hooks.
pub trait World {
    /// Forgets every flow and puts a policy in force.
    ///
    /// # Errors
    /// When the policy can't be put in force.
    fn begin(&mut self, rows: &Rows, policy: &str) -> Result<()>;
    /// Puts another policy in force; flows stay.
    ///
    /// # Errors
    /// When the policy can't be put in force.
    fn switch(&mut self, rows: &Rows, policy: &str) -> Result<()>;
    /// Lets time pass.
    ///
    /// # Errors
    /// Where this world's clock can't be set.
    fn pass(&mut self, seconds: u32) -> Result<()>;
    /// Judges a frame.
    ///
    /// # Errors
    /// When it can't be asked, or contradicts itself.
    fn judge(&mut self, direction: Direction, frame: &[u8]) -> Result<Seen>;
}

impl Rows {
    /// Reads `tests/packets.toml`.
    ///
    /// # Errors
    /// When it is not there or is no such file.
    pub fn read() -> Result<Self> {
        let path = crate::daemon::repository("tests/packets.toml");
        let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        toml::from_str(&text).with_context(|| path.display().to_string())
    }

    /// What is wrong with the file itself: names, twins, reasons without a row.
    pub fn findings(&self) -> Vec<String> {
        let mut findings = Vec::new();
        let mut names = BTreeSet::new();
        let mut met = BTreeSet::new();
        for row in &self.row {
            let name = &row.name;
            if !names.insert(name) {
                findings.push(format!("{name}: two rows have this name"));
            }
            match Reason::ALL
                .iter()
                .find(|reason| reason.name() == row.reason)
            {
                Some(&reason) => {
                    met.insert(reason);
                }
                None => findings.push(format!("{name}: no reason is called {}", row.reason)),
            }
            let later = row.before.iter().filter_map(|it| it.switch.as_ref());
            for policy in later.chain([&row.policy]).chain(&row.switch) {
                if !self.policies.contains_key(policy) {
                    findings.push(format!("{name}: no policy is called {policy}"));
                }
            }
            if row.seconds > 0 && row.not_in_kernel.is_none() {
                findings.push(format!("{name}: seconds can't pass in the kernel; say so"));
            }
            self.check_twin(row, &mut findings);
        }
        for &reason in Reason::ALL {
            match (met.contains(&reason), self.unreachable.get(reason.name())) {
                (false, None) => findings.push(format!("reason {}: no row", reason.name())),
                (true, Some(_)) => findings.push(format!(
                    "reason {}: said to be unreachable, and has a row",
                    reason.name()
                )),
                _ => {}
            }
        }
        for word in self.unreachable.keys() {
            if !Reason::ALL.iter().any(|reason| reason.name() == word) {
                findings.push(format!("unreachable: no reason is called {word}"));
            }
        }
        findings
    }

    fn check_twin(&self, row: &Row, findings: &mut Vec<String>) {
        let name = &row.name;
        match (&row.twin, row.action) {
            (None, Does::Deny) => {
                findings.push(format!("{name}: a denial without an allowed twin"))
            }
            (Some(_), Does::Allow | Does::Audit) => {
                findings.push(format!("{name}: only a denial has a twin"));
            }
            (Some(twin), Does::Deny) => match self.row.iter().find(|row| row.name == *twin) {
                None => findings.push(format!("{name}: no row is called {twin}")),
                Some(other) if other.action == Does::Deny => {
                    findings.push(format!("{name}: its twin {twin} is denied, too"));
                }
                Some(other) if other.direction != row.direction => {
                    findings.push(format!("{name}: its twin {twin} goes the other way"));
                }
                Some(_) => {}
            },
            (None, _) => {}
        }
    }
}

impl Row {
    /// Runs the row; `None` where all is as it says, else what was seen.
    ///
    /// # Errors
    /// When the world can't be asked.
    pub fn run(&self, rows: &Rows, world: &mut impl World) -> Result<Option<String>> {
        world.begin(rows, &self.policy)?;
        for (number, before) in self.before.iter().enumerate() {
            let seen = judge(world, before.direction, &before.packet)?;
            if seen.action != before.action.into() {
                return Ok(Some(format!(
                    "packet {} before it: {seen:?}, expected {:?}",
                    number + 1,
                    before.action
                )));
            }
            if let Some(policy) = &before.switch {
                world.switch(rows, policy)?;
            }
        }
        if let Some(policy) = &self.switch {
            world.switch(rows, policy)?;
        }
        if self.seconds > 0 {
            world.pass(self.seconds)?;
        }
        let seen = judge(world, self.direction, &self.packet)?;
        let right = seen.action == self.action.into()
            && seen.through == self.through
            && seen.reason.name() == self.reason
            // A world that does not say the rule of what passes is believed.
            && (self.rule.is_none() || seen.rule.is_none() || seen.rule == self.rule);
        Ok((!right).then(|| {
            let rule = self.rule.as_deref().unwrap_or("any rule");
            format!(
                "{seen:?}, expected {:?} {} ({rule})",
                self.action, self.reason
            )
        }))
    }
}

fn judge(world: &mut impl World, direction: Way, packet: &Packet) -> Result<Seen> {
    let frame = packet.frame()?;
    world.judge(direction.into(), &frame)
}
