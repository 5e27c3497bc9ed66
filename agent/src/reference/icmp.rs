//! ICMP and ICMPv6: echo, errors by the packet they quote, neighbour discovery, multicast listeners.

use std::net::IpAddr;

use agent_common::event::Direction;
use agent_common::verdict::Reason;

use super::flow::{slot, transport};
use super::rules::{Does, What};
use super::{Judged, Packet, Quoted, Reference, deny, pass};
use crate::rule::Forward;

/// ICMP echo request (RFC 792).
pub(super) const ECHO: u8 = 8;
/// ICMPv6 echo request (RFC 4443).
pub(super) const V6_ECHO: u8 = 128;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Echo,
    EchoReply,
    Error,
    Redirect,
    Neighbour,
    Router,
    Listener,
    Other,
}

fn kind_of(peer: IpAddr, kind: u8) -> Kind {
    match (peer, kind) {
        (IpAddr::V4(_), ECHO) | (IpAddr::V6(_), V6_ECHO) => Kind::Echo,
        (IpAddr::V4(_), 0) | (IpAddr::V6(_), 129) => Kind::EchoReply,
        (IpAddr::V4(_), 3 | 11 | 12) | (IpAddr::V6(_), 1..=4) => Kind::Error,
        (IpAddr::V4(_), 5) | (IpAddr::V6(_), 137) => Kind::Redirect,
        (IpAddr::V6(_), 133 | 135 | 136) => Kind::Neighbour,
        (IpAddr::V6(_), 134) => Kind::Router,
        (IpAddr::V6(_), 130 | 131 | 132 | 143) => Kind::Listener,
        _ => Kind::Other,
    }
}

const fn message(peer: IpAddr, kind: u8) -> What {
    match peer {
        IpAddr::V4(_) => What::Icmp(kind),
        IpAddr::V6(_) => What::Icmpv6(kind),
    }
}

const fn echo(peer: IpAddr) -> What {
    match peer {
        IpAddr::V4(_) => What::Icmp(ECHO),
        IpAddr::V6(_) => What::Icmpv6(V6_ECHO),
    }
}

const fn protocol(peer: IpAddr) -> u8 {
    match peer {
        IpAddr::V4(_) => 1,
        IpAddr::V6(_) => 58,
    }
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}

/// What only the link itself may send, and did not (RFC 4861 sections 6.1 and 7.1, RFC 2710 section 3).
fn is_off_link(packet: &Packet, kind: Kind) -> bool {
    match kind {
        Kind::Neighbour => packet.hop_limit != 255,
        Kind::Router => packet.hop_limit != 255 || !is_link_local(packet.source),
        Kind::Listener => {
            let from_link = is_link_local(packet.source) || packet.source.is_unspecified();
            packet.hop_limit != 1 || !packet.router_alert || !from_link
        }
        _ => false,
    }
}

impl Reference {
    pub(super) fn icmp(
        &mut self,
        packet: &Packet,
        peer: IpAddr,
        own: IpAddr,
        kind: u8,
        identifier: u16,
        quoted: Option<Quoted>,
    ) -> Judged {
        let direction = packet.direction;
        let sort = kind_of(peer, kind);
        if sort == Kind::Redirect {
            return deny(Reason::Redirect);
        }
        if direction == Direction::Ingress {
            if is_off_link(packet, sort) {
                return deny(Reason::OffLink);
            }
            if matches!(sort, Kind::Echo | Kind::EchoReply) && packet.is_to_group() {
                return deny(Reason::Group);
            }
        }
        let stand = self.stand(direction, message(peer, kind), peer);
        if stand.does == Does::Block {
            return stand.judged();
        }
        let flow = (protocol(peer), (own, identifier), (peer, 0));
        match (sort, direction) {
            (Kind::Echo, Direction::Egress) => {
                if let Some(judged) = self.entry(flow) {
                    return judged;
                }
                let judged = stand.judged();
                if stand.passes() {
                    self.enter(flow, judged);
                }
                judged
            }
            (Kind::EchoReply, Direction::Egress) => {
                let asked = self.stand(Direction::Ingress, echo(peer), peer);
                match asked.does {
                    Does::Block => asked.judged(),
                    Does::Allow | Does::Audit => asked.answer(),
                    Does::Deny => stand.judged(),
                }
            }
            (Kind::EchoReply, Direction::Ingress) if stand.does != Does::Allow => {
                self.entry(flow).unwrap_or(stand.judged())
            }
            (Kind::Error, _) if stand.does != Does::Allow => {
                let related = quoted.is_some_and(|quoted| {
                    // An error goes to whom the packet came from.
                    quoted.source == packet.destination
                        && match direction {
                            Direction::Ingress => self.would_send(quoted),
                            Direction::Egress => self.lets_in(quoted),
                        }
                });
                match (related, stand.does) {
                    (true, _) => pass(Reason::Related),
                    (false, Does::Audit) => stand.judged(),
                    (false, _) => deny(Reason::Unrelated),
                }
            }
            _ => stand.judged(),
        }
    }

    /// Whether this host would have sent the quoted packet: in a flow of its own, or as an answer.
    fn would_send(&self, quoted: Quoted) -> bool {
        let (own, peer) = (quoted.source, quoted.destination);
        if quoted.protocol == protocol(peer) {
            return match kind_of(peer, quoted.first as u8) {
                Kind::Echo => self.lives((quoted.protocol, (own, quoted.second), (peer, 0))),
                Kind::EchoReply => self.stand(Direction::Ingress, echo(peer), peer).passes(),
                _ => false,
            };
        }
        if !matches!(quoted.protocol, 6 | 17) {
            return false;
        }
        let flow = (quoted.protocol, (own, quoted.first), (peer, quoted.second));
        let here = transport(quoted.protocol, quoted.first);
        let asked = || {
            let slot = slot(peer, quoted.second, quoted.first);
            quoted.protocol == 6 || self.asked.contains(&slot)
        };
        let stand = self.stand(Direction::Ingress, here, peer);
        self.lives(flow) || ((stand.passes() || stand.asked_by_group) && asked())
    }

    /// Whether the quoted packet was one that may come in, or go on to another host.
    fn lets_in(&self, quoted: Quoted) -> bool {
        let (peer, own) = (quoted.source, quoted.destination);
        if self.forwards && !self.own.contains(&own) && self.rules.forward != Forward::SameRules {
            return self.rules.forward == Forward::Pass;
        }
        if quoted.protocol == protocol(peer) {
            return kind_of(peer, quoted.first as u8) == Kind::Echo
                && self.stand(Direction::Ingress, echo(peer), peer).passes();
        }
        if !matches!(quoted.protocol, 6 | 17) {
            return false;
        }
        let here = transport(quoted.protocol, quoted.second);
        let flow = (quoted.protocol, (own, quoted.second), (peer, quoted.first));
        self.stand(Direction::Ingress, here, peer).passes() || self.lives(flow)
    }
}
