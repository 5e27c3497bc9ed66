//! Under which topologies, options and versions a flow is open, and whether two such statements
//! mean the same.

use std::collections::{BTreeMap, BTreeSet};

use crate::policy::schema::{Flow, Policy, Row};
use crate::policy::values::{Condition, Version};

/// More situations than this are not tried: clauses are then compared as they are written.
const SITUATIONS: usize = 4_096;

/// What must hold for a flow of a row to be open.
#[derive(Clone, Debug)]
pub(super) struct Clause<'a> {
    /// The row.
    pub(super) row: &'a Row,
    /// The role that several hosts must play, for a flow of a role with itself.
    several: Option<String>,
    conditions: Vec<&'a Condition>,
}

impl<'a> Clause<'a> {
    pub(super) fn of(
        policy: &'a Policy,
        row: &'a Row,
        flow: &'a Flow,
        several: Option<String>,
    ) -> Self {
        let mut conditions: Vec<&Condition> = policy.flow_conditions(row, flow).collect();
        conditions.sort();
        conditions.dedup();
        Self {
            row,
            several,
            conditions,
        }
    }

    /// Whether it holds in a topology of the policy; `None`: in a policy without any.
    fn in_topology(&self, policy: &Policy, topology: Option<&str>) -> bool {
        // A word of the other policy: this one can't be installed so.
        let known = |name: &&str| policy.topologies.get(name).is_some();
        let implied = policy.implied_topologies(topology.filter(known));
        if implied.is_empty() && policy.topologies.keys().next().is_some() {
            return false;
        }
        let several = self.several.as_ref();
        policy.row_in(self.row, &implied)
            && several.is_none_or(|role| policy.several(role, &implied))
    }

    fn holds(&self, policy: &Policy, situation: &Situation<'_>) -> bool {
        let options = self.conditions.iter().all(|condition| {
            let value = situation.options.get(condition.option()).copied();
            value
                == Some(match condition {
                    Condition::On(_) => "on",
                    Condition::Off(_) => "off",
                    Condition::Is(_, choice) => choice,
                })
        });
        let versions = self.row.since.iter().all(|(line, needed)| {
            let version = situation.versions.get(line).copied().flatten();
            version.is_some_and(|version| version >= needed)
        });
        options && versions && self.in_topology(policy, situation.topology)
    }

    /// What must hold, in words: empty where nothing must.
    pub(super) fn words(&self, policy: &Policy) -> String {
        let mut words = Vec::new();
        let everywhere = policy
            .topologies
            .keys()
            .all(|name| self.in_topology(policy, Some(name)));
        if !everywhere {
            let holds = |name: &&str| self.in_topology(policy, Some(name));
            let base = |name: &&str| {
                let base = policy.topologies.get(name);
                let base = base.and_then(|it| it.adds_to.as_ref());
                !base.is_some_and(|base| holds(&base.get_ref().as_str()))
            };
            let names: Vec<&str> = policy
                .topologies
                .keys()
                .filter(holds)
                .filter(base)
                .collect();
            words.push(format!("in {}", names.join(" or ")));
        }
        let since = self.row.since.iter();
        words.extend(since.map(|(line, version)| format!("{line} >= {version}")));
        words.extend(self.conditions.iter().map(ToString::to_string));
        words.join(" and ")
    }
}

/// One installation: a topology, and what the options and versions are.
#[derive(Clone, Debug, Default)]
struct Situation<'a> {
    topology: Option<&'a str>,
    options: BTreeMap<&'a str, &'a str>,
    /// `None`: older than any version that is named.
    versions: BTreeMap<&'a str, Option<&'a Version>>,
}

/// All installations that the clauses of two policies can tell apart; `None` where they are too
/// many.
pub(super) struct Situations<'a>(Option<Vec<Situation<'a>>>);

impl<'a> Situations<'a> {
    pub(super) fn of(policies: [&'a Policy; 2], old: &[&Clause<'a>], new: &[&Clause<'a>]) -> Self {
        let clauses = || old.iter().chain(new);
        let topologies: BTreeSet<&str> = policies
            .into_iter()
            .flat_map(|policy| policy.topologies.keys())
            .collect();
        let mut situations: Vec<Situation<'a>> = topologies
            .into_iter()
            .map(|topology| Situation {
                topology: Some(topology),
                ..Situation::default()
            })
            .collect();
        if situations.is_empty() {
            situations.push(Situation::default());
        }
        let mut options: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        let mut versions: BTreeMap<&str, BTreeSet<Option<&Version>>> = BTreeMap::new();
        for clause in clauses() {
            for condition in &clause.conditions {
                let values = options.entry(condition.option()).or_default();
                match condition {
                    Condition::Is(_, choice) => {
                        // And one that nobody names.
                        values.extend([choice.as_str(), ""]);
                    }
                    _ => values.extend(["on", "off"]),
                }
            }
            for (line, version) in clause.row.since.iter() {
                let values = versions.entry(line).or_default();
                values.extend([None, Some(version)]);
            }
        }
        let counts = options.values().map(BTreeSet::len);
        let counts = counts.chain(versions.values().map(BTreeSet::len));
        let many = counts.fold(situations.len(), usize::saturating_mul);
        if many > SITUATIONS {
            return Self(None);
        }
        for (option, values) in &options {
            situations = spread(&situations, values, |situation, value| {
                situation.options.insert(option, value);
            });
        }
        for (line, values) in &versions {
            situations = spread(&situations, values, |situation, value| {
                situation.versions.insert(line, value);
            });
        }
        Self(Some(situations))
    }

    /// Whether the new clauses open where the old ones don't, and the other way round.
    pub(super) fn compare(
        &self,
        [old_policy, new_policy]: [&Policy; 2],
        old: &[&Clause<'_>],
        new: &[&Clause<'_>],
    ) -> (bool, bool) {
        let Some(situations) = &self.0 else {
            let written = |policy, clauses: &[&Clause<'_>]| -> BTreeSet<String> {
                clauses.iter().map(|clause| clause.words(policy)).collect()
            };
            let differ = written(old_policy, old) != written(new_policy, new);
            return (differ, differ);
        };
        let mut found = (false, false);
        for situation in situations {
            let before = old.iter().any(|it| it.holds(old_policy, situation));
            let after = new.iter().any(|it| it.holds(new_policy, situation));
            found.0 |= after && !before;
            found.1 |= before && !after;
        }
        found
    }
}

/// Every situation with each of the values.
fn spread<'a, T: Copy>(
    situations: &[Situation<'a>],
    values: &BTreeSet<T>,
    set: impl Fn(&mut Situation<'a>, T),
) -> Vec<Situation<'a>> {
    let with = |situation: &Situation<'a>, value: T| {
        let mut situation = situation.clone();
        set(&mut situation, value);
        situation
    };
    let situations = situations.iter();
    situations
        .flat_map(|situation| values.iter().map(move |value| with(situation, *value)))
        .collect()
}
