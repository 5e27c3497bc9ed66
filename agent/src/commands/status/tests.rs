use super::*;
use crate::daemon::{NotedInterface, NotedProduct};
use crate::dataplane::Hook;

fn notes(problems: &[&str], stage: &str, guarded: bool) -> Notes {
    Notes {
        schema: 1,
        load: 1,
        generation: 3,
        since: Timestamp::UNIX_EPOCH,
        policy_hash: "00".to_owned(),
        interfaces: vec![NotedInterface {
            name: "eth0".to_owned(),
            wanted: "auto".to_owned(),
            why: "xdp: because".to_owned(),
            guarded,
            unproved: false,
        }],
        products: vec![NotedProduct {
            name: "p".to_owned(),
            policy: "p".to_owned(),
            stage: stage.to_owned(),
            audit_until: None,
        }],
        audits: Vec::new(),
        problems: problems.iter().map(|&it| it.to_owned()).collect(),
        unresolved: Vec::new(),
        reverted: false,
        cut: Vec::new(),
    }
}

fn link(hook: Hook, index: u32, load: Option<u32>) -> LinkView {
    LinkView {
        interface: "eth0".to_owned(),
        index,
        hook,
        program: 7,
        link: Some(1),
        load,
    }
}

fn both(index: u32, load: Option<u32>) -> Vec<LinkView> {
    vec![
        link(Hook::Xdp, index, load),
        link(Hook::TcEgress, index, load),
    ]
}

fn view(links: &[LinkView], notes: Option<&Notes>) -> View {
    let mut view = View::nothing(None);
    interfaces(&mut view, links, notes);
    if let Some(notes) = notes {
        view.problems.extend(notes.problems.clone());
        view.products.clone_from(&notes.products);
    }
    view
}

#[track_caller]
fn check(links: &[LinkView], notes: Option<Notes>, word: Switch, now: u32, expected: State) {
    let view = view(links, notes.as_ref());
    let (_, paused) = word.in_force(now);
    let expired = word.deadline().is_some_and(|tick| passed(now, tick));
    let reverted = expired && !word.is_pause();
    assert_eq!(
        state(&view, word, paused, expired, reverted),
        expected,
        "{view:?}"
    );
}

#[test]
fn the_first_state_that_holds() {
    let word = Switch::to(0, 1, 3);
    let (pending, paused) = (word.until(100), word.paused_until(100));
    let fine = || Some(notes(&[], "enforce", true));
    let guarded = both(2, Some(1));
    check(&[], None, word, 0, State::Detached);
    check(&[], fine(), word, 0, State::Degraded); // attached once, and gone
    check(&guarded, None, word, 0, State::Enforcing); // no daemon ever wrote notes
    check(&guarded, fine(), word, 0, State::Enforcing);
    check(&guarded, fine(), pending, 99, State::PendingConfirm);
    check(&guarded, fine(), pending, 100, State::Reverted);
    check(&guarded, fine(), paused, 99, State::Paused);
    check(&guarded, fine(), paused, 100, State::Enforcing);
    let trouble = || Some(notes(&["reload refused"], "audit", true));
    check(&guarded, trouble(), pending, 99, State::Degraded);
    let audit = || Some(notes(&[], "audit", true));
    check(&guarded, audit(), word, 0, State::Audit);
    check(&guarded, audit(), pending, 0, State::PendingConfirm);
    check(&both(0, Some(1)), fine(), word, 0, State::Degraded); // the interface is gone
    check(&both(2, None), fine(), word, 0, State::Degraded); // somebody else's programs
    let half = [link(Hook::TcEgress, 2, Some(1))];
    check(&half, fine(), word, 0, State::Degraded);
}

#[test]
fn an_interface_says_where_it_is_judged() {
    let notes = notes(&[], "enforce", true);
    for (hook, expected) in [
        (Hook::Xdp, "xdp"),
        (Hook::XdpGeneric, "xdp-generic"),
        (Hook::TcIngress, "tc"),
        (Hook::ClsactIngress, "tc"),
    ] {
        let links = [link(hook, 2, Some(1)), link(Hook::TcEgress, 2, Some(1))];
        let view = view(&links, Some(&notes));
        let [interface] = view.interfaces.as_slice() else {
            panic!("{:?}", view.interfaces);
        };
        assert!(interface.guarded);
        assert_eq!(interface.hook, Some(expected));
        assert_eq!(interface.why.as_deref(), Some("xdp: because"));
    }
}

#[test]
fn all_keys_are_always_there() {
    let nothing = serde_json::to_value(View::nothing(None)).unwrap();
    let keys: Vec<&String> = nothing.as_object().unwrap().keys().collect();
    assert_eq!(
        keys,
        [
            "schema",
            "daemon",
            "pid",
            "state",
            "since",
            "deadline",
            "generation",
            "policy_hash",
            "forward",
            "problems",
            "interfaces",
            "products",
            "audits",
            "unresolved",
            "cut",
            "counters",
            "conntrack",
            "pins",
            "abi"
        ]
    );
    assert_eq!(nothing["daemon"], false);
    assert_eq!(nothing["state"], "detached");
    let running = serde_json::to_value(View::nothing(Some(1))).unwrap();
    assert_eq!(running["daemon"], true);
}

#[test]
fn the_text_says_first_what_matters() {
    let mut view = view(&both(2, Some(1)), Some(&notes(&[], "enforce", true)));
    for (state, generation, expected) in [
        (State::Enforcing, 3, "ENFORCING generation 3"),
        (State::Detached, 0, "DETACHED: nothing is filtered"),
        (State::Reverted, 0, "EVERYTHING PASSES"),
        (State::Reverted, 3, "generation 3 is in force again"),
        (State::Degraded, 3, "DEGRADED"),
    ] {
        (view.state, view.generation) = (state, Some(generation));
        let text = text::text(&view);
        let first = text.lines().next().unwrap();
        assert!(first.contains(expected), "{first}");
        assert!(text.contains("daemon NOT running") || state == State::Detached);
        assert!(text.contains("eth0: ingress xdp-link (program 7)"));
    }
}
