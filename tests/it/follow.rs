//! What changes around the agent is followed without a restart: time, interfaces, addresses, forwarding, names.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use portcullis::rule::Forward;
use portcullis_tests::daemon::{Agent, CONFIGURATION, binary, portcullis_json, portcullis_text};
use portcullis_tests::link::Switch;
use portcullis_tests::netns::Namespace;
use portcullis_tests::process::{Running, wait_for};
use portcullis_tests::service::Services;
use serde_json::Value;

use crate::control::Held;
use crate::site::{CLIENT, LIMIT, SERVER, SILENCE, STRANGER, Site, configuration, pinned, reaches};

/// How long a change of the host may take to be followed: it is looked at every other second, by a machine that is busy.
const FOLLOWED: Duration = Duration::from_secs(90);

fn status(host: &Namespace) -> Value {
    portcullis_json(host, &["status", "--json"]).unwrap()
}

#[track_caller]
fn wait_status(host: &Namespace, what: &str, is: impl Fn(&Value) -> bool) {
    let mut last = Value::Null;
    let found = wait_for(what, FOLLOWED, || {
        last = status(host);
        Ok(is(&last).then_some(()))
    });
    assert!(found.is_ok(), "{what}: {last}");
}

fn guarded(status: &Value, interface: &str) -> bool {
    let interfaces = status["interfaces"].as_array().into_iter().flatten();
    interfaces
        .filter(|it| it["name"] == interface)
        .any(|it| it["guarded"] == true)
}

/// TCP port 443 of the server answers, and the agent lets these peers have it.
#[track_caller]
fn serving(site: &Site, peers: &str, rest: &str) -> (Services, Agent) {
    let mut services = Services::new();
    services.tcp(&site.server, 443, "printed").unwrap();
    let allow = format!(
        "[allow.followed]\nreason = \"a test\"\ndirection = \"ingress\"\ntcp = [443]\npeers = \"{peers}\"\n{rest}"
    );
    let agent = Agent::start(&site.server, &configuration("tc", "deny", &allow), "json");
    (services, agent.unwrap())
}

#[track_caller]
fn wait_reached(from: &Namespace, to: &str, expected: bool) {
    wait_for(
        &format!("{} reaches: {expected}", from.name()),
        FOLLOWED,
        || {
            // No answer within a moment may be a busy machine: whoever must not get one is given longer.
            let found =
                reaches(from, to, 443, SILENCE) || (!expected && reaches(from, to, 443, LIMIT));
            Ok((found == expected).then_some(()))
        },
    )
    .unwrap();
}

#[test]
fn an_exception_ends_at_its_time() {
    let site = Site::new();
    let (_services, _agent) = serving(&site, "none", "");
    let end = jiff::Timestamp::now() + Duration::from_secs(12);
    let allow = format!(
        "[allow.followed]\nreason = \"a test\"\ndirection = \"ingress\"\ntcp = [443]\npeers = \"{}\"\nexpires = {end:.0}\n",
        STRANGER[0]
    );
    let text = configuration("tc", "deny", &allow);
    site.server.write(CONFIGURATION, &text).unwrap();
    portcullis_text(&site.server, &["reload"]).unwrap();
    assert!(
        reaches(&site.stranger, SERVER[0], 443, LIMIT),
        "admitted until {end}, and it is {}",
        jiff::Timestamp::now()
    );
    wait_reached(&site.stranger, SERVER[0], false);
    assert!(jiff::Timestamp::now() >= end - Duration::from_secs(1));
    assert!(reaches(&site.client, SERVER[0], 443, LIMIT));
}

