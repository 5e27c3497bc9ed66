//! The only pointers into packets and into tables: every read is checked against the frame's end or masked to the table's size.

use core::arch::asm;
use core::ffi::c_void;

use agent_common::event::{DenyEvent, Direction, Hook, Summary};
use agent_common::frame::{Frame, Header};
use aya_ebpf::EbpfContext;
use aya_ebpf::helpers::generated;
use aya_ebpf::programs::{TcContext, XdpContext};

use crate::maps;
use crate::report::Call;

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

impl<const ETHERNET: bool> SkbFrame<ETHERNET> {
    /// The frame of this call, its headers made linear where they are not (a sender through a packet ring leaves 14 octets linear).
    #[inline(always)]
    pub(crate) fn new(context: &TcContext) -> Self {
        let length = context.len();
        let wanted = if length < LINEAR { length } else { LINEAR };
        if context.data() + wanted as usize > context.data_end() {
            // A failure leaves the frame as it was; what can't be read is denied as unreadable.
            let _ = context.pull_data(wanted);
        }
        // SAFETY: the context pointer is the kernel's, valid for the whole call.
        let tagged = unsafe { (*context.skb.skb).vlan_present } != 0;
        Self {
            memory: Memory {
                start: context.data(),
                end: context.data_end(),
            },
            length,
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

/// Writes `value` to a map value and reads it from there: what the verifier knew of it is forgotten, and the compiler can't remember it.
///
/// # Safety
///
/// `place` points to a live, aligned map value that nobody else uses while the reference lives.
#[inline(always)]
pub(crate) unsafe fn keep<T>(place: *mut T, value: T) -> &'static T {
    // SAFETY: the caller vouches for the place.
    unsafe { place.write(value) };
    let mut place = place;
    // SAFETY: no instruction; the compiler takes it for one that may change the pointer and all memory.
    unsafe { asm!("/* {0} */", inout(reg) place, options(nostack, preserves_flags)) };
    // SAFETY: the same place, written above.
    unsafe { &*place }
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

/// A call of the XDP hook.
pub(crate) struct Driver(pub(crate) XdpContext);

/// A call of the XDP hook where frames may come in several buffers.
pub(crate) struct DriverFrags(pub(crate) XdpContext);

impl EbpfContext for Driver {
    #[inline(always)]
    fn as_ptr(&self) -> *mut c_void {
        self.0.as_ptr()
    }
}

impl EbpfContext for DriverFrags {
    #[inline(always)]
    fn as_ptr(&self) -> *mut c_void {
        self.0.as_ptr()
    }
}

impl Call for Driver {
    const DIRECTION: Direction = Direction::Ingress;
    const HOOK: Hook = Hook::Xdp;
    type Frame = XdpFrame;
    #[inline(always)]
    fn frame(&self) -> XdpFrame {
        XdpFrame::new(&self.0)
    }
    #[inline(always)]
    fn interface(&self) -> u32 {
        self.0.ingress_ifindex() as u32
    }
    #[inline(always)]
    fn leave_to_rare(&self) {
        // SAFETY: the context is the kernel's, and the array holds programs of this type.
        unsafe { maps::RARE_XDP.tail_call(self, 0) };
    }
    #[inline(always)]
    fn sender(&self) -> (u32, u64) {
        (DenyEvent::NO_UID, 0)
    }
}

impl Call for DriverFrags {
    const DIRECTION: Direction = Direction::Ingress;
    const HOOK: Hook = Hook::Xdp;
    type Frame = XdpFrame;
    #[inline(always)]
    fn frame(&self) -> XdpFrame {
        XdpFrame::new(&self.0)
    }
    #[inline(always)]
    fn interface(&self) -> u32 {
        self.0.ingress_ifindex() as u32
    }
    #[inline(always)]
    fn leave_to_rare(&self) {
        // SAFETY: the context is the kernel's, and the array holds programs of this type.
        unsafe { maps::RARE_XDP_FRAGS.tail_call(self, 0) };
    }
    #[inline(always)]
    fn sender(&self) -> (u32, u64) {
        (DenyEvent::NO_UID, 0)
    }
}

/// A call of the TC ingress hook; false: of a device without a link header.
pub(crate) struct TcIngress<const ETHERNET: bool>(pub(crate) TcContext);

/// A call of the TC egress hook; false: of a device without a link header.
pub(crate) struct TcEgress<const ETHERNET: bool>(pub(crate) TcContext);

impl<const ETHERNET: bool> EbpfContext for TcIngress<ETHERNET> {
    #[inline(always)]
    fn as_ptr(&self) -> *mut c_void {
        self.0.as_ptr()
    }
}

impl<const ETHERNET: bool> EbpfContext for TcEgress<ETHERNET> {
    #[inline(always)]
    fn as_ptr(&self) -> *mut c_void {
        self.0.as_ptr()
    }
}

impl<const ETHERNET: bool> Call for TcIngress<ETHERNET> {
    const DIRECTION: Direction = Direction::Ingress;
    const HOOK: Hook = Hook::Tc;
    type Frame = SkbFrame<ETHERNET>;
    #[inline(always)]
    fn frame(&self) -> SkbFrame<ETHERNET> {
        SkbFrame::new(&self.0)
    }
    #[inline(always)]
    fn interface(&self) -> u32 {
        interface(&self.0)
    }
    #[inline(always)]
    fn leave_to_rare(&self) {
        // SAFETY: the context is the kernel's, and the array holds programs of this type.
        unsafe { maps::RARE_TC.tail_call(self, Direction::Ingress as u32) };
    }
    #[inline(always)]
    fn sender(&self) -> (u32, u64) {
        (DenyEvent::NO_UID, 0)
    }
}

impl<const ETHERNET: bool> Call for TcEgress<ETHERNET> {
    const DIRECTION: Direction = Direction::Egress;
    const HOOK: Hook = Hook::Tc;
    type Frame = SkbFrame<ETHERNET>;
    #[inline(always)]
    fn frame(&self) -> SkbFrame<ETHERNET> {
        SkbFrame::new(&self.0)
    }
    #[inline(always)]
    fn interface(&self) -> u32 {
        interface(&self.0)
    }
    #[inline(always)]
    fn leave_to_rare(&self) {
        // SAFETY: the context is the kernel's, and the array holds programs of this type.
        unsafe { maps::RARE_TC.tail_call(self, Direction::Egress as u32) };
    }
    #[inline(always)]
    fn sender(&self) -> (u32, u64) {
        let uid = self.0.get_socket_uid();
        // SAFETY: the context pointer is the kernel's, valid for the whole call.
        let cgroup = unsafe { generated::bpf_skb_cgroup_id(self.as_ptr().cast()) };
        (uid, cgroup)
    }
}

#[inline(always)]
fn interface(context: &TcContext) -> u32 {
    // SAFETY: the context pointer is the kernel's, valid for the whole call.
    unsafe { (*context.skb.skb).ifindex }
}

/// `PACKET_LOOPBACK` of linux/if_packet.h.
const PACKET_LOOPBACK: u32 = 5;

/// Whether this is the copy of what the host itself sent to a group, on its way to members on the same host. The kernel alone says so: no
/// frame from a link has this type. Nothing of it leaves or comes to the host, egress has judged what others get, and XDP does not see it
/// at all; so it passes.
#[inline(always)]
pub(crate) fn is_looped_back(context: &TcContext) -> bool {
    // SAFETY: the context pointer is the kernel's, valid for the whole call.
    unsafe { (*context.skb.skb).pkt_type == PACKET_LOOPBACK }
}
