//! What a packet costs: the shipped programs by BPF_PROG_TEST_RUN, beside xdp-filter, or beside themselves with a smaller policy.
//!
//! A row and what it is compared with take turns within a round, a few milliseconds each: a processor that changes its speed, or another
//! process on it, meets both.

use anyhow::{Context as _, Result};

use super::bare::Floor;
use super::report::{Measured, Samples};
use super::rival::{ALL_FEATURES, FEATURES, XdpFilter};
use super::rows::{Against, Rows};
use super::{Effort, Subject};

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
    let rival = XdpFilter::start(FEATURES)?;
    let denied = Rows::denied()?;
    let filter = |repeat| rival.test_run(&denied, false, repeat);
    let others = others()?;
    let mut of_others = vec![(Samples::default(), Samples::default()); others.len()];
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
            let turn = |repeat| {
                let against = match other {
                    Some(other) => rows.time(other, repeat)?,
                    None => filter(repeat)?,
                };
                Ok((against, rows.time(number, repeat)?))
            };
            in_turns(effort, turn, (ours, peer));
        }
        for ((_, time), (theirs, peer)) in others.iter().zip(&mut of_others) {
            let turn = |repeat| Ok((filter(repeat)?, time(repeat)?));
            in_turns(effort, turn, (theirs, peer));
        }
    }
    let beside = others.iter().zip(&of_others);
    let beside = beside.map(|((name, _), (theirs, peer))| {
        Measured::beside(name.clone(), "ns", theirs, (FILTER, peer), None)
    });
    let measured = rows.rows.iter().zip(&samples);
    let measured = measured.map(|(row, (ours, peer))| {
        let against = match &row.against {
            Against::Row(name) => name,
            Against::Filter => FILTER,
        };
        Measured::beside(row.name.clone(), "ns", ours, (against, peer), row.limit)
    });
    Ok(beside.chain(measured).collect())
}

/// A round of a row and of what it is compared with.
fn in_turns(
    effort: Effort,
    mut turn: impl FnMut(u32) -> Result<(f64, f64)>,
    (ours, peer): (&mut Samples, &mut Samples),
) {
    let repeat = (effort.repeat / TURNS).max(1);
    let (mut time, mut against) = (0.0, 0.0);
    let taken = (0..TURNS).try_for_each(|_| {
        let taken = turn(repeat)?;
        against += taken.0;
        time += taken.1;
        Ok(())
    });
    ours.add(taken.map(|()| time / f64::from(TURNS)));
    peer.add(Ok(against / f64::from(TURNS)));
}

/// Something else on the same packets: its name, and the mean time of so many.
type Other = (String, Box<dyn Fn(u32) -> Result<f64>>);

/// xdp-filter in its other ways, and the least that a filter can be.
fn others() -> Result<Vec<Other>> {
    let (denied, allowed) = (Rows::denied()?, XdpFilter::allowed()?);
    let frame = denied.clone();
    let floor = Floor::new()?;
    let mut others: Vec<Other> = vec![(
        "parses and drops, nothing else".to_owned(),
        Box::new(move |repeat| floor.time(&frame, repeat)),
    )];
    for (features, said) in [(FEATURES, FEATURES), (ALL_FEATURES, "all features")] {
        for (frame, passes, what) in [(&denied, false, "denied"), (&allowed, true, "allowed")] {
            if features == FEATURES && !passes {
                continue;
            }
            let (filter, frame) = (XdpFilter::start(features)?, frame.clone());
            others.push((
                format!("xdp-filter ({said}), {what}"),
                Box::new(move |repeat| filter.test_run(&frame, passes, repeat)),
            ));
        }
    }
    Ok(others)
}
