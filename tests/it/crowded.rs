//! Flow tables that are full: nobody is cut off by it, and it shows.

use std::net::{TcpStream, UdpSocket};
use std::os::fd::AsRawFd as _;

use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrIn, bind, listen, socket,
};
use portcullis_tests::daemon::{Agent, portcullis_json, portcullis_text};
use portcullis_tests::process::wait_for;
use serde_json::Value;

use crate::site::{CLIENT, LIMIT, Site, at, configuration};

/// The least that the configuration takes.
const ROOM: usize = 1_024;
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

/// UDP flows push each other out of their table. How many is told; the twin, fewer flows than there is room for, tells of none.
#[test]
fn evictions_are_seen() {
    let site = Site::new();
    let _agent = Agent::start(&site.server, &small(), "json").unwrap();
    let begin = |ports: std::ops::Range<u16>| {
        site.server
            .enter(|| {
                let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
                for port in ports {
                    socket.send_to(b"?", at(CLIENT[0], port)).unwrap();
                }
            })
            .unwrap();
    };
    begin(10_000..10_100);
    let before = conntrack(&site);
    assert_eq!(before["evicted"], 0, "{before}");
    begin(20_000..20_000 + 4 * ROOM as u16);
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
    // The client's kernel completes connections up to the backlog by itself (net.core.somaxconn is 4096 since Linux 5.4).
    let listener = site
        .client
        .enter(|| {
            let listener = socket(
                AddressFamily::Inet,
                SockType::Stream,
                SockFlag::empty(),
                None,
            )
            .unwrap();
            bind(listener.as_raw_fd(), &SockaddrIn::new(0, 0, 0, 0, 7_777)).unwrap();
            listen(&listener, Backlog::new(4_000).unwrap()).unwrap();
            listener
        })
        .unwrap();
    let mut connections: Vec<TcpStream> = site
        .server
        .enter(|| {
            (0..ROOM + MORE)
                .map(|_| TcpStream::connect_timeout(&at(CLIENT[0], 7_777), LIMIT).unwrap())
                .collect()
        })
        .unwrap();
    let full = wait_for("a full table", LIMIT, || {
        let found = conntrack(&site);
        let enough = found["found_full"].as_u64().unwrap_or(0) >= MORE as u64;
        Ok(enough.then_some(found))
    })
    .unwrap();
    assert_eq!(full["established"]["entries"], ROOM, "{full}");
    assert_eq!(full["found_full"], MORE, "{full}");
    let text = portcullis_text(&site.server, &["status"]).unwrap();
    assert!(text.contains("found the first full"), "{text}");
    // The last of them speaks, and is answered by the other end's kernel: everything sent is acknowledged.
    use std::io::Write as _;
    let last = connections.last_mut().unwrap();
    last.write_all(b"still here").unwrap();
    wait_for("an acknowledgement", LIMIT, || {
        let mut unsent: libc::c_int = 0;
        // SAFETY: SIOCOUTQ writes an int (tcp(7)).
        let done = unsafe { libc::ioctl(last.as_raw_fd(), libc::TIOCOUTQ, &raw mut unsent) };
        Ok((done == 0 && unsent == 0).then_some(()))
    })
    .unwrap();
    drop(listener);
}
