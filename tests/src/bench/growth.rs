//! How cost grows: with rules, with prefixes, with flows, with processors.
//!
//! A packet's time by test runs: of one packet with hot caches, which shows what the tables ask for, and of every flow's in turn; and on two
//! cables with a processor for each, which shows what processors share.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use agent_common::event::Direction;
use anyhow::{Context as _, Result, ensure};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use portcullis::dataplane::testrun::Entry;
use portcullis::rule::{Peers, Rule};

use super::hosts::{Pair, configuration, guarded};
use super::loaded::{HOST, InForce, Loaded, PEER, Sent};
use super::policy::{admits, prefixes};
use super::report::{Chart, Limit, Line, Measured, Samples};
use super::varied::Vary;
use super::wire::flood;
use super::{Effort, Subject, on_a_host};
use crate::daemon::Agent;
use crate::generator::Generator;
use crate::packet::tcp;

/// What its rows are about.
pub const TITLE: &str = "how the cost of a packet grows with rules, prefixes, flows and processors";

const ROUNDS: u32 = 7;
const PEER6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x1234, 0x5678, 0, 0, 0, 9);
const HOST6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
const SERVICE: u16 = 443;

/// Ports and prefixes with a rule for each of both, in two shapes: few ports with many prefixes, many ports with few.
const RULES: [(&str, [(u16, u32); 4]); 2] = [
    (
        "many prefixes a port",
        [(5, 2), (25, 40), (100, 100), (254, 256)],
    ),
    (
        "many ports a prefix",
        [(5, 2), (100, 10), (1_000, 10), (4_000, 16)],
    ),
];
/// What a policy of this size may cost more than the smallest one.
const FLAT: f64 = 1.10;
const PREFIXES: [u32; 5] = [1, 100, 1_000, 10_000, 100_000];
const FLOWS: [u16; 4] = [1, 1_000, 10_000, 60_000];
/// The first port of this host's flows.
const FIRST: u16 = 1_024;

/// Something that grows: the same packet over policies or tables of several sizes.
struct Growth {
    name: String,
    /// What the size counts.
    of: &'static str,
    limit: Option<f64>,
    sizes: Vec<(u32, Size)>,
}

/// Programs with a policy, and the packet.
struct Size {
    loaded: Loaded,
    sent: Sent,
    samples: Samples,
}

impl Size {
    fn new(object: &[u8], name: &str, policy: InForce, sent: Sent) -> Result<Self> {
        Ok(Self {
            loaded: Loaded::new(object, name, policy).with_context(|| name.to_owned())?,
            sent,
            samples: Samples::default(),
        })
    }
}

fn sent(frame: Vec<u8>, passes: bool) -> Sent {
    Sent {
        frame,
        passes,
        entry: Entry::XdpIngress,
        vary: None,
    }
}

/// Measures all: rows, and a chart of them.
///
/// # Errors
/// Where a throw-away host can't be made, or a policy not be loaded.
pub fn measure(effort: Effort, subject: Subject<'_>) -> Result<(Vec<Measured>, Vec<Chart>)> {
    let (mut rows, mut lines) = on_a_host(|| sizes(effort, subject.object))?;
    let (more, line) = processors(effort);
    rows.extend(more);
    lines.push(line);
    let chart = Chart {
        name: "growth",
        title: "nanoseconds of a packet, by what there is of rules, prefixes, flows, processors"
            .to_owned(),
        x: "how many",
        y: "ns",
        lines,
    };
    Ok((rows, vec![chart]))
}

fn sizes(effort: Effort, object: &[u8]) -> Result<(Vec<Measured>, Vec<Line>)> {
    // A group at a time: all tables at once would be gigabytes.
    let mut made: Vec<Box<dyn FnOnce() -> Result<Growth> + '_>> = Vec::new();
    for (shape, sizes) in RULES {
        for admitted in [false, true] {
            made.push(Box::new(move || of_rules(object, shape, &sizes, admitted)));
        }
    }
    made.push(Box::new(|| of_prefixes(object, false)));
    made.push(Box::new(|| of_prefixes(object, true)));
    made.push(Box::new(|| of_flows(object)));
    let (mut rows, mut lines) = (Vec::new(), Vec::new());
    for make in made {
        let mut growth = make()?;
        for round in 0..effort.rounds(ROUNDS) {
            effort.progress(&format!("growth, {}", growth.name), round, ROUNDS);
            growth.measure(effort.repeat / 4);
        }
        rows.extend(growth.rows());
        lines.push(growth.line());
    }
    Ok((rows, lines))
}

