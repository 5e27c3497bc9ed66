//! Rows: a question, and what the journal and the JSON say of it.

mod ask;
mod fixtures;
mod products;

use self::ask::{Case, check, check_question, message, question};
use self::fixtures::{adapter, knowledge, product, seal};
use super::*;

#[test]
fn every_kind_of_a_seal_server() {
    let seal = seal();
    let cases: &[Case<'_>] = &[
        (
            "ingress tcp 10.0.5.9 9100",
            (Kind::Expired, &["allow/node-exporter"]),
            Some("ingress tcp/9100 from 10.0.5.9 until 2026-11-01"),
            "allow/node-exporter (Prometheus) ended on 2026-11-01",
            "expires = 2026-12-21 # under [allow.node-exporter], if it is still needed; else remove that table",
        ),
        (
            "ingress tcp 10.9.9.9 443",
            (Kind::Peer, &["seal-output-engine/single-server/1"]),
            Some("ingress tcp/443 from print-client"),
            "seal-ipp-checkin (seal-output-engine/single-server/1) is open to print-client only; 10.9.9.9 plays no role here",
            "print-client = [\"@offices\", \"10.9.9.9\"] # under [product.seal-output-engine.peers]",
        ),
        (
            "ingress tcp 2001:db8:99::9 9000",
            (Kind::Peer, &["seal-output-engine/single-server/11"]),
            Some("ingress tcp/9000 from admin-browser"),
            "PLOSSYS Administrator (seal-output-engine/single-server/11) is open to admin-browser only; 2001:db8:99::9 plays no role here",
            "admin-browser = [\"10.0.200.0/24\", \"2001:db8:99::9\"] # under [product.seal-output-engine.peers]",
        ),
        (
            "ingress tcp 10.0.44.7 443",
            (Kind::Peer, &["seal-output-engine/single-server/1"]),
            Some("ingress tcp/443 from print-client"),
            "seal-ipp-checkin (seal-output-engine/single-server/1) is open to print-client only; 10.0.44.7 plays api-client",
            "print-client = [\"@offices\", \"10.0.44.7\"] # under [product.seal-output-engine.peers]",
        ),
        (
            "ingress tcp 10.9.9.9 22",
            (Kind::Peer, &["failsafe/ssh"]),
            Some("ingress tcp/22 from 10.0.200.0/24"),
            "failsafe/ssh is open to 10.0.200.0/24 only; 10.9.9.9 plays no role here",
            "peers = [\"10.0.200.0/24\", \"10.9.9.9\"] # under [failsafe.ssh]",
        ),
        (
            "egress udp 10.9.9.9 53",
            (Kind::Peer, &["baseline/dns"]),
            Some("egress udp/53 to 10.0.0.53"),
            "baseline/dns is open to 10.0.0.53 only; 10.9.9.9 plays no role here",
            "dns = [\"10.0.0.53\", \"10.9.9.9\"] # under [baseline]",
        ),
        (
            "ingress tcp 10.0.44.7 8081",
            (Kind::Skipped, &["seal-output-engine/single-server/9"]),
            Some("ingress tcp/8081 from api-client"),
            "seal-job-notifier (seal-output-engine/single-server/9) is left out here: plain-text twin of 8082",
            "nothing, if that reason holds; else remove \"single-server/9\" from [product.seal-output-engine.skip]",
        ),
        (
            "ingress tcp 10.0.5.7 1948",
            (Kind::Option, &["seal-output-engine/single-server/4"]),
            Some("ingress tcp/1948 from monitoring-server with options.monitoring = true"),
            "seal-checkin (seal-output-engine/single-server/4) hangs on option monitoring, which is off here",
            "monitoring = true # under [product.seal-output-engine.options], and monitoring-server = [\"10.0.5.7\"] under [….peers]",
        ),
        (
            // the role admits anyone already: the option is all
            "ingress tcp 10.9.9.9 32769",
            (Kind::Option, &["seal-output-engine/single-server/12"]),
            Some("ingress tcp/32769 from oidc-user with options.keycloak = true"),
            "seal-keycloak (seal-output-engine/single-server/12) hangs on option keycloak, which is off here",
            "keycloak = true # under [product.seal-output-engine.options]",
        ),
        (
            "ingress tcp 10.0.0.12 8300",
            (Kind::Topology, &["seal-output-engine/cluster/39"]),
            Some("ingress tcp/8300 from node with topologies = [\"cluster\"]"),
            "Consul (seal-output-engine/cluster/39) belongs to topology cluster, which is not selected here",
            "topologies = [\"cluster\"] # under [product.seal-output-engine]",
        ),
        (
            // `cluster/2` too would open 443 to the nodes, but this host has a row of its own that differs in the peer alone
            "ingress tcp 10.0.0.12 443",
            (Kind::Peer, &["seal-output-engine/single-server/1"]),
            Some("ingress tcp/443 from print-client"),
            "seal-ipp-checkin (seal-output-engine/single-server/1) is open to print-client only; 10.0.0.12 plays node",
            "print-client = [\"@offices\", \"10.0.0.12\"] # under [product.seal-output-engine.peers]",
        ),
        (
            "egress tcp 10.9.9.9 5601",
            (Kind::Topology, &["seal-output-engine/cluster/34"]),
            Some("egress tcp/5601 to node with topologies = [\"cluster\"]"),
            "Kibana (seal-output-engine/cluster/34) belongs to topology cluster, which is not selected here",
            "topologies = [\"cluster\"] # under [product.seal-output-engine], and node = [\"10.0.0.12\", \"10.9.9.9\"] under [….peers]",
        ),
        (
            "ingress udp 10.1.0.7 443",
            (Kind::Transport, &["seal-output-engine/single-server/1"]),
            Some("ingress tcp/443 from print-client"),
            "seal-ipp-checkin (seal-output-engine/single-server/1) is documented on tcp/443, not on udp",
            "nothing, HTTP/3 tries udp/443 first and falls back to tcp/443",
        ),
        (
            "ingress tcp 10.0.44.7 8080",
            (Kind::MovedPort, &["seal-output-engine/single-server/8"]),
            Some("ingress tcp/8443 from api-client"),
            "seal-rest (seal-output-engine/single-server/8) is on 8443 here, 8080 is the vendor's default",
            "the sender should use 8443; if the service was not moved: rest = 8080 # under [product.seal-output-engine.ports]",
        ),
        (
            "ingress tcp 10.1.0.7 444",
            (Kind::NeighbourPort, &["seal-output-engine/single-server/1"]),
            Some("ingress tcp/443 from print-client"),
            "tcp/444 is not documented; seal-ipp-checkin (seal-output-engine/single-server/1) is on 443",
            "nothing here, if 443 is meant correct the port in the sender",
        ),
        (
            "ingress udp 10.1.0.7 7000",
            (Kind::OtherProduct, &["adapter/main/1"]),
            Some("ingress udp/7000 from device"),
            "it is documented as discovery (adapter/main/1) of adapter, which is not selected here",
            "nothing, unless it runs here: then `portcullis init adapter --role server` writes its table",
        ),
        (
            "ingress tcp 10.1.0.7 23",
            (Kind::None, &[]),
            None,
            "nothing documents ingress tcp/23",
            "nothing, unless it is meant: allow.ingress-tcp-23 = { direction = \"ingress\", tcp = [23], peers = [\"10.1.0.7\"], reason = \"say why\" }",
        ),
        (
            "ingress echo 10.1.0.7 2048",
            (Kind::None, &[]),
            None,
            "nothing documents ingress icmp type 8",
            "nothing, unless it is meant: icmp-echo.in = [\"10.1.0.7\"] # under [baseline]",
        ),
    ];
    for case in cases {
        check(&seal, *case);
    }
}

