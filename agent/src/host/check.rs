//! Findings that a configuration gives together with the catalogue and with facts about the
//! host. What the configuration alone shows is found while it is read.

mod block;
mod host;
mod names;
mod needs;

use std::fmt::Write;

use super::kinds::Kind;
use super::sources::{Sources, Span};
use super::{HostConfig, Product};
use crate::compile::resolve::Resolved;
use crate::diagnose::{Findings, nearest};
use crate::facts::Facts;
use crate::policy::{Catalogue, Policy};

/// All of them, in the order of the text. `resolved` is what the three mean together; its own
/// findings are not repeated here.
#[must_use]
pub fn check(
    config: &HostConfig,
    catalogue: &Catalogue,
    facts: &Facts,
    resolved: &Resolved,
) -> Findings {
    let mut out = Out {
        sources: &config.sources,
        findings: Findings::new(),
    };
    for product in &config.products {
        let Some(policy) = catalogue.get(product.policy.get_ref()) else {
            names::unknown_product(product, catalogue, &mut out);
            continue;
        };
        names::check(product, policy, &mut out);
        if topologies_known(product, policy) {
            needs::check(config, product, policy, facts, &mut out);
        }
    }
    names::cites(config, catalogue, &mut out);
    host::check(config, catalogue, facts, resolved, &mut out);
    block::check(config, resolved, &mut out);
    let mut findings = out.findings;
    findings.sort();
    findings
}

/// Which rows hold can be asked only where the topologies are known.
fn topologies_known(product: &Product, policy: &Policy) -> bool {
    match &product.topologies {
        Some(said) => said
            .iter()
            .all(|name| policy.topologies.contains(name.get_ref())),
        None => policy.topologies.len() <= 1,
    }
}

/// Where findings go.
struct Out<'a> {
    sources: &'a Sources,
    findings: Findings,
}

impl Out<'_> {
    fn say(
        &mut self,
        kind: Kind,
        message: impl Into<String>,
        help: impl Into<String>,
        span: &Span,
    ) {
        let finding = kind.finding(message).help(help);
        self.findings.push(self.sources.at(finding, span.clone()));
    }

    /// A finding that no place of a text belongs to.
    fn say_nowhere(&mut self, kind: Kind, message: impl Into<String>, help: impl Into<String>) {
        self.findings.push(kind.finding(message).help(help));
    }
}

/// The nearest known word, or all of them.
fn meant<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.collect();
    match nearest(word, known.iter().copied()) {
        Some(near) => format!("`{near}` is the nearest that is known"),
        None if known.is_empty() => "the product has none".to_owned(),
        None => format!("known: {}", known.join(", ")),
    }
}

/// The first of a list and how many more there are.
fn listed<'a>(words: impl IntoIterator<Item = &'a String>) -> String {
    const SHOWN: usize = 8;
    let words: Vec<&String> = words.into_iter().collect();
    let mut text = String::new();
    for (number, word) in words.iter().take(SHOWN).enumerate() {
        let comma = if number == 0 { "" } else { ", " };
        let _ = write!(text, "{comma}{word}");
    }
    if words.len() > SHOWN {
        let _ = write!(text, " and {} more", words.len() - SHOWN);
    }
    text
}
