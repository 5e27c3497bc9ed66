//! The probe: it passes where it must and nowhere else, and nothing counts it.

use std::path::Path;
use std::rc::Rc;

use agent_common::switch::Switch;
use agent_common::tables::OPEN_BANK;
use portcullis::dataplane::{DEFAULT_ROOT, Dataplane, Error, Options, Pinned, detach_all};
use portcullis::host::schema::Hook as Wanted;
use portcullis_tests::damage::let_everything_pass;
use portcullis_tests::netns::Namespace;
use portcullis_tests::veth;

use super::bare::tunnel;
use super::{OPEN, enforcing, load, policy};

/// A host with a cable on which nobody says anything.
#[track_caller]
fn silent() -> Namespace {
    let host = Namespace::new("silent").unwrap();
    host.sysctl("net/ipv6/conf/default/disable_ipv6", "1")
        .unwrap();
    host
}

#[track_caller]
fn pinned() -> Pinned {
    Pinned::open(Path::new(DEFAULT_ROOT)).unwrap().unwrap()
}

#[track_caller]
fn check_silent(plane: &Dataplane, what: &str) {
    let counters = plane.counters().unwrap();
    assert_eq!(counters.reasons, [], "{what}");
    let balance = counters.balance;
    let all = [
        balance.reported,
        balance.suppressed,
        balance.lost,
        balance.audit_reported,
        balance.audit_suppressed,
        balance.audit_lost,
    ];
    assert_eq!(all, [0; 6], "{what}");
}

/// On an interface that `make` makes: in generation 0, under a policy, in a pause, with a damaged table, replaced, taken away.
#[track_caller]
fn check(interface: &str, wanted: Wanted, tcx: bool) {
    let what = format!("{interface} {wanted:?}, tcx {tcx}");
    let options = Options {
        tcx,
        ..Options::default()
    };
    let tables = Rc::new(policy(&[OPEN]));
    let mut plane = load(&options);
    let nothing = plane.prove(interface, &tables).unwrap_err();
    assert!(
        matches!(nothing, Error::NotInForce { found: 0, .. }),
        "{what}: {nothing}"
    );
    plane.attach(interface, wanted).unwrap();
    let proved = |plane: &Dataplane, when: &str| {
        let proved = plane.prove(interface, &tables);
        proved.unwrap_or_else(|error| panic!("{what}, {when}: {error}"));
        check_silent(plane, &format!("{what}, {when}"));
    };
    proved(&plane, "in generation 0");
    plane.write(0, &tables, 1).unwrap();
    let word = Switch::to(0, OPEN_BANK, 1);
    plane.switch_to(word).unwrap();
    proved(&plane, "under a policy");
    let tick = plane.clock().now().unwrap().tick();
    plane
        .switch_to(word.paused_until(tick + plane.hz() * 60))
        .unwrap();
    proved(&plane, "paused");
    plane.switch_to(word).unwrap();

    let_everything_pass(&pinned(), true).unwrap();
    let damaged = plane.prove(interface, &tables).unwrap_err();
    assert!(
        matches!(
            damaged,
            Error::Unproved {
                expected: false,
                ..
            }
        ),
        "{what}: {damaged}"
    );
    let said = damaged.to_string();
    assert!(
        said.contains("passes a probe that the policy in force denies"),
        "{said}"
    );
    let_everything_pass(&pinned(), false).unwrap();
    proved(&plane, "mended");

    // Another load takes its place: what this one knows of is not attached any more.
    let mut other = enforcing(&options, &[OPEN]);
    other.attach(interface, wanted).unwrap();
    proved(&other, "replaced");
    let replaced = plane.prove(interface, &tables).unwrap_err();
    assert!(
        matches!(&replaced, Error::NotInForce { found, ours, .. } if *found != 0 && found != ours),
        "{what}: {replaced}"
    );
    other.detach(interface).unwrap();
    let gone = other.prove(interface, &tables).unwrap_err();
    assert!(matches!(gone, Error::NotInForce { .. }), "{what}: {gone}");
    check_silent(&other, &what);
    detach_all(Path::new(DEFAULT_ROOT)).unwrap();
}

#[test]
fn the_probe_on_a_cable() {
    let host = silent();
    host.enter(|| {
        veth::make("guarded0", "other0").unwrap();
        for (wanted, tcx) in [
            (Wanted::Xdp, true),
            (Wanted::XdpGeneric, true),
            (Wanted::Tc, true),
            (Wanted::Tc, false),
        ] {
            check("guarded0", wanted, tcx);
        }
    })
    .unwrap();
}

#[test]
fn the_probe_on_a_device_without_ethernet() {
    let host = silent();
    let _tunnel = host.enter(|| tunnel("tun0")).unwrap();
    host.ip("link set tun0 up").unwrap();
    host.enter(|| {
        for tcx in [true, false] {
            check("tun0", Wanted::Auto, tcx);
        }
    })
    .unwrap();
}
