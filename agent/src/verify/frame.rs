//! A packet as the octets of an Ethernet frame, without checksums, by which no verdict is made.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::reference::{Content, Packet};

/// Octets of padding, so that a frame is as long as the shortest one on a wire.
const LEAST: usize = 60;

/// The frame. Source and destination are of one family; an error quotes nothing.
pub(super) fn frame(packet: &Packet) -> Vec<u8> {
    let mut frame = Vec::with_capacity(128);
    frame.extend(link_address(packet));
    frame.extend([2, 0, 0, 0, 0, 1]);
    let (protocol, payload) = payload(packet);
    match (packet.source, packet.destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            frame.extend([0x08, 0x00, 0x45, 0]);
            frame.extend((payload.len() as u16 + 20).to_be_bytes());
            frame.extend([0, 0, 0, 0, packet.hop_limit, protocol, 0, 0]);
            frame.extend(source.octets());
            frame.extend(destination.octets());
        }
        (source, destination) => {
            // RFC 2711: next header, length 0, the option, padding.
            let alert = [protocol, 0, 5, 2, 0, 0, 1, 0];
            let extension: &[u8] = if packet.router_alert { &alert } else { &[] };
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
            frame.extend((payload.len() as u16 + extension.len() as u16).to_be_bytes());
            frame.push(if packet.router_alert { 0 } else { protocol });
            frame.push(packet.hop_limit);
            frame.extend(wide(source));
            frame.extend(wide(destination));
            frame.extend(extension);
        }
    }
    frame.extend(payload);
    frame.resize(frame.len().max(LEAST), 0);
    frame
}

fn payload(packet: &Packet) -> (u8, Vec<u8>) {
    let ports = |from: u16, to: u16| [from.to_be_bytes(), to.to_be_bytes()].concat();
    match &packet.content {
        Content::Tcp { from, to, flags } => {
            let mut segment = ports(*from, *to);
            segment.extend([0, 0, 0, 1, 0, 0, 0, 0, 0x50, *flags, 255, 255, 0, 0, 0, 0]);
            (6, segment)
        }
        Content::Udp { from, to } => {
            let mut datagram = ports(*from, *to);
            datagram.extend([0, 8, 0, 0]);
            (17, datagram)
        }
        Content::Icmp {
            kind, identifier, ..
        } => {
            let [high, low] = identifier.to_be_bytes();
            let mut message = vec![*kind, 0, 0, 0, high, low, 0, 1];
            // Room for the target of neighbour discovery (RFC 4861 section 4.3).
            message.extend([0; 16]);
            let is_v4 = packet.source.is_ipv4();
            (if is_v4 { 1 } else { 58 }, message)
        }
        Content::Protocol(number) => (*number, vec![0; 32]),
    }
}

fn wide(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

/// RFC 1112 section 6.4, RFC 2464 section 7.
fn link_address(packet: &Packet) -> [u8; 6] {
    match packet.destination {
        IpAddr::V4(Ipv4Addr::BROADCAST) => [255; 6],
        IpAddr::V4(address) if address.is_multicast() => {
            let [_, b, c, d] = address.octets();
            [1, 0, 0x5e, b & 0x7f, c, d]
        }
        IpAddr::V6(address) if is_group(address) => {
            let [.., a, b, c, d] = address.octets();
            [0x33, 0x33, a, b, c, d]
        }
        _ if packet.link_group => [255; 6],
        _ => [2, 0, 0, 0, 0, 2],
    }
}

const fn is_group(address: Ipv6Addr) -> bool {
    address.is_multicast()
}
