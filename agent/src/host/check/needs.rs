//! What the rows of this host need and was not said.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;

use super::{Out, listed};
use crate::compile::resolve::{Crossing, crossings};
use crate::facts::Facts;
use crate::host::kinds::Kind;
use crate::host::peers::{Peer, Peers};
use crate::host::{HostConfig, Product};
use crate::policy::{Policy, PortProblem, PortRef, Truth};

/// A name of the policy, and the rows that need it.
type Rows<'a> = BTreeMap<&'a str, BTreeSet<String>>;

pub(super) fn check(
    config: &HostConfig,
    product: &Product,
    policy: &Policy,
    facts: &Facts,
    out: &mut Out<'_>,
) {
    let crossings = crossings(product, policy);
    unsaid(product, policy, &crossings, out);
    // What hangs on a choice or version that is still to be said may be needed, and is named with it.
    let holding: Vec<&Crossing<'_>> = crossings
        .iter()
        .filter(|crossing| crossing.truth != Truth::Fails)
        .collect();
    roles(config, product, &holding, facts, out);
    groups(product, &holding, out);
    ports(product, policy, &holding, out);
}

fn gather<'a>(rows: &mut Rows<'a>, name: &'a str, crossing: &Crossing<'_>) {
    rows.entry(name).or_default().insert(crossing.label());
}

