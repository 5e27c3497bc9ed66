//! The kinds that are judged over documented rows.

use agent_common::event::Direction;

use super::Explanation;
use super::knowledge::{KnownFlow, Need, State};
use super::rank::Asked;
use super::remedy;
use super::words::{distinct, label, ports, some, toward};
use crate::events::decode::Transport;
use crate::events::fields::direction_name;
use crate::events::kinds::Kind;
use crate::policy::{PortRange, Transport as Carrier};
use crate::rule::RowId;

impl Asked<'_> {
    pub(super) fn skipped(&self) -> Option<Explanation> {
        let flows = self.in_state(|state| matches!(state, State::Skipped(_)));
        let first = flows.first()?;
        let State::Skipped(reason) = &first.state else {
            return None;
        };
        let short = first
            .row
            .split_once('/')
            .map_or(first.row.as_str(), |(_, short)| short);
        let mut answer = self.answer(
            Kind::Skipped,
            self.expected(&some(first.others(self.began))),
            format!("{} is left out here: {reason}", label(&flows)),
        );
        answer.remedy = format!(
            "nothing, if that reason holds; else remove \"{short}\" from [product.{}.skip]",
            first.product
        );
        answer.step = answer.remedy.clone();
        answer.near_rows = rows(&flows);
        Some(answer)
    }

    pub(super) fn option(&self) -> Option<Explanation> {
        let flows = self.in_state(|state| matches!(state, State::Option(_)));
        let first = flows.first()?;
        let State::Option(needs) = &first.state else {
            return None;
        };
        Some(self.needs(Kind::Option, &flows, first, needs))
    }

    pub(super) fn version(&self) -> Option<Explanation> {
        let flows = self.in_state(|state| matches!(state, State::Version(_)));
        let first = flows.first()?;
        let State::Version(needs) = &first.state else {
            return None;
        };
        Some(self.needs(Kind::Version, &flows, first, needs))
    }

    pub(super) fn topology(&self) -> Option<Explanation> {
        let flows = self.in_state(|state| matches!(state, State::Topology(_)));
        let first = flows.first()?;
        let State::Topology(need) = &first.state else {
            return None;
        };
        Some(self.needs(Kind::Topology, &flows, first, std::slice::from_ref(need)))
    }

    /// A row that hangs on something that the configuration does not say.
    fn needs(
        &self,
        kind: Kind,
        flows: &[&KnownFlow],
        first: &KnownFlow,
        needs: &[Need],
    ) -> Explanation {
        let joined = |of: fn(&Need) -> &str| -> String {
            let words: Vec<&str> = needs.iter().map(of).collect();
            words.join(" and ")
        };
        let lines = joined(|need| &need.line);
        let mut answer = self.answer(
            kind,
            self.expected(&format!("{} with {lines}", some(first.others(self.began)))),
            format!("{} {}", label(flows), joined(|need| &need.words)),
        );
        answer.condition = Some(
            match kind {
                Kind::Version => "if that is out of date",
                Kind::Topology => "if this host has it",
                _ if lines.contains('"') => "if it should be",
                _ => "if it is used here",
            }
            .to_owned(),
        );
        answer.remedy = remedy::line(
            self.knowledge,
            needs.iter().map(|need| need.line.as_str()),
            first,
            self.began,
            self.question.peer,
        );
        answer.step = remedy::lines(&first.product, needs.iter().map(|need| need.line.as_str()));
        answer.near_rows = rows(flows);
        answer
    }

    pub(super) fn host_only(&self) -> Option<Explanation> {
        let flows = self.in_state(|state| matches!(state, State::HostOnly(_)));
        let first = flows.first()?;
        let State::HostOnly(why) = &first.state else {
            return None;
        };
        let mut answer = self.answer(
            Kind::HostOnly,
            Some(format!("{} inside the host", self.service())),
            format!("{} stays inside a host: {why}", label(&flows)),
        );
        answer.remedy =
            "nothing here, what uses it runs on the same host and should be told the loopback address".to_owned();
        answer.step = "nothing here, the sender should use loopback".to_owned();
        answer.near_rows = rows(&flows);
        Some(answer)
    }

    pub(super) fn direction(&self) -> Option<Explanation> {
        let back = match self.began {
            Direction::Ingress => Direction::Egress,
            Direction::Egress => Direction::Ingress,
        };
        let flows = nearest(self.flows(back).filter(|flow| self.names_port(flow)));
        let first = flows.first()?;
        let mut answer = self.answer(
            Kind::Direction,
            Some(format!(
                "{} {} {}",
                direction_name(back),
                self.service(),
                toward(back, &some(first.others(back)))
            )),
            match back {
                Direction::Ingress => format!(
                    "{} is documented the other way only, from {} to this host",
                    label(&flows),
                    some(first.others(back))
                ),
                Direction::Egress => format!(
                    "{} is documented the other way only, from this host to {}",
                    label(&flows),
                    some(first.others(back))
                ),
            },
        );
        answer.remedy = format!(
            "nothing, unless this host plays the other role: then correct `roles` under [product.{}]",
            first.product
        );
        answer.step = "nothing, if the roles are right".to_owned();
        answer.near_rows = rows(&flows);
        Some(answer)
    }

    pub(super) fn transport(&self) -> Option<Explanation> {
        let other = match self.carrier? {
            Carrier::Tcp => Carrier::Udp,
            Carrier::Udp => Carrier::Tcp,
            Carrier::Protocol(_) => return None,
        };
        let flows = nearest(self.knowledge.flows.iter().filter(|flow| {
            flow.carrier == other
                && !matches!(flow.state, State::OtherProduct | State::OtherRole)
                && flow.goes(self.began)
                && flow.has(self.port)
        }));
        let first = flows.first()?;
        let port = self.port;
        let mut answer = self.answer(
            Kind::Transport,
            Some(format!(
                "{} {other}/{port} {}",
                direction_name(self.began),
                toward(self.began, &some(first.others(self.began)))
            )),
            format!(
                "{} is documented on {other}/{port}, not on {}",
                label(&flows),
                self.question.transport
            ),
        );
        answer.remedy = if self.question.transport == Transport::Udp && port == 443 {
            "nothing, HTTP/3 tries udp/443 first and falls back to tcp/443".to_owned()
        } else {
            format!("nothing here, the sender should use {other}/{port}")
        };
        answer.step = answer.remedy.clone();
        answer.near_rows = rows(&flows);
        Some(answer)
    }

    pub(super) fn moved_port(&self) -> Option<Explanation> {
        let here = |flow: &&KnownFlow| {
            flow.moved
                .iter()
                .any(|(_, range)| range.contains(self.port))
        };
        let flows = nearest(self.flows(self.began).filter(here));
        let first = flows.first()?;
        let (name, default) = first
            .moved
            .iter()
            .find(|(_, range)| range.contains(self.port))?;
        let in_force = ports(&first.ports);
        let mut answer = self.answer(
            Kind::MovedPort,
            Some(format!(
                "{} {}/{in_force} {}",
                direction_name(self.began),
                first.carrier,
                toward(self.began, &some(first.others(self.began)))
            )),
            format!(
                "{} is on {in_force} here, {default} is the vendor's default",
                label(&flows)
            ),
        );
        answer.remedy = format!(
            "the sender should use {in_force}; if the service was not moved: {name} = {} # under [product.{}.ports]",
            toml_port(*default),
            first.product
        );
        answer.step = format!("the sender should use {in_force}");
        answer.near_rows = rows(&flows);
        Some(answer)
    }

    pub(super) fn neighbour_port(&self) -> Option<Explanation> {
        let beside = |range: &&PortRange| {
            range.first.checked_sub(1) == Some(self.port)
                || range.last.checked_add(1) == Some(self.port)
        };
        let near = |flow: &&KnownFlow| flow.ports.iter().any(|range| beside(&range));
        let flows = nearest(self.flows(self.began).filter(near));
        let first = flows.first()?;
        let range = first.ports.iter().find(beside)?;
        let mut answer = self.answer(
            Kind::NeighbourPort,
            Some(format!(
                "{} {}/{range} {}",
                direction_name(self.began),
                first.carrier,
                toward(self.began, &some(first.others(self.began)))
            )),
            format!(
                "{} is not documented; {} is on {range}",
                self.service(),
                label(&flows)
            ),
        );
        answer.remedy = format!("nothing here, if {range} is meant correct the port in the sender");
        answer.step = answer.remedy.clone();
        answer.near_rows = rows(&flows);
        Some(answer)
    }

    pub(super) fn other_product(&self) -> Option<Explanation> {
        let ends = |flow: &KnownFlow| match self.began {
            Direction::Ingress => !flow.to.is_empty(),
            Direction::Egress => !flow.from.is_empty(),
        };
        let flows: Vec<&KnownFlow> = self
            .knowledge
            .flows
            .iter()
            .filter(|flow| {
                flow.state == State::OtherProduct
                    && Some(flow.carrier) == self.carrier
                    && self.names_port(flow)
                    && ends(flow)
            })
            .collect();
        let first = flows.first()?;
        let role = match self.began {
            Direction::Ingress => first.to.first(),
            Direction::Egress => first.from.first(),
        }?;
        let products = distinct(flows.iter().map(|flow| flow.product.clone()));
        let verb = if products.len() == 1 { "is" } else { "are" };
        let mut answer = self.answer(
            Kind::OtherProduct,
            self.expected(&some(first.others(self.began))),
            format!(
                "it is documented as {} of {}, which {verb} not selected here",
                label(&flows),
                some(&products)
            ),
        );
        answer.remedy = format!(
            "nothing, unless it runs here: then `portcullis init {} --role {role}` writes its table",
            first.product
        );
        answer.step = format!("if it runs here: portcullis init {}", first.product);
        answer.near_rows = rows(&flows);
        Some(answer)
    }

    /// Documented by a selected product, but for roles that this host does not play.
    pub(super) fn other_role(&self) -> Option<Explanation> {
        let flows: Vec<&KnownFlow> = self
            .knowledge
            .flows
            .iter()
            .filter(|flow| {
                flow.state == State::OtherRole
                    && Some(flow.carrier) == self.carrier
                    && self.names_port(flow)
            })
            .collect();
        let first = flows.first()?;
        let own_end = match self.began {
            Direction::Ingress => &first.to,
            Direction::Egress => &first.from,
        };
        let role = some(own_end);
        let mut answer = self.answer(
            Kind::None,
            None,
            format!(
                "it is documented as {} for {role}, which this host does not play",
                label(&flows)
            ),
        );
        answer.remedy = format!(
            "nothing, unless this host plays {role}: then add it to `roles` under [product.{}]",
            first.product
        );
        answer.step = "nothing, if the roles are right".to_owned();
        answer.near_rows = rows(&flows);
        Some(answer)
    }
}

fn rows(flows: &[&KnownFlow]) -> Vec<RowId> {
    distinct(flows.iter().map(|flow| flow.row.clone()))
}

/// Of flows that are equally near, those of the topologies in force; the others where there are none.
fn nearest<'a>(flows: impl Iterator<Item = &'a KnownFlow>) -> Vec<&'a KnownFlow> {
    let (elsewhere, here): (Vec<_>, Vec<_>) =
        flows.partition(|flow| matches!(flow.state, State::Topology(_)));
    if here.is_empty() { elsewhere } else { here }
}

fn toml_port(range: PortRange) -> String {
    if range.first == range.last {
        range.first.to_string()
    } else {
        format!("\"{range}\"")
    }
}
