//! Tables in memory: an array map with BPF_F_MMAPABLE, mapped into this process.
//!
//! Writing through memory costs no system call a value and no kernel buffer of 128 KiB, and one aligned word is stored whole.

use std::io;
use std::marker::PhantomData;
use std::mem::offset_of;
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use agent_common::switch::{Heads, Switch};
use agent_common::tables::Head;
use aya::Pod;

/// A mapped array map whose values are `V`.
pub(super) struct Mapping<V> {
    at: NonNull<u8>,
    octets: usize,
    count: usize,
    value: PhantomData<V>,
}

// SAFETY: plain memory that only this value frees; what is written to it is serialized by `&mut self`, apart from the atomic word.
unsafe impl<V> Send for Mapping<V> {}

impl<V: Pod> Mapping<V> {
    /// Octets between values: the kernel rounds up to 8 (array_map_alloc in kernel/bpf/arraymap.c).
    const STRIDE: usize = size_of::<V>().next_multiple_of(8);
    const EXACT: () = assert!(
        size_of::<V>().is_multiple_of(8),
        "values of a mapped table lie side by side without gaps"
    );

    /// Maps all `count` values of a map; `writable` asks for permission to store.
    pub(super) fn new(map: BorrowedFd<'_>, count: u32, writable: bool) -> io::Result<Self> {
        let () = Self::EXACT;
        let count = count as usize;
        let octets = count * Self::STRIDE;
        let protection = if writable {
            libc::PROT_READ | libc::PROT_WRITE
        } else {
            libc::PROT_READ
        };
        // SAFETY: a new mapping at an address of the kernel's choice; it rounds the length up to pages, and the map's own area is rounded the
        // same way.
        let at = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                octets,
                protection,
                libc::MAP_SHARED,
                map.as_raw_fd(),
                0,
            )
        };
        if at == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let at = NonNull::new(at.cast()).ok_or_else(|| io::Error::other("mapped at address 0"))?;
        Ok(Self {
            at,
            octets,
            count,
            value: PhantomData,
        })
    }

    /// How many values there are.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// All octets of the values from `first` on; `None` past the end.
    fn tail(&self, first: usize) -> Option<(*mut u8, usize)> {
        let offset = first.checked_mul(Self::STRIDE)?;
        let rest = self.octets.checked_sub(offset)?;
        // SAFETY: the offset lies within the mapping.
        Some((unsafe { self.at.as_ptr().add(offset) }, rest))
    }

    /// Writes words, half-words or values beginning at the value `first`. False where they don't fit; nothing is written then.
    #[must_use]
    pub(super) fn write<T: Pod>(&mut self, first: usize, from: &[T]) -> bool {
        let Some((to, room)) = self.tail(first) else {
            return false;
        };
        let length = size_of_val(from);
        if length > room || !size_of::<V>().is_multiple_of(size_of::<T>()) {
            return false;
        }
        // SAFETY: `to` has room for `length` octets and is aligned for V, of which T is a part; nothing else in this process refers to it.
        unsafe { std::ptr::copy_nonoverlapping(from.as_ptr().cast::<u8>(), to, length) };
        true
    }

    /// Clears `count` values from `first` on. False where they are not there.
    #[must_use]
    pub(super) fn clear(&mut self, first: usize, count: usize) -> bool {
        let Some((to, room)) = self.tail(first) else {
            return false;
        };
        let Some(length) = count.checked_mul(Self::STRIDE).filter(|&l| l <= room) else {
            return false;
        };
        // SAFETY: within the mapping; zero octets are a valid Pod.
        unsafe { std::ptr::write_bytes(to, 0, length) };
        true
    }

    /// The first part, beginning at the value `first`, that differs from what is expected; `Some(0)` also where there is no room.
    pub(super) fn differs<T: Pod + PartialEq>(
        &self,
        first: usize,
        expected: &[T],
    ) -> Option<usize> {
        let Some((from, room)) = self.tail(first) else {
            return Some(0);
        };
        if size_of_val(expected) > room || !from.cast::<T>().is_aligned() {
            return Some(0);
        }
        // SAFETY: readable and aligned memory of that length; programs never write these tables, and this process does so only by `&mut self`.
        let found = unsafe { std::slice::from_raw_parts(from.cast::<T>(), expected.len()) };
        if found == expected {
            return None;
        }
        found.iter().zip(expected).position(|(a, b)| a != b)
    }
}

impl<const N: usize> Mapping<[u32; N]> {
    /// The word of four octets at `index`, counted over all values, shared with the programs.
    pub(super) fn word32(&self, index: usize) -> Option<&AtomicU32> {
        let offset = index.checked_mul(4).filter(|at| at + 4 <= self.octets)?;
        // SAFETY: four mapped, aligned octets (values lie without gaps) that are only touched as an atomic word, here and by the programs.
        Some(unsafe { AtomicU32::from_ptr(self.at.as_ptr().add(offset).cast()) })
    }
}

impl Mapping<Heads> {
    /// The octets of a field of the one value.
    fn field(&self, offset: usize, length: usize) -> Option<*mut u8> {
        let rest = self.octets.checked_sub(offset)?;
        // SAFETY: so many octets lie within the mapping.
        (length <= rest).then(|| unsafe { self.at.as_ptr().add(offset) })
    }

    /// The switch word, shared with the programs.
    fn word(&self) -> Option<&AtomicU64> {
        let at = self.field(offset_of!(Heads, switch), size_of::<Switch>())?;
        // SAFETY: eight mapped, aligned octets that are only touched as an atomic word, here and by the programs.
        Some(unsafe { AtomicU64::from_ptr(at.cast()) })
    }

    /// Stores the switch word at once. False where there is none.
    #[must_use]
    pub(super) fn store_switch(&self, switch: Switch) -> bool {
        // Release: a program that sees the word sees the bank that was written before.
        self.word()
            .map(|at| at.store(switch.0, Ordering::Release))
            .is_some()
    }

    /// Loads the switch word.
    pub(super) fn switch(&self) -> Option<Switch> {
        self.word().map(|at| Switch(at.load(Ordering::Acquire)))
    }

    /// Writes the head of a bank. False where there is none.
    #[must_use]
    pub(super) fn write_head(&mut self, bank: u32, head: &Head) -> bool {
        let offset = offset_of!(Heads, banks) + bank as usize * size_of::<Head>();
        let Some(at) = self.field(offset, size_of::<Head>()) else {
            return false;
        };
        // SAFETY: mapped octets of this length, aligned for a head, that nothing else in this process refers to.
        unsafe { at.cast::<Head>().write(*head) };
        true
    }
}

impl<V> Drop for Mapping<V> {
    fn drop(&mut self) {
        // SAFETY: mapped by `new` with this address and length, and not referred to any more.
        unsafe { libc::munmap(self.at.as_ptr().cast(), self.octets) };
    }
}
