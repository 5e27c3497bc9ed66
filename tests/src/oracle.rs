//! Frames read by etherparse, a parser of another author: the oracle of ours.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use agent_common::event::Direction;
use agent_common::verdict::Reason;
use etherparse::{
    EtherType, Ethernet2HeaderSlice, IpAuthHeaderSlice, IpNumber, Ipv4HeaderSlice,
    Ipv6FragmentHeaderSlice, Ipv6HeaderSlice, Ipv6RawExtHeaderSlice, SingleVlanHeaderSlice,
    TcpHeaderSlice, UdpHeaderSlice,
};
use portcullis::reference::{Content, Packet, Quoted};

/// What another parser makes of a frame.
#[derive(Clone, Debug)]
pub enum Read {
    /// A packet.
    Packet(Packet),
    /// A packet whose IP header could be read (it is here with protocol 0), and what it carries not; for one of these reasons.
    Broken(Packet, Vec<Reason>),
    /// A protocol below IP that passes.
    Link,
    /// Not to be let through; for one of these reasons, where a frame has several faults.
    Refused(Vec<Reason>),
    /// The first fragment of a larger packet, read as the whole.
    First(Box<Read>, Larger),
    /// A later one: what it carries can't be read (it is here with protocol 0).
    Later(Packet, Larger),
}

/// The packet that a fragment is of: addresses, identification and, in IPv4, protocol.
pub type Larger = (Direction, IpAddr, IpAddr, u32, u8);

/// A place in a larger packet.
#[derive(Clone, Copy)]
struct Piece {
    identification: u32,
    /// In octets.
    offset: usize,
    more: bool,
}

/// ARP, LLDP, 802.1X, slow protocols, PTP.
const LINK: [u16; 5] = [0x0806, 0x88cc, 0x888e, 0x8809, 0x88f7];

type Refused = Vec<Reason>;

/// Reads a frame that came from an Ethernet device.
#[must_use]
pub fn read(direction: Direction, frame: &[u8]) -> Read {
    let (packet, faults, piece) = match packet(direction, frame) {
        Ok(Some(whole)) => whole,
        Ok(None) => return Read::Link,
        Err(reasons) => return Read::Refused(reasons),
    };
    let read = |packet: Packet, faults: Option<Refused>| match faults {
        None => Read::Packet(packet),
        Some(reasons) => Read::Broken(packet, reasons),
    };
    let Some((piece, protocol)) = piece else {
        return read(packet, faults);
    };
    let larger = (
        direction,
        packet.source,
        packet.destination,
        piece.identification,
        if packet.source.is_ipv4() {
            protocol.0
        } else {
            0
        },
    );
    if piece.offset == 8 && protocol == IpNumber::TCP {
        return Read::Broken(packet, vec![Reason::Fragment]);
    }
    if piece.offset > 0 {
        return Read::Later(packet, larger);
    }
    // What is missing may be in the next fragment.
    let faults = faults.map(|reasons| {
        let short = |reason| match reason {
            Reason::Header => Reason::Fragment,
            other => other,
        };
        reasons.into_iter().map(short).collect()
    });
    Read::First(Box::new(read(packet, faults)), larger)
}

type Whole = (Packet, Option<Refused>, Option<(Piece, IpNumber)>);

