//! From a frame to a verdict: the long way, which judges every frame. The programs take [`crate::parse::plain`] first.

use crate::decide;
use crate::event::{Direction, Summary};
use crate::fragment;
use crate::frame::Frame;
use crate::group;
use crate::icmp::{self, Host};
use crate::lookup::Lookup;
use crate::net::{Address, EtherType, IpProto, V4, V6};
use crate::packet::{Network, Quoted, Segment, Transport};
use crate::parse::{self, IcmpHead, Link, Plain, PlainHeader};
use crate::tables::{Head, Plane, other};
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
    let mut link = match parse::link(frame, summary) {
        Ok(link) => link,
        Err(reason) => return Verdict::deny(reason),
    };
    link.network = world.unknown(link.network);
    match link.ether_type() {
        EtherType::IPV4 => packet::<F, W, V4>(direction, frame, world, &link, summary),
        EtherType::IPV6 => packet::<F, W, V6>(direction, frame, world, &link, summary),
        other if other.is_link() => Verdict::pass(Reason::Link),
        _ => Verdict::deny(Reason::NonIp),
    }
}

/// The header of a plain packet of one family, after [`crate::parse::plain_type`] named it: what the programs ask first, for nearly all
/// packets. `None` where the frame is something else, and on a host that forwards, which has to ask more: then [`frame`] decides.
#[inline(always)]
pub fn plain_header<A: Plain, F: Frame + ?Sized, W: Lookup>(
    frame: &F,
    world: &W,
) -> Option<PlainHeader<A>> {
    if world.head().flags & Head::FORWARDS != 0 {
        return None;
    }
    parse::plain_header(frame)
}

/// The decision over what follows such a header, a TCP segment or a UDP datagram.
#[inline(always)]
pub fn plain<const TCP: bool, A: Host + Plain, F: Frame + ?Sized, W: Lookup>(
    direction: Direction,
    frame: &F,
    world: &W,
    header: &PlainHeader<A>,
) -> Option<(Verdict, Segment<A>)> {
    let segment = parse::plain::<TCP, A, F>(frame, header)?;
    Some((transport(direction, world, &segment), segment))
}

/// Reads and judges an IP packet: one after the other, so that neither's stack is under the other's.
#[inline(always)]
fn packet<F: Frame + ?Sized, W: Lookup, A: Host>(
    direction: Direction,
    frame: &F,
    world: &W,
    link: &Link,
    summary: &mut Summary,
) -> Verdict {
    let mut refused = decide::INTERNAL;
    match read::<F, W, A>(frame, world, link, summary, &mut refused) {
        Some(packet) => {
            let verdict = network(direction, frame, world, &*packet, summary);
            verdict.through(summary.through != 0)
        }
        None => refused,
    }
}

/// The decision over an IP packet. Out of line in the programs, once for each family, with a stack frame of its own for the headers.
#[inline(never)]
fn network<F: Frame + ?Sized, W: Lookup, A: Host>(
    direction: Direction,
    frame: &F,
    world: &W,
    packet: &Network<A>,
    summary: &mut Summary,
) -> Verdict {
    let flags = world.head().flags;
    if flags & Head::FORWARDS != 0 {
        match is_forwarded(direction, world, packet) {
            Some(false) => {}
            Some(true) => {
                summary.through = 1;
                if flags & Head::FORWARD_PASS != 0 {
                    return Verdict::pass(Reason::Forwarded);
                }
            }
            None => return decide::INTERNAL,
        }
    }
    if packet.fragment.is_whole() {
        return whole(direction, frame, world, packet, summary);
    }
    let generation = world.head().generation;
    let place = fragment::place(direction, frame.interface(), generation, packet);
    if packet.fragment.offset != 0 {
        // The rest of a TCP header, with the flags of a segment that was judged without them (RFC 3128).
        if packet.protocol == IpProto::TCP && packet.fragment.offset == 8 {
            return Verdict::deny(Reason::Fragment);
        }
        return fragment::later(world, place);
    }
    let verdict = whole(direction, frame, world, packet, summary);
    if verdict.passes() {
        fragment::passed(world, place, verdict);
    } else if verdict.reason_id() == Reason::Header as u8 {
        // Too short for its transport's header, which the next fragment would bring (RFC 1858 §3, RFC 7112).
        return Verdict::deny(Reason::Fragment);
    }
    verdict
}

/// Reads the IP header. Out of line in the programs, once for each family. `refused` says why there is none.
#[inline(never)]
fn read<F: Frame + ?Sized, W: Lookup, A: Host>(
    frame: &F,
    world: &W,
    link: &Link,
    summary: &mut Summary,
    refused: &mut Verdict,
) -> Option<W::Kept<Network<A>>> {
    match A::header(frame, world, link.network, summary) {
        Ok(mut packet) => {
            packet.to_group |= link.is_to_group();
            world.keep(packet)
        }
        Err(reason) => {
            *refused = Verdict::deny(reason);
            None
        }
    }
}

