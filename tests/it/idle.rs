//! Flows that say nothing for long: just under their time-out they go on, just over it they are over.
//!
//! Nobody waits for days here: the test sets the times in entries and stamps back, through the pinned maps.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::thread;
use std::time::Duration;

use agent_common::flow::FlowTable;
use agent_common::tables::Timeouts;
use aya::maps::{Array, Map, MapData};
use portcullis_tests::daemon::Agent;
use portcullis_tests::netns::Namespace;
use portcullis_tests::process::wait_for;

use crate::site::{CLIENT, LIMIT, SERVER, SILENCE, Site, at, configuration, is_denial, pinned};

const RULES: &str = r#"
[allow.fetch]
direction = "egress"
tcp = [80]
udp = [5001]
peers = "@clients"
reason = "a test"

[allow.ask]
direction = "ingress"
udp = [5000]
peers = "@clients"
reason = "a test"
"#;

/// How old things are made.
#[derive(Clone, Copy, Debug)]
enum Age {
    /// Ten seconds less than their time-out.
    Under,
    /// Ten seconds more.
    Over,
}

type Stamps = Array<MapData, [u32; 65_536]>;

/// Makes all entries and stamps so old: the last packet was then. In a tick of its own, because a reply of this tick is no longer asked for.
#[track_caller]
fn age(host: &Namespace, age: Age, timeout: fn(&Timeouts) -> u32) {
    pinned(host, |pinned| {
        let bank = pinned.switch().unwrap().active();
        let timeouts = pinned.head(bank).unwrap().timeouts;
        // UDP's is 180 s.
        let (timeout, ten_seconds) = (timeout(&timeouts), timeouts.udp / 18);
        let ticks = match age {
            Age::Under => timeout - ten_seconds,
            Age::Over => timeout + ten_seconds,
        };
        let now = || pinned.clock().now().unwrap().tick();
        let before = now();
        wait_for("the next tick", LIMIT, || {
            Ok((now() != before).then_some(()))
        })
        .unwrap();
        let then = before.wrapping_sub(ticks);
        for table in [FlowTable::New, FlowTable::Established] {
            let mut flows = pinned.flows(table).unwrap();
            for (key, mut entry) in flows.entries().unwrap() {
                entry.last = then;
                flows.insert(&key, entry).unwrap();
            }
        }
        for (name, slots) in [("BEGAN", 2), ("ASKED", 1)] {
            let path = pinned.directory().join("state").join(name);
            make_so_old(&path, slots, then.max(1));
        }
    });
}

/// Sets all stamps of a map that were ever written. They are 256 KiB each, and lie on the stack several times on their way.
#[track_caller]
fn make_so_old(map: &Path, slots: u32, then: u32) {
    let work = || {
        let map = Map::from_map_data(MapData::from_pin(map).unwrap()).unwrap();
        let mut stamps = Stamps::try_from(map).unwrap();
        for slot in 0..slots {
            let mut all = stamps.get(&slot, 0).unwrap();
            for stamp in all.iter_mut().filter(|stamp| **stamp != 0) {
                *stamp = then;
            }
            stamps.set(slot, all, 0).unwrap();
        }
    };
    thread::scope(|scope| {
        let thread = thread::Builder::new().stack_size(32 << 20);
        let thread = thread.spawn_scoped(scope, work).unwrap();
        thread.join().unwrap();
    });
}

/// One octet from one end to the other, in so long.
fn arrives(from: &mut TcpStream, to: &mut TcpStream, limit: Duration) -> bool {
    to.set_read_timeout(Some(limit)).unwrap();
    from.write_all(&[7]).unwrap();
    to.read_exact(&mut [0]).is_ok()
}

