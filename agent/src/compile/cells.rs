//! Port classes and their rows of cells: ports of which the same rules and the same default hold are one class.
//!
//! The rules are swept in the order of ports, with the set of rules at the present port kept as a hash; a row is painted once, when its
//! class is first met.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use agent_common::tables::{Cell, CellAction, NO_RULE, Plane, other};

use super::classes::{PeerClasses, Who};
use super::hash::{Map, member};
use crate::facts::Facts;
use crate::rule::{DefaultAction, Precedence, Rule, RuleSet};

/// Ports of a plane.
const PORTS: u32 = 1 << 16;

/// The port classes of a policy.
pub(super) struct PortClasses {
    /// How many classes there are; over the limits only counted.
    pub(super) count: u32,
    /// Classes that ask who the peer is; the others come after them.
    pub(super) any_from: u32,
    /// Classes by port.
    pub(super) planes: Vec<(Plane, Box<[u16]>)>,
    /// Rows of cells by class.
    pub(super) cells: Vec<Cell>,
}

/// What holds of a port whatever the rules.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Ground {
    default: DefaultKey,
    /// Ingress: a default or an audit that lets a packet pass is no evidence of a service.
    ingress: bool,
    /// Ingress: the kernel gives this port to flows of the host.
    ephemeral: bool,
    /// What the columns of the row are.
    columns: Columns,
}

/// Whose classes the columns of a row are.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Columns {
    /// A single host's: rules that name groups only mark whom the host may answer.
    Hosts,
    /// The sender's of a packet to a group; only rules for that group are asked.
    Senders,
    /// A group's: whither the packet goes.
    Groups,
    /// A group's, and its cell says which row has the senders.
    Destinations,
}

/// [`DefaultAction`] as part of a key.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum DefaultKey {
    Deny,
    Audit,
    Open,
}

impl From<DefaultAction> for DefaultKey {
    fn from(action: DefaultAction) -> Self {
        match action {
            DefaultAction::Deny => Self::Deny,
            DefaultAction::Audit => Self::Audit,
            DefaultAction::Open => Self::Open,
        }
    }
}

impl Ground {
    fn cell(self, action: CellAction, rule: u16, by_default: bool) -> Cell {
        let passes = matches!(action, CellAction::Allow | CellAction::Audit);
        let mut flags = 0;
        if by_default {
            flags |= Cell::DEFAULT;
        }
        if self.ingress && (self.ephemeral || (by_default && passes)) {
            flags |= Cell::ASK_FIRST;
        }
        Cell::new(action, rule, flags)
    }

    /// The cell where no rule matches. `near`: the first active rule with this port.
    fn default_cell(self, near: u16) -> Cell {
        match self.default {
            DefaultKey::Deny => self.cell(CellAction::Deny, near, false),
            DefaultKey::Audit => self.cell(CellAction::Audit, near, true),
            // A counter of a rule must not count what the rule did not let pass.
            DefaultKey::Open => self.cell(CellAction::Allow, NO_RULE, true),
        }
    }

    fn rule_cell(self, precedence: Precedence, rule: u16) -> Cell {
        match precedence {
            Precedence::Block => self.cell(CellAction::Block, rule, false),
            Precedence::Failsafe | Precedence::Allow => self.cell(CellAction::Allow, rule, false),
            Precedence::AuditStage => self.cell(CellAction::Audit, rule, true),
        }
    }
}

/// Which ports of the host are its own to give away: the ephemeral range without the reserved ports.
struct Ephemeral(Vec<bool>);

impl Ephemeral {
    fn of(facts: &Facts) -> Self {
        let mut ports = vec![false; PORTS as usize];
        for port in facts.ephemeral.range() {
            ports[usize::from(port)] = true;
        }
        for port in facts.reserved_ports.iter().flat_map(|range| range.range()) {
            ports[usize::from(port)] = false;
        }
        Self(ports)
    }

    /// Places where the ground of any plane may change.
    fn breaks(&self) -> Vec<u32> {
        let mut breaks = vec![0, other::DHCP4.into()];
        let changes = self.0.windows(2).zip(1..);
        breaks.extend(
            changes
                .filter(|(pair, _)| pair[0] != pair[1])
                .map(|(_, at)| at),
        );
        breaks
    }
}

