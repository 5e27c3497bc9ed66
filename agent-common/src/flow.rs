//! Flows that this host began: keys, entries, states.
//!
//! Only egress inserts; ingress refreshes entries in place. So nobody outside can fill the tables.

use crate::net::{Address, IpProto, tcp};
use crate::tables::Timeouts;
use crate::verdict::Action;
use crate::word::Word;

/// A flow as this host sees it. Echo has its identifier as local port and 0 as peer port.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[repr(C)]
pub struct FlowKey {
    /// The other end, as [`Address::wide`] gives it.
    pub peer: [u64; 2],
    /// The address of this host.
    pub local: [u64; 2],
    /// The other end's port.
    pub peer_port: u16,
    /// This host's port.
    pub local_port: u16,
    /// IP protocol number. Two octets, and two reserved: no array at an odd offset, which LLVM would clear by unaligned writes to the
    /// stack, and the verifier refuses those.
    pub protocol: u16,
    /// Zero.
    pub reserved: u16,
}

impl FlowKey {
    /// The key of these ends.
    #[inline(always)]
    pub fn new<A: Address>(
        protocol: IpProto,
        local: A,
        local_port: u16,
        peer: A,
        peer_port: u16,
    ) -> Self {
        Self {
            peer: peer.wide(),
            local: local.wide(),
            peer_port,
            local_port,
            protocol: u16::from(protocol.0),
            reserved: 0,
        }
    }
}

impl FlowKey {
    /// Marks a key that no packet has: protocols end at 255.
    const WINDOW: u16 = 0x100;

    /// The key of a window: this port asked a group, and its members may answer from the group's port. It has no peer.
    #[inline(always)]
    pub fn window<A: Address>(local: A, local_port: u16, group_port: u16) -> Self {
        Self {
            peer: [0; 2],
            local: local.wide(),
            peer_port: group_port,
            local_port,
            protocol: Self::WINDOW | u16::from(IpProto::UDP.0),
            reserved: 0,
        }
    }

    /// Both ports and the protocol, as one number.
    #[inline(always)]
    pub const fn ports(&self) -> u64 {
        (self.peer_port as u64) << 48 | (self.local_port as u64) << 32 | self.protocol as u64
    }

    /// The IP protocol.
    #[inline(always)]
    pub const fn protocol(&self) -> IpProto {
        IpProto(self.protocol as u8)
    }
}

/// Where an entry stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum FlowState {
    /// TCP: the host sent a SYN. Also what an unknown value reads as: the shortest time-out of TCP.
    Begun = 0,
    /// TCP: the peer's SYN-ACK (or, after a pick-up, its first segment) has come.
    Answered = 1,
    /// TCP: the host acknowledged; the entry is in the established table, or that was full.
    Established = 2,
    /// TCP: the host sent FIN or RST.
    Closing = 3,
    /// TCP: a segment without SYN of a flow whose entry was lost.
    PickedUp = 4,
    /// UDP.
    Udp = 5,
    /// Echo.
    Echo = 6,
}

impl FlowState {
    #[inline(always)]
    const fn from_bits(bits: u32) -> Self {
        match bits & 7 {
            1 => Self::Answered,
            2 => Self::Established,
            3 => Self::Closing,
            4 => Self::PickedUp,
            5 => Self::Udp,
            6 => Self::Echo,
            _ => Self::Begun,
        }
    }

    /// How long an entry lives after the last packet, in ticks.
    #[inline(always)]
    pub const fn timeout(self, timeouts: &Timeouts) -> u32 {
        match self {
            Self::Begun | Self::Answered => timeouts.tcp_new,
            Self::Established | Self::PickedUp => timeouts.tcp_established,
            Self::Closing => timeouts.tcp_closing,
            Self::Udp => timeouts.udp,
            Self::Echo => timeouts.echo,
        }
    }
}

/// An entry as it lies in the map. Programs on several CPUs read and write it, so every field is a [`Word`].
#[derive(Debug, Default)]
#[repr(C)]
pub struct FlowEntry {
    /// Tick of the last packet.
    pub last: Word,
    /// Generation of the policy that judged it.
    pub generation: Word,
    /// Bits 0-15 rule index, 16-18 [`FlowState`], 24-25 [`Action`].
    word: Word,
    /// Zero. One word, not an array: LLVM would clear that by a call, and a call costs stack.
    reserved: u32,
}

