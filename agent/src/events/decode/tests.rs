use agent_common::event::Summary;
use agent_common::net::{V4, V6};
use proptest::prelude::*;

use super::*;

/// The octets as the kernel side lays them out.
pub(crate) fn octets(event: &DenyEvent) -> Vec<u8> {
    let packet = &event.packet;
    let mut bytes = Vec::new();
    for half in packet.source.iter().chain(&packet.destination) {
        bytes.extend(half.to_le_bytes());
    }
    for short in [packet.source_port, packet.destination_port] {
        bytes.extend(short.to_le_bytes());
    }
    bytes.extend(packet.length.to_le_bytes());
    bytes.extend(packet.ether_type.to_le_bytes());
    bytes.extend([packet.protocol, packet.tcp_flags]);
    bytes.extend(packet.family.to_le_bytes());
    bytes.extend([0, 0]);
    for word in [
        event.verdict,
        event.generation,
        event.interface,
        event.tick,
        event.uid,
    ] {
        bytes.extend(word.to_le_bytes());
    }
    bytes.extend([event.bank, event.direction, event.hook, 0]);
    bytes.extend(event.cgroup.to_le_bytes());
    bytes
}

fn syn() -> DenyEvent {
    let mut packet = Summary {
        source_port: 50_000,
        destination_port: 443,
        ether_type: 0x0800,
        protocol: 6,
        tcp_flags: 2,
        length: 60,
        ..Summary::default()
    };
    packet.set_addresses(V4(0x0a09_0909), V4(0x0a00_000b));
    DenyEvent {
        packet,
        verdict: Verdict::new(Action::Deny, Reason::NoRule, 7).0,
        generation: 3,
        interface: 2,
        tick: 99,
        uid: DenyEvent::NO_UID,
        bank: 1,
        direction: 0,
        hook: 0,
        reserved: 0,
        cgroup: 0,
    }
}

fn name(index: u32) -> Option<Arc<str>> {
    (index == 2).then(|| Arc::from("eth0"))
}

#[track_caller]
fn check(change: impl FnOnce(&mut DenyEvent), expected: Result<&str, DecodeError>) {
    let mut event = syn();
    change(&mut event);
    let shown = decode(&octets(&event), Timestamp::UNIX_EPOCH, name).map(|denial| {
        format!(
            "{:?} {:?} {} {} {:?}:{:?} > {:?}:{:?} flags {:?} {:?} {} rule {:?} uid {:?} cgroup {:?}",
            denial.direction,
            denial.hook,
            denial.interface,
            denial.transport,
            denial.source,
            denial.source_port,
            denial.destination,
            denial.destination_port,
            denial.tcp_flags,
            denial.action,
            denial.reason.name(),
            denial.rule,
            denial.uid,
            denial.cgroup
        )
    });
    assert_eq!(shown.as_deref().map_err(|error| *error), expected);
}

#[test]
fn a_packet_comes_back_as_it_was() {
    check(
        |_| {},
        Ok(
            "Ingress Xdp eth0 tcp Some(10.9.9.9):Some(50000) > Some(10.0.0.11):Some(443) flags Some(2) Deny no-rule rule Some(7) \
             uid None cgroup None",
        ),
    );
    check(
        |event| {
            event.packet.protocol = 17;
            event
                .packet
                .set_addresses(V6(0xfe80 << 48, 1), V6(0xff02 << 48, 0xfb));
            (event.direction, event.hook, event.interface) = (1, 1, 9);
            (event.uid, event.cgroup) = (33, 77);
            event.verdict = Verdict::new(Action::Audit, Reason::NoRule, NO_RULE)
                .quiet()
                .0;
        },
        Ok(
            "Egress Tc if9 udp Some(fe80::1):Some(50000) > Some(ff02::fb):Some(443) flags None Audit no-rule rule None uid Some(33) \
             cgroup Some(77)",
        ),
    );
    check(
        |event| {
            event.packet.protocol = 1;
            event.packet.source_port = 0x0501;
            event.packet.destination_port = 4;
            event.verdict = Verdict::deny(Reason::Redirect).0;
        },
        Ok(
            "Ingress Xdp eth0 icmp Some(10.9.9.9):None > Some(10.0.0.11):None flags None Deny redirect rule None uid None cgroup None",
        ),
    );
    check(
        |event| {
            event.packet = Summary {
                ether_type: 0x88cd,
                length: 46,
                ..Summary::default()
            };
            event.verdict = Verdict::deny(Reason::NonIp).0;
        },
        Ok(
            "Ingress Xdp eth0 ethertype 0x88cd None:None > None:None flags None Deny non-ip rule None uid None cgroup None",
        ),
    );
    check(
        |event| {
            (event.packet.source_port, event.packet.destination_port) = (0, 0);
            event.verdict = Verdict::deny(Reason::Fragment).0;
        },
        Ok(
            "Ingress Xdp eth0 tcp Some(10.9.9.9):None > Some(10.0.0.11):None flags None Deny fragment rule None uid None cgroup None",
        ),
    );
}