/// Choices and versions without which it is open whether a row holds.
fn unsaid(product: &Product, policy: &Policy, crossings: &[Crossing<'_>], out: &mut Out<'_>) {
    let (mut options, mut versions) = (Rows::new(), Rows::new());
    for crossing in crossings.iter().filter(|it| it.truth == Truth::Unsaid) {
        for option in &crossing.options_unsaid {
            gather(&mut options, option, crossing);
        }
        for line in &crossing.versions_unsaid {
            gather(&mut versions, line, crossing);
        }
    }
    for (name, rows) in options {
        let option = policy.options.get(name);
        let choices: Vec<&str> = option
            .iter()
            .flat_map(|option| &option.choices)
            .map(|choice| choice.get_ref().as_str())
            .collect();
        let why = option.and_then(|option| option.why.as_deref());
        out.say(
            Kind::ChoiceUnsaid,
            format!("the option `{name}` has no default and is not said"),
            format!(
                "under [product.{}.options] write `{name} = \"…\"` with one of {}{}; rows that hang on it: {}",
                product.name,
                choices.join(", "),
                why.map_or(String::new(), |why| format!(" ({why})")),
                listed(&rows)
            ),
            &product.span,
        );
    }
    for (line, rows) in versions {
        let gates = policy.rows.iter().filter_map(|row| row.since.get(line));
        let newest = gates.max().map_or("…".to_owned(), ToString::to_string);
        out.say(
            Kind::VersionUnsaid,
            format!("the version of `{line}` is not said"),
            format!(
                "under [product.{}.versions] write `{line} = \"{newest}\"`, or what is in use; rows that hang on it: {}",
                product.name,
                listed(&rows)
            ),
            &product.span,
        );
    }
}

/// Roles at the other end.
fn roles(
    config: &HostConfig,
    product: &Product,
    holding: &[&Crossing<'_>],
    facts: &Facts,
    out: &mut Out<'_>,
) {
    let mut needed = Rows::new();
    for crossing in holding {
        for role in &crossing.others {
            gather(&mut needed, role, crossing);
        }
    }
    for (role, rows) in needed {
        match product.peers.get(role) {
            None => out.say(
                Kind::RoleWithoutPeers,
                format!("the role `{role}` has no peers"),
                format!(
                    "under [product.{}.peers] write `{role} = [\"…\"]`, \"any\" or \"none\"; rows that need it: {}",
                    product.name,
                    listed(&rows)
                ),
                &product.span,
            ),
            Some(peers) if ipv4_only(config, peers, facts) => out.say(
                Kind::Ipv4OnlyRole,
                format!("the role `{role}` has IPv4 peers only, and this host has IPv6"),
                "add the IPv6 prefixes of these peers, or leave it if they never use IPv6",
                &peers.span,
            ),
            Some(_) => {}
        }
    }
}

/// Whether a list names IPv4 peers and no IPv6 ones on a host that others reach by IPv6.
fn ipv4_only(config: &HostConfig, peers: &Peers, facts: &Facts) -> bool {
    let prefixes = || {
        let guarded = facts
            .interfaces
            .iter()
            .filter(|interface| config.guards(&interface.name));
        guarded
            .flat_map(|interface| &interface.addresses)
            .map(|address| address.address)
    };
    let on_ipv6 = prefixes().any(|prefix| match prefix {
        IpNet::V6(prefix) => !prefix.addr().is_unicast_link_local(),
        IpNet::V4(_) => false,
    });
    if !on_ipv6 {
        return false;
    }
    let (mut v4, mut v6) = (false, false);
    let mut note = |is_v4: bool| if is_v4 { v4 = true } else { v6 = true };
    for entry in peers.entries() {
        match &entry.peer {
            Peer::Prefix(prefix) => note(prefix.addr().is_ipv4()),
            Peer::Range(first, _) => note(first.is_ipv4()),
            Peer::LocalSubnets => prefixes().for_each(|prefix| note(prefix.addr().is_ipv4())),
            // A name's addresses come and go; one that has none yet may get either.
            Peer::Name(name) => match facts.names.get(name) {
                Some(name) if !name.addresses.is_empty() => {
                    name.addresses.iter().for_each(|it| note(it.is_ipv4()));
                }
                _ => return false,
            },
        }
    }
    v4 && !v6
}

/// Groups that the document leaves open.
fn groups(product: &Product, holding: &[&Crossing<'_>], out: &mut Out<'_>) {
    let mut needed = Rows::new();
    for crossing in holding {
        let unsaid = |group: &&&str| !product.groups.contains(group);
        for group in crossing.open_groups.iter().filter(unsaid) {
            gather(&mut needed, group, crossing);
        }
    }
    for (group, rows) in needed {
        out.say(
            Kind::GroupWithoutMembers,
            format!("the document gives no address of the group `{group}`"),
            format!(
                "under [product.{}.groups] write `{group} = [\"…\"]`; rows that need it: {}",
                product.name,
                listed(&rows)
            ),
            &product.span,
        );
    }
}

/// Ports without a value.
fn ports(product: &Product, policy: &Policy, holding: &[&Crossing<'_>], out: &mut Out<'_>) {
    let (said, options) = (product.ports_said(), product.option_values(policy));
    let mut needed: BTreeMap<String, (BTreeSet<String>, Option<String>)> = BTreeMap::new();
    for crossing in holding {
        for port in crossing.part.ports() {
            let PortRef::Named(name) = port else { continue };
            let Err(problem) = policy.ports_in_force(port, &said, &options) else {
                continue;
            };
            if let Some((name, because)) = root(name, &problem) {
                let entry = needed.entry(name.to_owned()).or_default();
                entry.0.insert(crossing.label());
                entry.1 = because.map(str::to_owned);
            }
        }
    }
    for (name, (rows, because)) in needed {
        let table = policy.ports.get(&name);
        let suggest = table
            .and_then(|table| table.suggest)
            .map_or("…".to_owned(), |suggest| suggest.to_string());
        let value = if suggest.parse::<u16>().is_ok() {
            suggest
        } else {
            format!("\"{suggest}\"")
        };
        let note = |text: Option<&String>| text.map_or(String::new(), |text| format!(" ({text})"));
        let because = because.map_or(String::new(), |option| format!(" while `{option}` is on"));
        out.say(
            Kind::PortUnsaid,
            format!("the port `{name}` has no default{because} and is not said"),
            format!(
                "under [product.{}.ports] write `{name} = {value}`{}{}; rows that need it: {}",
                product.name,
                note(table.and_then(|table| table.why.as_ref())),
                note(table.and_then(|table| table.configure.as_ref())),
                listed(&rows)
            ),
            &product.span,
        );
    }
}

/// The port that must be said, where that is what is wrong: the name itself, or the one that it
/// follows. The other problems have findings at what was said.
fn root<'a>(name: &'a str, problem: &'a PortProblem) -> Option<(&'a str, Option<&'a str>)> {
    match problem {
        PortProblem::Unsaid { because } => Some((name, because.as_deref())),
        PortProblem::Base { base, problem } => root(base, problem),
        _ => None,
    }
}
