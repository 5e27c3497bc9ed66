//! Which live sessions a policy would cut: looked at before it comes into force by hand.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::rc::Rc;

use agent_common::event::Direction;
use agent_common::flow::{FlowState, FlowTable, stamp};
use agent_common::lookup::Lookup as _;
use agent_common::net::tcp;

use super::enforce::Enforced;
use super::ready::Ready;
use crate::adopt::{Beginner, Carrier, Ends, Note, OpenFlow};
use crate::compile::memory::Memory;
use crate::control::Session;
use crate::events::decode::{Transport, address};
use crate::events::explain::probe::Probe;
use crate::facts::collect::{self, Connection};
use crate::facts::{Facts, Interface};
use crate::rule::Service;

/// What would be lost.
pub(super) struct Cut {
    /// Sessions that pass now and would not.
    pub(super) sessions: Vec<Session>,
    /// Ports of failsafes, those in force and those of the next policy, and the ports of sshd.
    pub(super) failsafe: BTreeSet<u16>,
}

/// The addresses that flows lead to: of connections, and of what the flow tables remember.
pub(super) fn peers(enforced: Option<&Enforced>) -> BTreeSet<IpAddr> {
    let mut peers: BTreeSet<IpAddr> = collect::connections()
        .into_iter()
        .map(|it| it.peer.ip().to_canonical())
        .collect();
    for table in [FlowTable::New, FlowTable::Established] {
        let entries = enforced.map(|it| it.dataplane.flows(table).and_then(|it| it.entries()));
        match entries {
            Some(Ok(entries)) => peers.extend(entries.iter().map(|(key, _)| address(key.peer))),
            Some(Err(error)) => log::warn!("flows can't be read: {error}"),
            None => {}
        }
    }
    peers
}

/// The sessions of this host that pass by `before` (all, where there is none) and would not by `after`.
pub(super) fn cut(before: Option<&Ready>, after: &Ready) -> Cut {
    let memory = |ready: &Ready| Memory::new(Rc::clone(&ready.tables));
    let guarded = after.interfaces();
    let live: Vec<Connection> = collect::connections()
        .into_iter()
        .filter(|it| is_guarded(&after.facts, &guarded, it.local.ip()))
        .collect();
    let mut failsafe = failsafe_ports(after);
    failsafe.extend(before.map(failsafe_ports).unwrap_or_default());
    Cut {
        sessions: lost(before.map(memory).as_ref(), &memory(after), &live),
        failsafe,
    }
}

fn lost(before: Option<&Memory>, after: &Memory, live: &[Connection]) -> Vec<Session> {
    let lost = live
        .iter()
        .filter(|it| !passes(after, it) && before.is_none_or(|before| passes(before, it)));
    lost.map(|it| Session {
        local: it.local,
        peer: it.peer,
    })
    .collect()
}

/// Whether the next segment passes, of a flow that nobody remembers: the peer's where the peer began, else this host's.
fn passes(host: &Memory, connection: &Connection) -> bool {
    let ends = Ends {
        carrier: Carrier::Tcp,
        local: connection.local,
        peer: connection.peer,
    };
    let beginner = if connection.accepted {
        Beginner::Peer
    } else {
        Beginner::Host
    };
    probe(ends, beginner).judge(host).passes()
}

/// The next packet of whoever began.
fn probe(ends: Ends, beginner: Beginner) -> Probe {
    let Ends {
        carrier,
        local,
        peer,
    } = ends;
    let (direction, source, destination) = match beginner {
        Beginner::Peer => (Direction::Ingress, peer, local),
        Beginner::Host => (Direction::Egress, local, peer),
    };
    Probe {
        direction,
        transport: match carrier {
            Carrier::Tcp => Transport::Tcp,
            Carrier::Udp => Transport::Udp,
        },
        own: local.ip(),
        peer: peer.ip(),
        source_port: source.port(),
        destination_port: destination.port(),
        tcp_flags: tcp::ACK,
    }
}

/// Flows that were open and are entered in the flow tables, of those that come through a guarded interface: which of them this policy does
/// not let go on. `more` is asked before each, so that somebody can stop it.
pub(super) fn ended<'a>(
    ready: &'a Ready,
    flows: &'a [OpenFlow],
    mut more: impl FnMut() -> bool + 'a,
) -> impl Iterator<Item = &'a OpenFlow> {
    let memory = Memory::new(Rc::clone(&ready.tables));
    let guarded = ready.interfaces();
    flows
        .iter()
        .take_while(move |_| more())
        .filter(|flow| flow.state != FlowState::Closing)
        .filter(move |flow| is_guarded(&ready.facts, &guarded, flow.ends.local.ip()))
        .filter(move |flow| !goes_on(&memory, flow))
}

/// Whether the next packet passes, of a flow that is entered.
fn goes_on(host: &Memory, flow: &OpenFlow) -> bool {
    let host = host.fresh();
    if let Note::Entry {
        table,
        key,
        entry,
        stamp: (began, port),
    } = flow.note(host.now())
    {
        host.insert(table, &key, &entry);
        host.set_began(began, port, stamp(host.now()));
    }
    let probe = probe(flow.ends, flow.beginner);
    probe.judge_among(&host).passes()
}

/// Whether packets to this address come through an interface that is guarded; an address of no interface is taken to.
fn is_guarded(facts: &Facts, guarded: &[String], address: IpAddr) -> bool {
    if address.is_loopback() {
        return false;
    }
    let holder = facts
        .interfaces
        .iter()
        .find(|it| it.addresses.iter().any(|own| own.address.addr() == address));
    let Some(holder) = holder else {
        return true;
    };
    let seen = |it: &Interface| guarded.contains(&it.name);
    seen(holder) || facts.any_below(holder, &seen)
}

fn failsafe_ports(ready: &Ready) -> BTreeSet<u16> {
    let rules = ready.resolved.rule_set.rules.iter();
    let failsafes = rules.filter(|rule| rule.id.starts_with("failsafe/"));
    let ranges = failsafes.flat_map(|rule| match &rule.service {
        Service::Tcp(ranges) => ranges.clone(),
        _ => Vec::new(),
    });
    ranges
        .flatten()
        .chain(ready.facts.ssh_ports.iter().copied())
        .collect()
}

#[cfg(test)]
mod tests;
