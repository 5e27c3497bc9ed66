//! Programs of ours with a policy, and a flow that this host began: to be timed, and to be counted.

use std::path::PathBuf;

use agent_common::flow::{FlowEntry, FlowKey, FlowState, FlowTable};
use agent_common::net::{IpProto, V4};
use agent_common::tables::{Switch, TICK_SHIFT};
use agent_common::verdict::Action;
use anyhow::{Result, anyhow, bail, ensure};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use portcullis::compile::{Settings, compile};
use portcullis::dataplane::testrun::Entry;
use portcullis::dataplane::{BankSizes, Dataplane, Options};
use portcullis::rule::Rule;

use super::policy::{closed, facts};
use super::rows::{HOST, OURS, PEER};
use crate::interpreter::{Context, Cost, Interpreter};

/// The port of the peer that this host's flows go to.
const THERE: u16 = 443;
const XDP_PASS: u32 = 2;
const TC_ACT_UNSPEC: u32 = u32::MAX;

/// Programs with a policy in force.
pub struct Loaded {
    dataplane: Dataplane,
    interpreter: Interpreter,
}

impl Loaded {
    /// Loads them under a name of their own.
    ///
    /// # Errors
    /// Where the policy can't be compiled or the programs can't be loaded.
    pub fn new(object: &[u8], name: &str, rules: &[Rule]) -> Result<Self> {
        let options = Options {
            root: PathBuf::from("/sys/fs/bpf").join(name),
            ..Options::default()
        };
        let tables = compile(&closed(rules.to_vec()), &facts(), &Settings::default())
            .map_err(|errors| anyhow!("{errors:?}"))?;
        let mut dataplane = Dataplane::load(object, BankSizes::of(&tables).with_room(), &options)?;
        dataplane.write(0, &tables, 1)?;
        dataplane.switch_to(Switch::to(0, 0, 1))?;
        let interpreter = Interpreter::new(object, dataplane.ebpf())?;
        let mut loaded = Self {
            dataplane,
            interpreter,
        };
        loaded.track(OURS..OURS + 1)?;
        Ok(loaded)
    }

    /// Enters connections that this host completed, from these ports.
    ///
    /// # Errors
    /// What the kernel says of the maps.
    pub fn track(&mut self, ports: std::ops::Range<u16>) -> Result<()> {
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

    /// Mean nanoseconds of a frame, after a shorter run that makes the tables hot and checks the verdict.
    ///
    /// # Errors
    /// Where the program can't be run or gives another verdict.
    pub fn time(&mut self, entry: Entry, frame: &[u8], passes: bool, repeat: u32) -> Result<f64> {
        let mut run = |repeat| {
            let ran = self.dataplane.test_run(entry, frame, &[], repeat)?;
            ensure!(ran.passed == passes, "it {}", verb(ran.passed));
            Ok(ran.nanoseconds as f64)
        };
        run(1000)?;
        run(repeat)
    }

    /// What a frame takes, counted: of one after many like it, when stamps are written and no event is left in its budget.
    ///
    /// # Errors
    /// Where the program can't be gone through or gives another verdict.
    pub fn cost(&mut self, entry: Entry, frame: &[u8], passes: bool) -> Result<Cost> {
        let (program, context, pass) = match entry {
            Entry::XdpIngress if self.dataplane.takes_frags() => {
                ("xdp_ingress_frags", Context::Xdp, XDP_PASS)
            }
            Entry::XdpIngress => ("xdp_ingress", Context::Xdp, XDP_PASS),
            Entry::TcIngress => ("tc_ingress", Context::Skb, TC_ACT_UNSPEC),
            Entry::TcEgress => ("tc_egress", Context::Skb, TC_ACT_UNSPEC),
        };
        let tick = self.after_many(entry, frame, passes)?;
        let jiffies = u64::from(tick) << TICK_SHIFT;
        let ended = self.interpreter.run(program, context, frame, jiffies)?;
        let passed = ended.returned == pass;
        ensure!(passed == passes, "gone through, it {}", verb(passed));
        Ok(ended.cost)
    }
}

impl Loaded {
    /// Runs a frame often and gives the tick, in which no budget was refilled since.
    fn after_many(&mut self, entry: Entry, frame: &[u8], passes: bool) -> Result<u32> {
        // What is counted is what the first processor has of its own.
        let mut first = CpuSet::new();
        first.set(0)?;
        sched_setaffinity(Pid::from_raw(0), &first)?;
        for _ in 0..20 {
            let before = self.dataplane.clock().now()?.tick();
            self.time(entry, frame, passes, 1)?;
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
