//! Tables into a bank: written through memory, then read back and compared before anything switches to it.

use std::path::Path;

use agent_common::switch::{Heads, Switch};
use agent_common::tables::{BANKS, CELL_BLOCK, Head, OPEN_BANK, PLANES, POLICY_BANKS, RuleCounter};
use agent_common::trie::V6Node;
use aya::maps::{Array, Map, MapData};
use std::os::fd::AsFd as _;

use super::error::Error;
use super::load::Dataplane;
use super::mapping::Mapping;
use super::per_cpu::PerCpuRange;
use super::sizes::BankSizes;
use super::switch::Bank;
use crate::compile::open_tables;
use crate::compile::tables::Tables;

/// Ports of a plane.
const PORTS: usize = 65_536;

/// Where a bank differs from a policy.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mismatch {
    /// The table.
    pub table: String,
    /// The first value that differs, counted from the table's beginning.
    pub index: usize,
}

impl std::fmt::Display for Mismatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} at {}", self.table, self.index)
    }
}

/// What writing a bank left behind.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Written {
    /// The last counters of the policy that the bank held before, by rule index, the last one for packets that no rule came near; they begin
    /// at 0 again. Empty where it held none.
    pub counters: Vec<RuleCounter>,
}

/// The tables of a load, mapped.
pub(super) struct TableMaps {
    heads: Mapping<Heads>,
    port_class: Mapping<[u16; PORTS]>,
    v4_root: Mapping<[u32; PORTS]>,
    nodes: Mapping<[u32; 256]>,
    v6_nodes: Mapping<V6Node>,
    cells: Mapping<[u32; CELL_BLOCK as usize]>,
    rules: PerCpuRange<RuleCounter>,
    /// The heads once more by system calls: a second way to what the programs see.
    heads_map: Array<MapData, Heads>,
    sizes: BankSizes,
}

impl TableMaps {
    /// Opens the tables that are pinned in a load's directory.
    pub(super) fn open(directory: &Path, writable: bool) -> Result<Self, Error> {
        let rules = PerCpuRange::<RuleCounter>::open(directory, "RULES")?;
        let heads_map = open(directory, "HEADS")?;
        let heads_map = heads_map.try_into().map_err(Error::map("HEADS"))?;
        let nodes = map(directory, "NODES", writable)?;
        let v6_nodes = map(directory, "V6_NODES", writable)?;
        let cells: Mapping<[u32; CELL_BLOCK as usize]> = map(directory, "CELLS", writable)?;
        let share = |count: usize| (count / POLICY_BANKS as usize) as u32;
        let sizes = BankSizes {
            nodes: share(Mapping::<[u32; 256]>::count(&nodes)),
            v6_nodes: share(Mapping::<V6Node>::count(&v6_nodes)),
            cell_blocks: share(cells.count()),
            rules: share(rules.len() as usize),
        };
        Ok(Self {
            heads: map(directory, "HEADS", writable)?,
            port_class: map(directory, "PORT_CLASS", writable)?,
            v4_root: map(directory, "V4_ROOT", writable)?,
            nodes,
            v6_nodes,
            cells,
            rules,
            heads_map,
            sizes,
        })
    }

    pub(super) fn sizes(&self) -> BankSizes {
        self.sizes
    }

    /// The switch word.
    pub(super) fn switch(&self) -> Result<Switch, Error> {
        self.heads.switch().ok_or(Error::Object("value in HEADS"))
    }

    /// Sets the switch word, by one store.
    pub(super) fn store(&self, word: Switch) -> Result<(), Error> {
        if self.heads.store_switch(word) {
            Ok(())
        } else {
            Err(Error::Object("value in HEADS"))
        }
    }

    /// The head of a bank.
    pub(super) fn head(&self, bank: u32) -> Result<Head, Error> {
        let heads = self.heads_map.get(&0, 0).map_err(Error::map("HEADS"))?;
        let head = heads.banks.get(bank as usize);
        head.copied().ok_or(Error::NoBank(bank))
    }

