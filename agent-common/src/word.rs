//! A word that several CPUs read and write.

use core::cell::UnsafeCell;

/// A `u32` in a map value. Each load and each store is one access of the whole word, never torn, merged or left out; nothing orders it
/// against others. (The BPF target has atomic types of 64 bits only.)
#[derive(Debug, Default)]
#[repr(transparent)]
pub struct Word(UnsafeCell<u32>);

impl Word {
    /// A word.
    #[inline(always)]
    pub const fn new(value: u32) -> Self {
        Self(UnsafeCell::new(value))
    }

    /// Reads it.
    #[inline(always)]
    pub fn load(&self) -> u32 {
        // SAFETY: the cell is live and aligned. In user space the type is not Sync, so nobody writes meanwhile; on BPF an aligned word is
        // read whole.
        unsafe { self.0.get().read_volatile() }
    }

    /// Writes it.
    #[inline(always)]
    pub fn store(&self, value: u32) {
        // SAFETY: as for `load`.
        unsafe { self.0.get().write_volatile(value) }
    }
}

// SAFETY: on BPF every access is one load or store of an aligned word, which the machine does whole; programs on several CPUs share map
// values in just this way. In user space, where threads ask for more, it stays unshared.
#[cfg(target_arch = "bpf")]
unsafe impl Sync for Word {}
