//! The page for whoever signs off a host: what the vendor documents, what of it is in force here and why the rest is not, and how that is
//! proved. One self-contained HTML page. Pure.

mod diagram;
mod page;

use std::collections::BTreeMap;

use agent_common::event::Direction;
use jiff::Timestamp;
use serde_json::Value;

use crate::compile::resolve::Resolved;
use crate::events::Knowledge;
use crate::facts::Facts;
use crate::host::{HostConfig, Product};
use crate::inputs::{Fnv, Said};
use crate::policy::{Policy, Row};

/// Everything that the page shows.
pub struct Report<'a> {
    /// What the operator and the vendors say.
    pub said: &'a Said,
    /// The configuration among it.
    pub config: &'a HostConfig,
    /// The host.
    pub facts: &'a Facts,
    /// What the three mean.
    pub resolved: &'a Resolved,
    /// Where each documented flow stands.
    pub knowledge: &'a Knowledge,
    /// What is wrong or doubtful.
    pub warnings: Vec<String>,
    /// `verify --json`, or why there is no proof.
    pub proof: Result<Value, String>,
    /// `status --json`, or why it is not known.
    pub status: Result<Value, String>,
    /// Denied and audited packets by kind and by what became of them, or why they are not known.
    pub denials: Result<Denials, String>,
    /// When the page was made.
    pub time: Timestamp,
}

/// Packets by kind and verdict, and the period that they are of.
#[derive(Clone, Debug, Default)]
pub struct Denials {
    /// Kind and verdict; entries, packets.
    pub kinds: BTreeMap<(String, String), (u64, u64)>,
    /// The first and the last.
    pub period: Option<(Timestamp, Timestamp)>,
}

impl Denials {
    /// Counts an entry.
    pub fn add(&mut self, entry: &crate::events::shown::Shown) {
        let (Some(verdict), Some(kind)) = (&entry.verdict, &entry.kind) else {
            return;
        };
        let counts = self
            .kinds
            .entry((kind.clone(), verdict.clone()))
            .or_default();
        counts.0 += 1;
        counts.1 += entry.count;
        if let Some(time) = entry.time {
            let (first, last) = self.period.unwrap_or((time, time));
            self.period = Some((first.min(time), last.max(time)));
        }
    }
}

/// Peers that a line names before it only counts them; the table of peers has them all.
const MANY: usize = 12;

/// Peers of a rule as people write them: one host is an address and no prefix.
fn addresses(peers: &crate::rule::Peers) -> Vec<String> {
    let words = peers.words().into_iter();
    let alone = words.map(|word| match word.rsplit_once('/') {
        Some((address, "32")) if address.contains('.') => address.to_owned(),
        Some((address, "128")) => address.to_owned(),
        _ => word,
    });
    alone.collect()
}

/// These words, or so many of them and how many more.
fn some(words: &[String], most: usize) -> String {
    match words.len().checked_sub(most) {
        Some(more) if more > 0 => {
            let first = words.get(..most).unwrap_or_default();
            format!("{} and {more} more", first.join(", "))
        }
        _ => words.join(", "),
    }
}

/// Where a row stands: the word for its class, and what there is to say.
struct Standing {
    /// `in force`, `inactive`, `skipped`, `undecidable`, `inside the host`, `other roles`.
    state: &'static str,
    /// Why, or who reaches what.
    why: Vec<String>,
}

