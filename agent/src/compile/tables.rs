//! A compiled policy in memory: what one bank of maps will hold.

use agent_common::tables::{Cell, Head, Plane};
use agent_common::trie::V6Node;

/// The tables of one policy. Node numbers and cell indices count from 0; the programs add the bank's base.
#[derive(Clone)]
pub struct Tables {
    /// Numbers of the policy. Generation, time-outs and budgets included; the generation is set when the bank is written.
    pub head: Head,
    /// Port classes, 65,536 for each plane in use; a plane that is missing is all class 0.
    pub planes: Vec<(Plane, Box<[u16]>)>,
    /// IPv4 root: 65,536 slots.
    pub v4_root: Box<[u32]>,
    /// Nodes of both tries; those of IPv6 come first, in the order of `v6_nodes`.
    pub nodes: Vec<[u32; 256]>,
    /// Heads of the IPv6 nodes.
    pub v6_nodes: Vec<V6Node>,
    /// Cells, `head.peer_classes` to a row; the last row (`head.facts_row`) holds facts about peer classes.
    pub cells: Vec<Cell>,
    /// The id of each rule index.
    pub rules: Vec<String>,
}
