//! Policies of the rows: rules in the few words that a packet's fate depends on, compiled as any policy is.

use std::ops::RangeInclusive;

use agent_common::event::Direction;
use anyhow::{Context as _, Result, anyhow, bail};
use portcullis::compile::tables::Tables;
use portcullis::compile::{Settings, compile, open_tables};
use portcullis::facts::{Facts, Interface, InterfaceAddress, PortRange};
use portcullis::host::schema::Budgets;
use portcullis::rule::{DefaultAction, Forward, Peers, Precedence, Rule, RuleSet, Service};
use serde::{Deserialize, Serialize};

use super::{Does, Rows, Way};
use crate::packet::is_default;

/// A policy.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Policy {
    /// What happens to ingress that no rule names; unsaid: generation 0, in which everything passes.
    pub ingress: Option<Does>,
    /// The same of egress.
    pub egress: Option<Does>,
    /// What becomes of packets on their way through the host; unsaid: the host forwards nothing.
    pub forward: Option<Through>,
    /// Names of rules.
    #[serde(default)]
    pub rules: Vec<String>,
}

/// What becomes of packets on their way through the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Through {
    /// They are denied.
    Deny,
    /// They pass.
    Pass,
    /// They are judged like the host's own.
    SameRules,
}

/// A rule; its name is its id.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RuleText {
    /// Directions in which flows begin.
    pub directions: Vec<Way>,
    /// TCP ports: `443`, `8000-8010`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub tcp: Vec<String>,
    /// UDP ports.
    #[serde(default, skip_serializing_if = "is_default")]
    pub udp: Vec<String>,
    /// ICMP types.
    #[serde(default, skip_serializing_if = "is_default")]
    pub icmp: Vec<u8>,
    /// ICMPv6 types.
    #[serde(default, skip_serializing_if = "is_default")]
    pub icmpv6: Vec<u8>,
    /// Other protocols by number.
    #[serde(default, skip_serializing_if = "is_default")]
    pub protocol: Vec<u8>,
    /// Exchanges of a DHCP client: 4, 6.
    #[serde(default, skip_serializing_if = "is_default")]
    pub dhcp: Vec<u8>,
    /// Everything that a block list reaches.
    #[serde(default, skip_serializing_if = "is_default")]
    pub all: bool,
    /// Prefixes; unsaid: anyone.
    pub peers: Option<Vec<String>>,
    /// Multicast or broadcast addresses, which it means in place of single hosts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<std::net::IpAddr>,
    /// Where it stands in the order of judgement.
    #[serde(default, skip_serializing_if = "is_default")]
    pub kind: Kind,
}

/// What a rule is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A row, an `allow`, the baseline.
    #[default]
    Allow,
    /// A block list.
    Block,
    /// A failsafe.
    Failsafe,
    /// A port that a product on trial names.
    Audit,
}

/// More events a second than the rows have packets: each denial is reported, and its event looked at.
const ALL_EVENTS: Budgets = Budgets {
    all: 100_000,
    peer: 100_000,
};

impl Rows {
    /// Whether a policy is generation 0, the open bank that no compiler writes.
    pub fn is_generation_0(&self, policy: &str) -> bool {
        let policy = self.policies.get(policy);
        policy.is_some_and(|policy| policy.ingress.is_none() || policy.egress.is_none())
    }

    /// The rules of a policy, on the host of the rows. The clock ticks at `hz` jiffies a second. Generation 0 has no rule.
    ///
    /// # Errors
    /// When there is no such policy or rule, or a rule is none.
    pub fn rule_set(&self, policy: &str, hz: u32) -> Result<(RuleSet, Facts)> {
        let text = self.policies.get(policy);
        let text = text.with_context(|| format!("no policy {policy}"))?;
        let mut rules = Vec::new();
        for name in &text.rules {
            let rule = self.rules.get(name);
            let rule = rule.with_context(|| format!("policy {policy}: no rule {name}"))?;
            rules.extend(rule.rules(name).with_context(|| format!("rule {name}"))?);
        }
        rules.sort_by_key(|rule| rule.precedence);
        let set = RuleSet {
            rules,
            ingress: text.ingress.map_or(DefaultAction::Open, default),
            egress: text.egress.map_or(DefaultAction::Open, default),
            forward: match text.forward {
                None | Some(Through::Deny) => Forward::Deny,
                Some(Through::Pass) => Forward::Pass,
                Some(Through::SameRules) => Forward::SameRules,
            },
        };
        Ok((set, facts(text.forward.is_some(), hz)))
    }

