//! What a change costs: from rules to a policy in force, beside `nft -f` of the same; what a start takes, and how much memory.
//!
//! A change is what the daemon does at a reload once it has read the files: compile, wait until nobody reads the idle bank, write it, read it
//! back, switch. nftables gets the same as one set of prefixes and ports, which is its fastest, in one transaction by a process of its own.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use agent_common::event::Direction;
use agent_common::switch::Switch;
use agent_common::tables::POLICY_BANKS;
use anyhow::{Context as _, Result, ensure};
use ipnet::{IpNet, Ipv4Net};
use portcullis::compile::{Settings, compile};
use portcullis::dataplane::{BankSizes, DEFAULT_ROOT, Dataplane, Options};
use portcullis::rule::{Peers, RuleSet};

use super::hosts::{Pair, configuration};
use super::policy::{admits, closed, facts};
use super::report::{Limit, Measured, Samples};
use super::{Effort, Subject};
use crate::daemon::Agent;
use crate::netns::Namespace;

/// What its rows are about.
pub const TITLE: &str =
    "what a change of policy costs, beside `nft -f` of the same; starts; memory";

const ROUNDS: u32 = 7;
/// A transaction of nft, a start of the agent.
const LIMIT: Duration = Duration::from_secs(60);

/// Ports and prefixes of a policy that has a rule for each of both.
#[derive(Clone, Copy)]
struct Shape {
    ports: u16,
    prefixes: u16,
    limit: Option<f64>,
}

const SHAPES: [Shape; 4] = [
    Shape {
        ports: 5,
        prefixes: 2,
        limit: None,
    },
    Shape {
        ports: 25,
        prefixes: 40,
        limit: None,
    },
    Shape {
        ports: 100,
        prefixes: 100,
        limit: Some(0.5),
    },
    Shape {
        ports: 254,
        prefixes: 256,
        limit: Some(0.5),
    },
];

impl Shape {
    fn rules(self) -> usize {
        usize::from(self.ports) * usize::from(self.prefixes)
    }

    fn ports(self) -> impl Iterator<Item = u16> {
        // Not next to each other: no two share a range.
        (0..self.ports).map(|port| 1_000 + 2 * port)
    }

    /// Of the 256 that 11.0.0.0/8 is cut into.
    fn prefixes(self) -> impl Iterator<Item = Ipv4Net> {
        (0..u32::from(self.prefixes))
            .map(|number| Ipv4Net::new_assert((11 << 24 | number << 16).into(), 16))
    }

    fn policy(self) -> RuleSet {
        let each = self
            .ports()
            .flat_map(|port| self.prefixes().map(move |prefix| (port, prefix)));
        let rules = each.enumerate().map(|(number, (port, prefix))| {
            let peers = Peers::Prefixes(vec![IpNet::V4(prefix)]);
            admits(number, Direction::Ingress, port, peers)
        });
        closed(rules.collect())
    }

    /// The same for nftables: away with the table that is there, and the new one, in one transaction.
    fn nft(self) -> String {
        let mut elements = String::new();
        for port in self.ports() {
            for prefix in self.prefixes() {
                let _ = writeln!(elements, "{prefix} . {port},");
            }
        }
        format!(
            "table inet filter\ndelete table inet filter\ntable inet filter {{
                set admitted {{
                    type ipv4_addr . inet_service; flags interval
                    elements = {{ {elements} }}
                }}
                chain input {{
                    type filter hook input priority 0; policy drop;
                    ct state established,related accept
                    ip saddr . tcp dport @admitted accept
                }}
            }}"
        )
    }

    /// The same as an operator writes it, into drop-ins: a file has a limit.
    fn drop_ins(self) -> Vec<String> {
        const EACH: usize = 10_000;
        let mut files = vec![String::new(); self.rules().div_ceil(EACH)];
        let each = self
            .ports()
            .flat_map(|port| self.prefixes().map(move |prefix| (port, prefix)));
        for (number, (port, prefix)) in each.enumerate() {
            if let Some(file) = files.get_mut(number / EACH) {
                let _ = write!(
                    file,
                    "[allow.n{number}]\ndirection = \"ingress\"\ntcp = [{port}]\npeers = \"{prefix}\"\nreason = \"what is measured\"\n"
                );
            }
        }
        files
    }
}

