//! The configuration as it is written: every key optional, values not yet understood, so that
//! one pass over the text finds whatever has the wrong shape and the next says the rest.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, Expected, MapAccess, SeqAccess, Unexpected, Visitor};
use serde::{Deserialize, Deserializer};
use toml::Spanned;
use toml::value::Datetime;

use super::schema::{Hook, OnFailure, Sink, Stage};
use super::sources::Span;
use crate::diagnose::Keyed;
use crate::policy::schema::Direction;
use crate::rule::DefaultAction;
use crate::rule::Forward;

/// All files, merged.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(super) struct Raw {
    pub schema: Option<Spanned<i64>>,
    pub interfaces: Option<Values>,
    pub hook: Option<HookWord>,
    #[serde(rename = "default")]
    pub defaults: RawDefaults,
    pub sets: Keyed<RawSet>,
    pub product: Keyed<RawProduct>,
    pub allow: Keyed<RawAllow>,
    pub block: Keyed<RawBlock>,
    pub failsafe: Keyed<RawFailsafe>,
    pub baseline: RawBaseline,
    pub forward: RawForward,
    pub conntrack: RawConntrack,
    pub events: RawEvents,
    pub metrics: RawMetrics,
    pub daemon: RawDaemon,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(super) struct RawDefaults {
    pub ingress: Option<Spanned<DefaultWord>>,
    pub egress: Option<Spanned<DefaultWord>>,
    pub audit_until: Option<Spanned<RawMoment>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(super) struct RawProduct {
    pub policy: Option<Spanned<String>>,
    pub roles: Option<Values>,
    pub topologies: Option<Values>,
    pub stage: Option<Spanned<StageWord>>,
    pub audit_until: Option<Spanned<RawMoment>>,
    pub options: Keyed<Spanned<RawOption>>,
    pub versions: Keyed<Spanned<String>>,
    pub peers: Keyed<Values>,
    pub groups: Keyed<Values>,
    pub ports: Keyed<Values>,
    pub skip: Keyed<Spanned<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(super) struct RawAllow {
    pub direction: Option<Spanned<Direction>>,
    pub tcp: Option<Values>,
    pub udp: Option<Values>,
    pub protocol: Option<Values>,
    pub peers: Option<Values>,
    pub reason: Option<Spanned<String>>,
    pub owner: Option<String>,
    pub expires: Option<Spanned<RawMoment>>,
    pub cites: Option<Spanned<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(super) struct RawBlock {
    pub tcp: Option<Values>,
    pub udp: Option<Values>,
    pub peers: Option<Values>,
    pub reason: Option<Spanned<String>>,
    pub force: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(super) struct RawFailsafe {
    pub tcp: Option<Values>,
    pub peers: Option<Values>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(super) struct RawBaseline {
    pub dns: Option<Values>,
    pub dhcp_client: Option<Values>,
    pub ntp: Option<Values>,
    pub icmp_echo: Option<RawEcho>,
    pub neighbour_discovery: Option<Values>,
    pub router_advertisements: Option<Values>,
    pub mld_igmp: Option<Values>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(super) struct RawForward {
    #[serde(rename = "default")]
    pub action: Option<Spanned<ForwardWord>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(super) struct RawConntrack {
    pub established: Option<Spanned<i64>>,
    pub new: Option<Spanned<i64>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(super) struct RawEvents {
    pub window: Option<Spanned<String>>,
    pub acquaintances: RawBudgets,
    pub strangers: RawBudgets,
    pub sinks: Option<Values>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(super) struct RawBudgets {
    pub peer: Option<Spanned<i64>>,
    pub all: Option<Spanned<i64>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(super) struct RawMetrics {
    pub listen: Option<Spanned<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(super) struct RawDaemon {
    pub bank_memory: Option<Spanned<String>>,
    pub on_failure: Option<OnFailureWord>,
    pub socket_group: Option<Spanned<String>>,
    pub policies: Option<Spanned<String>>,
    pub state: Option<Spanned<String>>,
    pub runtime: Option<Spanned<String>>,
    pub pins: Option<Spanned<String>>,
}

/// Words of a key as they are written, and what they mean.
macro_rules! words {
    ($($name:ident => $type:ident { $($word:ident),+ })+) => {
        $(
            #[derive(Clone, Copy, Debug, Deserialize)]
            #[serde(rename_all = "kebab-case")]
            pub(super) enum $name { $($word),+ }

            impl From<$name> for $type {
                fn from(word: $name) -> Self {
                    match word { $($name::$word => Self::$word),+ }
                }
            }
        )+
    };
}

words! {
    DefaultWord => DefaultAction { Deny, Audit, Open }
    HookWord => Hook { Auto, Xdp, Tc, XdpGeneric }
    StageWord => Stage { Enforce, Audit }
    ForwardWord => Forward { Deny, Pass, SameRules }
    OnFailureWord => OnFailure { FailsafeOnly, Open }
}

impl Sink {
    /// Every sink.
    pub const ALL: [Self; 2] = [Self::Journal, Self::Json];
}

/// A single value, not yet understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Scalar {
    Text(String),
    Number(i64),
    Bool(bool),
}

impl fmt::Display for Scalar {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => formatter.write_str(text),
            Self::Number(number) => number.fmt(formatter),
            Self::Bool(yes) => yes.fmt(formatter),
        }
    }
}

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct One;
        impl Visitor<'_> for One {
            type Value = Scalar;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a string, a number, true or false")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Scalar, E> {
                Ok(Scalar::Text(text.to_owned()))
            }
            fn visit_i64<E: Error>(self, number: i64) -> Result<Scalar, E> {
                Ok(Scalar::Number(number))
            }
            fn visit_bool<E: Error>(self, yes: bool) -> Result<Scalar, E> {
                Ok(Scalar::Bool(yes))
            }
        }
        deserializer.deserialize_any(One)
    }
}

/// What stands at a key that takes a value, a list, or a table of its own kind.
enum Shape<T> {
    One(Scalar),
    Many(Vec<Spanned<Scalar>>),
    Table(T),
}

/// What a key takes as a table, and what its reader is told otherwise.
trait Table<'de>: Sized {
    const EXPECTED: &'static str;
    fn read<A: MapAccess<'de>>(map: A) -> Result<Self, A::Error>;
}

impl<'de, T: Table<'de>> Deserialize<'de> for Shape<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any<T>(PhantomData<T>);
        impl<'de, T: Table<'de>> Visitor<'de> for Any<T> {
            type Value = Shape<T>;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(T::EXPECTED)
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Shape<T>, A::Error> {
                let mut values = Vec::new();
                while let Some(value) = list.next_element()? {
                    values.push(value);
                }
                Ok(Shape::Many(values))
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Shape<T>, E> {
                Ok(Shape::One(Scalar::Text(text.to_owned())))
            }
            fn visit_i64<E: Error>(self, number: i64) -> Result<Shape<T>, E> {
                Ok(Shape::One(Scalar::Number(number)))
            }
            fn visit_bool<E: Error>(self, yes: bool) -> Result<Shape<T>, E> {
                Ok(Shape::One(Scalar::Bool(yes)))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Shape<T>, A::Error> {
                T::read(map).map(Shape::Table)
            }
        }
        deserializer.deserialize_any(Any(PhantomData))
    }
}

/// One value or a list of them, with the place of the whole.
#[derive(Clone, Debug)]
pub(super) struct Values {
    pub span: Span,
    pub list: Vec<Spanned<Scalar>>,
}

/// A key that takes no table.
enum NoTable {}

impl<'de> Table<'de> for NoTable {
    const EXPECTED: &'static str = "one value or a list of values";
    fn read<A: MapAccess<'de>>(_: A) -> Result<Self, A::Error> {
        let expected: &dyn Expected = &Self::EXPECTED;
        Err(A::Error::invalid_type(Unexpected::Map, expected))
    }
}

impl<'de> Deserialize<'de> for Values {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let shape = Spanned::<Shape<NoTable>>::deserialize(deserializer)?;
        let span = shape.span();
        Ok(match shape.into_inner() {
            Shape::One(one) => Self::lone(span, one),
            Shape::Many(list) => Self { span, list },
            Shape::Table(never) => match never {},
        })
    }
}

