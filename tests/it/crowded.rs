//! Flow tables that are full: nobody is cut off by it, and it shows.

use std::io::Write as _;
use std::net::{TcpStream, UdpSocket};
use std::os::fd::{AsRawFd as _, OwnedFd};

use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrIn, bind, listen, socket,
};
use portcullis_tests::daemon::{Agent, portcullis_json, portcullis_text};
use portcullis_tests::process::wait_for;
use portcullis_tests::service::Services;
use serde_json::Value;

use crate::site::{CLIENT, LIMIT, SERVER, SILENCE, Site, at, configuration, reaches};

/// The least that the configuration takes.
const ROOM: usize = 1_024;
/// Where the client listens.
const PORT: u16 = 7_777;
/// Flows more than there is room for.
const MORE: usize = 300;

/// The smallest tables, egress open: whatever the host begins is a flow.
fn small() -> String {
    let more = format!("[conntrack]\nestablished = {ROOM}\nnew = {ROOM}\n");
    configuration("tc", "open", &more)
}

fn conntrack(site: &Site) -> Value {
    portcullis_json(&site.server, &["status", "--json"]).unwrap()["conntrack"].clone()
}

/// Flows over UDP that the server begins, one for each port.
fn begin(site: &Site, ports: std::ops::Range<u16>) {
    let begun = site.server.enter(|| {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        for port in ports {
            socket.send_to(b"?", at(CLIENT[0], port)).unwrap();
        }
    });
    begun.unwrap();
}

/// Something that takes the server's connections: the client's kernel completes them up to the backlog by itself (net.core.somaxconn is 4096
/// since Linux 5.4).
fn listener(site: &Site) -> OwnedFd {
    let made = site.client.enter(|| {
        let stream = SockType::Stream;
        let listener = socket(AddressFamily::Inet, stream, SockFlag::empty(), None).unwrap();
        bind(listener.as_raw_fd(), &SockaddrIn::new(0, 0, 0, 0, PORT)).unwrap();
        listen(&listener, Backlog::new(4_000).unwrap()).unwrap();
        listener
    });
    made.unwrap()
}

/// Connections that the server begins.
fn connections(site: &Site, count: usize) -> Vec<TcpStream> {
    let connect = || TcpStream::connect_timeout(&at(CLIENT[0], PORT), LIMIT).unwrap();
    let made = site
        .server
        .enter(|| (0..count).map(|_| connect()).collect());
    made.unwrap()
}

/// A connection speaks, and is answered by the other end's kernel: everything sent is acknowledged.
#[track_caller]
fn speaks(mut connection: &TcpStream) {
    connection.write_all(b"still here").unwrap();
    wait_for("an acknowledgement", LIMIT, || {
        let mut unsent: libc::c_int = 0;
        // SAFETY: SIOCOUTQ writes an int (tcp(7)).
        let done = unsafe { libc::ioctl(connection.as_raw_fd(), libc::TIOCOUTQ, &raw mut unsent) };
        Ok((done == 0 && unsent == 0).then_some(()))
    })
    .unwrap();
}

/// Waits until the first table is full, and `MORE` have found it so.
fn full(site: &Site) -> Value {
    wait_for("a full table", LIMIT, || {
        let found = conntrack(site);
        let enough = found["found_full"].as_u64().unwrap_or(0) >= MORE as u64;
        Ok(enough.then_some(found))
    })
    .unwrap()
}

/// UDP flows push each other out of their table. How many is told; the twin, fewer flows than there is room for, tells of none.
#[test]
fn evictions_are_seen() {
    let site = Site::new();
    let _agent = Agent::start(&site.server, &small(), "json").unwrap();
    begin(&site, 10_000..10_100);
    let before = conntrack(&site);
    assert_eq!(before["evicted"], 0, "{before}");
    begin(&site, 20_000..20_000 + 4 * ROOM as u16);
    let after = conntrack(&site);
    let evicted = after["evicted"].as_u64().unwrap() as usize;
    let there = ["entries", "expired"].map(|key| after["new"][key].as_u64().unwrap() as usize);
    // Every flow is there or was evicted; the host itself may have begun a few more (neighbour discovery begins none).
    let begun = 100 + 4 * ROOM;
    let told = evicted + there.iter().sum::<usize>();
    assert!(
        (begun..begun + 20).contains(&told),
        "{told} of {begun}: {after}"
    );
    assert!(evicted >= 3 * ROOM, "{after}");
    let text = portcullis_text(&site.server, &["status"]).unwrap();
    assert!(text.contains("made room for others"), "{text}");
}

/// A connection that finds the table of established ones full goes on all the same, and is counted.
#[test]
fn a_full_table_cuts_nobody_off() {
    let site = Site::new();
    let _agent = Agent::start(&site.server, &small(), "json").unwrap();
    let _listener = listener(&site);
    let connections = connections(&site, ROOM + MORE);
    let full = full(&site);
    assert_eq!(full["established"]["entries"], ROOM, "{full}");
    assert_eq!(full["found_full"], MORE, "{full}");
    let text = portcullis_text(&site.server, &["status"]).unwrap();
    assert!(text.contains("found the first full"), "{text}");
    speaks(connections.last().unwrap());
}

/// Both tables at once: who was there first stays, what rules admit needs no entry, the host still begins flows, and nothing opens.
#[test]
fn with_both_tables_full_everything_goes_on() {
    let site = Site::new();
    let mut services = Services::new();
    for port in [22, 443] {
        services.tcp(&site.server, port, "printed").unwrap();
    }
    let mut agent = Agent::start(&site.server, &small(), "json").unwrap();
    let _listener = listener(&site);
    let first = connections(&site, ROOM + MORE);
    full(&site);
    begin(&site, 20_000..20_000 + 4 * ROOM as u16);
    let after = conntrack(&site);
    assert_eq!(after["established"]["entries"], ROOM, "{after}");
    // Each processor keeps a few places free.
    let room = 3 * ROOM as u64 / 4;
    assert!(after["new"]["entries"].as_u64() > Some(room), "{after}");
    assert!(after["evicted"].as_u64() > Some(3 * ROOM as u64), "{after}");
    speaks(&first[0]);
    for port in [22, 443] {
        assert!(reaches(&site.client, SERVER[0], port, LIMIT), "{port}");
        assert!(!reaches(&site.stranger, SERVER[0], port, SILENCE), "{port}");
    }
    let more = connections(&site, 1);
    speaks(&more[0]);
    let text = portcullis_text(&site.server, &["status"]).unwrap();
    for told in ["made room for others", "found the first full"] {
        assert!(text.contains(told), "{told}: {text}");
    }
    agent.stop().unwrap();
}
