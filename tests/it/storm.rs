//! The highest rate of denied packets that this machine can make, from random sources, beside an honest host and legitimate traffic.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use agent_common::event::Direction;
use agent_common::verdict::Reason;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::{Pid, SysconfVar, sysconf};
use portcullis::dataplane::Counters;
use portcullis_tests::daemon::{Agent, portcullis_json, repository};
use portcullis_tests::generator::Generator;
use portcullis_tests::journald::{Entry, Journald, field};
use portcullis_tests::link::{cable, mac};
use portcullis_tests::netns::Namespace;
use portcullis_tests::packet::{Macs, tcp};
use portcullis_tests::process::wait_for;
use portcullis_tests::raw::Sender;
use portcullis_tests::service::{Services, ask_tcp};

use crate::site::{LIMIT, configuration, counters, denied, pinned, settled};

/// How long an attempt of the honest host may take into the journal.
const LATENCY: Duration = Duration::from_secs(2);
/// Resident memory of the agent at most, in KiB.
const MEMORY: u64 = 64 * 1024;
/// Processor time of the agent at most, in hundredths of a core.
const PROCESSOR: f64 = 20.0;
/// Frames that are sent before the clock is looked at.
const FRAMES: u32 = 65_536;

const HONEST: &str = "10.88.1.6";
const CLIENT: &str = "10.88.1.5/24";

/// A server between a flood on `eth0` and an office on `eth1`.
struct Host {
    server: Namespace,
    flood: Namespace,
    office: Namespace,
}

impl Host {
    #[track_caller]
    fn new() -> Self {
        let host = |name| {
            let host = Namespace::new(name).unwrap();
            // Nobody says anything by himself: each packet on the cables is one of ours.
            host.sysctl("net/ipv6/conf/all/disable_ipv6", "1").unwrap();
            host.sysctl("net/ipv6/conf/default/disable_ipv6", "1")
                .unwrap();
            host
        };
        let (server, flood, office) = (host("server"), host("flood"), host("office"));
        cable(
            (&server, "eth0", &["10.88.0.1/24"]),
            (&flood, "eth0", &["10.88.0.2/24"]),
        )
        .unwrap();
        cable(
            (&server, "eth1", &["10.88.1.1/24"]),
            (&office, "eth1", &[CLIENT]),
        )
        .unwrap();
        Self {
            server,
            flood,
            office,
        }
    }

    /// What all three cable ends have sent: the server's, and what the others offered less what their interfaces dropped.
    fn sent(&self) -> u64 {
        let ends = [
            (&self.flood, "eth0"),
            (&self.office, "eth1"),
            (&self.server, "eth0"),
            (&self.server, "eth1"),
        ];
        ends.into_iter()
            .map(|(host, interface)| statistic(host, interface, "tx_packets"))
            .sum()
    }
}

#[track_caller]
fn statistic(host: &Namespace, interface: &str, name: &str) -> u64 {
    let path = format!("/sys/class/net/{interface}/statistics/{name}");
    host.read(&path).unwrap().trim().parse().unwrap()
}

#[track_caller]
fn macs(from: (&Namespace, &str), to: (&Namespace, &str)) -> Macs {
    Macs {
        from: mac(from.0, from.1).unwrap(),
        to: mac(to.0, to.1).unwrap(),
    }
}

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap()
}

/// Seconds of processor time that a process has used.
#[track_caller]
fn processor(id: u32) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap();
    // Behind the name, which may hold anything: state is the third field, utime and stime the 14th and 15th (proc(5)).
    let (_, fields) = text.rsplit_once(')').unwrap();
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let ticks: u64 = [11, 12]
        .into_iter()
        .map(|at| fields[at].parse::<u64>().unwrap())
        .sum();
    let a_second = sysconf(SysconfVar::CLK_TCK).unwrap().unwrap();
    ticks as f64 / a_second as f64
}

/// The most resident memory that a process ever had, in KiB.
#[track_caller]
fn most_memory(id: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.unwrap()
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .unwrap()
}

/// What the flood's thread has to say.
struct Flooded {
    frames: u64,
    took: Duration,
}

/// Floods until it is told to end, on the first CPU: the agent may have the others, and must do with its share of this one.
fn flood(host: &Namespace, generator: &Generator, end: &AtomicBool) -> Flooded {
    host.enter(|| {
        let mut first = CpuSet::new();
        first.set(0).unwrap();
        sched_setaffinity(Pid::from_raw(0), &first).unwrap();
        let began = Instant::now();
        let mut frames = 0;
        while !end.load(Ordering::Relaxed) {
            generator.send(FRAMES).unwrap();
            frames += u64::from(FRAMES);
        }
        Flooded {
            frames,
            took: began.elapsed(),
        }
    })
    .unwrap()
}

