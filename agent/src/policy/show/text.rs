//! A policy as text: the document, the words that can be bound, and every row with its flows.

use super::{Filter, contradictions, word};
use crate::policy::catalogue::Catalogue;
use crate::policy::schema::{Policy, Requirement, Row};
use crate::policy::select::FlowPart;
use crate::policy::values::PortRef;

/// The policy as text, rows chosen by the filter.
#[must_use]
pub fn text(catalogue: &Catalogue, policy: &Policy, filter: &Filter) -> String {
    let mut out = Vec::new();
    head(policy, &mut out);
    let rows = filter.rows(policy);
    for (name, table) in policy.tables.iter() {
        let own: Vec<&&Row> = rows
            .iter()
            .filter(|row| row.id.get_ref().table == name)
            .collect();
        if own.is_empty() {
            continue;
        }
        out.push(String::new());
        let shown = if own.len() as u64 == u64::from(*table.rows.get_ref()) {
            format!("{} rows", own.len())
        } else {
            format!("{} of {} rows", own.len(), table.rows.get_ref())
        };
        out.push(format!("{name}: {}, {shown}", table.title));
        for row in own {
            out.push(String::new());
            row_text(catalogue, policy, row, &mut out);
        }
    }
    if rows.is_empty() {
        out.push(String::new());
        out.push("no row fits".to_owned());
    }
    out.push(String::new());
    out.join("\n")
}

fn head(policy: &Policy, out: &mut Vec<String>) {
    let document = &policy.document;
    out.push(format!(
        "{}: {} by {}",
        policy.id(),
        policy.name,
        policy.vendor
    ));
    let covers: Vec<&str> = document.covers.iter().map(|it| it.name()).collect();
    out.push(format!(
        "document: {}, {}; lists {}",
        document.title,
        document.edition,
        covers.join(" and ")
    ));
    if let Some(silent) = &document.silent {
        out.push(format!("silent about: {silent}"));
    }
    section(
        "topologies",
        out,
        policy.topologies.iter().map(|(name, it)| {
            let mut about = Vec::new();
            if let Some(base) = &it.adds_to {
                about.push(format!("adds to {}", base.get_ref()));
            }
            if !it.several.is_empty() {
                let roles: Vec<&str> = it
                    .several
                    .iter()
                    .map(|role| role.get_ref().as_str())
                    .collect();
                about.push(format!("several {}", roles.join(", ")));
            }
            (name, about.join("; "))
        }),
    );
    section(
        "roles",
        out,
        policy.roles.iter().map(|(name, it)| {
            let linux = it.linux.then_some("(linux)");
            let about: Vec<&str> = it.summary.as_deref().into_iter().chain(linux).collect();
            (name, about.join(" "))
        }),
    );
    section(
        "options",
        out,
        policy.options.iter().map(|(name, it)| {
            let choices: Vec<&str> = it
                .choices
                .iter()
                .map(|choice| choice.get_ref().as_str())
                .collect();
            let value = match it.default {
                Some(true) => "on".to_owned(),
                Some(false) => "off".to_owned(),
                None => format!("to be said: {}", choices.join(" | ")),
            };
            let why = it.why.as_ref().map(|why| format!("; {why}"));
            (name, value + &why.unwrap_or_default())
        }),
    );
    section(
        "versions",
        out,
        policy
            .versions
            .iter()
            .map(|(name, it)| (name, it.summary.clone().unwrap_or_default())),
    );
    section(
        "ports",
        out,
        policy.ports.iter().map(|(name, it)| {
            let mut about = vec![match (&it.default, &it.suggest) {
                (Some(default), _) => default.get_ref().to_string(),
                (None, Some(suggest)) => format!("to be said, perhaps {suggest}"),
                (None, None) => "to be said".to_owned(),
            }];
            about.extend(it.many.then(|| "several can be said".to_owned()));
            about.extend(
                it.say_when
                    .iter()
                    .map(|option| format!("to be said with {}", option.get_ref())),
            );
            about.extend(it.configure.clone());
            about.extend(it.why.clone());
            (name, about.join("; "))
        }),
    );
    section(
        "groups",
        out,
        policy.groups.iter().map(|(name, it)| {
            let mut about: Vec<String> = it.kind.iter().map(word).collect();
            about.extend(
                it.addresses
                    .iter()
                    .map(|address| address.get_ref().to_string()),
            );
            about.extend(it.names.iter().map(|host| host.get_ref().clone()));
            (name, about.join(" "))
        }),
    );
}

