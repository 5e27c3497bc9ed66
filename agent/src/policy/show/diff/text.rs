//! A comparison for people: ports first, then words, then lines.

use std::fmt::Write as _;

use serde_json::Value;

use super::openings::{Change, Opening, Reason};
use super::{Comparison, Difference};
use crate::policy::schema::Direction;

/// Keys that are talk: a difference in them changes nothing for a host.
const TALK: &[&str] = &[
    "name",
    "vendor",
    "title",
    "edition",
    "silent",
    "summary",
    "why",
    "configure",
    "ours",
];

impl Comparison {
    /// Which ports open (`+`) and close (`-`) for which role, or open otherwise (`~`); which
    /// words of the configuration differ; and how many lines say something else. With
    /// `everything` these and all talk are listed, too.
    #[must_use]
    pub fn text(&self, everything: bool) -> String {
        if self.openings.is_empty() && self.differences.is_empty() {
            return "no difference\n".to_owned();
        }
        let mut out = format!("{} => {}\n\n", self.old, self.new);
        if self.openings.is_empty() {
            out.push_str("no port opens or closes for any role\n");
        }
        let mut role = None;
        for opening in &self.openings {
            if role.replace(&opening.end.role) != Some(&opening.end.role) {
                let gap = if role_is_first(&self.openings, opening) {
                    ""
                } else {
                    "\n"
                };
                out = format!("{out}{gap}role {}\n", opening.end.role);
            }
            out.push_str(&port(opening));
        }
        let (words, rest): (Vec<&Difference>, Vec<&Difference>) =
            self.differences.iter().partition(|it| it.is_word());
        if !words.is_empty() {
            out.push_str("\nwords of the configuration\n");
        }
        for it in words {
            out.push_str(&listed(it));
        }
        out.push_str(&lines(&rest, everything));
        out
    }
}

fn role_is_first(openings: &[Opening], opening: &Opening) -> bool {
    openings.first() == Some(opening)
}

impl Difference {
    fn is_row(&self) -> bool {
        self.table == "rows"
    }

    /// Whether a host's configuration may have to follow.
    fn is_word(&self) -> bool {
        let talk = self.key.as_deref().is_some_and(|key| TALK.contains(&key));
        !self.is_row() && self.table != "tables" && !talk
    }

    /// Whether a whole line is new or gone.
    fn is_line(&self) -> bool {
        self.is_row() && self.key.is_none()
    }
}

/// `+ ingress tcp 443 from client (main/1)`, and what must hold.
fn port(it: &Opening) -> String {
    let sign = match it.change {
        Change::Opens => '+',
        Change::Closes => '-',
        Change::Wider | Change::Narrower | Change::Otherwise => '~',
    };
    let toward = match it.end.direction {
        Direction::Ingress => "from",
        Direction::Egress => "to",
    };
    let peer = it.end.peer.strip_prefix("group:");
    let peer = peer.map_or_else(|| it.end.peer.clone(), |group| format!("group {group}"));
    let ports = it.ports.join(", ");
    let flow = format!("{} {} {ports}", it.end.direction.name(), it.end.transport);
    let flow = format!("{} {toward} {peer}", flow.trim_end());
    let why = match it.change {
        Change::Opens => reasons(&it.new),
        Change::Closes => reasons(&it.old),
        Change::Wider => format!("wider: {} => {}", reasons(&it.old), reasons(&it.new)),
        Change::Narrower => format!("narrower: {} => {}", reasons(&it.old), reasons(&it.new)),
        Change::Otherwise => format!("otherwise: {} => {}", reasons(&it.old), reasons(&it.new)),
    };
    format!("  {sign} {flow}: {why}\n")
}

