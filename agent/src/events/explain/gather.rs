//! Gathers what explanations need from catalogue, configuration, facts and what was resolved from them.

use std::collections::{BTreeMap, BTreeSet};

use agent_common::event::Direction;
use ipnet::IpNet;

use super::knowledge::{
    Binding, ExpiredAllow, Knowledge, KnownFlow, KnownRule, Need, State, Written,
};
use crate::compile::resolve::{FlowId, Resolved};
use crate::facts::Facts;
use crate::host::schema::{Allow, BaselineItem};
use crate::host::{self, HostConfig, Peer, PeerSpec, Product};
use crate::policy::values::Condition;
use crate::policy::{
    Catalogue, FlowPart, OptionValues, Policy, PortRange, PortRef, Row, Truth, Version, schema,
};
use crate::rule::{Peers, Rule, Service};

impl Knowledge {
    /// What there is to know under one policy. `resolved` is what the other three were resolved to.
    pub fn gather(
        config: &HostConfig,
        catalogue: &Catalogue,
        facts: &Facts,
        resolved: &Resolved,
    ) -> Self {
        let mut knowledge = Self {
            defaults: [resolved.rule_set.ingress, resolved.rule_set.egress],
            ..Self::default()
        };
        let mut places: BTreeMap<(String, FlowId), usize> = BTreeMap::new();
        for product in &config.products {
            let Some(policy) = catalogue.get(product.policy.get_ref()) else {
                continue;
            };
            knowledge.bindings.extend(bindings(product, facts));
            knowledge.bindings.extend(groups(product, policy, facts));
            let selected = Selected::new(product, policy, resolved);
            for row in policy.rows_in_order() {
                for part in row.parts() {
                    let id = FlowId {
                        row: policy.row_id(row),
                        flow: part.number,
                    };
                    let flow = selected.flow(row, &part, &id);
                    places.insert((product.name.clone(), id), knowledge.flows.len());
                    knowledge.flows.push(flow);
                }
            }
        }
        for (id, policy) in catalogue.iter() {
            let chosen = |product: &Product| product.policy.get_ref() == id;
            if !config.products.iter().any(chosen) {
                knowledge.flows.extend(unselected(policy));
            }
        }
        let allows = config.allows.iter();
        let allows = allows.map(|allow| (allow.name.as_str(), allow)).collect();
        for (rule, flows) in resolved.rule_set.rules.iter().zip(&resolved.flows) {
            let product = rule.product.clone().unwrap_or_default();
            let flows = flows
                .iter()
                .filter_map(|flow| places.get(&(product.clone(), flow.clone())).copied())
                .collect();
            let ranges = rule.service.places(rule.direction);
            knowledge.index.add(&ranges, knowledge.rules.len());
            knowledge.rules.push(KnownRule {
                id: rule.id.clone(),
                rows: rule.rows.clone(),
                precedence: rule.precedence,
                peers: rule.peers.clone(),
                to_groups: !rule.groups.is_empty(),
                flows,
                written: written_of(rule, config, &allows),
            });
        }
        let over: BTreeSet<&str> = resolved
            .expired
            .iter()
            .filter_map(|expired| expired.id.strip_prefix("allow/"))
            .collect();
        let allows = config.allows.iter();
        let allows = allows.filter(|allow| over.contains(allow.name.as_str()));
        knowledge.expired = allows.map(|allow| expired(allow, facts)).collect();
        knowledge
    }
}

/// A selected product, and where resolving put its flows.
struct Selected<'a> {
    product: &'a Product,
    policy: &'a Policy,
    topologies: BTreeSet<&'a str>,
    options: OptionValues,
    versions: BTreeMap<String, Version>,
    ports: BTreeMap<String, Vec<PortRange>>,
    inactive: BTreeSet<&'a FlowId>,
    host_only: BTreeMap<&'a FlowId, &'a str>,
    open: BTreeSet<&'a FlowId>,
}

