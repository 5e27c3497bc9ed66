//! A packet as the decision sees it: parsed, host byte order.

use crate::net::{Address, IpProto};

/// A TCP segment or UDP datagram to one host.
#[derive(Clone, Copy, Debug)]
pub struct Segment<A> {
    /// Sender.
    pub source: A,
    /// Receiver.
    pub destination: A,
    /// [`IpProto::TCP`] or [`IpProto::UDP`].
    pub protocol: IpProto,
    /// Sender's port.
    pub source_port: u16,
    /// Receiver's port.
    pub destination_port: u16,
    /// TCP flags; 0 for UDP.
    pub flags: u8,
}

impl<A> Segment<A> {
    /// Whether it is TCP.
    #[inline(always)]
    pub fn is_tcp(&self) -> bool {
        self.protocol == IpProto::TCP
    }
}

/// What the header after IP says, in words common to all transports.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Transport {
    /// Sender's port. Of an ICMP message: the type in the upper octet, the code in the lower.
    pub source_port: u16,
    /// Receiver's port. Of an ICMP message: the identifier, where it is an echo.
    pub destination_port: u16,
    /// TCP flags; 0 for all others.
    pub flags: u8,
}

/// A packet's place among the fragments of a larger one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fragment {
    /// Identification; 0 where an IPv6 packet has no fragment header.
    pub identification: u32,
    /// Octets of the larger packet before these.
    pub offset: u32,
    /// Others follow.
    pub more: bool,
}

impl Fragment {
    /// A packet that is no fragment.
    pub const WHOLE: Self = Self {
        identification: 0,
        offset: 0,
        more: false,
    };

    /// Whether it is a whole packet; an IPv6 atomic fragment is one (RFC 6946).
    #[inline(always)]
    pub fn is_whole(&self) -> bool {
        self.offset == 0 && !self.more
    }
}

/// The IP header's part of a packet: the transport has not been read yet.
#[derive(Clone, Copy, Debug)]
pub struct Network<A> {
    /// Sender.
    pub source: A,
    /// Receiver.
    pub destination: A,
    /// What follows the header (after the extension headers that are accepted).
    pub protocol: IpProto,
    /// TTL or hop limit.
    pub hop_limit: u8,
    /// An IPv6 hop-by-hop header with a router alert came before.
    pub router_alert: bool,
    /// The frame was sent to a link-layer group, or the packet to an IP group.
    pub to_group: bool,
    /// Its place among the fragments of a larger packet.
    pub fragment: Fragment,
    /// Where the transport begins in the frame, in octets.
    pub payload: u32,
    /// Octets from there to the end of the packet, as the IP header says.
    pub payload_length: u32,
}

impl<A: Address> Network<A> {
    /// With this transport.
    #[inline(always)]
    pub fn segment(&self, transport: Transport) -> Segment<A> {
        Segment {
            source: self.source,
            destination: self.destination,
            protocol: self.protocol,
            source_port: transport.source_port,
            destination_port: transport.destination_port,
            flags: transport.flags,
        }
    }
}

/// The packet that an ICMP error quotes: addresses and the first four octets after them (RFC 792, RFC 4443 §2.4).
#[derive(Clone, Copy, Debug)]
pub struct Quoted<A> {
    /// Who sent it.
    pub source: A,
    /// To whom.
    pub destination: A,
    /// TCP, UDP or the family's ICMP; others are not followed.
    pub protocol: IpProto,
    /// Source port; for echo its type.
    pub source_port: u16,
    /// Destination port; for echo its identifier.
    pub destination_port: u16,
}
