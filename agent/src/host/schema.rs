//! The host's configuration after all its files are merged and its sets are filled in.
//!
//! Values keep their place in the text wherever a later check may have to point at them; a
//! place counts over all files and is turned back by [`Sources`]. What was not said is `None`
//! or has its default here, in one place; `portcullis.toml(5)` names the same defaults.

mod settings;

use std::collections::{BTreeMap, BTreeSet};

use toml::Spanned;

pub use settings::{
    Baseline, BaselineItem, Budgets, Conntrack, Daemon, Events, Listen, Metrics, OnFailure, Sink,
};

use super::peers::{Peer, Peers};
use super::sources::{Sources, Span};
use crate::diagnose::Keyed;
use crate::policy::schema::{Direction, Policy};
use crate::policy::values::{PortRange, Protocol, Version};
use crate::policy::{OptionValue, OptionValues};
use crate::rule::{DefaultAction, Forward};

/// The number that a configuration of this schema carries.
pub const SCHEMA: i64 = 1;

/// Everything that the operator said, and the defaults of the rest.
#[derive(Clone, Debug)]
pub struct HostConfig {
    /// The files, for findings.
    pub sources: Sources,
    /// Interfaces to guard: names, and globs with `*` and `?`.
    pub interfaces: Vec<Spanned<String>>,
    /// Where ingress is judged.
    pub hook: Hook,
    /// What happens to a flow that no rule names.
    pub default: Defaults,
    /// Selected products, in the order of the text.
    pub products: Vec<Product>,
    /// `[allow.X]`, in the order of the text.
    pub allows: Vec<Allow>,
    /// `[block.X]`, in the order of the text.
    pub blocks: Vec<Block>,
    /// `[failsafe.X]`; `ssh` is always there.
    pub failsafes: Vec<Failsafe>,
    /// What a host needs to live.
    pub baseline: Baseline,
    /// `[forward] default`, where it was said.
    pub forward: Option<Spanned<Forward>>,
    /// Sizes of the flow tables.
    pub conntrack: Conntrack,
    /// What is reported, and how much of it.
    pub events: Events,
    /// Where metrics are served.
    pub metrics: Metrics,
    /// The daemon's own.
    pub daemon: Daemon,
    /// The entries of every set, by name: what `@name` stood for.
    pub sets: BTreeMap<String, Vec<super::peers::PeerEntry>>,
}

impl HostConfig {
    /// Every host name that is a peer somewhere, in lower case: what must be resolved.
    #[must_use]
    pub fn host_names(&self) -> BTreeSet<&str> {
        let used = self.all_peers().flat_map(Peers::entries);
        let names = used.filter_map(|entry| match &entry.peer {
            Peer::Name(name) => Some(name.as_str()),
            _ => None,
        });
        names.collect()
    }

    /// Every peer list of the configuration, wherever it stands.
    pub fn all_peers(&self) -> impl Iterator<Item = &Peers> {
        let products = self
            .products
            .iter()
            .flat_map(|product| product.peers.values().chain(product.groups.values()));
        products
            .chain(self.allows.iter().map(|allow| &allow.peers))
            .chain(self.blocks.iter().map(|block| &block.peers))
            .chain(self.failsafes.iter().map(|failsafe| &failsafe.peers))
            .chain(self.baseline.lists())
    }

    /// Whether an interface is to be guarded.
    #[must_use]
    pub fn guards(&self, interface: &str) -> bool {
        let mut patterns = self.interfaces.iter();
        patterns.any(|pattern| super::glob(pattern.get_ref(), interface))
    }

    /// A failsafe by name.
    #[must_use]
    pub fn failsafe(&self, name: &str) -> Option<&Failsafe> {
        self.failsafes.iter().find(|failsafe| failsafe.name == name)
    }

