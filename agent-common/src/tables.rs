//! Keys and values of the maps that hold a compiled policy, and how a word of each is read.
//!
//! A policy is a *bank* of tables:
//!
//! ```text
//! port class  = PORT_CLASS[bank][plane][port]            u16
//! peer class  = trie walk over V4_ROOT, NODES, V6_NODES  u16   (crate::trie)
//! cell        = CELLS[bank][port class × peer classes + peer class]
//! ```
//!
//! The work is constant whatever the number of rules, ports and prefixes.

/// Version of everything in this crate that both sides read. It names the pin directory: another version never shares a map.
pub const ABI_VERSION: u32 = 2;

/// Banks that hold a policy: active, fallback, idle.
pub const POLICY_BANKS: u32 = 3;
/// The bank of generation 0: passes everything and creates state.
pub const OPEN_BANK: u32 = 3;
/// All banks.
pub const BANKS: u32 = 4;

/// Rule index that names no rule.
pub const NO_RULE: u16 = u16::MAX;

/// Which table of port classes a packet asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Plane {
    /// Ingress TCP by destination port.
    IngressTcp = 0,
    /// Ingress UDP to a unicast destination by destination port.
    IngressUdp = 1,
    /// Ingress, everything without ports: see [`other`].
    IngressOther = 2,
    /// Ingress UDP to a multicast or broadcast destination by destination port.
    IngressGroup = 3,
    /// Egress TCP by destination port.
    EgressTcp = 4,
    /// Egress UDP by destination port.
    EgressUdp = 5,
    /// Egress, everything without ports: see [`other`].
    EgressOther = 6,
    /// Egress UDP to a multicast or broadcast destination by destination port.
    EgressGroup = 7,
}

/// Planes of a bank.
pub const PLANES: u32 = 8;

impl Plane {
    /// All planes.
    pub const ALL: [Plane; 8] = [
        Plane::IngressTcp,
        Plane::IngressUdp,
        Plane::IngressOther,
        Plane::IngressGroup,
        Plane::EgressTcp,
        Plane::EgressUdp,
        Plane::EgressOther,
        Plane::EgressGroup,
    ];
}

/// Index into the planes [`Plane::IngressOther`] and [`Plane::EgressOther`].
pub mod other {
    /// An ICMP type.
    #[inline(always)]
    pub const fn icmp(kind: u8) -> u16 {
        kind as u16
    }
    /// An ICMPv6 type.
    #[inline(always)]
    pub const fn icmpv6(kind: u8) -> u16 {
        0x100 | kind as u16
    }
    /// Another IP protocol, by its number.
    #[inline(always)]
    pub const fn protocol(number: u8) -> u16 {
        0x200 | number as u16
    }
    /// A DHCPv4 client and its server: UDP 68 and 67.
    pub const DHCP4: u16 = 0x300;
    /// A DHCPv6 client and its server: UDP 546 and 547.
    pub const DHCP6: u16 = 0x301;
}

/// One word of the verdict table.
///
/// Bits 0-15: rule index (of the rule that decides; for a denial the first active rule with this port, or [`NO_RULE`]).
/// Bits 16-17: [`CellAction`]. Bit 18: [`Cell::ASK_FIRST`]. Bit 19: [`Cell::DEFAULT`]. Bit 20: [`Cell::ASKED_BY_GROUP`]. Bit 21:
/// [`Cell::BY_DESTINATION`], and then bits 0-15 are a port class.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(transparent)]
pub struct Cell(pub u32);

/// What a cell says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum CellAction {
    /// No rule lets it pass.
    Deny = 0,
    /// A rule, or an open default, lets it pass.
    Allow = 1,
    /// It passes and is reported.
    Audit = 2,
    /// A block list names the peer: final in both directions.
    Block = 3,
}

impl Cell {
    /// An entry of the flow tables is asked before this cell counts as an answer, and decides: set for ports of the ephemeral range
    /// and where the cell passes by default or audit, because there a local port is not evidence of a service.
    pub const ASK_FIRST: u32 = 1 << 18;
    /// The action is the default's or the stage's, not a rule's.
    pub const DEFAULT: u32 = 1 << 19;
    /// Ingress UDP to one host, denied: a rule lets this peer ask this port by way of a group, so the host may answer it.
    pub const ASKED_BY_GROUP: u32 = 1 << 20;
    /// Ingress UDP to a group: rules that name groups have this port. The column is the destination's class and not the source's, and the
    /// cell holds the port class that judges the source. All cells of such a row have the flag.
    pub const BY_DESTINATION: u32 = 1 << 21;

    /// A cell of these parts; `flags` of [`Self::ASK_FIRST`] and [`Self::DEFAULT`].
    pub const fn new(action: CellAction, rule: u16, flags: u32) -> Self {
        Self(rule as u32 | (action as u32) << 16 | flags)
    }

