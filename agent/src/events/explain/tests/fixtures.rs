//! A SEAL server, and a made-up product beside it.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use toml::Spanned;

use crate::compile::resolve::resolve;
use crate::diagnose::{Keyed, Source};
use crate::events::explain::Knowledge;
use crate::facts::{Facts, Interface, InterfaceAddress, PortRange as FactRange};
use crate::host::schema::{
    Allow, Baseline, BaselineItem, Block, Defaults, Failsafe, Moment, Product, Stage,
};
use crate::host::{HostConfig, Peer, PeerEntry, PeerSpec, Peers};
use crate::policy::catalogue::embedded;
use crate::policy::{Catalogue, OptionValue, PortRange, schema};
use crate::rule::DefaultAction;

/// A product with what SEAL's document does not have: versions, flows inside a host, an addition to a topology, UDP, protocols.
pub(super) const ADAPTER: &str = r#"
schema = 1
id = "adapter"
name = "Adapter"
vendor = "Example"
[document]
title = "Ports"
edition = "1"
covers = ["ingress", "egress"]
[topologies.plain]
[topologies.gateway]
adds-to = "plain"
[tables.main]
title = "Ports"
topologies = ["plain"]
rows = 5
[tables.inner]
title = "Inside"
scope = "host"
rows = 1
[tables.gateway]
title = "With a gateway"
topologies = ["gateway"]
rows = 1
[roles.server]
linux = true
[roles.device]
[roles.peer]
linux = true
[versions.firmware]
[[rows]]
id = "main/1"
service = "discovery"
flows = [{ from = ["device"], to = ["server"], udp = [7000] }]
[[rows]]
id = "main/2"
service = "fast sync"
since = { firmware = "4.7" }
flows = [{ from = ["device"], to = ["server"], tcp = [7100] }]
[[rows]]
id = "main/3"
service = "upload"
flows = [{ from = ["server"], to = ["device"], tcp = [7200] }]
[[rows]]
id = "main/4"
service = "tunnel"
flows = [{ from = ["peer"], to = ["server"], protocol = ["gre"] }]
[[rows]]
id = "main/5"
service = "peer port"
flows = [{ from = ["device"], to = ["peer"], tcp = [7300] }]
[[rows]]
id = "inner/1"
service = "helper"
flows = [{ from = ["server"], to = ["server"], tcp = [7766] }]
[[rows]]
id = "gateway/1"
service = "relay"
flows = [{ from = ["device"], to = ["server"], tcp = [7400] }]
"#;

fn nowhere<T>(value: T) -> Spanned<T> {
    Spanned::new(0..0, value)
}

fn peers(list: &[&str]) -> Peers {
    let entry = |text: &&str| {
        let (text, set) = match text.strip_prefix("@offices=") {
            Some(rest) => (rest, Some(Arc::from("offices"))),
            None => (*text, None),
        };
        PeerEntry {
            peer: text.parse::<Peer>().unwrap(),
            set,
            span: 0..0,
        }
    };
    let spec = match list {
        ["any"] => PeerSpec::Any,
        ["none"] => PeerSpec::None,
        _ => PeerSpec::List(list.iter().map(entry).collect()),
    };
    Peers { spec, span: 0..0 }
}

pub(super) fn product(id: &str, roles: &[&str], topology: &str) -> Product {
    let mut product = Product {
        name: id.to_owned(),
        span: 0..0,
        policy: nowhere(id.to_owned()),
        roles: roles
            .iter()
            .map(|role| nowhere((*role).to_owned()))
            .collect(),
        topologies: Some(vec![nowhere(topology.to_owned())]),
        stage: Stage::Enforce,
        stage_span: None,
        audit_until: None,
        options: Keyed::default(),
        versions: Keyed::default(),
        peers: Keyed::default(),
        groups: Keyed::default(),
        ports: Keyed::default(),
        skip: Keyed::default(),
    };
    if id == "seal-output-engine" {
        for (role, list) in [
            (
                "print-client",
                &["@offices=10.1.0.0/16", "@offices=2001:db8:10::/48"][..],
            ),
            ("api-client", &["10.0.44.0/24"]),
            ("admin-browser", &["10.0.200.0/24"]),
            ("node", &["10.0.0.12"]),
            ("oidc-user", &["any"]),
        ] {
            product.peers.push(nowhere(role.to_owned()), peers(list));
        }
        let rest = nowhere("rest-from-outside".to_owned());
        product
            .options
            .push(rest, nowhere(OptionValue::Switch(true)));
        product.ports.push(
            nowhere("rest".to_owned()),
            vec![nowhere(PortRange::single(8443))],
        );
        product.skip.push(
            nowhere("single-server/9".to_owned()),
            nowhere("plain-text twin of 8082".to_owned()),
        );
    } else {
        product
            .peers
            .push(nowhere("device".to_owned()), peers(&["10.3.0.0/16"]));
    }
    product
}

