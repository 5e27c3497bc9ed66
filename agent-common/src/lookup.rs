//! What the decision asks of the world: tables, flows, time. The BPF programs answer from maps, user space from memory.

use core::ops::Deref;

use crate::event::Direction;
use crate::flow::{Began, FlowEntry, FlowKey, FlowTable};
use crate::fragment::FragmentEntry;
use crate::icmp::Host;
use crate::judge;
use crate::net::Address;
use crate::packet::{Network, Quoted, Transport};
use crate::recent::RecentReply;
use crate::tables::{Cell, Head, Plane};
use crate::trie::Trie;
use crate::verdict::Verdict;

/// The bank in force, the flow tables, and the clock.
///
/// `None` from a table means that it could not be read, which never happens with tables that the compiler made; the packet is denied.
pub trait Lookup: Trie {
    /// A flow's entry, shared with other CPUs.
    type Flow: Deref<Target = FlowEntry>;
    /// A reply that passed a short while ago.
    type Recent: Deref<Target = RecentReply>;
    /// A value that is kept while a packet is judged.
    type Kept<T: 'static>: Deref<Target = T>;

    /// The bank's head.
    fn head(&self) -> &Head;
    /// The class of a port.
    fn port_class(&self, plane: Plane, port: u16) -> Option<u16>;
    /// The cell at an index.
    fn cell_at(&self, index: u32) -> Option<Cell>;

    /// Now, in ticks.
    fn now(&self) -> u32;

    /// When this local port last began or continued something: a stamp.
    fn began(&self, table: Began, local_port: u16) -> u32;
    /// Stamps it.
    fn set_began(&self, table: Began, local_port: u16, stamp: u32);
    /// When a question in this slot was last let in: a stamp.
    fn asked(&self, slot: u16) -> u32;
    /// Stamps it.
    fn set_asked(&self, slot: u16, stamp: u32);

    /// What is remembered of a first fragment in this slot, below [`crate::fragment::SLOTS`].
    fn fragment(&self, slot: u32) -> Option<FragmentEntry>;
    /// Remembers it.
    fn set_fragment(&self, slot: u32, entry: FragmentEntry);

    /// The reply that is remembered in this slot, below [`crate::recent::SLOTS`].
    fn recent(&self, slot: u32) -> Option<Self::Recent>;
    /// Remembers it.
    fn set_recent(&self, slot: u32, reply: &RecentReply);

    /// The same number. The programs answer with one that the verifier knows nothing of, so that it walks what follows once, and not again
    /// for each way that leads here.
    #[inline(always)]
    fn unknown(&self, number: u32) -> u32 {
        number
    }

    /// Holds a packet's header while it is judged. The programs keep it out of their stack, in memory that the verifier knows nothing of.
    fn keep<A: Address + 'static>(&self, network: Network<A>) -> Option<Self::Kept<Network<A>>>;
    /// The same of the packet that an ICMP error quotes.
    fn keep_quoted<A: Address + 'static>(&self, quoted: Quoted<A>)
    -> Option<Self::Kept<Quoted<A>>>;

    /// The decision over a packet whose headers have been read, but for ICMP. The programs answer by functions of their own, which the
    /// verifier proves by themselves, once for all that leads there.
    #[inline(always)]
    fn judge<A: Host>(
        &self,
        direction: Direction,
        packet: &Network<A>,
        transport: Transport,
    ) -> Verdict
    where
        Self: Sized,
    {
        judge::headers(direction, self, packet, transport)
    }

    /// The same of an ICMP message. `quoted` is what an error quotes, as far as it can be read.
    #[inline(always)]
    fn judge_icmp<A: Host>(
        &self,
        direction: Direction,
        packet: &Network<A>,
        transport: Transport,
        quoted: Option<&Quoted<A>>,
    ) -> Verdict
    where
        Self: Sized,
    {
        judge::message(direction, self, packet, transport, quoted)
    }

    /// The entry of a flow.
    fn flow(&self, table: FlowTable, key: &FlowKey) -> Option<Self::Flow>;
    /// Enters a flow, over an entry that is there. False where the table is full.
    fn insert(&self, table: FlowTable, key: &FlowKey, entry: &FlowEntry) -> bool;
    /// Removes a flow.
    fn remove(&self, table: FlowTable, key: &FlowKey);

    /// The cell of a port class for a peer class.
    #[inline(always)]
    fn cell(&self, port_class: u16, peer_class: u16) -> Option<Cell> {
        self.cell_at(u32::from(port_class) * self.head().peer_classes + u32::from(peer_class))
    }

    /// Whether this port class asks who the peer is.
    #[inline(always)]
    fn asks_peer(&self, port_class: u16) -> bool {
        u32::from(port_class) < self.head().any_from
    }

    /// What is known of a peer class: [`crate::tables::facts`].
    #[inline(always)]
    fn facts(&self, peer_class: u16) -> Option<u32> {
        self.cell_at(self.head().facts_row * self.head().peer_classes + u32::from(peer_class))
            .map(|cell| cell.0)
    }
}
