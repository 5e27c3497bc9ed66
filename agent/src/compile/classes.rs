//! Peer classes: addresses that the same peer lists contain, and of which the same facts hold, are one class.
//!
//! The lists are swept in the order of addresses, with the set of lists that contain the present address kept as a hash. So the work grows
//! with the number of prefixes, not with rules times prefixes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use agent_common::tables::facts as fact;
use ipnet::IpNet;

use super::hash::{Map, member};
use crate::facts::Facts;
use crate::rule::{Peers, Rule};

/// Whom a rule admits, in the compiler's words.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Who {
    Any,
    /// The peer list of this number; rules that name the same prefixes share it.
    List(u32),
}

/// Addresses from `start` to the next span's are in this class.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Span {
    pub(super) start: u128,
    pub(super) class: u32,
}

/// The peer classes of a policy. Class 0 holds the addresses that nothing names.
pub(super) struct PeerClasses {
    /// How many there are. Over `limit` of [`classify`] only counted.
    pub(super) count: u32,
    /// What is known of each class: bits of [`fact`].
    pub(super) facts: Vec<u32>,
    /// The classes of which each peer list consists.
    pub(super) of_list: Vec<Vec<u16>>,
    /// For each rule, whom it admits.
    pub(super) of_rule: Vec<Who>,
    /// For each rule, the list of the groups that it reaches; none where it means single hosts.
    pub(super) groups: Vec<Option<u32>>,
    /// IPv4 addresses, in ascending order, the first at 0.
    pub(super) v4: Vec<Span>,
    /// IPv6 addresses, likewise.
    pub(super) v6: Vec<Span>,
    /// Prefixes swept.
    pub(super) prefixes: u32,
}

/// First and last address.
type Block = (u128, u128);

/// The blocks of one list in both families.
#[derive(Default)]
struct Blocks {
    v4: Vec<Block>,
    v6: Vec<Block>,
}

impl Blocks {
    fn push(&mut self, prefix: &IpNet) {
        match prefix {
            IpNet::V4(prefix) => self.v4.push((
                prefix.network().to_bits().into(),
                prefix.broadcast().to_bits().into(),
            )),
            IpNet::V6(prefix) => self
                .v6
                .push((prefix.network().to_bits(), prefix.broadcast().to_bits())),
        }
    }

    fn push_address(&mut self, address: IpAddr) {
        match address {
            IpAddr::V4(address) => self.push_v4(address),
            IpAddr::V6(address) => {
                let bits = Ipv6Addr::to_bits(address);
                self.v6.push((bits, bits));
            }
        }
    }

    fn push_v4(&mut self, address: Ipv4Addr) {
        let bits = address.to_bits().into();
        self.v4.push((bits, bits));
    }

    /// Every address that is a group's by itself, so that none of them is in class 0.
    fn push_all_groups(&mut self) {
        self.v4.push((0xe000_0000, 0xefff_ffff));
        self.push_v4(Ipv4Addr::BROADCAST);
        self.v6.push((0xff << 120, u128::MAX));
    }
}

/// A list begins or ends at an address.
#[derive(Clone, Copy)]
struct Edge {
    at: u128,
    list: u32,
    begins: bool,
}

/// Adds the edges of a list to a family's: blocks that overlap or touch become one, so that a list contains an
/// address at most once and never ends where it begins.
fn add_edges(edges: &mut Vec<Edge>, list: u32, blocks: &mut [Block], last: u128) {
    blocks.sort_unstable();
    let mut rest = blocks.iter().copied();
    let Some(mut open) = rest.next() else { return };
    let mut close = |(from, to): Block| {
        edges.push(Edge {
            at: from,
            list,
            begins: true,
        });
        if to < last {
            edges.push(Edge {
                at: to + 1,
                list,
                begins: false,
            });
        }
    };
    for block in rest {
        if block.0 <= open.1.saturating_add(1) {
            open.1 = open.1.max(block.1);
        } else {
            close(open);
            open = block;
        }
    }
    close(open);
}

/// The lists that contain the address which the sweep has reached.
struct Present {
    lists: Vec<u32>,
    place: Vec<u32>,
    hash: u128,
}

impl Present {
    const ABSENT: u32 = u32::MAX;

    fn new(lists: usize) -> Self {
        Self {
            lists: Vec::new(),
            place: vec![Self::ABSENT; lists],
            hash: 0,
        }
    }

    fn change(&mut self, edge: Edge) {
        self.hash ^= member(edge.list);
        if edge.begins {
            self.place[edge.list as usize] = self.lists.len() as u32;
            self.lists.push(edge.list);
        } else {
            let place = self.place[edge.list as usize];
            self.lists.swap_remove(place as usize);
            if let Some(&moved) = self.lists.get(place as usize) {
                self.place[moved as usize] = place;
            }
            self.place[edge.list as usize] = Self::ABSENT;
        }
    }
}

/// Classes found so far, by the hash of the lists that contain them.
struct Found {
    numbers: Map<u128, u32>,
    facts: Vec<u32>,
    of_list: Vec<Vec<u16>>,
    limit: u32,
}

