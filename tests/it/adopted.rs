//! Flows that were open before enforcement began: what the policy allows goes on, whoever speaks first; the rest ends, and is told.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::process::CommandExt as _;
use std::time::Duration;

use agent_common::flow::FlowTable;
use portcullis_tests::daemon::{Agent, binary, portcullis_json, portcullis_text};
use portcullis_tests::netns::Namespace;
use portcullis_tests::process::wait_for;
use portcullis_tests::seccomp;
use serde_json::{Value, json};

use crate::site::{CLIENT, LIMIT, SERVER, SILENCE, Site, at, configuration, flows, pinned};

const RULES: &str = r#"
[allow.fetch]
direction = "egress"
tcp = [80]
udp = [5001]
peers = "@clients"
reason = "a test"

[allow.serve]
direction = "ingress"
tcp = [8080]
udp = [5000]
peers = "@clients"
reason = "a test"
"#;

/// Written where flows were looked for.
const ENTERED: &str = "flows that were open are entered";

/// A connection: the end on the server, and the other.
struct Pair {
    here: TcpStream,
    there: TcpStream,
    /// While it is there its port listens, which tells who began.
    _listener: TcpListener,
}

#[track_caller]
fn connect(
    from: &Namespace,
    to: &Namespace,
    address: &str,
    port: u16,
) -> (TcpStream, TcpStream, TcpListener) {
    let listener = to.enter(|| TcpListener::bind(at(address, port)));
    let listener = listener.unwrap().unwrap();
    let near = from.enter(|| TcpStream::connect_timeout(&at(address, port), LIMIT));
    let near = near.unwrap().unwrap();
    let (far, _) = listener.accept().unwrap();
    (near, far, listener)
}

impl Pair {
    #[track_caller]
    fn begun_here(site: &Site, family: usize, port: u16) -> Self {
        let (here, there, _listener) = connect(&site.server, &site.client, CLIENT[family], port);
        Self {
            here,
            there,
            _listener,
        }
    }

    #[track_caller]
    fn begun_there(site: &Site, family: usize, port: u16) -> Self {
        let (there, here, _listener) = connect(&site.client, &site.server, SERVER[family], port);
        Self {
            here,
            there,
            _listener,
        }
    }

    /// As `status` lists it.
    fn listed(&self, began: &str) -> Value {
        let local = self.here.local_addr().unwrap().to_string();
        let peer = self.there.local_addr().unwrap().to_string();
        json!({ "transport": "tcp", "local": local, "peer": peer, "began": began })
    }
}

/// One octet from one end to the other, in so long.
fn arrives(from: &mut TcpStream, to: &mut TcpStream, limit: Duration) -> bool {
    to.set_read_timeout(Some(limit)).unwrap();
    from.write_all(&[7]).unwrap();
    to.read_exact(&mut [0]).is_ok()
}

#[track_caller]
fn bind(host: &Namespace, address: &str, port: u16) -> UdpSocket {
    let socket = host.enter(|| UdpSocket::bind(at(address, port)));
    socket.unwrap().unwrap()
}

/// A datagram from one socket to another, in so long.
fn comes(from: &UdpSocket, to: &UdpSocket, limit: Duration) -> bool {
    to.set_read_timeout(Some(limit)).unwrap();
    // The kernel may say at once that it was denied; what counts is whether it arrives.
    let there = to.local_addr().unwrap();
    let _ = match from.peer_addr() {
        Ok(_) => from.send(b"x"),
        Err(_) => from.send_to(b"x", there),
    };
    to.recv(&mut [0; 8]).is_ok()
}

/// Waits for a denial of what comes in to this port or goes out to it.
#[track_caller]
fn denied(agent: &mut Agent, (direction, transport): (&str, &str), port: u16, reason: &str) {
    let event = agent.wait_event("what the policy ended", LIMIT, |event| {
        event["verdict"] == "deny"
            && event["direction"] == direction
            && event["transport"] == transport
            && event["dst_port"] == port
    });
    assert_eq!(event.unwrap()["reason"], reason, "{transport} to {port}");
}

/// What `status` lists as ended, in an order of its own.
#[track_caller]
fn cut(site: &Site) -> Vec<Value> {
    let status = portcullis_json(&site.server, &["status", "--json"]).unwrap();
    let mut cut = status["cut"].as_array().unwrap().clone();
    cut.sort_by_key(Value::to_string);
    cut
}

