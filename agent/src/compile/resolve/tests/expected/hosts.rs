//! One host for every role that Linux plays, from its configuration's text to its rules.
//!
//! `tests/data/hosts/PRODUCT/HOST.toml` is the configuration, `HOST.tsv` beside it what such a
//! host opens. That list is worked out from the sheet of the document and from what the
//! configuration says, by a few lines that know nothing of resolve; then the rules are held
//! against it, both ways.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use agent_common::event::Direction;
use ipnet::IpNet;

use super::super::{catalogue, facts};
use super::cases::{Case, Said, Value};
use super::observe::each_port;
use super::sheet::{Line, Sheet};
use crate::facts::Facts;
use crate::host::{Input, Peer, PeerSpec, Peers, Product, load};
use crate::meaning::meaning;
use crate::policy::schema::GroupKind;
use crate::policy::values::PortDefault;
use crate::policy::{OptionValue, Policy};

/// Set to write the lists instead of comparing them.
const WRITE: &str = "PORTCULLIS_WRITE_HOSTS";
const HEADER: &str = "direction\ttransport\tport\tpeer\tgroups\trow";

/// A configuration's words, as somebody reads them who has the sheet beside it.
struct Host<'a> {
    product: &'a Product,
    policy: &'a Policy,
    facts: &'a Facts,
}

