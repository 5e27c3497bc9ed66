use etherparse::{NetSlice, SlicedPacket, TransportSlice};

use super::*;

/// Another author's parser reads what is built, in both families.
#[test]
fn the_frame_is_a_packet() {
    for (own, peer) in [("10.0.0.11", "10.9.9.9"), ("2001:db8::11", "2001:db8::9")] {
        for (transport, expected) in [
            (Transport::Tcp, "tcp 50000 443"),
            (Transport::Udp, "udp 50000 443"),
            (Transport::Protocol(47), "other"),
        ] {
            let probe = Probe {
                direction: Direction::Ingress,
                transport,
                own: own.parse().unwrap(),
                peer: peer.parse().unwrap(),
                source_port: 50_000,
                destination_port: 443,
                tcp_flags: tcp::SYN,
            };
            let frame = probe.frame();
            let packet = SlicedPacket::from_ethernet(&frame).unwrap();
            let (source, destination): (IpAddr, IpAddr) = match packet.net.unwrap() {
                NetSlice::Ipv4(ip) => (
                    ip.header().source_addr().into(),
                    ip.header().destination_addr().into(),
                ),
                NetSlice::Ipv6(ip) => (
                    ip.header().source_addr().into(),
                    ip.header().destination_addr().into(),
                ),
                NetSlice::Arp(_) => panic!("no ARP was built"),
            };
            assert_eq!((source, destination), (probe.peer, probe.own));
            let shown = match packet.transport {
                Some(TransportSlice::Tcp(tcp)) => {
                    assert!(tcp.syn() && !tcp.ack());
                    format!("tcp {} {}", tcp.source_port(), tcp.destination_port())
                }
                Some(TransportSlice::Udp(udp)) => {
                    format!("udp {} {}", udp.source_port(), udp.destination_port())
                }
                _ => "other".to_owned(),
            };
            assert_eq!(shown, expected);
        }
    }
}

/// An earlier question is no reason to let a later one pass.
#[test]
fn probes_leave_no_trace() {
    use crate::compile::{Settings, compile};
    use crate::rule::{DefaultAction, RuleSet};

    let rules = RuleSet {
        egress: DefaultAction::Open,
        ..RuleSet::default()
    };
    let facts = crate::compile::resolve::tests::facts();
    let tables = compile(&rules, &facts, &Settings::default()).unwrap();
    let host = Memory::new(std::rc::Rc::new(tables));
    let probe = |direction, source_port, destination_port| Probe {
        direction,
        transport: Transport::Udp,
        own: "10.0.0.11".parse().unwrap(),
        peer: "10.9.9.9".parse().unwrap(),
        source_port,
        destination_port,
        tcp_flags: 0,
    };
    assert!(probe(Direction::Egress, 50_000, 53).judge(&host).passes());
    assert!(!probe(Direction::Ingress, 53, 50_000).judge(&host).passes());
}

#[test]
fn an_answer_asks_the_other_way() {
    let mut probe = Probe {
        direction: Direction::Ingress,
        transport: Transport::Tcp,
        own: "10.0.0.11".parse().unwrap(),
        peer: "10.9.9.9".parse().unwrap(),
        source_port: 443,
        destination_port: 50_000,
        tcp_flags: tcp::SYN | tcp::ACK,
    };
    let asked = |probe: &Probe| {
        let denied = Verdict::deny(agent_common::verdict::Reason::NoRule);
        let question = probe.question(denied, jiff::Timestamp::UNIX_EPOCH);
        (question.asked.port, question.asked.answers)
    };
    assert_eq!(asked(&probe), (443, true));
    probe.tcp_flags = tcp::SYN;
    assert_eq!(asked(&probe), (50_000, false));
    probe.transport = echo_of(probe.peer);
    probe.tcp_flags = 0;
    assert_eq!(asked(&probe), (0x0800, false));
}
