//! Packets as octets, and a host in memory that sends and gets them: its verdicts in words.

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

use agent_common::event::{Direction, Summary};
use agent_common::judge;
use agent_common::net::IpProto;
use agent_common::verdict::Verdict;

use crate::compile::memory::{Limits, Memory};
use crate::compile::tables::Tables;

/// An IP packet on Ethernet.
#[derive(Clone)]
pub(super) struct Packet {
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
    pub(super) protocol: u8,
    pub(super) hop_limit: u8,
    /// A hop-by-hop header with a router alert comes first.
    pub(super) alert: bool,
    /// The frame goes to a group on the link.
    pub(super) link_group: bool,
    pub(super) payload: Vec<u8>,
}

impl Packet {
    fn new(source: IpAddr, destination: IpAddr, protocol: IpProto, payload: Vec<u8>) -> Self {
        Self {
            source,
            destination,
            protocol: protocol.0,
            hop_limit: 64,
            alert: false,
            link_group: false,
            payload,
        }
    }

    /// The IP packet.
    fn octets(&self) -> Vec<u8> {
        let mut octets = Vec::new();
        let options: &[u8] = if self.alert {
            &[self.protocol, 0, 5, 2, 0, 0, 1, 0]
        } else {
            &[]
        };
        match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let length = (20 + self.payload.len()) as u16;
                octets.extend([0x45, 0]);
                octets.extend(length.to_be_bytes());
                octets.extend([0, 0, 0x40, 0, self.hop_limit, self.protocol, 0, 0]);
                octets.extend(source.octets());
                octets.extend(destination.octets());
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                let length = (options.len() + self.payload.len()) as u16;
                let next = if self.alert { 0 } else { self.protocol };
                octets.extend([0x60, 0, 0, 0]);
                octets.extend(length.to_be_bytes());
                octets.extend([next, self.hop_limit]);
                octets.extend(source.octets());
                octets.extend(destination.octets());
                octets.extend(options);
            }
            _ => panic!("two families in one packet"),
        }
        octets.extend(&self.payload);
        octets
    }

    /// It on Ethernet.
    pub(super) fn frame(&self) -> Vec<u8> {
        let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
        if self.link_group {
            frame[0] |= 1;
        }
        frame.extend(match self.source {
            IpAddr::V4(_) => [0x08, 0x00],
            IpAddr::V6(_) => [0x86, 0xdd],
        });
        frame.extend(self.octets());
        frame
    }
}

fn end(text: &str) -> SocketAddr {
    text.parse().unwrap_or_else(|_| panic!("{text}"))
}

/// A TCP segment between `address:port` and `address:port`.
pub(super) fn tcp(from: &str, to: &str, flags: u8) -> Packet {
    let (from, to) = (end(from), end(to));
    let mut payload = vec![0; 20];
    payload[0..2].copy_from_slice(&from.port().to_be_bytes());
    payload[2..4].copy_from_slice(&to.port().to_be_bytes());
    payload[12] = 5 << 4;
    payload[13] = flags;
    Packet::new(from.ip(), to.ip(), IpProto::TCP, payload)
}

/// A UDP datagram between `address:port` and `address:port`.
pub(super) fn udp(from: &str, to: &str) -> Packet {
    let (from, to) = (end(from), end(to));
    let mut payload = vec![0; 8];
    payload[0..2].copy_from_slice(&from.port().to_be_bytes());
    payload[2..4].copy_from_slice(&to.port().to_be_bytes());
    payload[5] = 8;
    Packet::new(from.ip(), to.ip(), IpProto::UDP, payload)
}

/// An ICMP or ICMPv6 message with these octets after the checksum.
pub(super) fn icmp(from: &str, to: &str, kind: u8, code: u8, rest: &[u8]) -> Packet {
    let (from, to): (IpAddr, IpAddr) = (from.parse().unwrap(), to.parse().unwrap());
    let protocol = if from.is_ipv4() {
        IpProto::ICMP
    } else {
        IpProto::ICMPV6
    };
    let mut payload = vec![kind, code, 0, 0];
    payload.extend(rest);
    Packet::new(from, to, protocol, payload)
}

/// An echo request with this identifier.
pub(super) fn echo(from: &str, to: &str, identifier: u16) -> Packet {
    let kind = if from.contains(':') { 128 } else { 8 };
    let [high, low] = identifier.to_be_bytes();
    icmp(from, to, kind, 0, &[high, low, 0, 1])
}

/// The reply to it.
pub(super) fn echo_reply(from: &str, to: &str, identifier: u16) -> Packet {
    let kind = if from.contains(':') { 129 } else { 0 };
    let [high, low] = identifier.to_be_bytes();
    icmp(from, to, kind, 0, &[high, low, 0, 1])
}

/// "Destination unreachable" about a packet.
pub(super) fn unreachable(from: &str, to: &str, about: &Packet) -> Packet {
    let kind = if from.contains(':') { 1 } else { 3 };
    let mut rest = vec![0; 4];
    rest.extend(about.octets());
    icmp(from, to, kind, 3, &rest)
}

/// A host in memory.
pub(super) struct Host(pub(super) Memory);

impl Host {
    pub(super) fn new(tables: Rc<Tables>) -> Self {
        Self(Memory::new(tables))
    }

    pub(super) fn with_limits(tables: Rc<Tables>, limits: Limits) -> Self {
        Self(Memory::with_limits(tables, limits))
    }

    /// What becomes of a packet to it.
    pub(super) fn gets(&self, packet: &Packet) -> String {
        self.judge(Direction::Ingress, packet)
    }

    /// What becomes of a packet from it.
    pub(super) fn sends(&self, packet: &Packet) -> String {
        self.judge(Direction::Egress, packet)
    }

    fn judge(&self, direction: Direction, packet: &Packet) -> String {
        let frame = packet.frame();
        let verdict = judge::frame(
            direction,
            frame.as_slice(),
            &self.0,
            &mut Summary::default(),
        );
        words(verdict)
    }

    /// Lets seconds pass, at 250 jiffies each.
    pub(super) fn wait(&self, seconds: u32) {
        self.0.advance((u64::from(seconds) * 250 / 64) as u32);
    }
}

/// `allow reply`, `audit no-rule`, `audit reply (quiet)`, `deny block`…
fn words(verdict: Verdict) -> String {
    let action = format!("{:?}", verdict.action()).to_lowercase();
    let quiet = if verdict.is_quiet() { " (quiet)" } else { "" };
    format!("{action} {}{quiet}", verdict.reason().name())
}