    /// Takes the name of a policy from its bank before its counters go: who reads them looks at the head before and after.
    fn vacate(&mut self, bank: u32) -> Result<(), Error> {
        if !self.heads.write_head(bank, &Head::default()) {
            return Err(Error::NoBank(bank));
        }
        std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
        Ok(())
    }

    /// Counters of the first `count` rules of a bank, if it held this policy all the while that they were read.
    pub(super) fn counters_of(
        &self,
        bank: u32,
        generation: u32,
        count: usize,
    ) -> Result<Option<Vec<RuleCounter>>, Error> {
        let holds = || Ok::<_, Error>(self.head(bank)?.generation == generation);
        if !holds()? {
            return Ok(None);
        }
        let counters = self.rule_counters(bank, count)?;
        std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
        Ok(holds()?.then_some(counters))
    }

    /// Whether the tables fit a bank and into each other.
    fn check(&self, tables: &Tables) -> Result<(), Error> {
        let need = BankSizes::of(tables);
        for (what, need, have) in [
            ("trie nodes", need.nodes, self.sizes.nodes),
            ("IPv6 trie nodes", need.v6_nodes, self.sizes.v6_nodes),
            ("blocks of cells", need.cell_blocks, self.sizes.cell_blocks),
            ("rule counters", need.rules, self.sizes.rules),
        ] {
            if need > have {
                return Err(Error::TooSmall {
                    what,
                    need: need as usize,
                    have: have as usize,
                });
            }
        }
        let rows = u64::from(tables.head.facts_row) + 1;
        let shape = [
            (
                rows * u64::from(tables.head.peer_classes) == tables.cells.len() as u64,
                "cells are not rows of peer classes",
            ),
            (
                tables.v4_root.len() == PORTS,
                "the IPv4 root has not 65,536 slots",
            ),
            (
                tables
                    .planes
                    .iter()
                    .all(|(_, classes)| classes.len() == PORTS),
                "a plane has not 65,536 ports",
            ),
        ];
        match shape.into_iter().find(|(holds, _)| !holds) {
            Some((_, what)) => Err(Error::Malformed(what)),
            None => Ok(()),
        }
    }

    /// Writes a policy into a bank that no program reads.
    fn write(&mut self, bank: u32, tables: &Tables, generation: u32) -> Result<(), Error> {
        self.check(tables)?;
        let at = Base::of(bank, self.sizes);
        let mut all = true;
        for plane in 0..PLANES {
            let at = at.planes + plane as usize;
            all &= match classes(tables, plane) {
                Some(classes) => self.port_class.write(at, classes),
                None => self.port_class.clear(at, 1),
            };
        }
        all &= self.v4_root.write(at.bank, &tables.v4_root);
        all &= self.nodes.write(at.nodes, &tables.nodes);
        all &= self.v6_nodes.write(at.v6_nodes, &tables.v6_nodes);
        // What the last block holds beyond the cells is denied, not left over.
        let whole = tables.cells.len() / CELL_BLOCK as usize;
        if !tables.cells.len().is_multiple_of(CELL_BLOCK as usize) {
            all &= self.cells.clear(at.cell_blocks + whole, 1);
        }
        all &= self.cells.write(at.cell_blocks, &tables.cells);
        all &= self
            .heads
            .write_head(bank, &at.head(&tables.head, generation));
        if all {
            Ok(())
        } else {
            Err(Error::Malformed("a table ends beyond its map"))
        }
    }

