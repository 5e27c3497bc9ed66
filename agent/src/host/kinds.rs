//! The closed list of what can be wrong with a host's configuration.
//!
//! Each kind has a stable name in kebab case and a severity; a test proves that each has an
//! example.

use crate::diagnose::{Finding, Severity, kind};

macro_rules! kinds {
    ($($(#[doc = $doc:literal])+ $severity:ident $name:ident $word:expr;)+) => {
        /// What is wrong.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Kind {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Kind {
            /// Every kind.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// Its stable name.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $word,)+
                }
            }

            /// What it is, in a sentence.
            #[must_use]
            pub const fn what(self) -> &'static str {
                match self {
                    $(Self::$name => concat!($($doc),+).trim_ascii(),)+
                }
            }

            /// Whether it refuses the configuration.
            #[must_use]
            pub const fn severity(self) -> Severity {
                match self {
                    $(Self::$name => Severity::$severity,)+
                }
            }
        }
    };
}

kinds! {
    // What reading any text finds.
    /// Not TOML.
    Error Syntax kind::SYNTAX;
    /// A key that is known nowhere here.
    Error UnknownKey kind::UNKNOWN_KEY;
    /// A key that must be there.
    Error MissingKey kind::MISSING_KEY;
    /// A value of the wrong type or shape.
    Error Value kind::VALUE;
    /// So many findings that the rest is not looked for.
    Error TooMany kind::TOO_MANY;

    // The configuration alone.
    /// `schema` is missing or is another number.
    Error Schema "schema";
    /// The same key in two files.
    Error SaidTwice "said-twice";
    /// A key that is known, but not here.
    Error WrongPlace "wrong-place";
    /// A table's name that can't be an id.
    Error Name "name";
    /// No interface is named.
    Error NoInterfaces "no-interfaces";
    /// `lo` is never guarded.
    Error Loopback "loopback";
    /// The text is no peer.
    Error Peer "peer";
    /// A prefix with host bits.
    Error HostBits "host-bits";
    /// A range that ends before it begins.
    Error InvertedRange "inverted-range";
    /// `any` or `none` beside other entries, or in a set.
    Error StandsAlone "stands-alone";
    /// A list without entries where `none` must be said.
    Error EmptyList "empty-list";
    /// `@set` of a set that is not there.
    Error UnknownSet "unknown-set";
    /// The name of a set without its `@`.
    Error SetWithoutSign "set-without-sign";
    /// A set inside a set.
    Error NestedSet "nested-set";
    /// The file of a set can't be read.
    Error SetFile "set-file";
    /// The text is no port.
    Error Port "port";
    /// Port 0.
    Error PortZero "port-zero";
    /// The text is no IP protocol.
    Error Protocol "protocol";
    /// The text is no version.
    Error Version "version";
    /// A date-time without offset, or none at all.
    Error Moment "moment";
    /// A reason without words.
    Error EmptyReason "empty-reason";
    /// An `allow` that names no port and no protocol.
    Error NoService "no-service";
    /// A baseline item can't have this value.
    Error Baseline "baseline-value";
    /// A number or unit out of range.
    Error OutOfRange "out-of-range";
    /// `audit` without a day on which it shall be over.
    Error AuditUntil "audit-until";

    // With the catalogue.
    /// No such product in the catalogue.
    Error UnknownProduct "unknown-product";
    /// No such role in the product.
    Error UnknownRole "unknown-role";
    /// No such topology in the product.
    Error UnknownTopology "unknown-topology";
    /// The product has several topologies and none was said.
    Error TopologyUnsaid "topology-unsaid";
    /// No such option in the product.
    Error UnknownOption "unknown-option";
    /// An option has no such choice, or is a switch.
    Error OptionValue "option-value";
    /// A choice that rows of this host hang on was not said.
    Error ChoiceUnsaid "choice-unsaid";
    /// No such version line in the product.
    Error UnknownVersion "unknown-version";
    /// A version that rows of this host hang on was not said.
    Error VersionUnsaid "version-unsaid";
    /// No such port in the product.
    Error UnknownPort "unknown-port";
    /// A port that rows of this host open has no default and was not said.
    Error PortUnsaid "port-unsaid";
    /// A port was said in a way that the product can't have.
    Error PortValue "port-value";
    /// Peers for a role that the product does not have.
    Error UnknownPeerRole "unknown-peer-role";
    /// A role that rows of this host need has no peers.
    Error RoleWithoutPeers "role-without-peers";
    /// No such group in the product.
    Error UnknownGroup "unknown-group";
    /// Members of a multicast group that are no multicast addresses.
    Error GroupMembers "group-members";
    /// A group that rows of this host need has no members.
    Error GroupWithoutMembers "group-without-members";
    /// No such row in the product.
    Error UnknownRow "unknown-row";
    /// A role that no Linux host is known to play.
    Warning RoleNotLinux "role-not-linux";
    /// A default that goes beyond what a product's document lists.
    Warning BeyondDocument "beyond-document";

    // With facts about the host.
    /// An interface that is not there.
    Warning MissingInterface "missing-interface";
    /// A role with IPv4 peers alone on a host with IPv6.
    Warning Ipv4OnlyRole "ipv4-only-role";
    /// A port in the host's ephemeral range.
    Warning EphemeralPort "ephemeral-port";
    /// A failsafe that admits anyone.
    Warning FailsafeAny "failsafe-any";
    /// A block that shuts a failsafe.
    Error BlockCoversFailsafe "block-covers-failsafe";
    /// The host forwards and nothing is said of it.
    Error ForwardUnsaid "forward-unsaid";
}

impl Kind {
    /// A finding of this kind that no place belongs to yet.
    pub fn finding(self, message: impl Into<String>) -> Finding {
        match self.severity() {
            Severity::Error => Finding::error(self.name(), message),
            Severity::Warning => Finding::warning(self.name(), message),
        }
    }
}
