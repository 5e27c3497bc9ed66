//! Rules as text: what is accepted and reached, from whom, and which row wants it.

use std::collections::HashMap;

use agent_common::event::Direction;

use super::minute;
use super::page::Page;
use crate::compile::resolve::FlowId;
use crate::host::schema::Allow;
use crate::plan::{Plan, default_word};
use crate::policy::schema;
use crate::policy::{Flow, FlowPart, Policy, Row};
use crate::rule::{DefaultAction, Peers, Precedence, Rule};

/// Prefixes of one rule that are printed; the rest is counted.
const MOST_PEERS: usize = 8;

/// The row and the flow that an id means.
pub(super) fn look_up<'a>(
    plan: &Plan<'a>,
    id: &FlowId,
) -> Option<(&'a Policy, &'a Row, FlowPart<'a>)> {
    let (policy, row) = plan.catalogue.row(&id.row)?;
    let part = row.parts().find(|part| part.number == id.flow)?;
    Some((policy, row, part))
}

/// "product/table/1  service: purpose, tcp 443".
pub(super) fn what(plan: &Plan<'_>, id: &FlowId) -> String {
    match look_up(plan, id) {
        Some((policy, row, part)) => {
            let ports: Vec<String> = part
                .ports()
                .map(|port| policy.documented_port(port))
                .collect();
            format!(
                "{}  {}, {} {}",
                id.row,
                purpose(row),
                part.transport,
                ports.join(", ")
            )
        }
        None => id.row.clone(),
    }
}

pub(super) fn purpose(row: &Row) -> String {
    match &row.purpose {
        Some(purpose) => format!("{}: {purpose}", row.service),
        None => row.service.clone(),
    }
}

/// What comes in.
pub(super) fn ingress(plan: &Plan<'_>, out: &mut Page) {
    let default = plan.resolved.rule_set.ingress;
    out.section(&format!(
        "What this host accepts (everything else: {})",
        default_word(default)
    ));
    list(plan, Direction::Ingress, out);
}

/// What goes out, and what the documents' silence means for it.
pub(super) fn egress(plan: &Plan<'_>, out: &mut Page) {
    let default = plan.resolved.rule_set.egress;
    out.section(&format!(
        "What this host may reach (everything else: {})",
        default_word(default)
    ));
    for product in &plan.config.products {
        let Some(policy) = plan.catalogue.get(product.policy.get_ref()) else {
            continue;
        };
        let document = &policy.document;
        if document.covers.contains(&schema::Direction::Egress) {
            continue;
        }
        let name = &policy.name;
        let meaning = match default {
            DefaultAction::Open => format!(
                "The document of {name} lists no outbound connections, so outbound is open: whatever {name} needs to \
                 reach, it reaches, and so does everything else on this host. The rules below only say what is known."
            ),
            DefaultAction::Audit => format!(
                "The document of {name} lists no outbound connections: what {name} reaches besides the rules below \
                 passes and is reported, so that it can be allowed by name."
            ),
            DefaultAction::Deny => format!(
                "The document of {name} lists no outbound connections, and outbound is closed: {name} reaches only \
                 what the rules below say. Each thing that the document leaves out needs an [allow]."
            ),
        };
        out.add(2, &meaning);
    }
    list(plan, Direction::Egress, out);
}

/// What the operator allows, by name.
type Allows<'a> = HashMap<&'a str, &'a Allow>;

/// Rules that share who is at the other end, and why they are there.
struct Bundle<'a> {
    rules: Vec<(&'a Rule, &'a [FlowId])>,
}

impl Bundle<'_> {
    fn takes(&self, rule: &Rule) -> bool {
        self.rules.last().is_some_and(|(last, _)| {
            last.product.is_some()
                && last.product == rule.product
                && last.precedence == rule.precedence
                && last.peers == rule.peers
                && last.groups == rule.groups
        })
    }
}

