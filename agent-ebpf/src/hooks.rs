//! The hooks: what each call of a program knows of its packet besides the octets.

use core::ffi::c_void;
use core::mem::MaybeUninit;

use agent_common::event::{DenyEvent, Direction, Hook};
use aya_ebpf::EbpfContext;
use aya_ebpf::bindings::bpf_xfrm_state;
use aya_ebpf::helpers::generated;
use aya_ebpf::programs::{TcContext, XdpContext};

use crate::cursor::{RareSkbFrame, RareXdpFrame, SkbFrame, XdpFrame, interface, octets_in_all};
use crate::maps;
use crate::report::Call;

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
    type RareFrame = RareXdpFrame<false>;
    #[inline(always)]
    fn frame(&self) -> XdpFrame {
        XdpFrame::new(&self.0)
    }
    #[inline(always)]
    fn rare_frame(&self) -> Self::RareFrame {
        RareXdpFrame::new(&self.0)
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
    fn is_decrypted(&self) -> bool {
        false
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
    type RareFrame = RareXdpFrame<true>;
    #[inline(always)]
    fn frame(&self) -> XdpFrame {
        XdpFrame::new(&self.0)
    }
    #[inline(always)]
    fn rare_frame(&self) -> Self::RareFrame {
        RareXdpFrame::new(&self.0)
    }
    #[inline(always)]
    fn length(&self, _: u32) -> u32 {
        octets_in_all(&self.0)
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
    fn is_decrypted(&self) -> bool {
        false
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
    type RareFrame = RareSkbFrame<ETHERNET, false>;
    #[inline(always)]
    fn frame(&self) -> SkbFrame<ETHERNET> {
        SkbFrame::new(&self.0)
    }
    #[inline(always)]
    fn rare_frame(&self) -> Self::RareFrame {
        RareSkbFrame::new(&self.0)
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
    /// Of a tunnel's packet the carrier was judged at this interface, too, a moment before, and XDP would see no more of it. A device without
    /// Ethernet may be the tunnel's own end: there it was not.
    #[inline(always)]
    fn is_decrypted(&self) -> bool {
        ETHERNET && maps::tells_decrypted() && has_state(&self.0)
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
    type RareFrame = RareSkbFrame<ETHERNET, true>;
    #[inline(always)]
    fn frame(&self) -> SkbFrame<ETHERNET> {
        SkbFrame::new(&self.0)
    }
    #[inline(always)]
    fn rare_frame(&self) -> Self::RareFrame {
        RareSkbFrame::new(&self.0)
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
    fn is_decrypted(&self) -> bool {
        false
    }
    #[inline(always)]
    fn sender(&self) -> (u32, u64) {
        let uid = self.0.get_socket_uid();
        // SAFETY: the context pointer is the kernel's, valid for the whole call.
        let cgroup = unsafe { generated::bpf_skb_cgroup_id(self.as_ptr().cast()) };
        (uid, cgroup)
    }
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

/// Whether the kernel has decrypted this packet and still knows by which state. Out of line: only what would be denied costs it.
#[inline(never)]
fn has_state(context: &TcContext) -> bool {
    let mut state = MaybeUninit::<bpf_xfrm_state>::uninit();
    // SAFETY: the helper writes the whole state, zeros where there is none, and nothing reads it here.
    let told = unsafe {
        generated::bpf_skb_get_xfrm_state(
            context.skb.skb,
            0,
            state.as_mut_ptr(),
            size_of::<bpf_xfrm_state>() as u32,
            0,
        )
    };
    told == 0
}
