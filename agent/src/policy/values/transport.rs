//! What carries a flow.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer};

use crate::diagnose::with_help;
use crate::policy::protocols;

/// What carries a flow: TCP, UDP or another IP protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// TCP, with ports.
    Tcp,
    /// UDP, with ports.
    Udp,
    /// Another IP protocol by its number, without ports.
    Protocol(u8),
}

impl fmt::Display for Transport {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp => formatter.write_str("tcp"),
            Self::Udp => formatter.write_str("udp"),
            Self::Protocol(number) => match protocols::name(*number) {
                Some(name) => formatter.write_str(name),
                None => write!(formatter, "{number}"),
            },
        }
    }
}

/// An IP protocol other than TCP, UDP and ICMP, by its IANA keyword in lower case or number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Protocol(pub u8);

impl Protocol {
    /// The number of any IANA keyword in lower case that is known here, also of those that have their own place.
    #[must_use]
    pub fn keyword(word: &str) -> Option<u8> {
        protocols::number(word)
    }

    /// A protocol by its number.
    ///
    /// # Errors
    ///
    /// In the words of a finding: out of range, or a protocol that has its own place.
    pub fn number(number: i64) -> Result<Self, String> {
        let refused = |name: &str, help: &str| {
            Err(with_help(
                &format!("protocol {name} has its own place"),
                help,
            ))
        };
        match number {
            6 => refused("tcp", "write tcp = [ports]"),
            17 => refused("udp", "write udp = [ports]"),
            1 | 58 => refused("icmp", "echo and errors are the host's baseline"),
            _ => u8::try_from(number).map(Self).map_err(|_| {
                with_help(
                    &format!("{number} is no IP protocol"),
                    "numbers go from 0 to 255",
                )
            }),
        }
    }
}

impl FromStr for Protocol {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match protocols::number(text) {
            Some(number) => Self::number(i64::from(number)),
            None => Err(with_help(
                &format!("`{text}` is no IP protocol that is known by name"),
                "write IANA's keyword in lower case (\"esp\", \"gre\", \"vrrp\") or the number",
            )),
        }
    }
}

impl<'de> Deserialize<'de> for Protocol {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl Visitor<'_> for Either {
            type Value = Protocol;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an IP protocol by name or number")
            }
            fn visit_i64<E: Error>(self, number: i64) -> Result<Protocol, E> {
                Protocol::number(number).map_err(E::custom)
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Protocol, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl JsonSchema for Protocol {
    fn schema_name() -> Cow<'static, str> {
        "Protocol".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "an IP protocol other than TCP, UDP and ICMP: IANA's keyword in lower case, or the number",
            "anyOf": [{ "type": "integer", "minimum": 0, "maximum": 255 }, { "type": "string" }]
        })
    }
}
