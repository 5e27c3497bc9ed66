//! The words for denials of every shipped product, each on a host of its own.
//!
//! `products/ID.toml` is the host, `products/ID.txt` what was asked and what the journal says of it. Who changes a wording reads the text
//! files anew: as somebody who knows the vendor's product, and neither this code nor its documents.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::PathBuf;

use agent_common::tables::Plane;

use super::ask::{message, question};
use super::fixtures::facts;
use crate::compile::resolve::resolve;
use crate::events::explain::knowledge::{Knowledge, KnownFlow};
use crate::events::explain::{Explanation, Question};
use crate::events::kinds::Kind;
use crate::host::check::check;
use crate::host::{Input, load};
use crate::policy::catalogue::embedded;
use crate::policy::{Catalogue, Transport as Carrier};
use crate::rule::Peers;

/// Set to write the text files instead of comparing them.
const WRITE: &str = "PORTCULLIS_WRITE_DENIALS";

fn file(id: &str, kind: &str) -> PathBuf {
    let directory = "src/events/explain/tests/products";
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(directory);
    directory.join(format!("{id}.{kind}"))
}

fn catalogue() -> Catalogue {
    let (catalogue, findings) = Catalogue::from_sources(embedded(), Vec::new());
    assert!(!findings.has_errors(), "{}", findings.render(false));
    catalogue
}

/// What is known on a product's host, whose configuration must be one that an operator could use.
fn host(catalogue: &Catalogue, id: &str) -> Knowledge {
    let text = std::fs::read_to_string(file(id, "toml")).unwrap_or_default();
    assert!(!text.is_empty(), "tests/products/{id}.toml is missing");
    let (config, findings) = load(&Input::single("portcullis.toml", &text));
    assert!(!findings.has_errors(), "{}", findings.render(false));
    let config = config.unwrap();
    let resolved = resolve(&config, catalogue, &facts());
    let findings = check(&config, catalogue, &facts(), &resolved);
    assert!(!findings.has_errors(), "{}", findings.render(false));
    Knowledge::gather(&config, catalogue, &facts(), &resolved)
}

/// A question, and what the journal's reader is told.
fn told(knowledge: &Knowledge, asked: &str) -> (Question, Explanation, String) {
    let question = question(asked);
    let explanation = knowledge.explain(&question);
    let message = message(&question, &explanation);
    (question, explanation, message)
}

/// The text file as it should be: its questions and comments, each question with its answer.
fn written_anew(knowledge: &Knowledge, text: &str) -> String {
    let mut anew = String::new();
    for line in text.lines().filter(|line| !line.starts_with("    ")) {
        writeln!(anew, "{line}").unwrap();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (_, found, message) = told(knowledge, line);
        let near = match found.near_rows.len() {
            0..=6 => found.near_rows.join(" "),
            many => format!("{} and {} more", found.near_rows[..6].join(" "), many - 6),
        };
        writeln!(
            anew,
            "{}",
            format!("    [{}] {near}", found.kind).trim_end()
        )
        .unwrap();
        writeln!(anew, "    {message}").unwrap();
        if !message.contains(&found.remedy) {
            writeln!(anew, "    remedy: {}", found.remedy).unwrap();
        }
    }
    anew
}

/// Whatever can be asked about the ports of any product, and their neighbours, by each role's first peer and by strangers.
fn everything(knowledge: &Knowledge) -> impl Iterator<Item = String> {
    let mut ports: BTreeSet<u16> = BTreeSet::from([22, 23, 53]);
    let mut transports: BTreeSet<String> = ["tcp", "udp"].map(str::to_owned).into();
    for flow in &knowledge.flows {
        if let Carrier::Protocol(number) = flow.carrier {
            transports.insert(number.to_string());
        }
        let moved = flow.moved.iter().map(|(_, range)| range);
        for range in flow.ports.iter().chain(moved) {
            let (before, after) = (range.first.saturating_sub(1), range.last.saturating_add(1));
            ports.extend([before.max(1), range.first, range.last, after]);
        }
    }
    let mut peers: BTreeSet<String> = ["198.51.100.9", "2001:db8:99::9"].map(str::to_owned).into();
    for binding in &knowledge.bindings {
        if let Peers::Prefixes(prefixes) = &binding.peers {
            peers.extend(
                prefixes
                    .first()
                    .map(|prefix| prefix.hosts().next().unwrap().to_string()),
            );
        }
    }
    let of_peer = move |peer: String| {
        let (transports, ports) = (transports.clone(), ports.clone());
        let ways = ["ingress", "egress"].into_iter();
        ways.flat_map(move |way| {
            let (peer, ports) = (peer.clone(), ports.clone());
            let carriers = transports.clone().into_iter();
            carriers.flat_map(move |carrier| {
                let peer = peer.clone();
                let ports = ports.clone().into_iter();
                ports.map(move |port| format!("{way} {carrier} {peer} {port}"))
            })
        })
    };
    let blocked = "ingress tcp 192.0.2.7 443 block".to_owned();
    let expired = "ingress tcp 10.0.5.7 9100".to_owned();
    peers
        .into_iter()
        .flat_map(of_peer)
        .chain([blocked, expired])
}

