//! Numbers of the wire with a type each, so that an EtherType is never compared with an IP protocol.
//!
//! Everything here is in host byte order; [`crate::parse`] is the only place that swaps.

/// EtherType (IEEE 802 numbers).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EtherType(pub u16);

impl EtherType {
    /// IPv4.
    pub const IPV4: Self = Self(0x0800);
    /// IPv6.
    pub const IPV6: Self = Self(0x86dd);
    /// 802.1Q tag.
    pub const VLAN: Self = Self(0x8100);
    /// 802.1ad service tag.
    pub const QINQ: Self = Self(0x88a8);

    /// Protocols below IP that a host needs to live on its link. Passed in both directions; this list is the whole exception.
    pub const LINK: [Self; 5] = [
        Self(0x0806), // ARP
        Self(0x88cc), // LLDP
        Self(0x888e), // EAPOL (802.1X)
        Self(0x8809), // slow protocols: LACP, OAM
        Self(0x88f7), // PTP over Ethernet (IEEE 1588)
    ];

    /// Whether [`Self::LINK`] names it.
    #[inline(always)]
    pub fn is_link(self) -> bool {
        // Written out: a loop over the array would put it on the BPF stack.
        let [arp, lldp, eapol, slow, ptp] = Self::LINK;
        self == arp || self == lldp || self == eapol || self == slow || self == ptp
    }

    /// Whether it is a VLAN tag.
    #[inline(always)]
    pub fn is_tag(self) -> bool {
        self == Self::VLAN || self == Self::QINQ
    }
}

/// IP protocol or IPv6 next header (IANA protocol numbers).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IpProto(pub u8);

impl IpProto {
    /// IPv6 hop-by-hop options.
    pub const HOP_BY_HOP: Self = Self(0);
    /// ICMP.
    pub const ICMP: Self = Self(1);
    /// IGMP.
    pub const IGMP: Self = Self(2);
    /// TCP.
    pub const TCP: Self = Self(6);
    /// UDP.
    pub const UDP: Self = Self(17);
    /// IPv6 routing header.
    pub const ROUTING: Self = Self(43);
    /// IPv6 fragment header.
    pub const FRAGMENT: Self = Self(44);
    /// Authentication header.
    pub const AH: Self = Self(51);
    /// ICMPv6.
    pub const ICMPV6: Self = Self(58);
    /// IPv6 no next header.
    pub const NO_NEXT: Self = Self(59);
    /// IPv6 destination options.
    pub const DESTINATION: Self = Self(60);

    /// Whether an IPv6 header of this kind stands before the transport: those of RFC 8200 §4.1 that the kernel walks, too
    /// (`ipv6_ext_hdr`). ESP hides what follows; mobility, HIP and shim6 (RFC 7045 §4) are judged as protocols of their own.
    #[inline(always)]
    pub fn is_extension(self) -> bool {
        matches!(
            self,
            Self::HOP_BY_HOP | Self::ROUTING | Self::FRAGMENT | Self::AH | Self::DESTINATION
        )
    }
}

/// TCP flags as in the header's fourteenth octet.
pub mod tcp {
    /// No more data from the sender.
    pub const FIN: u8 = 1;
    /// Begins a connection.
    pub const SYN: u8 = 2;
    /// Ends it at once.
    pub const RST: u8 = 4;
    /// Push.
    pub const PSH: u8 = 8;
    /// The acknowledgement number counts.
    pub const ACK: u8 = 16;
    /// The urgent pointer counts.
    pub const URG: u8 = 32;

    /// The combinations that a real stack sends, without PSH, ECE, CWR: a bit per value of `flags & 0x37`.
    /// The same set as the kernel's `tcp_valid_flags` (net/netfilter/nf_conntrack_proto_tcp.c).
    const VALID: u64 = 1 << SYN
        | 1 << (SYN | URG)
        | 1 << (SYN | ACK)
        | 1 << RST
        | 1 << (RST | ACK)
        | 1 << (FIN | ACK)
        | 1 << (FIN | ACK | URG)
        | 1 << ACK
        | 1 << (ACK | URG);

    /// Whether a real stack sends this combination.
    #[inline(always)]
    pub fn valid(flags: u8) -> bool {
        VALID >> (flags & (FIN | SYN | RST | ACK | URG)) & 1 == 1
    }

    /// SYN without ACK: begins a connection and answers nothing.
    #[inline(always)]
    pub fn begins(flags: u8) -> bool {
        flags & (SYN | ACK) == SYN
    }
}