#[test]
fn what_is_no_event_is_said() {
    check(|event| event.direction = 2, Err(DecodeError::Direction(2)));
    check(|event| event.hook = 9, Err(DecodeError::Hook(9)));
    check(|event| event.packet.family = 5, Err(DecodeError::Family(5)));
    check(
        |event| event.verdict = 255 << 16,
        Err(DecodeError::Reason(255)),
    );
    check(
        |event| event.verdict = Verdict::pass(Reason::Rule).0,
        Err(DecodeError::Action(1)),
    );
    assert_eq!(
        decode(&[0; 79], Timestamp::UNIX_EPOCH, name),
        Err(DecodeError::Length(79))
    );
}

#[test]
fn whose_port_is_the_services() {
    let ephemeral = 32_768..=60_999;
    for (protocol, flags, source, destination, port, answers) in [
        (6, tcp::SYN, 40_000, 443, 443, false),
        (6, tcp::SYN, 443, 40_000, 40_000, false), // a SYN asks, whatever the ports
        (6, tcp::SYN | tcp::ACK, 443, 40_000, 443, true),
        (6, tcp::ACK, 443, 40_000, 443, true),
        (6, tcp::RST, 40_001, 40_000, 40_000, false),
        (17, 0, 53, 40_000, 53, true),
        (17, 0, 53, 53, 53, false),
        (17, 0, 50_000, 49_501, 49_501, false),
        (1, 0, 0x0800, 40_000, 0x0800, false),
        (47, 0, 0, 0, 0, false),
    ] {
        let mut event = syn();
        event.packet.protocol = protocol;
        event.packet.tcp_flags = flags;
        event.packet.source_port = source;
        event.packet.destination_port = destination;
        let denial = decode(&octets(&event), Timestamp::UNIX_EPOCH, name).unwrap();
        assert_eq!(
            denial.asked(&ephemeral),
            Asked { port, answers },
            "{protocol} {source} > {destination}"
        );
    }
}

proptest! {
    #[test]
    fn any_octets_give_a_value_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..=2 * EVENT_SIZE)) {
        let _ = decode(&bytes, Timestamp::UNIX_EPOCH, name);
    }

    #[test]
    fn any_event_of_the_right_size_too(bytes in prop::collection::vec(any::<u8>(), EVENT_SIZE)) {
        let mut bytes = bytes;
        // valid direction, hook, reason and action, so that the rest is read
        (bytes[69], bytes[70], bytes[50], bytes[51]) = (bytes[69] & 1, bytes[70] & 1, 32, 0);
        (bytes[44], bytes[45]) = ([0, 4, 6][usize::from(bytes[44]) % 3], 0);
        let denial = decode(&bytes, Timestamp::UNIX_EPOCH, name).unwrap();
        prop_assert_eq!(denial.generation, u32::from_le_bytes(bytes[52..56].try_into().unwrap()));
    }
}
