//! Counters by row: packet by packet, over a switch, a reload, a crash and a restart; while anyone looks they never fall.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use portcullis::daemon::files::Directories;
use portcullis::dataplane::DEFAULT_ROOT;
use portcullis_tests::daemon::{Agent, CONFIGURATION, portcullis_json};
use portcullis_tests::netns::Namespace;
use portcullis_tests::process::wait_for;
use portcullis_tests::service::Services;
use serde_json::Value;

use crate::site::{IPPS, LIMIT, SERVER, SILENCE, Site, configuration, pinned, reaches, settled};

/// Passed, audited and denied packets by row.
type Rows = BTreeMap<String, [u64; 3]>;

fn status(host: &Namespace) -> Value {
    portcullis_json(host, &["status", "--json"]).unwrap()
}

fn rows(host: &Namespace) -> Rows {
    let status = status(host);
    let rows = status["counters"]["by_row"].as_object().unwrap().iter();
    rows.map(|(id, row)| {
        let count = |key: &str| row[key].as_u64().unwrap();
        (id.clone(), ["passed", "audited", "near"].map(count))
    })
    .collect()
}

fn row(rows: &Rows) -> [u64; 3] {
    rows.get(IPPS).copied().unwrap_or_default()
}

/// Ends what watches, also when a test fails.
struct End<'over>(&'over AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The row's counters once no packet is under way any more.
#[track_caller]
fn quiet(host: &Namespace) -> [u64; 3] {
    settled("packets of a connection that ends", || {
        pinned(host, |pinned| {
            let bank = pinned.switch().unwrap().active();
            let rules = pinned.sizes().rules as usize - 1;
            let counters = pinned.rule_counters(bank, rules).unwrap();
            counters
                .iter()
                .map(|counter| (counter.passed, counter.near))
                .collect::<Vec<_>>()
        })
    });
    row(&rows(host))
}

/// Looks all the time; how often.
fn watch(host: &Namespace, over: &AtomicBool) -> u64 {
    let mut before = Rows::new();
    let mut looks = 0;
    while !over.load(Ordering::Relaxed) {
        let now = rows(host);
        for (id, counts) in &before {
            let then = now.get(id).copied().unwrap_or_default();
            let fell = counts.iter().zip(then).any(|(before, now)| now < *before);
            assert!(!fell, "{id} fell from {counts:?} to {then:?}");
        }
        before = now;
        looks += 1;
    }
    looks
}

/// The generation in force and its state, once a change has come into force.
#[track_caller]
fn switched(host: &Namespace, from: u64) -> u64 {
    wait_for("another generation", LIMIT, || {
        let generation = status(host)["generation"].as_u64().unwrap_or(0);
        Ok((generation > from).then_some(generation))
    })
    .unwrap()
}

/// A client prints, a stranger is denied: both are counted beside the row.
#[track_caller]
fn check(site: &Site, what: &str) {
    let before = rows(&site.server);
    assert!(reaches(&site.client, SERVER[0], 443, LIMIT), "{what}");
    assert!(!reaches(&site.stranger, SERVER[0], 443, SILENCE), "{what}");
    let after = rows(&site.server);
    let [passed, _, near] = row(&after);
    let [passed_before, _, near_before] = row(&before);
    assert!(passed > passed_before, "{what}: {before:?}, then {after:?}");
    assert!(near > near_before, "{what}: {before:?}, then {after:?}");
}

/// Nothing was sent meanwhile, so nothing has changed.
#[track_caller]
fn same(site: &Site, before: [u64; 3], what: &str) {
    assert_eq!(row(&rows(&site.server)), before, "{what}");
}

#[test]
fn counters_by_row_survive_whatever_happens() {
    let site = Site::new();
    let server = &site.server;
    let mut services = Services::new();
    services.tcp(server, 443, "printed").unwrap();
    let text = configuration("xdp", "deny", "");
    // The other policy has its rules in other places.
    let other = format!(
        "{text}\n[allow.first]\ndirection = \"ingress\"\ntcp = [24]\npeers = \"any\"\nreason = \"another place for each rule\"\n"
    );
    let agent = Agent::start(server, &text, "json").unwrap();
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let end = End(&over);
        let watching = scope.spawn(|| watch(server, &over));
        check(&site, "started");
        // Three banks take turns: each is left, and written again.
        let mut generation = status(server)["generation"].as_u64().unwrap();
        for turn in 1..=4 {
            let text = if turn % 2 == 1 { &other } else { &text };
            let before = quiet(server);
            server.write(CONFIGURATION, text).unwrap();
            agent.hang_up().unwrap();
            generation = switched(server, generation);
            same(&site, before, &format!("reload {turn}"));
            check(&site, &format!("reload {turn}"));
        }
        let before = quiet(server);
        agent.kill().unwrap();
        same(&site, before, "killed");
        check(&site, "killed");
        let before = quiet(server);
        let mut agent = Agent::start_as_it_stands(server, "json").unwrap();
        same(&site, before, "started after a crash");
        check(&site, "started after a crash");
        let before = quiet(server);
        agent.stop().unwrap();
        same(&site, before, "stopped");
        let mut agent = Agent::start_as_it_stands(server, "json").unwrap();
        same(&site, before, "started after a stop");
        check(&site, "started after a stop");
        agent.stop().unwrap();
        drop(end);
        assert!(watching.join().unwrap() > 10);
    });
}

