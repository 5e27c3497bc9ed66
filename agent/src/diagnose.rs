//! Findings: what is wrong with a text, where, and the way out.
//!
//! Policies and the host's configuration are read by the same layer ([`read`]) and
//! complain in the same words. A text is never judged by its first fault: everything
//! that is found comes back at once, in the order of the text.

mod keyed;
mod nearest;
mod read;
mod render;

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use serde_json::{Value, json};

pub use keyed::{Keyed, OneOrMany};
pub use nearest::nearest;
pub use read::{kind, parse, read, read_tree, with_help, with_kind};

/// A text with the name under which findings cite it: a path, or `policies/X.toml` for an
/// embedded policy. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Source {
    name: Arc<str>,
    text: Arc<str>,
}

impl Source {
    /// A text and its name.
    pub fn new(name: impl Into<Arc<str>>, text: impl Into<Arc<str>>) -> Self {
        Self {
            name: name.into(),
            text: text.into(),
        }
    }

    /// The name that findings print.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The whole text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The place of a byte range; out-of-range or split-character offsets are moved into
    /// the text rather than trusted.
    #[must_use]
    pub fn place(&self, span: Range<usize>) -> Place {
        let start = floor_boundary(&self.text, span.start);
        let end = ceil_boundary(&self.text, span.end.max(start));
        let before = &self.text[..start];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Place {
            line: before.bytes().filter(|byte| *byte == b'\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            span: start..end,
            source: self.clone(),
        }
    }
}

fn floor_boundary(text: &str, offset: usize) -> usize {
    let mut offset = offset.min(text.len());
    while !text.is_char_boundary(offset) {
        offset -= 1;
    }
    offset
}

fn ceil_boundary(text: &str, offset: usize) -> usize {
    let mut offset = offset.min(text.len());
    while !text.is_char_boundary(offset) {
        offset += 1;
    }
    offset
}

/// Where in a text a finding lies.
#[derive(Clone, Debug)]
pub struct Place {
    /// The text.
    pub source: Source,
    /// Byte range in the text, on character boundaries.
    pub span: Range<usize>,
    /// Line, counted from 1.
    pub line: usize,
    /// Column in characters, counted from 1.
    pub column: usize,
}

impl std::fmt::Display for Place {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            formatter,
            "{}:{}:{}",
            self.source.name(),
            self.line,
            self.column
        )
    }
}

/// How much a finding weighs: an error refuses the text (exit code 78), a warning does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The text is refused.
    Error,
    /// The text holds, but the reader should know.
    Warning,
}

impl Severity {
    /// The word in JSON and in the rendered head line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// One finding: a fault or a warning with its place and the way out.
#[derive(Clone, Debug)]
pub struct Finding {
    /// Error or warning.
    pub severity: Severity,
    /// A stable name in kebab case, `unknown-key`; tests and callers compare it.
    pub kind: &'static str,
    /// What is wrong, in lower case, without a full stop.
    pub message: String,
    /// Where; `None` where no text is to blame (an interface that is missing).
    pub place: Option<Place>,
    /// Other places that belong to it, each with what stands there.
    pub related: Vec<(Place, String)>,
    /// What to do, or the line to paste.
    pub help: Option<String>,
}

impl Finding {
    /// An error that no place belongs to yet.
    pub fn error(kind: &'static str, message: impl Into<String>) -> Self {
        Self::new(Severity::Error, kind, message.into())
    }

    /// A warning that no place belongs to yet.
    pub fn warning(kind: &'static str, message: impl Into<String>) -> Self {
        Self::new(Severity::Warning, kind, message.into())
    }

    fn new(severity: Severity, kind: &'static str, message: String) -> Self {
        Self {
            severity,
            kind,
            message,
            place: None,
            related: Vec::new(),
            help: None,
        }
    }

    /// With the place where the caret goes.
    #[must_use]
    pub fn at(mut self, source: &Source, span: Range<usize>) -> Self {
        self.place = Some(source.place(span));
        self
    }

