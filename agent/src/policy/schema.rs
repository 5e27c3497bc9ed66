//! The schema of a policy file, exactly as it is written.
//!
//! `policies/schema.json` is generated from these types. Values keep their place in the text
//! wherever a later check may have to point at them.

use std::net::IpAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use toml::Spanned;

use super::values::{
    Condition, PortDefault, PortRange, PortRef, Protocol, RowRef, Transport, Version,
};
use crate::diagnose::Keyed;

/// The number that every file of this schema carries.
pub const SCHEMA: i64 = 1;

/// One product: its document's tables and the words that the rows use.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[schemars(rename = "portcullis-policy")]
pub struct Policy {
    /// The schema of this file: 1.
    #[schemars(with = "i64", extend("const" = 1))]
    pub schema: Spanned<i64>,
    /// The product's id, first part of every row id; never changes once published.
    #[schemars(with = "String")]
    pub id: Spanned<String>,
    /// The product's name.
    pub name: String,
    /// Who makes it.
    pub vendor: String,
    /// In a file of the operator's directory: takes the place of the shipped product with this id.
    #[serde(default)]
    pub replaces: bool,
    /// The vendor's document that is cited.
    pub document: Document,
    /// Ways to install the product; which rows hold depends on what is selected.
    #[serde(default)]
    pub topologies: Keyed<Topology>,
    /// The printed tables.
    #[serde(default)]
    pub tables: Keyed<Table>,
    /// Who takes part in flows: hosts, clients, devices.
    #[serde(default)]
    pub roles: Keyed<Role>,
    /// What the operator turns on, off or chooses.
    #[serde(default)]
    pub options: Keyed<OptionTable>,
    /// Version lines that rows hang on.
    #[serde(default)]
    pub versions: Keyed<VersionLine>,
    /// Ports that the operator may move.
    #[serde(default)]
    pub ports: Keyed<PortTable>,
    /// Multicast and broadcast groups, and sets of host names or addresses.
    #[serde(default)]
    pub groups: Keyed<Group>,
    /// Every printed line of every table, in any order.
    #[serde(default)]
    pub rows: Vec<Row>,
}

/// The vendor's document.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Document {
    /// Its title, as printed.
    pub title: String,
    /// The edition that was read.
    pub edition: String,
    /// The directions that it claims to list.
    pub covers: Vec<Direction>,
    /// What it leaves out.
    #[serde(default)]
    pub silent: Option<String>,
}

/// A direction of packets, seen from the host.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// To the host.
    Ingress,
    /// From the host.
    Egress,
}

impl Direction {
    /// The word, as in files and output.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ingress => "ingress",
            Self::Egress => "egress",
        }
    }
}

/// One way to install the product.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Topology {
    /// The topology that this one adds to, and thereby implies.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    pub adds_to: Option<Spanned<String>>,
    /// Roles that other hosts play too: flows of such a role with itself cross hosts.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub several: Vec<Spanned<String>>,
}

/// One printed table.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Table {
    /// Its heading, as printed.
    pub title: String,
    /// How many lines it prints; every one is a row.
    #[schemars(with = "u32")]
    pub rows: Spanned<u32>,
    /// The topologies for which it holds; none: all.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub topologies: Vec<Spanned<String>>,
    /// What must hold for any of its rows to open anything.
    #[serde(default)]
    #[schemars(with = "Vec<Condition>")]
    pub when: Vec<Spanned<Condition>>,
    /// `host`: its rows' flows never leave a host.
    #[serde(default)]
    pub scope: Option<Scope>,
}

/// How far a row's flows go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// Between hosts; said by a row whose table says `host`.
    Network,
    /// Inside one host, whoever plays the roles: they open nothing.
    Host,
}

/// Who takes part in a flow.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Role {
    /// What it does, in one line.
    #[serde(default)]
    pub summary: Option<String>,
    /// Whether a Linux host can play it.
    #[serde(default)]
    pub linux: bool,
}

