//! Events as programs of any version may have written them: into the decoder, and on to what is printed.

use std::cell::OnceCell;
use std::time::Duration;

use jiff::Timestamp;
use portcullis::events::aggregate::DEFAULT_CAPACITY;
use portcullis::events::decode::EVENT_SIZE;
use portcullis::events::explain::read::Event;
use portcullis::events::fields::{Denied, Entry};
use portcullis::events::{Aggregator, Knowledge, Output, decode};
use portcullis::host::{Input, load};
use portcullis::meaning::meaning;

use crate::texts::with_shipped;

const CONFIGURATION: &str = include_str!("../corpus/configuration/a-node-of-seal");
/// The generation that the knowledge is of.
const GENERATION: u32 = 1;
const EPHEMERAL: std::ops::RangeInclusive<u16> = 32_768..=60_999;
/// Characters of a message at most.
const LONGEST: usize = 300;

thread_local! {
    static KNOWLEDGE: OnceCell<Knowledge> = const { OnceCell::new() };
}

fn gathered() -> Knowledge {
    with_shipped(|catalogue, facts| {
        let (config, findings) = load(&Input::single("portcullis.toml", CONFIGURATION));
        let Some(config) = config else {
            return Knowledge::default();
        };
        let meaning = meaning(&config, catalogue, facts, &findings);
        assert!(
            !meaning.findings.has_errors(),
            "{}",
            meaning.findings.render(false)
        );
        Knowledge::gather(&config, catalogue, facts, &meaning.resolved)
    })
}

/// Events one after the other, each of the length that the ABI has. Every packet that was decoded is told of exactly once, in words and as
/// JSON, and the JSON can be read back.
///
/// # Panics
///
/// Where that does not hold.
pub fn events(octets: &[u8]) {
    let mut aggregator = Aggregator::new(Duration::from_secs(60), DEFAULT_CAPACITY, EPHEMERAL);
    let (mut fed, mut told) = (0, 0);
    KNOWLEDGE.with(|knowledge| {
        let knowledge = knowledge.get_or_init(gathered);
        let mut outputs = Vec::new();
        for (second, event) in octets.chunks(EVENT_SIZE).enumerate() {
            let now = Duration::from_secs(second as u64 * 7);
            let Ok(denial) = decode(event, Timestamp::UNIX_EPOCH, |_| None) else {
                continue;
            };
            fed += 1;
            outputs.extend(aggregator.feed(now, denial));
            outputs.extend(aggregator.expire(now));
        }
        outputs.extend(aggregator.flush());
        for output in outputs {
            told += output.count();
            tell(output, knowledge);
        }
    });
    assert_eq!(fed, told, "packets that were decoded, and told of");
}

fn tell(output: Output, knowledge: &Knowledge) {
    let entry = match output {
        Output::Overflow(overflow) => Entry::Overflow(overflow),
        Output::Merged(merged) => Entry::Denied(Box::new(Denied {
            explanation: knowledge.explain(&knowledge.question(&merged, GENERATION)),
            unit: None,
            merged: *merged,
        })),
    };
    let text = entry.text();
    assert!(text.chars().count() <= LONGEST, "{text}");
    assert!(!text.contains('\n'), "{text:?}");
    for (name, value) in entry.journal_fields() {
        assert!(!value.is_empty(), "{name} is empty: {text}");
    }
    let json = entry.json();
    if let Entry::Denied(denied) = &entry {
        let Ok(event) = Event::read(&json) else {
            unreadable(&json);
        };
        let denial = &denied.merged.denial;
        assert_eq!(event.direction, denial.direction, "{json}");
        assert_eq!(event.reason, denial.reason, "{json}");
        assert_eq!(event.source, denial.source, "{json}");
        assert_eq!(event.destination, denial.destination, "{json}");
        knowledge.explain(&event.question(Timestamp::UNIX_EPOCH));
    }
}

#[expect(clippy::panic, reason = "a fuzz target speaks by panicking")]
fn unreadable(json: &serde_json::Value) -> ! {
    panic!("an entry that this version wrote and can't read: {json}")
}
