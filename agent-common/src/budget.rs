//! Token buckets for events: nothing shared between CPUs is written, and no clock but ticks is asked.

use crate::tables::Budget;

/// A bucket, per CPU.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct Bucket {
    /// Tick of the last refill.
    pub last: u32,
    /// Units left; see [`Budget::EVENT`].
    pub tokens: u32,
}

/// Peers share this many buckets by hash, for strangers and acquaintances each.
pub const PEER_BUCKETS: u32 = 4096;

/// All buckets of a CPU: one for all strangers, one for all acquaintances, then those by peer.
pub const BUCKETS: u32 = 2 + 2 * PEER_BUCKETS;

/// Ticks after which a bucket counts as full, whatever it held: four and a half minutes or more.
const FORGOTTEN: u32 = 4096;

/// The bucket of all (strangers: false).
#[inline(always)]
pub const fn bucket_of_all(acquaintance: bool) -> u32 {
    acquaintance as u32
}

/// The bucket of a peer.
#[inline(always)]
pub const fn bucket_of_peer(acquaintance: bool, peer: [u64; 2]) -> u32 {
    2 + acquaintance as u32 * PEER_BUCKETS + (mixed(peer) >> 52) as u32
}

/// Fibonacci hashing: the upper bits are the good ones.
#[inline(always)]
const fn mixed(peer: [u64; 2]) -> u64 {
    const PHI: u64 = 0x9e37_79b9_7f4a_7c15;
    (peer[1] ^ peer[0].rotate_left(29)).wrapping_mul(PHI)
}

/// A peer whose bucket was found empty, and when: within a tick nothing is refilled, so until it ends there is no need to look again. Per CPU,
/// so that all but the first packets of a flood are told apart by one look-up.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct Spent {
    /// The peer, as a wide address.
    pub peer: [u64; 2],
    /// The tick.
    pub tick: u32,
    /// The generation, which says how much there is.
    pub generation: u32,
    /// Zero. The size is a power of two, so that a place is found by a shift.
    pub reserved: u64,
}

/// Peers that are remembered so, per CPU.
pub const SPENT_SLOTS: u32 = 64;

/// Where a peer is remembered, if it is.
#[inline(always)]
pub const fn spent_slot(peer: [u64; 2]) -> u32 {
    (mixed(peer) >> 58) as u32
}

impl Spent {
    /// Whether this peer has nothing left in this tick.
    #[inline(always)]
    pub fn is(&self, peer: [u64; 2], tick: u32, generation: u32) -> bool {
        self.tick == tick && self.generation == generation && self.peer == peer
    }
}

impl Bucket {
    /// Refills by the ticks gone by and takes one event; false where there is none to take.
    #[inline(always)]
    pub fn take(&mut self, budget: &Budget, now: u32) -> bool {
        let granted = self.refill(budget, now);
        if granted {
            self.spend();
        }
        granted
    }

    /// Takes an event that [`Self::refill`] said is there.
    #[inline(always)]
    pub fn spend(&mut self) {
        self.tokens -= Budget::EVENT;
    }

    /// Refills by the ticks gone by; whether there is an event to take.
    #[inline(always)]
    pub fn refill(&mut self, budget: &Budget, now: u32) -> bool {
        let elapsed = now.wrapping_sub(self.last);
        let held = if elapsed >= FORGOTTEN {
            budget.burst
        } else {
            // 4095 ticks of u32 units fit a u64, whatever the budget says
            let held = self.tokens as u64 + elapsed as u64 * budget.refill as u64;
            if held > budget.burst as u64 {
                budget.burst
            } else {
                held as u32
            }
        };
        self.last = now;
        self.tokens = held;
        held >= Budget::EVENT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_gives_its_burst_and_then_its_rate() {
        let budget = Budget {
            refill: Budget::EVENT / 4,
            burst: 3 * Budget::EVENT,
        };
        let mut bucket = Bucket::default();
        let granted: Vec<bool> = (0..5).map(|_| bucket.take(&budget, 100_000)).collect();
        assert_eq!(granted, [true, true, true, false, false]);
        assert!(!bucket.take(&budget, 100_003));
        assert!(
            bucket.take(&budget, 100_004),
            "a quarter of an event each tick"
        );
        assert!(!bucket.take(&budget, 100_005));
        assert!(bucket.take(&budget, 100_005u32.wrapping_add(FORGOTTEN)));
    }

    #[test]
    fn who_has_spent_all_has_so_in_this_tick_and_generation_alone() {
        let (peer, other) = ([1, 2], [1, 3]);
        let spent = Spent {
            peer,
            tick: 7,
            generation: 3,
            reserved: 0,
        };
        assert!(spent.is(peer, 7, 3));
        assert!(!spent.is(other, 7, 3), "another peer");
        assert!(!spent.is(peer, 8, 3), "the next tick");
        assert!(!spent.is(peer, 7, 4), "another policy");
    }

    #[test]
    fn what_is_looked_at_is_not_taken() {
        let budget = Budget {
            refill: 0,
            burst: Budget::EVENT,
        };
        let mut bucket = Bucket::default();
        assert!(bucket.refill(&budget, 100_000));
        assert!(bucket.refill(&budget, 100_000));
        bucket.spend();
        assert!(!bucket.refill(&budget, 100_000));
    }

    #[test]
    fn a_budget_of_nothing_gives_nothing() {
        let mut bucket = Bucket::default();
        assert!(!bucket.take(&Budget::default(), 7));
    }

    #[test]
    fn buckets_are_in_range() {
        for n in 0..10_000u64 {
            let peer = [n.rotate_right(9), n];
            for known in [false, true] {
                assert!(bucket_of_peer(known, peer) < BUCKETS);
            }
            assert!(spent_slot(peer) < SPENT_SLOTS);
        }
    }
}
