mod expected;
mod hard;
mod hosts;
mod own;
mod places;
mod seal;
mod stage;

use std::collections::BTreeMap;

use agent_common::event::Direction;
use toml::Spanned;

use super::{Resolved, resolve};
use crate::diagnose::Keyed;
use crate::facts::{Facts, Interface, InterfaceAddress, Name, PortRange};
use crate::host::schema::{Baseline, Defaults, Failsafe, Product, Stage};
use crate::host::{HostConfig, Peer, PeerEntry, PeerSpec, Peers};
use crate::policy::{Catalogue, OptionValue};

/// A value without a place.
pub(crate) fn nowhere<T>(value: T) -> Spanned<T> {
    Spanned::new(0..0, value)
}

/// A configuration that guards `eth0` and says nothing else.
pub(crate) fn config() -> HostConfig {
    HostConfig {
        sources: Default::default(),
        interfaces: vec![nowhere("eth0".to_owned())],
        hook: Default::default(),
        default: Defaults::default(),
        products: Vec::new(),
        allows: Vec::new(),
        blocks: Vec::new(),
        failsafes: vec![Failsafe {
            name: Failsafe::SSH.to_owned(),
            span: None,
            tcp: None,
            peers: Peers::any(0..0),
        }],
        baseline: Baseline::default(),
        forward: None,
        conntrack: Default::default(),
        events: Default::default(),
        metrics: Default::default(),
        daemon: Default::default(),
        sets: BTreeMap::new(),
    }
}

/// A host with 10.0.0.11 and 2001:db8:10::11 on `eth0`, and `eth1`.
pub(crate) fn facts() -> Facts {
    let interface = |name: &str, index: u32, addresses: &[&str]| Interface {
        name: name.to_owned(),
        index,
        link_type: if name == "lo" { 772 } else { 1 },
        up: true,
        mtu: 1500,
        driver: None,
        master: None,
        parent: None,
        addresses: addresses
            .iter()
            .map(|text| InterfaceAddress {
                address: text.parse().unwrap(),
                broadcast: None,
            })
            .collect(),
        forwards_v4: false,
        forwards_v6: false,
        has_lease: false,
    };
    let time: jiff::Timestamp = "2026-11-21T12:00:00Z".parse().unwrap();
    let name = |addresses: &[&str]| Name {
        addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
        at: time,
    };
    Facts {
        schema: 1,
        time,
        hostname: "node1".to_owned(),
        kernel: "6.12.0".to_owned(),
        interfaces: vec![
            interface(
                "eth0",
                2,
                &["10.0.0.11/24", "2001:db8:10::11/64", "fe80::11/64"],
            ),
            interface("eth1", 3, &["192.168.7.1/24"]),
            interface("eth2", 4, &[]),
            interface("lo", 1, &["127.0.0.1/8", "::1/128"]),
        ],
        resolvers: vec!["10.0.0.53".parse().unwrap()],
        names: BTreeMap::from([
            (
                "adapter2.example.com".to_owned(),
                name(&["10.1.0.21", "2001:db8:1::21"]),
            ),
            ("self.example.com".to_owned(), name(&["10.0.0.11"])),
            ("empty.example.com".to_owned(), name(&[])),
        ]),
        ephemeral: PortRange {
            first: 32768,
            last: 60999,
        },
        reserved_ports: Vec::new(),
        ssh_ports: Vec::new(),
        listeners: None,
        hz: None,
        cpus: 2,
    }
}

/// A product in the roles and topologies given, nothing else said.
pub(crate) fn product(id: &str, roles: &[&str], topologies: &[&str]) -> Product {
    let words = |list: &[&str]| list.iter().map(|&word| nowhere(word.to_owned())).collect();
    Product {
        name: id.to_owned(),
        span: 0..0,
        policy: nowhere(id.to_owned()),
        roles: words(roles),
        topologies: Some(words(topologies)),
        stage: Stage::Enforce,
        stage_span: None,
        audit_until: None,
        options: Keyed::default(),
        versions: Keyed::default(),
        peers: Keyed::default(),
        groups: Keyed::default(),
        ports: Keyed::default(),
        skip: Keyed::default(),
    }
}

