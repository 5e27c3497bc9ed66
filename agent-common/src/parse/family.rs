//! The IP header of each family, with what stands between it and the transport: options, extension headers, a place among fragments.

use super::{Extension, Ipv4, Ipv6, MORE_OR_OFFSET};
use crate::event::Summary;
use crate::frame::Frame;
use crate::lookup::Lookup;
use crate::net::{Address, IpProto, V4, V6};
use crate::packet::{Fragment, Network};
use crate::verdict::Reason;

/// Octets of a frame within which its transport begins. What reads headers can't see further than twice as far.
const DEEPEST: u32 = 512;
/// The flag "more fragments" of IPv4 (RFC 791 §3.1).
const V4_MORE: u16 = 0x2000;
/// Type and length of the router alert option (RFC 2711 §2.1).
const ROUTER_ALERT: u16 = 0x0502;
/// Type and length of two octets of padding (RFC 8200 §4.2).
const PAD_TWO: u16 = 0x0100;

/// A family's headers.
pub trait Family: Address {
    /// The IP header at `at`. The summary gets what was read, also where the packet is refused.
    fn header<F: Frame + ?Sized, W: Lookup>(
        frame: &F,
        world: &W,
        at: u32,
        summary: &mut Summary,
    ) -> Result<Network<Self>, Reason>;

    /// The quoted IP header at `at`: addresses, protocol, where its transport begins. `None` where it is no packet of this family, or one
    /// that quotes no transport.
    fn quoted_header<F: Frame + ?Sized>(frame: &F, at: u32) -> Option<(Self, Self, IpProto, u32)>;
}

impl Family for V4 {
    #[inline(always)]
    fn header<F: Frame + ?Sized, W: Lookup>(
        frame: &F,
        _: &W,
        at: u32,
        summary: &mut Summary,
    ) -> Result<Network<Self>, Reason> {
        let ip = frame.load::<Ipv4>(at).ok_or(Reason::Unreadable)?;
        let header = u32::from(ip.version_length & 15) * 4;
        let total = u32::from(u16::from_be(ip.total_length));
        if ip.version_length >> 4 != 4 || header < 20 || total < header {
            return Err(Reason::Header);
        }
        let (source, destination) = (
            V4(u32::from_be(ip.source)),
            V4(u32::from_be(ip.destination)),
        );
        summary.set_addresses(source, destination);
        summary.protocol = ip.protocol;
        let place = u16::from_be(ip.fragment);
        Ok(Network {
            source,
            destination,
            protocol: IpProto(ip.protocol),
            hop_limit: ip.ttl,
            router_alert: false,
            to_group: destination.is_group(),
            fragment: Fragment {
                identification: u32::from(u16::from_be(ip.identification)),
                offset: u32::from(place & MORE_OR_OFFSET & !V4_MORE) * 8,
                more: place & V4_MORE != 0,
            },
            payload: at + header,
            payload_length: total - header,
        })
    }

    #[inline(always)]
    fn quoted_header<F: Frame + ?Sized>(frame: &F, at: u32) -> Option<(Self, Self, IpProto, u32)> {
        let ip = frame.load::<Ipv4>(at)?;
        let header = u32::from(ip.version_length & 15) * 4;
        // A later fragment has no ports to quote.
        if ip.version_length >> 4 != 4 || header < 20 || ip.fragment & 0x1fff_u16.to_be() != 0 {
            return None;
        }
        Some((
            V4(u32::from_be(ip.source)),
            V4(u32::from_be(ip.destination)),
            IpProto(ip.protocol),
            at + header,
        ))
    }
}

impl Family for V6 {
    #[inline(always)]
    fn header<F: Frame + ?Sized, W: Lookup>(
        frame: &F,
        world: &W,
        at: u32,
        summary: &mut Summary,
    ) -> Result<Network<Self>, Reason> {
        let ip = frame.load::<Ipv6>(at).ok_or(Reason::Unreadable)?;
        if u32::from_be(ip.version_class_flow) >> 28 != 6 {
            return Err(Reason::Header);
        }
        let (source, destination) = (ip.source, ip.destination);
        let source = V6(u64::from_be(source[0]), u64::from_be(source[1]));
        let destination = V6(u64::from_be(destination[0]), u64::from_be(destination[1]));
        summary.set_addresses(source, destination);
        let chain = chain(
            frame,
            world,
            Chain {
                next: IpProto(ip.next),
                at: at + 40,
                left: u32::from(u16::from_be(ip.payload_length)),
                router_alert: false,
                fragment: Fragment::WHOLE,
            },
            summary,
        )?;
        Ok(Network {
            source,
            destination,
            protocol: chain.next,
            hop_limit: ip.hop_limit,
            router_alert: chain.router_alert,
            to_group: destination.is_group(),
            fragment: chain.fragment,
            payload: chain.at,
            payload_length: chain.left,
        })
    }

