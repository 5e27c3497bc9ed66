use std::path::PathBuf;

use clap::Parser as _;

use super::*;
use crate::cli::{Cli, Command};

const CONFIG: &str = r#"
schema = 1
interfaces = ["eth0"]
[default]
egress = "deny"
[product.seal-output-engine]
roles = ["node"]
topologies = ["single-server"]
[product.seal-output-engine.peers]
print-client = ["10.1.0.0/16", "2001:db8:10::/48"]
api-client = "none"
admin-browser = ["10.0.200.0/24"]
[product.seal-output-engine.skip]
"single-server/3" = "plain text"
[block.incident-4711]
peers = ["192.0.2.0/24"]
reason = "incident 4711"
[failsafe.ssh]
tcp = [22]
peers = ["10.0.200.0/24"]
[baseline]
dns = ["10.0.0.53"]
"#;

const FACTS: &str = r#"{
  "schema": 1, "time": "2026-11-21T12:00:00Z", "hostname": "node1", "kernel": "6.12.0",
  "interfaces": [{
    "name": "eth0", "index": 2, "link_type": 1, "up": true, "mtu": 1500, "driver": null, "master": null, "parent": null,
    "addresses": [{ "address": "10.0.0.11/24", "broadcast": null }, { "address": "2001:db8:10::11/64", "broadcast": null }],
    "forwards_v4": false, "forwards_v6": false, "has_lease": false }],
  "resolvers": ["10.0.0.53"], "names": {}, "ephemeral": { "first": 32768, "last": 60999 }, "reserved_ports": [],
  "ssh_ports": [22], "listeners": null, "hz": 250, "cpus": 2
}"#;

/// A directory of this test alone, gone when it ends.
struct Host(PathBuf);

impl Host {
    fn new(name: &str) -> Self {
        Self::with(name, CONFIG)
    }

