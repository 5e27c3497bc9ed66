//! Frames from data: what a row of `packets.toml` says becomes octets.
//!
//! The headers are written by etherparse, another author's library, so that a mistake in our parser is not repeated here.

mod build;

use std::net::IpAddr;

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

/// A packet in words. Everything that is left out has an ordinary value: lengths and checksums right, TTL 64, unicast frame.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Packet {
    /// IP source. Without addresses the frame carries `ether-type` and `payload` alone.
    pub from: Option<IpAddr>,
    /// IP destination, of the same family.
    pub to: Option<IpAddr>,
    /// EtherType, where it is not that of the addresses' family.
    pub ether_type: Option<u16>,
    /// The frame is sent to the link-layer broadcast address, whatever the IP destination.
    #[serde(skip_serializing_if = "is_default")]
    pub link_group: bool,
    /// VLAN tags, outermost first. Two make the outer one an 802.1ad tag.
    #[serde(skip_serializing_if = "is_default")]
    pub vlan: Vec<u16>,
    /// TTL or hop limit.
    pub ttl: Option<u8>,
    /// Octets of IPv4 options (no-operation), a multiple of 4.
    #[serde(skip_serializing_if = "is_default")]
    pub options: usize,
    /// The packet is a fragment.
    pub fragment: Option<Fragment>,
    /// IPv6 extension headers, in their order; the fragment header comes last.
    #[serde(skip_serializing_if = "is_default")]
    pub extensions: Vec<Extension>,
    /// A TCP segment.
    pub tcp: Option<Tcp>,
    /// A UDP datagram.
    pub udp: Option<Udp>,
    /// An ICMP or, by the addresses' family, ICMPv6 message.
    pub icmp: Option<Icmp>,
    /// Another protocol, or one whose header is not to be built: the payload follows the IP header.
    pub protocol: Option<u8>,
    /// Octets of payload, zeros.
    #[serde(skip_serializing_if = "is_default")]
    pub payload: usize,
    /// The frame ends after so many octets; the headers' lengths are those of the whole.
    pub cut: Option<usize>,
    /// Octets that are overwritten at last: offset in the frame, value.
    #[serde(skip_serializing_if = "is_default")]
    pub set: Vec<(usize, u8)>,
}

/// Whether a value is the one that is meant where it is left out.
pub(crate) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// A place in a fragmented packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Fragment {
    /// Octets before this fragment, a multiple of 8.
    pub offset: u16,
    /// Others follow.
    pub more: bool,
    /// Identification.
    pub id: u16,
}

/// An IPv6 extension header of eight octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Extension {
    /// Hop-by-hop options with a router alert (RFC 2711), as MLD has it.
    RouterAlert,
    /// The same with the padding in front.
    PaddedRouterAlert,
    /// Hop-by-hop options with nothing but padding.
    HopByHop,
    /// Destination options, padding.
    Destination,
    /// Routing header of type 0 (deprecated by RFC 5095), no segments left.
    Routing0,
    /// Mobility header's place in the chain, as any extension that is known but not read.
    Mobility,
}

/// A TCP header.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Tcp {
    /// Source port.
    pub from: u16,
    /// Destination port.
    pub to: u16,
    /// `S`, `SA`, `A`, `FA`, `R`… of F, S, R, P, A, U, E, C; empty for none.
    pub flags: String,
}

/// A UDP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Udp {
    /// Source port.
    pub from: u16,
    /// Destination port.
    pub to: u16,
}

/// An ICMP or ICMPv6 header.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Icmp {
    /// Type.
    pub kind: u8,
    /// Code.
    pub code: u8,
    /// Identifier of an echo.
    pub id: u16,
    /// The packet that an error quotes, from its IP header on; its `cut` counts from there.
    pub quotes: Option<Box<Packet>>,
}

/// A TCP segment between two ends.
pub fn tcp(from: (IpAddr, u16), to: (IpAddr, u16), flags: &str) -> Packet {
    Packet {
        from: Some(from.0),
        to: Some(to.0),
        tcp: Some(Tcp {
            from: from.1,
            to: to.1,
            flags: flags.to_owned(),
        }),
        ..Packet::default()
    }
}