impl Report<'_> {
    /// The page.
    #[must_use]
    pub fn html(&self) -> String {
        page::page(self).into_string()
    }

    /// The selected products with their policies.
    fn products(&self) -> impl Iterator<Item = (&Product, &Policy)> {
        let products = self.config.products.iter();
        products.filter_map(|it| Some((it, self.said.catalogue.get(it.policy.get_ref())?)))
    }

    /// Where a row stands on this host; what weighs most is its state.
    fn standing(&self, product: &Product, policy: &Policy, row: &Row) -> Standing {
        let id = policy.row_id(row);
        let mut why = Vec::new();
        let rules = self
            .resolved
            .rule_set
            .rules
            .iter()
            .zip(&self.resolved.flows);
        for (rule, flows) in rules {
            let own = rule.product.as_ref() == Some(&product.name);
            if own && flows.iter().any(|flow| flow.row == id) {
                let (way, to) = match rule.direction {
                    Direction::Ingress => ("in from", ""),
                    Direction::Egress => ("out to", ""),
                };
                let groups: Vec<String> = rule.groups.iter().map(ToString::to_string).collect();
                let group = match groups.is_empty() {
                    true => to.to_owned(),
                    false => format!(" by {}", groups.join(", ")),
                };
                let stated = if rule.stated {
                    ""
                } else {
                    " (follows from the other end's row)"
                };
                why.push(format!(
                    "{} {} {way} {}{group}{stated}",
                    rule.service.transport(),
                    rule.service.ports(rule.direction).join(", "),
                    some(&addresses(&rule.peers), MANY),
                ));
            }
        }
        if !why.is_empty() {
            return Standing {
                state: "in force",
                why,
            };
        }
        if let Some((key, reason)) = product.skip.iter().find(|(key, _)| {
            let short = id
                .strip_prefix(policy.id())
                .and_then(|it| it.strip_prefix('/'));
            *key == id || Some(*key) == short
        }) {
            let (source, span) = self.config.sources.locate(reason.span());
            let place = source.place(span);
            let name = source.name().rsplit('/').next().unwrap_or_default();
            return Standing {
                state: "skipped",
                why: vec![format!(
                    "{} ({name}, line {}, `{key}`)",
                    reason.get_ref(),
                    place.line
                )],
            };
        }
        let own = |name: &String| *name == product.name;
        let undecided = self
            .resolved
            .undecided
            .iter()
            .filter(|it| own(&it.product) && it.row == id);
        why.extend(undecided.map(|it| it.why.clone()));
        if !why.is_empty() {
            return Standing {
                state: "undecidable",
                why,
            };
        }
        let inactive = self.resolved.inactive.iter();
        for it in inactive.filter(|it| own(&it.product) && it.flow.row == id) {
            let text = match it.needs.as_str() {
                "" => it.why.clone(),
                needs => format!("{}; {needs} would change it", it.why),
            };
            if !why.contains(&text) {
                why.push(text);
            }
        }
        if !why.is_empty() {
            return Standing {
                state: "inactive",
                why,
            };
        }
        let inside = self.resolved.host_only.iter();
        for it in inside.filter(|it| own(&it.product) && it.flow.row == id) {
            if !why.contains(&it.why) {
                why.push(it.why.clone());
            }
        }
        if !why.is_empty() {
            return Standing {
                state: "inside the host",
                why,
            };
        }
        Standing {
            state: "other roles",
            why: vec!["this host plays neither end".to_owned()],
        }
    }

    /// When a row was last used, and by how many packets, as the counters have it.
    fn used(&self, row: &str) -> Option<(u64, Option<String>)> {
        let status = self.status.as_ref().ok()?;
        let count = status.get("counters")?.get("by_row")?.get(row)?;
        let number = |key: &str| count.get(key).and_then(Value::as_u64).unwrap_or(0);
        let last = count.get("last").and_then(Value::as_str).map(str::to_owned);
        Some((number("passed") + number("audited"), last))
    }

    /// The proof of a row, as `verify` has it.
    fn proved(&self, row: &str) -> Option<(bool, u64)> {
        let rows = self.proof.as_ref().ok()?.get("rows")?.as_array()?;
        let found = rows
            .iter()
            .find(|it| it.get("row").and_then(Value::as_str) == Some(row))?;
        let number = |key: &str| found.get(key).and_then(Value::as_u64).unwrap_or(0);
        let packets = number("allowed") + number("audited") + number("denied");
        Some((found.get("proved")?.as_bool()?, packets))
    }

    /// Each text that the policy was made of, with its hash.
    fn hashes(&self) -> Vec<(String, String)> {
        let texts = &self.said.texts;
        let files = texts.input.files.iter().chain(&texts.own);
        let used = self
            .products()
            .map(|(_, policy)| format!("{}.toml", policy.id()));
        let used: Vec<String> = used.collect();
        let shipped = texts.shipped.iter().filter(|it| {
            let name = it.name().rsplit('/').next().unwrap_or_default();
            used.iter().any(|used| used == name)
        });
        let hashed = files.chain(shipped);
        hashed
            .map(|it| (it.name().to_owned(), Fnv::of(it.text())))
            .collect()
    }
}

#[cfg(test)]
mod tests;
