//! Frames that do not lie in one piece: jumbo frames over a link, frames of a packet ring, and any frame cut into buffers.

use std::net::{IpAddr, UdpSocket};

use agent_common::event::Direction;
use agent_common::verdict::Reason;
use anyhow::Result;
use portcullis::dataplane::testrun::Entry;
use portcullis_tests::daemon::Agent;
use portcullis_tests::link::{cable, mac};
use portcullis_tests::netns::Namespace;
use portcullis_tests::packet::{Extension, Macs, Packet, udp};
use portcullis_tests::raw::Sender;
use portcullis_tests::ring::RingSender;
use portcullis_tests::rows::Rows;
use portcullis_tests::rows::kernel::InKernel;

use crate::packets::check;
use crate::site::{LIMIT, at, configuration, counters, settled};

/// Octets that a frame has in its first buffer: the least that the kernel's test run takes; within the IP header; within the transport's.
const FIRST: [u32; 3] = [14, 30, 50];

/// Every row whose frame the kernel takes: the verdict is the same as of the frame in one piece.
#[test]
fn rows_in_several_buffers() {
    let host = Namespace::new("rows").unwrap();
    host.enter(|| {
        let mut world = InKernel::load(Entry::XdpIngress).unwrap();
        for first in FIRST {
            world.cut_after(first);
            check(&mut world, |row| row.not_in_kernel.is_none());
        }
    })
    .unwrap();
}

/// What is told of a denied frame counts all its octets.
#[test]
fn an_event_counts_the_octets_of_all_buffers() {
    let host = Namespace::new("rows").unwrap();
    host.enter(|| {
        let rows = Rows::read().unwrap();
        let mut world = InKernel::load(Entry::XdpIngress).unwrap();
        let mut packet = udp(
            ("192.0.2.7".parse().unwrap(), 40_000),
            ("10.0.0.1".parse().unwrap(), 9),
        );
        packet.payload = 5_000;
        let frame = packet.frame().unwrap();
        for first in [u32::MAX, 14, 60] {
            if first < u32::MAX {
                world.cut_after(first);
            }
            let told = world.length_told(&rows, "closed", &frame).unwrap();
            assert_eq!(told as usize, frame.len(), "{first} octets in the first");
        }
    })
    .unwrap();
}

const MORE: &str = r#"
[allow.admitted]
direction = "ingress"
udp = [8001]
peers = ["10.88.0.2", "fd88::2"]
reason = "a test"

[allow.sent]
direction = "egress"
udp = [8001]
peers = ["10.88.0.2", "fd88::2"]
reason = "a test"
"#;

const SERVER: [&str; 2] = ["10.88.0.1", "fd88::1"];
const PEER: [&str; 2] = ["10.88.0.2", "fd88::2"];

/// Two hosts on a cable that takes jumbo frames.
struct Pair {
    hosts: [Namespace; 2],
    macs: [[u8; 6]; 2],
}

impl Pair {
    #[track_caller]
    fn new() -> Self {
        let hosts = ["server", "peer"].map(|name| Namespace::new(name).unwrap());
        let [server, peer] = &hosts;
        cable(
            (server, "eth0", &["10.88.0.1/24", "fd88::1/64"]),
            (peer, "eth0", &["10.88.0.2/24", "fd88::2/64"]),
        )
        .unwrap();
        for host in &hosts {
            host.ip("link set eth0 mtu 9000").unwrap();
            // No questions for a router, which would be denied and counted.
            host.sysctl("net/ipv6/conf/eth0/accept_ra", "0").unwrap();
        }
        let macs = [mac(server, "eth0").unwrap(), mac(peer, "eth0").unwrap()];
        Self { hosts, macs }
    }
}

/// How a frame gets onto the link.
enum By {
    Socket(Sender),
    Ring(RingSender),
}

impl By {
    fn send(&mut self, frame: &[u8]) -> Result<()> {
        match self {
            Self::Socket(sender) => Ok(sender.try_send(frame)?),
            Self::Ring(sender) => sender.send(frame),
        }
    }
}

/// One with headers in the least space, one whose headers only the way of rare packets reads.
fn packets(from: IpAddr, to: IpAddr, port: u16, payload: usize) -> [Packet; 2] {
    let mut plain = udp((from, 40_000), (to, port));
    plain.payload = payload;
    let mut rare = plain.clone();
    if from.is_ipv4() {
        rare.options = 8;
    } else {
        rare.extensions = vec![Extension::HopByHop, Extension::Destination];
    }
    [plain, rare]
}

/// Packets from one host of the pair to the other, of which the first is guarded: an admitted one arrives, its twin at another port is denied.
#[track_caller]
fn check_link(hook: &str, sender: usize) {
    let pair = Pair::new();
    let _agent = Agent::start(&pair.hosts[0], &configuration(hook, "deny", MORE), "json").unwrap();
    let (from, to) = (&pair.hosts[sender], &pair.hosts[1 - sender]);
    let macs = Macs {
        from: pair.macs[sender],
        to: pair.macs[1 - sender],
    };
    for family in [0, 1] {
        let ends = [SERVER[family], PEER[family]];
        let (source, destination) = (ends[sender], ends[1 - sender]);
        let socket = to.enter(|| UdpSocket::bind(at(destination, 8001)));
        let socket = socket.unwrap().unwrap();
        socket.set_read_timeout(Some(LIMIT)).unwrap();
        for mut by in [
            By::Socket(Sender::new(from, "eth0").unwrap()),
            By::Ring(RingSender::new(from, "eth0").unwrap()),
        ] {
            for payload in [20, 8_000] {
                let ends = [source, destination].map(|end| end.parse().unwrap());
                let [admitted, strange] =
                    [8001, 8003].map(|port| packets(ends[0], ends[1], port, payload));
                for (admitted, strange) in admitted.iter().zip(&strange) {
                    let case = format!("{hook} {admitted:?}");
                    let mut octets = vec![0; 9_000];
                    by.send(&admitted.frame_between(macs).unwrap()).unwrap();
                    let received = socket.recv(&mut octets);
                    assert_eq!(received.ok(), Some(payload), "{case}");
                    let direction = [Direction::Egress, Direction::Ingress][sender];
                    let refusals = || refusals(&pair.hosts[0], direction);
                    let before = refusals();
                    // The sender's own host may say that it dropped the frame.
                    let _ = by.send(&strange.frame_between(macs).unwrap());
                    let after = settled("the denial", refusals);
                    assert_eq!(after, before + 1, "{case} at 8003");
                }
            }
        }
    }
}

/// Packets that no rule let pass.
#[track_caller]
fn refusals(host: &Namespace, direction: Direction) -> u64 {
    let counters = counters(host);
    let refused = counters
        .reasons
        .iter()
        .filter(|it| (it.0, it.1) == (direction, Reason::NoRule));
    refused.map(|it| it.2).sum()
}

#[test]
fn jumbo_frames_and_rings_at_xdp() {
    check_link("xdp", 1);
}

#[test]
fn jumbo_frames_and_rings_at_tc() {
    check_link("tc", 1);
}

#[test]
fn jumbo_frames_and_rings_that_the_host_sends() {
    check_link("tc", 0);
}
