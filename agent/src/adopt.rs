//! Flows that were open before anything was attached: what the kernel remembers of them, as entries of the flow tables. Pure.
//!
//! Two witnesses. netfilter's connection tracking saw who sent first and knows what has no socket of its own: datagrams from sockets that
//! are not connected, what this host forwards or translates. The sockets know of every connection, and of who began that something
//! listens on the local port or does not.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, SocketAddr};

use agent_common::flow::{Began, FlowEntry, FlowKey, FlowState, FlowTable, asked_slot};
use agent_common::net::{IpProto, V6};
use agent_common::tables::NO_RULE;
use agent_common::verdict::Action;
use serde::{Deserialize, Serialize};

pub(crate) mod decode;

/// What carries a flow; others have no entries that could outlive a packet or two.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Carrier {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl Carrier {
    /// That of an IP protocol; `None` for one without entries of its own.
    #[must_use]
    pub const fn of(protocol: u8) -> Option<Self> {
        match IpProto(protocol) {
            IpProto::TCP => Some(Self::Tcp),
            IpProto::UDP => Some(Self::Udp),
            _ => None,
        }
    }

    const fn protocol(self) -> IpProto {
        match self {
            Self::Tcp => IpProto::TCP,
            Self::Udp => IpProto::UDP,
        }
    }
}

impl fmt::Display for Carrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

/// Both ends of a packet. Ports in host byte order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Tuple {
    pub(crate) source: SocketAddr,
    pub(crate) destination: SocketAddr,
}

/// A flow as connection tracking remembers it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Tracked {
    pub(crate) carrier: Carrier,
    /// Its first packet, before any translation.
    pub(crate) original: Tuple,
    /// The answer to it as it comes in, before it is translated back.
    pub(crate) reply: Tuple,
    /// Where it stands; `None` where it is over.
    pub(crate) state: Option<FlowState>,
    /// It was met in the middle: whose packet was seen first says nothing of who began.
    pub(crate) met_midway: bool,
}

/// A socket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Socket {
    pub(crate) carrier: Carrier,
    pub(crate) local: SocketAddr,
    pub(crate) end: End,
}

/// What is at the other end of a socket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum End {
    /// Anybody: it listens, or is UDP that is not connected.
    Anybody,
    /// This peer.
    Peer(SocketAddr, FlowState),
}

/// Who sent the first packet of a flow.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Beginner {
    /// This host, or one that it forwards for.
    Host,
    /// The other end.
    Peer,
}

/// A flow that is open.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct OpenFlow {
    pub(crate) ends: Ends,
    pub(crate) beginner: Beginner,
    pub(crate) state: FlowState,
}

/// A flow by its ends, as the guarded interface sees it: after this host has translated what it sends.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct Ends {
    /// What carries it.
    #[serde(rename = "transport")]
    pub carrier: Carrier,
    /// This host's end.
    pub local: SocketAddr,
    /// The other end.
    pub peer: SocketAddr,
}

/// What is known of this host besides.
#[derive(Clone, Debug, Default)]
pub(crate) struct Host {
    /// Its addresses.
    pub(crate) own: BTreeSet<IpAddr>,
    /// What it forwards is judged by the same rules as its own, and so has entries.
    pub(crate) same_rules: bool,
}

impl Host {
    fn is_own(&self, address: IpAddr) -> bool {
        address.is_loopback() || self.own.contains(&address)
    }

    /// Whether flows to this address have an entry: not within the host, not to a group.
    fn is_peer(&self, address: IpAddr) -> bool {
        let broadcast = IpAddr::from([255; 4]);
        !self.is_own(address)
            && !address.is_multicast()
            && !address.is_unspecified()
            && address != broadcast
    }
}

