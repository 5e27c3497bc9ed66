//! What an agent finds when it starts: programs of others, an interface that is another one, pins of another version, tables of another
//! size.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use agent_common::flow::{FlowKey, FlowRecord, FlowTable};
use agent_common::net::{IpProto, V4};
use portcullis::dataplane::{DEFAULT_ROOT, Error, Hook, Options, Pinned, detach_all};
use portcullis::host::schema::Hook as Wanted;

use portcullis_tests::netns::HELPER_LIMIT;
use portcullis_tests::process::wait_for;

use super::{OPEN, Pair, enforcing, load, nothing_left};

/// Another agent's directory: its programs are none of ours.
const THEIRS: &str = "/sys/fs/bpf/theirs";

fn at(root: &str) -> Options {
    Options {
        root: PathBuf::from(root),
        ..Options::default()
    }
}

#[test]
fn a_foreign_xdp_program_is_left_alone() {
    let pair = Pair::new();
    pair.on(|| {
        let mut theirs = load(&at(THEIRS));
        let foreign = theirs.attach("eth0", Wanted::Xdp).unwrap().ingress;
        let mut ours = enforcing(&Options::default(), &[OPEN]);
        for wanted in [Wanted::Xdp, Wanted::XdpGeneric] {
            let error = ours.attach("eth0", wanted).unwrap_err();
            let Error::Taken { holder, .. } = &error else {
                panic!("{error}");
            };
            assert_eq!(holder.programs, [foreign.program], "{error}");
            assert_eq!(ours.attached().unwrap(), [], "half a guard is left");
        }
        pair.check(true, true);
        // beside it, at TC, there is room
        let beside = ours.attach("eth0", Wanted::Tc).unwrap();
        assert_eq!(beside.ingress.hook, Hook::TcIngress);
        pair.check(true, false);
        detach_all(Path::new(DEFAULT_ROOT)).unwrap();
        let left = theirs.attached().unwrap();
        assert_eq!(left.len(), 2, "theirs went as well: {left:?}");
        assert!(left.iter().any(|link| link.program == foreign.program));
        detach_all(Path::new(THEIRS)).unwrap();
        nothing_left();
    });
}

#[test]
fn a_foreign_filter_in_our_place_is_left_alone() {
    let pair = Pair::new();
    let clsact = |root: &str| Options {
        tcx: false,
        ..at(root)
    };
    pair.on(|| {
        let mut theirs = load(&clsact(THEIRS));
        let foreign = theirs.attach("eth0", Wanted::Tc).unwrap();
        let mut ours = enforcing(&clsact(DEFAULT_ROOT), &[OPEN]);
        let error = ours.attach("eth0", Wanted::Tc).unwrap_err();
        let Error::Taken { holder, .. } = &error else {
            panic!("{error}");
        };
        assert_eq!(holder.programs, [foreign.egress.program], "{error}");
        let removed = detach_all(Path::new(DEFAULT_ROOT)).unwrap();
        assert_eq!(removed.links, []);
        let left = theirs.attached().unwrap();
        assert!(left.iter().all(|link| link.load == Some(1)), "{left:?}");
        detach_all(Path::new(THEIRS)).unwrap();
        nothing_left();
    });
}

#[test]
fn an_interface_that_was_made_again_is_attached_anew() {
    for wanted in [Wanted::Tc, Wanted::Xdp] {
        let pair = Pair::new();
        let old = pair.on(|| {
            let mut plane = enforcing(&Options::default(), &[OPEN]);
            plane.attach("eth0", wanted).unwrap()
        });
        pair.guarded.ip("link del eth0").unwrap();
        pair.on(|| {
            let pinned = Pinned::open(Path::new(DEFAULT_ROOT)).unwrap().unwrap();
            assert!(pinned.links().iter().all(|link| link.index == 0));
        });
        pair.plug();
        pair.on(|| {
            let mut plane = enforcing(&Options::default(), &[OPEN]);
            let new = plane.attach("eth0", wanted).unwrap();
            assert_ne!((old.index, old.ingress.link), (new.index, new.ingress.link));
            assert!(!new.ingress.replaced && !new.egress.replaced);
            plane.retire_others().unwrap();
        });
        pair.check(true, false);
        pair.on(|| {
            detach_all(Path::new(DEFAULT_ROOT)).unwrap();
            nothing_left();
        });
    }
}

#[test]
fn interfaces_that_change_names_stay_guarded() {
    for wanted in [Wanted::Tc, Wanted::Xdp] {
        let pair = Pair::new();
        pair.guarded
            .ip("link add eth1 type veth peer name other1")
            .unwrap();
        let before = pair.on(|| {
            let mut plane = enforcing(&Options::default(), &[OPEN]);
            let names = ["eth0", "eth1"];
            names.map(|name| plane.attach(name, wanted).unwrap())
        });
        // each has the other's name now
        for line in ["eth0 name spare0", "eth1 name eth0", "spare0 name eth1"] {
            let (name, _) = line.split_once(' ').unwrap();
            pair.guarded.ip(&format!("link set {name} down")).unwrap();
            pair.guarded.ip(&format!("link set {line}")).unwrap();
        }
        pair.guarded.ip("link set eth1 up").unwrap();
        wait_for("the cable is up again", HELPER_LIMIT, || {
            Ok(pair.reaches(OPEN).then_some(()))
        })
        .unwrap();
        pair.on(|| {
            let mut plane = enforcing(&Options::default(), &[OPEN]);
            let after = ["eth1", "eth0"].map(|name| plane.attach(name, wanted).unwrap());
            for (old, new) in before.iter().zip(&after) {
                assert!(new.ingress.replaced && new.egress.replaced, "{new:?}");
                assert_eq!(old.ingress.link, new.ingress.link);
                assert_eq!(old.egress.link, new.egress.link);
            }
            assert_eq!(plane.attached().unwrap().len(), 4);
            plane.retire_others().unwrap();
        });
        pair.check(true, false);
        pair.on(|| {
            let removed = detach_all(Path::new(DEFAULT_ROOT)).unwrap();
            assert_eq!(removed.links.len(), 4);
        });
    }
}

