//! The rows: a policy, a packet, the verdict that it must get, and the limit as a ratio of xdp-filter's time.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use agent_common::event::Direction;
use agent_common::flow::{FlowEntry, FlowKey, FlowState, FlowTable};
use agent_common::net::{IpProto, V4};
use agent_common::tables::Switch;
use agent_common::verdict::Action;
use anyhow::{Context as _, Result, ensure};
use portcullis::compile::{Settings, compile};
use portcullis::dataplane::testrun::Entry;
use portcullis::dataplane::{BankSizes, Dataplane, Options};
use portcullis::rule::{Peers, Rule, RuleSet};

use super::Subject;
use super::policy::{admits, closed, facts, prefixes};
use super::rival::XdpFilter;
use crate::packet::{tcp, udp};

const HOST: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
const PEER: Ipv4Addr = Ipv4Addr::new(11, 1, 2, 3);

/// Something that is measured.
pub struct Row<'a> {
    /// What, for people.
    pub name: String,
    /// Most that it may take, as a ratio of xdp-filter's time.
    pub limit: Option<f64>,
    frame: Vec<u8>,
    passes: bool,
    program: Program<'a>,
}

enum Program<'a> {
    Ours(Box<Loaded>, Entry),
    Rival(&'a XdpFilter),
}

impl Row<'_> {
    /// Mean nanoseconds of a run, after a shorter round that makes the tables hot and checks the verdict.
    ///
    /// # Errors
    /// Where the program can't be run or gives another verdict.
    pub fn measure(&mut self, repeat: u32) -> Result<f64> {
        self.run(1000)?;
        self.run(repeat)
    }

    fn run(&mut self, repeat: u32) -> Result<f64> {
        const XDP_PASS: u32 = 2;
        let (passed, time) = match &mut self.program {
            Program::Ours(loaded, entry) => {
                let ran = loaded
                    .dataplane
                    .test_run(*entry, &self.frame, &[], repeat)?;
                (ran.passed, ran.nanoseconds as f64)
            }
            Program::Rival(rival) => {
                let (verdict, time) = rival.test_run(&self.frame, repeat)?;
                (verdict == XDP_PASS, time)
            }
        };
        ensure!(
            passed == self.passes,
            "{}: the packet {} pass",
            self.name,
            if passed { "did" } else { "did not" }
        );
        Ok(time)
    }
}

/// Programs of ours with a policy.
struct Loaded {
    dataplane: Dataplane,
}

impl Loaded {
    fn new(object: &[u8], name: &str, rules: &RuleSet) -> Result<Self> {
        let options = Options {
            root: PathBuf::from("/sys/fs/bpf").join(name),
            ..Options::default()
        };
        let tables = compile(rules, &facts(), &Settings::default())
            .map_err(|errors| anyhow::anyhow!("{errors:?}"))?;
        let sizes = BankSizes::of(&tables).with_room();
        let mut dataplane = Dataplane::load(object, sizes, &options)?;
        dataplane.write(0, &tables, 1)?;
        dataplane.switch_to(Switch::to(0, 0, 1))?;
        Ok(Self { dataplane })
    }
}

