//! From octets to [`crate::packet`] types: lengths, versions, byte order. One function for the programs and for user space.

mod family;
mod link;
pub mod probe;

pub use family::Family;
pub(crate) use link::{Link, link};

use crate::frame::{Frame, Header};
use crate::net::{Address, EtherType, IpProto, V4, V6};
use crate::packet::{Network, Quoted, Segment, Transport};
use crate::verdict::Reason;

macro_rules! headers {
    ($($(#[$doc:meta])* $name:ident { $($field:ident: $type:ty),* $(,)? })*) => { $(
        $(#[$doc])*
        #[derive(Clone, Copy)]
        #[repr(C, packed)]
        pub struct $name { $($field: $type),* }
        // SAFETY: packed integers and arrays of them.
        unsafe impl Header for $name {}
    )* };
}

headers! {
    /// IEEE 802.3.
    Ethernet { destination: [u8; 6], source: [u8; 6], ether_type: u16 }
    /// RFC 791, without options.
    Ipv4 {
        version_length: u8, service: u8, total_length: u16, identification: u16, fragment: u16, ttl: u8, protocol: u8, checksum: u16,
        source: u32, destination: u32,
    }
    /// RFC 8200.
    Ipv6 {
        version_class_flow: u32, payload_length: u16, next: u8, hop_limit: u8, source: [u64; 2], destination: [u64; 2],
    }
    /// IEEE 802.1Q, after the EtherType that says it is one.
    Tag { control: u16, ether_type: u16 }
    /// The first eight octets of an IPv6 extension header. Not an array: that would be copied to the BPF stack.
    Extension { next: u8, length: u8, first: u16, second: u16, third: u16 }
    /// RFC 9293, without options.
    Tcp { source: u16, destination: u16, sequence: u32, acknowledgement: u32, offset: u8, flags: u8, window: u16, checksum: u16, urgent: u16 }
    /// RFC 768.
    Udp { source: u16, destination: u16, length: u16, checksum: u16 }
    /// RFC 792 and RFC 4443: the first eight octets.
    Icmp { kind: u8, code: u8, checksum: u16, identifier: u16, sequence: u16 }
    /// The first four octets of a transport that an ICMP error quotes.
    Ports { source: u16, destination: u16 }
    /// The octets of a quoted echo after its first four: the identifier.
    Identifier { identifier: u16 }
}

/// Octets of an Ethernet header.
pub(crate) const ETHERNET: u32 = size_of::<Ethernet>() as u32;

impl Ethernet {
    #[inline(always)]
    fn to_group(self) -> bool {
        self.destination[0] & 1 == 1
    }
    #[inline(always)]
    fn ether_type(self) -> EtherType {
        EtherType(u16::from_be(self.ether_type))
    }
}

/// Type and first field of an ICMP header.
#[derive(Clone, Copy, Debug)]
pub struct IcmpHead {
    /// Type.
    pub kind: u8,
    /// Code.
    pub code: u8,
    /// The identifier, where it is an echo.
    pub identifier: u16,
}

impl From<IcmpHead> for Transport {
    #[inline(always)]
    fn from(head: IcmpHead) -> Self {
        Self {
            source_port: u16::from(head.kind) << 8 | u16::from(head.code),
            destination_port: head.identifier,
            flags: 0,
        }
    }
}

impl From<Transport> for IcmpHead {
    #[inline(always)]
    fn from(transport: Transport) -> Self {
        Self {
            kind: (transport.source_port >> 8) as u8,
            code: transport.source_port as u8,
            identifier: transport.destination_port,
        }
    }
}

/// The EtherType of a frame that may be plain: without a tag in band, and to one host. A tag that the network card took off changes nothing.
#[inline(always)]
pub fn plain_type<F: Frame + ?Sized>(frame: &F) -> Option<EtherType> {
    let ethernet = frame.fixed::<Ethernet, 0>()?;
    if ethernet.to_group() {
        return None;
    }
    Some(ethernet.ether_type())
}

/// A family's part of [`plain`].
pub trait Plain: Address {
    /// Addresses, protocol and octets of the transport, where the header is the shortest one, of a whole packet to one host.
    fn plain_header<F: Frame + ?Sized>(frame: &F) -> Option<(Self, Self, IpProto, u32)>;
    /// The TCP header after it.
    fn plain_tcp<F: Frame + ?Sized>(frame: &F) -> Option<Tcp>;
    /// The UDP header after it.
    fn plain_udp<F: Frame + ?Sized>(frame: &F) -> Option<Udp>;
}

impl Plain for V4 {
    #[inline(always)]
    fn plain_header<F: Frame + ?Sized>(frame: &F) -> Option<(Self, Self, IpProto, u32)> {
        let ip = frame.fixed::<Ipv4, ETHERNET>()?;
        if ip.version_length != 0x45 || ip.fragment & MORE_OR_OFFSET.to_be() != 0 {
            return None;
        }
        let destination = V4(u32::from_be(ip.destination));
        if destination.0 >= 0xe000_0000 {
            return None;
        }
        Some((
            V4(u32::from_be(ip.source)),
            destination,
            IpProto(ip.protocol),
            u32::from(u16::from_be(ip.total_length)).wrapping_sub(20),
        ))
    }
    #[inline(always)]
    fn plain_tcp<F: Frame + ?Sized>(frame: &F) -> Option<Tcp> {
        frame.fixed::<Tcp, { ETHERNET + 20 }>()
    }
    #[inline(always)]
    fn plain_udp<F: Frame + ?Sized>(frame: &F) -> Option<Udp> {
        frame.fixed::<Udp, { ETHERNET + 20 }>()
    }
}

impl Plain for V6 {
    #[inline(always)]
    fn plain_header<F: Frame + ?Sized>(frame: &F) -> Option<(Self, Self, IpProto, u32)> {
        let ip = frame.fixed::<Ipv6, ETHERNET>()?;
        let (source, destination) = (ip.source, ip.destination);
        let source = V6(u64::from_be(source[0]), u64::from_be(source[1]));
        let destination = V6(u64::from_be(destination[0]), u64::from_be(destination[1]));
        if u32::from_be(ip.version_class_flow) >> 28 != 6 || destination.is_group() {
            return None;
        }
        Some((
            source,
            destination,
            IpProto(ip.next),
            u32::from(u16::from_be(ip.payload_length)),
        ))
    }
    #[inline(always)]
    fn plain_tcp<F: Frame + ?Sized>(frame: &F) -> Option<Tcp> {
        frame.fixed::<Tcp, { ETHERNET + 40 }>()
    }
    #[inline(always)]
    fn plain_udp<F: Frame + ?Sized>(frame: &F) -> Option<Udp> {
        frame.fixed::<Udp, { ETHERNET + 40 }>()
    }
}

/// The header of IP without options or extension headers, to one host, of no fragment.
#[derive(Clone, Copy, Debug)]
pub struct PlainHeader<A> {
    source: A,
    destination: A,
    /// What follows.
    pub protocol: IpProto,
    /// Octets of that, as the header says; more than fit a packet where it says less than its own.
    octets: u32,
}

/// The first branch, after [`plain_type`] said this family. `None` sends the frame the long way, which judges everything, this too; so
/// nothing is decided here.
#[inline(always)]
pub fn plain_header<A: Plain, F: Frame + ?Sized>(frame: &F) -> Option<PlainHeader<A>> {
    let (source, destination, protocol, octets) = A::plain_header(frame)?;
    Some(PlainHeader {
        source,
        destination,
        protocol,
        octets,
    })
}

/// The segment (`TCP`) or datagram after such a header. One function for each, so that the compiler knows in all that follows which it is.
#[inline(always)]
pub fn plain<const TCP: bool, A: Plain, F: Frame + ?Sized>(
    frame: &F,
    header: &PlainHeader<A>,
) -> Option<Segment<A>> {
    let (protocol, source_port, destination_port, flags) = if TCP {
        let tcp = A::plain_tcp(frame)?;
        if !(20..=0xffff).contains(&header.octets) || tcp.offset >> 4 < 5 {
            return None;
        }
        (IpProto::TCP, tcp.source, tcp.destination, tcp.flags)
    } else {
        let udp = A::plain_udp(frame)?;
        if !(8..=0xffff).contains(&header.octets) {
            return None;
        }
        (IpProto::UDP, udp.source, udp.destination, 0)
    };
    Some(Segment {
        source: header.source,
        destination: header.destination,
        protocol,
        source_port: u16::from_be(source_port),
        destination_port: u16::from_be(destination_port),
        flags,
    })
}

/// The flag "more fragments" and the fragment offset (RFC 791 §3.1).
const MORE_OR_OFFSET: u16 = 0x3fff;
/// Ports and flags of a TCP segment. The data offset must reach the end of the header.
#[inline(always)]
pub(crate) fn tcp<F: Frame + ?Sized, A: Address>(
    frame: &F,
    network: &Network<A>,
) -> Result<Transport, Reason> {
    if network.payload_length < 20 {
        return Err(Reason::Header);
    }
    let tcp = frame
        .load::<Tcp>(network.payload)
        .ok_or(Reason::Unreadable)?;
    if tcp.offset >> 4 < 5 {
        return Err(Reason::Header);
    }
    Ok(Transport {
        source_port: u16::from_be(tcp.source),
        destination_port: u16::from_be(tcp.destination),
        flags: tcp.flags,
    })
}

/// Ports of a UDP datagram.
#[inline(always)]
pub(crate) fn udp<F: Frame + ?Sized, A: Address>(
    frame: &F,
    network: &Network<A>,
) -> Result<Transport, Reason> {
    if network.payload_length < 8 {
        return Err(Reason::Header);
    }
    let udp = frame
        .load::<Udp>(network.payload)
        .ok_or(Reason::Unreadable)?;
    Ok(Transport {
        source_port: u16::from_be(udp.source),
        destination_port: u16::from_be(udp.destination),
        flags: 0,
    })
}

/// Type, code and identifier of an ICMP or ICMPv6 message.
#[inline(always)]
pub(crate) fn icmp<F: Frame + ?Sized, A: Address>(
    frame: &F,
    network: &Network<A>,
) -> Result<IcmpHead, Reason> {
    if network.payload_length < 8 {
        return Err(Reason::Header);
    }
    let icmp = frame
        .load::<Icmp>(network.payload)
        .ok_or(Reason::Unreadable)?;
    Ok(IcmpHead {
        kind: icmp.kind,
        code: icmp.code,
        identifier: u16::from_be(icmp.identifier),
    })
}

/// The packet that an ICMP error quotes, eight octets after the error's own header begins.
#[inline(always)]
pub(crate) fn quoted<F: Frame + ?Sized, A: Family>(
    frame: &F,
    network: &Network<A>,
) -> Option<Quoted<A>> {
    let (source, destination, protocol, at) = A::quoted_header(frame, network.payload + 8)?;
    let ports = frame.load::<Ports>(at)?;
    let (mut source_port, mut destination_port) =
        (u16::from_be(ports.source), u16::from_be(ports.destination));
    if protocol == A::ICMP {
        // type and code stand where TCP has its source port
        source_port >>= 8;
        destination_port = u16::from_be(frame.load::<Identifier>(at + 4)?.identifier);
    }
    Some(Quoted {
        source,
        destination,
        protocol,
        source_port,
        destination_port,
    })
}
