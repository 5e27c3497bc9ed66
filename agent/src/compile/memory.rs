//! A host in memory: compiled tables, flows, stamps and a clock that the caller sets. `explain`, `verify` and the tests run the kernel's
//! own decision over it.

use std::cell::{Cell as Slot, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use agent_common::flow::{Began, FlowEntry, FlowKey, FlowTable, NEVER};
use agent_common::fragment::FragmentEntry;
use agent_common::lookup::Lookup;
use agent_common::net::Address;
use agent_common::packet::{Network, Quoted};
use agent_common::recent::RecentReply;
use agent_common::tables::{Cell, Head, Plane};
use agent_common::trie::{Trie, V6Node};

use super::tables::Tables;

type Flows = RefCell<HashMap<FlowKey, Rc<FlowEntry>>>;

/// The world of one host. Flows, stamps and time outlive a change of tables, as the maps outlive a switch.
pub struct Memory {
    tables: Rc<Tables>,
    /// The tables' head with the generation set.
    head: Head,
    now: Slot<u32>,
    new: Flows,
    established: Flows,
    limits: Limits,
    began: RefCell<HashMap<(u8, u16), u32>>,
    asked: RefCell<HashMap<u16, u32>>,
    fragments: RefCell<HashMap<u32, FragmentEntry>>,
    recent: RefCell<HashMap<u32, Rc<RecentReply>>>,
}

/// How many flows each table holds.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Of [`FlowTable::New`]: beyond it the one that was used longest ago goes.
    pub new: usize,
    /// Of [`FlowTable::Established`]: beyond it none is entered.
    pub established: usize,
}

impl Default for Limits {
    /// The defaults of `[conntrack]`.
    fn default() -> Self {
        Self {
            new: 65_536,
            established: 262_144,
        }
    }
}

impl Memory {
    /// A host with these tables in force in generation 1, at tick 1,000, without a flow.
    pub fn new(tables: Rc<Tables>) -> Self {
        Self::with_limits(tables, Limits::default())
    }

    /// The same with flow tables of these sizes.
    pub fn with_limits(tables: Rc<Tables>, limits: Limits) -> Self {
        let mut memory = Self {
            head: tables.head,
            tables,
            now: Slot::new(1_000),
            new: Flows::default(),
            established: Flows::default(),
            limits,
            began: RefCell::default(),
            asked: RefCell::default(),
            fragments: RefCell::default(),
            recent: RefCell::default(),
        };
        memory.head.generation = 1;
        memory
    }

    /// The same policy and time on a host that has no flow and was asked nothing.
    pub fn fresh(&self) -> Self {
        Self {
            tables: Rc::clone(&self.tables),
            head: self.head,
            now: self.now.clone(),
            new: Flows::default(),
            established: Flows::default(),
            limits: self.limits,
            began: RefCell::default(),
            asked: RefCell::default(),
            fragments: RefCell::default(),
            recent: RefCell::default(),
        }
    }

    /// Puts other tables in force, in the generation after the present one.
    pub fn switch(&mut self, tables: Rc<Tables>) {
        let generation = self.head.generation.wrapping_add(1);
        self.head = tables.head;
        self.head.generation = generation;
        self.tables = tables;
    }

    /// Lets so many ticks pass.
    pub fn advance(&self, ticks: u32) {
        self.now.set(self.now.get().wrapping_add(ticks));
    }

    /// Sets the clock.
    pub fn set_now(&self, tick: u32) {
        self.now.set(tick);
    }

    /// How many entries a flow table holds, those that have expired among them.
    pub fn flows(&self, table: FlowTable) -> usize {
        self.table(table).borrow().len()
    }

    /// The tables in force.
    pub fn tables(&self) -> &Tables {
        &self.tables
    }

    /// The id of a rule index; `None` for [`agent_common::tables::NO_RULE`].
    pub fn rule_id(&self, rule: u16) -> Option<&str> {
        self.tables.rules.get(usize::from(rule)).map(String::as_str)
    }

    fn table(&self, table: FlowTable) -> &Flows {
        match table {
            FlowTable::New => &self.new,
            FlowTable::Established => &self.established,
        }
    }
}

