//! The kinds in their order, each asked whether it fits.

use agent_common::event::Direction;
use agent_common::net::tcp;
use agent_common::verdict::{Action, Reason};

use super::knowledge::{Knowledge, KnownFlow, KnownRule, State, admits, carrier, places};
use super::remedy;
use super::words::{distinct, label, peer_word, seen, service, some, toward};
use super::{Explanation, Question, packet};
use crate::events::aggregate::Merged;
use crate::events::decode::Transport;
use crate::events::fields::direction_name;
use crate::events::kinds::Kind;
use crate::policy::Transport as Carrier;
use crate::rule::{DefaultAction, Precedence, RowId};

impl Knowledge {
    /// Why the packet was denied, and what to do about it.
    pub fn explain(&self, question: &Question) -> Explanation {
        if let Some(explanation) = packet::explain(question) {
            return explanation;
        }
        let asked = Asked::new(self, question);
        let group = question.reason == Reason::Group;
        let mut explanation = if group {
            let fits = asked.not_yet();
            fits.unwrap_or_else(|| packet::to_a_group(question))
        } else {
            asked.first_that_fits()
        };
        if question.audited {
            explanation.rows = asked.audit_rules();
        }
        if question.reason == Reason::Ended {
            explanation.text = format!("an earlier policy let it begin; now: {}", explanation.text);
        }
        explanation
    }

    /// The question that merged denials ask; `generation` is that of the policy which this knowledge is of.
    ///
    /// A packet that looks like an answer, because it goes to a port that this host's own questions come from, is none where a rule or a row
    /// names that port for a service.
    pub fn question(&self, merged: &Merged, generation: u32) -> Question {
        let denial = &merged.denial;
        let mut asked = merged.asked;
        let begins = denial.tcp_flags.is_some_and(|flags| flags & tcp::SYN != 0);
        if let (true, false, Some(port)) = (asked.answers, begins, denial.destination_port)
            && self.names(denial.direction, denial.transport, port)
        {
            asked = super::Asked {
                port,
                answers: false,
            };
        }
        Question {
            direction: denial.direction,
            transport: denial.transport,
            peer: denial.peer(),
            asked,
            reason: denial.reason,
            audited: denial.action == Action::Audit,
            rule: denial.rule.filter(|_| denial.generation == generation),
            time: denial.time,
        }
    }

    /// Whether a rule or a row of a selected product names the port for a service.
    pub(crate) fn names(&self, direction: Direction, transport: Transport, port: u16) -> bool {
        let by_rule = places(direction, transport, port)
            .into_iter()
            .flat_map(|(plane, port)| self.index.at(plane, port))
            .filter_map(|index| self.rules.get(index))
            .any(|rule| matches!(rule.precedence, Precedence::Failsafe | Precedence::Allow));
        let by_row = || {
            self.flows.iter().any(|flow| {
                Some(flow.carrier) == carrier(transport)
                    && !matches!(flow.state, State::OtherProduct | State::OtherRole)
                    && flow.goes(direction)
                    && flow.has(port)
            })
        };
        by_rule || by_row()
    }

    /// What a rule is cited by, by its index in verdicts: its rows, or its id where it comes from no product.
    pub fn cited(&self, index: u16) -> Vec<RowId> {
        self.rules
            .get(usize::from(index))
            .map(ids)
            .unwrap_or_default()
    }

    /// The id of a rule by its index in events.
    pub fn rule_id(&self, index: u16) -> Option<&str> {
        self.rules
            .get(usize::from(index))
            .map(|rule| rule.id.as_str())
    }
}

/// A question, with what is asked again and again.
pub(super) struct Asked<'a> {
    pub(super) knowledge: &'a Knowledge,
    pub(super) question: &'a Question,
    /// Which way the flow began.
    pub(super) began: Direction,
    pub(super) port: u16,
    /// What rows call the transport.
    pub(super) carrier: Option<Carrier>,
    /// The rules with this port, in the order of judgement.
    rules: Vec<&'a KnownRule>,
}

