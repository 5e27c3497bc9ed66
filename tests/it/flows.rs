//! Real clients and servers, the agent as it ships: what passes, what is denied, and what is said about it.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream, UdpSocket};

use portcullis::events::kinds::{Kind, Message};
use portcullis_tests::daemon::Agent;
use portcullis_tests::journald::{Entry, Journald, field};
use portcullis_tests::service::Services;

use crate::site::{
    CLIENT, IPPS, LIMIT, SERVER, SILENCE, STRANGER, Site, at, configuration, is_denial, reaches,
    reaches_udp,
};

/// The server may fetch from the client's web server.
const FETCH: &str = r#"
[allow.fetch]
direction = "egress"
tcp = [80]
peers = "@clients"
reason = "a test"
"#;

#[track_caller]
fn check_outbound(hook: &str) {
    let site = Site::new();
    let mut services = Services::new();
    for port in [80, 81] {
        services.tcp(&site.client, port, "fetched").unwrap();
    }
    let mut agent =
        Agent::start(&site.server, &configuration(hook, "deny", FETCH), "json").unwrap();
    for (to, host) in [
        (CLIENT[0], CLIENT[0].to_owned()),
        (CLIENT[1], format!("[{}]", CLIENT[1])),
    ] {
        let curl = |port: u16| {
            let url = format!("http://{host}:{port}/");
            format!("curl --silent --show-error --globoff --max-time 5 {url}")
        };
        let fetched = site.server.text(&curl(80)).unwrap();
        assert_eq!(fetched, "fetched\n", "{hook} {to}");
        // The twin: a port that no rule names.
        assert!(!reaches(&site.server, to, 81, SILENCE), "{hook} {to}");
        let denied = agent.wait_event("egress to port 81", LIMIT, |event| {
            is_denial(
                event,
                ("egress", "tcp"),
                host.trim_matches(['[', ']']),
                to,
                81,
            ) || event["dst_port"] == 81 && event["direction"] == "egress"
        });
        denied.unwrap();
    }
    assert_eq!(services.served(), 2);
}

#[test]
fn outbound_curl_under_default_deny_at_xdp() {
    check_outbound("xdp");
}

#[test]
fn outbound_curl_under_default_deny_at_tc() {
    check_outbound("tc");
}

/// The fields of a journal entry that a denial must have.
#[track_caller]
fn check_entry(entry: &Entry, expected: &[(&str, &str)]) {
    for (name, value) in expected {
        assert_eq!(field(entry, name), Some(*value), "{name} in {entry:#?}");
    }
    let message = field(entry, "MESSAGE").unwrap();
    assert!(message.chars().count() <= 300, "{message}");
    assert!(!field(entry, "PORTCULLIS_REMEDY").unwrap().is_empty());
    let count: u64 = field(entry, "PORTCULLIS_COUNT").unwrap().parse().unwrap();
    assert!(count >= 1);
}

#[test]
fn a_near_miss_is_named_in_the_journal() {
    let site = Site::new();
    let journal = Journald::start(&site.server).unwrap();
    let mut services = Services::new();
    for port in [443, 444] {
        services.tcp(&site.server, port, "printed").unwrap();
    }
    services.udp_echo(&site.server, 443).unwrap();
    let _agent = Agent::start(
        &site.server,
        &configuration("xdp", "deny", ""),
        "journal,json",
    )
    .unwrap();

    for family in [0, 1] {
        let (server, client, stranger) = (SERVER[family], CLIENT[family], STRANGER[family]);
        assert!(reaches(&site.client, server, 443, LIMIT), "the bound peer");
        let served = services.served();
        assert!(!reaches(&site.stranger, server, 443, SILENCE));
        assert!(!reaches(&site.client, server, 444, SILENCE));
        assert!(!reaches_udp(&site.client, server, 443, SILENCE));
        assert_eq!(
            services.served(),
            served,
            "a denied packet reached a listener"
        );

        for (source, transport, port, kind) in [
            (stranger, "tcp", "443", Kind::Peer),
            (client, "tcp", "444", Kind::NeighbourPort),
            (client, "udp", "443", Kind::Transport),
        ] {
            let words = [
                format!("PORTCULLIS_SRC={source}"),
                format!("PORTCULLIS_TRANSPORT={transport}"),
                format!("PORTCULLIS_DST_PORT={port}"),
            ];
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let entry = journal.wait_entry(&words, LIMIT, |_| true).unwrap();
            check_entry(
                &entry,
                &[
                    ("SYSLOG_IDENTIFIER", "portcullis"),
                    ("MESSAGE_ID", Message::Difference(kind).id()),
                    ("PORTCULLIS_VERDICT", "deny"),
                    ("PORTCULLIS_REASON", "no-rule"),
                    ("PORTCULLIS_DIRECTION", "ingress"),
                    ("PORTCULLIS_INTERFACE", "eth0"),
                    ("PORTCULLIS_DST", server),
                    ("PORTCULLIS_NEAR_ROW", IPPS),
                    ("PORTCULLIS_DIFFERENCE", kind.name()),
                    ("PORTCULLIS_STAGE", "enforce"),
                ],
            );
        }
    }
    journal.stop().unwrap();
}

