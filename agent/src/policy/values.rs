//! The small languages inside a policy: conditions, ports, versions, row ids, transports.
//!
//! Each is read from its text once, while the file is read, so that a fault has the place of
//! the value; each prints as it is written.

mod ports;
mod transport;

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer};

use crate::diagnose::with_help;

pub use ports::{PortDefault, PortRange, PortRef};
pub use transport::{Protocol, Transport};

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

#[cfg(test)]
mod tests;
