//! Frames that nobody means: whatever the octets, the decision answers, and what comes in enters nothing.

use std::rc::Rc;

use agent_common::event::{Direction, Summary};
use agent_common::flow::FlowTable;
use agent_common::judge;
use agent_common::net::tcp::SYN;
use agent_common::verdict::Reason;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use super::build::{allow_in, set, tables, tcp as tcp_port};
use super::wire::{echo, icmp, tcp, udp, unreachable};
use crate::compile::memory::Memory;
use crate::compile::tables::Tables;
use crate::rule::DefaultAction::{Deny, Open};

fn templates() -> Vec<Vec<u8>> {
    let question = udp("192.0.2.10:40053", "198.51.100.53:53");
    let question6 = udp("[2001:db8::10]:40053", "[2001:db8:5::53]:53");
    let mut report = icmp("fe80::1", "ff02::16", 143, 0, &[0; 8]);
    report.alert = true;
    report.hop_limit = 1;
    [
        tcp("198.51.100.7:5000", "192.0.2.10:443", SYN),
        tcp("[2001:db8:5::7]:5000", "[2001:db8::10]:443", SYN),
        question.clone(),
        question6.clone(),
        echo("198.51.100.7", "192.0.2.10", 1),
        echo("2001:db8:5::7", "2001:db8::10", 1),
        unreachable("198.51.100.254", "192.0.2.10", &question),
        unreachable("2001:db8:5::fe", "2001:db8::10", &question6),
        report,
    ]
    .iter()
    .map(super::wire::Packet::frame)
    .collect()
}

/// A frame with some octets changed and its end cut off.
fn any_frame() -> impl Strategy<Value = Vec<u8>> {
    let change = (any::<Index>(), any::<u8>());
    (
        any::<Index>(),
        vec(change, 0..6),
        0_usize..40,
        any::<bool>(),
    )
        .prop_map(|(which, changes, cut, whole)| {
            let mut frame = which.get(&templates()).clone();
            for (place, octet) in changes {
                let place = place.index(frame.len());
                frame[place] = octet;
            }
            if !whole {
                frame.truncate(frame.len().saturating_sub(cut));
            }
            frame
        })
}

fn entries(world: &Memory) -> usize {
    world.flows(FlowTable::New) + world.flows(FlowTable::Established)
}

fn closed() -> Rc<Tables> {
    tables(&set(Deny, Deny, []))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn nothing_passes_a_closed_host_but_link_protocols(frames in vec(any_frame(), 200)) {
        let world = Memory::new(closed());
        for frame in &frames {
            for direction in [Direction::Ingress, Direction::Egress] {
                let verdict = judge::frame(direction, frame.as_slice(), &world, &mut Summary::default());
                prop_assert!(
                    !verdict.passes() || verdict.reason() == Reason::Link,
                    "{:?} {:?} {:02x?}", direction, verdict, frame
                );
                prop_assert_ne!(verdict.reason(), Reason::Internal);
            }
        }
        prop_assert_eq!(entries(&world), 0);
    }

    #[test]
    fn what_comes_in_enters_nothing(frames in vec((any_frame(), any::<bool>()), 200)) {
        let rules = [allow_in(tcp_port(443), &["any"])];
        for ingress in [Deny, Open] {
            let world = Memory::new(tables(&set(ingress, Open, rules.clone())));
            for (frame, comes) in &frames {
                let before = entries(&world);
                let direction = if *comes { Direction::Ingress } else { Direction::Egress };
                let _ = judge::frame(direction, frame.as_slice(), &world, &mut Summary::default());
                let after = entries(&world);
                let most = if *comes { before } else { before + 1 };
                prop_assert!(after <= most, "{} entries became {}: {:02x?}", before, after, frame);
            }
        }
    }
}
