//! Floods: spoofed requests leave no state, and no denied packet is unaccounted for.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use portcullis_tests::daemon::Agent;
use portcullis_tests::link::{cable, mac};
use portcullis_tests::netns::Namespace;
use portcullis_tests::packet::{Macs, Packet, tcp, udp};
use portcullis_tests::raw::Sender;
use portcullis_tests::service::Services;

use crate::site::{LIMIT, configuration, counters, denied, flows, reaches, settled};

/// Packets of a flood; each is received before the next is sent, so none is lost on the way.
const FLOOD: u32 = 4000;

/// Two hosts on a cable; everything that is not on the link goes to the second.
pub(crate) struct Pair {
    pub(crate) server: Namespace,
    pub(crate) peer: Namespace,
    macs: Macs,
}

impl Pair {
    #[track_caller]
    pub(crate) fn new() -> Self {
        let (server, peer) = (
            Namespace::new("server").unwrap(),
            Namespace::new("peer").unwrap(),
        );
        cable(
            (&server, "eth0", &["10.88.0.1/24", "fd88::1/64"]),
            (&peer, "eth0", &["10.88.0.2/24", "fd88::2/64"]),
        )
        .unwrap();
        let macs = Macs {
            from: mac(&peer, "eth0").unwrap(),
            to: mac(&server, "eth0").unwrap(),
        };
        // Answers to spoofed addresses leave at once: the way is known, and so is the next hop.
        let [a, b, c, d, e, f] = macs.from;
        let address = format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}");
        for (family, via) in [("-4", "10.88.0.2"), ("-6", "fd88::2")] {
            server
                .ip(&format!("{family} route add default via {via}"))
                .unwrap();
            server
                .ip(&format!(
                    "neighbour replace {via} lladdr {address} dev eth0 nud permanent"
                ))
                .unwrap();
        }
        // The peer takes answers to others' addresses and says nothing.
        for path in [
            "net/ipv4/conf/all/rp_filter",
            "net/ipv4/conf/eth0/rp_filter",
        ] {
            server.sysctl(path, "0").unwrap();
        }
        Self { server, peer, macs }
    }

    /// Sends the packets; how many.
    #[track_caller]
    pub(crate) fn send(&self, packets: impl Iterator<Item = Packet>) -> u64 {
        let sender = Sender::new(&self.peer, "eth0").unwrap();
        let mut sent = 0;
        for packet in packets {
            sender
                .send(&packet.frame_between(self.macs).unwrap())
                .unwrap();
            sent += 1;
        }
        sent
    }
}

/// An address that nobody has, the n-th: of the networks for benchmarks (RFC 2544) and documentation (RFC 3849).
pub(crate) fn spoofed(family: usize, n: u32) -> IpAddr {
    if family == 0 {
        IpAddr::V4(Ipv4Addr::from_bits(0xc612_0000 + n))
    } else {
        IpAddr::V6(Ipv6Addr::from_bits(
            0x2001_0db8_0000_0000_0000_0000_0000_0000 + (u128::from(n) << 64) + 9,
        ))
    }
}

pub(crate) fn server(family: usize) -> IpAddr {
    ["10.88.0.1", "fd88::1"][family].parse().unwrap()
}

