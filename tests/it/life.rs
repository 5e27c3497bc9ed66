//! The agent's life: killed, started again, detached.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use portcullis_tests::daemon::{Agent, portcullis_json, portcullis_text};
use portcullis_tests::service::Services;

use crate::site::{
    CLIENT, LIMIT, SERVER, SILENCE, Site, configuration, counters, denied, pinned, reaches,
};

#[track_caller]
fn check_life(hook: &str) {
    let site = Site::new();
    let mut services = Services::new();
    services.tcp(&site.server, 443, "printed").unwrap();
    let enforced = |what: &str| {
        for family in [0, 1] {
            assert!(
                reaches(&site.client, SERVER[family], 443, LIMIT),
                "{hook}, {what}: {} can't print",
                CLIENT[family]
            );
            let before = denied(&counters(&site.server));
            assert!(
                !reaches(&site.stranger, SERVER[family], 443, SILENCE),
                "{hook}, {what}: a stranger can print"
            );
            assert!(
                denied(&counters(&site.server)) > before,
                "{hook}, {what}: the stranger's packet was not counted"
            );
        }
    };
    let agent = Agent::start(&site.server, &configuration(hook, "deny", ""), "json").unwrap();
    enforced("started");
    let generation = pinned(&site.server, |pinned| pinned.switch().unwrap().generation());
    agent.kill().unwrap();
    enforced("killed");
    let status = portcullis_json(&site.server, &["status", "--json"]).unwrap();
    assert_ne!(status["daemon"], true, "{status}");

    // A stranger who tries all the time never gets through while the next start takes over.
    let over = AtomicBool::new(false);
    let mut agent = thread::scope(|scope| {
        let stranger = scope.spawn(|| {
            let mut tries = 0;
            while !over.load(Ordering::Relaxed) {
                tries += 1;
                let got = reaches(&site.stranger, SERVER[0], 443, Duration::from_millis(10));
                assert!(!got, "try {tries} got through");
            }
            tries
        });
        let agent = Agent::start_as_it_stands(&site.server, "json");
        over.store(true, Ordering::Relaxed);
        assert!(stranger.join().unwrap() > 0);
        agent.unwrap()
    });
    enforced("started again");
    let next = pinned(&site.server, |pinned| pinned.switch().unwrap().generation());
    assert!(next >= generation, "generation {next} after {generation}");

    agent.stop().unwrap();
    enforced("stopped");
    portcullis_text(&site.server, &["detach"]).unwrap();
    assert!(
        reaches(&site.stranger, SERVER[0], 443, LIMIT),
        "still enforced"
    );
    // The two that every bpffs has (kernel/bpf/inode.c, populate_bpffs).
    let built_in = ["maps.debug", "progs.debug"];
    let mut pins = site.server.list("/sys/fs/bpf").unwrap();
    pins.retain(|name| !built_in.contains(&name.as_str()));
    assert_eq!(pins, Vec::<String>::new(), "{hook}: pins are left");
    let status = portcullis_json(&site.server, &["status", "--json"]).unwrap();
    assert_eq!(status["state"], "detached", "{hook}: {status}");
    let link = site.server.ip("-details link show dev eth0").unwrap();
    assert!(!link.contains("xdp"), "{hook}: {link}");
    let attached = site.server.text("bpftool net show dev eth0").unwrap();
    assert!(!attached.contains("eth0("), "{hook}: {attached}");
    // Twice is not an error.
    portcullis_text(&site.server, &["detach"]).unwrap();
}

#[test]
fn kill_leaves_enforcement_and_detach_ends_it_at_xdp() {
    check_life("xdp");
}

#[test]
fn kill_leaves_enforcement_and_detach_ends_it_at_tc() {
    check_life("tc");
}