fn packet(direction: Direction, frame: &[u8]) -> Result<Option<Whole>, Refused> {
    let unreadable = |_| vec![Reason::Unreadable];
    let ethernet = Ethernet2HeaderSlice::from_slice(frame).map_err(unreadable)?;
    let mut rest = frame.get(14..).unwrap_or_default();
    let link_group = ethernet.destination()[0] & 1 == 1;
    let mut ether_type = ethernet.ether_type();
    for _ in 0..2 {
        if is_tag(ether_type) {
            let tag = SingleVlanHeaderSlice::from_slice(rest).map_err(unreadable)?;
            ether_type = tag.ether_type();
            rest = rest.get(4..).unwrap_or_default();
        }
    }
    let read = match ether_type {
        tag if is_tag(tag) => return Err(vec![Reason::Vlan]),
        EtherType::IPV4 => v4(rest)?,
        EtherType::IPV6 => v6(direction, rest, frame.len() - rest.len())?,
        EtherType(link) if LINK.contains(&link) => return Ok(None),
        _ => return Err(vec![Reason::NonIp]),
    };
    let (content, faults) = match read.content {
        Ok(content) => (content, None),
        Err(faults) => (Content::Protocol(0), Some(faults)),
    };
    let piece = read.piece.map(|piece| (piece, read.protocol));
    let packet = Packet {
        direction,
        source: read.source,
        destination: read.destination,
        hop_limit: read.hop_limit,
        link_group,
        router_alert: read.router_alert,
        content,
    };
    Ok(Some((packet, faults, piece)))
}

fn is_tag(ether_type: EtherType) -> bool {
    matches!(
        ether_type,
        EtherType::VLAN_TAGGED_FRAME | EtherType::PROVIDER_BRIDGING
    )
}

struct Network {
    source: IpAddr,
    destination: IpAddr,
    hop_limit: u8,
    router_alert: bool,
    protocol: IpNumber,
    piece: Option<Piece>,
    content: Result<Content, Refused>,
}

/// Octets that a header says there are, and those that there are.
#[derive(Clone, Copy)]
struct Payload<'a> {
    said: usize,
    there: &'a [u8],
}

impl Payload<'_> {
    /// The first octets, where both the header and the frame have so many; the rest are zeros, up to the longest header.
    fn head(self, length: usize) -> Result<[u8; 60], Refused> {
        let mut missing = Vec::new();
        if self.said < length {
            missing.push(Reason::Header);
        }
        if self.there.len() < length {
            missing.push(Reason::Unreadable);
        }
        if !missing.is_empty() {
            return Err(missing);
        }
        let mut head = [0; 60];
        let count = self.there.len().min(head.len());
        head[..count].copy_from_slice(&self.there[..count]);
        Ok(head)
    }
}

