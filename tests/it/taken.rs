//! What somebody else takes away, and what is taken away on purpose.

use std::time::{Duration, Instant};

use portcullis_tests::daemon::{
    Agent, CONFIGURATION, portcullis, portcullis_json, portcullis_text,
};
use portcullis_tests::process::wait_for;
use portcullis_tests::service::Services;
use serde_json::Value;

use crate::site::{LIMIT, SERVER, SILENCE, Site, configuration, reaches};

/// How soon the agent must notice that something was taken away.
const NOTICED: Duration = Duration::from_secs(5);
/// How soon it must be back: mostly within the same five seconds, and later where the machine is busy with other things.
const BACK: Duration = Duration::from_secs(30);

fn put_back(status: &Value) -> u64 {
    status["counters"]["put_back"].as_u64().unwrap()
}

#[track_caller]
fn check_put_back(hook: &str, side: &str) {
    let site = Site::new();
    let mut services = Services::new();
    services.tcp(&site.server, 443, "printed").unwrap();
    let text = configuration(hook, "deny", "");
    let mut agent = Agent::start(&site.server, &text, "json").unwrap();
    let status = || portcullis_json(&site.server, &["status", "--json"]).unwrap();
    let before = status();
    let filter = &before["interfaces"][0][side];
    let link = filter["link"].as_u64().expect("a link");
    let taken = Instant::now();
    site.server
        .text(&format!("bpftool link detach id {link}"))
        .unwrap();
    wait_for("the first error", NOTICED, || {
        let log = agent.log();
        let told = log.contains("eth0: what was attached is gone");
        Ok(told.then_some(()))
    })
    .unwrap();
    assert!(taken.elapsed() < NOTICED, "{:?}", taken.elapsed());
    wait_for("what was taken away", BACK, || {
        Ok((put_back(&status()) == put_back(&before) + 1).then_some(()))
    })
    .unwrap();
    let after = status();
    assert_eq!(after["state"], "enforcing", "{after}");
    assert_ne!(after["interfaces"][0][side]["link"], link, "{after}");
    assert!(reaches(&site.client, SERVER[0], 443, LIMIT));
    assert!(!reaches(&site.stranger, SERVER[0], 443, SILENCE));
    wait_for("the second error", BACK, || {
        let log = agent.log();
        let told = log.contains("eth0: somebody took away what was attached");
        Ok(told.then_some(()))
    })
    .unwrap();
}

#[test]
fn a_link_that_is_taken_away_is_put_back() {
    check_put_back("tc", "ingress");
    check_put_back("tc", "egress");
    check_put_back("xdp", "ingress");
}

#[test]
fn what_is_detached_on_purpose_stays_so() {
    let site = Site::new();
    let mut services = Services::new();
    services.tcp(&site.server, 443, "printed").unwrap();
    let text = configuration("tc", "deny", "");
    let mut agent = Agent::start(&site.server, &text, "json").unwrap();
    for _ in 0..2 {
        portcullis_text(&site.server, &["detach"]).unwrap();
        wait_for("the agent to see it", BACK, || {
            Ok(agent
                .said()?
                .last()
                .is_some_and(|it| it.contains("detached"))
                .then_some(()))
        })
        .unwrap();
        assert!(reaches(&site.stranger, SERVER[0], 443, LIMIT));
        let status = portcullis_json(&site.server, &["status", "--json"]).unwrap();
        assert_eq!(status["state"], "detached", "{status}");
        portcullis_text(&site.server, &["reload"]).unwrap();
        assert!(!reaches(&site.stranger, SERVER[0], 443, SILENCE));
    }
}

#[test]
fn detach_works_with_everything_broken() {
    let site = Site::new();
    let mut services = Services::new();
    services.tcp(&site.server, 443, "printed").unwrap();
    let text = configuration("tc", "deny", "");
    let agent = Agent::start(&site.server, &text, "json").unwrap();
    agent.kill().unwrap();
    let server = &site.server;
    // No configuration, no policy, no state, no run time, no name server; tables that no version could read.
    server.write(CONFIGURATION, "][").unwrap();
    server
        .write("/etc/portcullis/policies.d/seal.toml", "\u{1}")
        .unwrap();
    server.resolve_by(&["10.88.250.1"]).unwrap();
    for directory in ["/run/portcullis", "/var/lib/portcullis"] {
        for file in server.list(directory).unwrap() {
            if file.ends_with(".sock") {
                continue;
            }
            server
                .write(&format!("{directory}/{file}"), "half a fi")
                .unwrap();
        }
    }
    let removed = server
        .output(
            "find /sys/fs/bpf/portcullis -path */tables/* -type f -delete",
            LIMIT,
        )
        .unwrap();
    assert!(removed.status.success(), "{removed:?}");
    assert!(!reaches(&site.stranger, SERVER[0], 443, SILENCE));
    let output = portcullis(server, &["detach"]).unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(reaches(&site.stranger, SERVER[0], 443, LIMIT));
    let attached = server.text("bpftool net show dev eth0").unwrap();
    assert!(!attached.contains("eth0("), "{attached}");
    let pins = server.list("/sys/fs/bpf").unwrap();
    assert!(!pins.iter().any(|it| it == "portcullis"), "{pins:?}");
}
