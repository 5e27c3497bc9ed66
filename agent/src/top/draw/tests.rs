use std::time::Duration;

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use serde_json::json;

use super::super::model::Do;
use super::*;
use crate::events::watch::Missed;

const START: i64 = 1_800_000_000;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(START + second).unwrap()
}

fn denial(row: &str) -> Shown {
    let entry = json!({
        "schema": 1, "time": at(30), "first": at(1), "message": "denied tcp", "verdict": "deny", "reason": "no-rule",
        "direction": "ingress", "interface": "eth0", "transport": "tcp", "src": "10.9.9.9", "src_port": 50_000, "dst": "10.0.0.11",
        "dst_port": 443, "tcp_flags": "SYN", "rows": [], "near_rows": [row], "count": 120, "generation": 3,
        "unit": "relay\u{1b}[31m.service", "difference": {
            "kind": "peer", "expected": "print-client", "seen": "10.9.9.9", "text": "open to print-client only",
            "remedy": "print-client = [\"10.9.9.9\"]" },
    });
    Shown::read(&entry).unwrap()
}

fn model() -> Model {
    let mut model = Model::new(START);
    model.take(denial("seal-output-engine/single-server/1"), at(30));
    model
}

/// The screen as lines, and how many lines had no place.
#[track_caller]
fn screen(model: &Model, (width, height): (u16, u16)) -> (Vec<String>, usize) {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    let catalogue = Catalogue::load([]).0;
    let scene = Scene {
        host: "node1",
        now: at(59),
        catalogue: &catalogue,
    };
    let mut beyond = 0;
    terminal
        .draw(|frame| beyond = draw(frame, model, &scene))
        .unwrap();
    let buffer = terminal.backend().buffer();
    let lines = buffer.content().chunks(usize::from(width));
    let lines = lines.map(|line| {
        line.iter()
            .map(ratatui::buffer::Cell::symbol)
            .collect::<String>()
    });
    (lines.map(|it| it.trim_end().to_owned()).collect(), beyond)
}

#[track_caller]
fn check(model: &Model, expected: &[&str]) {
    let (lines, _) = screen(model, (150, 30));
    for part in expected {
        // Columns are as wide as they are: blanks don't count.
        let squeezed = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(
            lines.iter().any(|it| squeezed(it).contains(part)),
            "{part} is not on\n{}",
            lines.join("\n")
        );
    }
}

#[test]
fn every_level_says_what_it_should() {
    let mut model = model();
    check(
        &model,
        &[
            "portcullis top, node1",
            "watching",
            "denied 120 packets, audited 0; 2.0 a second in the last minute",
            "1 peers 2 ports 3 rows 4 kinds",
            "by rate",
            "peer packets/s packets last the last of them",
            "10.9.9.9 2.0 120",
            "deny in tcp/443, peer, seal-output-engine/single-server/1",
        ],
    );
    model.act(Do::Table(By::Row), START + 59);
    check(&model, &["seal-output-engine/single-server/1 2.0 120"]);
    model.act(Do::Enter, START + 59);
    check(
        &model,
        &[
            "row seal-output-engine/single-server/1, the newest first",
            "deny in tcp/443 10.9.9.9 peer 120",
        ],
    );
    model.act(Do::Enter, START + 59);
    check(
        &model,
        &[
            "packet tcp/443 10.9.9.9:50000 > 10.0.0.11:443, SYN",
            "where ingress on eth0",
            "when 120 packets,",
            "sent by relay[31m.service",
            "verdict deny, no-rule, by generation 3",
            "expected print-client",
            "why open to print-client only",
            "to do print-client = [\"10.9.9.9\"]",
            "near seal-output-engine/single-server/1",
            "seal-ipp-checkin: print jobs by IPPS",
            "print-client → node: tcp 443",
            "SEAL Output Engine by SEAL Systems, Used Ports",
        ],
    );
}

#[test]
fn what_is_missing_is_said() {
    let mut model = Model::new(START);
    check(&model, &["nothing was denied yet"]);
    model.gone = Some(START + 47);
    check(&model, &["the daemon has gone 12 s ago, asking again"]);
    model.gone = None;
    model.miss(Missed {
        suppressed: 7,
        away: Duration::from_millis(2_100),
        ..Missed::default()
    });
    check(
        &model,
        &["not counted here: 7 packets over their budget, 2.1 s without a daemon"],
    );
}

#[test]
fn no_screen_is_too_small() {
    let mut model = model();
    for _ in 0..3 {
        for width in [1, 2, 7, 20, 300] {
            for height in [1, 2, 5, 9, 100] {
                screen(&model, (width, height));
            }
        }
        model.act(Do::Enter, START + 59);
    }
    // What has no place can be scrolled to.
    let (lines, beyond) = screen(&model, (60, 14));
    assert!(beyond > 0 && !lines.join("\n").contains("SEAL Systems"));
    model.act(Do::Move(isize::MAX), START + 59);
    model.scroll_within(beyond);
    let (lines, _) = screen(&model, (60, 14));
    assert!(lines.join("\n").contains("SEAL Systems"), "{lines:?}");
}

#[test]
fn lines_are_broken_between_words() {
    for (text, width, expected) in [
        ("", 5, &[""][..]),
        ("one two", 7, &["one two"]),
        ("one two", 6, &["one", "two"]),
        ("a longest b", 4, &["a", "long", "est", "b"]),
        ("longest", 3, &["lon", "ges", "t"]),
    ] {
        assert_eq!(wrapped(text, width), expected, "{text} in {width}");
    }
}
