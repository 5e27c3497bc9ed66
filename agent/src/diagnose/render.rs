//! A finding as text: head line, excerpt with caret, help.

use std::ops::Range;

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use super::{Finding, Place, Severity};

pub(super) fn render(finding: &Finding, colour: bool) -> String {
    let level = match finding.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let title = level
        .primary_title(finding.message.as_str())
        .id(finding.kind);
    let mut group = match &finding.place {
        Some(place) => title.element(snippet(place, AnnotationKind::Primary, None)),
        None => Group::with_title(title),
    };
    for (place, label) in &finding.related {
        group = group.element(snippet(place, AnnotationKind::Context, Some(label)));
    }
    if let Some(help) = &finding.help {
        group = group.element(Level::HELP.message(help.as_str()));
    }
    let renderer = if colour {
        Renderer::styled()
    } else {
        Renderer::plain()
    };
    let mut text = renderer
        .decor_style(DecorStyle::Ascii)
        .render(&[group])
        .to_string();
    text.push('\n');
    text
}

/// The line of the place alone with its caret, so that a fault in a long table shows one line.
fn snippet<'a>(
    place: &'a Place,
    kind: AnnotationKind,
    label: Option<&'a String>,
) -> Snippet<'a, annotate_snippets::Annotation<'a>> {
    let (line, caret) = line_of(place);
    let mut annotation = kind.span(caret);
    if let Some(label) = label {
        annotation = annotation.label(label.as_str());
    }
    Snippet::source(line)
        .path(place.source.name())
        .line_start(place.line)
        .annotation(annotation)
}

/// The text of the place's first line and the caret's byte range in it.
fn line_of(place: &Place) -> (&str, Range<usize>) {
    let text = place.source.text();
    let start = text[..place.span.start]
        .rfind('\n')
        .map_or(0, |newline| newline + 1);
    let end = text[place.span.start..]
        .find('\n')
        .map_or(text.len(), |newline| place.span.start + newline);
    let line = text[start..end].trim_end_matches('\r');
    let from = (place.span.start - start).min(line.len());
    let to = (place.span.end.min(end) - start).clamp(from, line.len());
    (line, from..to)
}