#[track_caller]
fn check_connection(hook: &str) {
    let site = Site::new();
    let text = configuration(hook, "deny", RULES);
    let mut agent = Agent::start(&site.server, &text, "json").unwrap();
    for family in [0, 1] {
        let (server, client) = (SERVER[family], CLIENT[family]);
        let listener = site.client.enter(|| TcpListener::bind(at(client, 80)));
        let listener = listener.unwrap().unwrap();
        let near = site
            .server
            .enter(|| TcpStream::connect_timeout(&at(client, 80), LIMIT));
        let mut near = near.unwrap().unwrap();
        let (mut far, _) = listener.accept().unwrap();
        assert!(arrives(&mut near, &mut far, LIMIT) && arrives(&mut far, &mut near, LIMIT));

        age(&site.server, Age::Under, |it| it.tcp_established);
        assert!(
            arrives(&mut far, &mut near, LIMIT),
            "{server}: five days, less ten seconds"
        );
        // That packet was the last one now; nothing but time has passed for the twin.
        age(&site.server, Age::Over, |it| it.tcp_established);
        assert!(
            !arrives(&mut far, &mut near, SILENCE),
            "{server}: five days and ten seconds"
        );
        let port = near.local_addr().unwrap().port();
        let denied = agent.wait_event("what came too late", LIMIT, |event| {
            is_denial(event, ("ingress", "tcp"), client, server, port)
        });
        assert_eq!(denied.unwrap()["reason"], "no-rule");
        // The host goes on with it, which the rules allow: it is picked up, and what came too late comes again.
        assert!(arrives(&mut near, &mut far, LIMIT), "{server}: picked up");
        near.set_read_timeout(Some(LIMIT)).unwrap();
        near.read_exact(&mut [0]).unwrap();
    }
    agent.stop().unwrap();
}

#[test]
fn a_connection_at_xdp() {
    check_connection("xdp");
}

#[test]
fn a_connection_at_tc() {
    check_connection("tc");
}

#[track_caller]
fn bind(host: &Namespace, address: &str, port: u16) -> UdpSocket {
    let socket = host.enter(|| UdpSocket::bind(at(address, port)));
    socket.unwrap().unwrap()
}

/// A datagram from one socket to another, in so long.
#[track_caller]
fn comes(from: &UdpSocket, to: &UdpSocket, limit: Duration) -> bool {
    to.set_read_timeout(Some(limit)).unwrap();
    // The kernel may say at once that it was denied; what counts is whether it arrives.
    let _ = from.send_to(b"x", to.local_addr().unwrap());
    to.recv(&mut [0; 8]).is_ok()
}

#[track_caller]
fn check_datagrams(hook: &str) {
    let site = Site::new();
    let text = configuration(hook, "deny", RULES);
    let mut agent = Agent::start(&site.server, &text, "json").unwrap();
    for family in [0, 1] {
        let (server, client) = (SERVER[family], CLIENT[family]);
        // The host asked: what comes back is a reply.
        let near = bind(&site.server, server, 0);
        let far = bind(&site.client, client, 5001);
        assert!(comes(&near, &far, LIMIT) && comes(&far, &near, LIMIT));
        age(&site.server, Age::Under, |it| it.udp);
        assert!(comes(&far, &near, LIMIT), "{server}: a reply in time");
        age(&site.server, Age::Over, |it| it.udp);
        assert!(!comes(&far, &near, SILENCE), "{server}: a reply too late");

        // A peer asked: what the host sends is an answer.
        let service = bind(&site.server, server, 5000);
        let peer = bind(&site.client, client, 6000);
        assert!(comes(&peer, &service, LIMIT) && comes(&service, &peer, LIMIT));
        age(&site.server, Age::Under, |it| it.asked);
        assert!(comes(&service, &peer, LIMIT), "{server}: an answer in time");
        age(&site.server, Age::Over, |it| it.asked);
        assert!(
            !comes(&service, &peer, SILENCE),
            "{server}: an answer too late"
        );
        for (direction, from, to, port) in [
            ("ingress", client, server, near.local_addr().unwrap().port()),
            ("egress", server, client, 6000),
        ] {
            let denied = agent.wait_event("what came too late", LIMIT, |event| {
                is_denial(event, (direction, "udp"), from, to, port)
            });
            denied.unwrap();
        }
    }
    agent.stop().unwrap();
}

#[test]
fn datagrams_at_xdp() {
    check_datagrams("xdp");
}

#[test]
fn datagrams_at_tc() {
    check_datagrams("tc");
}
