//! A sheet against resolve, both ways, over every case; and the table of what differs.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use super::cases::{Case, said, topologies};
use super::observe::{World, each_port};
use super::sheet::{Flow, Line, Sheet};
use crate::policy::{Catalogue, Policy};

/// What came of a comparison.
#[derive(Default)]
pub(super) struct Outcome {
    pub(super) differences: BTreeMap<Flow, Difference>,
    /// What is wrong with the sheet itself.
    pub(super) faults: Vec<String>,
    /// How often a host was resolved.
    pub(super) hosts: usize,
    /// How many flows were found at both sides, in all cases together.
    pub(super) agreed: usize,
}

/// A flow that one side has and the other lacks.
pub(super) struct Difference {
    pub(super) lacking: Lacking,
    /// Lines of the sheet that are about it.
    lines: Vec<usize>,
    cases: usize,
    first: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Lacking {
    Policy,
    Sheet,
    /// The policy in some cases, the sheet in others: their conditions differ.
    Both,
}

impl Outcome {
    pub(super) fn is_clean(&self) -> bool {
        self.differences.is_empty() && self.faults.is_empty()
    }

    /// One line for each flow that differs: which side lacks it, where the sheet has it, and the
    /// simplest selection in which that shows.
    pub(super) fn table(&self, product: &str) -> String {
        let mut text = format!("\n{product}: {} flows differ\n", self.differences.len());
        for fault in &self.faults {
            let _ = writeln!(text, "  {product}.tsv: {fault}");
        }
        let mut rows = vec![
            [
                "row",
                "role",
                "direction",
                "service",
                "peer",
                "lacking in",
                "lines",
                "first seen with",
            ]
            .map(str::to_owned),
        ];
        for (flow, difference) in &self.differences {
            let lacking = match difference.lacking {
                Lacking::Policy => "the policy",
                Lacking::Sheet => "the sheet",
                Lacking::Both => "each at times",
            };
            let lines: Vec<String> = difference.lines.iter().map(usize::to_string).collect();
            rows.push([
                flow.row.clone(),
                flow.role.clone(),
                flow.direction.clone(),
                format!("{} {}", flow.transport, flow.port),
                flow.peer.clone(),
                lacking.to_owned(),
                if lines.is_empty() {
                    "-".to_owned()
                } else {
                    lines.join(",")
                },
                format!("{} ({} cases)", difference.first, difference.cases),
            ]);
        }
        if rows.len() > 1 {
            let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
            let widths: Vec<usize> = (0..7).map(width).collect();
            for row in &rows {
                text.push(' ');
                for (cell, width) in row.iter().zip(&widths) {
                    let _ = write!(text, " {cell:width$}");
                }
                let _ = writeln!(text, " {}", row[7]);
            }
        }
        text
    }
}

/// Holds a sheet against what resolve makes of the policy, for every role alone, every
/// selection of topologies, and everything that can be said.
pub(super) fn compare(catalogue: &Catalogue, policy: &Policy, text: &str) -> Outcome {
    let (sheet, faults) = Sheet::read(text);
    let mut outcome = Outcome {
        faults,
        ..Outcome::default()
    };
    outcome.faults.extend(sheet.unknown_words(policy));
    for row in sheet.unmentioned(policy) {
        outcome.faults.push(format!(
            "nothing about row {row}: neither a line nor a comment"
        ));
    }
    let world = World::new(catalogue, policy);
    let mut used = BTreeSet::new();
    let assignments = said(policy, &sheet);
    for topologies in topologies(policy) {
        for said in &assignments {
            let case = Case {
                topologies: topologies.clone(),
                said: said.clone(),
            };
            let implied = case.implied(policy);
            let holding: Vec<&Line> = sheet
                .lines
                .iter()
                .filter(|line| {
                    let here = |name: &String| implied.contains(name.as_str());
                    (line.topologies.is_empty() || line.topologies.iter().any(here))
                        && line.conditions.iter().all(|asked| case.holds(asked))
                })
                .collect();
            used.extend(holding.iter().map(|line| line.number));
            for role in policy.roles.keys() {
                let expected: BTreeSet<Flow> = holding
                    .iter()
                    .filter(|line| line.flow.role == role)
                    .flat_map(|line| one_port_each(&line.flow))
                    .collect();
                let opened: BTreeSet<Flow> = world.opened(&case, role).into_iter().collect();
                outcome.hosts += 1;
                outcome.agreed += expected.intersection(&opened).count();
                for flow in expected.difference(&opened) {
                    outcome.note(flow, Lacking::Policy, &sheet, &case.words(&assignments[0]));
                }
                for flow in opened.difference(&expected) {
                    outcome.note(flow, Lacking::Sheet, &sheet, &case.words(&assignments[0]));
                }
            }
        }
    }
    for line in sheet
        .lines
        .iter()
        .filter(|line| !used.contains(&line.number))
    {
        outcome
            .faults
            .push(format!("line {} holds in no case", line.number));
    }
    outcome
}

impl Outcome {
    fn note(&mut self, flow: &Flow, lacking: Lacking, sheet: &Sheet, case: &str) {
        let known = self.differences.entry(flow.clone()).or_insert_with(|| {
            let about = sheet
                .lines
                .iter()
                .filter(|line| one_port_each(&line.flow).contains(flow));
            Difference {
                lacking,
                lines: about.map(|line| line.number).collect(),
                cases: 0,
                first: case.to_owned(),
            }
        });
        known.cases += 1;
        if known.lacking != lacking {
            known.lacking = Lacking::Both;
        }
    }
}

fn one_port_each(flow: &Flow) -> Vec<Flow> {
    let ports = each_port(&flow.port).into_iter();
    ports
        .map(|port| Flow {
            port,
            ..flow.clone()
        })
        .collect()
}
