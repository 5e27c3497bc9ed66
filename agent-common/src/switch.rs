//! Which bank is in force, and the value in which every packet finds that first.

use crate::tables::{BANKS, Head};

/// What every packet reads first: which bank is in force, and the heads of all.
///
/// One value, so that it takes one look-up and one page of memory. The word is written at any time, a head only while its bank is not in
/// force: they share no cache line.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct Heads {
    /// Which bank is in force.
    pub switch: Switch,
    /// Zero.
    pub reserved: [u64; 7],
    /// The head of each bank.
    pub banks: [Head; BANKS as usize],
}

/// The switch: one word that says which bank is in force, read once per packet and written by one store.
///
/// Bits 0-1 active bank, 2-3 fallback bank, 4 pause, 6-31 low bits of the generation, 32-63 deadline (tick; 0: none).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(transparent)]
pub struct Switch(pub u64);

impl Switch {
    const PAUSE: u64 = 1 << 4;

    /// `bank` in force without a deadline.
    pub const fn to(bank: u32, fallback: u32, generation: u32) -> Self {
        Self(
            (bank & 3) as u64
                | ((fallback & 3) as u64) << 2
                | ((generation & 0x03ff_ffff) as u64) << 6,
        )
    }

    /// The same, and from tick `deadline` on the fallback bank.
    pub const fn until(self, deadline: u32) -> Self {
        // 0 means none: a deadline that falls on it comes a tick later
        let deadline = if deadline == 0 { 1 } else { deadline };
        Self(self.0 & 0xffff_ffff | (deadline as u64) << 32)
    }

    /// The same, with denials turned into audits before tick `deadline`; then as before.
    pub const fn paused_until(self, deadline: u32) -> Self {
        Self(self.until(deadline).0 | Self::PAUSE)
    }

    /// The active bank.
    pub const fn active(self) -> u32 {
        (self.0 & 3) as u32
    }
    /// The fallback bank.
    pub const fn fallback(self) -> u32 {
        (self.0 >> 2 & 3) as u32
    }
    /// Low 26 bits of the generation.
    pub const fn generation(self) -> u32 {
        (self.0 >> 6 & 0x03ff_ffff) as u32
    }
    /// The deadline, a tick.
    pub const fn deadline(self) -> Option<u32> {
        match (self.0 >> 32) as u32 {
            0 => None,
            tick => Some(tick),
        }
    }
    /// Whether the deadline is a pause's.
    pub const fn is_pause(self) -> bool {
        self.0 & Self::PAUSE != 0
    }

    /// The bank in force at tick `now`, and whether denials are audits.
    #[inline(always)]
    pub const fn in_force(self, now: u32) -> (u32, bool) {
        let deadline = (self.0 >> 32) as u32;
        if deadline == 0 {
            return (self.active(), false);
        }
        let passed = now.wrapping_sub(deadline) as i32 >= 0;
        if self.is_pause() {
            (self.active(), !passed)
        } else if passed {
            (self.fallback(), false)
        } else {
            (self.active(), false)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deadline_changes_banks_by_itself() {
        let plain = Switch::to(1, 2, 7);
        let pending = plain.until(100);
        let paused = plain.paused_until(100);
        for (word, now, expected) in [
            (plain, 0, (1, false)),
            (plain, u32::MAX, (1, false)),
            (pending, 99, (1, false)),
            (pending, 100, (2, false)),
            (pending, 0x7000_0000, (2, false)),
            (paused, 99, (1, true)),
            (paused, 100, (1, false)),
            (plain.until(0), 0, (1, false)), // never read as "no deadline"
            (plain.until(0), 1, (2, false)),
            (plain.until(5), u32::MAX, (1, false)), // ticks wrap
        ] {
            assert_eq!(word.in_force(now), expected, "{word:?} at {now}");
        }
        assert_eq!(
            (paused.generation(), paused.fallback(), paused.is_pause()),
            (7, 2, true)
        );
    }
}
