//! The decision over a TCP segment or UDP datagram: the one function that the BPF programs, `explain` and the tests run.
//!
//! Ingress: cell; where it denies, a reply to a flow of this host. Egress: block, answer, entry, rules. Only egress inserts, and only what
//! came to the rules and passed there: answers to whoever asks leave no trace, so a flood of spoofed requests has no table to fill.

use crate::conntrack::{enter, reply, sent};
use crate::flow::{FlowKey, FlowState, asked_slot, recent, stamp};
use crate::group;
use crate::lookup::Lookup;
use crate::net::{Address, tcp};
use crate::packet::Segment;
use crate::tables::{Cell, CellAction, Plane, facts, other};
use crate::trie::Classified;
use crate::verdict::{Action, Reason, Verdict};

/// Denied because a table could not be read.
pub(crate) const INTERNAL: Verdict = Verdict::deny(Reason::Internal);

#[inline(always)]
fn ingress_plane(tcp: bool) -> Plane {
    if tcp {
        Plane::IngressTcp
    } else {
        Plane::IngressUdp
    }
}

#[inline(always)]
fn egress_plane(tcp: bool) -> Plane {
    if tcp {
        Plane::EgressTcp
    } else {
        Plane::EgressUdp
    }
}

/// The cell of one port for one peer; the peer is looked up only where the port's class asks for it.
#[inline(always)]
pub(crate) fn cell_for<A: Classified, W: Lookup>(
    world: &W,
    plane: Plane,
    port: u16,
    peer: A,
) -> Option<Cell> {
    let port_class = world.port_class(plane, port)?;
    let peer_class = if world.asks_peer(port_class) {
        peer.class(world)?
    } else {
        0
    };
    world.cell(port_class, peer_class)
}

/// Whether an address is this host's, or a broadcast address of one of its networks.
#[inline(always)]
pub(crate) fn is_own<A: Classified, W: Lookup>(world: &W, address: A) -> Option<bool> {
    let known = world.facts(address.class(world)?)?;
    Some(known & (facts::OWN | facts::BROADCAST) != 0)
}

/// The verdict of a cell that is final: everything but a denial that a reply may still turn.
#[inline(always)]
pub(crate) fn verdict_of(cell: Cell) -> Verdict {
    let reason = if cell.is_default() {
        Reason::Default
    } else {
        Reason::Rule
    };
    match cell.action() {
        CellAction::Allow => Verdict::new(Action::Allow, reason, cell.rule()),
        CellAction::Audit => Verdict::new(Action::Audit, Reason::NoRule, cell.rule()),
        CellAction::Block => Verdict::new(Action::Deny, Reason::Block, cell.rule()),
        CellAction::Deny => Verdict::new(Action::Deny, Reason::NoRule, cell.rule()),
    }
}

/// A packet to this host.
#[inline(always)]
pub fn ingress<A: Classified, W: Lookup>(world: &W, segment: &Segment<A>) -> Verdict {
    let tcp = segment.is_tcp();
    if tcp && !tcp::valid(segment.flags) {
        return Verdict::deny(Reason::TcpFlags);
    }
    if !tcp && let Some(verdict) = dhcp(world, segment, Plane::IngressOther, segment.source) {
        return verdict;
    }
    let Some(cell) = cell_for(
        world,
        ingress_plane(tcp),
        segment.destination_port,
        segment.source,
    ) else {
        return INTERNAL;
    };
    let stands = verdict_of(cell);
    let allowed = cell.action() == CellAction::Allow;
    // A SYN without ACK answers nothing: simultaneous open (RFC 9293 §3.5, figure 8) is not supported.
    let begins = tcp && tcp::begins(segment.flags);
    // A cell that asks first says nothing about services: what comes in may belong to a flow of the host, whose entry has to live on for
    // the day when the cell no longer lets it pass. The cell decides all the same.
    if !begins && cell.action() != CellAction::Block && (!allowed || cell.asks_first()) {
        let key = FlowKey::new(
            segment.protocol,
            segment.destination,
            segment.destination_port,
            segment.source,
            segment.source_port,
        );
        if let Some(verdict) = reply(world, &key, segment.flags)
            && !allowed
        {
            return verdict;
        }
        if !tcp
            && !allowed
            && let Some(verdict) = group::answered(world, segment)
        {
            return verdict;
        }
    }
    if tcp {
        // A connection from outside is logged at its SYN.
        return if stands.action() == Action::Audit && !begins {
            stands.quiet()
        } else {
            stands
        };
    }
    if stands.passes() {
        note_question(world, segment);
    }
    stands
}

