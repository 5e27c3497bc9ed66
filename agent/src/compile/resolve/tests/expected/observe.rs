//! What resolve opens on a host that plays one role, in the words of a sheet.
//!
//! Every other end has addresses of its own and every port a number of its own, so that each
//! address and each number of a rule leads back to one word.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use agent_common::event::Direction;
use ipnet::IpNet;

use super::super::{config, facts, product};
use super::cases::{Case, Value};
use super::sheet::Flow;
use crate::compile::resolve::resolve;
use crate::host::Product;
use crate::policy::schema::PortTable;
use crate::policy::values::{PortDefault, PortRef};
use crate::policy::{Catalogue, OptionValue, Policy};
use crate::rule::{Peers, Rule};

/// Ranges up to this length are told apart port by port, so that `8300-8302` and three single
/// ports are the same.
const LONGEST: u16 = 1_024;

/// Addresses of roles and groups, numbers of ports.
pub(super) struct World<'a> {
    catalogue: &'a Catalogue,
    policy: &'a Policy,
    /// Roles and groups of hosts: the word, its prefix in each family.
    ends: Vec<(String, [IpNet; 2])>,
    /// Multicast and broadcast groups: the word, its address in each family.
    groups: Vec<(String, [IpAddr; 2])>,
    /// The number that is said for a port.
    ports: BTreeMap<String, u16>,
    /// The words of these numbers, and of those that follow from them.
    numbers: BTreeMap<u16, String>,
}

impl<'a> World<'a> {
    pub(super) fn new(catalogue: &'a Catalogue, policy: &'a Policy) -> Self {
        let mut world = Self {
            catalogue,
            policy,
            ends: Vec::new(),
            groups: Vec::new(),
            ports: BTreeMap::new(),
            numbers: BTreeMap::new(),
        };
        let hosts = policy
            .groups
            .iter()
            .filter(|(_, group)| group.kind.is_none());
        let hosts = hosts.map(|(name, _)| format!("group:{name}"));
        let ends = policy.roles.keys().map(str::to_owned).chain(hosts);
        for (word, number) in ends.zip(1_u8..) {
            let v4 = Ipv4Addr::new(10, 99, number, 0);
            let v6 = Ipv6Addr::new(0x2001, 0xdb8, 0x99, number.into(), 0, 0, 0, 0);
            let prefixes = [
                IpNet::new_assert(v4.into(), 24),
                IpNet::new_assert(v6.into(), 64),
            ];
            world.ends.push((word, prefixes));
        }
        let groups = policy
            .groups
            .iter()
            .filter(|(_, group)| group.kind.is_some());
        for ((name, _), number) in groups.zip(1_u8..) {
            let v4 = Ipv4Addr::new(239, 255, 99, number);
            let v6 = Ipv6Addr::new(0xff05, 0, 0, 0, 0, 0, 0x99, number.into());
            world.groups.push((name.to_owned(), [v4.into(), v6.into()]));
        }
        world.number_ports();
        world
    }

    /// Says a number for each port that does not follow from another, far from those that the
    /// document fixes and from each other.
    fn number_ports(&mut self) {
        let flows = self.policy.rows.iter().flat_map(|row| &row.flows);
        let fixed: Vec<_> = flows
            .flat_map(|flow| flow.tcp.iter().chain(&flow.udp))
            .filter_map(|port| match port.get_ref() {
                PortRef::Fixed(range) => Some(*range),
                PortRef::Named(_) => None,
            })
            .collect();
        let free = |block: &u16| {
            !fixed
                .iter()
                .any(|it| it.first < block + 100 && it.last >= *block)
        };
        let mut blocks = (100..600).map(|hundred: u16| hundred * 100).filter(free);
        for (name, table) in self.policy.ports.iter() {
            if offset(table).is_none() {
                let number = blocks.next().expect("more named ports than free numbers");
                self.ports.insert(name.to_owned(), number);
            }
        }
        for name in self.policy.ports.keys() {
            let number = self.number_of(name);
            let before = self.numbers.insert(number, format!("<{name}>"));
            assert_eq!(before, None, "two ports have the number {number}");
        }
    }

    fn number_of(&self, name: &str) -> u16 {
        match self.policy.ports.get(name).and_then(offset) {
            Some((base, add)) => self.number_of(base) + add,
            None => self.ports[name],
        }
    }

    /// What a host in this role opens.
    pub(super) fn opened(&self, case: &Case<'_>, role: &str) -> Vec<Flow> {
        let mut config = config();
        config.products.push(self.product(case, role));
        let resolved = resolve(&config, self.catalogue, &facts());
        let own = resolved
            .rule_set
            .rules
            .iter()
            .filter(|rule| rule.product.is_some());
        own.flat_map(|rule| self.flows(rule, role)).collect()
    }

