//! Fragments: the first is judged like any packet and remembered where it passed; the others follow it, because they have no ports.
//!
//! The memory is the one table in which packets from outside insert, so it is small, short-lived and in shares: whatever sources with the same
//! share send, they overwrite a sixteenth of it. A fragment that comes before its first is denied; the sender tries again.

use crate::event::Direction;
use crate::flow::{recent, stamp};
use crate::lookup::Lookup;
use crate::net::{Address, IpProto};
use crate::packet::Network;
use crate::verdict::{Action, Reason, Verdict};

/// Places in the memory.
pub const SLOTS: u32 = 16_384;

/// Shares that sources are spread over.
const SHARES: u32 = 16;

/// What is remembered of a first fragment. Programs on several CPUs write it word by word; one that is torn belongs to no packet, or counts a
/// fragment for another rule, for what is here has passed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct FragmentEntry {
    /// Which packet's, as [`place`] says.
    pub tag: u32,
    /// When the first fragment passed: a stamp.
    pub stamp: u32,
    /// [`Verdict`] of the first fragment.
    pub verdict: u32,
    /// Zero.
    pub reserved: u32,
}

/// A packet's place in the memory: its slot, and what tells it from others that come to lie there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// Below [`SLOTS`].
    pub slot: u32,
    /// Not 0, which an empty slot has.
    pub tag: u32,
}

/// The place of the packet that a fragment is of. Fragments are put together by addresses, identification and, in IPv4, protocol (RFC 791
/// §2.3, RFC 8200 §4.5); here also by interface, direction and policy.
#[inline(always)]
pub fn place<A: Address>(
    direction: Direction,
    interface: u32,
    generation: u32,
    network: &Network<A>,
) -> Place {
    // Multiplicative hashing with 2^64/φ (Knuth, TAOCP 3, §6.4): the high bits of the product.
    const PHI: u64 = 0x9e37_79b9_7f4a_7c15;
    // One half is multiplied before the other comes to it: two addresses whose halves differ in the same bits would else be one.
    let folded = |wide: [u64; 2]| wide[0].wrapping_mul(PHI).rotate_left(29) ^ wide[1];
    let from = folded(network.source.wide()).wrapping_mul(PHI);
    let share = (from >> 60) as u32;
    let protocol = if A::FAMILY == 4 {
        network.protocol.0
    } else {
        IpProto::FRAGMENT.0
    };
    let mut mixed = from ^ from >> 32;
    for part in [
        folded(network.destination.wide()),
        u64::from(network.fragment.identification) << 32 | u64::from(interface),
        u64::from(generation) << 32 | (direction as u64) << 8 | u64::from(protocol),
    ] {
        mixed = (mixed ^ part).wrapping_mul(PHI);
        mixed ^= mixed >> 32;
    }
    let tag = mixed as u32;
    Place {
        slot: share * (SLOTS / SHARES) + (mixed.wrapping_mul(PHI) >> 54) as u32,
        tag: if tag == 0 { 1 } else { tag },
    }
}

/// Remembers a first fragment that passes.
#[inline(always)]
pub(crate) fn passed<W: Lookup>(world: &W, place: Place, verdict: Verdict) {
    world.set_fragment(
        place.slot,
        FragmentEntry {
            tag: place.tag,
            stamp: stamp(world.now()),
            verdict: verdict.0,
            reserved: 0,
        },
    );
}

/// A fragment after the first: as that one, and an audited packet was reported there.
#[inline(always)]
pub(crate) fn later<W: Lookup>(world: &W, place: Place) -> Verdict {
    match world.fragment(place.slot) {
        Some(entry)
            if entry.tag == place.tag
                && recent(entry.stamp, world.now(), world.head().fragments) =>
        {
            let first = Verdict(entry.verdict);
            match first.action() {
                Action::Audit => first.quiet(),
                _ => first,
            }
        }
        _ => Verdict::deny(Reason::FragmentEarly),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::V4;
    use crate::packet::Fragment;

    fn at(source: u32, identification: u32, protocol: u8) -> Place {
        let network = Network {
            source: V4(source),
            destination: V4(0x0a00_0001),
            protocol: IpProto(protocol),
            hop_limit: 64,
            router_alert: false,
            to_group: false,
            fragment: Fragment {
                identification,
                offset: 0,
                more: true,
            },
            payload: 34,
            payload_length: 64,
        };
        place(Direction::Ingress, 2, 7, &network)
    }

    #[test]
    fn a_source_has_one_share() {
        let shares = |source: u32| {
            let mut shares: [bool; SHARES as usize] = Default::default();
            for identification in 0..0x1_0000 {
                let slot = at(source, identification, 17).slot;
                assert!(slot < SLOTS);
                shares[(slot / (SLOTS / SHARES)) as usize] = true;
            }
            shares.iter().filter(|&&used| used).count()
        };
        assert_eq!(shares(0x0a01_0009), 1);
        let slots = (0..256).map(|n| at(0x0a01_0000 + n, 1, 17).slot / (SLOTS / SHARES));
        let used = slots.fold(0_u32, |used, share| used | 1 << share);
        assert!(used.count_ones() > 8, "sources are spread: {used:#x}");
    }

    #[test]
    fn other_packets_have_other_places() {
        let one = at(0x0a01_0009, 1, 17);
        assert_eq!(one, at(0x0a01_0009, 1, 17));
        for other in [
            at(0x0a01_0009, 2, 17),
            at(0x0a01_0009, 1, 6),
            at(0x0a01_000a, 1, 17),
        ] {
            assert_ne!(one.tag, other.tag);
        }
    }
}