    /// The first place where a bank differs from a policy.
    pub(super) fn differs(
        &self,
        bank: u32,
        tables: &Tables,
        generation: u32,
    ) -> Result<Option<Mismatch>, Error> {
        self.check(tables)?;
        let at = Base::of(bank, self.sizes);
        let head = at.head(&tables.head, generation);
        let found = |table: &str, index: Option<usize>| {
            index.map(|index| Mismatch {
                table: table.to_owned(),
                index,
            })
        };
        if self.head(bank)? != head {
            return Ok(found("head", Some(0)));
        }
        static NOTHING: [u16; PORTS] = [0; PORTS];
        for plane in 0..PLANES {
            let expected = classes(tables, plane).unwrap_or(&NOTHING);
            let index = self
                .port_class
                .differs(at.planes + plane as usize, expected);
            if index.is_some() {
                return Ok(found(&format!("port classes of plane {plane}"), index));
            }
        }
        Ok(
            found("IPv4 root", self.v4_root.differs(at.bank, &tables.v4_root))
                .or_else(|| found("nodes", self.nodes.differs(at.nodes, &tables.nodes)))
                .or_else(|| {
                    let index = self.v6_nodes.differs(at.v6_nodes, &tables.v6_nodes);
                    found("IPv6 nodes", index)
                })
                .or_else(|| {
                    let index = self.cells.differs(at.cell_blocks, &tables.cells);
                    found("cells", index)
                }),
        )
    }

    /// Generation 0: every port in class 0, which admits any peer, and every address this host's.
    pub(super) fn write_open_bank(&mut self, hz: u32) -> Result<(), Error> {
        let at = Base::of(OPEN_BANK, self.sizes);
        let open = open_tables(hz);
        let head = at.head(&open.head, 0);
        let written = self.port_class.clear(at.planes, PLANES as usize)
            && self.v4_root.clear(at.bank, 1)
            && self.cells.clear(at.cell_blocks, 1)
            && self.cells.write(at.cell_blocks, &open.cells)
            && self.heads.write_head(OPEN_BANK, &head);
        if !written || self.head(OPEN_BANK)? != head {
            return Err(Error::Verify {
                bank: OPEN_BANK,
                what: "head".to_owned(),
            });
        }
        Ok(())
    }

    /// Counters of the first `count` rules of a bank, summed over CPUs, and last that of packets that no rule came near.
    pub(super) fn rule_counters(&self, bank: u32, count: usize) -> Result<Vec<RuleCounter>, Error> {
        let mut counters = Vec::with_capacity(count + 1);
        for range in self.rule_indices(bank, count) {
            self.rules.read(range, |values| {
                counters.push(super::counters::sum_rule(values));
            })?;
        }
        Ok(counters)
    }

    fn clear_rule_counters(&mut self, bank: u32, count: usize) -> Result<(), Error> {
        self.rule_indices(bank, count)
            .into_iter()
            .try_for_each(|range| self.rules.clear(range))
    }

    fn rule_indices(&self, bank: u32, count: usize) -> [std::ops::Range<u32>; 2] {
        let Base { rules, no_rule, .. } = Base::of(bank, self.sizes);
        let (count, last) = ((count as u32).min(no_rule), rules + no_rule);
        [rules..rules + count, last..last + 1]
    }
}

/// Where a bank's share of each map begins.
struct Base {
    bank: usize,
    planes: usize,
    nodes: usize,
    v6_nodes: usize,
    cell_blocks: usize,
    rules: u32,
    /// The last of its rule counters, from the first.
    no_rule: u32,
}

impl Base {
    fn of(bank: u32, sizes: BankSizes) -> Self {
        let number = bank as usize;
        Self {
            bank: number,
            planes: number * PLANES as usize,
            nodes: number * sizes.nodes as usize,
            v6_nodes: number * sizes.v6_nodes as usize,
            cell_blocks: number * sizes.cell_blocks as usize,
            rules: bank * sizes.rules,
            no_rule: sizes.rules.saturating_sub(1),
        }
    }

    /// The head of a policy in this bank, as the programs need it.
    fn head(&self, of: &Head, generation: u32) -> Head {
        Head {
            generation,
            nodes: self.nodes as u32,
            v6_nodes: self.v6_nodes as u32,
            cell_blocks: self.cell_blocks as u32,
            rules: self.rules,
            no_rule: self.no_rule,
            ..*of
        }
    }
}

