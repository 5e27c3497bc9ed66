//! A rule: what a row's flow, an `allow`, a `block`, a failsafe or a baseline item becomes on this host.
//!
//! Resolve makes rules, compile lays them out as tables, `plan` prints them, `explain` cites them. Pure values.

use std::ops::RangeInclusive;

use agent_common::event::Direction;
use agent_common::tables::{Plane, other};
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

/// Everything that is compiled: rules in the order of judgement (by [`Precedence`], then as configured), and the defaults.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RuleSet {
    /// Rules, sorted by precedence.
    pub rules: Vec<Rule>,
    /// Ingress default.
    pub ingress: DefaultAction,
    /// Egress default.
    pub egress: DefaultAction,
}
