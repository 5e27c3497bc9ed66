//! Random configurations of the shipped products, as texts: each flow stands in one place of the
//! plan's JSON, and what the tables decide of a packet is what somebody reads off its rules.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::LazyLock;

use agent_common::event::Direction;
use agent_common::net::tcp;
use agent_common::verdict::Action;
use ipnet::IpNet;
use proptest::prelude::*;
use serde_json::Value;

use crate::compile::memory::Memory;
use crate::compile::resolve::tests as sample;
use crate::events::decode::Transport;
use crate::events::explain::probe::{Probe, echo_of};
use crate::host::{Input, load};
use crate::meaning::meaning;
use crate::plan::Plan;
use crate::policy::{Catalogue, Policy};

static CATALOGUE: LazyLock<Catalogue> = LazyLock::new(sample::catalogue);

/// Throws dice; the same bytes give the same configuration.
struct Dice<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Dice<'_> {
    fn below(&mut self, sides: usize) -> usize {
        let byte = self.bytes[self.at % self.bytes.len()];
        self.at += 1;
        (usize::from(byte) + self.at / self.bytes.len()) % sides.max(1)
    }

    fn one<'t, T: ?Sized>(&mut self, of: &[&'t T]) -> &'t T {
        of[self.below(of.len())]
    }
}

const PEERS: [&str; 8] = [
    "\"any\"",
    "\"none\"",
    "[\"10.7.0.0/16\", \"2001:db8:7::/48\"]",
    "[\"10.7.1.0/24\", \"10.8.0.1-10.8.0.9\"]",
    "\"@offices\"",
    "[\"10.0.0.11\", \"10.7.1.5\"]",
    "\"adapter2.example.com\"",
    "\"local-subnets\"",
];
/// Peers of probes: in the prefixes above, at their ends, and outside.
const PROBED: [&str; 14] = [
    "10.7.0.1",
    "10.7.1.5",
    "10.7.1.6",
    "10.8.0.0",
    "10.8.0.1",
    "10.8.0.9",
    "10.8.0.10",
    "10.1.0.21",
    "10.0.0.99",
    "172.16.5.5",
    "203.0.113.9",
    "2001:db8:7::1",
    "2001:db8:10::99",
    "2001:db8:ffff::1",
];
const PORTS: [u16; 10] = [22, 53, 80, 123, 443, 1433, 4000, 5000, 6005, 9999];

fn product(text: &mut String, policy: &Policy, dice: &mut Dice<'_>) {
    let id = policy.id();
    let some = |words: Vec<&str>, dice: &mut Dice<'_>| -> Vec<String> {
        let least = words[dice.below(words.len())];
        words
            .iter()
            .filter(|word| **word == least || dice.below(3) == 0)
            .map(|word| format!("{word:?}"))
            .collect()
    };
    let roles = some(policy.roles.keys().collect(), dice);
    let topologies = some(policy.topologies.keys().collect(), dice);
    let stage = dice.one(&[
        "stage = \"enforce\"",
        "stage = \"enforce\"",
        "stage = \"audit\"\naudit-until = 2027-01-01",
    ]);
    let _ = writeln!(
        text,
        "[product.{id}]\nroles = [{}]\ntopologies = [{}]\n{stage}",
        roles.join(", "),
        topologies.join(", ")
    );
    let _ = writeln!(text, "[product.{id}.options]");
    for (name, option) in policy.options.iter() {
        let choices: Vec<&str> = option
            .choices
            .iter()
            .map(|it| it.get_ref().as_str())
            .collect();
        match (dice.below(3), choices.is_empty()) {
            (0, _) => {}
            (side, true) => drop(writeln!(text, "{name} = {}", side == 1)),
            (_, false) => drop(writeln!(text, "{name} = {:?}", dice.one(&choices))),
        }
    }
    let _ = writeln!(text, "[product.{id}.versions]");
    for name in policy.versions.keys() {
        if let Some(version) = ["4.1.0", "99", "0.1"].get(dice.below(4)) {
            let _ = writeln!(text, "{name} = {version:?}");
        }
    }
    let _ = writeln!(text, "[product.{id}.peers]");
    for name in policy.roles.keys() {
        if dice.below(8) > 0 {
            let _ = writeln!(text, "{name} = {}", dice.one(&PEERS));
        }
    }
    let _ = writeln!(text, "[product.{id}.ports]");
    for (name, port) in policy.ports.iter() {
        match dice.below(4) {
            0 => drop(writeln!(text, "{name} = 5000")),
            1 if port.many => drop(writeln!(text, "{name} = [5000, \"6000-6010\"]")),
            _ => {}
        }
    }
    let _ = writeln!(text, "[product.{id}.groups]");
    for (name, group) in policy.groups.iter() {
        let members = if group.kind.is_some() {
            "[\"239.1.2.3\"]"
        } else {
            dice.one(&PEERS)
        };
        if dice.below(2) == 0 {
            let _ = writeln!(text, "{name} = {members}");
        }
    }
    let _ = writeln!(text, "[product.{id}.skip]");
    for row in &policy.rows {
        if dice.below(12) == 0 {
            let _ = writeln!(text, "\"{}\" = \"left out\"", row.id.get_ref());
        }
    }
}

