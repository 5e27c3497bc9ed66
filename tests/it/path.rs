//! Routers on the way: what they say of packets of a guarded host is heard, or large packets vanish for ever and nobody sees the way.

use std::time::Duration;

use agent_common::event::Direction;
use agent_common::verdict::Reason;
use portcullis_tests::daemon::Agent;
use portcullis_tests::link::cable;
use portcullis_tests::netns::Namespace;
use portcullis_tests::service::{Services, ask_tcp};

use crate::site::{CLIENT, SERVER, at, configuration, counters};

/// Octets that fit into one packet on the narrow link (1,280 is the least that IPv6 has: RFC 8200 section 5).
const NARROW: &str = "1280";
/// Octets that are asked for: many packets.
const MUCH: usize = 200_000;
const PATIENCE: Duration = Duration::from_secs(20);

/// A server and a client with a router between them, whose link to the client is narrow. The ends do not know.
struct Way {
    server: Namespace,
    client: Namespace,
    router: Namespace,
}

impl Way {
    #[track_caller]
    fn new() -> Self {
        let host = |name: &str| Namespace::new(name).unwrap();
        let way = Self {
            server: host("server"),
            client: host("client"),
            router: host("router"),
        };
        cable(
            (&way.server, "eth0", &["10.88.0.1/24", "fd88::1/64"]),
            (&way.router, "near", &["10.88.0.2/24", "fd88::2/64"]),
        )
        .unwrap();
        cable(
            (&way.client, "eth0", &["10.88.1.5/24", "fd88:0:0:1::5/64"]),
            (&way.router, "far", &["10.88.1.1/24", "fd88:0:0:1::1/64"]),
        )
        .unwrap();
        for key in ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"] {
            way.router.sysctl(key, "1").unwrap();
        }
        way.router
            .ip(&format!("link set far mtu {NARROW}"))
            .unwrap();
        for (host, via) in [
            (&way.server, ["10.88.0.2", "fd88::2"]),
            (&way.client, ["10.88.1.1", "fd88:0:0:1::1"]),
        ] {
            for (family, via) in ["-4", "-6"].iter().zip(via) {
                host.ip(&format!("{family} route add default via {via}"))
                    .unwrap();
            }
        }
        way
    }

    /// Packets that came in because they are about one of the server's own.
    #[track_caller]
    fn related(&self) -> u64 {
        let reasons = counters(&self.server).reasons;
        let related = reasons
            .iter()
            .filter(|it| (it.0, it.1) == (Direction::Ingress, Reason::Related));
        related.map(|it| it.2).sum()
    }
}

#[track_caller]
fn check(hook: &str) {
    let way = Way::new();
    let mut agent = Agent::start(&way.server, &configuration(hook, "deny", ""), "json").unwrap();
    let mut services = Services::new();
    services.tcp(&way.server, 443, &"x".repeat(MUCH)).unwrap();
    for family in [0, 1] {
        let heard = way.related();
        // The router drops what is too large for its link, and says so once; without that nothing large ever arrives.
        let answer = ask_tcp(&way.client, at(SERVER[family], 443), PATIENCE).unwrap();
        let length = answer.map_or(0, |answer| answer.len());
        assert!(length > MUCH, "{length} octets arrived");
        assert!(way.related() > heard, "no error was heard");
        let learnt = way
            .server
            .ip(&format!("route get {}", CLIENT[family]))
            .unwrap();
        assert!(learnt.contains(&format!("mtu {NARROW}")), "{learnt}");

        // A packet that dies on the way: the router tells its sender, which is how a way is traced.
        let heard = way.related();
        let line = format!("ping -n -c 1 -W 5 -t 1 {}", CLIENT[family]);
        let died = way.server.output(&line, PATIENCE).unwrap();
        let text = String::from_utf8_lossy(&died.stdout).into_owned();
        assert!(
            text.to_lowercase().contains("time exceeded") || text.contains("Time to live exceeded"),
            "{text}"
        );
        assert!(way.related() > heard, "{text}");
    }
    agent.stop().unwrap();
}

/// What traceroute sends: datagrams to ports that nobody uses, one for each step (traceroute(8)).
const TRACE: &str = r#"
[allow.trace]
direction = "egress"
udp = ["33434-33534"]
peers = "any"
reason = "a test"
"#;

/// The hosts on the way that say something, at most two.
#[track_caller]
fn traced(from: &Namespace, how: &str, to: &str) -> Vec<String> {
    let line = format!("traceroute -n -q 1 -w 1 -m 2 {how} {to}");
    let output = from.output(&line, PATIENCE).unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let steps = text.lines().skip(1);
    let host = |step: &str| step.split_whitespace().nth(1).map(str::to_owned);
    let heard = steps.filter_map(host).filter(|host| host != "*");
    heard.collect()
}

#[track_caller]
fn check_trace(hook: &str) {
    let way = Way::new();
    let text = configuration(hook, "deny", TRACE);
    let mut agent = Agent::start(&way.server, &text, "json").unwrap();
    for (family, near, far) in [
        (0, "10.88.0.2", "10.88.1.1"),
        (1, "fd88::2", "fd88:0:0:1::1"),
    ] {
        let (server, client) = (SERVER[family], CLIENT[family]);
        // The host traces: by datagrams, which a rule lets out, and by echo.
        for how in ["", "-I"] {
            let steps = traced(&way.server, how, client);
            assert_eq!(steps, [near, client], "{hook} {how} {client}");
        }
        // The twin: ports that no rule names; not even the router is heard of.
        let steps = traced(&way.server, "-p 40000", client);
        assert_eq!(steps, [""; 0], "{hook} to other ports of {client}");
        // It is traced: echo is answered, and ports that nobody may use are not.
        let steps = traced(&way.client, "-I", server);
        assert_eq!(steps, [far, server], "{hook} {server}");
        let steps = traced(&way.client, "", server);
        assert_eq!(steps, [far], "{hook} {server}");
    }
    agent.stop().unwrap();
}

#[test]
fn a_way_is_traced_at_xdp() {
    check_trace("xdp");
}

#[test]
fn a_way_is_traced_at_tc() {
    check_trace("tc");
}

#[test]
fn a_narrow_link_is_heard_of_at_xdp() {
    check("xdp");
}

#[test]
fn a_narrow_link_is_heard_of_at_tc() {
    check("tc");
}
