//! Which ports a second policy opens and closes, for each role, against a first.
//!
//! Not rows are compared but what they open: a line that moved, a name given to a port, a range
//! split in two or a condition said twice change nothing here. Every flow counts at both of its
//! ends.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::clauses::{Clause, Situations};
use crate::policy::schema::{Direction, Policy, Scope};
use crate::policy::select::FlowPart;
use crate::policy::values::{PortDefault, PortRange, PortRef};

/// What becomes of ports of one role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Only the second policy opens them.
    Opens,
    /// Only the first policy opens them.
    Closes,
    /// Both do, the second in more situations.
    Wider,
    /// Both do, the second in fewer situations.
    Narrower,
    /// Both do, each in situations of its own.
    Otherwise,
}

impl Change {
    const fn name(self) -> &'static str {
        match self {
            Self::Opens => "opens",
            Self::Closes => "closes",
            Self::Wider => "wider",
            Self::Narrower => "narrower",
            Self::Otherwise => "otherwise",
        }
    }
}

/// One end of a flow: what a host that plays the role sends or takes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct End {
    /// The role of this host.
    pub(super) role: String,
    /// Seen from this host.
    pub(super) direction: Direction,
    /// The transport, as in files.
    pub(super) transport: String,
    /// The other side: a role, `role via group`, or `group:name`.
    pub(super) peer: String,
}

/// Ports of one end that change alike.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Opening {
    pub(super) end: End,
    pub(super) change: Change,
    /// Numbers and ranges by their documented defaults, `<name>` without one; none for a
    /// protocol without ports.
    pub(super) ports: Vec<String>,
    /// By which rows and under which conditions the first policy opens them.
    pub(super) old: Vec<Reason>,
    /// The same of the second.
    pub(super) new: Vec<Reason>,
}

/// Why a port is open: a row, and what must hold.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Reason {
    /// The row's `table/n`.
    pub(super) row: String,
    /// What must hold, in words; empty: nothing.
    pub(super) when: String,
}

impl Opening {
    pub(super) fn to_json(&self) -> Value {
        let reasons = |list: &[Reason]| -> Vec<Value> {
            let reasons = list.iter();
            reasons
                .map(|it| json!({ "row": it.row, "when": it.when }))
                .collect()
        };
        json!({
            "change": self.change.name(),
            "role": self.end.role,
            "direction": self.end.direction.name(),
            "transport": self.end.transport,
            "ports": self.ports,
            "peer": self.end.peer,
            "old": reasons(&self.old),
            "new": reasons(&self.new),
        })
    }
}

/// Ports of a flow as far as numbers are known.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Ports {
    /// A protocol without ports.
    None,
    /// Documented numbers.
    Range(u16, u16),
    /// No number is documented: the port's name.
    Unsaid(String),
}

/// What one policy opens at an end: ports, and the clause under which.
type Opens<'a> = Vec<(Ports, Clause<'a>)>;

/// All that opens or closes, by role in the order of the second policy.
pub(super) fn openings(old: &Policy, new: &Policy) -> Vec<Opening> {
    let (before, after) = (ends(old), ends(new));
    let every: BTreeSet<&End> = before.keys().chain(after.keys()).collect();
    let mut changes = Vec::new();
    for end in every {
        let none = Opens::new();
        let sides = [before.get(end), after.get(end)].map(|side| side.unwrap_or(&none));
        at_end(end, [old, new], sides, &mut changes);
    }
    let roles: Vec<&str> = new.roles.keys().chain(old.roles.keys()).collect();
    changes.sort_by_key(|it| roles.iter().position(|role| *role == it.end.role));
    changes
}

/// What a policy opens, at both ends of every flow.
fn ends(policy: &Policy) -> BTreeMap<End, Opens<'_>> {
    let mut ends: BTreeMap<End, Opens<'_>> = BTreeMap::new();
    for row in policy.rows_in_order() {
        if policy.scope_of(row) == Some(Scope::Host) {
            continue;
        }
        for part in row.parts() {
            let ports = ports(policy, &part);
            let mut add = |role: &str, direction, peer: String, several: bool| {
                let end = End {
                    role: role.to_owned(),
                    direction,
                    transport: part.transport.to_string(),
                    peer,
                };
                let clause = Clause::of(policy, row, part.flow, several.then(|| role.to_owned()));
                let opens = ends.entry(end).or_default();
                opens.extend(ports.iter().map(|ports| (ports.clone(), clause.clone())));
            };
            let via = part.flow.via.as_ref();
            let via = via.map_or_else(String::new, |group| format!(" via {}", group.get_ref()));
            for from in part.flow.from.iter().map(|role| role.get_ref().as_str()) {
                if let Some(group) = &part.flow.to_group {
                    let peer = format!("group:{}{via}", group.get_ref());
                    add(from, Direction::Egress, peer, false);
                }
                for to in part.flow.to.iter().map(|role| role.get_ref().as_str()) {
                    // A role's flow with itself crosses hosts where several play it.
                    let several = from == to;
                    add(from, Direction::Egress, format!("{to}{via}"), several);
                    add(to, Direction::Ingress, format!("{from}{via}"), several);
                }
            }
        }
    }
    ends
}

