//! The host's configuration after all its files are merged and its sets are filled in.
//!
//! Values keep their place in the text wherever a later check may have to point at them; a
//! place counts over all files and is turned back by [`Sources`]. What was not said is `None`
//! or has its default here, in one place; `portcullis.toml(5)` names the same defaults.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use toml::Spanned;

use super::peers::{Peer, Peers};
use super::sources::{Sources, Span};
use crate::diagnose::Keyed;
use crate::policy::schema::{Direction, Policy};
use crate::policy::values::{PortRange, Protocol, Version};
use crate::policy::{OptionValue, OptionValues};
use crate::rule::DefaultAction;

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

/// `[baseline]`: what a host needs to live.
#[derive(Clone, Debug)]
pub struct Baseline {
    /// Asking resolvers, UDP and TCP 53. Default `auto`.
    pub dns: BaselineItem,
    /// Getting and keeping a lease, IPv4 and IPv6. Default `auto`.
    pub dhcp_client: BaselineItem,
    /// Asking for the time, UDP 123. Default any.
    pub ntp: BaselineItem,
    /// Echo requests that come in. Default any.
    pub icmp_echo_in: BaselineItem,
    /// Echo requests that go out. Default any.
    pub icmp_echo_out: BaselineItem,
    /// IPv6 neighbour discovery. Default any.
    pub neighbour_discovery: BaselineItem,
    /// IPv6 router advertisements. Default any.
    pub router_advertisements: BaselineItem,
    /// Joining multicast groups. Default any.
    pub mld_igmp: BaselineItem,
}

impl Default for Baseline {
    fn default() -> Self {
        let any = || BaselineItem::Peers(Peers::any(0..0));
        Self {
            dns: BaselineItem::Auto,
            dhcp_client: BaselineItem::Auto,
            ntp: any(),
            icmp_echo_in: any(),
            icmp_echo_out: any(),
            neighbour_discovery: any(),
            router_advertisements: any(),
            mld_igmp: any(),
        }
    }
}

impl Baseline {
    /// The items by the id that their rules carry after `baseline/`.
    pub fn items(&self) -> impl Iterator<Item = (&'static str, &BaselineItem)> {
        [
            ("dns", &self.dns),
            ("dhcp-client", &self.dhcp_client),
            ("ntp", &self.ntp),
            ("icmp-echo-in", &self.icmp_echo_in),
            ("icmp-echo-out", &self.icmp_echo_out),
            ("neighbour-discovery", &self.neighbour_discovery),
            ("router-advertisements", &self.router_advertisements),
            ("mld-igmp", &self.mld_igmp),
        ]
        .into_iter()
    }

    fn lists(&self) -> impl Iterator<Item = &Peers> {
        self.items().filter_map(|(_, item)| match item {
            BaselineItem::Peers(peers) => Some(peers),
            BaselineItem::Off | BaselineItem::Auto => None,
        })
    }
}

/// One item of the baseline.
#[derive(Clone, Debug)]
pub enum BaselineItem {
    /// `false`: closed.
    Off,
    /// The host's resolvers; the interfaces with a lease. Only `dns` and `dhcp-client`.
    Auto,
    /// With these; `true` is any.
    Peers(Peers),
}

/// `[forward] default`: packets on their way through this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forward {
    /// Denied.
    Deny,
    /// Passed.
    Pass,
    /// Judged by the host's rules.
    SameRules,
}

impl Forward {
    /// The word, as in files and output.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Deny => "deny",
            Self::Pass => "pass",
            Self::SameRules => "same-rules",
        }
    }
}

/// `[conntrack]`: flows that the tables hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conntrack {
    /// Established TCP flows.
    pub established: u32,
    /// UDP, half-open and closing flows.
    pub new: u32,
}

impl Default for Conntrack {
    fn default() -> Self {
        Self {
            established: 262_144,
            new: 65_536,
        }
    }
}

/// `[events]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Events {
    /// Repeats of one event are merged over this time.
    pub window: Duration,
    /// Budgets of peers under some configured prefix.
    pub acquaintances: Budgets,
    /// Budgets of all other peers.
    pub strangers: Budgets,
    /// Where events go.
    pub sinks: Vec<Sink>,
}

impl Default for Events {
    fn default() -> Self {
        Self {
            window: Duration::from_secs(60),
            acquaintances: Budgets {
                peer: 20,
                all: 1_000,
            },
            strangers: Budgets { peer: 5, all: 200 },
            sinks: vec![Sink::Journal],
        }
    }
}

/// Events per second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budgets {
    /// For one peer.
    pub peer: u32,
    /// For all together.
    pub all: u32,
}

/// Where events go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sink {
    /// journald, by its native protocol.
    Journal,
    /// JSON lines on standard output.
    Json,
}

impl Sink {
    /// The word, as in files and on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Journal => "journal",
            Self::Json => "json",
        }
    }
}

/// `[metrics]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metrics {
    /// Address and port that serve metrics; none: nothing listens.
    pub listen: Option<std::net::SocketAddr>,
}

/// `[daemon]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Daemon {
    /// Most octets of one bank.
    pub bank_memory: u64,
    /// What is done where there is a state directory and nothing of it can be enforced.
    pub on_failure: OnFailure,
    /// Group that may use the control socket besides root.
    pub socket_group: Option<String>,
    /// The operator's policies.
    pub policies: String,
    /// What survives a restart.
    pub state: String,
    /// Control socket and the plan in force.
    pub runtime: String,
    /// Pinned maps and links; on a bpffs.
    pub pins: String,
}

impl Default for Daemon {
    fn default() -> Self {
        Self {
            bank_memory: 64 << 20,
            on_failure: OnFailure::default(),
            socket_group: None,
            policies: "/etc/portcullis/policies.d".to_owned(),
            state: "/var/lib/portcullis".to_owned(),
            runtime: "/run/portcullis".to_owned(),
            pins: "/sys/fs/bpf/portcullis".to_owned(),
        }
    }
}

/// `[daemon] on-failure`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFailure {
    /// Established flows, failsafes and baseline come in, all goes out.
    #[default]
    FailsafeOnly,
    /// Nothing is filtered.
    Open,
}
