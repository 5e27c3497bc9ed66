use super::decode::{socket, tracked};
use super::*;
use crate::events::decode::address;

const OWN: [&str; 2] = ["10.0.0.1", "fd00::1"];

fn host(same_rules: bool) -> Host {
    Host {
        own: OWN.iter().map(|it| it.parse().unwrap()).collect(),
        same_rules,
    }
}

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// `A > B`.
fn tuple(text: &str) -> Tuple {
    let (source, destination) = text.split_once(" > ").unwrap();
    Tuple {
        source: at(source),
        destination: at(destination),
    }
}

fn back(tuple: Tuple) -> Tuple {
    Tuple {
        source: tuple.destination,
        destination: tuple.source,
    }
}

use Carrier::{Tcp, Udp};
use FlowState::{Begun, Closing, Established};

/// One that nothing is translated in; `A > B` is its first packet.
fn plain(carrier: Carrier, original: &str, state: FlowState) -> Tracked {
    Tracked {
        carrier,
        original: tuple(original),
        reply: back(tuple(original)),
        state: Some(state),
        met_midway: false,
    }
}

fn midway(original: &str) -> Tracked {
    Tracked {
        met_midway: true,
        ..plain(Tcp, original, Established)
    }
}

fn translated(original: &str, reply: &str) -> Tracked {
    Tracked {
        reply: tuple(reply),
        ..plain(Tcp, original, Established)
    }
}

fn connected(carrier: Carrier, local: &str, peer: &str, state: FlowState) -> Socket {
    Socket {
        carrier,
        local: at(local),
        end: End::Peer(at(peer), state),
    }
}

fn open_to_all(carrier: Carrier, local: &str) -> Socket {
    Socket {
        carrier,
        local: at(local),
        end: End::Anybody,
    }
}

#[track_caller]
fn check(host: &Host, tracked: &[Tracked], sockets: &[Socket], expected: &[&str]) {
    let found: Vec<String> = open_flows(host, tracked, sockets)
        .iter()
        .map(|it| format!("{:?}: {} {:?}", it.beginner, it.ends, it.state))
        .collect();
    assert_eq!(found, expected);
}

#[test]
fn sockets_tell_who_began_by_what_listens() {
    let ours = connected(Tcp, "10.0.0.1:50000", "10.0.0.9:80", Established);
    let served = connected(Tcp, "[fd00::1]:443", "[fd00::9]:50000", Established);
    let asked = connected(Udp, "10.0.0.1:40000", "10.0.0.9:53", FlowState::Udp);
    let asking = connected(Udp, "10.0.0.1:5000", "10.0.0.9:6000", FlowState::Udp);
    check(
        &host(false),
        &[],
        &[
            ours,
            open_to_all(Tcp, "[::]:443"),
            served,
            // A port is one of TCP or of UDP.
            open_to_all(Udp, "0.0.0.0:50000"),
            asked,
            open_to_all(Udp, "0.0.0.0:5000"),
            asking,
        ],
        &[
            "Host: tcp 10.0.0.1:50000 with 10.0.0.9:80 Established",
            "Peer: tcp [fd00::1]:443 with [fd00::9]:50000 Established",
            "Peer: udp 10.0.0.1:5000 with 10.0.0.9:6000 Udp",
            "Host: udp 10.0.0.1:40000 with 10.0.0.9:53 Udp",
        ],
    );
}

#[test]
fn what_has_no_entry_is_left_out() {
    check(
        &host(true),
        &[
            plain(Udp, "10.0.0.1:5353 > 224.0.0.251:5353", FlowState::Udp),
            plain(Udp, "10.0.0.1:1900 > 255.255.255.255:1900", FlowState::Udp),
            plain(Tcp, "10.0.0.1:50000 > 10.0.0.1:80", Established),
            plain(Tcp, "127.0.0.1:50000 > 127.0.0.1:80", Established),
            Tracked {
                state: None,
                ..plain(Tcp, "10.0.0.1:50001 > 10.0.0.9:80", Established)
            },
        ],
        &[
            connected(Tcp, "127.0.0.1:50000", "127.0.0.1:80", Established),
            connected(Udp, "10.0.0.1:5353", "224.0.0.251:5353", FlowState::Udp),
            connected(Udp, "[fd00::1]:5353", "[ff02::fb]:5353", FlowState::Udp),
            open_to_all(Tcp, "0.0.0.0:22"),
        ],
        &[],
    );
}

