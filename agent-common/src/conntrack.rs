//! Flows that this host began: entering, continuing, judging again after a switch. The same for both families: a key holds wide addresses.
//!
//! The three functions that touch the tables are out of line in the programs: each is asked from several places, and its own stack frame
//! holds what the caller needs no longer.

use crate::flow::{
    Began, FlowEntry, FlowKey, FlowState, FlowTable, after_received, after_sent, recent, stamp,
};
use crate::lookup::Lookup;
use crate::net::{IpProto, icmp};
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
    entry: &FlowEntry,
    rules: impl FnOnce() -> Option<Cell>,
) -> Result<(), Verdict> {
    let generation = world.head().generation;
    if entry.generation.load() == generation {
        return Ok(());
    }
    let Some(rules) = rules() else {
        return Err(Verdict::deny(Reason::Internal));
    };
    let verdict = crate::decide::verdict_of(rules);
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

/// A packet that the host sends in a flow with an entry: `None` where there is no live one. `rules` is what the egress rules say of it.
#[inline(always)]
pub(crate) fn sent<W: Lookup>(world: &W, key: &FlowKey, rules: Cell, flags: u8) -> Option<Verdict> {
    found(sent_word(world, key, rules, flags))
}

#[inline(never)]
fn sent_word<W: Lookup>(world: &W, key: &FlowKey, rules: Cell, flags: u8) -> u32 {
    let now = world.now();
    let Some((flow, table)) = find(world, key, now) else {
        return NO_ENTRY;
    };
    if let Err(ended) = still_allowed(world, &flow, || Some(rules)) {
        return ended.0;
    }
    flow.touch(now);
    world.set_began(began_table(key.protocol()), key.local_port, stamp(now));
    let verdict = inherited(&flow);
    if key.protocol() == IpProto::TCP {
        let state = flow.state();
        let next = after_sent(state, flags);
        if next != state {
            advance(world, key, &flow, table, next, now);
        }
    }
    verdict.0
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
pub(crate) fn reply<W: Lookup>(world: &W, key: &FlowKey, flags: u8) -> Option<Verdict> {
    let timeouts = &world.head().timeouts;
    let table = began_table(key.protocol());
    let longest = match table {
        Began::Tcp => timeouts.tcp_established,
        Began::Udp => timeouts.udp,
        Began::Echo => timeouts.echo,
    };
    // One load spares the hash look-ups for every port that never began anything.
    if !recent(world.began(table, key.local_port), world.now(), longest) {
        return None;
    }
    found(reply_word(world, key, flags))
}

#[inline(never)]
fn reply_word<W: Lookup>(world: &W, key: &FlowKey, flags: u8) -> u32 {
    let now = world.now();
    let Some((flow, _)) = find(world, key, now) else {
        return NO_ENTRY;
    };
    if let Err(ended) = still_allowed(world, &flow, || rules_for(world, key)) {
        return ended.0;
    }
    flow.touch(now);
    world.set_began(began_table(key.protocol()), key.local_port, stamp(now));
    if key.protocol() == IpProto::TCP {
        let state = flow.state();
        let next = after_received(state, flags);
        if next != state {
            flow.set_state(next);
        }
    }
    inherited(&flow).0
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