#[track_caller]
fn check_sockets(hook: &str) {
    let site = Site::new();
    let text = configuration(hook, "deny", RULES);
    let both = |open: &dyn Fn(usize) -> Pair| [open(0), open(1)];
    let mut fetched = both(&|family| Pair::begun_here(&site, family, 80));
    let mut forbidden = both(&|family| Pair::begun_here(&site, family, 8081));
    let mut served = both(&|family| Pair::begun_there(&site, family, 8080));
    let mut refused = both(&|family| Pair::begun_there(&site, family, 8082));
    let mut datagrams = Vec::new();
    for family in [0, 1] {
        for port in [5001, 5002] {
            let here = bind(&site.server, SERVER[family], 0);
            here.connect(at(CLIENT[family], port)).unwrap();
            datagrams.push((here, bind(&site.client, CLIENT[family], port)));
        }
    }
    let mut agent = Agent::start(&site.server, &text, "json").unwrap();
    let log = agent.log();
    assert!(log.contains(ENTERED), "{log}");

    let mut expected: Vec<Value> = forbidden
        .iter()
        .map(|it| it.listed("host"))
        .chain(refused.iter().map(|it| it.listed("peer")))
        .collect();
    for (here, there) in &datagrams {
        let (local, peer) = (here.local_addr().unwrap(), there.local_addr().unwrap());
        if peer.port() == 5002 {
            expected.push(json!({
                "transport": "udp", "local": local.to_string(), "peer": peer.to_string(), "began": "host",
            }));
        }
    }
    expected.sort_by_key(Value::to_string);
    assert_eq!(cut(&site), expected);
    let told = log.matches("it was open before enforcement began").count();
    assert_eq!(told, expected.len(), "{log}");
    let status = portcullis_text(&site.server, &["status"]).unwrap();
    assert!(status.contains("ended by the policy"), "{status}");

    for family in [0, 1] {
        let Pair { here, there, .. } = &mut fetched[family];
        assert!(arrives(there, here, LIMIT), "{hook} {family}: fetched");
        assert!(arrives(here, there, LIMIT), "{hook} {family}: fetched");
        let Pair { here, there, .. } = &mut served[family];
        assert!(arrives(there, here, LIMIT), "{hook} {family}: served");
        assert!(arrives(here, there, LIMIT), "{hook} {family}: served");

        let Pair { here, there, .. } = &mut forbidden[family];
        let port = here.local_addr().unwrap().port();
        assert!(!arrives(there, here, SILENCE), "{hook} {family}: forbidden");
        denied(&mut agent, ("ingress", "tcp"), port, "ended");
        let Pair { here, there, .. } = &mut refused[family];
        assert!(!arrives(there, here, SILENCE), "{hook} {family}: refused");
        denied(&mut agent, ("ingress", "tcp"), 8082, "no-rule");
    }
    for (here, there) in &datagrams {
        let (local, peer) = (here.local_addr().unwrap(), there.local_addr().unwrap());
        if peer.port() == 5001 {
            assert!(comes(there, here, LIMIT), "{hook} {local}");
        } else {
            assert!(!comes(there, here, SILENCE), "{hook} {local}");
            denied(&mut agent, ("ingress", "udp"), local.port(), "ended");
        }
    }
    // What was entered by hand counts like what the programs make.
    let (made, gone) = pinned(&site.server, |pinned| {
        let counts = pinned.flow_counts().unwrap();
        (counts.made, counts.removed)
    });
    assert_eq!(made - gone, flows(&site.server)[0] as u64, "{hook}");

    // Over pins nothing is looked for.
    agent.stop().unwrap();
    let mut agent = Agent::start_as_it_stands(&site.server, "json").unwrap();
    let log = agent.log();
    assert!(!log.contains(ENTERED), "{log}");
    assert_eq!(cut(&site), Vec::<Value>::new());
    let Pair { here, there, .. } = &mut fetched[0];
    assert!(arrives(there, here, LIMIT), "{hook}: after another start");
    agent.stop().unwrap();
}

#[test]
fn what_sockets_know_at_xdp() {
    check_sockets("xdp");
}

#[test]
fn what_sockets_know_at_tc() {
    check_sockets("tc");
}

/// Datagrams from sockets that are not connected: asked by this host to an allowed port and to another, and asked by a peer.
struct Datagrams {
    asked: [(UdpSocket, UdpSocket); 2],
    service: UdpSocket,
    peer: UdpSocket,
}

impl Datagrams {
    #[track_caller]
    fn exchange(site: &Site, family: usize) -> Self {
        let (server, client) = (SERVER[family], CLIENT[family]);
        let asked = [5001, 5002].map(|port| {
            let (here, there) = (
                bind(&site.server, server, 0),
                bind(&site.client, client, port),
            );
            assert!(comes(&here, &there, LIMIT));
            (here, there)
        });
        let service = bind(&site.server, server, 5000);
        let peer = bind(&site.client, client, 6000);
        assert!(comes(&peer, &service, LIMIT));
        Self {
            asked,
            service,
            peer,
        }
    }
}

