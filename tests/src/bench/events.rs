//! What it costs to tell of a denial: in the program, and on from there to the journal and to JSON lines.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use agent_common::event::Direction;
use agent_common::switch::Switch;
use anyhow::{Context as _, Result, ensure};
use nix::unistd::{SysconfVar, sysconf};
use portcullis::compile::{Settings, compile};
use portcullis::dataplane::testrun::Entry;
use portcullis::dataplane::{BankSizes, Dataplane, Options};
use portcullis::events::ring::Ring;
use portcullis::host::schema::Budgets;
use portcullis::rule::Peers;

use super::hosts::{GUARDED, Pair, configuration, counters};
use super::policy::{admits, closed, facts};
use super::report::{Limit, Measured, Samples, median};
use super::rival::{FEATURES, XdpFilter};
use super::rows::Rows;
use super::{Effort, Subject, on_a_host};
use crate::daemon::{CONFIGURATION, binary};
use crate::journald::{Journald, field};
use crate::netns::Namespace;
use crate::notify::Notify;
use crate::packet::{Macs, tcp};
use crate::process::{Running, wait_for};
use crate::raw::Sender;

/// What its rows are about.
pub const TITLE: &str = "what it costs to tell of a denial, in the program and on to the sinks";

const ROUNDS: u32 = 9;
/// Denials in one go: the ring holds them all.
const BURST: u32 = 2_048;
const BURSTS: u32 = 40;
/// The most that the configuration takes.
const MOST: u32 = 1_000_000;

/// Denials a second that are tried one after the other, each for so long, until something is lost.
const RATES: [u32; 7] = [2_000, 4_000, 8_000, 16_000, 32_000, 64_000, 128_000];
const LONG: Duration = Duration::from_secs(1);
const LIMIT: Duration = Duration::from_secs(60);

/// Measures all.
///
/// # Errors
/// Where a throw-away host can't be made.
pub fn measure(effort: Effort, subject: Subject<'_>) -> Result<Vec<Measured>> {
    let told = on_a_host(|| told(effort, subject))?;
    let mut rows = vec![
        Measured::alone("denied and suppressed, test run", "ns", &told.suppressed),
        Measured::alone("denied and reported, test run", "ns", &told.reported),
        // 45 ns where xdp-filter denies in 45 ns: a limit in nanoseconds would be one for the machine.
        Measured::beside(
            "an event: the difference",
            "ns",
            &told.more,
            ("xdp-filter, denied", &told.filter),
            Some(Limit::Ratio(1.0)),
        ),
    ];
    for sink in ["json", "journal"] {
        let (mut rate, mut cost) = (Samples::default(), Samples::default());
        for round in 0..effort.rounds(1) {
            effort.progress(&format!("events to {sink}"), round, 1);
            match carried(sink) {
                Ok(best) => {
                    rate.add(Ok(best.rate));
                    cost.add(Ok(best.cost));
                }
                Err(error) => {
                    cost.add(Err(anyhow::anyhow!("{error:#}")));
                    rate.add(Err(error));
                }
            }
        }
        let name = format!("denials carried to {sink}, nothing lost");
        rows.push(Measured::alone(name, "/s", &rate));
        let name = format!("processor time of a denial carried to {sink}");
        rows.push(Measured::alone(name, "us", &cost));
    }
    Ok(rows)
}

/// Programs that deny, and their reader.
struct Denying {
    dataplane: Dataplane,
    ring: Ring,
    frame: Vec<u8>,
}

impl Denying {
    /// With a budget of so many events a second.
    fn new(object: &[u8], name: &str, events: u32) -> Result<Self> {
        let options = Options {
            root: PathBuf::from("/sys/fs/bpf").join(name),
            ..Options::default()
        };
        let budgets = Budgets {
            peer: events,
            all: events,
        };
        let settings = Settings {
            strangers: budgets,
            acquaintances: budgets,
            ..Settings::default()
        };
        let rules = closed(vec![admits(0, Direction::Ingress, 9, Peers::Any)]);
        let tables =
            compile(&rules, &facts(), &settings).map_err(|errors| anyhow::anyhow!("{errors:?}"))?;
        let sizes = BankSizes::of(&tables).with_room();
        let mut dataplane = Dataplane::load(object, sizes, &options)?;
        dataplane.write(0, &tables, 1)?;
        dataplane.switch_to(Switch::to(0, 0, 1))?;
        let ring = Ring::from(dataplane.events()?);
        let from = (IpAddr::V4(Ipv4Addr::new(11, 1, 2, 3)), 40_000);
        let frame = tcp(from, (GUARDED.into(), 443), "S").frame()?;
        Ok(Self {
            dataplane,
            ring,
            frame,
        })
    }

