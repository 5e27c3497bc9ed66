//! Who reaches whom, drawn: this host in the middle, who comes to it on the left, whom it goes to on the right.

use agent_common::event::Direction;
use maud::{Markup, html};

use super::{Report, addresses, some};
use crate::events::explain::documented::Standing;
use crate::rule::{DefaultAction, Precedence};

/// Measures in SVG units.
const WIDTH: usize = 1000;
const BOX: usize = 270;
const LINE: usize = 16;
const GAP: usize = 14;
/// Above the boxes.
const TOP: usize = GAP + LINE;
/// Characters of a line in a box.
const CHARACTERS: usize = 38;
/// Peers that a box names before it only counts them.
const FEW: usize = 6;

/// Somebody at the other end.
struct Other {
    name: String,
    lines: Vec<String>,
    /// Whether anything is open to them.
    reached: bool,
}

impl Other {
    fn height(&self) -> usize {
        (self.lines.len() + 1) * LINE + GAP
    }
}

/// The drawing.
pub(super) fn diagram(report: &Report<'_>) -> Markup {
    let [left, right] = [Direction::Ingress, Direction::Egress].map(|direction| {
        let mut all = others(report, direction);
        all.extend(beside(report, direction));
        all.push(rest(report, direction));
        all
    });
    let tall = |others: &[Other]| others.iter().map(|it| it.height() + GAP).sum::<usize>();
    let height = tall(&left).max(tall(&right)).max(6 * LINE) + TOP;
    let middle = (WIDTH - BOX) / 2;
    let roles: Vec<String> = report
        .products()
        .map(|(product, policy)| {
            let roles: Vec<&str> = product
                .roles
                .iter()
                .map(|it| it.get_ref().as_str())
                .collect();
            format!("{}: {}", policy.name, roles.join(", "))
        })
        .flat_map(|text| wrapped(&text))
        .collect();
    let title = "connections that are in force: who comes to this host, and whom it reaches";
    html! {
        svg.diagram viewBox=(format!("-1 0 {} {height}", WIDTH + 2)) role="img" aria-label=(title) xmlns="http://www.w3.org/2000/svg" {
            title { (title) }
            defs {
                marker #arrow markerWidth="9" markerHeight="9" refX="8" refY="4.5" orient="auto" {
                    path d="M0,0 L9,4.5 L0,9 z" {}
                }
            }
            rect.host x=(middle) y=(TOP) width=(BOX) height=(height - TOP - GAP) rx="6" {}
            text.name x=(middle + 10) y=(TOP + LINE + 2) { (report.facts.hostname) }
            @for (at, line) in roles.iter().enumerate() {
                text x=(middle + 10) y=(TOP + (at + 2) * LINE + 2) { (line) }
            }
            text.head x="2" y=(LINE - 4) { "comes in" }
            text.head x=(WIDTH - BOX + 2) y=(LINE - 4) { "goes out" }
            (column(&left, 0, (BOX, middle)))
            (column(&right, WIDTH - BOX, (middle + BOX, WIDTH - BOX)))
        }
    }
}

/// Boxes one below the other, each with an arrow from the first to the second of these columns.
fn column(others: &[Other], x: usize, (from, to): (usize, usize)) -> Markup {
    let mut y = TOP;
    let mut places = Vec::new();
    for other in others {
        places.push((y, other));
        y += other.height() + GAP;
    }
    html! {
        @for (y, other) in places {
            @let centre = y + other.height() / 2;
            rect.other.rest[!other.reached] x=(x) y=(y) width=(BOX) height=(other.height()) rx="6" {}
            text.name x=(x + 10) y=(y + LINE + 2) { (other.name) }
            @for (at, line) in other.lines.iter().enumerate() {
                text x=(x + 10) y=(y + (at + 2) * LINE + 2) { (line) }
            }
            @if other.reached {
                line.arrow x1=(from) y1=(centre) x2=(to) y2=(centre) marker-end="url(#arrow)" {}
            }
        }
    }
}

