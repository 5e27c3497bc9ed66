//! Where each flow of a product's document stands on this host.
//!
//! A flow concerns a host that plays one of its roles; what is stated at one end holds at both.
//! Topologies, options and versions alone decide whether it opens, the operator's peers to whom.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use agent_common::event::Direction;

use super::crossing::{Other, Pair};
use super::peers::{PeerBook, distinct, is_nobody, union};
use super::words::{Wildcard, bound_by_host, need_of, quoted};
use crate::host::Product;
use crate::policy::schema::{self, GroupKind, PrintedDirection, Scope};
use crate::policy::values::{Condition, PortRange, Transport, Version};
use crate::policy::{Flow, FlowPart, OptionValue, OptionValues, Policy, Row, Truth};
use crate::rule::{Peers, Service};

/// A product as this host installs it.
pub(super) struct Selected<'a> {
    pub(super) product: &'a Product,
    pub(super) policy: &'a Policy,
    pub(super) topologies: BTreeSet<&'a str>,
    pub(super) options: OptionValues,
    pub(super) versions: BTreeMap<String, Version>,
    ports: BTreeMap<String, Vec<PortRange>>,
}

/// Where a flow stands; every flow in exactly one place.
pub(super) enum Place {
    /// It makes rules: at most one for each direction.
    Rules(Vec<Draft>),
    /// The operator left its row out.
    Skipped {
        /// The operator's reason.
        reason: String,
    },
    /// No flow can be made of its row.
    Undecided {
        /// The policy's reason.
        why: String,
    },
    /// Something that it needs does not hold, or nobody is at the other end.
    Inactive {
        /// What does not hold.
        why: String,
        /// The keys of the product's table that would change it.
        needs: String,
    },
    /// It stays inside a host.
    HostOnly {
        /// Why.
        why: String,
    },
    /// This host plays none of its roles.
    OtherRoles,
}

/// A rule in the making.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Draft {
    pub(super) direction: Direction,
    pub(super) service: Service,
    pub(super) peers: Peers,
    pub(super) groups: Vec<IpAddr>,
    pub(super) stated: bool,
}

impl<'a> Selected<'a> {
    pub(super) fn new(product: &'a Product, policy: &'a Policy) -> Self {
        Self {
            product,
            policy,
            topologies: product.topologies_in(policy),
            options: product.option_values(policy),
            versions: product.versions_said(),
            ports: product.ports_said(),
        }
    }

    /// Whether this host is an end of the flow.
    pub(super) fn concerns(&self, flow: &Flow) -> bool {
        flow.from
            .iter()
            .chain(&flow.to)
            .any(|role| self.product.plays(role.get_ref()))
    }

    /// Whether the row's topologies hold.
    pub(super) fn holds_here(&self, row: &Row) -> bool {
        self.policy.row_in(row, &self.topologies)
    }

    /// Whether the operator must say who is in a group.
    pub(super) fn is_open(&self, group: &str) -> bool {
        self.policy
            .groups
            .get(group)
            .is_some_and(|group| bound_by_host(group) && group.kind != Some(GroupKind::Broadcast))
    }

    /// Where a row without flows stands.
    pub(super) fn place_row(&self, row: &Row) -> Place {
        let id = self.policy.row_id(row);
        match self.product.skipped(&id) {
            Some(reason) => Place::Skipped {
                reason: reason.to_owned(),
            },
            None => Place::Undecided {
                why: row.undecidable.clone().unwrap_or_default(),
            },
        }
    }

    /// Where one flow stands. A document's wildcard that lets anyone in is noted in `wildcards`.
    pub(super) fn place(
        &self,
        row: &'a Row,
        part: &FlowPart<'a>,
        book: &mut PeerBook<'_>,
        wildcards: &mut Vec<Wildcard>,
    ) -> Place {
        let id = self.policy.row_id(row);
        if let Some(reason) = self.product.skipped(&id) {
            return Place::Skipped {
                reason: reason.to_owned(),
            };
        }
        if let Some(inactive) = self.inactive(row, part.flow) {
            return inactive;
        }
        if self.policy.scope_of(row) == Some(Scope::Host) {
            return Place::HostOnly {
                why: "its flows never leave the host".to_owned(),
            };
        }
        let pairs = self.pairs(part.flow);
        if pairs.crossing.is_empty() {
            return match pairs.inside.first() {
                Some(role) => Place::HostOnly {
                    why: format!("from `{role}` to a role of the same host"),
                },
                None => Place::OtherRoles,
            };
        }
        self.cross(row, part, &pairs.crossing, book, wildcards)
    }