#[test]
fn the_sentence_is_whole() {
    let question = question("ingress tcp 10.9.9.9 443");
    assert_eq!(
        message(&question, &seal().explain(&question)),
        "denied tcp 10.9.9.9:50000 > 10.0.0.11:443 in on eth0: seal-ipp-checkin (seal-output-engine/single-server/1) is open to \
         print-client only; 10.9.9.9 plays no role here; if it is print-client: print-client = [\"@offices\", \"10.9.9.9\"] \
         # under [product.seal-output-engine.peers]"
    );
}

#[test]
fn a_block_is_named() {
    let mut question = question("ingress tcp 192.0.2.7 443");
    question.reason = Reason::Block;
    let case: Case<'_> = (
        "by the peer",
        (Kind::Blocked, &["block/incident-4711"]),
        None,
        "block/incident-4711 blocks 192.0.2.7 in both directions",
        "nothing, it is meant; to admit 192.0.2.7, take it out of [block.incident-4711]",
    );
    let seal = seal();
    check_question(&seal, &question, case);
    assert_eq!(seal.explain(&question).rows, ["block/incident-4711"]);
    question.rule = Some(0);
    assert_eq!(seal.rule_id(0), Some("block/incident-4711"));
    check_question(&seal, &question, case);
    question.direction = Direction::Egress;
    check_question(&seal, &question, case);
}