    /// With another place of the same or another text: the other half of a contradiction.
    #[must_use]
    pub fn and(mut self, source: &Source, span: Range<usize>, label: impl Into<String>) -> Self {
        self.related.push((source.place(span), label.into()));
        self
    }

    /// With the way out.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// The text's name, if the finding has a place.
    #[must_use]
    pub fn file(&self) -> Option<&str> {
        self.place.as_ref().map(|place| place.source.name())
    }

    /// Line from 1, if the finding has a place.
    #[must_use]
    pub fn line(&self) -> Option<usize> {
        self.place.as_ref().map(|place| place.line)
    }

    /// Column in characters from 1, if the finding has a place.
    #[must_use]
    pub fn column(&self) -> Option<usize> {
        self.place.as_ref().map(|place| place.column)
    }

    /// `{"severity","file","line","column","message","help"}`, every key always there.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({
            "severity": self.severity.name(),
            "file": self.file(),
            "line": self.line(),
            "column": self.column(),
            "message": self.message,
            "help": self.help,
        })
    }

    /// The finding as text with excerpt and caret, ending in a newline; `colour` only where
    /// the reader is a terminal.
    #[must_use]
    pub fn render(&self, colour: bool) -> String {
        render::render(self, colour)
    }
}

/// All findings about one or more texts.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    list: Vec<Finding>,
}

impl Findings {
    /// None yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one.
    pub fn push(&mut self, finding: Finding) {
        self.list.push(finding);
    }

    /// Adds all of another collection.
    pub fn extend(&mut self, other: Findings) {
        self.list.extend(other.list);
    }

    /// Whether any finding is an error.
    #[must_use]
    pub fn has_errors(&self) -> bool {
        self.count(Severity::Error) > 0
    }

    /// How many findings have this severity.
    #[must_use]
    pub fn count(&self, severity: Severity) -> usize {
        self.list
            .iter()
            .filter(|finding| finding.severity == severity)
            .count()
    }

    /// How many there are of every severity.
    #[must_use]
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there is nothing to say.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Every finding, in the order they were found or, after [`Findings::sort`], of the text.
    pub fn iter(&self) -> std::slice::Iter<'_, Finding> {
        self.list.iter()
    }

    /// Every finding, to be worded by who knows more of the text.
    pub fn iter_mut(&mut self) -> std::slice::IterMut<'_, Finding> {
        self.list.iter_mut()
    }

    /// Puts them in the order of the texts: file by name, then place; those without a place
    /// first. The same finding at the same place is kept once.
    pub fn sort(&mut self) {
        self.list.sort_by(|left, right| {
            let key = |finding: &Finding| {
                (
                    finding.file().map(str::to_owned),
                    finding.place.as_ref().map(|place| place.span.start),
                    finding.severity,
                )
            };
            key(left).cmp(&key(right))
        });
        let mut seen = BTreeSet::new();
        self.list.retain(|finding| {
            seen.insert((
                finding.file().map(str::to_owned),
                finding
                    .place
                    .as_ref()
                    .map(|place| (place.span.start, place.span.end)),
                finding.message.clone(),
            ))
        });
    }

    /// The JSON array of all findings.
    #[must_use]
    pub fn to_json(&self) -> Value {
        Value::Array(self.list.iter().map(Finding::to_json).collect())
    }

    /// All findings as text, one blank line between them.
    #[must_use]
    pub fn render(&self, colour: bool) -> String {
        let rendered: Vec<String> = self
            .list
            .iter()
            .map(|finding| finding.render(colour))
            .collect();
        rendered.join("\n")
    }
}

impl IntoIterator for Findings {
    type Item = Finding;
    type IntoIter = std::vec::IntoIter<Finding>;

    fn into_iter(self) -> Self::IntoIter {
        self.list.into_iter()
    }
}

impl<'a> IntoIterator for &'a Findings {
    type Item = &'a Finding;
    type IntoIter = std::slice::Iter<'a, Finding>;

    fn into_iter(self) -> Self::IntoIter {
        self.list.iter()
    }
}

#[cfg(test)]
mod tests;
