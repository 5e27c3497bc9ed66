//! The table at the end.

use super::flows::{Expected, Family};
use super::trial::{Outcome, Seen};

/// The table: a line for each flow, and for a denial a second one with the remedy.
pub(super) fn render(outcomes: &[Outcome]) -> String {
    let mut text = format!(
        "{:>3}  {:<34} {:<36} {:<8} {:<8} {}\n",
        "", "what", "flow", "expected", "seen", "row, or near miss"
    );
    for (number, outcome) in outcomes.iter().enumerate() {
        let flow = outcome.flow;
        let transport = match (flow.client.transport(), flow.family) {
            (Some(transport), _) => format!("{transport} {}", flow.port),
            (None, Family::V4) => "icmp".to_owned(),
            (None, Family::V6) => "icmpv6".to_owned(),
        };
        let family = match flow.family {
            Family::V4 => "IPv4",
            Family::V6 => "IPv6",
        };
        let way = format!(
            "{} > {} {transport} {family}",
            flow.from.name(),
            flow.to.name()
        );
        let expected = match flow.expected {
            Expected::Passes(_) => "passes",
            Expected::Denied(..) => "denied",
        };
        let (seen, cited, more) = seen(&outcome.seen);
        let mark = if outcome.right() { "" } else { "  <-- DIFFERS" };
        text.push_str(&format!(
            "{:>3}  {:<34} {way:<36} {expected:<8} {seen:<8} {cited}{mark}\n",
            number + 1,
            flow.what
        ));
        if let Some(more) = more {
            text.push_str(&format!("     {:34} {more}\n", ""));
        }
        if !outcome.right() {
            text.push_str(&format!(
                "     {:34} expected: {}\n",
                "",
                wanted(flow.expected)
            ));
        }
    }
    text
}

fn seen(seen: &Seen) -> (&'static str, String, Option<String>) {
    match seen {
        Seen::Passed { rows } => ("passes", rows.join(", "), None),
        Seen::Denied { kind, near, remedy } => {
            let near = if near.is_empty() {
                "no row comes near".to_owned()
            } else {
                near.join(", ")
            };
            (
                "denied",
                format!("{kind}: {near}"),
                (!remedy.is_empty()).then(|| format!("remedy: {remedy}")),
            )
        }
        Seen::Neither(words) => ("neither", words.clone(), None),
    }
}

fn wanted(expected: Expected) -> String {
    match expected {
        Expected::Passes(by) => format!("passes by {by}"),
        Expected::Denied(kind, "") => format!("denied, {kind}"),
        Expected::Denied(kind, near) => format!("denied, {kind}: {near}"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::FLOWS;
    use super::*;

    #[test]
    fn a_difference_is_marked() {
        let outcome = |rows: &[&str]| Outcome {
            flow: &FLOWS[0],
            seen: Seen::Passed {
                rows: rows.iter().map(ToString::to_string).collect(),
            },
        };
        let right = render(&[outcome(&["seal-output-engine/single-server/1"])]);
        assert!(!right.contains("DIFFERS"), "{right}");
        let wrong = render(&[outcome(&["seal-output-engine/single-server/2"])]);
        assert!(wrong.contains("DIFFERS") && wrong.contains("expected: passes by"));
    }
}
