//! From audit to enforcement: a cluster of three nodes, configured as `init` writes it, whose traffic makes its policy.

use std::collections::BTreeMap;
use std::time::Duration;

use portcullis_tests::daemon::{Agent, CONFIGURATION, portcullis, portcullis_text};
use portcullis_tests::journald::Journald;
use portcullis_tests::link::Switch;
use portcullis_tests::netns::Namespace;
use portcullis_tests::process::wait_for;
use portcullis_tests::service::Services;
use serde_json::Value;

use crate::site::{SILENCE, reaches};

const LIMIT: Duration = Duration::from_secs(20);
const NODES: [&str; 3] = ["10.77.0.1", "10.77.0.2", "10.77.0.3"];
/// Serf between data centres: documented, and used by nobody here.
const NEVER: u16 = 8302;
const NEVER_ROW: &str = "seal-output-engine/cluster/41";
const CLIENT: &str = "10.77.1.5";
const ADMIN: &str = "10.77.2.5";

/// What `init` writes, with every role bound to nobody and the product on trial.
#[track_caller]
fn configuration(host: &Namespace) -> String {
    let init = "init seal-output-engine --role node --topology cluster";
    let text = portcullis_text(host, &init.split(' ').collect::<Vec<_>>()).unwrap();
    let mut lines = Vec::new();
    for line in text.lines() {
        let key = line
            .strip_prefix("# ")
            .and_then(|line| line.split_once(" = "));
        lines.push(match key {
            Some(("interfaces", _)) => "interfaces = [\"eth0\"]".to_owned(),
            Some((role, rest)) if rest.contains("# FILL IN") => format!("{role} = \"none\""),
            _ if line.starts_with("stage = ") => {
                "stage = \"audit\"\naudit-until = 2199-12-31".to_owned()
            }
            _ => line.to_owned(),
        });
    }
    let text = lines.join("\n") + "\n";
    assert!(
        !text.contains("# FILL IN\n") && text.contains("print-client = \"none\""),
        "{text}"
    );
    text
}

/// The TCP ports that the document lists for a node, by who asks: other nodes, clients, administrators.
#[track_caller]
fn documented(host: &Namespace) -> BTreeMap<String, Vec<u16>> {
    let show = "policy show seal-output-engine --role node --topology cluster --format json";
    let text = portcullis_text(host, &show.split(' ').collect::<Vec<_>>()).unwrap();
    let policy: Value = serde_json::from_str(&text).unwrap();
    let mut ports: BTreeMap<String, Vec<u16>> = BTreeMap::new();
    let rows = policy["rows"].as_array().unwrap().iter();
    for flow in rows
        .filter(|row| row["table"] == "cluster" && row["requirement"] == "required")
        .flat_map(|row| row["flows"].as_array().unwrap())
        .filter(|flow| {
            flow["transport"] == "tcp" && flow["when"].as_array().is_none_or(Vec::is_empty)
        })
    {
        for from in flow["from"].as_array().unwrap() {
            let known = ports.entry(from.as_str().unwrap().to_owned()).or_default();
            let printed = flow["ports"].as_array().unwrap().iter();
            let numbers = printed.map(|port| port.as_str().unwrap().parse::<u16>().unwrap());
            known.extend(numbers);
        }
    }
    ports
}

/// A node with its listeners, its journal and its agent.
struct Node<'a> {
    host: &'a Namespace,
    _services: Services,
    journal: Journald<'a>,
    agent: Agent,
}

