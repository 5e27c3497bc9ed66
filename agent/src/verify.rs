//! The proof of a configuration: packets at every edge of every rule and beside it, through the programs that the kernel has verified,
//! against what the list of rules says of them ([`crate::reference`]).
//!
//! It runs over programs and tables that were loaded for it and are attached to nothing.

mod cases;
mod forget;
mod frame;
mod report;

use agent_common::event::Direction;
use agent_common::switch::Switch;
use agent_common::tables::Balance;
use agent_common::verdict::Action;
use thiserror::Error;

pub use self::cases::Place;
use self::cases::{Own, answer, of_rule, strangers, through};
pub use self::forget::forget;
use crate::compile::tables::Tables;
use crate::dataplane::testrun::Entry;
use crate::dataplane::{self, Dataplane};
use crate::facts::Facts;
use crate::reference::{Judged, Packet, Reference};
use crate::rule::{Forward, Precedence, RuleSet};

/// Failures that are told of one rule; all are counted.
const TOLD: usize = 5;

/// What can't be proved because it can't be tried.
#[derive(Debug, Error)]
pub enum Error {
    /// What the kernel says.
    #[error(transparent)]
    Dataplane(#[from] dataplane::Error),
}

/// How many ports are tried of peers that no rule names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ports {
    /// Those of the rules and beside them.
    Edges,
    /// Every TCP and UDP port in both directions and families as well: half a million packets.
    All,
}

/// A packet whose fate is not what the rules say.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The packet.
    pub packet: Packet,
    /// How it stands to the rule; none for the sweep over all ports.
    pub place: Option<Place>,
    /// The hook at which it was seen.
    pub hook: &'static str,
    /// What the rules say.
    pub expected: Judged,
    /// Whether it went on; none where the count of audited packets alone was wrong.
    pub passed: bool,
}

/// The proof of one rule.
#[derive(Clone, Debug, Default)]
pub struct Proof {
    /// The rule's id; `every other port` for the sweep.
    pub rule: String,
    /// Rows that it does.
    pub rows: Vec<String>,
    /// What the rule does: `allow`, `audit`, `deny`; none for the sweep.
    pub action: Option<&'static str>,
    /// Packets that the rules let pass, and that passed.
    pub allowed: u64,
    /// The same of packets that pass and are reported.
    pub audited: u64,
    /// Packets that the rules deny, and that were denied.
    pub denied: u64,
    /// Packets that this very rule decides.
    pub own: u64,
    /// Packets with another fate.
    pub failed: u64,
    /// The first of them.
    pub failures: Vec<Failure>,
    /// What the counters say otherwise, where every packet had its fate.
    pub counters: Option<String>,
}

impl Proof {
    /// Whether every packet had the fate that the rules say.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.failed == 0 && self.counters.is_none()
    }
}

/// The proof of a configuration.
#[derive(Clone, Debug, Default)]
pub struct Verified {
    /// One of each rule, ingress first, in the order of judgement; last that of all ports.
    pub proofs: Vec<Proof>,
    /// Ids of all rules by their places.
    rules: Vec<String>,
}

impl Verified {
    /// Whether all of them hold.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.proofs.iter().all(Proof::holds)
    }

    /// Packets that were judged, at one hook or two.
    #[must_use]
    pub fn packets(&self) -> u64 {
        let all = self.proofs.iter();
        all.map(|it| it.allowed + it.audited + it.denied + it.failed)
            .sum()
    }
}

/// Proves that programs over these tables do what these rules say. The tables are put in force on programs that nothing is attached to, and
/// that forget what they were shown before.
///
/// # Errors
/// Where the tables do not fit the maps, or a program can't be run.
pub fn prove(
    programs: &mut Dataplane,
    tables: &Tables,
    rules: &RuleSet,
    facts: &Facts,
    ports: Ports,
) -> Result<Verified, Error> {
    const GENERATION: u32 = 1;
    forget(programs)?;
    let bank = programs.free_bank()?;
    programs.write(bank, tables, GENERATION)?;
    programs.switch_to(Switch::to(bank, bank, GENERATION))?;
    let mut prover = Prover {
        programs,
        reference: Reference::new(rules.clone(), facts),
    };
    let own = Own::of(facts);
    let mut verified = Verified {
        rules: rules.rules.iter().map(|rule| rule.id.clone()).collect(),
        ..Verified::default()
    };
    // What a rule lets in is not to be taken for the reply to what another let out: all ingress first.
    for direction in [Direction::Ingress, Direction::Egress] {
        for (place, rule) in rules.rules.iter().enumerate() {
            if rule.direction != direction {
                continue;
            }
            let mut proof = Proof {
                rule: rule.id.clone(),
                rows: rule.rows.clone(),
                action: Some(rule.precedence.action()),
                ..Proof::default()
            };
            prover.counted(&mut proof, |prover, proof| {
                for (beside, packet) in of_rule(rule, &own) {
                    let judged = prover.run(proof, Some(beside), &packet)?;
                    if beside == Place::Edge && judged.rule == Some(place) {
                        proof.own += 1;
                    }
                    let is_allowed = rule.precedence != Precedence::Block
                        && beside == Place::Edge
                        && judged.action != Action::Deny;
                    if is_allowed && let Some(back) = answer(&packet) {
                        prover.run(proof, Some(beside), &back)?;
                    }
                }
                Ok(())
            })?;
            verified.proofs.push(proof);
        }
    }
    if facts.forwards() {
        verified.proofs.push(prover.through(rules.forward, facts)?);
    }
    if ports == Ports::All {
        verified.proofs.push(prover.sweep(&own)?);
    }
    Ok(verified)
}

