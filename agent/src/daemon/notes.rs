//! What the daemon knows and pins don't say: left beside the plan for `status`, which must answer without a daemon too.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::adopt::{Beginner, Ends};

/// Notes on what is in force.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Notes {
    /// Version of this shape.
    pub schema: u32,
    /// The load that they are about.
    pub load: u32,
    /// The policy's generation.
    pub generation: u32,
    /// When it came into force.
    pub since: Timestamp,
    /// Hash of its rules.
    pub policy_hash: String,
    /// Interfaces that the configuration lists, as they were found.
    pub interfaces: Vec<NotedInterface>,
    /// Selected products.
    pub products: Vec<NotedProduct>,
    /// Defaults on trial.
    #[serde(default)]
    pub audits: Vec<NotedAudit>,
    /// What keeps the host from being guarded as configured.
    pub problems: Vec<String>,
    /// Host names that admit nobody, because they never resolved.
    pub unresolved: Vec<String>,
    /// A policy was not confirmed in time, and what was before it is in force.
    pub reverted: bool,
    /// Flows that were open before enforcement began, and that the policy ended; at most a thousand.
    #[serde(default)]
    pub cut: Vec<NotedFlow>,
}

/// A flow that was open before enforcement began.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NotedFlow {
    /// Its ends.
    #[serde(flatten)]
    pub ends: Ends,
    /// Who began it.
    pub began: Beginner,
}

impl fmt::Display for NotedFlow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let who = match self.began {
            Beginner::Host => "begun here",
            Beginner::Peer => "begun there",
        };
        write!(f, "{}, {who}", self.ends)
    }
}

/// An interface.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NotedInterface {
    /// Its name.
    pub name: String,
    /// What the configuration asks for: `auto`, `xdp`, `tc`, `xdp-generic`.
    pub wanted: String,
    /// Why the hook in force is what it is, or why there is none.
    pub why: String,
    /// Whether it is guarded.
    pub guarded: bool,
    /// The programs are attached, and the probe did not prove that they decide.
    #[serde(default)]
    pub unproved: bool,
}

/// A product.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NotedProduct {
    /// Its name in the configuration.
    pub name: String,
    /// The policy's id.
    pub policy: String,
    /// `enforce` or `audit`.
    pub stage: String,
    /// Until when an audit is meant to last.
    pub audit_until: Option<Timestamp>,
}

/// A default of `audit`: what no rule allows passes and is reported.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NotedAudit {
    /// `ingress` or `egress`.
    pub direction: String,
    /// Until when it is meant to last.
    pub audit_until: Option<Timestamp>,
}