#[test]
fn a_udp_answer_needs_a_question() {
    const ASK: &str = r#"
[allow.ask]
direction = "ingress"
udp = [5000]
peers = "@clients"
reason = "a test"
"#;
    let site = Site::new();
    let mut agent = Agent::start(&site.server, &configuration("xdp", "deny", ASK), "json").unwrap();
    for family in [0, 1] {
        let (server, client) = (SERVER[family], CLIENT[family]);
        let bind = |host: &portcullis_tests::netns::Namespace, address: &str, port: u16| {
            let socket = host.enter(|| UdpSocket::bind(at(address, port)));
            let socket = socket.unwrap().unwrap();
            socket.set_read_timeout(Some(LIMIT)).unwrap();
            socket
        };
        // A local user has bound the idle service port.
        let local = bind(&site.server, server, 5000);
        let peer = bind(&site.client, client, 6000);
        // The kernel may say so at once; the packet counts.
        let _ = local.send_to(b"unasked", at(client, 6000));
        let unasked = agent.wait_event("a datagram that nobody asked for", LIMIT, |event| {
            is_denial(event, ("egress", "udp"), server, client, 6000)
        });
        unasked.unwrap();

        let mut datagram = [0; 64];
        peer.send_to(b"question", at(server, 5000)).unwrap();
        let (length, _) = local.recv_from(&mut datagram).unwrap();
        assert_eq!(&datagram[..length], b"question");
        local.send_to(b"answer", at(client, 6000)).unwrap();
        let (length, _) = peer.recv_from(&mut datagram).unwrap();
        assert_eq!(
            &datagram[..length],
            b"answer",
            "the first datagram got through"
        );
    }
}

/// One octet there and one back.
fn speaks(one: &mut TcpStream, other: &mut TcpStream) -> bool {
    let mut octet = [0];
    let mut way = |from: &mut TcpStream, to: &mut TcpStream| {
        from.write_all(&[7]).is_ok() && to.read_exact(&mut octet).is_ok()
    };
    way(one, other) && way(other, one)
}

#[test]
fn a_connection_lives_through_a_switch_that_allows_it() {
    const TWO: &str = r#"
[allow.fetch]
direction = "egress"
tcp = [80, 8080]
peers = "@clients"
reason = "a test"
"#;
    let site = Site::new();
    let mut agent = Agent::start(&site.server, &configuration("xdp", "deny", TWO), "json").unwrap();
    let connect = |port: u16| {
        let listener = site
            .client
            .enter(|| TcpListener::bind(at(CLIENT[0], port)))
            .unwrap()
            .unwrap();
        let near = site
            .server
            .enter(|| TcpStream::connect_timeout(&at(CLIENT[0], port), LIMIT))
            .unwrap()
            .unwrap();
        let (far, _) = listener.accept().unwrap();
        for stream in [&near, &far] {
            stream.set_read_timeout(Some(LIMIT)).unwrap();
        }
        (near, far)
    };
    let (mut kept, mut kept_far) = connect(80);
    let (mut cut, mut cut_far) = connect(8080);
    assert!(speaks(&mut kept, &mut kept_far) && speaks(&mut cut, &mut cut_far));

    agent.stop().unwrap();
    assert!(
        speaks(&mut kept, &mut kept_far),
        "a stopped agent leaves flows alone"
    );
    // The new policy names port 80 alone.
    let mut agent =
        Agent::start(&site.server, &configuration("xdp", "deny", FETCH), "json").unwrap();
    assert!(speaks(&mut kept, &mut kept_far), "still allowed");
    cut.set_read_timeout(Some(SILENCE)).unwrap();
    cut_far.set_read_timeout(Some(SILENCE)).unwrap();
    assert!(!speaks(&mut cut, &mut cut_far), "no longer allowed");
    let ended = agent.wait_event("the flow that ended", LIMIT, |event| {
        event["reason"] == "ended"
    });
    assert_eq!(ended.unwrap()["direction"], "egress");
}
