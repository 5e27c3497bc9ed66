//! From a frame to a verdict: the long way, which judges every frame. The programs take [`crate::parse::plain`] first.

use crate::decide;
use crate::event::{Direction, Summary};
use crate::frame::Frame;
use crate::group;
use crate::icmp::{self, Host};
use crate::lookup::Lookup;
use crate::net::{Address, EtherType, IpProto, V4, V6};
use crate::packet::{Network, Segment};
use crate::parse::{self, Plain};
use crate::tables::{Head, Plane, facts, other};
use crate::verdict::{Reason, Verdict};

/// The decision over a frame. `summary` is filled as far as the headers were read.
#[inline(always)]
pub fn frame<F: Frame + ?Sized, W: Lookup>(
    direction: Direction,
    frame: &F,
    world: &W,
    summary: &mut Summary,
) -> Verdict {
    summary.length = frame.length();
    let ether_type = match parse::ether_type(frame) {
        Ok(ether_type) => ether_type,
        Err(reason) => return Verdict::deny(reason),
    };
    summary.ether_type = ether_type.0;
    if frame.has_stripped_tag() || ether_type.is_tag() {
        return Verdict::deny(Reason::Vlan);
    }
    match ether_type {
        EtherType::IPV4 => network::<F, W, V4>(direction, frame, world, summary),
        EtherType::IPV6 => network::<F, W, V6>(direction, frame, world, summary),
        link if link.is_link() => Verdict::pass(Reason::Link),
        _ => Verdict::deny(Reason::NonIp),
    }
}

/// The decision over a plain segment of one family, after [`parse::plain_type`] named it: what the programs ask first, for nearly all
/// packets. `None` where the frame is something else, and on a host that forwards, which has to ask more: then [`frame`] decides.
#[inline(always)]
pub fn plain<A: Host + Plain, F: Frame + ?Sized, W: Lookup>(
    direction: Direction,
    frame: &F,
    world: &W,
) -> Option<(Verdict, Segment<A>)> {
    if world.head().flags & Head::FORWARDS != 0 {
        return None;
    }
    let segment = parse::plain::<A, F>(frame)?;
    Some((transport(direction, world, &segment), segment))
}

/// The decision over an IP packet. Out of line in the programs, once for each family, with a stack frame of its own for the headers.
#[inline(never)]
fn network<F: Frame + ?Sized, W: Lookup, A: Host>(
    direction: Direction,
    frame: &F,
    world: &W,
    summary: &mut Summary,
) -> Verdict {
    let packet = &match A::header(frame, summary) {
        Ok(packet) => packet,
        Err(reason) => return Verdict::deny(reason),
    };
    if world.head().flags & Head::FORWARDS != 0 {
        match is_forwarded(direction, world, packet) {
            Some(false) => {}
            Some(true) => return Verdict::pass(Reason::Forwarded),
            None => return decide::INTERNAL,
        }
    }
    let read = match packet.protocol {
        IpProto::TCP => parse::tcp(frame, packet),
        IpProto::UDP => parse::udp(frame, packet),
        protocol if protocol == A::ICMP => {
            let head = match parse::icmp(frame, packet) {
                Ok(head) => head,
                Err(reason) => return Verdict::deny(reason),
            };
            summary.source_port = u16::from(head.kind) << 8 | u16::from(head.code);
            summary.destination_port = head.identifier;
            let quoted = || parse::quoted(frame, packet);
            return match direction {
                Direction::Ingress => icmp::ingress(world, packet, head, quoted),
                Direction::Egress => icmp::egress(world, packet, head, quoted),
            };
        }
        protocol => return protocol_alone(direction, world, packet, protocol),
    };
    match read {
        Ok(segment) => {
            describe(&segment, summary);
            if packet.to_group {
                group::transport(direction, world, &segment)
            } else {
                transport(direction, world, &segment)
            }
        }
        Err(reason) => Verdict::deny(reason),
    }
}

/// Notes ports and flags in the summary.
#[inline(always)]
fn describe<A: Address>(segment: &Segment<A>, summary: &mut Summary) {
    summary.source_port = segment.source_port;
    summary.destination_port = segment.destination_port;
    summary.tcp_flags = segment.flags;
}

/// The summary of a plain segment, made only where there is something to report.
#[inline(always)]
pub fn summary<A: Address, F: Frame + ?Sized>(segment: &Segment<A>, frame: &F) -> Summary {
    let mut summary = Summary {
        length: frame.length(),
        ether_type: A::ETHER_TYPE.0,
        protocol: segment.protocol.0,
        ..Summary::default()
    };
    summary.set_addresses(segment.source, segment.destination);
    describe(segment, &mut summary);
    summary
}

#[inline(always)]
fn transport<A: Host, W: Lookup>(direction: Direction, world: &W, segment: &Segment<A>) -> Verdict {
    match direction {
        Direction::Ingress => decide::ingress(world, segment),
        Direction::Egress => decide::egress(world, segment),
    }
}

/// A protocol without ports: IGMP, ESP, VRRP and the like, by its number.
#[inline(always)]
fn protocol_alone<A: Host, W: Lookup>(
    direction: Direction,
    world: &W,
    packet: &Network<A>,
    protocol: IpProto,
) -> Verdict {
    let (plane, peer) = match direction {
        Direction::Ingress => (Plane::IngressOther, packet.source),
        Direction::Egress => (Plane::EgressOther, packet.destination),
    };
    match decide::cell_for(world, plane, other::protocol(protocol.0), peer) {
        Some(cell) => decide::verdict_of(cell),
        None => decide::INTERNAL,
    }
}

/// Whether a packet is on its way through this host: not for an own address, a broadcast or a group; or not from an own address.
#[inline(always)]
fn is_forwarded<A: Host, W: Lookup>(
    direction: Direction,
    world: &W,
    packet: &Network<A>,
) -> Option<bool> {
    let own = match direction {
        Direction::Ingress if packet.to_group => return Some(false),
        Direction::Ingress => packet.destination,
        Direction::Egress if packet.source.is_unspecified() => return Some(false),
        Direction::Egress => packet.source,
    };
    let known = world.facts(own.class(world)?)?;
    Some(known & (facts::OWN | facts::BROADCAST) == 0)
}
