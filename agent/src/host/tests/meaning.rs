//! What configurations mean.

use super::{good, input};
use crate::host::schema::{BaselineItem, Failsafe, Hook, OnFailure, Sink, Stage};
use crate::host::{HostConfig, Input, Peer, PeerSpec, Peers, load, set_file_names};
use crate::policy::schema::Direction;
use crate::rule::DefaultAction;

const SEAL: &str = include_str!("../../../tests/data/host-seal-node.toml");
const BROKER: &str = include_str!("../../../tests/data/host-mqtt-broker.toml");

fn words(peers: &Peers) -> Vec<String> {
    match &peers.spec {
        PeerSpec::Any => vec!["any".to_owned()],
        PeerSpec::None => vec!["none".to_owned()],
        PeerSpec::List(entries) => entries.iter().map(|entry| entry.peer.to_string()).collect(),
    }
}

#[test]
fn a_node_of_a_cluster() {
    let config = good(&[SEAL]);
    assert_eq!(config.interfaces[0].get_ref(), "eth0");
    assert_eq!(config.hook, Hook::Auto);
    assert_eq!(
        config.default_of(Direction::Ingress, true),
        DefaultAction::Deny
    );
    assert_eq!(
        config.default_of(Direction::Egress, true),
        DefaultAction::Open
    );
    let [product] = config.products.as_slice() else {
        panic!("one product");
    };
    assert_eq!(product.name, "seal-output-engine");
    assert_eq!(product.policy.get_ref(), "seal-output-engine");
    assert!(product.plays("node") && !product.plays("print-client"));
    assert_eq!(product.stage, Stage::Audit);
    let until = product.audit_until.as_ref().expect("said").get_ref();
    assert_eq!(until.at.to_string(), "2026-12-25T00:00:00Z");
    let of = |role| words(product.peers.get(role).expect("said"));
    assert_eq!(of("node"), ["10.0.0.11", "10.0.0.12", "10.0.0.13"]);
    assert_eq!(of("print-client"), ["10.0.0.0/16", "2001:db8:10::/48"]);
    assert_eq!(of("dpf-server"), ["none"]);
    let entry = &product.peers.get("node").expect("said").entries()[0];
    assert_eq!(entry.set.as_deref(), Some("seal-nodes"));
    assert_eq!(product.ports_said()["rest"][0].to_string(), "8443");
    assert!(product.skipped("cluster/37").is_some());
    assert!(product.skipped("seal-output-engine/cluster/37").is_some());
    assert!(product.skipped("cluster/36").is_none());
    assert_eq!(config.allows[0].tcp[0].get_ref().to_string(), "9100");
    let expires = config.allows[0].expires.as_ref().expect("said").get_ref();
    assert_eq!(expires.at.to_string(), "2027-01-31T00:00:00Z");
    assert_eq!(words(&config.blocks[0].peers), ["192.0.2.0/24"]);
    assert!(!config.blocks[0].force);
    assert_eq!(config.failsafes.len(), 1);
    assert_eq!(words(&config.failsafes[0].peers), ["10.0.200.0/24"]);
    assert!(
        matches!(&config.baseline.dns, BaselineItem::Peers(peers) if words(peers) == ["10.0.0.53"])
    );
    assert!(matches!(config.baseline.dhcp_client, BaselineItem::Off));
    assert!(matches!(&config.baseline.mld_igmp, BaselineItem::Peers(peers) if peers.is_any()));
}

#[test]
fn a_broker() {
    let config = good(&[BROKER]);
    assert_eq!(
        config.default_of(Direction::Egress, false),
        DefaultAction::Deny
    );
    assert_eq!(
        config.host_names().into_iter().collect::<Vec<_>>(),
        ["adapter2.example.com"]
    );
    let cites = config.allows[0].cites.as_ref().expect("said");
    assert_eq!(cites.get_ref(), "soti-connect/optional/3");
    assert_eq!(config.allows[0].direction, Direction::Egress);
    assert_eq!(config.products[0].options.len(), 4);
}

