//! The BPF programs. Built for the BPF target by `cargo xtask build`.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]
#![expect(
    unreachable_pub,
    missing_docs,
    reason = "the entry macros ask for `pub` and add items of their own"
)]

mod cursor;
mod hooks;
mod maps;
mod parts;
mod report;
mod world;

use core::borrow::Borrow;

use agent_common::event::Summary;
use agent_common::icmp::Host;
use agent_common::net::{EtherType, IpProto, V4, V6};
use agent_common::parse::probe::is_probe;
use agent_common::parse::{Plain, PlainHeader};
use agent_common::verdict::{Action, Reason, Verdict};
use agent_common::{judge, parse};
use aya_ebpf::bindings::{TC_ACT_SHOT, TC_ACT_UNSPEC, xdp_action};
use aya_ebpf::helpers;
use aya_ebpf::macros::{classifier, xdp};
use aya_ebpf::programs::{TcContext, XdpContext};
use aya_log_ebpf::error;

use crate::hooks::{Driver, DriverFrags, TcEgress, TcIngress, is_looped_back};
use crate::report::Call;
use crate::world::World;

/// Ingress at the driver.
#[xdp]
#[inline(always)]
pub fn xdp_ingress(context: XdpContext) -> u32 {
    xdp_action(first(&Driver(context)))
}

/// The same for drivers that hand over jumbo frames in several buffers. A program of its own, because 5.10 refuses the flag.
#[xdp(frags)]
#[inline(always)]
pub fn xdp_ingress_frags(context: XdpContext) -> u32 {
    xdp_action(first(&DriverFrags(context)))
}

/// Ingress where XDP would cost more than it saves, or is taken.
#[classifier]
#[inline(always)]
pub fn tc_ingress(context: TcContext) -> i32 {
    if is_looped_back(&context) {
        return TC_ACT_UNSPEC;
    }
    tc_action(first(&TcIngress::<true>(context)))
}

/// Egress.
#[classifier]
#[inline(always)]
pub fn tc_egress(context: TcContext) -> i32 {
    tc_action(first(&TcEgress::<true>(context)))
}

/// What [`xdp_ingress`] leaves.
#[xdp]
#[inline(always)]
pub fn xdp_rare(context: XdpContext) -> u32 {
    xdp_action(any(&Driver(context)))
}

/// What [`xdp_ingress_frags`] leaves.
#[xdp(frags)]
#[inline(always)]
pub fn xdp_rare_frags(context: XdpContext) -> u32 {
    xdp_action(any(&DriverFrags(context)))
}

/// What [`tc_ingress`] leaves.
#[classifier]
#[inline(always)]
pub fn tc_ingress_rare(context: TcContext) -> i32 {
    tc_action(any(&TcIngress::<true>(context)))
}

/// What [`tc_egress`] leaves.
#[classifier]
#[inline(always)]
pub fn tc_egress_rare(context: TcContext) -> i32 {
    tc_action(any(&TcEgress::<true>(context)))
}

/// Ingress of a device without a link header: a tunnel.
#[classifier]
#[inline(always)]
pub fn tc_ingress_l3(context: TcContext) -> i32 {
    if is_looped_back(&context) {
        return TC_ACT_UNSPEC;
    }
    tc_action(any(&TcIngress::<false>(context)))
}

