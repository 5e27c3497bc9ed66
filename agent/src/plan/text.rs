//! The plan as text: what comes in, what goes out, and everything that a reader would ask next.

mod page;
mod rules;
mod wire;

use super::Plan;
use crate::host::Product;
use crate::host::schema::Stage;
use crate::policy::Policy;
use crate::policy::schema::Direction;
use crate::rule::Forward;

use self::page::Page;

/// The whole text.
pub(super) fn text(plan: &Plan<'_>) -> String {
    let mut out = Page::default();
    head(plan, &mut out);
    rules::ingress(plan, &mut out);
    rules::egress(plan, &mut out);
    wire::plain_text(plan, &mut out);
    inactive(plan, &mut out);
    undecided(plan, &mut out);
    skipped(plan, &mut out);
    elsewhere(plan, &mut out);
    sizes(plan, &mut out);
    out.finish()
}

fn head(plan: &Plan<'_>, out: &mut Page) {
    let facts = plan.facts;
    out.section(&format!(
        "Plan for {}, as of {}",
        facts.hostname,
        minute(facts.time)
    ));
    let interfaces: Vec<&str> = plan
        .config
        .interfaces
        .iter()
        .map(|name| name.get_ref().as_str())
        .collect();
    let hook = plan.config.hook.name();
    let guarded = match interfaces.as_slice() {
        [] => "Guards no interface: nothing is filtered.".to_owned(),
        names => format!("Guards {} (hook {hook}).", names.join(", ")),
    };
    out.add(2, &guarded);
    for name in &plan.resolved.unguarded {
        let addresses: Vec<String> = facts
            .interfaces
            .iter()
            .filter(|interface| interface.name == *name)
            .flat_map(|interface| &interface.addresses)
            .map(|address| address.address.to_string())
            .collect();
        let addresses = addresses.join(", ");
        out.add(
            2,
            &format!(
                "UNGUARDED: {name} ({addresses}). Nothing that comes or goes there is filtered."
            ),
        );
    }
    if facts.forwards() {
        out.add(2, &forwarding(plan));
    }
    for product in &plan.config.products {
        if let Some(policy) = plan.catalogue.get(product.policy.get_ref()) {
            product_head(product, policy, out);
        }
    }
    if plan.config.products.is_empty() {
        out.add(
            2,
            "No product is selected: the rules below are the host's own.",
        );
    }
}

/// What becomes of packets on their way through.
fn forwarding(plan: &Plan<'_>) -> String {
    let forward = plan.resolved.rule_set.forward;
    let said = match plan.config.forward {
        Some(_) => "",
        None => ", because nothing is said",
    };
    let means = match forward {
        Forward::Deny => {
            "what is on its way through passes no guarded interface; what NAT gives an address of this host is this host's"
        }
        Forward::Pass => "what is on its way through passes unjudged, and is counted",
        Forward::SameRules => {
            "what is on its way through is judged by the rules below at each guarded interface: by ingress where it comes in, by egress where it goes out"
        }
    };
    format!(
        "This host forwards. [forward] default = \"{}\"{said}: {means}.",
        forward.name()
    )
}

fn product_head(product: &Product, policy: &Policy, out: &mut Page) {
    let roles: Vec<&str> = product
        .roles
        .iter()
        .map(|role| role.get_ref().as_str())
        .collect();
    let topologies: Vec<&str> = product.topologies_in(policy).into_iter().collect();
    let roles = match roles.as_slice() {
        [] => "no role".to_owned(),
        _ => format!("as {}", roles.join(", ")),
    };
    let topologies = match topologies.as_slice() {
        [] => String::new(),
        _ => format!(", topology {}", topologies.join(", ")),
    };
    out.add(
        2,
        &format!("{} ({}) {roles}{topologies}.", policy.name, product.name),
    );
    if product.stage == Stage::Audit {
        let until = product.audit_until.as_ref().map_or(String::new(), |day| {
            format!(" until {}", day.get_ref().written)
        });
        out.add(
            4,
            &format!(
                "ON TRIAL (audit){until}: at ports that its document names, what no rule admits passes and is reported. \
                 Nothing changes by itself after that day."
            ),
        );
    }
    let document = &policy.document;
    let lists = match document.covers.as_slice() {
        [Direction::Ingress] => "lists inbound connections only",
        [Direction::Egress] => "lists outbound connections only",
        [] => "claims to list neither direction",
        _ => "lists both directions",
    };
    out.add(
        4,
        &format!(
            "Source: {}, \"{}\", edition {}; it {lists}.",
            policy.vendor, document.title, document.edition
        ),
    );
    if let Some(silent) = &document.silent {
        out.add(4, &format!("The document leaves out: {silent}."));
    }
}

