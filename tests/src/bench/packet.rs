//! What a packet costs: the shipped programs by BPF_PROG_TEST_RUN, beside xdp-filter, or beside themselves with a smaller policy.
//!
//! A row and what it is compared with take turns within a round, a few milliseconds each: a processor that changes its speed, or another
//! process on it, meets both.

use anyhow::{Context as _, Result};

use super::report::{Measured, Samples};
use super::rows::{Against, Rows};
use super::{Effort, Subject, rival};

/// What its rows are about.
pub const TITLE: &str = "what a packet costs, by test runs";

/// The peer's name in the table.
const FILTER: &str = "xdp-filter, denied";

/// Turns in a round.
const TURNS: u32 = 10;

/// Measures every row of every round.
///
/// # Errors
/// Where a program can't be loaded. One that does not give the verdict that its row says is a row that fails: a wrong program's time is no figure.
pub fn measure(effort: Effort, subject: Subject<'_>) -> Result<Vec<Measured>> {
    let rival = rival::XdpFilter::start(rival::FEATURES)?;
    let denied = Rows::denied()?;
    let filter = |repeat| rival.test_run(&denied, false, repeat);
    let mut rows = Rows::load(subject.object, subject.only)?;
    let rounds = effort.rounds(9);
    let mut samples = vec![(Samples::default(), Samples::default()); rows.rows.len()];
    for round in 0..rounds {
        effort.progress("packet", round, 9);
        for (number, (ours, peer)) in samples.iter_mut().enumerate() {
            let against = rows.rows.get(number).map(|row| row.against.clone());
            let other = match against.context("no such row")? {
                Against::Row(name) => Some(rows.named(&name).context("compared with no row")?),
                Against::Filter => None,
            };
            let (mut time, mut against) = (0.0, 0.0);
            let mut turn = || {
                let repeat = (effort.repeat / TURNS).max(1);
                against += match other {
                    Some(other) => rows.time(other, repeat)?,
                    None => filter(repeat)?,
                };
                time += rows.time(number, repeat)?;
                anyhow::Ok(())
            };
            let taken = (0..TURNS).try_for_each(|_| turn());
            ours.add(taken.map(|()| time / f64::from(TURNS)));
            peer.add(Ok(against / f64::from(TURNS)));
        }
    }
    let measured = rows.rows.iter().zip(&samples);
    let measured = measured.map(|(row, (ours, peer))| {
        let against = match &row.against {
            Against::Row(name) => name,
            Against::Filter => FILTER,
        };
        Measured::beside(row.name.clone(), "ns", ours, (against, peer), row.limit)
    });
    Ok(measured.collect())
}
