//! Single packets and measured time, the waits that a switch relies on, and the command that ends it all.

use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use agent_common::switch::Switch;
use agent_common::tables::OPEN_BANK;
use agent_common::verdict::Reason;
use aya::maps::ProgramArray;
use portcullis::dataplane;
use portcullis::dataplane::object::BPF_OBJECT;
use portcullis::dataplane::testrun::Entry;
use portcullis::dataplane::{DEFAULT_ROOT, Error, Mechanism, Options, clock, detach_all};
use portcullis::host::schema::Hook as Wanted;
use portcullis_tests::daemon::{binary, portcullis};
use portcullis_tests::life::{live, syn};
use portcullis_tests::netns::{HELPER_LIMIT, Namespace};
use portcullis_tests::{process, veth};

use super::{CLOSED, OPEN, Pair, enforcing, load, nothing_left};

#[test]
fn one_packet_through_each_ingress_program() {
    let host = Namespace::new("host").unwrap();
    host.enter(|| {
        let mut plane = enforcing(&Options::default(), &[OPEN]);
        for entry in [Entry::XdpIngress, Entry::TcIngress] {
            for (port, passes) in [(OPEN, true), (CLOSED, false)] {
                let ran = plane.test_run(entry, &syn(port), &[], 1000).unwrap();
                assert_eq!(ran.passed, passes, "{entry:?} port {port}: {ran:?}");
                assert!(ran.nanoseconds < 10_000, "{ran:?}");
            }
        }
        let counters = plane.counters().unwrap();
        let denied = counters.balance.reported + counters.balance.suppressed;
        assert_eq!((denied, counters.balance.lost), (2000, 0), "{counters:?}");
        detach_all(Path::new(DEFAULT_ROOT)).unwrap();
    })
    .unwrap();
}

#[test]
fn a_rare_packet_that_nobody_can_judge_is_denied() {
    const ARP: [u8; 60] = {
        let mut frame = [0; 60];
        (frame[12], frame[13]) = (0x08, 0x06);
        frame
    };
    let host = Namespace::new("host").unwrap();
    host.enter(|| {
        let mut plane = enforcing(&Options::default(), &[OPEN]);
        let mut lost = 0;
        let xdp = if plane.takes_frags() {
            "RARE_XDP_FRAGS"
        } else {
            "RARE_XDP"
        };
        for (entry, array, slot) in [
            (Entry::XdpIngress, xdp, 0),
            (Entry::TcIngress, "RARE_TC", 0),
            (Entry::TcEgress, "RARE_TC", 1),
        ] {
            let ran = plane.test_run(entry, &ARP, &[], 1).unwrap();
            assert!(ran.passed, "{entry:?}: {ran:?}");
            let map = plane.ebpf().map_mut(array).unwrap();
            let mut programs = ProgramArray::try_from(map).unwrap();
            programs.clear_index(&slot).unwrap();
            let ran = plane.test_run(entry, &ARP, &[], 1).unwrap();
            assert!(!ran.passed, "{entry:?} without its entry: {ran:?}");
            lost += 1;
            let counters = plane.counters().unwrap();
            let internal: u64 = counters
                .reasons
                .iter()
                .filter(|it| it.1 == Reason::Internal)
                .map(|it| it.2)
                .sum();
            assert_eq!(internal, lost, "{entry:?}: {counters:?}");
        }
        detach_all(Path::new(DEFAULT_ROOT)).unwrap();
    })
    .unwrap();
}

#[test]
fn a_life_on_a_pair_made_by_netlink() {
    let host = Namespace::new("host").unwrap();
    host.enter(|| {
        veth::make("guarded0", "other0").unwrap();
        assert!(veth::make("guarded0", "other0").is_err(), "made twice");
        let hooks = [Wanted::Xdp, Wanted::Tc, Wanted::XdpGeneric];
        assert_eq!(live("guarded0", &hooks).unwrap(), Mechanism::Tcx);
    })
    .unwrap();
}

