//! The decision over a TCP segment or UDP datagram: the one function that the BPF programs, `explain` and the tests run.
//!
//! Ingress: cell; where it denies, a reply to a flow of this host. Egress: block, answer, entry, rules. Only egress inserts, and only what
//! came to the rules and passed there: answers to whoever asks leave no trace, so a flood of spoofed requests has no table to fill.

use crate::flow::{
    Began, FlowEntry, FlowKey, FlowState, FlowTable, after_received, after_sent, asked_slot,
    recent, stamp,
};
use crate::lookup::Lookup;
use crate::net::{Address, IpProto, tcp};
use crate::packet::Segment;
use crate::tables::{Cell, CellAction, Plane, other};
use crate::trie::Classified;
use crate::verdict::{Action, Reason, Verdict};

/// Denied because a table could not be read.
pub(crate) const INTERNAL: Verdict = Verdict::deny(Reason::Internal);

/// Which stamps and time-outs a protocol has.
#[inline(always)]
pub(crate) fn began_table(protocol: IpProto) -> Began {
    if protocol == IpProto::TCP {
        Began::Tcp
    } else if protocol == IpProto::UDP {
        Began::Udp
    } else {
        Began::Echo
    }
}

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
    let Some(cell) = cell_for(
        world,
        ingress_plane(tcp),
        segment.destination_port,
        segment.source,
    ) else {
        return INTERNAL;
    };
    let stands = verdict_of(cell);
    if matches!(cell.action(), CellAction::Allow | CellAction::Block) {
        if !tcp && stands.passes() {
            note_question(world, segment);
        }
        return stands;
    }
    // A SYN without ACK answers nothing: simultaneous open (RFC 9293 §3.5, figure 8) is not supported.
    if !(tcp && tcp::begins(segment.flags)) {
        let key = FlowKey::new(
            segment.protocol,
            segment.destination,
            segment.destination_port,
            segment.source,
            segment.source_port,
        );
        if let Some(verdict) = reply(
            world,
            &key,
            segment.source,
            egress_plane(tcp),
            segment.source_port,
            segment.flags,
        ) {
            return verdict;
        }
    }
    if !tcp {
        if let Some(verdict) = dhcp(world, segment, Plane::IngressOther, segment.source) {
            return verdict;
        }
        if stands.passes() {
            note_question(world, segment);
        }
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
    if back.passes()
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
    let verdict = begin(world, segment, rules);
    if !tcp
        && !verdict.passes()
        && let Some(verdict) = dhcp(world, segment, Plane::EgressOther, segment.destination)
    {
        return verdict;
    }
    verdict
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

/// Enters a flow that the rules let begin.
#[inline(always)]
pub(crate) fn enter<W: Lookup>(world: &W, key: &FlowKey, state: FlowState, verdict: Verdict) {
    let now = world.now();
    let entry = FlowEntry::new(
        now,
        world.head().generation,
        state,
        verdict.action(),
        verdict.rule(),
    );
    world.insert(FlowTable::New, key, &entry);
    world.set_began(
        began_table(IpProto(key.protocol)),
        key.local_port,
        stamp(now),
    );
}

/// The live entry of a flow, and the table it lies in.
#[inline(always)]
fn find<W: Lookup>(world: &W, key: &FlowKey, now: u32) -> Option<(W::Flow, FlowTable)> {
    if key.protocol == IpProto::TCP.0
        && let Some(flow) = world.flow(FlowTable::Established, key)
        && !flow.expired(now, &world.head().timeouts)
    {
        return Some((flow, FlowTable::Established));
    }
    let flow = world.flow(FlowTable::New, key)?;
    if flow.expired(now, &world.head().timeouts) {
        return None;
    }
    Some((flow, FlowTable::New))
}

/// Whether the present policy still lets the host send this flow. An entry of another generation is judged again by the egress rules;
/// what they no longer allow ends here.
#[inline(always)]
fn still_allowed<W: Lookup>(
    world: &W,
    entry: &FlowEntry,
    rules: Option<Cell>,
) -> Result<(), Verdict> {
    let generation = world.head().generation;
    if entry.generation.load(core::sync::atomic::Ordering::Relaxed) == generation {
        return Ok(());
    }
    let Some(rules) = rules else {
        return Err(INTERNAL);
    };
    let verdict = verdict_of(rules);
    if !verdict.passes() {
        let reason = if rules.action() == CellAction::Block {
            Reason::Block
        } else {
            Reason::Ended
        };
        return Err(Verdict::new(Action::Deny, reason, rules.rule()));
    }
    entry.rejudge(generation, verdict.action(), verdict.rule());
    Ok(())
}

/// What an entry gives its packets: its own action; an audited flow was logged when it began.
#[inline(always)]
fn inherited(entry: &FlowEntry) -> Verdict {
    match entry.action() {
        Action::Audit => Verdict::new(Action::Audit, Reason::Reply, entry.rule()).quiet(),
        _ => Verdict::new(Action::Allow, Reason::Reply, entry.rule()),
    }
}

/// A packet that the host sends in a flow with an entry.
#[inline(always)]
pub(crate) fn sent<W: Lookup>(world: &W, key: &FlowKey, rules: Cell, flags: u8) -> Option<Verdict> {
    let now = world.now();
    let (flow, table) = find(world, key, now)?;
    if let Err(ended) = still_allowed(world, &flow, Some(rules)) {
        return Some(ended);
    }
    flow.touch(now);
    world.set_began(
        began_table(IpProto(key.protocol)),
        key.local_port,
        stamp(now),
    );
    let verdict = inherited(&flow);
    if key.protocol == IpProto::TCP.0 {
        let state = flow.state();
        let next = after_sent(state, flags);
        if next != state {
            advance(world, key, &flow, table, next, now);
        }
    }
    Some(verdict)
}

/// Moves a flow to the table where its new state belongs. One that finds the established table full stays in the first.
#[inline(always)]
fn advance<W: Lookup>(
    world: &W,
    key: &FlowKey,
    flow: &FlowEntry,
    table: FlowTable,
    state: FlowState,
    now: u32,
) {
    let home = if state == FlowState::Established {
        FlowTable::Established
    } else {
        FlowTable::New
    };
    flow.set_state(state);
    if home == table {
        return;
    }
    let entry = FlowEntry::new(
        now,
        world.head().generation,
        state,
        flow.action(),
        flow.rule(),
    );
    if world.insert(home, key, &entry) {
        world.remove(table, key);
    }
}

/// A packet that may belong to a flow that this host began: `None` where it does not.
#[inline(always)]
pub(crate) fn reply<A: Classified, W: Lookup>(
    world: &W,
    key: &FlowKey,
    peer: A,
    rules_plane: Plane,
    rules_port: u16,
    flags: u8,
) -> Option<Verdict> {
    let table = began_table(IpProto(key.protocol));
    let now = world.now();
    let timeouts = &world.head().timeouts;
    let longest = match table {
        Began::Tcp => timeouts.tcp_established,
        Began::Udp => timeouts.udp,
        Began::Echo => timeouts.echo,
    };
    // One load spares the hash look-ups for every port that never began anything.
    if !recent(world.began(table, key.local_port), now, longest) {
        return None;
    }
    let (flow, _) = find(world, key, now)?;
    if flow.generation.load(core::sync::atomic::Ordering::Relaxed) != world.head().generation
        && let Err(ended) =
            still_allowed(world, &flow, cell_for(world, rules_plane, rules_port, peer))
    {
        return Some(ended);
    }
    flow.touch(now);
    world.set_began(table, key.local_port, stamp(now));
    if table == Began::Tcp {
        let state = flow.state();
        let next = after_received(state, flags);
        if next != state {
            flow.set_state(next);
        }
    }
    Some(inherited(&flow))
}

/// Remembers that this peer asked this port, so that the answer may leave.
#[inline(always)]
fn note_question<A: Address, W: Lookup>(world: &W, segment: &Segment<A>) {
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
/// from the server's port. Asked only where everything else has denied. `None` where it is none, or none that is allowed.
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

/// Whether a flow's entry is alive, for a packet that only quotes it: nothing is refreshed.
#[inline(always)]
pub(crate) fn lives<W: Lookup>(world: &W, key: &FlowKey) -> bool {
    let now = world.now();
    match find(world, key, now) {
        Some((flow, _)) => {
            flow.generation.load(core::sync::atomic::Ordering::Relaxed) == world.head().generation
        }
        None => false,
    }
}