    #[inline(always)]
    fn quoted_header<F: Frame + ?Sized>(frame: &F, at: u32) -> Option<(Self, Self, IpProto, u32)> {
        let ip = frame.load::<Ipv6>(at)?;
        let (source, destination) = (ip.source, ip.destination);
        if u32::from_be(ip.version_class_flow) >> 28 != 6 {
            return None;
        }
        let (mut next, mut at) = (IpProto(ip.next), at + 40);
        // What a host learns of the path's MTU may be about a packet that it had fragmented (RFC 8201 §4).
        if next == IpProto::FRAGMENT {
            let header = frame.load::<Extension>(at)?;
            if u16::from_be(header.first) & !7 != 0 {
                return None;
            }
            next = IpProto(header.next);
            at += 8;
        }
        Some((
            V6(u64::from_be(source[0]), u64::from_be(source[1])),
            V6(u64::from_be(destination[0]), u64::from_be(destination[1])),
            next,
            at,
        ))
    }
}

/// A place in a chain of extension headers.
#[derive(Clone, Copy)]
struct Chain {
    /// What begins here.
    next: IpProto,
    /// Where, in octets from the frame's beginning.
    at: u32,
    /// Octets from here to the end of the packet.
    left: u32,
    /// Hop-by-hop options with a router alert came before (RFC 2711).
    router_alert: bool,
    /// What a fragment header said.
    fragment: Fragment,
}

/// Goes to the end of the chain (RFC 8200 §4): to a transport, to "no next header", or to a later fragment, whose octets mean nothing here.
/// Denied: more than eight headers (RFC 8200 §4.1 knows of seven at most), a transport beyond [`DEEPEST`], hop-by-hop options that are not the first, a routing header of type 0 (RFC 5095), a second
/// fragment header.
///
/// Written out, not a loop: LLVM lays the loop so that its body falls through to its head, which the verifiers before 6.3 refuse.
#[inline(always)]
fn chain<F: Frame + ?Sized, W: Lookup>(
    frame: &F,
    world: &W,
    mut chain: Chain,
    summary: &mut Summary,
) -> Result<Chain, Reason> {
    summary.protocol = chain.next.0;
    let chain = &mut chain;
    let goes_on = step(frame, world, chain, true)?
        && step(frame, world, chain, false)?
        && step(frame, world, chain, false)?
        && step(frame, world, chain, false)?
        && step(frame, world, chain, false)?
        && step(frame, world, chain, false)?
        && step(frame, world, chain, false)?
        && step(frame, world, chain, false)?;
    if goes_on && chain.next.is_extension() && chain.fragment.offset == 0 {
        return Err(Reason::Extension);
    }
    summary.protocol = chain.next.0;
    Ok(*chain)
}

/// Goes over one header. False where the chain ends before it.
#[inline(always)]
fn step<F: Frame + ?Sized, W: Lookup>(
    frame: &F,
    world: &W,
    chain: &mut Chain,
    is_first: bool,
) -> Result<bool, Reason> {
    if !chain.next.is_extension() || chain.fragment.offset != 0 {
        return Ok(false);
    }
    if chain.left < 8 {
        return Err(Reason::Header);
    }
    let header = frame
        .load::<Extension>(chain.at)
        .ok_or(Reason::Unreadable)?;
    let (first, second) = (u16::from_be(header.first), u16::from_be(header.second));
    // In units of eight octets without the first eight; of four, without the first eight, for AH (RFC 4302 §2.2).
    let mut octets = u32::from(header.length) * 8 + 8;
    let mut fragment = chain.fragment;
    if chain.next == IpProto::HOP_BY_HOP {
        if !is_first {
            return Err(Reason::Extension);
        }
        chain.router_alert = first == ROUTER_ALERT || (first == PAD_TWO && second == ROUTER_ALERT);
    } else if chain.next == IpProto::ROUTING {
        if first >> 8 == 0 {
            return Err(Reason::Extension);
        }
    } else if chain.next == IpProto::AH {
        octets = u32::from(header.length) * 4 + 8;
    } else if chain.next == IpProto::FRAGMENT {
        if !fragment.is_whole() {
            return Err(Reason::Extension);
        }
        octets = 8;
        fragment = Fragment {
            identification: u32::from(second) << 16 | u32::from(u16::from_be(header.third)),
            offset: u32::from(first & !7),
            more: first & 1 != 0,
        };
    }
    if octets > chain.left {
        return Err(Reason::Header);
    }
    let at = chain.at + octets;
    if at > DEEPEST {
        return Err(Reason::Extension);
    }
    // The verifier would walk the next header once for each kind of this one.
    *chain = Chain {
        next: IpProto(world.unknown(u32::from(header.next)) as u8),
        at: world.unknown(at),
        left: world.unknown(chain.left - octets),
        router_alert: world.unknown(u32::from(chain.router_alert)) != 0,
        fragment: Fragment {
            identification: world.unknown(fragment.identification),
            offset: world.unknown(fragment.offset),
            more: world.unknown(u32::from(fragment.more)) != 0,
        },
    };
    Ok(true)
}
