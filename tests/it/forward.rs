//! Packets on their way through a guarded host: a router under each mode of `[forward]`, and a host of containers behind NAT.

use std::time::Duration;

use portcullis_tests::daemon::{
    Agent, CONFIGURATION, portcullis, portcullis_json, portcullis_text,
};
use portcullis_tests::link::cable;
use portcullis_tests::netns::Namespace;
use portcullis_tests::process::wait_for;
use portcullis_tests::service::Services;
use serde_json::Value;

use crate::site::{LIMIT, is_denial, reaches, reaches_udp};

/// How long an answer is waited for that must not come.
const SILENCE: Duration = Duration::from_millis(600);

/// Addresses of both families: outside, the router's two, inside.
const OUTSIDE: [&str; 2] = ["10.70.0.9", "fd70::9"];
const ROUTER_OUTER: [&str; 2] = ["10.70.0.1", "fd70::1"];
const ROUTER_INNER: [&str; 2] = ["10.71.0.1", "fd71::1"];
const INSIDE: [&str; 2] = ["10.71.0.9", "fd71::9"];

/// Two hosts with a guarded router between them; or a host with a container on a network of its own.
struct Way {
    outside: Namespace,
    router: Namespace,
    inside: Namespace,
}

impl Way {
    #[track_caller]
    fn new() -> Self {
        let host = |name: &str| Namespace::new(name).unwrap();
        let way = Self {
            outside: host("outside"),
            router: host("router"),
            inside: host("inside"),
        };
        cable(
            (&way.outside, "eth0", &["10.70.0.9/24", "fd70::9/64"]),
            (&way.router, "outer", &["10.70.0.1/24", "fd70::1/64"]),
        )
        .unwrap();
        cable(
            (&way.inside, "eth0", &["10.71.0.9/24", "fd71::9/64"]),
            (&way.router, "inner", &["10.71.0.1/24", "fd71::1/64"]),
        )
        .unwrap();
        for (host, via) in [(&way.outside, ROUTER_OUTER), (&way.inside, ROUTER_INNER)] {
            for (family, via) in ["-4", "-6"].iter().zip(via) {
                host.ip(&format!("{family} route add default via {via}"))
                    .unwrap();
            }
        }
        way.forward("1");
        way
    }

    #[track_caller]
    fn forward(&self, on: &str) {
        for key in ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"] {
            self.router.sysctl(key, on).unwrap();
        }
    }

    /// What became of the packets on their way, by the status: passed, denied.
    #[track_caller]
    fn forwarded(&self) -> (u64, u64) {
        let status = portcullis_json(&self.router, &["status", "--json"]).unwrap();
        let count = |key: &str| status["counters"]["forwarded"][key].as_u64().unwrap();
        (count("passed"), count("denied"))
    }
}

/// A router that guards these interfaces: outside may ask for TCP 8080 and UDP 8081, inside may be let out to TCP 9090.
fn configuration(interfaces: &str, hook: &str, forward: &str) -> String {
    format!(
        r#"schema = 1
interfaces = [{interfaces}]
hook = "{hook}"
[default]
ingress = "deny"
egress = "deny"
[failsafe.ssh]
tcp = [22]
peers = ["10.70.0.0/24"]
[baseline]
dns = false
dhcp-client = false
ntp = false
icmp-echo = false
[allow.web]
direction = "ingress"
tcp = [8080]
udp = [8081]
peers = ["10.70.0.0/24", "fd70::/64"]
reason = "what outside may ask for"
[allow.web-on]
direction = "egress"
tcp = [8080]
udp = [8081]
peers = ["10.71.0.0/24", "fd71::/64"]
reason = "and what the router may send on"
[allow.out]
direction = "egress"
tcp = [9090]
peers = ["10.70.0.0/24", "fd70::/64"]
reason = "what inside may ask for"
[allow.from-inside]
direction = "ingress"
tcp = [9090]
peers = ["10.71.0.0/24", "fd71::/64"]
reason = "and what the router takes from inside"
{forward}"#
    )
}

