//! A configuration to start from: everything that a role of a product must or can say, with why
//! it matters and which rows hang on it.
//!
//! What has no default is left out behind `#`, so that `check` names exactly what is still to be
//! said; nothing is bound by guess.

use agent_common::event::Direction;

use crate::compile::resolve::{Need, Needs, needs};
use crate::policy::Policy;
use crate::policy::schema;

/// Columns that a comment may take.
const WIDTH: usize = 100;

/// The mark of a line that must be filled in.
pub const FILL_IN: &str = "# FILL IN";

/// The configuration for a host in these roles. No topology: it is still to be said, where there
/// are several.
#[must_use]
pub fn text(policy: &Policy, roles: &[&str], topologies: &[&str]) -> String {
    let known: Vec<&str> = policy.topologies.keys().collect();
    let chosen = match (topologies, known.as_slice()) {
        ([], [only]) => vec![*only],
        (said, _) => said.to_vec(),
    };
    let all = if chosen.is_empty() { &known } else { &chosen };
    let needs = needs(policy, roles, all);
    let mut out = File::default();
    head(policy, roles, &chosen, &mut out);
    product(policy, roles, &chosen, &mut out);
    options(policy, &needs, &mut out);
    versions(policy, &needs, &mut out);
    peers(policy, &needs, &mut out);
    groups(policy, &needs, &mut out);
    ports(policy, &needs, &mut out);
    tail(policy, &needs, &mut out);
    out.lines.join("\n") + "\n"
}

/// Lines of TOML.
#[derive(Default)]
struct File {
    lines: Vec<String>,
}

impl File {
    fn line(&mut self, text: impl Into<String>) {
        self.lines.push(text.into());
    }

    fn blank(&mut self) {
        self.lines.push(String::new());
    }

    /// A comment, wrapped; what is wrapped stands two columns further in.
    fn comment(&mut self, text: &str) {
        let mut line = "#".to_owned();
        for word in text.split_whitespace() {
            if line.len() > 3 && line.chars().count() + 1 + word.chars().count() > WIDTH {
                self.lines
                    .push(std::mem::replace(&mut line, "#  ".to_owned()));
            }
            line.push(' ');
            line.push_str(word);
        }
        self.lines.push(line);
    }

    /// A comment that begins an entry: an empty line before it, but not under a table's head.
    fn entry(&mut self, text: &str) {
        if !self.lines.last().is_some_and(|last| last.starts_with('[')) {
            self.blank();
        }
        self.comment(text);
    }

    /// A key with its value, behind `#` unless it holds as it stands.
    fn key(&mut self, active: bool, assignment: &str, remark: &str) {
        let off = if active { "" } else { "# " };
        let line = format!("{off}{assignment}");
        match remark {
            "" => self.line(line),
            _ => self.line(format!("{line:<38}  {remark}")),
        }
    }
}

fn head(policy: &Policy, roles: &[&str], topologies: &[&str], out: &mut File) {
    let id = policy.id();
    let place = match topologies {
        [] => String::new(),
        said => format!(", topology {}", said.join(" with ")),
    };
    out.comment(&format!(
        "{} by {}: a host that plays {}{place}",
        policy.name,
        policy.vendor,
        roles.join(" and ")
    ));
    out.line("#");
    out.comment(
        "Lines marked FILL IN have no default: take the first # away and write what is true here. Peers are addresses, \
         prefixes, ranges \"10.0.0.5-10.0.0.9\", host names, \"@set\" or \"local-subnets\", in a list; \"any\" and \
         \"none\" stand alone and are answers too. Then:",
    );
    out.line("#");
    out.line("#   portcullis check --config FILE     what is still missing or wrong");
    out.line(
        "#   portcullis plan --config FILE      what the host will accept and reach, row by row",
    );
    out.line(format!(
        "#   portcullis policy show {id}   the vendor's tables, with every row named here"
    ));
    out.blank();
    out.line("schema = 1");
    out.blank();
    out.comment(
        "The interfaces to guard: names, or globs such as \"ens*\". `portcullis facts` lists them.",
    );
    out.key(false, "interfaces = [\"eth0\"]", FILL_IN);
    out.blank();
    out.line("[default]");
    out.comment(
        "What happens to a flow that no rule names: deny, audit (needs audit-until) or open.",
    );
    out.line("ingress = \"deny\"");
    let document = &policy.document;
    if document.covers.contains(&schema::Direction::Egress) {
        out.line("egress = \"deny\"");
    } else {
        let silent = document
            .silent
            .as_deref()
            .map_or(String::new(), |silent| format!(" It leaves out: {silent}."));
        out.comment(&format!(
            "The document lists inbound connections only, so outbound stays open unless you close it.{silent}"
        ));
        out.line("egress = \"open\"");
    }
}