#[track_caller]
fn check_spoofed(hook: &str, egress: &str) {
    const PUBLIC: &str = r#"
[allow.public]
direction = "ingress"
tcp = [8000]
udp = [8001]
peers = "any"
reason = "a test"

[allow.fetch]
direction = "egress"
tcp = [80]
peers = "any"
reason = "a test"
"#;
    let pair = Pair::new();
    let mut services = Services::new();
    services.tcp(&pair.server, 8000, "public").unwrap();
    services.udp_echo(&pair.server, 8001).unwrap();
    services.tcp(&pair.peer, 80, "fetched").unwrap();
    let _agent = Agent::start(&pair.server, &configuration(hook, egress, PUBLIC), "json").unwrap();
    let before = flows(&pair.server);
    assert_eq!(before, [0, 0], "{hook}, {egress}: flows before the flood");
    for family in [0, 1] {
        let received = services.served();
        pair.send((0..FLOOD).map(|n| {
            let from = (spoofed(family, n), 40_000);
            if n % 2 == 0 {
                tcp(from, (server(family), 8000), "S")
            } else {
                udp(from, (server(family), 8001))
            }
        }));
        // The twin: the flood arrived, and was answered.
        let answered = settled("datagrams of the flood", || services.served()) - received;
        assert!(
            answered >= u64::from(FLOOD / 4),
            "{hook}, {egress}, family {family}: {answered} datagrams of {FLOOD} packets arrived"
        );
        assert_eq!(
            flows(&pair.server),
            [0, 0],
            "{hook}, {egress}, family {family}: the flood left entries"
        );
    }
    // The twin of the empty table: a flow of the host's own is entered.
    assert!(reaches(&pair.server, "10.88.0.2", 80, LIMIT));
    assert_ne!(
        flows(&pair.server),
        [0, 0],
        "{hook}, {egress}: no flow is ever entered"
    );
}

#[test]
fn spoofed_requests_leave_no_state_under_egress_deny_at_xdp() {
    check_spoofed("xdp", "deny");
}

#[test]
fn spoofed_requests_leave_no_state_under_egress_deny_at_tc() {
    check_spoofed("tc", "deny");
}

#[test]
fn spoofed_requests_leave_no_state_under_egress_audit_at_xdp() {
    check_spoofed("xdp", "audit");
}

#[test]
fn spoofed_requests_leave_no_state_under_egress_audit_at_tc() {
    check_spoofed("tc", "audit");
}

#[test]
fn spoofed_requests_leave_no_state_under_egress_open_at_xdp() {
    check_spoofed("xdp", "open");
}

#[test]
fn spoofed_requests_leave_no_state_under_egress_open_at_tc() {
    check_spoofed("tc", "open");
}

#[track_caller]
fn check_balance(hook: &str) {
    let pair = Pair::new();
    let mut agent = Agent::start(&pair.server, &configuration(hook, "deny", ""), "json").unwrap();
    let before = counters(&pair.server);
    // Many ports and peers, so that budgets are used up and entries differ.
    let mut sent = 0;
    for family in [0, 1] {
        sent += pair.send((0..FLOOD).map(|n| {
            let port = u16::try_from(20_000 + n % 500).unwrap();
            let from = (spoofed(family, n % 50), 40_000);
            if n % 2 == 0 {
                tcp(from, (server(family), port), "S")
            } else {
                udp(from, (server(family), port))
            }
        }));
    }
    settled("denied packets", || denied(&counters(&pair.server)));
    let after = counters(&pair.server);
    let grown = denied(&after) - denied(&before);
    // What else the link carries (a router solicitation, say) is allowed, or would be here, too; nothing may be missing.
    assert_eq!(grown, sent, "{hook}: {after:?}");
    let no_rule = |counters: &portcullis::dataplane::Counters| -> u64 {
        let all = counters.reasons.iter();
        let of = all.filter(|(_, reason, _)| reason.name() == "no-rule");
        of.map(|(_, _, count)| count).sum()
    };
    assert_eq!(
        no_rule(&after) - no_rule(&before),
        sent,
        "{hook}: by reason"
    );
    assert!(
        after.balance.suppressed > before.balance.suppressed,
        "{hook}: {sent} packets and no budget was used up"
    );
    assert_eq!(
        after.balance.lost, before.balance.lost,
        "{hook}: the ring was full"
    );

    // Every event that was reported arrives at the sink, merged or not, when the agent ends.
    let reported = after.balance.reported;
    agent.stop().unwrap();
    let told: u64 = agent
        .events()
        .unwrap()
        .iter()
        .map(|event| event["count"].as_u64().unwrap())
        .sum();
    assert_eq!(told, reported, "{hook}: packets in the sink, and reported");
}

#[test]
fn every_denied_packet_is_accounted_for_at_xdp() {
    check_balance("xdp");
}

#[test]
fn every_denied_packet_is_accounted_for_at_tc() {
    check_balance("tc");
}