/// Fetches again and again; how often, and how long the slowest took. Each must succeed.
fn fetch(office: &Namespace, end: &AtomicBool) -> (u64, Duration) {
    let to = SocketAddr::from(([10, 88, 1, 1], 443));
    let (mut fetched, mut slowest) = (0, Duration::ZERO);
    while !end.load(Ordering::Relaxed) {
        let began = Instant::now();
        let answer = ask_tcp(office, to, LIMIT).unwrap();
        assert!(
            answer.is_some(),
            "legitimate traffic: no answer to fetch {fetched}"
        );
        slowest = slowest.max(began.elapsed());
        fetched += 1;
        thread::sleep(Duration::from_millis(20));
    }
    (fetched, slowest)
}

/// One undocumented attempt a second, each to another port; the moment of each.
fn attempt(host: &Host, seconds: u16) -> BTreeMap<u16, Duration> {
    let sender = Sender::new(&host.office, "eth1").unwrap();
    let macs = macs((&host.office, "eth1"), (&host.server, "eth1"));
    let (from, to): (IpAddr, IpAddr) = (HONEST.parse().unwrap(), [10, 88, 1, 1].into());
    let began = Instant::now();
    (0..seconds)
        .map(|second| {
            let next = began + Duration::from_secs(second.into());
            thread::sleep(next.saturating_duration_since(Instant::now()));
            let port = 30_000 + second;
            let frame = tcp((from, 50_000), (to, port), "S")
                .frame_between(macs)
                .unwrap();
            let moment = now();
            sender.send(&frame).unwrap();
            (port, moment)
        })
        .collect()
}

/// When journald took an entry.
fn taken(entry: &Entry) -> Duration {
    let microseconds = field(entry, "__REALTIME_TIMESTAMP")
        .unwrap()
        .parse()
        .unwrap();
    Duration::from_micros(microseconds)
}

fn count(entry: &Entry) -> u64 {
    field(entry, "PORTCULLIS_COUNT").map_or(0, |count| count.parse().unwrap())
}

/// The most entries in any window of the unit's LogRateLimitIntervalSec=, and its LogRateLimitBurst=.
#[track_caller]
fn fullest_window(entries: &[Entry]) -> (usize, usize) {
    let unit = std::fs::read_to_string(repository("agent/dist/portcullis.service")).unwrap();
    let key = |name: &str| {
        let line = unit.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap().trim_end_matches('s').parse::<u64>().unwrap()
    };
    let window = Duration::from_secs(key("LogRateLimitIntervalSec="));
    let times: Vec<Duration> = entries.iter().map(taken).collect();
    let most = times.iter().enumerate().map(|(at, time)| {
        let before = times[..=at].iter().rev();
        before
            .take_while(|earlier| **earlier + window > *time)
            .count()
    });
    (most.max().unwrap_or(0), key("LogRateLimitBurst=") as usize)
}

/// Sums of denied packets: by reason, and by the rule that came nearest (with those that none came near).
#[track_caller]
fn sums(host: &Namespace, counters: &Counters) -> (u64, u64) {
    let is_denial = |reason: &Reason| *reason as u8 >= Reason::NoRule as u8;
    let by_reason = counters
        .reasons
        .iter()
        .filter(|(_, reason, _)| is_denial(reason));
    let by_reason = by_reason.map(|(_, _, count)| count).sum();
    let by_rule = pinned(host, |pinned| {
        let bank = pinned.switch().unwrap().active();
        let rules = pinned.sizes().rules as usize - 1;
        let counters = pinned.rule_counters(bank, rules).unwrap();
        counters.iter().map(|counter| counter.near).sum()
    });
    (by_reason, by_rule)
}