impl Growth {
    /// A round: each size in short turns. A machine that changes its speed does so for all.
    fn measure(&mut self, repeat: u32) {
        const TURNS: u32 = 20;
        for _ in 0..TURNS {
            for (_, size) in &mut self.sizes {
                if !size.samples.failed() {
                    let time = size.loaded.time(&size.sent, repeat / TURNS + 1);
                    size.samples.add(time);
                }
            }
        }
    }

    /// Each size beside the smallest.
    fn rows(&self) -> Vec<Measured> {
        let first = self.sizes.first();
        let rows = self.sizes.iter().enumerate().map(|(at, (size, loaded))| {
            let name = format!("{}, {size} {}", self.name, self.of);
            match first {
                Some((least, smallest)) if at > 0 => {
                    let against = format!("{least} {}", self.of);
                    let peer = (&*against, &smallest.samples);
                    let limit = self.limit.map(Limit::Ratio);
                    Measured::beside(name, "ns", &loaded.samples, peer, limit)
                }
                _ => Measured::alone(name, "ns", &loaded.samples),
            }
        });
        rows.collect()
    }

    fn line(&self) -> Line {
        let points = self.sizes.iter();
        let points = points.map(|(size, loaded)| (f64::from(*size), loaded.samples.median()));
        Line {
            name: format!("{}: {}", self.of, self.name),
            points: points.collect(),
        }
    }
}

/// A directory of pins for each policy of the part.
fn pins(growth: &str, size: usize) -> String {
    let name: String = growth.chars().filter(char::is_ascii_alphanumeric).collect();
    format!("{name}{size}")
}

fn of_rules(object: &[u8], shape: &str, sizes: &[(u16, u32)], admitted: bool) -> Result<Growth> {
    let name = if admitted { "allowed" } else { "closed port" };
    let name = format!("{name}, {shape}");
    let loaded = sizes.iter().map(|&(ports, prefixes)| {
        let each = (0..ports).flat_map(|port| (0..prefixes).map(move |prefix| (port, prefix)));
        let rules = each.enumerate().map(|(number, (port, prefix))| {
            let net = Ipv4Net::new_assert((11 << 24 | prefix << 16).into(), 16);
            let peers = Peers::Prefixes(vec![IpNet::V4(net)]);
            admits(number, Direction::Ingress, 1_000 + 2 * port, peers)
        });
        // The second of the prefixes, at the last of the ports or the one behind it.
        let to = 1_000 + 2 * (ports - 1) + u16::from(!admitted);
        let frame = tcp((PEER.into(), 40_000), (HOST.into(), to), "S").frame()?;
        let rules: Vec<Rule> = rules.collect();
        let count = rules.len();
        let pins = pins(&name, count);
        let loaded = Size::new(object, &pins, InForce::only(rules), sent(frame, admitted))?;
        anyhow::Ok((u32::try_from(count)?, loaded))
    });
    let sizes = loaded.collect::<Result<_>>()?;
    Ok(Growth {
        name,
        of: "rules",
        limit: Some(FLAT),
        sizes,
    })
}

fn of_prefixes(object: &[u8], v6: bool) -> Result<Growth> {
    let name = if v6 { "allowed, IPv6" } else { "allowed, IPv4" };
    let (peer, host): (IpAddr, IpAddr) = if v6 {
        (PEER6.into(), HOST6.into())
    } else {
        (PEER.into(), HOST.into())
    };
    let own = if v6 {
        IpNet::V6(Ipv6Net::new_assert(PEER6, 128))
    } else {
        IpNet::V4(Ipv4Net::new_assert(PEER, 32))
    };
    let frame = tcp((peer, 40_000), (host, SERVICE), "S").frame()?;
    let loaded = PREFIXES.iter().map(|&count| {
        let mut peers = prefixes(count - 1, v6);
        peers.push(own);
        let peers = Peers::Prefixes(peers);
        let rules = vec![admits(0, Direction::Ingress, SERVICE, peers)];
        let pins = pins(name, count as usize);
        Ok((
            count,
            Size::new(
                object,
                &pins,
                InForce::only(rules),
                sent(frame.clone(), true),
            )?,
        ))
    });
    Ok(Growth {
        name: name.to_owned(),
        of: "prefixes",
        limit: None,
        sizes: loaded.collect::<Result<_>>()?,
    })
}

