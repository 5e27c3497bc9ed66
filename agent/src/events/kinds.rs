//! The closed list of differences between a denied packet and the documented rows, and the journal's message ids.

use std::fmt;

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => {
        /// In what a denied packet differs from the rows that come nearest. The order is the order of judgement: the first that fits is
        /// given, with all rows of that rank.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
        pub enum Kind { $($(#[$doc])* $name,)* }

        impl Kind {
            /// All of them, in the order of judgement.
            pub const ALL: &'static [Kind] = &[$(Kind::$name,)*];

            /// The word of JSON and journal.
            pub const fn name(self) -> &'static str {
                match self { $(Kind::$name => $text,)* }
            }
        }
    };
}

kinds! {
    /// A block list names the peer.
    Blocked = "blocked";
    /// An `allow` for it has ended.
    Expired = "expired";
    /// The port is open, but not to this peer.
    Peer = "peer";
    /// The operator leaves out the row that documents it.
    Skipped = "skipped";
    /// The row hangs on an option that is off, or on another choice.
    Option = "option";
    /// The row holds from a later version on.
    Version = "version";
    /// The row belongs to a topology that is not selected.
    Topology = "topology";
    /// The row's flow never leaves a host.
    HostOnly = "host-only";
    /// Documented the other way.
    Direction = "direction";
    /// Documented over another transport.
    Transport = "transport";
    /// The documented default of a port that this host has moved.
    MovedPort = "moved-port";
    /// A documented port is one off.
    NeighbourPort = "neighbour-port";
    /// Documented by a product that is not selected here.
    OtherProduct = "other-product";
    /// Nothing documented comes near.
    None = "none";
}

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// What an entry of the journal is about: each has a message id of its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Message {
    /// A denied or audited packet that differs from the rows in this.
    Difference(Kind),
    /// A packet that no rule could admit: fragments, headers, flags, what is no IP.
    Packet,
    /// Denials that were too many to be told apart.
    Overflow,
    /// Entries that a sink did not take.
    Lost,
}

impl Message {
    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        let differences = Kind::ALL.iter().copied().map(Self::Difference);
        differences.chain([Self::Packet, Self::Overflow, Self::Lost])
    }

    /// The journal's MESSAGE_ID, 128 bits as 32 hexadecimal digits. Fixed for ever: catalogues and alerts of others name it.
    pub const fn id(self) -> &'static str {
        match self {
            Self::Difference(Kind::Blocked) => "704343eb4d434a4c9bf6b5d603bf95ae",
            Self::Difference(Kind::Expired) => "a69d1ffb5264435d830124e2141d5b94",
            Self::Difference(Kind::Peer) => "4a6dfde224ea42a39ee10f29f040c222",
            Self::Difference(Kind::Skipped) => "dfc55f353d58414c92a6342d2327ef1e",
            Self::Difference(Kind::Option) => "25c2f18766174fa6acb485e3b27a7256",
            Self::Difference(Kind::Version) => "cf5f3740ab424f4c8dc7d1d3ba833247",
            Self::Difference(Kind::Topology) => "37b26bbd6ad54c82baf77f3ba048f67a",
            Self::Difference(Kind::HostOnly) => "d7522fb3e92b4cd09a0d05343f334b1d",
            Self::Difference(Kind::Direction) => "cba5ad1be663492c931e39dc9b18cc5f",
            Self::Difference(Kind::Transport) => "fc918802ce9348f3930b263cae18c551",
            Self::Difference(Kind::MovedPort) => "0b5cad02bbf1448b80b50e1c933bbdce",
            Self::Difference(Kind::NeighbourPort) => "d8eb0ff519ae47dca5746112999b4d0c",
            Self::Difference(Kind::OtherProduct) => "d48ae66efc2e4f868972f719fbac21c8",
            Self::Difference(Kind::None) => "f1ca619904ac478984f2fcdd81d590d2",
            Self::Packet => "8627d596eaaf46c29161b3b5828b00cd",
            Self::Overflow => "8d981079169943b59cbe2696507197cb",
            Self::Lost => "a40415e6937a417d87ada24f44ef08b1",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn words_and_ids_are_distinct() {
        let words: BTreeSet<&str> = Kind::ALL.iter().map(|kind| kind.name()).collect();
        assert_eq!(words.len(), 14);
        let ids: BTreeSet<&str> = Message::all().map(Message::id).collect();
        assert_eq!(ids.len(), Message::all().count());
        for id in ids {
            let hexadecimal = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
            assert!(id.len() == 32 && id.bytes().all(hexadecimal), "{id}");
            // a random UUID (RFC 9562 §5.4): version 4, variant 10
            assert!(
                id.as_bytes()[12] == b'4' && b"89ab".contains(&id.as_bytes()[16]),
                "{id}"
            );
        }
    }
}
