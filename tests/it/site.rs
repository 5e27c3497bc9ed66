//! A guarded server, a client that its policy knows, and a stranger; the agent as it ships.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use agent_common::flow::FlowTable;
use portcullis::dataplane::{Counters, DEFAULT_ROOT, Pinned};
use portcullis_tests::link::Switch;
use portcullis_tests::netns::Namespace;
use portcullis_tests::process::wait_for;
use portcullis_tests::service::{ask_tcp, ask_udp};
use serde_json::Value;

/// How long an event or an answer may take.
pub(crate) const LIMIT: Duration = Duration::from_secs(5);
/// How long a client waits for an answer that must not come, once the denial has been seen.
pub(crate) const SILENCE: Duration = Duration::from_millis(300);

/// The two families: addresses of server, client, stranger.
pub(crate) const SERVER: [&str; 2] = ["10.88.0.1", "fd88::1"];
pub(crate) const CLIENT: [&str; 2] = ["10.88.1.5", "fd88:0:0:1::5"];
pub(crate) const STRANGER: [&str; 2] = ["10.88.9.9", "fd88:0:0:9::9"];

/// Rows of the product that tests name.
pub(crate) const IPPS: &str = "seal-output-engine/single-server/1";

/// Three hosts on a switch.
pub(crate) struct Site {
    pub(crate) server: Namespace,
    pub(crate) client: Namespace,
    pub(crate) stranger: Namespace,
    _switch: Switch,
}

impl Site {
    #[track_caller]
    pub(crate) fn new() -> Self {
        let switch = Switch::new().unwrap();
        let host = |name: &str, [v4, v6]: [&str; 2]| {
            let host = Namespace::new(name).unwrap();
            let addresses = [format!("{v4}/16"), format!("{v6}/48")];
            switch
                .plug(&host, "eth0", &[&addresses[0], &addresses[1]])
                .unwrap();
            host
        };
        Self {
            server: host("server", SERVER),
            client: host("client", CLIENT),
            stranger: host("stranger", STRANGER),
            _switch: switch,
        }
    }
}

/// A configuration for the server: the SEAL matrix for one server, `print-client` bound to the client's networks, and `more`.
pub(crate) fn configuration(hook: &str, egress: &str, more: &str) -> String {
    let until = if egress == "audit" {
        "audit-until = 2199-12-31\n"
    } else {
        ""
    };
    format!(
        r#"schema = 1
interfaces = ["eth0"]
hook = "{hook}"

[default]
ingress = "deny"
egress = "{egress}"
{until}
[sets]
clients = ["10.88.1.0/24", "fd88:0:0:1::/64"]

[product.seal-output-engine]
roles = ["node"]
topologies = ["single-server"]

[product.seal-output-engine.peers]
print-client = "@clients"
admin-browser = "none"
api-client = "none"

[failsafe.ssh]
tcp = [22]
peers = "@clients"

[baseline]
dns = false
dhcp-client = false
ntp = false
{more}"#
    )
}

/// An address with a port.
#[track_caller]
pub(crate) fn at(address: &str, port: u16) -> SocketAddr {
    SocketAddr::new(address.parse().unwrap(), port)
}

/// Whether a host gets an answer over TCP.
#[track_caller]
pub(crate) fn reaches(from: &Namespace, to: &str, port: u16, limit: Duration) -> bool {
    ask_tcp(from, at(to, port), limit).unwrap().is_some()
}

/// Whether a host gets an answer over UDP, asking from a port of its own.
#[track_caller]
pub(crate) fn reaches_udp(from: &Namespace, to: &str, port: u16, limit: Duration) -> bool {
    ask_udp(from, 0, at(to, port), limit).unwrap().is_some()
}

/// Whether an event of the JSON sink is a denial of this flow.
pub(crate) fn is_denial(
    event: &Value,
    (direction, transport): (&str, &str),
    from: &str,
    to: &str,
    port: u16,
) -> bool {
    let is = |key: &str, address: &str| {
        let seen = event[key].as_str().and_then(|it| it.parse::<IpAddr>().ok());
        seen == address.parse().ok()
    };
    event["verdict"] == "deny"
        && event["direction"] == direction
        && event["transport"] == transport
        && is("src", from)
        && is("dst", to)
        && event["dst_port"] == port
}

/// What is pinned on a host, which must be something.
#[track_caller]
pub(crate) fn pinned<T: Send>(host: &Namespace, ask: impl FnOnce(&Pinned) -> T + Send) -> T {
    host.enter(|| {
        let pinned = Pinned::open(Path::new(DEFAULT_ROOT)).unwrap();
        ask(&pinned.expect("nothing is pinned"))
    })
    .unwrap()
}

/// Entries of both flow tables: new, established.
#[track_caller]
pub(crate) fn flows(host: &Namespace) -> [usize; 2] {
    pinned(host, |pinned| {
        [FlowTable::New, FlowTable::Established]
            .map(|table| pinned.flows(table).unwrap().entries().unwrap().len())
    })
}

/// What the programs have counted.
#[track_caller]
pub(crate) fn counters(host: &Namespace) -> Counters {
    pinned(host, |pinned| pinned.counters().unwrap())
}

/// Packets that the programs have denied so far.
pub(crate) fn denied(counters: &Counters) -> u64 {
    let balance = &counters.balance;
    balance.reported + balance.suppressed + balance.lost
}

/// Waits until a count has stopped growing: no packet is under way any more.
#[track_caller]
pub(crate) fn settled<T: PartialEq>(what: &str, mut number: impl FnMut() -> T) -> T {
    const LOOKS: u32 = 20;
    let (mut last, mut same) = (number(), 0);
    wait_for(what, LIMIT, || {
        let now = number();
        same = if now == last { same + 1 } else { 0 };
        last = now;
        Ok((same >= LOOKS).then_some(()))
    })
    .unwrap();
    last
}
