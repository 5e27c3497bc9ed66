//! Limits that a policy can be over, each with the rules that weigh most.

use std::collections::BTreeMap;

use super::budget::CLASS_LIMIT;
use crate::rule::{Peers, Rule, Service};

/// A policy that can't be laid out.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CompileError {
    /// Too many rules.
    #[error(
        "{count} rules, at most {limit} fit: most come from {}; merge ports into ranges or peers into sets",
        list(rules)
    )]
    Rules {
        /// How many there are.
        count: usize,
        /// How many there may be.
        limit: u32,
        /// Sources with the most rules, and how many each makes.
        rules: Vec<String>,
    },
    /// Too many port classes.
    #[error(
        "{count} classes of ports, at most {limit} fit: most ranges are in {}",
        list(rules)
    )]
    PortClasses {
        /// How many there are.
        count: u32,
        /// How many there may be.
        limit: u32,
        /// Rules with the most ranges, and how many each has.
        rules: Vec<String>,
    },
    /// Too many peer classes.
    #[error(
        "{count} classes of peers, at most {limit} fit: most prefixes are in {}",
        list(rules)
    )]
    PeerClasses {
        /// How many there are.
        count: u32,
        /// How many there may be.
        limit: u32,
        /// Rules with the most prefixes, and how many each has.
        rules: Vec<String>,
    },
    /// A bank would be too large.
    #[error(
        "a bank of {limit} octets is too small: {port_classes} classes of ports times {peer_classes} of peers take {cells}, and the \
         prefixes more; most prefixes are in {}; raise `[daemon] bank-memory`",
        list(rules)
    )]
    Memory {
        /// Octets that a bank may take.
        limit: u64,
        /// Octets that all but the tries take.
        cells: u64,
        /// Classes of ports.
        port_classes: u32,
        /// Classes of peers.
        peer_classes: u32,
        /// Rules with the most prefixes, and how many each has.
        rules: Vec<String>,
    },
}

/// How many rules an error names.
const NAMED: usize = 5;

fn list(rules: &[String]) -> String {
    rules.join(", ")
}

impl CompileError {
    pub(super) fn rules(rules: &[Rule]) -> Self {
        let mut sources: BTreeMap<&str, usize> = BTreeMap::new();
        for rule in rules {
            *sources.entry(source(&rule.id)).or_default() += 1;
        }
        Self::Rules {
            count: rules.len(),
            limit: CLASS_LIMIT,
            rules: largest(sources.into_iter()),
        }
    }

    pub(super) fn port_classes(count: u32, rules: &[Rule]) -> Self {
        Self::PortClasses {
            count,
            limit: CLASS_LIMIT,
            rules: largest(rules.iter().map(|rule| (rule.id.as_str(), ranges(rule)))),
        }
    }

    pub(super) fn peer_classes(count: u32, rules: &[Rule]) -> Self {
        Self::PeerClasses {
            count,
            limit: CLASS_LIMIT,
            rules: by_prefixes(rules),
        }
    }

    pub(super) fn memory(
        limit: u64,
        cells: u64,
        port_classes: u32,
        peer_classes: u32,
        rules: &[Rule],
    ) -> Self {
        Self::Memory {
            limit,
            cells,
            port_classes,
            peer_classes,
            rules: by_prefixes(rules),
        }
    }
}

/// What a rule's id begins with: the product, or `allow`, `block`, `baseline`.
fn source(id: &str) -> &str {
    id.split_once('/').map_or(id, |(source, _)| source)
}

fn ranges(rule: &Rule) -> usize {
    match &rule.service {
        Service::Tcp(ports) | Service::Udp(ports) => ports.len(),
        Service::Icmp(types) | Service::Icmpv6(types) => types.len(),
        _ => 1,
    }
}

fn by_prefixes(rules: &[Rule]) -> Vec<String> {
    largest(rules.iter().map(|rule| match &rule.peers {
        Peers::Any => (rule.id.as_str(), 0),
        Peers::Prefixes(prefixes) => (rule.id.as_str(), prefixes.len()),
    }))
}

fn largest<'a>(weights: impl Iterator<Item = (&'a str, usize)>) -> Vec<String> {
    let mut weights: Vec<_> = weights.filter(|(_, weight)| *weight > 0).collect();
    weights.sort_by_key(|(_, weight)| std::cmp::Reverse(*weight));
    weights.truncate(NAMED);
    weights
        .into_iter()
        .map(|(id, weight)| format!("{id} ({weight})"))
        .collect()
}
