//! The decision over compiled tables in memory.

use std::collections::HashMap;
use std::rc::Rc;

use agent_common::event::{Direction, Summary};
use agent_common::icmp::Host;
use agent_common::lookup::Lookup as _;
use agent_common::net::{EtherType, IpProto, V4, V6};
use agent_common::parse::Plain;
use agent_common::tables::{Head, TICK_SHIFT};
use agent_common::verdict::{Action, Reason, Verdict};
use agent_common::{judge, parse};
use anyhow::{Context as _, Result, ensure};
use portcullis::compile::memory::Memory;
use portcullis::compile::tables::Tables;

use super::{Rows, Seen, World};

const HZ: u32 = 250;

/// A host in memory, twice: one judges every frame the long way, the other as the programs do, the short way first. They must agree, packet
/// by packet, with what each has written before.
#[derive(Default)]
pub struct InMemory {
    hosts: Option<[Memory; 2]>,
    /// Policies that were compiled before.
    compiled: HashMap<String, Rc<Tables>>,
}

impl InMemory {
    fn tables(&mut self, rows: &Rows, policy: &str) -> Result<Rc<Tables>> {
        if let Some(tables) = self.compiled.get(policy) {
            return Ok(Rc::clone(tables));
        }
        let tables = Rc::new(rows.tables(policy, HZ)?);
        self.compiled.insert(policy.to_owned(), Rc::clone(&tables));
        Ok(tables)
    }
}

impl World for InMemory {
    fn begin(&mut self, rows: &Rows, policy: &str) -> Result<()> {
        let tables = self.tables(rows, policy)?;
        self.hosts = Some([Memory::new(Rc::clone(&tables)), Memory::new(tables)]);
        Ok(())
    }

    fn switch(&mut self, rows: &Rows, policy: &str) -> Result<()> {
        let tables = self.tables(rows, policy)?;
        for host in self.hosts.as_mut().context("no policy yet")? {
            host.switch(Rc::clone(&tables));
        }
        Ok(())
    }

    fn pass(&mut self, seconds: u32) -> Result<()> {
        for host in self.hosts.as_ref().context("no policy yet")? {
            host.advance((seconds * HZ) >> TICK_SHIFT);
        }
        Ok(())
    }

    fn judge(&mut self, direction: Direction, frame: &[u8]) -> Result<Seen> {
        let [plain, programs] = self.hosts.as_ref().context("no policy yet")?;
        let long = judge::frame(direction, frame, plain, &mut Summary::default());
        let short = as_programs(direction, frame, programs);
        ensure!(
            short == long,
            "the short way says {short:?}, the long way {long:?}"
        );
        let verdict = settled(plain, long);
        Ok(Seen {
            action: verdict.action(),
            reason: verdict.reason(),
            rule: plain.rule_id(verdict.rule()).map(str::to_owned),
            reported: verdict.action() != Action::Allow && !verdict.is_quiet(),
            through: verdict.is_through(),
        })
    }
}

/// As the programs go about it: plain segments first, then everything.
fn as_programs(direction: Direction, frame: &[u8], host: &Memory) -> Verdict {
    let plain = match parse::plain_type(frame) {
        Some(EtherType::IPV4) => first::<V4>(direction, frame, host),
        Some(EtherType::IPV6) => first::<V6>(direction, frame, host),
        _ => None,
    };
    plain.unwrap_or_else(|| judge::frame(direction, frame, host, &mut Summary::default()))
}

fn first<A: Host + Plain>(direction: Direction, frame: &[u8], host: &Memory) -> Option<Verdict> {
    let header = judge::plain_header::<A, _, _>(frame, host)?;
    let judged = match header.protocol {
        IpProto::TCP => judge::plain::<true, A, _, _>(direction, frame, host, &header),
        IpProto::UDP => judge::plain::<false, A, _, _>(direction, frame, host, &header),
        _ => None,
    };
    judged.map(|(verdict, _)| verdict)
}

/// What generation 0 makes of a denial.
fn settled(host: &Memory, verdict: Verdict) -> Verdict {
    if !verdict.passes() && host.head().flags & Head::OPEN != 0 {
        Verdict::pass(Reason::Unenforced)
    } else {
        verdict
    }
}
