//! Each flow that was seen, held against what is documented.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use agent_common::event::Direction;
use agent_common::verdict::Action;
use jiff::Timestamp;

use super::choose::{self, Openings};
use super::seen::{Flow, Seen, Sight};
use super::{Asked, Never, Proposal, Scanner, Understood};
use crate::events::Kind;
use crate::events::decode::Transport;
use crate::events::explain::documented::{Documented, Standing};
use crate::facts::Facts;
use crate::inputs::Said;
use crate::policy::Transport as Carrier;
use crate::rule::RowId;

/// A host that asks for more undocumented ports than this is taken for a scanner.
const SCAN: usize = 8;

pub(super) struct Finder<'a> {
    said: &'a Said,
    understood: &'a Understood,
    facts: &'a Facts,
    seen: &'a Seen,
    used: Option<&'a BTreeMap<RowId, Timestamp>>,
    documented: Vec<Documented>,
    proposal: Proposal,
}

/// A flow that was seen, and the documented ones that it may be.
type Near<'a> = (&'a Flow, &'a Sight, Vec<Documented>);

impl<'a> Finder<'a> {
    pub(super) fn new(
        said: &'a Said,
        understood: &'a Understood,
        facts: &'a Facts,
        seen: &'a Seen,
        used: Option<&'a BTreeMap<RowId, Timestamp>>,
    ) -> Self {
        Self {
            said,
            understood,
            facts,
            seen,
            used,
            documented: understood.knowledge.documented(),
            proposal: Proposal::default(),
        }
    }

    /// The proposal but for its files, and the flows that it means to admit.
    pub(super) fn find(mut self) -> (Proposal, BTreeSet<Flow>) {
        let mut wanted: BTreeMap<IpAddr, Vec<Near<'a>>> = BTreeMap::new();
        let mut admitted = BTreeSet::new();
        for (flow, sight) in &self.seen.flows {
            if sight.probe.judge(&self.understood.host).action() == Action::Allow {
                self.proposal.admitted += 1;
                admitted.insert(*flow);
                continue;
            }
            let near = self.near(flow, sight);
            wanted
                .entry(flow.peer)
                .or_default()
                .push((flow, sight, near));
        }
        wanted.retain(|peer, flows| {
            let strange = flows.iter().filter(|(flow, _, near)| {
                let ports = matches!(flow.transport, Transport::Tcp | Transport::Udp);
                ports && flow.incoming && near.is_empty()
            });
            let ports = strange.count();
            if ports > SCAN {
                self.proposal.scanners.push(Scanner {
                    peer: *peer,
                    ports,
                    packets: flows.iter().map(|(_, sight, _)| sight.packets).sum(),
                });
            }
            ports <= SCAN
        });
        for flows in wanted.values() {
            for (flow, sight, near) in flows {
                self.options(flow, sight, near);
            }
        }
        let mut documented = BTreeSet::new();
        let mut rest = Vec::new();
        for (peer, flows) in &wanted {
            self.bind(*peer, flows, &mut documented, &mut rest);
        }
        self.nobody();
        rest = self.moved_ports(rest, &mut documented);
        for (flow, sight, near) in rest {
            let asked = self.ask(flow, sight, &near);
            self.proposal.asked.push(asked);
        }
        self.never(&documented.union(&admitted).copied().collect());
        (self.proposal, documented)
    }

    /// The documented flows that this one may be.
    fn near(&self, flow: &Flow, sight: &Sight) -> Vec<Documented> {
        let carrier = match flow.transport {
            Transport::Tcp => Carrier::Tcp,
            Transport::Udp => Carrier::Udp,
            Transport::Protocol(number) => Carrier::Protocol(number),
            Transport::Icmp(..) | Transport::Icmpv6(..) | Transport::Link(_) => return Vec::new(),
        };
        let near = self.documented.iter().filter(|it| {
            it.direction == flow.direction()
                && it.carrier == carrier
                && it.has(flow.port)
                && it.to_group == sight.to_group
        });
        near.cloned().collect()
    }