/// The decision over a packet whose transport is in this frame: a whole one, or a first fragment.
#[inline(always)]
fn whole<F: Frame + ?Sized, W: Lookup, A: Host>(
    direction: Direction,
    frame: &F,
    world: &W,
    packet: &Network<A>,
    summary: &mut Summary,
) -> Verdict {
    if let Some(reason) = read_transport(frame, packet, summary) {
        return Verdict::deny(reason);
    }
    let transport = Transport {
        source_port: summary.source_port,
        destination_port: summary.destination_port,
        flags: summary.tcp_flags,
    };
    if summary.through != 0 && world.head().flags & Head::FORWARD_SAME == 0 {
        return not_taken_on(direction, world, packet, transport);
    }
    if packet.protocol != A::ICMP {
        return world.judge(direction, packet, transport);
    }
    let quoted = if icmp::is_error::<A>(IcmpHead::from(transport).kind) {
        read_quoted(frame, world, packet)
    } else {
        None
    };
    world.judge_icmp(direction, packet, transport, quoted.as_deref())
}

/// Notes in the summary what the header after IP says, or says why it can't be read. Out of line, so that its stack is not under the
/// decision's.
#[inline(never)]
fn read_transport<F: Frame + ?Sized, A: Host>(
    frame: &F,
    packet: &Network<A>,
    summary: &mut Summary,
) -> Option<Reason> {
    let read = match packet.protocol {
        IpProto::TCP => parse::tcp(frame, packet),
        IpProto::UDP => parse::udp(frame, packet),
        protocol if protocol == A::ICMP => parse::icmp(frame, packet).map(Transport::from),
        _ => Ok(Transport::default()),
    };
    match read {
        Ok(transport) => {
            describe(transport, summary);
            None
        }
        Err(reason) => Some(reason),
    }
}

/// What an ICMP error quotes, as far as it can be read. Out of line for the same reason.
#[inline(never)]
fn read_quoted<F: Frame + ?Sized, W: Lookup, A: Host>(
    frame: &F,
    world: &W,
    packet: &Network<A>,
) -> Option<W::Kept<Quoted<A>>> {
    parse::quoted(frame, packet).and_then(|quoted| world.keep_quoted(quoted))
}

/// What is on its way through and goes no further. What a DHCP server sends to an address that this host is only about to have (RFC 2131
/// §4.1) is not on its way. Out of line, as it is rare.
#[inline(never)]
fn not_taken_on<A: Host, W: Lookup>(
    direction: Direction,
    world: &W,
    packet: &Network<A>,
    transport: Transport,
) -> Verdict {
    let may_lease = A::FAMILY == 4 && direction == Direction::Ingress;
    if may_lease && packet.protocol == IpProto::UDP {
        let segment = packet.segment(transport);
        if let Some(verdict) = decide::dhcp(world, &segment, Plane::IngressOther, segment.source) {
            return verdict;
        }
    }
    Verdict::deny(Reason::NotForwarded)
}

/// The decision over a packet whose headers have been read, but for ICMP: [`Lookup::judge`] in one piece.
#[inline(always)]
pub fn headers<A: Host, W: Lookup>(
    direction: Direction,
    world: &W,
    packet: &Network<A>,
    transport: Transport,
) -> Verdict {
    match packet.protocol {
        IpProto::TCP | IpProto::UDP => {
            let segment = packet.segment(transport);
            if packet.to_group {
                group::transport(direction, world, &segment)
            } else {
                self::transport(direction, world, &segment)
            }
        }
        protocol => protocol_alone(direction, world, packet, protocol),
    }
}

/// The same of an ICMP message: [`Lookup::judge_icmp`] in one piece. `quoted` is what an error quotes, as far as it can be read.
#[inline(always)]
pub fn message<A: Host, W: Lookup>(
    direction: Direction,
    world: &W,
    packet: &Network<A>,
    transport: Transport,
    quoted: Option<&Quoted<A>>,
) -> Verdict {
    match direction {
        Direction::Ingress => icmp::ingress(world, packet, transport.into(), quoted),
        Direction::Egress => icmp::egress(world, packet, transport.into(), quoted),
    }
}

/// Notes ports and flags in the summary.
#[inline(always)]
fn describe(transport: Transport, summary: &mut Summary) {
    summary.source_port = transport.source_port;
    summary.destination_port = transport.destination_port;
    summary.tcp_flags = transport.flags;
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
    describe(
        Transport {
            source_port: segment.source_port,
            destination_port: segment.destination_port,
            flags: segment.flags,
        },
        &mut summary,
    );
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

/// Whether a packet is on its way through this host: not for an own address, a broadcast or a group; or not from an own address. Out of
/// line: its stack is not to be under the decision's.
#[inline(never)]
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
    decide::is_own(world, own).map(|own| !own)
}