    /// The rule index.
    #[inline(always)]
    pub const fn rule(self) -> u16 {
        self.0 as u16
    }

    /// The action.
    #[inline(always)]
    pub const fn action(self) -> CellAction {
        match self.0 >> 16 & 3 {
            0 => CellAction::Deny,
            1 => CellAction::Allow,
            2 => CellAction::Audit,
            _ => CellAction::Block,
        }
    }

    /// Whether an entry is asked first.
    #[inline(always)]
    pub const fn asks_first(self) -> bool {
        self.0 & Self::ASK_FIRST != 0
    }

    /// Whether a default or a stage decided.
    #[inline(always)]
    pub const fn is_default(self) -> bool {
        self.0 & Self::DEFAULT != 0
    }

    /// Whether the peer may have asked by way of a group.
    #[inline(always)]
    pub const fn is_asked_by_group(self) -> bool {
        self.0 & Self::ASKED_BY_GROUP != 0
    }

    /// The port class that judges the source, where the cell is one of a destination.
    #[inline(always)]
    pub const fn by_destination(self) -> Option<u16> {
        if self.0 & Self::BY_DESTINATION != 0 {
            Some(self.rule())
        } else {
            None
        }
    }

    /// Whether a packet passes by it.
    #[inline(always)]
    pub const fn passes(self) -> bool {
        matches!(self.action(), CellAction::Allow | CellAction::Audit)
    }
}

/// What is known of a peer class itself, kept in the cells' row [`Head::facts_row`].
pub mod facts {
    /// An address of this host.
    pub const OWN: u32 = 1 << 0;
    /// A subnet broadcast address of this host.
    pub const BROADCAST: u32 = 1 << 1;
    /// Under some configured prefix (`any` does not count): an acquaintance, whose denials have a budget of their own.
    pub const ACQUAINTANCE: u32 = 1 << 2;
    /// In a prefix that is on a link of this host.
    pub const ON_LINK: u32 = 1 << 3;
    /// 224.0.0.0/4, 255.255.255.255 or ff00::/8; known only where a rule names groups.
    pub const GROUP: u32 = 1 << 4;
}

/// Time-outs in ticks of `jiffies64 >> 6`. None is shorter than the kernel conntrack's default (nf_conntrack_proto_*.c).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct Timeouts {
    /// TCP before the handshake is complete: 120 s.
    pub tcp_new: u32,
    /// TCP established: 5 days.
    pub tcp_established: u32,
    /// TCP after the host sent FIN or RST: 120 s.
    pub tcp_closing: u32,
    /// UDP: 180 s.
    pub udp: u32,
    /// Echo: 30 s.
    pub echo: u32,
    /// How long a UDP question may be answered: 180 s.
    pub asked: u32,
}

/// Bits a second's jiffies are shifted by to give a tick.
pub const TICK_SHIFT: u32 = 6;

/// Seconds in which members of a group may answer: what SSDP lets them spread their answers over (UPnP Device Architecture 2.0 §1.3.2: 5
/// s), and twice that.
const WINDOW_SECONDS: u32 = 10;

/// Seconds as ticks on a kernel with `hz` jiffies a second.
const fn ticks(seconds: u32, hz: u32) -> u32 {
    // one more, because a tick that has begun counts as a whole one
    ((seconds as u64 * hz as u64) >> TICK_SHIFT) as u32 + 1
}

/// Seconds in which the fragments of a packet arrive: as long as the kernel waits for them (net.ipv4.ipfrag_time).
const FRAGMENTS_SECONDS: u32 = 30;

/// [`Head::fragments`] on a kernel with `hz` jiffies a second.
pub const fn fragments_for_hz(hz: u32) -> u32 {
    ticks(FRAGMENTS_SECONDS, hz)
}

/// [`Head::window`] on a kernel with `hz` jiffies a second: 10 s.
pub const fn window_for_hz(hz: u32) -> u32 {
    ticks(WINDOW_SECONDS, hz)
}

impl Timeouts {
    /// The time-outs on a kernel with `hz` jiffies a second.
    pub const fn for_hz(hz: u32) -> Self {
        Self {
            tcp_new: ticks(120, hz),
            tcp_established: ticks(432_000, hz),
            tcp_closing: ticks(120, hz),
            udp: ticks(180, hz),
            echo: ticks(30, hz),
            asked: ticks(180, hz),
        }
    }
}

/// Token buckets for events: one event costs [`Budget::EVENT`] units.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct Budget {
    /// Units that come back each tick, for this CPU.
    pub refill: u32,
    /// Most units that a bucket holds.
    pub burst: u32,
}