    /// The tables of a policy, and the ids of its rules by index. The clock ticks at `hz` jiffies a second.
    ///
    /// # Errors
    /// As [`Self::rule_set`], and where it does not compile.
    pub fn tables(&self, policy: &str, hz: u32) -> Result<Tables> {
        let (set, facts) = self.rule_set(policy, hz)?;
        if self.is_generation_0(policy) {
            return Ok(open_tables(hz));
        }
        let settings = Settings {
            strangers: ALL_EVENTS,
            acquaintances: ALL_EVENTS,
            ..Settings::default()
        };
        compile(&set, &facts, &settings).map_err(|errors| anyhow!("policy {policy}: {errors:?}"))
    }
}

fn default(does: Does) -> DefaultAction {
    match does {
        Does::Deny => DefaultAction::Deny,
        Does::Allow => DefaultAction::Open,
        Does::Audit => DefaultAction::Audit,
    }
}

impl RuleText {
    fn rules(&self, name: &str) -> Result<Vec<Rule>> {
        let mut services = Vec::new();
        if !self.tcp.is_empty() {
            services.push(Service::Tcp(ranges(&self.tcp)?));
        }
        if !self.udp.is_empty() {
            services.push(Service::Udp(ranges(&self.udp)?));
        }
        if !self.icmp.is_empty() {
            services.push(Service::Icmp(self.icmp.clone()));
        }
        if !self.icmpv6.is_empty() {
            services.push(Service::Icmpv6(self.icmpv6.clone()));
        }
        services.extend(self.protocol.iter().copied().map(Service::Protocol));
        for version in &self.dhcp {
            services.push(match version {
                4 => Service::Dhcp4,
                6 => Service::Dhcp6,
                other => bail!("dhcp {other}: 4 or 6"),
            });
        }
        if self.all {
            services.push(Service::All);
        }
        let peers = match &self.peers {
            None => Peers::Any,
            Some(list) => Peers::Prefixes(
                list.iter()
                    .map(|text| text.parse().with_context(|| text.clone()))
                    .collect::<Result<_>>()?,
            ),
        };
        let mut rules = Vec::new();
        for &way in &self.directions {
            for service in &services {
                rules.push(Rule {
                    id: name.to_owned(),
                    rows: Vec::new(),
                    direction: Direction::from(way),
                    service: service.clone(),
                    peers: peers.clone(),
                    groups: self.groups.clone(),
                    precedence: match self.kind {
                        Kind::Allow => Precedence::Allow,
                        Kind::Block => Precedence::Block,
                        Kind::Failsafe => Precedence::Failsafe,
                        Kind::Audit => Precedence::AuditStage,
                    },
                    product: None,
                    stated: true,
                    until: None,
                });
            }
        }
        Ok(rules)
    }
}

fn ranges(list: &[String]) -> Result<Vec<RangeInclusive<u16>>> {
    list.iter()
        .map(|text| {
            let (first, last) = text.split_once('-').unwrap_or((text, text));
            Ok(first.parse()?..=last.parse().with_context(|| text.clone())?)
        })
        .collect()
}

/// The host of the rows: one interface, `10.0.0.1/16`, `fd00::1/64`, `fe80::1/64`.
pub fn facts(forwards: bool, hz: u32) -> Facts {
    let address = |text: &str, broadcast| InterfaceAddress {
        // Constants of this file; a mistake in one would fail every row.
        address: text.parse().unwrap_or_default(),
        broadcast,
    };
    Facts {
        schema: 1,
        time: jiff::Timestamp::UNIX_EPOCH,
        hostname: "host".to_owned(),
        kernel: String::new(),
        interfaces: vec![Interface {
            name: "eth0".to_owned(),
            index: 2,
            link_type: 1,
            up: true,
            mtu: 1500,
            driver: Some("veth".to_owned()),
            master: None,
            parent: None,
            addresses: vec![
                address("10.0.0.1/16", Some([10, 0, 255, 255].into())),
                address("fd00::1/64", None),
                address("fe80::1/64", None),
            ],
            forwards_v4: forwards,
            forwards_v6: forwards,
            has_lease: false,
        }],
        resolvers: Vec::new(),
        names: std::collections::BTreeMap::new(),
        ephemeral: PortRange {
            first: 32_768,
            last: 60_999,
        },
        reserved_ports: Vec::new(),
        ssh_ports: vec![22],
        listeners: None,
        hz: Some(hz),
        cpus: 1,
    }
}
