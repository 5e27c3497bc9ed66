//! `packets.toml` through the decision in memory and through the programs in the kernel.

use portcullis_tests::rows::memory::InMemory;
use portcullis_tests::rows::{Row, Rows, World};

#[test]
fn the_file_is_whole() {
    let findings = Rows::read().unwrap().findings();
    assert!(findings.is_empty(), "{}", findings.join("\n"));
}

#[track_caller]
fn check(world: &mut impl World, which: impl Fn(&Row) -> bool) {
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
