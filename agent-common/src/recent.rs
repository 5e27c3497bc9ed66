//! Replies of this tick: of a flow that has just been asked for, the next packet need not ask the hash table again.
//!
//! A look-up in a hash table of the kernel costs as much as the rest of a packet's way. What it gives for a reply changes from tick to tick, with
//! the generation, and where the flow advances; an answer that was given for the same flow in the same tick and generation, and in a state
//! that no reply changes, is the answer again. An entry that is removed meanwhile, because it came of age or made room for another, is
//! missed at the next tick.

use crate::flow::{FlowKey, FlowState};
use crate::verdict::Verdict;

/// A flow whose reply passed, and when.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct RecentReply {
    /// The flow.
    pub key: FlowKey,
    /// The tick; it says no more in another.
    pub tick: u32,
    /// The generation; likewise.
    pub generation: u32,
    /// What was decided.
    pub verdict: u32,
    /// Zero. The size is a power of two, so that a place is found by a shift.
    pub reserved: [u32; 3],
}

/// Flows that are remembered, per CPU. So few that they stay in the processor's first cache.
pub const SLOTS: u32 = 128;

/// Where a flow is remembered, if it is.
#[inline(always)]
pub const fn slot(key: &FlowKey) -> u32 {
    // Fibonacci hashing, as for questions. A flow that others want the place of is asked for in the tables; nobody gains by that.
    const PHI: u64 = 0x9e37_79b9_7f4a_7c15;
    let ports = (key.peer_port as u64) << 16 | key.local_port as u64;
    let mixed = (key.peer[1] ^ ports).wrapping_mul(PHI);
    (mixed >> 57) as u32
}

impl RecentReply {
    /// A reply that passed now.
    #[inline(always)]
    pub const fn new(key: &FlowKey, tick: u32, generation: u32, verdict: Verdict) -> Self {
        Self {
            key: *key,
            tick,
            generation,
            verdict: verdict.0,
            reserved: [0; 3],
        }
    }

    /// What was decided about this flow in this tick and generation; `None` where it is another.
    #[inline(always)]
    pub fn verdict(&self, key: &FlowKey, tick: u32, generation: u32) -> Option<Verdict> {
        let known = &self.key;
        let same = self.tick == tick
            && self.generation == generation
            && known.ports() == key.ports()
            && known.peer == key.peer
            && known.local == key.local;
        same.then_some(Verdict(self.verdict))
    }
}

/// Whether a reply may be remembered in this state: not where a later one changes it.
#[inline(always)]
pub const fn is_settled(state: FlowState) -> bool {
    !matches!(state, FlowState::Begun | FlowState::PickedUp)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::{after_received, after_sent};
    use crate::net::{IpProto, V4};
    use crate::verdict::Reason;

    fn key(protocol: IpProto, local: u32, local_port: u16, peer: u32, peer_port: u16) -> FlowKey {
        FlowKey::new(protocol, V4(local), local_port, V4(peer), peer_port)
    }

    #[test]
    fn only_the_same_flow_in_the_same_tick_and_generation() {
        let flow = key(IpProto::TCP, 1, 40_000, 2, 443);
        let verdict = Verdict::pass(Reason::Reply);
        let reply = RecentReply::new(&flow, 7, 3, verdict);
        assert_eq!(reply.verdict(&flow, 7, 3), Some(verdict));
        assert_eq!(reply.verdict(&flow, 8, 3), None);
        assert_eq!(reply.verdict(&flow, 7, 4), None);
        for other in [
            key(IpProto::UDP, 1, 40_000, 2, 443),
            key(IpProto::TCP, 3, 40_000, 2, 443),
            key(IpProto::TCP, 1, 40_001, 2, 443),
            key(IpProto::TCP, 1, 40_000, 3, 443),
            key(IpProto::TCP, 1, 40_000, 2, 444),
        ] {
            assert_eq!(reply.verdict(&other, 7, 3), None, "{other:?}");
            assert!(slot(&other) < SLOTS);
        }
    }

    #[test]
    fn no_reply_changes_a_settled_state() {
        use FlowState::*;
        for state in [Begun, Answered, Established, Closing, PickedUp, Udp, Echo] {
            let changes = (0..=0xff).any(|flags| after_received(state, flags) != state);
            assert_eq!(is_settled(state), !changes, "{state:?}");
        }
        // What the host sends may change it, and passes a reply as before.
        assert!(is_settled(after_sent(Established, 1)));
    }
}