/// A configuration: one or two products, and what the host says besides.
fn configuration(dice: &mut Dice<'_>) -> (String, Vec<&'static Policy>) {
    let mut text = "schema = 1\ninterfaces = [\"eth0\"]\n[default]\n".to_owned();
    for direction in ["ingress", "egress"] {
        if let Some(word) = ["deny", "audit", "open"].get(dice.below(4)) {
            let _ = writeln!(text, "{direction} = {word:?}");
        }
    }
    text += "audit-until = 2027-01-01\n[sets]\noffices = [\"10.7.0.0/20\", \"10.8.0.0/30\", \"2001:db8:7::/64\"]\n";
    let all: Vec<&'static Policy> = CATALOGUE.iter().map(|(_, policy)| policy).collect();
    let first = dice.below(all.len());
    let mut chosen = vec![all[first]];
    if dice.below(3) == 0 {
        chosen.push(all[(first + 1 + dice.below(all.len() - 1)) % all.len()]);
    }
    for policy in &chosen {
        product(&mut text, policy, dice);
    }
    for number in 0..dice.below(3) {
        let (direction, peers) = (dice.one(&["ingress", "egress"]), dice.one(&PEERS));
        let service = dice.one(&[
            "tcp = [443, \"5000-6005\"]",
            "udp = 53",
            "protocol = \"esp\"",
        ]);
        let expires = dice.one(&["", "expires = 2020-01-01\n", "expires = 2030-01-01\n"]);
        let _ = writeln!(
            text,
            "[allow.a{number}]\ndirection = {direction:?}\n{service}\npeers = {peers}\nreason = \"r\"\n{expires}"
        );
    }
    if dice.below(2) == 0 {
        let service = dice.one(&["", "tcp = \"1-1023\"", "udp = [53, 5000]"]);
        let peers = dice.one(&PEERS[2..]);
        let _ = writeln!(text, "[block.b]\npeers = {peers}\n{service}\nforce = true");
    }
    if dice.below(2) == 0 {
        let _ = writeln!(
            text,
            "[failsafe.ssh]\ntcp = [22, 443]\npeers = {}",
            dice.one(&PEERS)
        );
    }
    let _ = writeln!(
        text,
        "[baseline]\nicmp-echo = {{ in = {}, out = {} }}",
        dice.one(&PEERS),
        dice.one(&["false", "\"any\"", "\"@offices\""])
    );
    let _ = writeln!(
        text,
        "ntp = {}",
        dice.one(&["false", "\"any\"", "\"@offices\""])
    );
    (text, chosen)
}

fn words<'a>(value: &'a Value, key: &str) -> Vec<&'a str> {
    value[key]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it.as_str().unwrap())
        .collect()
}