/// Rows by what must hold: `x (main/1, main/2); always (main/3)`.
fn reasons(list: &[Reason]) -> String {
    let mut whens: Vec<&str> = list.iter().map(|it| it.when.as_str()).collect();
    whens.dedup();
    let mut said: Vec<&str> = Vec::new();
    for when in whens {
        if !said.contains(&when) {
            said.push(when);
        }
    }
    let parts = said.into_iter().map(|when| {
        let rows = list.iter().filter(|it| it.when == when);
        let rows: Vec<&str> = rows.map(|it| it.row.as_str()).collect();
        let when = if when.is_empty() { "always" } else { when };
        format!("{when} ({})", rows.join(", "))
    });
    parts.collect::<Vec<_>>().join("; ")
}

/// The documents' lines: those that one of them lacks, and how many say something else.
fn lines(rest: &[&Difference], everything: bool) -> String {
    let mut out = String::new();
    let listed_here = |it: &&&Difference| everything || it.is_line();
    if rest.iter().any(|it| it.is_line()) || (everything && !rest.is_empty()) {
        out.push_str("\nlines of the document\n");
    }
    for it in rest.iter().filter(listed_here) {
        out.push_str(&listed(it));
    }
    let mut cells: Vec<&str> = rest
        .iter()
        .filter(|it| it.is_row() && !it.is_line())
        .filter_map(|it| it.entry.as_deref())
        .collect();
    cells.dedup();
    let talk = rest.iter().filter(|it| !it.is_row()).count();
    let hidden: Vec<String> = [(cells.len(), "line"), (talk, "remark")]
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{what}s: {count}"))
        .collect();
    if !everything && !hidden.is_empty() {
        let _ = writeln!(
            out,
            "\ncells and remarks that say something else ({}); --all lists them",
            hidden.join(", ")
        );
    }
    out
}

/// One line for a difference: `+` new, `-` gone, `~` said otherwise.
fn listed(it: &Difference) -> String {
    let mut place = it.table.clone();
    for part in [&it.entry, &it.key].into_iter().flatten() {
        place = format!("{place} {part}");
    }
    match (&it.key, &it.old, &it.new) {
        (None, Value::Null, new) => format!("  + {place}{}\n", about(new)),
        (None, old, Value::Null) => format!("  - {place}{}\n", about(old)),
        (Some(key), old, new) if key == "flows" => {
            format!("  ~ {place}: {} => {}\n", flows(old), flows(new))
        }
        (_, old, new) => format!("  ~ {place}: {old} => {new}\n"),
    }
}

/// A row by its service and ports, anything else by its name alone.
fn about(entry: &Value) -> String {
    let Some(service) = entry.get("service").and_then(Value::as_str) else {
        return String::new();
    };
    let (transport, ports) = (words(entry, "transport", "/"), words(entry, "ports", ", "));
    format!(": {service} {transport} {ports}")
        .trim_end()
        .to_owned()
}

/// A row's flows on one line, each with what differs between flows of one kind.
fn flows(list: &Value) -> String {
    let flows = list.as_array().into_iter().flatten().map(|flow| {
        let word = |key: &str| flow.get(key).and_then(Value::as_str);
        let group = word("to_group").map(|group| format!("group {group}"));
        let mut line = format!(
            "{} -> {} {} {}",
            words(flow, "from", ", "),
            group.unwrap_or_else(|| words(flow, "to", ", ")),
            word("transport").unwrap_or_default(),
            words(flow, "ports", ", ")
        );
        for (label, value) in [
            ("via", word("via").map(str::to_owned)),
            ("named", Some(words(flow, "port_names", ", "))),
            ("when", Some(words(flow, "when", " and "))),
            ("encrypted", word("encrypted").map(str::to_owned)),
            ("inferred", word("inferred").map(str::to_owned)),
        ] {
            if let Some(value) = value.filter(|value| !value.is_empty()) {
                line = format!("{} {label} {value}", line.trim_end());
            }
        }
        line
    });
    match flows.collect::<Vec<_>>() {
        none if none.is_empty() => "none".to_owned(),
        some => some.join("; "),
    }
}

fn words(entry: &Value, key: &str, between: &str) -> String {
    let list = entry.get(key).and_then(Value::as_array);
    let words: Vec<&str> = list
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    words.join(between)
}
