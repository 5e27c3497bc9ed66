//! From tables to programs in force: load, attach by each hook, switch, re-open, replace, detach.

use std::path::Path;

use agent_common::switch::Switch;
use agent_common::tables::OPEN_BANK;
use portcullis::dataplane::{Attached, DEFAULT_ROOT, Error, Hook, Options, Pinned, detach_all};
use portcullis::host::schema::Hook as Wanted;

use super::{CLOSED, OPEN, Pair, enforcing, load, nothing_left, policy};

fn options(tcx: bool) -> Options {
    Options {
        tcx,
        ..Options::default()
    }
}

/// Attached in generation 0, then under a policy, then under another, then replaced by a second load, then detached.
#[track_caller]
fn life(wanted: Wanted, tcx: bool, ingress: Hook, egress: Hook) {
    let pair = Pair::new();
    pair.check(true, true);
    let first = pair.on(|| {
        let mut plane = load(&options(tcx));
        let attached = plane
            .attach("eth0", wanted)
            .unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(attached.ingress.hook, ingress, "{}", attached.why);
        assert_eq!(attached.egress.hook, egress);
        assert!(!attached.ingress.replaced && !attached.egress.replaced);
        pair.check(true, true);

        plane.write(0, &policy(&[OPEN]), 1).unwrap();
        plane.switch_to(Switch::to(0, OPEN_BANK, 1)).unwrap();
        pair.check(true, false);
        let counters = plane.counters().unwrap();
        assert!(counters.balance.suppressed > 0, "{counters:?}");
        assert!(plane.rule_counters(0).unwrap()[0].passed > 0);

        plane.write(1, &policy(&[CLOSED]), 2).unwrap();
        plane.switch_to(Switch::to(1, 0, 2)).unwrap();
        pair.check(false, true);
        // bank 0 is the fallback, bank 2 was never written
        assert!(matches!(
            plane.write(0, &policy(&[]), 3),
            Err(Error::BankInUse(0))
        ));
        assert!(matches!(
            plane.switch_to(Switch::to(2, 1, 3)),
            Err(Error::BankEmpty(2))
        ));
        assert_eq!(plane.free_bank().unwrap(), 2);
        plane.write(2, &policy(&[OPEN, CLOSED]), 3).unwrap();
        plane.switch_to(Switch::to(2, 1, 3)).unwrap();
        pair.check(true, true);
        let written = plane.write(0, &policy(&[]), 4).unwrap();
        assert!(written.counters[0].passed > 0, "{written:?}");
        assert_eq!(plane.rule_counters(0).unwrap()[0].passed, 0);
        plane.switch_to(Switch::to(1, 2, 2)).unwrap();
        attached
    });
    // The load is gone, what is attached stays.
    pair.check(false, true);
    pair.on(|| {
        let pinned = Pinned::open(Path::new(DEFAULT_ROOT)).unwrap().unwrap();
        assert_eq!(pinned.switch().unwrap(), Switch::to(1, 2, 2));
        assert_eq!(pinned.head(1).unwrap().generation, 2);
        assert_eq!(pinned.verify(1, &policy(&[CLOSED]), 2).unwrap(), None);
        let other = pinned.verify(1, &policy(&[OPEN]), 2).unwrap();
        assert_eq!(other.unwrap().index, usize::from(OPEN));
        let mut seen: Vec<_> = pinned.links().iter().map(|l| (l.hook, l.program)).collect();
        seen.sort_unstable();
        let filters = [first.ingress, first.egress].map(|f| (f.hook, f.program));
        let mut expected = filters.to_vec();
        expected.sort_unstable();
        assert_eq!(seen, expected);
        assert!(pinned.links().iter().all(|link| link.load == Some(1)));
    });

    pair.on(|| {
        let mut plane = enforcing(&options(tcx), &[OPEN]);
        assert_eq!(plane.number(), 2);
        let again = plane.attach("eth0", wanted).unwrap();
        check_replaced(&first, &again);
        assert_eq!(plane.retire_others().unwrap(), [1]);
        assert_eq!(plane.retire_others().unwrap(), [0; 0]);
        assert!(plane.attached().unwrap().iter().all(|l| l.load == Some(2)));
    });
    pair.check(true, false);

    pair.on(|| {
        let removed = detach_all(Path::new(DEFAULT_ROOT)).unwrap();
        assert_eq!(removed.links.len(), 2, "{removed:?}");
        assert_eq!(removed.left, [""; 0].map(Path::new));
        nothing_left();
        assert!(detach_all(Path::new(DEFAULT_ROOT)).unwrap().is_empty());
    });
    pair.check(true, true);
}

#[track_caller]
fn check_replaced(first: &Attached, again: &Attached) {
    for (old, new) in [(first.ingress, again.ingress), (first.egress, again.egress)] {
        assert!(new.replaced, "{new:?} was attached anew");
        assert_eq!((old.hook, old.link), (new.hook, new.link), "another link");
        assert_ne!(old.program, new.program, "the old program");
    }
}

#[test]
fn life_at_tc() {
    life(Wanted::Tc, true, Hook::TcIngress, Hook::TcEgress);
}

#[test]
fn life_at_xdp() {
    life(Wanted::Xdp, true, Hook::Xdp, Hook::TcEgress);
}

#[test]
fn life_at_generic_xdp() {
    life(Wanted::XdpGeneric, true, Hook::XdpGeneric, Hook::TcEgress);
}

#[test]
fn life_where_the_agent_chooses() {
    life(Wanted::Auto, true, Hook::TcIngress, Hook::TcEgress);
}

#[test]
fn life_without_tcx() {
    life(Wanted::Tc, false, Hook::ClsactIngress, Hook::ClsactEgress);
}

#[test]
fn hooks_change_while_guarded() {
    let pair = Pair::new();
    pair.on(|| {
        for (wanted, tcx, ingress) in [
            (Wanted::Tc, true, Hook::TcIngress),
            (Wanted::Xdp, true, Hook::Xdp),
            (Wanted::XdpGeneric, true, Hook::XdpGeneric),
            (Wanted::Xdp, true, Hook::Xdp),
            (Wanted::Tc, false, Hook::ClsactIngress),
            (Wanted::Tc, true, Hook::TcIngress),
        ] {
            let mut plane = enforcing(&options(tcx), &[OPEN]);
            let attached = plane.attach("eth0", wanted).unwrap();
            plane.retire_others().unwrap();
            assert_eq!(attached.ingress.hook, ingress);
            let links = plane.attached().unwrap();
            assert_eq!(links.len(), 2, "{wanted:?}: {links:?}");
            assert!(links.iter().all(|link| link.load == Some(plane.number())));
            pair.check(true, false);
        }
        detach_all(Path::new(DEFAULT_ROOT)).unwrap();
        nothing_left();
    });
}