/// The same bytes as plain numbers, as user space reads them from the map.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct FlowRecord {
    /// Tick of the last packet.
    pub last: u32,
    /// Generation of the policy that judged it.
    pub generation: u32,
    /// See [`FlowEntry`].
    pub word: u32,
    /// Zero.
    pub reserved: u32,
}

impl FlowRecord {
    /// Where the flow stands.
    pub const fn state(&self) -> FlowState {
        FlowState::from_bits(self.word >> 16)
    }

    /// Whether it has outlived its time-out at tick `now`.
    pub const fn expired(&self, now: u32, timeouts: &Timeouts) -> bool {
        expired(self.last, now, self.state().timeout(timeouts))
    }
}

/// Ticks by which a packet on another CPU may have written a later one than this packet read: a second or more.
const AHEAD: u32 = 16;

const fn expired(last: u32, now: u32, timeout: u32) -> bool {
    // Anything further ahead is not a later tick but one so old that ticks wrapped since: four years at 1,000 jiffies a second.
    now.wrapping_sub(last).wrapping_add(AHEAD) > timeout + AHEAD
}

impl FlowEntry {
    /// An entry as of now.
    #[inline(always)]
    pub fn new(now: u32, generation: u32, state: FlowState, action: Action, rule: u16) -> Self {
        Self {
            last: Word::new(now),
            generation: Word::new(generation),
            word: Word::new(word(state, action, rule)),
            reserved: 0,
        }
    }

    /// Where the flow stands.
    #[inline(always)]
    pub fn state(&self) -> FlowState {
        FlowState::from_bits(self.word.load() >> 16)
    }

    /// What was decided when it began (or when it was last judged).
    #[inline(always)]
    pub fn action(&self) -> Action {
        if self.word.load() >> 24 & 3 == Action::Audit as u32 {
            Action::Audit
        } else {
            Action::Allow
        }
    }

    /// The rule that let it begin.
    #[inline(always)]
    pub fn rule(&self) -> u16 {
        self.word.load() as u16
    }

    /// Sets the state and leaves the rest.
    #[inline(always)]
    pub fn set_state(&self, state: FlowState) {
        let word = self.word.load() & !(7 << 16) | (state as u32) << 16;
        self.word.store(word);
    }

    /// Takes over a new judgement.
    #[inline(always)]
    pub fn rejudge(&self, generation: u32, action: Action, rule: u16) {
        self.word.store(word(self.state(), action, rule));
        self.generation.store(generation);
    }

    /// Notes a packet; a word that says so already is not written again, to keep the cache line shared.
    #[inline(always)]
    pub fn touch(&self, now: u32) {
        if self.last.load() != now {
            self.last.store(now);
        }
    }

    /// Whether it has outlived its time-out.
    #[inline(always)]
    pub fn expired(&self, now: u32, timeouts: &Timeouts) -> bool {
        expired(self.last.load(), now, self.state().timeout(timeouts))
    }

    /// The entry as plain numbers.
    pub fn record(&self) -> FlowRecord {
        FlowRecord {
            last: self.last.load(),
            generation: self.generation.load(),
            word: self.word.load(),
            reserved: self.reserved,
        }
    }
}

#[inline(always)]
const fn word(state: FlowState, action: Action, rule: u16) -> u32 {
    rule as u32 | (state as u32) << 16 | (action as u32) << 24
}

/// Which table an entry lies in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FlowTable {
    /// LRU: UDP, echo, TCP half open, picked up or closing.
    New,
    /// Hash: TCP that the host itself completed. Never evicted.
    Established,
}

/// What became of entries, per CPU, since the tables were made. Whoever made an entry that is neither removed nor there any more lost it to
/// another: the kernel makes room in the LRU by itself and tells nobody.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct FlowCounts {
    /// Entries that were made in [`FlowTable::New`].
    pub made: u64,
    /// Entries that were removed from there.
    pub removed: u64,
    /// Flows that found [`FlowTable::Established`] full, and stayed where they may be evicted.
    pub found_full: u64,
}

/// Where the programs count.
pub const COUNTED_BY_PROGRAMS: u32 = 0;

/// Where the agent counts what it enters itself: no two write one place.
pub const COUNTED_BY_AGENT: u32 = 1;

/// Places of [`FlowCounts`].
pub const FLOW_COUNTS_SLOTS: u32 = 2;

/// Which stamps "this local port ever began something" a flow has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Began {
    /// TCP ports.
    Tcp = 0,
    /// UDP ports.
    Udp = 1,
    /// Echo identifiers.
    Echo = 2,
}