/// A packet from this host.
#[inline(always)]
pub fn egress<A: Classified, W: Lookup>(world: &W, segment: &Segment<A>) -> Verdict {
    let tcp = segment.is_tcp();
    if tcp && !tcp::valid(segment.flags) {
        return Verdict::deny(Reason::TcpFlags);
    }
    if !tcp && let Some(verdict) = dhcp(world, segment, Plane::EgressOther, segment.destination) {
        return verdict;
    }
    let (Some(there), Some(here)) = (
        world.port_class(egress_plane(tcp), segment.destination_port),
        world.port_class(ingress_plane(tcp), segment.source_port),
    ) else {
        return INTERNAL;
    };
    let peer_class = if world.asks_peer(there) || world.asks_peer(here) {
        let Some(class) = segment.destination.class(world) else {
            return INTERNAL;
        };
        class
    } else {
        0
    };
    let (Some(rules), Some(back)) = (world.cell(there, peer_class), world.cell(here, peer_class))
    else {
        return INTERNAL;
    };
    if rules.action() == CellAction::Block {
        return verdict_of(rules);
    }
    if tcp && tcp::begins(segment.flags) {
        return begin(world, segment, rules);
    }
    let key = FlowKey::new(
        segment.protocol,
        segment.source,
        segment.source_port,
        segment.destination,
        segment.destination_port,
    );
    let mut asked_entry = false;
    if back.asks_first() || back.action() == CellAction::Block {
        if let Some(verdict) = sent(world, &key, rules, segment.flags) {
            return verdict;
        }
        if back.action() == CellAction::Block {
            return verdict_of(back);
        }
        asked_entry = true;
    }
    if (back.passes() || !tcp && back.is_asked_by_group())
        && (tcp
            || was_asked(
                world,
                segment.destination,
                segment.destination_port,
                segment.source_port,
            ))
    {
        return answer(back);
    }
    if !asked_entry && let Some(verdict) = sent(world, &key, rules, segment.flags) {
        return verdict;
    }
    begin(world, segment, rules)
}

/// The verdict of an answer: it inherits the action of what it answers, and an audited flow was logged at its first packet.
#[inline(always)]
pub(crate) fn answer(back: Cell) -> Verdict {
    match back.action() {
        CellAction::Audit => Verdict::new(Action::Audit, Reason::Answer, back.rule()).quiet(),
        _ => Verdict::new(Action::Allow, Reason::Answer, back.rule()),
    }
}

/// What the rules say of a packet that answers nothing and continues nothing. The only place where state begins.
#[inline(always)]
fn begin<A: Address, W: Lookup>(world: &W, segment: &Segment<A>, rules: Cell) -> Verdict {
    let verdict = verdict_of(rules);
    if !verdict.passes() {
        return verdict;
    }
    let state = if !segment.is_tcp() {
        FlowState::Udp
    } else if tcp::begins(segment.flags) {
        FlowState::Begun
    } else if segment.flags & (tcp::SYN | tcp::RST) == 0 {
        FlowState::PickedUp
    } else {
        return verdict;
    };
    let key = FlowKey::new(
        segment.protocol,
        segment.source,
        segment.source_port,
        segment.destination,
        segment.destination_port,
    );
    enter(world, &key, state, verdict);
    verdict
}

/// Remembers that this peer asked this port, so that the answer may leave.
#[inline(always)]
pub(crate) fn note_question<A: Address, W: Lookup>(world: &W, segment: &Segment<A>) {
    let slot = asked_slot(
        segment.source.wide(),
        segment.source_port,
        segment.destination_port,
    );
    world.set_asked(slot, stamp(world.now()));
}

/// Whether this peer asked this port a short while ago. Without it any local user who binds an idle UDP service port has a way out.
#[inline(always)]
pub(crate) fn was_asked<A: Address, W: Lookup>(
    world: &W,
    peer: A,
    peer_port: u16,
    local_port: u16,
) -> bool {
    let slot = asked_slot(peer.wide(), peer_port, local_port);
    recent(world.asked(slot), world.now(), world.head().timeouts.asked)
}

/// A DHCP client's exchange, which no connection tracking matches: broadcast questions, answers before there is an address, renewals
/// from the server's port. Asked first: a block list does not reach it, and its packets begin no flow. `None` where it is none, or none that is allowed.
#[inline(always)]
pub(crate) fn dhcp<A: Classified, W: Lookup>(
    world: &W,
    segment: &Segment<A>,
    plane: Plane,
    peer: A,
) -> Option<Verdict> {
    let (client, server) = if plane == Plane::IngressOther {
        (segment.destination_port, segment.source_port)
    } else {
        (segment.source_port, segment.destination_port)
    };
    let index = match (A::FAMILY, client, server) {
        (4, 68, 67) => other::DHCP4,
        (6, 546, 547) => other::DHCP6,
        _ => return None,
    };
    let Some(cell) = cell_for(world, plane, index, peer) else {
        return Some(INTERNAL);
    };
    let verdict = verdict_of(cell);
    verdict.passes().then_some(verdict)
}
