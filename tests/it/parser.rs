//! The header parser against one of another author: random, truncated and mutated frames, field by field.

use std::net::IpAddr;

use agent_common::event::{Direction, Summary};
use agent_common::net::{Address, EtherType, IpProto, V4, V6};
use agent_common::packet::Segment;
use agent_common::parse::Plain;
use agent_common::verdict::Reason;
use agent_common::{judge, parse};
use portcullis::compile::memory::Memory;
use portcullis::compile::open_tables;
use portcullis::reference::{Content, Packet};
use portcullis_tests::oracle::{self, Read};
use portcullis_tests::random::{self, Near, Random};

/// Why a frame is refused before any rule is asked.
const STRUCTURAL: &[Reason] = &[
    Reason::Unreadable,
    Reason::Header,
    Reason::Fragment,
    Reason::FragmentEarly,
    Reason::Extension,
    Reason::Vlan,
    Reason::NonIp,
];

const HZ: u32 = 250;

fn wide(address: IpAddr) -> [u64; 2] {
    match address {
        IpAddr::V4(address) => V4(address.to_bits()).wide(),
        IpAddr::V6(address) => {
            let bits = address.to_bits();
            V6((bits >> 64) as u64, bits as u64).wide()
        }
    }
}

/// What the summary of a packet must say.
fn summary(packet: &Packet, frame: &[u8]) -> Summary {
    let (ether_type, family, icmp) = match packet.source {
        IpAddr::V4(_) => (EtherType::IPV4, 4, 1),
        IpAddr::V6(_) => (EtherType::IPV6, 6, 58),
    };
    let mut said = Summary {
        source: wide(packet.source),
        destination: wide(packet.destination),
        ether_type: ether_type.0,
        family,
        length: frame.len() as u32,
        ..Summary::default()
    };
    match &packet.content {
        Content::Tcp { from, to, flags } => {
            (said.protocol, said.tcp_flags) = (6, *flags);
            (said.source_port, said.destination_port) = (*from, *to);
        }
        Content::Udp { from, to } => {
            said.protocol = 17;
            (said.source_port, said.destination_port) = (*from, *to);
        }
        Content::Icmp {
            kind, identifier, ..
        } => {
            said.protocol = icmp;
            said.source_port = u16::from(*kind) << 8;
            said.destination_port = *identifier;
        }
        Content::Protocol(number) => said.protocol = *number,
    }
    said
}

/// Whether the first branch takes a frame, and what it reads.
fn plain(frame: &[u8]) -> Option<Summary> {
    fn said<A: Address>(segment: Segment<A>, frame: &[u8], ether_type: EtherType) -> Summary {
        let mut said = Summary {
            ether_type: ether_type.0,
            protocol: segment.protocol.0,
            source_port: segment.source_port,
            destination_port: segment.destination_port,
            tcp_flags: segment.flags,
            length: frame.len() as u32,
            ..Summary::default()
        };
        said.set_addresses(segment.source, segment.destination);
        said
    }
    fn segment<A: Plain>(frame: &[u8]) -> Option<Segment<A>> {
        let header = parse::plain_header::<A, _>(frame)?;
        match header.protocol {
            IpProto::TCP => parse::plain::<true, A, _>(frame, &header),
            IpProto::UDP => parse::plain::<false, A, _>(frame, &header),
            _ => None,
        }
    }
    match parse::plain_type(frame)? {
        EtherType::IPV4 => segment::<V4>(frame).map(|it| said(it, frame, EtherType::IPV4)),
        EtherType::IPV6 => segment::<V6>(frame).map(|it| said(it, frame, EtherType::IPV6)),
        _ => None,
    }
}

/// Whether the first branch has to take a packet: anything else is what it is for.
fn is_plain(packet: &Packet, frame: &[u8]) -> bool {
    let has_ports = matches!(packet.content, Content::Tcp { .. } | Content::Udp { .. });
    let shortest = match packet.source {
        IpAddr::V4(_) => frame[12..15] == [0x08, 0x00, 0x45],
        IpAddr::V6(_) => frame[12..14] == [0x86, 0xdd] && matches!(frame[20], 6 | 17),
    };
    // Above the groups nothing is assigned (RFC 1112 section 4); it goes the long way with them.
    let unassigned = matches!(packet.destination, IpAddr::V4(to) if to.octets()[0] >= 240);
    has_ports && shortest && !packet.is_to_group() && !unassigned
}

/// Frames of each kind that were compared.
#[derive(Default, Debug)]
struct Met {
    packets: u64,
    plain: u64,
    broken: u64,
    refused: u64,
    link: u64,
    fragments: u64,
}