impl<'a> Selected<'a> {
    fn new(product: &'a Product, policy: &'a Policy, resolved: &'a Resolved) -> Self {
        let own = |name: &String| *name == product.name;
        let rules = resolved.rule_set.rules.iter().zip(&resolved.flows);
        Self {
            product,
            policy,
            topologies: product.topologies_in(policy),
            options: product.option_values(policy),
            versions: product.versions_said(),
            ports: product.ports_said(),
            inactive: resolved
                .inactive
                .iter()
                .filter(|it| own(&it.product))
                .map(|it| &it.flow)
                .collect(),
            host_only: resolved
                .host_only
                .iter()
                .filter(|it| own(&it.product))
                .map(|it| (&it.flow, it.why.as_str()))
                .collect(),
            open: rules
                .filter(|(rule, _)| rule.product.as_ref().is_some_and(own))
                .flat_map(|(_, flows)| flows)
                .collect(),
        }
    }

    fn flow(&self, row: &Row, part: &FlowPart<'_>, id: &FlowId) -> KnownFlow {
        let plays = |roles: &[toml::Spanned<String>]| {
            roles.iter().any(|role| self.product.plays(role.get_ref()))
        };
        let mut ports = Vec::new();
        let mut moved = Vec::new();
        let mut named = Vec::new();
        for port in part.ports() {
            let in_force = self.policy.ports_in_force(port, &self.ports, &self.options);
            let in_force = in_force.unwrap_or_default();
            if let PortRef::Named(name) = port {
                let documented = documented(self.policy, port).into_iter();
                let elsewhere = documented.filter(|range| !in_force.contains(range));
                moved.extend(elsewhere.map(|range| (name.clone(), range)));
                named.push((name.clone(), in_force.clone()));
            }
            ports.extend(in_force);
        }
        let (leaves, comes) = (plays(&part.flow.from), plays(&part.flow.to));
        KnownFlow {
            product: self.product.name.clone(),
            leaves,
            comes,
            ports,
            moved,
            named,
            state: if leaves || comes {
                self.state(row, part, id)
            } else {
                State::OtherRole
            },
            ..documented_flow(self.policy, row, part)
        }
    }

    fn state(&self, row: &Row, part: &FlowPart<'_>, id: &FlowId) -> State {
        if let Some(reason) = self.product.skipped(&id.row) {
            return State::Skipped(reason.to_owned());
        }
        if self.open.contains(id) {
            return State::Open;
        }
        if let Some(why) = self.host_only.get(id) {
            return State::HostOnly((*why).to_owned());
        }
        if !self.inactive.contains(id) {
            return State::OtherRole;
        }
        // What weighs most decides: a topology is not grown for the sake of an option.
        if !self.policy.row_in(row, &self.topologies) {
            return State::Topology(self.topology_need(row));
        }
        let versions: Vec<Need> = self
            .policy
            .since_unmet(row, &self.versions)
            .map(|(line, from, _)| Need {
                line: format!("versions.{line} = \"{from}\""),
                words: match self.versions.get(line) {
                    Some(said) => format!("came with {line} {from}, the configuration says {said}"),
                    None => format!("came with {line} {from}, the configuration names none"),
                },
            })
            .collect();
        if !versions.is_empty() {
            return State::Version(versions);
        }
        let mut options: Vec<Need> = Vec::new();
        for condition in self.policy.flow_conditions(row, part.flow) {
            let need = option_need(condition);
            if self.options.holds(condition) != Truth::Holds && !options.contains(&need) {
                options.push(need);
            }
        }
        if options.is_empty() {
            State::Unbound
        } else {
            State::Option(options)
        }
    }

    /// The topologies to select: the row's first beside those that it can be added to, or in place of what is selected.
    fn topology_need(&self, row: &Row) -> Need {
        let first = self.policy.topologies_of(row).first();
        let wanted = first.map_or("", |name| name.get_ref().as_str());
        let implied = self.policy.implied_topologies([wanted]);
        let adds = self
            .policy
            .topologies
            .get(wanted)
            .is_some_and(|topology| topology.adds_to.is_some());
        let said = self.product.topologies.iter().flatten();
        let kept = said
            .map(|name| name.get_ref().as_str())
            .filter(|name| adds && !implied.contains(name));
        let mut names: Vec<String> = kept.map(|name| format!("\"{name}\"")).collect();
        names.push(format!("\"{wanted}\""));
        Need {
            line: format!("topologies = [{}]", names.join(", ")),
            words: format!("belongs to topology {wanted}, which is not selected here"),
        }
    }
}

