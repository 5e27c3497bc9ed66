//! What stands in for the programs where none can be in force: a small nftables table of ours that admits established flows, failsafes and
//! what a host needs to live, and lets everything out. Installed by netlink, so that nothing but the kernel is needed.

mod nft;

use std::io;
use std::net::IpAddr;
use std::ops::RangeInclusive;

use ipnet::IpNet;

use self::nft::{Batch, Expression, Expressions};
use crate::rule::{Peers, Precedence, RuleSet, Service};

/// The table's name, family inet.
pub const TABLE: &str = "portcullis_failsafe";

/// What the table admits besides its fixed rules.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Admitted {
    services: Vec<(RangeInclusive<u16>, Peers)>,
}

impl Admitted {
    /// The failsafes of a policy without errors, as they are.
    #[must_use]
    pub fn by(rules: &RuleSet) -> Self {
        let failsafes = rules
            .rules
            .iter()
            .filter(|rule| rule.precedence == Precedence::Failsafe);
        let services = failsafes.flat_map(|rule| match &rule.service {
            Service::Tcp(ports) => ports
                .iter()
                .map(|range| (range.clone(), rule.peers.clone()))
                .collect(),
            _ => Vec::new(),
        });
        Self {
            services: services.collect(),
        }
    }

    /// Where the policy can't be trusted: these ports for anyone, 22 where none is known.
    #[must_use]
    pub fn ports(ports: &[u16]) -> Self {
        let ports = if ports.is_empty() { &[22] } else { ports };
        let ports = ports.iter();
        Self {
            services: ports.map(|&port| (port..=port, Peers::Any)).collect(),
        }
    }

    /// In a line.
    #[must_use]
    pub fn text(&self) -> String {
        let words = self.services.iter().map(|(ports, peers)| {
            let ports = if ports.start() == ports.end() {
                ports.start().to_string()
            } else {
                format!("{}-{}", ports.start(), ports.end())
            };
            match peers {
                Peers::Any => format!("tcp {ports} from any"),
                Peers::Prefixes(peers) => {
                    let peers: Vec<String> = peers.iter().map(ToString::to_string).collect();
                    format!("tcp {ports} from {}", peers.join(", "))
                }
            }
        });
        words.collect::<Vec<_>>().join("; ")
    }
}

/// Puts the table in force, in the place of one that is there. Where the kernel has no connection tracking, what is no first packet of a
/// flow is taken for established.
///
/// # Errors
///
/// What the kernel says; what was in force is then as it was.
pub fn install(admitted: &Admitted) -> io::Result<()> {
    match batch(admitted, true).send() {
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::EOPNOTSUPP)) => {
            batch(admitted, false).send()
        }
        sent => sent,
    }
}