#[test]
fn a_load_that_was_interrupted_is_no_load() {
    let pair = Pair::new();
    pair.on(|| {
        let plane = enforcing(&Options::default(), &[OPEN]);
        let tables = only_home().join("tables");
        fs::remove_file(tables.join("1/clock")).unwrap();
        fs::remove_file(tables.join("1/CELLS")).unwrap();
        drop(plane);
        assert!(Pinned::open(Path::new(DEFAULT_ROOT)).unwrap().is_none());
        let mut plane = enforcing(&Options::default(), &[OPEN]);
        plane.attach("eth0", Wanted::Tc).unwrap();
        assert_eq!(plane.retire_others().unwrap(), [1]);
        let pinned = Pinned::open(Path::new(DEFAULT_ROOT)).unwrap();
        assert_eq!(pinned.unwrap().load(), 2);
        detach_all(Path::new(DEFAULT_ROOT)).unwrap();
        nothing_left();
    });
}

#[test]
fn what_another_version_left_is_taken_over_without_a_gap() {
    for (first, second) in [
        (Wanted::Xdp, Wanted::Xdp),
        (Wanted::Tc, Wanted::Tc),
        (Wanted::XdpGeneric, Wanted::Xdp),
        (Wanted::Xdp, Wanted::Tc),
    ] {
        let pair = Pair::new();
        let old = pair.on(|| {
            let mut plane = enforcing(&Options::default(), &[OPEN]);
            let old = plane.attach("eth0", first).unwrap();
            drop(plane);
            let home = only_home();
            fs::rename(home, Path::new(DEFAULT_ROOT).join("v0-00000000")).unwrap();
            old
        });
        pair.check(true, false);
        pair.on(|| {
            let mut plane = enforcing(&Options::default(), &[]);
            assert_eq!(plane.notes().len(), 1, "{:?}", plane.notes());
            assert!(plane.notes()[0].contains("v0-00000000"));
            let new = plane.attach("eth0", second).unwrap();
            assert_eq!(new.egress.link, old.egress.link);
            assert!(new.egress.replaced);
            if first == second {
                assert_eq!(new.ingress.link, old.ingress.link);
            }
            plane.retire_others().unwrap();
            assert_eq!(plane.attached().unwrap().len(), 2);
            assert!(!Path::new(DEFAULT_ROOT).join("v0-00000000").exists());
        });
        pair.check(false, false);
        pair.on(|| {
            detach_all(Path::new(DEFAULT_ROOT)).unwrap();
            nothing_left();
        });
    }
}

#[test]
fn detach_removes_what_another_version_left_and_nothing_else() {
    let pair = Pair::new();
    pair.on(|| {
        let mut plane = enforcing(&Options::default(), &[OPEN]);
        plane.attach("eth0", Wanted::Tc).unwrap();
        drop(plane);
        let root = Path::new(DEFAULT_ROOT);
        fs::rename(only_home(), root.join("v7-0badcafe")).unwrap();
        fs::create_dir(root.join("theirs")).unwrap();
        let removed = detach_all(root).unwrap();
        assert_eq!(removed.links.len(), 2);
        assert_eq!(removed.directories, [root.join("v7-0badcafe")]);
        assert_eq!(removed.left, [root.join("theirs")]);
        fs::remove_dir(root.join("theirs")).unwrap();
        fs::remove_dir(root).unwrap();
        nothing_left();
    });
    pair.check(true, true);
}

/// The directory of the one version that is pinned.
fn only_home() -> PathBuf {
    let mut entries = fs::read_dir(DEFAULT_ROOT).unwrap();
    let home = entries.next().unwrap().unwrap().path();
    assert!(entries.next().is_none());
    home
}

#[test]
fn flows_move_into_tables_of_another_size() {
    let pair = Pair::new();
    let sized = |established: u32| Options {
        flows_established: established,
        ..Options::default()
    };
    let key = |port: u16| {
        let address = |last: u8| V4(u32::from(Ipv4Addr::new(10, 79, 0, last)));
        FlowKey::new(IpProto::TCP, address(1), port, address(2), 443)
    };
    pair.on(|| {
        let plane = load(&sized(64));
        let mut flows = plane.flows(FlowTable::Established).unwrap();
        for port in 1..=60 {
            let entry = FlowRecord {
                last: u32::from(port),
                ..FlowRecord::default()
            };
            flows.insert(&key(port), entry).unwrap();
        }
        drop(plane);
        let tables = || fs::read_dir(only_home().join("state")).unwrap().count();
        let before = tables();
        for (size, expected, notes) in [(64, 60, 0), (4096, 60, 0), (16, 16, 1)] {
            let mut plane = load(&sized(size));
            plane.retire_others().unwrap();
            let flows = plane.flows(FlowTable::Established).unwrap();
            let entries = flows.entries().unwrap();
            assert_eq!((flows.capacity(), entries.len()), (size, expected));
            for (key, entry) in entries {
                assert_eq!(u32::from(key.local_port), entry.last);
            }
            assert!(plane.notes().len() >= notes, "{:?}", plane.notes());
            assert_eq!(tables(), before, "a table that was set aside is left");
        }
        detach_all(Path::new(DEFAULT_ROOT)).unwrap();
    });
}
