//! Every default against every other, who begins, and over what: what passes first decides what comes back.

use std::net::IpAddr;

use agent_common::event::Direction;
use agent_common::verdict::Action;
use portcullis::dataplane::testrun::Entry;
use portcullis_tests::netns::Namespace;
use portcullis_tests::packet::{Icmp, Packet, tcp, udp};
use portcullis_tests::rows::kernel::InKernel;
use portcullis_tests::rows::memory::InMemory;
use portcullis_tests::rows::{Does, Policy, Rows, World};

const DEFAULTS: [Does; 3] = [Does::Deny, Does::Audit, Does::Allow];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Over {
    Tcp,
    Udp,
    Echo,
}

/// The first packet of a flow and what comes back, from `near` to `far`.
fn flow(over: Over, near: IpAddr, far: IpAddr) -> [Packet; 2] {
    let echo = |from: IpAddr, to: IpAddr, v4, v6| Packet {
        from: Some(from),
        to: Some(to),
        icmp: Some(Icmp {
            kind: if from.is_ipv4() { v4 } else { v6 },
            id: 7,
            ..Icmp::default()
        }),
        ..Packet::default()
    };
    match over {
        Over::Tcp => [
            tcp((near, 41_000), (far, 9999), "S"),
            tcp((far, 9999), (near, 41_000), "SA"),
        ],
        Over::Udp => [
            udp((near, 41_000), (far, 9999)),
            udp((far, 9999), (near, 41_000)),
        ],
        Over::Echo => [echo(near, far, 8, 128), echo(far, near, 0, 129)],
    }
}

/// What comes back where the first packet passed has its action, and where the default of the way back is open, it passes by that. Where
/// the first was denied, the default of the way back stands.
fn expected(first: Does, back: Does, host_began: bool) -> Action {
    match (first, back) {
        (Does::Deny, back) => back.into(),
        // Only a packet to the host is asked by the default before the flow is: a packet of the host's own answers first.
        (_, Does::Allow) if host_began => Action::Allow,
        (first, _) => first.into(),
    }
}

#[track_caller]
fn check(world: &mut impl World) {
    let mut rows = Rows::read().unwrap();
    for ingress in DEFAULTS {
        for egress in DEFAULTS {
            let name = format!("{ingress:?}-{egress:?}");
            rows.policies.insert(
                name,
                Policy {
                    ingress: Some(ingress),
                    egress: Some(egress),
                    forward: None,
                    rules: Vec::new(),
                },
            );
        }
    }
    let mut wrong = Vec::new();
    for ingress in DEFAULTS {
        for egress in DEFAULTS {
            let name = format!("{ingress:?}-{egress:?}");
            for (own, peer) in [("10.0.0.1", "192.0.2.7"), ("fd00::1", "2001:db8:bad::7")] {
                let (own, peer): (IpAddr, IpAddr) = (own.parse().unwrap(), peer.parse().unwrap());
                for over in [Over::Tcp, Over::Udp, Over::Echo] {
                    for host_began in [true, false] {
                        let (ways, ends, first, back) = if host_began {
                            let ways = [Direction::Egress, Direction::Ingress];
                            (ways, (own, peer), egress, ingress)
                        } else {
                            let ways = [Direction::Ingress, Direction::Egress];
                            (ways, (peer, own), ingress, egress)
                        };
                        world.begin(&rows, &name).unwrap();
                        let packets = flow(over, ends.0, ends.1);
                        let seen = [0, 1].map(|n| {
                            let frame = packets[n].frame().unwrap();
                            world.judge(ways[n], &frame).unwrap().action
                        });
                        let wanted = [first.into(), expected(first, back, host_began)];
                        if seen != wanted {
                            wrong.push(format!(
                                "ingress {ingress:?}, egress {egress:?}, {over:?} with {peer}, host began: {host_began}: {seen:?}, expected {wanted:?}"
                            ));
                        }
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn in_memory() {
    check(&mut InMemory::default());
}

#[track_caller]
fn check_kernel(ingress: Entry) {
    let host = Namespace::new("matrix").unwrap();
    host.enter(|| check(&mut InKernel::load(ingress).unwrap()))
        .unwrap();
}

#[test]
fn in_kernel_with_xdp() {
    check_kernel(Entry::XdpIngress);
}

#[test]
fn in_kernel_with_tc() {
    check_kernel(Entry::TcIngress);
}