fn rules<'a>(plan: &'a Value, direction: &str) -> &'a [Value] {
    plan[direction]["rules"].as_array().unwrap()
}

/// Every flow of every row of the products, and how often the JSON has it.
fn places(plan: &Value, policy: &Policy) -> Result<(), String> {
    let mut elsewhere: BTreeMap<(String, u64), Vec<&str>> = BTreeMap::new();
    for list in ["host_only", "inactive"] {
        for it in plan[list].as_array().unwrap() {
            let flow = (
                it["row"].as_str().unwrap().to_owned(),
                it["flow"].as_u64().unwrap(),
            );
            elsewhere.entry(flow).or_default().push(list);
        }
    }
    for it in words(plan, "other_roles") {
        let (row, flow) = it.split_once('#').unwrap();
        elsewhere
            .entry((row.to_owned(), flow.parse().unwrap()))
            .or_default()
            .push("other_roles");
    }
    let mut whole: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for list in ["undecided", "skipped"] {
        for it in plan[list].as_array().unwrap() {
            whole
                .entry(it["row"].as_str().unwrap())
                .or_default()
                .push(list);
        }
    }
    let both = ["ingress", "egress"].map(|direction| rules(plan, direction));
    for row in &policy.rows {
        let id = policy.row_id(row);
        let in_rules =
            both.iter().copied().flatten().any(|rule| {
                words(rule, "rows").contains(&id.as_str()) && !rule["product"].is_null()
            });
        let flows = row.parts().count() as u64;
        let whole = whole.get(id.as_str()).map_or(0, Vec::len);
        let told: Vec<usize> = (1..=flows)
            .map(|flow| elsewhere.get(&(id.clone(), flow)).map_or(0, Vec::len))
            .collect();
        let holds = match (whole, flows) {
            // The row as a whole: then nothing of it stands anywhere else.
            (1, _) => told.iter().all(|count| *count == 0) && !in_rules,
            (0, 0) => false,
            (0, _) => told.iter().all(|count| *count <= 1) && in_rules == told.contains(&0),
            _ => false,
        };
        if !holds {
            return Err(format!(
                "{id}: as a whole {whole}, flows {told:?}, in rules {in_rules}"
            ));
        }
    }
    Ok(())
}

/// A packet's verdict as one reads it off the plan: the block, failsafe, the rows with what the
/// host allows, what is on trial, the default; the first that matches decides.
fn naive(plan: &Value, direction: &str, transport: &str, port: &str, peer: IpAddr) -> &'static str {
    let matches = |rule: &Value| {
        let ours = rule["transport"] == transport || rule["transport"] == "any";
        let ports = words(rule, "ports");
        let number: Option<u16> = port.parse().ok();
        let on_port = ports.is_empty()
            || ports.iter().any(|range| {
                let (first, last) = range.split_once('-').unwrap_or((range, range));
                let (first, last): (u16, u16) = (first.parse().unwrap(), last.parse().unwrap());
                number.is_some_and(|number| (first..=last).contains(&number))
            });
        let admits = words(rule, "peers")
            .iter()
            .any(|prefix| *prefix == "any" || prefix.parse::<IpNet>().unwrap().contains(&peer));
        // DHCP is told by both its ports, which no probe has.
        let dhcp = rule["id"].as_str().unwrap().starts_with("baseline/dhcp");
        ours && on_port && admits && words(rule, "groups").is_empty() && !dhcp
    };
    let all = rules(plan, direction);
    let kind = |rule: &Value| {
        let id = rule["id"].as_str().unwrap();
        match id.split('/').next().unwrap() {
            "block" => 0,
            "failsafe" => 1,
            "audit" => 3,
            _ => 2,
        }
    };
    for rank in 0..=3 {
        if all.iter().any(|rule| kind(rule) == rank && matches(rule)) {
            return ["deny", "allow", "allow", "audit"][rank];
        }
    }
    match plan[direction]["default"].as_str().unwrap() {
        "open" => "allow",
        "audit" => "audit",
        _ => "deny",
    }
}