/// A rule begins or ends at a port.
#[derive(Clone, Copy)]
struct Edge {
    at: u32,
    /// Place in the order of judgement.
    rank: u32,
    begins: bool,
}

/// Where a class lies, once all are known: the rows that ask for an address come first.
#[derive(Clone, Copy)]
enum Place {
    /// Number among the rows that ask for the peer.
    Asking(u32),
    /// Number among the rows that ask for the destination.
    Destinations(u32),
    /// Number among the rows whose cells are all alike.
    Alike(u32),
}

/// A row that asks for the destination, by numbers of discovery: the class that judges whoever sends to a group that no rule names, and
/// by the destination's class the others.
struct Destinations {
    otherwise: u32,
    columns: BTreeMap<u16, u32>,
}

/// Rows painted so far: those that ask for the peer apart from those that don't.
struct Painter<'a> {
    rules: &'a [Rule],
    /// Rules in the order of judgement.
    order: &'a [u16],
    peers: &'a PeerClasses,
    by_key: Map<(Ground, u128), u32>,
    /// By number of discovery.
    found: Vec<Place>,
    asking: Vec<Cell>,
    alike: Vec<Cell>,
    destinations: Vec<Destinations>,
    /// Classes after this one are only counted.
    limit: u32,
}

const UNSET: Cell = Cell(u32::MAX);

impl Painter<'_> {
    fn class(&mut self, ground: Ground, hash: u128, ranks: &BTreeSet<u32>) -> u32 {
        let next = self.by_key.len() as u32;
        let class = *self.by_key.entry((ground, hash)).or_insert(next);
        if class == next && class < self.limit {
            let row = self.row(ground, ranks);
            let asks = row.iter().any(|cell| *cell != row[0]);
            let (rows, place): (_, fn(u32) -> Place) = if asks {
                (&mut self.asking, Place::Asking)
            } else {
                (&mut self.alike, Place::Alike)
            };
            self.found.push(place((rows.len() / row.len()) as u32));
            rows.extend(row);
        }
        class
    }

    /// The class of a port for packets to groups: where rules name groups, the destination says which of them are asked.
    fn group_class(&mut self, ground: Ground, hash: u128, ranks: &BTreeSet<u32>) -> u32 {
        let group_of = |rank: u32| self.peers.groups[usize::from(self.order[rank as usize])];
        let (named, others): (BTreeSet<u32>, BTreeSet<u32>) =
            ranks.iter().partition(|&&rank| group_of(rank).is_some());
        if named.is_empty() {
            return self.class(ground, hash, ranks);
        }
        let mut asked: BTreeMap<u16, BTreeSet<u32>> = BTreeMap::new();
        for &rank in &named {
            let Some(list) = group_of(rank) else { continue };
            for &column in &self.peers.of_list[list as usize] {
                let ranks = asked.entry(column).or_insert_with(|| others.clone());
                ranks.insert(rank);
            }
        }
        let hash_of = |ranks: &BTreeSet<u32>| ranks.iter().fold(0, |hash, &it| hash ^ member(it));
        let otherwise = self.class(ground, hash_of(&others), &others);
        let columns = asked
            .into_iter()
            .map(|(column, ranks)| (column, self.class(ground, hash_of(&ranks), &ranks)))
            .collect();
        let ground = Ground {
            columns: Columns::Destinations,
            ..ground
        };
        let next = self.by_key.len() as u32;
        let class = *self.by_key.entry((ground, hash)).or_insert(next);
        if class == next && class < self.limit {
            self.found
                .push(Place::Destinations(self.destinations.len() as u32));
            self.destinations.push(Destinations { otherwise, columns });
        }
        class
    }

    /// Whom a rule is about in these columns.
    fn who(&self, columns: Columns, rule: u16) -> Who {
        match (columns, self.peers.groups[usize::from(rule)]) {
            (Columns::Groups, Some(list)) => Who::List(list),
            _ => self.peers.of_rule[usize::from(rule)],
        }
    }

    /// For each peer class the first rule that matches, else the default.
    fn row(&self, ground: Ground, ranks: &BTreeSet<u32>) -> Vec<Cell> {
        let mut row = vec![UNSET; self.peers.count as usize];
        let mut left = row.len();
        let mut near = NO_RULE;
        let mut by_group = Vec::new();
        for &rank in ranks {
            let index = self.order[rank as usize];
            let rule = &self.rules[usize::from(index)];
            let cell = ground.rule_cell(rule.precedence, index);
            if near == NO_RULE && rule.precedence != Precedence::Block {
                near = index;
            }
            if ground.columns == Columns::Hosts && !rule.groups.is_empty() {
                by_group.push(index);
                continue;
            }
            match self.who(ground.columns, index) {
                Who::Any => {
                    fill(&mut row, cell);
                    return row;
                }
                Who::List(list) => {
                    for &class in &self.peers.of_list[list as usize] {
                        let place = &mut row[usize::from(class)];
                        if *place == UNSET {
                            *place = cell;
                            left -= 1;
                        }
                    }
                    if left == 0 {
                        return row;
                    }
                }
            }
        }
        if ground.ingress && ground.default == DefaultKey::Deny {
            self.mark_askers(&mut row, ground, &by_group);
        }
        fill(&mut row, ground.default_cell(near));
        row
    }

    /// Where nothing lets a single host's datagram in: whom the host may answer because it asked by way of a group.
    fn mark_askers(&self, row: &mut [Cell], ground: Ground, rules: &[u16]) {
        for &rule in rules {
            let denied = ground.default_cell(rule).0;
            let cell = Cell(denied | Cell::ASKED_BY_GROUP);
            match self.who(ground.columns, rule) {
                Who::Any => fill(row, cell),
                Who::List(list) => {
                    for &class in &self.peers.of_list[list as usize] {
                        fill(&mut row[usize::from(class)..=usize::from(class)], cell);
                    }
                }
            }
        }
    }
}