struct Prover<'a> {
    programs: &'a mut Dataplane,
    reference: Reference,
}

impl Prover<'_> {
    /// One packet at every hook of its direction.
    fn run(
        &mut self,
        proof: &mut Proof,
        place: Option<Place>,
        packet: &Packet,
    ) -> Result<Judged, Error> {
        let octets = frame::frame(packet);
        let hooks: &[(Entry, &'static str)] = match packet.direction {
            Direction::Ingress => &[(Entry::XdpIngress, "xdp"), (Entry::TcIngress, "tc")],
            Direction::Egress => &[(Entry::TcEgress, "tc")],
        };
        // What a packet leaves behind, it leaves behind at each hook once more.
        let mut first = None;
        for &(entry, hook) in hooks {
            let expected = self.reference.judge(packet);
            let ran = self.programs.test_run(entry, &octets, &[], 1)?;
            if ran.passed == (expected.action != Action::Deny) {
                match expected.action {
                    Action::Allow => proof.allowed += 1,
                    Action::Audit => proof.audited += 1,
                    Action::Deny => proof.denied += 1,
                }
            } else {
                proof.failed += 1;
                if proof.failures.len() < TOLD {
                    proof.failures.push(Failure {
                        packet: packet.clone(),
                        place,
                        hook,
                        expected,
                        passed: ran.passed,
                    });
                }
            }
            first = first.or(Some(expected));
        }
        Ok(first.unwrap_or_else(|| self.reference.judge(packet)))
    }

    /// Runs packets, and holds what the programs have counted against the fates that they should have had.
    fn counted(
        &mut self,
        proof: &mut Proof,
        packets: impl FnOnce(&mut Self, &mut Proof) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let before = self.programs.counters()?.balance;
        packets(self, proof)?;
        let after = self.programs.counters()?.balance;
        let grown = |count: fn(&Balance) -> u64| count(&after) - count(&before);
        let denied = grown(|it| it.reported + it.suppressed + it.lost);
        let audited = grown(|it| it.audit_reported + it.audit_suppressed + it.audit_lost);
        if proof.failed == 0 && (denied, audited) != (proof.denied, proof.audited) {
            proof.counters = Some(format!(
                "the programs counted {denied} denied and {audited} audited packets, not {} and {}",
                proof.denied, proof.audited
            ));
        }
        Ok(())
    }

    /// Packets on their way through this host, in both directions and families.
    fn through(&mut self, forward: Forward, facts: &Facts) -> Result<Proof, Error> {
        let mut proof = Proof {
            rule: format!("forward/{}", forward.name()),
            ..Proof::default()
        };
        self.counted(&mut proof, |prover, proof| {
            for packet in through(facts) {
                prover.run(proof, None, &packet)?;
            }
            Ok(())
        })?;
        Ok(proof)
    }

    /// Every TCP and UDP port in both directions, of peers that stand for anyone.
    fn sweep(&mut self, own: &Own) -> Result<Proof, Error> {
        let mut proof = Proof {
            rule: "every port of anyone".to_owned(),
            ..Proof::default()
        };
        let [low, _, low_v6, ..] = strangers();
        self.counted(&mut proof, |prover, proof| {
            for direction in [Direction::Ingress, Direction::Egress] {
                for peer in [low, low_v6] {
                    for port in 0..=u16::MAX {
                        for content in [own.tcp(port), own.udp(port)] {
                            let packet = own.first(direction, peer, content);
                            prover.run(proof, None, &packet)?;
                        }
                    }
                }
            }
            Ok(())
        })?;
        Ok(proof)
    }
}
