//! What a packet costs: the shipped programs by BPF_PROG_TEST_RUN, beside xdp-filter on the same packets.
//!
//! Figures of one run on one machine, medians of interleaved rounds: absolute times mean little elsewhere, ratios do.

pub mod policy;
pub mod report;
pub mod rival;
pub mod rows;

use anyhow::Result;

use report::Measured;

use crate::netns::Namespace;

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Rounds; each measures every row once.
    pub rounds: u32,
    /// Test runs of a row in a round.
    pub repeat: u32,
}

impl Default for Effort {
    fn default() -> Self {
        Self {
            rounds: 9,
            repeat: 1_000_000,
        }
    }
}

/// What is measured.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The BPF object.
    pub object: &'a [u8],
    /// Only rows whose name has this in it.
    pub only: &'a str,
}

/// Measures every row of every round.
///
/// # Errors
/// Where a program can't be loaded or run, or does not give the verdict that its row says: a wrong program's time is no figure.
pub fn run(
    effort: Effort,
    subject: Subject<'_>,
    progress: impl FnMut(u32) + Send,
) -> Result<Vec<Measured>> {
    // A host of its own has a BPF file system of its own: nothing stays, also after Ctrl-C.
    Namespace::new("bench")?.enter(|| measure(effort, subject, progress))?
}

fn measure(
    effort: Effort,
    subject: Subject<'_>,
    mut progress: impl FnMut(u32),
) -> Result<Vec<Measured>> {
    let rival = rival::XdpFilter::start()?;
    let mut rows = rows::all(&rival, subject)?;
    let mut times = vec![Vec::new(); rows.len()];
    for round in 0..effort.rounds {
        progress(round);
        for (row, times) in rows.iter_mut().zip(&mut times) {
            times.push(row.measure(effort.repeat)?);
        }
    }
    Ok(rows
        .iter()
        .zip(times)
        .map(|(row, times)| Measured::new(row.name.clone(), row.limit, times))
        .collect())
}
