//! The maps as the decision sees them: one bank, the flow tables, the clock.

use agent_common::event::Direction;
use agent_common::flow::{Began, COUNTED_BY_PROGRAMS, FlowCounts, FlowEntry, FlowKey, FlowTable};
use agent_common::fragment::FragmentEntry;
use agent_common::icmp::Host;
use agent_common::lookup::Lookup;
use agent_common::net::{Address, V6};
use agent_common::packet::{Network, Quoted, Transport};
use agent_common::recent::RecentReply;
use agent_common::tables::{CELL_BLOCK, Cell, Head, PLANES, Plane, TICK_SHIFT};
use agent_common::trie::{Trie, V6Node, v6_walk};
use agent_common::verdict::Verdict;
use agent_common::word::Word;
use aya_ebpf::bindings::{BPF_ANY, BPF_NOEXIST};

use crate::cursor::{self, element};
use crate::{maps, parts};

/// The bank in force for one packet. Made once per packet, so that no packet sees two policies.
#[derive(Clone, Copy)]
pub(crate) struct World {
    pub(crate) bank: u32,
    pub(crate) head: &'static Head,
    pub(crate) now: u32,
    /// Denials are audits until the pause ends.
    pub(crate) paused: bool,
}

/// Now, in ticks: from all 64 bits, because the low half of jiffies wraps five minutes after boot.
#[inline(always)]
pub(crate) fn tick() -> u32 {
    // SAFETY: a helper without arguments.
    let jiffies = unsafe { aya_ebpf::helpers::generated::bpf_jiffies64() };
    (jiffies >> TICK_SHIFT) as u32
}

impl World {
    /// What is in force now. `None` where the maps could not be read; the caller drops.
    #[inline(always)]
    pub(crate) fn in_force() -> Option<Self> {
        let heads = maps::HEADS.get(0)?;
        // SAFETY: a live, aligned word of eight octets, which user space writes by one atomic store.
        let switch = unsafe { (&raw const heads.switch).read_volatile() };
        let now = tick();
        let (bank, paused) = switch.in_force(now);
        // SAFETY: a live map value; a head is written only while its bank is not in force.
        let head = unsafe { &*element(&raw const heads.banks, bank) };
        Some(Self {
            bank,
            head,
            now,
            paused,
        })
    }

    /// The same world in a function that got its numbers. A pause is not its business.
    #[inline(always)]
    pub(crate) fn again(bank: u32, now: u32) -> Option<Self> {
        let heads = maps::HEADS.get(0)?;
        Some(Self {
            bank,
            // SAFETY: as above.
            head: unsafe { &*element(&raw const heads.banks, bank) },
            now,
            paused: false,
        })
    }
}

/// The IPv6 walk as a global function: it has numbers for arguments, so the verifier proves it once and for all callers, where a local
/// function is walked through again at each call (16 rounds each).
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn v6_class(root: u32, nodes: u32, v6_nodes: u32, high: u64, low: u64) -> u32 {
    let trie = V6Trie {
        root,
        nodes,
        v6_nodes,
    };
    v6_walk(V6(high, low), &trie)
}

/// The IPv6 trie of a bank: its first slot, and where its nodes begin.
struct V6Trie {
    root: u32,
    nodes: u32,
    v6_nodes: u32,
}

impl Trie for V6Trie {
    #[inline(always)]
    fn v4_root(&self, _index: u16) -> Option<u32> {
        None
    }

    #[inline(always)]
    fn slot(&self, node: u32, octet: u8) -> Option<u32> {
        slot(self.nodes + node, octet)
    }

    #[inline(always)]
    fn v6_root(&self) -> u32 {
        self.root
    }

    #[inline(always)]
    fn v6_node(&self, node: u32) -> Option<&V6Node> {
        maps::V6_NODES.get(self.v6_nodes + node)
    }
}

#[inline(always)]
fn slot(node: u32, octet: u8) -> Option<u32> {
    let slots = maps::NODES.get_ptr(node)?;
    // SAFETY: a live map value.
    Some(unsafe { element(slots, u32::from(octet)).read() })
}