    /// Whether the proposal so far makes it a rule, for whoever is bound.
    fn holds(&self, flow: &Documented) -> bool {
        let said = |line: &String| {
            option(line).is_some_and(|(name, value)| {
                let key = (flow.product.clone(), name.to_owned());
                self.proposal
                    .options
                    .get(&key)
                    .is_some_and(|it| it.value == value)
            })
        };
        match &flow.standing {
            Standing::Options(lines) => lines.iter().all(said),
            _ => flow.holds(),
        }
    }

    /// Turns on what a flow hangs on, where there is no doubt what that is.
    fn options(&mut self, flow: &Flow, sight: &Sight, near: &[Documented]) {
        let to_somebody = !sight.to_group || flow.incoming;
        if !to_somebody || near.iter().any(|it| self.holds(it)) {
            return;
        }
        let ways: BTreeSet<(&String, &Vec<String>)> = near
            .iter()
            .filter_map(|it| match &it.standing {
                Standing::Options(lines) => Some((&it.product, lines)),
                _ => None,
            })
            .collect();
        let ways: Vec<_> = ways.into_iter().collect();
        let [(product, lines)] = ways.as_slice() else {
            return;
        };
        if !lines.iter().all(|line| self.may_say(product, line)) {
            return;
        }
        for (name, value) in lines.iter().filter_map(|line| option(line)) {
            let key = ((*product).clone(), name.to_owned());
            let say = self.proposal.options.entry(key).or_default();
            say.value = value.to_owned();
            say.peers.insert(flow.peer);
            say.rows.extend(near.iter().map(|it| it.row.clone()));
        }
    }

    /// Turning on is proposed, and a choice where none was made; what was said otherwise on purpose is asked.
    fn may_say(&self, product: &str, line: &str) -> bool {
        let Some((name, value)) = option(line) else {
            return false;
        };
        let config = self.said.config.as_ref();
        let found = config.and_then(|it| it.products.iter().find(|it| it.name == product));
        let unsaid = found.is_some_and(|it| it.options.get(name).is_none());
        value == "true" || (value.starts_with('"') && unsaid)
    }

