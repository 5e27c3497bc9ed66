//! Flows that this host began, answers to what was let in, and what begins one.

use std::net::IpAddr;

use agent_common::event::Direction;
use agent_common::verdict::{Action, Reason};

use super::icmp::{ECHO, V6_ECHO};
use super::rules::{Does, Stand, What};
use super::{Judged, Reference, pass};
use crate::facts::PortRange;

/// A flow as the host sees it: protocol, own end, other end.
pub(super) type Flow = (u8, (IpAddr, u16), (IpAddr, u16));

#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    generation: u32,
    action: Action,
    rule: Option<usize>,
}

impl Reference {
    /// What a member of a group answers, from the link.
    fn member(&self, flow: Flow) -> Option<Judged> {
        let (_, own, (peer, peer_port)) = flow;
        let rule = *self.windows.get(&(own, peer_port))?;
        let on_link = self.on_link.iter().any(|it| it.contains(&peer));
        on_link.then_some(Judged {
            rule,
            ..pass(Reason::Reply)
        })
    }

    /// TCP with these flags, or UDP, to one address of this host.
    pub(super) fn segment_in(&mut self, flow: Flow, flags: Option<u8>) -> Judged {
        let (protocol, (_, port), (peer, peer_port)) = flow;
        let what = transport(protocol, port);
        let stand = self.stand(Direction::Ingress, what, peer);
        let begins = flags.is_some_and(begins);
        let asks_entry = self.asks_entry(port, stand);
        if !begins && stand.does != Does::Block && (stand.does != Does::Allow || asks_entry) {
            let reply = self.entry(flow);
            // What the rules allow is allowed; the entry only lives on.
            if let Some(judged) = reply
                && stand.does != Does::Allow
            {
                return judged;
            }
            if flags.is_none()
                && stand.does != Does::Allow
                && let Some(judged) = self.member(flow)
            {
                return judged;
            }
        }
        let mut judged = stand.judged();
        match flags {
            // A connection from outside is told of at its SYN.
            Some(_) if judged.action == Action::Audit => judged.reported = begins,
            None if judged.action != Action::Deny => {
                self.asked.insert(slot(peer, peer_port, port));
            }
            _ => {}
        }
        judged
    }

    /// TCP with these flags, or UDP, from this host to one address.
    pub(super) fn segment_out(&mut self, flow: Flow, flags: Option<u8>) -> Judged {
        let (protocol, (_, port), (peer, peer_port)) = flow;
        let there = self.stand(Direction::Egress, transport(protocol, peer_port), peer);
        if there.does == Does::Block {
            return there.judged();
        }
        if flags.is_some_and(begins) {
            return self.begin(flow, flags, there);
        }
        let here = self.stand(Direction::Ingress, transport(protocol, port), peer);
        let answers = match flags {
            Some(_) => here.passes(),
            // A question needs an answer, whether it came to this host alone or by way of a group.
            None => {
                (here.passes() || here.asked_by_group)
                    && self.asked.contains(&slot(peer, peer_port, port))
            }
        };
        let entry_decides = self.asks_entry(port, here) || here.does == Does::Block;
        if (entry_decides || !answers)
            && let Some(judged) = self.entry(flow)
        {
            return judged;
        }
        if here.does == Does::Block {
            return here.judged();
        }
        if answers {
            return here.answer();
        }
        self.begin(flow, flags, there)
    }

    /// What belongs to no flow and answers nothing; what passes begins a flow, except for what only goes on or ends one.
    fn begin(&mut self, flow: Flow, flags: Option<u8>, rules: Stand) -> Judged {
        let judged = rules.judged();
        let goes_on = flags.is_some_and(|flags| !begins(flags) && flags & (SYN | RST) != 0);
        if judged.action != Action::Deny && !goes_on {
            self.enter(flow, judged);
        }
        judged
    }

    pub(super) fn enter(&mut self, flow: Flow, judged: Judged) {
        let entry = Entry {
            generation: self.generation,
            action: judged.action,
            rule: judged.rule,
        };
        self.flows.insert(flow, entry);
    }

    /// What the entry of a flow says of its packets. One of an earlier policy is judged again, as the host would begin it now.
    pub(super) fn entry(&mut self, flow: Flow) -> Option<Judged> {
        let entry = *self.flows.get(&flow)?;
        let entry = if entry.generation == self.generation {
            entry
        } else {
            let now = self.rules_of(flow);
            match now.does {
                Does::Block => return Some(now.judged()),
                Does::Deny => {
                    return Some(Judged {
                        reason: Reason::Ended,
                        ..now.judged()
                    });
                }
                Does::Allow | Does::Audit => {}
            }
            self.enter(flow, now.judged());
            *self.flows.get(&flow)?
        };
        Some(Judged {
            action: entry.action,
            reason: Reason::Reply,
            rule: entry.rule,
            reported: false,
            through: false,
        })
    }

    /// Whether the host may send in a flow that something quotes. Leaves nothing behind.
    pub(super) fn lives(&self, flow: Flow) -> bool {
        self.flows.get(&flow).is_some_and(|entry| {
            entry.generation == self.generation || self.rules_of(flow).passes()
        })
    }

    /// What the rules say of a flow as this host begins it.
    fn rules_of(&self, flow: Flow) -> Stand {
        let (protocol, _, (peer, peer_port)) = flow;
        let what = match protocol {
            1 => What::Icmp(ECHO),
            58 => What::Icmpv6(V6_ECHO),
            _ => transport(protocol, peer_port),
        };
        self.stand(Direction::Egress, what, peer)
    }

    /// Whether a local port is no evidence of a service: the kernel gives it to flows of the host, or no rule names it.
    fn asks_entry(&self, port: u16, stand: Stand) -> bool {
        let within = |range: &PortRange| range.first <= port && port <= range.last;
        let given_away = within(&self.ephemeral) && !self.reserved.iter().any(within);
        given_away || (stand.by_default && stand.passes())
    }
}

pub(super) const FIN: u8 = 1;
pub(super) const SYN: u8 = 2;
pub(super) const RST: u8 = 4;
pub(super) const ACK: u8 = 16;
pub(super) const URG: u8 = 32;

/// A SYN without ACK answers nothing: no simultaneous open (RFC 9293 section 3.5, figure 8).
pub(super) const fn begins(flags: u8) -> bool {
    flags & SYN != 0 && flags & ACK == 0
}

/// Flags of segments that stacks send: one of SYN, RST, FIN at most, and an acknowledgement but with SYN or RST. The urgent pointer goes
/// with data, which neither a SYN-ACK nor a RST has.
pub(super) const fn is_sent_by_stacks(flags: u8) -> bool {
    let (fin, syn, rst) = (flags & FIN != 0, flags & SYN != 0, flags & RST != 0);
    let (ack, urgent) = (flags & ACK != 0, flags & URG != 0);
    match (syn, rst, fin) {
        (true, false, false) => !(ack && urgent),
        (false, true, false) => !urgent,
        (false, false, _) => ack,
        _ => false,
    }
}

pub(super) const fn transport(protocol: u8, port: u16) -> What {
    if protocol == 6 {
        What::Tcp(port)
    } else {
        What::Udp(port)
    }
}

/// Where a question is noted: one table of a fixed size holds all of them, and two may fall on one place.
pub(super) fn slot(peer: IpAddr, peer_port: u16, port: u16) -> u16 {
    let wide = match peer {
        IpAddr::V4(peer) => peer.to_ipv6_mapped().to_bits(),
        IpAddr::V6(peer) => peer.to_bits(),
    };
    agent_common::flow::asked_slot([(wide >> 64) as u64, wide as u64], peer_port, port)
}
