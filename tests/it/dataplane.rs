//! From tables to programs in force on real interfaces: load, attach by each hook, switch, re-open, replace, detach.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::time::Duration;

use agent_common::tables::{
    Cell, CellAction, Head, NO_RULE, OPEN_BANK, Plane, Switch, Timeouts, facts,
};
use portcullis::compile::tables::Tables;
use portcullis::dataplane::object::BPF_OBJECT;
use portcullis::dataplane::{
    Attached, BankSizes, DEFAULT_ROOT, Dataplane, Error, Hook, Options, Pinned, detach_all,
};
use portcullis::host::schema::Hook as Wanted;
use portcullis_tests::link::cable;
use portcullis_tests::netns::Namespace;

/// Two hosts on a cable; the first is guarded.
struct Pair {
    guarded: Namespace,
    client: Namespace,
    _listeners: Vec<TcpListener>,
}

const OPEN: u16 = 8080;
const CLOSED: u16 = 8081;

impl Pair {
    #[track_caller]
    fn new() -> Self {
        let guarded = Namespace::new("guarded").unwrap();
        let client = Namespace::new("client").unwrap();
        cable(
            (&guarded, "eth0", &["10.79.0.1/24", "fd79::1/64"]),
            (&client, "eth0", &["10.79.0.2/24", "fd79::2/64"]),
        )
        .unwrap();
        let listen = |port: u16| {
            let at = SocketAddr::from(([10, 79, 0, 1], port));
            guarded.enter(|| TcpListener::bind(at)).unwrap().unwrap()
        };
        let _listeners = vec![listen(OPEN), listen(CLOSED)];
        Self {
            guarded,
            client,
            _listeners,
        }
    }

    /// Runs on the guarded host, where its own pins are.
    #[track_caller]
    fn on<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.guarded.enter(work).unwrap()
    }

    fn reaches(&self, port: u16) -> bool {
        let to = SocketAddr::from(([10, 79, 0, 1], port));
        let connected = self
            .client
            .enter(|| TcpStream::connect_timeout(&to, Duration::from_millis(400)));
        connected.unwrap().is_ok()
    }

    #[track_caller]
    fn check(&self, open: bool, closed: bool) {
        assert_eq!(
            (self.reaches(OPEN), self.reaches(CLOSED)),
            (open, closed),
            "ports {OPEN} and {CLOSED}"
        );
    }
}

/// A policy that admits TCP to some ports from anybody, and lets everything out.
fn policy(ports: &[u16]) -> Tables {
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
        unplaced: Vec::new(),
        sizes: portcullis::compile::Sizes::default(),
    }
}

fn load(tcx: bool) -> Dataplane {
    let sizes = BankSizes::of(&policy(&[])).with_room();
    let options = Options {
        tcx,
        ..Options::default()
    };
    Dataplane::load(BPF_OBJECT, sizes, &options).unwrap_or_else(|error| panic!("{error}"))
}

/// A load with `ports` open, in force in bank 0.
fn enforcing(tcx: bool, ports: &[u16]) -> Dataplane {
    let mut plane = load(tcx);
    plane.write(0, &policy(ports), 1).unwrap();
    plane.switch_to(Switch::to(0, OPEN_BANK, 1)).unwrap();
    plane
}

#[track_caller]
fn nothing_left() {
    assert!(!Path::new(DEFAULT_ROOT).exists(), "pins are left");
    assert_eq!(programs_on("eth0"), "", "programs are left on eth0");
}

/// What `ip` and `tc` show on an interface of this thread's network.
fn programs_on(interface: &str) -> String {
    let mut shown = String::new();
    for line in [
        format!("ip -d link show dev {interface}"),
        format!("tc qdisc show dev {interface} clsact"),
        format!("bpftool -j net show dev {interface}"),
    ] {
        let mut words = line.split(' ');
        let output = std::process::Command::new(words.next().unwrap())
            .args(words)
            .output()
            .unwrap_or_else(|error| panic!("{line}: {error}"));
        let text = String::from_utf8_lossy(&output.stdout);
        let telling = |line: &&str| {
            line.contains("prog/xdp") || line.contains("clsact") || line.contains("\"id\"")
        };
        shown.extend(text.lines().filter(telling));
    }
    shown
}

/// Attached in generation 0, then under a policy, then under another, then replaced by a second load, then detached.
#[track_caller]
fn life(wanted: Wanted, tcx: bool, ingress: Hook, egress: Hook) {
    let pair = Pair::new();
    pair.check(true, true);
    let first = pair.on(|| {
        let mut plane = load(tcx);
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
        let mut plane = enforcing(tcx, &[OPEN]);
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
            let mut plane = enforcing(tcx, &[OPEN]);
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
