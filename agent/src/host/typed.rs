//! The words of findings about values of a wrong type: which key it is, what it takes, what
//! stands there, and a line to write.
//!
//! The reader of TOML knows types and no keys, and so says "expected a string". What stands at
//! which place of the files is noted before they are read, and looked up for each finding.

use std::ops::Range;

use toml::Spanned;
use toml::de::DeValue;

use super::kinds::Kind;
use super::sources::Sources;
use super::takes::Key;
use crate::diagnose::{Finding, Findings, kind};

/// What stands where, over all files.
#[derive(Default)]
pub(super) struct Typed {
    entries: Vec<Entry>,
}

struct Entry {
    file: String,
    place: Range<usize>,
    path: Vec<String>,
    /// What stands there, in words.
    found: String,
}

impl Typed {
    pub(super) fn of(root: &Spanned<DeValue<'_>>, sources: &Sources) -> Self {
        let mut typed = Self::default();
        typed.note(root, &mut Vec::new(), sources);
        typed
    }

    fn note(&mut self, value: &Spanned<DeValue<'_>>, path: &mut Vec<String>, sources: &Sources) {
        if !path.is_empty() {
            self.add(value.span(), value.get_ref(), path, sources);
        }
        match value.get_ref() {
            DeValue::Table(table) => {
                for (key, inner) in table {
                    path.push(key.get_ref().to_string());
                    // Some findings are about a key as a whole.
                    self.add(key.span(), inner.get_ref(), path, sources);
                    self.note(inner, path, sources);
                    path.pop();
                }
            }
            DeValue::Array(array) => {
                for inner in array {
                    self.note(inner, path, sources);
                }
            }
            _ => {}
        }
    }

    fn add(&mut self, span: Range<usize>, value: &DeValue<'_>, path: &[String], sources: &Sources) {
        let (source, place) = sources.locate(span);
        self.entries.push(Entry {
            file: source.name().to_owned(),
            place,
            path: path.to_vec(),
            found: words(value),
        });
    }

    /// What the finding points at: the narrowest entry around its caret that is known, the
    /// deepest of equals.
    fn about(&self, finding: &Finding) -> Option<(&Entry, &'static Key)> {
        let caret = finding.place.as_ref()?;
        let around = self.entries.iter().filter(|entry| {
            entry.file == caret.source.name()
                && entry.place.start <= caret.span.start
                && caret.span.end <= entry.place.end
        });
        around
            .filter_map(|entry| Some((entry, Key::at(&entry.path)?)))
            .min_by_key(|(entry, _)| (entry.place.len(), usize::MAX - entry.path.len()))
    }

    /// The line to add where a key is missing.
    fn missing(&self, finding: &Finding) -> Option<String> {
        let (entry, _) = self.about(finding)?;
        let name = finding.message.split('`').nth(1)?;
        let mut path = entry.path.clone();
        path.push(name.to_owned());
        Some(format!("add {}", Key::at(&path)?.line(&path)))
    }

    /// Says what is expected, in place of the words of whoever read the text.
    pub(super) fn explain(&self, findings: &mut Findings) {
        let typed = [Kind::Value.name(), Kind::OutOfRange.name()];
        for finding in findings.iter_mut() {
            if finding.kind == kind::SYNTAX && finding.help.is_none() {
                finding.help = Some(SYNTAX_HELP.to_owned());
            }
            if finding.kind == kind::MISSING_KEY && finding.help.is_none() {
                finding.help = self.missing(finding);
            }
            if !typed.contains(&finding.kind) {
                continue;
            }
            let Some((entry, key)) = self.about(finding) else {
                continue;
            };
            let name = entry.path.last().map_or("", String::as_str);
            let theirs = ["invalid ", "expected ", "wanted "];
            if theirs
                .iter()
                .any(|words| finding.message.starts_with(words))
            {
                finding.message = format!("`{name}` takes {}, not {}", key.takes, entry.found);
            }
            let line = format!("write {}", key.line(&entry.path));
            finding.help = Some(match finding.help.take() {
                Some(help) if help.contains('`') => help,
                Some(help) => format!("{help}: {line}"),
                None => line,
            });
        }
    }
}

const SYNTAX_HELP: &str = "one `key = value` a line; texts stand in double quotes, lists in [ ], and a table begins with its name in [ ] on a line of its own";

/// A value in words.
fn words(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => {
            let short: String = text.chars().take(40).collect();
            let etc = if short.len() < text.len() { "…" } else { "" };
            format!("the text \"{short}{etc}\"")
        }
        DeValue::Integer(number) => format!("the number {}", number.as_str()),
        DeValue::Float(number) => format!("the number {}", number.as_str()),
        DeValue::Boolean(yes) => yes.to_string(),
        DeValue::Datetime(moment) => format!("the date {moment}"),
        DeValue::Array(_) => "a list".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}