impl Trie for World {
    #[inline(always)]
    fn v4_root(&self, index: u16) -> Option<u32> {
        let root = maps::V4_ROOT.get_ptr(self.bank)?;
        // SAFETY: a live map value.
        Some(unsafe { element(root, u32::from(index)).read() })
    }

    #[inline(always)]
    fn slot(&self, node: u32, octet: u8) -> Option<u32> {
        slot(self.head.nodes + node, octet)
    }

    #[inline(always)]
    fn v6_root(&self) -> u32 {
        self.head.v6_root
    }

    #[inline(always)]
    fn v6_node(&self, node: u32) -> Option<&V6Node> {
        maps::V6_NODES.get(self.head.v6_nodes + node)
    }

    #[inline(always)]
    fn v6_class(&self, address: V6) -> u32 {
        let Head {
            v6_root,
            nodes,
            v6_nodes,
            ..
        } = *self.head;
        v6_class(v6_root, nodes, v6_nodes, address.0, address.1)
    }
}

impl Lookup for World {
    type Flow = &'static FlowEntry;
    type Recent = &'static RecentReply;
    type Kept<T: 'static> = &'static T;

    #[inline(always)]
    fn head(&self) -> &Head {
        self.head
    }

    #[inline(always)]
    fn port_class(&self, plane: Plane, port: u16) -> Option<u16> {
        let classes = maps::PORT_CLASS.get_ptr(self.bank * PLANES + plane as u32)?;
        // SAFETY: a live map value.
        Some(unsafe { element(classes, u32::from(port)).read() })
    }

    #[inline(always)]
    fn cell_at(&self, index: u32) -> Option<Cell> {
        let cells = maps::CELLS.get_ptr(self.head.cell_blocks + index / CELL_BLOCK)?;
        // SAFETY: a live map value.
        Some(Cell(unsafe { element(cells, index % CELL_BLOCK).read() }))
    }

    #[inline(always)]
    fn now(&self) -> u32 {
        self.now
    }

    #[inline(always)]
    fn began(&self, table: Began, local_port: u16) -> u32 {
        began(table, local_port).map_or(0, |stamp| stamp.load())
    }

    #[inline(always)]
    fn set_began(&self, table: Began, local_port: u16, stamp: u32) {
        if let Some(slot) = began(table, local_port) {
            write(slot, stamp);
        }
    }

    #[inline(always)]
    fn asked(&self, slot: u16) -> u32 {
        asked(slot).map_or(0, |stamp| stamp.load())
    }

    #[inline(always)]
    fn set_asked(&self, slot: u16, stamp: u32) {
        if let Some(slot) = asked(slot) {
            write(slot, stamp);
        }
    }

    #[inline(always)]
    fn fragment(&self, slot: u32) -> Option<FragmentEntry> {
        let slots = maps::FRAGMENTS.get_ptr(0)?;
        // SAFETY: a live map value of integers; other CPUs write it word by word.
        Some(unsafe { element(slots, slot).read_volatile() })
    }

    #[inline(always)]
    fn set_fragment(&self, slot: u32, entry: FragmentEntry) {
        if let Some(slots) = maps::FRAGMENTS.get_ptr(0) {
            // SAFETY: as above.
            unsafe { element(slots, slot).write_volatile(entry) };
        }
    }