fn fill(row: &mut [Cell], with: Cell) {
    for cell in row {
        if *cell == UNSET {
            *cell = with;
        }
    }
}

/// The planes and ports of a rule. One without groups lets packets to and from single hosts pass; a block list and a stage say more: what
/// they say of UDP they say of UDP to groups as well. One with groups stands in the plane of single hosts too, where it lets nothing pass:
/// there it is the nearest, and says whom the host may answer. Groups have no other transport than UDP.
fn places(rule: &Rule) -> Vec<(Plane, RangeInclusive<u16>)> {
    let mut places = rule.service.places(rule.direction);
    let groups = !rule.groups.is_empty();
    if groups {
        places.retain(|(plane, _)| matches!(plane, Plane::IngressUdp | Plane::EgressUdp));
    }
    if groups || matches!(rule.precedence, Precedence::Block | Precedence::AuditStage) {
        add_groups(&mut places);
    }
    places
}

/// To the places in planes of single hosts those in the planes of groups.
fn add_groups(places: &mut Vec<(Plane, RangeInclusive<u16>)>) {
    let groups: Vec<_> = places
        .iter()
        .filter_map(|(plane, range)| match plane {
            Plane::IngressUdp => Some((Plane::IngressGroup, range.clone())),
            Plane::EgressUdp => Some((Plane::EgressGroup, range.clone())),
            _ => None,
        })
        .collect();
    places.extend(groups);
}

/// Edges of every plane; a rule whose ranges overlap is once at a port.
fn edges(rules: &[Rule], order: &[u16]) -> Vec<(Plane, Vec<Edge>)> {
    let mut planes: Vec<(Plane, Vec<Edge>)> = Plane::ALL.map(|plane| (plane, Vec::new())).into();
    for (rank, &index) in order.iter().enumerate() {
        let mut places = places(&rules[usize::from(index)]);
        places.retain(|(_, range)| !range.is_empty());
        places.sort_unstable_by_key(|(plane, range)| (*plane, *range.start()));
        let mut rest = places.into_iter().peekable();
        while let Some((plane, range)) = rest.next() {
            let (first, mut last) = (u32::from(*range.start()), u32::from(*range.end()));
            while let Some((_, next)) =
                rest.next_if(|(p, r)| *p == plane && u32::from(*r.start()) <= last + 1)
            {
                last = last.max((*next.end()).into());
            }
            let Some((_, edges)) = planes.iter_mut().find(|(p, _)| *p == plane) else {
                continue;
            };
            let rank = rank as u32;
            edges.push(Edge {
                at: first,
                rank,
                begins: true,
            });
            edges.push(Edge {
                at: last + 1,
                rank,
                begins: false,
            });
        }
    }
    planes
}

