//! Programs of ours with a policy, and a flow that this host began: to be timed, and to be counted.

use std::net::Ipv4Addr;
use std::ops::Range;
use std::path::PathBuf;

use agent_common::flow::{FlowEntry, FlowKey, FlowState, FlowTable};
use agent_common::net::{IpProto, V4};
use agent_common::switch::Switch;
use agent_common::tables::TICK_SHIFT;
use agent_common::verdict::Action;
use anyhow::{Result, anyhow, bail, ensure};
use aya::programs::Program;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use portcullis::compile::{Settings, compile};
use portcullis::dataplane::testrun::Entry;
use portcullis::dataplane::{BankSizes, Dataplane, Options};
use portcullis::facts::Facts;
use portcullis::rule::{Rule, RuleSet};

use super::policy::{closed, facts};
use super::varied::{Varied, Vary};
use crate::interpreter::{Context, Cost, Interpreter};

/// This host.
pub(super) const HOST: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
/// Who is admitted where not everybody is, and whom this host's flows go to.
pub(super) const PEER: Ipv4Addr = Ipv4Addr::new(11, 1, 2, 3);
/// The port of the peer that they go to.
const THERE: u16 = 443;
/// The XDP program, for frames in several buffers and for those in one.
const FRAGS: &str = "xdp_ingress_frags";
const LINEAR: &str = "xdp_ingress";
const XDP_PASS: u32 = 2;
const TC_ACT_UNSPEC: u32 = u32::MAX;

/// What is in force where packets are measured.
pub struct InForce {
    /// The policy.
    pub rules: RuleSet,
    /// The host that it is for.
    pub facts: Facts,
    /// Ports from which this host completed a connection with the peer.
    pub flows: Range<u16>,
}

impl InForce {
    /// These rules and nothing else, on a host without interfaces.
    #[must_use]
    pub fn only(rules: Vec<Rule>) -> Self {
        Self {
            rules: closed(rules),
            facts: facts(),
            flows: 0..0,
        }
    }
}

/// A packet, and what must become of it.
#[derive(Clone, Debug)]
pub struct Sent {
    /// The frame.
    pub frame: Vec<u8>,
    /// Whether it is let pass.
    pub passes: bool,
    /// The program that it comes to.
    pub entry: Entry,
    /// What is another in each of many; at XDP.
    pub vary: Option<Vary>,
}

/// Programs with a policy in force.
pub struct Loaded {
    dataplane: Dataplane,
    interpreter: Interpreter,
    varied: Option<(Vary, Varied)>,
}

impl Loaded {
    /// Loads them under a name of their own.
    ///
    /// # Errors
    /// Where the policy can't be compiled or the programs can't be loaded.
    pub fn new(object: &[u8], name: &str, policy: InForce) -> Result<Self> {
        let options = Options {
            root: PathBuf::from("/sys/fs/bpf").join(name),
            ..Options::default()
        };
        let tables = compile(&policy.rules, &policy.facts, &Settings::default())
            .map_err(|errors| anyhow!("{errors:?}"))?;
        let mut dataplane = Dataplane::load(object, BankSizes::of(&tables).with_room(), &options)?;
        dataplane.write(0, &tables, 1)?;
        dataplane.switch_to(Switch::to(0, 0, 1))?;
        let interpreter = Interpreter::new(object, dataplane.ebpf())?;
        let mut loaded = Self {
            dataplane,
            interpreter,
            varied: None,
        };
        loaded.track(policy.flows)?;
        Ok(loaded)
    }