/// Measures all.
///
/// # Errors
/// Where a throw-away host can't be made.
pub fn measure(effort: Effort, subject: Subject<'_>) -> Result<Vec<Measured>> {
    let mut rows = changes(effort, subject)?;
    rows.extend(lives(effort)?);
    Ok(rows)
}

fn changes(effort: Effort, subject: Subject<'_>) -> Result<Vec<Measured>> {
    let (host, rival) = (Namespace::new("bench")?, Namespace::new("rival")?);
    let mut samples = vec![(Samples::default(), Samples::default()); SHAPES.len()];
    host.enter(|| {
        let changed = SHAPES.map(|shape| Changed::new(subject.object, shape));
        let mut changed = changed.into_iter().collect::<Result<Vec<_>>>()?;
        for round in 0..effort.rounds(ROUNDS) {
            effort.progress("control", round, ROUNDS);
            for ((ours, theirs), changed) in samples.iter_mut().zip(&mut changed) {
                if !ours.failed() {
                    ours.add(changed.again());
                }
                if !theirs.failed() {
                    theirs.add(transaction(&rival, changed.shape));
                }
            }
        }
        anyhow::Ok(())
    })??;
    Ok(SHAPES
        .iter()
        .zip(&samples)
        .map(|(shape, (ours, theirs))| {
            let name = format!("change to {} rules", shape.rules());
            let limit = shape.limit.map(Limit::Ratio);
            Measured::beside(name, "ms", ours, ("nft -f", theirs), limit)
        })
        .collect())
}

/// Programs whose policy changes to another of the same size.
struct Changed {
    dataplane: Dataplane,
    shape: Shape,
    generation: u32,
}

impl Changed {
    /// All banks have held a policy already, as with an agent that has changed a few times: what they counted is read and cleared at a change.
    fn new(object: &[u8], shape: Shape) -> Result<Self> {
        let options = Options {
            root: PathBuf::from("/sys/fs/bpf").join(shape.rules().to_string()),
            ..Options::default()
        };
        let sizes = BankSizes::of(&compiled(&shape.policy())?).with_room();
        let mut changed = Self {
            dataplane: Dataplane::load(object, sizes, &options)?,
            shape,
            generation: 0,
        };
        for _ in 0..POLICY_BANKS {
            changed.again()?;
        }
        Ok(changed)
    }

    /// Milliseconds until the next is in force.
    fn again(&mut self) -> Result<f64> {
        let policy = self.shape.policy();
        let began = Instant::now();
        let tables = compiled(&policy)?;
        self.generation += 1;
        let before = self.dataplane.switch()?.active();
        let bank = self.dataplane.free_bank()?;
        self.dataplane.write(bank, &tables, self.generation)?;
        let word = Switch::to(bank, before, self.generation);
        self.dataplane.switch_to(word)?;
        let took = began.elapsed();
        ensure!(
            self.dataplane.switch()?.active() == bank && tables.rules.len() >= self.shape.rules(),
            "the policy is not in force"
        );
        Ok(took.as_secs_f64() * 1e3)
    }
}

fn compiled(policy: &RuleSet) -> Result<portcullis::compile::tables::Tables> {
    compile(policy, &facts(), &Settings::default()).map_err(|errors| anyhow::anyhow!("{errors:?}"))
}