fn v4(octets: &[u8]) -> Result<Network, Refused> {
    use etherparse::err::ipv4::HeaderSliceError;
    if octets.len() < 20 {
        return Err(vec![Reason::Unreadable]);
    }
    // Options are nobody's business here: where they end beyond the frame, nothing can follow them, and a protocol without ports needs
    // nothing that follows.
    let mut padded = octets.to_vec();
    padded.resize(octets.len().max(60), 0);
    let header = Ipv4HeaderSlice::from_slice(&padded).map_err(|error| match error {
        HeaderSliceError::Len(_) => vec![Reason::Unreadable, Reason::Header],
        HeaderSliceError::Content(_) => vec![Reason::Header],
    })?;
    let length = header.slice().len();
    let total = usize::from(header.total_len());
    let mut faults = Vec::new();
    if total < length {
        faults.push(Reason::Header);
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    let payload = Payload {
        said: total - length,
        there: octets.get(length..).unwrap_or_default(),
    };
    Ok(Network {
        source: Ipv4Addr::from(header.source()).into(),
        destination: Ipv4Addr::from(header.destination()).into(),
        hop_limit: header.ttl(),
        router_alert: false,
        protocol: header.protocol(),
        piece: header.is_fragmenting_payload().then(|| Piece {
            identification: u32::from(header.identification()),
            offset: usize::from(header.fragments_offset().value()) * 8,
            more: header.more_fragments(),
        }),
        content: content(header.protocol(), IpNumber::ICMP, payload),
    })
}

fn v6(direction: Direction, octets: &[u8], before: usize) -> Result<Network, Refused> {
    use etherparse::err::ipv6::HeaderSliceError;
    let header = Ipv6HeaderSlice::from_slice(octets).map_err(|error| match error {
        HeaderSliceError::Len(_) => vec![Reason::Unreadable, Reason::Header],
        HeaderSliceError::Content(_) => vec![Reason::Header],
    })?;
    let mut payload = Payload {
        said: usize::from(header.payload_length()),
        there: &octets[40..],
    };
    let mut chain = Chain {
        next: header.next_header(),
        read: before + 40,
        router_alert: false,
        piece: None,
    };
    let mut count = 0;
    while is_extension(chain.next) && chain.piece.is_none_or(|piece| piece.offset == 0) {
        if count == 8 {
            return Err(vec![Reason::Extension]);
        }
        extension(&mut chain, count == 0, &mut payload)?;
        count += 1;
    }
    let piece = chain.piece.filter(|piece| piece.more || piece.offset > 0);
    let mut content = content(chain.next, IpNumber::IPV6_ICMP, payload);
    if let (Some(_), Ok(Content::Icmp { kind, .. })) = (piece, &content) {
        // Neighbour discovery and multicast listeners never come in fragments (RFC 6980); redirects never come at all.
        if direction == Direction::Ingress && matches!(kind, 130..=136 | 143) {
            // On its way through a host that forwards nothing, it goes no further for that alone.
            content = Err(vec![Reason::Fragment, Reason::NotForwarded]);
        }
    }
    Ok(Network {
        source: Ipv6Addr::from(header.source()).into(),
        destination: Ipv6Addr::from(header.destination()).into(),
        hop_limit: header.hop_limit(),
        router_alert: chain.router_alert,
        protocol: chain.next,
        piece,
        content,
    })
}

/// A place in a chain of extension headers.
struct Chain {
    next: IpNumber,
    /// Octets from the beginning of the frame.
    read: usize,
    router_alert: bool,
    piece: Option<Piece>,
}

/// What the kernel walks over; ESP hides what follows, and what else there is has rules of its own.
fn is_extension(next: IpNumber) -> bool {
    matches!(
        next,
        IpNumber::IPV6_HEADER_HOP_BY_HOP
            | IpNumber::IPV6_ROUTE_HEADER
            | IpNumber::IPV6_FRAGMENTATION_HEADER
            | IpNumber::AUTHENTICATION_HEADER
            | IpNumber::IPV6_DESTINATION_OPTIONS
    )
}

/// Goes over one extension header.
fn extension(chain: &mut Chain, first: bool, payload: &mut Payload<'_>) -> Result<(), Refused> {
    payload.head(8)?;
    let there = payload.there;
    let any = || vec![Reason::Extension, Reason::Header, Reason::Unreadable];
    let next;
    let length;
    match chain.next {
        IpNumber::IPV6_FRAGMENTATION_HEADER => {
            let header = Ipv6FragmentHeaderSlice::from_slice(there).map_err(|_| any())?;
            if chain.piece.is_some_and(|piece| piece.more) {
                return Err(vec![Reason::Extension]);
            }
            chain.piece = Some(Piece {
                identification: header.identification(),
                offset: usize::from(header.fragment_offset().value()) * 8,
                more: header.more_fragments(),
            });
            (next, length) = (header.next_header(), 8);
        }
        IpNumber::AUTHENTICATION_HEADER => {
            next = IpNumber(there[0]);
            length = usize::from(there[1]) * 4 + 8;
            // One that another parser reads as well ends where this says.
            if let Ok(header) = IpAuthHeaderSlice::from_slice(there) {
                assert_eq!(header.slice().len(), length, "AH");
            }
        }
        kind => {
            next = IpNumber(there[0]);
            length = usize::from(there[1]) * 8 + 8;
            if let Ok(header) = Ipv6RawExtHeaderSlice::from_slice(there) {
                assert_eq!(header.slice().len(), length, "{kind:?}");
            }
            match kind {
                IpNumber::IPV6_HEADER_HOP_BY_HOP if !first => {
                    return Err(vec![Reason::Extension]);
                }
                IpNumber::IPV6_HEADER_HOP_BY_HOP => {
                    let options = &there[2..8];
                    chain.router_alert =
                        options.starts_with(&[5, 2]) || options.starts_with(&[1, 0, 5, 2]);
                }
                IpNumber::IPV6_ROUTE_HEADER if there[2] == 0 => {
                    return Err(vec![Reason::Extension]);
                }
                _ => {}
            }
        }
    }
    if length > payload.said {
        return Err(vec![Reason::Header]);
    }
    chain.next = next;
    chain.read += length;
    if chain.read > 512 {
        return Err(vec![Reason::Extension]);
    }
    *payload = Payload {
        said: payload.said - length,
        there: there.get(length..).unwrap_or_default(),
    };
    Ok(())
}

fn content(protocol: IpNumber, icmp: IpNumber, payload: Payload<'_>) -> Result<Content, Refused> {
    let header = |_| vec![Reason::Header];
    match protocol {
        IpNumber::TCP => {
            let octets = payload.head(20)?;
            let tcp = TcpHeaderSlice::from_slice(&octets).map_err(|_| vec![Reason::Header])?;
            let flags = [
                tcp.fin(),
                tcp.syn(),
                tcp.rst(),
                tcp.psh(),
                tcp.ack(),
                tcp.urg(),
                tcp.ece(),
                tcp.cwr(),
            ];
            let flags = flags
                .iter()
                .zip(0..)
                .map(|(&set, bit)| u8::from(set) << bit);
            Ok(Content::Tcp {
                from: tcp.source_port(),
                to: tcp.destination_port(),
                flags: flags.sum(),
            })
        }
        IpNumber::UDP => {
            let octets = payload.head(8)?;
            let udp = UdpHeaderSlice::from_slice(&octets).map_err(header)?;
            Ok(Content::Udp {
                from: udp.source_port(),
                to: udp.destination_port(),
            })
        }
        protocol if protocol == icmp => {
            let octets = payload.head(8)?;
            Ok(Content::Icmp {
                kind: octets[0],
                identifier: u16::from_be_bytes([octets[4], octets[5]]),
                quoted: if icmp == IpNumber::ICMP {
                    quoted_v4(&payload.there[8..])
                } else {
                    quoted_v6(&payload.there[8..])
                },
            })
        }
        IpNumber(other) => Ok(Content::Protocol(other)),
    }
}

fn quoted_v4(octets: &[u8]) -> Option<Quoted> {
    let header = Ipv4HeaderSlice::from_slice(octets).ok()?;
    if header.fragments_offset().value() != 0 {
        return None;
    }
    let (source, destination) = (header.source(), header.destination());
    quoted(
        IpAddr::from(source),
        IpAddr::from(destination),
        header.protocol(),
        IpNumber::ICMP,
        &octets[header.slice().len()..],
    )
}

fn quoted_v6(octets: &[u8]) -> Option<Quoted> {
    let header = Ipv6HeaderSlice::from_slice(octets).ok()?;
    let (source, destination) = (header.source(), header.destination());
    let (mut next, mut rest) = (header.next_header(), &octets[40..]);
    if next == IpNumber::IPV6_FRAGMENTATION_HEADER {
        let fragment = Ipv6FragmentHeaderSlice::from_slice(rest).ok()?;
        if fragment.fragment_offset().value() != 0 {
            return None;
        }
        (next, rest) = (fragment.next_header(), &rest[8..]);
    }
    quoted(
        IpAddr::from(source),
        IpAddr::from(destination),
        next,
        IpNumber::IPV6_ICMP,
        rest,
    )
}

fn quoted(
    source: IpAddr,
    destination: IpAddr,
    protocol: IpNumber,
    icmp: IpNumber,
    octets: &[u8],
) -> Option<Quoted> {
    let word = |at: usize| Some(u16::from_be_bytes([*octets.get(at)?, *octets.get(at + 1)?]));
    let (first, second) = if protocol == icmp {
        word(2)?;
        (u16::from(*octets.first()?), word(4)?)
    } else {
        (word(0)?, word(2)?)
    };
    Some(Quoted {
        source,
        destination,
        protocol: protocol.0,
        first,
        second,
    })
}
