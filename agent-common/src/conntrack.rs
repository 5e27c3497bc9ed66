//! Flows that this host began: entering, continuing, judging again after a switch. The same for both families: a key holds wide addresses.
//!
//! What is rare is out of line in the programs: entering a flow, judging one again, asking for a flow that a packet only quotes. A reply, and
//! a packet that the host sends in a flow, are asked for in line: a call costs as much as a tenth of the whole way of a packet.

use crate::flow::{
    self, Began, FlowEntry, FlowKey, FlowState, FlowTable, after_received, after_sent, stamp,
};
use crate::lookup::Lookup;
use crate::net::{IpProto, icmp};
use crate::recent::{self, RecentReply, is_settled};
use crate::tables::{Cell, CellAction, Plane, other};
use crate::trie::class_of;
use crate::verdict::{Action, Reason, Verdict};

/// What the out-of-line functions return for "no live entry"; no verdict has this word.
const NO_ENTRY: u32 = u32::MAX;

#[inline(always)]
fn found(word: u32) -> Option<Verdict> {
    if word == NO_ENTRY {
        None
    } else {
        Some(Verdict(word))
    }
}

/// Which stamps a protocol has.
#[inline(always)]
fn began_table(protocol: IpProto) -> Began {
    if protocol == IpProto::TCP {
        Began::Tcp
    } else if protocol == IpProto::UDP {
        Began::Udp
    } else {
        Began::Echo
    }
}

/// Enters a flow that the rules let begin.
#[inline(never)]
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
    world.set_began(began_table(key.protocol()), key.local_port, stamp(now));
}

/// The live entry of a flow, and the table it lies in.
#[inline(always)]
fn find<W: Lookup>(world: &W, key: &FlowKey, now: u32) -> Option<(W::Flow, FlowTable)> {
    let timeouts = &world.head().timeouts;
    if key.protocol() == IpProto::TCP
        && let Some(flow) = world.flow(FlowTable::Established, key)
        && !flow.expired(now, timeouts)
    {
        return Some((flow, FlowTable::Established));
    }
    let flow = world.flow(FlowTable::New, key)?;
    if flow.expired(now, timeouts) {
        None
    } else {
        Some((flow, FlowTable::New))
    }
}

/// What the egress rules say of a flow as the host sends it.
#[inline(always)]
fn rules_for<W: Lookup>(world: &W, key: &FlowKey) -> Option<Cell> {
    let (plane, port) = match key.protocol() {
        IpProto::TCP => (Plane::EgressTcp, key.peer_port),
        IpProto::UDP => (Plane::EgressUdp, key.peer_port),
        IpProto::ICMP => (Plane::EgressOther, other::icmp(icmp::ECHO)),
        _ => (Plane::EgressOther, other::icmpv6(icmp::V6_ECHO)),
    };
    let port_class = world.port_class(plane, port)?;
    let peer_class = if world.asks_peer(port_class) {
        class_of(key.peer, world)?
    } else {
        0
    };
    world.cell(port_class, peer_class)
}

/// Judges an entry of another generation again, by the rules of this one: what they no longer allow ends here.
#[inline(always)]
fn still_allowed<W: Lookup>(
    world: &W,
    key: &FlowKey,
    entry: &FlowEntry,
    rules: Option<Cell>,
) -> Result<(), Verdict> {
    if entry.generation.load() == world.head().generation {
        return Ok(());
    }
    let judged = match rules {
        Some(rules) => judged_by(world, entry, rules),
        None => judged_again(world, key, entry),
    };
    found(judged).map_or(Ok(()), Err)
}

/// By the rules for a flow as the host sends it. Out of line: only after a switch.
#[inline(never)]
fn judged_again<W: Lookup>(world: &W, key: &FlowKey, entry: &FlowEntry) -> u32 {
    match rules_for(world, key) {
        Some(rules) => judged_by(world, entry, rules),
        None => Verdict::deny(Reason::Internal).0,
    }
}

/// What ends the flow, or [`NO_ENTRY`] where nothing does: then the entry is one of this generation.
#[inline(always)]
fn judged_by<W: Lookup>(world: &W, entry: &FlowEntry, rules: Cell) -> u32 {
    let verdict = crate::decide::verdict_of(rules);
    if !verdict.passes() {
        let reason = if rules.action() == CellAction::Block {
            Reason::Block
        } else {
            Reason::Ended
        };
        return Verdict::new(Action::Deny, reason, rules.rule()).0;
    }
    entry.rejudge(world.head().generation, verdict.action(), verdict.rule());
    NO_ENTRY
}

/// What an entry gives its packets: its own action; an audited flow was logged when it began.
#[inline(always)]
fn inherited(entry: &FlowEntry) -> Verdict {
    match entry.action() {
        Action::Audit => Verdict::new(Action::Audit, Reason::Reply, entry.rule()).quiet(),
        _ => Verdict::new(Action::Allow, Reason::Reply, entry.rule()),
    }
}

/// A packet that the host sends in a flow with an entry: `None` where there is no live one. `rules` is what the egress rules say of it.
#[inline(always)]
pub(crate) fn sent<W: Lookup>(world: &W, key: &FlowKey, rules: Cell, flags: u8) -> Option<Verdict> {
    let now = world.now();
    let (flow, table) = find(world, key, now)?;
    if let Err(ended) = still_allowed(world, key, &flow, Some(rules)) {
        return Some(ended);
    }
    flow.touch(now);
    world.set_began(began_table(key.protocol()), key.local_port, stamp(now));
    let verdict = inherited(&flow);
    if key.protocol() == IpProto::TCP {
        let state = flow.state();
        let next = after_sent(state, flags);
        if next != state {
            advance(world, key, &flow, table, next);
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
        world.now(),
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
pub(crate) fn reply<W: Lookup>(world: &W, key: &FlowKey, flags: u8) -> Option<Verdict> {
    let timeouts = &world.head().timeouts;
    let table = began_table(key.protocol());
    let longest = match table {
        Began::Tcp => timeouts.tcp_established,
        Began::Udp => timeouts.udp,
        Began::Echo => timeouts.echo,
    };
    // One load spares the hash look-ups for every port that never began anything.
    let now = world.now();
    let began = world.began(table, key.local_port);
    if !flow::recent(began, now, longest) {
        return None;
    }
    let (slot, generation) = (recent::slot(key), world.head().generation);
    let known = world.recent(slot);
    if let Some(verdict) = known.and_then(|known| known.verdict(key, now, generation)) {
        return Some(verdict);
    }
    let (flow, _) = find(world, key, now)?;
    if let Err(ended) = still_allowed(world, key, &flow, None) {
        return Some(ended);
    }
    flow.touch(now);
    if began != stamp(now) {
        world.set_began(table, key.local_port, stamp(now));
    }
    let mut state = flow.state();
    if key.protocol() == IpProto::TCP {
        let next = after_received(state, flags);
        if next != state {
            flow.set_state(next);
            state = next;
        }
    }
    let verdict = inherited(&flow);
    if is_settled(state) {
        world.set_recent(slot, &RecentReply::new(key, now, generation, verdict));
    }
    Some(verdict)
}

/// Whether the host may still send in a flow, for a packet that only quotes it: nothing is refreshed, and an entry of another generation is
/// judged by the rules of this one without a trace.
#[inline(never)]
pub(crate) fn lives<W: Lookup>(world: &W, key: &FlowKey) -> bool {
    let Some((flow, _)) = find(world, key, world.now()) else {
        return false;
    };
    flow.generation.load() == world.head().generation
        || rules_for(world, key).is_some_and(Cell::passes)
}
