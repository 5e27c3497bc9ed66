//! Peers: who is at the other end, as the operator names them.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net, Ipv4Subnets, Ipv6Net, Ipv6Subnets};

use super::sources::Span;

/// A value of peers with its place.
#[derive(Clone, Debug)]
pub struct Peers {
    /// Whom it admits.
    pub spec: PeerSpec,
    /// Where it stands; empty where a default was taken.
    pub span: Span,
}

/// Whom a value of peers admits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerSpec {
    /// Anyone; said by the operator, never assumed.
    Any,
    /// Nobody; said by the operator, never assumed.
    None,
    /// These, sets filled in.
    List(Vec<PeerEntry>),
}

impl Peers {
    /// Anyone.
    #[must_use]
    pub const fn any(span: Span) -> Self {
        Self {
            spec: PeerSpec::Any,
            span,
        }
    }

    /// The entries; none for `any` and `none`.
    #[must_use]
    pub fn entries(&self) -> &[PeerEntry] {
        match &self.spec {
            PeerSpec::List(entries) => entries,
            PeerSpec::Any | PeerSpec::None => &[],
        }
    }

    /// Whether anyone is admitted.
    #[must_use]
    pub fn is_any(&self) -> bool {
        self.spec == PeerSpec::Any
    }

    /// Whether it is `none` or names nobody (an empty set).
    #[must_use]
    pub fn is_nobody(&self) -> bool {
        match &self.spec {
            PeerSpec::Any => false,
            PeerSpec::None => true,
            PeerSpec::List(entries) => entries.is_empty(),
        }
    }
}

/// One entry of a list of peers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerEntry {
    /// Who it is.
    pub peer: Peer,
    /// The set through which it came in.
    pub set: Option<Arc<str>>,
    /// Where it stands: in the list, or in the set.
    pub span: Span,
}

/// Who an entry means.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Peer {
    /// A prefix without host bits; an address is a prefix of full length.
    Prefix(IpNet),
    /// Addresses of one family from the first to the last, both included.
    Range(IpAddr, IpAddr),
    /// The subnets of this host's guarded interfaces.
    LocalSubnets,
    /// A host name in lower case; its addresses are facts.
    Name(String),
}

impl Peer {
    /// The prefixes that it is, where it is addresses at all; a range as the fewest prefixes
    /// that are exactly it.
    #[must_use]
    pub fn prefixes(&self) -> Option<Vec<IpNet>> {
        match self {
            Self::Prefix(prefix) => Some(vec![*prefix]),
            Self::Range(IpAddr::V4(first), IpAddr::V4(last)) => {
                Some(Ipv4Subnets::new(*first, *last, 0).map(IpNet::V4).collect())
            }
            Self::Range(IpAddr::V6(first), IpAddr::V6(last)) => {
                Some(Ipv6Subnets::new(*first, *last, 0).map(IpNet::V6).collect())
            }
            // The parser gives no range over two families.
            Self::Range(..) | Self::LocalSubnets | Self::Name(_) => None,
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Prefix(prefix) if prefix.prefix_len() == prefix.max_prefix_len() => {
                prefix.addr().fmt(formatter)
            }
            Self::Prefix(prefix) => prefix.fmt(formatter),
            Self::Range(first, last) => write!(formatter, "{first}-{last}"),
            Self::LocalSubnets => formatter.write_str(LOCAL_SUBNETS),
            Self::Name(name) => formatter.write_str(name),
        }
    }
}

/// The word for the subnets of this host's guarded interfaces.
pub const LOCAL_SUBNETS: &str = "local-subnets";

/// What is wrong with the text of a peer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeerError {
    /// The address of a prefix has bits behind the prefix.
    #[error("`{written}` has host bits behind its prefix")]
    HostBits {
        /// The text.
        written: String,
        /// The prefix that holds the address.
        network: IpNet,
    },
    /// The range ends before it begins.
    #[error("the range {first}-{last} is upside down")]
    Inverted {
        /// First address as written.
        first: IpAddr,
        /// Last address as written.
        last: IpAddr,
    },
    /// The range begins in one family and ends in the other.
    #[error("the range {first}-{last} begins in one address family and ends in the other")]
    Families {
        /// First address as written.
        first: IpAddr,
        /// Last address as written.
        last: IpAddr,
    },
    /// An IPv4 address in IPv6 clothes never stands in a packet.
    #[error("`{written}` is an IPv4 address written as IPv6")]
    Mapped {
        /// The text.
        written: String,
    },
    /// A wildcard has no addresses.
    #[error("`{written}` is a wildcard, which can't be resolved to addresses")]
    Wildcard {
        /// The text.
        written: String,
    },
    /// None of the shapes.
    #[error("`{written}` is no peer")]
    Shape {
        /// The text.
        written: String,
    },
}

