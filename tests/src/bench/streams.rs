//! What connections cost on a cable: bulk data by iperf3, one octet to and fro, and connections that are opened and closed. Both ends share a
//! processor: what is measured is all the work of both, not how fast one processor wakes another or which of the two is the slower.
//!
//! Questions and answers are this program's own, over plain TCP sockets.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use nix::sys::socket::{setsockopt, sockopt};

use super::Effort;
use super::bare::{self, Bare};
use super::hosts::{GUARDED, OPEN, Pair, QUESTIONS, configuration, nft, pin_to, segments};
use super::report::{Limit, Measured, Samples};
use super::wire::stateful;
use crate::daemon::Agent;
use crate::link::wait_listens;
use crate::netns::Namespace;
use crate::process::Running;

/// What its rows are about.
pub const TITLE: &str =
    "what a guarded server's connections cost, beside nftables, a bare program and nothing";

const ROUNDS: u32 = 9;
const LIMIT: Duration = Duration::from_secs(15);

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
pub fn measure(effort: Effort) -> Result<Vec<Measured>> {
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
    for round in 0..effort.rounds(ROUNDS) {
        effort.progress("streams", round, ROUNDS);
        for (at, (what, _)) in WHATS.iter().enumerate() {
            for subject in &mut subjects {
                subject.measure(at, *what, effort.slice);
            }
        }
    }
    let [nothing, stateful, tc, passing, xdp] = &subjects;
    let mut rows = Vec::new();
    for (at, (what, limit)) in WHATS.iter().enumerate() {
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

impl Subject {
    fn measure(&mut self, at: usize, what: What, slice: Duration) {
        let (Some(site), Some(samples)) = (&self.site, self.samples.get_mut(at)) else {
            return;
        };
        if samples.failed() {
            return;
        }
        let sample = match what {
            What::Stream(count) => site.stream(count),
            What::Answer(part) => site.answer(slice, part),
            What::Connection => site.connection(slice),
        };
        samples.add(sample.with_context(|| what.name()));
    }
}

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

    /// Microseconds of a megabyte that is sent to the server.
    fn stream(&self, count: u32) -> Result<f64> {
        let line = format!(
            "iperf3 --client {GUARDED} --port {OPEN} --time 1 --parallel {count} --affinity 0,0 --json --connect-timeout 3000"
        );
        let output = self.pair.peer.output(&line, LIMIT)?;
        let said: serde_json::Value = serde_json::from_slice(&output.stdout)?;
        ensure!(output.status.success(), "iperf3: {}", said["error"]);
        let rate = said["end"]["sum_received"]["bits_per_second"].as_f64();
        let rate = rate.filter(|rate| *rate > 0.0).context("iperf3: no rate")?;
        Ok(8e12 / rate)
    }

    /// A percentile of the microseconds until an octet comes back.
    fn answer(&self, slice: Duration, part: usize) -> Result<f64> {
        let before = segments(&self.pair.guarded)?;
        let mut times = self.pair.peer.enter(|| {
            pin_to(0)?;
            let mut stream = connect()?;
            let (mut times, mut octet) = (Vec::new(), [0]);
            let began = Instant::now();
            while times.is_empty() || began.elapsed() < slice {
                let moment = Instant::now();
                stream.write_all(b"?")?;
                stream.read_exact(&mut octet)?;
                times.push(moment.elapsed().as_nanos() as f64 / 1e3);
            }
            anyhow::Ok(times)
        })??;
        let arrived = segments(&self.pair.guarded)? - before;
        ensure!(
            arrived >= times.len() as u64,
            "{arrived} segments of {} questions",
            times.len()
        );
        times.sort_by(f64::total_cmp);
        let at = (times.len() * part / 100).min(times.len() - 1);
        times.get(at).copied().context("no answers")
    }

    /// Microseconds of a connection, with a question and its answer.
    fn connection(&self, slice: Duration) -> Result<f64> {
        self.pair.peer.enter(|| {
            pin_to(0)?;
            let began = Instant::now();
            let mut times = Vec::new();
            while times.is_empty() || began.elapsed() < slice {
                let moment = Instant::now();
                let mut stream = connect()?;
                stream.write_all(b"?")?;
                stream.read_exact(&mut [0])?;
                // Reset: else ports would run out, each waiting for a minute.
                let reset = libc::linger {
                    l_onoff: 1,
                    l_linger: 0,
                };
                setsockopt(&stream, sockopt::Linger, &reset)?;
                drop(stream);
                times.push(moment.elapsed().as_nanos() as f64 / 1e3);
            }
            Ok(super::report::median(&times))
        })?
    }
}

fn connect() -> Result<TcpStream> {
    let to = SocketAddr::from((GUARDED, QUESTIONS));
    let stream = TcpStream::connect_timeout(&to, LIMIT)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(LIMIT))?;
    Ok(stream)
}

/// A server that sends each octet back; it ends when this value goes.
struct Answers {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Answers {
    fn start(host: &Namespace) -> Result<Self> {
        let listener = host.enter(|| TcpListener::bind((GUARDED, QUESTIONS)))??;
        let stop = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&stop);
        listener.set_nonblocking(true)?;
        let thread = thread::spawn(move || serve(&listener, &ended));
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for Answers {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A server that panicked has answered nothing, which the rows say.
            let _ = thread.join();
        }
    }
}

/// One client after the other.
fn serve(listener: &TcpListener, ended: &AtomicBool) {
    // Where there is no such processor the client says so.
    let _ = pin_to(0);
    while !ended.load(Ordering::Relaxed) {
        if !crate::service::readable(listener) {
            continue;
        }
        match listener.accept() {
            Ok((client, _)) => answer(client),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
    }
}

/// Until the client goes, which it does by a reset.
fn answer(mut client: TcpStream) {
    let (mut octet, limit) = ([0], Some(LIMIT));
    let ready = client.set_nonblocking(false).is_ok() && client.set_nodelay(true).is_ok();
    if !ready || client.set_read_timeout(limit).is_err() {
        return;
    }
    while client.read_exact(&mut octet).is_ok() && client.write_all(&octet).is_ok() {}
}
