//! Random policies and random, malformed, related packets: the programs in the kernel decide as the decision in memory does, and as the
//! list of rules says, packet by packet, with all that each has written before.
//!
//! A failure prints its seed and the fewest packets that show it, as a row to keep.

use portcullis::dataplane::testrun::Entry;
use portcullis_tests::differential::{Sequence, Worlds};
use portcullis_tests::netns::Namespace;
use portcullis_tests::rows::Rows;
use portcullis_tests::rows::kernel::InKernel;
use portcullis_tests::rows::memory::InMemory;
use portcullis_tests::rows::reference::InReference;

/// Packets of a sequence, half of them under each of two policies.
const PACKETS: usize = 1000;

#[track_caller]
fn check(ingress: Entry, from: u64, packets: usize) {
    let host = Namespace::new("differential").unwrap();
    host.enter(|| {
        let mut rows = Rows::read().unwrap();
        let mut kernel = InKernel::load(ingress).unwrap();
        let sequences = (packets / PACKETS) as u64;
        println!("{ingress:?}: seeds {from} to {}", from + sequences - 1);
        for seed in from..from + sequences {
            let sequence = Sequence::of(seed, &mut rows, PACKETS);
            let mut worlds = Worlds {
                kernel: &mut kernel,
                memory: InMemory::default(),
                reference: InReference::default(),
            };
            let difference = sequence.run(&rows, &mut worlds);
            match difference {
                Ok(None) => {}
                Ok(Some(text)) => panic!("{text}"),
                Err(error) => panic!("seed {seed}: {error:#}"),
            }
            sequence.forget(&mut rows);
        }
    })
    .unwrap();
}

#[test]
fn kernel_memory_and_rules_agree_at_xdp() {
    check(Entry::XdpIngress, 1, 150_000);
}

#[test]
fn kernel_memory_and_rules_agree_at_tc() {
    check(Entry::TcIngress, 100_001, 150_000);
}

#[test]
#[ignore = "ten million packets: `cargo xtask test --long` runs it"]
fn kernel_memory_and_rules_agree_for_long_at_xdp() {
    check(Entry::XdpIngress, 200_001, 5_000_000);
}

#[test]
#[ignore = "ten million packets: `cargo xtask test --long` runs it"]
fn kernel_memory_and_rules_agree_for_long_at_tc() {
    check(Entry::TcIngress, 300_001, 5_000_000);
}