impl Values {
    fn lone(span: Span, value: Scalar) -> Self {
        let list = vec![Spanned::new(span.clone(), value)];
        Self { span, list }
    }
}

/// A TOML date or date-time; or a text, which is often one in quotes.
#[derive(Clone, Debug)]
pub(super) enum RawMoment {
    Written(Datetime),
    Quoted(String),
}

impl<'de> Deserialize<'de> for RawMoment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = RawMoment;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a date or a date-time with offset, without quotes")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<RawMoment, E> {
                Ok(RawMoment::Quoted(text.to_owned()))
            }
            // The reader hands a date-time over as a table of its own kind.
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<RawMoment, A::Error> {
                Datetime::deserialize(MapAccessDeserializer::new(map)).map(RawMoment::Written)
            }
        }
        deserializer.deserialize_any(Either)
    }
}

/// A switch or a choice.
#[derive(Clone, Debug)]
pub(super) enum RawOption {
    Switch(bool),
    Choice(String),
}

impl<'de> Deserialize<'de> for RawOption {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl Visitor<'_> for Either {
            type Value = RawOption;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("true, false or a choice in quotes")
            }
            fn visit_bool<E: Error>(self, yes: bool) -> Result<RawOption, E> {
                Ok(RawOption::Switch(yes))
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<RawOption, E> {
                Ok(RawOption::Choice(text.to_owned()))
            }
        }
        deserializer.deserialize_any(Either)
    }
}