#[test]
fn interfaces_that_appear_get_another_name_or_are_made_again_are_guarded() {
    let site = Site::new();
    let mut services = Services::new();
    services.tcp(&site.server, 443, "printed").unwrap();
    let text = configuration("tc", "deny", "").replace("[\"eth0\"]", "[\"eth0\", \"lan0\"]");
    let _agent = Agent::start(&site.server, &text, "json").unwrap();
    assert_eq!(status(&site.server)["state"], "degraded");

    let lan = Switch::new().unwrap();
    let outsider = Namespace::new("outsider").unwrap();
    lan.plug(&outsider, "eth0", &["10.89.0.9/16"]).unwrap();
    lan.plug(&site.server, "eth7", &["10.89.0.1/16"]).unwrap();
    assert!(reaches(&outsider, "10.89.0.1", 443, LIMIT), "not listed");
    site.server.ip("link set eth7 down").unwrap();
    site.server.ip("link set eth7 name lan0").unwrap();
    site.server.ip("link set lan0 up").unwrap();
    wait_status(&site.server, "renamed", |it| {
        it["state"] == "enforcing" && guarded(it, "lan0") && guarded(it, "eth0")
    });
    assert!(!reaches(&outsider, "10.89.0.1", 443, SILENCE));

    // Away and back: what is not listed is not guarded.
    site.server.ip("link set lan0 down").unwrap();
    site.server.ip("link set lan0 name away0").unwrap();
    site.server.ip("link set away0 up").unwrap();
    wait_status(&site.server, "away", |it| it["state"] == "degraded");
    wait_for("the way to be open", FOLLOWED, || {
        Ok(reaches(&outsider, "10.89.0.1", 443, SILENCE).then_some(()))
    })
    .unwrap();
    site.server.ip("link set away0 down").unwrap();
    site.server.ip("link set away0 name lan0").unwrap();
    site.server.ip("link set lan0 up").unwrap();
    wait_status(&site.server, "back", |it| {
        it["state"] == "enforcing" && guarded(it, "lan0")
    });
    assert!(!reaches(&outsider, "10.89.0.1", 443, SILENCE));

    site.server.ip("link del lan0").unwrap();
    wait_status(&site.server, "deleted", |it| it["state"] == "degraded");
    lan.plug(&site.server, "lan0", &["10.89.0.1/16"]).unwrap();
    wait_status(&site.server, "made again", |it| {
        it["state"] == "enforcing" && guarded(it, "lan0")
    });
    assert!(!reaches(&outsider, "10.89.0.1", 443, SILENCE));
    assert!(reaches(&site.client, SERVER[0], 443, LIMIT));
    assert!(!reaches(&site.stranger, SERVER[0], 443, SILENCE));
}

#[test]
fn interfaces_that_go_while_they_are_attached_to_harm_nobody() {
    let site = Site::new();
    let mut services = Services::new();
    services.tcp(&site.server, 443, "printed").unwrap();
    let text = configuration("tc", "deny", "").replace("[\"eth0\"]", "[\"eth0\", \"lan*\"]");
    let mut agent = Agent::start(&site.server, &text, "json").unwrap();
    let lan = Switch::new().unwrap();
    for round in 0..12 {
        let name = format!("lan{}", round % 3);
        lan.plug(&site.server, &name, &["10.89.0.1/16"]).unwrap();
        // A reload attaches; the interface goes at another moment of it each time.
        let mut reload = site.server.command(binary().unwrap());
        reload.arg("reload");
        let mut reload = Running::start(&mut reload).unwrap();
        reload.wait(Duration::from_millis(10 * round)).unwrap();
        site.server.ip(&format!("link del {name}")).unwrap();
        assert!(reload.wait(FOLLOWED).unwrap().is_some(), "round {round}");
    }
    lan.plug(&site.server, "lan9", &["10.89.0.1/16"]).unwrap();
    wait_status(&site.server, "the last one", |it| {
        it["state"] == "enforcing" && guarded(it, "lan9") && guarded(it, "eth0")
    });
    assert!(reaches(&site.client, SERVER[0], 443, LIMIT));
    assert!(!reaches(&site.stranger, SERVER[0], 443, SILENCE));
    assert!(!agent.log().contains("panicked"), "{}", agent.log());
    portcullis_text(&site.server, &["detach"]).unwrap();
}

#[test]
fn networks_of_this_host_are_followed() {
    let site = Site::new();
    let (_services, _agent) = serving(&site, "local-subnets", "");
    site.stranger
        .ip("address add 10.99.0.9/24 dev eth0")
        .unwrap();
    wait_reached(&site.stranger, SERVER[0], true);
    site.server.ip("address add 10.99.0.1/24 dev eth0").unwrap();
    wait_reached(&site.stranger, "10.99.0.1", true);
    site.server.ip("address del 10.88.0.1/16 dev eth0").unwrap();
    site.server.ip("address add 10.88.0.1/24 dev eth0").unwrap();
    site.server.ip("route add 10.88.9.0/24 dev eth0").unwrap();
    wait_reached(&site.stranger, SERVER[0], false);
}

/// What becomes of packets on their way through the host, by the bank in force.
fn forwards(host: &Namespace) -> Option<Forward> {
    pinned(host, |pinned| {
        let bank = pinned.switch().unwrap().active();
        Forward::of(pinned.head(bank).unwrap().flags)
    })
}

