//! Asks, and compares the answer with a row.

use std::sync::Arc;

use agent_common::event::{Direction, Hook};
use agent_common::verdict::{Action, Reason};

use super::fixtures::now;
use crate::events::aggregate::Merged;
use crate::events::decode::{Asked, Denial, Transport};
use crate::events::explain::{Explanation, Knowledge, Question};
use crate::events::fields::{Denied, Entry};
use crate::events::kinds::Kind;

/// `ingress tcp 10.9.9.9 443`; a port with `<` is the peer's, of an answer. A reason may follow, then `audit`.
pub(super) fn question(text: &str) -> Question {
    let words: Vec<&str> = text.split(' ').collect();
    let (&[direction, transport, peer, port], more) = words.split_first_chunk().expect(text);
    let reason = Reason::ALL.iter().find(|it| more.contains(&it.name()));
    let (port, answers) = match port.strip_prefix('<') {
        Some(port) => (port, true),
        None => (port, false),
    };
    Question {
        direction: match direction {
            "ingress" => Direction::Ingress,
            _ => Direction::Egress,
        },
        transport: match transport {
            "tcp" => Transport::Tcp,
            "udp" => Transport::Udp,
            "echo" => Transport::Icmp(8, 0),
            number => Transport::Protocol(number.parse().unwrap()),
        },
        peer: Some(peer.parse().unwrap()),
        asked: Asked {
            port: port.parse().unwrap(),
            answers,
        },
        reason: reason.copied().unwrap_or(Reason::NoRule),
        audited: more.contains(&"audit"),
        rule: None,
        time: now(),
    }
}

/// The sentence of the journal for a question.
pub(super) fn message(question: &Question, explanation: &Explanation) -> String {
    let (own, peer) = ("10.0.0.11".parse().ok(), question.peer);
    let (source, destination) = match question.direction {
        Direction::Ingress => (peer, own),
        Direction::Egress => (own, peer),
    };
    let port = question.asked.port;
    let has_ports = matches!(question.transport, Transport::Tcp | Transport::Udp);
    let ports = match question.asked.answers {
        false => (50_000, port),
        true => (port, 50_000),
    };
    let merged = Merged {
        denial: Denial {
            time: question.time,
            direction: question.direction,
            hook: Hook::Tc,
            interface_index: 2,
            interface: Arc::from("eth0"),
            transport: question.transport,
            source,
            destination,
            source_port: has_ports.then_some(ports.0),
            destination_port: has_ports.then_some(ports.1),
            tcp_flags: None,
            length: 60,
            action: match question.audited {
                true => Action::Audit,
                false => Action::Deny,
            },
            reason: question.reason,
            rule: None,
            generation: 1,
            bank: 0,
            tick: 0,
            uid: None,
            cgroup: None,
        },
        asked: question.asked,
        count: 1,
        first: question.time,
        last: question.time,
        repeats: false,
    };
    let entry = Entry::Denied(Box::new(Denied {
        merged,
        explanation: explanation.clone(),
        unit: None,
    }));
    entry.text()
}

/// One row: the question, the kind with its rows, what was expected, the text, the remedy.
pub(super) type Case<'a> = (
    &'a str,
    (Kind, &'a [&'a str]),
    Option<&'a str>,
    &'a str,
    &'a str,
);

#[track_caller]
pub(super) fn check(knowledge: &Knowledge, case: Case<'_>) {
    check_question(knowledge, &question(case.0), case);
}

#[track_caller]
pub(super) fn check_question(knowledge: &Knowledge, question: &Question, case: Case<'_>) {
    let (asked, (kind, near), expected, text, remedy) = case;
    let found = knowledge.explain(question);
    let near_rows: Vec<&str> = found.near_rows.iter().map(String::as_str).collect();
    assert_eq!(
        (
            found.kind,
            near_rows.as_slice(),
            found.expected.as_deref(),
            found.text.as_str(),
            found.remedy.as_str()
        ),
        (kind, near, expected, text, remedy),
        "{asked}"
    );
    let sentence = message(question, &found);
    assert!(
        sentence.contains(text) && sentence.chars().count() <= 300,
        "{sentence}"
    );
    let step = sentence.contains(remedy) || sentence.ends_with(&found.step);
    assert!(step && !found.step.is_empty(), "{sentence}");
}