    /// Binds a peer to the roles that account for what it did.
    fn bind(
        &mut self,
        peer: IpAddr,
        flows: &[Near<'a>],
        documented: &mut BTreeSet<Flow>,
        rest: &mut Vec<Near<'a>>,
    ) {
        let mut by_product: BTreeMap<String, Vec<(Flow, Vec<Documented>)>> = BTreeMap::new();
        for (flow, sight, near) in flows {
            let fits: Vec<Documented> = near.iter().filter(|it| self.holds(it)).cloned().collect();
            match fits.first() {
                // A group's address is nobody's.
                Some(first) if flow.incoming || !sight.to_group => {
                    let product = first.product.clone();
                    let fits = fits
                        .into_iter()
                        .filter(|it| it.product == product)
                        .collect();
                    by_product.entry(product).or_default().push((**flow, fits));
                }
                _ => rest.push((flow, sight, near.clone())),
            }
        }
        for (product, flows) in by_product {
            let played = self.understood.knowledge.played(&product, peer);
            let free: BTreeSet<String> = played.into_iter().map(str::to_owned).collect();
            let demands: Vec<BTreeSet<String>> = flows
                .iter()
                .map(|(_, fits)| fits.iter().flat_map(|it| it.others.clone()).collect())
                .collect();
            let seen = flows
                .iter()
                .flat_map(|(_, fits)| fits)
                .map(opening)
                .collect();
            let roles = choose::roles(&demands, &free, &self.openings(&product), &seen);
            for (flow, fits) in &flows {
                documented.insert(*flow);
                for role in &roles {
                    let rows = fits.iter().filter(|it| it.others.contains(role));
                    let key = (product.clone(), role.clone());
                    let bind = self.proposal.bind.entry(key).or_default();
                    bind.peers.insert(peer);
                    bind.rows.extend(rows.map(|it| it.row.clone()));
                }
            }
        }
    }

    /// What each role of a product opens.
    fn openings(&self, product: &str) -> Openings {
        let mut openings = Openings::new();
        let flows = self.documented.iter();
        for flow in flows.filter(|it| it.product == product && self.holds(it)) {
            for role in &flow.others {
                openings
                    .entry(role.clone())
                    .or_default()
                    .insert(opening(flow));
            }
        }
        openings
    }

    /// Roles that the options ask for, and that are neither said nor bound.
    fn nobody(&mut self) {
        let hang = self.documented.iter();
        let hang = hang.filter(|it| matches!(it.standing, Standing::Options(_)) && self.holds(it));
        let mut nobody = BTreeSet::new();
        for flow in hang {
            let said = self.understood.knowledge.said_of(&flow.product);
            for role in &flow.others {
                let key = (flow.product.clone(), role.clone());
                if !said.contains(&role.as_str()) && !self.proposal.bind.contains_key(&key) {
                    nobody.insert(key);
                }
            }
        }
        self.proposal.nobody = nobody;
    }

    /// Ports that a service has left: one port of a role that the peer plays, and nothing at the place where it is documented. Gives back
    /// what is something else.
    fn moved_ports(
        &mut self,
        flows: Vec<Near<'a>>,
        documented: &mut BTreeSet<Flow>,
    ) -> Vec<Near<'a>> {
        let found: Vec<_> = flows
            .iter()
            .map(
                |(flow, sight, near)| match near.is_empty() && !sight.to_group {
                    true => self.moved_port(flow),
                    false => None,
                },
            )
            .collect();
        // A port that two flows would move to different places is moved to neither.
        let mut places: BTreeMap<&(String, String), BTreeSet<u16>> = BTreeMap::new();
        for (moved, (flow, _, _)) in found.iter().zip(&flows) {
            if let Some((key, _)) = moved {
                places.entry(key).or_default().insert(flow.port);
            }
        }
        let sure = |key: &(String, String)| places.get(key).is_some_and(|it| it.len() == 1);
        let mut rest = Vec::new();
        for (moved, (flow, sight, near)) in found.iter().zip(flows) {
            match moved {
                Some((key, row)) if sure(key) => {
                    let say = self.proposal.ports.entry(key.clone()).or_default();
                    say.value = flow.port.to_string();
                    say.rows.insert(row.clone());
                    say.peers.insert(flow.peer);
                    documented.insert(*flow);
                }
                _ => rest.push((flow, sight, near)),
            }
        }
        rest
    }

    fn moved_port(&self, flow: &Flow) -> Option<((String, String), RowId)> {
        let tcp = match flow.transport {
            Transport::Tcp => true,
            Transport::Udp => false,
            _ => return None,
        };
        let carrier = if tcp { Carrier::Tcp } else { Carrier::Udp };
        let listens = |port: u16| {
            let listeners = self.facts.listeners.iter().flatten();
            let word = if tcp { "tcp" } else { "udp" };
            listeners
                .filter(|it| !it.address.is_loopback())
                .any(|it| it.port == port && it.transport == word)
        };
        let in_use = |port: u16| {
            let flows = self.seen.flows.keys();
            let alike = flows.filter(|it| {
                (it.incoming, it.transport, it.port) == (flow.incoming, flow.transport, port)
            });
            // Of this host's own services nobody uses the documented port; of a peer's, not this one.
            alike
                .into_iter()
                .any(|it| it.incoming || it.peer == flow.peer)
        };
        let mut found: BTreeMap<(String, String), RowId> = BTreeMap::new();
        for it in &self.documented {
            let plays = it
                .others
                .iter()
                .any(|role| self.plays(&it.product, role, flow.peer));
            let fits = it.direction == flow.direction() && it.carrier == carrier && !it.to_group;
            if !fits || !plays || !self.holds(it) {
                continue;
            }
            for (name, ranges) in &it.named {
                let [range] = ranges.as_slice() else { continue };
                let listened = listens(range.first) || !listens(flow.port);
                let counted = self.used.is_some_and(|rows| rows.contains_key(&it.row));
                let still = in_use(range.first)
                    || match it.direction {
                        Direction::Ingress => listened,
                        Direction::Egress => counted,
                    };
                if range.first == range.last && !still {
                    found.insert((it.product.clone(), name.clone()), it.row.clone());
                }
            }
        }
        let mut found = found.into_iter();
        match (found.next(), found.next()) {
            (one, None) => one,
            _ => None,
        }
    }

