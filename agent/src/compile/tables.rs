//! A compiled policy in memory: what one bank of maps will hold.

use agent_common::tables::{Cell, Head, Plane};
use agent_common::trie::V6Node;

use super::budget::Sizes;

/// The tables of one policy. Node numbers and cell indices count from 0; the programs add the bank's base.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tables {
    /// Numbers of the policy. Generation, time-outs and budgets included; the generation is set when the bank is written.
    pub head: Head,
    /// Port classes, 65,536 for each plane in use; a plane that is missing is all class 0.
    pub planes: Vec<(Plane, Box<[u16]>)>,
    /// IPv4 root: 65,536 slots.
    pub v4_root: Box<[u32]>,
    /// Blocks of slots of both tries; a slot with [`agent_common::trie::NODE`] in the IPv4 root, an IPv4 block or [`V6Node::hit`] names one.
    pub nodes: Vec<[u32; 256]>,
    /// IPv6 nodes; a slot with [`agent_common::trie::NODE`] in `head.v6_root` or in a block of the IPv6 trie names one.
    pub v6_nodes: Vec<V6Node>,
    /// Cells, `head.peer_classes` to a row; the last row (`head.facts_row`) holds facts about peer classes.
    pub cells: Vec<Cell>,
    /// The id of each rule index.
    pub rules: Vec<String>,
    /// How large it all is.
    pub sizes: Sizes,
}
