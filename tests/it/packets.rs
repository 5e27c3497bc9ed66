//! `packets.toml` through the decision in memory and through the programs in the kernel.

use portcullis::dataplane::testrun::Entry;
use portcullis_tests::netns::Namespace;
use portcullis_tests::rows::kernel::InKernel;
use portcullis_tests::rows::memory::InMemory;
use portcullis_tests::rows::reference::InReference;
use portcullis_tests::rows::{Row, Rows, World};

#[test]
fn the_file_is_whole() {
    let findings = Rows::read().unwrap().findings();
    assert!(findings.is_empty(), "{}", findings.join("\n"));
}

/// Runs rows, and expects of each what it says.
#[track_caller]
pub(crate) fn check(world: &mut impl World, which: impl Fn(&Row) -> bool) {
    let rows = Rows::read().unwrap();
    let mut wrong = Vec::new();
    let mut ran = 0;
    for row in rows.row.iter().filter(|row| which(row)) {
        ran += 1;
        match row.run(&rows, world) {
            Ok(None) => {}
            Ok(Some(seen)) => wrong.push(format!("{}: {seen}", row.name)),
            Err(error) => wrong.push(format!("{}: {error:#}", row.name)),
        }
    }
    assert!(ran > 0, "no row ran");
    assert!(wrong.is_empty(), "of {ran} rows:\n{}", wrong.join("\n"));
}

#[test]
fn in_memory() {
    check(&mut InMemory::default(), |_| true);
}

/// The list of rules, gone through one by one.
#[test]
fn in_the_rules() {
    check(&mut InReference::default(), |row| row.seconds == 0);
}

/// The programs, with XDP or TC at ingress.
#[track_caller]
fn check_kernel(ingress: Entry) {
    let host = Namespace::new("rows").unwrap();
    host.enter(|| {
        let mut world = InKernel::load(ingress).unwrap();
        let at_tc = ingress == Entry::TcIngress;
        check(&mut world, |row| {
            row.not_in_kernel.is_none() && (row.not_at_tc.is_none() || !at_tc)
        });
    })
    .unwrap();
}

#[test]
fn in_kernel_with_xdp() {
    check_kernel(Entry::XdpIngress);
}

#[test]
fn in_kernel_with_tc() {
    check_kernel(Entry::TcIngress);
}