    fn plays(&self, product: &str, role: &str, peer: IpAddr) -> bool {
        let key = (product.to_owned(), role.to_owned());
        let proposed = self.proposal.bind.get(&key);
        proposed.is_some_and(|it| it.peers.contains(&peer))
            || self
                .understood
                .knowledge
                .played(product, peer)
                .contains(&role)
    }

    fn ask(&self, flow: &Flow, sight: &Sight, near: &[Documented]) -> Asked {
        let verdict = sight.probe.judge(&self.understood.host);
        let question = sight.probe.question(verdict, sight.last);
        let explanation = self.understood.knowledge.explain(&question);
        let listeners = self.facts.listeners.iter().flatten();
        let word = flow.transport.to_string();
        let mut here = listeners.filter(|it| it.port == flow.port && it.transport == word);
        let program = here.find_map(|it| it.program.clone());
        let question = match explanation.kind {
            Kind::Option if near.len() > 1 => "which of these is in use here?",
            Kind::Option => "is it used here?",
            Kind::Version => "is the version that the configuration names out of date?",
            Kind::Topology => "is the product installed that way here?",
            Kind::Skipped => "does the reason for leaving it out still hold?",
            Kind::Expired => "is it still needed?",
            Kind::Peer => "may it?",
            Kind::HostOnly => "why does it leave the host?",
            Kind::Direction => "does this host play the other role, too?",
            Kind::Transport | Kind::NeighbourPort => "is its sender configured as it should be?",
            Kind::MovedPort => "was the service moved, or its user not told?",
            Kind::OtherProduct => "does that product run here?",
            Kind::Blocked | Kind::None => "what is it for, and is it meant?",
        };
        Asked {
            flow: *flow,
            sight: sight.clone(),
            kind: explanation.kind,
            text: explanation.text,
            question: question.to_owned(),
            remedy: explanation.remedy,
            near: explanation.near_rows,
            program: program.filter(|_| flow.incoming),
        }
    }

    /// Rows that hold, and that nobody used: no flow was seen of them, and no counter has them.
    fn never(&mut self, seen: &BTreeSet<Flow>) {
        let mut used: BTreeSet<RowId> = self
            .used
            .into_iter()
            .flat_map(BTreeMap::keys)
            .cloned()
            .collect();
        for flow in seen {
            if let Some(sight) = self.seen.flows.get(flow) {
                used.extend(self.near(flow, sight).into_iter().map(|it| it.row));
            }
        }
        for say in self.proposal.ports.values() {
            used.extend(say.rows.iter().cloned());
        }
        let mut never: Vec<Never> = Vec::new();
        for flow in &self.documented {
            if used.contains(&flow.row) || !self.holds(flow) {
                continue;
            }
            let place = never.iter().position(|it| it.row == flow.row);
            let place = place.unwrap_or_else(|| {
                never.push(Never {
                    row: flow.row.clone(),
                    service: flow.service.clone(),
                    what: Vec::new(),
                    others: Vec::new(),
                });
                never.len() - 1
            });
            if let Some(row) = never.get_mut(place) {
                let ports: Vec<String> = flow.ports.iter().map(ToString::to_string).collect();
                let what = format!("{} {}", flow.carrier, ports.join(", "));
                add(&mut row.what, what.trim_end().to_owned());
                for role in &flow.others {
                    add(&mut row.others, role.clone());
                }
            }
        }
        self.proposal.never = never;
    }
}

fn add(list: &mut Vec<String>, word: String) {
    if !list.contains(&word) {
        list.push(word);
    }
}

/// The option and the value of `options.NAME = VALUE`.
fn option(line: &str) -> Option<(&str, &str)> {
    line.strip_prefix("options.")?.split_once(" = ")
}

/// A name for what a flow opens: direction, transport, ports.
fn opening(flow: &Documented) -> String {
    let ports: Vec<String> = flow.ports.iter().map(ToString::to_string).collect();
    format!("{:?} {} {}", flow.direction, flow.carrier, ports.join(" "))
}