impl PeerError {
    /// The way out.
    #[must_use]
    pub fn help(&self) -> String {
        match self {
            Self::HostBits { written, network } => {
                let address = written.split('/').next().unwrap_or_default();
                format!("write \"{network}\" for the network, or \"{address}\" for the one host")
            }
            Self::Inverted { first, last } => format!("write \"{last}-{first}\""),
            Self::Families { .. } => "write one range for each family".to_owned(),
            Self::Mapped { .. } => "write the IPv4 address or prefix itself".to_owned(),
            Self::Wildcard { .. } => {
                "name the hosts one by one, or say \"any\" if that is meant".to_owned()
            }
            Self::Shape { .. } => SHAPES.to_owned(),
        }
    }
}

const SHAPES: &str = "write an address, a prefix \"10.0.0.0/16\", a range \
    \"10.0.0.5-10.0.0.9\", a host name, \"@set\" or \"local-subnets\"; \"any\" and \"none\" stand alone";

impl FromStr for Peer {
    type Err = PeerError;

    fn from_str(text: &str) -> Result<Self, PeerError> {
        if text == LOCAL_SUBNETS {
            return Ok(Self::LocalSubnets);
        }
        let shape = || PeerError::Shape {
            written: text.to_owned(),
        };
        if let Some((address, length)) = text.split_once('/') {
            let address: IpAddr = address.parse().map_err(|_| shape())?;
            let decimal = !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit());
            let length: u8 = match length.parse() {
                Ok(length) if decimal => length,
                _ => return Err(shape()),
            };
            let prefix = IpNet::new(address, length).map_err(|_| shape())?;
            if prefix.addr() != prefix.network() {
                return Err(PeerError::HostBits {
                    written: text.to_owned(),
                    network: prefix.trunc(),
                });
            }
            return unmapped(address, text).map(|()| Self::Prefix(prefix));
        }
        if let Ok(address) = text.parse::<IpAddr>() {
            return unmapped(address, text).map(|()| Self::Prefix(host(address)));
        }
        if let Some((first, last)) = text.split_once('-')
            && let (Ok(first), Ok(last)) = (
                first.trim().parse::<IpAddr>(),
                last.trim().parse::<IpAddr>(),
            )
        {
            if first.is_ipv4() != last.is_ipv4() {
                return Err(PeerError::Families { first, last });
            }
            if first > last {
                return Err(PeerError::Inverted { first, last });
            }
            unmapped(first, text)?;
            unmapped(last, text)?;
            return Ok(Self::Range(first, last));
        }
        if text.starts_with("*.") {
            return Err(PeerError::Wildcard {
                written: text.to_owned(),
            });
        }
        let name = text.strip_suffix('.').unwrap_or(text);
        if is_host_name(name) {
            return Ok(Self::Name(name.to_ascii_lowercase()));
        }
        Err(shape())
    }
}

/// The prefix that is one address.
fn host(address: IpAddr) -> IpNet {
    match address {
        IpAddr::V4(address) => IpNet::V4(Ipv4Net::from(address)),
        IpAddr::V6(address) => IpNet::V6(Ipv6Net::from(address)),
    }
}

fn unmapped(address: IpAddr, text: &str) -> Result<(), PeerError> {
    match address {
        IpAddr::V6(address) if address.to_ipv4_mapped().is_some() => Err(PeerError::Mapped {
            written: text.to_owned(),
        }),
        _ => Ok(()),
    }
}

/// RFC 1123 section 2.1, and underscores, which resolvers take too. A last label of digits
/// would be a mistyped address.
fn is_host_name(name: &str) -> bool {
    let label_holds = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    let last_is_word = name
        .rsplit('.')
        .next()
        .is_some_and(|label| label.bytes().any(|byte| byte.is_ascii_alphabetic()));
    name.len() <= 253 && last_is_word && name.split('.').all(label_holds)
}