    #[inline(always)]
    fn recent(&self, slot: u32) -> Option<&'static RecentReply> {
        let slots = maps::RECENT.get_ptr(0)?;
        // SAFETY: this CPU's own value; one packet at a time is judged on a CPU.
        Some(unsafe { &*element(slots, slot) })
    }

    #[inline(always)]
    fn set_recent(&self, slot: u32, reply: &RecentReply) {
        if let Some(slots) = maps::RECENT.get_ptr_mut(0) {
            // SAFETY: as above.
            unsafe { *element(slots, slot) = *reply };
        }
    }

    #[inline(always)]
    fn unknown(&self, number: u32) -> u32 {
        // SAFETY: a field of a live map value. Volatile, so that it is read each time: what is known of it once is known for good.
        number ^ unsafe { core::ptr::read_volatile(&raw const self.head.zero) }
    }

    #[inline(always)]
    fn keep<A: Address + 'static>(&self, network: Network<A>) -> Option<&'static Network<A>> {
        cursor::keep(&maps::KEPT, network)
    }

    #[inline(always)]
    fn keep_quoted<A: Address + 'static>(&self, quoted: Quoted<A>) -> Option<&'static Quoted<A>> {
        cursor::keep(&maps::QUOTED, quoted)
    }

    #[inline(always)]
    fn judge<A: Host>(
        &self,
        direction: Direction,
        _: &Network<A>,
        transport: Transport,
    ) -> Verdict {
        parts::judge::<A>(self, direction, transport)
    }

    #[inline(always)]
    fn judge_icmp<A: Host>(
        &self,
        direction: Direction,
        _: &Network<A>,
        transport: Transport,
        quoted: Option<&Quoted<A>>,
    ) -> Verdict {
        parts::judge_icmp::<A>(self, direction, transport, quoted.is_some())
    }

    #[inline(always)]
    fn flow(&self, table: FlowTable, key: &FlowKey) -> Option<Self::Flow> {
        // SAFETY: entries are atomic words, so a shared reference to one that another CPU writes, or that the kernel re-uses for another flow
        // while we look, is sound.
        unsafe {
            match table {
                FlowTable::New => maps::FLOWS_NEW.get(key),
                FlowTable::Established => maps::FLOWS_ESTABLISHED.get(key),
            }
        }
    }

    #[inline(always)]
    fn insert(&self, table: FlowTable, key: &FlowKey, entry: &FlowEntry) -> bool {
        match table {
            FlowTable::New => {
                // A flow whose entry has outlived its time-out begins anew in the same place.
                let made = maps::FLOWS_NEW
                    .insert(key, entry, u64::from(BPF_NOEXIST))
                    .is_ok();
                if made {
                    count(|counts| counts.made += 1);
                }
                made || maps::FLOWS_NEW
                    .insert(key, entry, u64::from(BPF_ANY))
                    .is_ok()
            }
            FlowTable::Established => {
                let entered = maps::FLOWS_ESTABLISHED
                    .insert(key, entry, u64::from(BPF_ANY))
                    .is_ok();
                if !entered {
                    count(|counts| counts.found_full += 1);
                }
                entered
            }
        }
    }

    #[inline(always)]
    fn remove(&self, table: FlowTable, key: &FlowKey) {
        // An entry that is gone already is what was wanted.
        match table {
            FlowTable::New => {
                if maps::FLOWS_NEW.remove(key).is_ok() {
                    count(|counts| counts.removed += 1);
                }
            }
            FlowTable::Established => {
                let _ = maps::FLOWS_ESTABLISHED.remove(key);
            }
        }
    }
}

#[inline(always)]
fn count(add: impl FnOnce(&mut FlowCounts)) {
    if let Some(counts) = maps::FLOW_COUNTS.get_ptr_mut(COUNTED_BY_PROGRAMS) {
        // SAFETY: this CPU's own value; programs of one CPU don't interrupt each other in this place (softirq), and a reader elsewhere only
        // reads whole words.
        add(unsafe { &mut *counts });
    }
}

#[inline(always)]
fn began(table: Began, local_port: u16) -> Option<&'static Word> {
    let stamps = maps::BEGAN.get_ptr(table as u32)?;
    // SAFETY: a live map value of aligned words that are only read and written as atomics.
    Some(unsafe { &*element(stamps, u32::from(local_port)).cast::<Word>() })
}

#[inline(always)]
fn asked(slot: u16) -> Option<&'static Word> {
    let stamps = maps::ASKED.get_ptr(0)?;
    // SAFETY: as above.
    Some(unsafe { &*element(stamps, u32::from(slot)).cast::<Word>() })
}

/// Writes a stamp; one that says so already is left, to keep the cache line shared.
#[inline(always)]
fn write(slot: &Word, stamp: u32) {
    if slot.load() != stamp {
        slot.store(stamp);
    }
}