/// A switch (`default`) or a choice (`choices`) of the operator.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct OptionTable {
    /// What a switch is where nothing is said.
    #[serde(default)]
    pub default: Option<bool>,
    /// What can be chosen; there is no default, it must be said where a row hangs on it.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub choices: Vec<Spanned<String>>,
    /// What to think of when deciding.
    #[serde(default)]
    pub why: Option<String>,
}

/// A line of versions that rows hang on with `since`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct VersionLine {
    /// Whose versions these are, in one line.
    #[serde(default)]
    pub summary: Option<String>,
}

/// A port that the operator may move.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct PortTable {
    /// The documented value; none: the operator must say it.
    #[serde(default)]
    #[schemars(with = "Option<PortDefault>")]
    pub default: Option<Spanned<PortDefault>>,
    /// Whether the product can listen on several.
    #[serde(default)]
    pub many: bool,
    /// What to write where there is no default.
    #[serde(default)]
    pub suggest: Option<PortRange>,
    /// Switches that take the default away while they are on.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub say_when: Vec<Spanned<String>>,
    /// How the product is told the port.
    #[serde(default)]
    pub configure: Option<String>,
    /// Why there is no default, or what to think of.
    #[serde(default)]
    pub why: Option<String>,
}

/// Where packets go that are not addressed to a role's hosts.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Group {
    /// Multicast or broadcast; none: a set of hosts by name or address.
    #[serde(default)]
    pub kind: Option<GroupKind>,
    /// Its addresses; a group without them is bound by the operator, a broadcast group fills
    /// itself from the interfaces.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub addresses: Vec<Spanned<IpAddr>>,
    /// `unicast`: members answer to the sender's port.
    #[serde(default)]
    pub answers: Option<Answers>,
    /// Host names, and wildcards `*.example.com`.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub names: Vec<Spanned<String>>,
    /// Where the addresses come from if the document does not print them.
    #[serde(default)]
    pub ours: Option<String>,
}

/// What a group is on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum GroupKind {
    /// Addresses that hosts join.
    Multicast,
    /// All hosts of a subnet.
    Broadcast,
}

/// How members of a group answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Answers {
    /// From their own address to the port that asked.
    Unicast,
}

/// Whether what travels is encrypted, as far as the document says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Encrypted {
    /// It is.
    Yes,
    /// It is not.
    No,
    /// Either, by configuration.
    Both,
    /// The document does not say.
    Unknown,
}

/// What the vendor says of a row; shown, it opens nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Requirement {
    /// Needed wherever the table holds.
    #[default]
    Required,
    /// Needed under a condition.
    Conditional,
    /// Needed by who uses it.
    Optional,
    /// Off until somebody turns it on.
    OffByDefault,
}

/// A direction as a table prints it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PrintedDirection {
    /// Incoming at the row's device.
    In,
    /// Outgoing from the row's device.
    Out,
}

/// The baseline item of the host that does what a row asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum BaselineItem {
    /// Asking resolvers.
    Dns,
    /// Getting and keeping a lease.
    DhcpClient,
    /// Asking for the time.
    Ntp,
    /// Echo requests.
    IcmpEcho,
    /// IPv6 neighbour discovery.
    NeighbourDiscovery,
    /// IPv6 router advertisements.
    RouterAdvertisements,
    /// Joining multicast groups.
    MldIgmp,
}

