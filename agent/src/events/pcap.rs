//! Denied packets as pcap-ng, one for each entry, with the reason as its comment (draft-ietf-opsawg-pcapng).
//!
//! An event carries what was read of the headers, not their octets. So they are made again from it: addresses, ports, protocol, TCP flags,
//! ICMP type and code are the packet's; all else is filled in as it must be for a packet without a payload (lengths, checksums) or is zero
//! (identification, hop limit, sequence numbers). The file's first comment says so.

use std::borrow::Cow;
use std::io::Write;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context as _, Result};
use etherparse::{Icmpv4Type, Icmpv6Type, IpNumber, PacketBuilder, TcpHeader};
use pcap_file::pcapng::PcapNgWriter;
use pcap_file::pcapng::blocks::enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption};
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption,
};
use pcap_file::pcapng::blocks::section_header::{SectionHeaderBlock, SectionHeaderOption};
use pcap_file::{DataLink, Endianness};

use super::fields::flags_of;
use super::shown::Shown;
use crate::policy::values::Protocol;

const SAID: &str = "Denied and audited packets as Portcullis reported them, one for each entry. Headers were made again from the fields of events: \
    addresses, ports, protocol, TCP flags, ICMP type and code are the packets'; lengths and checksums are those of a packet without payload, all \
    else is zero. What no IP header was read of has an Ethernet header of zeros with its EtherType.";

/// Nanoseconds: the power of ten of `if_tsresol`.
const RESOLUTION: u8 = 9;

/// A file that is being written.
pub struct Capture<W: Write> {
    writer: PcapNgWriter<W>,
    /// Interfaces by name and whether their packets begin with Ethernet, in the order of their numbers.
    interfaces: Vec<(String, bool)>,
}

impl<W: Write> Capture<W> {
    /// Writes the file's head.
    ///
    /// # Errors
    ///
    /// What the writer refuses.
    pub fn new(writer: W) -> Result<Self> {
        let version = concat!("portcullis ", env!("CARGO_PKG_VERSION"));
        let section = SectionHeaderBlock {
            endianness: Endianness::native(),
            options: vec![
                SectionHeaderOption::Comment(Cow::Borrowed(SAID)),
                SectionHeaderOption::UserApplication(Cow::Borrowed(version)),
            ],
            ..SectionHeaderBlock::default()
        };
        let writer = PcapNgWriter::with_section_header(writer, section);
        Ok(Self {
            writer: writer.context("the capture's head")?,
            interfaces: Vec::new(),
        })
    }

    /// Writes an entry's packet; an entry about entries has none.
    ///
    /// # Errors
    ///
    /// What the writer refuses.
    pub fn write(&mut self, entry: &Shown) -> Result<()> {
        if entry.verdict.is_none() {
            return Ok(());
        }
        let (data, ethernet) = match packet(entry) {
            Some(packet) => (packet, false),
            None => (link(entry), true),
        };
        let interface = self.interface(entry.interface.as_deref().unwrap_or("?"), ethernet)?;
        let time = entry.time.map_or(0, |time| time.as_nanosecond());
        let block = EnhancedPacketBlock {
            interface_id: interface,
            timestamp: Duration::from_nanos(u64::try_from(time).unwrap_or(0)),
            original_len: u32::try_from(data.len()).unwrap_or(u32::MAX),
            data: Cow::Owned(data),
            options: vec![
                EnhancedPacketOption::Comment(Cow::Owned(comment(entry))),
                EnhancedPacketOption::Flags(way(entry)),
            ],
        };
        self.writer
            .write_pcapng_block(block)
            .context("the capture")?;
        self.writer.get_mut().flush().context("the capture")
    }

