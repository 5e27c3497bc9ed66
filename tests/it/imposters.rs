//! A local user without rights who takes a service's idle port, and segments with flags that no stack sends.

use std::net::{IpAddr, UdpSocket};
use std::time::Duration;

use agent_common::event::Direction;
use agent_common::verdict::{Action, Reason};
use portcullis::dataplane::testrun::Entry;
use portcullis_tests::daemon::Agent;
use portcullis_tests::link::mac;
use portcullis_tests::netns::Namespace;
use portcullis_tests::packet::{Macs, tcp};
use portcullis_tests::raw::{Receiver, Sender};
use portcullis_tests::rows::kernel::InKernel;
use portcullis_tests::rows::{Rows, World};
use portcullis_tests::service::Services;

use crate::site::{CLIENT, LIMIT, SERVER, SILENCE, Site, at, configuration, is_denial};

const USER: &str = "4711";

const ASK: &str = r#"
[allow.ask]
direction = "ingress"
udp = [5000]
peers = "@clients"
reason = "a test"
"#;

/// The user sends a line from the service's port.
#[track_caller]
fn send(host: &Namespace, from: &str, to: &str, port: u16) {
    let (kind, from, to) = if to.contains(':') {
        ("UDP6", format!("[{from}]"), format!("[{to}]"))
    } else {
        ("UDP4", from.to_owned(), to.to_owned())
    };
    let script = format!(
        "exec setpriv --reuid={USER} --regid={USER} --clear-groups --inh-caps=-all --bounding-set=-all \
         sh -c 'echo secret | socat -u - {kind}-SENDTO:{to}:{port},bind={from}:5000'"
    );
    // The kernel may tell it that its datagram was dropped; what counts is whether it arrives.
    host.command("sh").args(["-c", &script]).status().unwrap();
}

#[track_caller]
fn hears(socket: &UdpSocket, limit: Duration) -> Option<String> {
    socket.set_read_timeout(Some(limit)).unwrap();
    let mut octets = [0; 64];
    let length = socket.recv(&mut octets).ok()?;
    Some(String::from_utf8_lossy(&octets[..length]).into_owned())
}

#[track_caller]
fn check_user(hook: &str) {
    let site = Site::new();
    let text = configuration(hook, "deny", ASK);
    let mut agent = Agent::start(&site.server, &text, "json").unwrap();
    for family in [0, 1] {
        let (server, client) = (SERVER[family], CLIENT[family]);
        let peers: Vec<UdpSocket> = [6000, 6001]
            .into_iter()
            .map(|port| {
                let socket = site.client.enter(|| UdpSocket::bind(at(client, port)));
                socket.unwrap().unwrap()
            })
            .collect();
        // The service is down, its port is free, and the peer may ask there: that is no way out.
        send(&site.server, server, client, 6000);
        let denied = agent.wait_event("what nobody asked for", LIMIT, |event| {
            is_denial(event, ("egress", "udp"), server, client, 6000)
        });
        assert_eq!(denied.unwrap()["uid"].to_string(), USER);
        assert_eq!(hears(&peers[0], SILENCE), None, "{hook} {server}");

        // The twin: the peer has asked, and may be answered; another port of it has not.
        peers[0].send_to(b"question", at(server, 5000)).unwrap();
        // Nobody listens there, which the stack says; that is an answer, too.
        let refused = hears(&peers[0], SILENCE);
        assert_eq!(refused, None);
        send(&site.server, server, client, 6000);
        let heard = hears(&peers[0], LIMIT);
        assert_eq!(heard.as_deref(), Some("secret\n"), "{hook} {server}");
        send(&site.server, server, client, 6001);
        let denied = agent.wait_event("another port", LIMIT, |event| {
            is_denial(event, ("egress", "udp"), server, client, 6001)
        });
        denied.unwrap();
        assert_eq!(hears(&peers[1], SILENCE), None, "{hook} {server}");
    }
    agent.stop().unwrap();
}

#[test]
fn a_user_who_takes_an_idle_port_has_no_way_out_at_xdp() {
    check_user("xdp");
}

#[test]
fn a_user_who_takes_an_idle_port_has_no_way_out_at_tc() {
    check_user("tc");
}

/// The flags in the order of their bits (RFC 9293 section 3.1).
const FLAGS: [char; 8] = ['F', 'S', 'R', 'P', 'A', 'U', 'E', 'C'];

fn named(bits: u8) -> String {
    let set = |number: &usize| bits >> number & 1 == 1;
    (0..8).filter(set).map(|number| FLAGS[number]).collect()
}

