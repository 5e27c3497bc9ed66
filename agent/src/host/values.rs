//! Values of the text to values of the configuration, each fault with its own kind.

use std::collections::BTreeMap;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::kinds::Kind;
use super::peers::{Peer, PeerEntry, PeerError, PeerSpec, Peers};
use super::raw::{RawMoment, Scalar, Values};
use super::schema::Moment;
use super::sources::{Sources, Span};
use super::units;
use crate::diagnose::{Finding, Findings, nearest};
use crate::policy::values::{PortRange, Protocol, Version};

/// Findings are gathered while values are read; nothing stops at the first.
pub(super) struct Reader {
    pub sources: Sources,
    pub findings: Findings,
    /// The entries of every set.
    pub sets: BTreeMap<String, Vec<PeerEntry>>,
    /// Which keys stand in which table, whatever came of them.
    pub written: Written,
}

/// Which keys stand in a table, whatever came of them: one that was refused for a fault of its
/// own is not missing.
#[derive(Debug, Default)]
pub(super) struct Written {
    /// Keys of the root, by no name, and of its tables, by their names.
    tops: BTreeMap<String, Vec<String>>,
    /// Keys of the tables in those, by the place of their names.
    named: BTreeMap<usize, Vec<String>>,
}

impl Written {
    /// `low`: keys of the root that stand below it.
    pub(super) fn of(root: &DeValue<'_>, low: &[&str]) -> Self {
        let mut written = Self::default();
        let Some(root) = root.as_table() else {
            return written;
        };
        let low = low.iter().map(|key| (*key).to_owned());
        let top = names(root).into_iter().chain(low).collect();
        written.tops.insert(String::new(), top);
        for (name, table) in root {
            let Some(table) = table.get_ref().as_table() else {
                continue;
            };
            written
                .tops
                .insert(name.get_ref().to_string(), names(table));
            for (name, table) in table {
                if let Some(table) = table.get_ref().as_table() {
                    written.named.insert(name.span().start, names(table));
                }
            }
        }
        written
    }

    /// Whether the key, or one that is a slip of it, stands in the root's table of this name;
    /// no name: in the root.
    pub(super) fn at_top(&self, table: &str, key: &str) -> bool {
        self.tops.get(table).is_some_and(|keys| has(keys, key))
    }

    /// The same for the table whose name stands at this place.
    pub(super) fn has(&self, table: usize, key: &str) -> bool {
        self.named.get(&table).is_some_and(|keys| has(keys, key))
    }
}

fn has(keys: &[String], key: &str) -> bool {
    keys.iter().any(|word| nearest(word, [key]).is_some())
}

fn names(table: &DeTable<'_>) -> Vec<String> {
    table.keys().map(|key| key.get_ref().to_string()).collect()
}

impl Reader {
    /// Keeps a finding with its place.
    pub(super) fn push(&mut self, finding: Finding, span: Span) {
        let finding = self.sources.at(finding, span);
        self.findings.push(finding);
    }

    /// A value that is neither what the key takes nor near it.
    fn wrong_type(&mut self, value: &Spanned<Scalar>, expected: &str) {
        let finding = Kind::Value.finding(format!("`{}` is not {expected}", value.get_ref()));
        self.push(finding, value.span());
    }

    /// A key that must be there, in the table whose name stands at `span`.
    pub(super) fn missing(&mut self, key: &str, help: &str, span: Span) {
        if self.written.has(span.start, key) {
            return;
        }
        let finding = Kind::MissingKey
            .finding(format!("key `{key}` is missing"))
            .help(help);
        self.push(finding, span);
    }

    /// A list of words.
    pub(super) fn words(&mut self, values: &Values) -> Vec<Spanned<String>> {
        let mut words = Vec::new();
        for value in &values.list {
            match value.get_ref() {
                Scalar::Text(text) => words.push(Spanned::new(value.span(), text.clone())),
                _ => self.wrong_type(value, "a word in quotes"),
            }
        }
        words
    }

    /// Peers as a product, `allow`, `block`, failsafe or baseline item names them.
    pub(super) fn peers(&mut self, values: &Values) -> Peers {
        let span = values.span.clone();
        if values.list.is_empty() {
            let finding = Kind::EmptyList
                .finding("an empty list says nothing about the peers")
                .help("write \"none\" if nobody is meant, \"any\" if anyone is");
            self.push(finding, span.clone());
        }
        if let [only] = values.list.as_slice()
            && let Scalar::Text(word) = only.get_ref()
        {
            let spec = match word.as_str() {
                "any" => Some(PeerSpec::Any),
                "none" => Some(PeerSpec::None),
                _ => None,
            };
            if let Some(spec) = spec {
                return Peers { spec, span };
            }
        }
        let mut entries = Vec::new();
        for value in &values.list {
            let Scalar::Text(text) = value.get_ref() else {
                self.wrong_type(value, "a peer in quotes");
                continue;
            };
            if let Some(set) = text.strip_prefix('@') {
                self.set_entries(set, value.span(), &mut entries);
            } else {
                entries.extend(self.peer(text, value.span()));
            }
        }
        Peers {
            spec: PeerSpec::List(entries),
            span,
        }
    }

