//! Ports as a policy names them: numbers, ranges, names, and `other + n`.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer};

use super::is_name;
use crate::diagnose::with_help;

/// Ports from first to last, both included, never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortRange {
    /// The lowest port of the range.
    pub first: u16,
    /// The highest port of the range, not below `first`.
    pub last: u16,
}

impl PortRange {
    /// A single port.
    #[must_use]
    pub const fn single(port: u16) -> Self {
        Self {
            first: port,
            last: port,
        }
    }

    /// Whether the port lies in the range.
    #[must_use]
    pub const fn contains(self, port: u16) -> bool {
        self.first <= port && port <= self.last
    }

    /// The range moved up, or `None` where it would leave the port numbers.
    #[must_use]
    pub fn offset(self, add: u16) -> Option<Self> {
        Some(Self {
            first: self.first.checked_add(add)?,
            last: self.last.checked_add(add)?,
        })
    }

    fn number(port: i64) -> Result<Self, String> {
        match u16::try_from(port) {
            Ok(0) | Err(_) => Err(with_help(
                &format!("{port} is no port"),
                "ports go from 1 to 65535",
            )),
            Ok(port) => Ok(Self::single(port)),
        }
    }
}

impl FromStr for PortRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |part: &str| -> Result<u16, String> {
            let part = part.trim();
            let port = part
                .parse::<u32>()
                .map_err(|_| format!("`{part}` is no port number"))?;
            Self::number(i64::from(port)).map(|range| range.first)
        };
        let Some((first, last)) = text.split_once('-') else {
            return number(text).map(Self::single);
        };
        let (first, last) = (number(first)?, number(last)?);
        if first > last {
            return Err(with_help(
                &format!("the range {first}-{last} is upside down"),
                &format!("write \"{last}-{first}\""),
            ));
        }
        Ok(Self { first, last })
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            write!(formatter, "{}", self.first)
        } else {
            write!(formatter, "{}-{}", self.first, self.last)
        }
    }
}

/// A port as a flow names it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PortRef {
    /// A port or range that the product does not let one change.
    Fixed(PortRange),
    /// A `[ports.X]` of the policy.
    Named(String),
}

impl FromStr for PortRef {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.starts_with(|first: char| first.is_ascii_digit()) {
            return text.parse().map(Self::Fixed);
        }
        if is_name(text) {
            return Ok(Self::Named(text.to_owned()));
        }
        Err(with_help(
            &format!("`{text}` is no port"),
            "write a number, a range \"8300-8302\" or the name of a [ports] table",
        ))
    }
}

impl fmt::Display for PortRef {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(range) => range.fmt(formatter),
            Self::Named(name) => formatter.write_str(name),
        }
    }
}

/// The documented default of a `[ports.X]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PortDefault {
    /// A number or a range.
    Range(PortRange),
    /// `other + n`: follows the value of another port.
    Offset {
        /// The other `[ports.X]`.
        base: String,
        /// What is added to it.
        add: u16,
    },
}

impl FromStr for PortDefault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some((base, add)) = text.split_once('+') else {
            return text.parse().map(Self::Range);
        };
        let base = base.trim();
        match add.trim().parse::<u16>() {
            Ok(add) if add > 0 && is_name(base) => Ok(Self::Offset {
                base: base.to_owned(),
                add,
            }),
            _ => Err(with_help(
                &format!("`{text}` is no port"),
                "write a number, a range \"49152-65535\" or \"other + 1\"",
            )),
        }
    }
}

impl fmt::Display for PortDefault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Range(range) => range.fmt(formatter),
            Self::Offset { base, add } => write!(formatter, "{base} + {add}"),
        }
    }
}

/// Reads a port type from a number or a text.
macro_rules! from_number_or_text {
    ($type:ty, $wrap:expr, $description:literal) => {
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Either;
                impl Visitor<'_> for Either {
                    type Value = $type;
                    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                        formatter.write_str($description)
                    }
                    fn visit_i64<E: Error>(self, number: i64) -> Result<$type, E> {
                        PortRange::number(number).map($wrap).map_err(E::custom)
                    }
                    fn visit_u64<E: Error>(self, number: u64) -> Result<$type, E> {
                        self.visit_i64(i64::try_from(number).unwrap_or(i64::MAX))
                    }
                    fn visit_str<E: Error>(self, text: &str) -> Result<$type, E> {
                        text.parse().map_err(E::custom)
                    }
                }
                deserializer.deserialize_any(Either)
            }
        }

        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({
                    "description": $description,
                    "anyOf": [
                        { "type": "integer", "minimum": 1, "maximum": 65535 },
                        { "type": "string" }
                    ]
                })
            }
        }
    };
}

from_number_or_text!(
    PortRange,
    std::convert::identity,
    "a port number or a range `first-last`"
);
from_number_or_text!(
    PortRef,
    PortRef::Fixed,
    "a port number, a range `first-last` or the name of a port"
);
from_number_or_text!(
    PortDefault,
    PortDefault::Range,
    "a port number, a range `first-last` or `other + n`"
);