    /// Enters connections that this host completed, from these ports.
    fn track(&mut self, ports: Range<u16>) -> Result<()> {
        let now = self.dataplane.clock().now()?.tick();
        let mut flows = self.dataplane.flows(FlowTable::Established)?;
        for port in ports {
            let (host, peer) = (V4(u32::from(HOST)), V4(u32::from(PEER)));
            let key = FlowKey::new(IpProto::TCP, host, port, peer, THERE);
            let entry = FlowEntry::new(now, 1, FlowState::Established, Action::Allow, 0);
            flows.insert(&key, entry.record())?;
            // The port's stamp, which nobody but the egress program writes: it knows the flow by now, and passes it by its entry.
            let sent =
                crate::packet::tcp((HOST.into(), port), (PEER.into(), THERE), "A").frame()?;
            self.dataplane.test_run(Entry::TcEgress, &sent, &[], 1)?;
        }
        Ok(())
    }

    /// Mean nanoseconds of a packet, after a shorter run that makes the tables hot and checks the verdict.
    ///
    /// # Errors
    /// Where the program can't be run or gives another verdict.
    pub fn time(&mut self, sent: &Sent, repeat: u32) -> Result<f64> {
        let mut run = |repeat| {
            let (passed, nanoseconds) = match sent.vary {
                None => {
                    let ran = self
                        .dataplane
                        .test_run(sent.entry, &sent.frame, &[], repeat)?;
                    (ran.passed, ran.nanoseconds as f64)
                }
                Some(vary) => {
                    let ran = self.varied(vary)?.run(&sent.frame, repeat)?;
                    (ran.returned == XDP_PASS, f64::from(ran.nanoseconds))
                }
            };
            ensure!(passed == sent.passes, "it {}", verb(passed));
            anyhow::Ok(nanoseconds)
        };
        run(1000)?;
        run(repeat)
    }

    /// The XDP program behind one that writes frames anew.
    fn varied(&mut self, vary: Vary) -> Result<&Varied> {
        let varied = match self.varied.take() {
            Some(varied) if varied.0 == vary => varied,
            _ => {
                let frags = self.dataplane.takes_frags();
                let name = if frags { FRAGS } else { LINEAR };
                let Some(Program::Xdp(program)) = self.dataplane.ebpf().program(name) else {
                    bail!("no XDP program {name}");
                };
                (vary, Varied::before(program.fd()?, frags, vary)?)
            }
        };
        Ok(&self.varied.insert(varied).1)
    }

    /// What a packet takes, counted: of one after many like it, when stamps are written and no event is left in its budget.
    ///
    /// # Errors
    /// Where the program can't be gone through or gives another verdict.
    pub fn cost(&mut self, sent: &Sent) -> Result<Cost> {
        let (program, context, pass) = match sent.entry {
            Entry::XdpIngress if self.dataplane.takes_frags() => (FRAGS, Context::Xdp, XDP_PASS),
            Entry::XdpIngress => (LINEAR, Context::Xdp, XDP_PASS),
            Entry::TcIngress => ("tc_ingress", Context::Skb, TC_ACT_UNSPEC),
            Entry::TcEgress => ("tc_egress", Context::Skb, TC_ACT_UNSPEC),
        };
        let tick = self.after_many(sent)?;
        let jiffies = u64::from(tick) << TICK_SHIFT;
        let ended = self
            .interpreter
            .run(program, context, &sent.frame, jiffies)?;
        let passed = ended.returned == pass;
        ensure!(passed == sent.passes, "gone through, it {}", verb(passed));
        Ok(ended.cost)
    }
}

impl Loaded {
    /// Runs a frame often and gives the tick, in which no budget was refilled since.
    fn after_many(&mut self, sent: &Sent) -> Result<u32> {
        // What is counted is what the first processor has of its own.
        let mut first = CpuSet::new();
        first.set(0)?;
        sched_setaffinity(Pid::from_raw(0), &first)?;
        for _ in 0..20 {
            let before = self.dataplane.clock().now()?.tick();
            self.time(sent, 1)?;
            if self.dataplane.clock().now()?.tick() == before {
                return Ok(before);
            }
        }
        bail!("a thousand test runs don't fit into a tick");
    }
}

fn verb(passed: bool) -> &'static str {
    if passed { "passed" } else { "was denied" }
}
