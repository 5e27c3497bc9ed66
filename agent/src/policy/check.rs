//! Whether a policy is coherent: everything that `policy check` refuses in one file.
//!
//! Two sorts of faults: words that name nothing, and sentences that the catalogue does not
//! allow. Faults that could follow from an earlier one (a role that nothing uses, after a row
//! was unreadable) are looked for only in a text that was read whole.

use std::collections::{BTreeMap, BTreeSet};

use toml::Spanned;

use super::kinds::Kind;
use super::schema::{Policy, Row, SCHEMA};
use super::values::is_name;
use super::{check_flows, check_words};
use crate::diagnose::{Findings, Source, kind, nearest};

/// Checks one policy. `findings` may already hold what reading the text gave.
pub(super) fn policy(policy: &Policy, source: &Source, findings: &mut Findings) {
    // An unknown key takes nothing away; any other fault of reading may have.
    let read_whole = findings.iter().all(|it| it.kind == kind::UNKNOWN_KEY);
    let mut check = Check {
        policy,
        source,
        findings,
        used: Used::default(),
        read_whole,
    };
    check.head();
    check.topologies();
    check.tables();
    check_words::words(&mut check);
    for row in &policy.rows {
        check.row(row);
    }
    check.contradictions();
    if read_whole {
        check_flows::inferred(&mut check);
        check.row_numbers();
        check.unused();
    }
}

/// Names that some row uses.
#[derive(Default)]
pub(super) struct Used {
    pub(super) roles: BTreeSet<String>,
    pub(super) options: BTreeSet<String>,
    pub(super) ports: BTreeSet<String>,
    pub(super) groups: BTreeSet<String>,
    pub(super) versions: BTreeSet<String>,
}

/// A policy under examination.
pub(super) struct Check<'a> {
    pub(super) policy: &'a Policy,
    pub(super) source: &'a Source,
    pub(super) findings: &'a mut Findings,
    pub(super) used: Used,
    /// Whether what is not in the policy is not in the text either.
    pub(super) read_whole: bool,
}

