//! Lines to paste. Each names its table in a comment, so that it stays valid wherever it is looked at.

use std::net::IpAddr;

use agent_common::event::Direction;
use jiff::{Span, Timestamp, tz::TimeZone};

use super::knowledge::{Knowledge, KnownFlow, Written, admits};
use crate::events::decode::Transport;
use crate::events::fields::direction_name;
use crate::policy::values::Protocol;

/// The list with one more entry: `peers.print-client = ["@offices", "10.9.9.9"] # under [product.seal-output-engine]`.
pub(super) fn add(written: &Written, peer: IpAddr) -> String {
    format!("{} # under [{}]", longer(written, peer), written.table)
}

fn longer(written: &Written, peer: IpAddr) -> String {
    let entries = written.entries.iter().filter(|entry| *entry != "any");
    let mut entries: Vec<String> = entries.map(|entry| format!("\"{entry}\"")).collect();
    entries.push(format!("\"{peer}\""));
    format!("{} = [{}]", written.key, entries.join(", "))
}

/// Where the peers of a role are written, or would be.
pub(super) fn written(knowledge: &Knowledge, product: &str, role: &str) -> Written {
    let mut bound = knowledge.bindings.iter();
    match bound.find(|it| it.product == product && it.role == role) {
        Some(binding) => binding.written.clone(),
        None => Written {
            table: format!("product.{product}"),
            key: format!("peers.{role}"),
            entries: Vec::new(),
        },
    }
}

/// The first of some lines of a product's table; in its comment the others, and what the other end needs besides.
pub(super) fn line<'a>(
    knowledge: &Knowledge,
    mut lines: impl Iterator<Item = &'a str>,
    flow: &KnownFlow,
    direction: Direction,
    peer: Option<IpAddr>,
) -> String {
    let first = lines.next().unwrap_or_default();
    let mut besides: Vec<String> = lines.map(str::to_owned).collect();
    if let (Some(role), Some(peer)) = (role_of(flow, direction), peer)
        && !plays(knowledge, &flow.product, role, peer)
    {
        let written = written(knowledge, &flow.product, role);
        besides.push(longer(&written, peer));
    }
    let besides: String = besides.iter().map(|it| format!("and {it}, ")).collect();
    format!("{first} # {besides}under [product.{}]", flow.product)
}

/// The role at the other end that a peer most likely plays: one that is not at this end too.
pub(super) fn role_of(flow: &KnownFlow, direction: Direction) -> Option<&str> {
    let own_end = match direction {
        Direction::Ingress => &flow.to,
        Direction::Egress => &flow.from,
    };
    let others = flow.others(direction);
    let strange = others.iter().find(|role| !own_end.contains(role));
    strange.or(others.first()).map(String::as_str)
}

/// Whether the peer is bound to the role.
fn plays(knowledge: &Knowledge, product: &str, role: &str, peer: IpAddr) -> bool {
    let mut bound = knowledge.bindings.iter();
    bound.any(|it| it.product == product && it.role == role && admits(&it.peers, Some(peer)))
}

/// A new end for an `allow`, thirty days after `time`, as a date.
pub(super) fn new_end(time: Timestamp) -> String {
    let day = time.to_zoned(TimeZone::UTC).date();
    let later = day.checked_add(Span::new().days(30)).unwrap_or(day);
    later.to_string()
}

/// An `allow` for exactly this flow, as one line for a file of its own in `conf.d`.
pub(super) fn allow(
    direction: Direction,
    transport: Transport,
    port: u16,
    peer: IpAddr,
) -> Option<String> {
    let direction = direction_name(direction);
    let (name, what) = match transport {
        Transport::Tcp | Transport::Udp if port == 0 => return None,
        Transport::Tcp | Transport::Udp => (
            format!("{transport}-{port}"),
            format!("{transport} = [{port}]"),
        ),
        // ICMPv6 in IPv4 and the like: no configuration may name them.
        Transport::Protocol(number) if Protocol::number(i64::from(number)).is_err() => return None,
        Transport::Protocol(number) => (
            format!("protocol-{number}"),
            format!("protocol = [{number}]"),
        ),
        Transport::Icmp(..) | Transport::Icmpv6(..) | Transport::Link(_) => return None,
    };
    Some(format!(
        "allow.{direction}-{name} = {{ direction = \"{direction}\", {what}, peers = [\"{peer}\"], reason = \"say why\" }}"
    ))
}