/// Banks are left and written anew while somebody looks without a pause: what is read falls between the file and the counters of no bank.
#[test]
fn sums_do_not_fall_while_banks_change() {
    const TURNS: usize = 12;
    let site = Site::new();
    let server = &site.server;
    let mut services = Services::new();
    services.tcp(server, 443, "printed").unwrap();
    let text = configuration("xdp", "deny", "");
    // Enough rules that their counters take a while to clear.
    let many = (20_000..26_000).map(|port| {
        format!("\n[allow.port-{port}]\ndirection = \"ingress\"\ntcp = [{port}]\npeers = \"any\"\nreason = \"one of many\"\n")
    });
    let text = text + &many.collect::<String>();
    let other = format!(
        "{text}\n[allow.other]\ndirection = \"ingress\"\ntcp = [24]\npeers = \"any\"\nreason = \"another policy\"\n"
    );
    let agent = Agent::start(server, &text, "json").unwrap();
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let end = End(&over);
        let looking = [(); 3].map(|()| scope.spawn(|| server.enter(|| look_on(&over)).unwrap()));
        let mut generation = status(server)["generation"].as_u64().unwrap();
        for turn in 0..TURNS {
            assert!(reaches(&site.client, SERVER[0], 443, LIMIT), "turn {turn}");
            let text = if turn % 2 == 0 { &other } else { &text };
            server.write(CONFIGURATION, text).unwrap();
            agent.hang_up().unwrap();
            generation = switched(server, generation);
        }
        drop(end);
        let looks: usize = looking.into_iter().map(|it| it.join().unwrap()).sum();
        assert!(looks > TURNS, "{looks} looks");
    });
}

/// The same while the agent ends anyhow, and another start replaces tables and programs.
#[test]
fn sums_do_not_fall_while_programs_are_replaced() {
    const TURNS: usize = 8;
    let site = Site::new();
    let server = &site.server;
    let mut services = Services::new();
    services.tcp(server, 443, "printed").unwrap();
    let mut agent = Agent::start(server, &configuration("xdp", "deny", ""), "json").unwrap();
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let end = End(&over);
        let looking = scope.spawn(|| server.enter(|| look_on(&over)).unwrap());
        for turn in 0..TURNS {
            let before = row(&rows(server))[0];
            assert!(reaches(&site.client, SERVER[0], 443, LIMIT), "turn {turn}");
            agent.kill().unwrap();
            let between = row(&rows(server))[0];
            assert!(between > before, "turn {turn}: {before}, then {between}");
            agent = Agent::start_as_it_stands(server, "json").unwrap();
            let after = row(&rows(server))[0];
            assert!(after >= between, "turn {turn}: {between}, then {after}");
        }
        agent.stop().unwrap();
        drop(end);
        let looks = looking.join().unwrap();
        assert!(looks > TURNS, "{looks} looks");
    });
}

/// As [`watch`], without a process for each look.
fn look_on(over: &AtomicBool) -> usize {
    let directories = Directories {
        state: "/var/lib/portcullis".into(),
        runtime: "/run/portcullis".into(),
        pins: DEFAULT_ROOT.into(),
    };
    let (mut looks, mut before) = (0, 0);
    while !over.load(Ordering::Relaxed) {
        let answer = portcullis::commands::status::answer(&directories, true);
        let status: Value = serde_json::from_str(&answer.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", answer.stderr));
        let passed = status["counters"]["by_row"][IPPS]["passed"].as_u64();
        let passed = passed.unwrap();
        assert!(passed >= before, "{IPPS} fell from {before} to {passed}");
        before = passed;
        looks += 1;
    }
    looks
}
