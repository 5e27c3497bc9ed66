//! The BPF programs. Built for the BPF target by `cargo xtask build`.
#![no_std]
#![no_main]
#![expect(
    unreachable_pub,
    missing_docs,
    reason = "the entry macros ask for `pub` and add items of their own"
)]

mod cursor;
mod maps;
mod report;
mod world;

use agent_common::event::{Direction, Summary};
use agent_common::tables::Head;
use agent_common::verdict::{Action, Reason, Verdict};
use agent_common::{decide, judge, parse};
use aya_ebpf::bindings::{TC_ACT_SHOT, TC_ACT_UNSPEC, xdp_action};
use aya_ebpf::helpers;
use aya_ebpf::macros::{classifier, xdp};
use aya_ebpf::programs::{TcContext, XdpContext};
use aya_log_ebpf::error;

use crate::cursor::{TcEgress, TcIngress};
use crate::report::Call;
use crate::world::World;

/// Ingress at the driver.
#[xdp]
pub fn xdp_ingress(context: XdpContext) -> u32 {
    at_xdp(&context)
}

/// The same for drivers that hand over jumbo frames in several buffers. A program of its own, because 5.10 refuses the flag.
#[xdp(frags)]
pub fn xdp_ingress_frags(context: XdpContext) -> u32 {
    at_xdp(&context)
}

/// Ingress where XDP would cost more than it saves, or is taken.
#[classifier]
pub fn tc_ingress(context: TcContext) -> i32 {
    at_tc(&TcIngress(context))
}

/// Egress.
#[classifier]
pub fn tc_egress(context: TcContext) -> i32 {
    at_tc(&TcEgress(context))
}

/// Nanoseconds and jiffies at one moment, for measuring HZ by a test run. Never attached.
#[classifier]
pub fn clock(_context: TcContext) -> i32 {
    // SAFETY: helpers without arguments.
    let now = unsafe {
        [
            helpers::bpf_ktime_get_ns(),
            helpers::generated::bpf_jiffies64(),
        ]
    };
    match maps::CLOCK.set(0, now, 0) {
        Ok(()) => 0,
        Err(_) => TC_ACT_SHOT,
    }
}

#[inline(always)]
fn at_xdp(context: &XdpContext) -> u32 {
    if passes(context) {
        xdp_action::XDP_PASS
    } else {
        xdp_action::XDP_DROP
    }
}

#[inline(always)]
fn at_tc<C: Call>(call: &C) -> i32 {
    // TC_ACT_UNSPEC is the next program, or the stack: TCX_NEXT is the same number.
    if passes(call) {
        TC_ACT_UNSPEC
    } else {
        TC_ACT_SHOT
    }
}

/// Judges, counts, reports: first the way of most packets, then that of all others. Each is a function of its own, because a BPF call chain
/// has 512 octets of stack in all, and this way the two share them.
#[inline(always)]
fn passes<C: Call>(call: &C) -> bool {
    match plain(call) {
        NOT_PLAIN => any(call) == PASS,
        answer => answer == PASS,
    }
}

/// What [`plain`] and [`any`] return.
const DROP: u32 = 0;
const PASS: u32 = 1;
const NOT_PLAIN: u32 = 2;

/// Untagged IPv4 without options to one host, no fragment, TCP or UDP, on a host that does not forward.
#[inline(never)]
fn plain<C: Call>(call: &C) -> u32 {
    let frame = call.frame();
    let Some(segment) = parse::plain_v4(&frame) else {
        return NOT_PLAIN;
    };
    let Some(world) = World::in_force() else {
        return DROP;
    };
    if world.head.flags & Head::FORWARDS != 0 {
        return NOT_PLAIN;
    }
    let verdict = match C::DIRECTION {
        Direction::Ingress => decide::ingress(&world, &segment),
        Direction::Egress => decide::egress(&world, &segment),
    };
    if verdict.action() == Action::Allow {
        report::passed(&world, C::DIRECTION, verdict);
        return PASS;
    }
    let mut summary = Summary::default();
    judge::summarize_v4(&segment, &frame, &mut summary);
    settled(call, &world, &summary, verdict)
}

/// Every frame.
#[inline(never)]
fn any<C: Call>(call: &C) -> u32 {
    let frame = call.frame();
    let Some(world) = World::in_force() else {
        // Without tables there is no policy to ask, and no counter to write; open would be worse.
        return DROP;
    };
    let mut summary = Summary::default();
    let verdict = judge::frame(C::DIRECTION, &frame, &world, &mut summary);
    settled(call, &world, &summary, verdict)
}

/// Counts and reports what was decided, as a pause and generation 0 turn it.
#[inline(always)]
fn settled<C: Call>(call: &C, world: &World, summary: &Summary, verdict: Verdict) -> u32 {
    let verdict = report::settle(world, verdict);
    if verdict.action() == Action::Allow {
        report::passed(world, C::DIRECTION, verdict);
        return PASS;
    }
    report::refused(call, world, summary, verdict);
    if verdict.reason_id() == Reason::Internal as u8 {
        unreadable(call, world.bank);
    }
    if verdict.passes() { PASS } else { DROP }
}

/// Says in the daemon's log what should never happen.
#[inline(never)]
fn unreadable<C: Call>(call: &C, bank: u32) {
    error!(
        call,
        "a table of bank {} could not be read; the packet is denied", bank
    );
}

#[cfg(not(test))]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // Never reached: the verifier refuses a program that could.
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