fn classes(tables: &Tables, plane: u32) -> Option<&[u16]> {
    tables
        .planes
        .iter()
        .find(|(named, _)| *named as u32 == plane)
        .map(|(_, classes)| &**classes)
}

fn open(directory: &Path, name: &'static str) -> Result<Map, Error> {
    MapData::from_pin(directory.join(name))
        .and_then(Map::from_map_data)
        .map_err(Error::map(name))
}

fn map<V: aya::Pod>(
    directory: &Path,
    name: &'static str,
    writable: bool,
) -> Result<Mapping<V>, Error> {
    let path = directory.join(name);
    let data = MapData::from_pin(&path).map_err(Error::map(name))?;
    let info = data.info().map_err(Error::map(name))?;
    if info.value_size() as usize != size_of::<V>() {
        return Err(Error::Foreign {
            path,
            found: format!("values of {} octets", info.value_size()),
            expected: format!("values of {} octets", size_of::<V>()),
        });
    }
    Mapping::new(data.fd().as_fd(), info.max_entries(), writable)
        .map_err(Error::system(format!("map {name}: mapping into memory")))
}

impl Dataplane {
    /// Writes a policy into a bank that is neither in force nor the fallback, and reads it back. Waits before until no program can still be
    /// reading what the bank held.
    ///
    /// # Errors
    /// [`Error::BankInUse`], [`Error::TooSmall`], [`Error::Verify`], or what the kernel says.
    pub fn write(&mut self, bank: u32, tables: &Tables, generation: u32) -> Result<Written, Error> {
        self.tables.check(tables)?;
        let held = self.settle(bank)?;
        let mut written = Written::default();
        if let Some(rules) = held.rules {
            written.counters = self.tables.rule_counters(bank, rules)?;
            self.tables.vacate(bank)?;
            self.tables.clear_rule_counters(bank, rules)?;
        }
        // Until it is verified the bank counts as empty: nothing can switch to it.
        self.set_bank(bank, Bank::default());
        self.tables.write(bank, tables, generation)?;
        if let Some(found) = self.tables.differs(bank, tables, generation)? {
            return Err(Error::Verify {
                bank,
                what: found.to_string(),
            });
        }
        self.set_bank(
            bank,
            Bank {
                rules: Some(tables.rules.len()),
                left: false,
            },
        );
        Ok(written)
    }

    /// Where a bank differs from a policy, if it does.
    ///
    /// # Errors
    /// Where the tables are not of this load's size, or the maps can't be read.
    pub fn verify(
        &self,
        bank: u32,
        tables: &Tables,
        generation: u32,
    ) -> Result<Option<Mismatch>, Error> {
        if bank >= POLICY_BANKS {
            return Err(Error::NoBank(bank));
        }
        self.tables.differs(bank, tables, generation)
    }

    /// The head of a bank, the open one included.
    ///
    /// # Errors
    /// What the kernel says of the map.
    pub fn head(&self, bank: u32) -> Result<Head, Error> {
        if bank >= BANKS {
            return Err(Error::NoBank(bank));
        }
        self.tables.head(bank)
    }

    /// The last counters of a bank that is about to be written: no packet is counted there any more.
    ///
    /// # Errors
    /// [`Error::BankInUse`], where the bank holds no policy, or what the kernel says.
    pub fn last_counters(&mut self, bank: u32) -> Result<Vec<RuleCounter>, Error> {
        self.settle(bank)?;
        self.rule_counters(bank)
    }

    /// Counters of a bank's rules, by rule index; the last one is of packets that no rule came near.
    ///
    /// # Errors
    /// Where the bank holds no policy, or the map can't be read.
    pub fn rule_counters(&self, bank: u32) -> Result<Vec<RuleCounter>, Error> {
        match self.banks.get(bank as usize).and_then(|held| held.rules) {
            Some(rules) => self.tables.rule_counters(bank, rules),
            None => Err(Error::NoBank(bank)),
        }
    }
}