#[test]
fn what_a_seal_server_does_not_have() {
    let adapter = adapter();
    let cases: &[Case<'_>] = &[
        (
            "ingress tcp 10.3.0.7 7100",
            (Kind::Version, &["adapter/main/2"]),
            Some("ingress tcp/7100 from device with versions.firmware = \"4.7\""),
            "fast sync (adapter/main/2) came with firmware 4.7, the configuration names none",
            "firmware = \"4.7\" # under [product.adapter.versions]",
        ),
        (
            "ingress tcp 10.3.0.7 7766",
            (Kind::HostOnly, &["adapter/inner/1"]),
            Some("tcp/7766 inside the host"),
            "helper (adapter/inner/1) stays inside a host: its flows never leave the host",
            "nothing here, what uses it runs on the same host and should be told the loopback address",
        ),
        (
            // an addition keeps what it adds to
            "ingress tcp 10.9.9.9 7400",
            (Kind::Topology, &["adapter/gateway/1"]),
            Some("ingress tcp/7400 from device with topologies = [\"gateway\"]"),
            "relay (adapter/gateway/1) belongs to topology gateway, which is not selected here",
            "topologies = [\"gateway\"] # under [product.adapter], and device = [\"10.3.0.0/16\", \"10.9.9.9\"] under [….peers]",
        ),
        (
            "ingress tcp 10.3.0.7 7000",
            (Kind::Transport, &["adapter/main/1"]),
            Some("ingress udp/7000 from device"),
            "discovery (adapter/main/1) is documented on udp/7000, not on tcp",
            "nothing here, the sender should use udp/7000",
        ),
        (
            "ingress tcp 10.3.0.7 7200",
            (Kind::Direction, &["adapter/main/3"]),
            Some("egress tcp/7200 to device"),
            "upload (adapter/main/3) is documented the other way only, from this host to device",
            "nothing, unless this host plays the other role: then correct `roles` under [product.adapter]",
        ),
        (
            // nobody is bound to the role: the row is open to it, and it is nobody
            "ingress 47 10.3.0.7 0",
            (Kind::Peer, &["adapter/main/4"]),
            Some("ingress gre from peer"),
            "tunnel (adapter/main/4) is open to peer only; 10.3.0.7 plays device",
            "peer = [\"10.3.0.7\"] # under [product.adapter.peers]",
        ),
        (
            "ingress tcp 10.3.0.7 7300",
            (Kind::None, &["adapter/main/5"]),
            None,
            "it is documented as peer port (adapter/main/5) for peer, which this host does not play",
            "nothing, unless this host plays peer: then add it to `roles` under [product.adapter]",
        ),
        (
            "ingress tcp 10.3.0.7 443",
            (
                Kind::OtherProduct,
                &[
                    "seal-output-engine/single-server/1",
                    "seal-output-engine/cluster/2",
                ],
            ),
            Some("ingress tcp/443 from print-client"),
            "it is documented as seal-ipp-checkin (seal-output-engine/single-server/1 and 1 more) of seal-output-engine, which is not selected here",
            "nothing, unless it runs here: then `portcullis init seal-output-engine --role node` writes its table",
        ),
    ];
    for case in cases {
        check(&adapter, *case);
    }
}

#[test]
fn all_rows_of_a_rank_are_given() {
    let cluster = knowledge(vec![product("seal-output-engine", &["node"], "cluster")]);
    check(
        &cluster,
        (
            "ingress tcp 10.9.9.9 443",
            (Kind::Peer, &["seal-output-engine/cluster/2"]),
            Some("ingress tcp/443 from node, print-client"),
            "seal-ipp-checkin (seal-output-engine/cluster/2) is open to node, print-client only; 10.9.9.9 plays no role here",
            // the role of strangers, not the cluster's own
            "print-client = [\"@offices\", \"10.9.9.9\"] # under [product.seal-output-engine.peers]",
        ),
    );
    let both = knowledge(vec![
        product("adapter", &["server"], "plain"),
        product("seal-output-engine", &["node"], "cluster"),
    ]);
    let found = both.explain(&question("ingress udp 10.9.9.9 8300"));
    assert_eq!(
        (found.kind, found.near_rows),
        (
            Kind::Transport,
            vec!["seal-output-engine/cluster/39".to_owned()]
        )
    );
    // 8301 is documented on both sides of 8302 and 8300: the nearest of both are given
    let found = both.explain(&question("ingress udp 10.9.9.9 8303"));
    assert_eq!(
        (found.kind, found.near_rows),
        (
            Kind::NeighbourPort,
            vec!["seal-output-engine/cluster/41".to_owned()]
        )
    );
}

