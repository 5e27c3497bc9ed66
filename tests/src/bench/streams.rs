//! What connections cost on a cable: bulk data by iperf3, one octet to and fro, and connections that are opened and closed. Both ends share a
//! processor: what is measured is all the work of both, not how fast one processor wakes another or which of the two is the slower.

use std::time::Duration;

use anyhow::{Context as _, Result};

use super::Effort;
use super::answers::{Answers, answer, connection};
use super::bare::{self, Bare};
use super::bulk::Bulk;
use super::hosts::{OPEN, Pair, configuration, nft};
use super::report::{Limit, Measured, Samples};
use super::wire::stateful;
use crate::daemon::Agent;
use crate::link::wait_listens;
use crate::process::Running;

/// What its rows are about.
pub const TITLE: &str =
    "what a guarded server's connections cost, beside nftables, a bare program and nothing";

const ROUNDS: u32 = 9;

const NOTHING: &str = "nothing";
const STATEFUL: &str = "nft stateful, in and out";
const PASSING: &str = "a bare XDP_PASS";

/// What is measured in a round, and the most that ours may take of its peer's time.
const WHATS: [(What, Option<f64>); 6] = [
    (What::Stream(1), Some(1.03)),
    (What::Stream(4), Some(1.03)),
    (What::Stream(8), None),
    (What::Answer(50), Some(1.03)),
    (What::Answer(99), None),
    (What::Connection, None),
];

#[derive(Clone, Copy, PartialEq)]
enum What {
    /// So many streams at once.
    Stream(u32),
    /// The percentile of an octet's way to and fro.
    Answer(usize),
    /// Opened, asked, answered, closed.
    Connection,
}

impl What {
    fn name(self) -> String {
        match self {
            Self::Stream(1) => "1 TCP stream".to_owned(),
            Self::Stream(count) => format!("{count} TCP streams"),
            Self::Answer(50) => "1-octet question and answer, median".to_owned(),
            Self::Answer(part) => format!("1-octet question and answer, {part} of 100"),
            Self::Connection => "a connection".to_owned(),
        }
    }

    /// Turns of each server in a round. The ratio of two turns of four streams has a standard deviation of 0.16, and still of 0.12 where they
    /// take 160 ms instead of 12, so many short ones know it best: the median of 1,800 pairs, to half a hundredth.
    fn turns(self) -> u32 {
        match self {
            Self::Stream(1 | 4) => 200,
            Self::Stream(_) => 50,
            _ => 12,
        }
    }

    fn unit(self) -> &'static str {
        match self {
            Self::Stream(_) => "us/MB",
            _ => "us",
        }
    }
}

/// A server with a guard.
struct Subject {
    name: &'static str,
    site: Option<Site>,
    samples: Vec<Samples>,
}

struct Site {
    pair: Pair,
    _answers: Answers,
    _iperf: Running,
    _bare: Option<Bare>,
    _agent: Option<Agent>,
}

/// Measures all.
///
/// # Errors
/// None: what can't be measured is a row that fails.
pub fn measure(effort: Effort, only: &str) -> Result<Vec<Measured>> {
    let mut subjects = [
        subject(NOTHING, |_| Ok((None, None))),
        subject(STATEFUL, |pair| {
            nft(&pair.guarded, &stateful())?;
            Ok((None, None))
        }),
        subject("ours, hook tc", |pair| ours(pair, "tc")),
        subject(PASSING, |pair| {
            Ok((Some(Bare::attach(&pair.guarded, "eth0", bare::PASS)?), None))
        }),
        subject("ours, hook xdp", |pair| ours(pair, "xdp")),
    ];
    let wanted = || {
        let whats = WHATS.iter().enumerate();
        whats.filter(|(_, (what, _))| what.name().contains(only))
    };
    for round in 0..effort.rounds(ROUNDS) {
        effort.progress("streams", round, ROUNDS);
        for (at, (what, _)) in wanted() {
            in_turns(&mut subjects, at, *what, effort.slice / what.turns());
        }
    }
    let [nothing, stateful, tc, passing, xdp] = &subjects;
    let mut rows = Vec::new();
    for (at, (what, limit)) in wanted() {
        let mut row = |of: &Subject, peer: Option<&Subject>, limit: Option<f64>| {
            let name = format!("{}: {}", what.name(), of.name);
            let none = Samples::failure("not prepared");
            let samples = of.samples.get(at).unwrap_or(&none);
            rows.push(match peer {
                None => Measured::alone(name, what.unit(), samples),
                Some(peer) => {
                    let beside = (peer.name, peer.samples.get(at).unwrap_or(&none));
                    let limit = limit.map(Limit::Ratio);
                    Measured::beside(name, what.unit(), samples, beside, limit)
                }
            });
        };
        row(nothing, None, None);
        row(stateful, Some(nothing), None);
        row(passing, Some(nothing), None);
        row(tc, Some(stateful), *limit);
        row(tc, Some(nothing), None);
        row(xdp, Some(passing), *limit);
    }
    Ok(rows)
}

