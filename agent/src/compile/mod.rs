//! From rules to tables: pure, and constant work per packet whatever the policy's size.
//!
//! ```text
//! rules ─▶ peer lists ─▶ peer classes ─▶ tries
//!       └▶ ports ─▶ port classes ─▶ a row of cells for each, a column for each peer class
//! ```

mod budget;
mod cells;
mod classes;
mod error;
mod hash;
pub mod memory;
pub mod resolve;
pub mod tables;
#[cfg(test)]
mod tests;
mod trie;

use agent_common::event::Direction;
use agent_common::tables::{
    Cell, CellAction, Head, NO_RULE, Timeouts, facts, fragments_for_hz, window_for_hz,
};

pub use budget::{CLASS_LIMIT, Settings, Sizes, bucket};
pub use error::CompileError;
use tables::Tables;

use crate::facts::Facts;
use crate::rule::{Rule, RuleSet};

/// Lays a policy out as tables. Rule indices are places in `rules.rules`, which stand there in the order of judgement.
///
/// # Errors
///
/// Every limit that the policy is over: rules, port classes, peer classes, memory of a bank.
pub fn compile(
    rules: &RuleSet,
    facts: &Facts,
    settings: &Settings,
) -> Result<Tables, Vec<CompileError>> {
    let limit = CLASS_LIMIT;
    if rules.rules.len() > limit as usize {
        return Err(vec![CompileError::rules(&rules.rules)]);
    }
    // Judgement goes by precedence, then as configured; the order is kept apart so that an index stays a place in the rule set.
    let mut order: Vec<u16> = (0..rules.rules.len() as u16).collect();
    order.sort_by_key(|&index| rules.rules[usize::from(index)].precedence);

    let peers = classes::classify(&rules.rules, facts, limit);
    if peers.count > limit {
        let mut errors = vec![CompileError::peer_classes(peers.count, &rules.rules)];
        // How many port classes there are does not hang on the peers.
        let ports = cells::classify(rules, &order, facts, &peers, 0);
        if ports.count > limit {
            errors.push(CompileError::port_classes(ports.count, &rules.rules));
        }
        return Err(errors);
    }

    // Room for the rows, and for the facts' row.
    let room = settings.bank_memory.saturating_sub(budget::FIXED_OCTETS);
    let row = u64::from(peers.count) * size_of::<Cell>() as u64;
    let rows = (room / row).min(limit.into()) as u32;
    let ports = cells::classify(rules, &order, facts, &peers, rows);
    let cells = (u64::from(ports.count) + 1) * u64::from(peers.count);
    let mut errors = Vec::new();
    if ports.count > limit {
        errors.push(CompileError::port_classes(ports.count, &rules.rules));
    }
    let left = room.checked_sub(budget::cell_octets(cells));
    let tries = left.and_then(|left| trie::build(&peers.v4, &peers.v6, left).ok());
    let Some(tries) = tries.filter(|_| errors.is_empty()) else {
        if errors.is_empty() {
            errors.push(CompileError::memory(
                settings.bank_memory,
                budget::FIXED_OCTETS + budget::cell_octets(cells),
                ports.count,
                peers.count,
                &rules.rules,
            ));
        }
        return Err(errors);
    };

    let mut head = Head {
        flags: if facts.forwards() {
            rules.forward.flags()
        } else {
            0
        },
        peer_classes: peers.count,
        any_from: ports.any_from,
        facts_row: ports.count,
        v6_root: tries.v6_root,
        timeouts: Timeouts::for_hz(facts.hz_or_default()),
        window: if rules.rules.iter().any(asks_group) {
            window_for_hz(facts.hz_or_default())
        } else {
            0
        },
        fragments: fragments_for_hz(facts.hz_or_default()),
        ..Head::default()
    };
    settings.set_budgets(&mut head, facts);
    let mut cells = ports.cells;
    cells.extend(peers.facts.iter().map(|&bits| Cell(bits)));
    let mut tables = Tables {
        head,
        planes: ports.planes,
        v4_root: tries.v4_root,
        nodes: tries.blocks,
        v6_nodes: tries.v6_nodes,
        cells,
        rules: rules.rules.iter().map(|rule| rule.id.clone()).collect(),
        sizes: Sizes::default(),
    };
    tables.sizes = Sizes::of(&tables, peers.prefixes);
    Ok(tables)
}

/// Whether this host asks a group by the rule: then members may answer.
fn asks_group(rule: &Rule) -> bool {
    rule.direction == Direction::Egress && !rule.groups.is_empty()
}

/// The tables of generation 0: every port and every peer in class 0, which passes by default; so state is created and kept, and every
/// address counts as this host's. Nothing is reported, so there are no budgets. `hz`: jiffies a second.
pub fn open_tables(hz: u32) -> Tables {
    let head = Head {
        flags: Head::OPEN,
        peer_classes: 1,
        any_from: 0,
        facts_row: 1,
        timeouts: Timeouts::for_hz(hz),
        fragments: fragments_for_hz(hz),
        ..Head::default()
    };
    let open = Cell::new(CellAction::Allow, NO_RULE, Cell::DEFAULT | Cell::ASK_FIRST);
    let mut tables = Tables {
        head,
        planes: Vec::new(),
        v4_root: vec![0; 1 << 16].into(),
        nodes: Vec::new(),
        v6_nodes: Vec::new(),
        cells: vec![open, Cell(facts::OWN)],
        rules: Vec::new(),
        sizes: Sizes::default(),
    };
    tables.sizes = Sizes::of(&tables, 0);
    tables
}