/// All rows.
///
/// # Errors
/// Where a policy can't be compiled or loaded.
pub fn all<'a>(rival: &'a XdpFilter, subject: Subject<'_>) -> Result<Vec<Row<'a>>> {
    let peer4 = (IpAddr::V4(PEER), 40_000);
    let host4 = |port| (IpAddr::V4(HOST), port);
    let syn = tcp(peer4, host4(443), "S").frame()?;
    let mut rows = vec![
        Row {
            name: "xdp-filter, denied".to_owned(),
            limit: None,
            frame: syn.clone(),
            passes: false,
            program: Program::Rival(rival),
        },
        Row {
            name: "xdp-filter, allowed".to_owned(),
            limit: None,
            frame: tcp(peer4, host4(9), "S").frame()?,
            passes: true,
            program: Program::Rival(rival),
        },
    ];
    let mut ours = |name: &str, limit, rules: Vec<Rule>, frame, passes, entry| -> Result<()> {
        if !name.contains(subject.only) {
            return Ok(());
        }
        let loaded = Loaded::new(subject.object, &rows.len().to_string(), &closed(rules))
            .with_context(|| format!("row `{name}`"))?;
        rows.push(Row {
            name: name.to_owned(),
            limit,
            frame,
            passes,
            program: Program::Ours(Box::new(loaded), entry),
        });
        Ok(())
    };
    let any = |port| vec![admits(0, Direction::Ingress, port, Peers::Any)];
    let xdp = Entry::XdpIngress;
    ours(
        "closed port, SYN",
        Some(0.50),
        any(9),
        syn.clone(),
        false,
        xdp,
    )?;
    let datagram = udp(peer4, host4(443)).frame()?;
    ours("closed port, UDP", Some(0.50), any(9), datagram, false, xdp)?;
    ours(
        "allowed, any peer",
        Some(0.38),
        any(443),
        syn.clone(),
        true,
        xdp,
    )?;
    ours(
        "allowed, any peer, TC",
        None,
        any(443),
        syn.clone(),
        true,
        Entry::TcIngress,
    )?;
    for (count, limit) in [(1, None), (10_000, Some(0.50))] {
        let name = format!("allowed, peer in {count} IPv4 prefixes");
        let mut peers = prefixes(count - 1, false);
        peers.push(ipnet::Ipv4Net::new_assert(PEER, 32).into());
        let rules = vec![admits(0, Direction::Ingress, 443, Peers::Prefixes(peers))];
        ours(&name, limit, rules, syn.clone(), true, xdp)?;
    }
    let peer6: Ipv6Addr = "2001:db8:1234:5678::9".parse()?;
    let host6: IpAddr = "2001:db8::1".parse()?;
    let syn6 = tcp((peer6.into(), 40_000), (host6, 443), "S").frame()?;
    for (count, limit) in [(1, None), (10_000, Some(0.75))] {
        let name = format!("allowed, peer in {count} IPv6 prefixes");
        let mut peers = prefixes(count - 1, true);
        peers.push(ipnet::Ipv6Net::new_assert(peer6, 128).into());
        let rules = vec![admits(0, Direction::Ingress, 443, Peers::Prefixes(peers))];
        ours(&name, limit, rules, syn6.clone(), true, xdp)?;
    }
    let answer = tcp(host4(443), peer4, "A").frame()?;
    ours(
        "answer of a service, TC egress",
        None,
        any(443),
        answer,
        true,
        Entry::TcEgress,
    )?;

    let name = "reply of a tracked flow, hot";
    let rules = vec![admits(0, Direction::Egress, 443, Peers::Any)];
    let reply = tcp((IpAddr::V4(PEER), 443), host4(40_000), "A").frame()?;
    ours(name, Some(0.70), rules, reply, true, xdp)?;
    if let Some(Row {
        name: last,
        program: Program::Ours(loaded, _),
        ..
    }) = rows.last_mut()
        && last == name
    {
        track(&mut loaded.dataplane)?;
    }
    Ok(rows)
}

/// Enters the flow of the last row: by the egress program, as the host itself would, then completed by hand.
fn track(dataplane: &mut Dataplane) -> Result<()> {
    let begun = tcp((IpAddr::V4(HOST), 40_000), (IpAddr::V4(PEER), 443), "S").frame()?;
    let ran = dataplane.test_run(Entry::TcEgress, &begun, &[], 1)?;
    ensure!(ran.passed, "the SYN of the tracked flow was denied");
    let key = FlowKey::new(
        IpProto::TCP,
        V4(u32::from(HOST)),
        40_000,
        V4(u32::from(PEER)),
        443,
    );
    let now = dataplane.clock().now()?.tick();
    let entry = FlowEntry::new(now, 1, FlowState::Established, Action::Allow, 0);
    dataplane
        .flows(FlowTable::Established)?
        .insert(&key, entry.record())?;
    Ok(())
}