#[test]
fn tracking_saw_who_began_unless_it_came_midway() {
    let served = connected(Tcp, "10.0.0.1:50000", "10.0.0.9:80", Closing);
    // The listener is gone, or the port is one that both listens and asks.
    check(
        &host(false),
        &[plain(Tcp, "10.0.0.9:80 > 10.0.0.1:50000", Established)],
        &[served],
        &["Peer: tcp 10.0.0.1:50000 with 10.0.0.9:80 Closing"],
    );
    check(
        &host(false),
        &[plain(Tcp, "10.0.0.1:50000 > 10.0.0.9:80", Established)],
        &[served, open_to_all(Tcp, "0.0.0.0:50000")],
        &["Host: tcp 10.0.0.1:50000 with 10.0.0.9:80 Closing"],
    );
    check(
        &host(false),
        &[midway("10.0.0.9:80 > 10.0.0.1:50000")],
        &[served],
        &["Host: tcp 10.0.0.1:50000 with 10.0.0.9:80 Closing"],
    );
    // Without a socket there is no other witness, and anybody can have sent a segment.
    check(
        &host(false),
        &[
            midway("10.0.0.9:80 > 10.0.0.1:50000"),
            midway("10.0.0.1:50001 > 10.0.0.9:80"),
            plain(Udp, "[fd00::1]:5001 > [fd00::9]:53", FlowState::Udp),
        ],
        &[open_to_all(Udp, "[::]:5001")],
        &[
            "Peer: tcp 10.0.0.1:50000 with 10.0.0.9:80 Established",
            "Host: tcp 10.0.0.1:50001 with 10.0.0.9:80 Established",
            "Host: udp [fd00::1]:5001 with [fd00::9]:53 Udp",
        ],
    );
}

#[test]
fn translated_and_forwarded_flows_are_as_the_wire_has_them() {
    // A container asks, with this host's address; one is published; one is reached with this host's address.
    let masqueraded = translated(
        "172.17.0.2:40000 > 192.0.2.9:443",
        "192.0.2.9:443 > 10.0.0.1:61000",
    );
    let published = translated(
        "192.0.2.9:50000 > 10.0.0.1:8080",
        "172.17.0.2:80 > 192.0.2.9:50000",
    );
    let both = translated(
        "192.0.2.9:50001 > 10.0.0.1:8080",
        "172.17.0.2:80 > 10.0.0.1:61001",
    );
    let forwarded = plain(Tcp, "172.17.0.2:40001 > 192.0.2.9:443", Begun);
    let all = [masqueraded, published, both, forwarded];
    let own = [
        "Peer: tcp 10.0.0.1:8080 with 192.0.2.9:50000 Established",
        "Peer: tcp 10.0.0.1:8080 with 192.0.2.9:50001 Established",
        "Host: tcp 10.0.0.1:61000 with 192.0.2.9:443 Established",
        "Host: tcp 10.0.0.1:61001 with 172.17.0.2:80 Established",
    ];
    check(&host(false), &all, &[], &own);
    let mut through = own.to_vec();
    through.push("Host: tcp 172.17.0.2:40001 with 192.0.2.9:443 Begun");
    through.push("Host: tcp 192.0.2.9:50000 with 172.17.0.2:80 Established");
    check(&host(true), &all, &[], &through);
}

