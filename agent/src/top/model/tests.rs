use std::time::Duration;

use serde_json::json;

use super::super::count::{MOST, SPAN};
use super::*;

const START: i64 = 1_800_000_000;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(START + second).unwrap()
}

/// A denial of so many packets between two seconds: peer, port, kind, near rows.
fn denial(
    peer: &str,
    port: u16,
    kind: &str,
    near: &[&str],
    (first, last): (i64, i64),
    count: u64,
) -> Shown {
    let entry = json!({
        "schema": 1, "time": at(last), "first": at(first), "message": "denied", "verdict": "deny", "reason": "no-rule",
        "direction": "ingress", "transport": "tcp", "src": peer, "src_port": 50_000, "dst": "10.0.0.11", "dst_port": port,
        "rows": [], "near_rows": near, "difference": { "kind": kind }, "count": count,
    });
    Shown::read(&entry).unwrap()
}

/// Three peers: one that asks often, one that has asked most, one that came last.
fn some() -> Model {
    let mut model = Model::new(START);
    let near = ["p/t/7", "p/t/8"];
    for (peer, port, kind, near, times, count) in [
        ("10.0.0.1", 443, "peer", &near[..], (0, 9), 500),
        ("10.0.0.2", 444, "neighbour-port", &near[..1], (95, 99), 120),
        ("10.0.0.3", 9, "none", &[], (99, 99), 1),
    ] {
        model.take(denial(peer, port, kind, near, times, count), at(times.1));
    }
    model
}

/// The keys of a table in its order, each with its packets.
#[track_caller]
fn check(model: &Model, by: By, sort: Sort, expected: &[(&str, u64)]) {
    let model = Model {
        by,
        sort,
        ..model.clone()
    };
    let sorted = model.table().sorted(sort, model.since, START + 99);
    let found: Vec<(&str, u64)> = sorted.iter().map(|it| (it.0, it.1.packets)).collect();
    assert_eq!(found, expected, "{by:?} by {sort:?}");
}

#[test]
fn packets_count_at_all_they_have() {
    let model = some();
    assert_eq!((model.denied, model.audited), (621, 0));
    let peers = [("10.0.0.1", 500), ("10.0.0.2", 120), ("10.0.0.3", 1)];
    check(&model, By::Peer, Sort::Packets, &peers);
    check(&model, By::Peer, Sort::Name, &peers);
    // Ten seconds of a minute and a half ago are not of late.
    check(
        &model,
        By::Peer,
        Sort::Rate,
        &[peers[1], peers[2], peers[0]],
    );
    check(
        &model,
        By::Peer,
        Sort::Last,
        &[peers[1], peers[2], peers[0]],
    );
    let ports = [("in tcp/443", 500), ("in tcp/444", 120), ("in tcp/9", 1)];
    check(&model, By::Port, Sort::Packets, &ports);
    let rows = [("p/t/7", 620), ("p/t/8", 500), ("no row comes near", 1)];
    check(&model, By::Row, Sort::Packets, &rows);
    let kinds = [("peer", 500), ("neighbour-port", 120), ("none", 1)];
    check(&model, By::Kind, Sort::Packets, &kinds);
}

#[test]
fn audits_and_entries_about_entries_are_told_apart() {
    let mut model = Model::new(START);
    let mut audit = denial("10.0.0.1", 443, "peer", &[], (1, 1), 3);
    audit.verdict = Some("audit".to_owned());
    model.take(audit, at(1));
    let mut about = denial("10.0.0.1", 443, "peer", &[], (1, 1), 9);
    about.verdict = None;
    model.take(about, at(1));
    assert_eq!((model.denied, model.audited), (0, 3));
    for away in [1, 2] {
        model.miss(Missed {
            suppressed: 7,
            away: Duration::from_secs(away),
            ..Missed::default()
        });
    }
    assert_eq!(model.missed.suppressed, 14);
    assert_eq!(model.missed.away, Duration::from_secs(3));
}

#[track_caller]
fn check_rate(spans: &[(i64, i64, u64)], (since, now): (i64, i64), expected: f64) {
    let mut recent = Recent::default();
    for &(first, last, packets) in spans {
        recent.add(START + first, START + last, packets);
    }
    let found = recent.rate(START + since, START + now);
    assert!((found - expected).abs() < 1e-9, "{spans:?}: {found}");
}

#[test]
fn rates_are_of_the_last_minute() {
    check_rate(&[], (0, 100), 0.0);
    check_rate(&[(100, 100, 30)], (0, 100), 0.5);
    // watched for ten seconds
    check_rate(&[(95, 95, 30)], (91, 100), 3.0);
    // a minute's summary, half of it a minute ago
    check_rate(&[(11, 70, 60)], (0, 100), 0.5);
    // before one looked
    check_rate(&[(51, 100, 50)], (91, 100), 1.0);
    // older than the span, after it, and in two pieces that come in the wrong order
    check_rate(&[(0, 0, 99), (100, 100, 6)], (0, 100), 0.1);
    check_rate(&[(100, 100, 3), (90, 90, 3)], (0, 100), 0.1);
    check_rate(&[(100, 100, 6)], (0, 160), 0.0);
    // what does not divide is not lost; times in the wrong order are one time
    check_rate(&[(98, 100, 8)], (0, 100), 8.0 / SPAN as f64);
    check_rate(&[(100, 90, 6)], (0, 100), 0.1);
    check_rate(&[(i64::MIN / 4, 100, 6_000)], (0, 100), 1.0 / SPAN as f64);
}