    /// The default of a direction: what was said, else `deny` for ingress, and for egress
    /// `deny` if the documents of all selected products cover it (`covered`), else `open`.
    #[must_use]
    pub fn default_of(&self, direction: Direction, covered: bool) -> DefaultAction {
        let said = match direction {
            Direction::Ingress => &self.default.ingress,
            Direction::Egress => &self.default.egress,
        };
        match (said, direction) {
            (Some(said), _) => *said.get_ref(),
            (None, Direction::Ingress) => DefaultAction::Deny,
            (None, Direction::Egress) if covered => DefaultAction::Deny,
            (None, Direction::Egress) => DefaultAction::Open,
        }
    }
}

/// Where ingress is judged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Hook {
    /// XDP where the driver is known to do it well, else TC.
    #[default]
    Auto,
    /// XDP in the driver, or nothing.
    Xdp,
    /// TC.
    Tc,
    /// XDP after the packet was built: slow, for trials.
    XdpGeneric,
}

impl Hook {
    /// The word, as in files and output.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Xdp => "xdp",
            Self::Tc => "tc",
            Self::XdpGeneric => "xdp-generic",
        }
    }
}

/// `[default]`.
#[derive(Clone, Debug, Default)]
pub struct Defaults {
    /// Ingress, where it was said.
    pub ingress: Option<Spanned<DefaultAction>>,
    /// Egress, where it was said.
    pub egress: Option<Spanned<DefaultAction>>,
    /// Until when a default of `audit` is meant to last.
    pub audit_until: Option<Spanned<Moment>>,
}

/// A moment as the operator wrote it: a date-time with offset, or a date, which means its end
/// in UTC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moment {
    /// The text.
    pub written: String,
    /// The first instant at which it is over.
    pub at: jiff::Timestamp,
}

/// How a product's rules are enforced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stage {
    /// What no rule allows is denied.
    #[default]
    Enforce,
    /// What would be denied at a port that a row of the product names passes and is reported.
    Audit,
}

/// `[product.NAME]`.
#[derive(Clone, Debug)]
pub struct Product {
    /// The table's name: the id in `plan`, events and metrics.
    pub name: String,
    /// Where the table's name stands.
    pub span: Span,
    /// The policy's id: `policy`, else the table's name.
    pub policy: Spanned<String>,
    /// Roles that this host plays.
    pub roles: Vec<Spanned<String>>,
    /// Topologies, where they were said.
    pub topologies: Option<Vec<Spanned<String>>>,
    /// Enforce or audit.
    pub stage: Stage,
    /// Where `stage` stands, if it was said.
    pub stage_span: Option<Span>,
    /// Until when `stage = "audit"` is meant to last.
    pub audit_until: Option<Spanned<Moment>>,
    /// Options that were said.
    pub options: Keyed<Spanned<OptionValue>>,
    /// Versions that were said, by version line.
    pub versions: Keyed<Spanned<Version>>,
    /// Peers by role.
    pub peers: Keyed<Peers>,
    /// Members of groups that the document leaves open, by group.
    pub groups: Keyed<Peers>,
    /// Ports that were said, by the policy's name for them.
    pub ports: Keyed<Vec<Spanned<PortRange>>>,
    /// Documented rows that this host does not want, by `table/n`, each with its reason.
    pub skip: Keyed<Spanned<String>>,
}

impl Product {
    /// The topologies in force and all that they add to: what was said, else the product's
    /// only one.
    #[must_use]
    pub fn topologies_in<'a>(&'a self, policy: &'a Policy) -> BTreeSet<&'a str> {
        match &self.topologies {
            Some(said) => {
                policy.implied_topologies(said.iter().map(|name| name.get_ref().as_str()))
            }
            None if policy.topologies.len() == 1 => {
                policy.implied_topologies(policy.topologies.keys())
            }
            None => BTreeSet::new(),
        }
    }

    /// The options as they stand: the policy's defaults, and over them what was said.
    #[must_use]
    pub fn option_values(&self, policy: &Policy) -> OptionValues {
        let said = self.options.iter();
        policy.option_values(said.map(|(name, value)| (name.to_owned(), value.get_ref().clone())))
    }

