//! What the rules say: the first one, in the order of judgement, that names a port, a type or a protocol of a peer.

use std::net::IpAddr;

use agent_common::event::Direction;
use agent_common::verdict::{Action, Reason};

use super::{Judged, Reference};
use crate::rule::{DefaultAction, Peers, Precedence, Rule, Service};

/// What a rule may name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum What {
    Tcp(u16),
    Udp(u16),
    /// UDP to a group: where to, and the port.
    Group(IpAddr, u16),
    Icmp(u8),
    Icmpv6(u8),
    Protocol(u8),
    Dhcp4,
    Dhcp6,
}

/// What the rules say of something.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Stand {
    pub(super) does: Does,
    pub(super) rule: Option<usize>,
    /// A default or a stage says so, not a rule.
    pub(super) by_default: bool,
    /// Nothing lets a datagram to this host alone in, but the peer may ask by way of a group, and be answered.
    pub(super) asked_by_group: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Does {
    Allow,
    Audit,
    Deny,
    Block,
}

impl Reference {
    /// The first rule, in the order of judgement, that names this of this peer; without one the default.
    pub(super) fn stand(&self, direction: Direction, what: What, peer: IpAddr) -> Stand {
        let (mut near, mut asker) = (None, None);
        for &place in &self.order {
            let rule = &self.rules.rules[place];
            if rule.direction != direction {
                continue;
            }
            let Some(matches) = about(rule, what, peer) else {
                continue;
            };
            if matches {
                return Stand {
                    does: match rule.precedence {
                        Precedence::Block => Does::Block,
                        Precedence::Failsafe | Precedence::Allow => Does::Allow,
                        Precedence::AuditStage => Does::Audit,
                    },
                    rule: Some(place),
                    by_default: rule.precedence == Precedence::AuditStage,
                    asked_by_group: false,
                };
            }
            if near.is_none() && rule.precedence != Precedence::Block {
                near = Some(place);
            }
            if asker.is_none() && !rule.groups.is_empty() && admits(rule, peer) {
                asker = Some(place);
            }
        }
        let default = match direction {
            // A pair of ports that is a DHCP exchange only where a rule says so, or where nothing is enforced.
            _ if matches!(what, What::Dhcp4 | What::Dhcp6) && self.enforces => DefaultAction::Deny,
            Direction::Ingress => self.rules.ingress,
            Direction::Egress => self.rules.egress,
        };
        let asked_by_group = default == DefaultAction::Deny
            && matches!((direction, what), (Direction::Ingress, What::Udp(_)))
            && asker.is_some();
        let (does, rule, by_default) = match default {
            DefaultAction::Deny if asked_by_group => (Does::Deny, asker, false),
            DefaultAction::Deny => (Does::Deny, near, false),
            DefaultAction::Audit => (Does::Audit, near, true),
            DefaultAction::Open => (Does::Allow, None, true),
        };
        Stand {
            does,
            rule,
            by_default,
            asked_by_group,
        }
    }
}

impl Stand {
    pub(super) const fn passes(self) -> bool {
        matches!(self.does, Does::Allow | Does::Audit)
    }

    pub(super) const fn judged(self) -> Judged {
        let (action, reason) = match self.does {
            Does::Allow if self.by_default => (Action::Allow, Reason::Default),
            Does::Allow => (Action::Allow, Reason::Rule),
            Does::Audit => (Action::Audit, Reason::NoRule),
            Does::Deny => (Action::Deny, Reason::NoRule),
            Does::Block => (Action::Deny, Reason::Block),
        };
        Judged {
            action,
            reason,
            rule: self.rule,
            reported: !matches!(action, Action::Allow),
            through: false,
        }
    }

    /// What answers something that passes passes like it.
    pub(super) const fn answer(self) -> Judged {
        let action = match self.does {
            Does::Audit => Action::Audit,
            _ => Action::Allow,
        };
        Judged {
            action,
            reason: Reason::Answer,
            rule: self.rule,
            reported: false,
            through: false,
        }
    }
}

fn admits(rule: &Rule, peer: IpAddr) -> bool {
    match &rule.peers {
        Peers::Any => true,
        Peers::Prefixes(prefixes) => prefixes.iter().any(|it| it.contains(&peer)),
    }
}

/// Whether a rule says something of this: true where it decides, false where it is only near; none where it is about something else.
fn about(rule: &Rule, what: What, peer: IpAddr) -> Option<bool> {
    if !serves(rule, what) {
        return None;
    }
    let is_general = matches!(rule.precedence, Precedence::Block | Precedence::AuditStage);
    match (what, rule.groups.is_empty()) {
        // A rule that names no group admits unicast; a block list and a stage say of groups what they say of hosts.
        (What::Group(..), true) => is_general.then(|| admits(rule, peer)),
        // Who listens to a group is nobody's business; who sends to it is.
        (What::Group(to, _), false) if rule.direction == Direction::Egress => {
            Some(rule.groups.contains(&to))
        }
        (What::Group(to, _), false) => rule.groups.contains(&to).then(|| admits(rule, peer)),
        (_, true) => Some(admits(rule, peer)),
        // What a group may be asked is no way to a single host.
        (What::Udp(_), false) => Some(false),
        (_, false) => None,
    }
}

/// Whether the transport and the port, the type or the protocol are the rule's.
fn serves(rule: &Rule, what: What) -> bool {
    match (&rule.service, what) {
        (Service::Tcp(ports), What::Tcp(port))
        | (Service::Udp(ports), What::Udp(port) | What::Group(_, port)) => {
            ports.iter().any(|range| range.contains(&port))
        }
        (Service::Icmp(kinds), What::Icmp(kind)) | (Service::Icmpv6(kinds), What::Icmpv6(kind)) => {
            kinds.contains(&kind)
        }
        (Service::Protocol(number), What::Protocol(this)) => *number == this,
        (Service::Dhcp4, What::Dhcp4) | (Service::Dhcp6, What::Dhcp6) => true,
        (Service::All, What::Dhcp4 | What::Dhcp6) => false,
        // Not what keeps a host on its link: MLD, router and neighbour discovery, IGMP.
        (Service::All, What::Icmpv6(kind)) => kind < 130,
        (Service::All, What::Protocol(number)) => number != 2,
        (Service::All, _) => true,
        _ => false,
    }
}