#[track_caller]
fn check(seconds: u16) {
    let host = Host::new();
    let server = &host.server;
    let journald =
        Journald::start_with(server, "RateLimitIntervalSec=30s\nRateLimitBurst=10000").unwrap();
    let mut services = Services::new();
    services.tcp(server, 443, "legitimate").unwrap();
    let text = configuration("xdp", "deny", "").replace("[\"eth0\"]", "[\"eth0\", \"eth1\"]");
    let before_attach = host.sent();
    let mut agent = Agent::start(server, &text, "journal").unwrap();
    assert_eq!(
        before_attach,
        host.sent(),
        "packets on the cables before they were guarded"
    );

    let flooder = macs((&host.flood, "eth0"), (server, "eth0"));
    let generator = Generator::new(&host.flood, "eth0", flooder, [10, 88, 0, 1].into()).unwrap();
    let (used, began) = (processor(agent.id()), Instant::now());
    let end = AtomicBool::new(false);
    let (flooded, (fetched, slowest), attempts) = thread::scope(|scope| {
        let flooding = scope.spawn(|| flood(&host.flood, &generator, &end));
        let fetching = scope.spawn(|| fetch(&host.office, &end));
        let attempting = scope.spawn(|| attempt(&host, seconds));
        let attempts = attempting.join();
        end.store(true, Ordering::Relaxed);
        (
            flooding.join().unwrap(),
            fetching.join().unwrap(),
            attempts.unwrap(),
        )
    });
    let took = began.elapsed();
    let used = (processor(agent.id()) - used) / took.as_secs_f64() * 100.0;
    settled("denied packets", || denied(&counters(server)));
    let memory = most_memory(agent.id());
    agent.stop().unwrap();

    // The balance, to the packet.
    let after = counters(server);
    let status = portcullis_json(server, &["status", "--json"]).unwrap();
    let number = |key: &str| status["counters"][key].as_u64().unwrap();
    let dropped = statistic(&host.flood, "eth0", "tx_dropped");
    let arrived = statistic(&host.flood, "eth0", "tx_packets");
    let rate = flooded.frames as f64 / flooded.took.as_secs_f64();
    let entries = journald.entries(&["SYSLOG_IDENTIFIER=portcullis"]).unwrap();
    let (fullest, burst) = fullest_window(&entries);
    eprintln!(
        "{seconds} s: {:.2} M frames a second were made, {dropped} of {} dropped by the interface; {} denied: {} reported, {} suppressed, {} lost; \
         {} journal entries, at most {fullest} in 30 s; agent: {used:.1} % of a core, {memory} KiB; {fetched} fetches, the slowest in {slowest:?}",
        rate / 1e6,
        flooded.frames,
        denied(&after),
        after.balance.reported,
        after.balance.suppressed,
        after.balance.lost,
        entries.len(),
    );
    assert_eq!(arrived + dropped, flooded.frames, "frames of the flood");
    let denied_out: u64 = after
        .reasons
        .iter()
        .filter(|(way, reason, _)| {
            *way == Direction::Egress && *reason as u8 >= Reason::NoRule as u8
        })
        .map(|(_, _, count)| count)
        .sum();
    assert_eq!(
        host.sent() - before_attach + denied_out,
        number("passed") + number("audited") + number("denied"),
        "packets on the cables, and what became of them: {status}"
    );
    assert_eq!(number("denied"), denied(&after));
    assert!(
        number("denied") >= arrived + u64::from(seconds),
        "the flood was not denied"
    );
    let (by_reason, by_rule) = sums(server, &after);
    assert_eq!(by_reason, number("denied"), "by reason: {after:?}");
    assert_eq!(by_rule, number("denied"), "by rule");
    assert!(
        after.balance.suppressed > 0,
        "no flood: no budget was used up"
    );

    // What was reported is in the journal, and the journal was not flooded.
    let told = wait_for("the journal to add up", LIMIT, || {
        let entries = journald.entries(&["SYSLOG_IDENTIFIER=portcullis"])?;
        let told: u64 = entries.iter().map(count).sum();
        Ok((told >= after.balance.reported).then_some(told))
    });
    assert_eq!(
        told.unwrap(),
        after.balance.reported,
        "packets in the journal, and reported"
    );
    assert!(
        fullest < burst,
        "{fullest} entries in 30 s; journald takes {burst}"
    );
    let refused = journald.entries(&["_TRANSPORT=driver"]).unwrap();
    for entry in refused {
        let message = field(&entry, "MESSAGE").unwrap_or_default();
        assert!(!message.starts_with("Suppressed"), "journald: {message}");
    }

    // Each attempt of the honest host, in time.
    for (port, sent) in &attempts {
        let entry = entries.iter().find(|entry| {
            field(entry, "PORTCULLIS_SRC") == Some(HONEST)
                && field(entry, "PORTCULLIS_DST_PORT") == Some(&port.to_string())
        });
        let entry = entry.unwrap_or_else(|| panic!("no entry about port {port}"));
        let latency = taken(entry).saturating_sub(*sent);
        assert!(
            latency < LATENCY,
            "port {port}: in the journal after {latency:?}"
        );
    }
    assert_eq!(attempts.len(), usize::from(seconds));
    assert!(
        fetched > u64::from(seconds),
        "{fetched} fetches in {seconds} s"
    );
    assert!(memory < MEMORY, "{memory} KiB of resident memory");
    assert!(used < PROCESSOR, "{used:.1} % of a core");
    journald.stop().unwrap();
}

mod alone {
    use super::check;

    #[test]
    fn a_flood_silences_and_loses_nothing() {
        check(5);
    }

    #[test]
    #[ignore = "a minute: `cargo xtask test --long` runs it"]
    fn a_flood_of_a_minute_silences_and_loses_nothing() {
        check(60);
    }
}
