//! The headers themselves.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Context as _, Result, bail, ensure};
use etherparse::checksum::Sum16BitWords;
use etherparse::{
    EtherType, Ethernet2Header, IpFragOffset, IpNumber, Ipv4Header, Ipv6FragmentHeader, Ipv6Header,
    SingleVlanHeader, TcpHeader, UdpHeader, VlanId,
};

use super::{Extension, Icmp, Macs, Packet, Tcp};

const TTL: u8 = 64;

/// The Ethernet header and the VLAN tags.
pub(super) fn link(packet: &Packet, macs: Macs, ether_type: u16) -> Result<Vec<u8>> {
    let destination = match packet.to {
        _ if packet.link_group => [0xff; 6],
        Some(IpAddr::V4(Ipv4Addr::BROADCAST)) => [0xff; 6],
        // RFC 1112 §6.4
        Some(IpAddr::V4(group)) if group.is_multicast() => {
            let [_, b, c, d] = group.octets();
            [1, 0, 0x5e, b & 0x7f, c, d]
        }
        // RFC 2464 §7
        Some(IpAddr::V6(group)) if group.is_multicast() => {
            let [.., a, b, c, d] = group.octets();
            [0x33, 0x33, a, b, c, d]
        }
        _ => macs.to,
    };
    let tags = packet.vlan.len();
    let tag = |inside: usize| match inside {
        0 => EtherType(ether_type),
        1 => EtherType::VLAN_TAGGED_FRAME,
        _ => EtherType::PROVIDER_BRIDGING,
    };
    let mut frame = Ethernet2Header {
        source: macs.from,
        destination,
        ether_type: tag(tags),
    }
    .to_bytes()
    .to_vec();
    for (number, &id) in packet.vlan.iter().enumerate() {
        let header = SingleVlanHeader {
            vlan_id: VlanId::try_new(id).context("vlan")?,
            ether_type: tag(tags - number - 1),
            ..SingleVlanHeader::default()
        };
        frame.extend(header.to_bytes());
    }
    Ok(frame)
}

/// The IP packet and its EtherType.
pub(super) fn ip(packet: &Packet, from: IpAddr, to: IpAddr) -> Result<(u16, Vec<u8>)> {
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            Ok((EtherType::IPV4.0, ipv4(packet, from, to).context("ipv4")?))
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            Ok((EtherType::IPV6.0, ipv6(packet, from, to).context("ipv6")?))
        }
        _ => bail!("addresses of two families"),
    }
}

fn ipv4(packet: &Packet, from: Ipv4Addr, to: Ipv4Addr) -> Result<Vec<u8>> {
    ensure!(packet.extensions.is_empty(), "extension headers are IPv6's");
    let (protocol, transport) = transport(packet, IpAddr::V4(from), IpAddr::V4(to))?;
    let length = u16::try_from(transport.len()).context("payload")?;
    let ttl = packet.ttl.unwrap_or(TTL);
    let mut header = Ipv4Header::new(length, ttl, IpNumber(protocol), from.octets(), to.octets())?;
    if packet.options > 0 {
        // RFC 791 §3.1: 1 is the option "no operation"
        header.options = vec![1; packet.options].as_slice().try_into()?;
    }
    if let Some(fragment) = packet.fragment {
        ensure!(fragment.offset % 8 == 0, "offsets are multiples of 8");
        header.dont_fragment = false;
        header.more_fragments = fragment.more;
        header.fragment_offset = IpFragOffset::try_new(fragment.offset / 8)?;
        header.identification = fragment.id;
    }
    header.set_payload_len(transport.len())?;
    header.header_checksum = header.calc_header_checksum();
    let mut octets = header.to_bytes().to_vec();
    octets.extend(transport);
    Ok(octets)
}

fn ipv6(packet: &Packet, from: Ipv6Addr, to: Ipv6Addr) -> Result<Vec<u8>> {
    ensure!(packet.options == 0, "options are IPv4's");
    let (protocol, transport) = transport(packet, IpAddr::V6(from), IpAddr::V6(to))?;
    let mut next = protocol;
    let mut chain: Vec<Vec<u8>> = Vec::new();
    if let Some(fragment) = packet.fragment {
        ensure!(fragment.offset % 8 == 0, "offsets are multiples of 8");
        let header = Ipv6FragmentHeader {
            next_header: IpNumber(next),
            fragment_offset: IpFragOffset::try_new(fragment.offset / 8)?,
            more_fragments: fragment.more,
            identification: u32::from(fragment.id),
        };
        chain.push(header.to_bytes().to_vec());
        next = IpNumber::IPV6_FRAGMENTATION_HEADER.0;
    }
    for extension in packet.extensions.iter().rev() {
        let (number, content) = extension_header(*extension);
        // Length 0: eight octets (RFC 8200 §4.3).
        let mut header = vec![next, 0];
        header.extend(content);
        chain.push(header);
        next = number;
    }
    let extensions: Vec<u8> = chain.into_iter().rev().flatten().collect();
    let length = extensions.len() + transport.len();
    let header = Ipv6Header {
        payload_length: u16::try_from(length).context("payload")?,
        next_header: IpNumber(next),
        hop_limit: packet.ttl.unwrap_or(TTL),
        source: from.octets(),
        destination: to.octets(),
        ..Ipv6Header::default()
    };
    let mut octets = header.to_bytes().to_vec();
    octets.extend(extensions);
    octets.extend(transport);
    Ok(octets)
}

