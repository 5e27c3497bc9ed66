//! `portcullis explain`: what happens to a flow, by which row, or what it differs in from the nearest one.

use std::io::{IsTerminal, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::rc::Rc;

use agent_common::event::Direction;
use agent_common::net::tcp;
use agent_common::verdict::{Action, Reason};
use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use super::{Outcome, Status};
use crate::cli::{DirectionWord, ExplainArgs, VerdictWord};
use crate::compile::memory::Memory;
use crate::diagnose::Findings;
use crate::events::Knowledge;
use crate::events::decode::Transport;
use crate::events::explain::probe::{Probe, echo_of};
use crate::events::explain::{Explanation, read::Event};
use crate::events::fields::{SCHEMA, difference};
use crate::facts::Facts;
use crate::facts::collect::NAMES_PATIENCE;
use crate::inputs;
use crate::meaning::meaning;
use crate::policy::values::Protocol;
use crate::rule::RowId;

/// Answers for one flow, or for every event of a file.
///
/// # Errors
///
/// A file that can't be read, words that name no transport, facts that can't be collected.
pub fn run(args: &ExplainArgs) -> Result<Outcome> {
    let said = inputs::read(&args.config)?;
    let names = said.names();
    let (facts, notes) = inputs::facts(args.facts.as_deref(), names, NAMES_PATIENCE, false)?;
    let Some(config) = said.config else {
        return Ok(refused(&said.findings));
    };
    let meaning = meaning(&config, &said.catalogue, &facts, &said.findings);
    let tables = match meaning.tables {
        Some(tables) if !meaning.findings.has_errors() => tables,
        _ => return Ok(refused(&meaning.findings)),
    };
    let host = Judge {
        host: Memory::new(Rc::new(tables)),
        knowledge: Knowledge::gather(&config, &said.catalogue, &facts, &meaning.resolved),
        facts,
    };
    let answers = match &args.event {
        Some(path) => host.events(&text_of(path)?)?,
        None => vec![host.flow(args)?],
    };
    let talk: String = notes.iter().map(|note| format!("note: {note}\n")).collect();
    Ok(outcome(&answers, args, talk))
}

fn refused(findings: &Findings) -> Outcome {
    Outcome {
        stdout: String::new(),
        stderr: findings.render(std::io::stderr().is_terminal()),
        status: Status::Findings,
    }
}

fn text_of(path: &str) -> Result<String> {
    if path == "-" {
        let mut text = String::new();
        std::io::stdin()
            .read_to_string(&mut text)
            .context("cannot read events from standard input")?;
        return Ok(text);
    }
    std::fs::read_to_string(path).with_context(|| format!("cannot read the events {path}"))
}

fn outcome(answers: &[Answer], args: &ExplainArgs, mut talk: String) -> Outcome {
    let stdout = if args.format.json() {
        // One is printed for people too; many are lines.
        match answers {
            [one] => format!("{:#}\n", one.json()),
            many => many.iter().map(|one| format!("{}\n", one.json())).collect(),
        }
    } else {
        answers.iter().map(Answer::text).collect()
    };
    let mut status = Status::Done;
    if let Some(expected) = args.expect {
        for answer in answers.iter().filter(|it| it.action != expected.action()) {
            talk += &format!(
                "error: expected {}, but the answer is {}: {}\n",
                word(expected.action()),
                word(answer.action),
                answer.seen
            );
            status = Status::Failed;
        }
    }
    Outcome {
        stdout,
        stderr: talk,
        status,
    }
}

/// The policy, and what is known of it.
struct Judge {
    host: Memory,
    knowledge: Knowledge,
    facts: Facts,
}

/// What there is to say of one packet.
struct Answer {
    action: Action,
    reason: Reason,
    rows: Vec<RowId>,
    seen: String,
    /// None where it passes for good.
    explanation: Option<Explanation>,
}

impl Judge {
    fn flow(&self, args: &ExplainArgs) -> Result<Answer> {
        let (Some(direction), Some(transport), Some(peer)) =
            (args.direction, &args.transport, args.peer)
        else {
            bail!("say --direction, --transport and --peer, or --event FILE");
        };
        let transport = transport_of(transport, args.port, peer)?;
        let has_ports = matches!(transport, Transport::Tcp | Transport::Udp);
        if has_ports && args.port.is_none() {
            bail!("say --port: the service's, which is the destination of the first packet");
        }
        let own = args.local.unwrap_or_else(|| self.own_address(peer));
        if own.is_ipv4() != peer.is_ipv4() {
            bail!("--local {own} and --peer {peer} are of different families");
        }
        Ok(self.probe(&Probe {
            direction: direction.direction(),
            transport,
            own,
            peer,
            source_port: args.source_port.unwrap_or(self.facts.ephemeral.first),
            destination_port: args.port.unwrap_or(0),
            tcp_flags: if transport == Transport::Tcp {
                tcp::SYN
            } else {
                0
            },
        }))
    }

    fn probe(&self, probe: &Probe) -> Answer {
        let verdict = probe.judge(&self.host);
        let question = probe.question(verdict, self.facts.time);
        if verdict.action() == Action::Allow {
            return Answer {
                action: Action::Allow,
                reason: verdict.reason(),
                rows: self.knowledge.cited(verdict.rule()),
                seen: question.seen(),
                explanation: None,
            };
        }
        let explanation = self.knowledge.explain(&question);
        Answer {
            action: verdict.action(),
            reason: verdict.reason(),
            rows: explanation.rows.clone(),
            seen: explanation.seen.clone(),
            explanation: Some(explanation),
        }
    }

    fn events(&self, text: &str) -> Result<Vec<Answer>> {
        let mut answers = Vec::new();
        for (number, value) in serde_json::Deserializer::from_str(text)
            .into_iter::<Value>()
            .enumerate()
        {
            let value = value.with_context(|| format!("event {}: no JSON", number + 1))?;
            let event = Event::read(&value).with_context(|| format!("event {}", number + 1))?;
            answers.push(self.event(&event));
        }
        if answers.is_empty() {
            bail!("no event to explain: give a line of `--sink json` or of `journalctl -o json`");
        }
        Ok(answers)
    }

    fn event(&self, event: &Event) -> Answer {
        // What lies in the packet can't be rebuilt from its event; who it came from and where it went can.
        if let (false, Some(probe)) = (event.is_at_fault(), event.probe()) {
            return self.probe(&probe);
        }
        let explanation = self.knowledge.explain(&event.question(self.facts.time));
        Answer {
            action: if event.audited {
                Action::Audit
            } else {
                Action::Deny
            },
            reason: event.reason,
            rows: explanation.rows.clone(),
            seen: explanation.seen.clone(),
            explanation: Some(explanation),
        }
    }

    /// An address of this host in the peer's family; one of the link where the peer is on the link.
    fn own_address(&self, peer: IpAddr) -> IpAddr {
        let link_local = |address: &IpAddr| match address {
            IpAddr::V4(address) => address.is_link_local(),
            IpAddr::V6(address) => address.is_unicast_link_local(),
        };
        let family = |address: &IpAddr| address.is_ipv4() == peer.is_ipv4();
        let mut own: Vec<IpAddr> = self.facts.own_addresses().filter(family).collect();
        own.sort_by_key(|address| link_local(address) != link_local(&peer));
        own.first().copied().unwrap_or(match peer {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        })
    }
}

impl Answer {
    fn json(&self) -> Value {
        let near = self.explanation.as_ref().map(|it| it.near_rows.as_slice());
        json!({
            "schema": SCHEMA,
            "verdict": word(self.action),
            "reason": self.reason.name(),
            "rows": self.rows,
            "near_rows": near.unwrap_or_default(),
            "difference": self.explanation.as_ref().map(difference),
        })
    }

    fn text(&self) -> String {
        let mut text = format!(
            "{} ({}): {}\n",
            word(self.action),
            self.reason.name(),
            self.seen
        );
        let mut line = |name: &str, value: &str| {
            if !value.is_empty() {
                text += &format!("  {name:<11}{value}\n");
            }
        };
        line("by", &self.rows.join(", "));
        if let Some(explanation) = &self.explanation {
            line("near", &explanation.near_rows.join(", "));
            line("difference", explanation.kind.name());
            line(
                "expected",
                explanation.expected.as_deref().unwrap_or_default(),
            );
            line("because", &explanation.text);
            line("remedy", &explanation.remedy);
        }
        text
    }
}

/// The transport that a word means; for ICMP `--port` is the type, and without it an echo request is meant.
fn transport_of(text: &str, port: Option<u16>, peer: IpAddr) -> Result<Transport> {
    let icmp = || -> Result<Transport> {
        let Some(kind) = port else {
            return Ok(echo_of(peer));
        };
        let kind = u8::try_from(kind)
            .ok()
            .context("an ICMP type is at most 255")?;
        Ok(match peer {
            IpAddr::V4(_) => Transport::Icmp(kind, 0),
            IpAddr::V6(_) => Transport::Icmpv6(kind, 0),
        })
    };
    match text {
        "tcp" | "6" => Ok(Transport::Tcp),
        "udp" | "17" => Ok(Transport::Udp),
        "icmp" | "icmpv6" | "ipv6-icmp" | "1" | "58" => icmp(),
        _ => {
            let number = match text.parse::<u8>() {
                Ok(number) => number,
                Err(_) => text
                    .parse::<Protocol>()
                    .map(|protocol| protocol.0)
                    .map_err(|error| anyhow::anyhow!("--transport {error}"))?,
            };
            Ok(Transport::Protocol(number))
        }
    }
}

const fn word(action: Action) -> &'static str {
    match action {
        Action::Deny => "deny",
        Action::Allow => "allow",
        Action::Audit => "audit",
    }
}

impl DirectionWord {
    const fn direction(self) -> Direction {
        match self {
            Self::Ingress => Direction::Ingress,
            Self::Egress => Direction::Egress,
        }
    }
}

impl VerdictWord {
    const fn action(self) -> Action {
        match self {
            Self::Allow => Action::Allow,
            Self::Deny => Action::Deny,
            Self::Audit => Action::Audit,
        }
    }
}

#[cfg(test)]
mod tests;
