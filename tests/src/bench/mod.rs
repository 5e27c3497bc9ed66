//! What this costs, beside what one would take instead: packets, streams, changes, events, and how all that grows.
//!
//! Figures of one run on one machine, in rounds that measure everything in turn: absolute times mean little elsewhere, ratios do. Each part
//! lives on throw-away hosts, which are gone with this process, however it ends.

pub mod answers;
pub mod bare;
pub mod bulk;
pub mod chart;
pub mod control;
mod described;
pub mod events;
pub mod growth;
pub mod hosts;
pub mod loaded;
pub mod packet;
pub mod policy;
pub mod report;
pub mod rival;
pub mod rows;
pub mod streams;
pub mod varied;
pub mod wire;

use std::time::Duration;

use anyhow::Result;
use clap::ValueEnum;

use report::{Chart, Measured, Samples, Section};

use crate::netns::Namespace;

/// A part of the bench.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Part {
    /// What a packet costs, by test runs.
    Packet,
    /// What a packet of a flood costs on a cable.
    Wire,
    /// What connections cost on a cable.
    Streams,
    /// What a change of policy and a start cost.
    Control,
    /// What it costs to tell of a denial.
    Events,
    /// How all that grows.
    Growth,
}

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Rounds; each measures every row once. `None`: as many as suit the part.
    pub rounds: Option<u32>,
    /// Test runs of a row in a round.
    pub repeat: u32,
    /// How long a row is measured in a round, where it is not test runs.
    pub slice: Duration,
}

impl Default for Effort {
    fn default() -> Self {
        Self {
            rounds: None,
            repeat: 1_000_000,
            slice: Duration::from_millis(500),
        }
    }
}

impl Effort {
    /// Rounds of a part that suit it, unless the operator said how many.
    pub fn rounds(self, suits: u32) -> u32 {
        self.rounds.unwrap_or(suits)
    }

    /// Says on standard error which round begins.
    pub fn progress(self, part: &str, round: u32, suits: u32) {
        eprintln!("{part}: round {} of {}", round + 1, self.rounds(suits));
    }
}

/// What is measured.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The BPF object.
    pub object: &'a [u8],
    /// Only rows whose name has this in it, of those by test runs and of those of connections.
    pub only: &'a str,
}

/// Measures a part. What can't be measured is a row that fails.
pub fn run(part: Part, effort: Effort, subject: Subject<'_>) -> Section {
    let (title, measured) = match part {
        // A host of its own has a BPF file system of its own: nothing stays, also after Ctrl-C.
        Part::Packet => (
            packet::TITLE,
            only_rows(on_a_host(|| packet::measure(effort, subject))),
        ),
        Part::Wire => (wire::TITLE, only_rows(wire::measure(effort))),
        Part::Streams => (
            streams::TITLE,
            only_rows(streams::measure(effort, subject.only)),
        ),
        Part::Control => (control::TITLE, only_rows(control::measure(effort, subject))),
        Part::Events => (events::TITLE, only_rows(events::measure(effort, subject))),
        Part::Growth => (growth::TITLE, growth::measure(effort, subject)),
    };
    let name = part
        .to_possible_value()
        .map_or_else(String::new, |value| value.get_name().to_owned());
    let (rows, charts) = measured.unwrap_or_else(|error| {
        let failure = Samples::failure(format!("{error:#}"));
        let row = Measured::alone("the whole part", "-", &failure);
        (vec![row], Vec::new())
    });
    Section {
        name,
        title,
        rows,
        charts,
    }
}

fn only_rows(rows: Result<Vec<Measured>>) -> Result<(Vec<Measured>, Vec<Chart>)> {
    rows.map(|rows| (rows, Vec::new()))
}

fn on_a_host<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    Namespace::new("bench")?.enter(work)?
}
