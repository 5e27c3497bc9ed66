//! A packet that was never sent: what the decision would say of it.

use std::net::IpAddr;

use agent_common::event::{Direction, Summary};
use agent_common::judge;
use agent_common::net::{EtherType, IpProto, icmp, tcp};
use agent_common::verdict::Verdict;

use super::Question;
use crate::compile::memory::Memory;
use crate::events::decode::{Asked, Transport};

/// The first packet of a flow, or any single packet. Ports in host byte order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Probe {
    /// Which way it goes.
    pub direction: Direction,
    /// What carries it; no IP packet can't be probed.
    pub transport: Transport,
    /// This host's address.
    pub own: IpAddr,
    /// The other end.
    pub peer: IpAddr,
    /// Source port, where the transport has ports.
    pub source_port: u16,
    /// Destination port, where the transport has ports.
    pub destination_port: u16,
    /// TCP flags.
    pub tcp_flags: u8,
}

impl Probe {
    /// What the decision says of it on a host without any flow: what was judged before leaves no trace.
    pub fn judge(&self, host: &Memory) -> Verdict {
        self.judge_among(&host.fresh())
    }

    /// The same on a host with its flows, which it may continue.
    pub(crate) fn judge_among(&self, host: &Memory) -> Verdict {
        judge::frame(
            self.direction,
            self.frame().as_slice(),
            host,
            &mut Summary::default(),
        )
    }

    /// The packet as an Ethernet frame, without checksums, which no firewall judges by.
    fn frame(&self) -> Vec<u8> {
        let (source, destination) = match self.direction {
            Direction::Ingress => (self.peer, self.own),
            Direction::Egress => (self.own, self.peer),
        };
        let (protocol, payload) = self.payload();
        let mut frame = Vec::with_capacity(96);
        frame.extend(link_address(destination));
        frame.extend([2, 0, 0, 0, 0, 1]);
        match (source, destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                frame.extend(EtherType::IPV4.0.to_be_bytes());
                frame.extend([0x45, 0]);
                frame.extend((payload.len() as u16 + 20).to_be_bytes());
                frame.extend([0, 0, 0, 0, 64, protocol, 0, 0]);
                frame.extend(source.octets());
                frame.extend(destination.octets());
            }
            _ => {
                frame.extend(EtherType::IPV6.0.to_be_bytes());
                frame.extend([0x60, 0, 0, 0]);
                frame.extend((payload.len() as u16).to_be_bytes());
                frame.extend([protocol, 255]);
                frame.extend(wide(source));
                frame.extend(wide(destination));
            }
        }
        frame.extend(payload);
        frame
    }

    fn payload(&self) -> (u8, Vec<u8>) {
        let mut payload = Vec::with_capacity(32);
        payload.extend(self.source_port.to_be_bytes());
        payload.extend(self.destination_port.to_be_bytes());
        match self.transport {
            Transport::Tcp => {
                payload.extend([0; 8]);
                payload.extend([0x50, self.tcp_flags, 255, 255, 0, 0, 0, 0]);
                (IpProto::TCP.0, payload)
            }
            Transport::Udp => {
                payload.extend([0, 8, 0, 0]);
                (IpProto::UDP.0, payload)
            }
            Transport::Icmp(kind, code) => (IpProto::ICMP.0, vec![kind, code, 0, 0, 0, 1, 0, 1]),
            Transport::Icmpv6(kind, code) => {
                let mut message = vec![kind, code, 0, 0, 0, 1, 0, 1];
                // Room for the target of neighbour discovery (RFC 4861 section 4.3).
                message.extend([0; 16]);
                (IpProto::ICMPV6.0, message)
            }
            Transport::Protocol(number) => (number, vec![0; 32]),
            Transport::Link(_) => (IpProto::NO_NEXT.0, Vec::new()),
        }
    }

    /// What to ask where the verdict is no pass.
    pub fn question(&self, verdict: Verdict, time: jiff::Timestamp) -> Question {
        let begins = self.tcp_flags & (tcp::SYN | tcp::ACK) != tcp::SYN | tcp::ACK;
        let port = match self.transport {
            Transport::Icmp(kind, code) | Transport::Icmpv6(kind, code) => {
                u16::from_be_bytes([kind, code])
            }
            _ if begins => self.destination_port,
            _ => self.source_port,
        };
        Question {
            direction: self.direction,
            transport: self.transport,
            peer: Some(self.peer),
            asked: Asked {
                port,
                answers: !begins,
            },
            reason: verdict.reason(),
            audited: verdict.passes(),
            rule: (verdict.rule() != agent_common::tables::NO_RULE).then_some(verdict.rule()),
            time,
        }
    }
}

/// The echo request of an address family.
pub fn echo_of(peer: IpAddr) -> Transport {
    match peer {
        IpAddr::V4(_) => Transport::Icmp(icmp::ECHO, 0),
        IpAddr::V6(_) => Transport::Icmpv6(icmp::V6_ECHO, 0),
    }
}

fn wide(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

/// Where a frame for this address goes on the link: to a group where the address is one (RFC 1112 section 6.4, RFC 2464 section 7).
fn link_address(destination: IpAddr) -> [u8; 6] {
    match destination {
        IpAddr::V4(address) if address.is_broadcast() => [255; 6],
        IpAddr::V4(address) if address.is_multicast() => {
            let [_, b, c, d] = address.octets();
            [1, 0, 0x5e, b & 0x7f, c, d]
        }
        IpAddr::V6(address) if address.is_multicast() => {
            let [.., a, b, c, d] = address.octets();
            [0x33, 0x33, a, b, c, d]
        }
        _ => [2, 0, 0, 0, 0, 2],
    }
}

#[cfg(test)]
mod tests;
