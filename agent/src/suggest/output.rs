//! A proposal shown: as sentences beside its diff, and as JSON.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::IpAddr;

use serde_json::{Value, json};

use super::seen::{Flow, Seen};
use super::{Asked, Proposal, Say};

/// The number that JSON output carries.
pub const SCHEMA: u32 = 1;

/// Hosts that a sentence names; the others are counted.
const MOST: usize = 4;

/// What is said of a proposal and of what was seen.
pub fn text(proposal: &Proposal, seen: &Seen) -> String {
    let mut out = String::new();
    summary(proposal, seen, &mut out);
    proposed(proposal, &mut out);
    asked(proposal, &mut out);
    never(proposal, &mut out);
    proof(proposal, &mut out);
    out
}

/// Writing to a text can't fail.
macro_rules! say {
    ($out:expr, $($words:tt)*) => { let _ = writeln!($out, $($words)*); };
}

fn summary(proposal: &Proposal, seen: &Seen, out: &mut String) {
    match seen.period {
        Some((first, last)) => {
            say!(
                out,
                "seen from {first:.0} to {last:.0}: {}",
                many(seen.flows.len(), "flow")
            );
        }
        None => {
            say!(
                out,
                "nothing was seen: no entry is about a denied or audited packet"
            );
        }
    }
    let mut count = |packets: u64, what: &str| {
        if packets > 0 {
            say!(out, "  {packets} {what}");
        }
    };
    count(
        proposal.admitted as u64,
        "of the flows pass by the configuration as it is",
    );
    count(
        seen.blocked,
        "packets of blocked peers: nothing is proposed for them",
    );
    count(
        seen.at_fault,
        "packets that no configuration could admit (fragments, headers, flags)",
    );
    count(
        seen.answers,
        "packets that answered nobody's question, or too late",
    );
    count(
        seen.untold,
        "packets were too many to be told apart: THE PICTURE IS NOT WHOLE",
    );
    count(
        seen.lost,
        "packets whose entries were lost: THE PICTURE IS NOT WHOLE",
    );
    if let Some(first) = seen.unread.first() {
        say!(
            out,
            "  {} could not be understood, the first: {first}",
            many(seen.unread.len(), "entry")
        );
    }
}

fn proposed(proposal: &Proposal, out: &mut String) {
    if proposal.is_empty() {
        say!(out, "\nnothing is proposed");
        return;
    }
    say!(
        out,
        "\nproposed, each by a documented row that was seen in use:"
    );
    let mut line = |(product, key): &(String, String),
                    value: &str,
                    say: (&BTreeSet<IpAddr>, &BTreeSet<String>),
                    table: &str| {
        let (peers, rows) = say;
        say!(out, "  {key} = {value}  under [product.{product}.{table}]");
        let users = match peers.is_empty() {
            true => String::new(),
            false => format!(" of {}", hosts(peers.iter().copied())),
        };
        say!(out, "      {}{users}", some(rows));
    };
    for (key, Say { value, rows, peers }) in &proposal.options {
        line(key, value, (peers, rows), "options");
    }
    for (key, bind) in &proposal.bind {
        let value = format!("… and {}", hosts(bind.peers.iter().copied()));
        line(key, &value, (&BTreeSet::new(), &bind.rows), "peers");
    }
    for (key, Say { value, rows, peers }) in &proposal.ports {
        line(key, value, (peers, rows), "ports");
    }
    for (product, role) in &proposal.nobody {
        say!(
            out,
            "  {role} = \"none\"  under [product.{product}.peers]: an option asks for it, and nobody was seen"
        );
    }
}

fn asked(proposal: &Proposal, out: &mut String) {
    for scanner in &proposal.scanners {
        say!(
            out,
            "\nnothing is proposed for {}: it asked for {} ports that nothing documents ({} packets); is it a scanner?",
            scanner.peer,
            scanner.ports,
            scanner.packets
        );
    }
    if proposal.asked.is_empty() {
        return;
    }
    say!(out, "\nnot proposed, because a person has to answer first:");
    for it in &proposal.asked {
        say!(out, "  {}", line_of(it));
        say!(out, "      {}: {}", it.text, it.question);
        say!(out, "      {}", it.remedy);
    }
}

/// `in tcp/9999 from 10.0.0.9, telnetd listens there (3 packets, the last 2026-11-21T10:00:00Z)`.
fn line_of(asked: &Asked) -> String {
    let sight = &asked.sight;
    let mut words = flow(&asked.flow);
    if let Some(program) = &asked.program {
        let _ = write!(words, ", {program} listens there");
    }
    let units: Vec<&str> = sight.units.iter().map(String::as_str).collect();
    if !units.is_empty() {
        let _ = write!(words, ", of {}", units.join(", "));
    }
    let packets = match sight.packets {
        1 => "1 packet".to_owned(),
        more => format!("{more} packets"),
    };
    format!("{words} ({packets}, the last {:.0})", sight.last)
}

