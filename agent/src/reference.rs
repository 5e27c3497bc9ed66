//! The verdict by the list of rules itself, gone through rule by rule: slow, short, and no part of the way that packets take.
//!
//! It shares types with the compiler and with the decision, and no code: what a packet means is written here a second time, from the
//! semantics and not from the tables. `verify` takes what must become of a packet from here, and the tests hold the programs against it.
//! Time does not pass: nothing expires between two packets.

mod flow;
mod icmp;
mod packet;
mod rules;

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use agent_common::event::Direction;
use agent_common::verdict::{Action, Reason};

use ipnet::IpNet;

use self::flow::{Entry, Flow, is_sent_by_stacks, slot};
pub use self::packet::{Content, Packet, Quoted};
use self::rules::{Does, What};
use crate::facts::{Facts, PortRange};
use crate::rule::{DefaultAction, Forward, RuleSet};

/// What becomes of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Judged {
    /// What happens to it.
    pub action: Action,
    /// Why.
    pub reason: Reason,
    /// Place of the rule in the rule set: the one that decides; for a denial the first one with this port.
    pub rule: Option<usize>,
    /// Whether it has an event of its own: of an audited flow only the first packet has.
    pub reported: bool,
    /// Whether it is on its way through this host.
    pub through: bool,
}

/// A host with rules, and the flows that it began.
#[derive(Clone, Debug)]
pub struct Reference {
    rules: RuleSet,
    /// Places in the order of judgement.
    order: Vec<usize>,
    own: Vec<IpAddr>,
    forwards: bool,
    ephemeral: PortRange,
    reserved: Vec<PortRange>,
    /// Not in generation 0.
    enforces: bool,
    generation: u32,
    flows: HashMap<Flow, Entry>,
    /// What this host asked groups: its own end, the group's port, and the rule. Answers may come until the next switch.
    windows: HashMap<((IpAddr, u16), u16), Option<usize>>,
    on_link: Vec<IpNet>,
    /// Questions over UDP that were let in, by the slot in which they are noted.
    asked: HashSet<u16>,
}

impl Reference {
    /// A host on which nothing has happened yet.
    #[must_use]
    pub fn new(rules: RuleSet, facts: &Facts) -> Self {
        let mut host = Self {
            rules: RuleSet::default(),
            order: Vec::new(),
            own: Vec::new(),
            forwards: false,
            ephemeral: facts.ephemeral,
            reserved: Vec::new(),
            enforces: true,
            generation: 0,
            flows: HashMap::new(),
            windows: HashMap::new(),
            on_link: Vec::new(),
            asked: HashSet::new(),
        };
        host.switch(rules, facts);
        host
    }

    /// Puts other rules in force, on a host that may have changed as well; flows stay.
    pub fn switch(&mut self, rules: RuleSet, facts: &Facts) {
        let broadcasts = facts.interfaces.iter().flat_map(|it| &it.addresses);
        let broadcasts = broadcasts.filter_map(|it| it.broadcast).map(IpAddr::V4);
        self.own = facts.own_addresses().chain(broadcasts).collect();
        self.on_link = facts
            .interfaces
            .iter()
            .flat_map(|it| &it.addresses)
            .map(|it| it.address.trunc())
            .collect();
        self.forwards = facts.forwards();
        self.ephemeral = facts.ephemeral;
        self.reserved = facts.reserved_ports.clone();
        self.put(rules);
        self.enforces = true;
    }

    fn put(&mut self, rules: RuleSet) {
        self.order = (0..rules.rules.len()).collect();
        self.order
            .sort_by_key(|&place| rules.rules[place].precedence);
        self.rules = rules;
        self.generation += 1;
        self.windows.clear();
    }

    /// Generation 0: everything passes, and flows are noted.
    pub fn learn(&mut self) {
        self.forwards = false;
        self.put(RuleSet {
            rules: Vec::new(),
            ingress: DefaultAction::Open,
            egress: DefaultAction::Open,
            forward: Forward::Pass,
        });
        self.enforces = false;
    }

    /// Forgets flows and questions.
    pub fn forget(&mut self) {
        self.flows.clear();
        self.windows.clear();
        self.asked.clear();
    }

    /// The id of a rule.
    #[must_use]
    pub fn rule_id(&self, place: usize) -> Option<&str> {
        self.rules.rules.get(place).map(|rule| rule.id.as_str())
    }

    /// What becomes of a packet that can't be read, or is of a kind that no rule turns.
    #[must_use]
    pub fn structural(&self, reason: Reason) -> Judged {
        self.enforced(deny(reason))
    }

    /// What becomes of a packet that is on its way through this host, whatever it carries; none where it is this host's.
    #[must_use]
    pub fn passed_on(&self, packet: &Packet) -> Option<Judged> {
        (self.is_through(packet) && self.rules.forward == Forward::Pass).then(|| Judged {
            through: true,
            ..pass(Reason::Forwarded)
        })
    }