/// Tables of stamps.
pub const BEGAN_TABLES: u32 = 3;

/// A stamp that was never written. Ticks that fall on it count as the next one.
pub const NEVER: u32 = 0;

/// The tick as a stamp: never [`NEVER`].
#[inline(always)]
pub const fn stamp(now: u32) -> u32 {
    if now == NEVER { 1 } else { now }
}

/// Whether a stamp is at most `limit` ticks old.
#[inline(always)]
pub const fn recent(stamp: u32, now: u32, limit: u32) -> bool {
    stamp != NEVER && !expired(stamp, now, limit)
}

/// Slots of the question stamps.
pub const ASKED_SLOTS: u32 = 65_536;

/// Slot of the question that a peer asked a local port: a multiplicative hash of the three.
#[inline(always)]
pub const fn asked_slot(peer: [u64; 2], peer_port: u16, local_port: u16) -> u16 {
    // Fibonacci hashing (Knuth, TAOCP 3, §6.4): the high bits of a product with 2^64/φ.
    const PHI: u64 = 0x9e37_79b9_7f4a_7c15;
    let ports = (peer_port as u64) << 16 | local_port as u64;
    let mixed = (peer[1] ^ peer[0].rotate_left(29)).wrapping_mul(PHI) ^ ports;
    (mixed.wrapping_mul(PHI) >> 48) as u16
}

/// The state of a TCP flow after the host sent a segment with these flags.
#[inline(always)]
pub fn after_sent(state: FlowState, flags: u8) -> FlowState {
    if flags & (tcp::FIN | tcp::RST) != 0 {
        return FlowState::Closing;
    }
    match state {
        FlowState::Answered if flags & (tcp::SYN | tcp::ACK) == tcp::ACK => FlowState::Established,
        other => other,
    }
}

/// The state of a TCP flow after the peer sent a segment with these flags. FIN and RST change nothing: anybody may forge them.
#[inline(always)]
pub fn after_received(state: FlowState, flags: u8) -> FlowState {
    match state {
        FlowState::Begun if flags & (tcp::SYN | tcp::ACK) == tcp::SYN | tcp::ACK => {
            FlowState::Answered
        }
        FlowState::PickedUp if flags & tcp::ACK != 0 => FlowState::Answered,
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: Timeouts = Timeouts::for_hz(250);

    #[test]
    fn tcp_states() {
        use FlowState::*;
        for (state, flags, sent, received) in [
            (Begun, tcp::ACK, Begun, Begun),
            (Begun, tcp::SYN | tcp::ACK, Begun, Answered),
            (Begun, tcp::RST | tcp::ACK, Closing, Begun),
            (Answered, tcp::ACK, Established, Answered),
            (PickedUp, tcp::ACK, PickedUp, Answered),
            (Established, tcp::FIN | tcp::ACK, Closing, Established),
            (Established, tcp::RST, Closing, Established),
            (Closing, tcp::ACK, Closing, Closing),
        ] {
            assert_eq!(after_sent(state, flags), sent, "{state:?} sends {flags:#x}");
            assert_eq!(
                after_received(state, flags),
                received,
                "{state:?} gets {flags:#x}"
            );
        }
    }

    #[test]
    fn entries_expire_and_ticks_wrap() {
        let entry = FlowEntry::new(u32::MAX - 1, 3, FlowState::Udp, Action::Audit, 9);
        assert!(!entry.expired(5, &T));
        assert!(!entry.expired(T.udp - 2, &T));
        assert!(entry.expired(T.udp, &T));
        assert!(
            !entry.expired(u32::MAX - 3, &T),
            "a later tick than ours is not an old one"
        );
        assert_eq!(
            (entry.action(), entry.rule(), entry.state()),
            (Action::Audit, 9, FlowState::Udp)
        );
        entry.rejudge(4, Action::Allow, 1);
        assert_eq!(
            (entry.action(), entry.rule(), entry.state()),
            (Action::Allow, 1, FlowState::Udp)
        );
        assert_eq!(entry.record().state(), FlowState::Udp);
    }

    #[test]
    fn stamps() {
        assert!(!recent(NEVER, 3, 1000) && recent(stamp(0), 3, 1000));
        assert!(recent(10, 110, 100) && !recent(10, 111, 100));
        // another CPU was a little ahead; a stamp from before half a wrap is not ahead but old
        assert!(recent(10, 8, 100) && !recent(10, 10 + (1 << 31), 100));
        assert!(!recent(10, 9 + (3 << 30), 100));
    }
}