fn section<'a>(
    title: &str,
    out: &mut Vec<String>,
    entries: impl Iterator<Item = (&'a str, String)>,
) {
    let entries: Vec<(&str, String)> = entries.collect();
    let Some(width) = entries.iter().map(|(name, _)| name.len()).max() else {
        return;
    };
    out.push(String::new());
    out.push(format!("{title}:"));
    for (name, about) in entries {
        out.push(format!("  {name:width$}  {about}").trim_end().to_owned());
    }
}

fn row_text(catalogue: &Catalogue, policy: &Policy, row: &Row, out: &mut Vec<String>) {
    let mut about = vec![row.service.clone()];
    about.extend(row.application.clone());
    about.extend(
        row.encrypted
            .map(|encrypted| format!("encrypted: {}", word(encrypted))),
    );
    if row.requirement != Requirement::Required {
        about.push(word(row.requirement));
    }
    out.push(format!("  {}  {}", row.id.get_ref(), about.join(", ")));
    let line = |label: &str, text: &str| format!("      {label}{text}");
    out.extend(row.purpose.iter().map(|purpose| line("", purpose)));
    for flow in flow_lines(policy, row) {
        out.push(line("", &flow));
    }
    let when: Vec<String> = policy.conditions_of(row).map(ToString::to_string).collect();
    if !when.is_empty() {
        out.push(line("when ", &when.join(" and ")));
    }
    for (version_line, version) in row.since.iter() {
        out.push(line("since ", &format!("{version_line} {version}")));
    }
    if policy.scope_of(row) == Some(crate::policy::schema::Scope::Host) {
        out.push(line("", "inside one host: opens nothing"));
    }
    out.extend(row.printed.iter().map(|cell| line("printed: ", cell)));
    if !row.lost.is_empty() {
        let from = row.restored_from.as_ref();
        let from = from.map(|from| format!(", restored from {}", from.get_ref()));
        out.push(line(
            "lost: ",
            &(row.lost.join(", ") + &from.unwrap_or_default()),
        ));
    }
    out.extend(row.inferred.iter().map(|why| line("inferred: ", why)));
    out.extend(row.baseline.map(|item| line("baseline: ", &word(item))));
    out.extend(row.undecidable.iter().map(|why| line("undecidable: ", why)));
    for id in contradictions(catalogue, policy, row) {
        out.push(line("contradicts ", &id));
    }
    out.extend(row.note.iter().map(|note| line("note: ", note)));
}

/// One line for each part of the row's flows.
fn flow_lines(policy: &Policy, row: &Row) -> Vec<String> {
    row.parts().map(|part| flow_line(policy, &part)).collect()
}

fn flow_line(policy: &Policy, part: &FlowPart<'_>) -> String {
    let flow = part.flow;
    let names = |roles: &[toml::Spanned<String>]| {
        let names: Vec<&str> = roles.iter().map(|role| role.get_ref().as_str()).collect();
        names.join(", ")
    };
    let to = match &flow.to_group {
        Some(group) => format!("group {}", group.get_ref()),
        None => names(&flow.to),
    };
    let via = flow.via.as_ref();
    let via = via.map_or(String::new(), |via| format!(" via {}", via.get_ref()));
    let ports: Vec<String> = part
        .ports()
        .map(|port| match port {
            PortRef::Named(name) => format!("{} ({name})", policy.documented_port(port)),
            PortRef::Fixed(range) => range.to_string(),
        })
        .collect();
    let mut line = format!("{} -> {to}{via}: {}", names(&flow.from), part.transport);
    if !ports.is_empty() {
        line += " ";
        line += &ports.join(", ");
    }
    let when: Vec<String> = flow
        .when
        .iter()
        .map(|it| it.get_ref().to_string())
        .collect();
    if !when.is_empty() {
        line += &format!(", when {}", when.join(" and "));
    }
    if let Some(encrypted) = flow.encrypted {
        line += &format!(", encrypted: {}", word(encrypted));
    }
    if let Some(why) = &flow.inferred {
        line += &format!(", inferred: {why}");
    }
    line
}