    /// The versions that were said, by version line.
    #[must_use]
    pub fn versions_said(&self) -> BTreeMap<String, Version> {
        let said = self.versions.iter();
        said.map(|(line, version)| (line.to_owned(), version.get_ref().clone()))
            .collect()
    }

    /// The ports that were said, by name.
    #[must_use]
    pub fn ports_said(&self) -> BTreeMap<String, Vec<PortRange>> {
        let said = self.ports.iter();
        said.map(|(name, list)| {
            let ranges = list.iter().map(|range| *range.get_ref()).collect();
            (name.to_owned(), ranges)
        })
        .collect()
    }

    /// Whether this host plays the role.
    #[must_use]
    pub fn plays(&self, role: &str) -> bool {
        self.roles.iter().any(|said| said.get_ref() == role)
    }

    /// Why a row is skipped, by its id with or without the product's.
    #[must_use]
    pub fn skipped(&self, row: &str) -> Option<&str> {
        let short = short_row_id(row, self.policy.get_ref());
        let entry = self
            .skip
            .iter()
            .find(|(said, _)| short_row_id(said, self.policy.get_ref()) == short);
        entry.map(|(_, reason)| reason.get_ref().as_str())
    }
}

/// A row's id without the product's.
pub(super) fn short_row_id<'a>(row: &'a str, policy: &str) -> &'a str {
    row.strip_prefix(policy)
        .and_then(|rest| rest.strip_prefix('/'))
        .unwrap_or(row)
}

/// `[allow.NAME]`: a flow off the matrix; its id is `allow/NAME`.
#[derive(Clone, Debug)]
pub struct Allow {
    /// The table's name.
    pub name: String,
    /// Where it stands.
    pub span: Span,
    /// Which way the flow begins.
    pub direction: Direction,
    /// TCP ports of the service.
    pub tcp: Vec<Spanned<PortRange>>,
    /// UDP ports of the service.
    pub udp: Vec<Spanned<PortRange>>,
    /// Other IP protocols.
    pub protocol: Vec<Spanned<Protocol>>,
    /// The other end.
    pub peers: Peers,
    /// Why it is there.
    pub reason: String,
    /// Who answers for it.
    pub owner: Option<String>,
    /// When it ends.
    pub expires: Option<Spanned<Moment>>,
    /// The vendor's row that the operator reads this way, `product/table/n`.
    pub cites: Option<Spanned<String>>,
}

/// `[block.NAME]`: denied both ways before anything is allowed; its id is `block/NAME`.
#[derive(Clone, Debug)]
pub struct Block {
    /// The table's name.
    pub name: String,
    /// Where it stands.
    pub span: Span,
    /// TCP ports; with `udp` empty too: everything that a block reaches.
    pub tcp: Vec<Spanned<PortRange>>,
    /// UDP ports.
    pub udp: Vec<Spanned<PortRange>>,
    /// The other end.
    pub peers: Peers,
    /// Why it is there.
    pub reason: Option<String>,
    /// The operator knows that it covers a failsafe.
    pub force: bool,
}

/// `[failsafe.NAME]`: the administrator's way in, ingress TCP; its id is `failsafe/NAME`.
#[derive(Clone, Debug)]
pub struct Failsafe {
    /// The table's name.
    pub name: String,
    /// Where it stands; `None`: the `ssh` that is there by default.
    pub span: Option<Span>,
    /// Ports, where they were said; else the ones that sshd names and listens on (`ssh` only).
    pub tcp: Option<Vec<Spanned<PortRange>>>,
    /// The other end.
    pub peers: Peers,
}

impl Failsafe {
    /// The failsafe that is there without being named.
    pub const SSH: &'static str = "ssh";

    /// The ports in force: what was said, else those of the host's sshd, else 22.
    #[must_use]
    pub fn ports(&self, ssh_ports: &[u16]) -> Vec<PortRange> {
        match &self.tcp {
            Some(said) => said.iter().map(|range| *range.get_ref()).collect(),
            None if ssh_ports.is_empty() => vec![PortRange::single(22)],
            None => ssh_ports.iter().copied().map(PortRange::single).collect(),
        }
    }
}
