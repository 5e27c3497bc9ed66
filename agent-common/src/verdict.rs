//! What is decided about a packet, and why.

/// What happens to a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug, PartialOrd, Ord)]
#[repr(u8)]
pub enum Action {
    /// Dropped and reported.
    Deny = 0,
    /// Passed.
    Allow = 1,
    /// Passed and reported: enforcement would have dropped it.
    Audit = 2,
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $id:literal, $text:literal;)*) => {
        /// Why. The numbers are part of the ABI: never re-used.
        #[derive(Clone, Copy, PartialEq, Eq, Debug, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum Reason { $($(#[$doc])* $name = $id,)* }

        impl Reason {
            /// All of them, in the order of their numbers.
            pub const ALL: &'static [Reason] = &[$(Reason::$name,)*];

            /// The word of JSON, journal and metrics.
            pub const fn name(self) -> &'static str {
                match self { $(Reason::$name => $text,)* }
            }

            /// The reason with this number.
            pub const fn from_id(id: u8) -> Option<Reason> {
                match id { $($id => Some(Reason::$name),)* _ => None }
            }
        }
    };
}

reasons! {
    /// A rule allows the flow.
    Rule = 1, "rule";
    /// The host answers a flow that a rule let in.
    Answer = 2, "answer";
    /// Belongs to a flow that this host began.
    Reply = 3, "reply";
    /// ARP, LLDP, EAPOL, slow protocols, PTP.
    Link = 4, "link";
    /// No rule, and the default lets it pass (or, as an audit, would not).
    Default = 5, "default";
    /// An ICMP error about a packet that this host sent, or that it let in.
    Related = 6, "related";
    /// On its way to or from another host.
    Forwarded = 7, "forwarded";
    /// Generation 0: attached, learning, not enforcing.
    Unenforced = 8, "unenforced";
    /// Decrypted by this host: what carried it was judged by its own rule when it came in, as it is where XDP judges.
    Decrypted = 9, "decrypted";

    /// No rule, and the default denies.
    NoRule = 32, "no-rule";
    /// A block list names the peer.
    Block = 33, "block";
    /// Neither IP nor on the list of link protocols.
    NonIp = 34, "non-ip";
    /// Too short for the header that should be there, or not in linear memory.
    Unreadable = 35, "unreadable";
    /// A header with an impossible length or version.
    Header = 36, "header";
    /// A fragment that no stack sends: a first one without its transport's header, a piece of a TCP header, neighbour discovery.
    Fragment = 37, "fragment";
    /// A third VLAN tag.
    Vlan = 38, "vlan";
    /// An IPv6 extension header that is not accepted.
    Extension = 39, "extension-header";
    /// TCP flags that no stack sends.
    TcpFlags = 40, "tcp-flags";
    /// An ICMP redirect.
    Redirect = 41, "redirect";
    /// An ICMP error about no packet of ours.
    Unrelated = 42, "unrelated";
    /// Neighbour discovery or router advertisement from off the link (hop limit not 255).
    OffLink = 43, "off-link";
    /// To a group or a broadcast address that no rule names.
    Group = 44, "group";
    /// Of a flow that an earlier policy let begin and the present one does not.
    Ended = 45, "ended";
    /// A table could not be read. Never expected; denied because the alternative is open.
    Internal = 46, "internal";
    /// A fragment whose first one has not passed, or not lately.
    FragmentEarly = 47, "fragment-early";
    /// On its way to or from another host, which the operator denies, or of which nothing is said.
    NotForwarded = 48, "not-forwarded";
}

impl Reason {
    /// Whether a stage or a default can't turn it: only a pause (into an audit) and generation 0 (into a pass) do.
    pub const fn is_structural(self) -> bool {
        matches!(
            self,
            Reason::NonIp
                | Reason::Unreadable
                | Reason::Header
                | Reason::Fragment
                | Reason::FragmentEarly
                | Reason::Vlan
                | Reason::Extension
                | Reason::TcpFlags
                | Reason::Redirect
                | Reason::Internal
        )
    }
}