impl<'a> Asked<'a> {
    fn new(knowledge: &'a Knowledge, question: &'a Question) -> Self {
        let port = question.asked.port;
        let began = question.began();
        let found = places(began, question.transport, port)
            .into_iter()
            .flat_map(|(plane, port)| knowledge.index.at(plane, port));
        Self {
            knowledge,
            question,
            began,
            port,
            carrier: carrier(question.transport),
            rules: distinct(found)
                .into_iter()
                .filter_map(|index| knowledge.rules.get(index))
                .collect(),
        }
    }

    fn first_that_fits(&self) -> Explanation {
        // An answer is near its own flow or the same port the other way, not the rows of features that nobody asked for. One whose flow was
        // cut by a new policy is near whatever opened that.
        if self.question.asked.answers && self.question.reason == Reason::NoRule {
            let fits = self.admitted().or_else(|| self.direction());
            return fits.unwrap_or_else(|| self.none());
        }
        let fits = self
            .blocked()
            .or_else(|| self.admitted())
            .or_else(|| self.expired())
            .or_else(|| self.peer())
            .or_else(|| self.not_yet())
            .or_else(|| self.host_only())
            .or_else(|| self.direction())
            .or_else(|| self.transport())
            .or_else(|| self.moved_port())
            .or_else(|| self.neighbour_port())
            .or_else(|| self.other_product())
            .or_else(|| self.other_role());
        fits.unwrap_or_else(|| self.none())
    }

    /// A row of this host has the port, but something said here keeps it closed.
    fn not_yet(&self) -> Option<Explanation> {
        self.skipped()
            .or_else(|| self.option())
            .or_else(|| self.version())
            .or_else(|| self.topology())
    }

    pub(super) fn answer(&self, kind: Kind, expected: Option<String>, text: String) -> Explanation {
        Explanation {
            kind,
            packet: false,
            expected,
            seen: seen(self.question),
            text,
            condition: None,
            remedy: String::new(),
            step: String::new(),
            rows: Vec::new(),
            near_rows: Vec::new(),
        }
    }

    pub(super) fn service(&self) -> String {
        service(self.question.transport, self.port)
    }

    /// `ingress tcp/443 from print-client`.
    pub(super) fn expected(&self, others: &str) -> Option<String> {
        let direction = direction_name(self.began);
        Some(format!(
            "{direction} {} {}",
            self.service(),
            toward(self.began, others)
        ))
    }

