//! The only pointers into packets and into tables: every read is checked against the frame's end or masked to the table's size.

use core::arch::asm;

use agent_common::event::Summary;
use agent_common::frame::{Frame, Header};
use aya_ebpf::bindings::{__sk_buff, xdp_md};
use aya_ebpf::helpers::generated;
use aya_ebpf::maps::PerCpuArray;
use aya_ebpf::programs::{TcContext, XdpContext};

use crate::maps;

/// Headers lie within this many octets of a frame's beginning: the transport begins within 512, then an ICMP error 8, a quoted IPv4 60, its
/// transport 20. A power of two, because the verifier forgets a range that was spilled and a mask at the use gives it back.
const HEADERS: usize = 1024;

/// Octets that the TC programs make linear before they read.
pub(crate) const LINEAR: u32 = 192;

/// A number below `LIMIT`, a power of two: masked by an instruction that the compiler can't move, widen or leave out.
#[inline(always)]
fn below<const LIMIT: usize>(number: u32) -> usize {
    const { assert!(LIMIT.is_power_of_two() && LIMIT <= 1 << 30) };
    let mut number = u64::from(number);
    // SAFETY: one instruction that changes nothing but this register.
    unsafe {
        asm!("{0} &= {1}", inout(reg) number, const LIMIT - 1, options(pure, nomem, nostack, preserves_flags));
    }
    number as usize
}

/// Linear packet memory.
#[derive(Clone, Copy)]
struct Memory {
    start: usize,
    end: usize,
}

impl Memory {
    #[inline(always)]
    fn read<T: Header>(&self, at: usize) -> Option<T> {
        let from = self.start + at;
        if from + size_of::<T>() > self.end {
            return None;
        }
        // SAFETY: the octets lie between the packet's start and end, as just checked (the verifier proves it again); every value of them is
        // a T (Header), and the read asks for no alignment.
        Some(unsafe { (from as *const T).read_unaligned() })
    }
}

/// A frame at the XDP hook.
pub(crate) struct XdpFrame {
    memory: Memory,
    interface: u32,
}

impl XdpFrame {
    /// The frame of this call.
    #[inline(always)]
    pub(crate) fn new(context: &XdpContext) -> Self {
        Self {
            memory: Memory {
                start: context.data(),
                end: context.data_end(),
            },
            interface: context.ingress_ifindex() as u32,
        }
    }
}

impl Frame for XdpFrame {
    #[inline(always)]
    fn load<T: Header>(&self, at: u32) -> Option<T> {
        self.memory.read(below::<HEADERS>(at))
    }

    #[inline(always)]
    fn fixed<T: Header, const AT: u32>(&self) -> Option<T> {
        self.memory.read(AT as usize)
    }

    #[inline(always)]
    fn length(&self) -> u32 {
        (self.memory.end - self.memory.start) as u32
    }

    #[inline(always)]
    fn interface(&self) -> u32 {
        self.interface
    }

    #[inline(always)]
    fn has_stripped_tag(&self) -> bool {
        false
    }
}

/// A frame at a TC hook, of a device with Ethernet headers or of one without.
pub(crate) struct SkbFrame<const ETHERNET: bool> {
    memory: Memory,
    length: u32,
    tagged: bool,
    interface: u32,
}

/// Makes the headers of a frame linear where they are not (a sender through a packet ring leaves 14 octets linear).
#[inline(always)]
fn pull(context: &TcContext) {
    let length = context.len();
    let wanted = if length < LINEAR { length } else { LINEAR };
    if context.data() + wanted as usize > context.data_end() {
        // A failure leaves the frame as it was; what can't be read is denied as unreadable.
        let _ = context.pull_data(wanted);
    }
}

impl<const ETHERNET: bool> SkbFrame<ETHERNET> {
    /// The frame of this call, as far as it is linear. What this host sends lies in pages behind linear headers, and to pull a part of it in
    /// costs eight times the decision: the kernel copies a frame that waits for its acknowledgement. Where the headers are not linear
    /// either the frame is left to the way of rare packets.
    #[inline(always)]
    pub(crate) fn new(context: &TcContext) -> Self {
        // SAFETY: the context pointer is the kernel's, valid for the whole call.
        let tagged = unsafe { (*context.skb.skb).vlan_present } != 0;
        Self {
            memory: Memory {
                start: context.data(),
                end: context.data_end(),
            },
            length: context.len(),
            tagged,
            interface: interface(context),
        }
    }
}