    /// The number of an interface, which is described before its first packet.
    fn interface(&mut self, name: &str, ethernet: bool) -> Result<u32> {
        let mut known = self.interfaces.iter();
        let place = known.position(|(known, link)| known == name && *link == ethernet);
        let place = match place {
            Some(place) => place,
            None => {
                let block = InterfaceDescriptionBlock {
                    linktype: if ethernet {
                        DataLink::ETHERNET
                    } else {
                        DataLink::RAW
                    },
                    snaplen: 0,
                    options: vec![
                        InterfaceDescriptionOption::IfName(Cow::Owned(name.to_owned())),
                        InterfaceDescriptionOption::IfTsResol(RESOLUTION),
                    ],
                };
                self.writer
                    .write_pcapng_block(block)
                    .context("the capture")?;
                self.interfaces.push((name.to_owned(), ethernet));
                self.interfaces.len() - 1
            }
        };
        u32::try_from(place).context("too many interfaces")
    }
}

/// `deny no-rule, peer, 3 packets: …`
fn comment(entry: &Shown) -> String {
    let word = |text: &Option<String>| text.clone().unwrap_or_default();
    let kind = entry
        .kind
        .as_ref()
        .map_or(String::new(), |kind| format!(", {kind}"));
    let count = match entry.count {
        1 => String::new(),
        more => format!(", {more} packets"),
    };
    format!(
        "{} {}{kind}{count}: {}",
        word(&entry.verdict),
        word(&entry.reason),
        entry.message
    )
}

/// `epb_flags`: inbound 1, outbound 2.
fn way(entry: &Shown) -> u32 {
    match entry.direction.as_deref() {
        Some("ingress") => 1,
        Some("egress") => 2,
        _ => 0,
    }
}

/// The headers from IP on; none where no IP header was read, or its ends are not of one family.
fn packet(entry: &Shown) -> Option<Vec<u8>> {
    let builder = match (entry.source?, entry.destination?) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            PacketBuilder::ipv4(source.octets(), destination.octets(), 0)
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            PacketBuilder::ipv6(source.octets(), destination.octets(), 0)
        }
        _ => return None,
    };
    let mut packet = Vec::new();
    let ports = entry.source_port.zip(entry.destination_port);
    let written = match (entry.transport.as_deref()?, ports) {
        ("tcp", Some((source, destination))) => {
            let flags = flags_of(entry.tcp_flags.as_deref().unwrap_or_default());
            let on = |bit: u8| flags & bit != 0;
            let mut header = TcpHeader::new(source, destination, 0, 0);
            (header.fin, header.syn, header.rst, header.psh) = (on(1), on(2), on(4), on(8));
            (header.ack, header.urg, header.ece, header.cwr) = (on(16), on(32), on(64), on(128));
            builder.tcp_header(header).write(&mut packet, &[])
        }
        ("udp", Some((source, destination))) => {
            builder.udp(source, destination).write(&mut packet, &[])
        }
        ("icmp", _) if entry.icmp.is_some() => {
            let (kind, code) = entry.icmp?;
            let kind = Icmpv4Type::Unknown {
                type_u8: kind,
                code_u8: code,
                bytes5to8: [0; 4],
            };
            builder.icmpv4(kind).write(&mut packet, &[])
        }
        ("icmpv6", _) if entry.icmp.is_some() => {
            let (kind, code) = entry.icmp?;
            let kind = Icmpv6Type::Unknown {
                type_u8: kind,
                code_u8: code,
                bytes5to8: [0; 4],
            };
            builder.icmpv6(kind).write(&mut packet, &[])
        }
        // What lies behind IP was not read, or has no header that an event tells of.
        (word, _) => {
            let number = match word {
                "tcp" => IpNumber::TCP,
                "udp" => IpNumber::UDP,
                "icmp" => IpNumber::ICMP,
                "icmpv6" => IpNumber::IPV6_ICMP,
                other => IpNumber(other.parse().ok().or_else(|| Protocol::keyword(other))?),
            };
            builder.write(&mut packet, number, &[])
        }
    };
    written.ok().map(|()| packet)
}

/// An Ethernet header without addresses.
fn link(entry: &Shown) -> Vec<u8> {
    let word = entry.transport.as_deref().unwrap_or_default();
    let number = word
        .strip_prefix("ethertype 0x")
        .map(|digits| u16::from_str_radix(digits, 16));
    let mut frame = vec![0; 12];
    frame.extend(number.and_then(Result::ok).unwrap_or(0).to_be_bytes());
    frame
}
