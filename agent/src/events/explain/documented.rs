//! Every documented flow that concerns this host, and where it stands: for whoever makes a configuration out of what was seen.

use agent_common::event::Direction;

use super::knowledge::{Knowledge, State};
use crate::policy::{PortRange, Transport as Carrier};
use crate::rule::RowId;

/// A documented flow over one transport, seen from this host.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Documented {
    /// The row.
    pub row: RowId,
    /// The product's name in the configuration.
    pub product: String,
    /// The service in the vendor's word.
    pub service: String,
    /// Which way it begins.
    pub direction: Direction,
    /// What carries it.
    pub carrier: Carrier,
    /// Ports in force.
    pub ports: Vec<PortRange>,
    /// Those of them that have a name in the document.
    pub named: Vec<(String, Vec<PortRange>)>,
    /// Documented defaults that the configuration has moved away.
    pub moved: Vec<(String, PortRange)>,
    /// Roles, or the group of hosts, at the other end: any of them would do.
    pub others: Vec<String>,
    /// It is sent to a multicast or broadcast group.
    pub to_group: bool,
    /// Where it stands.
    pub standing: Standing,
}

/// Where a documented flow stands on this host.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Standing {
    /// A rule does it, for whoever is bound.
    Open,
    /// Nobody is bound at the other end.
    Unbound,
    /// It hangs on options: each as `options.NAME = VALUE`.
    Options(Vec<String>),
    /// It hangs on what is installed, a version or a topology: the lines that would say so.
    Installed(Vec<String>),
    /// The operator leaves its row out, for this reason.
    Skipped(String),
}

impl Documented {
    /// Whether the flow may go to this port; protocols without ports have none.
    #[must_use]
    pub fn has(&self, port: u16) -> bool {
        matches!(self.carrier, Carrier::Protocol(_))
            || self.ports.iter().any(|range| range.contains(port))
    }

    /// Whether a rule does it, or would if somebody were bound.
    #[must_use]
    pub fn holds(&self) -> bool {
        matches!(self.standing, Standing::Open | Standing::Unbound)
    }
}

impl Knowledge {
    /// All documented flows of the selected products that begin or end at this host, in the order of the documents.
    #[must_use]
    pub fn documented(&self) -> Vec<Documented> {
        let ways = [Direction::Ingress, Direction::Egress];
        let flows = self
            .flows
            .iter()
            .flat_map(|flow| ways.map(|way| (flow, way)));
        flows
            .filter_map(|(flow, direction)| {
                let lines = |needs: &[super::knowledge::Need]| {
                    needs.iter().map(|need| need.line.clone()).collect()
                };
                let standing = match &flow.state {
                    State::Open => Standing::Open,
                    State::Unbound => Standing::Unbound,
                    State::Option(needs) => Standing::Options(lines(needs)),
                    State::Version(needs) => Standing::Installed(lines(needs)),
                    State::Topology(need) => Standing::Installed(vec![need.line.clone()]),
                    State::Skipped(reason) => Standing::Skipped(reason.clone()),
                    State::HostOnly(_) | State::OtherRole | State::OtherProduct => return None,
                };
                flow.goes(direction).then(|| Documented {
                    row: flow.row.clone(),
                    product: flow.product.clone(),
                    service: flow.service.clone(),
                    direction,
                    carrier: flow.carrier,
                    ports: flow.ports.clone(),
                    named: flow.named.clone(),
                    moved: flow.moved.clone(),
                    others: flow.others(direction).to_vec(),
                    to_group: flow.via_group,
                    standing,
                })
            })
            .collect()
    }

    /// The roles and groups of a product that this address is bound to; those that admit anyone are left out.
    #[must_use]
    pub fn played(&self, product: &str, address: std::net::IpAddr) -> Vec<&str> {
        let bound = self.bindings.iter().filter(|it| it.product == product);
        bound
            .filter(|it| it.peers != crate::rule::Peers::Any)
            .filter(|it| super::knowledge::admits(&it.peers, Some(address)))
            .map(|it| it.role.as_str())
            .collect()
    }

    /// The roles and groups of a product that the configuration says anything of, `none` too.
    #[must_use]
    pub fn said_of(&self, product: &str) -> Vec<&str> {
        let bound = self.bindings.iter().filter(|it| it.product == product);
        bound.map(|it| it.role.as_str()).collect()
    }
}