/// The port classes of these rules and defaults. More than `limit` classes are only counted.
pub(super) fn classify(
    set: &RuleSet,
    order: &[u16],
    facts: &Facts,
    peers: &PeerClasses,
    limit: u32,
) -> PortClasses {
    let ephemeral = Ephemeral::of(facts);
    let ground_breaks = ephemeral.breaks();
    let ground = |plane: Plane, port: u32| {
        let (ingress, others) = match plane {
            Plane::IngressTcp | Plane::IngressUdp | Plane::IngressGroup => (true, false),
            Plane::IngressOther => (true, true),
            Plane::EgressTcp | Plane::EgressUdp | Plane::EgressGroup => (false, false),
            Plane::EgressOther => (false, true),
        };
        let default = if ingress { set.ingress } else { set.egress };
        Ground {
            // Pairs of ports and not packets of a kind: only a rule opens them.
            default: if others && port >= u32::from(other::DHCP4) {
                DefaultKey::Deny
            } else {
                default.into()
            },
            ingress,
            ephemeral: ingress && !others && ephemeral.0[port as usize],
            columns: match plane {
                Plane::IngressGroup => Columns::Senders,
                Plane::EgressGroup => Columns::Groups,
                _ => Columns::Hosts,
            },
        }
    };

    let mut painter = Painter {
        rules: &set.rules,
        order,
        peers,
        by_key: Map::default(),
        found: Vec::new(),
        asking: Vec::new(),
        alike: Vec::new(),
        destinations: Vec::new(),
        limit,
    };
    let mut planes = Vec::new();
    for (plane, mut edges) in edges(&set.rules, order) {
        edges.sort_unstable_by_key(|edge| edge.at);
        // Between two of these nothing changes.
        let mut breaks: Vec<u32> = edges.iter().map(|edge| edge.at).collect();
        breaks.extend(ground_breaks.iter().copied());
        breaks.sort_unstable();
        breaks.dedup();
        let mut edges = edges.into_iter().peekable();
        let mut ranks = BTreeSet::new();
        let mut hash = 0;
        let mut classes = vec![0_u32; PORTS as usize];
        for (number, &first) in breaks.iter().enumerate() {
            if first >= PORTS {
                break;
            }
            while let Some(edge) = edges.next_if(|edge| edge.at == first) {
                hash ^= member(edge.rank);
                if edge.begins {
                    ranks.insert(edge.rank);
                } else {
                    ranks.remove(&edge.rank);
                }
            }
            let after = breaks
                .get(number + 1)
                .map_or(PORTS, |&next| next.min(PORTS));
            let ground = ground(plane, first);
            let class = if plane == Plane::IngressGroup {
                painter.group_class(ground, hash, &ranks)
            } else {
                painter.class(ground, hash, &ranks)
            };
            classes[first as usize..after as usize].fill(class);
        }
        planes.push((plane, classes));
    }

    let count = painter.by_key.len() as u32;
    let columns = peers.count as usize;
    let by_destination = (painter.asking.len() / columns.max(1)) as u32;
    let any_from = by_destination + painter.destinations.len() as u32;
    let number = |class: &u32| match painter.found.get(*class as usize) {
        Some(Place::Asking(place)) => *place as u16,
        Some(Place::Destinations(place)) => (by_destination + place) as u16,
        Some(Place::Alike(place)) => (any_from + place) as u16,
        None => 0,
    };
    let planes = planes
        .iter()
        .map(|(plane, classes)| (*plane, classes.iter().map(number).collect()))
        .collect();
    let mut cells = painter.asking.clone();
    for row in &painter.destinations {
        let cell = |class| Cell::new(CellAction::Deny, number(class), Cell::BY_DESTINATION);
        let start = cells.len();
        cells.resize(start + columns, cell(&row.otherwise));
        for (column, class) in &row.columns {
            cells[start + usize::from(*column)] = cell(class);
        }
    }
    cells.append(&mut painter.alike);
    PortClasses {
        count,
        any_from,
        planes,
        cells,
    }
}
