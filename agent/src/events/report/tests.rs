use std::io;
use std::sync::Mutex;

use agent_common::event::{DenyEvent, Summary};
use agent_common::net::V4;
use agent_common::verdict::{Reason, Verdict};
use proptest::prelude::*;

use super::*;
use crate::events::decode::tests::octets;
use crate::events::sink::Destination;

const PATIENCE: Duration = Duration::from_secs(20);

/// Takes every entry but each `refuses`th.
struct Reader {
    taken: Arc<Mutex<Vec<Entry>>>,
    refuses: usize,
    seen: usize,
}

impl Destination for Reader {
    fn deliver(&mut self, entry: &Entry) -> io::Result<()> {
        self.seen += 1;
        if self.refuses > 0 && self.seen.is_multiple_of(self.refuses) {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        self.taken.lock().unwrap().push(entry.clone());
        Ok(())
    }
}

fn reader(name: &'static str, refuses: usize, capacity: usize) -> (Sink, Arc<Mutex<Vec<Entry>>>) {
    let taken = Arc::default();
    let reader = Reader {
        taken: Arc::clone(&taken),
        refuses,
        seen: 0,
    };
    (Sink::start(name, reader, capacity).unwrap(), taken)
}

fn syn(peer: u32, port: u16) -> Vec<u8> {
    let mut packet = Summary {
        source_port: 50_000,
        destination_port: port,
        ether_type: 0x0800,
        protocol: 6,
        tcp_flags: 2,
        length: 60,
        ..Summary::default()
    };
    packet.set_addresses(V4(0x0a00_0000 | peer), V4(0x0a01_0101));
    octets(&DenyEvent {
        packet,
        verdict: Verdict::deny(Reason::NoRule).0,
        generation: 1,
        interface: 2,
        tick: 1,
        uid: DenyEvent::NO_UID,
        bank: 0,
        direction: 0,
        hook: 0,
        reserved: 0,
        cgroup: 0,
    })
}

fn eth0(index: u32) -> Option<Arc<str>> {
    (index == 2).then(|| Arc::from("eth0"))
}

#[test]
fn every_sink_gets_the_same() {
    let (first, taken_first) = reader("first", 0, 64);
    let (second, taken_second) = reader("second", 0, 64);
    let mut reporter = Reporter::new(
        Duration::from_secs(60),
        32_768..=60_999,
        vec![first, second],
    );
    let time = Timestamp::UNIX_EPOCH;
    for _ in 0..3 {
        reporter
            .event(&syn(1, 443), Duration::ZERO, time, eth0)
            .unwrap();
    }
    assert!(
        reporter
            .event(&[1, 2, 3], Duration::ZERO, time, eth0)
            .is_err()
    );
    assert_eq!(reporter.counts().gathered, 2);
    let counts = reporter.close(Duration::from_secs(1), PATIENCE);
    assert_eq!(
        (counts.read, counts.undecodable, counts.gathered),
        (4, 1, 0)
    );
    let taken = taken_first.lock().unwrap().clone();
    assert_eq!(taken, *taken_second.lock().unwrap());
    let texts: Vec<String> = taken.iter().map(Entry::text).collect();
    let tail = "tcp 10.0.0.1:50000 > 10.1.1.1:443 in on eth0: nothing documents ingress tcp/443";
    assert_eq!(texts.len(), 2);
    assert!(
        texts[0].starts_with(&format!("denied {tail}")),
        "{}",
        texts[0]
    );
    assert!(
        texts[1].starts_with("denied 2 times more tcp 10.0.0.1 > "),
        "{}",
        texts[1]
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    /// The sum of `PORTCULLIS_COUNT` over what a reader took, and what was lost and not yet said, is what the kernel side reported.
    #[test]
    fn the_journal_adds_up(
        packets in prop::collection::vec((0u32..40, 440u16..444, 0u64..20), 0..300),
        refuses in 0usize..5,
        queue in 1usize..64,
    ) {
        let (sink, taken) = reader("journal", refuses, queue);
        let mut reporter = Reporter::new(Duration::from_secs(30), 32_768..=60_999, vec![sink]);
        let mut now = Duration::ZERO;
        let fed = packets.len() as u64;
        for (n, (peer, port, pause)) in packets.into_iter().enumerate() {
            now += Duration::from_secs(pause);
            reporter.event(&syn(peer, port), now, Timestamp::UNIX_EPOCH, eth0).unwrap();
            if n % 3 == 0 {
                reporter.turn(now);
            }
            if n == 100 {
                let window = Duration::from_secs(30);
                reporter.explain_by(2, &Rc::default(), window, 32_768..=60_999, now);
            }
        }
        let counts = reporter.close(now, PATIENCE);
        let (_, sink) = counts.sinks[0];
        prop_assert_eq!(counts.read, fed);
        prop_assert_eq!((sink.given, sink.queued), (fed, 0));
        prop_assert_eq!(sink.delivered + sink.lost, sink.given);
        let field = |entry: &Entry| -> u64 {
            let fields = entry.journal_fields();
            let (_, count) = fields.iter().find(|(name, _)| *name == "PORTCULLIS_COUNT").unwrap();
            count.parse().unwrap()
        };
        let in_journal: u64 = taken.lock().unwrap().iter().map(field).sum();
        prop_assert_eq!(in_journal + (sink.lost - sink.told), fed);
    }
}
