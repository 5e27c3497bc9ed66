//! Many policies at once: those in the binary and those of the operator's directory.

use std::collections::BTreeMap;

use super::check;
use super::kinds::Kind;
use super::schema::{Policy, Row};
use super::values::RowRef;
use crate::diagnose::{Findings, Source, nearest, read};

/// The shipped policies: name for findings, and text.
const EMBEDDED: &[(&str, &str)] = &[
    (
        "policies/1e-platform.toml",
        include_str!("../../../policies/1e-platform.toml"),
    ),
    (
        "policies/seal-output-engine.toml",
        include_str!("../../../policies/seal-output-engine.toml"),
    ),
    (
        "policies/soti-connect.toml",
        include_str!("../../../policies/soti-connect.toml"),
    ),
    (
        "policies/spinetix.toml",
        include_str!("../../../policies/spinetix.toml"),
    ),
    (
        "policies/tachyon.toml",
        include_str!("../../../policies/tachyon.toml"),
    ),
];

/// The shipped policies as texts, in the order of their names.
#[must_use]
pub fn embedded() -> Vec<Source> {
    EMBEDDED
        .iter()
        .map(|(name, text)| Source::new(*name, *text))
        .collect()
}

/// The shipped policies, those whose id one of `kept` has left out, and `kept`: texts of an earlier version stand in for this one's.
#[must_use]
pub fn embedded_beside(kept: Vec<Source>) -> Vec<Source> {
    let id = |source: &Source| {
        let policy = read::<Policy>(source, &mut Findings::new());
        policy.map(|policy| policy.id().to_owned())
    };
    let ids: Vec<String> = kept.iter().filter_map(id).collect();
    let mut all = embedded();
    all.retain(|source| id(source).is_none_or(|id| !ids.contains(&id)));
    all.extend(kept);
    all
}

/// A policy and the text it was read from.
#[derive(Clone, Debug)]
pub struct Product {
    /// What the text says.
    pub policy: Policy,
    /// The text, kept because what is in force must be rebuilt from it later.
    pub source: Source,
}

/// Every product that can be named, by id.
#[derive(Clone, Debug, Default)]
pub struct Catalogue {
    products: BTreeMap<String, Product>,
}

impl Catalogue {
    /// The shipped policies and those of a directory, `(name, text)` each. A text with errors
    /// gives findings and no product; a directory's text with a shipped product's id is an
    /// error unless it says `replaces = true`.
    #[must_use]
    pub fn load(directory: impl IntoIterator<Item = (String, String)>) -> (Self, Findings) {
        let own = directory
            .into_iter()
            .map(|(name, text)| Source::new(name, text))
            .collect();
        Self::from_sources(embedded(), own)
    }

    /// The same with the shipped texts given too: what a stored copy of a past catalogue, or a
    /// test, needs.
    #[must_use]
    pub fn from_sources(shipped: Vec<Source>, own: Vec<Source>) -> (Self, Findings) {
        let mut findings = Findings::new();
        let mut seen: BTreeMap<String, Candidate> = BTreeMap::new();
        let shipped = shipped.into_iter().map(|source| (source, true));
        let own = own.into_iter().map(|source| (source, false));
        for (source, shipped) in shipped.chain(own) {
            let mut about = Findings::new();
            let Some(policy) = read::<Policy>(&source, &mut about) else {
                findings.extend(about);
                continue;
            };
            check::policy(&policy, &source, &mut about);
            let candidate = Candidate {
                whole: !about.has_errors(),
                product: Product { policy, source },
                shipped,
            };
            findings.extend(about);
            add(&mut seen, candidate, &mut findings);
        }
        let texts: BTreeMap<&str, &Policy> = seen
            .iter()
            .map(|(id, candidate)| (id.as_str(), &candidate.product.policy))
            .collect();
        for candidate in seen.values() {
            cross_check(&candidate.product, &texts, &mut findings);
        }
        findings.sort();
        let products = seen
            .into_iter()
            .filter(|(_, candidate)| candidate.whole)
            .map(|(id, candidate)| (id, candidate.product))
            .collect();
        (Self { products }, findings)
    }

