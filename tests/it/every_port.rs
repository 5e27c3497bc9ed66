//! Every port of a host of each product, over both families and at both hooks: what its plan opens to a peer answers that peer, and nothing
//! else answers anybody.

use std::collections::BTreeSet;
use std::time::Duration;

use portcullis::policy::catalogue::{Catalogue, embedded};
use portcullis_tests::daemon::{Agent, portcullis_json};
use portcullis_tests::netns::Namespace;
use portcullis_tests::scanner::{Over, scan};
use serde_json::Value;

use crate::scan::{node, planned, speaks_of_each_port};
use crate::site::{CLIENT, SERVER, STRANGER, Site};
use crate::verify::filled_in;

/// How long one run of another author's scanner may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where the client is; a network of the documentation stands for it in what `init` writes.
const CLIENTS: &str = r#""10.88.1.0/24", "fd88:0:0:1::/64""#;

/// What `init` writes for this role, with the client's networks for every peer, and these options on.
#[track_caller]
pub(crate) fn configuration(
    hook: &str,
    product: &str,
    role: &str,
    topology: &str,
    on: &[&str],
) -> String {
    let (catalogue, _) = Catalogue::from_sources(embedded(), Vec::new());
    let policy = catalogue.get(product).unwrap();
    let text = filled_in(&portcullis::init::text(policy, &[role], &[topology]));
    let text = text.replace(r#""192.0.2.0/24""#, CLIENTS);
    assert!(text.contains(CLIENTS), "{text}");
    let text = on.iter().fold(text, |text, option| {
        let (off, on) = (format!("\n{option} = false"), format!("\n{option} = true"));
        assert!(text.contains(&off), "{option}: {text}");
        // What is to be said with it alone.
        let said = |line: &str| match line.split_once("# with ") {
            Some((key, why)) if why.contains(option) => key[2..].trim_end().to_owned(),
            _ => line.to_owned(),
        };
        let text = text.replace(&off, &on);
        text.lines().map(said).collect::<Vec<_>>().join("\n")
    });
    text.replacen(
        "interfaces = ",
        &format!("hook = \"{hook}\"\ninterfaces = "),
        1,
    )
}

/// The transports, with the plan's word and the least that is to be open.
type Least = [(Over, &'static str, usize); 2];

#[track_caller]
fn check_site(hook: &str, what: &str, text: &str, least: Least) {
    let site = Site::new();
    speaks_of_each_port(&site.server);
    let mut agent = Agent::start(&site.server, text, "json").unwrap();
    let plan = portcullis_json(&site.server, &["plan", "--json"]).unwrap();
    for family in [0, 1] {
        for (over, transport, least) in least {
            let known = planned(&plan, transport, CLIENT[family]);
            assert!(
                known.len() >= least,
                "{what}, {transport} to a peer: {known:?}"
            );
            for (from, address) in [
                (&site.client, CLIENT[family]),
                (&site.stranger, STRANGER[family]),
            ] {
                let known = planned(&plan, transport, address);
                let scan = scan((from, address), (&site.server, SERVER[family])).unwrap();
                let seen = scan.answered(over).unwrap();
                assert_eq!(
                    seen, known,
                    "{what} at {hook}, {transport} from {address}: seen, and planned"
                );
            }
        }
    }
    agent.stop().unwrap();
}

#[track_caller]
fn check(hook: &str, [product, role, topology]: [&str; 3], on: &[&str], least: [usize; 2]) {
    let text = configuration(hook, product, role, topology, on);
    let least = [(Over::Tcp, "tcp", least[0]), (Over::Udp, "udp", least[1])];
    check_site(hook, &format!("{product}, {role}"), &text, least);
}

#[test]
fn of_a_seal_node() {
    let node = ["seal-output-engine", "node", "cluster"];
    check("xdp", node, &[], [40, 3]);
}

#[test]
fn of_a_soti_connect_server() {
    let server = ["soti-connect", "connect-server", "primary"];
    check("tc", server, &[], [3, 0]);
}

#[test]
fn of_a_soti_device_conductor() {
    let conductor = ["soti-connect", "conductor", "primary"];
    check("xdp", conductor, &["brother"], [2, 0]);
}

#[test]
fn of_a_1e_master_stack() {
    let master = ["1e-platform", "master-stack", "single-server"];
    check("xdp", master, &[], [3, 0]);
}

#[test]
fn of_a_tachyon_master_stack() {
    let master = ["tachyon", "master-stack", "single-server"];
    check("tc", master, &[], [3, 0]);
}

#[test]
fn of_a_spinetix_player() {
    let player = ["spinetix", "player", "default"];
    let on = ["snmp", "coap", "shared-variables-legacy"];
    check("xdp", player, &on, [7, 2]);
}

/// The ports that hping3 got any answer from: one probe each, to the ports in their order.
#[track_caller]
fn heard(from: &Namespace, kind: &str, to: &str) -> BTreeSet<u16> {
    let line = format!("hping3 {kind} -n -I eth0 -s 1024 -p ++1 -c 65535 -i u20 {to}");
    let output = from.output(&line, PATIENCE).unwrap();
    // It fails where nobody answers.
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        told.contains("65535 packets transmitted") || text.contains("65535 packets transmitted"),
        "{line}\n{text}{told}"
    );
    let numbers = text.lines().filter_map(|line| line.split("seq=").nth(1));
    let numbers = numbers.map(|rest| rest.split_whitespace().next().unwrap());
    numbers
        .map(|number| number.parse::<u16>().unwrap() + 1)
        .collect()
}

/// The same by hping3, which sends what it is told and counts what comes back.
#[track_caller]
fn check_hping3(hook: &str) {
    let site = Site::new();
    speaks_of_each_port(&site.server);
    let mut agent = Agent::start(&site.server, &node(hook), "json").unwrap();
    let plan: Value = portcullis_json(&site.server, &["plan", "--json"]).unwrap();
    for (transport, kind, least) in [("tcp", "-S", 40), ("udp", "--udp", 3)] {
        let known = planned(&plan, transport, CLIENT[0]);
        assert!(known.len() >= least, "{transport}: {known:?}");
        assert_eq!(heard(&site.client, kind, SERVER[0]), known, "{transport}");
        let known = planned(&plan, transport, STRANGER[0]);
        let seen = heard(&site.stranger, kind, SERVER[0]);
        assert_eq!(seen, known, "{transport} from a stranger");
    }
    agent.stop().unwrap();
}

#[test]
fn by_hping3_at_xdp() {
    check_hping3("xdp");
}

#[test]
#[ignore = "the same decision at the other hook: `cargo xtask test --long` runs it"]
fn by_hping3_at_tc() {
    check_hping3("tc");
}