fn said(mode: &str) -> String {
    format!("[forward]\ndefault = \"{mode}\"\n")
}

/// A page by curl.
#[track_caller]
fn fetches(from: &Namespace, to: &str, port: u16, limit: u32) -> bool {
    let host = if to.contains(':') {
        format!("[{to}]")
    } else {
        to.to_owned()
    };
    let line = format!("curl --silent --globoff --max-time {limit} http://{host}:{port}/");
    let output = from.output(&line, LIMIT * 2).unwrap();
    output.status.success() && String::from_utf8_lossy(&output.stdout).contains("served")
}

/// Everything that listens on both sides.
#[track_caller]
fn services(way: &Way) -> Services {
    let mut services = Services::new();
    services.tcp(&way.inside, 8080, "served").unwrap();
    services.tcp(&way.inside, 8088, "served").unwrap();
    services.udp_echo(&way.inside, 8081).unwrap();
    services.tcp(&way.outside, 9090, "served").unwrap();
    services.tcp(&way.outside, 9099, "served").unwrap();
    services.tcp(&way.router, 8080, "served").unwrap();
    services
}

/// What goes through a router under a mode, and what does not: the service that rules name in either direction, others, UDP.
#[track_caller]
fn check(hook: &str, mode: &str, named: bool, others: bool) {
    let way = Way::new();
    let _services = services(&way);
    let text = configuration(r#""outer", "inner""#, hook, &said(mode));
    let mut agent = Agent::start(&way.router, &text, "json").unwrap();
    let limit = |passes: bool| if passes { LIMIT } else { SILENCE };
    let seconds = |passes: bool| if passes { 5 } else { 1 };
    for family in [0, 1] {
        // The router's own service is there under every mode.
        assert!(fetches(&way.outside, ROUTER_OUTER[family], 8080, 5));
        let through = fetches(&way.outside, INSIDE[family], 8080, seconds(named));
        assert_eq!(
            through,
            named,
            "{mode}: in to the named port: {}",
            agent.log()
        );
        let out = fetches(&way.inside, OUTSIDE[family], 9090, seconds(named));
        assert_eq!(out, named, "{mode}: out to the named port: {}", agent.log());
        assert_eq!(
            reaches_udp(&way.outside, INSIDE[family], 8081, limit(named)),
            named,
            "{mode}: UDP"
        );
        assert_eq!(
            reaches(&way.outside, INSIDE[family], 8088, limit(others)),
            others,
            "{mode}: in to another port"
        );
        assert_eq!(
            reaches(&way.inside, OUTSIDE[family], 9099, limit(others)),
            others,
            "{mode}: out to another port"
        );
        // An answer to nobody's question: from the port of a service that inside may ask.
        let probe = format!("hping3 -c 1 -S -A -s 9090 -p 40404 {}", INSIDE[family]);
        if family == 0 {
            let (_, denied) = way.forwarded();
            way.outside.output(&probe, LIMIT).unwrap();
            if !others {
                wait_for("its denial", LIMIT, || {
                    Ok((way.forwarded().1 > denied).then_some(()))
                })
                .unwrap();
            }
        }
        let wanted = |event: &Value| {
            let reason = if named { "no-rule" } else { "not-forwarded" };
            let flow = ("ingress", "tcp");
            is_denial(event, flow, OUTSIDE[family], INSIDE[family], 8088)
                && event["reason"] == reason
        };
        if !others {
            let event = agent
                .wait_event("the denial", LIMIT, wanted)
                .unwrap()
                .clone();
            // What the event says is explained again, of the same reason.
            let line = format!("{event}\n");
            way.router.write("/run/event.json", &line).unwrap();
            let facts = portcullis_text(&way.router, &["facts", "--json"]).unwrap();
            way.router.write("/run/facts.json", &facts).unwrap();
            let asked = [
                "explain",
                "--event",
                "/run/event.json",
                "--facts",
                "/run/facts.json",
                "--json",
            ];
            let again = portcullis_json(&way.router, &asked).unwrap();
            assert_eq!(again["reason"], event["reason"], "{again}");
        }
    }
    let (passed, denied) = way.forwarded();
    assert_eq!((passed > 0, denied > 0), (named, !others), "{mode}");
    let status = portcullis_json(&way.router, &["status", "--json"]).unwrap();
    assert_eq!(status["forward"], mode);
    let plan = portcullis_json(&way.router, &["plan", "--json"]).unwrap();
    let forward = &plan["forward"];
    assert_eq!(
        (&forward["default"], &forward["forwards"]),
        (&mode.into(), &true.into())
    );
    let text = portcullis_text(&way.router, &["plan"]).unwrap();
    assert!(
        text.contains(&format!("[forward] default = \"{mode}\"")),
        "{text}"
    );
    let verified = portcullis_text(&way.router, &["verify"]).unwrap();
    assert!(
        verified.contains(&format!("proved  forward/{mode}")),
        "{verified}"
    );
    agent.stop().unwrap();
}

#[test]
fn what_is_denied_goes_nowhere_at_xdp() {
    check("xdp", "deny", false, false);
}

#[test]
fn what_is_denied_goes_nowhere_at_tc() {
    check("tc", "deny", false, false);
}

#[test]
fn what_passes_goes_everywhere() {
    check("tc", "pass", true, true);
}

#[test]
fn the_same_rules_hold_at_xdp() {
    check("xdp", "same-rules", true, false);
}

#[test]
fn the_same_rules_hold_at_tc() {
    check("tc", "same-rules", true, false);
}

#[test]
fn nothing_said_is_refused_where_the_host_forwards() {
    let way = Way::new();
    let text = configuration(r#""outer""#, "tc", "");
    way.router.write(CONFIGURATION, &text).unwrap();
    let refused = |words: &[&str], code: i32| {
        let output = portcullis(&way.router, words).unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned()
            + &String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(code), "{words:?}: {said}");
        for mode in ["deny", "pass", "same-rules"] {
            assert!(said.contains(&format!("\"{mode}\"")), "{words:?}: {said}");
        }
    };
    refused(&["check"], 78);
    refused(&["run"], 78);
    // A daemon that is told afterwards refuses it as well, and what was said stays.
    let good = format!("{text}{}", said("deny"));
    let mut agent = Agent::start(&way.router, &good, "json").unwrap();
    way.router.write(CONFIGURATION, &text).unwrap();
    refused(&["apply"], 78);
    let status = portcullis_json(&way.router, &["status", "--json"]).unwrap();
    assert_eq!(status["forward"], "deny");
    agent.stop().unwrap();
    // A start that finds it so holds on to the last good one.
    let mut agent = Agent::start(&way.router, &text, "json").unwrap();
    let status = portcullis_json(&way.router, &["status", "--json"]).unwrap();
    assert_eq!(
        (&status["forward"], &status["state"]),
        (&"deny".into(), &"degraded".into())
    );
    agent.stop().unwrap();
}

#[test]
fn forwarding_that_is_turned_on_later_is_denied() {
    let way = Way::new();
    let _services = services(&way);
    way.forward("0");
    let text = configuration(r#""outer""#, "tc", "");
    let mut agent = Agent::start(&way.router, &text, "json").unwrap();
    assert!(fetches(&way.outside, ROUTER_OUTER[0], 8080, 5));
    way.forward("1");
    wait_for("the denial is in force", LIMIT, || {
        let status = portcullis_json(&way.router, &["status", "--json"])?;
        Ok((status["forward"] == "deny" && status["state"] == "degraded").then_some(()))
    })
    .unwrap();
    assert!(agent.log().contains("error: this host forwards now"));
    for family in [0, 1] {
        assert!(!fetches(&way.outside, INSIDE[family], 8080, 1));
        assert!(fetches(&way.outside, ROUTER_OUTER[family], 8080, 5));
    }
    // Said, it is as said; the failsafe and the router's own service were there all the while.
    way.router
        .write(CONFIGURATION, &format!("{text}{}", said("pass")))
        .unwrap();
    portcullis_text(&way.router, &["apply"]).unwrap();
    for family in [0, 1] {
        assert!(fetches(&way.outside, INSIDE[family], 8080, 5));
    }
    agent.stop().unwrap();
}

/// A host of containers as container engines make it: a bridge, a container on it, a published port by NAT, and what the container asks
/// of others under the host's address.
#[track_caller]
fn check_containers(hook: &str) {
    let way = Way::new();
    let host = &way.router;
    // The container is on a bridge of the host, which has the host's address on the inner network.
    host.ip("link add bridge0 type bridge forward_delay 0")
        .unwrap();
    host.ip("link set bridge0 up").unwrap();
    for (family, address) in [("-4", "10.71.0.1/24"), ("-6", "fd71::1/64")] {
        host.ip(&format!("{family} address flush dev inner"))
            .unwrap();
        let nodad = if family == "-6" { " nodad" } else { "" };
        host.ip(&format!("address add {address} dev bridge0{nodad}"))
            .unwrap();
    }
    host.ip("link set inner master bridge0").unwrap();
    host.write(
        "/run/nat.nft",
        r#"table inet nat {
  chain prerouting {
    type nat hook prerouting priority dstnat;
    iifname "outer" tcp dport 8080 dnat ip to 10.71.0.9:80
    iifname "outer" tcp dport 8080 dnat ip6 to [fd71::9]:80
    iifname "outer" tcp dport 8888 dnat ip to 10.71.0.9:81
    iifname "outer" tcp dport 8888 dnat ip6 to [fd71::9]:81
  }
  chain postrouting {
    type nat hook postrouting priority srcnat;
    oifname "outer" masquerade
  }
}
"#,
    )
    .unwrap();
    host.text("nft -f /run/nat.nft").unwrap();
    let mut services = Services::new();
    services.tcp(&way.inside, 80, "served").unwrap();
    services.tcp(&way.inside, 81, "served").unwrap();
    services.tcp(&way.outside, 9090, "served").unwrap();
    services.tcp(&way.outside, 9099, "served").unwrap();
    for family in [0, 1] {
        // Before the agent is there, everything is open.
        assert!(fetches(&way.outside, ROUTER_OUTER[family], 8888, 5));
        assert!(fetches(&way.outside, INSIDE[family], 80, 5));
    }
    let text = configuration(r#""outer""#, hook, &said("deny"));
    let mut agent = Agent::start(host, &text, "json").unwrap();
    for family in [0, 1] {
        let log = |agent: &mut Agent| agent.log();
        assert!(
            fetches(&way.outside, ROUTER_OUTER[family], 8080, 5),
            "the published port that a rule admits: {}",
            log(&mut agent)
        );
        assert!(
            !fetches(&way.outside, ROUTER_OUTER[family], 8888, 1),
            "a published port that no rule admits"
        );
        assert!(
            !fetches(&way.outside, INSIDE[family], 80, 1),
            "a routed packet straight to the container's address"
        );
        let wanted = |event: &Value| {
            is_denial(
                event,
                ("ingress", "tcp"),
                OUTSIDE[family],
                INSIDE[family],
                80,
            ) && event["reason"] == "not-forwarded"
        };
        agent.wait_event("the denial", LIMIT, wanted).unwrap();
        // What the container asks of others has the host's address, and is the host's.
        assert!(fetches(&way.inside, OUTSIDE[family], 9090, 5));
        assert!(!fetches(&way.inside, OUTSIDE[family], 9099, 1));
        // The host reaches the container, by an interface that is not guarded.
        assert!(fetches(host, INSIDE[family], 81, 5));
    }
    agent.stop().unwrap();
}

#[test]
fn containers_behind_nat_at_xdp() {
    check_containers("xdp");
}

#[test]
fn containers_behind_nat_at_tc() {
    check_containers("tc");
}