/// One printed line of one table: a citation, and the flows that it states.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Row {
    /// `table/n`, n counted from 1 in the printed order; never changes once published.
    #[schemars(with = "RowRef")]
    pub id: Spanned<RowRef>,
    /// The service, as printed.
    pub service: String,
    /// What it is for.
    #[serde(default)]
    pub purpose: Option<String>,
    /// The application protocol, as printed.
    #[serde(default)]
    pub application: Option<String>,
    /// Whether what travels is encrypted.
    #[serde(default)]
    pub encrypted: Option<Encrypted>,
    /// What the vendor says of the need.
    #[serde(default)]
    pub requirement: Requirement,
    /// What must hold for the row to open anything.
    #[serde(default)]
    #[schemars(with = "Vec<Condition>")]
    pub when: Vec<Spanned<Condition>>,
    /// The versions from which it holds, by version line.
    #[serde(default)]
    pub since: Keyed<Version>,
    /// The topologies for which it holds, in place of its table's.
    #[serde(default)]
    #[schemars(with = "Option<Vec<String>>")]
    pub topologies: Option<Vec<Spanned<String>>>,
    /// How far its flows go, in place of its table's scope.
    #[serde(default)]
    pub scope: Option<Scope>,
    /// The role that the row's device cell means.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    pub device: Option<Spanned<String>>,
    /// The direction cell, seen from the device.
    #[serde(default)]
    pub direction: Vec<PrintedDirection>,
    /// A cell that says something else than the flows do.
    #[serde(default)]
    pub printed: Option<String>,
    /// The host's baseline item that does it.
    #[serde(default)]
    pub baseline: Option<BaselineItem>,
    /// Cells that the text has lost.
    #[serde(default)]
    pub lost: Vec<String>,
    /// The row that supplied them.
    #[serde(default)]
    #[schemars(with = "Option<RowRef>")]
    pub restored_from: Option<Spanned<RowRef>>,
    /// Rows that say otherwise; written at one end, shown at both.
    #[serde(default)]
    #[schemars(with = "Vec<RowRef>")]
    pub contradicts: Vec<Spanned<RowRef>>,
    /// Why all flows of the row are concluded rather than printed.
    #[serde(default)]
    pub inferred: Option<String>,
    /// What the reader of a plan should know.
    #[serde(default)]
    pub note: Option<String>,
    /// What it opens; none: `undecidable` says why.
    #[serde(default)]
    pub flows: Vec<Flow>,
    /// Why no flow can be made of it.
    #[serde(default)]
    pub undecidable: Option<String>,
}

/// Who sends the first packet to whom, and to which ports.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Flow {
    /// The roles that begin it.
    #[schemars(with = "Vec<String>")]
    pub from: Vec<Spanned<String>>,
    /// The roles that are asked.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub to: Vec<Spanned<String>>,
    /// In place of `to`: hosts that play no role, a group of names or addresses.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    pub to_group: Option<Spanned<String>>,
    /// The multicast or broadcast group to which it is sent.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    pub via: Option<Spanned<String>>,
    /// TCP ports of the service.
    #[serde(default)]
    #[schemars(with = "Vec<PortRef>")]
    pub tcp: Vec<Spanned<PortRef>>,
    /// UDP ports of the service.
    #[serde(default)]
    #[schemars(with = "Vec<PortRef>")]
    pub udp: Vec<Spanned<PortRef>>,
    /// Other IP protocols.
    #[serde(default)]
    #[schemars(with = "Vec<Protocol>")]
    pub protocol: Vec<Spanned<Protocol>>,
    /// What must hold besides the row's and the table's conditions.
    #[serde(default)]
    #[schemars(with = "Vec<Condition>")]
    pub when: Vec<Spanned<Condition>>,
    /// Whether this flow is encrypted, where the row's flows differ.
    #[serde(default)]
    pub encrypted: Option<Encrypted>,
    /// Why it is concluded rather than printed.
    #[serde(default)]
    pub inferred: Option<String>,
}

impl Flow {
    /// The transports that it uses, in the order in which its parts are counted: TCP, UDP,
    /// then each other protocol.
    pub fn transports(&self) -> impl Iterator<Item = Transport> {
        let tcp = (!self.tcp.is_empty()).then_some(Transport::Tcp);
        let udp = (!self.udp.is_empty()).then_some(Transport::Udp);
        let others = self
            .protocol
            .iter()
            .map(|protocol| Transport::Protocol(protocol.get_ref().0));
        tcp.into_iter().chain(udp).chain(others)
    }

    /// The ports that it names on a transport; none for a protocol without ports.
    #[must_use]
    pub fn ports(&self, transport: Transport) -> &[Spanned<PortRef>] {
        match transport {
            Transport::Tcp => &self.tcp,
            Transport::Udp => &self.udp,
            Transport::Protocol(_) => &[],
        }
    }
}
