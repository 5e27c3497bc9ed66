//! A sheet of expected flows: `tests/expected/PRODUCT.tsv`, read line by line.

use std::collections::{BTreeMap, BTreeSet};

use crate::policy::Policy;
use crate::policy::values::{RowRef, Version};

/// The first line of every sheet.
pub(super) const HEADER: &str = "topology\toptions\trole\tdirection\ttransport\tport\tpeer\trow";

/// What a second reader took from a vendor's document.
#[derive(Debug, Default)]
pub(super) struct Sheet {
    pub(super) lines: Vec<Line>,
    /// Rows of which a comment says why they open nothing.
    pub(super) silent: BTreeSet<String>,
}

/// One end of one flow, and when it is open.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Line {
    /// Its number in the file, counted from 1.
    pub(super) number: usize,
    /// Topologies of which any must hold; empty: all.
    pub(super) topologies: Vec<String>,
    /// What must hold besides.
    pub(super) conditions: Vec<Asked>,
    pub(super) flow: Flow,
}

/// One end of one flow.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) struct Flow {
    pub(super) row: String,
    pub(super) role: String,
    pub(super) direction: String,
    pub(super) transport: String,
    pub(super) port: String,
    pub(super) peer: String,
}

/// One condition of a line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Asked {
    On(String),
    Off(String),
    Is(String, String),
    AtLeast(String, Version),
}

impl Asked {
    fn read(word: &str) -> Result<Self, String> {
        if let Some((line, version)) = word.split_once(">=") {
            let version = version
                .parse()
                .map_err(|_| format!("`{version}` is no version"))?;
            return Ok(Self::AtLeast(line.to_owned(), version));
        }
        if let Some((option, choice)) = word.split_once('=') {
            return Ok(Self::Is(option.to_owned(), choice.to_owned()));
        }
        Ok(match word.strip_prefix('!') {
            Some(option) => Self::Off(option.to_owned()),
            None => Self::On(word.to_owned()),
        })
    }

    /// The option or version line that is asked.
    pub(super) fn name(&self) -> &str {
        match self {
            Self::On(name) | Self::Off(name) | Self::Is(name, _) | Self::AtLeast(name, _) => name,
        }
    }
}

impl Sheet {
    /// Reads a sheet; all that is wrong with its lines, each with its number.
    pub(super) fn read(text: &str) -> (Self, Vec<String>) {
        let mut sheet = Self::default();
        let mut faults = Vec::new();
        let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
        if text.lines().next() != Some(HEADER) {
            faults.push(format!("line 1 is not the header `{HEADER}`"));
        }
        for (text, number) in text.lines().zip(1..).skip(1) {
            if let Some(comment) = text.strip_prefix('#') {
                sheet.silent.extend(commented_row(comment));
                continue;
            }
            if let Some(first) = seen.insert(text, number) {
                faults.push(format!("line {number} is line {first} again"));
                continue;
            }
            match line(text, number) {
                Ok(line) => sheet.lines.push(line),
                Err(fault) => faults.push(format!("line {number}: {fault}")),
            }
        }
        (sheet, faults)
    }

    /// Words that the policy does not have: they would make a line hold nowhere, in silence.
    pub(super) fn unknown_words(&self, policy: &Policy) -> Vec<String> {
        let rows: BTreeSet<String> = policy
            .rows
            .iter()
            .map(|row| row.id.get_ref().to_string())
            .collect();
        let mut faults = Vec::new();
        for line in &self.lines {
            let mut say = |what: &str, word: &str| {
                faults.push(format!(
                    "line {}: no {what} is called `{word}`",
                    line.number
                ));
            };
            for topology in &line.topologies {
                if !policy.topologies.contains(topology) {
                    say("topology", topology);
                }
            }
            for asked in &line.conditions {
                match asked {
                    Asked::AtLeast(name, _) if policy.versions.contains(name) => {}
                    Asked::AtLeast(name, _) => say("version line", name),
                    Asked::On(name) | Asked::Off(name) => match policy.options.get(name) {
                        Some(option) if option.choices.is_empty() => {}
                        Some(_) => say("switch", name),
                        None => say("option", name),
                    },
                    Asked::Is(name, wanted) => match policy.options.get(name) {
                        Some(option) if option.choices.iter().any(|it| it.get_ref() == wanted) => {}
                        Some(_) => say("choice", wanted),
                        None => say("option", name),
                    },
                }
            }
            let flow = &line.flow;
            if !policy.roles.contains(&flow.role) {
                say("role", &flow.role);
            }
            let (peer, via) = match flow.peer.split_once(" via ") {
                Some((peer, group)) => (peer, Some(group)),
                None => (flow.peer.as_str(), None),
            };
            match peer.strip_prefix("group:") {
                Some(group) if !policy.groups.contains(group) => say("group", group),
                None if !policy.roles.contains(peer) => say("role", peer),
                _ => {}
            }
            if let Some(group) = via.filter(|group| !policy.groups.contains(group)) {
                say("group", group);
            }
            let named = flow
                .port
                .strip_prefix('<')
                .and_then(|it| it.strip_suffix('>'));
            if let Some(name) = named.filter(|name| !policy.ports.contains(name)) {
                say("port", name);
            }
            if !rows.contains(&flow.row) {
                say("row", &flow.row);
            }
        }
        for row in self.silent.difference(&rows) {
            faults.push(format!("a comment is about `{row}`, which is no row"));
        }
        faults
    }

    /// Rows that the sheet passes over: neither a line nor a comment.
    pub(super) fn unmentioned(&self, policy: &Policy) -> Vec<String> {
        let rows = policy.rows_in_order();
        let ids = rows.iter().map(|row| row.id.get_ref().to_string());
        ids.filter(|id| {
            !self.silent.contains(id) && !self.lines.iter().any(|it| it.flow.row == *id)
        })
        .collect()
    }
}

/// The row of a comment `# table/n: why`.
fn commented_row(comment: &str) -> Option<String> {
    let (row, _) = comment.trim_start().split_once(':')?;
    row.parse::<RowRef>().ok().map(|row| row.to_string())
}

fn line(text: &str, number: usize) -> Result<Line, String> {
    let cells: Vec<&str> = text.split('\t').collect();
    let [
        topology,
        options,
        role,
        direction,
        transport,
        port,
        peer,
        row,
    ] = cells.as_slice()
    else {
        return Err(format!("{} cells, not 8", cells.len()));
    };
    if !["ingress", "egress"].contains(direction) {
        return Err(format!("`{direction}` is no direction"));
    }
    let words = |cell: &str, between: char| -> Vec<String> {
        match cell {
            "-" => Vec::new(),
            cell => cell
                .split(between)
                .map(|word| word.trim().to_owned())
                .collect(),
        }
    };
    let conditions = words(options, ' ')
        .iter()
        .map(|word| Asked::read(word))
        .collect::<Result<_, _>>()?;
    Ok(Line {
        number,
        topologies: words(topology, ','),
        conditions,
        flow: Flow {
            row: (*row).to_owned(),
            role: (*role).to_owned(),
            direction: (*direction).to_owned(),
            transport: (*transport).to_owned(),
            port: (*port).to_owned(),
            peer: (*peer).to_owned(),
        },
    })
}