/// Without connection tracking nobody knows of such flows; with it they go on.
#[track_caller]
fn check_tracking(tracks: bool) {
    let site = Site::new();
    if tracks {
        for line in [
            "nft add table inet tracking",
            "nft add chain inet tracking input { type filter hook input priority 0 ; }",
            "nft add rule inet tracking input ct state established accept",
        ] {
            site.server.text(line).unwrap();
        }
    }
    let exchanged = [0, 1].map(|family| Datagrams::exchange(&site, family));
    if tracks {
        wait_for("flows in nf_conntrack", LIMIT, || {
            let count = site
                .server
                .read("/proc/sys/net/netfilter/nf_conntrack_count")?;
            Ok((count.trim().parse::<u32>()? >= 6).then_some(()))
        })
        .unwrap();
    }
    let text = configuration("tc", "deny", RULES);
    let mut agent = Agent::start(&site.server, &text, "json").unwrap();
    let limit = if tracks { LIMIT } else { SILENCE };
    let mut expected = Vec::new();
    for Datagrams {
        asked: [(here, there), (forbidden, other)],
        service,
        peer,
    } in &exchanged
    {
        let local = here.local_addr().unwrap();
        assert_eq!(comes(there, here, limit), tracks, "{local}: a reply");
        assert_eq!(comes(service, peer, limit), tracks, "{local}: an answer");
        assert!(!comes(other, forbidden, SILENCE), "{local}: not allowed");
        let port = forbidden.local_addr().unwrap().port();
        let reason = if tracks { "ended" } else { "no-rule" };
        denied(&mut agent, ("ingress", "udp"), port, reason);
        let ends = [forbidden, other].map(|it| it.local_addr().unwrap().to_string());
        expected.push(json!({
            "transport": "udp", "local": ends[0], "peer": ends[1], "began": "host",
        }));
    }
    expected.retain(|_| tracks);
    expected.sort_by_key(Value::to_string);
    assert_eq!(cut(&site), expected);
    agent.stop().unwrap();
}

#[test]
fn what_only_connection_tracking_knows() {
    check_tracking(true);
}

#[test]
fn what_nobody_knows() {
    check_tracking(false);
}

/// A table of flows that was lost is filled again by what the kernel knows, before and after the programs are replaced.
#[test]
fn a_flow_table_that_was_lost() {
    let site = Site::new();
    let text = configuration("xdp", "deny", RULES);
    let agent = Agent::start(&site.server, &text, "json").unwrap();
    let mut pair = Pair::begun_here(&site, 0, 80);
    assert!(arrives(&mut pair.here, &mut pair.there, LIMIT));
    agent.kill().unwrap();
    let state = pinned(&site.server, |pinned| pinned.directory().join("state"));
    let remove = || fs::remove_file(state.join("FLOWS_ESTABLISHED"));
    site.server.enter(remove).unwrap().unwrap();

    let mut agent = Agent::start_as_it_stands(&site.server, "json").unwrap();
    assert!(agent.log().contains(ENTERED), "{}", agent.log());
    assert!(arrives(&mut pair.there, &mut pair.here, LIMIT));
    let entries = pinned(&site.server, |pinned| {
        let table = pinned.flows(FlowTable::Established).unwrap();
        table.entries().unwrap().len()
    });
    assert_eq!(entries, 1);
    agent.stop().unwrap();
}

/// Where the kernel does not say what is open, that is told, and the policy is in force all the same.
#[test]
fn a_kernel_that_lists_no_sockets() {
    let site = Site::new();
    site.server
        .write(
            portcullis_tests::daemon::CONFIGURATION,
            &configuration("tc", "deny", RULES),
        )
        .unwrap();
    let mut pair = Pair::begun_here(&site, 0, 80);
    let mut agent = Agent::start_changed(
        &site.server,
        &binary().unwrap(),
        &["--sink", "json"],
        |command| {
            // SAFETY: between fork and exec, only system calls.
            unsafe { command.pre_exec(seccomp::refuse_socket_lists) };
        },
    )
    .unwrap();
    let log = agent.log();
    assert!(
        log.contains("tcp sockets of IPv4 can't all be listed"),
        "{log}"
    );
    assert!(
        !arrives(&mut pair.there, &mut pair.here, SILENCE),
        "enforced"
    );
    assert!(arrives(&mut pair.here, &mut pair.there, LIMIT), "picked up");
    agent.stop().unwrap();
}