/// Flows of this host that something is missing for, by what is missing.
fn inactive(plan: &Plan<'_>, out: &mut Page) {
    let mut groups: Vec<(&str, &str, &str, Vec<String>)> = Vec::new();
    let mut others = 0usize;
    for flow in &plan.resolved.inactive {
        // Another topology is another installation, not a switch.
        if !flow.concerns || flow.needs.starts_with("topologies") {
            others += 1;
            continue;
        }
        let what = rules::what(plan, &flow.flow);
        let known = groups
            .iter_mut()
            .find(|(product, needs, ..)| *product == flow.product && *needs == flow.needs);
        match known {
            Some((.., list)) if list.contains(&what) => {}
            Some((.., list)) => list.push(what),
            None => groups.push((&flow.product, &flow.needs, &flow.why, vec![what])),
        }
    }
    if groups.is_empty() && others == 0 {
        return;
    }
    out.section("Inactive, and what would activate it");
    for (product, needs, why, list) in groups {
        out.add(2, &format!("{}: {why}", to_say(product, needs)));
        for what in list {
            out.add(6, &what);
        }
    }
    if others > 0 {
        out.add(
            2,
            &format!(
                "Besides, {} of topologies that are not selected, or between other roles (--json lists them).",
                count(others, "flow")
            ),
        );
    }
}

/// The lines that would activate a flow, each with the table that they belong to.
fn to_say(product: &str, needs: &str) -> String {
    let mut tables: Vec<(String, Vec<String>)> = Vec::new();
    for need in needs.split(", ") {
        let (table, line) = match need.split_once('.') {
            Some((table @ ("options" | "versions"), line)) => {
                (format!(".{table}"), line.to_owned())
            }
            Some((table @ ("peers" | "groups" | "ports"), name)) => {
                (format!(".{table}"), format!("{name} = …"))
            }
            _ => (String::new(), need.to_owned()),
        };
        match tables.iter_mut().find(|(known, _)| *known == table) {
            Some((_, lines)) => lines.push(line),
            None => tables.push((table, vec![line])),
        }
    }
    let words = tables
        .iter()
        .map(|(table, lines)| format!("{} under [product.{product}{table}]", lines.join(", ")));
    words.collect::<Vec<_>>().join(", ")
}

fn undecided(plan: &Plan<'_>, out: &mut Page) {
    if plan.resolved.undecided.is_empty() {
        return;
    }
    out.section("Could not be decided (an [allow] with `cites` opens them as you read them)");
    for row in &plan.resolved.undecided {
        let service = plan
            .catalogue
            .row(&row.row)
            .map_or("", |(_, row)| row.service.as_str());
        out.add(2, &format!("{}  {service}: {}", row.row, row.why));
    }
}

fn skipped(plan: &Plan<'_>, out: &mut Page) {
    if plan.resolved.skipped.is_empty() {
        return;
    }
    out.section("Documented, and left out by the configuration");
    for row in &plan.resolved.skipped {
        let service = plan
            .catalogue
            .row(&row.row)
            .map_or("", |(_, row)| row.service.as_str());
        out.add(2, &format!("{}  {service}: {}", row.row, row.reason));
    }
}

/// What needs no rule here.
fn elsewhere(plan: &Plan<'_>, out: &mut Page) {
    let (inside, others) = (&plan.resolved.host_only, &plan.resolved.other_roles);
    let (unresolved, expired) = (&plan.resolved.unresolved, &plan.resolved.expired);
    if inside.is_empty() && others.is_empty() && unresolved.is_empty() && expired.is_empty() {
        return;
    }
    out.section("Also");
    if !unresolved.is_empty() {
        out.add(
            2,
            &format!(
                "Never resolved, so they admit nobody: {}.",
                unresolved.join(", ")
            ),
        );
    }
    for over in expired {
        out.add(
            2,
            &format!("{} is over since {}.", over.id, minute(over.at)),
        );
    }
    if !inside.is_empty() {
        let mut rows: Vec<&str> = inside.iter().map(|it| it.flow.row.as_str()).collect();
        rows.dedup();
        out.add(
            2,
            &format!(
                "{} stay inside a host and open nothing: {}.",
                count(inside.len(), "flow"),
                rows.join(", ")
            ),
        );
    }
    if !others.is_empty() {
        out.add(
            2,
            &format!("{} run between other roles.", count(others.len(), "flow")),
        );
    }
}

fn sizes(plan: &Plan<'_>, out: &mut Page) {
    let Some(sizes) = plan.sizes else { return };
    out.section("Size");
    out.add(
        2,
        &format!(
            "{}, {}; {}, {}; {}, {}; {} KiB of each of three banks.",
            count(sizes.rules as usize, "rule"),
            count_of(sizes.prefixes as usize, "prefix", "prefixes"),
            count_of(sizes.port_classes as usize, "port class", "port classes"),
            count_of(sizes.peer_classes as usize, "peer class", "peer classes"),
            count_of(
                sizes.nodes as usize + sizes.v6_nodes as usize,
                "trie node",
                "trie nodes"
            ),
            count(sizes.cells as usize, "cell"),
            sizes.bytes.div_ceil(1024),
        ),
    );
}

/// An instant to the minute, in UTC.
fn minute(at: jiff::Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M UTC").to_string()
}

/// "1 row", "2 rows".
fn count(number: usize, what: &str) -> String {
    count_of(number, what, &format!("{what}s"))
}

fn count_of(number: usize, one: &str, many: &str) -> String {
    match number {
        1 => format!("1 {one}"),
        _ => format!("{number} {many}"),
    }
}
