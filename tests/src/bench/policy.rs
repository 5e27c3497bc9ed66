//! Policies to measure with, and facts of a host that has nothing.

use std::net::IpAddr;

use agent_common::event::Direction;
use ipnet::IpNet;
use portcullis::facts::{Facts, PortRange};
use portcullis::rule::{DefaultAction, Peers, Precedence, Rule, RuleSet, Service};

/// A host without interfaces.
pub fn facts() -> Facts {
    Facts {
        schema: 1,
        time: jiff::Timestamp::UNIX_EPOCH,
        hostname: "bench".to_owned(),
        kernel: String::new(),
        interfaces: Vec::new(),
        resolvers: Vec::new(),
        names: Default::default(),
        ephemeral: PortRange {
            first: 32_768,
            last: 60_999,
        },
        reserved_ports: Vec::new(),
        ssh_ports: Vec::new(),
        listeners: None,
        hz: None,
        cpus: 1,
    }
}

/// A rule that admits `peers` to a TCP port.
pub fn admits(number: usize, direction: Direction, port: u16, peers: Peers) -> Rule {
    Rule {
        id: format!("bench/{number}"),
        rows: Vec::new(),
        direction,
        service: Service::Tcp(vec![port..=port]),
        peers,
        groups: Vec::new(),
        precedence: Precedence::Allow,
        product: None,
        stated: true,
        until: None,
    }
}

/// Rules that admit each of so many prefixes to each of so many ports, from port 10,000 on.
pub fn grid(ports: u16, peers: u32) -> Vec<Rule> {
    let peers = prefixes(peers, false);
    (10_000..10_000 + ports)
        .flat_map(|port| peers.iter().map(move |&peer| (port, peer)))
        .enumerate()
        .map(|(number, (port, peer))| {
            let peers = Peers::Prefixes(vec![peer]);
            admits(1000 + number, Direction::Ingress, port, peers)
        })
        .collect()
}

/// Default deny in both directions.
pub fn closed(rules: Vec<Rule>) -> RuleSet {
    RuleSet {
        rules,
        ingress: DefaultAction::Deny,
        egress: DefaultAction::Deny,
        ..RuleSet::default()
    }
}

/// `count` distinct prefixes of mixed lengths (/20 to /32, or /40 to /64) spread over 11.0.0.0/8 and 2001:db8::/32, without a pattern that a
/// trie could profit from.
pub fn prefixes(count: u32, v6: bool) -> Vec<IpNet> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = || {
        // xorshift64* (Marsaglia 2003)
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        state.wrapping_mul(0x2545_f491_4f6c_dd1d)
    };
    (0..count)
        .map(|_| {
            let (bits, length) = (next(), next());
            let (address, length) = if v6 {
                let high = 0x2001_0db8_0000_0000 | bits & 0xffff_ffff;
                (
                    IpAddr::from((u128::from(high) << 64).to_be_bytes()),
                    40 + length % 25,
                )
            } else {
                let address = 0x0b00_0000 | bits as u32 & 0x00ff_ffff;
                (IpAddr::from(address.to_be_bytes()), 20 + length % 13)
            };
            IpNet::new_assert(address, length as u8).trunc()
        })
        .collect()
}