#[test]
fn the_clock_of_this_kernel() {
    let host = Namespace::new("host").unwrap();
    host.enter(|| {
        let alone = clock::measure_hz(BPF_OBJECT).unwrap();
        let plane = load(&Options::default());
        assert_eq!(plane.hz(), alone);
        let (from, began) = (plane.clock().now().unwrap(), Instant::now());
        while began.elapsed() < Duration::from_millis(50) {
            std::thread::yield_now();
        }
        let to = plane.clock().now().unwrap();
        assert!(to.nanoseconds - from.nanoseconds >= 50_000_000);
        assert!(to.jiffies > from.jiffies && to.tick() >= from.tick());
        detach_all(Path::new(DEFAULT_ROOT)).unwrap();
    })
    .unwrap();
}

#[test]
fn both_ways_to_wait_for_programs() {
    for (name, wait) in [
        ("either", dataplane::grace as fn() -> Result<(), Error>),
        ("by a map of maps", dataplane::grace_by_map_of_maps),
    ] {
        let began = Instant::now();
        wait().unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(began.elapsed() < Duration::from_secs(5), "{name}");
    }
}

#[test]
fn one_agent_at_a_time() {
    let host = Namespace::new("host").unwrap();
    host.enter(|| {
        let _plane = load(&Options::default());
        let root = std::fs::File::open(DEFAULT_ROOT).unwrap();
        root.lock().unwrap();
        let locked = detach_all(Path::new(DEFAULT_ROOT)).unwrap_err();
        assert!(matches!(locked, Error::Locked { .. }), "{locked}");
        root.unlock().unwrap();
        detach_all(Path::new(DEFAULT_ROOT)).unwrap();
    })
    .unwrap();
}

#[test]
fn a_deadline_changes_banks_without_anybody() {
    let pair = Pair::new();
    pair.on(|| {
        let mut plane = load(&Options::default());
        plane.attach("eth0", Wanted::Tc).unwrap();
        plane.write(0, &super::policy(&[OPEN]), 1).unwrap();
        plane.write(1, &super::policy(&[CLOSED]), 2).unwrap();
        plane.switch_to(Switch::to(0, OPEN_BANK, 1)).unwrap();
        // far enough to look before it, near enough to wait for
        let deadline = plane.clock().now().unwrap().tick() + plane.hz() * 3 / 64;
        plane
            .switch_to(Switch::to(1, 0, 2).until(deadline))
            .unwrap();
        pair.check(false, true);
        while plane.clock().now().unwrap().tick() < deadline {
            std::thread::sleep(Duration::from_millis(20));
        }
        pair.check(true, false);
        assert_eq!(plane.switch().unwrap().active(), 1, "nobody wrote it");
        detach_all(Path::new(DEFAULT_ROOT)).unwrap();
        nothing_left();
    });
}

#[test]
fn detach_by_command() {
    let pair = Pair::new();
    let nothing = portcullis(&pair.guarded, &["detach"]).unwrap();
    assert_eq!(nothing.status.code(), Some(0));
    let said = String::from_utf8(nothing.stdout).unwrap();
    assert!(said.starts_with("nothing was attached"), "{said}");

    // Held by this process, as by a daemon that runs.
    let plane = pair.on(|| {
        let mut plane = enforcing(&Options::default(), &[OPEN]);
        plane.attach("eth0", Wanted::Xdp).unwrap();
        plane
    });
    pair.check(true, false);
    let done = portcullis(&pair.guarded, &["detach"]).unwrap();
    assert_eq!(done.status.code(), Some(0), "{done:?}");
    let said = String::from_utf8(done.stdout).unwrap();
    for part in ["eth0 xdp: program", "eth0 tc-egress: program", "removed"] {
        assert!(said.contains(part), "{said}");
    }
    pair.check(true, true);
    pair.on(nothing_left);
    drop(plane);
}

#[test]
fn detach_without_permission() {
    let host = Namespace::new("host").unwrap();
    let mut command = host.command("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
    // The user may not read where the binary lies: a copy that everybody may.
    let copy = "/run/portcullis-copy";
    let bytes = std::fs::read(binary().unwrap()).unwrap();
    host.enter(|| {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::write(copy, bytes).unwrap();
        std::fs::set_permissions(copy, std::fs::Permissions::from_mode(0o755)).unwrap();
    })
    .unwrap();
    command.args([copy, "detach"]);
    let output = process::output(&mut command, HELPER_LIMIT).unwrap();
    assert_eq!(output.status.signal(), None, "{output:?}");
    assert_eq!(output.status.code(), Some(77), "{output:?}");
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("CAP_BPF"), "{said}");
}
