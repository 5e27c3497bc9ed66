//! Lines to paste. Each names its table in a comment: the one that `init` writes it into, since a line `peers.x` in
//! [product.p] and a table [product.p.peers] can't both be there.

use std::net::IpAddr;

use agent_common::event::Direction;
use jiff::{Span, Timestamp, tz::TimeZone};

use super::knowledge::{Knowledge, KnownFlow, Written, admits};
use crate::events::decode::Transport;
use crate::events::fields::direction_name;
use crate::policy::values::Protocol;

/// The list with one more entry: `print-client = ["@offices", "10.9.9.9"] # under [product.seal-output-engine.peers]`.
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
            table: format!("product.{product}.peers"),
            key: role.to_owned(),
            entries: Vec::new(),
        },
    }
}

/// Lines of a product, the first to paste, the others in its comment; each with its table.
pub(super) fn lines<'a>(product: &str, lines: impl Iterator<Item = &'a str>) -> String {
    commented(placed(product, lines))
}

/// Each line in the table that its key names: `options.x = true` is `x = true` in [product.p.options].
fn placed<'a>(product: &str, lines: impl Iterator<Item = &'a str>) -> Vec<(String, String)> {
    let place = |line: &str| {
        let key = line.split_once(" = ").map_or(line, |(key, _)| key);
        match key.split_once('.') {
            Some((table, _)) => (
                line[table.len() + 1..].to_owned(),
                format!("[product.{product}.{table}]"),
            ),
            None => (line.to_owned(), format!("[product.{product}]")),
        }
    };
    lines.map(place).collect()
}

/// `a = 1 # under [product.p.options], and b = 2 under [….peers]`; lines of one table together.
fn commented(placed: Vec<(String, String)>) -> String {
    let mut tables: Vec<(String, Vec<String>)> = Vec::new();
    for (line, place) in placed {
        match tables.last_mut().filter(|(last, _)| *last == place) {
            Some((_, lines)) => lines.push(line),
            None => tables.push((place, vec![line])),
        }
    }
    let mut text = String::new();
    for (at, (place, lines)) in tables.iter().enumerate() {
        let mut lines = lines.iter();
        let first = lines.next().map_or("", String::as_str);
        let rest: String = lines.map(|line| format!("and {line} ")).collect();
        text += &match (at, place.rsplit_once('.')) {
            (0, _) => format!("{first} # {rest}under {place}"),
            // The product was named: its other tables are told by their last word, or a sentence has no room for them.
            (_, Some((_, last))) => format!(", and {first} {rest}under [….{last}"),
            (_, None) => format!(", and {first} {rest}under {place}"),
        };
    }
    text
}

/// The lines that a flow hangs on, and what the other end needs besides.
pub(super) fn line<'a>(
    knowledge: &Knowledge,
    lines: impl Iterator<Item = &'a str>,
    flow: &KnownFlow,
    direction: Direction,
    peer: Option<IpAddr>,
) -> String {
    let mut all = placed(&flow.product, lines);
    if let (Some(role), Some(peer)) = (role_of(flow, direction), peer)
        && !plays(knowledge, &flow.product, role, peer)
    {
        let written = written(knowledge, &flow.product, role);
        all.push((longer(&written, peer), format!("[{}]", written.table)));
    }
    commented(all)
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
