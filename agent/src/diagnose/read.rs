//! TOML to a type, with every fault of the text instead of the first.
//!
//! The types derive `serde::Deserialize` with `deny_unknown_fields`, so there is one
//! description of a schema. serde stops at its first error; here the entry that it blames is
//! cut out of the parsed tree and the rest is read again until nothing is left to blame.

use std::ops::Range;

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue, ValueDeserializer};

use super::{Finding, Findings, Source, nearest};

/// Kinds of findings that reading gives.
pub mod kind {
    /// Not TOML.
    pub const SYNTAX: &str = "syntax";
    /// A key that the schema does not know.
    pub const UNKNOWN_KEY: &str = "unknown-key";
    /// A key that must be there.
    pub const MISSING_KEY: &str = "missing-key";
    /// A value of the wrong type or out of range.
    pub const VALUE: &str = "value";
    /// So many findings that the rest is not looked for.
    pub const TOO_MANY: &str = "too-many";
}

/// After so many findings in one text the reader has enough to do.
const MOST: usize = 200;

const HELP_MARK: &str = "\u{1e}help: ";

/// A message for `serde::de::Error::custom` that carries its own way out.
#[must_use]
pub fn with_help(message: &str, help: &str) -> String {
    format!("{message}{HELP_MARK}{help}")
}

/// An error of this kind from a message of [`with_help`], with the way out where it belongs.
#[must_use]
pub fn with_kind(kind: &'static str, message: &str) -> Finding {
    match message.split_once(HELP_MARK) {
        Some((head, help)) => Finding::error(kind, head).help(help),
        None => Finding::error(kind, message),
    }
}

/// Reads a text. What is wrong goes into `findings`; what could be read without the blamed
/// entries comes back, `None` only where nothing is left (the text is no TOML table of this
/// shape). A caller that finds new errors in `findings` must not use the result for anything
/// but looking for more findings.
pub fn read<T: DeserializeOwned>(source: &Source, findings: &mut Findings) -> Option<T> {
    let (root, syntax) = parse(source, findings);
    let whole = |span| (source.clone(), span);
    read_tree(root, &syntax, &whole, findings)
}

/// The first half of [`read`]: the tree of a text, and the places of its syntax errors, which
/// are in `findings` too.
pub fn parse<'a>(
    source: &'a Source,
    findings: &mut Findings,
) -> (Spanned<DeValue<'a>>, Vec<Range<usize>>) {
    // The parser counts recursion, not characters; what it can't hold is an error below.
    let (root, errors) = DeTable::parse_recoverable(source.text());
    let mut places = Vec::new();
    for error in &errors {
        let span = error.span().unwrap_or(0..0);
        places.extend(error.span());
        findings.push(Finding::error(kind::SYNTAX, lower_first(error.message())).at(source, span));
    }
    let whole = root.span();
    (
        Spanned::new(whole, DeValue::Table(root.into_inner())),
        places,
    )
}

/// The second half of [`read`]: a tree, perhaps merged from several texts, to a type. `locate`
/// says which text a span of the tree lies in, and where.
pub fn read_tree<T: DeserializeOwned>(
    mut root: Spanned<DeValue<'_>>,
    syntax: &[Range<usize>],
    locate: &dyn Fn(Range<usize>) -> (Source, Range<usize>),
    findings: &mut Findings,
) -> Option<T> {
    let mut cuts: Vec<Cut> = Vec::new();
    for _ in 0..MOST {
        let error = match T::deserialize(ValueDeserializer::from(root.clone())) {
            Ok(value) => return Some(value),
            Err(error) => error,
        };
        let span = error.span().unwrap_or_else(|| root.span());
        let finding = || {
            let (source, place) = locate(span.clone());
            explain(&error, &source, place)
        };
        let missing = missing_field(&error);
        if missing.is_some() && span == root.span() {
            // The text itself lacks the key: there is nothing narrower to cut.
            if !echoes(&cuts, &[], missing) {
                findings.push(finding());
            }
            return None;
        }
        let path = blamed(&root, &span)?;
        // What was cut for a fault of its own is not missing, and after a syntax error half a
        // key may stand in the tree; neither is a second fault.
        let echo =
            syntax.iter().any(|syntax| touches(syntax, &span)) || echoes(&cuts, &path, missing);
        if !echo {
            findings.push(finding());
        }
        if let Some(cut) = Cut::new(&path, &error) {
            cuts.push(cut);
        }
        if !remove(root.get_mut(), &path) {
            return None;
        }
    }
    let (source, place) = locate(root.span());
    findings.push(
        Finding::error(
            kind::TOO_MANY,
            format!("more than {MOST} findings; the rest is not shown"),
        )
        .at(&source, place.start..place.start),
    );
    None
}

/// A key that was cut out of a table for a fault of its own.
struct Cut {
    table: Vec<Step>,
    keys: Vec<String>,
}

impl Cut {
    fn new(path: &[Step], error: &toml::de::Error) -> Option<Self> {
        let (Step::Key(key), table) = path.split_last()? else {
            return None;
        };
        // A mistyped key stands for the one that was meant.
        let meant = unknown_field(error)
            .and_then(|(_, known)| nearest(key, known.iter().copied()).map(str::to_owned));
        Some(Self {
            table: table.to_vec(),
            keys: std::iter::once(key.clone()).chain(meant).collect(),
        })
    }
}

