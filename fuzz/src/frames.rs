//! Frames of anyone: the short way and the long way through the decision, and the list of rules over what another parser read, agree.

use std::cell::RefCell;

use agent_common::event::Direction;
use portcullis_tests::rows::memory::InMemory;
use portcullis_tests::rows::reference::InReference;
use portcullis_tests::rows::{Rows, World as _};

/// Policies of the tests' rows, by the number that an input says. Their order is part of the kept cases.
const POLICIES: [&str; 8] = [
    "closed",
    "closed-without-https",
    "bare",
    "open-out",
    "open",
    "audit",
    "router",
    "learning",
];

struct Worlds {
    rows: Rows,
    /// Keeps what it has compiled.
    memory: InMemory,
}

thread_local! {
    static WORLDS: RefCell<Option<Worlds>> = const { RefCell::new(None) };
}

/// A policy (its place in the list above), then packets: an octet that says which way (bit 7: egress), and whether the next policy takes
/// over first (bit 6); an octet that says how many follow; those.
///
/// # Panics
///
/// Where the tests' rows can't be read, and where the worlds differ.
pub fn frames(octets: &[u8]) {
    let Some((&first, mut rest)) = octets.split_first() else {
        return;
    };
    WORLDS.with_borrow_mut(|worlds| {
        let Worlds { rows, memory } = worlds.get_or_insert_with(|| Worlds {
            rows: whole(Rows::read()),
            memory: InMemory::default(),
        });
        let mut policy = usize::from(first) % POLICIES.len();
        let mut reference = InReference::default();
        whole(memory.begin(rows, POLICIES[policy]));
        whole(reference.begin(rows, POLICIES[policy]));
        while let [head, length, more @ ..] = rest {
            let (frame, others) = more.split_at(usize::from(*length).min(more.len()));
            rest = others;
            if head & 0x40 != 0 {
                policy = (policy + 1) % POLICIES.len();
                whole(memory.switch(rows, POLICIES[policy]));
                whole(reference.switch(rows, POLICIES[policy]));
            }
            let direction = if head & 0x80 == 0 {
                Direction::Ingress
            } else {
                Direction::Egress
            };
            let decided = whole(memory.judge(direction, frame));
            let wanted = whole(reference.all(direction, frame));
            assert!(
                wanted.contains(&decided),
                "{}: decided {decided:?}, by the rules {wanted:?}; {direction:?}: {frame:02x?}",
                POLICIES[policy]
            );
        }
    });
}

/// A world that can't be asked is a fault, too.
#[expect(clippy::panic, reason = "a fuzz target speaks by panicking")]
fn whole<T>(result: anyhow::Result<T>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => panic!("{error:#}"),
    }
}
