//! The closed list of what `policy check` refuses.
//!
//! Each kind has a stable name in kebab case; a test proves that each has an example. Every one
//! is an error: a file with one gives no product.

use crate::diagnose::{Finding, kind};

macro_rules! kinds {
    ($($(#[doc = $doc:literal])+ $name:ident $word:expr;)+) => {
        /// What is wrong with a policy.
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
        }
    };
}

kinds! {
    // What reading any text finds.
    /// Not TOML.
    Syntax kind::SYNTAX;
    /// A key that is known nowhere here.
    UnknownKey kind::UNKNOWN_KEY;
    /// A key that must be there.
    MissingKey kind::MISSING_KEY;
    /// A value of the wrong type or shape.
    Value kind::VALUE;
    /// So many findings that the rest is not looked for.
    TooMany kind::TOO_MANY;

    // The head, and words in general.
    /// Another schema than this agent reads.
    Schema "schema";
    /// The document lists no direction.
    Covers "covers";
    /// A word that can't be an id.
    Name "name";
    /// A word that names nothing.
    UnknownName "unknown-name";
    /// A role, option, port, group or version line that no row uses.
    Unused "unused";
    /// No topology at all.
    NoTopology "no-topology";
    /// A topology that adds to itself.
    TopologyCircle "topology-circle";

    // Options.
    /// An option that is neither a switch nor a choice.
    OptionShape "option-shape";
    /// A choice that is asked like a switch.
    NotASwitch "not-a-switch";
    /// A switch that is asked for a choice.
    NotAChoice "not-a-choice";

    // Ports.
    /// `say-when` takes away a default that is not there.
    NoDefault "no-default";
    /// A port that follows itself.
    PortCircle "port-circle";
    /// `other + n` is above 65535.
    PortOverflow "port-overflow";
    /// One port that follows several.
    PortMany "port-many";

    // Groups.
    /// A multicast or broadcast group with host names.
    GroupShape "group-shape";
    /// Answers of a group that is no multicast or broadcast group.
    GroupAnswers "group-answers";
    /// `ours` without addresses.
    GroupOurs "group-ours";
    /// A multicast group's address that is none.
    GroupAddress "group-address";
    /// A group's host name that is none.
    GroupName "group-name";

    // Rows.
    /// A row id that names a product.
    RowId "row-id";
    /// Two rows for one printed line.
    RowTwice "row-twice";
    /// A row beyond the lines that its table prints.
    RowBeyond "row-beyond";
    /// A printed line without a row.
    RowMissing "row-missing";
    /// A citation of a row that is not there.
    UnknownRow "unknown-row";
    /// Cells restored that were not lost.
    NothingLost "nothing-lost";
    /// A row that contradicts itself.
    ContradictsItself "contradicts-itself";
    /// A contradiction that is written at both ends.
    ContradictsTwice "contradicts-twice";
    /// A row without a flow that does not say why.
    NoFlow "no-flow";
    /// A row with flows that is undecidable all the same.
    FlowUndecidable "flow-undecidable";
    /// A row that is not required and opens all the same.
    Unconditional "unconditional";

    // Flows.
    /// A flow that nobody begins.
    FlowFrom "flow-from";
    /// A flow with neither `to` nor `to-group`, or with both.
    FlowTo "flow-to";
    /// A flow without a port or protocol.
    FlowPort "flow-port";
    /// The same port twice in one list.
    PortTwice "port-twice";
    /// `via` a group that is no multicast or broadcast group.
    ViaKind "via-kind";
    /// `to-group` a multicast or broadcast group.
    ToGroupKind "to-group-kind";
    /// A flow to a multicast or broadcast group by something else than UDP.
    ViaTransport "via-transport";
    /// A concluded flow that opens what no printed row opens.
    Inferred "inferred";

    // Beside other files.
    /// The id of another file.
    IdTaken "id-taken";
    /// A file that replaces a product that is not there.
    ReplacesNothing "replaces-nothing";
}

impl Kind {
    /// A finding of this kind that no place belongs to yet.
    pub fn finding(self, message: impl Into<String>) -> Finding {
        Finding::error(self.name(), message)
    }
}
