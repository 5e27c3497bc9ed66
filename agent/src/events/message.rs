//! The sentence of an entry: who, what, the row's service, the difference, the next step, in at most 300 characters.

use std::net::{IpAddr, SocketAddr};

use agent_common::event::Direction;
use agent_common::verdict::Action;

use super::aggregate::{Merged, Overflow};
use super::decode::Transport;
use super::explain::Explanation;
use super::fields::{Denied, Lost};

/// Characters that a sentence has at most.
pub(crate) const MOST: usize = 300;

/// Characters of a text that is cut for the sake of the step after it.
const LEAST_TEXT: usize = 80;

pub(super) fn denied(denied: &Denied) -> String {
    let head = head(&denied.merged);
    let explanation = &denied.explanation;
    // Who has read neither this nor a manual learns where a line belongs, as long as there is room to say it.
    let remedy = &explanation.remedy;
    let placed = place(remedy).map(|place| format!("{remedy}{place}"));
    let steps = [placed.as_ref(), Some(remedy), Some(&explanation.step)];
    for step in steps.into_iter().flatten() {
        let step = led(explanation, step);
        let whole = format!("{head}: {}; {step}", explanation.text);
        if whole.chars().count() <= MOST {
            return whole;
        }
    }
    // The step matters more than the end of the text.
    let step = led(explanation, &explanation.step);
    let room = MOST.saturating_sub(head.chars().count() + step.chars().count() + 4);
    let text = cut(&explanation.text, room.max(LEAST_TEXT));
    cut(&format!("{head}: {text}; {step}"), MOST)
}

/// Where a line to paste belongs: it ends with its table in a comment, or it is a table by itself.
fn place(remedy: &str) -> Option<&'static str> {
    if remedy.contains(" # ") && remedy.ends_with(']') {
        Some(" of portcullis.toml, then `portcullis apply`")
    } else if remedy.ends_with('}') {
        Some(" in a file of its own in conf.d, then `portcullis apply`")
    } else {
        None
    }
}

/// The next step, with what it hangs on.
fn led(explanation: &Explanation, step: &str) -> String {
    let lead = explanation.condition.as_deref().unwrap_or("next");
    format!("{lead}: {step}")
}

pub(super) fn overflow(overflow: &Overflow) -> String {
    cut(
        &format!(
            "denied or audited {} more packets of so many kinds that only the first {} are told apart; nothing is lost from the counters; \
             a scan, or spoofed sources: see the entries before this one",
            overflow.count, overflow.capacity
        ),
        MOST,
    )
}

pub(super) fn lost(lost: &Lost) -> String {
    cut(
        &format!(
            "{} entries about {} denied packets could not be delivered here between {} and {}: the reader was gone or too slow; the \
             packets are counted in status",
            lost.entries,
            lost.count,
            seconds(lost.first),
            seconds(lost.last)
        ),
        MOST,
    )
}

fn seconds(time: jiff::Timestamp) -> String {
    format!("{time:.0}")
}

/// Who and what.
fn head(merged: &Merged) -> String {
    let denial = &merged.denial;
    let verb = match denial.action {
        Action::Audit => "passed by audit, else denied",
        Action::Deny | Action::Allow => "denied",
    };
    let times = match (merged.repeats, merged.count) {
        (false, _) => String::new(),
        (true, 1) => " once more".to_owned(),
        (true, count) => format!(" {count} times more"),
    };
    let kind = match denial.transport {
        Transport::Icmp(kind, code) | Transport::Icmpv6(kind, code) => {
            format!(" type {kind} code {code}")
        }
        _ => String::new(),
    };
    // A summary stands for many source ports.
    let source_port = denial.source_port.filter(|_| !merged.repeats);
    let flow = match (denial.source, denial.destination) {
        (Some(source), Some(destination)) => format!(
            " {} > {}",
            end(source, source_port),
            end(destination, denial.destination_port)
        ),
        _ => String::new(),
    };
    let way = match denial.direction {
        Direction::Ingress => "in",
        Direction::Egress => "out",
    };
    format!(
        "{verb}{times} {}{kind}{flow} {way} on {}",
        denial.transport, denial.interface
    )
}

fn end(address: IpAddr, port: Option<u16>) -> String {
    match port {
        Some(port) => SocketAddr::new(address, port).to_string(),
        None => address.to_string(),
    }
}

/// The first `most` characters, with an ellipsis where something is cut.
pub(crate) fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        None => text.to_owned(),
        Some(_) => {
            let kept: String = text.chars().take(most.saturating_sub(1)).collect();
            format!("{}…", kept.trim_end())
        }
    }
}