    /// The place of a flow whose topologies, options or versions do not hold.
    fn inactive(&self, row: &'a Row, flow: &'a Flow) -> Option<Place> {
        let (mut why, mut needs) = (Vec::new(), Vec::new());
        if !self.holds_here(row) {
            let wanted = self.policy.topologies_of(row);
            let wanted: Vec<&str> = wanted.iter().map(|name| name.get_ref().as_str()).collect();
            why.push(format!("it holds in topology {}", quoted(&wanted, " or ")));
            let first = wanted.first().copied().unwrap_or_default();
            needs.push(format!("topologies = [\"{first}\"]"));
        }
        let unmet = self.unmet(row, flow);
        for (condition, truth) in unmet.conditions {
            let need = need_of(condition);
            if !needs.contains(&need) {
                why.push(self.why_not(condition, truth));
                needs.push(need);
            }
        }
        for (line, from, truth) in unmet.versions {
            let unsaid = match truth {
                Truth::Unsaid => ", and no version is said",
                _ => "",
            };
            why.push(format!("it holds from {line} {from} on{unsaid}"));
            needs.push(format!("versions.{line} = \"{from}\""));
        }
        (!needs.is_empty()).then(|| Place::Inactive {
            why: why.join("; "),
            needs: needs.join(", "),
        })
    }

    fn why_not(&self, condition: &Condition, truth: Truth) -> String {
        let option = condition.option();
        match (condition, truth, self.options.get(option)) {
            (_, Truth::Unsaid, _) => format!("option `{option}` is not said"),
            (Condition::On(_), ..) => format!("option `{option}` is off"),
            (Condition::Off(_), ..) => format!("option `{option}` is on"),
            (Condition::Is(_, wanted), _, Some(OptionValue::Choice(said))) => {
                format!("option `{option}` is `{said}`, not `{wanted}`")
            }
            (Condition::Is(..), ..) => format!("option `{option}` is another"),
        }
    }