fn config(products: Vec<Product>) -> HostConfig {
    HostConfig {
        sources: Default::default(),
        interfaces: vec![nowhere("eth0".to_owned())],
        hook: Default::default(),
        default: Defaults {
            egress: Some(nowhere(DefaultAction::Deny)),
            ..Defaults::default()
        },
        products,
        allows: vec![Allow {
            name: "node-exporter".to_owned(),
            span: 0..0,
            direction: schema::Direction::Ingress,
            tcp: vec![nowhere(PortRange::single(9100))],
            udp: vec![],
            protocol: vec![],
            peers: peers(&["10.0.5.0/24"]),
            reason: "Prometheus".to_owned(),
            owner: None,
            expires: Some(nowhere(Moment {
                written: "2026-11-01".to_owned(),
                at: "2026-11-02T00:00:00Z".parse().unwrap(),
            })),
            cites: None,
        }],
        blocks: vec![Block {
            name: "incident-4711".to_owned(),
            span: 0..0,
            tcp: vec![],
            udp: vec![],
            peers: peers(&["192.0.2.0/24"]),
            reason: None,
            force: false,
        }],
        failsafes: vec![Failsafe {
            name: Failsafe::SSH.to_owned(),
            span: None,
            tcp: None,
            peers: peers(&["10.0.200.0/24"]),
        }],
        baseline: Baseline {
            icmp_echo_in: BaselineItem::Off,
            ..Baseline::default()
        },
        forward: None,
        conntrack: Default::default(),
        events: Default::default(),
        metrics: Default::default(),
        daemon: Default::default(),
        sets: BTreeMap::new(),
    }
}

pub(super) fn facts() -> Facts {
    Facts {
        schema: 1,
        time: now(),
        hostname: "node1".to_owned(),
        kernel: "6.12.0".to_owned(),
        interfaces: vec![Interface {
            name: "eth0".to_owned(),
            index: 2,
            link_type: 1,
            up: true,
            mtu: 1500,
            driver: None,
            master: None,
            parent: None,
            addresses: vec![InterfaceAddress {
                address: "10.0.0.11/24".parse().unwrap(),
                broadcast: None,
            }],
            forwards_v4: false,
            forwards_v6: false,
            has_lease: false,
        }],
        resolvers: vec!["10.0.0.53".parse().unwrap()],
        names: BTreeMap::new(),
        ephemeral: FactRange {
            first: 32_768,
            last: 60_999,
        },
        reserved_ports: vec![],
        ssh_ports: vec![22],
        listeners: None,
        hz: None,
        cpus: 2,
    }
}

pub(super) fn now() -> Timestamp {
    "2026-11-21T12:00:00Z".parse().unwrap()
}

pub(super) fn knowledge(products: Vec<Product>) -> Knowledge {
    // Not every shipped product: what a question is answered with must not hang on how many
    // of them name its port.
    let mut shipped = embedded();
    shipped.retain(|source| source.name().contains("seal-output-engine"));
    let adapter = Source::new("adapter.toml", ADAPTER);
    let (catalogue, findings) = Catalogue::from_sources(shipped, vec![adapter]);
    assert!(!findings.has_errors(), "{}", findings.render(false));
    let config = config(products);
    let resolved = resolve(&config, &catalogue, &facts());
    Knowledge::gather(&config, &catalogue, &facts(), &resolved)
}

pub(super) fn seal() -> Knowledge {
    knowledge(vec![product(
        "seal-output-engine",
        &["node"],
        "single-server",
    )])
}

pub(super) fn adapter() -> Knowledge {
    knowledge(vec![product("adapter", &["server"], "plain")])
}
