//! From the octets of the ring buffer to a typed denial. Pure: the clock and the interface names are passed in.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::ops::RangeInclusive;
use std::sync::Arc;

use agent_common::event::{DenyEvent, Direction, Hook};
use agent_common::net::{EtherType, IpProto, tcp};
use agent_common::tables::NO_RULE;
use agent_common::verdict::{Action, Reason, Verdict};
use jiff::Timestamp;
use thiserror::Error;

use crate::policy::Transport as Carrier;

/// Octets of an event.
pub const EVENT_SIZE: usize = size_of::<DenyEvent>();

/// What carried the packet, as far as its headers were read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, PartialOrd, Ord)]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// ICMP, of type and code.
    Icmp(u8, u8),
    /// ICMPv6, of type and code.
    Icmpv6(u8, u8),
    /// Another IP protocol, by its number.
    Protocol(u8),
    /// No IP: the EtherType, 0 where not even that was read.
    Link(u16),
}

impl fmt::Display for Transport {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp => formatter.write_str("tcp"),
            Self::Udp => formatter.write_str("udp"),
            Self::Icmp(..) => formatter.write_str("icmp"),
            Self::Icmpv6(..) => formatter.write_str("icmpv6"),
            Self::Protocol(number) => Carrier::Protocol(*number).fmt(formatter),
            Self::Link(ether_type) => write!(formatter, "ethertype {ether_type:#06x}"),
        }
    }
}

/// A denied packet, or one that an audit let pass. Ports and numbers in host byte order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Denial {
    /// When the reader saw it; the ring is read at least every 100 ms.
    pub time: Timestamp,
    /// Which way it went.
    pub direction: Direction,
    /// Where the program is attached.
    pub hook: Hook,
    /// The interface's index.
    pub interface_index: u32,
    /// The interface's name, or `if7` where the index has none (any more).
    pub interface: Arc<str>,
    /// What carried it.
    pub transport: Transport,
    /// Source; none where no IP header was read.
    pub source: Option<IpAddr>,
    /// Destination; none where no IP header was read.
    pub destination: Option<IpAddr>,
    /// Source port; none without ports, or where they were not read.
    pub source_port: Option<u16>,
    /// Destination port; none without ports, or where they were not read.
    pub destination_port: Option<u16>,
    /// TCP flags (RFC 9293 §3.1); none for other transports, or where they were not read.
    pub tcp_flags: Option<u8>,
    /// Octets of the frame as the hook counts them.
    pub length: u32,
    /// [`Action::Deny`] or [`Action::Audit`].
    pub action: Action,
    /// Why.
    pub reason: Reason,
    /// Index of the rule that decided, or of the first rule with this port; it belongs to `generation`.
    pub rule: Option<u16>,
    /// The policy that decided.
    pub generation: u32,
    /// The bank that the policy lay in.
    pub bank: u8,
    /// Tick of the decision ([`agent_common::tables::TICK_SHIFT`]).
    pub tick: u32,
    /// The sending socket's user, where the hook knows it.
    pub uid: Option<u32>,
    /// The sending cgroup's id, where the hook knows it.
    pub cgroup: Option<u64>,
}

/// What a denied packet asked for, seen from who began the flow.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct Asked {
    /// The service's port: the destination of the flow's first packet. For ICMP type and code, for a protocol without ports 0.
    pub port: u16,
    /// The packet answers: the flow it belongs to began at its receiver.
    pub answers: bool,
}

impl Denial {
    /// The other end's address.
    pub fn peer(&self) -> Option<IpAddr> {
        match self.direction {
            Direction::Ingress => self.source,
            Direction::Egress => self.destination,
        }
    }

    /// Which port is the service's. A TCP packet with SYN says who began; of the others it is judged by the ephemeral range of this
    /// host, out of which its own questions come.
    pub fn asked(&self, ephemeral: &RangeInclusive<u16>) -> Asked {
        let ports = self.source_port.zip(self.destination_port);
        Asked::of(
            self.transport,
            ports,
            self.tcp_flags.unwrap_or(0),
            ephemeral,
        )
    }
}

impl Asked {
    /// As [`Denial::asked`], of a packet with these ports (source and destination, where they were read).
    pub fn of(
        transport: Transport,
        ports: Option<(u16, u16)>,
        tcp_flags: u8,
        ephemeral: &RangeInclusive<u16>,
    ) -> Self {
        let first = |port| Self {
            port,
            answers: false,
        };
        let (source, destination) = match (transport, ports) {
            (Transport::Icmp(kind, code) | Transport::Icmpv6(kind, code), _) => {
                return first(u16::from_be_bytes([kind, code]));
            }
            (_, Some(ports)) => ports,
            (_, None) => return first(0),
        };
        let answers = if tcp_flags & tcp::SYN != 0 {
            tcp_flags & tcp::ACK != 0
        } else {
            // A server's port towards one that a client takes: 443 > 40022. Where both or neither lie in the range, nothing is known.
            ephemeral.contains(&destination) && !ephemeral.contains(&source) && source != 0
        };
        if answers {
            Self {
                port: source,
                answers,
            }
        } else {
            first(destination)
        }
    }
}