fn list(plan: &Plan<'_>, direction: Direction, out: &mut Page) {
    let mut bundles: Vec<Bundle<'_>> = Vec::new();
    for (rule, flows) in plan.resolved.rules_of(direction) {
        // Only a product's rules stand together, and there may be tens of thousands of others.
        let known = rule
            .product
            .is_some()
            .then(|| bundles.iter_mut().find(|bundle| bundle.takes(rule)));
        match known.flatten() {
            Some(bundle) => bundle.rules.push((rule, flows)),
            None => bundles.push(Bundle {
                rules: vec![(rule, flows)],
            }),
        }
    }
    if bundles.is_empty() {
        out.add(2, "nothing by a rule");
    }
    let allows = plan.config.allows.iter();
    let allows: Allows<'_> = allows.map(|it| (it.name.as_str(), it)).collect();
    for bundle in &bundles {
        match bundle.rules.as_slice() {
            [(rule, [])] => alone(plan, &allows, rule, out),
            _ => together(plan, &allows, bundle, out),
        }
    }
}

fn to_or_from(direction: Direction) -> &'static str {
    match direction {
        Direction::Ingress => "from",
        Direction::Egress => "to",
    }
}

/// A rule that no row makes: whom, what, why.
fn alone(plan: &Plan<'_>, allows: &Allows<'_>, rule: &Rule, out: &mut Page) {
    let verb = match rule.precedence {
        Precedence::Block => "BLOCKED ",
        Precedence::AuditStage => "audited ",
        Precedence::Failsafe | Precedence::Allow => "",
    };
    out.add(
        2,
        &format!(
            "{verb}{} {}: {}",
            to_or_from(rule.direction),
            whom(rule),
            service(rule)
        ),
    );
    out.add(6, &own(plan, allows, rule));
}

/// Rules of a product with the same other end: whom once, then a line for each row.
fn together(plan: &Plan<'_>, allows: &Allows<'_>, bundle: &Bundle<'_>, out: &mut Page) {
    let Some((first, _)) = bundle.rules.first() else {
        return;
    };
    let mut roles: Vec<&str> = Vec::new();
    for flow in bundle.rules.iter().flat_map(|(_, flows)| *flows) {
        let Some((_, _, part)) = look_up(plan, flow) else {
            continue;
        };
        let others = match first.direction {
            Direction::Ingress => part.flow.from.iter().collect::<Vec<_>>(),
            Direction::Egress => part.flow.to.iter().chain(&part.flow.to_group).collect(),
        };
        for role in others.into_iter().map(|role| role.get_ref().as_str()) {
            if !roles.contains(&role) {
                roles.push(role);
            }
        }
    }
    let verb = match first.precedence {
        Precedence::AuditStage => "audited ",
        _ => "",
    };
    let roles = match roles.as_slice() {
        [] => String::new(),
        roles => format!(" ({})", roles.join(", ")),
    };
    out.add(
        2,
        &format!(
            "{verb}{} {}{roles}:",
            to_or_from(first.direction),
            whom(first)
        ),
    );
    let unstated = bundle
        .rules
        .iter()
        .filter(|(rule, flows)| !rule.stated && !flows.is_empty());
    let all_unstated = unstated.count() == bundle.rules.len();
    if all_unstated {
        out.add(
            4,
            "(the document does not print this end; these follow from what it states at the other)",
        );
    }
    for (rule, flows) in &bundle.rules {
        let mark = !rule.stated && !all_unstated && !flows.is_empty();
        if flows.is_empty() {
            out.add(
                6,
                &format!("{}  {}", service(rule), own(plan, allows, rule)),
            );
        }
        let mut shown: Vec<&str> = Vec::new();
        for flow in *flows {
            if shown.contains(&flow.row.as_str()) {
                continue;
            }
            shown.push(&flow.row);
            row_line(plan, rule, flow, mark, out);
        }
    }
}

