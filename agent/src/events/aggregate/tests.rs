use std::sync::Arc;

use agent_common::event::Hook;
use proptest::prelude::*;

use super::*;

const EPHEMERAL: RangeInclusive<u16> = 32_768..=60_999;

fn denial(peer: u8, port: u16, seconds: i64) -> Denial {
    Denial {
        time: Timestamp::from_second(seconds).unwrap(),
        direction: Direction::Ingress,
        hook: Hook::Tc,
        interface_index: 2,
        interface: Arc::from("eth0"),
        transport: Transport::Tcp,
        source: Some(IpAddr::from([10, 0, 0, peer])),
        destination: Some(IpAddr::from([10, 0, 1, 1])),
        source_port: Some(40_000),
        destination_port: Some(port),
        tcp_flags: Some(2),
        length: 60,
        action: Action::Deny,
        reason: Reason::NoRule,
        rule: None,
        generation: 1,
        bank: 0,
        tick: 0,
        uid: None,
        cgroup: None,
    }
}

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn shown(outputs: impl IntoIterator<Item = Output>) -> Vec<String> {
    let show = |output| match output {
        Output::Merged(merged) => format!(
            "{} {} x{} {}-{}{}",
            merged.denial.source.unwrap(),
            merged.asked.port,
            merged.count,
            merged.first.as_second(),
            merged.last.as_second(),
            if merged.repeats { " more" } else { "" }
        ),
        Output::Overflow(overflow) => format!(
            "overflow x{} {}-{}",
            overflow.count,
            overflow.first.as_second(),
            overflow.last.as_second()
        ),
    };
    outputs.into_iter().map(show).collect()
}

#[test]
fn the_first_at_once_then_a_summary_per_window() {
    let mut aggregator = Aggregator::new(at(60), 10, EPHEMERAL);
    let feed = |aggregator: &mut Aggregator, peer, seconds: u64| {
        let seconds_signed = i64::try_from(seconds).unwrap();
        shown(aggregator.feed(at(seconds), denial(peer, 443, seconds_signed)))
    };
    assert_eq!(feed(&mut aggregator, 1, 0), ["10.0.0.1 443 x1 0-0"]);
    assert_eq!(feed(&mut aggregator, 1, 5), [""; 0]);
    assert_eq!(feed(&mut aggregator, 2, 6), ["10.0.0.2 443 x1 6-6"]);
    assert_eq!(feed(&mut aggregator, 1, 59), [""; 0]);
    assert_eq!(shown(aggregator.expire(at(59))), [""; 0]);
    assert_eq!(
        shown(aggregator.expire(at(60))),
        ["10.0.0.1 443 x2 5-59 more"]
    );
    // still open: another window of repeats
    assert_eq!(feed(&mut aggregator, 1, 61), [""; 0]);
    assert_eq!(
        shown(aggregator.expire(at(120))),
        ["10.0.0.1 443 x1 61-61 more"]
    );
    // silent for a window: forgotten, and the next one is a first one
    assert_eq!(shown(aggregator.expire(at(180))), [""; 0]);
    assert_eq!(feed(&mut aggregator, 1, 181), ["10.0.0.1 443 x1 181-181"]);
    assert_eq!(aggregator.gathered(), 0);
}

#[test]
fn what_is_told_apart() {
    let base = denial(1, 443, 0);
    let variants: [fn(&mut Denial); 8] = [
        |_| {},
        |denial| denial.interface_index = 3,
        |denial| denial.direction = Direction::Egress,
        |denial| denial.transport = Transport::Udp,
        |denial| denial.source = Some(IpAddr::from([10, 0, 0, 9])),
        |denial| denial.destination_port = Some(444),
        |denial| denial.reason = Reason::Block,
        |denial| denial.action = Action::Audit,
    ];
    let merging: [fn(&mut Denial); 4] = [
        |denial| denial.source_port = Some(40_001),
        |denial| denial.destination = Some(IpAddr::from([10, 0, 1, 2])),
        |denial| denial.generation = 2,
        |denial| denial.uid = Some(0),
    ];
    let mut aggregator = Aggregator::new(at(60), 100, EPHEMERAL);
    let mut feed = |change: fn(&mut Denial)| {
        let mut denial = base.clone();
        change(&mut denial);
        aggregator.feed(at(0), denial).is_some()
    };
    for (n, change) in variants.into_iter().enumerate() {
        assert!(feed(change), "variant {n} is one of its own");
        assert!(!feed(change), "variant {n} repeated is none");
    }
    for (n, change) in merging.into_iter().enumerate() {
        assert!(!feed(change), "variant {n} is the same");
    }
}

#[test]
fn too_many_are_counted() {
    let mut aggregator = Aggregator::new(at(60), 2, EPHEMERAL);
    let fed: Vec<Output> = (1..=5)
        .filter_map(|peer| aggregator.feed(at(peer.into()), denial(peer, 443, peer.into())))
        .collect();
    assert_eq!(shown(fed), ["10.0.0.1 443 x1 1-1", "10.0.0.2 443 x1 2-2"]);
    assert_eq!(aggregator.gathered(), 3);
    assert_eq!(shown(aggregator.expire(at(63))), ["overflow x3 3-5"]);
    // the two that were remembered are forgotten, there is room again
    assert_eq!(
        shown(aggregator.feed(at(64), denial(9, 443, 64))),
        ["10.0.0.9 443 x1 64-64"]
    );
    assert_eq!(shown(aggregator.flush()), [""; 0]);
}

proptest! {
    /// Whatever comes, in whatever order, with whatever pauses: the counts add up, and memory stays within its bound.
    #[test]
    fn nothing_is_lost(
        packets in prop::collection::vec((0u8..20, 440u16..445, 0u64..30), 0..400),
        capacity in 1usize..40,
        window in 0u64..90,
    ) {
        let mut aggregator = Aggregator::new(at(window), capacity, EPHEMERAL);
        let (mut now, mut given) = (0, 0);
        let fed = packets.len() as u64;
        for (peer, port, pause) in packets {
            now += pause;
            given += aggregator.expire(at(now)).iter().map(Output::count).sum::<u64>();
            let seconds = i64::try_from(now).unwrap();
            given += aggregator.feed(at(now), denial(peer, port, seconds)).map_or(0, |output| output.count());
            prop_assert!(aggregator.open.len() <= capacity && aggregator.ends.len() == aggregator.open.len());
        }
        let rest: u64 = aggregator.gathered();
        let flushed: u64 = aggregator.flush().iter().map(Output::count).sum();
        prop_assert_eq!(rest, flushed);
        prop_assert_eq!(given + flushed, fed);
        prop_assert_eq!(aggregator.gathered(), 0);
    }
}
