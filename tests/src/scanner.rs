//! A port scanner: every port of a host in a second, and every kind of answer counts.
//!
//! It sends the probes itself and hears every frame that comes back, so nothing depends on what the scanning host's stack makes of them.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use etherparse::{NetSlice, SlicedPacket, TransportSlice};

use crate::netns::Namespace;
use crate::packet::{Macs, tcp, udp};
use crate::raw::{Receiver, Sender};

/// Probes that are sent before the answers to them are read.
const PROBES: u16 = 64;
/// Nothing more is expected when nothing has come for so long.
const SILENCE: Duration = Duration::from_millis(200);
/// A probe or an answer may be lost on a busy machine; each is asked twice.
const ROUNDS: u32 = 2;
/// The scanner's own port: no service's, and not one that a rule asks for.
const FROM: u16 = 61_234;

/// What is scanned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// By SYN segments.
    Tcp,
    /// By datagrams without payload.
    Udp,
}

/// The scan of one host from another.
#[derive(Clone, Copy, Debug)]
pub struct Scan<'a> {
    /// Who scans, by `eth0`.
    pub from: &'a Namespace,
    /// Its address.
    pub source: IpAddr,
    /// Whose ports.
    pub to: IpAddr,
    /// Link-layer addresses of the two.
    pub macs: Macs,
}

impl Scan<'_> {
    /// The ports from 1 to 65,535 that answer anything: a connection, a reset, a datagram, an ICMP error.
    ///
    /// # Errors
    /// When the interface can't be used.
    pub fn answered(&self, over: Over) -> Result<BTreeSet<u16>> {
        let sender = Sender::new(self.from, "eth0")?;
        let receiver = Receiver::new(self.from, "eth0")?;
        let mut found = BTreeSet::new();
        for _ in 0..ROUNDS {
            for port in 1..=u16::MAX {
                let ends = ((self.source, FROM), (self.to, port));
                let probe = match over {
                    Over::Tcp => tcp(ends.0, ends.1, "S"),
                    Over::Udp => udp(ends.0, ends.1),
                };
                sender.send(&probe.frame_between(self.macs)?)?;
                if port % PROBES == 0 {
                    while let Some(frame) = receiver.next(Duration::ZERO)? {
                        found.extend(self.port(over, &frame));
                    }
                }
            }
            while let Some(frame) = receiver.next(SILENCE)? {
                found.extend(self.port(over, &frame));
            }
        }
        Ok(found)
    }

    /// The port of the scanned host that a frame answers for.
    fn port(&self, over: Over, frame: &[u8]) -> Option<u16> {
        let read = SlicedPacket::from_ethernet(frame).ok()?;
        let (from, to) = ends(read.net.as_ref()?)?;
        if (from, to) != (self.to, self.source) {
            return None;
        }
        match (over, read.transport?) {
            (Over::Tcp, TransportSlice::Tcp(it)) => {
                (it.destination_port() == FROM).then(|| it.source_port())
            }
            (Over::Udp, TransportSlice::Udp(it)) => {
                (it.destination_port() == FROM).then(|| it.source_port())
            }
            // An error, which quotes the probe.
            (_, TransportSlice::Icmpv4(it)) => quoted(it.payload()),
            (_, TransportSlice::Icmpv6(it)) => quoted(it.payload()),
            _ => None,
        }
    }
}

fn ends(net: &NetSlice<'_>) -> Option<(IpAddr, IpAddr)> {
    match net {
        NetSlice::Ipv4(it) => {
            let header = it.header();
            Some((
                header.source_addr().into(),
                header.destination_addr().into(),
            ))
        }
        NetSlice::Ipv6(it) => {
            let header = it.header();
            Some((
                header.source_addr().into(),
                header.destination_addr().into(),
            ))
        }
        NetSlice::Arp(_) => None,
    }
}

/// The destination port of a quoted packet, the scanner's.
fn quoted(packet: &[u8]) -> Option<u16> {
    let header = match packet.first()? >> 4 {
        4 => usize::from(packet.first()? & 15) * 4,
        6 => 40,
        _ => return None,
    };
    let port = |at: usize| {
        let octets = packet.get(header + at..header + at + 2)?;
        Some(u16::from_be_bytes(octets.try_into().ok()?))
    };
    if port(0)? == FROM { port(2) } else { None }
}

/// The ends of a scan, asked of the hosts themselves.
///
/// # Errors
/// When an address is none, or an interface is missing.
pub fn scan<'a>(from: (&'a Namespace, &str), to: (&Namespace, &str)) -> Result<Scan<'a>> {
    let address = |text: &str| text.parse::<IpAddr>().with_context(|| text.to_owned());
    let scan = Scan {
        from: from.0,
        source: address(from.1)?,
        to: address(to.1)?,
        macs: Macs {
            from: crate::link::mac(from.0, "eth0")?,
            to: crate::link::mac(to.0, "eth0")?,
        },
    };
    if scan.source.is_ipv4() != scan.to.is_ipv4() {
        bail!("addresses of two families");
    }
    Ok(scan)
}