/// The decision over one packet: action, reason, rule. One word, so that a BPF function can return it.
///
/// Bits 0-15 rule index ([`crate::tables::NO_RULE`] where none), 16-23 reason, 24-25 action, 26 quiet, 27 through.
#[must_use = "a verdict that is dropped lets the packet take the wrong way"]
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub struct Verdict(pub u32);

const QUIET: u32 = 1 << 26;
const THROUGH: u32 = 1 << 27;

impl Verdict {
    /// A verdict of these parts.
    #[inline(always)]
    pub const fn new(action: Action, reason: Reason, rule: u16) -> Self {
        Self(rule as u32 | (reason as u32) << 16 | (action as u32) << 24)
    }

    /// A pass that no rule accounts for.
    #[inline(always)]
    pub const fn pass(reason: Reason) -> Self {
        Self::new(Action::Allow, reason, crate::tables::NO_RULE)
    }

    /// A denial that no rule comes near.
    #[inline(always)]
    pub const fn deny(reason: Reason) -> Self {
        Self::new(Action::Deny, reason, crate::tables::NO_RULE)
    }

    /// The same without an event of its own: an audited flow is logged once.
    #[inline(always)]
    pub const fn quiet(self) -> Self {
        Self(self.0 | QUIET)
    }

    /// The same of a packet on its way through this host, where `through`: it is counted as such, too.
    #[inline(always)]
    pub const fn through(self, through: bool) -> Self {
        if through {
            Self(self.0 | THROUGH)
        } else {
            self
        }
    }

    /// Whether the packet is on its way through this host.
    #[inline(always)]
    pub const fn is_through(self) -> bool {
        self.0 & THROUGH != 0
    }

    /// Whether it is counted without an event of its own.
    #[inline(always)]
    pub const fn is_quiet(self) -> bool {
        self.0 & QUIET != 0
    }

    /// What happens to the packet.
    #[inline(always)]
    pub const fn action(self) -> Action {
        match self.0 >> 24 & 3 {
            1 => Action::Allow,
            2 => Action::Audit,
            _ => Action::Deny,
        }
    }

    /// Whether the packet goes on.
    #[inline(always)]
    pub const fn passes(self) -> bool {
        self.0 >> 24 & 3 != 0
    }

    /// The number of the reason.
    #[inline(always)]
    pub const fn reason_id(self) -> u8 {
        (self.0 >> 16) as u8
    }

    /// The reason.
    pub const fn reason(self) -> Reason {
        match Reason::from_id(self.reason_id()) {
            Some(reason) => reason,
            None => Reason::Internal,
        }
    }

    /// The rule that decided, or for a denial the first rule with this port.
    #[inline(always)]
    pub const fn rule(self) -> u16 {
        self.0 as u16
    }
}

impl core::fmt::Debug for Verdict {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(
            f,
            "{:?} {} rule {:#x}",
            self.action(),
            self.reason().name(),
            self.rule()
        )
    }
}

/// What became of packets on their way through this host, counted apart in slots that no reason has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Through {
    /// Passed.
    Passed = 61,
    /// Passed and reported.
    Audited = 62,
    /// Denied.
    Denied = 63,
}

impl Through {
    /// All of them.
    pub const ALL: [Through; 3] = [Self::Passed, Self::Audited, Self::Denied];

    /// The count of a verdict that is final.
    #[inline(always)]
    pub const fn of(verdict: Verdict) -> Self {
        match verdict.action() {
            Action::Allow => Self::Passed,
            Action::Audit => Self::Audited,
            Action::Deny => Self::Denied,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_survive_the_word() {
        for action in [Action::Deny, Action::Allow, Action::Audit] {
            for &reason in Reason::ALL {
                let verdict = Verdict::new(action, reason, 0x1234).quiet();
                assert!(!verdict.is_through() && verdict.through(true).is_through());
                assert_eq!(
                    (
                        verdict.action(),
                        verdict.reason(),
                        verdict.rule(),
                        verdict.is_quiet()
                    ),
                    (action, reason, 0x1234, true)
                );
                assert_eq!(Reason::from_id(reason as u8), Some(reason));
            }
        }
    }

    #[test]
    fn names_are_distinct() {
        for (n, a) in Reason::ALL.iter().enumerate() {
            for b in &Reason::ALL[n + 1..] {
                assert_ne!(a.name(), b.name());
            }
        }
    }
}