fn ports(policy: &Policy, part: &FlowPart<'_>) -> Vec<Ports> {
    let ports: Vec<Ports> = part
        .ports()
        .map(|port| match documented(policy, port) {
            Some(range) => Ports::Range(range.first, range.last),
            None => Ports::Unsaid(policy.documented_port(port)),
        })
        .collect();
    if ports.is_empty() {
        vec![Ports::None]
    } else {
        ports
    }
}

/// A port's documented number, `other + n` followed to its end.
fn documented(policy: &Policy, port: &PortRef) -> Option<PortRange> {
    let mut name = match port {
        PortRef::Fixed(range) => return Some(*range),
        PortRef::Named(name) => name,
    };
    let mut added = 0_u16;
    // The checks refuse a circle; a policy can't hold a longer chain than it has ports.
    for _ in policy.ports.keys() {
        match policy.ports.get(name)?.default.as_ref()?.get_ref() {
            PortDefault::Range(range) => return range.offset(added),
            PortDefault::Offset { base, add } => {
                added = added.checked_add(*add)?;
                name = base;
            }
        }
    }
    None
}

/// The ports of one end, cut at every number where either policy changes its mind.
fn pieces(sides: [&Opens<'_>; 2]) -> Vec<Ports> {
    let all = || sides.into_iter().flatten().map(|(ports, _)| ports);
    let mut starts: BTreeSet<u32> = BTreeSet::new();
    let mut pieces: BTreeSet<Ports> = BTreeSet::new();
    for ports in all() {
        match ports {
            Ports::Range(first, last) => {
                starts.extend([u32::from(*first), u32::from(*last) + 1]);
            }
            other => drop(pieces.insert(other.clone())),
        }
    }
    let starts: Vec<u32> = starts.into_iter().collect();
    for pair in starts.windows(2) {
        let &[first, next] = pair else { continue };
        let (Ok(first), Ok(last)) = (u16::try_from(first), u16::try_from(next - 1)) else {
            continue;
        };
        pieces.insert(Ports::Range(first, last));
    }
    pieces.into_iter().collect()
}

/// The clauses under which a side opens a piece.
fn clauses<'a, 'b>(side: &'b Opens<'a>, piece: &Ports) -> Vec<&'b Clause<'a>> {
    let holds = |ports: &Ports| match (ports, piece) {
        (Ports::Range(first, last), Ports::Range(from, to)) => first <= from && to <= last,
        (ports, piece) => ports == piece,
    };
    let opens = side.iter().filter(|(ports, _)| holds(ports));
    opens.map(|(_, clause)| clause).collect()
}

fn at_end<'a>(
    end: &End,
    policies: [&'a Policy; 2],
    sides: [&Opens<'a>; 2],
    changes: &mut Vec<Opening>,
) {
    let first = changes.len();
    let mut ranges: Vec<Vec<PortRange>> = Vec::new();
    for piece in pieces(sides) {
        let [old, new] = sides.map(|side| clauses(side, &piece));
        if old.is_empty() && new.is_empty() {
            continue;
        }
        let situations = Situations::of(policies, &old, &new);
        let (opens, closes) = situations.compare(policies, &old, &new);
        let change = match (opens, closes) {
            (false, false) => continue,
            _ if old.is_empty() => Change::Opens,
            _ if new.is_empty() => Change::Closes,
            (true, false) => Change::Wider,
            (false, true) => Change::Narrower,
            (true, true) => Change::Otherwise,
        };
        let [old_policy, new_policy] = policies;
        let (old, new) = (reasons(old_policy, &old), reasons(new_policy, &new));
        let alike = changes.get(first..).unwrap_or_default().iter();
        let place = alike
            .clone()
            .position(|it| it.change == change && it.old == old && it.new == new);
        let place = place.unwrap_or_else(|| {
            changes.push(Opening {
                end: end.clone(),
                change,
                ports: Vec::new(),
                old,
                new,
            });
            ranges.push(Vec::new());
            ranges.len() - 1
        });
        let (Some(change), Some(ranges)) = (changes.get_mut(first + place), ranges.get_mut(place))
        else {
            continue;
        };
        match piece {
            Ports::None => {}
            Ports::Unsaid(name) => change.ports.push(name),
            Ports::Range(first, last) => match ranges.last_mut() {
                Some(before) if before.last.checked_add(1) == Some(first) => before.last = last,
                _ => ranges.push(PortRange { first, last }),
            },
        }
    }
    for (change, ranges) in changes.iter_mut().skip(first).zip(ranges) {
        let numbers = ranges.iter().map(ToString::to_string);
        change.ports = numbers.chain(change.ports.drain(..)).collect();
    }
}

/// Each row once, in the order of the tables.
fn reasons(policy: &Policy, clauses: &[&Clause<'_>]) -> Vec<Reason> {
    let mut reasons: Vec<Reason> = Vec::new();
    for clause in clauses {
        let reason = Reason {
            row: clause.row.id.get_ref().to_string(),
            when: clause.words(policy),
        };
        if !reasons.contains(&reason) {
            reasons.push(reason);
        }
    }
    reasons
}