/// A set: a list, or the file that holds it.
#[derive(Clone, Debug)]
pub(super) enum RawSet {
    List(Vec<Spanned<Scalar>>),
    File(Spanned<String>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct FileSet {
    file: Spanned<String>,
}

impl<'de> Table<'de> for FileSet {
    const EXPECTED: &'static str = "a list, or { file = \"…\" }";
    fn read<A: MapAccess<'de>>(map: A) -> Result<Self, A::Error> {
        Self::deserialize(MapAccessDeserializer::new(map))
    }
}

impl<'de> Deserialize<'de> for RawSet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let shape = Spanned::<Shape<FileSet>>::deserialize(deserializer)?;
        let span = shape.span();
        Ok(match shape.into_inner() {
            Shape::One(one) => Self::List(vec![Spanned::new(span, one)]),
            Shape::Many(list) => Self::List(list),
            Shape::Table(set) => Self::File(set.file),
        })
    }
}

/// `icmp-echo`: one value for both ways, or one for each.
#[derive(Clone, Debug)]
pub(super) enum RawEcho {
    Both(Values),
    Each(EachEcho),
}

/// Echo requests that come in and that go out.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EachEcho {
    #[serde(rename = "in")]
    pub incoming: Option<Values>,
    #[serde(rename = "out")]
    pub outgoing: Option<Values>,
}

impl<'de> Table<'de> for EachEcho {
    const EXPECTED: &'static str = "false, peers, or { in = …, out = … }";
    fn read<A: MapAccess<'de>>(map: A) -> Result<Self, A::Error> {
        Self::deserialize(MapAccessDeserializer::new(map))
    }
}

impl<'de> Deserialize<'de> for RawEcho {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let shape = Spanned::<Shape<EachEcho>>::deserialize(deserializer)?;
        let span = shape.span();
        Ok(match shape.into_inner() {
            Shape::One(one) => Self::Both(Values::lone(span, one)),
            Shape::Many(list) => Self::Both(Values { span, list }),
            Shape::Table(each) => Self::Each(each),
        })
    }
}
