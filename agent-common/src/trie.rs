//! Which peer class an address is in: a handful of dependent loads whatever the number of prefixes.
//!
//! A *slot* is a `u32`: a class, or with bit 31 ([`NODE`]) the number of a node. IPv4 has a root of 65,536 slots over the first 16 bits,
//! then strides of 8 and 8: a node is a block of 256 slots, chosen by the next octet. IPv6 nodes are path-compressed: each says which bits
//! must have come before, so that a chain without branches costs one node; which class holds where they did not; and where they did, a
//! class or a block of 256 slots. A lone prefix is then a node without a block: 48 octets instead of a kilobyte.

use crate::net::{Address, V4, V6};

/// Marks a slot that names a node.
pub const NODE: u32 = 1 << 31;

/// Nodes that an IPv6 walk can pass: 128 bits in strides of 8.
pub const V6_DEPTH: u32 = 16;

/// What must hold before the slots of an IPv6 node may be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct V6Node {
    /// The bits that led here, most significant half first.
    pub key: [u64; 2],
    /// Which of them count: all before this node's octet, or all of a lone prefix.
    pub mask: [u64; 2],
    /// Which half of the address holds this node's octet: 0 or 1.
    pub half: u32,
    /// How far that half is shifted right to give the octet.
    pub shift: u32,
    /// Class of an address that differs in the bits before.
    pub miss: u32,
    /// What holds where they did not differ: a class, or with [`NODE`] the block of slots that the octet chooses from.
    pub hit: u32,
}

/// The tables that a walk loads from. `None` is a table that could not be read; the packet is denied as internal.
pub trait Trie {
    /// Slot of the IPv4 root for the first 16 bits.
    fn v4_root(&self, index: u16) -> Option<u32>;
    /// Slot of a block for one octet.
    fn slot(&self, block: u32, octet: u8) -> Option<u32>;
    /// First slot of the IPv6 trie.
    fn v6_root(&self) -> u32;
    /// Head of an IPv6 node.
    fn v6_node(&self, node: u32) -> Option<&V6Node>;
    /// The walk over them. The programs call it as a function that the verifier checks once, not at every place that asks.
    #[inline(always)]
    fn v6_class(&self, address: V6) -> u32
    where
        Self: Sized,
    {
        v6_walk(address, self)
    }
}

/// An address that a trie can find.
pub trait Classified: Address {
    /// The peer class of this address.
    fn class<T: Trie>(self, trie: &T) -> Option<u16>;
}

impl Classified for V4 {
    #[inline(always)]
    fn class<T: Trie>(self, trie: &T) -> Option<u16> {
        let mut slot = trie.v4_root((self.0 >> 16) as u16)?;
        if slot & NODE != 0 {
            slot = trie.slot(slot & !NODE, (self.0 >> 8) as u8)?;
            if slot & NODE != 0 {
                slot = trie.slot(slot & !NODE, self.0 as u8)?;
            }
        }
        Some(slot as u16)
    }
}

impl Classified for V6 {
    #[inline(always)]
    fn class<T: Trie>(self, trie: &T) -> Option<u16> {
        match trie.v6_class(self) {
            UNREADABLE => None,
            class => Some(class as u16),
        }
    }
}

/// The class of an address in the wide form of [`Address::wide`].
#[inline(always)]
pub fn class_of<T: Trie>(wide: [u64; 2], trie: &T) -> Option<u16> {
    if wide[0] == 0 && wide[1] >> 32 == 0xffff {
        V4(wide[1] as u32).class(trie)
    } else {
        V6(wide[0], wide[1]).class(trie)
    }
}

/// What [`Trie::v6_class`] gives where a table could not be read.
pub const UNREADABLE: u32 = u32::MAX;

/// The IPv6 walk: the class, or [`UNREADABLE`].
#[inline(always)]
pub fn v6_walk<T: Trie>(address: V6, trie: &T) -> u32 {
    let mut slot = trie.v6_root();
    for _ in 0..V6_DEPTH {
        if slot & NODE == 0 {
            break;
        }
        let Some(node) = trie.v6_node(slot & !NODE) else {
            return UNREADABLE;
        };
        let before = (address.0 ^ node.key[0]) & node.mask[0];
        if before | ((address.1 ^ node.key[1]) & node.mask[1]) != 0 {
            return node.miss & 0xffff;
        }
        let hit = node.hit;
        if hit & NODE == 0 {
            return hit & 0xffff;
        }
        let half = if node.half == 0 { address.0 } else { address.1 };
        let Some(next) = trie.slot(hit & !NODE, (half >> (node.shift & 63)) as u8) else {
            return UNREADABLE;
        };
        slot = next;
    }
    slot & 0xffff
}