/// ICMP and ICMPv6 types that the decision names.
pub mod icmp {
    /// Echo reply (RFC 792).
    pub const ECHO_REPLY: u8 = 0;
    /// Destination unreachable.
    pub const UNREACHABLE: u8 = 3;
    /// Redirect.
    pub const REDIRECT: u8 = 5;
    /// Echo request.
    pub const ECHO: u8 = 8;
    /// Time exceeded.
    pub const TIME_EXCEEDED: u8 = 11;
    /// Parameter problem.
    pub const PARAMETER: u8 = 12;
    /// ICMPv6 errors are 1 (unreachable) to 4 (parameter problem) (RFC 4443).
    pub const V6_ERRORS: core::ops::RangeInclusive<u8> = 1..=4;
    /// ICMPv6 echo request.
    pub const V6_ECHO: u8 = 128;
    /// ICMPv6 echo reply.
    pub const V6_ECHO_REPLY: u8 = 129;
    /// Multicast listener query (RFC 2710).
    pub const MLD_QUERY: u8 = 130;
    /// Multicast listener report, version 1.
    pub const MLD_REPORT: u8 = 131;
    /// Multicast listener done.
    pub const MLD_DONE: u8 = 132;
    /// Router solicitation (RFC 4861).
    pub const ROUTER_SOLICITATION: u8 = 133;
    /// Router advertisement.
    pub const ROUTER_ADVERTISEMENT: u8 = 134;
    /// Neighbour solicitation.
    pub const NEIGHBOUR_SOLICITATION: u8 = 135;
    /// Neighbour advertisement.
    pub const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
    /// ICMPv6 redirect.
    pub const V6_REDIRECT: u8 = 137;
    /// Multicast listener report, version 2 (RFC 3810).
    pub const MLD2_REPORT: u8 = 143;
}

/// An IPv4 or IPv6 address, so that the decision is written once for both.
pub trait Address: Copy + PartialEq {
    /// 4 or 6.
    const FAMILY: u8;
    /// The type of an echo request in this family.
    const ECHO: u8;
    /// The type of an echo reply in this family.
    const ECHO_REPLY: u8;
    /// The EtherType of this family.
    const ETHER_TYPE: EtherType;
    /// The ICMP of this family.
    const ICMP: IpProto;
    /// 128 bits, most significant half first; IPv4 as `::ffff:a.b.c.d` (RFC 4291 §2.5.5.2).
    fn wide(self) -> [u64; 2];
    /// 224.0.0.0/4, 255.255.255.255 or ff00::/8.
    fn is_group(self) -> bool;
    /// 169.254.0.0/16 or fe80::/10.
    fn is_link_local(self) -> bool;
    /// 0.0.0.0 or `::`.
    fn is_unspecified(self) -> bool;
}

/// An IPv4 address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct V4(pub u32);

/// An IPv6 address: bits 0 to 63, bits 64 to 127.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct V6(pub u64, pub u64);

impl Address for V4 {
    const FAMILY: u8 = 4;
    const ECHO: u8 = icmp::ECHO;
    const ECHO_REPLY: u8 = icmp::ECHO_REPLY;
    const ETHER_TYPE: EtherType = EtherType::IPV4;
    const ICMP: IpProto = IpProto::ICMP;
    #[inline(always)]
    fn wide(self) -> [u64; 2] {
        [0, 0xffff_0000_0000 | self.0 as u64]
    }
    #[inline(always)]
    fn is_group(self) -> bool {
        self.0 >> 28 == 0xe || self.0 == u32::MAX
    }
    #[inline(always)]
    fn is_link_local(self) -> bool {
        self.0 >> 16 == 0xa9fe
    }
    #[inline(always)]
    fn is_unspecified(self) -> bool {
        self.0 == 0
    }
}

impl Address for V6 {
    const FAMILY: u8 = 6;
    const ECHO: u8 = icmp::V6_ECHO;
    const ECHO_REPLY: u8 = icmp::V6_ECHO_REPLY;
    const ETHER_TYPE: EtherType = EtherType::IPV6;
    const ICMP: IpProto = IpProto::ICMPV6;
    #[inline(always)]
    fn wide(self) -> [u64; 2] {
        [self.0, self.1]
    }
    #[inline(always)]
    fn is_group(self) -> bool {
        self.0 >> 56 == 0xff
    }
    #[inline(always)]
    fn is_link_local(self) -> bool {
        self.0 >> 54 == 0xfe80 >> 6
    }
    #[inline(always)]
    fn is_unspecified(self) -> bool {
        self.0 | self.1 == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_that_a_stack_sends() {
        for (flags, expected) in [
            (tcp::SYN, true),
            (tcp::SYN | 0xc0, true), // ECN set-up
            (tcp::SYN | tcp::ACK, true),
            (tcp::ACK | tcp::PSH, true),
            (tcp::FIN | tcp::ACK, true),
            (tcp::RST, true),
            (0, false),
            (tcp::FIN, false),
            (tcp::SYN | tcp::FIN, false),
            (tcp::SYN | tcp::RST, false),
            (tcp::FIN | tcp::PSH | tcp::URG, false), // "Christmas tree"
            (tcp::PSH, false),
        ] {
            assert_eq!(tcp::valid(flags), expected, "{flags:#04x}");
        }
    }

    #[test]
    fn groups_and_link_local() {
        assert!(V4(0xe000_00fb).is_group() && V4(u32::MAX).is_group());
        assert!(!V4(0x0a00_00ff).is_group() && !V4(0xf000_0001).is_group());
        assert!(V6(0xff02 << 48, 1).is_group() && !V6(0xfe80 << 48, 1).is_group());
        assert!(V6(0xfe80 << 48, 1).is_link_local() && V6(0xfebf << 48, 1).is_link_local());
        assert!(!V6(0xfec0 << 48, 1).is_link_local());
    }
}
