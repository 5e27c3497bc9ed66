use std::sync::mpsc::{Receiver, Sender, channel};

use super::*;
use crate::events::aggregate::Overflow;

const PATIENCE: Duration = Duration::from_secs(20);

/// A reader that answers each delivery as the test tells it, and shows what it took.
struct Reader {
    answers: Receiver<bool>,
    seen: Sender<Entry>,
}

impl Destination for Reader {
    fn deliver(&mut self, entry: &Entry) -> io::Result<()> {
        let _ = self.seen.send(entry.clone());
        match self.answers.recv() {
            Ok(true) => Ok(()),
            _ => Err(io::ErrorKind::ConnectionRefused.into()),
        }
    }
}

struct Bench {
    sink: Sink,
    answer: Sender<bool>,
    seen: Receiver<Entry>,
}

fn bench(capacity: usize) -> Bench {
    let (answer, answers) = channel();
    let (seen, shown) = channel();
    let sink = Sink::start("test", Reader { answers, seen }, capacity).unwrap();
    Bench {
        sink,
        answer,
        seen: shown,
    }
}

fn entry(count: u64, second: i64) -> Entry {
    let time = Timestamp::from_second(second).unwrap();
    Entry::Overflow(Overflow {
        count,
        first: time,
        last: time,
        capacity: 1,
    })
}

fn lost(entries: u64, count: u64, first: i64, last: i64) -> Entry {
    Entry::Lost(Lost {
        entries,
        count,
        first: Timestamp::from_second(first).unwrap(),
        last: Timestamp::from_second(last).unwrap(),
    })
}

impl Bench {
    #[track_caller]
    fn takes(&self, expected: &Entry, answer: bool) {
        assert_eq!(&self.seen.recv_timeout(PATIENCE).unwrap(), expected);
        self.answer.send(answer).unwrap();
    }
}

#[test]
fn what_is_given_is_delivered() {
    let bench = bench(4);
    bench.sink.send(entry(3, 1));
    bench.sink.send(entry(4, 2));
    bench.takes(&entry(3, 1), true);
    bench.takes(&entry(4, 2), true);
    let counts = bench.sink.close(PATIENCE);
    assert_eq!(
        counts,
        SinkCounts {
            given: 7,
            delivered: 7,
            ..SinkCounts::default()
        }
    );
}

#[test]
fn a_refusal_is_said_once_the_reader_is_back() {
    let bench = bench(4);
    for (count, second) in [(3, 1), (5, 2), (1, 3)] {
        bench.sink.send(entry(count, second));
    }
    bench.takes(&entry(3, 1), false);
    bench.takes(&entry(5, 2), false);
    bench.takes(&entry(1, 3), true);
    bench.takes(&lost(2, 8, 1, 2), true);
    let counts = bench.sink.close(PATIENCE);
    assert_eq!(
        counts,
        SinkCounts {
            given: 9,
            delivered: 1,
            queued: 0,
            lost: 8,
            told: 8
        }
    );
}

#[test]
fn a_loss_is_said_although_nothing_new_comes() {
    let bench = bench(4);
    bench.sink.send(entry(3, 1));
    bench.takes(&entry(3, 1), false);
    bench.takes(&lost(1, 3, 1, 1), false);
    bench.takes(&lost(1, 3, 1, 1), true);
    assert_eq!(bench.sink.close(PATIENCE).told, 3);
}

#[test]
fn a_reader_that_blocks_holds_nobody() {
    let bench = bench(2);
    bench.sink.send(entry(1, 1));
    assert_eq!(bench.seen.recv_timeout(PATIENCE).unwrap(), entry(1, 1));
    // the reader now blocks with the first; two wait, the rest is lost
    for second in 2..=9 {
        bench.sink.send(entry(1, second));
    }
    assert_eq!(
        bench.sink.counts(),
        SinkCounts {
            given: 9,
            delivered: 0,
            queued: 3,
            lost: 6,
            told: 0
        }
    );
    bench.answer.send(true).unwrap();
    bench.takes(&lost(6, 6, 4, 9), true);
    bench.takes(&entry(1, 2), true);
    bench.takes(&entry(1, 3), true);
    let counts = bench.sink.close(PATIENCE);
    assert_eq!((counts.delivered, counts.lost, counts.told), (3, 6, 6));
}

#[test]
fn closing_does_not_wait_for_ever() {
    let bench = bench(2);
    bench.sink.send(entry(1, 1));
    bench.sink.send(entry(2, 2));
    assert_eq!(bench.seen.recv_timeout(PATIENCE).unwrap(), entry(1, 1));
    let counts = bench.sink.close(Duration::from_millis(10));
    assert_eq!((counts.delivered, counts.queued), (0, 3));
}

#[test]
fn json_lines_are_lines() {
    use crate::events::json::JsonLines;
    let mut lines = JsonLines::new(Vec::new());
    lines.deliver(&entry(3, 1)).unwrap();
    lines.deliver(&entry(4, 2)).unwrap();
    let text = String::from_utf8(lines.into_inner()).unwrap();
    let counts: Vec<u64> = text
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .map(|object| object["count"].as_u64().unwrap())
        .collect();
    assert_eq!(counts, [3, 4]);
}
