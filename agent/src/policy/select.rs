//! What a selection makes of a policy: which rows hold, what conditions say, which ports are
//! in force. Everything here is a question to a coherent policy; nothing here opens anything.

use std::collections::{BTreeMap, BTreeSet};

use toml::Spanned;

use super::schema::{Encrypted, Flow, OptionTable, Policy, Row, Scope, Table};
use super::values::{Condition, PortDefault, PortRange, PortRef, Transport, Version};

/// Whether a condition holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Truth {
    /// It does.
    Holds,
    /// It does not.
    Fails,
    /// It hangs on something that has no default and was not said.
    Unsaid,
}

/// What an option is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OptionValue {
    /// A switch.
    Switch(bool),
    /// One of its choices.
    Choice(String),
}

/// The options of a product as they stand: defaults, and what the operator said.
#[derive(Clone, Debug, Default)]
pub struct OptionValues {
    values: BTreeMap<String, OptionValue>,
}

impl OptionValues {
    /// What an option is; `None` where it has no default and nothing was said.
    #[must_use]
    pub fn get(&self, option: &str) -> Option<&OptionValue> {
        self.values.get(option)
    }

    /// Whether a condition holds.
    #[must_use]
    pub fn holds(&self, condition: &Condition) -> Truth {
        let holds = match (condition, self.get(condition.option())) {
            (_, None) => return Truth::Unsaid,
            (Condition::On(_), Some(OptionValue::Switch(on))) => *on,
            (Condition::Off(_), Some(OptionValue::Switch(on))) => !*on,
            (Condition::Is(_, wanted), Some(OptionValue::Choice(choice))) => wanted == choice,
            // A switch asked for a choice, or a choice as a switch: the checks refuse it.
            _ => false,
        };
        if holds { Truth::Holds } else { Truth::Fails }
    }
}

/// Why a port has no value in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PortProblem {
    /// The policy has no such `[ports]` table.
    Unknown,
    /// It has no default and was not said; the switch that took the default away, if one did.
    Unsaid {
        /// The switch of `say-when` that is on.
        because: Option<String>,
    },
    /// Several were said for a port that can be one only.
    NotMany {
        /// How many were said.
        said: usize,
    },
    /// A list that replaces `other + n` must have the length of `other`.
    Length {
        /// The other port.
        base: String,
        /// How many it has.
        expected: usize,
        /// How many were said.
        said: usize,
    },
    /// `other + n` leaves the port numbers.
    Overflow {
        /// The other port.
        base: String,
    },
    /// `other` itself has no value.
    Base {
        /// The other port.
        base: String,
        /// Why it has none.
        problem: Box<PortProblem>,
    },
}

/// One flow on one transport: what a row's flows are counted by.
#[derive(Clone, Copy, Debug)]
pub struct FlowPart<'a> {
    /// Counted from 1 in the row: a TOML flow counts once per transport.
    pub number: u32,
    /// The TOML flow.
    pub flow: &'a Flow,
    /// Its transport here.
    pub transport: Transport,
}

impl<'a> FlowPart<'a> {
    /// The ports that it names; none for a protocol without ports.
    pub fn ports(&self) -> impl Iterator<Item = &'a PortRef> + use<'a> {
        self.flow.ports(self.transport).iter().map(Spanned::get_ref)
    }
}

impl Row {
    /// The flows of the row once per transport, numbered from 1.
    pub fn parts(&self) -> impl Iterator<Item = FlowPart<'_>> {
        self.flows
            .iter()
            .flat_map(|flow| flow.transports().map(move |transport| (flow, transport)))
            .zip(1..)
            .map(|((flow, transport), number)| FlowPart {
                number,
                flow,
                transport,
            })
    }

    /// Whether a role takes part in the row: as an end of a flow or as its device.
    #[must_use]
    pub fn mentions(&self, role: &str) -> bool {
        let device = self.device.iter();
        let ends = self
            .flows
            .iter()
            .flat_map(|flow| flow.from.iter().chain(&flow.to));
        device.chain(ends).any(|name| name.get_ref() == role)
    }
}

impl Policy {
    /// The product's id.
    #[must_use]
    pub fn id(&self) -> &str {
        self.id.get_ref()
    }