    fn set_entries(&mut self, set: &str, span: Span, into: &mut Vec<PeerEntry>) {
        if let Some(entries) = self.sets.get(set) {
            into.extend(entries.iter().cloned());
            return;
        }
        let help = match nearest(set, self.sets.keys().map(String::as_str)) {
            Some(near) => format!("`@{near}` is the nearest set"),
            None if self.sets.is_empty() => "there is no [sets] table".to_owned(),
            None => format!("sets: {}", join(self.sets.keys())),
        };
        let finding = Kind::UnknownSet
            .finding(format!("there is no set `{set}`"))
            .help(help);
        self.push(finding, span);
    }

    /// One entry that is no set.
    fn peer(&mut self, text: &str, span: Span) -> Option<PeerEntry> {
        let finding = match text.parse::<Peer>() {
            _ if text == "any" || text == "none" => Kind::StandsAlone
                .finding(format!("`{text}` stands beside other peers"))
                .help(format!("write \"{text}\" alone, or leave it out")),
            // A host that has a set's name would be resolved, found nowhere, and admit nobody.
            Ok(Peer::Name(name)) if self.sets.contains_key(text) => Kind::SetWithoutSign
                .finding(format!("`{name}` is the name of a set"))
                .help(format!(
                    "write \"@{text}\"; a host of that name can be written \"{text}.\" with a dot at its end"
                )),
            Ok(peer) => {
                return Some(PeerEntry {
                    peer,
                    set: None,
                    span,
                });
            }
            Err(error) => peer_finding(&error),
        };
        self.push(finding, span);
        None
    }

    /// The entries of a set that is written as a list.
    pub(super) fn set_list(&mut self, name: &str, list: &[Spanned<Scalar>]) -> Vec<PeerEntry> {
        let name: Arc<str> = name.into();
        let mut entries = Vec::new();
        for value in list {
            match value.get_ref() {
                Scalar::Text(text) => match set_entry(text) {
                    Ok(peer) => entries.push(PeerEntry {
                        peer,
                        set: Some(name.clone()),
                        span: value.span(),
                    }),
                    Err(finding) => self.push(*finding, value.span()),
                },
                _ => self.wrong_type(value, "a peer in quotes"),
            }
        }
        entries
    }

    /// The entries of a set that stands in a file of its own: one on each line, `#` begins a
    /// comment. `base` is where the file begins in the sources.
    pub(super) fn set_lines(&mut self, name: &str, text: &str, base: usize) -> Vec<PeerEntry> {
        /// After so many faults in one file the reader has enough to do.
        const MOST: usize = 50;
        let name: Arc<str> = name.into();
        let mut entries = Vec::new();
        let mut start = base;
        let mut faults = 0;
        for line in text.split_inclusive('\n') {
            let content = line.split('#').next().unwrap_or_default();
            let word = content.trim();
            if !word.is_empty() {
                let from = start + (content.len() - content.trim_start().len());
                let span = from..from + word.len();
                match set_entry(word) {
                    Ok(peer) => entries.push(PeerEntry {
                        peer,
                        set: Some(name.clone()),
                        span,
                    }),
                    Err(finding) if faults < MOST => {
                        faults += 1;
                        self.push(*finding, span);
                    }
                    Err(_) => {
                        let finding = Kind::TooMany.finding(format!(
                            "more than {MOST} findings in this file; the rest is not shown"
                        ));
                        self.push(finding, span);
                        break;
                    }
                }
            }
            start += line.len();
        }
        entries
    }

    /// Ports and port ranges.
    pub(super) fn ports(&mut self, values: &Values) -> Vec<Spanned<PortRange>> {
        if values.list.is_empty() {
            let finding = Kind::EmptyList
                .finding("an empty list names no port")
                .help("write a port or a range, or drop the line");
            self.push(finding, values.span.clone());
        }
        let mut ports = Vec::new();
        for value in &values.list {
            let port = match value.get_ref() {
                Scalar::Number(number) => port(&number.to_string()),
                Scalar::Text(text) => port(text),
                Scalar::Bool(_) => {
                    self.wrong_type(value, "a port");
                    continue;
                }
            };
            match port {
                Ok(port) => ports.push(Spanned::new(value.span(), port)),
                Err(finding) => self.push(*finding, value.span()),
            }
        }
        ports
    }

