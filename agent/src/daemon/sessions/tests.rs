use std::net::SocketAddr;

use super::*;
use crate::facts::InterfaceAddress;
use crate::host::Input;
use crate::inputs::{Said, Texts};
use crate::policy::catalogue;

fn interface(name: &str, address: &str, master: Option<&str>) -> Interface {
    Interface {
        name: name.to_owned(),
        index: 2,
        link_type: 1,
        up: true,
        mtu: 1500,
        driver: None,
        master: master.map(str::to_owned),
        parent: None,
        addresses: vec![InterfaceAddress {
            address: address.parse().unwrap(),
            broadcast: None,
        }],
        forwards_v4: false,
        forwards_v6: false,
        has_lease: false,
    }
}

fn facts() -> Facts {
    let mut facts = collect::collect(&collect::Wanted::default()).unwrap().facts;
    facts.interfaces = vec![interface("eth0", "10.0.0.1/24", None)];
    facts.ssh_ports = vec![22];
    facts
}

fn ready(more: &str) -> Box<Ready> {
    let text = format!(
        "schema = 1\ninterfaces = [\"eth0\"]\n[default]\ningress = \"deny\"\negress = \"deny\"\n[failsafe.ssh]\ntcp = [22]\npeers = \"10.0.0.0/24\"\n{more}"
    );
    let said = Said::of(Texts {
        input: Input::single("test.toml", &text),
        shipped: catalogue::embedded(),
        own: Vec::new(),
    });
    Ready::prepare(said, facts()).unwrap_or_else(|findings| panic!("{}", findings.render(false)))
}

fn connection(local: &str, peer: &str, accepted: bool) -> Connection {
    let end = |text: &str| text.parse::<SocketAddr>().unwrap();
    collect::Connection::of(end(local), end(peer), accepted)
}

/// Live sessions, whether each is lost from one policy (none: everything passes) to the next.
#[track_caller]
fn check(before: Option<&str>, after: &str, live: &[(&str, &str, bool, bool)]) {
    let memory = |more: &str| Memory::new(Rc::clone(&ready(more).tables));
    let (before, after) = (before.map(memory), memory(after));
    for (local, peer, accepted, expected) in live {
        let lost = lost(
            before.as_ref(),
            &after,
            &[connection(local, peer, *accepted)],
        );
        assert_eq!(lost.len() == 1, *expected, "{local} with {peer}");
    }
}

const WEB_IN: &str = "[allow.web]\nreason = \"test\"\ndirection = \"ingress\"\ntcp = [443]\npeers = \"10.0.0.0/8\"\n";
const DB_OUT: &str =
    "[allow.db]\nreason = \"test\"\ndirection = \"egress\"\ntcp = [5432]\npeers = \"10.0.0.9\"\n";

#[test]
fn sessions_that_the_next_policy_denies_are_found() {
    let live = |web: bool, database: bool| {
        [
            ("10.0.0.1:22", "10.0.0.5:40000", true, false), // the failsafe
            ("10.0.0.1:22", "192.0.2.5:40000", true, true),
            ("10.0.0.1:443", "10.0.0.5:40000", true, web),
            ("10.0.0.1:50000", "10.0.0.9:5432", false, database),
            ("10.0.0.1:50000", "10.0.0.10:5432", false, true),
        ]
    };
    check(None, "", &live(true, true));
    check(None, WEB_IN, &live(false, true));
    check(None, DB_OUT, &live(true, false));
}

#[test]
fn what_does_not_pass_now_is_not_cut() {
    check(
        Some(WEB_IN),
        "",
        &[
            ("10.0.0.1:443", "10.0.0.5:40000", true, true),
            ("10.0.0.1:444", "10.0.0.5:40000", true, false),
            ("10.0.0.1:50000", "10.0.0.9:5432", false, false),
        ],
    );
}

#[test]
fn only_guarded_interfaces_count() {
    let mut facts = facts();
    facts.interfaces = vec![
        interface("eth0", "10.0.0.1/24", None),
        interface("eth1", "10.1.0.1/24", None),
        interface("br0", "10.2.0.1/24", None),
        interface("eth2", "0.0.0.0/0", Some("br0")),
    ];
    let guarded = ["eth0".to_owned(), "eth2".to_owned()];
    for (address, expected) in [
        ("10.0.0.1", true),
        ("10.1.0.1", false),
        ("10.2.0.1", true), // a bridge, by its port
        ("127.0.0.1", false),
        ("10.9.0.1", true), // of no interface
    ] {
        let found = is_guarded(&facts, &guarded, address.parse().unwrap());
        assert_eq!(found, expected, "{address}");
    }
}

#[test]
fn failsafe_ports_are_those_of_rules_and_of_sshd() {
    let ports = failsafe_ports(&ready(
        "[failsafe.console]\ntcp = [5900]\npeers = \"any\"\n",
    ));
    assert_eq!(ports.into_iter().collect::<Vec<_>>(), [22, 5900]);
}

#[test]
fn flows_that_the_first_policy_ends_are_found() {
    use Beginner::{Host, Peer};
    use Carrier::{Tcp, Udp};
    const FETCH: &str = r#"
        [allow.fetch]
        direction = "egress"
        tcp = [80]
        udp = [53]
        peers = "any"
        reason = "a test"
        [allow.serve]
        direction = "ingress"
        udp = [5000]
        peers = "10.0.0.0/24"
        reason = "a test"
    "#;
    let flow = |(carrier, local, peer, beginner): (Carrier, &str, &str, Beginner)| OpenFlow {
        ends: Ends {
            carrier,
            local: local.parse().unwrap(),
            peer: peer.parse().unwrap(),
        },
        beginner,
        state: match carrier {
            Tcp => FlowState::Established,
            Udp => FlowState::Udp,
        },
    };
    let ready = ready(FETCH);
    for (one, ends) in [
        ((Tcp, "10.0.0.1:50000", "192.0.2.9:80", Host), false),
        ((Tcp, "10.0.0.1:50000", "192.0.2.9:81", Host), true),
        ((Udp, "10.0.0.1:50000", "192.0.2.9:53", Host), false),
        ((Udp, "10.0.0.1:50000", "192.0.2.9:80", Host), true),
        ((Tcp, "10.0.0.1:22", "10.0.0.9:50000", Peer), false),
        ((Tcp, "10.0.0.1:22", "192.0.2.9:50000", Peer), true),
        ((Udp, "10.0.0.1:5000", "10.0.0.9:6000", Peer), false),
        ((Udp, "10.0.0.1:5000", "192.0.2.9:6000", Peer), true),
        // The same ends, but who began decides.
        ((Tcp, "10.0.0.1:50000", "192.0.2.9:80", Peer), true),
    ] {
        let flows = [flow(one)];
        assert_eq!(ended(&ready, &flows, || true).count() == 1, ends, "{one:?}");
    }
    // What is closing anyway is not worth a word; and nobody is kept waiting.
    let mut flows = [flow((Tcp, "10.0.0.1:50000", "192.0.2.9:81", Host)); 2];
    flows[0].state = FlowState::Closing;
    assert_eq!(ended(&ready, &flows, || true).count(), 1);
    assert_eq!(ended(&ready, &flows, || false).count(), 0);
}
