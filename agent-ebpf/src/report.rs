//! The last step of every packet: counters, budgets, ring buffer. Each denied packet is counted once in the balance, here and nowhere else.

use agent_common::budget::{Bucket, Spent, bucket_of_all, bucket_of_peer, spent_slot};
use agent_common::event::{DenyEvent, Direction, Hook, Summary};
use agent_common::frame::Frame;
use agent_common::lookup::Lookup;
use agent_common::tables::{Balance, Head, RuleCounter, facts, reason_slot};
use agent_common::trie::class_of;
use agent_common::verdict::{Action, Reason, Through, Verdict};
use aya_ebpf::EbpfContext;
use aya_ebpf::bindings::BPF_RB_NO_WAKEUP;

use crate::cursor::element;
use crate::maps;
use crate::world::World;

/// A hook's call: what the kernel says of the packet besides its octets.
pub(crate) trait Call: EbpfContext {
    /// Which way packets go at this hook.
    const DIRECTION: Direction;
    /// The hook.
    const HOOK: Hook;
    /// The frame, as far as it can be read.
    type Frame: Frame;
    /// The same on the way of rare packets.
    type RareFrame: Frame;
    /// The frame.
    fn frame(&self) -> Self::Frame;
    /// The same on the way of rare packets.
    fn rare_frame(&self) -> Self::RareFrame;
    /// Octets of the whole frame, of which so many were `seen`.
    #[inline(always)]
    fn length(&self, seen: u32) -> u32 {
        seen
    }
    /// The interface's index.
    fn interface(&self) -> u32;
    /// Hands the packet to the program for all that is not plain, which ends this one. Returns where there is none.
    fn leave_to_rare(&self);
    /// Whether this host has decrypted the packet on the interface where it is judged.
    fn is_decrypted(&self) -> bool;
    /// Uid and cgroup of the sending socket, where the hook knows them.
    fn sender(&self) -> (u32, u64);
}

/// What a pause and generation 0 make of a verdict.
#[inline(always)]
pub(crate) fn settle(world: &World, verdict: Verdict) -> Verdict {
    if verdict.passes() {
        return verdict;
    }
    if world.head.flags & Head::OPEN != 0 {
        return Verdict::pass(Reason::Unenforced);
    }
    // A block is never audited, opened or paused.
    if world.paused && verdict.reason_id() != Reason::Block as u8 {
        let audited = Verdict::new(Action::Audit, verdict.reason(), verdict.rule());
        return audited.through(verdict.is_through());
    }
    verdict
}

/// Counts a packet on its way through this host apart, besides all that is counted of any packet.
#[inline(always)]
pub(crate) fn through(direction: Direction, verdict: Verdict) {
    if verdict.is_through() {
        count(reason_slot(direction, Through::of(verdict) as u8));
    }
}

/// Counts a packet that passes and is not reported.
#[inline(always)]
pub(crate) fn passed(world: &World, direction: Direction, verdict: Verdict) {
    if verdict.reason_id() == Reason::Rule as u8 {
        if let Some(counter) = rule_counter(world, verdict.rule()) {
            counter.passed += 1;
            counter.last = u64::from(world.now);
        }
    } else {
        count_reason(direction, verdict);
    }
}

/// Counts and reports a packet that was denied or audited.
#[inline(always)]
pub(crate) fn refused<C: Call>(call: &C, world: &World, summary: &Summary, verdict: Verdict) {
    count_reason(C::DIRECTION, verdict);
    let audited = verdict.action() == Action::Audit;
    if let Some(counter) = rule_counter(world, verdict.rule()) {
        if audited {
            counter.audited += 1;
        } else {
            counter.near += 1;
        }
        counter.last = u64::from(world.now);
    }
    let Some(balance) = maps::BALANCE.get_ptr_mut(0) else {
        return;
    };
    // SAFETY: this CPU's own value; programs of one CPU don't interrupt each other in this place (softirq), and a reader elsewhere only reads
    // whole words.
    let balance: &mut Balance = unsafe { &mut *balance };
    if verdict.is_quiet() || !granted(world, C::DIRECTION, summary) {
        if audited {
            balance.audit_suppressed += 1;
        } else {
            balance.suppressed += 1;
        }
        return;
    }
    // In line where the next packet of a flood is due: the two calls of the kernel are dear enough. Elsewhere it would cost the packets that
    // pass, whose registers it takes.
    let sent = match C::HOOK {
        Hook::Xdp => emit(call, world, summary, verdict),
        Hook::Tc => emit_apart(call, world, summary, verdict),
    };
    match (audited, sent) {
        (false, true) => balance.reported += 1,
        (false, false) => balance.lost += 1,
        (true, true) => balance.audit_reported += 1,
        (true, false) => balance.audit_lost += 1,
    }
}

