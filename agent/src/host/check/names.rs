//! Words of a product's table that must name something in its policy.

use super::{Out, meant};
use crate::host::kinds::Kind;
use crate::host::peers::{Peer, PeerSpec};
use crate::host::{HostConfig, Product};
use crate::policy::schema::GroupKind;
use crate::policy::{Catalogue, OptionValue, Policy, PortProblem, PortRef};

pub(super) fn unknown_product(product: &Product, catalogue: &Catalogue, out: &mut Out<'_>) {
    let id = product.policy.get_ref();
    out.say(
        Kind::UnknownProduct,
        format!("no product `{id}` in the catalogue"),
        meant(id, catalogue.iter().map(|(known, _)| known)),
        &product.policy.span(),
    );
}

/// Everything that names nothing.
pub(super) fn check(product: &Product, policy: &Policy, out: &mut Out<'_>) {
    roles(product, policy, out);
    topologies(product, policy, out);
    options(product, policy, out);
    for (line, _) in product.versions.spanned() {
        if !policy.versions.contains(line.get_ref()) {
            out.say(
                Kind::UnknownVersion,
                format!("`{}` has no version line `{}`", policy.id(), line.get_ref()),
                meant(line.get_ref(), policy.versions.keys()),
                &line.span(),
            );
        }
    }
    peers(product, policy, out);
    groups(product, policy, out);
    ports(product, policy, out);
    for (row, _) in product.skip.spanned() {
        if policy.row(row.get_ref()).is_none() {
            out.say(
                Kind::UnknownRow,
                format!("`{}` has no row `{}`", policy.id(), row.get_ref()),
                format!("`portcullis policy show {}` lists its rows", policy.id()),
                &row.span(),
            );
        }
    }
}

fn roles(product: &Product, policy: &Policy, out: &mut Out<'_>) {
    for role in &product.roles {
        let name = role.get_ref();
        match policy.roles.get(name) {
            None => out.say(
                Kind::UnknownRole,
                format!("`{}` has no role `{name}`", policy.id()),
                meant(name, policy.roles.keys()),
                &role.span(),
            ),
            Some(known) if !known.linux => out.say(
                Kind::RoleNotLinux,
                format!("the document knows no Linux host in the role `{name}`"),
                "take the role out unless this host plays it all the same",
                &role.span(),
            ),
            Some(_) => {}
        }
    }
}

fn topologies(product: &Product, policy: &Policy, out: &mut Out<'_>) {
    let Some(said) = &product.topologies else {
        if policy.topologies.len() > 1 {
            let known: Vec<&str> = policy.topologies.keys().collect();
            out.say(
                Kind::TopologyUnsaid,
                format!("`{}` has several topologies and none is said", policy.id()),
                format!(
                    "add `topologies = [\"…\"]` with one of {}",
                    known.join(", ")
                ),
                &product.span,
            );
        }
        return;
    };
    for topology in said {
        if !policy.topologies.contains(topology.get_ref()) {
            out.say(
                Kind::UnknownTopology,
                format!("`{}` has no topology `{}`", policy.id(), topology.get_ref()),
                meant(topology.get_ref(), policy.topologies.keys()),
                &topology.span(),
            );
        }
    }
    if said.is_empty() && !policy.topologies.is_empty() {
        let known: Vec<&str> = policy.topologies.keys().collect();
        out.say(
            Kind::TopologyUnsaid,
            "an empty list selects no topology",
            format!("write one of {}", known.join(", ")),
            &product.span,
        );
    }
}

fn options(product: &Product, policy: &Policy, out: &mut Out<'_>) {
    for (key, said) in product.options.spanned() {
        let name = key.get_ref();
        let Some(option) = policy.options.get(name) else {
            out.say(
                Kind::UnknownOption,
                format!("`{}` has no option `{name}`", policy.id()),
                meant(name, policy.options.keys()),
                &key.span(),
            );
            continue;
        };
        let choices = || option.choices.iter().map(|it| it.get_ref().as_str());
        match said.get_ref() {
            OptionValue::Choice(choice) if choices().next().is_none() => out.say(
                Kind::OptionValue,
                format!("the option `{name}` is a switch, not `{choice}`"),
                "write true or false, without quotes",
                &said.span(),
            ),
            OptionValue::Switch(on) if choices().next().is_some() => out.say(
                Kind::OptionValue,
                format!("the option `{name}` is a choice, not `{on}`"),
                format!(
                    "write one of {}, in quotes",
                    choices().collect::<Vec<_>>().join(", ")
                ),
                &said.span(),
            ),
            OptionValue::Choice(choice) if !choices().any(|known| known == choice) => out.say(
                Kind::OptionValue,
                format!("the option `{name}` has no choice `{choice}`"),
                meant(choice, choices()),
                &said.span(),
            ),
            _ => {}
        }
    }
}

