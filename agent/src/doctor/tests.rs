//! Rows of data: one thing about a good machine is changed, and one check of it changes with it.

mod interface;
mod kernel;
mod network;
mod service;

use std::time::Duration;

use super::*;
use crate::dataplane::XdpFeatures;
use crate::dataplane::inspect::{Auto, Hooks, Offloads, TriedOut};
use crate::facts::{Facts, Interface};
use crate::host::schema::Hook;
use crate::rule::Forward;

/// A physical card that takes XDP, with `portcullis` attached to it; nothing to complain about.
fn good() -> Machine {
    let facts: Facts = serde_json::from_value(serde_json::json!({
        "schema": 1, "time": "2026-11-21T12:00:00Z", "hostname": "host", "kernel": "6.18.0",
        "interfaces": [interface("eth0", 2)], "resolvers": [], "names": {},
        "ephemeral": { "first": 32768, "last": 60999 }, "reserved_ports": [], "ssh_ports": [22],
        "listeners": null, "hz": 250, "cpus": 2,
    }))
    .unwrap();
    let limit = RateLimit {
        interval: Duration::from_secs(30),
        burst: 10_000,
    };
    Machine {
        facts,
        configuration: Configuration::Read(Configured {
            interfaces: vec!["eth0".to_owned()],
            bank: Some(4 << 20),
            flows: 64 << 20,
            ..Configured::default()
        }),
        kernel: Kernel {
            release: "6.18.0".to_owned(),
            tried: loaded(true),
            btf: true,
            jit: Some(1),
            jit_harden: Some(0),
            lockdown: Some("none".to_owned()),
            lacks: Vec::new(),
            out_of_reach: Vec::new(),
            bpffs: None,
            tcx: Some(true),
        },
        devices: [("eth0".to_owned(), card())].into(),
        ours: vec![10, 11],
        names: [(77, "theirs".to_owned())].into(),
        journal: Journal {
            answers: true,
            storage: "auto".to_owned(),
            directory: true,
            limit,
            unit_limit: Some(limit),
            free: Some(10 << 30),
        },
        clock: Clock {
            synchronized: Some(true),
        },
        available: Some(8 << 30),
        senders: Senders::default(),
    }
}

fn interface(name: &str, index: u32) -> serde_json::Value {
    serde_json::json!({
        "name": name, "index": index, "link_type": 1, "up": true, "mtu": 1500, "driver": "mlx5_core", "master": null, "parent": null,
        "addresses": [{ "address": format!("10.0.{index}.1/24"), "broadcast": null }],
        "forwards_v4": false, "forwards_v6": false, "has_lease": false,
    })
}

fn card() -> Device {
    Device {
        driver: Some("mlx5_core".to_owned()),
        auto: Auto {
            xdp: true,
            why: "it is known".to_owned(),
        },
        features: Some(XdpFeatures {
            basic: true,
            several_buffers: true,
        }),
        offloads: Some(Offloads::default()),
        hooks: Some(Hooks {
            xdp: vec![10],
            tcx: Some([vec![], vec![11]]),
            clsact: [vec![], vec![]],
        }),
        lower: Vec::new(),
        virtual_functions: 0,
    }
}

fn loaded(frags: bool) -> Tried {
    Tried::Loaded(TriedOut {
        frags,
        hz: 250,
        took: Duration::from_millis(900),
        grace: Duration::from_millis(17),
    })
}

fn configured(machine: &mut Machine) -> &mut Configured {
    match &mut machine.configuration {
        Configuration::Read(configured) => configured,
        other => panic!("{other:?}"),
    }
}

fn eth0(machine: &mut Machine) -> &mut Device {
    machine.devices.get_mut("eth0").unwrap()
}

fn hooks(machine: &mut Machine) -> &mut Hooks {
    eth0(machine).hooks.as_mut().unwrap()
}

/// Another interface, with a device of a kind.
fn add(machine: &mut Machine, name: &str, kind: &str, lower: &[&str]) {
    let index = machine.facts.interfaces.len() as u32 + 2;
    let mut other: Interface = serde_json::from_value(interface(name, index)).unwrap();
    other.driver = Some(kind.to_owned());
    machine.facts.interfaces.push(other);
    let device = Device {
        driver: Some(kind.to_owned()),
        auto: Auto {
            xdp: false,
            why: "it has no card".to_owned(),
        },
        hooks: Some(Hooks::default()),
        lower: lower.iter().map(|name| (*name).to_owned()).collect(),
        ..card()
    };
    machine.devices.insert(name.to_owned(), device);
}

/// The machine with a change: the check `id`, of this interface if one is named, has this level, its words are in what is printed, and every
/// other check is as green as before.
#[track_caller]
fn check(change: impl FnOnce(&mut Machine), id: &str, level: Level, words: &[&str]) {
    let mut machine = good();
    change(&mut machine);
    let checks = judge(&machine);
    let (id, subject) = match id.split_once(' ') {
        Some((id, subject)) => (id, Some(subject)),
        None => (id, None),
    };
    let found = checks
        .iter()
        .find(|check| check.id == id && (subject.is_none() || check.subject.as_deref() == subject));
    let found = found.unwrap_or_else(|| panic!("no check {id}: {checks:#?}"));
    assert_eq!(found.level, level, "{found:?}");
    assert_eq!(found.remedy.is_some(), level != Level::Green, "{found:?}");
    let said = format!(
        "{} / {}",
        found.found,
        found.remedy.as_deref().unwrap_or_default()
    );
    for word in words {
        assert!(said.contains(word), "`{word}` is not in: {said}");
    }
    for other in checks.iter().filter(|check| check.id != id) {
        assert_eq!(other.level, Level::Green, "{other:?}");
    }
}

const RED: Level = Level::Red;
const YELLOW: Level = Level::Yellow;
const GREEN: Level = Level::Green;

#[test]
fn a_good_machine_is_green() {
    let checks = judge(&good());
    let bad: Vec<&Check> = checks.iter().filter(|it| it.level != GREEN).collect();
    assert!(bad.is_empty(), "{bad:#?}");
    assert_eq!(worst(&checks), GREEN);
    assert!(
        text(&checks, false).ends_with("0 red, 0 yellow, 22 green\n"),
        "{}",
        text(&checks, false)
    );
}

#[test]
fn json_has_every_key() {
    let mut machine = good();
    machine.clock.synchronized = Some(false);
    let shown = json(&judge(&machine));
    assert_eq!(
        (&shown["schema"], &shown["level"]),
        (&1.into(), &"yellow".into())
    );
    for check in shown["checks"].as_array().unwrap() {
        let keys: Vec<&String> = check.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["id", "subject", "level", "found", "remedy"]);
    }
}
