//! Why a packet was denied: which documented row it came near, in what it differs, and what to do about it. Pure.

use super::kinds::{Kind, Message};
use crate::rule::RowId;

/// The answer for one denied packet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Explanation {
    /// In what it differs from the rows of `near_rows`.
    pub kind: Kind,
    /// The packet itself was at fault (a fragment, a header, flags): no rule could have admitted it.
    pub packet: bool,
    /// What would have passed; none where nothing near is documented.
    pub expected: Option<String>,
    /// What was seen instead.
    pub seen: String,
    /// Both in a sentence, with the service in the vendor's word.
    pub text: String,
    /// A line to paste, or why nothing should be done.
    pub remedy: String,
    /// The next step in a few words, where there is no room for `remedy`.
    pub step: String,
    /// What decided: a block, the audit of a product.
    pub rows: Vec<RowId>,
    /// The rows that come nearest, all of that rank.
    pub near_rows: Vec<RowId>,
}

impl Explanation {
    /// What the journal's entry is about.
    pub fn message(&self) -> Message {
        if self.packet {
            Message::Packet
        } else {
            Message::Difference(self.kind)
        }
    }
}