    /// A row's whole id: `product/table/n`.
    #[must_use]
    pub fn row_id(&self, row: &Row) -> String {
        row.id.get_ref().full(self.id())
    }

    /// A row by its id, with or without the product's.
    #[must_use]
    pub fn row(&self, id: &str) -> Option<&Row> {
        let short = id
            .strip_prefix(self.id())
            .and_then(|rest| rest.strip_prefix('/'))
            .unwrap_or(id);
        self.rows
            .iter()
            .find(|row| row.id.get_ref().to_string() == short)
    }

    /// The table of a row.
    #[must_use]
    pub fn table_of(&self, row: &Row) -> Option<&Table> {
        self.tables.get(&row.id.get_ref().table)
    }

    /// Rows in the order of the tables, then of the printed lines.
    #[must_use]
    pub fn rows_in_order(&self) -> Vec<&Row> {
        let place: BTreeMap<&str, usize> = self.tables.keys().zip(0..).collect();
        let mut rows: Vec<&Row> = self.rows.iter().collect();
        rows.sort_by_key(|row| {
            let id = row.id.get_ref();
            (place.get(id.table.as_str()).copied(), id.number)
        });
        rows
    }

    /// The selected topologies and all that they add to.
    pub fn implied_topologies<'a>(
        &'a self,
        selected: impl IntoIterator<Item = &'a str>,
    ) -> BTreeSet<&'a str> {
        let mut closed = BTreeSet::new();
        let mut open: Vec<&str> = selected.into_iter().collect();
        while let Some(name) = open.pop() {
            if closed.insert(name) {
                let base = self.topologies.get(name).and_then(|it| it.adds_to.as_ref());
                open.extend(base.map(|base| base.get_ref().as_str()));
            }
        }
        closed
    }

    /// The topologies of a row: its own, else its table's; empty: all.
    #[must_use]
    pub fn topologies_of<'a>(&'a self, row: &'a Row) -> &'a [Spanned<String>] {
        match (&row.topologies, self.table_of(row)) {
            (Some(own), _) => own,
            (None, Some(table)) => &table.topologies,
            (None, None) => &[],
        }
    }

    /// Whether a row holds in these topologies (as [`Policy::implied_topologies`] gives them).
    #[must_use]
    pub fn row_in(&self, row: &Row, topologies: &BTreeSet<&str>) -> bool {
        let own = self.topologies_of(row);
        own.is_empty()
            || own
                .iter()
                .any(|name| topologies.contains(name.get_ref().as_str()))
    }

    /// Whether other hosts play the role too in any of these topologies.
    #[must_use]
    pub fn several(&self, role: &str, topologies: &BTreeSet<&str>) -> bool {
        topologies
            .iter()
            .filter_map(|name| self.topologies.get(name))
            .any(|topology| topology.several.iter().any(|name| name.get_ref() == role))
    }

    /// Whether the row's flows stay inside one host: its own scope, else its table's.
    #[must_use]
    pub fn scope_of(&self, row: &Row) -> Option<Scope> {
        row.scope
            .or_else(|| self.table_of(row).and_then(|table| table.scope))
    }

    /// The conditions of the row: its table's and its own. All must hold.
    pub fn conditions_of<'a>(&'a self, row: &'a Row) -> impl Iterator<Item = &'a Condition> {
        let table = self.table_of(row).into_iter().flat_map(|table| &table.when);
        table.chain(&row.when).map(Spanned::get_ref)
    }

    /// The conditions of a flow: its table's, its row's and its own. All must hold.
    pub fn flow_conditions<'a>(
        &'a self,
        row: &'a Row,
        flow: &'a Flow,
    ) -> impl Iterator<Item = &'a Condition> {
        self.conditions_of(row)
            .chain(flow.when.iter().map(Spanned::get_ref))
    }

    /// Whether a flow is encrypted: its own word, else its row's.
    #[must_use]
    pub fn encrypted(&self, row: &Row, flow: &Flow) -> Option<Encrypted> {
        flow.encrypted.or(row.encrypted)
    }

    /// The options as they stand: every default, and over it what was said.
    #[must_use]
    pub fn option_values(
        &self,
        said: impl IntoIterator<Item = (String, OptionValue)>,
    ) -> OptionValues {
        let mut values: BTreeMap<String, OptionValue> = self
            .options
            .iter()
            .filter_map(|(name, option): (&str, &OptionTable)| {
                Some((name.to_owned(), OptionValue::Switch(option.default?)))
            })
            .collect();
        values.extend(said);
        OptionValues { values }
    }

    /// The version lines of a row whose version is too low, or was not said: line, the version
    /// from which the row holds, and which of the two.
    pub fn since_unmet<'a>(
        &self,
        row: &'a Row,
        said: &BTreeMap<String, Version>,
    ) -> impl Iterator<Item = (&'a str, &'a Version, Truth)> {
        row.since.iter().filter_map(|(line, from)| {
            let truth = match said.get(line) {
                None => Truth::Unsaid,
                Some(version) if version >= from => return None,
                Some(_) => Truth::Fails,
            };
            Some((line, from, truth))
        })
    }

    /// The ports of a flow's entry that are in force: the number itself, what was said for its
    /// name, or the documented default.
    ///
    /// # Errors
    ///
    /// Where the name has no value: see [`PortProblem`].
    pub fn ports_in_force(
        &self,
        port: &PortRef,
        said: &BTreeMap<String, Vec<PortRange>>,
        options: &OptionValues,
    ) -> Result<Vec<PortRange>, PortProblem> {
        match port {
            PortRef::Fixed(range) => Ok(vec![*range]),
            PortRef::Named(name) => self.named_port(name, said, options, self.ports.len()),
        }
    }

    /// `steps` bounds the chain of `other + n`, which the checks keep free of circles.
    fn named_port(
        &self,
        name: &str,
        said: &BTreeMap<String, Vec<PortRange>>,
        options: &OptionValues,
        steps: usize,
    ) -> Result<Vec<PortRange>, PortProblem> {
        let table = self.ports.get(name).ok_or(PortProblem::Unknown)?;
        let because = table
            .say_when
            .iter()
            .map(Spanned::get_ref)
            .find(|option| options.get(option) == Some(&OptionValue::Switch(true)))
            .cloned();
        let default = match (&table.default, &because) {
            (Some(default), None) => Some(default.get_ref()),
            _ => None,
        };
        let said_here = said.get(name);
        if let Some(list) = said_here
            && list.len() != 1
            && !table.many
        {
            return Err(PortProblem::NotMany { said: list.len() });
        }
        match (default, said_here) {
            (Some(PortDefault::Offset { base, add }), _) => {
                if steps == 0 {
                    return Err(PortProblem::Unknown);
                }
                let wrap = |problem| PortProblem::Base {
                    base: base.clone(),
                    problem: Box::new(problem),
                };
                let bases = self
                    .named_port(base, said, options, steps - 1)
                    .map_err(wrap)?;
                if let Some(list) = said_here {
                    if list.len() != bases.len() {
                        return Err(PortProblem::Length {
                            base: base.clone(),
                            expected: bases.len(),
                            said: list.len(),
                        });
                    }
                    return Ok(list.clone());
                }
                bases
                    .into_iter()
                    .map(|range| {
                        range
                            .offset(*add)
                            .ok_or_else(|| PortProblem::Overflow { base: base.clone() })
                    })
                    .collect()
            }
            (_, Some(list)) => Ok(list.clone()),
            (Some(PortDefault::Range(range)), None) => Ok(vec![*range]),
            (None, None) => Err(PortProblem::Unsaid { because }),
        }
    }

    /// A port of a flow as the document has it: `443`, `8300-8302`, `switch + 1`, and
    /// `<dcom-dynamic>` where there is no default.
    #[must_use]
    pub fn documented_port(&self, port: &PortRef) -> String {
        match port {
            PortRef::Fixed(range) => range.to_string(),
            PortRef::Named(name) => match self.ports.get(name).and_then(|it| it.default.as_ref()) {
                Some(default) => default.get_ref().to_string(),
                None => format!("<{name}>"),
            },
        }
    }
}

#[cfg(test)]
mod tests;