fn row_line(plan: &Plan<'_>, rule: &Rule, flow: &FlowId, mark: bool, out: &mut Page) {
    let Some((policy, row, part)) = look_up(plan, flow) else {
        out.add(6, &flow.row);
        return;
    };
    out.add(
        6,
        &format!("{:<9}  {}  {}", service(rule), flow.row, purpose(row)),
    );
    if let Some(why) = part.flow.inferred.as_ref().or(row.inferred.as_ref()) {
        out.add(10, &format!("concluded, not printed: {why}"));
    }
    if let Some(names) = wildcards(policy, part.flow)
        && rule.peers == Peers::Any
    {
        out.add(
            10,
            &format!("the document names {names}, which can't be resolved to addresses: ANY host on this port"),
        );
    }
    if mark {
        out.add(
            10,
            "this end is not printed; it follows from what the document states at the other",
        );
    }
}

/// The names of a flow's group that are wildcards, where there are any.
fn wildcards(policy: &Policy, flow: &Flow) -> Option<String> {
    let group = policy.groups.get(flow.to_group.as_ref()?.get_ref())?;
    let names = group.names.iter().map(|name| name.get_ref().as_str());
    let open: Vec<&str> = names.filter(|name| name.contains('*')).collect();
    (!open.is_empty()).then(|| open.join(", "))
}

pub(super) fn service(rule: &Rule) -> String {
    format!(
        "{}{}",
        rule.service.transport(),
        spaced(&rule.service.ports(rule.direction))
    )
}

fn whom(rule: &Rule) -> String {
    match rule.groups.as_slice() {
        [] => peers(&rule.peers),
        groups => {
            let words: Vec<String> = groups.iter().map(ToString::to_string).collect();
            format!("{} by group {}", peers(&rule.peers), words.join(", "))
        }
    }
}

fn spaced(ports: &[String]) -> String {
    match ports {
        [] => String::new(),
        _ => format!(" {}", ports.join(", ")),
    }
}

/// "anyone", or prefixes; addresses without their length.
fn peers(peers: &Peers) -> String {
    let prefixes = match peers {
        Peers::Any => return "anyone".to_owned(),
        Peers::Prefixes(prefixes) => prefixes,
    };
    let word = |prefix: &ipnet::IpNet| {
        if prefix.prefix_len() == prefix.max_prefix_len() {
            prefix.addr().to_string()
        } else {
            prefix.to_string()
        }
    };
    let mut words: Vec<String> = prefixes.iter().take(MOST_PEERS).map(word).collect();
    if prefixes.len() > MOST_PEERS {
        words.push(format!("and {} more", prefixes.len() - MOST_PEERS));
    }
    words.join(", ")
}

/// Why a rule is there that no product asks for.
fn own(plan: &Plan<'_>, allows: &Allows<'_>, rule: &Rule) -> String {
    let id = &rule.id;
    let name = id.split_once('/').map_or("", |(_, name)| name);
    let why = match rule.precedence {
        Precedence::Block => {
            let block = plan.config.blocks.iter().find(|it| it.name == name);
            block.and_then(|it| it.reason.clone()).unwrap_or_default()
        }
        Precedence::Failsafe => "the administrator's way in, whatever the rest says".to_owned(),
        Precedence::AuditStage => {
            "on trial: ports that its document names for this host pass and are reported".to_owned()
        }
        Precedence::Allow => match allows.get(name) {
            Some(allow) if id.starts_with("allow/") => {
                let mut words = vec![allow.reason.clone()];
                words.extend(allow.owner.iter().map(|owner| format!("owner {owner}")));
                words.extend(rule.until.map(|until| format!("until {}", minute(until))));
                words.extend(rule.rows.iter().map(|row| format!("cites {row}")));
                words.join("; ")
            }
            _ => baseline(name).to_owned(),
        },
    };
    match why.as_str() {
        "" => id.clone(),
        why => format!("{id}  {why}"),
    }
}

/// What an item of the baseline is for. Ours, in no vendor's document.
fn baseline(item: &str) -> &'static str {
    match item {
        "dns" => "asking resolvers",
        "dhcp-client" => "getting and keeping a lease",
        "ntp" => "asking for the time",
        "icmp-echo-in" | "icmp-echo-out" => "echo requests (ping)",
        "neighbour-discovery" => "IPv6 neighbours: without it IPv6 dies",
        "router-advertisements" => "IPv6 routers on the link",
        "mld-igmp" => "multicast membership: without it a switch stops sending",
        _ => "",
    }
}
