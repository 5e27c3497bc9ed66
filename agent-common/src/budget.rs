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
    const PHI: u64 = 0x9e37_79b9_7f4a_7c15;
    let mixed = (peer[1] ^ peer[0].rotate_left(29)).wrapping_mul(PHI);
    2 + acquaintance as u32 * PEER_BUCKETS + (mixed >> 52) as u32
}

impl Bucket {
    /// Refills by the ticks gone by and takes one event; false where there is none to take.
    #[inline(always)]
    pub fn take(&mut self, budget: &Budget, now: u32) -> bool {
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
        let granted = held >= Budget::EVENT;
        self.tokens = if granted { held - Budget::EVENT } else { held };
        granted
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
        }
    }
}