fn product(policy: &Policy, roles: &[&str], chosen: &[&str], out: &mut File) {
    let id = policy.id();
    out.blank();
    out.line(format!("[product.{id}]"));
    let quoted: Vec<String> = roles.iter().map(|role| format!("\"{role}\"")).collect();
    out.line(format!("roles = [{}]", quoted.join(", ")));
    match (chosen, policy.topologies.keys().next()) {
        ([], None) => {}
        ([], Some(first)) => {
            out.comment(&installed(policy));
            out.key(false, &format!("topologies = [\"{first}\"]"), FILL_IN);
        }
        (chosen, _) => {
            let quoted: Vec<String> = chosen.iter().map(|it| format!("\"{it}\"")).collect();
            out.line(format!("topologies = [{}]", quoted.join(", ")));
        }
    }
    out.comment(
        "\"audit\" lets pass, and reports, what would be denied at ports that the document names; it needs a day \
         after which status turns red: audit-until = 2027-01-31.",
    );
    out.line("stage = \"enforce\"");
}

/// The ways to install a product, and what each adds to.
fn installed(policy: &Policy) -> String {
    let ways = policy.topologies.iter().map(|(name, topology)| {
        let base = topology.adds_to.as_ref();
        base.map_or(name.to_owned(), |base| {
            format!("{name} (adds to {})", base.get_ref())
        })
    });
    let ways: Vec<String> = ways.collect();
    let combine = match policy
        .topologies
        .values()
        .filter(|it| it.adds_to.is_some())
        .count()
    {
        0 => "",
        1 => " What adds to another implies it.",
        _ => " What adds to another implies it, and several can be said together.",
    };
    format!(
        "How the product is installed: {}.{combine} Below stands what any of them needs; `portcullis init` with \
         --topology writes what that one needs.",
        ways.join(", ")
    )
}

/// "4 rows: cluster/1-3, 7".
fn rows(need: &Need) -> String {
    let count = match need.rows.len() {
        1 => "1 row".to_owned(),
        count => format!("{count} rows"),
    };
    let mut words: Vec<String> = Vec::new();
    let mut runs: Vec<(&str, u32, u32)> = Vec::new();
    for row in &need.rows {
        let Some((table, number)) = row.rsplit_once('/') else {
            continue;
        };
        let Ok(number) = number.parse::<u32>() else {
            continue;
        };
        match runs.last_mut() {
            Some((known, _, last)) if *known == table && *last + 1 == number => *last = number,
            _ => runs.push((table, number, number)),
        }
    }
    let mut before = "";
    for (table, first, last) in runs {
        let table_word = if table == before {
            String::new()
        } else {
            format!("{table}/")
        };
        before = table;
        words.push(match first == last {
            true => format!("{table_word}{first}"),
            false => format!("{table_word}{first}-{last}"),
        });
    }
    format!("{count}: {}", words.join(", "))
}

/// What stands behind a line that has no default.
fn mark(need: &Need) -> String {
    if need.now {
        FILL_IN.to_owned()
    } else {
        format!("# with {}", need.when.join(", or "))
    }
}

fn sentence(text: Option<&str>) -> String {
    text.map_or(String::new(), |text| format!(" {text}."))
}

fn options(policy: &Policy, needs: &Needs, out: &mut File) {
    if needs.options.is_empty() {
        return;
    }
    out.blank();
    out.line(format!("[product.{}.options]", policy.id()));
    for need in &needs.options {
        let Some(option) = policy.options.get(&need.name) else {
            continue;
        };
        let name = &need.name;
        out.entry(&format!(
            "{name}:{} {}",
            sentence(option.why.as_deref()),
            rows(need)
        ));
        match option.default {
            Some(default) => out.key(true, &format!("{name} = {default}"), ""),
            None => {
                let choices: Vec<String> = option
                    .choices
                    .iter()
                    .map(|choice| format!("\"{}\"", choice.get_ref()))
                    .collect();
                let first = choices.first().cloned().unwrap_or_default();
                let mark = mark(need);
                let others = choices.join(" or ");
                out.key(
                    false,
                    &format!("{name} = {first}"),
                    &format!("{mark}: {others}"),
                );
            }
        }
    }
}

fn versions(policy: &Policy, needs: &Needs, out: &mut File) {
    if needs.versions.is_empty() {
        return;
    }
    out.blank();
    out.line(format!("[product.{}.versions]", policy.id()));
    for need in &needs.versions {
        let summary = policy
            .versions
            .get(&need.name)
            .and_then(|line| line.summary.as_deref());
        out.entry(&format!(
            "{}:{} Some rows hold from a version on; {}",
            need.name,
            sentence(summary),
            rows(need)
        ));
        let from = policy
            .rows
            .iter()
            .filter_map(|row| row.since.get(&need.name))
            .max()
            .map_or(String::new(), ToString::to_string);
        let mark = mark(need);
        out.key(false, &format!("{} = \"{from}\"", need.name), &mark);
    }
}