#[test]
fn what_is_not_said() {
    let config = good(&["schema = 1\ninterfaces = \"ens*\"\n"]);
    assert_eq!(
        config.default_of(Direction::Ingress, false),
        DefaultAction::Deny
    );
    assert_eq!(
        config.default_of(Direction::Egress, false),
        DefaultAction::Open
    );
    assert_eq!(
        config.default_of(Direction::Egress, true),
        DefaultAction::Deny
    );
    let [ssh] = config.failsafes.as_slice() else {
        panic!("ssh alone");
    };
    assert_eq!(
        (ssh.name.as_str(), ssh.span.is_none()),
        (Failsafe::SSH, true)
    );
    assert!(ssh.peers.is_any());
    let ports = |known: &[u16]| {
        ssh.ports(known)
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
    };
    assert_eq!(ports(&[]), ["22"]);
    assert_eq!(ports(&[22, 2222]), ["22", "2222"]);
    assert!(matches!(config.baseline.dns, BaselineItem::Auto));
    assert!(matches!(config.baseline.dhcp_client, BaselineItem::Auto));
    for (name, item) in config.baseline.items().skip(2) {
        assert!(
            matches!(item, BaselineItem::Peers(peers) if peers.is_any()),
            "{name}"
        );
    }
    assert!(config.forward.is_none());
    assert_eq!(
        (config.conntrack.established, config.conntrack.new),
        (262_144, 65_536)
    );
    assert_eq!(config.events.window.as_secs(), 60);
    assert_eq!(config.events.sinks, [Sink::Journal]);
    assert_eq!(config.metrics.listen, None);
    assert_eq!(config.daemon.bank_memory, 64 << 20);
    assert_eq!(config.daemon.on_failure, OnFailure::FailsafeOnly);
}

#[test]
fn naming_the_failsafe_changes_only_what_is_said() {
    let top = "schema = 1\ninterfaces = \"e\"\n[failsafe.ssh]\n";
    let ports = good(&[&format!("{top}tcp = 2222\n")]);
    assert!(ports.failsafes[0].peers.is_any());
    assert_eq!(ports.failsafes[0].ports(&[22])[0].to_string(), "2222");
    let peers = good(&[&format!("{top}peers = \"10.0.0.1\"\n")]);
    assert_eq!(words(&peers.failsafes[0].peers), ["10.0.0.1"]);
    assert_eq!(peers.failsafes[0].ports(&[2222])[0].to_string(), "2222");
    let more = good(&[&format!(
        "{top}[failsafe.console]\ntcp = 9090\npeers = \"10.0.0.1\"\n"
    )]);
    assert_eq!(more.failsafes.len(), 2);
    let other = good(&[
        "schema = 1\ninterfaces = \"e\"\n[failsafe.console]\ntcp = 9090\npeers = \"none\"\n",
    ]);
    assert!(
        other.failsafe(Failsafe::SSH).is_some(),
        "ssh never vanishes by itself"
    );
}

#[test]
fn drop_ins_add() {
    let config = good(&[
        "schema = 1\ninterfaces = \"e\"\n[sets]\na = \"10.0.0.1\"\n[product.p]\nroles = \"r\"\n",
        "[sets]\nb = \"10.0.0.2\"\n[product.p.peers]\nx = [\"@a\", \"@b\"]\n",
        "[product.p]\nstage = \"audit\"\naudit-until = 2027-01-01\n[default]\negress = \"open\"\n",
    ]);
    let product = &config.products[0];
    assert_eq!(
        words(product.peers.get("x").expect("said")),
        ["10.0.0.1", "10.0.0.2"]
    );
    assert_eq!(product.stage, Stage::Audit);
    // A span over all files leads back to its own.
    let (source, span) = config
        .sources
        .locate(product.stage_span.clone().expect("said"));
    assert_eq!(
        (source.name(), &source.text()[span]),
        ("conf.d/20.toml", "\"audit\"")
    );
}