impl Found {
    fn class(&mut self, present: &Present) -> u32 {
        let next = self.numbers.len() as u32;
        let class = *self.numbers.entry(present.hash).or_insert(next);
        if class == next && class < self.limit {
            let mut bits = 0;
            for &list in &present.lists {
                match self.of_list.get_mut(list as usize) {
                    Some(classes) => classes.push(class as u16),
                    None => bits |= 1 << (list as usize - self.of_list.len()),
                }
            }
            self.facts.push(bits);
        }
        class
    }

    /// Spans of one family, neighbours in the same class joined.
    fn sweep(&mut self, edges: &mut [Edge]) -> Vec<Span> {
        edges.sort_unstable_by_key(|edge| edge.at);
        let mut present = Present::new(self.of_list.len() + FACT_BITS);
        let mut spans = Vec::with_capacity(edges.len() + 1);
        if edges.first().is_none_or(|edge| edge.at != 0) {
            spans.push(Span { start: 0, class: 0 });
        }
        for group in edges.chunk_by(|a, b| a.at == b.at) {
            for &edge in group {
                present.change(edge);
            }
            let class = self.class(&present);
            if spans.last().is_none_or(|span: &Span| span.class != class) {
                spans.push(Span {
                    start: group[0].at,
                    class,
                });
            }
        }
        spans
    }
}

/// Lists that stand for facts come after the rules' lists, in the order of the bits.
const FACT_BITS: usize = 5;
const _: () = assert!(
    fact::OWN == 1 << 0
        && fact::BROADCAST == 1 << 1
        && fact::ACQUAINTANCE == 1 << 2
        && fact::ON_LINK == 1 << 3
        && fact::GROUP == 1 << 4
);

/// The peer classes of these rules on this host. More than `limit` classes are only counted.
pub(super) fn classify(rules: &[Rule], facts: &Facts, limit: u32) -> PeerClasses {
    let group_lists: Vec<Vec<IpNet>> = rules
        .iter()
        .map(|rule| rule.groups.iter().map(|&group| group.into()).collect())
        .collect();
    let mut numbers: Map<&[IpNet], u32> = Map::default();
    let mut lists: Vec<&[IpNet]> = Vec::new();
    let mut number = |list| {
        *numbers.entry(list).or_insert_with(|| {
            lists.push(list);
            lists.len() as u32 - 1
        })
    };
    let of_rule = rules
        .iter()
        .map(|rule| match &rule.peers {
            Peers::Any => Who::Any,
            Peers::Prefixes(prefixes) => Who::List(number(prefixes)),
        })
        .collect();
    let groups: Vec<Option<u32>> = group_lists
        .iter()
        .map(|list| (!list.is_empty()).then(|| number(list)))
        .collect();
    let any_group = groups.iter().any(Option::is_some);

    let (mut v4, mut v6) = (Vec::new(), Vec::new());
    let mut add = |list: usize, blocks: &mut Blocks| {
        add_edges(&mut v4, list as u32, &mut blocks.v4, u32::MAX.into());
        add_edges(&mut v6, list as u32, &mut blocks.v6, u128::MAX);
    };
    let mut prefixes = 0;
    let mut acquaintances = Blocks::default();
    for (number, list) in lists.iter().enumerate() {
        let mut blocks = Blocks::default();
        for prefix in *list {
            blocks.push(prefix);
            // A prefix of no bits names nobody in particular, and a group sends nothing.
            if prefix.prefix_len() > 0 && !prefix.addr().is_multicast() {
                acquaintances.push(prefix);
            }
        }
        prefixes += list.len() as u32;
        add(number, &mut blocks);
    }
    let [mut own, mut broadcast, mut on_link] = host_blocks(facts);
    let mut all_groups = Blocks::default();
    if any_group {
        all_groups.push_all_groups();
    }
    for (bit, blocks) in [
        &mut own,
        &mut broadcast,
        &mut acquaintances,
        &mut on_link,
        &mut all_groups,
    ]
    .into_iter()
    .enumerate()
    {
        add(lists.len() + bit, blocks);
    }

    let mut found = Found {
        numbers: Map::default(),
        facts: vec![0],
        of_list: vec![Vec::new(); lists.len()],
        limit,
    };
    found.numbers.insert(0, 0);
    let v4 = found.sweep(&mut v4);
    let v6 = found.sweep(&mut v6);
    PeerClasses {
        count: found.numbers.len() as u32,
        facts: found.facts,
        of_list: found.of_list,
        of_rule,
        groups,
        v4,
        v6,
        prefixes,
    }
}

/// Own addresses, broadcast addresses, prefixes on a link.
fn host_blocks(facts: &Facts) -> [Blocks; 3] {
    const LOOPBACK: u16 = 772;
    let [mut own, mut broadcast, mut on_link] = [(); 3].map(|()| Blocks::default());
    for address in facts.own_addresses() {
        own.push_address(address);
    }
    for interface in &facts.interfaces {
        if interface.link_type == LOOPBACK {
            continue;
        }
        for address in &interface.addresses {
            if let Some(address) = address.broadcast {
                broadcast.push_v4(address);
            }
            if address.address.prefix_len() < address.address.max_prefix_len() {
                on_link.push(&address.address);
            }
        }
    }
    [own, broadcast, on_link]
}
