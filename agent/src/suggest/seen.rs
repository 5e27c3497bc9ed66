//! What was seen: the entries of a journal or of a JSON sink, gathered by flow.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::ops::RangeInclusive;

use agent_common::event::Direction;
use agent_common::net::tcp;
use jiff::Timestamp;
use serde_json::Value;

use crate::events::decode::{Asked, Transport};
use crate::events::explain::probe::Probe;
use crate::events::explain::read::Event;
use crate::events::{Knowledge, Message};

/// A flow as somebody began it: who asked whom for what. Ports in host byte order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Flow {
    /// Which way it began, seen from this host.
    pub incoming: bool,
    /// What carried it.
    pub transport: Transport,
    /// The service's port; type and code for ICMP, 0 for other protocols.
    pub port: u16,
    /// The other end.
    pub peer: IpAddr,
}

impl Flow {
    /// Which way it began.
    #[must_use]
    pub const fn direction(&self) -> Direction {
        match self.incoming {
            true => Direction::Ingress,
            false => Direction::Egress,
        }
    }
}

/// What was seen of a flow.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sight {
    /// One of its packets, as the first of a flow.
    pub probe: Probe,
    /// Packets.
    pub packets: u64,
    /// When the first came.
    pub first: Timestamp,
    /// When the last came.
    pub last: Timestamp,
    /// Units of this host that sent them, where they are known.
    pub units: BTreeSet<String>,
    /// It went to a multicast or broadcast address.
    pub to_group: bool,
}

/// Everything that was seen in a period.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Flows, by who asked whom for what.
    pub flows: BTreeMap<Flow, Sight>,
    /// Packets that no configuration could admit: fragments, impossible headers, what is no IP.
    pub at_fault: u64,
    /// Packets that answered nobody's question, or too late.
    pub answers: u64,
    /// Packets of peers that are blocked on purpose.
    pub blocked: u64,
    /// Packets that were counted and not told apart.
    pub untold: u64,
    /// Packets whose entries were lost on their way.
    pub lost: u64,
    /// Entries that could not be understood, the first with what was wrong.
    pub unread: Vec<String>,
    /// The first and the last packet.
    pub period: Option<(Timestamp, Timestamp)>,
}

impl Seen {
    /// Takes an entry in: a line of a JSON sink, or of `journalctl -o json`. Entries about something else are passed over. `ephemeral` is
    /// the range of ports of this host's own questions.
    pub fn take(&mut self, entry: &Value, knowledge: &Knowledge, ephemeral: &RangeInclusive<u16>) {
        let text = |name: &str, journal: &str| {
            let value = entry.get(name).or_else(|| entry.get(journal));
            value.and_then(|value| match value {
                Value::String(text) => Some(text.clone()),
                Value::Number(number) => Some(number.to_string()),
                _ => None,
            })
        };
        let packets = text("count", "PORTCULLIS_COUNT");
        let packets = packets.and_then(|count| count.parse().ok()).unwrap_or(1);
        match text("message_id", "MESSAGE_ID").as_deref() {
            Some(id) if id == Message::Overflow.id() => return self.untold += packets,
            Some(id) if id == Message::Lost.id() => return self.lost += packets,
            _ => {}
        }
        if text("verdict", "PORTCULLIS_VERDICT").is_none() {
            return;
        }
        let event = match Event::read(entry) {
            Ok(event) => event,
            Err(error) => return self.unread.push(format!("{error:#}")),
        };
        let time = |name| entry.get(name).and_then(Value::as_str)?.parse().ok();
        let last = time("last").or_else(|| journal_time(entry));
        let last = last.unwrap_or(Timestamp::UNIX_EPOCH);
        let first = time("first").unwrap_or(last);
        let unit = text("unit", "PORTCULLIS_UNIT");
        self.add(&event, packets, (first, last), unit, knowledge, ephemeral);
    }

    fn add(
        &mut self,
        event: &Event,
        packets: u64,
        (first, last): (Timestamp, Timestamp),
        unit: Option<String>,
        knowledge: &Knowledge,
        ephemeral: &RangeInclusive<u16>,
    ) {
        let (begin, end) = self.period.unwrap_or((first, last));
        self.period = Some((begin.min(first), end.max(last)));
        if event.reason == agent_common::verdict::Reason::Block {
            self.blocked += packets;
            return;
        }
        let to_group = event.reason == agent_common::verdict::Reason::Group;
        let (Some(mut probe), false) = (event.probe(), event.is_at_fault() && !to_group) else {
            self.at_fault += packets;
            return;
        };
        let ports = event.source_port.zip(event.destination_port);
        let mut asked = Asked::of(event.transport, ports, event.tcp_flags, ephemeral);
        let begins = event.tcp_flags & tcp::SYN != 0;
        if let (true, false, Some(port)) = (asked.answers, begins, event.destination_port)
            && knowledge.names(event.direction, event.transport, port)
        {
            asked = Asked {
                port,
                answers: false,
            };
        }
        if asked.answers {
            self.answers += packets;
            return;
        }
        if event.transport == Transport::Tcp {
            probe.tcp_flags = tcp::SYN;
        }
        let destination = match event.direction {
            Direction::Ingress => probe.own,
            Direction::Egress => probe.peer,
        };
        let flow = Flow {
            incoming: event.direction == Direction::Ingress,
            transport: event.transport,
            port: asked.port,
            peer: probe.peer,
        };
        let sight = self.flows.entry(flow).or_insert_with(|| Sight {
            probe,
            packets: 0,
            first,
            last,
            units: BTreeSet::new(),
            to_group: to_group || is_group(destination),
        });
        sight.packets += packets;
        sight.first = sight.first.min(first);
        sight.last = sight.last.max(last);
        sight.units.extend(unit);
    }
}

fn is_group(address: IpAddr) -> bool {
    address.is_multicast() || address == IpAddr::V4(std::net::Ipv4Addr::BROADCAST)
}

/// When journald took the entry, in microseconds since 1970 (systemd.journal-fields(7)).
fn journal_time(entry: &Value) -> Option<Timestamp> {
    let text = entry.get("__REALTIME_TIMESTAMP")?.as_str()?;
    Timestamp::from_microsecond(text.parse().ok()?).ok()
}