/// A header's number in the chain, and its six octets after next header and length.
fn extension_header(extension: Extension) -> (u8, [u8; 6]) {
    const PADDING: [u8; 6] = [1, 4, 0, 0, 0, 0];
    match extension {
        Extension::RouterAlert => (0, [5, 2, 0, 0, 1, 0]),
        Extension::PaddedRouterAlert => (0, [1, 0, 5, 2, 0, 0]),
        Extension::HopByHop => (0, PADDING),
        Extension::Destination => (60, PADDING),
        Extension::Routing0 => (43, [0; 6]),
        Extension::Mobility => (135, [0; 6]),
    }
}

/// Protocol number and octets of what follows the IP headers.
fn transport(packet: &Packet, from: IpAddr, to: IpAddr) -> Result<(u8, Vec<u8>)> {
    let payload = vec![0; packet.payload];
    match (&packet.tcp, &packet.udp, &packet.icmp, packet.protocol) {
        (Some(tcp), None, None, None) => Ok((6, tcp_segment(tcp, from, to, &payload)?)),
        (None, Some(udp), None, None) => {
            let length = payload.len();
            let header = match (from, to) {
                (IpAddr::V4(from), IpAddr::V4(to)) => {
                    let ip = Ipv4Header::new(0, TTL, IpNumber::UDP, from.octets(), to.octets())?;
                    UdpHeader::with_ipv4_checksum(udp.from, udp.to, &ip, &payload)?
                }
                (IpAddr::V6(from), IpAddr::V6(to)) => {
                    let ip = pseudo_v6(from, to);
                    UdpHeader::with_ipv6_checksum(udp.from, udp.to, &ip, &payload)?
                }
                _ => bail!("addresses of two families"),
            };
            ensure!(length <= 65_000, "payload");
            Ok((17, [&header.to_bytes()[..], &payload].concat()))
        }
        (None, None, Some(icmp), None) => icmp_message(icmp, from, to, payload),
        (None, None, None, Some(number)) => Ok((number, payload)),
        _ => bail!("one of tcp, udp, icmp, protocol"),
    }
}

fn pseudo_v6(from: Ipv6Addr, to: Ipv6Addr) -> Ipv6Header {
    Ipv6Header {
        source: from.octets(),
        destination: to.octets(),
        ..Ipv6Header::default()
    }
}

fn tcp_segment(tcp: &Tcp, from: IpAddr, to: IpAddr, payload: &[u8]) -> Result<Vec<u8>> {
    let mut header = TcpHeader::new(tcp.from, tcp.to, 1_000_000, 64_240);
    for flag in tcp.flags.chars() {
        match flag {
            'F' => header.fin = true,
            'S' => header.syn = true,
            'R' => header.rst = true,
            'P' => header.psh = true,
            'A' => header.ack = true,
            'U' => header.urg = true,
            'E' => header.ece = true,
            'C' => header.cwr = true,
            other => bail!("tcp flag {other}: known are F, S, R, P, A, U, E, C"),
        }
    }
    header.checksum = match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            header.calc_checksum_ipv4_raw(from.octets(), to.octets(), payload)?
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            header.calc_checksum_ipv6_raw(from.octets(), to.octets(), payload)?
        }
        _ => bail!("addresses of two families"),
    };
    Ok([&header.to_bytes()[..], payload].concat())
}

fn icmp_message(icmp: &Icmp, from: IpAddr, to: IpAddr, payload: Vec<u8>) -> Result<(u8, Vec<u8>)> {
    let [high, low] = icmp.id.to_be_bytes();
    let mut message = vec![icmp.kind, icmp.code, 0, 0, high, low, 0, 0];
    if let Some(quoted) = &icmp.quotes {
        message.extend(quoted.quote().context("quoted packet")?);
    }
    message.extend(payload);
    let (protocol, pseudo) = match (from, to) {
        (IpAddr::V4(_), _) => (1, Sum16BitWords::new()),
        // RFC 4443 §2.3: a pseudo-header counts, as for TCP.
        (IpAddr::V6(from), IpAddr::V6(to)) => (
            58,
            Sum16BitWords::new()
                .add_slice(&from.octets())
                .add_slice(&to.octets())
                .add_4bytes(
                    u32::try_from(message.len())
                        .context("length")?
                        .to_be_bytes(),
                )
                .add_2bytes([0, 58]),
        ),
        _ => bail!("addresses of two families"),
    };
    let sum = pseudo.add_slice(&message).ones_complement();
    // etherparse sums words as they lie in memory, so the result is in network order already.
    message[2..4].copy_from_slice(&sum.to_ne_bytes());
    Ok((protocol, message))
}
