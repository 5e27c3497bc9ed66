//! A rule: what a row's flow, an `allow`, a `block`, a failsafe or a baseline item becomes on this host.
//!
//! Resolve makes rules, compile lays them out as tables, `plan` prints them, `explain` cites them. Pure values.

use std::ops::RangeInclusive;

use agent_common::event::Direction;
use agent_common::tables::{Head, Plane, other};
use ipnet::IpNet;

/// The citation of a row: `product/table/number`.
pub type RowId = String;

/// What a rule matches besides the peer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Service {
    /// TCP destination ports.
    Tcp(Vec<RangeInclusive<u16>>),
    /// UDP destination ports.
    Udp(Vec<RangeInclusive<u16>>),
    /// ICMP types.
    Icmp(Vec<u8>),
    /// ICMPv6 types.
    Icmpv6(Vec<u8>),
    /// Another IP protocol, by its number.
    Protocol(u8),
    /// A DHCPv4 client and its server.
    Dhcp4,
    /// A DHCPv6 client and its server.
    Dhcp6,
    /// Everything that a block list reaches: TCP, UDP, echo, ICMP errors and every other protocol but IGMP.
    All,
}

impl Service {
    /// The planes and the ranges in them that the rule concerns, for one direction.
    pub fn places(&self, direction: Direction) -> Vec<(Plane, RangeInclusive<u16>)> {
        let (tcp, udp, others) = match direction {
            Direction::Ingress => (Plane::IngressTcp, Plane::IngressUdp, Plane::IngressOther),
            Direction::Egress => (Plane::EgressTcp, Plane::EgressUdp, Plane::EgressOther),
        };
        let one = |index: u16| (others, index..=index);
        match self {
            Self::Tcp(ports) => ports.iter().map(|range| (tcp, range.clone())).collect(),
            Self::Udp(ports) => ports.iter().map(|range| (udp, range.clone())).collect(),
            Self::Icmp(types) => types.iter().map(|&kind| one(other::icmp(kind))).collect(),
            Self::Icmpv6(types) => types.iter().map(|&kind| one(other::icmpv6(kind))).collect(),
            Self::Protocol(number) => vec![one(other::protocol(*number))],
            Self::Dhcp4 => vec![one(other::DHCP4)],
            Self::Dhcp6 => vec![one(other::DHCP6)],
            Self::All => vec![
                (tcp, 0..=u16::MAX),
                (udp, 0..=u16::MAX),
                (others, other::icmp(0)..=other::icmp(u8::MAX)),
                // ICMPv6 errors and echo; not MLD, neighbour discovery and router advertisements, which lie between and after
                (others, other::icmpv6(0)..=other::icmpv6(129)),
                (others, other::protocol(0)..=other::protocol(1)),
                (others, other::protocol(3)..=other::protocol(u8::MAX)),
            ],
        }
    }
}

/// Whom a rule admits.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Peers {
    /// Anyone; said by the operator, never assumed.
    Any,
    /// These; an empty list admits nobody.
    Prefixes(Vec<IpNet>),
}

/// The order of judgement: the first kind that has a matching rule decides.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub enum Precedence {
    /// A block list: denies, and is never audited or opened.
    Block,
    /// A failsafe: the way in for the administrator.
    Failsafe,
    /// Rows, `allow` and baseline.
    Allow,
    /// A port that a product on trial names: passes and is reported.
    AuditStage,
}

/// A rule.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rule {
    /// `product/table/number#flow`, `allow/NAME`, `block/NAME`, `failsafe/NAME`, `baseline/ITEM`, `audit/PRODUCT`.
    pub id: String,
    /// The rows it does; several where identical rules were merged.
    pub rows: Vec<RowId>,
    /// Which way the flow begins.
    pub direction: Direction,
    /// Transport and ports.
    pub service: Service,
    /// The other end.
    pub peers: Peers,
    /// Multicast or broadcast addresses that it reaches instead of single hosts; empty for unicast.
    pub groups: Vec<std::net::IpAddr>,
    /// Where it stands in the order of judgement; this also says what it does.
    pub precedence: Precedence,
    /// The product's name in the configuration, where it comes from one.
    pub product: Option<String>,
    /// Whether the vendor's document states this end (else it follows from the other end's row).
    pub stated: bool,
    /// When it ends.
    pub until: Option<jiff::Timestamp>,
}

