//! The maps, by name. Sizes marked "at load" are set by the agent to what the policy needs.
//!
//! Tables (`HEADS` to `RULES`) belong to one load of the programs; state outlives it.

use agent_common::budget::{BUCKETS as BUCKET_SLOTS, Bucket, SPENT_SLOTS, Spent};
use agent_common::event::Summary;
use agent_common::flow::{
    ASKED_SLOTS, BEGAN_TABLES, FLOW_COUNTS_SLOTS, FlowCounts, FlowEntry, FlowKey,
};
use agent_common::fragment::{FragmentEntry, SLOTS as FRAGMENT_SLOTS};
use agent_common::recent::{RecentReply, SLOTS as RECENT_SLOTS};
use agent_common::switch::Heads;
use agent_common::tables::{BANKS, Balance, CELL_BLOCK, PLANES, REASON_SLOTS, RuleCounter};
use agent_common::trie::V6Node;
use aya_ebpf::bindings::BPF_F_MMAPABLE;
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, LruHashMap, PerCpuArray, ProgramArray, RingBuf};

/// The switch word and the heads of the banks: one look-up for what every packet reads first.
#[map]
pub(crate) static HEADS: Array<Heads> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// Classes of ports: bank × plane.
#[map]
pub(crate) static PORT_CLASS: Array<[u16; 65536]> =
    Array::with_max_entries(BANKS * PLANES, BPF_F_MMAPABLE);

/// IPv4 roots.
#[map]
pub(crate) static V4_ROOT: Array<[u32; 65536]> = Array::with_max_entries(BANKS, BPF_F_MMAPABLE);

/// Trie nodes: bank × node; at load.
#[map]
pub(crate) static NODES: Array<[u32; 256]> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// Heads of IPv6 nodes: bank × node; at load.
#[map]
pub(crate) static V6_NODES: Array<V6Node> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// Blocks of cells: bank × block; at load.
#[map]
pub(crate) static CELLS: Array<[u32; CELL_BLOCK as usize]> =
    Array::with_max_entries(1, BPF_F_MMAPABLE);

/// Counters by rule: bank × rule, the last of each bank for packets that no rule came near; at load.
#[map]
pub(crate) static RULES: PerCpuArray<RuleCounter> = PerCpuArray::with_max_entries(1, 0);

/// Counters by direction and reason.
#[map]
pub(crate) static REASONS: PerCpuArray<u64> = PerCpuArray::with_max_entries(REASON_SLOTS, 0);

/// What became of denied and audited packets.
#[map]
pub(crate) static BALANCE: PerCpuArray<Balance> = PerCpuArray::with_max_entries(1, 0);

/// Token buckets for events.
#[map]
pub(crate) static BUCKETS: PerCpuArray<Bucket> = PerCpuArray::with_max_entries(BUCKET_SLOTS, 0);

/// Peers whose buckets are empty in this tick. It belongs to the programs of one load.
#[map]
pub(crate) static SPENT: PerCpuArray<[Spent; SPENT_SLOTS as usize]> =
    PerCpuArray::with_max_entries(1, 0);

/// Flows that may be forgotten: UDP, echo, half-open and closing TCP; at load.
#[map]
pub(crate) static FLOWS_NEW: LruHashMap<FlowKey, FlowEntry> =
    LruHashMap::with_max_entries(65_536, 0);

/// TCP connections that the host completed; at load.
#[map]
pub(crate) static FLOWS_ESTABLISHED: HashMap<FlowKey, FlowEntry> =
    HashMap::with_max_entries(262_144, 0);

/// What became of entries of both, as the programs count and as the agent does: each writes its own place.
#[map]
pub(crate) static FLOW_COUNTS: PerCpuArray<FlowCounts> =
    PerCpuArray::with_max_entries(FLOW_COUNTS_SLOTS, 0);

/// Stamps by local port: when it last began or continued a flow. Mapped, so that the agent writes single stamps while programs write
/// others: an update by system call replaces all 65,536 of a table.
#[map]
pub(crate) static BEGAN: Array<[u32; 65536]> =
    Array::with_max_entries(BEGAN_TABLES, BPF_F_MMAPABLE);

/// Stamps of UDP questions that were let in; mapped for the same reason.
#[map]
pub(crate) static ASKED: Array<[u32; ASKED_SLOTS as usize]> =
    Array::with_max_entries(1, BPF_F_MMAPABLE);

/// First fragments that passed. It belongs to the programs of one load, and to nobody else.
#[map]
pub(crate) static FRAGMENTS: Array<[FragmentEntry; FRAGMENT_SLOTS as usize]> =
    Array::with_max_entries(1, 0);

/// Replies of this tick. Like the fragments it belongs to the programs of one load.
#[map]
pub(crate) static RECENT: PerCpuArray<[RecentReply; RECENT_SLOTS as usize]> =
    PerCpuArray::with_max_entries(1, 0);

/// Room for the header of the packet that a CPU judges.
pub(crate) type Kept = [u64; 12];

/// The header of the packet that is judged, on the way of rare packets.
#[map]
pub(crate) static KEPT: PerCpuArray<Kept> = PerCpuArray::with_max_entries(1, 0);

/// Room for the packet that an ICMP error quotes.
pub(crate) type KeptQuoted = [u64; 6];

/// The packet that the ICMP error quotes which a CPU judges.
#[map]
pub(crate) static QUOTED: PerCpuArray<KeptQuoted> = PerCpuArray::with_max_entries(1, 0);

/// Room for the longest header.
pub(crate) type Copied = [u64; 8];

/// A header that lies in other buffers of a frame than the first.
#[map]
pub(crate) static COPIED: PerCpuArray<Copied> = PerCpuArray::with_max_entries(1, 0);

/// What its headers said. Neither of the two has room on the stack.
#[map]
pub(crate) static SUMMARY: PerCpuArray<Summary> = PerCpuArray::with_max_entries(1, 0);

/// Denied and audited packets on their way to user space.
#[map]
pub(crate) static EVENTS: RingBuf = RingBuf::with_byte_size(1 << 20, 0);

/// The program for packets that the XDP program leaves. An array holds programs of one kind, hence three. They lose their entries with the
/// last descriptor or pin, whatever programs use them, so the agent pins them.
#[map]
pub(crate) static RARE_XDP: ProgramArray = ProgramArray::with_max_entries(1, 0);

/// The same for frames in several buffers.
#[map]
pub(crate) static RARE_XDP_FRAGS: ProgramArray = ProgramArray::with_max_entries(1, 0);

/// The programs for packets that the TC programs leave, by direction.
#[map]
pub(crate) static RARE_TC: ProgramArray = ProgramArray::with_max_entries(2, 0);

/// Nanoseconds and jiffies, for measuring HZ.
#[map]
pub(crate) static CLOCK: Array<[u64; 2]> = Array::with_max_entries(1, 0);

/// Whether this kernel tells what it has decrypted, which one without IPsec can't: not 0. Set at load.
#[unsafe(no_mangle)]
static TELLS_DECRYPTED: u32 = 1;

/// Whether this kernel tells what it has decrypted.
#[inline(always)]
pub(crate) fn tells_decrypted() -> bool {
    // SAFETY: a static of this program. Volatile, because the value is another one by the time the program is loaded.
    unsafe { core::ptr::read_volatile(&raw const TELLS_DECRYPTED) != 0 }
}
