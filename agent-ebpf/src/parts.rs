//! The decision over rare packets in pieces that the verifier proves one by one.
//!
//! Each is a global function: it gets numbers, so it is verified by itself, whatever leads there, and what it returns is any number. What is
//! no number it finds where its caller put it, in this CPU's values.

use agent_common::event::Direction;
use agent_common::icmp::Host;
use agent_common::judge;
use agent_common::net::{V4, V6};
use agent_common::packet::{Network, Quoted, Transport};
use agent_common::verdict::{Reason, Verdict};

use crate::cursor::kept;
use crate::maps;
use crate::world::World;

/// The decision over the packet that the caller keeps.
#[inline(always)]
pub(crate) fn judge<A: Host>(world: &World, direction: Direction, transport: Transport) -> Verdict {
    let (bank, now) = (world.bank, world.now);
    let (ports, flags) = (ports(transport), u32::from(transport.flags));
    Verdict(match (direction, A::FAMILY) {
        (Direction::Ingress, 4) => ingress_v4(bank, now, ports, flags),
        (Direction::Ingress, _) => ingress_v6(bank, now, ports, flags),
        (Direction::Egress, 4) => egress_v4(bank, now, ports, flags),
        (Direction::Egress, _) => egress_v6(bank, now, ports, flags),
    })
}

/// The decision over the ICMP message that the caller keeps, with the packet that it `quotes`.
#[inline(always)]
pub(crate) fn judge_icmp<A: Host>(
    world: &World,
    direction: Direction,
    transport: Transport,
    quotes: bool,
) -> Verdict {
    let (bank, now) = (world.bank, world.now);
    let (ports, quotes) = (ports(transport), u32::from(quotes));
    Verdict(match (direction, A::FAMILY) {
        (Direction::Ingress, 4) => ingress_icmp(bank, now, ports, quotes),
        (Direction::Ingress, _) => ingress_icmpv6(bank, now, ports, quotes),
        (Direction::Egress, 4) => egress_icmp(bank, now, ports, quotes),
        (Direction::Egress, _) => egress_icmpv6(bank, now, ports, quotes),
    })
}

#[inline(always)]
fn ports(transport: Transport) -> u32 {
    u32::from(transport.source_port) << 16 | u32::from(transport.destination_port)
}

#[inline(always)]
fn transport(ports: u32, flags: u32) -> Transport {
    Transport {
        source_port: (ports >> 16) as u16,
        destination_port: ports as u16,
        flags: flags as u8,
    }
}

/// The world of the caller, and the packet that it keeps.
#[inline(always)]
fn found<A: Host>(bank: u32, now: u32) -> Option<(World, &'static Network<A>)> {
    // SAFETY: the functions above call the one of this family, after their caller kept a header of it.
    let packet = unsafe { kept::<Network<A>, _>(&maps::KEPT) }?;
    Some((World::again(bank, now)?, packet))
}

macro_rules! parts {
    ($($name:ident, $message:ident: $direction:ident, $family:ty;)*) => { $(
        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $name(bank: u32, now: u32, ports: u32, flags: u32) -> u32 {
            let Some((world, packet)) = found::<$family>(bank, now) else {
                return Verdict::deny(Reason::Internal).0;
            };
            judge::headers(Direction::$direction, &world, packet, transport(ports, flags)).0
        }

        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $message(bank: u32, now: u32, ports: u32, quotes: u32) -> u32 {
            let Some((world, packet)) = found::<$family>(bank, now) else {
                return Verdict::deny(Reason::Internal).0;
            };
            let quoted = if quotes == 0 {
                None
            } else {
                // SAFETY: the caller says that it kept one, of the same family.
                unsafe { kept::<Quoted<$family>, _>(&maps::QUOTED) }
            };
            judge::message(Direction::$direction, &world, packet, transport(ports, 0), quoted).0
        }
    )* };
}

parts! {
    ingress_v4, ingress_icmp: Ingress, V4;
    ingress_v6, ingress_icmpv6: Ingress, V6;
    egress_v4, egress_icmp: Egress, V4;
    egress_v6, egress_icmpv6: Egress, V6;
}
