//! A denied or audited packet as it lies in the ring buffer.

use crate::net::Address;

/// Which way the packet went, seen from this host.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Direction {
    /// To this host.
    Ingress = 0,
    /// From this host.
    Egress = 1,
}

/// Where the program is attached.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[repr(u8)]
pub enum Hook {
    /// XDP, in the driver or generic.
    Xdp = 0,
    /// TC (TCX or clsact).
    Tc = 1,
}

/// What the headers said, host byte order. Zero where a header was not reached.
///
/// From `ether_type` on lies what is the same in all packets of one kind: eight octets at an even place, which LLVM may write as one constant.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct Summary {
    /// Source, as [`Address::wide`] gives it.
    pub source: [u64; 2],
    /// Destination.
    pub destination: [u64; 2],
    /// Source port; for ICMP type << 8 | code.
    pub source_port: u16,
    /// Destination port; for echo its identifier.
    pub destination_port: u16,
    /// Octets of the frame, as the hook counts them.
    pub length: u32,
    /// EtherType after tags.
    pub ether_type: u16,
    /// IP protocol.
    pub protocol: u8,
    /// TCP flags.
    pub tcp_flags: u8,
    /// 4, 6, or 0 where it is not IP.
    pub family: u16,
    /// 1 where the packet is on its way through this host, else 0.
    pub through: u16,
}

impl Summary {
    /// Sets both addresses.
    #[inline(always)]
    pub fn set_addresses<A: Address>(&mut self, source: A, destination: A) {
        self.family = A::FAMILY as u16;
        self.source = source.wide();
        self.destination = destination.wide();
    }
}

/// An event: [`Summary`] and what was decided.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct DenyEvent {
    /// The packet.
    pub packet: Summary,
    /// The decision: [`crate::verdict::Verdict`] as a word.
    pub verdict: u32,
    /// Generation of the policy that decided.
    pub generation: u32,
    /// The interface's index.
    pub interface: u32,
    /// Tick ([`crate::tables::TICK_SHIFT`]) of the decision.
    pub tick: u32,
    /// The socket's uid where the hook knows it, else [`DenyEvent::NO_UID`].
    pub uid: u32,
    /// The bank that `generation` lay in.
    pub bank: u8,
    /// [`Direction`].
    pub direction: u8,
    /// [`Hook`].
    pub hook: u8,
    /// Zero.
    pub reserved: u8,
    /// The cgroup that sent it (id as in the cgroup file system); 0 where the hook doesn't know.
    pub cgroup: u64,
}

impl DenyEvent {
    /// No uid is known.
    pub const NO_UID: u32 = u32::MAX;
}
