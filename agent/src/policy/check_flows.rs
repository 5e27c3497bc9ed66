//! Whether the flows of a row are coherent, and whether what is concluded opens too much.

use std::collections::BTreeSet;

use toml::Spanned;

use super::check::Check;
use super::kinds::Kind;
use super::schema::{Flow, Policy, Requirement, Row, Scope};
use super::values::{Condition, PortRef, Transport};

/// Checks one row: flows or a reason for none, and each flow by itself.
pub(super) fn row(check: &mut Check<'_>, row: &Row) {
    let policy = check.policy;
    let id = row.id.get_ref();
    match (&row.undecidable, row.flows.is_empty()) {
        (None, true) if check.read_whole => check.refuse(
            &row.id,
            Kind::NoFlow,
            format!("row {id} has no flow and does not say why"),
            "add `flows`, or `undecidable = \"why\"`",
        ),
        (Some(_), false) => check.refuse(
            &row.id,
            Kind::FlowUndecidable,
            format!("row {id} has flows and is undecidable"),
            "drop one of the two; a doubtful flow is `inferred`",
        ),
        _ => {}
    }
    let guarded = row
        .flows
        .iter()
        .all(|flow| policy.flow_conditions(row, flow).next().is_some());
    if check.read_whole && row.requirement != Requirement::Required && !guarded {
        check.refuse(
            &row.id,
            Kind::Unconditional,
            format!("row {id} is not `required`, but nothing has to be on for it to open"),
            "add `when` to the row, its table or each flow",
        );
    }
    for flow in &row.flows {
        ends(check, row, flow);
        ports(check, row, flow);
        check.conditions(&flow.when);
    }
}

/// Who talks to whom.
fn ends(check: &mut Check<'_>, row: &Row, flow: &Flow) {
    let policy = check.policy;
    let id = row.id.get_ref();
    for role in flow.from.iter().chain(&flow.to) {
        if check.known(role, "role", policy.roles.keys()) {
            check.used.roles.insert(role.get_ref().clone());
        }
    }
    if check.read_whole && flow.from.is_empty() {
        let message = format!("a flow of row {id} comes from nobody");
        check.refuse(
            &row.id,
            Kind::FlowFrom,
            message,
            "name the roles that begin it in `from`",
        );
    }
    if check.read_whole && flow.to.is_empty() == flow.to_group.is_none() {
        let message = format!("a flow of row {id} needs `to` or `to-group`, and one of them only");
        let help = "roles are asked by `to`, hosts that play no role by `to-group`";
        check.refuse(&row.id, Kind::FlowTo, message, help);
    }
    for (group, sent_to) in [(&flow.to_group, false), (&flow.via, true)] {
        let Some(group) = group else { continue };
        if !check.known(group, "group", policy.groups.keys()) {
            continue;
        }
        check.used.groups.insert(group.get_ref().clone());
        let has_kind = policy
            .groups
            .get(group.get_ref())
            .is_some_and(|group| group.kind.is_some());
        if has_kind != sent_to {
            let (kind, message, help) = if sent_to {
                (
                    Kind::ViaKind,
                    "`via` needs a multicast or broadcast group",
                    "give the group a `kind`",
                )
            } else {
                (
                    Kind::ToGroupKind,
                    "`to-group` needs a group of hosts",
                    "a group with a `kind` is reached by `via`",
                )
            };
            check.refuse(group, kind, message.to_owned(), help);
        }
    }
    if let Some(via) = &flow.via
        && !(flow.tcp.is_empty() && flow.protocol.is_empty())
    {
        let message = format!("a flow of row {id} goes to a group by something else than UDP");
        let help = "multicast and broadcast carry UDP; make the unicast part a flow of its own";
        check.refuse(via, Kind::ViaTransport, message, help);
    }
}

/// Which ports.
fn ports(check: &mut Check<'_>, row: &Row, flow: &Flow) {
    let policy = check.policy;
    let id = row.id.get_ref();
    if check.read_whole && flow.transports().next().is_none() {
        let message = format!("a flow of row {id} has no port");
        let help = "add `tcp`, `udp` or `protocol`; a row without a port is `undecidable`";
        check.refuse(&row.id, Kind::FlowPort, message, help);
    }
    for list in [&flow.tcp, &flow.udp] {
        let mut seen = BTreeSet::new();
        for port in list {
            if let PortRef::Named(name) = port.get_ref() {
                let word = Spanned::new(port.span(), name.clone());
                if check.known(&word, "port", policy.ports.keys()) {
                    check.used.ports.insert(name.clone());
                }
            }
            if !seen.insert(port.get_ref()) {
                let message = format!("port {} stands twice in one list", port.get_ref());
                check.refuse(port, Kind::PortTwice, message, "drop one");
            }
        }
    }
}