/// Milliseconds of nft.
fn transaction(rival: &Namespace, shape: Shape) -> Result<f64> {
    const FILE: &str = "/run/rules.nft";
    rival.write(FILE, &shape.nft())?;
    let began = Instant::now();
    let done = rival.output(&format!("nft -f {FILE}"), LIMIT)?;
    let took = began.elapsed();
    ensure!(
        done.status.success(),
        "nft (Debian's package nftables): {}",
        String::from_utf8_lossy(&done.stderr).trim()
    );
    Ok(took.as_secs_f64() * 1e3)
}

/// Starts and memory of the agent as it ships, with a small policy and with a large one.
fn lives(effort: Effort) -> Result<Vec<Measured>> {
    let mut rows = Vec::new();
    let shapes = [SHAPES.first(), SHAPES.get(2)];
    for shape in shapes.into_iter().flatten() {
        let (mut first, mut again) = (Samples::default(), Samples::default());
        let (mut resident, mut maps) = (Samples::default(), Samples::default());
        for round in 0..effort.rounds(ROUNDS).min(3) {
            effort.progress("control: starts", round, effort.rounds(ROUNDS).min(3));
            match life(*shape) {
                Ok(life) => {
                    first.add(Ok(life.first));
                    again.add(Ok(life.again));
                    resident.add(Ok(life.resident));
                    maps.add(Ok(life.maps));
                }
                Err(error) => {
                    let why = format!("{error:#}");
                    for samples in [&mut first, &mut again, &mut resident, &mut maps] {
                        *samples = Samples::failure(&*why);
                    }
                    break;
                }
            }
        }
        let rules = shape.rules();
        rows.extend([
            Measured::alone(format!("start to enforcement, {rules} rules"), "ms", &first),
            Measured::alone(
                format!("start over its own pins, {rules} rules"),
                "ms",
                &again,
            ),
            Measured::alone(format!("resident memory, {rules} rules"), "MiB", &resident),
            Measured::alone(format!("memory of maps, {rules} rules"), "MiB", &maps),
        ]);
    }
    Ok(rows)
}

struct Life {
    first: f64,
    again: f64,
    resident: f64,
    maps: f64,
}

/// From nothing to READY, which the agent says when it has proved what it attached; how large it is then; and the same over what it left.
fn life(shape: Shape) -> Result<Life> {
    let pair = Pair::new()?;
    for (number, text) in shape.drop_ins().iter().enumerate() {
        let path = format!("/etc/portcullis/conf.d/{number}.toml");
        pair.guarded.write(&path, text)?;
    }
    let began = Instant::now();
    let text = configuration("tc", "\"eth0\"", "deny", "");
    let mut agent = Agent::start(&pair.guarded, &text, "json")?;
    let first = began.elapsed();
    let resident = resident(agent.id())?;
    let maps = maps(&pair.guarded)?;
    agent.stop()?;
    let began = Instant::now();
    let _agent = Agent::start_as_it_stands(&pair.guarded, "json")?;
    let again = began.elapsed();
    Ok(Life {
        first: first.as_secs_f64() * 1e3,
        again: again.as_secs_f64() * 1e3,
        resident,
        maps,
    })
}

/// MiB of a process that are in memory.
fn resident(id: u32) -> Result<f64> {
    let text = std::fs::read_to_string(format!("/proc/{id}/status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<f64>().ok());
    Ok(number.context("VmRSS")? / 1024.0)
}

/// MiB that the pinned maps take, as bpftool says.
fn maps(host: &Namespace) -> Result<f64> {
    let found = host.text(&format!("find {DEFAULT_ROOT} -type f"))?;
    let mut octets = 0;
    for path in found.lines() {
        let output = host.output(&format!("bpftool --json map show pinned {path}"), LIMIT)?;
        // A program or a link is pinned there.
        if !output.status.success() {
            continue;
        }
        let map: serde_json::Value = serde_json::from_slice(&output.stdout)?;
        octets += map["bytes_memlock"].as_u64().unwrap_or(0);
    }
    ensure!(octets > 0, "no pinned maps under {DEFAULT_ROOT}");
    Ok(octets as f64 / f64::from(1 << 20))
}