    /// A product by id.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<&Policy> {
        self.product(id).map(|product| &product.policy)
    }

    /// A product with its text.
    #[must_use]
    pub fn product(&self, id: &str) -> Option<&Product> {
        self.products.get(id)
    }

    /// All products by id.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Policy)> {
        self.products
            .iter()
            .map(|(id, product)| (id.as_str(), &product.policy))
    }

    /// The id that is meant by a mistyped one.
    #[must_use]
    pub fn nearest(&self, id: &str) -> Option<&str> {
        nearest(id, self.products.keys().map(String::as_str))
    }

    /// A row by its whole id, with its product.
    #[must_use]
    pub fn row(&self, id: &str) -> Option<(&Policy, &Row)> {
        let (product, short) = id.split_once('/')?;
        let policy = self.get(product)?;
        Some((policy, policy.row(short)?))
    }
}

/// Checks policy files as `policy check` does: each by itself, and all beside the shipped ones.
/// A file with a shipped product's id stands in for that product.
#[must_use]
pub fn check_files(sources: Vec<Source>) -> Findings {
    let mut ids = Vec::new();
    for source in &sources {
        let policy = read::<Policy>(source, &mut Findings::new());
        ids.extend(policy.map(|policy| policy.id().to_owned()));
    }
    let mut shipped = embedded();
    shipped.retain(|source| {
        read::<Policy>(source, &mut Findings::new())
            .is_none_or(|policy| !ids.iter().any(|id| id == policy.id()))
    });
    let names: Vec<String> = sources.iter().map(|it| it.name().to_owned()).collect();
    let (_, findings) = Catalogue::from_sources(shipped, sources);
    let mut own = Findings::new();
    for finding in findings {
        let about_ours = finding
            .file()
            .is_none_or(|file| names.iter().any(|name| name == file));
        // The product that it replaces was set aside above.
        if about_ours && finding.kind != Kind::ReplacesNothing.name() {
            own.push(finding);
        }
    }
    own
}

struct Candidate {
    product: Product,
    shipped: bool,
    whole: bool,
}

/// Takes a policy in, or says why its id is taken.
fn add(seen: &mut BTreeMap<String, Candidate>, new: Candidate, findings: &mut Findings) {
    let id = new.product.policy.id().to_owned();
    let span = new.product.policy.id.span();
    let source = &new.product.source;
    let replaces = new.product.policy.replaces && !new.shipped;
    match seen.get(&id) {
        None if replaces => findings.push(
            Kind::ReplacesNothing
                .finding(format!(
                    "no shipped product has the id `{id}`, so nothing is replaced"
                ))
                .at(source, span)
                .help("drop `replaces = true`, or correct the id"),
        ),
        Some(old) if !(replaces && old.shipped) => {
            let (old_source, old_span) = (&old.product.source, old.product.policy.id.span());
            let help = if old.shipped {
                "say `replaces = true` if this file shall take the shipped one's place"
            } else {
                "give one of the two files another id"
            };
            findings.push(
                Kind::IdTaken
                    .finding(format!("the id `{id}` belongs to {}", old_source.name()))
                    .at(source, span)
                    .and(old_source, old_span, "first said here")
                    .help(help),
            );
            return;
        }
        _ => {}
    }
    seen.insert(id, new);
}

/// What one policy says of another's rows.
fn cross_check(product: &Product, all: &BTreeMap<&str, &Policy>, findings: &mut Findings) {
    let policy = &product.policy;
    for row in &policy.rows {
        let cited = row.contradicts.iter().chain(&row.restored_from);
        for reference in cited {
            let Some(other) = reference.get_ref().product.as_deref() else {
                continue;
            };
            let known = all.get(other);
            if known.is_some_and(|known| row_of(known, reference.get_ref()).is_some()) {
                continue;
            }
            let help = match known {
                None => format!("known products: {}", join(all.keys())),
                Some(_) => format!("`policy show {other}` lists its rows"),
            };
            findings.push(
                Kind::UnknownRow
                    .finding(format!("no row `{}` in the catalogue", reference.get_ref()))
                    .at(&product.source, reference.span())
                    .help(help),
            );
        }
    }
}

fn join<'a>(words: impl Iterator<Item = &'a &'a str>) -> String {
    words.copied().collect::<Vec<_>>().join(", ")
}

/// The row of this policy that a reference means, whatever product it names.
pub(super) fn row_of<'a>(policy: &'a Policy, reference: &RowRef) -> Option<&'a Row> {
    policy.rows.iter().find(|row| {
        let id = row.id.get_ref();
        id.table == reference.table && id.number == reference.number
    })
}

#[cfg(test)]
mod tests;