/// Octets that are no event. Each is a packet that the kernel side counted as reported.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum DecodeError {
    /// Not the size of an event.
    #[error(
        "an event has {EVENT_SIZE} octets, this one {0}: the running programs are of another version"
    )]
    Length(usize),
    /// Neither ingress nor egress.
    #[error("{0} is no direction")]
    Direction(u8),
    /// No known hook.
    #[error("{0} is no hook")]
    Hook(u8),
    /// No known reason.
    #[error("{0} is no reason")]
    Reason(u8),
    /// Neither denied nor audited.
    #[error("{0} is no action that is reported")]
    Action(u8),
    /// No known address family.
    #[error("{0} is no address family")]
    Family(u16),
}

/// Little-endian fields one after the other, as `DenyEvent` lays them out.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        match self.0.split_first_chunk::<N>() {
            Some((head, rest)) => {
                self.0 = rest;
                *head
            }
            // The length was checked before the first field.
            None => [0; N],
        }
    }
    fn byte(&mut self) -> u8 {
        let [byte] = self.take();
        byte
    }
    fn short(&mut self) -> u16 {
        u16::from_le_bytes(self.take())
    }
    fn word(&mut self) -> u32 {
        u32::from_le_bytes(self.take())
    }
    fn long(&mut self) -> u64 {
        u64::from_le_bytes(self.take())
    }
    fn address(&mut self) -> [u64; 2] {
        [self.long(), self.long()]
    }
}

/// Reads one event. `time` is now; `name` gives an interface's name.
///
/// # Errors
///
/// Where the octets are no event; any octets give a value or an error.
pub fn decode(
    octets: &[u8],
    time: Timestamp,
    name: impl FnOnce(u32) -> Option<Arc<str>>,
) -> Result<Denial, DecodeError> {
    if octets.len() != EVENT_SIZE {
        return Err(DecodeError::Length(octets.len()));
    }
    let mut fields = Fields(octets);
    let (source, destination) = (fields.address(), fields.address());
    let (source_port, destination_port) = (fields.short(), fields.short());
    let length = fields.word();
    let ether_type = fields.short();
    let (protocol, tcp_flags) = (fields.byte(), fields.byte());
    let (family, _) = (fields.short(), fields.short());
    let verdict = Verdict(fields.word());
    let (generation, interface_index, tick) = (fields.word(), fields.word(), fields.word());
    let uid = fields.word();
    let (bank, direction, hook) = (fields.byte(), fields.byte(), fields.byte());
    let _: [u8; 1] = fields.take();
    let cgroup = fields.long();

    let direction = match direction {
        0 => Direction::Ingress,
        1 => Direction::Egress,
        other => return Err(DecodeError::Direction(other)),
    };
    let hook = match hook {
        0 => Hook::Xdp,
        1 => Hook::Tc,
        other => return Err(DecodeError::Hook(other)),
    };
    let reason =
        Reason::from_id(verdict.reason_id()).ok_or(DecodeError::Reason(verdict.reason_id()))?;
    let action = match (verdict.0 >> 24 & 3) as u8 {
        0 => Action::Deny,
        2 => Action::Audit,
        other => return Err(DecodeError::Action(other)),
    };
    let addresses = match family {
        0 => None,
        4 | 6 => Some((address(source), address(destination))),
        other => return Err(DecodeError::Family(other)),
    };
    let transport = transport_of(family, ether_type, protocol, source_port);
    // Ports are zero where their header was not reached; what the decision saw of a whole header is never both zero in earnest.
    let ports = matches!(transport, Transport::Tcp | Transport::Udp)
        && !(reason.is_structural() && source_port == 0 && destination_port == 0);
    Ok(Denial {
        time,
        direction,
        hook,
        interface_index,
        interface: name(interface_index)
            .unwrap_or_else(|| Arc::from(format!("if{interface_index}"))),
        transport,
        source: addresses.map(|(source, _)| source),
        destination: addresses.map(|(_, destination)| destination),
        source_port: ports.then_some(source_port),
        destination_port: ports.then_some(destination_port),
        tcp_flags: (ports && transport == Transport::Tcp).then_some(tcp_flags),
        length,
        action,
        reason,
        rule: (verdict.rule() != NO_RULE).then_some(verdict.rule()),
        generation,
        bank,
        tick,
        // Without a socket the kernel gives the overflow uid, which is somebody's, and cgroup 0, which is nobody's.
        uid: (uid != DenyEvent::NO_UID && cgroup != 0).then_some(uid),
        cgroup: (cgroup != 0).then_some(cgroup),
    })
}

fn transport_of(family: u16, ether_type: u16, protocol: u8, kind_and_code: u16) -> Transport {
    let [kind, code] = kind_and_code.to_be_bytes();
    let is_ip = [EtherType::IPV4.0, EtherType::IPV6.0].contains(&ether_type);
    match (family, IpProto(protocol)) {
        (0, _) if !is_ip => Transport::Link(ether_type),
        (0, _) => Transport::Protocol(protocol),
        (_, IpProto::TCP) => Transport::Tcp,
        (_, IpProto::UDP) => Transport::Udp,
        (4, IpProto::ICMP) => Transport::Icmp(kind, code),
        (6, IpProto::ICMPV6) => Transport::Icmpv6(kind, code),
        _ => Transport::Protocol(protocol),
    }
}

/// An address from 128 bits, most significant half first; IPv4 is mapped (RFC 4291 §2.5.5.2).
pub(crate) fn address([high, low]: [u64; 2]) -> IpAddr {
    Ipv6Addr::from_bits(u128::from(high) << 64 | u128::from(low)).to_canonical()
}

#[cfg(test)]
pub(crate) mod tests;
