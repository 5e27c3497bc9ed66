//! Bounds-checked reads of headers, from a packet in the kernel or from octets in memory.

/// A header as it lies on the wire: any octets are a valid value, and it has no padding.
///
/// # Safety
///
/// Only for `repr(C, packed)` structs of integers and arrays of them.
pub unsafe trait Header: Copy {}

/// A frame that headers are read from.
pub trait Frame {
    /// The header at `at` octets from the frame's beginning, read as one value; `None` where the frame ends before the header does or is
    /// not in readable memory there.
    fn load<T: Header>(&self, at: u32) -> Option<T>;

    /// The same at an offset that is known when the program is compiled: the verifier needs no proof of its range.
    #[inline(always)]
    fn fixed<T: Header, const AT: u32>(&self) -> Option<T> {
        self.load(AT)
    }

    /// Octets of the whole frame.
    fn length(&self) -> u32;

    /// Whether it begins with an Ethernet header; devices without a link layer (tunnels) hand over IP.
    #[inline(always)]
    fn has_ethernet(&self) -> bool {
        true
    }

    /// Index of the interface that it came by or leaves by.
    fn interface(&self) -> u32;

    /// Whether the network card took a VLAN tag off before.
    fn has_stripped_tag(&self) -> bool;
}

/// A frame in memory.
impl Frame for [u8] {
    fn load<T: Header>(&self, at: u32) -> Option<T> {
        let at = at as usize;
        let bytes = self.get(at..at.checked_add(size_of::<T>())?)?;
        // SAFETY: `bytes` has the size of T, the read asks for no alignment, and every value of the octets is a T (Header).
        Some(unsafe { bytes.as_ptr().cast::<T>().read_unaligned() })
    }

    fn length(&self) -> u32 {
        u32::try_from(self.len()).unwrap_or(u32::MAX)
    }

    fn interface(&self) -> u32 {
        0
    }

    fn has_stripped_tag(&self) -> bool {
        false
    }
}