/// Takes the table away. False where there is none.
///
/// # Errors
///
/// What the kernel says.
pub fn remove() -> io::Result<bool> {
    let mut batch = Batch::new();
    batch.delete_table(TABLE);
    match batch.send() {
        Ok(()) => Ok(true),
        // no such table; a kernel without nftables
        Err(error)
            if matches!(
                error.raw_os_error(),
                Some(libc::ENOENT | libc::EOPNOTSUPP | libc::EPROTONOSUPPORT | libc::EINVAL)
            ) =>
        {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

/// Whether the table is in force.
#[must_use]
pub fn is_there() -> bool {
    Batch::ask_for(TABLE).is_ok()
}

fn batch(admitted: &Admitted, conntrack: bool) -> Batch {
    const INPUT: &str = "input";
    let mut batch = Batch::new();
    // Made, so that it can be deleted; then anew: the three are one step.
    batch.new_table(TABLE);
    batch.delete_table(TABLE);
    batch.new_table(TABLE);
    batch.new_input_chain(TABLE, INPUT);
    for rule in rules(admitted, conntrack) {
        batch.new_rule(TABLE, INPUT, rule);
    }
    batch
}

const ICMP: u8 = 1;
const IGMP: u8 = 2;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMPV6: u8 = 58;
const ARPHRD_LOOPBACK: u16 = 772;

fn rules(admitted: &Admitted, conntrack: bool) -> Vec<Expressions> {
    let mut rules = vec![vec![Expression::LinkTypeIs(ARPHRD_LOOPBACK)]];
    if conntrack {
        rules.push(vec![Expression::Established]);
    } else {
        // SYN without ACK begins a flow
        rules.push(vec![
            Expression::ProtocolIs(TCP),
            Expression::TransportMasked {
                offset: 13,
                mask: 0x12,
                not: 0x02,
            },
        ]);
        for server in [53_u16, 123] {
            rules.push(vec![Expression::ProtocolIs(UDP), port(0, server..=server)]);
        }
    }
    // echo; errors that belong to a flow are related to it
    rules.push(vec![Expression::ProtocolIs(ICMP), octet(8..=8)]);
    // echo; MLD, router and neighbour discovery; MLDv2
    for kinds in [128..=128, 130..=136, 143..=143] {
        rules.push(vec![Expression::ProtocolIs(ICMPV6), octet(kinds)]);
    }
    rules.push(vec![Expression::ProtocolIs(IGMP)]);
    for (server, client) in [(67_u16, 68_u16), (547, 546)] {
        rules.push(vec![
            Expression::ProtocolIs(UDP),
            port(0, server..=server),
            port(2, client..=client),
        ]);
    }
    for (ports, peers) in &admitted.services {
        let service = [Expression::ProtocolIs(TCP), port(2, ports.clone())];
        match peers {
            Peers::Any => rules.push(service.to_vec()),
            Peers::Prefixes(prefixes) => {
                for prefix in prefixes {
                    rules.push([&from(prefix)[..], &service].concat());
                }
            }
        }
    }
    rules
}

/// A port at this offset of the transport's header.
fn port(offset: u32, ports: RangeInclusive<u16>) -> Expression {
    Expression::TransportIn {
        offset,
        first: ports.start().to_be_bytes().to_vec(),
        last: ports.end().to_be_bytes().to_vec(),
    }
}

/// The first octet of the transport: an ICMP type.
fn octet(kinds: RangeInclusive<u8>) -> Expression {
    Expression::TransportIn {
        offset: 0,
        first: vec![*kinds.start()],
        last: vec![*kinds.end()],
    }
}

fn from(prefix: &IpNet) -> Expressions {
    let octets = |address: IpAddr| match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    let (family, offset) = match prefix {
        IpNet::V4(_) => (libc::NFPROTO_IPV4 as u8, 12),
        IpNet::V6(_) => (libc::NFPROTO_IPV6 as u8, 8),
    };
    vec![
        Expression::FamilyIs(family),
        Expression::NetworkMasked {
            offset,
            mask: octets(prefix.netmask()),
            value: octets(prefix.network()),
        },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_admitted_is_said() {
        let some = Admitted {
            services: vec![
                (22..=22, Peers::Any),
                (
                    5900..=5903,
                    Peers::Prefixes(vec!["10.0.0.0/8".parse().unwrap()]),
                ),
            ],
        };
        assert_eq!(
            some.text(),
            "tcp 22 from any; tcp 5900-5903 from 10.0.0.0/8"
        );
        assert_eq!(Admitted::ports(&[]).text(), "tcp 22 from any");
        assert_eq!(Admitted::ports(&[2222]).text(), "tcp 2222 from any");
    }

    #[test]
    fn a_rule_for_each_peer() {
        let of = |peers| Admitted {
            services: vec![(22..=22, peers)],
        };
        let fixed = rules(&Admitted::default(), true).len();
        let two = Peers::Prefixes(vec![
            "10.0.0.0/8".parse().unwrap(),
            "fd00::/8".parse().unwrap(),
        ]);
        for (peers, more) in [(Peers::Any, 1), (two, 2), (Peers::Prefixes(Vec::new()), 0)] {
            assert_eq!(rules(&of(peers), true).len(), fixed + more);
        }
        let established =
            |rules: Vec<Expressions>| rules.concat().contains(&Expression::Established);
        assert!(established(rules(&Admitted::default(), true)));
        assert!(!established(rules(&Admitted::default(), false)));
    }
}