type Guard = (Option<Bare>, Option<Agent>);

fn subject(name: &'static str, guard: impl FnOnce(&Pair) -> Result<Guard>) -> Subject {
    let (site, samples) = match Site::new(guard) {
        Ok(site) => (Some(site), vec![Samples::default(); WHATS.len()]),
        Err(error) => {
            let failure = Samples::failure(format!("{error:#}"));
            (None, vec![failure; WHATS.len()])
        }
    };
    Subject {
        name,
        site,
        samples,
    }
}

/// The agent as it ships.
fn ours(pair: &Pair, hook: &str) -> Result<Guard> {
    let text = configuration(hook, "\"eth0\"", "deny", "");
    Ok((None, Some(Agent::start(&pair.guarded, &text, "json")?)))
}

/// A round of one thing for all servers: a turn of each, forth and back, and again. So a server's turn is next to that of its peer, and what
/// drifts meanwhile moves both alike.
fn in_turns(subjects: &mut [Subject], at: usize, what: What, slice: Duration) {
    let mut sites = Vec::new();
    for subject in subjects {
        let Some(samples) = subject.samples.get_mut(at) else {
            continue;
        };
        let Some(site) = subject.site.as_ref().filter(|_| !samples.failed()) else {
            continue;
        };
        match site.turn(what, slice) {
            Ok(turn) => sites.push((turn, samples)),
            Err(error) => samples.add(Err(error.context(what.name()))),
        }
    }
    for number in 0..what.turns() {
        let mut take = |(turn, samples): &mut (Turn<'_>, &mut Samples)| {
            if !samples.failed() {
                samples.add(turn().with_context(|| what.name()));
            }
        };
        if number % 2 == 0 {
            sites.iter_mut().for_each(&mut take);
        } else {
            sites.iter_mut().rev().for_each(&mut take);
        }
    }
}

/// What is measured in a turn.
type Turn<'a> = Box<dyn FnMut() -> Result<f64> + 'a>;

impl Site {
    fn new(guard: impl FnOnce(&Pair) -> Result<Guard>) -> Result<Self> {
        let pair = Pair::new()?;
        let (bare, agent) = guard(&pair)?;
        let answers = Answers::start(&pair.guarded)?;
        let mut iperf = pair.guarded.words(&format!(
            "iperf3 --server --port {OPEN} --logfile /dev/null"
        ));
        let iperf = Running::start(&mut iperf).context("Debian's package iperf3")?;
        wait_listens(&pair.guarded, "tcp", OPEN)?;
        Ok(Self {
            pair,
            _answers: answers,
            _iperf: iperf,
            _bare: bare,
            _agent: agent,
        })
    }

    /// Gets ready to measure.
    fn turn(&self, what: What, slice: Duration) -> Result<Turn<'_>> {
        let pair = &self.pair;
        Ok(match what {
            What::Stream(count) => {
                let bulk = Bulk::begin(pair, count)?;
                Box::new(move || bulk.turn())
            }
            What::Answer(part) => Box::new(move || answer(pair, slice, part)),
            What::Connection => Box::new(move || connection(pair, slice)),
        })
    }
}