/// The same out of line, for the programs of rare packets: what is called for such a packet lies above their own stack, of which 512 octets
/// are all there is.
#[inline(never)]
pub(crate) fn refused_apart<C: Call>(call: &C, world: &World, summary: &Summary, verdict: Verdict) {
    refused(call, world, summary, verdict);
}

/// Whether both buckets, the peer's and that of all its kind, have an event left; then it is taken from both. In a flood from everywhere the
/// bucket of all is empty, and no peer's, which is in nobody's cache, is looked for.
#[inline(always)]
fn granted(world: &World, direction: Direction, summary: &Summary) -> bool {
    let peer = match direction {
        Direction::Ingress => summary.source,
        Direction::Egress => summary.destination,
    };
    let generation = world.head.generation;
    match spent(peer) {
        Some(spent) if !spent.is(peer, world.now, generation) => {}
        _ => return false,
    }
    let known = is_acquaintance(world, summary.family, peer);
    let [strangers, acquaintances] = &world.head.budget_all;
    let in_all = if known { acquaintances } else { strangers };
    let Some(all) = bucket(bucket_of_all(known)) else {
        return false;
    };
    if !all.refill(in_all, world.now) {
        return false;
    }
    let [strangers, acquaintances] = &world.head.budget_peer;
    let per_peer = if known { acquaintances } else { strangers };
    let Some(of_peer) = bucket(bucket_of_peer(known, peer)) else {
        return false;
    };
    if !of_peer.take(per_peer, world.now) {
        // Looked up anew: once a tick, and it need not be kept until here.
        if let Some(spent) = spent(peer) {
            *spent = Spent {
                peer,
                tick: world.now,
                generation,
                reserved: 0,
            };
        }
        return false;
    }
    all.spend();
    true
}

#[inline(always)]
fn is_acquaintance(world: &World, family: u16, peer: [u64; 2]) -> bool {
    let class = if family == 0 {
        None
    } else {
        class_of(peer, world)
    };
    class
        .and_then(|class| world.facts(class))
        .is_some_and(|known| known & facts::ACQUAINTANCE != 0)
}

#[inline(always)]
fn spent(peer: [u64; 2]) -> Option<&'static mut Spent> {
    let slots = maps::SPENT.get_ptr_mut(0)?;
    // SAFETY: this CPU's own value, as for the balance.
    Some(unsafe { &mut *element(slots, spent_slot(peer)) })
}

#[inline(always)]
fn bucket(index: u32) -> Option<&'static mut Bucket> {
    let bucket = maps::BUCKETS.get_ptr_mut(index)?;
    // SAFETY: this CPU's own value, as for the balance; the bucket of all is never one of a peer.
    Some(unsafe { &mut *bucket })
}

#[inline(never)]
fn emit_apart<C: Call>(call: &C, world: &World, summary: &Summary, verdict: Verdict) -> bool {
    emit(call, world, summary, verdict)
}

/// Writes the event.
#[inline(always)]
fn emit<C: Call>(call: &C, world: &World, summary: &Summary, verdict: Verdict) -> bool {
    let (uid, cgroup) = call.sender();
    let Some(mut entry) = maps::EVENTS.reserve::<DenyEvent>(0) else {
        return false;
    };
    let event = entry.write(DenyEvent {
        packet: *summary,
        verdict: verdict.0,
        generation: world.head.generation,
        interface: call.interface(),
        tick: world.now,
        uid,
        bank: world.bank as u8,
        direction: C::DIRECTION as u8,
        hook: C::HOOK as u8,
        reserved: 0,
        cgroup: u64::MAX,
    });
    // SAFETY: a field of the entry. Volatile: zeros on both sides of an odd place would be written octet by octet.
    unsafe { (&raw mut event.cgroup).write_volatile(cgroup) };
    event.packet.length = call.length(summary.length);
    // No wake-up: it costs six times the event, and the reader polls.
    entry.submit(u64::from(BPF_RB_NO_WAKEUP));
    true
}

#[inline(always)]
fn rule_counter(world: &World, rule: u16) -> Option<&'static mut RuleCounter> {
    // What no rule came near has the greatest number, and counts at the last one.
    let rule = u32::from(rule).min(world.head.no_rule);
    let counter = maps::RULES.get_ptr_mut(world.head.rules + rule)?;
    // SAFETY: this CPU's own value, as for the balance.
    Some(unsafe { &mut *counter })
}

#[inline(always)]
fn count_reason(direction: Direction, verdict: Verdict) {
    count(reason_slot(direction, verdict.reason_id()));
}

#[inline(always)]
fn count(slot: u32) {
    if let Some(counter) = maps::REASONS.get_ptr_mut(slot) {
        // SAFETY: this CPU's own value, as for the balance.
        unsafe { *counter += 1 };
    }
}