#[test]
fn sets_in_files() {
    let text = "schema = 1\ninterfaces = \"e\"\n[sets]\nbad = { file = \"/lists/good\" }\n[block.b]\npeers = [\"@bad\", \"10.0.0.1\"]\n";
    let config = good(&[text]);
    let peers = &config.blocks[0].peers;
    assert_eq!(words(peers), ["192.0.2.0/24", "2001:db8::/32", "10.0.0.1"]);
    let (source, span) = config.sources.locate(peers.entries()[1].span.clone());
    assert_eq!(
        (source.name(), &source.text()[span]),
        ("/lists/good", "2001:db8::/32")
    );
    assert_eq!(set_file_names(&input(&[text]).files), ["/lists/good"]);
}

#[test]
fn peers_of_every_shape() {
    #[track_caller]
    fn check(text: &str, prefixes: Option<&[&str]>) {
        let peer: Peer = text.parse().expect("a peer");
        let seen = peer.prefixes();
        let seen = seen.map(|list| list.iter().map(ToString::to_string).collect::<Vec<_>>());
        let expected = prefixes.map(|list| list.iter().map(|it| (*it).to_owned()).collect());
        assert_eq!(seen, expected, "{text}");
        assert_eq!(
            peer.to_string().parse(),
            Ok(peer),
            "{text} is read as it is printed"
        );
    }
    check("10.0.0.1", Some(&["10.0.0.1/32"]));
    check("2001:DB8::1", Some(&["2001:db8::1/128"]));
    check("0.0.0.0/0", Some(&["0.0.0.0/0"]));
    check("::/0", Some(&["::/0"]));
    check(
        "10.0.0.5-10.0.0.9",
        Some(&["10.0.0.5/32", "10.0.0.6/31", "10.0.0.8/31"]),
    );
    check("10.0.0.5 - 10.0.0.5", Some(&["10.0.0.5/32"]));
    check("0.0.0.0-255.255.255.255", Some(&["0.0.0.0/0"]));
    check("2001:db8::-2001:db8::ffff", Some(&["2001:db8::/112"]));
    check("local-subnets", None);
    check("Printer-1.Example.com.", None);
    check("printer1", None);
    assert_eq!("Printer1.".parse(), Ok(Peer::Name("printer1".to_owned())));
    for text in [
        "",
        ".",
        "a..b",
        "-a",
        "a-",
        "1.2.3",
        "a b",
        "fe80::1%eth0",
        "10.0.0.0/+8",
        "10.0.0.0/",
        "ä",
    ] {
        assert!(text.parse::<Peer>().is_err(), "{text}");
    }
}

#[test]
fn echo_each_way() {
    let of = |text: &str| -> HostConfig {
        good(&[&format!(
            "schema = 1\ninterfaces = \"e\"\n[baseline]\nicmp-echo = {text}\n"
        )])
    };
    let both = of("false").baseline;
    assert!(matches!(
        (both.icmp_echo_in, both.icmp_echo_out),
        (BaselineItem::Off, BaselineItem::Off)
    ));
    let one = of("{ in = \"10.0.0.0/8\" }").baseline;
    assert!(
        matches!(&one.icmp_echo_in, BaselineItem::Peers(peers) if words(peers) == ["10.0.0.0/8"])
    );
    assert!(matches!(&one.icmp_echo_out, BaselineItem::Peers(peers) if peers.is_any()));
    let none = of("{ out = \"none\" }").baseline;
    assert!(matches!(none.icmp_echo_out, BaselineItem::Off));
}

#[test]
fn the_shipped_example_is_in_order() {
    let text = include_str!("../../../dist/portcullis.toml");
    let (config, findings) = load(&Input::single("portcullis.toml", text));
    assert!(findings.is_empty(), "{}", findings.render(false));
    assert!(config.is_some());
}

#[test]
fn globs() {
    for (pattern, name, expected) in [
        ("eth0", "eth0", true),
        ("eth0", "eth01", false),
        ("eth*", "eth", true),
        ("eth*", "eth01", true),
        ("e*0", "eth0", true),
        ("e*0", "eth1", false),
        ("eth?", "eth1", true),
        ("eth?", "eth", false),
        ("*", "anything", true),
        ("*", "lo", false),
    ] {
        assert_eq!(
            crate::host::glob(pattern, name),
            expected,
            "{pattern} {name}"
        );
    }
}
