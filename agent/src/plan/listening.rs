//! The plan against the sockets that listen: who reaches each, and which documented port nobody
//! serves.

use agent_common::event::Direction;
use serde_json::{Value, json};

use super::Plan;
use crate::facts::Listener;
use crate::rule::{DefaultAction, Peers, Precedence, Rule, Service};

/// A socket that others could reach, and the rules that admit them.
pub struct Heard<'a> {
    /// The socket.
    pub listener: &'a Listener,
    /// Rules that let somebody in, in the order of judgement.
    pub rules: Vec<&'a Rule>,
}

/// A rule's port at which nothing listens.
pub struct Unheard<'a> {
    /// The rule, of a product or an `allow`.
    pub rule: &'a Rule,
    /// The ports that nobody serves, in words.
    pub ports: Vec<String>,
}

/// The comparison.
pub struct Listening<'a> {
    /// Every socket that is not bound to this host alone.
    pub heard: Vec<Heard<'a>>,
    /// Documented or allowed services that are not there.
    pub unheard: Vec<Unheard<'a>>,
    /// What happens to a socket that no rule names.
    pub default: DefaultAction,
}

/// Compares; `None` where the facts were collected without sockets.
#[must_use]
pub fn listening<'a>(plan: &Plan<'a>) -> Option<Listening<'a>> {
    let listeners = plan.facts.listeners.as_deref()?;
    let ingress = || {
        plan.resolved
            .rules_of(Direction::Ingress)
            .map(|(rule, _)| rule)
    };
    let mut heard: Vec<Heard<'a>> = Vec::new();
    for listener in listeners.iter().filter(|it| !it.address.is_loopback()) {
        let rules = ingress()
            .filter(|rule| rule.precedence != Precedence::Block && serves(rule, listener))
            .collect();
        heard.push(Heard { listener, rules });
    }
    let unheard = ingress()
        .filter(|rule| rule.precedence == Precedence::Allow)
        .filter(|rule| rule.product.is_some() || rule.id.starts_with("allow/"))
        .filter_map(|rule| {
            let ports = unserved(rule, listeners);
            (!ports.is_empty()).then_some(Unheard { rule, ports })
        })
        .collect();
    Some(Listening {
        heard,
        unheard,
        default: plan.resolved.rule_set.ingress,
    })
}

/// The transport's word and the ranges of a service with ports.
fn ports(service: &Service) -> Option<(&'static str, &[std::ops::RangeInclusive<u16>])> {
    match service {
        Service::Tcp(ranges) => Some(("tcp", ranges)),
        Service::Udp(ranges) => Some(("udp", ranges)),
        _ => None,
    }
}

fn serves(rule: &Rule, listener: &Listener) -> bool {
    // A DHCP client's socket is reached by the server's port alone.
    let dhcp = match rule.service {
        Service::Dhcp4 => listener.transport == "udp" && listener.port == 68,
        Service::Dhcp6 => listener.transport == "udp" && listener.port == 546,
        _ => false,
    };
    dhcp || ports(&rule.service).is_some_and(|(transport, ranges)| {
        transport == listener.transport && ranges.iter().any(|range| range.contains(&listener.port))
    })
}

/// The ports of a rule at which nothing listens; a range counts as served by one socket in it.
fn unserved(rule: &Rule, listeners: &[Listener]) -> Vec<String> {
    let Some((transport, ranges)) = ports(&rule.service) else {
        return Vec::new();
    };
    let words = rule.service.ports(rule.direction);
    let served = |range: &std::ops::RangeInclusive<u16>| {
        listeners
            .iter()
            .any(|it| it.transport == transport && range.contains(&it.port))
    };
    ranges
        .iter()
        .zip(words)
        .filter(|(range, _)| !served(range))
        .map(|(_, word)| word)
        .collect()
}

impl Listening<'_> {
    /// As JSON: `heard` and `unheard`.
    #[must_use]
    pub fn json(&self) -> Value {
        let heard: Vec<Value> = self
            .heard
            .iter()
            .map(|it| {
                let ids: Vec<&str> = it.rules.iter().map(|rule| rule.id.as_str()).collect();
                json!({
                    "transport": it.listener.transport,
                    "address": it.listener.address,
                    "port": it.listener.port,
                    "program": it.listener.program,
                    "rules": ids,
                })
            })
            .collect();
        let unheard: Vec<Value> = self
            .unheard
            .iter()
            .map(|it| {
                json!({
                    "rule": it.rule.id,
                    "rows": it.rule.rows,
                    "transport": it.rule.service.transport(),
                    "ports": it.ports,
                })
            })
            .collect();
        json!({ "heard": heard, "unheard": unheard })
    }

    /// As lines: sockets that are reached, those that are not, services that are missing.
    #[must_use]
    pub fn text(&self) -> String {
        let mut out = vec![String::new(), "What listens here".to_owned()];
        for it in &self.heard {
            let program = it.listener.program.as_deref().unwrap_or("?");
            let socket = format!(
                "{} {}",
                it.listener.transport,
                std::net::SocketAddr::new(it.listener.address, it.listener.port)
            );
            let who = match (it.rules.as_slice(), self.default) {
                ([], DefaultAction::Deny) => "reached by nobody: no rule names the port".to_owned(),
                ([], DefaultAction::Audit) => {
                    "reached by anyone, and reported: no rule names the port".to_owned()
                }
                ([], DefaultAction::Open) => {
                    "reached by ANYONE: ingress is open by default".to_owned()
                }
                (rules, _) => {
                    let words: Vec<String> = rules.iter().map(|rule| admits(rule)).collect();
                    format!("reached by {}", words.join("; "))
                }
            };
            out.push(format!("  {socket:<26} {program:<16} {who}"));
        }
        if self.heard.is_empty() {
            out.push("  nothing that others could reach".to_owned());
        }
        if !self.unheard.is_empty() {
            out.push(String::new());
            out.push("Opened, and nothing listens".to_owned());
        }
        let mut missing: Vec<String> = Vec::new();
        for it in &self.unheard {
            let line = format!(
                "  {} {:<20} {}",
                it.rule.service.transport(),
                it.ports.join(", "),
                why(it.rule)
            );
            // A row may admit several kinds of peers at one port.
            if !missing.contains(&line) {
                missing.push(line);
            }
        }
        out.extend(missing);
        out.join("\n") + "\n"
    }
}

/// "10.0.0.0/16 (product/table/1)"; long lists are counted.
fn admits(rule: &Rule) -> String {
    const MOST: usize = 4;
    let who = match &rule.peers {
        Peers::Any => "anyone".to_owned(),
        Peers::Prefixes(prefixes) => {
            let mut words: Vec<String> = prefixes
                .iter()
                .take(MOST)
                .map(ToString::to_string)
                .collect();
            if prefixes.len() > MOST {
                words.push(format!("{} more", prefixes.len() - MOST));
            }
            words.join(", ")
        }
    };
    let reported = match rule.precedence {
        Precedence::AuditStage => " and reported",
        _ => "",
    };
    format!("{who}{reported} ({})", why(rule))
}

/// The rows of a rule, or its own id.
fn why(rule: &Rule) -> String {
    if rule.rows.is_empty() {
        rule.id.clone()
    } else {
        rule.rows.join(", ")
    }
}