#[test]
fn an_audited_cluster_becomes_an_enforced_one() {
    let switch = Switch::new().unwrap();
    let host = |name: &str, address: &str| {
        let host = Namespace::new(name).unwrap();
        switch
            .plug(&host, "eth0", &[&format!("{address}/16")])
            .unwrap();
        host
    };
    let hosts = [
        host("node1", NODES[0]),
        host("node2", NODES[1]),
        host("node3", NODES[2]),
    ];
    let (client, admin) = (host("client", CLIENT), host("admin", ADMIN));
    let mut ports = documented(&hosts[0]);
    // Nobody has a second data centre.
    let of_nodes = ports.get_mut("node").unwrap();
    of_nodes.retain(|port| *port != NEVER);
    let (of_nodes, of_clients) = (&ports["node"], &ports["print-client"]);
    let of_admins = &ports["admin-browser"];
    assert!(of_nodes.len() > 30 && of_clients.len() >= 3, "{ports:?}");
    let text = configuration(&hosts[0]);
    let mut nodes: Vec<Node<'_>> = hosts
        .iter()
        .map(|host| {
            let mut services = Services::new();
            let mut all: Vec<u16> = ports.values().flatten().copied().chain([9999]).collect();
            all.sort_unstable();
            all.dedup();
            for port in all {
                services.tcp(host, port, "service").unwrap();
            }
            let journal = Journald::start(host).unwrap();
            // Each peer's own budget is small, and a few dozen ports come at once.
            let text = format!("{text}\n[events]\nacquaintances = {{ peer = 500, all = 1000 }}\nstrangers = {{ peer = 500, all = 1000 }}\n");
            let agent = Agent::start(host, &text, "journal").unwrap();
            Node {
                host,
                _services: services,
                journal,
                agent,
            }
        })
        .collect();

    // Everything that is documented and in use, on trial: it passes. So does what a telnet of somebody's wants, and is denied.
    let traffic = || -> Vec<String> {
        let mut denied = Vec::new();
        let mut ask = |from: &Namespace, to: &str, ports: &[u16]| {
            for &port in ports {
                if !reaches(from, to, port, LIMIT) {
                    denied.push(format!("{} > {to}:{port}", from.name()));
                }
            }
        };
        for to in NODES {
            for (from, own) in hosts.iter().zip(NODES).filter(|(_, own)| *own != to) {
                assert_ne!(own, to);
                ask(from, to, of_nodes);
            }
            ask(&client, to, of_clients);
            ask(&admin, to, of_admins);
        }
        denied
    };
    assert_eq!(traffic(), Vec::<String>::new(), "on trial");
    assert!(
        !reaches(&client, NODES[0], 9999, SILENCE),
        "no row names it"
    );
    for node in &nodes {
        let wanted = 2 * of_nodes.len() + of_clients.len() + of_admins.len();
        wait_for("all of it in the journal", LIMIT, || {
            let entries = node.journal.entries(&["PORTCULLIS_VERDICT=audit"])?;
            Ok((entries.len() >= wanted).then_some(()))
        })
        .unwrap();
    }

    // Of each node: a diff that `patch` takes, and the rest apart.
    for node in &nodes {
        let output = portcullis(node.host, &["suggest", "--enforce"]).unwrap();
        let (diff, talk) = (
            String::from_utf8(output.stdout).unwrap(),
            String::from_utf8(output.stderr).unwrap(),
        );
        assert!(output.status.success(), "{talk}");
        assert!(diff.contains("+stage = \"enforce\""), "{diff}{talk}");
        assert!(!diff.contains("9999"), "{diff}");
        let proved = talk.lines().find(|line| line.starts_with("proved: "));
        let words = proved.unwrap_or(&talk).split(' ');
        let numbers: Vec<usize> = words.filter_map(|word| word.parse().ok()).collect();
        let least = 2 * of_nodes.len() + of_clients.len() + of_admins.len();
        assert!(
            numbers.len() == 2 && numbers[0] == numbers[1] && numbers[0] >= least,
            "{talk}"
        );
        if node.host.name() == "node1" {
            let question = format!("in tcp/9999 from {CLIENT}");
            assert!(talk.contains(&question), "{talk}");
        } else {
            assert!(!talk.contains("9999"), "{talk}");
        }
        let never = talk
            .split("\ndocumented, and not seen in this period:\n")
            .nth(1);
        assert!(
            never.is_some_and(|it| it.trim_start().starts_with(NEVER_ROW)),
            "{talk}"
        );
        node.host
            .write("/etc/portcullis/suggested.diff", &diff)
            .unwrap();
        node.host
            .text("patch --directory=/ --strip=1 --input=/etc/portcullis/suggested.diff")
            .unwrap();
        let written = node.host.read(CONFIGURATION).unwrap();
        let others: Vec<String> = NODES
            .iter()
            .filter(|it| !node.host.ip("-4 addr show dev eth0").unwrap().contains(*it))
            .map(|it| format!("\"{it}\""))
            .collect();
        for line in [
            format!("node = [{}]", others.join(", ")),
            format!("print-client = [\"{CLIENT}\"]"),
            format!("admin-browser = [\"{ADMIN}\"]"),
            "api-client = \"none\"".to_owned(),
        ] {
            assert!(written.contains(&line), "{line} is not in\n{written}");
        }
        portcullis_text(node.host, &["apply"]).unwrap();
    }

    // Enforced: the same passes, and nothing that is documented is denied.
    assert_eq!(traffic(), Vec::<String>::new(), "enforced");
    for node in &mut nodes {
        let status = portcullis_text(node.host, &["status", "--json"]).unwrap();
        let status: Value = serde_json::from_str(&status).unwrap();
        assert_eq!(status["state"], "enforcing", "{status}");
        let denied = node
            .journal
            .entries(&["PORTCULLIS_VERDICT=deny", "PORTCULLIS_TRANSPORT=tcp"])
            .unwrap();
        let documented: Vec<_> = denied
            .iter()
            .filter(|it| it["PORTCULLIS_SRC"] != CLIENT)
            .collect();
        assert!(documented.is_empty(), "{documented:?}");
        // What is left to propose is nothing: the daemon's counters know the rows in use.
        let output = portcullis(node.host, &["suggest"]).unwrap();
        assert!(
            output.stdout.is_empty(),
            "{}",
            String::from_utf8_lossy(&output.stdout)
        );
    }
    // The others are kept out now.
    assert!(!reaches(&client, NODES[0], of_nodes[0], SILENCE));
    for node in &mut nodes {
        node.agent.stop().unwrap();
    }
}