/// What the document says of a flow, on a host that plays no role in it.
fn documented_flow(policy: &Policy, row: &Row, part: &FlowPart<'_>) -> KnownFlow {
    let names = |list: &[toml::Spanned<String>]| -> Vec<String> {
        list.iter().map(|name| name.get_ref().clone()).collect()
    };
    let mut to = names(&part.flow.to);
    to.extend(
        part.flow
            .to_group
            .iter()
            .map(|group| group.get_ref().clone()),
    );
    KnownFlow {
        row: policy.row_id(row),
        product: policy.id().to_owned(),
        service: row.service.clone(),
        from: names(&part.flow.from),
        to,
        via_group: part.flow.via.is_some(),
        leaves: false,
        comes: false,
        carrier: part.transport,
        ports: Vec::new(),
        moved: Vec::new(),
        named: Vec::new(),
        state: State::OtherProduct,
    }
}

/// The flows of a product that is not selected, with their documented ports.
fn unselected(policy: &Policy) -> impl Iterator<Item = KnownFlow> {
    policy.rows_in_order().into_iter().flat_map(move |row| {
        row.parts().map(move |part| KnownFlow {
            ports: part
                .ports()
                .flat_map(|port| documented(policy, port))
                .collect(),
            ..documented_flow(policy, row, &part)
        })
    })
}

/// The documented value of a port, where there is one.
fn documented(policy: &Policy, port: &PortRef) -> Vec<PortRange> {
    let unsaid = OptionValues::default();
    policy
        .ports_in_force(port, &BTreeMap::new(), &unsaid)
        .unwrap_or_default()
}

fn option_need(condition: &Condition) -> Need {
    let (line, words) = match condition {
        Condition::On(option) => (
            format!("options.{option} = true"),
            format!("hangs on option {option}, which is off here"),
        ),
        Condition::Off(option) => (
            format!("options.{option} = false"),
            format!("holds without option {option}, which is on here"),
        ),
        Condition::Is(option, choice) => (
            format!("options.{option} = \"{choice}\""),
            format!("hangs on option {option} being {choice}, which it is not here"),
        ),
    };
    Need { line, words }
}

fn bindings<'a>(product: &'a Product, facts: &'a Facts) -> impl Iterator<Item = Binding> + 'a {
    let peers = product
        .peers
        .iter()
        .map(|(role, peers)| ("peers", role, peers));
    let groups = product
        .groups
        .iter()
        .map(|(group, peers)| ("groups", group, peers));
    peers.chain(groups).map(move |(kind, role, peers)| Binding {
        product: product.name.clone(),
        role: role.to_owned(),
        written: Written {
            table: format!("product.{}.{kind}", product.name),
            key: role.to_owned(),
            entries: entries(peers),
        },
        peers: admitted(peers, facts),
    })
}

/// Groups that the operator leaves as the document has them.
fn groups<'a>(
    product: &'a Product,
    policy: &'a Policy,
    facts: &'a Facts,
) -> impl Iterator<Item = Binding> + 'a {
    let unbound = policy
        .groups
        .iter()
        .filter(|(name, _)| product.groups.get(name).is_none());
    unbound.map(|(name, group)| {
        let names = || group.names.iter().map(|name| name.get_ref().as_str());
        let known = names().filter_map(|name| facts.names.get(name));
        let resolved = known.flat_map(|it| &it.addresses).copied();
        let printed = group.addresses.iter().map(|it| *it.get_ref());
        Binding {
            product: product.name.clone(),
            role: name.to_owned(),
            written: Written {
                table: format!("product.{}.groups", product.name),
                key: name.to_owned(),
                entries: names().map(str::to_owned).collect(),
            },
            // A wildcard can't be resolved: its port is open to anyone.
            peers: if names().any(|name| name.contains('*')) {
                Peers::Any
            } else {
                Peers::Prefixes(printed.chain(resolved).map(IpNet::from).collect())
            },
        }
    })
}