/// A UDP datagram between two ends.
pub fn udp(from: (IpAddr, u16), to: (IpAddr, u16)) -> Packet {
    Packet {
        from: Some(from.0),
        to: Some(to.0),
        udp: Some(Udp {
            from: from.1,
            to: to.1,
        }),
        ..Packet::default()
    }
}

/// Link-layer addresses of a frame where it will be sent over a real link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Macs {
    /// Sender.
    pub from: [u8; 6],
    /// Receiver, where the packet is to one host.
    pub to: [u8; 6],
}

impl Default for Macs {
    /// Locally administered addresses.
    fn default() -> Self {
        Self {
            from: [2, 0, 0, 0, 0, 2],
            to: [2, 0, 0, 0, 0, 1],
        }
    }
}

impl Packet {
    /// The frame's octets.
    ///
    /// # Errors
    /// When the words contradict themselves: addresses of two families, two transports, lengths that no header can say.
    pub fn frame(&self) -> Result<Vec<u8>> {
        self.frame_between(Macs::default())
    }

    /// The frame's octets, with these link-layer addresses.
    ///
    /// # Errors
    /// As [`Self::frame`].
    pub fn frame_between(&self, macs: Macs) -> Result<Vec<u8>> {
        let (ether_type, content) = match (self.from, self.to) {
            (Some(from), Some(to)) => build::ip(self, from, to)?,
            (None, None) => {
                let ether_type = self.ether_type.context("no addresses and no ether-type")?;
                (ether_type, vec![0; self.payload])
            }
            _ => bail!("one address without the other"),
        };
        let mut frame = build::link(self, macs, self.ether_type.unwrap_or(ether_type))?;
        frame.extend(content);
        self.damage(&mut frame)?;
        Ok(frame)
    }

    /// The packet from its IP header on, as an ICMP error quotes it.
    fn quote(&self) -> Result<Vec<u8>> {
        let (from, to) = (
            self.from.context("a quoted packet has addresses")?,
            self.to.context("a quoted packet has addresses")?,
        );
        let (_, mut content) = build::ip(self, from, to)?;
        self.damage(&mut content)?;
        Ok(content)
    }

