//! How large the tables of a load are.

use agent_common::tables::{CELL_BLOCK, POLICY_BANKS};

use crate::compile::tables::Tables;

/// How much of each table a bank holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct BankSizes {
    /// Trie nodes of 256 slots, 1 KiB each.
    pub nodes: u32,
    /// Heads of IPv6 nodes, 48 octets each.
    pub v6_nodes: u32,
    /// Blocks of 1,024 cells, 4 KiB each.
    pub cell_blocks: u32,
    /// Rule counters, one more than rules: the last counts packets that no rule came near. 32 octets each and CPU.
    pub rules: u32,
}

/// Rules that a rule index can name, and the counter for none.
const MOST_RULES: u32 = 65_536;

impl BankSizes {
    /// What these tables need.
    #[must_use]
    pub fn of(tables: &Tables) -> Self {
        let count = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
        Self {
            nodes: count(tables.nodes.len()),
            v6_nodes: count(tables.v6_nodes.len()),
            cell_blocks: count(tables.cells.len().div_ceil(CELL_BLOCK as usize)),
            rules: count(tables.rules.len()).saturating_add(1),
        }
    }

    /// Twice as much, and never so little that a small change would ask for a new load.
    #[must_use]
    pub fn with_room(self) -> Self {
        let room = |need: u32, least: u32| need.saturating_mul(2).max(least);
        Self {
            nodes: room(self.nodes, 1024),
            v6_nodes: room(self.v6_nodes, 1024),
            cell_blocks: room(self.cell_blocks, 64),
            rules: room(self.rules, 1024).min(MOST_RULES),
        }
    }

    /// The larger of both, table by table: for a load that must hold the active and a new policy.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        Self {
            nodes: self.nodes.max(other.nodes),
            v6_nodes: self.v6_nodes.max(other.v6_nodes),
            cell_blocks: self.cell_blocks.max(other.cell_blocks),
            rules: self.rules.max(other.rules),
        }
    }

    /// Whether tables that need `other` fit.
    #[must_use]
    pub fn hold(self, other: Self) -> bool {
        self.max(other) == self
    }

    /// Entries of each sized map: three banks that hold policies; of the open bank one block of cells.
    pub(super) fn entries(self) -> [(&'static str, u32); 4] {
        let banks = |share: u32, more: u32| share.saturating_mul(POLICY_BANKS).saturating_add(more);
        [
            ("NODES", banks(self.nodes, 0)),
            ("V6_NODES", banks(self.v6_nodes, 0)),
            ("CELLS", banks(self.cell_blocks, 1)),
            ("RULES", banks(self.rules, 0)),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEED: BankSizes = BankSizes {
        nodes: 3000,
        v6_nodes: 10,
        cell_blocks: 1,
        rules: 40_001,
    };

    #[test]
    fn there_is_room_for_twice_the_need() {
        let room = NEED.with_room();
        assert_eq!(
            room,
            BankSizes {
                nodes: 6000,
                v6_nodes: 1024,
                cell_blocks: 64,
                rules: 65_536
            }
        );
        assert!(room.hold(NEED) && !NEED.hold(room));
        assert!(room.hold(room));
    }

    #[test]
    fn sizes_do_not_wrap() {
        let most = BankSizes {
            nodes: u32::MAX,
            ..NEED
        };
        assert_eq!(most.with_room().nodes, u32::MAX);
        assert_eq!(most.entries()[0], ("NODES", u32::MAX));
    }

    #[test]
    fn the_open_bank_has_one_block_of_cells() {
        assert_eq!(NEED.entries()[2], ("CELLS", 4));
    }
}