fn peers(product: &Product, policy: &Policy, out: &mut Out<'_>) {
    for (role, _) in product.peers.spanned() {
        let name = role.get_ref();
        if policy.roles.contains(name) {
            continue;
        }
        let help = if policy.groups.contains(name) {
            format!(
                "`{name}` is a group: write it under [product.{}.groups]",
                product.name
            )
        } else {
            meant(name, policy.roles.keys())
        };
        out.say(
            Kind::UnknownPeerRole,
            format!("`{}` has no role `{name}`", policy.id()),
            help,
            &role.span(),
        );
    }
}

fn groups(product: &Product, policy: &Policy, out: &mut Out<'_>) {
    for (key, members) in product.groups.spanned() {
        let name = key.get_ref();
        let Some(group) = policy.groups.get(name) else {
            let help = if policy.roles.contains(name) {
                format!(
                    "`{name}` is a role: write it under [product.{}.peers]",
                    product.name
                )
            } else {
                meant(name, policy.groups.keys())
            };
            out.say(
                Kind::UnknownGroup,
                format!("`{}` has no group `{name}`", policy.id()),
                help,
                &key.span(),
            );
            continue;
        };
        if group.kind != Some(GroupKind::Multicast) {
            continue;
        }
        let help = "write the group's own addresses: 224.0.0.0/4 or ff00::/8 holds them";
        if members.spec == PeerSpec::Any {
            let message = format!("`{name}` is a multicast group, and `any` is none");
            out.say(Kind::GroupMembers, message, help, &members.span);
        }
        for entry in members.entries() {
            let multicast = match &entry.peer {
                Peer::Prefix(prefix) => {
                    prefix.addr().is_multicast() && prefix.prefix_len() == prefix.max_prefix_len()
                }
                _ => false,
            };
            if !multicast {
                let message = format!("`{}` is no multicast address", entry.peer);
                out.say(Kind::GroupMembers, message, help, &entry.span);
            }
        }
    }
}

fn ports(product: &Product, policy: &Policy, out: &mut Out<'_>) {
    let (said, options) = (product.ports_said(), product.option_values(policy));
    for (key, _) in product.ports.spanned() {
        let name = key.get_ref();
        let port = PortRef::Named(name.clone());
        let (message, help) = match policy.ports_in_force(&port, &said, &options) {
            Ok(_) => continue,
            Err(PortProblem::Unknown) => {
                out.say(
                    Kind::UnknownPort,
                    format!("`{}` has no port `{name}`", policy.id()),
                    meant(name, policy.ports.keys()),
                    &key.span(),
                );
                continue;
            }
            Err(PortProblem::NotMany { said }) => (
                format!("the port `{name}` is one, and {said} are said"),
                "write a single port or range".to_owned(),
            ),
            Err(PortProblem::Length {
                base,
                expected,
                said,
            }) => (
                format!("the port `{name}` has {said} values, and `{base}` has {expected}"),
                format!("write one value for each of `{base}`, in the same order"),
            ),
            Err(PortProblem::Overflow { base }) => (
                format!("the port `{name}` follows `{base}` beyond 65535"),
                format!("write a lower `{base}`, or say `{name}` itself"),
            ),
            // What was not said is found where a row needs it; the base has its own finding.
            Err(PortProblem::Unsaid { .. } | PortProblem::Base { .. }) => continue,
        };
        out.say(Kind::PortValue, message, help, &key.span());
    }
}

/// Rows that an `allow` cites.
pub(super) fn cites(config: &HostConfig, catalogue: &Catalogue, out: &mut Out<'_>) {
    for cited in config
        .allows
        .iter()
        .filter_map(|allow| allow.cites.as_ref())
    {
        let id = cited.get_ref();
        if catalogue.row(id).is_some() {
            continue;
        }
        let product = id.split('/').next().unwrap_or_default();
        let help = match catalogue.get(product) {
            Some(_) => format!("`portcullis policy show {product}` lists its rows"),
            None => {
                "write \"product/table/n\"; `portcullis policy list` names the products".to_owned()
            }
        };
        out.say(
            Kind::UnknownRow,
            format!("no row `{id}` in the catalogue"),
            help,
            &cited.span(),
        );
    }
}