impl<const ETHERNET: bool> Frame for SkbFrame<ETHERNET> {
    #[inline(always)]
    fn has_ethernet(&self) -> bool {
        ETHERNET
    }

    #[inline(always)]
    fn load<T: Header>(&self, at: u32) -> Option<T> {
        self.memory.read(below::<HEADERS>(at))
    }

    #[inline(always)]
    fn fixed<T: Header, const AT: u32>(&self) -> Option<T> {
        self.memory.read(AT as usize)
    }

    #[inline(always)]
    fn length(&self) -> u32 {
        self.length
    }

    #[inline(always)]
    fn interface(&self) -> u32 {
        self.interface
    }

    #[inline(always)]
    fn has_stripped_tag(&self) -> bool {
        self.tagged
    }
}

/// A frame at the XDP hook whose bounds are asked for at each read: on the way of rare packets, where the verifier would otherwise walk on once
/// for each length of what was read before. `FRAGS`: it may lie in several buffers, and what is not in the first is copied from the others.
pub(crate) struct RareXdpFrame<const FRAGS: bool> {
    context: *mut xdp_md,
}

impl<const FRAGS: bool> RareXdpFrame<FRAGS> {
    /// The frame of this call.
    #[inline(always)]
    pub(crate) fn new(context: &XdpContext) -> Self {
        Self {
            context: context.ctx,
        }
    }

    #[inline(always)]
    fn memory(&self) -> Memory {
        // SAFETY: fields of the kernel's context, valid for the whole call.
        let (start, end) = unsafe {
            (
                (&raw const (*self.context).data).read_volatile(),
                (&raw const (*self.context).data_end).read_volatile(),
            )
        };
        Memory {
            start: start as usize,
            end: end as usize,
        }
    }

    /// A header that is not whole in the first buffer.
    #[inline(always)]
    fn copied<T: Header>(&self, at: usize) -> Option<T> {
        const { assert!(size_of::<T>() <= size_of::<maps::Copied>()) };
        let room = maps::COPIED.get_ptr_mut(0)?;
        let octets = size_of::<T>() as u32;
        // SAFETY: the context is the kernel's, and the room is this CPU's own value with space for so many octets.
        let failed =
            unsafe { generated::bpf_xdp_load_bytes(self.context, at as u32, room.cast(), octets) };
        if failed != 0 {
            return None;
        }
        // SAFETY: the helper wrote all octets; every value of them is a T (Header), and the read asks for no alignment.
        Some(unsafe { room.cast::<T>().read_unaligned() })
    }

    #[inline(always)]
    fn read<T: Header>(&self, at: usize) -> Option<T> {
        match self.memory().read(at) {
            None if FRAGS => self.copied(at),
            read => read,
        }
    }
}

/// Octets of a frame at the XDP hook, in all its buffers.
#[inline(always)]
pub(crate) fn octets_in_all(context: &XdpContext) -> u32 {
    // SAFETY: the context pointer is the kernel's, valid for the whole call.
    unsafe { generated::bpf_xdp_get_buff_len(context.ctx) as u32 }
}

impl<const FRAGS: bool> Frame for RareXdpFrame<FRAGS> {
    #[inline(always)]
    fn load<T: Header>(&self, at: u32) -> Option<T> {
        self.read(below::<HEADERS>(at))
    }

    #[inline(always)]
    fn fixed<T: Header, const AT: u32>(&self) -> Option<T> {
        self.read(AT as usize)
    }

    #[inline(always)]
    fn length(&self) -> u32 {
        let memory = self.memory();
        (memory.end - memory.start) as u32
    }

    #[inline(always)]
    fn interface(&self) -> u32 {
        // SAFETY: a field of the kernel's context, valid for the whole call.
        unsafe { (*self.context).ingress_ifindex }
    }

    #[inline(always)]
    fn has_stripped_tag(&self) -> bool {
        false
    }
}

/// A frame at a TC hook whose bounds are asked for at each read. The hook is part of the type, so that what reads it is compiled for one.
pub(crate) struct RareSkbFrame<const ETHERNET: bool, const EGRESS: bool> {
    context: *mut __sk_buff,
}