    /// Nanoseconds of a denial of a burst; the events are read afterwards.
    fn burst(&mut self) -> Result<f64> {
        let ran = self
            .dataplane
            .test_run(Entry::XdpIngress, &self.frame, &[], BURST)?;
        ensure!(!ran.passed, "the packet passed");
        self.ring.drain(BURST as usize, |_| {});
        Ok(ran.nanoseconds as f64)
    }
}

/// Nanoseconds of a denial.
#[derive(Default)]
struct Told {
    reported: Samples,
    suppressed: Samples,
    /// What the first takes more than the second.
    more: Samples,
    filter: Samples,
}

/// The same denial with an event and without, and by xdp-filter, in turns.
fn told(effort: Effort, subject: Subject<'_>) -> Result<Told> {
    let rival = XdpFilter::start(FEATURES)?;
    let denied = Rows::denied()?;
    let mut both = [
        Denying::new(subject.object, "reported", MOST)?,
        Denying::new(subject.object, "suppressed", 1)?,
    ];
    let mut told = Told::default();
    for round in 0..effort.rounds(ROUNDS) {
        effort.progress("events", round, ROUNDS);
        let mut times = [Vec::new(), Vec::new(), Vec::new()];
        let before = [balance(&both[0])?, balance(&both[1])?];
        for _ in 0..BURSTS {
            for (denying, times) in both.iter_mut().zip(&mut times) {
                times.push(denying.burst()?);
            }
            times[2].push(rival.test_run(&denied, false, BURST)?);
        }
        let all = u64::from(BURST * BURSTS);
        let [reported, suppressed] = [balance(&both[0])?, balance(&both[1])?];
        let (sent, lost) = (reported.0 - before[0].0, reported.2 - before[0].2);
        ensure!(sent == all && lost == 0, "{sent} of {all} were reported");
        let silent = suppressed.1 - before[1].1;
        ensure!(silent + 10 >= all, "{silent} of {all} were suppressed");
        let [reported, suppressed, filter] = times.map(|times| median(&times));
        told.reported.add(Ok(reported));
        told.suppressed.add(Ok(suppressed));
        told.more.add(Ok(reported - suppressed));
        told.filter.add(Ok(filter));
    }
    Ok(told)
}

/// Reported, suppressed, lost.
fn balance(denying: &Denying) -> Result<(u64, u64, u64)> {
    let balance = denying.dataplane.counters()?.balance;
    Ok((balance.reported, balance.suppressed, balance.lost))
}

/// The highest rate of which nothing was lost.
struct Best {
    rate: f64,
    cost: f64,
}

fn carried(sink: &str) -> Result<Best> {
    let mut best = None;
    for rate in RATES {
        match attempt(sink, rate) {
            Ok(found) => best = Some(found),
            Err(error) if best.is_none() => return Err(error),
            Err(error) => {
                eprintln!("events to {sink}: at {rate} a second: {error:#}");
                break;
            }
        }
    }
    best.context("no rate was tried")
}

