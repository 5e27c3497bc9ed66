//! Frames read by etherparse, a parser of another author: the oracle of ours.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use agent_common::event::Direction;
use agent_common::verdict::Reason;
use etherparse::{
    EtherType, Ethernet2HeaderSlice, IpNumber, Ipv4HeaderSlice, Ipv6HeaderSlice,
    Ipv6RawExtHeaderSlice, TcpHeaderSlice, UdpHeaderSlice,
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
}

/// ARP, LLDP, 802.1X, slow protocols, PTP.
const LINK: [u16; 5] = [0x0806, 0x88cc, 0x888e, 0x8809, 0x88f7];

type Refused = Vec<Reason>;

/// Reads a frame that came from an Ethernet device.
#[must_use]
pub fn read(direction: Direction, frame: &[u8]) -> Read {
    match packet(direction, frame) {
        Ok(Some((packet, None))) => Read::Packet(packet),
        Ok(Some((packet, Some(reasons)))) => Read::Broken(packet, reasons),
        Ok(None) => Read::Link,
        Err(reasons) => Read::Refused(reasons),
    }
}

type Whole = (Packet, Option<Refused>);

fn packet(direction: Direction, frame: &[u8]) -> Result<Option<Whole>, Refused> {
    let unreadable = |_| vec![Reason::Unreadable];
    let ethernet = Ethernet2HeaderSlice::from_slice(frame).map_err(unreadable)?;
    let rest = frame.get(14..).unwrap_or_default();
    let link_group = ethernet.destination()[0] & 1 == 1;
    let read = match ethernet.ether_type() {
        EtherType::VLAN_TAGGED_FRAME | EtherType::PROVIDER_BRIDGING => {
            return Err(vec![Reason::Vlan]);
        }
        EtherType::IPV4 => v4(rest)?,
        EtherType::IPV6 => v6(rest)?,
        EtherType(link) if LINK.contains(&link) => return Ok(None),
        _ => return Err(vec![Reason::NonIp]),
    };
    let (content, faults) = match read.content {
        Ok(content) => (content, None),
        Err(faults) => (Content::Protocol(0), Some(faults)),
    };
    let packet = Packet {
        direction,
        source: read.source,
        destination: read.destination,
        hop_limit: read.hop_limit,
        link_group,
        router_alert: read.router_alert,
        content,
    };
    Ok(Some((packet, faults)))
}

struct Network {
    source: IpAddr,
    destination: IpAddr,
    hop_limit: u8,
    router_alert: bool,
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
    if header.is_fragmenting_payload() {
        faults.push(Reason::Fragment);
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
        content: content(header.protocol(), IpNumber::ICMP, payload),
    })
}

fn v6(octets: &[u8]) -> Result<Network, Refused> {
    use etherparse::err::ipv6::HeaderSliceError;
    let header = Ipv6HeaderSlice::from_slice(octets).map_err(|error| match error {
        HeaderSliceError::Len(_) => vec![Reason::Unreadable, Reason::Header],
        HeaderSliceError::Content(_) => vec![Reason::Header],
    })?;
    let mut payload = Payload {
        said: usize::from(header.payload_length()),
        there: &octets[40..],
    };
    let mut next = header.next_header();
    let router_alert = next == IpNumber::IPV6_HEADER_HOP_BY_HOP;
    if router_alert {
        next = alerted(payload)?;
        payload = Payload {
            said: payload.said - 8,
            there: &payload.there[8..],
        };
    }
    if next == IpNumber::IPV6_FRAGMENTATION_HEADER {
        return Err(vec![Reason::Fragment]);
    }
    // What ESP carries can't be read; it is a protocol with rules of its own.
    let is_extension =
        next.is_ipv6_ext_header_value() && next != IpNumber::ENCAPSULATING_SECURITY_PAYLOAD;
    if is_extension || (router_alert && next != IpNumber::IPV6_ICMP) {
        return Err(vec![Reason::Extension]);
    }
    Ok(Network {
        source: Ipv6Addr::from(header.source()).into(),
        destination: Ipv6Addr::from(header.destination()).into(),
        hop_limit: header.hop_limit(),
        router_alert,
        content: content(next, IpNumber::IPV6_ICMP, payload),
    })
}

/// What follows a hop-by-hop header of eight octets with a router alert, as MLD has it (RFC 2710 section 3).
fn alerted(payload: Payload<'_>) -> Result<IpNumber, Refused> {
    let refused = || {
        vec![
            Reason::Extension,
            Reason::Fragment,
            Reason::Unreadable,
            Reason::Header,
        ]
    };
    let header = Ipv6RawExtHeaderSlice::from_slice(payload.there).map_err(|_| refused())?;
    let options = header.payload();
    let is_alert = options.starts_with(&[5, 2]) || options.starts_with(&[1, 0, 5, 2]);
    if options.len() != 6 || !is_alert || payload.said < 8 {
        return Err(refused());
    }
    Ok(header.next_header())
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
    quoted(
        IpAddr::from(source),
        IpAddr::from(destination),
        header.next_header(),
        IpNumber::IPV6_ICMP,
        &octets[40..],
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
