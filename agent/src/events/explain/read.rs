//! Events as they left, read back: a JSON line of ours, or an entry of `journalctl -o json`.

use std::net::IpAddr;

use agent_common::event::Direction;
use agent_common::net::icmp;
use agent_common::verdict::Reason;
use anyhow::{Context as _, Result, bail};
use jiff::Timestamp;
use serde_json::Value;

use super::Question;
use super::probe::Probe;
use crate::events::decode::{Asked, Transport};
use crate::events::fields::flags_of;
use crate::policy::values::Protocol;

/// A denied packet, as far as its entry tells.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Event {
    /// It passed by an audit.
    pub audited: bool,
    /// Why it was denied.
    pub reason: Reason,
    /// Which way it went.
    pub direction: Direction,
    /// What carried it.
    pub transport: Transport,
    /// Source.
    pub source: Option<IpAddr>,
    /// Destination.
    pub destination: Option<IpAddr>,
    /// Source port.
    pub source_port: Option<u16>,
    /// Destination port.
    pub destination_port: Option<u16>,
    /// TCP flags.
    pub tcp_flags: u8,
}

impl Event {
    /// Reads an entry.
    ///
    /// # Errors
    ///
    /// Where it is none of a denied packet, or a field has an impossible value.
    pub fn read(entry: &Value) -> Result<Self> {
        let word = |name: &str| {
            let journal = format!("PORTCULLIS_{}", name.to_uppercase());
            let value = entry.get(name).or_else(|| entry.get(journal));
            value.and_then(|value| match value {
                Value::String(text) => Some(text.clone()),
                Value::Number(number) => Some(number.to_string()),
                _ => None,
            })
        };
        let audited = match word("verdict").as_deref() {
            Some("deny") => false,
            Some("audit") => true,
            Some(other) => bail!("verdict `{other}` is neither `deny` nor `audit`"),
            None => bail!("no field `verdict`: it is no entry about a denied packet"),
        };
        let reason = word("reason").unwrap_or_default();
        let mut reasons = Reason::ALL.iter();
        let reason = *reasons
            .find(|it| it.name() == reason)
            .with_context(|| format!("`{reason}` is no reason that this version knows"))?;
        let direction = match word("direction").as_deref() {
            Some("ingress") => Direction::Ingress,
            Some("egress") => Direction::Egress,
            other => bail!("`{}` is no direction", other.unwrap_or_default()),
        };
        let address = |name| -> Result<Option<IpAddr>> {
            let text = word(name);
            let parsed = text.as_deref().map(str::parse).transpose();
            parsed.with_context(|| format!("`{}` is no address", text.unwrap_or_default()))
        };
        let number = |name| -> Result<Option<u16>> {
            let text = word(name);
            let parsed = text.as_deref().map(str::parse).transpose();
            parsed.with_context(|| format!("{name} `{}` is no number", text.unwrap_or_default()))
        };
        let octet = |name| -> Result<Option<u8>> {
            let value = number(name)?.map(u8::try_from).transpose();
            value.with_context(|| format!("{name} is larger than 255"))
        };
        let kind = (octet("icmp_type")?, octet("icmp_code")?);
        Ok(Self {
            audited,
            reason,
            direction,
            transport: transport(&word("transport").unwrap_or_default(), kind)?,
            source: address("src")?,
            destination: address("dst")?,
            source_port: number("src_port")?,
            destination_port: number("dst_port")?,
            tcp_flags: flags_of(&word("tcp_flags").unwrap_or_default()),
        })
    }

    /// Whether the packet itself was at fault: a probe made of the entry would not be.
    pub fn is_at_fault(&self) -> bool {
        self.reason.is_structural()
            || matches!(
                self.reason,
                Reason::Unrelated | Reason::OffLink | Reason::Group
            )
    }

    /// The packet again, where the entry tells enough.
    pub fn probe(&self) -> Option<Probe> {
        let (source, destination) = (self.source?, self.destination?);
        let (own, peer) = match self.direction {
            Direction::Ingress => (destination, source),
            Direction::Egress => (source, destination),
        };
        Some(Probe {
            direction: self.direction,
            transport: self.transport,
            own,
            peer,
            source_port: self.source_port.unwrap_or(0),
            destination_port: self.destination_port.unwrap_or(0),
            tcp_flags: self.tcp_flags,
        })
    }

    /// The question that the entry asks.
    pub fn question(&self, time: Timestamp) -> Question {
        Question {
            direction: self.direction,
            transport: self.transport,
            peer: match self.direction {
                Direction::Ingress => self.source,
                Direction::Egress => self.destination,
            },
            asked: Asked {
                port: self.destination_port.unwrap_or(0),
                answers: false,
            },
            reason: self.reason,
            audited: self.audited,
            rule: None,
            time,
        }
    }
}

fn transport(word: &str, kind: (Option<u8>, Option<u8>)) -> Result<Transport> {
    // The journal has no field for the type; what is denied by a rule is an echo request.
    let code = kind.1.unwrap_or(0);
    Ok(match word {
        "tcp" => Transport::Tcp,
        "udp" => Transport::Udp,
        "icmp" => Transport::Icmp(kind.0.unwrap_or(icmp::ECHO), code),
        "icmpv6" => Transport::Icmpv6(kind.0.unwrap_or(icmp::V6_ECHO), code),
        _ => {
            if let Some(ether_type) = word.strip_prefix("ethertype 0x") {
                let ether_type = u16::from_str_radix(ether_type, 16);
                let ether_type = ether_type.with_context(|| format!("`{word}` is no EtherType"))?;
                return Ok(Transport::Link(ether_type));
            }
            // Also those that no configuration names, such as ICMPv6 in IPv4.
            let number = word.parse::<u8>().ok();
            let number = number.or_else(|| Protocol::keyword(word));
            Transport::Protocol(number.with_context(|| format!("`{word}` is no transport"))?)
        }
    })
}
