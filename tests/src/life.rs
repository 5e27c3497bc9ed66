//! The life of the data plane on one interface, without a peer: loaded, attached by each hook, switched, replaced, detached. For the
//! machines that have nothing but a kernel.

use std::path::Path;

use agent_common::switch::Switch;
use agent_common::tables::{Cell, CellAction, Head, NO_RULE, OPEN_BANK, Plane, Timeouts, facts};
use anyhow::{Context as _, Result, ensure};
use portcullis::compile::Sizes;
use portcullis::compile::tables::Tables;
use portcullis::dataplane::object::BPF_OBJECT;
use portcullis::dataplane::testrun::Entry;
use portcullis::dataplane::{
    Attached, BankSizes, DEFAULT_ROOT, Dataplane, Mechanism, Options, Pinned, detach_all,
};
use portcullis::host::schema::Hook as Wanted;

/// A policy that admits TCP to some ports from anybody, and lets everything out.
pub fn policy(ports: &[u16]) -> Tables {
    const DENIED: u16 = 0;
    const ADMITTED: u16 = 1;
    const OUT: u16 = 2;
    let plane = |class: u16| vec![class; 65_536].into_boxed_slice();
    let mut tcp = plane(DENIED);
    for &port in ports {
        tcp[usize::from(port)] = ADMITTED;
    }
    Tables {
        head: Head {
            peer_classes: 1,
            facts_row: 3,
            timeouts: Timeouts::for_hz(250),
            ..Head::default()
        },
        planes: vec![
            (Plane::IngressTcp, tcp),
            (Plane::IngressOther, plane(OUT)),
            (Plane::EgressTcp, plane(OUT)),
            (Plane::EgressUdp, plane(OUT)),
            (Plane::EgressOther, plane(OUT)),
        ],
        v4_root: vec![0; 65_536].into_boxed_slice(),
        nodes: vec![[7; 256]],
        v6_nodes: Vec::new(),
        cells: vec![
            Cell::new(CellAction::Deny, NO_RULE, 0),
            Cell::new(CellAction::Allow, 0, 0),
            Cell::new(CellAction::Allow, NO_RULE, Cell::DEFAULT),
            Cell(facts::OWN),
        ],
        rules: vec!["allow/test".to_owned()],
        sizes: Sizes::default(),
    }
}

/// A TCP SYN to a port of 10.79.0.1.
pub fn syn(port: u16) -> Vec<u8> {
    let builder = etherparse::PacketBuilder::ethernet2([2; 6], [4; 6])
        .ipv4([10, 79, 0, 2], [10, 79, 0, 1], 64)
        .tcp(40_000, port, 1, 64_240)
        .syn();
    let mut frame = Vec::with_capacity(builder.size(0));
    // Writing to memory does not fail.
    let _ = builder.write(&mut frame, &[]);
    frame
}

/// A load with tables for [`policy`].
///
/// # Errors
/// As [`Dataplane::load`].
pub fn load(options: &Options) -> Result<Dataplane> {
    let sizes = BankSizes::of(&policy(&[])).with_room();
    Ok(Dataplane::load(BPF_OBJECT, sizes, options)?)
}

/// A load with these ports open, in force.
///
/// # Errors
/// As [`Dataplane::load`], [`Dataplane::write`] and [`Dataplane::switch_to`].
pub fn enforcing(options: &Options, ports: &[u16]) -> Result<Dataplane> {
    let mut plane = load(options)?;
    plane.write(0, &policy(ports), 1)?;
    plane.switch_to(Switch::to(0, OPEN_BANK, 1))?;
    Ok(plane)
}

/// Lives through it on an interface that is there, with the pins where they are by default: two loads, the second replaces the first at
/// the first of the hooks, and changes to the others. Returns how egress was attached.
///
/// # Errors
/// Whatever was not as it should be, with where.
pub fn live(interface: &str, hooks: &[Wanted]) -> Result<Mechanism> {
    let options = Options::default();
    let (&first_hook, others) = hooks.split_first().context("no hook")?;
    let first = {
        let mut plane = enforcing(&options, &[80]).context("the first load")?;
        let attached = attach(&mut plane, interface, first_hook)?;
        judges(&mut plane, 80, 81).context("the first policy")?;
        plane.write(1, &policy(&[81]), 2)?;
        plane.switch_to(Switch::to(1, 0, 2))?;
        judges(&mut plane, 81, 80).context("the second policy")?;
        // a bank that was left is written after a grace period
        plane.write(2, &policy(&[80]), 3)?;
        plane.switch_to(Switch::to(2, 1, 3))?;
        plane.write(0, &policy(&[80, 81]), 4)?;
        attached
    };
    let seen = pinned()?.context("nothing is pinned")?;
    ensure!(seen == 2, "{seen} attachments are pinned");

    let mut plane = enforcing(&options, &[80]).context("the second load")?;
    let again = attach(&mut plane, interface, first_hook)?;
    replaced(&first, &again)?;
    plane.retire_others()?;
    judges(&mut plane, 80, 81).context("after replacing")?;
    for &hook in others {
        attach(&mut plane, interface, hook)?;
        ensure!(
            plane.attached()?.len() == 2,
            "after a change of hooks there are {:?}",
            plane.attached()?
        );
    }
    drop(plane);
    let removed = detach_all(Path::new(DEFAULT_ROOT)).context("detaching")?;
    ensure!(
        removed.links.len() == 2 && removed.left.is_empty(),
        "{removed:?}"
    );
    ensure!(pinned()?.is_none(), "something is pinned after detaching");
    Ok(again.egress.hook.mechanism())
}

fn attach(plane: &mut Dataplane, interface: &str, wanted: Wanted) -> Result<Attached> {
    let attached = plane
        .attach(interface, wanted)
        .with_context(|| format!("attaching by {}", wanted.name()))?;
    ensure!(
        attached.ingress.hook.in_force() == wanted,
        "{attached:?} where {} was wanted",
        wanted.name()
    );
    Ok(attached)
}

fn pinned() -> Result<Option<usize>> {
    let pinned = Pinned::open(Path::new(DEFAULT_ROOT))?;
    Ok(pinned.map(|pinned| pinned.links().len()))
}

fn replaced(first: &Attached, again: &Attached) -> Result<()> {
    for (old, new) in [(first.ingress, again.ingress), (first.egress, again.egress)] {
        ensure!(new.replaced, "{new:?} was attached anew");
        ensure!(old.link == new.link, "{old:?} became {new:?}");
        ensure!(old.program != new.program, "{old:?} was not replaced");
    }
    Ok(())
}

/// Whether both ingress programs admit one port and deny the other.
fn judges(plane: &mut Dataplane, admitted: u16, denied: u16) -> Result<()> {
    for entry in [Entry::XdpIngress, Entry::TcIngress] {
        for (port, passes) in [(admitted, true), (denied, false)] {
            let ran = plane.test_run(entry, &syn(port), &[], 1)?;
            ensure!(ran.passed == passes, "{entry:?} port {port}: {ran:?}");
        }
    }
    Ok(())
}
