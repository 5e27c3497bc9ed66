//! Why a packet was denied: which documented row it came near, in what it differs, and what to do about it. Pure.
//!
//! The kinds are judged in the order of [`Kind`], the first that fits is given with all its rows. What a kind is judged over are the rules in
//! force and the rows of the selected products; for `other-product` the rest of the catalogue.

pub mod documented;
mod gather;
mod knowledge;
mod packet;
pub mod probe;
mod rank;
pub mod read;
mod remedy;
mod rows;
mod words;

use std::net::IpAddr;

use agent_common::event::Direction;
use agent_common::verdict::Reason;
use jiff::Timestamp;

pub use self::knowledge::Knowledge;
use super::decode::{Asked, Transport};
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
    /// What must be so for `remedy` to be right, where that is for people to know.
    pub condition: Option<String>,
    /// A line to paste, or why nothing should be done.
    pub remedy: String,
    /// The next step in a few words, where there is no room for `remedy`.
    pub step: String,
    /// What decided: a block, the audit of a product.
    pub rows: Vec<RowId>,
    /// The rows that come nearest, all of that rank; ids of rules where they come from no product.
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

/// A denied packet, as far as an explanation asks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Question {
    /// Which way the packet went.
    pub direction: Direction,
    /// What carried it.
    pub transport: Transport,
    /// The other end; none where no IP header was read.
    pub peer: Option<IpAddr>,
    /// What it asked for, and whether it answers.
    pub asked: Asked,
    /// Why it was denied.
    pub reason: Reason,
    /// It passed, and was reported.
    pub audited: bool,
    /// Index of the rule that decided, where it is one of the knowledge's policy.
    pub rule: Option<u16>,
    /// When it came; a remedy that needs a date counts from here.
    pub time: Timestamp,
}

impl Question {
    /// What was seen, in words.
    pub fn seen(&self) -> String {
        words::seen(self)
    }

    /// Which way the flow went: an answer's began the other way.
    fn began(&self) -> Direction {
        match (self.direction, self.asked.answers) {
            (direction, false) => direction,
            (Direction::Ingress, true) => Direction::Egress,
            (Direction::Egress, true) => Direction::Ingress,
        }
    }
}

#[cfg(test)]
mod tests;