#[test]
fn forwarding_is_followed() {
    let site = Site::new();
    let (_services, mut agent) = serving(&site, "none", "[forward]\ndefault = \"pass\"\n");
    assert_eq!(forwards(&site.server), None);
    for (value, expected) in [("1", Some(Forward::Pass)), ("0", None)] {
        site.server.sysctl("net/ipv4/ip_forward", value).unwrap();
        let found = wait_for("forwarding", FOLLOWED, || {
            Ok((forwards(&site.server) == expected).then_some(()))
        });
        assert!(found.is_ok(), "forwarding {value}: {}", agent.log());
    }
}

#[test]
fn forwarding_of_which_nothing_is_said_is_told_and_in_nobodys_way() {
    let site = Site::new();
    let (_services, mut agent) = serving(&site, "local-subnets", "");
    let on = |value: &str| site.server.sysctl("net/ipv4/ip_forward", value).unwrap();
    on("1");
    wait_status(&site.server, "told", |it| {
        it["state"] == "degraded" && it["problems"].to_string().contains("[forward]")
    });
    wait_for("the denial", FOLLOWED, || {
        Ok((forwards(&site.server) == Some(Forward::Deny)).then_some(()))
    })
    .unwrap();
    wait_for("the error", FOLLOWED, || {
        Ok(agent
            .log()
            .contains("error: this host forwards now")
            .then_some(()))
    })
    .unwrap();
    // What else changes is followed all the same.
    site.stranger
        .ip("address add 10.99.0.9/24 dev eth0")
        .unwrap();
    site.server.ip("address add 10.99.0.1/24 dev eth0").unwrap();
    wait_reached(&site.stranger, "10.99.0.1", true);
    on("0");
    wait_status(&site.server, "over", |it| it["state"] == "enforcing");
}

#[test]
fn rotating_answers_cut_no_session() {
    let site = Site::new();
    let mut services = Services::new();
    let last = Arc::new(AtomicU8::new(9));
    let answer = Arc::clone(&last);
    services
        .dns_by(&site.client, move || {
            Ipv4Addr::new(10, 88, 9, answer.load(Ordering::Relaxed))
        })
        .unwrap();
    site.server.resolve_by(&[CLIENT[0]]).unwrap();
    // The stranger has all the addresses that the name rotates through.
    for octet in 10..14 {
        site.stranger
            .ip(&format!("address add 10.88.9.{octet}/16 dev eth0"))
            .unwrap();
    }
    let text = |names: &str| {
        let more = format!(
            "[allow.dns]\nreason = \"a test\"\ndirection = \"egress\"\nudp = [53]\npeers = \"{}\"\n\
             [allow.out]\nreason = \"a test\"\ndirection = \"egress\"\ntcp = [7001]\npeers = [{names}]\n\
             [allow.in]\nreason = \"a test\"\ndirection = \"ingress\"\ntcp = [7002]\npeers = \"rotates.example\"\n",
            CLIENT[0]
        );
        configuration("tc", "deny", &more)
    };
    let agent = Agent::start(&site.server, &text("\"rotates.example\""), "json").unwrap();
    let admitted = |address: &str| {
        let plan = site.server.read("/run/portcullis/plan.json");
        plan.is_ok_and(|plan| plan.contains(address))
    };
    wait_for("the name", FOLLOWED, || {
        Ok(admitted("10.88.9.9").then_some(()))
    })
    .unwrap();
    let mut out = Held::to(&site.stranger, STRANGER[0], &site.server, 7001);
    let mut into = Held::to(&site.server, SERVER[0], &site.stranger, 7002);
    for octet in 10..14 {
        last.store(octet, Ordering::Relaxed);
        // A name that is new has all of them asked for again.
        let text = text(&format!("\"rotates.example\", \"n{octet}.example\""));
        site.server.write(CONFIGURATION, &text).unwrap();
        portcullis_text(&site.server, &["reload"]).unwrap();
        let address = format!("10.88.9.{octet}");
        wait_for(&address, FOLLOWED, || Ok(admitted(&address).then_some(()))).unwrap();
        assert!(
            out.lives() && into.lives(),
            "cut when {address} was the answer"
        );
        // And whoever has the latest answer gets through.
        drop(Held::to(&site.stranger, &address, &site.server, 7001));
    }
    // And without anybody's doing, by the next round of questions.
    last.store(14, Ordering::Relaxed);
    wait_for("the next round", FOLLOWED, || {
        Ok(admitted("10.88.9.14").then_some(()))
    })
    .unwrap();
    assert!(out.lives() && into.lives(), "cut by the next round");
    agent.kill().unwrap();
    assert!(out.lives() && into.lives());
    let _agent = Agent::start_as_it_stands(&site.server, "json").unwrap();
    assert!(out.lives() && into.lives(), "cut by a restart");
}
