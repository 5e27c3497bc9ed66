//! Tries from spans of classes, in the shape that [`agent_common::trie`] walks. Equal blocks of slots are laid out once.

use agent_common::trie::{NODE, V6Node};

use super::classes::Span;
use super::hash::{Map, mix};

/// 256 slots.
pub(super) type Slots = [u32; 256];

/// The tries of a policy.
pub(super) struct Tries {
    pub(super) v4_root: Box<[u32]>,
    pub(super) v6_root: u32,
    pub(super) v6_nodes: Vec<V6Node>,
    pub(super) blocks: Vec<Slots>,
}

impl Tries {
    /// Octets of the parts that grow with the policy.
    pub(super) fn octets(&self) -> u64 {
        self.blocks.len() as u64 * size_of::<Slots>() as u64
            + self.v6_nodes.len() as u64 * size_of::<V6Node>() as u64
    }
}

/// More octets than the limit are needed; building stopped there.
#[derive(Debug)]
pub(super) struct TooLarge;

/// Lays out both tries within `limit` octets.
pub(super) fn build(v4: &[Span], v6: &[Span], limit: u64) -> Result<Tries, TooLarge> {
    let mut builder = Builder {
        tries: Tries {
            v4_root: vec![0; 1 << 16].into(),
            v6_root: 0,
            v6_nodes: Vec::new(),
            blocks: Vec::new(),
        },
        by_hash: Map::default(),
        limit,
    };
    let mut root = std::mem::take(&mut builder.tries.v4_root);
    builder.fill(v4, 0, 0, 16, &mut root, |builder, at, base| {
        builder.block(v4, at, base, 8, |builder, at, base| {
            builder.block(v4, at, base, 0, |_, at, _| Ok(v4[at].class))
        })
    })?;
    builder.tries.v4_root = root;
    builder.tries.v6_root = builder.v6(v6, 0, 0, 0)?;
    Ok(builder.tries)
}

struct Builder {
    tries: Tries,
    by_hash: Map<u64, u32>,
    limit: u64,
}

impl Builder {
    /// Fills slots that each stand for `1 << shift` addresses, the first from `base` on. A slot that one span covers is its class; others
    /// are what `child` makes of the number of the span at the slot's first address, and that address. `at`: a span at or before `base`.
    fn fill(
        &mut self,
        spans: &[Span],
        mut at: usize,
        base: u128,
        shift: u32,
        slots: &mut [u32],
        mut child: impl FnMut(&mut Self, usize, u128) -> Result<u32, TooLarge>,
    ) -> Result<(), TooLarge> {
        for (number, slot) in slots.iter_mut().enumerate() {
            let first = base + ((number as u128) << shift);
            let last = first + ((1 << shift) - 1);
            while spans.get(at + 1).is_some_and(|next| next.start <= first) {
                at += 1;
            }
            *slot = if spans.get(at + 1).is_some_and(|next| next.start <= last) {
                child(self, at, first)?
            } else {
                spans[at].class
            };
        }
        Ok(())
    }

    /// A block of slots as [`Self::fill`] fills it: the slot that names it.
    fn block(
        &mut self,
        spans: &[Span],
        at: usize,
        base: u128,
        shift: u32,
        child: impl FnMut(&mut Self, usize, u128) -> Result<u32, TooLarge>,
    ) -> Result<u32, TooLarge> {
        let mut slots = [0; 256];
        self.fill(spans, at, base, shift, &mut slots, child)?;
        self.intern(slots)
    }

    fn intern(&mut self, slots: Slots) -> Result<u32, TooLarge> {
        let mut hash = slots.iter().fold(0, |hash: u64, &slot| {
            (hash.rotate_left(7) ^ u64::from(slot)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
        });
        hash = mix(hash);
        loop {
            match self.by_hash.get(&hash) {
                Some(&number) if self.tries.blocks[number as usize] == slots => {
                    return Ok(NODE | number);
                }
                // Another block with this hash: the next value is as good.
                Some(_) => hash = hash.wrapping_add(1),
                None => break,
            }
        }
        let number = self.tries.blocks.len() as u32;
        self.by_hash.insert(hash, number);
        self.tries.blocks.push(slots);
        self.within_limit()?;
        Ok(NODE | number)
    }

    fn within_limit(&self) -> Result<(), TooLarge> {
        if self.tries.octets() > self.limit {
            return Err(TooLarge);
        }
        Ok(())
    }

    /// The slot for the IPv6 addresses that share the first `octets` octets with `base`. `at`: the span that holds `base`.
    fn v6(&mut self, spans: &[Span], at: usize, base: u128, octets: u32) -> Result<u32, TooLarge> {
        let end = base | !prefix_mask(octets * 8);
        let last = at + spans[at + 1..].partition_point(|span| span.start <= end);
        let miss = spans[at].class;
        if last == at {
            return Ok(miss);
        }
        // Where the first and the last span are one class, only what lies between them needs a node.
        let enclosed = spans[last].class == miss;
        let (from, to) = if enclosed {
            (spans[at + 1].start, spans[last].start - 1)
        } else {
            (base, end)
        };
        let common = (from ^ to).leading_zeros();
        let lone = enclosed && last == at + 2 && from ^ to == !prefix_mask(common)
            // with the exclusive or all ones, the block is aligned if its first address has none of these bits
            && from & !prefix_mask(common) == 0;
        let (length, octet, hit) = if lone {
            (common, 0, spans[at + 1].class)
        } else {
            let octet = common / 8;
            let base = from & prefix_mask(octet * 8);
            let at = at + spans[at + 1..].partition_point(|span| span.start <= base);
            let hit = self.block(spans, at, base, 120 - octet * 8, |builder, at, base| {
                builder.v6(spans, at, base, octet + 1)
            })?;
            (octet * 8, octet, hit)
        };
        let mask = prefix_mask(length);
        self.tries.v6_nodes.push(V6Node {
            key: halves(from & mask),
            mask: halves(mask),
            half: octet / 8,
            shift: 56 - octet % 8 * 8,
            miss,
            hit,
        });
        self.within_limit()?;
        Ok(NODE | (self.tries.v6_nodes.len() as u32 - 1))
    }
}

/// The first `length` bits.
fn prefix_mask(length: u32) -> u128 {
    u128::MAX.checked_shl(128 - length).unwrap_or(0)
}

fn halves(bits: u128) -> [u64; 2] {
    [(bits >> 64) as u64, bits as u64]
}
