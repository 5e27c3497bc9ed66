//! What a packet costs on a cable: a flood of random sources that is denied, sender and receiver on one processor.
//!
//! The time is that of both together, the sender's being the same for all. What is beside ours drops the flood as soon as it can: a set of
//! one prefix for nftables' netdev hook, and an allow-list behind conntrack for its input hook, as hosts have it.

use std::time::{Duration, Instant};

use agent_common::flow::FlowTable;
use anyhow::{Context as _, Result, ensure};

use super::Effort;
use super::bare::{self, Bare};
use super::hosts::{
    GUARDED, OPEN, PEER, Pair, QUESTIONS, configuration, counters, guarded, nft, pin_to, pinned,
    segments, statistic,
};
use super::report::{Limit, Measured, Samples};
use crate::daemon::Agent;
use crate::generator::Generator;
use crate::netns::{HELPER_LIMIT, Namespace};
use crate::packet::tcp;
use crate::raw::Sender;

/// What its rows are about.
pub const TITLE: &str = "what a packet of a flood from random sources costs on a veth pair, sender and receiver on one processor";

const ROUNDS: u32 = 9;
/// Turns of each in a round, of which the shortest counts: a neighbour on the same machine, which may stay for seconds, only ever adds.
const TURNS: u32 = 8;
/// Frames that are sent before the clock is looked at.
const FRAMES: u32 = 65_536;
/// Flows that the guarded host has begun.
const FLOWS: u16 = 64_000;

const BARE: &str = "a bare XDP_DROP";
const FILTER: &str = "xdp-filter (tcp,udp,ipv4)";
const NETDEV: &str = "nft netdev ingress, drop by a set";
const INPUT: &str = "nft inet input, stateful";

/// What each peer's time is multiplied by to give ours at most.
const LIMITS: [(&str, f64); 4] = [(BARE, 1.20), (FILTER, 0.90), (NETDEV, 0.50), (INPUT, 0.25)];

/// Something that a flood meets.
struct Subject {
    name: String,
    samples: Samples,
    flooded: Option<Flooded>,
    /// Whether the limits are for it.
    limited: bool,
}

/// Hosts, the flood, and what keeps the guard there.
pub(super) struct Flooded {
    pair: Pair,
    generator: Generator,
    _bare: Option<Bare>,
    _agent: Option<Agent>,
}

impl Flooded {
    /// A guarded host that `guard` guards.
    fn by(
        flags: &str,
        guard: impl FnOnce(&Pair) -> Result<(Option<Bare>, Option<Agent>)>,
    ) -> Result<Self> {
        let pair = Pair::new()?;
        let (bare, agent) = guard(&pair)?;
        let generator = Generator::of(&pair.peer, "eth0", pair.macs, guarded(), flags)?;
        Ok(Self {
            pair,
            generator,
            _bare: bare,
            _agent: agent,
        })
    }

    /// Nanoseconds of a packet.
    fn measure(&self, slice: Duration) -> Result<f64> {
        let host = &self.pair.guarded;
        let seen = || anyhow::Ok((statistic(host, "eth0", "rx_packets")?, segments(host)?));
        let before = seen()?;
        let (sent, time) = flood(&self.pair.peer, &self.generator, 0, slice)?;
        let after = seen()?;
        let (arrived, passed) = (after.0 - before.0, after.1 - before.1);
        ensure!(
            arrived >= sent - sent / 1000,
            "{arrived} of {sent} frames arrived"
        );
        // xdp-filter can't admit a port to some only, so a port of the flood is open there.
        ensure!(
            passed <= sent / 10_000,
            "{passed} of {sent} segments were not dropped"
        );
        Ok(time)
    }
}

/// Floods for so long, on this processor: frames, and nanoseconds of each.
pub(super) fn flood(
    from: &Namespace,
    generator: &Generator,
    processor: usize,
    slice: Duration,
) -> Result<(u64, f64)> {
    from.enter(|| {
        pin_to(processor)?;
        let began = Instant::now();
        let mut sent = 0;
        while sent == 0 || began.elapsed() < slice {
            generator.send(FRAMES)?;
            sent += u64::from(FRAMES);
        }
        anyhow::Ok((sent, generator.nanoseconds()?))
    })?
    .context("the flood")
}

/// Measures all.
///
/// # Errors
/// None: what can't be measured is a row that fails.
pub fn measure(effort: Effort) -> Result<Vec<Measured>> {
    let mut subjects = subjects();
    for round in 0..effort.rounds(ROUNDS) {
        effort.progress("wire", round, ROUNDS);
        let mut turns = vec![Samples::default(); subjects.len()];
        for _ in 0..TURNS {
            for (subject, turns) in subjects.iter().zip(&mut turns) {
                if let Some(flooded) = subject.flooded.as_ref().filter(|_| !turns.failed()) {
                    turns.add(flooded.measure(effort.slice / TURNS));
                }
            }
        }
        for (subject, turns) in subjects.iter_mut().zip(turns) {
            if subject.flooded.is_some() {
                subject.samples.add(turns.into_least());
            }
        }
    }
    Ok(rows(&subjects))
}

