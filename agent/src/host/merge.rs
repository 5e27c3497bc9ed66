//! Many files to one tree: `portcullis.toml`, then drop-ins by name.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::kinds::Kind;
use super::sources::Sources;
use crate::diagnose::{Findings, Source, parse};

/// The merged tree of all files.
pub(super) struct Merged<'a> {
    /// The tree; its spans count over all files.
    pub root: Spanned<DeValue<'a>>,
    /// The files.
    pub sources: Sources,
    /// Where syntax errors were, over all files.
    pub syntax: Vec<Range<usize>>,
}

/// Parses the files and merges them in their order. A file adds tables and keys; a key that two
/// files say is a finding with both places, and the first holds.
pub(super) fn merge<'a>(files: &'a [Source], findings: &mut Findings) -> Merged<'a> {
    let mut sources = Sources::default();
    let mut syntax = Vec::new();
    let mut root: Option<Spanned<DeValue<'a>>> = None;
    for file in files {
        let (tree, errors) = parse(file, findings);
        let base = sources.add(file.clone());
        syntax.extend(errors.into_iter().map(|span| up(span, base)));
        let tree = shift(tree, base);
        match &mut root {
            None => root = Some(tree),
            Some(root) => {
                if let (DeValue::Table(into), DeValue::Table(from)) =
                    (root.get_mut(), tree.into_inner())
                {
                    add(into, from, &mut Vec::new(), &sources, findings);
                }
            }
        }
    }
    Merged {
        root: root.unwrap_or_else(|| Spanned::new(0..0, DeValue::Table(DeTable::new()))),
        sources,
        syntax,
    }
}

fn up(span: Range<usize>, base: usize) -> Range<usize> {
    span.start + base..span.end + base
}

/// The value with all its spans moved up. The parser bounds the depth of a tree.
fn shift<'a>(value: Spanned<DeValue<'a>>, base: usize) -> Spanned<DeValue<'a>> {
    let span = up(value.span(), base);
    let value = match value.into_inner() {
        DeValue::Table(table) => DeValue::Table(
            table
                .into_iter()
                .map(|(key, inner)| {
                    let span = up(key.span(), base);
                    (Spanned::new(span, key.into_inner()), shift(inner, base))
                })
                .collect(),
        ),
        DeValue::Array(array) => DeValue::Array(
            array
                .into_iter()
                .map(|inner| shift(inner, base))
                .collect::<DeArray<'a>>(),
        ),
        other => other,
    };
    Spanned::new(span, value)
}

fn add<'a>(
    into: &mut DeTable<'a>,
    from: DeTable<'a>,
    path: &mut Vec<String>,
    sources: &Sources,
    findings: &mut Findings,
) {
    for (key, value) in from {
        let name = key.get_ref().to_string();
        let Some(first) = into.get_key_value(name.as_str()).map(|(key, _)| key.span()) else {
            into.insert(key, value);
            continue;
        };
        path.push(name.clone());
        let old = into.get_mut(name.as_str()).map(Spanned::get_mut);
        match (old, value.into_inner()) {
            (Some(DeValue::Table(into)), DeValue::Table(from)) => {
                add(into, from, path, sources, findings);
            }
            _ => {
                let finding = Kind::SaidTwice
                    .finding(format!("`{}` is said in two files", path.join(".")))
                    .help(
                        "a drop-in adds tables and keys and changes none: take one of the two out",
                    );
                let finding = sources.at(finding, key.span());
                findings.push(sources.and(finding, first, "first said here"));
            }
        }
        path.pop();
    }
}