impl Budget {
    /// Units that one event costs.
    pub const EVENT: u32 = 4096;
}

/// The head of a bank: everything of a policy that is one number, and where its share of each table begins. What most packets ask for lies in
/// the first 64 octets, which are one cache line.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct Head {
    /// The generation of this policy; 0 is the open bank's.
    pub generation: u32,
    /// [`Head::FORWARDS`], [`Head::FORWARD_PASS`], [`Head::FORWARD_SAME`], [`Head::OPEN`].
    pub flags: u32,
    /// Columns of the cells: the number of peer classes.
    pub peer_classes: u32,
    /// Port classes from this one on admit, or deny, every peer alike: no peer look-up.
    pub any_from: u32,
    /// First slot of the IPv6 trie: a class, or a node with [`crate::trie::NODE`].
    pub v6_root: u32,
    /// The bank's first trie node, among those of all banks.
    pub nodes: u32,
    /// The bank's first IPv6 node.
    pub v6_nodes: u32,
    /// The bank's first block of cells.
    pub cell_blocks: u32,
    /// The bank's first rule counter.
    pub rules: u32,
    /// Its last one, counted from the first: of packets that no rule came near.
    pub no_rule: u32,
    /// Time-outs of the flow tables.
    pub timeouts: Timeouts,
    /// Row of the cells that holds [`facts`].
    pub facts_row: u32,
    /// Events in all: strangers, acquaintances.
    pub budget_all: [Budget; 2],
    /// Events per peer: strangers, acquaintances.
    pub budget_peer: [Budget; 2],
    /// How long members of a group may answer a port that asked it, in ticks; 0 where no egress rule names a group.
    pub window: u32,
    /// How long fragments may follow their first one, in ticks: 30 s.
    pub fragments: u32,
    /// Always zero, and the verifier doesn't know it: [`crate::lookup::Lookup::unknown`].
    pub zero: u32,
    /// Zero.
    pub reserved: [u32; 4],
}

impl Head {
    /// This host forwards: a packet that is not for an own address is on its way elsewhere.
    pub const FORWARDS: u32 = 1 << 0;
    /// Generation 0: whatever is decided, the packet passes.
    pub const OPEN: u32 = 1 << 1;
    /// What is on its way through this host passes.
    pub const FORWARD_PASS: u32 = 1 << 2;
    /// What is on its way through this host is judged like the host's own. With neither it is denied.
    pub const FORWARD_SAME: u32 = 1 << 3;
}

/// Cells of one map value.
pub const CELL_BLOCK: u32 = 1024;

/// Counters of one rule, per CPU.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct RuleCounter {
    /// Packets that the rule let pass.
    pub passed: u64,
    /// Packets that passed by audit where this rule was the nearest.
    pub audited: u64,
    /// Denied packets to which this rule was the nearest.
    pub near: u64,
    /// Tick of the last of them.
    pub last: u64,
}

/// What became of every denied and audited packet, per CPU. Each packet increments exactly one: `denied` is the sum of the first three,
/// `audited` of the last three, and neither is stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(C)]
pub struct Balance {
    /// Denied, and in the ring buffer.
    pub reported: u64,
    /// Denied, and over its budget.
    pub suppressed: u64,
    /// Denied, and the ring buffer was full.
    pub lost: u64,
    /// Audited, and in the ring buffer.
    pub audit_reported: u64,
    /// Audited, and over its budget or of a flow that was reported.
    pub audit_suppressed: u64,
    /// Audited, and the ring buffer was full.
    pub audit_lost: u64,
}

/// Slots of the counters by reason: direction × reason number.
pub const REASON_SLOTS: u32 = 128;

/// The slot of a reason, or of a [`crate::verdict::Through`], in the counters by reason.
#[inline(always)]
pub const fn reason_slot(direction: crate::event::Direction, reason: u8) -> u32 {
    ((direction as u32) << 6 | (reason & 63) as u32) & (REASON_SLOTS - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_never_shorter_than_said() {
        for hz in [100, 250, 300, 1000] {
            let ticks = Timeouts::for_hz(hz);
            assert!(u64::from(ticks.udp) << TICK_SHIFT >= 180 * u64::from(hz));
            assert!(u64::from(ticks.tcp_established) << TICK_SHIFT >= 432_000 * u64::from(hz));
        }
    }

    #[test]
    fn cells_keep_their_parts() {
        for action in [
            CellAction::Deny,
            CellAction::Allow,
            CellAction::Audit,
            CellAction::Block,
        ] {
            let cell = Cell::new(action, 77, Cell::ASK_FIRST);
            assert_eq!(
                (
                    cell.action(),
                    cell.rule(),
                    cell.asks_first(),
                    cell.is_default()
                ),
                (action, 77, true, false)
            );
        }
    }
}
