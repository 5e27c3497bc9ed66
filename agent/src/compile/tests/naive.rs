//! What the rules say, read one by one: no class, no trie, no table.

use std::net::IpAddr;

use agent_common::event::Direction;
use agent_common::tables::{Cell, CellAction, NO_RULE};

use crate::facts::Facts;
use crate::rule::{DefaultAction, Peers, Precedence, Rule, RuleSet, Service};

/// What a packet asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Asks {
    Tcp(u16),
    Udp(u16),
    /// UDP to a group: the port, and whither. What leaves the host goes to the peer.
    Group(u16, IpAddr),
    Icmp(u8),
    Icmpv6(u8),
    Protocol(u8),
    Dhcp4,
    Dhcp6,
}

fn serves(rule: &Rule, asks: Asks) -> bool {
    let asks = match asks {
        Asks::Group(..)
            if rule.groups.is_empty()
                && matches!(rule.precedence, Precedence::Failsafe | Precedence::Allow) =>
        {
            return false;
        }
        Asks::Group(port, _) => Asks::Udp(port),
        // Groups carry UDP; that a rule names them is no more than near for a single host.
        Asks::Udp(_) => asks,
        _ if !rule.groups.is_empty() => return false,
        other => other,
    };
    match (&rule.service, asks) {
        (Service::Tcp(ranges), Asks::Tcp(port)) | (Service::Udp(ranges), Asks::Udp(port)) => {
            ranges.iter().any(|range| range.contains(&port))
        }
        (Service::Icmp(types), Asks::Icmp(kind)) | (Service::Icmpv6(types), Asks::Icmpv6(kind)) => {
            types.contains(&kind)
        }
        (Service::Protocol(number), Asks::Protocol(asked)) => *number == asked,
        (Service::Dhcp4, Asks::Dhcp4) | (Service::Dhcp6, Asks::Dhcp6) => true,
        (Service::All, Asks::Tcp(_) | Asks::Udp(_) | Asks::Icmp(_)) => true,
        (Service::All, Asks::Icmpv6(kind)) => kind < 130,
        (Service::All, Asks::Protocol(number)) => number != 2,
        _ => false,
    }
}

fn admits(peers: &Peers, peer: IpAddr) -> bool {
    match peers {
        Peers::Any => true,
        Peers::Prefixes(prefixes) => prefixes.iter().any(|prefix| prefix.contains(&peer)),
    }
}

/// The cell for a packet: what the first rule that matches says, else the default.
pub(super) fn judge(
    set: &RuleSet,
    facts: &Facts,
    direction: Direction,
    asks: Asks,
    peer: IpAddr,
) -> Cell {
    let (port, has_port) = match asks {
        Asks::Tcp(port) | Asks::Udp(port) | Asks::Group(port, _) => (port, true),
        _ => (0, false),
    };
    let ingress = direction == Direction::Ingress;
    let reserved = facts
        .reserved_ports
        .iter()
        .any(|range| range.first <= port && port <= range.last);
    let ephemeral = has_port
        && ingress
        && facts.ephemeral.first <= port
        && port <= facts.ephemeral.last
        && !reserved;
    // Of what comes in, only the rules for that group are near.
    let for_group = |rule: &Rule| match asks {
        Asks::Group(_, to) => rule.groups.is_empty() || rule.groups.contains(&to),
        _ => true,
    };
    let named = |rule: &&Rule| {
        rule.direction == direction && serves(rule, asks) && (!ingress || for_group(rule))
    };
    // Who sends to a group, or the group: then the rule has said already that it means it.
    let matches = |rule: &&Rule| match asks {
        Asks::Group(..) if !ingress && !rule.groups.is_empty() => for_group(rule),
        Asks::Group(..) => admits(&rule.peers, peer),
        _ => rule.groups.is_empty() && admits(&rule.peers, peer),
    };
    let index = |wanted: &Rule| {
        let place = set.rules.iter().position(|rule| std::ptr::eq(rule, wanted));
        place.unwrap() as u16
    };
    let order = [
        Precedence::Block,
        Precedence::Failsafe,
        Precedence::Allow,
        Precedence::AuditStage,
    ];
    let in_order = || {
        order.iter().flat_map(|precedence| {
            let here = set.rules.iter().filter(named);
            here.filter(|rule| rule.precedence == *precedence)
        })
    };
    let near = in_order()
        .find(|rule| rule.precedence != Precedence::Block)
        .map_or(NO_RULE, index);
    let mut asked_by_group = false;
    let asker = || {
        let askers = in_order().filter(|rule| !rule.groups.is_empty());
        askers.into_iter().find(|rule| admits(&rule.peers, peer))
    };
    let (action, rule, default) = match in_order().find(matches) {
        Some(rule) => match rule.precedence {
            Precedence::Block => (CellAction::Block, index(rule), false),
            Precedence::Failsafe | Precedence::Allow => (CellAction::Allow, index(rule), false),
            Precedence::AuditStage => (CellAction::Audit, index(rule), true),
        },
        None if matches!(asks, Asks::Dhcp4 | Asks::Dhcp6) => (CellAction::Deny, near, false),
        None => match if ingress { set.ingress } else { set.egress } {
            DefaultAction::Deny if ingress && matches!(asks, Asks::Udp(_)) => {
                asked_by_group = asker().is_some();
                (CellAction::Deny, asker().map_or(near, index), false)
            }
            DefaultAction::Deny => (CellAction::Deny, near, false),
            DefaultAction::Audit => (CellAction::Audit, near, true),
            DefaultAction::Open => (CellAction::Allow, NO_RULE, true),
        },
    };
    let mut flags = 0;
    if asked_by_group {
        flags |= Cell::ASKED_BY_GROUP;
    }
    if default {
        flags |= Cell::DEFAULT;
    }
    if ephemeral || (ingress && default) {
        flags |= Cell::ASK_FIRST;
    }
    Cell::new(action, rule, flags)
}