#[test]
fn answers_are_near_their_own_flow() {
    let seal = seal();
    let late = "nothing, unless there are many: then look for a slow or restarted service";
    let cases: &[Case<'_>] = &[
        (
            "ingress udp 10.0.0.53 <53",
            (Kind::None, &["baseline/dns"]),
            None,
            "an answer to no known question: baseline/dns admits the flow, but nobody asked, or too long ago",
            late,
        ),
        (
            "egress tcp 10.1.0.7 <443",
            (Kind::None, &["seal-output-engine/single-server/1"]),
            None,
            "an answer to no known question: seal-ipp-checkin (seal-output-engine/single-server/1) admits the flow, but nobody \
             asked, or too long ago",
            late,
        ),
        (
            "ingress tcp 10.9.9.9 <443",
            (Kind::Direction, &["seal-output-engine/single-server/1"]),
            Some("ingress tcp/443 from print-client"),
            "seal-ipp-checkin (seal-output-engine/single-server/1) is documented the other way only, from print-client to this host",
            "nothing, unless this host plays the other role: then correct `roles` under [product.seal-output-engine]",
        ),
        (
            "ingress tcp 10.9.9.9 <25",
            (Kind::None, &[]),
            None,
            "an answer to a question that no rule lets be asked: egress tcp/25",
            "nothing, nobody asked",
        ),
    ];
    for case in cases {
        check(&seal, *case);
    }
}

#[test]
fn what_passes_now_is_said() {
    check(
        &seal(),
        (
            "ingress tcp 10.1.0.7 443",
            (Kind::None, &["seal-output-engine/single-server/1"]),
            None,
            "seal-ipp-checkin (seal-output-engine/single-server/1) admits it now; an earlier policy denied this packet",
            "nothing, what is sent again passes",
        ),
    );
}

#[test]
fn packets_at_fault_have_words_of_their_own() {
    for &reason in Reason::ALL {
        let mut question = question("ingress tcp 10.1.0.7 443");
        question.reason = reason;
        let found = seal().explain(&question);
        let plain = [
            Reason::Unrelated,
            Reason::OffLink,
            Reason::Group,
            Reason::NotForwarded,
        ];
        assert_eq!(
            found.packet,
            reason.is_structural() || plain.contains(&reason),
            "{}",
            reason.name()
        );
        if found.packet {
            assert_eq!((found.kind, found.near_rows.len()), (Kind::None, 0));
            assert!(
                message(&question, &found).contains(&found.text),
                "{}",
                reason.name()
            );
        }
    }
}

#[test]
fn an_ended_flow_says_so() {
    let mut question = question("ingress tcp 10.0.44.7 8081");
    question.reason = Reason::Ended;
    let found = seal().explain(&question);
    assert_eq!(found.kind, Kind::Skipped);
    assert!(
        found
            .text
            .starts_with("an earlier policy let it begin; now: seal-job-notifier")
    );
}

/// The vendor's table has 60 rows; whatever is asked, the sentence is short enough and the answer is one of the list.
#[test]
fn whatever_is_asked_has_an_answer() {
    let knowledge = knowledge(vec![
        product("seal-output-engine", &["node"], "cluster"),
        product("adapter", &["server", "peer"], "gateway"),
    ]);
    for transport in ["tcp", "udp"] {
        for direction in ["ingress", "egress"] {
            for port in (1..=10_000).step_by(7).chain(8_290..8_310) {
                for peer in ["10.9.9.9", "2001:db8:1234:5678:9abc:def0:1234:5678"] {
                    let question = question(&format!("{direction} {transport} {peer} {port}"));
                    let found = knowledge.explain(&question);
                    let sentence = message(&question, &found);
                    assert!(sentence.chars().count() <= 300, "{sentence}");
                    assert!(
                        !found.remedy.is_empty() && !found.text.is_empty(),
                        "{sentence}"
                    );
                }
            }
        }
    }
}
