//! An address by DHCP, from dnsmasq: asked of everyone before there is one, renewed with the server alone, then with whoever hears it.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use portcullis_tests::daemon::Agent;
use portcullis_tests::dhcp::{Client, Lease, server};
use portcullis_tests::dhcp6;
use portcullis_tests::link::cable;
use portcullis_tests::netns::Namespace;

/// How long a server may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long an answer is waited for that must not come.
const SILENCE: Duration = Duration::from_secs(1);
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 88, 0, 53);

/// A host without an address, and its network's server.
struct Pair {
    host: Namespace,
    server: Namespace,
}

impl Pair {
    #[track_caller]
    fn new() -> Self {
        let pair = Self {
            host: Namespace::new("host").unwrap(),
            server: Namespace::new("server").unwrap(),
        };
        cable(
            (&pair.host, "eth0", &[]),
            (&pair.server, "eth0", &["10.88.0.53/24", "fd88::53/64"]),
        )
        .unwrap();
        pair
    }
}

/// A host that lets nothing in or out but what `client` says of DHCP.
fn configuration(hook: &str, client: &str) -> String {
    format!(
        r#"schema = 1
interfaces = ["eth0"]
hook = "{hook}"
[default]
ingress = "deny"
egress = "deny"
[failsafe.ssh]
tcp = [22]
peers = ["10.88.0.0/24"]
[baseline]
dns = false
ntp = false
dhcp-client = {client}
"#
    )
}

#[track_caller]
fn check(hook: &str) {
    let range = [Ipv4Addr::new(10, 88, 0, 100), Ipv4Addr::new(10, 88, 0, 200)];
    let pair = Pair::new();
    let _server = server(&pair.server, "eth0", range).unwrap();

    let mut agent = Agent::start(&pair.host, &configuration(hook, "\"any\""), "json").unwrap();
    let client = Client::new(&pair.host, "eth0", PATIENCE).unwrap();
    let lease = client.begin().unwrap().expect("an address");
    assert!(
        range[0] <= lease.address && lease.address <= range[1],
        "{lease:?}"
    );
    // The server takes a little off, so that not all hosts of a network ask at once.
    assert_eq!(lease.server, SERVER);
    assert!((5..=10).contains(&lease.renewal), "{lease:?}");
    let same = |answer: Option<Lease>| {
        answer.is_some_and(|it| (it.address, it.server) == (lease.address, lease.server))
    };
    pair.host
        .ip(&format!("address add {}/24 dev eth0", lease.address))
        .unwrap();
    for time in 1..=3 {
        assert!(same(client.renew(lease).unwrap()), "renewal {time}");
    }
    assert!(same(client.rebind(lease).unwrap()), "by whoever hears it");
    agent.stop().unwrap();

    // The twin: where it is not allowed, nothing of it leaves or arrives.
    let mut agent = Agent::start(&pair.host, &configuration(hook, "false"), "json").unwrap();
    let client = Client::new(&pair.host, "eth0", SILENCE).unwrap();
    assert_eq!(client.renew(lease).unwrap(), None);
    assert_eq!(client.begin().unwrap(), None);
    agent.stop().unwrap();
}

#[test]
fn an_address_is_leased_and_renewed_at_xdp() {
    check("xdp");
}

#[test]
fn an_address_is_leased_and_renewed_at_tc() {
    check("tc");
}

#[track_caller]
fn check_v6(hook: &str) {
    let at = |last: u16| Ipv6Addr::new(0xfd88, 0, 0, 0, 0, 0, 0, last);
    let (range, own) = ([at(0x100), at(0x200)], at(0x53));
    let pair = Pair::new();
    let _server = dhcp6::server(&pair.server, "eth0", range).unwrap();

    let mut agent = Agent::start(&pair.host, &configuration(hook, "\"any\""), "json").unwrap();
    let client = dhcp6::Client::new(&pair.host, "eth0", PATIENCE).unwrap();
    let lease = client.begin().unwrap().expect("an address");
    assert!(
        range[0] <= lease.address && lease.address <= range[1],
        "{lease:?}"
    );
    pair.host
        .ip(&format!("address add {}/64 dev eth0 nodad", lease.address))
        .unwrap();
    // All servers are asked, then this one alone, from the lease's address.
    for at in [None, Some(own), None, Some(own)] {
        let answer = client.renew(&lease, at).unwrap();
        assert_eq!(answer, Some(lease.clone()), "renewal with {at:?}");
    }
    let answer = client.rebind(&lease).unwrap();
    assert_eq!(answer, Some(lease.clone()), "by whoever hears it");
    agent.stop().unwrap();

    // The twin: where it is not allowed, nothing of it leaves or arrives.
    let mut agent = Agent::start(&pair.host, &configuration(hook, "false"), "json").unwrap();
    let client = dhcp6::Client::new(&pair.host, "eth0", SILENCE).unwrap();
    assert_eq!(client.renew(&lease, None).unwrap(), None);
    assert_eq!(client.renew(&lease, Some(own)).unwrap(), None);
    assert_eq!(client.begin().unwrap(), None);
    agent.stop().unwrap();
}

#[test]
fn an_address_of_ipv6_is_leased_and_renewed_at_xdp() {
    check_v6("xdp");
}

#[test]
fn an_address_of_ipv6_is_leased_and_renewed_at_tc() {
    check_v6("tc");
}