/// Replies of all flows in turn, which asks more of the caches the more there are.
fn of_flows(object: &[u8]) -> Result<Growth> {
    let frame = tcp((PEER.into(), SERVICE), (HOST.into(), FIRST), "A").frame()?;
    let loaded = FLOWS.iter().map(|&count| {
        let policy = InForce {
            flows: FIRST..FIRST + count,
            ..InForce::only(vec![admits(0, Direction::Egress, SERVICE, Peers::Any)])
        };
        let sent = Sent {
            vary: Some(Vary::Ports {
                first: FIRST,
                count,
            }),
            ..sent(frame.clone(), true)
        };
        let size = Size::new(object, &pins("flows", count.into()), policy, sent)?;
        Ok((u32::from(count), size))
    });
    Ok(Growth {
        name: "replies of tracked flows in turn".to_owned(),
        of: "flows",
        limit: None,
        sizes: loaded.collect::<Result<_>>()?,
    })
}

/// A denied flood on one cable, and on two with a processor for each: a packet's time on its processor.
fn processors(effort: Effort) -> (Vec<Measured>, Line) {
    let (mut one, mut two) = (Samples::default(), Samples::default());
    match Cables::new() {
        Ok(cables) => {
            for round in 0..effort.rounds(ROUNDS) {
                effort.progress("growth, processors", round, ROUNDS);
                one.add(cables.flooded(1, effort.slice));
                two.add(cables.flooded(2, effort.slice));
            }
        }
        Err(error) => {
            one = Samples::failure(format!("{error:#}"));
            two = one.clone();
        }
    }
    let line = Line {
        name: "processors: denied flood on a cable".to_owned(),
        points: vec![(1.0, one.median()), (2.0, two.median())],
    };
    let name = |count| format!("denied flood on a cable, {count} processors");
    let rows = vec![
        Measured::alone(name(1), "ns", &one),
        Measured::beside(name(2), "ns", &two, ("1 processor", &one), None),
    ];
    (rows, line)
}

/// A guarded host on two cables.
struct Cables {
    pair: Pair,
    generators: [Generator; 2],
    _agent: Agent,
}

impl Cables {
    fn new() -> Result<Self> {
        let processors = thread::available_parallelism().map_or(1, usize::from);
        ensure!(processors >= 2, "this machine has one processor");
        let pair = Pair::new()?;
        let ends = [Ipv4Addr::new(10, 9, 1, 1), Ipv4Addr::new(10, 9, 1, 2)];
        pair.plug("eth1", ends[0], ends[1])?;
        let text = configuration("xdp", "\"eth0\", \"eth1\"", "deny", "");
        let agent = Agent::start(&pair.guarded, &text, "json")?;
        let generator = |interface: &str| {
            let macs = pair.macs_of(interface)?;
            Generator::new(&pair.peer, interface, macs, guarded())
        };
        let generators = [generator("eth0")?, generator("eth1")?];
        Ok(Self {
            pair,
            generators,
            _agent: agent,
        })
    }

    /// Nanoseconds of a packet, of the slower cable.
    fn flooded(&self, count: usize, slice: Duration) -> Result<f64> {
        let (begin, peer) = (Barrier::new(count), &self.pair.peer);
        let times: Vec<Result<(u64, f64)>> = thread::scope(|scope| {
            let floods = self.generators.iter().take(count).enumerate();
            let floods: Vec<_> = floods
                .map(|(processor, generator)| {
                    let begin = &begin;
                    scope.spawn(move || {
                        begin.wait();
                        flood(peer, generator, processor, slice)
                    })
                })
                .collect();
            let ended = floods.into_iter().map(|flood| flood.join());
            ended
                .map(|ended| ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
                .collect()
        });
        let mut slowest: f64 = 0.0;
        for time in times {
            slowest = slowest.max(time?.1);
        }
        Ok(slowest)
    }
}