    fn with(name: &str, config: &str) -> Self {
        let name = format!("portcullis-explain-{}-{name}", std::process::id());
        let host = Self(std::env::temp_dir().join(name));
        std::fs::create_dir_all(&host.0).unwrap();
        host.write("portcullis.toml", config);
        host.write("facts.json", FACTS);
        host
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.0.join(name), text).unwrap();
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }

    fn explain(&self, words: &str) -> Outcome {
        let own = [
            "--config".to_owned(),
            self.path("portcullis.toml"),
            "--facts".to_owned(),
            self.path("facts.json"),
            "--policies".to_owned(),
            self.path("policies.d"),
        ];
        let words = words.split(' ').map(str::to_owned);
        let all = ["portcullis".to_owned(), "explain".to_owned()]
            .into_iter()
            .chain(words)
            .chain(own);
        match Cli::try_parse_from(all).unwrap().command {
            Command::Explain(args) => run(&args).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    fn json(&self, words: &str) -> Value {
        let outcome = self.explain(&format!("{words} --json"));
        serde_json::from_str(&outcome.stdout).unwrap_or_else(|error| panic!("{error}: {outcome:?}"))
    }

    #[track_caller]
    fn check(
        &self,
        words: &str,
        verdict: &str,
        reason: &str,
        rows: &[&str],
        near: (&str, &[&str]),
    ) {
        let found = self.json(words);
        let keys: Vec<&String> = found.as_object().unwrap().keys().collect();
        assert_eq!(
            keys,
            [
                "schema",
                "verdict",
                "reason",
                "rows",
                "near_rows",
                "difference"
            ]
        );
        assert_eq!(
            (
                &found["verdict"],
                &found["reason"],
                &found["rows"],
                &found["near_rows"]
            ),
            (
                &json!(verdict),
                &json!(reason),
                &json!(rows),
                &json!(near.1)
            ),
            "{words}"
        );
        let kind = found["difference"]["kind"].as_str().unwrap_or_default();
        assert_eq!(kind, near.0, "{words}");
        for (expected, status) in [(verdict, Status::Done), ("allow", Status::Failed)] {
            if expected == "allow" && verdict == "allow" {
                continue;
            }
            let outcome = self.explain(&format!("{words} --expect {expected}"));
            assert_eq!(
                outcome.status, status,
                "{words} --expect {expected}: {outcome:?}"
            );
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn the_decision_and_its_rows() {
    let host = Host::new("flows");
    let none = ("", &[][..]);
    let seal = |n: u32| format!("seal-output-engine/single-server/{n}");
    let (one, three, eleven) = (seal(1), seal(3), seal(11));
    for (words, verdict, reason, rows, near) in [
        (
            "--direction ingress --transport tcp --peer 10.1.0.7 --port 443",
            "allow",
            "rule",
            &[one.as_str()][..],
            none,
        ),
        (
            "--direction ingress --transport tcp --peer 2001:db8:10::7 --port 443",
            "allow",
            "rule",
            &[one.as_str()],
            none,
        ),
        (
            "--direction ingress --transport tcp --peer 10.9.9.9 --port 443",
            "deny",
            "no-rule",
            &[],
            ("peer", &[one.as_str()][..]),
        ),
        (
            "--direction ingress --transport tcp --peer 2001:db8:99::9 --port 9000",
            "deny",
            "no-rule",
            &[],
            ("peer", &[eleven.as_str()]),
        ),
        (
            "--direction ingress --transport tcp --peer 10.1.0.7 --port 631",
            "deny",
            "no-rule",
            &[],
            ("skipped", &[three.as_str()]),
        ),
        (
            "--direction ingress --transport tcp --peer 10.1.0.7 --port 444",
            "deny",
            "no-rule",
            &[],
            ("neighbour-port", &[one.as_str()]),
        ),
        (
            "--direction ingress --transport udp --peer 10.1.0.7 --port 443",
            "deny",
            "no-rule",
            &[],
            ("transport", &[one.as_str()]),
        ),
        (
            "--direction ingress --transport tcp --peer 192.0.2.7 --port 443",
            "deny",
            "block",
            &["block/incident-4711"],
            ("blocked", &["block/incident-4711"]),
        ),
        (
            "--direction ingress --transport tcp --peer 10.0.200.3 --port 22",
            "allow",
            "rule",
            &["failsafe/ssh"],
            none,
        ),
        (
            "--direction egress --transport udp --peer 10.0.0.53 --port 53",
            "allow",
            "rule",
            &["baseline/dns"],
            none,
        ),
        (
            "--direction egress --transport udp --peer 10.9.9.9 --port 53",
            "deny",
            "no-rule",
            &[],
            ("peer", &["baseline/dns"]),
        ),
        (
            // a port that no product documents, nor one beside it
            "--direction egress --transport tcp --peer 10.9.9.9 --port 19",
            "deny",
            "no-rule",
            &[],
            ("none", &[]),
        ),
        (
            "--direction ingress --transport icmp --peer 10.9.9.9",
            "allow",
            "rule",
            &["baseline/icmp-echo-in"],
            none,
        ),
        (
            "--direction egress --transport icmp --peer 2001:db8::1",
            "allow",
            "rule",
            &["baseline/icmp-echo-out"],
            none,
        ),
        (
            "--direction ingress --transport icmp --port 5 --peer 10.9.9.9",
            "deny",
            "redirect",
            &[],
            ("none", &[]),
        ),
        (
            "--direction ingress --transport gre --peer 10.9.9.9",
            "deny",
            "no-rule",
            &[],
            ("none", &[]),
        ),
    ] {
        host.check(words, verdict, reason, rows, near);
    }
}

#[test]
fn an_open_default_and_a_stage_are_told() {
    let config = CONFIG
        .replace("egress = \"deny\"", "egress = \"open\"")
        .replace(
            "topologies = [\"single-server\"]",
            "topologies = [\"single-server\"]\nstage = \"audit\"\naudit-until = 2027-01-01",
        );
    let host = Host::with("stage", &config);
    host.check(
        "--direction egress --transport tcp --peer 10.9.9.9 --port 25",
        "allow",
        "default",
        &[],
        ("", &[]),
    );
    host.check(
        "--direction ingress --transport tcp --peer 10.9.9.9 --port 443",
        "audit",
        "no-rule",
        &["audit/seal-output-engine"],
        ("peer", &["seal-output-engine/single-server/1"]),
    );
}

#[test]
fn text_for_people() {
    let host = Host::new("text");
    let outcome = host
        .explain("--direction ingress --transport tcp --peer 10.9.9.9 --port 443 --expect allow");
    assert_eq!(
        outcome.stdout,
        "deny (no-rule): ingress tcp/443 from 10.9.9.9
  near       seal-output-engine/single-server/1
  difference peer
  expected   ingress tcp/443 from print-client
  because    seal-ipp-checkin (seal-output-engine/single-server/1) is open to print-client only; 10.9.9.9 plays no role here
  remedy     print-client = [\"10.1.0.0/16\", \"2001:db8:10::/48\", \"10.9.9.9\"] # under [product.seal-output-engine.peers]
"
    );
    assert_eq!(
        outcome.stderr,
        "error: expected allow, but the answer is deny: ingress tcp/443 from 10.9.9.9\n"
    );
}

#[test]
fn events_are_explained_again() {
    use crate::events::Entry;
    use crate::events::fields::tests::sample;
    let host = Host::new("events");
    let entry = Entry::Denied(Box::new(sample()));
    let line = entry.json().to_string();
    host.write("event.json", &line);
    let words = format!("--event {}", host.path("event.json"));
    let found = host.json(&words);
    assert_eq!(found["difference"]["kind"], "peer");
    assert_eq!(
        found["near_rows"],
        json!(["seal-output-engine/single-server/1"])
    );

    // the same from the journal, whose values are texts
    let mut journal = serde_json::Map::new();
    for (name, value) in entry.journal_fields() {
        journal.insert(name.to_owned(), json!(value));
    }
    let journal = Value::Object(journal).to_string();
    host.write("event.json", &journal);
    assert_eq!(host.json(&words), found);

    // several, one of them a fragment
    let fragment = line.replace("\"no-rule\"", "\"fragment\"");
    host.write("event.json", &format!("{line}\n{fragment}\n{journal}\n"));
    let outcome = host.explain(&format!("{words} --json --expect deny"));
    assert_eq!(outcome.status, Status::Done);
    let reasons: Vec<Value> = outcome
        .stdout
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["reason"].clone())
        .collect();
    assert_eq!(reasons, ["no-rule", "fragment", "no-rule"]);
}

#[test]
fn what_can_not_be_asked_is_said() {
    let host = Host::new("wrong");
    let parse = |words: &str| {
        let words = words.split(' ');
        let all = ["portcullis", "explain"].into_iter().chain(words);
        Cli::try_parse_from(all).is_err()
    };
    assert!(parse("--direction ingress --transport tcp"));
    assert!(parse("--event - --peer 10.0.0.1"));
    host.write("event.json", "{\"verdict\": \"allow\"}");
    let path = host.path("event.json");
    let Command::Explain(args) = Cli::try_parse_from([
        "portcullis",
        "explain",
        "--event",
        &path,
        "--config",
        &host.path("portcullis.toml"),
        "--facts",
        &host.path("facts.json"),
    ])
    .unwrap()
    .command
    else {
        panic!("another command")
    };
    let error = format!("{:#}", run(&args).unwrap_err());
    assert_eq!(
        error,
        "event 1: verdict `allow` is neither `deny` nor `audit`"
    );
}

#[test]
fn a_wrong_configuration_is_shown() {
    let host = Host::with("findings", "schema = 1\ninterface = [\"eth0\"]\n");
    let outcome = host.explain("--direction ingress --transport tcp --peer 10.9.9.9 --port 443");
    assert_eq!(outcome.status, Status::Findings);
    assert!(outcome.stderr.contains("interface"), "{}", outcome.stderr);
}