    fn damage(&self, octets: &mut Vec<u8>) -> Result<()> {
        for &(at, value) in &self.set {
            *octets.get_mut(at).context("set: past the end")? = value;
        }
        if let Some(length) = self.cut {
            octets.truncate(length);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::{NetSlice, SlicedPacket, TransportSlice};

    #[track_caller]
    fn built(words: &str) -> Vec<u8> {
        let packet: Packet = toml::from_str(words).unwrap();
        packet.frame().unwrap()
    }

    /// What another parser reads from the frame: network and transport, in a word each.
    #[track_caller]
    fn check(words: &str, network: &str, transport: &str) {
        let frame = built(words);
        let read = SlicedPacket::from_ethernet(&frame).unwrap();
        let seen_network = match &read.net {
            Some(NetSlice::Ipv4(_)) => "ipv4",
            Some(NetSlice::Ipv6(_)) => "ipv6",
            Some(NetSlice::Arp(_)) => "arp",
            None => "none",
        };
        let seen_transport = match &read.transport {
            Some(TransportSlice::Tcp(_)) => "tcp",
            Some(TransportSlice::Udp(_)) => "udp",
            Some(TransportSlice::Icmpv4(_)) => "icmp",
            Some(TransportSlice::Icmpv6(_)) => "icmpv6",
            Some(_) => "other",
            None => "none",
        };
        assert_eq!(
            (seen_network, seen_transport),
            (network, transport),
            "{words}"
        );
    }

    #[test]
    fn another_parser_reads_them() {
        let v4 = "from = '10.0.0.9'\nto = '10.0.0.1'\n";
        let v6 = "from = 'fd00::9'\nto = 'fd00::1'\n";
        for (rest, network, transport) in [
            ("tcp = { from = 1, to = 2, flags = 'S' }", "4", "tcp"),
            ("udp = { from = 1, to = 2 }\npayload = 5", "4", "udp"),
            ("icmp = { kind = 8, id = 7 }\npayload = 9", "4", "icmp"),
            ("icmp = { kind = 135 }\npayload = 16", "6", "icmpv6"),
            ("vlan = [5, 6]\nudp = { from = 1, to = 2 }", "4", "udp"),
            (
                "options = 8\ntcp = { from = 1, to = 2, flags = 'A' }",
                "4",
                "tcp",
            ),
            (
                "fragment = { offset = 8, more = true }\nprotocol = 17\npayload = 8",
                "4",
                "none",
            ),
            (
                "fragment = { offset = 8 }\nprotocol = 17\npayload = 8",
                "6",
                "none",
            ),
            (
                "extensions = ['router-alert']\nicmp = { kind = 143 }\npayload = 8",
                "6",
                "icmpv6",
            ),
            (
                "extensions = ['destination']\nudp = { from = 1, to = 2 }",
                "6",
                "udp",
            ),
            ("protocol = 47\npayload = 8", "6", "none"),
        ] {
            if network == "4" {
                check(&format!("{v4}{rest}"), "ipv4", transport);
            }
            if network == "6" {
                check(&format!("{v6}{rest}"), "ipv6", transport);
            }
        }
        assert_eq!(built("ether-type = 0x88cc\npayload = 46").len(), 60);
    }

    #[test]
    fn checksums_are_right() {
        for words in [
            "from = '10.0.0.9'\nto = '10.0.0.1'\ntcp = { from = 1, to = 2, flags = 'S' }\npayload = 3",
            "from = 'fd00::9'\nto = 'fd00::1'\nudp = { from = 1, to = 2 }\npayload = 3",
        ] {
            let frame = built(words);
            let read = SlicedPacket::from_ethernet(&frame).unwrap();
            match (&read.net, &read.transport) {
                (Some(NetSlice::Ipv4(ip)), Some(TransportSlice::Tcp(tcp))) => {
                    let header = ip.header().to_header();
                    assert_eq!(header.calc_header_checksum(), header.header_checksum);
                    let sum = tcp.to_header().calc_checksum_ipv4(&header, tcp.payload());
                    assert_eq!(sum.unwrap(), tcp.checksum());
                }
                (Some(NetSlice::Ipv6(ip)), Some(TransportSlice::Udp(udp))) => {
                    let header = ip.header().to_header();
                    let sum = udp.to_header().calc_checksum_ipv6(&header, udp.payload());
                    assert_eq!(sum.unwrap(), udp.checksum());
                }
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn groups_cuts_and_damage() {
        let to = |address: &str| {
            let family = if address.contains(':') {
                "fd00::9"
            } else {
                "10.0.0.9"
            };
            let words =
                format!("from = '{family}'\nto = '{address}'\nudp = {{ from = 1, to = 2 }}");
            built(&words)[..6].to_vec()
        };
        assert_eq!(to("224.0.0.251"), [1, 0, 0x5e, 0, 0, 251]);
        assert_eq!(to("ff02::fb"), [0x33, 0x33, 0, 0, 0, 0xfb]);
        assert_eq!(to("255.255.255.255"), [0xff; 6]);
        assert_eq!(to("10.0.0.1")[0] & 1, 0);
        assert_eq!(built("ether-type = 1\npayload = 50\ncut = 20").len(), 20);
        assert_eq!(built("ether-type = 1\npayload = 9\nset = [[14, 7]]")[14], 7);
    }

    #[test]
    fn contradictions_are_errors() {
        for words in [
            "from = '10.0.0.9'\nto = 'fd00::1'\nprotocol = 6",
            "from = '10.0.0.9'",
            "from = '10.0.0.9'\nto = '10.0.0.1'",
            "from = '10.0.0.9'\nto = '10.0.0.1'\nprotocol = 6\nudp = { from = 1, to = 2 }",
            "from = '10.0.0.9'\nto = '10.0.0.1'\ntcp = { from = 1, to = 2, flags = 'x' }",
            "from = '10.0.0.9'\nto = '10.0.0.1'\nprotocol = 6\nextensions = ['destination']",
            "payload = 4",
        ] {
            let packet: Packet = toml::from_str(words).unwrap();
            assert!(packet.frame().is_err(), "{words}");
        }
    }
}