    /// Whether a packet is on its way through this host.
    #[must_use]
    pub fn is_through(&self, packet: &Packet) -> bool {
        self.forwards && self.is_forwarded(packet)
    }

    /// What is on its way and goes no further; what a DHCP server sends to an address that is to be this host's is not on its way.
    fn not_taken_on(&self, packet: &Packet) -> Judged {
        match (packet.direction, &packet.content) {
            (Direction::Ingress, &Content::Udp { from, to }) if packet.source.is_ipv4() => {
                self.dhcp(Direction::Ingress, packet.source, from, to)
            }
            _ => None,
        }
        .unwrap_or(deny(Reason::NotForwarded))
    }

    /// What becomes of a packet. What it leaves behind decides about later ones.
    pub fn judge(&mut self, packet: &Packet) -> Judged {
        let through = self.is_through(packet);
        let judged = match self.passed_on(packet) {
            Some(judged) => judged,
            None if through && self.rules.forward == Forward::Deny => self.not_taken_on(packet),
            None => self.judge_enforced(packet),
        };
        self.enforced(Judged { through, ..judged })
    }

    fn enforced(&self, judged: Judged) -> Judged {
        if self.enforces || judged.action != Action::Deny {
            judged
        } else {
            pass(Reason::Unenforced)
        }
    }

    fn judge_enforced(&mut self, packet: &Packet) -> Judged {
        let (peer, own) = match packet.direction {
            Direction::Ingress => (packet.source, packet.destination),
            Direction::Egress => (packet.destination, packet.source),
        };
        match packet.content {
            Content::Tcp { .. } if packet.is_to_group() => deny(Reason::Group),
            Content::Tcp { flags, .. } if !is_sent_by_stacks(flags) => deny(Reason::TcpFlags),
            Content::Tcp { from, to, flags } => match packet.direction {
                Direction::Ingress => self.segment_in((6, (own, to), (peer, from)), Some(flags)),
                Direction::Egress => self.segment_out((6, (own, from), (peer, to)), Some(flags)),
            },
            Content::Udp { from, to } => {
                if let Some(judged) = self.dhcp(packet.direction, peer, from, to) {
                    return judged;
                }
                if packet.is_to_group() {
                    return self.group(packet, (peer, own), (from, to));
                }
                match packet.direction {
                    Direction::Ingress => self.segment_in((17, (own, to), (peer, from)), None),
                    Direction::Egress => self.segment_out((17, (own, from), (peer, to)), None),
                }
            }
            Content::Icmp {
                kind,
                identifier,
                quoted,
            } => self.icmp(packet, peer, own, kind, identifier, quoted),
            Content::Protocol(number) => {
                let stand = self.stand(packet.direction, What::Protocol(number), peer);
                stand.judged()
            }
        }
    }

    /// Whether it is on its way through this host.
    fn is_forwarded(&self, packet: &Packet) -> bool {
        match packet.direction {
            Direction::Ingress => !packet.is_to_group() && !self.own.contains(&packet.destination),
            Direction::Egress => {
                !packet.source.is_unspecified() && !self.own.contains(&packet.source)
            }
        }
    }

    /// A client's exchange with a DHCP server (RFC 2131 section 4.1, RFC 8415 section 7.2), where a rule allows it.
    fn dhcp(&self, direction: Direction, peer: IpAddr, from: u16, to: u16) -> Option<Judged> {
        let (client, server) = match direction {
            Direction::Ingress => (to, from),
            Direction::Egress => (from, to),
        };
        let what = match (peer, client, server) {
            (IpAddr::V4(_), 68, 67) => What::Dhcp4,
            (IpAddr::V6(_), 546, 547) => What::Dhcp6,
            _ => return None,
        };
        let stand = self.stand(direction, what, peer);
        stand.passes().then(|| stand.judged())
    }

    /// UDP to a group.
    fn group(
        &mut self,
        packet: &Packet,
        (peer, own): (IpAddr, IpAddr),
        ports: (u16, u16),
    ) -> Judged {
        let (from, to) = ports;
        let stand = self.stand(packet.direction, What::Group(packet.destination, to), peer);
        let judged = stand.judged();
        match packet.direction {
            Direction::Ingress if stand.passes() => {
                self.asked.insert(slot(peer, from, to));
                judged
            }
            Direction::Egress if stand.does == Does::Allow && !stand.by_default => {
                self.windows.insert(((own, from), to), stand.rule);
                judged
            }
            // Of what comes in, a rule that is near names the very group.
            Direction::Ingress if stand.rule.is_some() => judged,
            _ if stand.does == Does::Deny => Judged {
                reason: Reason::Group,
                ..judged
            },
            _ => judged,
        }
    }
}

const fn deny(reason: Reason) -> Judged {
    Judged {
        action: Action::Deny,
        reason,
        rule: None,
        reported: true,
        through: false,
    }
}

const fn pass(reason: Reason) -> Judged {
    Judged {
        action: Action::Allow,
        reason,
        rule: None,
        reported: false,
        through: false,
    }
}

#[cfg(test)]
mod tests;