    /// The flows of selected products with this transport that concern this host, for one direction.
    pub(super) fn flows(&self, direction: Direction) -> impl Iterator<Item = &'a KnownFlow> {
        let wanted = self.carrier;
        self.knowledge.flows.iter().filter(move |flow| {
            Some(flow.carrier) == wanted
                && !matches!(flow.state, State::OtherProduct | State::OtherRole)
                && flow.goes(direction)
        })
    }

    /// Those with this port (or without ports) in a state. What was sent to a group is near what is sent to groups.
    pub(super) fn in_state(&self, wanted: fn(&State) -> bool) -> Vec<&'a KnownFlow> {
        let to_group = self.question.reason == Reason::Group;
        self.flows(self.began)
            .filter(|flow| wanted(&flow.state) && self.names_port(flow))
            .filter(|flow| flow.via_group || !to_group)
            .collect()
    }

    pub(super) fn names_port(&self, flow: &KnownFlow) -> bool {
        matches!(flow.carrier, Carrier::Protocol(_)) || flow.has(self.port)
    }

    fn blocked(&self) -> Option<Explanation> {
        if self.question.reason != Reason::Block {
            return None;
        }
        let peer = peer_word(self.question.peer);
        let decided = self
            .question
            .rule
            .and_then(|index| self.knowledge.rules.get(usize::from(index)));
        let both = [Direction::Ingress, Direction::Egress].into_iter();
        let by_peer = || {
            both.flat_map(|way| places(way, self.question.transport, self.port))
                .flat_map(|(plane, port)| self.knowledge.index.at(plane, port))
                .filter_map(|index| self.knowledge.rules.get(index))
                .find(|rule| {
                    rule.precedence == Precedence::Block && admits(&rule.peers, self.question.peer)
                })
        };
        let rule = decided
            .filter(|rule| rule.precedence == Precedence::Block)
            .or_else(by_peer);
        let id = rule.map_or("a block list", |rule| rule.id.as_str());
        let mut answer = self.answer(
            Kind::Blocked,
            None,
            format!("{id} blocks {peer} in both directions"),
        );
        answer.remedy = format!(
            "nothing, it is meant; to admit {peer}, take it out of [{}]",
            id.replace('/', ".")
        );
        answer.step = "nothing, it is meant".to_owned();
        answer.rows = rule.map(|rule| rule.id.clone()).into_iter().collect();
        answer.near_rows = answer.rows.clone();
        Some(answer)
    }

    /// The policy in force admits the flow: the packet is an answer that came too late, or an older policy denied it.
    fn admitted(&self) -> Option<Explanation> {
        let rule = self.rules.iter().find(|rule| {
            matches!(rule.precedence, Precedence::Failsafe | Precedence::Allow)
                && !rule.to_groups
                && admits(&rule.peers, self.question.peer)
        });
        let default = self.knowledge.defaults[usize::from(self.began == Direction::Egress)];
        let open = default != DefaultAction::Deny && self.question.asked.answers;
        if rule.is_none() && !open {
            return None;
        }
        let near = rule.map(|rule| ids(rule)).unwrap_or_default();
        let of_rule = rule.into_iter().flat_map(|rule| &rule.flows);
        let flows: Vec<&KnownFlow> = of_rule
            .filter_map(|&place| self.knowledge.flows.get(place))
            .collect();
        let by = match (flows.is_empty(), near.first()) {
            (false, _) => label(&flows),
            (true, Some(rule)) => rule.clone(),
            (true, None) => "the default".to_owned(),
        };
        let (text, remedy) = if self.question.asked.answers {
            (
                format!(
                    "an answer to no known question: {by} admits the flow, but nobody asked, or too long ago"
                ),
                "nothing, unless there are many: then look for a slow or restarted service",
            )
        } else {
            (
                format!("{by} admits it now; an earlier policy denied this packet"),
                "nothing, what is sent again passes",
            )
        };
        let mut answer = self.answer(Kind::None, None, text);
        answer.remedy = remedy.to_owned();
        answer.step = "nothing".to_owned();
        answer.near_rows = near;
        Some(answer)
    }

    fn expired(&self) -> Option<Explanation> {
        let asked = places(self.began, self.question.transport, self.port);
        let over: Vec<_> = self
            .knowledge
            .expired
            .iter()
            .filter(|allow| admits(&allow.peers, self.question.peer))
            .filter(|allow| {
                let mut places = allow.places.iter();
                places.any(|(plane, range)| {
                    asked
                        .iter()
                        .any(|(at, port)| at == plane && range.contains(port))
                })
            })
            .collect();
        let first = over.first()?;
        let mut answer = self.answer(
            Kind::Expired,
            self.expected(&format!(
                "{} until {}",
                peer_word(self.question.peer),
                first.ended
            )),
            format!("{} ({}) ended on {}", first.id, first.reason, first.ended),
        );
        answer.remedy = format!(
            "expires = {} # under [allow.{}], if it is still needed; else remove that table",
            remedy::new_end(self.question.time),
            first.name
        );
        answer.step = format!("a new `expires` under [allow.{}], or remove it", first.name);
        answer.near_rows = over.iter().map(|allow| allow.id.clone()).collect();
        Some(answer)
    }

    fn peer(&self) -> Option<Explanation> {
        let peer = self.question.peer?;
        // A packet to a group is near the rules that name groups: the programs say which by the rule that they came nearest to.
        let nearest = self.question.rule.map(usize::from);
        let to_group = nearest
            .and_then(|index| self.knowledge.rules.get(index))
            .is_some_and(|rule| rule.to_groups);
        let rules: Vec<&KnownRule> = self
            .rules
            .iter()
            .copied()
            .filter(|rule| {
                matches!(rule.precedence, Precedence::Failsafe | Precedence::Allow)
                    && rule.to_groups == to_group
            })
            .collect();
        let unbound = self.in_state(|state| *state == State::Unbound);
        let of_rules = rules.iter().flat_map(|rule| &rule.flows);
        let mut flows: Vec<&KnownFlow> = of_rules
            .filter_map(|&place| self.knowledge.flows.get(place))
            .filter(|flow| self.names_port(flow))
            .collect();
        flows.extend(&unbound);
        let near = distinct(
            rules
                .iter()
                .flat_map(|rule| ids(rule))
                .chain(unbound.iter().map(|flow| flow.row.clone())),
        );
        // A role of strangers before one that this host plays itself.
        let likely = flows.iter().find(|flow| {
            remedy::role_of(flow, self.began).is_some_and(|role| flow.is_strange(role))
        });
        let written = match likely.or(flows.first()) {
            Some(flow) => {
                let role = remedy::role_of(flow, self.began)?;
                remedy::written(self.knowledge, &flow.product, role)
            }
            None => rules.first()?.written.clone()?,
        };
        let admitted = if flows.is_empty() {
            written.entries.clone()
        } else {
            distinct(
                flows
                    .iter()
                    .flat_map(|flow| flow.others(self.began))
                    .cloned(),
            )
        };
        let subject = if flows.is_empty() {
            near.first().cloned().unwrap_or_default()
        } else {
            label(&flows)
        };
        let mut answer = self.answer(
            Kind::Peer,
            self.expected(&some(&admitted)),
            format!(
                "{subject} is open to {} only; {peer} {}",
                some(&admitted),
                self.standing()
            ),
        );
        let role = likely.or(flows.first());
        answer.condition = Some(
            match role.and_then(|flow| remedy::role_of(flow, self.began)) {
                Some(role) => format!("if it is {role}"),
                None => "if it may".to_owned(),
            },
        );
        answer.remedy = remedy::add(&written, peer);
        answer.step = format!("add it to {} under [{}]", written.key, written.table);
        answer.near_rows = near;
        Some(answer)
    }

    /// Which roles the peer plays: `plays no role here`, `plays api-client`.
    fn standing(&self) -> String {
        let bound = self.knowledge.bindings.iter();
        let roles = distinct(
            bound
                .filter(|it| it.peers != crate::rule::Peers::Any)
                .filter(|it| admits(&it.peers, self.question.peer))
                .map(|it| it.role.clone()),
        );
        if roles.is_empty() {
            "plays no role here".to_owned()
        } else {
            format!("plays {}", some(&roles))
        }
    }

    fn none(&self) -> Explanation {
        if self.question.asked.answers {
            let mut answer = self.answer(
                Kind::None,
                None,
                format!(
                    "an answer to a question that no rule lets be asked: {} {}",
                    direction_name(self.began),
                    self.service()
                ),
            );
            answer.remedy = "nothing, nobody asked".to_owned();
            answer.step = answer.remedy.clone();
            return answer;
        }
        let mut answer = self.answer(
            Kind::None,
            None,
            format!(
                "nothing documents {} {}",
                direction_name(self.began),
                self.service()
            ),
        );
        let allow = self
            .question
            .peer
            .and_then(|peer| remedy::allow(self.began, self.question.transport, self.port, peer));
        let echo = matches!(
            self.question.transport,
            Transport::Icmp(8, _) | Transport::Icmpv6(128, _)
        );
        answer.remedy = match (allow, self.question.peer) {
            (Some(line), _) => format!("nothing, unless it is meant: {line}"),
            (None, Some(peer)) if echo => {
                let way = match self.began {
                    Direction::Ingress => "in",
                    Direction::Egress => "out",
                };
                format!(
                    "nothing, unless it is meant: icmp-echo.{way} = [\"{peer}\"] # under [baseline]"
                )
            }
            _ => "nothing, no key opens it".to_owned(),
        };
        answer.step = "nothing, unless it is meant: an [allow] with a reason".to_owned();
        answer
    }

    fn audit_rules(&self) -> Vec<RowId> {
        let audits = self
            .rules
            .iter()
            .filter(|rule| rule.precedence == Precedence::AuditStage);
        audits.map(|rule| rule.id.clone()).collect()
    }
}

/// What a rule is cited by: its rows where a product's, else its id.
fn ids(rule: &KnownRule) -> Vec<RowId> {
    if rule.flows.is_empty() {
        vec![rule.id.clone()]
    } else {
        rule.rows.clone()
    }
}
