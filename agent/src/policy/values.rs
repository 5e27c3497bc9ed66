//! The small languages inside a policy: conditions, ports, versions, row ids, transports.
//!
//! Each is read from its text once, while the file is read, so that a fault has the place of
//! the value; each prints as it is written.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer};

use super::protocols;
use crate::diagnose::with_help;

/// Whether a word can name a table, role, option, port, group, topology or version line:
/// lower-case letters, digits and single hyphens inside.
#[must_use]
pub fn is_name(word: &str) -> bool {
    !word.is_empty()
        && word.split('-').all(|part| {
            !part.is_empty()
                && part
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        })
}

/// Reads a type from a string through its `FromStr`, with the parser's words as the error.
macro_rules! from_text {
    ($type:ty, $expecting:literal, $schema:tt) => {
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Text;
                impl Visitor<'_> for Text {
                    type Value = $type;
                    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                        formatter.write_str($expecting)
                    }
                    fn visit_str<E: Error>(self, text: &str) -> Result<$type, E> {
                        text.parse().map_err(E::custom)
                    }
                }
                deserializer.deserialize_str(Text)
            }
        }

        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    };
}

/// What must hold for a row or a flow to open anything.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Condition {
    /// `x`: the option is on.
    On(String),
    /// `!x`: the option is off.
    Off(String),
    /// `x=choice`: the option has this one of its choices.
    Is(String, String),
}

impl Condition {
    /// The option that the condition asks.
    #[must_use]
    pub fn option(&self) -> &str {
        match self {
            Self::On(option) | Self::Off(option) | Self::Is(option, _) => option,
        }
    }
}

impl FromStr for Condition {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            with_help(
                &format!("`{text}` is no condition"),
                "write `option`, `!option` or `option=choice`, names in lower case with hyphens",
            )
        };
        let (condition, names) = if let Some((option, choice)) = text.split_once('=') {
            let (option, choice) = (option.trim(), choice.trim());
            (
                Self::Is(option.to_owned(), choice.to_owned()),
                vec![option, choice],
            )
        } else if let Some(option) = text.strip_prefix('!') {
            (Self::Off(option.to_owned()), vec![option])
        } else {
            (Self::On(text.to_owned()), vec![text])
        };
        if names.into_iter().all(is_name) {
            Ok(condition)
        } else {
            Err(wrong())
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::On(option) => formatter.write_str(option),
            Self::Off(option) => write!(formatter, "!{option}"),
            Self::Is(option, choice) => write!(formatter, "{option}={choice}"),
        }
    }
}

from_text!(Condition, "a condition", {
    "description": "`option`, `!option` or `option=choice`",
    "type": "string",
    "pattern": "^!?[a-z0-9-]+$|^[a-z0-9-]+ *= *[a-z0-9-]+$"
});

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

/// A product version: dotted numbers, compared number by number, missing ones as 0.
#[derive(Clone, Debug, Eq)]
pub struct Version {
    text: String,
    numbers: Vec<u32>,
}

impl FromStr for Version {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let numbers: Result<Vec<u32>, _> = text.split('.').map(str::parse).collect();
        match numbers {
            Ok(mut numbers)
                if text
                    .bytes()
                    .all(|byte| byte == b'.' || byte.is_ascii_digit()) =>
            {
                while numbers.last() == Some(&0) {
                    numbers.pop();
                }
                Ok(Self {
                    text: text.to_owned(),
                    numbers,
                })
            }
            _ => Err(with_help(
                &format!("`{text}` is no version"),
                "write dotted numbers: \"4.7.1\"",
            )),
        }
    }
}

impl PartialEq for Version {
    fn eq(&self, other: &Self) -> bool {
        self.numbers == other.numbers
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        self.numbers.cmp(&other.numbers)
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

from_text!(Version, "a version in quotes", {
    "description": "dotted numbers: 4.7.1",
    "type": "string",
    "pattern": "^[0-9]+([.][0-9]+)*$"
});

/// A row as another row cites it: `table/n`, or `product/table/n` in another product.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RowRef {
    /// The product, where it is another one.
    pub product: Option<String>,
    /// The table's key.
    pub table: String,
    /// The printed line, counted from 1.
    pub number: u32,
}

impl RowRef {
    /// The whole id: `product/table/n`.
    #[must_use]
    pub fn full(&self, own_product: &str) -> String {
        let product = self.product.as_deref().unwrap_or(own_product);
        format!("{product}/{}/{}", self.table, self.number)
    }
}

impl FromStr for RowRef {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts: Vec<&str> = text.split('/').collect();
        let (product, table, number) = match parts.as_slice() {
            [table, number] => (None, *table, *number),
            [product, table, number] => (Some(*product), *table, *number),
            _ => (None, "", ""),
        };
        let names_hold = is_name(table) && product.is_none_or(is_name);
        match number.parse::<u32>() {
            // Written as a number is written, or two texts would be one id.
            Ok(line) if names_hold && line > 0 && line.to_string() == number => Ok(Self {
                product: product.map(str::to_owned),
                table: table.to_owned(),
                number: line,
            }),
            _ => Err(with_help(
                &format!("`{text}` is no row id"),
                "write \"table/n\", n counted from 1",
            )),
        }
    }
}

impl fmt::Display for RowRef {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(product) = &self.product {
            write!(formatter, "{product}/")?;
        }
        write!(formatter, "{}/{}", self.table, self.number)
    }
}

from_text!(RowRef, "a row id", {
    "description": "`table/n`, or `product/table/n` for a row of another product",
    "type": "string",
    "pattern": "^([a-z0-9-]+/)?[a-z0-9-]+/[1-9][0-9]*$"
});

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
    fn number(number: i64) -> Result<Self, String> {
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

#[cfg(test)]
mod tests;