/// Egress of such a device.
#[classifier]
#[inline(always)]
pub fn tc_egress_l3(context: TcContext) -> i32 {
    tc_action(any(&TcEgress::<false>(context)))
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
fn xdp_action(passes: bool) -> u32 {
    if passes {
        xdp_action::XDP_PASS
    } else {
        xdp_action::XDP_DROP
    }
}

#[inline(always)]
fn tc_action(passes: bool) -> i32 {
    // TC_ACT_UNSPEC is the next program, or the stack: TCX_NEXT is the same number.
    if passes { TC_ACT_UNSPEC } else { TC_ACT_SHOT }
}

/// Judges, counts and reports the packets that are nearly all, in the program's own body: a call costs as much as the whole decision. The
/// others go to a program of their own, with a stack of its own. True where the packet passes.
#[inline(always)]
fn first<C: Call>(call: &C) -> bool {
    let Some(world) = World::in_force() else {
        // Without tables there is no policy to ask, and no counter to write; open would be worse.
        return false;
    };
    let frame = call.frame();
    let known = match parse::plain_type(&frame) {
        Some(EtherType::IPV4) => plain::<C, V4>(call, &world, &frame),
        Some(EtherType::IPV6) => plain::<C, V6>(call, &world, &frame),
        _ => None,
    };
    if let Some(passes) = known {
        return passes;
    }
    call.leave_to_rare();
    // Only where the array has lost its entry.
    settled::<_, _, true>(
        call,
        &world,
        Verdict::deny(Reason::Internal),
        Summary::default,
    )
}

/// A plain packet of one family; `None` where the frame is something else.
#[inline(always)]
fn plain<C: Call, A: Host + Plain>(call: &C, world: &World, frame: &C::Frame) -> Option<bool> {
    let header = judge::plain_header::<A, _, _>(frame, world)?;
    match header.protocol {
        IpProto::TCP => plain_as::<true, C, A>(call, world, frame, &header),
        IpProto::UDP => plain_as::<false, C, A>(call, world, frame, &header),
        _ => None,
    }
}

/// What follows its header, as a TCP segment or as a UDP datagram.
#[inline(always)]
fn plain_as<const TCP: bool, C: Call, A: Host + Plain>(
    call: &C,
    world: &World,
    frame: &C::Frame,
    header: &PlainHeader<A>,
) -> Option<bool> {
    let (verdict, segment) = judge::plain::<TCP, A, _, _>(C::DIRECTION, frame, world, header)?;
    if verdict.action() == Action::Allow {
        report::passed(world, C::DIRECTION, verdict);
        return Some(true);
    }
    Some(settled::<_, _, false>(call, world, verdict, || {
        judge::summary(&segment, frame)
    }))
}

/// Every frame.
#[inline(always)]
fn any<C: Call>(call: &C) -> bool {
    let frame = call.rare_frame();
    let Some(world) = World::in_force() else {
        return false;
    };
    let Some(summary) = cursor::summary() else {
        return false;
    };
    let verdict = judge::frame(C::DIRECTION, &frame, &world, summary);
    if verdict.reason_id() == Reason::NonIp as u8 && is_probe(&frame) {
        // Not a packet: nobody sent it, and the balance is of those that somebody sent.
        return report::settle(&world, verdict).passes();
    }
    report::through(C::DIRECTION, report::settle(&world, verdict));
    settled::<_, _, true>(call, &world, verdict, || &*summary)
}

/// Counts and reports what was decided, as a pause and generation 0 turn it. True where the packet passes.
#[inline(always)]
fn settled<C: Call, S: Borrow<Summary>, const RARE: bool>(
    call: &C,
    world: &World,
    verdict: Verdict,
    summary: impl FnOnce() -> S,
) -> bool {
    let verdict = report::settle(world, verdict);
    if verdict.action() == Action::Allow {
        report::passed(world, C::DIRECTION, verdict);
        return true;
    }
    if call.is_decrypted() {
        report::passed(world, C::DIRECTION, Verdict::pass(Reason::Decrypted));
        return true;
    }
    let summary = summary();
    if RARE {
        // A copy: what a function gets a reference to lies in memory from the beginning, also for the packets that never come here.
        let world = *world;
        report::refused_apart(call, &world, summary.borrow(), verdict);
    } else {
        report::refused(call, world, summary.borrow(), verdict);
    }
    if verdict.reason_id() == Reason::Internal as u8 {
        unreadable(call, world.bank);
    }
    verdict.passes()
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