#[test]
fn entries_are_of_generation_0_and_stamps_of_their_ports() {
    let flow = |carrier, beginner, local, peer, state| OpenFlow {
        ends: Ends {
            carrier,
            local: at(local),
            peer: at(peer),
        },
        beginner,
        state,
    };
    for (carrier, local, peer, state, table, began) in [
        (
            Tcp,
            "10.0.0.1:50000",
            "10.0.0.9:80",
            Established,
            FlowTable::Established,
            Began::Tcp,
        ),
        (
            Tcp,
            "[fd00::1]:50001",
            "[fd00::9]:80",
            Closing,
            FlowTable::New,
            Began::Tcp,
        ),
        (
            Udp,
            "[fd00::1]:50002",
            "[fd00::9]:53",
            FlowState::Udp,
            FlowTable::New,
            Began::Udp,
        ),
    ] {
        let Note::Entry {
            table: found,
            key,
            entry,
            stamp,
        } = flow(carrier, Beginner::Host, local, peer, state).note(7)
        else {
            panic!("{local}: no entry")
        };
        assert_eq!((found, stamp), (table, (began, at(local).port())));
        let record = entry.record();
        assert_eq!((record.last, record.generation), (7, 0), "{local}");
        assert_eq!(record.state(), state, "{local}");
        assert_eq!(key.protocol(), carrier.protocol(), "{local}");
        let ends = [(key.local, key.local_port), (key.peer, key.peer_port)];
        let ends = ends.map(|(wide, port)| SocketAddr::new(address(wide), port));
        assert_eq!(ends, [at(local), at(peer)]);
    }
    let peers = |carrier, state| {
        flow(
            carrier,
            Beginner::Peer,
            "10.0.0.1:5000",
            "10.0.0.9:6000",
            state,
        )
    };
    assert!(matches!(peers(Tcp, Established).note(7), Note::Nothing));
    let slot = asked_slot([0, 0xffff_0a00_0009], 6000, 5000);
    let question = peers(Udp, FlowState::Udp).note(7);
    assert!(
        matches!(question, Note::Question(found) if found == slot),
        "{question:?}"
    );
}

/// An attribute, padded to the next one.
fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut octets = Vec::new();
    octets.extend((value.len() as u16 + 4).to_ne_bytes());
    octets.extend(kind.to_ne_bytes());
    octets.extend(value);
    octets.resize(octets.len().next_multiple_of(4), 0);
    octets
}

const NESTED: u16 = 0x8000;

fn tuple_attribute(kind: u16, protocol: u8, tuple: Tuple) -> Vec<u8> {
    let octets = |address: IpAddr| match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    let v6 = u16::from(tuple.source.is_ipv6()) * 2;
    let addresses = [
        attribute(1 + v6, &octets(tuple.source.ip())),
        attribute(2 + v6, &octets(tuple.destination.ip())),
    ];
    let ports = [
        attribute(1, &[protocol]),
        attribute(2, &tuple.source.port().to_be_bytes()),
        attribute(3, &tuple.destination.port().to_be_bytes()),
    ];
    let parts = [
        attribute(1 | NESTED, &addresses.concat()),
        attribute(2 | NESTED, &ports.concat()),
    ];
    attribute(kind | NESTED, &parts.concat())
}

/// What ctnetlink says of a flow, in the kernel's order. `tcp`: its state, and the flags of both ways.
fn tracked_message(protocol: u8, original: &str, tcp: Option<(u8, u8)>) -> Vec<u8> {
    let original = tuple(original);
    let mut message = vec![2, 0, 0, 0];
    message.extend(tuple_attribute(1, protocol, original));
    message.extend(tuple_attribute(2, protocol, back(original)));
    message.extend(attribute(3, &[0, 0, 1, 0x8e]));
    message.extend(attribute(7, &[0, 6, 0x97, 0x7f]));
    if let Some((state, flags)) = tcp {
        let parts = [
            attribute(1, &[state]),
            attribute(2, &[7]),
            attribute(3, &[7]),
            attribute(4, &[flags, 0]),
            attribute(5, &[flags, 0]),
        ];
        let tcp = attribute(1 | NESTED, &parts.concat());
        message.extend(attribute(4 | NESTED, &tcp));
    }
    message
}