/// Refuses an inferred flow that opens what no printed row opens, unless it hangs on an option
/// that is off by default.
pub(super) fn inferred(check: &mut Check<'_>) {
    let policy = check.policy;
    for row in &policy.rows {
        for flow in &row.flows {
            let concluded = flow.inferred.is_some() || row.inferred.is_some();
            let inside = policy.scope_of(row) == Some(Scope::Host);
            if !concluded || inside || off_by_default(policy, row, flow) {
                continue;
            }
            if let Some(what) = beyond_print(policy, row, flow) {
                let message = format!(
                    "row {} concludes {what}, which no printed row opens",
                    row.id.get_ref()
                );
                let help = "let it hang on an option with `default = false`";
                check.refuse(&row.id, Kind::Inferred, message, help);
            }
        }
    }
}

/// Whether one of the flow's conditions is false as long as the operator says nothing.
fn off_by_default(policy: &Policy, row: &Row, flow: &Flow) -> bool {
    policy.flow_conditions(row, flow).any(|condition| {
        let default = policy
            .options
            .get(condition.option())
            .and_then(|option| option.default);
        match condition {
            Condition::On(_) => default == Some(false),
            Condition::Off(_) => default == Some(true),
            Condition::Is(..) => false,
        }
    })
}

/// The first part of an inferred flow that no printed flow opens whenever this one does.
fn beyond_print(policy: &Policy, row: &Row, flow: &Flow) -> Option<String> {
    let tos: Vec<&str> = match &flow.to_group {
        Some(group) => vec![group.get_ref()],
        None => flow.to.iter().map(|role| role.get_ref().as_str()).collect(),
    };
    for from in &flow.from {
        for to in &tos {
            for transport in flow.transports() {
                let ports = flow.ports(transport).iter().map(Spanned::get_ref);
                // A protocol without ports is one thing to open.
                let things: Vec<Option<&PortRef>> = match transport {
                    Transport::Protocol(_) => vec![None],
                    _ => ports.map(Some).collect(),
                };
                for port in things {
                    let opened = Opened {
                        from: from.get_ref(),
                        to,
                        transport,
                        port,
                    };
                    if !printed(policy, row, flow, &opened) {
                        let port = port.map_or(String::new(), |port| format!(" {port}"));
                        return Some(format!(
                            "{transport}{port} from `{}` to `{to}`",
                            from.get_ref()
                        ));
                    }
                }
            }
        }
    }
    None
}

/// One thing that a flow opens.
struct Opened<'a> {
    from: &'a str,
    to: &'a str,
    transport: Transport,
    port: Option<&'a PortRef>,
}

/// Whether a printed flow opens this in every selection in which the inferred one does.
fn printed(policy: &Policy, row: &Row, flow: &Flow, opened: &Opened<'_>) -> bool {
    let conditions: BTreeSet<&Condition> = policy.flow_conditions(row, flow).collect();
    policy.rows.iter().any(|other| {
        other.inferred.is_none()
            && policy.scope_of(other) != Some(Scope::Host)
            && wherever(policy, row, other)
            && other
                .since
                .iter()
                .all(|(line, from)| row.since.get(line).is_some_and(|own| own >= from))
            && other.flows.iter().any(|candidate| {
                candidate.inferred.is_none()
                    && opens(candidate, flow, opened)
                    && policy
                        .flow_conditions(other, candidate)
                        .all(|condition| conditions.contains(condition))
            })
    })
}

fn opens(candidate: &Flow, inferred: &Flow, opened: &Opened<'_>) -> bool {
    let from = candidate
        .from
        .iter()
        .any(|role| role.get_ref() == opened.from);
    let to = candidate
        .to
        .iter()
        .chain(&candidate.to_group)
        .any(|name| name.get_ref() == opened.to);
    let via = |flow: &Flow| flow.via.as_ref().map(|via| via.get_ref().clone());
    let port = match opened.port {
        Some(port) => candidate
            .ports(opened.transport)
            .iter()
            .any(|own| own.get_ref() == port),
        None => candidate.transports().any(|own| own == opened.transport),
    };
    from && to && port && via(candidate) == via(inferred)
}

/// Whether `other` holds in every topology in which `row` does.
fn wherever(policy: &Policy, row: &Row, other: &Row) -> bool {
    let own = policy.topologies_of(row);
    if own.is_empty() {
        return policy.topologies_of(other).is_empty();
    }
    own.iter().all(|topology| {
        let implied = policy.implied_topologies([topology.get_ref().as_str()]);
        policy.row_in(other, &implied)
    })
}