/// Whether the missing key is one that was cut out of this table before.
fn echoes(cuts: &[Cut], table: &[Step], missing: Option<&str>) -> bool {
    missing.is_some_and(|missing| {
        cuts.iter()
            .any(|cut| cut.table == table && cut.keys.iter().any(|key| key == missing))
    })
}

fn missing_field(error: &toml::de::Error) -> Option<&str> {
    error
        .message()
        .strip_prefix("missing field `")?
        .split('`')
        .next()
}

/// The key that is not known, and those that are.
fn unknown_field(error: &toml::de::Error) -> Option<(&str, Vec<&str>)> {
    let rest = error.message().strip_prefix("unknown field ")?;
    let mut quoted = rest.split('`').skip(1).step_by(2);
    Some((quoted.next()?, quoted.collect()))
}

fn touches(syntax: &Range<usize>, span: &Range<usize>) -> bool {
    syntax.start <= span.end && span.start <= syntax.end
}

/// A serde error in our words.
fn explain(error: &toml::de::Error, source: &Source, span: Range<usize>) -> Finding {
    let message = error.message();
    if message.contains(HELP_MARK) {
        return with_kind(kind::VALUE, message).at(source, span);
    }
    if let Some((key, known)) = unknown_field(error) {
        let help = match nearest(key, known.iter().copied()) {
            Some(near) => format!("`{near}` is the nearest key that is known here"),
            None => format!("known here: {}", known.join(", ")),
        };
        return Finding::error(kind::UNKNOWN_KEY, format!("unknown key `{key}`"))
            .at(source, span)
            .help(help);
    }
    if let Some(rest) = message.strip_prefix("unknown variant ") {
        let mut quoted = rest.split('`').skip(1).step_by(2);
        let word = quoted.next().unwrap_or_default().to_owned();
        let known: Vec<&str> = quoted.collect();
        return Finding::error(kind::VALUE, format!("`{word}` is none of the known words"))
            .at(source, span)
            .help(format!("known here: {}", known.join(", ")));
    }
    if let Some(rest) = message.strip_prefix("missing field ") {
        return Finding::error(kind::MISSING_KEY, format!("key {rest} is missing"))
            .at(source, span);
    }
    Finding::error(kind::VALUE, lower_first(message)).at(source, span)
}

fn lower_first(message: &str) -> String {
    let mut characters = message.chars();
    match characters.next() {
        // `TOML` and the like stay as they are.
        Some(first) if !characters.as_str().starts_with(char::is_uppercase) => {
            first.to_lowercase().chain(characters).collect()
        }
        _ => message.to_owned(),
    }
}

/// A step from a value to one inside it.
#[derive(Clone, PartialEq)]
enum Step {
    Key(String),
    Index(usize),
}

/// The innermost entry that `span` blames. The span of a table with a header is that header,
/// so containment says nothing about depth: the whole tree is searched for the narrowest
/// entry that holds the span, the deepest of equals.
fn blamed(root: &Spanned<DeValue<'_>>, span: &Range<usize>) -> Option<Vec<Step>> {
    let mut best = None;
    search(root, span, &mut Vec::new(), &mut best);
    best.map(|(_, path)| path)
}

fn search(
    value: &Spanned<DeValue<'_>>,
    span: &Range<usize>,
    path: &mut Vec<Step>,
    best: &mut Option<(usize, Vec<Step>)>,
) {
    let mut consider = |place: Range<usize>, path: &[Step]| {
        let holds = place.start <= span.start && span.end <= place.end;
        let width = place.end - place.start;
        let narrower = best.as_ref().is_none_or(|(narrowest, deepest)| {
            width < *narrowest || (width == *narrowest && path.len() >= deepest.len())
        });
        if holds && narrower {
            *best = Some((width, path.to_vec()));
        }
    };
    match value.get_ref() {
        DeValue::Table(table) => {
            for (key, inner) in table {
                path.push(Step::Key(key.get_ref().to_string()));
                consider(key.span(), path);
                consider(inner.span(), path);
                path.pop();
            }
            for (key, inner) in table {
                path.push(Step::Key(key.get_ref().to_string()));
                search(inner, span, path, best);
                path.pop();
            }
        }
        DeValue::Array(array) => {
            for (index, inner) in array.iter().enumerate() {
                path.push(Step::Index(index));
                consider(inner.span(), path);
                path.pop();
            }
            for (index, inner) in array.iter().enumerate() {
                path.push(Step::Index(index));
                search(inner, span, path, best);
                path.pop();
            }
        }
        _ => {}
    }
}

fn remove(value: &mut DeValue<'_>, path: &[Step]) -> bool {
    match (value, path) {
        (DeValue::Table(table), [Step::Key(key)]) => table.remove(key.as_str()).is_some(),
        (DeValue::Table(table), [Step::Key(key), rest @ ..]) => table
            .get_mut(key.as_str())
            .is_some_and(|inner| remove(inner.get_mut(), rest)),
        (DeValue::Array(array), [Step::Index(index)]) => {
            if *index >= array.len() {
                return false;
            }
            let kept = std::mem::replace(array, DeArray::new())
                .into_iter()
                .enumerate()
                .filter(|(position, _)| position != index)
                .map(|(_, inner)| inner);
            *array = kept.collect();
            true
        }
        (DeValue::Array(array), [Step::Index(index), rest @ ..]) => array
            .get_mut(*index)
            .is_some_and(|inner| remove(inner.get_mut(), rest)),
        _ => false,
    }
}