/// The roles at the other end with whom they are bound to and the ports in force, in the order of the documents.
fn others(report: &Report<'_>, direction: Direction) -> Vec<Other> {
    let mut found: Vec<(String, String, Vec<String>)> = Vec::new();
    for flow in report.knowledge.documented() {
        if flow.direction != direction || flow.standing != Standing::Open {
            continue;
        }
        for role in &flow.others {
            let place = found
                .iter()
                .position(|(product, name, _)| *product == flow.product && name == role);
            let place = place.unwrap_or_else(|| {
                found.push((flow.product.clone(), role.clone(), Vec::new()));
                found.len() - 1
            });
            for port in &flow.ports {
                let what = format!("{} {port}", flow.carrier);
                if let Some((_, _, ports)) = found.get_mut(place)
                    && !ports.contains(&what)
                {
                    ports.push(what);
                }
            }
        }
    }
    let several = report.config.products.len() > 1;
    let others = found.into_iter().filter_map(|(product, role, ports)| {
        let of = report
            .config
            .products
            .iter()
            .find(|it| it.name == product)?;
        let bound = of.peers.get(&role).or_else(|| of.groups.get(&role));
        // Whom nobody plays draws no arrow, though another role of the same row may.
        if bound.is_some_and(|peers| peers.is_nobody()) {
            return None;
        }
        let who = bound.map(|peers| match peers.is_any() {
            true => "anyone".to_owned(),
            false => {
                let entries = peers.entries().iter().map(|it| match &it.set {
                    Some(set) => format!("@{set}"),
                    None => it.peer.to_string(),
                });
                let mut words: Vec<String> = entries.collect();
                words.dedup();
                some(&words, FEW)
            }
        });
        let mut lines = wrapped(&who.unwrap_or_else(|| "as the document names them".to_owned()));
        lines.extend(wrapped(&by_transport(&ports)));
        let name = if several {
            format!("{role} ({product})")
        } else {
            role
        };
        Some(Other {
            name,
            lines,
            reached: true,
        })
    });
    others.collect()
}

/// Block lists, ways in for the administrator and exceptions, one box each; what a host needs to live in one; what a trial lets pass.
fn beside(report: &Report<'_>, direction: Direction) -> Vec<Other> {
    let mut found: Vec<(&str, Vec<String>, Vec<String>)> = Vec::new();
    let mut needs: Vec<&str> = Vec::new();
    let mut trials: Vec<&str> = Vec::new();
    for rule in &report.resolved.rule_set.rules {
        let of_row = rule.precedence == Precedence::Allow && rule.product.is_some();
        if of_row || rule.direction != direction {
            continue;
        }
        if rule.precedence == Precedence::AuditStage {
            if !trials.contains(&rule.id.as_str()) {
                trials.push(&rule.id);
            }
            continue;
        }
        if let Some(need) = rule.id.strip_prefix("baseline/") {
            if !needs.contains(&need) {
                needs.push(need);
            }
            continue;
        }
        let ports = rule.service.ports(direction);
        let services: Vec<String> = match ports.is_empty() {
            true => vec![rule.service.transport()],
            false => ports
                .iter()
                .map(|port| format!("{} {port}", rule.service.transport()))
                .collect(),
        };
        let place = found.iter().position(|(id, ..)| *id == rule.id);
        let place = place.unwrap_or_else(|| {
            found.push((&rule.id, Vec::new(), Vec::new()));
            found.len() - 1
        });
        if let Some((_, peers, all)) = found.get_mut(place) {
            for (list, words) in [(peers, addresses(&rule.peers)), (all, services)] {
                for word in words {
                    if !list.contains(&word) {
                        list.push(word);
                    }
                }
            }
        }
    }
    let exceptions = found.into_iter().map(|(id, peers, services)| {
        let who = match peers.as_slice() {
            [any] if any == "any" => "anyone".to_owned(),
            peers => some(peers, FEW),
        };
        let mut lines = wrapped(&who);
        let reached = !id.starts_with("block/");
        if reached {
            lines.extend(wrapped(&by_transport(&services)));
        } else {
            lines.push("denied, before anything else".to_owned());
        }
        Other {
            name: id.to_owned(),
            lines,
            reached,
        }
    });
    let mut all: Vec<Other> = exceptions.collect();
    if !needs.is_empty() {
        all.push(Other {
            name: "baseline".to_owned(),
            lines: wrapped(&needs.join(", ")),
            reached: true,
        });
    }
    all.extend(trials.into_iter().map(|id| Other {
        name: id.to_owned(),
        lines: wrapped("anyone, at ports that the document names: passes, and is reported"),
        reached: true,
    }));
    all
}

/// What becomes of everything else.
fn rest(report: &Report<'_>, direction: Direction) -> Other {
    let default = match direction {
        Direction::Ingress => report.resolved.rule_set.ingress,
        Direction::Egress => report.resolved.rule_set.egress,
    };
    let (what, reached) = match default {
        DefaultAction::Deny => ("denied", false),
        DefaultAction::Audit => ("passes, and is reported", true),
        DefaultAction::Open => ("passes", true),
    };
    Other {
        name: "everything else".to_owned(),
        lines: vec![what.to_owned()],
        reached,
    }
}

/// `tcp 443, 515; udp 53`.
pub(super) fn by_transport(services: &[String]) -> String {
    let mut found: Vec<(&str, Vec<&str>)> = Vec::new();
    for service in services {
        let (transport, port) = service.split_once(' ').unwrap_or((service, ""));
        match found.iter_mut().find(|(other, _)| *other == transport) {
            Some((_, ports)) => ports.push(port),
            None => found.push((transport, vec![port])),
        }
    }
    let words = found.into_iter().map(|(transport, ports)| {
        let words = format!("{transport} {}", ports.join(", "));
        words.trim_end().to_owned()
    });
    words.collect::<Vec<_>>().join("; ")
}

/// Lines of words that fit into a box.
fn wrapped(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= CHARACTERS => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}