impl Trie for Memory {
    fn v4_root(&self, index: u16) -> Option<u32> {
        self.tables.v4_root.get(usize::from(index)).copied()
    }

    fn slot(&self, block: u32, octet: u8) -> Option<u32> {
        let block = self.tables.nodes.get(block as usize)?;
        Some(block[usize::from(octet)])
    }

    fn v6_root(&self) -> u32 {
        self.head.v6_root
    }

    fn v6_node(&self, node: u32) -> Option<&V6Node> {
        self.tables.v6_nodes.get(node as usize)
    }
}

impl Lookup for Memory {
    type Flow = Rc<FlowEntry>;
    type Recent = Rc<RecentReply>;
    type Kept<T: 'static> = Box<T>;

    fn head(&self) -> &Head {
        &self.head
    }

    fn port_class(&self, plane: Plane, port: u16) -> Option<u16> {
        match self.tables.planes.iter().find(|(p, _)| *p == plane) {
            Some((_, classes)) => classes.get(usize::from(port)).copied(),
            None => Some(0),
        }
    }

    fn cell_at(&self, index: u32) -> Option<Cell> {
        self.tables.cells.get(index as usize).copied()
    }

    fn now(&self) -> u32 {
        self.now.get()
    }

    fn began(&self, table: Began, local_port: u16) -> u32 {
        let began = self.began.borrow();
        began
            .get(&(table as u8, local_port))
            .copied()
            .unwrap_or(NEVER)
    }

    fn set_began(&self, table: Began, local_port: u16, stamp: u32) {
        self.began
            .borrow_mut()
            .insert((table as u8, local_port), stamp);
    }

    fn asked(&self, slot: u16) -> u32 {
        self.asked.borrow().get(&slot).copied().unwrap_or(NEVER)
    }

    fn set_asked(&self, slot: u16, stamp: u32) {
        self.asked.borrow_mut().insert(slot, stamp);
    }

    fn recent(&self, slot: u32) -> Option<Rc<RecentReply>> {
        self.recent.borrow().get(&slot).cloned()
    }

    fn set_recent(&self, slot: u32, reply: &RecentReply) {
        self.recent.borrow_mut().insert(slot, Rc::new(*reply));
    }

    fn fragment(&self, slot: u32) -> Option<FragmentEntry> {
        self.fragments.borrow().get(&slot).copied()
    }

    fn set_fragment(&self, slot: u32, entry: FragmentEntry) {
        self.fragments.borrow_mut().insert(slot, entry);
    }

    fn keep<A: Address + 'static>(&self, network: Network<A>) -> Option<Box<Network<A>>> {
        Some(Box::new(network))
    }

    fn keep_quoted<A: Address + 'static>(&self, quoted: Quoted<A>) -> Option<Box<Quoted<A>>> {
        Some(Box::new(quoted))
    }

    fn flow(&self, table: FlowTable, key: &FlowKey) -> Option<Rc<FlowEntry>> {
        self.table(table).borrow().get(key).cloned()
    }

    fn insert(&self, table: FlowTable, key: &FlowKey, entry: &FlowEntry) -> bool {
        let record = entry.record();
        let entry = FlowEntry::new(
            record.last,
            record.generation,
            entry.state(),
            entry.action(),
            entry.rule(),
        );
        let mut flows = self.table(table).borrow_mut();
        if !flows.contains_key(key) {
            match table {
                FlowTable::Established if flows.len() >= self.limits.established => return false,
                FlowTable::New if flows.len() >= self.limits.new => {
                    let now = self.now.get();
                    let oldest = flows
                        .iter()
                        .max_by_key(|(_, flow)| now.wrapping_sub(flow.record().last))
                        .map(|(key, _)| *key);
                    if let Some(oldest) = oldest {
                        flows.remove(&oldest);
                    }
                }
                _ => {}
            }
        }
        flows.insert(*key, Rc::new(entry));
        true
    }

    fn remove(&self, table: FlowTable, key: &FlowKey) {
        self.table(table).borrow_mut().remove(key);
    }
}
