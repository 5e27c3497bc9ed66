//! Hashing for the compiler's own sets: fast, and the same in every run, so that equal input gives equal tables.

use std::hash::{BuildHasherDefault, Hasher};

/// A map with [`Fast`].
pub(super) type Map<K, V> = std::collections::HashMap<K, V, BuildHasherDefault<Fast>>;

const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

/// Finalizer of SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).
pub(super) fn mix(value: u64) -> u64 {
    let value = (value ^ value >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ value >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ value >> 31
}

/// What one member adds to the hash of a set: a set's hash is the exclusive or of its members', so a sweep keeps it up to date with one
/// operation for each member that comes or goes. 128 bits: two different sets of one policy never meet in practice.
pub(super) fn member(number: u32) -> u128 {
    let seed = (u64::from(number) + 1).wrapping_mul(MULTIPLIER);
    u128::from(mix(seed)) << 64 | u128::from(mix(seed ^ 0x5851_f42d_4c95_7f2d))
}

/// A multiply-and-rotate hasher: the keys are the operator's own configuration, so nobody floods it with collisions.
#[derive(Default)]
pub(super) struct Fast(u64);

impl Fast {
    fn add(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(MULTIPLIER);
    }
}

impl Hasher for Fast {
    fn finish(&self) -> u64 {
        mix(self.0)
    }
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.add(u64::from_le_bytes(word));
        }
    }
    fn write_u8(&mut self, value: u8) {
        self.add(value.into());
    }
    fn write_u32(&mut self, value: u32) {
        self.add(value.into());
    }
    fn write_u64(&mut self, value: u64) {
        self.add(value);
    }
    fn write_u128(&mut self, value: u128) {
        self.add(value as u64);
        self.add((value >> 64) as u64);
    }
    fn write_usize(&mut self, value: usize) {
        self.add(value as u64);
    }
    fn write_isize(&mut self, value: isize) {
        self.add(value as u64);
    }
}
