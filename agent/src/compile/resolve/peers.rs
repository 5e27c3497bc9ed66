//! From peers as the operator named them to prefixes on this host.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Subnets, Ipv6Subnets};

use crate::facts::{Facts, Interface};
use crate::host::{self, HostConfig, Peer, PeerSpec, Span};
use crate::rule::Peers;

/// ARPHRD_LOOPBACK (include/uapi/linux/if_arp.h).
pub(super) const LOOPBACK: u16 = 772;

/// Turns peer lists into prefixes, and remembers which names admit nobody.
pub(super) struct PeerBook<'a> {
    facts: &'a Facts,
    own: HashSet<IpAddr>,
    local_subnets: Vec<IpNet>,
    /// Names without an answer, each with the places that name it.
    pub(super) unresolved: BTreeMap<String, Vec<Span>>,
}

impl<'a> PeerBook<'a> {
    pub(super) fn new(config: &HostConfig, facts: &'a Facts) -> Self {
        let local = facts
            .interfaces
            .iter()
            .filter(|interface| config.guards(&interface.name))
            .flat_map(|interface| &interface.addresses)
            .map(|address| address.address.trunc());
        Self {
            facts,
            own: facts.own_addresses().collect(),
            local_subnets: distinct(local),
            unresolved: BTreeMap::new(),
        }
    }

    /// Whom a value of peers admits here: names by their last good answer, own addresses taken
    /// out, each prefix once.
    pub(super) fn admit(&mut self, peers: &host::Peers) -> Peers {
        match &peers.spec {
            PeerSpec::Any => Peers::Any,
            PeerSpec::None => Peers::Prefixes(Vec::new()),
            PeerSpec::List(entries) => {
                let mut prefixes = Vec::with_capacity(entries.len());
                for entry in entries {
                    self.one(&entry.peer, &entry.span, &mut prefixes);
                }
                Peers::Prefixes(distinct(prefixes))
            }
        }
    }

    /// The same for a host name of a policy.
    pub(super) fn name(&mut self, name: &str) -> Vec<IpNet> {
        let mut prefixes = Vec::new();
        self.one(
            &Peer::Name(name.to_ascii_lowercase()),
            &(0..0),
            &mut prefixes,
        );
        prefixes
    }

    /// Addresses as prefixes, own ones taken out.
    pub(super) fn addresses(&self, addresses: impl IntoIterator<Item = IpAddr>) -> Vec<IpNet> {
        let others = addresses
            .into_iter()
            .filter(|address| !self.own.contains(address));
        others.map(IpNet::from).collect()
    }

    /// Where broadcasts of this host go: every subnet's address, and the limited one.
    pub(super) fn broadcasts(&self) -> Vec<IpAddr> {
        let subnets = self
            .facts
            .interfaces
            .iter()
            .flat_map(|interface| &interface.addresses)
            .filter_map(|address| address.broadcast);
        let all: BTreeSet<IpAddr> = subnets
            .chain([std::net::Ipv4Addr::BROADCAST])
            .map(IpAddr::V4)
            .collect();
        all.into_iter().collect()
    }

    /// A prefix that is wider than one address keeps an own address that lies in it: the kernel
    /// takes no packet from outside with one as its source, and a list that falls into a dozen
    /// pieces is not the one that the operator wrote.
    fn one(&mut self, peer: &Peer, span: &Span, prefixes: &mut Vec<IpNet>) {
        match peer {
            Peer::Prefix(prefix) => {
                let alone = prefix.prefix_len() == prefix.max_prefix_len();
                if !(alone && self.own.contains(&prefix.addr())) {
                    prefixes.push(*prefix);
                }
            }
            Peer::Range(first, last) => prefixes.extend(self.range(*first, *last)),
            Peer::LocalSubnets => prefixes.extend(self.local_subnets.iter().filter(|subnet| {
                subnet.prefix_len() < subnet.max_prefix_len() || !self.own.contains(&subnet.addr())
            })),
            Peer::Name(name) => match self.facts.names.get(name) {
                Some(answer) if !answer.addresses.is_empty() => {
                    prefixes.extend(self.addresses(answer.addresses.iter().copied()));
                }
                _ => self
                    .unresolved
                    .entry(name.clone())
                    .or_default()
                    .push(span.clone()),
            },
        }
    }

    /// A range without own addresses, as the fewest prefixes that are exactly that.
    fn range(&self, first: IpAddr, last: IpAddr) -> Vec<IpNet> {
        let mut own: Vec<u128> = self
            .own
            .iter()
            .filter(|address| {
                address.is_ipv4() == first.is_ipv4() && (first..=last).contains(*address)
            })
            .map(|address| number(*address))
            .collect();
        own.sort_unstable();
        let (mut start, end) = (number(first), number(last));
        let mut prefixes = Vec::new();
        for hole in own {
            if let Some(before) = hole.checked_sub(1).filter(|before| *before >= start) {
                prefixes.extend(between(start, before, first.is_ipv4()));
            }
            match hole.checked_add(1) {
                Some(after) => start = after,
                None => return prefixes,
            }
        }
        if start <= end {
            prefixes.extend(between(start, end, first.is_ipv4()));
        }
        prefixes
    }
}

/// The number of an address in its own family.
fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// Prefixes from one number to another, both included, in one family.
fn between(first: u128, last: u128, v4: bool) -> Vec<IpNet> {
    if v4 {
        // Numbers of IPv4 addresses fit; a number that does not is no address of this family.
        let (Ok(first), Ok(last)) = (u32::try_from(first), u32::try_from(last)) else {
            return Vec::new();
        };
        Ipv4Subnets::new(first.into(), last.into(), 0)
            .map(IpNet::V4)
            .collect()
    } else {
        Ipv6Subnets::new(first.into(), last.into(), 0)
            .map(IpNet::V6)
            .collect()
    }
}

/// Each prefix once, in the order of the first mention.
pub(super) fn distinct(prefixes: impl IntoIterator<Item = IpNet>) -> Vec<IpNet> {
    let mut seen = HashSet::new();
    prefixes
        .into_iter()
        .filter(|prefix| seen.insert(*prefix))
        .collect()
}

/// Both peer lists together.
pub(super) fn union(left: Peers, right: Peers) -> Peers {
    match (left, right) {
        (Peers::Prefixes(left), Peers::Prefixes(right)) => {
            Peers::Prefixes(distinct(left.into_iter().chain(right)))
        }
        _ => Peers::Any,
    }
}

/// Whether nobody is admitted.
pub(super) fn is_nobody(peers: &Peers) -> bool {
    matches!(peers, Peers::Prefixes(prefixes) if prefixes.is_empty())
}

/// Interfaces with an address that no program of ours will see. A bond or bridge all of whose
/// members are listed is seen there, and a VLAN at its parent.
pub(super) fn unguarded(config: &HostConfig, facts: &Facts) -> Vec<String> {
    let listed = |interface: &Interface| config.guards(&interface.name);
    facts
        .interfaces
        .iter()
        .filter(|interface| interface.link_type != LOOPBACK && !interface.addresses.is_empty())
        .filter(|interface| !facts.wholly(interface, &listed))
        .map(|interface| interface.name.clone())
        .collect()
}

#[cfg(test)]
mod tests;
