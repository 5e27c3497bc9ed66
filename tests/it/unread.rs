//! Nobody reads the ring: reports are lost, and counted; verdicts are not.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use portcullis_tests::daemon::{Agent, portcullis_text};
use portcullis_tests::packet::tcp;
use portcullis_tests::process::wait_for;
use portcullis_tests::service::Services;

use crate::flood::{Pair, server, spoofed};
use crate::site::{LIMIT, SILENCE, configuration, counters, denied, reaches, settled};

/// More events than the ring has room for.
const FLOOD: u32 = 20_000;

/// Every denial asks for an event.
const UNLIMITED: &str = r#"
[allow.peer]
direction = "ingress"
tcp = [8000]
peers = "10.88.0.2"
reason = "a test"

[events]
strangers = { peer = 1000000, all = 1000000 }
acquaintances = { peer = 1000000, all = 1000000 }
"#;

#[test]
fn a_full_ring_loses_reports_and_no_verdict() {
    let pair = Pair::new();
    let mut services = Services::new();
    for port in [8000, 8001] {
        services.tcp(&pair.server, port, "served").unwrap();
    }
    let text = configuration("tc", "deny", UNLIMITED);
    let mut agent = Agent::start(&pair.server, &text, "json").unwrap();
    let process = Pid::from_raw(i32::try_from(agent.id()).unwrap());
    let before = counters(&pair.server);
    assert_eq!(before.balance.lost, 0);
    kill(process, Signal::SIGSTOP).unwrap();
    let sent = pair.send((0..FLOOD).map(|n| {
        let port = u16::try_from(20_000 + n % 500).unwrap();
        tcp((spoofed(0, n % 50), 40_000), (server(0), port), "S")
    }));
    settled("denied packets", || denied(&counters(&pair.server)));
    let full = counters(&pair.server);
    assert_eq!(denied(&full) - denied(&before), sent, "{full:?}");
    assert!(full.balance.lost > 0, "the ring took all: {full:?}");
    assert!(full.balance.reported > 1_000, "{full:?}");
    // What was in force is, and who asks is told.
    assert!(reaches(&pair.peer, "10.88.0.1", 8000, LIMIT));
    assert!(!reaches(&pair.peer, "10.88.0.1", 8001, SILENCE));
    let status = portcullis_text(&pair.server, &["status"]).unwrap();
    let lost = counters(&pair.server).balance.lost;
    assert!(status.contains(&format!("{lost} lost")), "{status}");

    kill(process, Signal::SIGCONT).unwrap();
    wait_for("the loss in the log", LIMIT, || {
        let told = "found the event ring full";
        Ok(agent.log().contains(told).then_some(()))
    })
    .unwrap();
    // There is room again.
    let lost = counters(&pair.server).balance.lost;
    assert!(!reaches(&pair.peer, "10.88.0.1", 8002, SILENCE));
    let is = |event: &serde_json::Value| event["dst_port"] == 8002;
    agent.wait_event("a denial after that", LIMIT, is).unwrap();
    let after = counters(&pair.server);
    assert_eq!(after.balance.lost, lost);
    // What the link carries besides may be denied, too, before and after the end.
    let reported = || counters(&pair.server).balance.reported;
    let before = settled("reports", reported);
    agent.stop().unwrap();
    let events = agent.events().unwrap().iter();
    let told: u64 = events.map(|event| event["count"].as_u64().unwrap()).sum();
    let possible = before..=reported();
    assert!(
        possible.contains(&told),
        "{told} in the sink, of {possible:?}"
    );
}