/// What RFC 9293 has a use for, in words: a SYN or a RST alone or with ACK, else ACK, perhaps with FIN. Urgent data go with ACK or with a
/// SYN that brings data. PSH says something to the receiver alone, ECE and CWR to the congestion control (RFC 3168).
fn is_possible(flags: &str) -> bool {
    let has = |flag: char| flags.contains(flag);
    let (fin, syn, rst, ack, urg) = (has('F'), has('S'), has('R'), has('A'), has('U'));
    match (syn, rst) {
        (true, true) => false,
        (true, false) => !(fin || ack && urg),
        (false, true) => !(fin || urg),
        (false, false) => ack,
    }
}

/// All 256, to a host that lets everything else in and out.
#[track_caller]
fn check_flags(ingress: Entry) {
    let host = Namespace::new("flags").unwrap();
    host.enter(|| {
        let rows = Rows::read().unwrap();
        let mut world = InKernel::load(ingress).unwrap();
        world.begin(&rows, "open").unwrap();
        let mut wrong = Vec::new();
        for (own, peer) in [("10.0.0.1", "192.0.2.7"), ("fd00::1", "2001:db8:bad::7")] {
            let (own, peer): (IpAddr, IpAddr) = (own.parse().unwrap(), peer.parse().unwrap());
            for bits in 0..=u8::MAX {
                let flags = named(bits);
                for direction in [Direction::Ingress, Direction::Egress] {
                    let (from, to) = match direction {
                        Direction::Ingress => (peer, own),
                        Direction::Egress => (own, peer),
                    };
                    let frame = tcp((from, 40_000), (to, 41_000), &flags).frame().unwrap();
                    let seen = world.judge(direction, &frame).unwrap();
                    let refused = (seen.action, seen.reason) == (Action::Deny, Reason::TcpFlags);
                    let passed = seen.action == Action::Allow;
                    let possible = is_possible(&flags);
                    if refused == possible || passed != possible {
                        wrong.push(format!("{direction:?} {flags:?} with {peer}: {seen:?}"));
                    }
                }
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    })
    .unwrap();
}

#[test]
fn flags_that_no_stack_sends_at_xdp() {
    check_flags(Entry::XdpIngress);
}

#[test]
fn flags_that_no_stack_sends_at_tc() {
    check_flags(Entry::TcIngress);
}

/// On the wire, from a peer that may use the port: none of them is answered, whatever the stack would have made of it.
#[track_caller]
fn check_segments(hook: &str) {
    let site = Site::new();
    let mut services = Services::new();
    services.tcp(&site.server, 443, "open").unwrap();
    let mut agent = Agent::start(&site.server, &configuration(hook, "deny", ""), "json").unwrap();
    let macs = Macs {
        from: mac(&site.client, "eth0").unwrap(),
        to: mac(&site.server, "eth0").unwrap(),
    };
    let sender = Sender::new(&site.client, "eth0").unwrap();
    for family in [0, 1] {
        let (server, client) = (at(SERVER[family], 443), at(CLIENT[family], 0));
        let answers = Receiver::new(&site.client, "eth0").unwrap();
        // The source port says which flags were sent; so does the destination of an answer.
        let send = |bits: u8| {
            let from = (client.ip(), 50_000 + u16::from(bits));
            let segment = tcp(from, (server.ip(), server.port()), &named(bits));
            sender.send(&segment.frame_between(macs).unwrap()).unwrap();
        };
        let answered = |limit: Duration| {
            let mut to = Vec::new();
            while let Some(frame) = answers.next(limit).unwrap() {
                let (protocol, segment) = [(23, 34), (20, 54)][family];
                if frame.get(protocol) == Some(&6) {
                    let port = [frame[segment + 2], frame[segment + 3]];
                    let bits = u16::from_be_bytes(port).wrapping_sub(50_000);
                    to.push(named(u8::try_from(bits).unwrap()));
                }
            }
            to
        };
        for bits in (0..=u8::MAX).filter(|bits| !is_possible(&named(*bits))) {
            send(bits);
        }
        assert_eq!(answered(SILENCE), [""; 0], "{hook}, from {server}");
        // The twins: a SYN begins, and an ACK of nothing is reset.
        for bits in [0b10, 0b1_0000] {
            send(bits);
        }
        let mut heard = answered(SILENCE);
        heard.sort();
        heard.dedup();
        assert_eq!(heard, ["A", "S"], "{hook}, from {server}");
    }
    agent.stop().unwrap();
}

#[test]
fn impossible_segments_get_no_answer_at_xdp() {
    check_segments("xdp");
}

#[test]
fn impossible_segments_get_no_answer_at_tc() {
    check_segments("tc");
}
