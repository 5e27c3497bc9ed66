//! Large transfers, octet by octet: over both families, at each hook, to the host and from it, on connections that either end began.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use portcullis_tests::daemon::{Agent, portcullis_json};
use portcullis_tests::netns::Namespace;

use crate::site::{CLIENT, LIMIT, SERVER, Site, at, configuration, counters, denied};

/// How long nothing may come.
const PATIENCE: Duration = Duration::from_secs(30);
const MEBIBYTE: usize = 1 << 20;

/// The server may begin connections to the client.
const FETCH: &str = r#"
[allow.fetch]
direction = "egress"
tcp = [80]
peers = "@clients"
reason = "a test"
"#;

/// What is sent: octets without a period that a lost, doubled or moved segment would hide in (Marsaglia's xorshift64).
struct Octets {
    state: u64,
    block: Vec<u8>,
}

impl Octets {
    fn new() -> Self {
        let mut octets = Self {
            state: 0x9e37_79b9_7f4a_7c15,
            block: vec![0; MEBIBYTE],
        };
        octets.fill();
        octets
    }

    fn fill(&mut self) {
        for word in self.block.as_chunks_mut::<8>().0 {
            self.state ^= self.state << 13;
            self.state ^= self.state >> 7;
            self.state ^= self.state << 17;
            *word = self.state.to_be_bytes();
        }
    }

    /// The next block: each begins with its number, so that no two are alike.
    fn next(&mut self, number: usize) -> &[u8] {
        self.block[..8].copy_from_slice(&number.to_be_bytes());
        &self.block
    }
}

fn send(mut stream: TcpStream, mebibytes: usize) {
    let mut octets = Octets::new();
    for number in 0..mebibytes {
        stream.write_all(octets.next(number)).unwrap();
    }
    stream.shutdown(Shutdown::Write).unwrap();
    // Until the other end has read all.
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
}

#[track_caller]
fn receive(mut stream: TcpStream, mebibytes: usize) {
    let (mut octets, mut got) = (Octets::new(), vec![0; MEBIBYTE]);
    for number in 0..mebibytes {
        stream.read_exact(&mut got).unwrap();
        assert!(got == octets.next(number), "MiB {number} came otherwise");
    }
    assert_eq!(stream.read(&mut [0]).unwrap(), 0, "more came than was sent");
}

/// A connection of `from` to a port of `to`: both ends.
#[track_caller]
fn connect(from: &Namespace, to: (&Namespace, &str), port: u16) -> [TcpStream; 2] {
    let listener = to.0.enter(|| TcpListener::bind(at(to.1, port)));
    let listener = listener.unwrap().unwrap();
    let near = from.enter(|| TcpStream::connect_timeout(&at(to.1, port), LIMIT));
    let near = near.unwrap().unwrap();
    let (far, _) = listener.accept().unwrap();
    for end in [&near, &far] {
        end.set_read_timeout(Some(PATIENCE)).unwrap();
        end.set_write_timeout(Some(PATIENCE)).unwrap();
    }
    [near, far]
}

#[track_caller]
fn transfer([from, to]: [TcpStream; 2], mebibytes: usize) {
    thread::scope(|scope| {
        scope.spawn(|| send(from, mebibytes));
        receive(to, mebibytes);
    });
}

#[track_caller]
fn check(hook: &str, mebibytes: usize) {
    let site = Site::new();
    let mut agent =
        Agent::start(&site.server, &configuration(hook, "deny", FETCH), "json").unwrap();
    let status = portcullis_json(&site.server, &["status", "--json"]).unwrap();
    assert_eq!(status["interfaces"][0]["hook"], hook, "{status:#}");
    for family in [0, 1] {
        let before = denied(&counters(&site.server));
        // The client began: the host's packets are answers.
        let served = || connect(&site.client, (&site.server, SERVER[family]), 443);
        let [client, server] = served();
        transfer([client, server], mebibytes);
        let [client, server] = served();
        transfer([server, client], mebibytes);
        // The host began: what comes in are replies.
        let fetched = || connect(&site.server, (&site.client, CLIENT[family]), 80);
        let [server, client] = fetched();
        transfer([client, server], mebibytes);
        let [server, client] = fetched();
        transfer([server, client], mebibytes);
        // Not one packet of them was sent again because it had been denied.
        assert_eq!(denied(&counters(&site.server)), before, "family {family}");
    }
    agent.stop().unwrap();
}

#[test]
fn of_64_mib_at_xdp() {
    check("xdp", 64);
}

#[test]
fn of_64_mib_at_generic_xdp() {
    check("xdp-generic", 64);
}

#[test]
fn of_64_mib_at_tc() {
    check("tc", 64);
}

#[test]
#[ignore = "eight GiB: `cargo xtask test --long` runs it"]
fn of_a_gib_at_xdp() {
    check("xdp", 1024);
}

#[test]
#[ignore = "eight GiB: `cargo xtask test --long` runs it"]
fn of_a_gib_at_generic_xdp() {
    check("xdp-generic", 1024);
}

#[test]
#[ignore = "eight GiB: `cargo xtask test --long` runs it"]
fn of_a_gib_at_tc() {
    check("tc", 1024);
}
