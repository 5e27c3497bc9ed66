//! The host's own settings and their defaults: baseline, forwarding, tables, events, daemon.

use std::time::Duration;

use crate::host::peers::Peers;

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

    pub(super) fn lists(&self) -> impl Iterator<Item = &Peers> {
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
            // Together well under the 10,000 entries in 30 s that journald takes from one service (journald.conf(5)).
            acquaintances: Budgets { peer: 20, all: 100 },
            strangers: Budgets { peer: 5, all: 100 },
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
    /// Where metrics are served; none: nothing listens.
    pub listen: Option<Listen>,
}

/// Where something is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// Address and port.
    Address(std::net::SocketAddr),
    /// A socket in the file system: its absolute path.
    Unix(String),
}

impl std::fmt::Display for Listen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{path}"),
        }
    }
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