    /// IP protocols other than TCP, UDP and ICMP.
    pub(super) fn protocols(&mut self, values: &Values) -> Vec<Spanned<Protocol>> {
        let mut protocols = Vec::new();
        for value in &values.list {
            let protocol = match value.get_ref() {
                Scalar::Number(number) => Protocol::number(*number),
                Scalar::Text(text) => text.parse::<Protocol>(),
                Scalar::Bool(_) => {
                    self.wrong_type(value, "an IP protocol");
                    continue;
                }
            };
            match protocol {
                Ok(protocol) => protocols.push(Spanned::new(value.span(), protocol)),
                Err(message) => {
                    let finding = crate::diagnose::with_kind(Kind::Protocol.name(), &message);
                    self.push(finding, value.span());
                }
            }
        }
        protocols
    }

    /// A dotted version.
    pub(super) fn version(&mut self, written: &Spanned<String>) -> Option<Spanned<Version>> {
        match written.get_ref().parse() {
            Ok(version) => Some(Spanned::new(written.span(), version)),
            Err(message) => {
                let finding = crate::diagnose::with_kind(Kind::Version.name(), &message);
                self.push(finding, written.span());
                None
            }
        }
    }

    /// A date-time with offset, or a date.
    pub(super) fn moment(
        &mut self,
        written: Option<&Spanned<RawMoment>>,
    ) -> Option<Spanned<Moment>> {
        let written = written?;
        let moment = match written.get_ref() {
            RawMoment::Written(moment) => units::moment(moment),
            RawMoment::Quoted(text) => Err(format!("\"{text}\" is a text, not a moment")),
        };
        match moment {
            Ok(moment) => Some(Spanned::new(written.span(), moment)),
            Err(message) => {
                let finding = Kind::Moment.finding(message).help(
                    "write a date, which means its end in UTC, or a date-time with offset, without quotes: 2027-01-31T18:00:00+01:00",
                );
                self.push(finding, written.span());
                None
            }
        }
    }

    /// A reason with words in it.
    pub(super) fn reason(&mut self, written: &Spanned<String>) -> String {
        if written.get_ref().trim().is_empty() {
            let finding = Kind::EmptyReason
                .finding("the reason is empty")
                .help("say in a few words why; plan and events show it");
            self.push(finding, written.span());
        }
        written.get_ref().clone()
    }

    /// A number between two bounds; `fallback` where it was not said or is out of them.
    pub(super) fn number(
        &mut self,
        written: Option<&Spanned<i64>>,
        least: u32,
        most: u32,
        fallback: u32,
    ) -> u32 {
        let Some(written) = written else {
            return fallback;
        };
        match u32::try_from(*written.get_ref()) {
            Ok(number) if (least..=most).contains(&number) => number,
            _ => {
                let finding = Kind::OutOfRange
                    .finding(format!("{} is out of range", written.get_ref()))
                    .help(format!("write a number from {least} to {most}"));
                self.push(finding, written.span());
                fallback
            }
        }
    }
}

fn port(text: &str) -> Result<PortRange, Box<Finding>> {
    let parts: Vec<&str> = text.split('-').map(str::trim).collect();
    if parts.contains(&"0") {
        let finding = Kind::PortZero
            .finding(format!("`{text}` holds port 0, which no packet has"))
            .help("ports go from 1 to 65535");
        return Err(Box::new(finding));
    }
    if let [first, last] = parts.as_slice()
        && let (Ok(first), Ok(last)) = (first.parse::<u16>(), last.parse::<u16>())
        && first > last
    {
        let finding = Kind::InvertedRange
            .finding(format!("the range {first}-{last} is upside down"))
            .help(format!("write \"{last}-{first}\""));
        return Err(Box::new(finding));
    }
    text.parse::<PortRange>().map_err(|_| {
        let finding = Kind::Port
            .finding(format!("`{text}` is no port"))
            .help("write a number from 1 to 65535, or a range \"8300-8302\"");
        Box::new(finding)
    })
}

fn peer_finding(error: &PeerError) -> Finding {
    let kind = match error {
        PeerError::HostBits { .. } => Kind::HostBits,
        PeerError::Inverted { .. } => Kind::InvertedRange,
        PeerError::Families { .. }
        | PeerError::Mapped { .. }
        | PeerError::Wildcard { .. }
        | PeerError::Shape { .. } => Kind::Peer,
    };
    kind.finding(error.to_string()).help(error.help())
}

/// What a set may hold.
fn set_entry(text: &str) -> Result<Peer, Box<Finding>> {
    let finding = match text {
        "any" | "none" => Kind::StandsAlone
            .finding(format!("`{text}` stands in a set"))
            .help("say it alone, in the place where it holds"),
        _ if text.starts_with('@') => Kind::NestedSet
            .finding(format!("`{text}` is a set inside a set"))
            .help("name both sets where they are used: [\"@one\", \"@other\"]"),
        _ => match text.parse() {
            Ok(peer) => return Ok(peer),
            Err(error) => peer_finding(&error),
        },
    };
    Err(Box::new(finding))
}

pub(super) fn join<'a>(words: impl IntoIterator<Item = &'a String>) -> String {
    words
        .into_iter()
        .map(String::as_str)
        .collect::<Vec<_>>()
        .join(", ")
}
