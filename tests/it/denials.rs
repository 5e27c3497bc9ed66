//! The agent as it ships: a denied packet in the journal and as JSON, and nothing unaccounted for.

use std::net::SocketAddr;
use std::time::Duration;

use portcullis_tests::daemon::{Agent, portcullis_json};
use portcullis_tests::journald::{Journald, field};
use portcullis_tests::link::cable;
use portcullis_tests::netns::Namespace;
use portcullis_tests::process::{output, wait_for};
use portcullis_tests::service::{ask_tcp, ask_udp};
use serde_json::json;

const LIMIT: Duration = Duration::from_secs(20);
/// For a client that is not answered.
const SHORT: Duration = Duration::from_millis(300);

const CONFIGURATION: &str = r#"
schema = 1
interfaces = ["eth0"]
hook = "xdp"
[default]
egress = "deny"
[events]
window = "1s"
[product.seal-output-engine]
roles = ["node"]
topologies = ["single-server"]
[product.seal-output-engine.peers]
print-client = ["10.79.1.0/24", "fd79:1::/64"]
api-client = "none"
admin-browser = ["10.79.2.0/24"]
[baseline]
dns = ["10.79.0.53"]
"#;

#[test]
fn a_denied_packet_is_told_and_accounted_for() {
    let (server, client) = (
        Namespace::new("server").unwrap(),
        Namespace::new("client").unwrap(),
    );
    cable(
        (&server, "eth0", &["10.79.0.1/16", "fd79::1/32"]),
        (&client, "eth0", &["10.79.0.2/16", "fd79::2/32"]),
    )
    .unwrap();
    let journald = Journald::start(&server).unwrap();
    let mut agent = Agent::start(&server, CONFIGURATION, "journal,json").unwrap();

    let port = |port: u16| SocketAddr::from(([10, 79, 0, 1], port));
    let wide = |port: u16| SocketAddr::new("fd79::1".parse().unwrap(), port);
    assert_eq!(ask_tcp(&client, port(443), SHORT).unwrap(), None);
    let entry = journald
        .wait_entry(&["PORTCULLIS_DST_PORT=443"], LIMIT, |_| true)
        .unwrap();
    for (name, value) in [
        ("MESSAGE_ID", "4a6dfde224ea42a39ee10f29f040c222"),
        ("PORTCULLIS_VERDICT", "deny"),
        ("PORTCULLIS_REASON", "no-rule"),
        ("PORTCULLIS_DIRECTION", "ingress"),
        ("PORTCULLIS_INTERFACE", "eth0"),
        ("PORTCULLIS_TRANSPORT", "tcp"),
        ("PORTCULLIS_SRC", "10.79.0.2"),
        ("PORTCULLIS_DST", "10.79.0.1"),
        ("PORTCULLIS_TCP_FLAGS", "SYN"),
        ("PORTCULLIS_NEAR_ROW", "seal-output-engine/single-server/1"),
        ("PORTCULLIS_DIFFERENCE", "peer"),
        (
            "PORTCULLIS_REMEDY",
            "print-client = [\"10.79.1.0/24\", \"fd79:1::/64\", \"10.79.0.2\"] # under [product.seal-output-engine.peers]",
        ),
        ("PORTCULLIS_STAGE", "enforce"),
    ] {
        assert_eq!(field(&entry, name), Some(value), "{name} of {entry:?}");
    }
    let same = agent
        .wait_event("the same as JSON", LIMIT, |event| event["dst_port"] == 443)
        .unwrap();
    assert_eq!(
        same["near_rows"],
        json!(["seal-output-engine/single-server/1"])
    );
    assert_eq!(same["message"].as_str(), field(&entry, "MESSAGE"));

    // more of several kinds, both families, both directions
    assert_eq!(ask_tcp(&client, wide(9000), SHORT).unwrap(), None);
    assert_eq!(ask_tcp(&client, port(1948), SHORT).unwrap(), None);
    for _ in 0..5 {
        assert_eq!(ask_udp(&client, 0, port(444), SHORT).unwrap(), None);
    }
    assert_eq!(
        ask_tcp(&server, SocketAddr::from(([10, 79, 0, 2], 25)), SHORT).unwrap(),
        None
    );
    for (port, kind) in [(9000, "peer"), (1948, "option"), (25, "other-product")] {
        let event = agent
            .wait_event(&format!("port {port}"), LIMIT, |event| {
                event["dst_port"] == port
            })
            .unwrap();
        assert_eq!(event["difference"]["kind"], kind, "{event}");
    }

    // the balance: what the programs reported is what the journal and the JSON lines add up to. Nothing comes any more when the agent has
    // read for the last time, not even a router solicitation.
    let down = output(&mut client.words("ip link set eth0 down"), LIMIT).unwrap();
    assert!(down.status.success(), "{down:?}");
    agent.stop().unwrap();
    let balance = portcullis_json(&server, &["status", "--json"]).unwrap();
    let reported = balance["counters"]["reported"].as_u64().unwrap();
    assert!(reported >= 9, "{balance}");
    let sum = |counts: Vec<u64>| counts.into_iter().sum::<u64>();
    let in_journal = wait_for("the journal to add up", LIMIT, || {
        let entries = journald.entries(&["SYSLOG_IDENTIFIER=portcullis"])?;
        let counts = entries
            .iter()
            .filter_map(|it| field(it, "PORTCULLIS_COUNT"));
        let counts = counts.map(|count| count.parse().unwrap()).collect();
        Ok(Some(sum(counts)).filter(|sum| *sum >= reported))
    })
    .unwrap();
    assert_eq!(in_journal, reported);
    let lines = agent.events().unwrap();
    let counts = lines.iter().map(|event| event["count"].as_u64().unwrap());
    assert_eq!(sum(counts.collect()), reported);
    journald.stop().unwrap();
}
