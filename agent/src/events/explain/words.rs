//! Phrases of an explanation.

use std::net::IpAddr;

use agent_common::event::Direction;

use super::Question;
use super::knowledge::KnownFlow;
use crate::events::decode::Transport;
use crate::events::fields::direction_name;
use crate::policy::PortRange;

/// `tcp/443`, `icmp type 8`, `esp`.
pub(super) fn service(transport: Transport, port: u16) -> String {
    match transport {
        Transport::Tcp | Transport::Udp => format!("{transport}/{port}"),
        Transport::Icmp(kind, _) | Transport::Icmpv6(kind, _) => format!("{transport} type {kind}"),
        Transport::Protocol(_) | Transport::Link(_) => transport.to_string(),
    }
}

/// `from 10.9.9.9`, `to 10.9.9.9`.
pub(super) fn toward(direction: Direction, other: &str) -> String {
    match direction {
        Direction::Ingress => format!("from {other}"),
        Direction::Egress => format!("to {other}"),
    }
}

pub(super) fn peer_word(peer: Option<IpAddr>) -> String {
    peer.map_or_else(|| "an unknown address".to_owned(), |peer| peer.to_string())
}

/// What was seen.
pub(super) fn seen(question: &Question) -> String {
    let peer = peer_word(question.peer);
    let direction = direction_name(question.direction);
    let port = question.asked.port;
    if question.asked.answers {
        let side = match question.direction {
            Direction::Ingress => format!("port {port} of {peer}"),
            Direction::Egress => format!("own port {port} to {peer}"),
        };
        return format!("{direction} {} from {side}, an answer", question.transport);
    }
    format!(
        "{direction} {} {}",
        service(question.transport, port),
        toward(question.direction, &peer)
    )
}

/// The service of the nearest rows in the vendor's word, and where it stands: `seal-rest (seal-output-engine/single-server/8)`.
pub(super) fn label(flows: &[&KnownFlow]) -> String {
    let Some(first) = flows.first() else {
        return String::new();
    };
    let mut rows: Vec<&str> = flows.iter().map(|flow| flow.row.as_str()).collect();
    rows.dedup();
    match rows.len() {
        1 => format!("{} ({})", first.service, first.row),
        count => format!("{} ({} and {} more)", first.service, first.row, count - 1),
    }
}

/// A list of words with commas, at most three.
pub(super) fn some(words: &[String]) -> String {
    const MOST: usize = 3;
    let shown: Vec<&str> = words.iter().take(MOST).map(String::as_str).collect();
    match words.len().checked_sub(MOST) {
        None | Some(0) => shown.join(", "),
        Some(more) => format!("{} and {more} more", shown.join(", ")),
    }
}

/// Ports with commas, at most three.
pub(super) fn ports(ranges: &[PortRange]) -> String {
    let words: Vec<String> = ranges.iter().map(PortRange::to_string).collect();
    some(&words)
}

/// Without repetitions, in the order of the first of each.
pub(super) fn distinct<T: PartialEq>(words: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut seen: Vec<T> = Vec::new();
    for word in words {
        if !seen.contains(&word) {
            seen.push(word);
        }
    }
    seen
}
