//! What a packet costs: the shipped programs by BPF_PROG_TEST_RUN, beside xdp-filter on the same packets.

use anyhow::{Context as _, Result};

use super::report::{Limit, Measured, Samples};
use super::{Effort, Subject, rival, rows};

/// What its rows are about.
pub const TITLE: &str =
    "what a packet costs, by test runs, beside xdp-filter (features tcp, udp, ipv4)";

/// Measures every row of every round.
///
/// # Errors
/// Where a program can't be loaded or run, or does not give the verdict that its row says: a wrong program's time is no figure.
pub fn measure(effort: Effort, subject: Subject<'_>) -> Result<Vec<Measured>> {
    let rival = rival::XdpFilter::start()?;
    let mut rows = rows::all(&rival, subject)?;
    let mut times = vec![Samples::default(); rows.len()];
    for round in 0..effort.rounds(9) {
        effort.progress("packet", round, 9);
        for (row, times) in rows.iter_mut().zip(&mut times) {
            times.add(row.measure(effort.repeat));
        }
    }
    let rival = times.first().cloned().context("no rows")?;
    Ok(rows
        .iter()
        .zip(&times)
        .map(|(row, times)| {
            let (name, limit) = (row.name.clone(), row.limit.map(Limit::Ratio));
            Measured::beside(name, "ns", times, ("xdp-filter, denied", &rival), limit)
        })
        .collect())
}