/// Denials at this rate for a while, each by another peer at another port, through the agent as it ships into a sink; an error where one is
/// missing there.
fn attempt(sink: &str, rate: u32) -> Result<Best> {
    const FILE: &str = "/run/events";
    let pair = Pair::new()?;
    let host = &pair.guarded;
    let journald = (sink == "journal")
        .then(|| Journald::start(host))
        .transpose()?;
    let budget = format!("{{ peer = {MOST}, all = {MOST} }}");
    let more =
        format!("[events]\nwindow = \"1s\"\nacquaintances = {budget}\nstrangers = {budget}\n");
    host.write(
        CONFIGURATION,
        &configuration("xdp", "\"eth0\"", "deny", &more),
    )?;
    let mut notify = Notify::new(host, "portcullis")?;
    let mut command = host.command("sh");
    let agent = binary()?;
    command
        .args(["-c", &format!("exec \"$0\" run --sink {sink} > {FILE}")])
        .arg(agent)
        .env("NOTIFY_SOCKET", notify.path());
    let mut running = Running::start(&mut command)?;
    let log = running.error_lines();
    notify.wait("READY=1", &mut running, LIMIT)?;

    let before = counters(host)?.balance;
    let used = processor(running.id())?;
    let began = Instant::now();
    let sent = send(&pair, rate)?;
    let balance = wait_for("all denials", Duration::from_secs(5), || {
        let now = counters(host)?.balance;
        let denied = |it: &agent_common::tables::Balance| it.reported + it.suppressed + it.lost;
        Ok((denied(&now) - denied(&before) >= sent).then_some(now))
    })?;
    let lost = balance.lost - before.lost;
    let suppressed = balance.suppressed - before.suppressed;
    ensure!(
        lost == 0 && suppressed == 0,
        "of {sent} denials {lost} found no room in the ring, {suppressed} no budget"
    );
    // What is in the agent's hands goes on to the sink when it ends.
    running.signal(nix::sys::signal::SIGTERM)?;
    let told = wait_for("all denials in the sink", LIMIT, || {
        // Ended, but not yet asked for its exit code: its times still stand.
        let used = processor(running.id())?;
        Ok(is_gone(running.id())?.then_some(used))
    })?;
    let took = began.elapsed();
    drop(log);
    running.wait(LIMIT)?;
    let arrived = match &journald {
        Some(journald) => in_journal(journald)?,
        None => in_file(host, FILE)?,
    };
    ensure!(arrived >= sent, "{arrived} of {sent} denials arrived");
    Ok(Best {
        rate: sent as f64 / took.as_secs_f64(),
        cost: (told - used) * 1e6 / sent as f64,
    })
}

/// Sends evenly, a thousandth of the rate each millisecond; how many.
fn send(pair: &Pair, rate: u32) -> Result<u64> {
    let sender = Sender::new(&pair.peer, "eth0")?;
    let Macs { from, to } = pair.macs;
    let source = (IpAddr::V4(Ipv4Addr::new(11, 0, 0, 1)), 40_000);
    let packet = tcp(source, (GUARDED.into(), 443), "S");
    let mut frame = packet.frame_between(Macs { from, to })?;
    let began = Instant::now();
    let mut sent = 0_u32;
    while began.elapsed() < LONG {
        let due = (began.elapsed().as_secs_f64() * f64::from(rate)) as u32;
        while sent < due {
            // Denied before anyone looks at a checksum.
            let [_, b, c, d] = sent.to_be_bytes();
            let ports = sent.wrapping_mul(0x9e37_79b9).to_be_bytes();
            frame[26..30].copy_from_slice(&[11, b, c, d]);
            frame[34..38].copy_from_slice(&[ports[0] | 0x80, ports[1], ports[2] | 0x40, ports[3]]);
            sender.send(&frame)?;
            sent += 1;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(sent.into())
}

fn in_file(host: &Namespace, path: &str) -> Result<u64> {
    let mut arrived = 0;
    for line in host.read(path)?.lines() {
        let event: serde_json::Value = serde_json::from_str(line)?;
        arrived += event["count"].as_u64().unwrap_or(0);
    }
    Ok(arrived)
}

fn in_journal(journald: &Journald<'_>) -> Result<u64> {
    let entries = journald.entries(&["PORTCULLIS_VERDICT=deny"])?;
    let counts = entries
        .iter()
        .filter_map(|entry| field(entry, "PORTCULLIS_COUNT")?.parse::<u64>().ok());
    Ok(counts.sum())
}

/// The fields of /proc/ID/stat behind the name, which may hold anything (proc(5)).
fn stat(id: u32) -> Result<Vec<String>> {
    let text = std::fs::read_to_string(format!("/proc/{id}/stat"))?;
    let (_, fields) = text.rsplit_once(')').context("/proc/ID/stat")?;
    Ok(fields.split_whitespace().map(str::to_owned).collect())
}

/// Seconds of processor time that a process has used: utime and stime, the 14th and 15th field.
fn processor(id: u32) -> Result<f64> {
    let fields = stat(id)?;
    let ticks = |at: usize| fields.get(at).and_then(|it| it.parse::<u64>().ok());
    let ticks = ticks(11).zip(ticks(12)).context("/proc/ID/stat")?;
    let a_second = sysconf(SysconfVar::CLK_TCK)?.context("ticks a second")?;
    Ok((ticks.0 + ticks.1) as f64 / a_second as f64)
}

/// Whether a process has ended and only its exit code is left.
fn is_gone(id: u32) -> Result<bool> {
    Ok(stat(id)?.first().is_some_and(|state| state == "Z"))
}
