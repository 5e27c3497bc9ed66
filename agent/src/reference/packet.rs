//! Packets as the rules speak of them. Ports in host byte order.

use std::net::IpAddr;

use agent_common::event::Direction;

/// A packet that could be read. Ports in host byte order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Packet {
    /// Which way it goes.
    pub direction: Direction,
    /// IP source.
    pub source: IpAddr,
    /// IP destination.
    pub destination: IpAddr,
    /// TTL or hop limit.
    pub hop_limit: u8,
    /// The frame was sent to a link-layer group.
    pub link_group: bool,
    /// It has a hop-by-hop header with a router alert (RFC 2711).
    pub router_alert: bool,
    /// What it carries.
    pub content: Content,
}

/// What a packet carries.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Content {
    /// A TCP segment.
    Tcp {
        /// Source port.
        from: u16,
        /// Destination port.
        to: u16,
        /// FIN 1, SYN 2, RST 4, PSH 8, ACK 16, URG 32.
        flags: u8,
    },
    /// A UDP datagram.
    Udp {
        /// Source port.
        from: u16,
        /// Destination port.
        to: u16,
    },
    /// An ICMP or, by the addresses' family, ICMPv6 message.
    Icmp {
        /// Type.
        kind: u8,
        /// Identifier of an echo.
        identifier: u16,
        /// The packet that an error quotes, where that could be read.
        quoted: Option<Quoted>,
    },
    /// Any other IP protocol.
    Protocol(u8),
}

/// The packet that an ICMP error quotes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Quoted {
    /// Its source.
    pub source: IpAddr,
    /// Its destination.
    pub destination: IpAddr,
    /// IP protocol.
    pub protocol: u8,
    /// Source port; the type of an ICMP message.
    pub first: u16,
    /// Destination port; the identifier of an echo.
    pub second: u16,
}

impl Packet {
    /// To several hosts: a link-layer group, a multicast group, everyone on the link.
    #[must_use]
    pub fn is_to_group(&self) -> bool {
        let everyone = match self.destination {
            IpAddr::V4(destination) => destination.is_broadcast(),
            IpAddr::V6(_) => false,
        };
        self.link_group || everyone || self.destination.is_multicast()
    }
}
