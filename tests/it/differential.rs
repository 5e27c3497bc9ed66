//! Random policies and random, malformed, related packets: the programs in the kernel decide as the decision in memory does, and as the
//! list of rules says, packet by packet, with all that each has written before.
//!
//! A failure prints its seed and the fewest packets that show it, as a row to keep.

use portcullis::dataplane::testrun::Entry;
use portcullis_tests::differential::{Sequence, Worlds};
use portcullis_tests::netns::Namespace;
use portcullis_tests::rows::kernel::InKernel;
use portcullis_tests::rows::memory::InMemory;
use portcullis_tests::rows::reference::InReference;
use portcullis_tests::rows::{Does, Rows};

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
                reference_rows: None,
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

/// A rule that one of the three worlds does not know is found, and told of as a row that can be kept.
#[test]
fn a_difference_is_found_and_told_in_few_packets() {
    let host = Namespace::new("differential").unwrap();
    host.enter(|| {
        let mut rows = Rows::read().unwrap();
        let mut kernel = InKernel::load(Entry::XdpIngress).unwrap();
        let sequence = Sequence::of(1, &mut rows, PACKETS);
        // The same rows but for one: what no rule names is audited there.
        let mut others = Rows::read().unwrap();
        Sequence::of(1, &mut others, PACKETS);
        for name in sequence.policies() {
            let policy = others.policies.get_mut(name).unwrap();
            policy.ingress = match policy.ingress {
                Some(Does::Deny) => Some(Does::Audit),
                _ => Some(Does::Deny),
            };
        }
        let mut worlds = Worlds {
            kernel: &mut kernel,
            memory: InMemory::default(),
            reference: InReference::default(),
            reference_rows: Some(&others),
        };
        let told = sequence.run(&rows, &mut worlds).unwrap();
        let told = told.expect("a difference");
        let (said, kept) = told.split_once("as a row to keep").expect("a row to keep");
        assert!(said.starts_with("seed 1: kernel "), "{told}");
        let kept = kept.split_once('\n').unwrap().1;
        let kept: toml::Table = kept.parse().unwrap();
        let row = kept["row"].as_array().unwrap()[0].as_table().unwrap();
        let before = row
            .get("before")
            .map_or(0, |it| it.as_array().unwrap().len());
        assert!(before < 4, "{before} packets before it: {told}");
    })
    .unwrap();
}
