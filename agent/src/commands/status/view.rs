//! What `portcullis status` shows, as values: the keys of its JSON, and what metrics are made from.

use std::collections::BTreeMap;

use agent_common::tables::ABI_VERSION;
use jiff::Timestamp;
use serde::Serialize;

use crate::daemon::{NotedAudit, NotedFlow, NotedProduct, RowTotal};
use crate::dataplane::FlowUse;

/// What is in force: the first that holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum State {
    /// Nothing is attached.
    Detached,
    /// The host is not guarded as configured.
    Degraded,
    /// A policy waits for its confirmation.
    PendingConfirm,
    /// Denials pass as audits for a while.
    Paused,
    /// A policy was not confirmed in time.
    Reverted,
    /// A product's denials pass and are reported.
    Audit,
    /// As configured.
    Enforcing,
}

impl State {
    /// Every state, the first that holds first.
    pub(crate) const ALL: [Self; 7] = [
        Self::Detached,
        Self::Degraded,
        Self::PendingConfirm,
        Self::Paused,
        Self::Reverted,
        Self::Audit,
        Self::Enforcing,
    ];

    /// The word, as in JSON and metrics.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Detached => "detached",
            Self::Degraded => "degraded",
            Self::PendingConfirm => "pending-confirm",
            Self::Paused => "paused",
            Self::Reverted => "reverted",
            Self::Audit => "audit",
            Self::Enforcing => "enforcing",
        }
    }
}

/// Everything that is shown; the keys of the JSON.
#[derive(Debug, Serialize)]
pub(crate) struct View {
    pub(crate) schema: u32,
    /// Whether one runs.
    pub(crate) daemon: bool,
    pub(crate) pid: Option<u32>,
    pub(crate) state: State,
    pub(crate) since: Option<Timestamp>,
    pub(crate) deadline: Option<Timestamp>,
    pub(crate) generation: Option<u32>,
    pub(crate) policy_hash: Option<String>,
    /// What becomes of packets on their way through this host, as [`Forward::name`]; none where it forwards nothing.
    pub(crate) forward: Option<&'static str>,
    pub(crate) problems: Vec<String>,
    pub(crate) interfaces: Vec<Interface>,
    pub(crate) products: Vec<NotedProduct>,
    /// Defaults on trial.
    pub(crate) audits: Vec<NotedAudit>,
    pub(crate) unresolved: Vec<String>,
    /// Flows that were open before enforcement began, and that the policy ended.
    pub(crate) cut: Vec<NotedFlow>,
    pub(crate) counters: Option<Counts>,
    pub(crate) conntrack: Option<Conntrack>,
    pub(crate) pins: Option<String>,
    pub(crate) abi: u32,
}

impl View {
    /// A host without anything of ours.
    pub(crate) fn nothing(pid: Option<u32>) -> Self {
        Self {
            schema: 1,
            daemon: pid.is_some(),
            pid,
            state: State::Detached,
            since: None,
            deadline: None,
            generation: None,
            policy_hash: None,
            forward: None,
            problems: Vec::new(),
            interfaces: Vec::new(),
            products: Vec::new(),
            audits: Vec::new(),
            unresolved: Vec::new(),
            cut: Vec::new(),
            counters: None,
            conntrack: None,
            pins: None,
            abi: ABI_VERSION,
        }
    }
}

#[derive(Debug, Serialize)]
pub(crate) struct Interface {
    pub(crate) name: String,
    /// None where it is gone.
    pub(crate) index: Option<u32>,
    pub(crate) guarded: bool,
    /// `xdp`, `tc`, `xdp-generic`: where ingress is judged.
    pub(crate) hook: Option<&'static str>,
    pub(crate) why: Option<String>,
    pub(crate) ingress: Option<Filter>,
    pub(crate) egress: Option<Filter>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Filter {
    pub(crate) mechanism: &'static str,
    pub(crate) program: u32,
    pub(crate) link: Option<u32>,
    pub(crate) load: Option<u32>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Counts {
    pub(crate) passed: u64,
    pub(crate) audited: u64,
    pub(crate) denied: u64,
    pub(crate) reported: u64,
    pub(crate) suppressed: u64,
    pub(crate) lost: u64,
    pub(crate) audit_reported: u64,
    pub(crate) audit_suppressed: u64,
    pub(crate) audit_lost: u64,
    /// How often somebody took away what was attached, and it was put back.
    pub(crate) put_back: u64,
    /// Those of them that were on their way through this host, ingress and egress.
    pub(crate) forwarded: Forwarded,
    pub(crate) by_reason: BTreeMap<&'static str, BTreeMap<&'static str, u64>>,
    pub(crate) by_row: BTreeMap<String, RowTotal>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Forwarded {
    pub(crate) passed: u64,
    pub(crate) audited: u64,
    pub(crate) denied: u64,
}

impl Forwarded {
    pub(super) fn of([ingress, egress]: [[u64; 3]; 2]) -> Self {
        let [passed, audited, denied] = ingress;
        Self {
            passed: passed + egress[0],
            audited: audited + egress[1],
            denied: denied + egress[2],
        }
    }
}

#[derive(Debug, Serialize)]
pub(crate) struct Conntrack {
    pub(crate) established: Table,
    pub(crate) new: Table,
    /// Entries of `new` that the kernel gave to other flows; at least so many.
    pub(crate) evicted: u64,
    /// Flows that found `established` full, and stayed where they may be evicted.
    pub(crate) found_full: u64,
}

#[derive(Debug, Serialize)]
pub(crate) struct Table {
    pub(crate) entries: usize,
    pub(crate) expired: usize,
    pub(crate) capacity: u32,
}

impl From<FlowUse> for Table {
    fn from(found: FlowUse) -> Self {
        Self {
            entries: found.entries,
            expired: found.expired,
            capacity: found.capacity,
        }
    }
}