#[test]
fn what_came_over_a_time_is_spread_over_it() {
    let mut recent = Recent::default();
    recent.add(START + 91, START + 100, 5);
    let bars = recent.bars(START + 100);
    assert_eq!(bars[SPAN - 10..], [0, 1, 0, 1, 0, 1, 0, 1, 0, 1]);
    assert_eq!(bars.iter().sum::<u64>(), 5);
}

#[track_caller]
fn key(model: &Model) -> String {
    let sorted = model.table().sorted(model.sort, model.since, START + 99);
    let keys: Vec<&str> = sorted.iter().map(|it| it.0).collect();
    keys[model.chosen(&keys)].to_owned()
}

#[test]
fn the_selection_follows_its_line() {
    let mut model = some();
    let now = START + 99;
    assert_eq!(key(&model), "10.0.0.2", "the first");
    for (steps, expected) in [
        (1, "10.0.0.3"),
        (9, "10.0.0.1"),
        (-1, "10.0.0.3"),
        (isize::MIN, "10.0.0.2"),
        (isize::MAX, "10.0.0.1"),
    ] {
        model.act(Do::Move(steps), now);
        assert_eq!(key(&model), expected, "{steps}");
    }
    model.act(Do::Sort, now);
    assert_eq!(
        (model.sort, key(&model).as_str()),
        (Sort::Packets, "10.0.0.1")
    );
    model.take(denial("10.0.0.4", 1, "none", &[], (99, 99), 9_000), at(99));
    assert_eq!(key(&model), "10.0.0.1", "wherever it stands by now");
    // Each table has a selection of its own.
    model.act(Do::Next, now);
    assert_eq!((model.by, key(&model).as_str()), (By::Port, "in tcp/1"));
    model.act(Do::Previous, now);
    assert_eq!(key(&model), "10.0.0.1");
    model.act(Do::Previous, now);
    assert_eq!(model.by, By::Kind);
    model.act(Do::Next, now);
    assert_eq!(model.by, By::Peer);
    model.act(Do::Clear, now);
    assert_eq!((model.denied, model.since, model.by), (0, now, By::Peer));
    for what in [Do::Move(1), Do::Enter, Do::Back] {
        model.act(what, now);
    }
    assert!(matches!(model.level, Level::Table), "nothing to enter");
}

#[test]
fn one_denial_is_found_and_kept() {
    let mut model = some();
    let now = START + 99;
    for (second, count) in [(97, 2), (98, 3)] {
        model.take(
            denial("10.0.0.2", 444, "none", &[], (second, second), count),
            at(second),
        );
    }
    model.act(Do::Enter, now);
    let Level::Entries {
        key,
        selected: None,
    } = &model.level
    else {
        panic!("{:?}", model.level);
    };
    let counts: Vec<u64> = model.entries(key).iter().map(|it| it.1.count).collect();
    assert_eq!((key.as_str(), counts), ("10.0.0.2", vec![3, 2, 120]));
    model.act(Do::Move(1), now);
    // The newest comes above it, and it stays selected.
    model.take(denial("10.0.0.2", 444, "none", &[], (99, 99), 4), at(99));
    model.act(Do::Enter, now);
    let Level::Entry { entry, .. } = &model.level else {
        panic!("{:?}", model.level);
    };
    assert_eq!(entry.count, 2);
    model.act(Do::Move(9), now);
    model.scroll_within(3);
    assert!(matches!(model.level, Level::Entry { scrolled: 3, .. }));
    model.act(Do::Move(-1), now);
    assert!(matches!(model.level, Level::Entry { scrolled: 2, .. }));
    // Still there when it is kept no more, and then there is no way back to it but to the newest.
    for _ in 0..KEPT {
        model.take(denial("10.0.0.9", 1, "none", &[], (99, 99), 1), at(99));
    }
    assert!(matches!(&model.level, Level::Entry { entry, .. } if entry.count == 2));
    model.act(Do::Back, now);
    assert!(matches!(&model.level, Level::Entries { key, .. } if key == "10.0.0.2"));
    model.act(Do::Enter, now);
    assert!(
        matches!(model.level, Level::Entries { .. }),
        "nothing is kept of it"
    );
    model.act(Do::Back, now);
    assert!(matches!(model.level, Level::Table));
}

#[test]
fn a_flood_of_sources_takes_no_more_room() {
    let mut model = Model::new(START);
    let sources = 3 * MOST as u32;
    for number in 0..sources {
        let peer = std::net::Ipv4Addr::from(0x0a00_0000 + number).to_string();
        let second = i64::from(number / 1_000);
        model.take(
            denial(&peer, 9, "none", &[], (second, second), 2),
            at(second),
        );
    }
    let sorted = model.table().sorted(Sort::Last, START, START + 20);
    assert!(sorted.len() <= MOST);
    assert_eq!(
        sorted[0].1.last,
        at(i64::from((sources - 1) / 1_000)),
        "the silent ones go"
    );
    let left: u64 = sorted.iter().map(|it| it.1.packets).sum();
    assert_eq!(
        left + model.table().forgotten,
        2 * u64::from(sources),
        "and are counted"
    );
}