impl Check<'_> {
    /// An error at a value's place.
    pub(super) fn refuse<T>(
        &mut self,
        at: &Spanned<T>,
        kind: Kind,
        message: String,
        help: impl Into<String>,
    ) {
        self.findings
            .push(kind.finding(message).at(self.source, at.span()).help(help));
    }

    /// Whether a word names one of the known; otherwise says so with the nearest.
    pub(super) fn known<'k>(
        &mut self,
        word: &Spanned<String>,
        what: &str,
        known: impl Iterator<Item = &'k str>,
    ) -> bool {
        let known: Vec<&str> = known.collect();
        let name = word.get_ref().as_str();
        if known.contains(&name) {
            return true;
        }
        let help = match nearest(name, known.iter().copied()) {
            Some(near) => format!("`{near}` is the nearest that is known"),
            None if known.is_empty() => format!("add [{what}s.{name}]"),
            None => format!("known: {}", known.join(", ")),
        };
        self.refuse(
            word,
            Kind::UnknownName,
            format!("no {what} is called `{name}`"),
            help,
        );
        false
    }

    fn head(&mut self) {
        let policy = self.policy;
        if *policy.schema.get_ref() != SCHEMA {
            let message = format!("schema {} is not known", policy.schema.get_ref());
            self.refuse(
                &policy.schema,
                Kind::Schema,
                message,
                "this agent reads schema 1",
            );
        }
        if policy.document.covers.is_empty() {
            self.refuse(
                &policy.id,
                Kind::Covers,
                "`covers` names no direction".to_owned(),
                "say which directions the document claims to list: [\"ingress\", \"egress\"]",
            );
        }
        let tables = policy.tables.spanned().map(|(key, _)| key);
        let keys = tables
            .chain(policy.topologies.spanned().map(|(key, _)| key))
            .chain(policy.roles.spanned().map(|(key, _)| key))
            .chain(policy.options.spanned().map(|(key, _)| key))
            .chain(policy.versions.spanned().map(|(key, _)| key))
            .chain(policy.ports.spanned().map(|(key, _)| key))
            .chain(policy.groups.spanned().map(|(key, _)| key))
            .chain([&policy.id]);
        for key in keys {
            if !is_name(key.get_ref()) {
                let message = format!("`{}` is no name", key.get_ref());
                let help = "use lower-case letters and digits with single hyphens between";
                self.refuse(key, Kind::Name, message, help);
            }
        }
    }

    fn topologies(&mut self) {
        let policy = self.policy;
        if policy.topologies.is_empty() {
            self.refuse(
                &policy.id,
                Kind::NoTopology,
                "no topology".to_owned(),
                "write [topologies.default] if there is one way to install the product",
            );
        }
        for (name, topology) in policy.topologies.iter() {
            for role in &topology.several {
                self.known(role, "role", policy.roles.keys());
            }
            let Some(base) = &topology.adds_to else {
                continue;
            };
            if !self.known(base, "topology", policy.topologies.keys()) {
                continue;
            }
            if policy
                .implied_topologies([base.get_ref().as_str()])
                .contains(name)
            {
                let message = format!("topology `{name}` adds to itself");
                self.refuse(
                    base,
                    Kind::TopologyCircle,
                    message,
                    "cut the circle of `adds-to`",
                );
            }
        }
    }

    fn tables(&mut self) {
        let policy = self.policy;
        for table in policy.tables.values() {
            for topology in &table.topologies {
                self.known(topology, "topology", policy.topologies.keys());
            }
            self.conditions(&table.when);
        }
    }

    fn row(&mut self, row: &Row) {
        let policy = self.policy;
        let id = row.id.get_ref();
        if id.product.is_some() {
            let message = format!("row id `{id}` names a product");
            self.refuse(&row.id, Kind::RowId, message, "write \"table/n\"");
        }
        let table = Spanned::new(row.id.span(), id.table.clone());
        self.known(&table, "table", policy.tables.keys());
        for topology in row.topologies.iter().flatten() {
            self.known(topology, "topology", policy.topologies.keys());
        }
        for (line, _) in row.since.spanned() {
            if self.known(line, "version", policy.versions.keys()) {
                self.used.versions.insert(line.get_ref().clone());
            }
        }
        if let Some(device) = &row.device
            && self.known(device, "role", policy.roles.keys())
        {
            self.used.roles.insert(device.get_ref().clone());
        }
        if row.restored_from.is_some() && row.lost.is_empty() {
            let help = "name the cells in `lost`, or drop `restored-from`";
            let message = format!("row {id} restores cells but has lost none");
            self.refuse(&row.id, Kind::NothingLost, message, help);
        }
        let own = row.contradicts.iter().chain(&row.restored_from);
        for reference in own.filter(|reference| reference.get_ref().product.is_none()) {
            let known = super::catalogue::row_of(policy, reference.get_ref()).is_some();
            if self.read_whole && !known {
                let message = format!("no row is called `{}`", reference.get_ref());
                let help = "row ids are \"table/n\"; \"product/table/n\" in another product";
                self.refuse(reference, Kind::UnknownRow, message, help);
            }
        }
        self.conditions(&row.when);
        check_flows::row(self, row);
    }

    /// What is written at one end of a contradiction is shown at both, and written once.
    fn contradictions(&mut self) {
        let mut said: BTreeMap<(String, String), ()> = BTreeMap::new();
        for row in &self.policy.rows {
            let own = self.policy.row_id(row);
            for reference in &row.contradicts {
                let other = reference.get_ref().full(self.policy.id());
                if own == other {
                    let message = format!("row {} contradicts itself", row.id.get_ref());
                    let help = "name the other row, or say it in `note`";
                    self.refuse(reference, Kind::ContradictsItself, message, help);
                    continue;
                }
                let pair = if own < other {
                    (own.clone(), other)
                } else {
                    (other, own.clone())
                };
                if said.insert(pair, ()).is_some() {
                    let message = "this contradiction is written twice".to_owned();
                    let help = "write it at one end; it is shown at both";
                    self.refuse(reference, Kind::ContradictsTwice, message, help);
                }
            }
        }
    }

    /// Rows of a table are numbered 1..N, each once.
    fn row_numbers(&mut self) {
        let policy = self.policy;
        for (name, table) in policy.tables.iter() {
            let expected = *table.rows.get_ref();
            let mut seen: BTreeMap<u32, &Row> = BTreeMap::new();
            for row in policy
                .rows
                .iter()
                .filter(|row| row.id.get_ref().table == name)
            {
                let number = row.id.get_ref().number;
                if let Some(first) = seen.insert(number, row) {
                    self.findings.push(
                        Kind::RowTwice
                            .finding(format!("row {name}/{number} stands twice"))
                            .at(self.source, row.id.span())
                            .and(self.source, first.id.span(), "first here")
                            .help("every printed line is one row"),
                    );
                }
                if number > expected {
                    let message = format!("row {name}/{number} is beyond the table's {expected}");
                    let help = "correct the row's number, or `rows` of the table";
                    self.refuse(&row.id, Kind::RowBeyond, message, help);
                }
            }
            // A table may claim four thousand million rows: only gaps among those that could be
            // there are counted out.
            let missing: Vec<String> = (1..=expected)
                .filter(|number| !seen.contains_key(number))
                .take(9)
                .map(|number| number.to_string())
                .collect();
            if !missing.is_empty() {
                let etc = if missing.len() == 9 { ", …" } else { "" };
                let message = format!(
                    "table `{name}` prints {expected} rows; not here: {}{etc}",
                    missing[..missing.len().min(8)].join(", ")
                );
                let help = "every printed line is a row, those without a flow too";
                self.refuse(&table.rows, Kind::RowMissing, message, help);
            }
        }
    }

    fn unused(&mut self) {
        let policy = self.policy;
        let used = std::mem::take(&mut self.used);
        let kinds = [
            (
                "role",
                names(policy.roles.spanned().map(|(key, _)| key)),
                &used.roles,
            ),
            (
                "option",
                names(policy.options.spanned().map(|(key, _)| key)),
                &used.options,
            ),
            (
                "port",
                names(policy.ports.spanned().map(|(key, _)| key)),
                &used.ports,
            ),
            (
                "group",
                names(policy.groups.spanned().map(|(key, _)| key)),
                &used.groups,
            ),
            (
                "version line",
                names(policy.versions.spanned().map(|(key, _)| key)),
                &used.versions,
            ),
        ];
        for (what, names, used) in kinds {
            for name in names.iter().filter(|name| !used.contains(name.get_ref())) {
                let message = format!("nothing uses {what} `{}`", name.get_ref());
                self.refuse(name, Kind::Unused, message, "drop it, or use it in a row");
            }
        }
    }
}

fn names<'a>(keys: impl Iterator<Item = &'a Spanned<String>>) -> Vec<Spanned<String>> {
    keys.cloned().collect()
}

#[cfg(test)]
mod tests;