/// The entries as they are written.
fn entries(peers: &host::Peers) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    if peers.is_any() {
        words.push("any".to_owned());
    }
    for entry in peers.entries() {
        let word = match &entry.set {
            Some(set) => format!("@{set}"),
            None => entry.peer.to_string(),
        };
        if !words.contains(&word) {
            words.push(word);
        }
    }
    words
}

/// Whom they admit; names by the facts.
fn admitted(peers: &host::Peers, facts: &Facts) -> Peers {
    let entries = match &peers.spec {
        PeerSpec::Any => return Peers::Any,
        PeerSpec::None => return Peers::Prefixes(Vec::new()),
        PeerSpec::List(entries) => entries,
    };
    let mut prefixes: Vec<IpNet> = Vec::new();
    for entry in entries {
        match &entry.peer {
            Peer::LocalSubnets => {
                let interfaces = facts.interfaces.iter().filter(|it| it.name != "lo");
                let addresses = interfaces.flat_map(|it| &it.addresses);
                prefixes.extend(addresses.map(|it| it.address.trunc()));
            }
            Peer::Name(name) => {
                let known = facts.names.get(name).into_iter();
                prefixes.extend(
                    known
                        .flat_map(|it| &it.addresses)
                        .map(|it| IpNet::from(*it)),
                );
            }
            addresses => prefixes.extend(addresses.prefixes().unwrap_or_default()),
        }
    }
    Peers::Prefixes(prefixes)
}

/// Where the peers of a rule are written that comes from no product.
fn written_of(
    rule: &Rule,
    config: &HostConfig,
    allows: &BTreeMap<&str, &Allow>,
) -> Option<Written> {
    let (kind, name) = rule.id.split_once('/')?;
    let list = |peers: &host::Peers| Written {
        table: format!("{kind}.{name}"),
        key: "peers".to_owned(),
        entries: entries(peers),
    };
    match kind {
        "failsafe" => Some(list(&config.failsafe(name)?.peers)),
        "allow" => Some(list(&allows.get(name)?.peers)),
        "baseline" => {
            let (_, item) = config.baseline.items().find(|(item, _)| *item == name)?;
            Some(Written {
                table: "baseline".to_owned(),
                key: name.replace("icmp-echo-", "icmp-echo."),
                entries: match item {
                    BaselineItem::Peers(peers) => entries(peers),
                    BaselineItem::Off | BaselineItem::Auto => short_words(&rule.peers),
                },
            })
        }
        _ => None,
    }
}

/// Prefixes as an operator writes them: an address without its length.
fn short_words(peers: &Peers) -> Vec<String> {
    match peers {
        Peers::Any => vec!["any".to_owned()],
        Peers::Prefixes(prefixes) => prefixes
            .iter()
            .map(|prefix| Peer::Prefix(*prefix).to_string())
            .collect(),
    }
}

fn expired(allow: &Allow, facts: &Facts) -> ExpiredAllow {
    let direction = match allow.direction {
        schema::Direction::Ingress => Direction::Ingress,
        schema::Direction::Egress => Direction::Egress,
    };
    let ranges = |list: &[toml::Spanned<PortRange>]| {
        let ranges = list.iter().map(toml::Spanned::get_ref);
        ranges.map(|range| range.first..=range.last).collect()
    };
    let mut services = vec![
        Service::Tcp(ranges(&allow.tcp)),
        Service::Udp(ranges(&allow.udp)),
    ];
    let protocols = allow.protocol.iter();
    services.extend(protocols.map(|protocol| Service::Protocol(protocol.get_ref().0)));
    ExpiredAllow {
        id: format!("allow/{}", allow.name),
        name: allow.name.clone(),
        ended: allow
            .expires
            .as_ref()
            .map(|moment| moment.get_ref().written.clone())
            .unwrap_or_default(),
        places: services
            .iter()
            .flat_map(|service| service.places(direction))
            .collect(),
        peers: admitted(&allow.peers, facts),
        reason: allow.reason.clone(),
    }
}