impl<const ETHERNET: bool, const EGRESS: bool> RareSkbFrame<ETHERNET, EGRESS> {
    /// The frame of this call, its headers made linear where they are not.
    #[inline(always)]
    pub(crate) fn new(context: &TcContext) -> Self {
        pull(context);
        Self {
            context: context.skb.skb,
        }
    }

    #[inline(always)]
    fn memory(&self) -> Memory {
        // SAFETY: fields of the kernel's context, valid for the whole call.
        let (start, end) = unsafe {
            (
                (&raw const (*self.context).data).read_volatile(),
                (&raw const (*self.context).data_end).read_volatile(),
            )
        };
        Memory {
            start: start as usize,
            end: end as usize,
        }
    }
}

impl<const ETHERNET: bool, const EGRESS: bool> Frame for RareSkbFrame<ETHERNET, EGRESS> {
    #[inline(always)]
    fn has_ethernet(&self) -> bool {
        ETHERNET
    }

    #[inline(always)]
    fn load<T: Header>(&self, at: u32) -> Option<T> {
        self.memory().read(below::<HEADERS>(at))
    }

    #[inline(always)]
    fn fixed<T: Header, const AT: u32>(&self) -> Option<T> {
        self.memory().read(AT as usize)
    }

    #[inline(always)]
    fn length(&self) -> u32 {
        // SAFETY: a field of the kernel's context, valid for the whole call.
        unsafe { (*self.context).len }
    }

    #[inline(always)]
    fn interface(&self) -> u32 {
        // SAFETY: as above.
        unsafe { (*self.context).ifindex }
    }

    #[inline(always)]
    fn has_stripped_tag(&self) -> bool {
        // SAFETY: as above.
        unsafe { (*self.context).vlan_present != 0 }
    }
}

/// A pointer to one element of a table in a map value.
///
/// The index is masked here, by [`below`], because LLVM may keep it in a wider stack slot, and the verifiers of 5.10 and 6.1 then
/// forget its range ("unbounded min value").
///
/// # Safety
///
/// `table` points to a live map value, and `N` is a power of two.
#[inline(always)]
pub(crate) unsafe fn element<T, const N: usize>(table: *const [T; N], index: u32) -> *mut T {
    const { assert!(N.is_power_of_two()) };
    let index = below::<N>(index);
    // SAFETY: the masked index is inside the array that the caller vouches for.
    unsafe { table.cast::<T>().cast_mut().add(index) }
}

/// Writes `value` to this CPU's room and reads it from there: what the verifier knew of it is forgotten, and the compiler can't remember it.
#[inline(always)]
pub(crate) fn keep<T, R>(room: &PerCpuArray<R>, value: T) -> Option<&'static T> {
    const { assert!(size_of::<T>() <= size_of::<R>() && align_of::<T>() <= align_of::<R>()) };
    let mut place = room.get_ptr_mut(0)?.cast::<T>();
    // SAFETY: this CPU's own value, large enough and aligned; one packet at a time is judged on a CPU, and nobody else reads it.
    unsafe { place.write(value) };
    // SAFETY: no instruction; the compiler takes it for one that may change the pointer and all memory.
    unsafe { asm!("/* {0} */", inout(reg) place, options(nostack, preserves_flags)) };
    // SAFETY: the same place, written above.
    Some(unsafe { &*place })
}

/// What [`keep`] wrote to this CPU's room for the same packet.
///
/// # Safety
///
/// It was a value of this type.
#[inline(always)]
pub(crate) unsafe fn kept<T, R>(room: &PerCpuArray<R>) -> Option<&'static T> {
    // SAFETY: a live map value, which the caller vouches for.
    room.get_ptr(0).map(|place| unsafe { &*place.cast::<T>() })
}

/// An empty summary for the rare packet that this CPU judges.
#[inline(always)]
pub(crate) fn summary() -> Option<&'static mut Summary> {
    let place = maps::SUMMARY.get_ptr_mut(0)?;
    // SAFETY: this CPU's own value; one packet at a time is judged on a CPU, and nobody else reads it.
    let summary = unsafe { &mut *place };
    *summary = Summary::default();
    Some(summary)
}

#[inline(always)]
pub(crate) fn interface(context: &TcContext) -> u32 {
    // SAFETY: the context pointer is the kernel's, valid for the whole call.
    unsafe { (*context.skb.skb).ifindex }
}