/// `struct inet_diag_msg` of a socket.
fn socket_message(state: u8, local: &str, peer: &str) -> Vec<u8> {
    let (local, peer) = (at(local), at(peer));
    let mut message = vec![if local.is_ipv6() { 10 } else { 2 }, state, 0, 0];
    message.extend(local.port().to_be_bytes());
    message.extend(peer.port().to_be_bytes());
    for address in [local.ip(), peer.ip()] {
        let start = message.len();
        match address {
            IpAddr::V4(address) => message.extend(address.octets()),
            IpAddr::V6(address) => message.extend(address.octets()),
        }
        message.resize(start + 16, 0);
    }
    message.resize(72, 0);
    message
}

#[test]
fn tracked_flows_are_read() {
    let way = "10.0.0.1:50000 > 10.0.0.9:80";
    for (message, expected) in [
        (
            tracked_message(6, way, Some((3, 0x23))),
            Some(plain(Tcp, way, Established)),
        ),
        (tracked_message(6, way, Some((3, 0x0a))), Some(midway(way))),
        (
            tracked_message(6, way, Some((4, 0x23))),
            Some(plain(Tcp, way, Closing)),
        ),
        (
            tracked_message(6, way, Some((7, 0x23))),
            Some(Tracked {
                state: None,
                ..plain(Tcp, way, Established)
            }),
        ),
        (
            tracked_message(17, "[fd00::1]:5001 > [fd00::9]:53", None),
            Some(plain(Udp, "[fd00::1]:5001 > [fd00::9]:53", FlowState::Udp)),
        ),
        // SCTP; TCP of which nothing is known.
        (tracked_message(132, way, None), None),
        (tracked_message(6, way, None), None),
    ] {
        assert_eq!(tracked(&message), expected);
    }
}

#[test]
fn sockets_are_read() {
    let (local, peer) = ("10.0.0.1:50000", "10.0.0.9:80");
    for (carrier, state, local, peer, expected) in [
        (
            Tcp,
            1,
            local,
            peer,
            Some(connected(Tcp, local, peer, Established)),
        ),
        (
            Tcp,
            8,
            local,
            peer,
            Some(connected(Tcp, local, peer, Established)),
        ),
        (
            Tcp,
            2,
            local,
            peer,
            Some(connected(Tcp, local, peer, Begun)),
        ),
        (
            Tcp,
            5,
            local,
            peer,
            Some(connected(Tcp, local, peer, Closing)),
        ),
        (Tcp, 6, local, peer, None),
        (Tcp, 10, local, "0.0.0.0:0", Some(open_to_all(Tcp, local))),
        (
            Udp,
            1,
            local,
            peer,
            Some(connected(Udp, local, peer, FlowState::Udp)),
        ),
        (Udp, 7, local, "0.0.0.0:0", Some(open_to_all(Udp, local))),
        // Bound to no port yet.
        (Udp, 7, "0.0.0.0:0", "0.0.0.0:0", None),
        // A socket of both families, connected by IPv4.
        (
            Tcp,
            1,
            "[::ffff:10.0.0.1]:50000",
            "[::ffff:10.0.0.9]:80",
            Some(connected(Tcp, local, peer, Established)),
        ),
    ] {
        let message = socket_message(state, local, peer);
        assert_eq!(socket(carrier, &message), expected, "{carrier} {state}");
    }
}

/// Each beginning of a message, and each octet of it as anything else: read or refused, in a few steps.
#[test]
fn no_octets_are_too_odd() {
    let flow = tracked_message(6, "[fd00::1]:50000 > [fd00::9]:80", Some((3, 0)));
    let end = socket_message(1, "10.0.0.1:50000", "10.0.0.9:80");
    let read = |octets: &[u8]| {
        let (flow, end) = (tracked(octets), socket(Tcp, octets));
        (flow.is_some(), end.is_some())
    };
    for message in [&flow, &end] {
        for length in 0..message.len() {
            let _ = read(&message[..length]);
        }
        for at in 0..message.len() {
            let mut damaged = message.clone();
            for octet in 0..=u8::MAX {
                damaged[at] = octet;
                let _ = read(&damaged);
            }
        }
    }
    // Whole they are read; cut in the middle of a tuple, or before the peer's address ends, they are not.
    assert_eq!((read(&flow).0, read(&flow[..40]).0), (true, false));
    assert_eq!((read(&end).1, read(&end[..27]).1), (true, false));
}