fn flow(flow: &Flow) -> String {
    use crate::events::decode::Transport;
    let service = match flow.transport {
        Transport::Tcp | Transport::Udp => format!("{}/{}", flow.transport, flow.port),
        Transport::Icmp(kind, _) | Transport::Icmpv6(kind, _) => {
            format!("{} type {kind}", flow.transport)
        }
        other => other.to_string(),
    };
    match flow.incoming {
        true => format!("in {service} from {}", flow.peer),
        false => format!("out {service} to {}", flow.peer),
    }
}

fn never(proposal: &Proposal, out: &mut String) {
    if proposal.never.is_empty() {
        return;
    }
    say!(out, "\ndocumented, and not seen in this period:");
    for it in &proposal.never {
        say!(
            out,
            "  {:<36} {}: {} ({})",
            it.row,
            it.service,
            it.what.join(", "),
            it.others.join(", ")
        );
    }
}

fn proof(proposal: &Proposal, out: &mut String) {
    let proof = &proposal.proof;
    out.push('\n');
    if !proof.errors.is_empty() {
        say!(
            out,
            "not proved: the files as they would be have errors, which `portcullis check` shows:"
        );
        for error in &proof.errors {
            say!(out, "  {error}");
        }
        return;
    }
    say!(
        out,
        "proved: with these files and every product enforced, {} of {} documented flows that were seen pass",
        proof.flows - proof.denied.len(),
        proof.flows
    );
    for denied in &proof.denied {
        say!(out, "  DENIED: {}", flow(denied));
    }
}

fn hosts(peers: impl Iterator<Item = IpAddr>) -> String {
    let all: Vec<String> = peers.map(|it| it.to_string()).collect();
    let mut text = all
        .iter()
        .take(MOST)
        .map(String::as_str)
        .collect::<Vec<_>>()
        .join(", ");
    if all.len() > MOST {
        let _ = write!(text, " and {} more", all.len() - MOST);
    }
    text
}

/// Rows, the first of many.
fn some(rows: &BTreeSet<String>) -> String {
    let first: Vec<&str> = rows.iter().take(MOST).map(String::as_str).collect();
    let more = rows.len().saturating_sub(MOST);
    match more {
        0 => first.join(", "),
        more => format!("{} and {more} more rows", first.join(", ")),
    }
}

fn many(count: usize, what: &str) -> String {
    match (count, what.strip_suffix('y')) {
        (1, _) => format!("1 {what}"),
        (_, Some(stem)) => format!("{count} {stem}ies"),
        _ => format!("{count} {what}s"),
    }
}

/// The same as JSON; every key is there, `null` where nothing is known.
pub fn json(proposal: &Proposal, seen: &Seen) -> Value {
    let flow_json = |it: &Flow| {
        json!({
            "direction": if it.incoming { "ingress" } else { "egress" },
            "transport": it.transport.to_string(),
            "port": it.port,
            "peer": it.peer,
        })
    };
    let says = |map: &std::collections::BTreeMap<(String, String), Say>| -> Vec<Value> {
        let entries = map.iter();
        entries
            .map(|((product, key), say)| {
                json!({ "product": product, "key": key, "value": say.value, "rows": say.rows, "peers": say.peers })
            })
            .collect()
    };
    let bind: Vec<Value> = proposal
        .bind
        .iter()
        .map(|((product, role), bind)| {
            json!({ "product": product, "role": role, "peers": bind.peers, "rows": bind.rows })
        })
        .collect();
    let nobody: Vec<Value> = proposal
        .nobody
        .iter()
        .map(|(product, role)| json!({ "product": product, "role": role }))
        .collect();
    let asked: Vec<Value> = proposal
        .asked
        .iter()
        .map(|it| {
            json!({
                "flow": flow_json(&it.flow),
                "packets": it.sight.packets,
                "first": it.sight.first,
                "last": it.sight.last,
                "units": it.sight.units,
                "program": it.program,
                "kind": it.kind.name(),
                "text": it.text,
                "question": it.question,
                "remedy": it.remedy,
                "near_rows": it.near,
            })
        })
        .collect();
    let scanners: Vec<Value> = proposal
        .scanners
        .iter()
        .map(|it| json!({ "peer": it.peer, "ports": it.ports, "packets": it.packets }))
        .collect();
    let never: Vec<Value> = proposal
        .never
        .iter()
        .map(|it| {
            json!({ "row": it.row, "service": it.service, "what": it.what, "others": it.others })
        })
        .collect();
    let denied: Vec<Value> = proposal.proof.denied.iter().map(flow_json).collect();
    json!({
        "schema": SCHEMA,
        "period": seen.period.map(|(first, last)| json!({ "first": first, "last": last })),
        "flows": seen.flows.len(),
        "admitted": proposal.admitted,
        "blocked": seen.blocked,
        "at_fault": seen.at_fault,
        "answers": seen.answers,
        "untold": seen.untold,
        "lost": seen.lost,
        "unread": seen.unread,
        "options": says(&proposal.options),
        "bind": bind,
        "ports": says(&proposal.ports),
        "nobody": nobody,
        "asked": asked,
        "scanners": scanners,
        "never": never,
        "proof": {
            "flows": proposal.proof.flows,
            "denied": denied,
            "errors": proposal.proof.errors,
        },
        "diff": proposal.diff(),
    })
}