/// What happens to a flow that no rule names.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum DefaultAction {
    /// Denied.
    #[default]
    Deny,
    /// Passed and reported.
    Audit,
    /// Passed.
    Open,
}

/// What becomes of packets on their way through this host, where it forwards.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Forward {
    /// Denied. Also where nothing is said.
    #[default]
    Deny,
    /// Passed.
    Pass,
    /// Judged by the host's rules.
    SameRules,
}

impl Forward {
    /// The word, as in files and output.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Deny => "deny",
            Self::Pass => "pass",
            Self::SameRules => "same-rules",
        }
    }

    /// The flags of a host that forwards.
    #[must_use]
    pub const fn flags(self) -> u32 {
        Head::FORWARDS
            | match self {
                Self::Deny => 0,
                Self::Pass => Head::FORWARD_PASS,
                Self::SameRules => Head::FORWARD_SAME,
            }
    }

    /// What the flags of a bank's head say; none where the host forwards nothing.
    #[must_use]
    pub const fn of(flags: u32) -> Option<Self> {
        if flags & Head::FORWARDS == 0 {
            None
        } else if flags & Head::FORWARD_PASS != 0 {
            Some(Self::Pass)
        } else if flags & Head::FORWARD_SAME != 0 {
            Some(Self::SameRules)
        } else {
            Some(Self::Deny)
        }
    }
}

/// Everything that is compiled: rules in the order of judgement (by [`Precedence`], then as configured), and the defaults.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RuleSet {
    /// Rules, sorted by precedence.
    pub rules: Vec<Rule>,
    /// Ingress default.
    pub ingress: DefaultAction,
    /// Egress default.
    pub egress: DefaultAction,
    /// What is on its way through this host.
    pub forward: Forward,
}

impl Service {
    /// The transport's word in output: `tcp`, `udp`, `icmp`, `icmpv6`, IANA's keyword in lower case or the number of another protocol,
    /// `any` for all of them. DHCP is `udp`.
    #[must_use]
    pub fn transport(&self) -> String {
        match self {
            Self::Tcp(_) => "tcp".to_owned(),
            Self::Udp(_) | Self::Dhcp4 | Self::Dhcp6 => "udp".to_owned(),
            Self::Icmp(_) => "icmp".to_owned(),
            Self::Icmpv6(_) => "icmpv6".to_owned(),
            Self::Protocol(number) => crate::policy::Transport::Protocol(*number).to_string(),
            Self::All => "any".to_owned(),
        }
    }

    /// Destination ports of the flow's first packet, or ICMP types, in words: `443`, `8300-8302`. None: every port, or a protocol without.
    #[must_use]
    pub fn ports(&self, direction: Direction) -> Vec<String> {
        let ranges = |ranges: &[RangeInclusive<u16>]| {
            let words = ranges
                .iter()
                .map(|range| match (range.start(), range.end()) {
                    (first, last) if first == last => first.to_string(),
                    (first, last) => format!("{first}-{last}"),
                });
            words.collect()
        };
        let types = |types: &[u8]| types.iter().map(u8::to_string).collect();
        match self {
            Self::Tcp(ports) | Self::Udp(ports) => ranges(ports),
            Self::Icmp(kinds) | Self::Icmpv6(kinds) => types(kinds),
            // The server answers to the client's port (RFC 2131 section 4.1, RFC 8415 section 7.2).
            Self::Dhcp4 if direction == Direction::Ingress => vec!["68".to_owned()],
            Self::Dhcp4 => vec!["67".to_owned()],
            Self::Dhcp6 if direction == Direction::Ingress => vec!["546".to_owned()],
            Self::Dhcp6 => vec!["547".to_owned()],
            Self::Protocol(_) | Self::All => Vec::new(),
        }
    }
}

impl Peers {
    /// The prefixes in words; `any` alone where anyone is admitted.
    #[must_use]
    pub fn words(&self) -> Vec<String> {
        match self {
            Self::Any => vec!["any".to_owned()],
            Self::Prefixes(prefixes) => prefixes.iter().map(IpNet::to_string).collect(),
        }
    }
}

impl Precedence {
    /// What rules of this kind do, in output.
    #[must_use]
    pub const fn action(self) -> &'static str {
        match self {
            Self::Block => "deny",
            Self::Failsafe | Self::Allow => "allow",
            Self::AuditStage => "audit",
        }
    }
}
