//! The frame by which the agent proves that what is attached decides: no policy admits it, and no program counts it.
//!
//! It carries an EtherType that no rule can name, so that every policy denies it and it goes the way of rare packets: through the switch,
//! the head of the bank in force and the call into the second program. Read as IP, for devices without a link header, its version is 0,
//! which is no IP either.

use crate::frame::{Frame, Header};

/// The index of `lo` in every network namespace (`LOOPBACK_IFINDEX` of include/net/flow.h), which test runs come by. Nothing is ever
/// attached there, so that no packet from a link is a probe.
pub const LOOPBACK: u32 = 1;

/// IEEE 802.1: local experimental EtherType 1.
const EXPERIMENTAL: [u8; 2] = [0x88, 0xb5];

/// Octets of the shortest Ethernet frame, without its checksum.
const SHORTEST: usize = 60;

/// The probe: from and to locally administered addresses, zeros after the EtherType.
pub const FRAME: [u8; SHORTEST] = {
    let mut frame = [0; SHORTEST];
    let addresses = *b"\x02prove\x02probe";
    let mut at = 0;
    while at < addresses.len() {
        frame[at] = addresses[at];
        at += 1;
    }
    [frame[12], frame[13]] = EXPERIMENTAL;
    frame
};

/// The probe's Ethernet header in numbers, which are compared without a call.
#[derive(Clone, Copy)]
#[repr(C, packed)]
struct Start {
    first: u64,
    second: u32,
    ether_type: u16,
}

// SAFETY: packed integers.
unsafe impl Header for Start {}

/// Whether a frame is the probe, in a test run. Asked of the frame and not of a summary: a packet from a link may come in between and write
/// its own.
#[inline(always)]
pub fn is_probe<F: Frame + ?Sized>(frame: &F) -> bool {
    const {
        assert!(SHORTEST >= size_of::<Start>());
    }
    const FIRST: u64 = u64::from_ne_bytes(*b"\x02prove\x02p");
    const SECOND: u32 = u32::from_ne_bytes(*b"robe");
    if frame.interface() != LOOPBACK {
        return false;
    }
    frame.fixed::<Start, 0>().is_some_and(|start| {
        start.first == FIRST
            && start.second == SECOND
            && start.ether_type == u16::from_ne_bytes(EXPERIMENTAL)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Run<'a>(&'a [u8], u32);

    impl Frame for Run<'_> {
        fn load<T: Header>(&self, at: u32) -> Option<T> {
            self.0.load(at)
        }
        fn length(&self) -> u32 {
            self.0.length()
        }
        fn interface(&self) -> u32 {
            self.1
        }
        fn has_stripped_tag(&self) -> bool {
            false
        }
    }

    #[track_caller]
    fn check(frame: &[u8], interface: u32, is: bool) {
        assert_eq!(is_probe(&Run(frame, interface)), is, "{frame:02x?}");
    }

    #[test]
    fn only_the_probe_and_only_in_a_test_run() {
        check(&FRAME, LOOPBACK, true);
        check(&FRAME, 2, false);
        check(&FRAME[..13], LOOPBACK, false);
        for at in 0..14 {
            let mut other = FRAME;
            other[at] ^= 1;
            check(&other, LOOPBACK, false);
        }
        assert_eq!(FRAME[0] >> 4, 0, "an IP version");
        assert_eq!(FRAME[0] & 1, 0, "to a group");
    }
}