fn subjects() -> Vec<Subject> {
    let mut subjects = Vec::new();
    let mut subject = |name: &str, limited: bool, flooded: Result<Flooded>| {
        let mut samples = Samples::default();
        let flooded = flooded
            .with_context(|| format!("preparing {name}"))
            .map_err(|error| samples.add(Err(error)))
            .ok();
        subjects.push(Subject {
            name: name.to_owned(),
            samples,
            flooded,
            limited,
        });
    };
    let bare = |pair: &Pair| {
        let bare = Bare::attach(&pair.guarded, "eth0", bare::DROP)?;
        Ok((Some(bare), None))
    };
    subject(BARE, false, Flooded::by("S", bare));
    subject(FILTER, false, Flooded::by("S", xdp_filter));
    subject(NETDEV, false, Flooded::by("S", netdev));
    subject(INPUT, false, Flooded::by("S", input));
    subject(
        "ours, events read",
        true,
        Flooded::by("S", |pair| ours(pair, "xdp")),
    );
    subject(
        "ours, nobody reads",
        true,
        Flooded::by("S", |pair| alone(pair, false)),
    );
    subject(
        "ours, 64,000 tracked flows",
        true,
        Flooded::by("S", |pair| alone(pair, true)),
    );
    subject(
        "ours, 64,000 tracked flows, ACK segments",
        false,
        Flooded::by("A", |pair| alone(pair, true)),
    );
    subject(
        "ours at hook tc, events read",
        false,
        Flooded::by("S", |pair| ours(pair, "tc")),
    );
    subjects
}

fn rows(subjects: &[Subject]) -> Vec<Measured> {
    let mut rows = Vec::new();
    let peers = || LIMITS.iter().zip(subjects);
    for subject in subjects {
        if LIMITS.iter().any(|(name, _)| *name == subject.name) {
            rows.push(Measured::alone(&*subject.name, "ns", &subject.samples));
            continue;
        }
        for ((peer, limit), found) in peers() {
            let limit = subject.limited.then_some(Limit::Ratio(*limit));
            let peer = (*peer, &found.samples);
            let name = &*subject.name;
            rows.push(Measured::beside(name, "ns", &subject.samples, peer, limit));
        }
    }
    rows
}

/// xdp-filter as a host of its own would run it, with one open port.
fn xdp_filter(pair: &Pair) -> Result<(Option<Bare>, Option<Agent>)> {
    for line in [
        "xdp-filter load -m native -p deny -f tcp,udp,ipv4 eth0".to_owned(),
        format!("xdp-filter port -p tcp -m dst {OPEN}"),
    ] {
        let done = pair.guarded.output(&line, HELPER_LIMIT)?;
        ensure!(
            done.status.success(),
            "`{line}` (Debian's package xdp-tools): {}",
            String::from_utf8_lossy(&done.stderr).trim()
        );
    }
    Ok((None, None))
}

fn netdev(pair: &Pair) -> Result<(Option<Bare>, Option<Agent>)> {
    pair.polled()?;
    let rules = "table netdev filter {
        set blocked { type ipv4_addr; flags interval; elements = { 11.0.0.0/8 } }
        chain ingress {
            type filter hook ingress device \"eth0\" priority 0; policy accept;
            ip saddr @blocked counter drop
        }
    }";
    nft(&pair.guarded, rules)?;
    Ok((None, None))
}

fn input(pair: &Pair) -> Result<(Option<Bare>, Option<Agent>)> {
    pair.polled()?;
    nft(&pair.guarded, &stateful())?;
    Ok((None, None))
}

/// The same allow-list as ours, for nftables: what answers, and the peer at one port, in and out.
pub(super) fn stateful() -> String {
    let chain = |name: &str, from: &str| {
        format!(
            "chain {name} {{
                type filter hook {name} priority 0; policy accept;
                ct state established,related accept
                ip {from} . tcp dport @admitted accept
                counter drop
            }}"
        )
    };
    format!(
        "table inet filter {{
            set admitted {{
                type ipv4_addr . inet_service; flags interval
                elements = {{ {PEER} . {OPEN}, {PEER} . {QUESTIONS}, {PEER} . 22 }}
            }}
            {}
            {}
        }}",
        chain("input", "saddr"),
        chain("output", "daddr")
    )
}

/// The agent as it ships, with its reader and a sink.
fn ours(pair: &Pair, hook: &str) -> Result<(Option<Bare>, Option<Agent>)> {
    if hook == "tc" {
        pair.polled()?;
    }
    let text = configuration(hook, "\"eth0\"", "open", "");
    let agent = Agent::start(&pair.guarded, &text, "json")?;
    Ok((None, Some(agent)))
}

/// What stays when the agent was stopped: its programs, which nobody reads events of.
fn alone(pair: &Pair, flows: bool) -> Result<(Option<Bare>, Option<Agent>)> {
    let text = configuration("xdp", "\"eth0\"", "open", "");
    let mut agent = Agent::start(&pair.guarded, &text, "json")?;
    agent.stop()?;
    if flows {
        begin_flows(pair, FLOWS)?;
    }
    // A flood that meets no program of ours would be the cheapest.
    counters(&pair.guarded)?;
    Ok((None, None))
}

/// The guarded host begins so many flows, each from a port of its own, by frames that leave through the programs.
pub(super) fn begin_flows(pair: &Pair, count: u16) -> Result<()> {
    let sender = Sender::new(&pair.guarded, "eth0")?;
    let macs = crate::packet::Macs {
        from: pair.macs.to,
        to: pair.macs.from,
    };
    for number in 0..count {
        let (from, to) = ((GUARDED.into(), 1_024 + number), (PEER.into(), 80));
        sender.send(&tcp(from, to, "S").frame_between(macs)?)?;
    }
    let entered = pinned(&pair.guarded, |pinned| {
        Ok(pinned.flows(FlowTable::New)?.entries()?.len())
    })?;
    // The table pushes out what is oldest a little before it is full.
    ensure!(
        entered >= usize::from(count) * 9 / 10,
        "{entered} of {count} flows were entered"
    );
    Ok(())
}