/// The flows that both witnesses know, in the order of their ends. Who began is what connection tracking saw; where it saw no beginning,
/// what the sockets say. Where a flow stands is what its socket says.
pub(crate) fn open_flows(host: &Host, tracked: &[Tracked], sockets: &[Socket]) -> Vec<OpenFlow> {
    let ports = sockets.iter().filter(|it| it.end == End::Anybody);
    let listening: BTreeSet<(Carrier, u16)> =
        ports.map(|it| (it.carrier, it.local.port())).collect();
    let mut found = BTreeMap::new();
    for Socket {
        carrier,
        local,
        end,
    } in sockets
    {
        let End::Peer(peer, state) = *end else {
            continue;
        };
        if !host.is_peer(peer.ip()) || local.ip().is_loopback() {
            continue;
        }
        let beginner = if listening.contains(&(*carrier, local.port())) {
            Beginner::Peer
        } else {
            Beginner::Host
        };
        let ends = Ends {
            carrier: *carrier,
            local: *local,
            peer,
        };
        found.insert(ends, (beginner, state));
    }
    for it in tracked {
        for (ends, beginner) in sides(host, it) {
            match (found.get_mut(&ends), it.state) {
                (Some(_), _) if it.met_midway => {}
                (Some((before, _)), _) => *before = beginner,
                (None, Some(state)) => {
                    found.insert(ends, (beginner, state));
                }
                (None, None) => {}
            }
        }
    }
    let flow = |(ends, (beginner, state))| OpenFlow {
        ends,
        beginner,
        state,
    };
    found.into_iter().map(flow).collect()
}

/// A tracked flow as guarded interfaces see it. One that comes in and is translated both ways is two: the peer's here, and this host's there.
fn sides(host: &Host, it: &Tracked) -> impl Iterator<Item = (Ends, Beginner)> {
    let Tracked {
        carrier,
        original,
        reply,
        ..
    } = *it;
    let (near, far) = (reply.destination, reply.source);
    let goes_out = (host.same_rules || host.is_own(near.ip())) && host.is_peer(far.ip());
    let out = goes_out.then_some((near, far, Beginner::Host));
    let (near, far) = (original.destination, original.source);
    let comes_in = host.is_own(near.ip()) && host.is_peer(far.ip());
    let into = comes_in.then_some((near, far, Beginner::Peer));
    let side = move |(local, peer, beginner)| {
        let ends = Ends {
            carrier,
            local,
            peer,
        };
        (ends, beginner)
    };
    out.into_iter().chain(into).map(side)
}

/// What the flow tables get for one flow.
#[derive(Debug)]
pub(crate) enum Note {
    /// This host began: an entry, and the stamp of its port.
    Entry {
        table: FlowTable,
        key: FlowKey,
        entry: FlowEntry,
        stamp: (Began, u16),
    },
    /// The peer asked over UDP: the stamp of its question, without which nothing is an answer.
    Question(u16),
    /// The peer began over TCP: what it sends and what it is answered goes by the rules alone.
    Nothing,
}

impl Note {
    /// Whether it is for this table; what is no entry comes with the new flows.
    pub(crate) fn belongs_to(&self, wanted: FlowTable) -> bool {
        match self {
            Self::Entry { table, .. } => *table == wanted,
            Self::Question(_) | Self::Nothing => wanted == FlowTable::New,
        }
    }
}

impl OpenFlow {
    /// What is entered at tick `now`. An entry is one of generation 0: the next packet is judged by the rules that are in force then.
    pub(crate) fn note(&self, now: u32) -> Note {
        let Ends {
            carrier,
            local,
            peer,
        } = self.ends;
        let (near, far) = (wide(local.ip()), wide(peer.ip()));
        if self.beginner == Beginner::Peer {
            return match carrier {
                Carrier::Tcp => Note::Nothing,
                Carrier::Udp => {
                    Note::Question(asked_slot([far.0, far.1], peer.port(), local.port()))
                }
            };
        }
        let table = if self.state == FlowState::Established {
            FlowTable::Established
        } else {
            FlowTable::New
        };
        let began = match carrier {
            Carrier::Tcp => Began::Tcp,
            Carrier::Udp => Began::Udp,
        };
        Note::Entry {
            table,
            key: FlowKey::new(carrier.protocol(), near, local.port(), far, peer.port()),
            entry: FlowEntry::new(now, 0, self.state, Action::Allow, NO_RULE),
            stamp: (began, local.port()),
        }
    }
}

/// An address as keys hold it: IPv4 as `::ffff:a.b.c.d`.
fn wide(address: IpAddr) -> V6 {
    let bits = match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits(),
    };
    V6((bits >> 64) as u64, bits as u64)
}

impl fmt::Display for Ends {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} with {}", self.carrier, self.local, self.peer)
    }
}

#[cfg(test)]
mod tests;
