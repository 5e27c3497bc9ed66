//! Attacks that must fail, on the wire: what the host's own stack would have made of them is seen from its sockets and its answers. Each has
//! its twin, the honest packet that it imitates.

use std::io::ErrorKind;
use std::net::{IpAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use agent_common::event::Direction;
use agent_common::verdict::Reason;
use portcullis_tests::daemon::Agent;
use portcullis_tests::link::mac;
use portcullis_tests::netns::Namespace;
use portcullis_tests::packet::{Fragment, Icmp, Macs, Packet, tcp, udp};
use portcullis_tests::process::wait_for;
use portcullis_tests::raw::{Receiver, Sender};
use portcullis_tests::service::Services;

use crate::flood::spoofed;
use crate::site::{
    CLIENT, LIMIT, SERVER, SILENCE, STRANGER, Site, at, configuration, counters, pinned,
};

const RULES: &str = r#"
[allow.out]
direction = "egress"
tcp = [80]
udp = [53]
peers = "@clients"
reason = "a test"

[allow.ask]
direction = "ingress"
udp = [5000]
peers = "@clients"
reason = "a test"

[allow.public]
direction = "ingress"
udp = [8001]
peers = "any"
reason = "a test"
"#;

/// A guarded site, and the way onto its wire for who speaks in others' names.
struct Attacked {
    site: Site,
    agent: Agent,
    sender: Sender,
    macs: Macs,
}

impl Attacked {
    #[track_caller]
    fn new(hook: &str) -> Self {
        let site = Site::new();
        let agent = Agent::start(&site.server, &configuration(hook, "deny", RULES), "json");
        Self {
            agent: agent.unwrap(),
            sender: Sender::new(&site.stranger, "eth0").unwrap(),
            // The switch has to keep its mind about where the others are: all attacks have the stranger's own link-layer address.
            macs: Macs {
                from: mac(&site.stranger, "eth0").unwrap(),
                to: mac(&site.server, "eth0").unwrap(),
            },
            site,
        }
    }

    #[track_caller]
    fn send(&self, packet: &Packet) {
        let frame = packet.frame_between(self.macs).unwrap();
        self.sender.send(&frame).unwrap();
    }

    /// Packets that came in or went out for this reason.
    fn count(&self, direction: Direction, reason: Reason) -> u64 {
        let all = counters(&self.site.server).reasons;
        let of = all.iter().filter(|it| (it.0, it.1) == (direction, reason));
        of.map(|it| it.2).sum()
    }
}

/// Packets that rules of this host let pass.
fn passed(host: &Namespace) -> u64 {
    pinned(host, |pinned| {
        let bank = pinned.switch().unwrap().active();
        let rules = pinned.sizes().rules as usize - 1;
        let counters = pinned.rule_counters(bank, rules).unwrap();
        counters.iter().map(|counter| counter.passed).sum()
    })
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[track_caller]
fn bind(host: &Namespace, address: &str, port: u16) -> UdpSocket {
    let socket = host.enter(|| UdpSocket::bind(at(address, port)));
    let socket = socket.unwrap().unwrap();
    socket.set_read_timeout(Some(SILENCE)).unwrap();
    socket
}

/// Whether a datagram arrives, in so long.
#[track_caller]
fn hears(socket: &UdpSocket, limit: Duration) -> bool {
    socket.set_read_timeout(Some(limit)).unwrap();
    socket.recv(&mut [0; 9000]).is_ok()
}

#[track_caller]
fn check_source_ports(hook: &str) {
    let mut on = Attacked::new(hook);
    let mut services = Services::new();
    for port in [443, 9999] {
        services.tcp(&on.site.server, port, "open").unwrap();
    }
    for family in [0, 1] {
        let (server, client) = (SERVER[family], CLIENT[family]);
        let resolver = bind(&on.site.client, client, 53);
        let asker = bind(&on.site.server, server, 0);
        let asking = asker.local_addr().unwrap().port();
        asker.send_to(b"question", at(client, 53)).unwrap();
        assert!(hears(&resolver, LIMIT), "the question");

        // Others send from the ports that answers and services have.
        let before = on.count(Direction::Ingress, Reason::NoRule);
        let to = |port: u16| (ip(server), port);
        let mut sent = 0;
        for port in [53, 67, 123, 443, 22, 5000] {
            on.send(&udp((ip(STRANGER[family]), port), to(asking)));
            on.send(&udp((ip(STRANGER[family]), port), to(5000)));
            for flags in ["S", "SA", "A", "PA", "R", "FA"] {
                for service in [443, 9999] {
                    on.send(&tcp((ip(STRANGER[family]), port), to(service), flags));
                    sent += 1;
                }
            }
            sent += 2;
        }
        // The resolver itself, from another port; and another host in the resolver's network, from the resolver's.
        on.send(&udp((ip(client), 54), to(asking)));
        let neighbour = ["10.88.1.6", "fd88:0:0:1::6"][family];
        on.send(&udp((ip(neighbour), 53), to(asking)));
        sent += 2;
        assert!(
            !hears(&asker, SILENCE),
            "{hook} {server}: no answer of the resolver's"
        );
        assert_eq!(services.served(), 0, "{hook} {server}: a connection");
        let denied = on.count(Direction::Ingress, Reason::NoRule) - before;
        assert_eq!(denied, sent, "{hook} {server}: denied, and sent");

        // The twin: the resolver answers.
        let asking = at(server, asking);
        resolver.send_to(b"answer", asking).unwrap();
        assert!(hears(&asker, LIMIT), "{hook} {server}: the answer");
    }
    on.agent.stop().unwrap();
}

#[test]
fn source_ports_tell_nothing_at_xdp() {
    check_source_ports("xdp");
}

#[test]
fn source_ports_tell_nothing_at_tc() {
    check_source_ports("tc");
}

/// Destination unreachable, port unreachable, about a datagram of this host.
fn unreachable(from: IpAddr, own: (IpAddr, u16), peer: (IpAddr, u16)) -> Packet {
    let (kind, code) = if own.0.is_ipv4() { (3, 3) } else { (1, 4) };
    Packet {
        from: Some(from),
        to: Some(own.0),
        icmp: Some(Icmp {
            kind,
            code,
            quotes: Some(Box::new(udp(own, peer))),
            ..Icmp::default()
        }),
        ..Packet::default()
    }
}

#[track_caller]
fn check_quotes(hook: &str) {
    let mut on = Attacked::new(hook);
    for family in [0, 1] {
        let (server, client) = (SERVER[family], CLIENT[family]);
        let resolver = bind(&on.site.client, client, 53);
        let connected = || {
            let socket = bind(&on.site.server, server, 0);
            socket.connect(at(client, 53)).unwrap();
            socket
        };
        // One has sent, the other never has; the stack believes errors about either.
        let (spoken, silent) = (connected(), connected());
        spoken.send(b"question").unwrap();
        assert!(hears(&resolver, LIMIT), "the question");
        let own = |socket: &UdpSocket| (ip(server), socket.local_addr().unwrap().port());
        let refused = |socket: &UdpSocket, limit: Duration| {
            socket.set_read_timeout(Some(limit)).unwrap();
            let error = socket.recv(&mut [0; 64]).unwrap_err();
            error.kind() == ErrorKind::ConnectionRefused
        };

        let before = on.count(Direction::Ingress, Reason::Unrelated);
        let router = ip(STRANGER[family]);
        on.send(&unreachable(router, own(&silent), (ip(client), 53)));
        on.send(&unreachable(router, own(&spoken), (ip(client), 54)));
        on.send(&unreachable(
            router,
            own(&spoken),
            (ip(STRANGER[family]), 53),
        ));
        assert!(!refused(&silent, SILENCE), "{hook} {server}: about nothing");
        assert!(!refused(&spoken, SILENCE), "{hook} {server}: about another");
        let denied = on.count(Direction::Ingress, Reason::Unrelated) - before;
        assert_eq!(denied, 3, "{hook} {server}");
        // The twin: about what was sent, whoever says it.
        on.send(&unreachable(router, own(&spoken), (ip(client), 53)));
        assert!(
            refused(&spoken, LIMIT),
            "{hook} {server}: about the question"
        );
    }
    on.agent.stop().unwrap();
}

#[test]
fn errors_about_flows_that_never_were_at_xdp() {
    check_quotes("xdp");
}

#[test]
fn errors_about_flows_that_never_were_at_tc() {
    check_quotes("tc");
}

fn fragment(mut packet: Packet, offset: u16, more: bool, id: u16) -> Packet {
    packet.fragment = Some(Fragment { offset, more, id });
    packet.payload = 64;
    packet
}

/// Octets of a protocol, without its header.
fn octets(from: IpAddr, to: IpAddr, protocol: u8) -> Packet {
    Packet {
        from: Some(from),
        to: Some(to),
        protocol: Some(protocol),
        ..Packet::default()
    }
}

#[track_caller]
fn check_fragments(hook: &str) {
    let mut on = Attacked::new(hook);
    let mut services = Services::new();
    services.tcp(&on.site.server, 443, "printed").unwrap();
    for family in [0, 1] {
        let (server, client) = (ip(SERVER[family]), ip(CLIENT[family]));
        let admitted = bind(&on.site.server, SERVER[family], 5000);
        let closed = bind(&on.site.server, SERVER[family], 5001);
        let answers = Receiver::new(&on.site.client, "eth0").unwrap();
        let datagram = |port: u16| udp((client, 40_000), (server, port));
        let segment = |port: u16| tcp((client, 40_000), (server, port), "S");
        let before = |reason| on.count(Direction::Ingress, reason);
        let [fragments, early, no_rule] =
            [Reason::Fragment, Reason::FragmentEarly, Reason::NoRule].map(before);

        // Too short for the transport's header, which would come in the next one.
        for length in [8, 16] {
            let mut tiny = fragment(octets(client, server, 6), 0, true, 1);
            tiny.payload = length;
            on.send(&tiny);
        }
        // The rest of a TCP header, over that of a segment that was let in, and of none.
        on.send(&fragment(segment(443), 0, true, 2));
        on.send(&fragment(octets(client, server, 6), 8, false, 2));
        on.send(&fragment(octets(client, server, 6), 8, false, 3));
        // A later one of nothing, whose octets are those of a datagram that would be let in.
        on.send(&fragment(datagram(5000), 64, false, 4));
        // A first one over another, with a port that is closed; the honest one around it is whole.
        on.send(&fragment(datagram(5000), 0, true, 5));
        on.send(&fragment(datagram(5001), 0, true, 5));
        on.send(&fragment(octets(client, server, 17), 72, false, 5));

        assert!(
            hears(&admitted, LIMIT),
            "{hook} {server}: the honest datagram"
        );
        assert!(!hears(&admitted, SILENCE), "{hook} {server}: only that");
        assert!(!hears(&closed, SILENCE), "{hook} {server}: a closed port");
        assert_eq!(services.served(), 0, "{hook} {server}");
        let grown = |reason, before| on.count(Direction::Ingress, reason) - before;
        let grown = [
            grown(Reason::Fragment, fragments),
            grown(Reason::FragmentEarly, early),
            grown(Reason::NoRule, no_rule),
        ];
        let told = on.agent.events().unwrap();
        assert_eq!(grown, [4, 1, 1], "{hook} {server}: {told:#?}");
        // No segment was put together that the stack would answer.
        while let Some(frame) = answers.next(Duration::ZERO).unwrap() {
            let protocol = frame[[23, 20][family]];
            assert_ne!(protocol, 6, "{hook} {server}: an answer to a segment");
        }
    }
    on.agent.stop().unwrap();
}

#[test]
fn overlapping_and_tiny_fragments_at_xdp() {
    check_fragments("xdp");
}

#[test]
fn overlapping_and_tiny_fragments_at_tc() {
    check_fragments("tc");
}

/// First fragments of a flood: more than there are places in the memory.
const FLOOD: u32 = 40_000;
/// Those that are on their way at a time: fewer than the cable's queue holds, however slow the machine is.
const BURST: u32 = 100;
/// Frames of the flood that go by for each exchange beside it, at most.
const EXCHANGED: u32 = 1_000;
/// Octets of an honest datagram: three fragments.
const LARGE: usize = 4000;

#[track_caller]
fn check_flood(hook: &str) {
    let mut on = Attacked::new(hook);
    // The stack keeps what it waits for; it is not what is tested here.
    for (key, value) in [
        ("net/ipv4/ipfrag_high_thresh", "268435456"),
        ("net/ipv6/ip6frag_high_thresh", "268435456"),
        ("net/ipv4/ipfrag_time", "2"),
        ("net/ipv6/ip6frag_time", "2"),
    ] {
        on.site.server.sysctl(key, value).unwrap();
    }
    let mut services = Services::new();
    services.udp_echo(&on.site.server, 5000).unwrap();
    for family in [0, 1] {
        let server = ip(SERVER[family]);
        let honest = bind(&on.site.client, CLIENT[family], 0);
        honest.set_read_timeout(Some(LIMIT / 5)).unwrap();
        let over = AtomicBool::new(false);
        let exchanged = AtomicU32::new(0);
        let (sender, macs, guarded) = (&on.sender, on.macs, &on.site.server);
        let before = passed(guarded);
        let lost = thread::scope(|scope| {
            let flood = scope.spawn(|| {
                let mut judged = before;
                for n in 0..FLOOD {
                    let exchanged = || exchanged.load(Ordering::Relaxed);
                    // Half of them from one host, which has its share, and half from anywhere.
                    let from = if n % 2 == 0 {
                        spoofed(family, n)
                    } else {
                        ip(STRANGER[family])
                    };
                    let first = udp((from, 40_000), (server, 8001));
                    let first = fragment(first, 0, true, (n / 2) as u16);
                    sender.send(&first.frame_between(macs).unwrap()).unwrap();
                    if (n + 1).is_multiple_of(BURST) {
                        let burst = judged + u64::from(BURST);
                        judged = wait_for("a burst, and exchanges beside it", LIMIT, || {
                            let passed = Some(passed(guarded)).filter(|&passed| passed >= burst);
                            Ok(passed.filter(|_| exchanged() >= n / EXCHANGED))
                        })
                        .unwrap();
                    }
                }
                over.store(true, Ordering::Relaxed);
            });
            let mut lost = 0;
            while !over.load(Ordering::Relaxed) && !flood.is_finished() {
                let number = exchanged.fetch_add(1, Ordering::Relaxed);
                let question = [number as u8; LARGE];
                honest.send_to(&question, at(SERVER[family], 5000)).unwrap();
                let mut answer = [0; LARGE + 1];
                let answered = loop {
                    match honest.recv(&mut answer) {
                        Ok(length) if answer[..length] == question => break true,
                        // One that was given up for lost.
                        Ok(length) => assert_eq!(length, LARGE, "{hook} {server}"),
                        Err(error) if error.kind() == ErrorKind::WouldBlock => break false,
                        Err(error) => panic!("{hook} {server}: exchange {number}: {error}"),
                    }
                };
                lost += u32::from(!answered);
                thread::sleep(Duration::from_millis(5));
            }
            flood.join().unwrap();
            lost
        });
        // Where the processor does something else for long between two fragments, a place may be taken meanwhile.
        let exchanged = exchanged.into_inner();
        assert!(
            lost * 20 <= exchanged,
            "{hook} {server}: {lost} of {exchanged} exchanges got no answer in the flood"
        );
        let passed = passed(guarded) - before;
        assert!(
            passed >= u64::from(FLOOD),
            "{hook} {server}: {passed} fragments were let in and remembered"
        );
    }
    on.agent.stop().unwrap();
}

/// How fast the flood is decides whether the queues between hosts have room for an honest packet.
mod alone {
    use super::check_flood;

    #[test]
    fn an_honest_exchange_survives_a_flood_of_fragments_at_xdp() {
        check_flood("xdp");
    }

    #[test]
    fn an_honest_exchange_survives_a_flood_of_fragments_at_tc() {
        check_flood("tc");
    }
}