    /// The rules of the pairs that leave or enter this host.
    fn cross(
        &self,
        row: &Row,
        part: &FlowPart<'_>,
        pairs: &[Pair<'_>],
        book: &mut PeerBook<'_>,
        wildcards: &mut Vec<Wildcard>,
    ) -> Place {
        let mut ends: Vec<(Direction, Peers, bool)> = Vec::new();
        let (mut why, mut needs) = (Vec::new(), Vec::new());
        for pair in pairs {
            let stated = self.stated(row, pair);
            match self.admitted(pair.other, row, part, book, wildcards) {
                Ok(peers) => {
                    let known = ends
                        .iter_mut()
                        .find(|(direction, ..)| *direction == pair.direction);
                    match known {
                        Some((_, admitted, known)) => {
                            let before = std::mem::replace(admitted, Peers::Any);
                            *admitted = union(before, peers);
                            *known |= stated;
                        }
                        None => ends.push((pair.direction, peers, stated)),
                    }
                }
                Err((reason, need)) if !needs.contains(&need) => {
                    why.push(reason);
                    needs.push(need);
                }
                Err(_) => {}
            }
        }
        let inactive = |why: Vec<String>, needs: Vec<String>| Place::Inactive {
            why: why.join("; "),
            needs: needs.join(", "),
        };
        if ends.is_empty() {
            return inactive(why, needs);
        }
        let service = match self.service(part) {
            Ok(service) => service,
            Err(port) => {
                let need = format!("ports.{port}");
                return inactive(vec![format!("port `{port}` has no value")], vec![need]);
            }
        };
        let groups = match part.flow.via.as_ref() {
            None => Vec::new(),
            Some(via) => match self.members(via.get_ref(), book) {
                Ok(groups) => groups,
                Err((reason, need)) => return inactive(vec![reason], vec![need]),
            },
        };
        ends.sort_by_key(|(direction, ..)| *direction);
        let drafts = ends.into_iter().map(|(direction, peers, stated)| Draft {
            direction,
            service: service.clone(),
            peers,
            groups: groups.clone(),
            stated,
        });
        Place::Rules(drafts.collect())
    }

    /// Whether the document prints this host's end: the row's device is that end and the
    /// direction fits, or, in a table without devices, the document lists the direction.
    fn stated(&self, row: &Row, pair: &Pair<'_>) -> bool {
        let (printed, covered) = match pair.direction {
            Direction::Ingress => (PrintedDirection::In, schema::Direction::Ingress),
            Direction::Egress => (PrintedDirection::Out, schema::Direction::Egress),
        };
        let direction_fits = row.direction.is_empty() || row.direction.contains(&printed);
        match &row.device {
            Some(device) => device.get_ref() == pair.own && direction_fits,
            None => direction_fits && self.policy.document.covers.contains(&covered),
        }
    }

    /// Whom the other end is; the reason and the missing key where that is nobody.
    fn admitted(
        &self,
        other: Other<'_>,
        row: &Row,
        part: &FlowPart<'_>,
        book: &mut PeerBook<'_>,
        wildcards: &mut Vec<Wildcard>,
    ) -> Result<Peers, (String, String)> {
        let role = match other {
            Other::Role(role) => role,
            Other::Group(group) => return self.hosts(group, row, part, book, wildcards),
        };
        let need = || format!("peers.{role}");
        let Some(said) = self.product.peers.get(role) else {
            return Err((format!("the peers of `{role}` are not said"), need()));
        };
        let peers = book.admit(said);
        if !is_nobody(&peers) {
            return Ok(peers);
        }
        let why = if said.is_nobody() {
            format!("the peers of `{role}` are none")
        } else {
            format!("the peers of `{role}` are no host but this one, or have no address yet")
        };
        Err((why, need()))
    }

    /// The hosts of a group that is no multicast or broadcast group.
    fn hosts(
        &self,
        name: &str,
        row: &Row,
        part: &FlowPart<'_>,
        book: &mut PeerBook<'_>,
        wildcards: &mut Vec<Wildcard>,
    ) -> Result<Peers, (String, String)> {
        let missing = |why: &str| Err((format!("{why} `{name}`"), format!("groups.{name}")));
        let group = self.policy.groups.get(name);
        let peers = match (self.product.groups.get(name), group) {
            (Some(said), _) => book.admit(said),
            (None, Some(group)) if !bound_by_host(group) => {
                let names = group.names.iter().map(|name| name.get_ref().as_str());
                let (open, hosts): (Vec<&str>, Vec<&str>) =
                    names.partition(|name| name.contains('*'));
                if open.is_empty() {
                    let addresses = group.addresses.iter().map(|address| *address.get_ref());
                    let mut prefixes = book.addresses(addresses);
                    for name in hosts {
                        prefixes.extend(book.name(name));
                    }
                    Peers::Prefixes(distinct(prefixes))
                } else {
                    wildcards.push(Wildcard {
                        row: self.policy.row_id(row),
                        names: open.iter().map(|&name| name.to_owned()).collect(),
                        ports: part
                            .ports()
                            .map(|port| self.policy.documented_port(port))
                            .collect(),
                        span: self.product.span.clone(),
                    });
                    Peers::Any
                }
            }
            (None, _) => return missing("nobody is said to be in group"),
        };
        if is_nobody(&peers) {
            return missing("no address is known of group");
        }
        Ok(peers)
    }

    /// The addresses of a multicast or broadcast group.
    fn members(
        &self,
        name: &str,
        book: &mut PeerBook<'_>,
    ) -> Result<Vec<IpAddr>, (String, String)> {
        let group = self.policy.groups.get(name);
        let documented: Vec<IpAddr> = group
            .iter()
            .flat_map(|group| &group.addresses)
            .map(|address| *address.get_ref())
            .collect();
        let broadcast = group.is_some_and(|group| group.kind == Some(GroupKind::Broadcast));
        let addresses = match self.product.groups.get(name) {
            Some(said) => match book.admit(said) {
                Peers::Prefixes(prefixes) => prefixes.iter().map(ipnet::IpNet::addr).collect(),
                Peers::Any => documented,
            },
            None if documented.is_empty() && broadcast => book.broadcasts(),
            None => documented,
        };
        if addresses.is_empty() {
            let why = format!("no address is said of group `{name}`");
            return Err((why, format!("groups.{name}")));
        }
        Ok(addresses)
    }

    /// Transport and ports in force; the port's name where it has no value.
    fn service(&self, part: &FlowPart<'_>) -> Result<Service, String> {
        if let Transport::Protocol(number) = part.transport {
            return Ok(Service::Protocol(number));
        }
        let mut ranges = Vec::new();
        for port in part.ports() {
            let in_force = self
                .policy
                .ports_in_force(port, &self.ports, &self.options)
                .map_err(|_| port.to_string())?;
            for range in in_force {
                let range = range.first..=range.last;
                if !ranges.contains(&range) {
                    ranges.push(range);
                }
            }
        }
        Ok(match part.transport {
            Transport::Udp => Service::Udp(ranges),
            _ => Service::Tcp(ranges),
        })
    }

    /// Every service that any row names for a role of this host, whatever it asks for: what an
    /// audit stage lets pass.
    pub(super) fn named_services(&self) -> Vec<(Direction, Service)> {
        let mut named = Vec::new();
        for row in self.policy.rows_in_order() {
            for part in row.parts() {
                let plays = |roles: &[toml::Spanned<String>]| {
                    roles.iter().any(|role| self.product.plays(role.get_ref()))
                };
                let ends = [
                    (Direction::Ingress, plays(&part.flow.to)),
                    (Direction::Egress, plays(&part.flow.from)),
                ];
                for (direction, _) in ends.into_iter().filter(|(_, own)| *own) {
                    // A port without a value is named by nobody yet.
                    if let Ok(service) = self.service(&part) {
                        named.push((direction, service));
                    }
                }
            }
        }
        named
    }
}
