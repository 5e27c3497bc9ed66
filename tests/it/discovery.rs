//! SSDP between a guarded player and a computer of its network: who asks a group is answered by a member alone, and nobody else gets in.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use portcullis::policy::catalogue::{Catalogue, embedded};
use portcullis_tests::daemon::Agent;
use portcullis_tests::netns::Namespace;

use crate::site::{CLIENT, LIMIT, SERVER, SILENCE, STRANGER, Site, at};
use crate::verify::filled_in;

/// UPnP Device Architecture.
const GROUP: Ipv4Addr = Ipv4Addr::new(239, 255, 255, 250);
const PORT: u16 = 1900;

/// What `init` writes for a player, with the client's network for every peer.
#[track_caller]
fn configuration(hook: &str) -> String {
    let (catalogue, _) = Catalogue::from_sources(embedded(), Vec::new());
    let policy = catalogue.get("spinetix").unwrap();
    let text = filled_in(&portcullis::init::text(policy, &["player"], &[]));
    let text = text.replace("192.0.2.0/24", "10.88.1.0/24");
    assert!(text.contains("elementi = [\"10.88.1.0/24\"]"), "{text}");
    text.replacen(
        "interfaces = ",
        &format!("hook = \"{hook}\"\ninterfaces = "),
        1,
    )
}

#[track_caller]
fn socket(host: &Namespace, address: &str, port: u16, joins: bool) -> UdpSocket {
    host.enter(|| {
        // A member hears what is sent to the group as well as what is sent to it alone.
        let bound: SocketAddr = if joins {
            (Ipv4Addr::UNSPECIFIED, port).into()
        } else {
            at(address, port)
        };
        let socket = UdpSocket::bind(bound).unwrap();
        if joins {
            socket
                .join_multicast_v4(&GROUP, &address.parse().unwrap())
                .unwrap();
        }
        socket
    })
    .unwrap()
}

/// The next datagram, and where it came from.
#[track_caller]
fn heard(socket: &UdpSocket, limit: Duration) -> Option<(Vec<u8>, SocketAddr)> {
    socket.set_read_timeout(Some(limit)).unwrap();
    let mut octets = [0; 64];
    let (length, from) = socket.recv_from(&mut octets).ok()?;
    Some((octets[..length].to_vec(), from))
}

#[track_caller]
fn check(hook: &str) {
    let site = Site::new();
    for host in [&site.server, &site.client, &site.stranger] {
        host.ip("route add 224.0.0.0/4 dev eth0").unwrap();
    }
    let mut agent = Agent::start(&site.server, &configuration(hook), "json").unwrap();
    let player = socket(&site.server, SERVER[0], PORT, true);
    let computer = socket(&site.client, CLIENT[0], PORT, true);
    let asker = socket(&site.server, SERVER[0], 0, false);
    let asking = asker.local_addr().unwrap();

    // Nobody has asked: nothing comes to a port of the player's own.
    computer.send_to(b"unasked", asking).unwrap();
    assert_eq!(heard(&asker, SILENCE), None);

    // The player asks the group, and a member answers it alone.
    asker.send_to(b"search", (GROUP, PORT)).unwrap();
    // Another program on the player that is a member hears it as well; no rule is asked about what stays on the host.
    let (own, _) = heard(&player, LIMIT).expect("the player's own question");
    assert_eq!(own, b"search");
    let (question, from) = heard(&computer, LIMIT).expect("the player's question");
    assert_eq!((question.as_slice(), from), (&b"search"[..], asking));
    computer.send_to(b"here", from).unwrap();
    let (answer, from) = heard(&asker, LIMIT).expect("a member's answer");
    assert_eq!(
        (answer.as_slice(), from),
        (&b"here"[..], at(CLIENT[0], PORT))
    );
    // Another port of the member is no answer.
    let other = socket(&site.client, CLIENT[0], 1901, false);
    other.send_to(b"not the group's port", asking).unwrap();
    assert_eq!(heard(&asker, SILENCE), None);

    // The other way round: the computer asks, the player answers; a stranger asks, and is not heard.
    let asker = socket(&site.client, CLIENT[0], 0, false);
    asker.set_multicast_loop_v4(false).unwrap();
    asker.send_to(b"search", (GROUP, PORT)).unwrap();
    let (question, from) = heard(&player, LIMIT).expect("the computer's question");
    assert_eq!(question, b"search");
    player.send_to(b"here", from).unwrap();
    let (answer, from) = heard(&asker, LIMIT).expect("the player's answer");
    assert_eq!(
        (answer.as_slice(), from),
        (&b"here"[..], at(SERVER[0], PORT))
    );
    let stranger = socket(&site.stranger, STRANGER[0], 0, false);
    stranger.send_to(b"search", (GROUP, PORT)).unwrap();
    assert_eq!(heard(&player, SILENCE), None);
    agent.stop().unwrap();
}

#[test]
fn a_group_is_asked_and_answered_at_xdp() {
    check("xdp");
}

#[test]
fn a_group_is_asked_and_answered_at_tc() {
    check("tc");
}
