//! UDP to a multicast or broadcast destination, and what its members answer.
//!
//! A rule that names groups matches packets to those groups and no others; a rule that names none means single hosts. TCP has no groups
//! (RFC 9293 §3.9.2.3).
//!
//! Answers to a group's packet come from, or go to, an address that nobody could know before, so no flow matches them:
//! - What a host asks a group opens a *window*: for ten seconds members may answer the port that asked, from the group's port and from a
//!   prefix on a link. Only where an egress rule names the group, and only until the next switch. A window is an entry among the flows,
//!   under a key that no packet has, so windows have no table of their own and no more room than other UDP.
//! - What a peer asks by way of a group the host may answer like any other question: [`crate::tables::Cell::ASKED_BY_GROUP`].

use crate::conntrack::enter;
use crate::decide::{self, INTERNAL, cell_for, note_question, verdict_of};
use crate::event::Direction;
use crate::flow::{Began, FlowKey, FlowState, FlowTable, recent};
use crate::lookup::Lookup;
use crate::packet::Segment;
use crate::tables::{Cell, CellAction, NO_RULE, Plane, facts};
use crate::trie::Classified;
use crate::verdict::{Action, Reason, Verdict};

/// A segment or datagram to a multicast or broadcast destination: DHCP's exchange, or what rules for groups, a block list, a stage or the
/// default say.
#[inline(always)]
pub(crate) fn transport<A: Classified, W: Lookup>(
    direction: Direction,
    world: &W,
    segment: &Segment<A>,
) -> Verdict {
    if segment.is_tcp() {
        return Verdict::deny(Reason::Group);
    }
    match direction {
        Direction::Ingress => ingress(world, segment),
        Direction::Egress => egress(world, segment),
    }
}

#[inline(always)]
fn ingress<A: Classified, W: Lookup>(world: &W, segment: &Segment<A>) -> Verdict {
    if let Some(verdict) = decide::dhcp(world, segment, Plane::IngressOther, segment.source) {
        return verdict;
    }
    let Some(cell) = cell_of(world, segment) else {
        return INTERNAL;
    };
    // Rules that name this group are the only ones in the row: without any, no rule is near.
    let verdict = match cell.action() {
        CellAction::Deny if cell.rule() == NO_RULE => Verdict::deny(Reason::Group),
        _ => verdict_of(cell),
    };
    if verdict.passes() {
        note_question(world, segment);
    }
    verdict
}

#[inline(always)]
fn egress<A: Classified, W: Lookup>(world: &W, segment: &Segment<A>) -> Verdict {
    let (port, group) = (segment.destination_port, segment.destination);
    if let Some(verdict) = decide::dhcp(world, segment, Plane::EgressOther, group) {
        return verdict;
    }
    let Some(cell) = cell_for(world, Plane::EgressGroup, port, group) else {
        return INTERNAL;
    };
    // A rule that names the group lets it pass, whoever listens.
    let verdict = match cell.action() {
        CellAction::Deny => Verdict::new(Action::Deny, Reason::Group, cell.rule()),
        _ => verdict_of(cell),
    };
    // A default or a stage that lets it pass names no group.
    if cell.action() == CellAction::Allow && !cell.is_default() && world.head().window != 0 {
        let key = FlowKey::window(segment.source, segment.source_port, port);
        enter(world, &key, FlowState::Udp, verdict);
    }
    verdict
}

/// The cell of a packet to a group. Where rules name groups at this port, the destination says which of them are asked about the source.
#[inline(always)]
fn cell_of<A: Classified, W: Lookup>(world: &W, segment: &Segment<A>) -> Option<Cell> {
    let mut port_class = world.port_class(Plane::IngressGroup, segment.destination_port)?;
    if world.cell(port_class, 0)?.by_destination().is_some() {
        let to = segment.destination.class(world)?;
        port_class = world.cell(port_class, to)?.by_destination()?;
    }
    let peer_class = if world.asks_peer(port_class) {
        segment.source.class(world)?
    } else {
        0
    };
    world.cell(port_class, peer_class)
}

/// A datagram to this host that no cell and no flow lets in: `None` where it is no member's answer either. Where no rule names a group,
/// this costs one comparison.
#[inline(always)]
pub(crate) fn answered<A: Classified, W: Lookup>(
    world: &W,
    segment: &Segment<A>,
) -> Option<Verdict> {
    if world.head().window == 0 {
        return None;
    }
    let key = FlowKey::window(
        segment.destination,
        segment.destination_port,
        segment.source_port,
    );
    let rule = window(world, &key);
    if rule == NO_WINDOW {
        return None;
    }
    let known = world.facts(segment.source.class(world)?)?;
    if known & facts::ON_LINK == 0 {
        return None;
    }
    Some(Verdict::new(Action::Allow, Reason::Reply, rule as u16))
}

/// No rule has this index.
const NO_WINDOW: u32 = u32::MAX;

/// The rule that let this port ask, while its window is open. Nothing is refreshed: only the host holds a window open.
#[inline(never)]
fn window<W: Lookup>(world: &W, key: &FlowKey) -> u32 {
    let (now, head) = (world.now(), world.head());
    // One load spares the look-up for every port that never began anything.
    if !recent(world.began(Began::Udp, key.local_port), now, head.window) {
        return NO_WINDOW;
    }
    match world.flow(FlowTable::New, key) {
        Some(flow)
            if flow.generation.load() == head.generation
                && recent(flow.last.load(), now, head.window) =>
        {
            u32::from(flow.rule())
        }
        _ => NO_WINDOW,
    }
}