/// Kinds that this product's rows can give on its host, each with a question for it; what is wrong with a sentence goes to `report`.
fn kinds(knowledge: &Knowledge, id: &str, report: &mut String) -> BTreeMap<Kind, String> {
    let mut found = BTreeMap::new();
    let mut wrong = 0;
    for asked in everything(knowledge) {
        let (question, explanation, message) = told(knowledge, &asked);
        let mut faults = Vec::new();
        if message.chars().count() > 300 {
            faults.push("more than 300 characters".to_owned());
        }
        let near = |flow: &&KnownFlow| explanation.near_rows.contains(&flow.row);
        let mut services = knowledge
            .flows
            .iter()
            .filter(near)
            .map(|flow| &flow.service)
            .peekable();
        if services.peek().is_some() && !services.any(|service| message.contains(service.as_str()))
        {
            faults.push("no service".to_owned());
        }
        if !message.contains(&question.peer.unwrap().to_string()) {
            faults.push("no peer".to_owned());
        }
        if !message.contains(&explanation.remedy) && !message.ends_with(&explanation.step) {
            faults.push("no next step".to_owned());
        }
        // What is offered to be pasted is TOML, comment and all.
        let offered = explanation.remedy.rsplit(": ").next().unwrap_or_default();
        let offers = explanation.remedy.contains(" = ");
        if offers && toml::from_str::<toml::Table>(offered).is_err() {
            faults.push("no line to paste".to_owned());
        }
        for fault in faults {
            wrong += 1;
            if wrong <= 5 {
                writeln!(report, "{id}: {asked}: {fault}: {message}").unwrap();
            }
        }
        found.entry(explanation.kind).or_insert(asked);
    }
    found
}

#[test]
fn denials_of_every_product_read_alone() {
    let catalogue = catalogue();
    let mut of_all: BTreeSet<Kind> = BTreeSet::new();
    let mut report = String::new();
    for (id, _) in catalogue.iter() {
        let knowledge = host(&catalogue, id);
        let checked_in = std::fs::read_to_string(file(id, "txt")).unwrap_or_default();
        let anew = written_anew(&knowledge, &checked_in);
        if std::env::var_os(WRITE).is_some() {
            std::fs::write(file(id, "txt"), &anew).unwrap();
        } else if anew != checked_in {
            let mut pairs = anew.lines().zip(checked_in.lines());
            let differing = pairs.find(|(new, old)| new != old);
            let (new, old) = differing.unwrap_or(("more or fewer lines", ""));
            writeln!(report, "{id}.txt differs:\n  says {old}\n  now  {new}").unwrap();
        }
        for (kind, asked) in kinds(&knowledge, id, &mut report) {
            of_all.insert(kind);
            let heading = format!("    [{kind}]");
            if !anew.lines().any(|line| line.starts_with(&heading)) {
                writeln!(report, "{id}.txt has no `{kind}`; ask {asked}").unwrap();
            }
        }
    }
    let all = Kind::ALL.iter();
    let missing: Vec<&Kind> = all.filter(|kind| !of_all.contains(kind)).collect();
    if !missing.is_empty() {
        writeln!(report, "no product gives {missing:?}").unwrap();
    }
    assert!(
        report.is_empty(),
        "{report}\nwrite the files anew, and read them, with\n    {WRITE}=1 cargo test -p portcullis denials_of"
    );
}

/// The sentences that docs/denials.md quotes are some that are said, from their colon on.
#[test]
fn the_page_quotes_what_is_said() {
    const PAGE: &str = include_str!("../../../../../docs/denials.md");
    let plain = |text: &str| -> String {
        let words: Vec<&str> = text.split_whitespace().collect();
        words.join(" ").replace('`', "")
    };
    let said: String = catalogue()
        .iter()
        .map(|(id, _)| plain(&std::fs::read_to_string(file(id, "txt")).unwrap()))
        .collect();
    let quoted = PAGE
        .split(". `… ")
        .skip(1)
        .map(|text| text.split('`').next());
    let mut quotes = 0;
    for quote in quoted.flatten() {
        assert!(
            said.contains(&plain(quote)),
            "said nowhere: {}",
            plain(quote)
        );
        quotes += 1;
    }
    assert_eq!(quotes, 10);
}

/// What a stranger sends to a group that a rule names is near that rule, which the programs name; what it sends to this host is not.
#[test]
fn a_stranger_to_a_named_group() {
    let knowledge = host(&catalogue(), "spinetix");
    let rules = knowledge.index.at(Plane::IngressUdp, 5353);
    let named = rules.into_iter().find(|&index| {
        let rule = knowledge.rules.get(index);
        rule.is_some_and(|rule| rule.to_groups)
    });
    let named = named.map(|index| u16::try_from(index).unwrap());
    assert!(named.is_some(), "a rule for the group of mDNS");
    let near = |rule| {
        let question = Question {
            rule,
            ..question("ingress udp 10.9.9.9 5353")
        };
        let found = knowledge.explain(&question);
        (found.kind, found.near_rows.join(" "))
    };
    let (kind, rows) = near(named);
    assert_eq!(kind, Kind::Peer);
    assert!(rows.contains("spinetix/player-services/11"), "{rows}");
    assert_ne!(near(None).0, Kind::Peer);
}