fn peers(policy: &Policy, needs: &Needs, out: &mut File) {
    if needs.roles.is_empty() {
        return;
    }
    out.blank();
    out.line(format!("[product.{}.peers]", policy.id()));
    for need in &needs.roles {
        let summary = policy
            .roles
            .get(&need.name)
            .and_then(|role| role.summary.as_deref());
        let way = match need.directions.as_slice() {
            [Direction::Ingress] => "They come to this host.",
            [Direction::Egress] => "This host goes to them.",
            _ => "Flows begin at either end.",
        };
        out.entry(&format!(
            "{}:{} {way} {}",
            need.name,
            sentence(summary),
            rows(need)
        ));
        let mark = mark(need);
        out.key(false, &format!("{} = [\"192.0.2.0/24\"]", need.name), &mark);
    }
}

fn groups(policy: &Policy, needs: &Needs, out: &mut File) {
    if needs.groups.is_empty() {
        return;
    }
    out.blank();
    out.line(format!("[product.{}.groups]", policy.id()));
    for need in &needs.groups {
        let multicast = policy
            .groups
            .get(&need.name)
            .is_some_and(|group| group.kind.is_some());
        let (what, example) = if multicast {
            (
                "a multicast group whose address the document does not print",
                "239.255.0.1",
            )
        } else {
            ("hosts that the document does not name", "192.0.2.0/24")
        };
        out.entry(&format!("{}: {what}. {}", need.name, rows(need)));
        let mark = mark(need);
        out.key(false, &format!("{} = [\"{example}\"]", need.name), &mark);
    }
}

fn ports(policy: &Policy, needs: &Needs, out: &mut File) {
    if needs.ports.is_empty() {
        return;
    }
    out.blank();
    out.line(format!("[product.{}.ports]", policy.id()));
    for need in &needs.ports {
        let Some(port) = policy.ports.get(&need.name) else {
            continue;
        };
        let configure = port
            .configure
            .as_ref()
            .map(|where_| format!("the product is told by {where_}"));
        let many = port.many.then_some("several can be said, in a list");
        out.entry(&format!(
            "{}:{}{}{} {}",
            need.name,
            sentence(port.why.as_deref()),
            sentence(configure.as_deref()),
            sentence(many),
            rows(need)
        ));
        match (&port.default, port.suggest) {
            (Some(default), _) => {
                let default = default.get_ref().to_string();
                let value = if default.bytes().all(|byte| byte.is_ascii_digit()) {
                    default
                } else {
                    format!("\"{default}\"")
                };
                // What follows another port is said as a number only where it does not follow.
                let assignment = match value.contains('+') {
                    true => format!("{} = 65000", need.name),
                    false => format!("{} = {value}", need.name),
                };
                let remark = match value.contains('+') {
                    true => format!("# documented: {value}, and so it is unless said"),
                    false => "# documented; say it only where it was moved".to_owned(),
                };
                out.key(false, &assignment, &remark);
            }
            (None, suggest) => {
                let value = suggest.map_or("0".to_owned(), |range| format!("\"{range}\""));
                let mark = mark(need);
                out.key(false, &format!("{} = {value}", need.name), &mark);
            }
        }
    }
}

fn tail(policy: &Policy, needs: &Needs, out: &mut File) {
    out.blank();
    out.comment(
        "Rows of the document that this host does not want, each with its reason, for instance:",
    );
    out.line(format!("# [product.{}.skip]", policy.id()));
    let example = needs.roles.iter().flat_map(|need| &need.rows).next();
    out.line(format!(
        "# \"{}\" = \"why it is not wanted\"",
        example.map_or("table/1", String::as_str)
    ));
    out.blank();
    out.comment(
        "The administrator's way in, whatever the rest says: the ports of sshd. Say where administrators come from.",
    );
    out.line("[failsafe.ssh]");
    out.key(
        false,
        "peers = [\"192.0.2.0/24\"]",
        "# unsaid it admits anyone, and `check` warns",
    );
    out.blank();
    out.comment(
        "What a host needs to live, and no vendor lists: these are the defaults, change what is not so here.",
    );
    out.line("[baseline]");
    out.key(
        true,
        "dns = \"auto\"",
        "# the host's resolvers; or a list, \"any\", false",
    );
    out.key(
        true,
        "dhcp-client = \"auto\"",
        "# on interfaces with a lease",
    );
    out.key(true, "ntp = \"any\"", "# or the time servers");
    out.key(
        true,
        "icmp-echo = { in = \"any\", out = \"any\" }",
        "# ping",
    );
    out.key(true, "neighbour-discovery = true", "# without it IPv6 dies");
    out.key(true, "router-advertisements = true", "");
    out.key(true, "mld-igmp = true", "# multicast membership");
}

#[cfg(test)]
mod tests;