fn holds(bytes: &[u8]) -> Result<usize, String> {
    let mut dice = Dice { bytes, at: 0 };
    let (text, policies) = configuration(&mut dice);
    let (config, reading) = load(&Input::single("portcullis.toml", &text));
    let config = config.ok_or_else(|| format!("{text}\n{}", reading.render(false)))?;
    if reading.has_errors() {
        return Err(format!("{text}\n{}", reading.render(false)));
    }
    let facts = sample::facts();
    let meant = meaning(&config, &CATALOGUE, &facts, &reading);
    let Some(tables) = meant.tables else {
        return Err(meant.findings.render(false));
    };
    let plan = Plan {
        config: &config,
        catalogue: &CATALOGUE,
        facts: &facts,
        resolved: &meant.resolved,
        findings: &meant.findings,
        sizes: Some(&tables.sizes),
    };
    let plan = plan.json();
    for policy in policies {
        places(&plan, policy).map_err(|wrong| format!("{wrong}\n{text}"))?;
    }
    let host = Memory::new(Rc::new(tables));
    let mut passed = 0;
    for _ in 0..60 {
        let peer: IpAddr = dice.one(&PROBED).parse().unwrap();
        let own: IpAddr = if peer.is_ipv4() {
            "10.0.0.11"
        } else {
            "2001:db8:10::11"
        }
        .parse()
        .unwrap();
        let ingress = dice.below(2) == 0;
        // A port that a rule names, or one of the others.
        let named: Vec<u16> = rules(&plan, if ingress { "ingress" } else { "egress" })
            .iter()
            .flat_map(|rule| words(rule, "ports"))
            .filter_map(|range| range.split('-').next_back().unwrap().parse().ok())
            .collect();
        let port = match dice.below(4) {
            0 => PORTS[dice.below(PORTS.len())],
            _ => named.get(dice.below(named.len())).copied().unwrap_or(1),
        };
        let (transport, word, service) = match dice.below(8) {
            0 => (
                echo_of(peer),
                if peer.is_ipv4() { "icmp" } else { "icmpv6" },
                if peer.is_ipv4() { "8" } else { "128" }.to_owned(),
            ),
            1 => (Transport::Protocol(50), "esp", "-".to_owned()),
            2..5 => (Transport::Udp, "udp", port.to_string()),
            _ => (Transport::Tcp, "tcp", port.to_string()),
        };
        let probe = Probe {
            direction: if ingress {
                Direction::Ingress
            } else {
                Direction::Egress
            },
            transport,
            own,
            peer,
            source_port: 40_000,
            destination_port: port,
            tcp_flags: tcp::SYN,
        };
        let verdict = probe.judge(&host);
        let decided = match verdict.action() {
            Action::Allow => "allow",
            Action::Audit => "audit",
            Action::Deny => "deny",
        };
        let expected = naive(
            &plan,
            if ingress { "ingress" } else { "egress" },
            word,
            &service,
            peer,
        );
        if decided != expected {
            return Err(format!("{probe:?}: {verdict:?}, not {expected}\n{text}"));
        }
        passed += usize::from(decided != "deny");
    }
    Ok(passed)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn a_plan_has_each_flow_once_and_packets_do_as_it_says(bytes in prop::collection::vec(any::<u8>(), 200..400)) {
        if let Err(wrong) = holds(&bytes) {
            return Err(TestCaseError::fail(wrong));
        }
    }
}

/// The dice give configurations in which packets pass and are denied.
#[test]
fn packets_pass_and_are_denied() {
    let mut passed = 0;
    for seed in 0..20_u32 {
        let bytes: Vec<u8> = (0..300_u32)
            .map(|n| ((n * 7 + seed * 31 + n * n * 3) % 251) as u8)
            .collect();
        passed += holds(&bytes).unwrap_or_else(|wrong| panic!("{wrong}"));
    }
    assert!((200..1_000).contains(&passed), "{passed} of 1,200 passed");
}