    fn product(&self, case: &Case<'_>, role: &str) -> Product {
        let mut selected = product(self.policy.id(), &[role], &case.topologies);
        for (name, value) in &case.said {
            selected = match (case.option(name), value) {
                (Some(OptionValue::Switch(on)), _) => selected.option(name, on),
                (Some(OptionValue::Choice(choice)), _) => selected.choose(name, &choice),
                (None, Value::Version(version)) => selected.version(name, &version.to_string()),
                (None, _) => selected,
            };
        }
        for (word, prefixes) in &self.ends {
            let list: Vec<String> = prefixes.iter().map(IpNet::to_string).collect();
            let list: Vec<&str> = list.iter().map(String::as_str).collect();
            selected = match word.strip_prefix("group:") {
                Some(group) => selected.group(group, &list),
                None => selected.peers(word, &list),
            };
        }
        for (name, addresses) in &self.groups {
            let list: Vec<String> = addresses.iter().map(IpAddr::to_string).collect();
            let list: Vec<&str> = list.iter().map(String::as_str).collect();
            selected = selected.group(name, &list);
        }
        for (name, number) in &self.ports {
            selected = selected.port(name, &[&number.to_string()]);
        }
        selected
    }

    fn flows(&self, rule: &Rule, role: &str) -> Vec<Flow> {
        let ports = rule.service.ports(rule.direction);
        let mut ports: Vec<String> = ports
            .iter()
            .flat_map(|port| self.port_words(port))
            .collect();
        if ports.is_empty() {
            ports.push("-".to_owned());
        }
        let direction = match rule.direction {
            Direction::Ingress => "ingress",
            Direction::Egress => "egress",
        };
        let mut flows = Vec::new();
        for row in &rule.rows {
            let (_, row) = row.split_once('/').expect("a whole id");
            for port in &ports {
                for peer in self.peer_words(rule) {
                    flows.push(Flow {
                        row: row.to_owned(),
                        role: role.to_owned(),
                        direction: direction.to_owned(),
                        transport: rule.service.transport(),
                        port: port.clone(),
                        peer,
                    });
                }
            }
        }
        flows
    }

    fn port_words(&self, port: &str) -> Vec<String> {
        match port
            .parse()
            .ok()
            .and_then(|number: u16| self.numbers.get(&number))
        {
            Some(name) => vec![name.clone()],
            None => each_port(port),
        }
    }

    /// The roles and groups that a rule's prefixes are, and the group that it is sent to.
    fn peer_words(&self, rule: &Rule) -> Vec<String> {
        let Peers::Prefixes(prefixes) = &rule.peers else {
            return vec!["any".to_owned()];
        };
        let via = self.via(&rule.groups);
        let mut words = Vec::new();
        let mut known = 0;
        for (word, both) in &self.ends {
            let here: Vec<_> = both.iter().filter(|one| prefixes.contains(one)).collect();
            known += here.len();
            let word = match (word.starts_with("group:"), &via) {
                // Nobody is named who hears it.
                (true, Some(via)) => format!("group:{via}"),
                (false, Some(via)) => format!("{word} via {via}"),
                (_, None) => word.clone(),
            };
            match here.as_slice() {
                [] => {}
                [_, _] => words.push(word),
                [one] => words.push(format!("{word} by {one} alone")),
                _ => unreachable!("an end has two prefixes"),
            }
        }
        if known != prefixes.len() {
            words.push(format!("{prefixes:?}, more than was said"));
        }
        words
    }

    fn via(&self, groups: &[IpAddr]) -> Option<String> {
        if groups.is_empty() {
            return None;
        }
        let known = self.groups.iter().find(|(_, both)| both == groups);
        Some(known.map_or_else(|| format!("{groups:?}"), |(name, _)| name.clone()))
    }
}

fn offset(table: &PortTable) -> Option<(&str, u16)> {
    match table.default.as_ref()?.get_ref() {
        PortDefault::Offset { base, add } => Some((base, *add)),
        PortDefault::Range(_) => None,
    }
}

/// The ports of a range one by one, unless it is a long one; anything else as it is.
pub(super) fn each_port(port: &str) -> Vec<String> {
    let numbers = port.split_once('-').and_then(|(first, last)| {
        let (first, last): (u16, u16) = (first.parse().ok()?, last.parse().ok()?);
        (first <= last && last - first < LONGEST).then_some(first..=last)
    });
    match numbers {
        Some(numbers) => numbers.map(|number| number.to_string()).collect(),
        None => vec![port.to_owned()],
    }
}