#[track_caller]
fn check(host: &Memory, direction: Direction, frame: &[u8], met: &mut Met, seed: u64) {
    let mut seen = Summary::default();
    let reason = judge::frame(direction, frame, host, &mut seen).reason();
    let plain = plain(frame);
    let (read, is_first) = match oracle::read(direction, frame) {
        Read::First(read, _) => (*read, true),
        read => (read, false),
    };
    met.fragments += u64::from(is_first);
    let wrong = match read {
        Read::Packet(packet) => {
            met.packets += 1;
            met.plain += u64::from(plain.is_some());
            let wanted = summary(&packet, frame);
            if matches!(packet.content, Content::Icmp { .. }) {
                // The code is for people; the other parser is not asked for it.
                seen.source_port &= 0xff00;
            }
            STRUCTURAL.contains(&reason)
                || seen != wanted
                || (is_plain(&packet, frame) && !is_first) != plain.is_some()
                || plain.is_some_and(|plain| plain != seen)
        }
        Read::Broken(packet, reasons) => {
            met.broken += 1;
            let addresses = (wide(packet.source), wide(packet.destination));
            !reasons.contains(&reason)
                || (seen.source, seen.destination) != addresses
                || plain.is_some()
        }
        Read::Refused(reasons) => {
            met.refused += 1;
            !reasons.contains(&reason) || plain.is_some()
        }
        // One that follows a first fragment of an earlier frame passes as that did.
        Read::Later(packet, _) => {
            met.fragments += 1;
            let addresses = (wide(packet.source), wide(packet.destination));
            (STRUCTURAL.contains(&reason) && reason != Reason::FragmentEarly)
                || (seen.source, seen.destination) != addresses
                || plain.is_some()
        }
        Read::First(..) => true,
        Read::Link => {
            met.link += 1;
            reason != Reason::Link || plain.is_some()
        }
    };
    assert!(
        !wrong,
        "seed {seed}, {direction:?}: read as {seen:?} ({}), first branch {plain:?}, by etherparse {:?}: {frame:02x?}",
        reason.name(),
        oracle::read(direction, frame)
    );
}

/// A frame that comes near to one: whole, damaged, with an end cut off, or nothing but octets behind an EtherType.
fn frame(random: &mut Random, near: &Near, direction: Direction) -> Vec<u8> {
    let mut packet = near.packet(random, direction);
    if random.one_in(2) {
        random::damage(&mut packet, random);
    }
    let mut frame = packet.frame().unwrap();
    if random.one_in(8) {
        frame.truncate(random.below(frame.len() + 1));
    }
    if random.one_in(8) {
        let types = [[8, 0], [0x86, 0xdd], [0x81, 0], [8, 6], [0x88, 0x64]];
        frame = (0..random.below(120)).map(|_| random.octet()).collect();
        if frame.len() > 14 {
            frame[12..14].copy_from_slice(&random.of(&types));
            frame[14] = random.of(&[0x45, 0x46, 0x4f, 0x44, 0x60, 0x6f, 0x50]);
        }
    }
    frame
}

#[test]
fn it_reads_what_another_parser_reads() {
    const FRAMES: u64 = 200_000;
    const SEED: u64 = 7;
    let random = &mut Random::new(SEED);
    let host = Memory::new(std::rc::Rc::new(open_tables(HZ)));
    let near = Near::default();
    let mut met = Met::default();
    for _ in 0..FRAMES {
        let direction = random.of(&[Direction::Ingress, Direction::Egress]);
        check(
            &host,
            direction,
            &frame(random, &near, direction),
            &mut met,
            SEED,
        );
    }
    println!("{met:?}");
    // Each kind is met often, so that none is right by never being asked.
    for (kind, count, least) in [
        ("packets", met.packets, FRAMES / 4),
        ("plain", met.plain, FRAMES / 10),
        ("broken", met.broken, FRAMES / 100),
        ("refused", met.refused, FRAMES / 10),
        ("link", met.link, FRAMES / 1000),
        ("fragments", met.fragments, FRAMES / 200),
    ] {
        assert!(count > least, "{kind}: {met:?}");
    }
}

/// Every end that a frame may have, and every value of every octet of its headers.
#[test]
fn every_cut_and_every_octet_is_read_alike() {
    let random = &mut Random::new(11);
    let host = Memory::new(std::rc::Rc::new(open_tables(HZ)));
    let near = Near::default();
    let mut met = Met::default();
    for seed in 0..40 {
        let direction = random.of(&[Direction::Ingress, Direction::Egress]);
        let whole = near.packet(random, direction).frame().unwrap();
        for end in 0..=whole.len() {
            check(&host, direction, &whole[..end], &mut met, seed);
        }
        let mut frame = whole.clone();
        for at in 0..whole.len().min(80) {
            for value in 0..=255 {
                frame[at] = value;
                check(&host, direction, &frame, &mut met, seed);
            }
            frame[at] = whole[at];
        }
    }
    println!("{met:?}");
}