impl Host<'_> {
    fn case(&self) -> Case<'_> {
        let defaults = self.policy.options.iter();
        let defaults =
            defaults.filter_map(|(name, it)| Some((name.to_owned(), Value::Switch(it.default?))));
        let mut said: Said = defaults.collect();
        for (name, value) in self.product.options.iter() {
            let value = match value.get_ref() {
                OptionValue::Switch(on) => Value::Switch(*on),
                OptionValue::Choice(choice) => Value::Choice(choice.clone()),
            };
            said.insert(name.to_owned(), value);
        }
        for (name, version) in self.product.versions.iter() {
            said.insert(name.to_owned(), Value::Version(version.get_ref().clone()));
        }
        let topologies = self.product.topologies.iter().flatten();
        Case {
            topologies: topologies.map(|it| it.get_ref().as_str()).collect(),
            said,
        }
    }

    /// Whether the line holds here: its topologies and conditions, one of this host's roles, and
    /// another host at the other end.
    fn holds(&self, line: &Line, case: &Case<'_>, implied: &BTreeSet<&str>) -> bool {
        let here = |name: &String| implied.contains(name.as_str());
        let (peer, _) = ends(&line.flow.peer);
        let inside = self.product.plays(peer)
            && !implied.iter().any(|name| {
                let topology = self.policy.topologies.get(name).unwrap();
                topology.several.iter().any(|role| role.get_ref() == peer)
            });
        let skipped = self.product.skip.keys().any(|row| row == line.flow.row);
        (line.topologies.is_empty() || line.topologies.iter().any(here))
            && line.conditions.iter().all(|asked| case.holds(asked))
            && self.product.plays(&line.flow.role)
            && !inside
            && !skipped
    }

    fn addresses(&self, peers: &Peers) -> Vec<String> {
        let own: Vec<IpAddr> = self.facts.own_addresses().collect();
        match &peers.spec {
            PeerSpec::Any => vec!["any".to_owned()],
            PeerSpec::None => Vec::new(),
            PeerSpec::List(entries) => entries
                .iter()
                .flat_map(|entry| match &entry.peer {
                    Peer::Prefix(prefix) => vec![*prefix],
                    Peer::Name(name) => self.facts.names[name]
                        .addresses
                        .iter()
                        .map(|it| IpNet::from(*it))
                        .collect(),
                    other => panic!("{other} has no place in these configurations"),
                })
                .filter(|prefix| !own.iter().any(|own| IpNet::from(*own) == *prefix))
                .map(|prefix| prefix.to_string())
                .collect(),
        }
    }

    /// The other end's addresses.
    fn peers(&self, line: &Line) -> Vec<String> {
        let (peer, _) = ends(&line.flow.peer);
        let Some(group) = peer.strip_prefix("group:") else {
            let said = self.product.peers.get(peer);
            return self.addresses(said.unwrap_or_else(|| panic!("no peers for {peer}")));
        };
        match self.product.groups.get(group) {
            Some(said) => self.addresses(said),
            None => {
                let names = &self.policy.groups.get(group).unwrap().names;
                assert!(
                    names.iter().any(|name| name.get_ref().starts_with("*.")),
                    "{group} is open"
                );
                vec!["any".to_owned()]
            }
        }
    }

    fn groups(&self, line: &Line) -> String {
        let (_, via) = ends(&line.flow.peer);
        let Some(via) = via else {
            return "-".to_owned();
        };
        let group = self.policy.groups.get(via).unwrap();
        let mut addresses: Vec<String> = match self.product.groups.get(via) {
            Some(said) => {
                let prefixes = self.addresses(said).into_iter();
                prefixes
                    .map(|it| it.split('/').next().unwrap().to_owned())
                    .collect()
            }
            None if group.kind == Some(GroupKind::Broadcast) => vec!["255.255.255.255".to_owned()],
            None => group
                .addresses
                .iter()
                .map(|it| it.get_ref().to_string())
                .collect(),
        };
        addresses.sort();
        addresses.join(",")
    }

    /// The numbers of a port: as printed, as said, or as documented.
    fn ports(&self, port: &str) -> Vec<String> {
        let Some(name) = port.strip_prefix('<').and_then(|it| it.strip_suffix('>')) else {
            return each_port(port);
        };
        if let Some(said) = self.product.ports.get(name) {
            return said
                .iter()
                .flat_map(|range| each_port(&range.get_ref().to_string()))
                .collect();
        }
        match self
            .policy
            .ports
            .get(name)
            .and_then(|it| it.default.as_ref())
            .map(|it| it.get_ref())
        {
            Some(PortDefault::Range(range)) => each_port(&range.to_string()),
            Some(PortDefault::Offset { base, add }) => {
                let bases = self.ports(&format!("<{base}>")).into_iter();
                bases
                    .map(|base| (base.parse::<u16>().unwrap() + add).to_string())
                    .collect()
            }
            None => panic!("{name} has no value"),
        }
    }

    fn expected(&self, sheet: &Sheet) -> BTreeSet<String> {
        let case = self.case();
        let implied = case.implied(self.policy);
        let mut expected = BTreeSet::new();
        for line in sheet
            .lines
            .iter()
            .filter(|line| self.holds(line, &case, &implied))
        {
            let flow = &line.flow;
            for port in self.ports(&flow.port) {
                for peer in self.peers(line) {
                    expected.insert(format!(
                        "{}\t{}\t{port}\t{peer}\t{}\t{}/{}",
                        flow.direction,
                        flow.transport,
                        self.groups(line),
                        self.policy.id(),
                        flow.row
                    ));
                }
            }
        }
        expected
    }
}

/// Who hears it, and the group that it is sent to. A group alone is the one that it is sent to
/// only where it is a multicast or broadcast group, which no sheet has.
fn ends(peer: &str) -> (&str, Option<&str>) {
    match peer.split_once(" via ") {
        Some((peer, via)) => (peer, Some(via)),
        None => (peer, None),
    }
}