impl Product {
    pub(crate) fn option(mut self, name: &str, on: bool) -> Self {
        self.options
            .push(nowhere(name.to_owned()), nowhere(OptionValue::Switch(on)));
        self
    }

    fn choose(mut self, name: &str, choice: &str) -> Self {
        let choice = OptionValue::Choice(choice.to_owned());
        self.options.push(nowhere(name.to_owned()), nowhere(choice));
        self
    }

    fn version(mut self, line: &str, version: &str) -> Self {
        let version = version.parse().unwrap();
        self.versions
            .push(nowhere(line.to_owned()), nowhere(version));
        self
    }

    fn port(mut self, name: &str, ranges: &[&str]) -> Self {
        let ranges = ranges.iter().map(|text| nowhere(text.parse().unwrap()));
        self.ports.push(nowhere(name.to_owned()), ranges.collect());
        self
    }

    fn group(mut self, name: &str, list: &[&str]) -> Self {
        self.groups.push(nowhere(name.to_owned()), peers(list));
        self
    }

    pub(crate) fn skip(mut self, row: &str, reason: &str) -> Self {
        let reason = nowhere(reason.to_owned());
        self.skip.push(nowhere(row.to_owned()), reason);
        self
    }

    pub(crate) fn peers(mut self, role: &str, list: &[&str]) -> Self {
        self.peers.push(nowhere(role.to_owned()), peers(list));
        self
    }
}

/// `["any"]`, `["none"]`, or a list of entries.
pub(crate) fn peers(list: &[&str]) -> Peers {
    let spec = match list {
        ["any"] => PeerSpec::Any,
        ["none"] => PeerSpec::None,
        _ => PeerSpec::List(
            list.iter()
                .map(|text| PeerEntry {
                    peer: text.parse::<Peer>().unwrap(),
                    set: None,
                    span: 0..0,
                })
                .collect(),
        ),
    };
    Peers { spec, span: 0..0 }
}

pub(crate) fn catalogue() -> Catalogue {
    let (catalogue, findings) = Catalogue::load([]);
    assert!(!findings.has_errors(), "{}", findings.render(false));
    catalogue
}

/// The shipped catalogue and these texts.
pub(crate) fn catalogue_of(texts: &[&str]) -> Catalogue {
    let texts = texts.iter().zip(1..);
    let (catalogue, findings) =
        Catalogue::load(texts.map(|(text, number)| (format!("{number}.toml"), (*text).to_owned())));
    assert!(!findings.has_errors(), "{}", findings.render(false));
    catalogue
}

/// What a product means on the sample host, nothing else said.
fn resolve_product(catalogue: &Catalogue, product: Product) -> Resolved {
    let mut config = config();
    config.products.push(product);
    resolve(&config, catalogue, &facts())
}

/// The rules of products alone, as [`lines`].
fn product_lines(resolved: &Resolved) -> Vec<String> {
    let all = lines(resolved).into_iter().zip(&resolved.rule_set.rules);
    all.filter(|(_, rule)| rule.product.is_some())
        .map(|(line, _)| line)
        .collect()
}

/// Each rule as `direction transport ports peers [via group] action rows`, the id where it has no row.
pub(crate) fn lines(resolved: &Resolved) -> Vec<String> {
    resolved
        .rule_set
        .rules
        .iter()
        .map(|rule| {
            let direction = match rule.direction {
                Direction::Ingress => "ingress",
                Direction::Egress => "egress",
            };
            let groups: Vec<String> = rule
                .groups
                .iter()
                .map(|group| format!(" via {group}"))
                .collect();
            format!(
                "{direction} {} {} {}{} {} {}",
                rule.service.transport(),
                rule.service.ports(rule.direction).join(","),
                rule.peers.words().join(","),
                groups.concat(),
                rule.precedence.action(),
                if rule.rows.is_empty() {
                    rule.id.clone()
                } else {
                    rule.rows.join(",")
                }
            )
        })
        .collect()
}
