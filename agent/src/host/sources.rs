//! Several files as one text: the configuration and its drop-ins share one space of offsets.
//!
//! The files are merged before they are read, so a value's span must say its file too: each file
//! has a base, and the spans of its values are moved up by it.

use std::ops::Range;

use crate::diagnose::{Finding, Source};

/// Byte range over all files; [`Sources::locate`] says which file and where in it.
pub type Span = Range<usize>;

/// The files of a configuration, in the order in which they were read.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    files: Vec<(usize, Source)>,
}

impl Sources {
    /// Adds a file and says its base.
    pub fn add(&mut self, source: Source) -> usize {
        // One offset is left free between files, so that the end of one is not the start of the next.
        let base = self
            .files
            .last()
            .map_or(0, |(base, last)| base + last.text().len() + 1);
        self.files.push((base, source));
        base
    }

    /// The file of a span and the span in that file's text. A span of no file falls on the
    /// start of the first.
    #[must_use]
    pub fn locate(&self, span: Span) -> (Source, Span) {
        let found = self
            .files
            .iter()
            .rev()
            .find(|(base, _)| *base <= span.start);
        match found {
            Some((base, source)) => (source.clone(), span.start - base..span.end - base),
            None => (Source::new("portcullis.toml", ""), 0..0),
        }
    }

    /// The finding with its caret at this span.
    #[must_use]
    pub fn at(&self, finding: Finding, span: Span) -> Finding {
        let (source, span) = self.locate(span);
        finding.at(&source, span)
    }

    /// The finding with another place that belongs to it.
    #[must_use]
    pub fn and(&self, finding: Finding, span: Span, label: impl Into<String>) -> Finding {
        let (source, span) = self.locate(span);
        finding.and(&source, span, label)
    }

    /// The files in the order in which they were read.
    pub fn iter(&self) -> impl Iterator<Item = &Source> {
        self.files.iter().map(|(_, source)| source)
    }
}