/// What the rules of products open, in the same words.
fn opened(rule_set: &crate::rule::RuleSet) -> BTreeSet<String> {
    let mut opened = BTreeSet::new();
    for rule in rule_set.rules.iter().filter(|rule| rule.product.is_some()) {
        let direction = match rule.direction {
            Direction::Ingress => "ingress",
            Direction::Egress => "egress",
        };
        let mut groups: Vec<String> = rule.groups.iter().map(ToString::to_string).collect();
        groups.sort();
        let groups = if groups.is_empty() {
            "-".to_owned()
        } else {
            groups.join(",")
        };
        let mut ports: Vec<String> = rule
            .service
            .ports(rule.direction)
            .iter()
            .flat_map(|port| each_port(port))
            .collect();
        if ports.is_empty() {
            ports.push("-".to_owned());
        }
        for (row, port) in rule
            .rows
            .iter()
            .flat_map(|row| ports.iter().map(move |port| (row, port)))
        {
            for peer in rule.peers.words() {
                opened.insert(format!(
                    "{direction}\t{}\t{port}\t{peer}\t{groups}\t{row}",
                    rule.service.transport()
                ));
            }
        }
    }
    opened
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/hosts")
}

/// The differences of one host: list against sheet, and rules against list, both ways.
fn differences(policy: &Policy, sheet: &Sheet, path: &Path) -> String {
    let catalogue = catalogue();
    let text = std::fs::read_to_string(path).unwrap();
    let (config, reading) = load(&Input::single("portcullis.toml", &text));
    let config = config.unwrap_or_else(|| panic!("{}", reading.render(false)));
    let facts = facts();
    let meant = meaning(&config, &catalogue, &facts, &reading);
    assert!(
        !meant.findings.has_errors(),
        "{}: {}",
        path.display(),
        meant.findings.render(false)
    );
    assert!(meant.tables.is_some());
    let host = Host {
        product: &config.products[0],
        policy,
        facts: &facts,
    };
    let expected = host.expected(sheet);
    let list = path.with_extension("tsv");
    if std::env::var_os(WRITE).is_some() {
        let lines: Vec<&str> = [HEADER]
            .into_iter()
            .chain(expected.iter().map(String::as_str))
            .collect();
        std::fs::write(&list, lines.join("\n") + "\n").unwrap();
    }
    let written = std::fs::read_to_string(&list).unwrap_or_default();
    let written: BTreeSet<String> = written.lines().skip(1).map(str::to_owned).collect();
    assert!(
        !written.is_empty(),
        "{} says nothing; write it with {WRITE}=1",
        list.display()
    );
    let opened = opened(&meant.resolved.rule_set);
    let mut text = String::new();
    let mut say = |what: &str, left: &BTreeSet<String>, right: &BTreeSet<String>| {
        for line in left.difference(right) {
            text += &format!("{}: {what}: {line}\n", list.display());
        }
    };
    say("not in the document's sheet", &written, &expected);
    say("in the document's sheet and not here", &expected, &written);
    say("not opened", &written, &opened);
    say("opened and not here", &opened, &written);
    text
}

#[test]
fn a_host_for_every_role() {
    let catalogue = catalogue();
    let mut report = String::new();
    let mut played: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for (id, policy) in catalogue.iter() {
        let sheet =
            Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../tests/expected/{id}.tsv"));
        let (sheet, faults) = Sheet::read(&std::fs::read_to_string(sheet).unwrap_or_default());
        assert!(faults.is_empty(), "{faults:?}");
        let hosts = std::fs::read_dir(directory().join(id));
        let mut hosts: Vec<PathBuf> = hosts
            .into_iter()
            .flatten()
            .map(|it| it.unwrap().path())
            .collect();
        hosts.sort();
        for path in hosts
            .iter()
            .filter(|path| path.extension().is_some_and(|it| it == "toml"))
        {
            report += &differences(policy, &sheet, path);
            let name = path.file_stem().unwrap().to_string_lossy();
            played.entry(id).or_default().insert(name.into_owned());
        }
        for (role, _) in policy.roles.iter().filter(|(_, role)| role.linux) {
            if !played.get(id).is_some_and(|names| names.contains(role)) {
                report +=
                    &format!("{id}: no host plays `{role}`: tests/data/hosts/{id}/{role}.toml\n");
            }
        }
    }
    assert!(report.is_empty(), "\n{report}");
}
