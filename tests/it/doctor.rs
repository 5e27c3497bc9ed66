//! `portcullis doctor` on throw-away hosts: what it says is what is there, and it touches nothing that is in force.

use std::path::Path;

use portcullis::dataplane::{DEFAULT_ROOT, Options};
use portcullis::host::schema::Hook;
use portcullis_tests::daemon::{Agent, portcullis, portcullis_json};
use portcullis_tests::journald::Journald;
use portcullis_tests::netns::Namespace;
use portcullis_tests::raw::Sender;
use portcullis_tests::service::Services;
use portcullis_tests::{life, veth};
use serde_json::Value;

use crate::site::{LIMIT, SERVER, Site, configuration, pinned, reaches};

/// Where a host's configuration is.
const CONFIGURATION: &str = "/etc/portcullis/portcullis.toml";

/// The one check of this name, and of this interface where one is said.
#[track_caller]
fn found(report: &Value, id: &str, interface: Option<&str>) -> (String, String) {
    let checks = report["checks"].as_array().unwrap();
    let check = checks
        .iter()
        .find(|check| check["id"] == id && check["subject"].as_str() == interface)
        .unwrap_or_else(|| panic!("no {id}: {report:#}"));
    let text = |key: &str| check[key].as_str().unwrap_or_default().to_owned();
    (text("level"), text("found") + " / " + &text("remedy"))
}

/// A check: its name and interface, its level, words of it.
type Expected<'a> = (&'a str, Option<&'a str>, &'a str, &'a [&'a str]);

/// One look at the host; each takes the verifier some seconds of work. The report is given back.
#[track_caller]
fn check(host: &Namespace, expected: &[Expected<'_>]) -> Value {
    let report = portcullis_json(host, &["doctor", "--json"]).unwrap();
    for (id, interface, level, words) in expected {
        let (is, said) = found(&report, id, *interface);
        assert_eq!(is, *level, "{id}: {said}");
        for word in *words {
            assert!(said.contains(word), "{id}: `{word}` is not in: {said}");
        }
    }
    report
}

/// Everything that is pinned on a host: paths.
fn pins(host: &Namespace) -> Vec<String> {
    fn below(directory: &Path, found: &mut Vec<String>) {
        for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
            found.push(entry.path().display().to_string());
            below(&entry.path(), found);
        }
    }
    let mut found = Vec::new();
    host.enter(|| below(Path::new("/sys/fs/bpf"), &mut found))
        .unwrap();
    found.sort();
    found
}

#[test]
fn a_guarded_host_is_looked_at_and_left_as_it_is() {
    let site = Site::new();
    let server = &site.server;
    let _journal = Journald::start(server).unwrap();
    let mut services = Services::new();
    services.tcp(server, 443, "printed").unwrap();
    let _agent = Agent::start(server, &configuration("tc", "deny", ""), "json").unwrap();
    let before = (pins(server), pinned(server, |it| it.links().to_vec()));

    let report = check(
        server,
        &[
            ("capabilities", None, "green", &["CAP_BPF"]),
            ("bpffs", None, "green", &[]),
            ("programs", None, "green", &["takes every program"]),
            ("hz", None, "green", &["jiffies a second"]),
            ("driver", Some("eth0"), "green", &["driver veth"]),
            ("mtu", Some("eth0"), "green", &["1500"]),
            (
                "other-programs",
                Some("eth0"),
                "green",
                &["nothing of others"],
            ),
            ("configuration", None, "green", &[]),
            ("forwarding", None, "green", &[]),
            ("senders", None, "green", &[]),
            ("memory", None, "green", &[]),
            // The journal of such a host is in memory.
            ("journald", None, "yellow", &["Storage=volatile"]),
            ("journald-limits", None, "green", &["no limit"]),
        ],
    );
    assert_eq!(
        (&report["schema"], &report["level"]),
        (&1.into(), &"yellow".into())
    );

    let after = (pins(server), pinned(server, |it| it.links().to_vec()));
    assert_eq!(before, after);
    assert!(reaches(&site.client, SERVER[0], 443, LIMIT));
}

#[test]
fn what_is_wrong_is_red_and_the_exit_code_says_so() {
    let site = Site::new();
    let server = &site.server;
    server
        .write(CONFIGURATION, &configuration("xdp", "deny", ""))
        .unwrap();
    server.sysctl("net/ipv4/ip_forward", "1").unwrap();
    server.ip("tuntap add mode tun name vpn0").unwrap();
    let output = portcullis(server, &["doctor"]).unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{text}");
    let red: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("red "))
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    // No journald is there, and what forwarding means is not said.
    assert_eq!(red, ["configuration", "forwarding", "journald"], "{text}");
    let green = |id: &str| {
        let line = text.lines().find(|line| line.contains(&format!(" {id} ")));
        assert!(
            line.is_some_and(|line| line.starts_with("green")),
            "{line:?}"
        );
    };
    green("tunnels");
    green("senders");

    let said = configuration("xdp", "deny", "\n[forward]\ndefault = \"deny\"\n");
    server.write(CONFIGURATION, &said).unwrap();
    server.ip("link set vpn0 up").unwrap();
    let sender = Sender::new(server, "eth0").unwrap();
    check(
        server,
        &[
            ("forwarding", None, "green", &[]),
            ("configuration", None, "green", &[]),
            ("tunnels", None, "yellow", &["add vpn0"]),
            ("senders", None, "yellow", &["CAP_NET_RAW"]),
        ],
    );
    drop(sender);
    server.write(CONFIGURATION, "schema = 1\n").unwrap();
    check(
        server,
        &[
            ("configuration", None, "red", &["portcullis check"]),
            ("senders", None, "green", &[]),
        ],
    );
}

#[test]
fn programs_of_others_are_told_from_ours() {
    let host = Namespace::new("host").unwrap();
    host.enter(|| veth::make("eth0", "peer0")).unwrap().unwrap();
    let configure = |hook: &str| {
        host.write(CONFIGURATION, &configuration(hook, "deny", ""))
            .unwrap();
    };
    let attach = |root: &str, hook: Hook| {
        let options = Options {
            root: root.into(),
            ..Options::default()
        };
        host.enter(|| {
            let mut loaded = life::load(&options).unwrap();
            loaded.attach("eth0", hook).unwrap();
        })
        .unwrap();
    };
    let others = |level, words: &[&str]| {
        check(&host, &[("other-programs", Some("eth0"), level, words)]);
    };
    configure("tc");
    attach(DEFAULT_ROOT, Hook::Tc);
    others("green", &["nothing of others"]);
    // Whoever asks to be first is first.
    attach("/sys/fs/bpf/theirs", Hook::Tc);
    others("red", &["runs before ours", "tc_ingress", "tc_egress"]);
    assert!(portcullis(&host, &["detach"]).unwrap().status.success());
    others("green", &["beside ours at TC", "tc_egress"]);

    attach("/sys/fs/bpf/theirs", Hook::Xdp);
    configure("auto");
    others("yellow", &["holds the XDP slot", "xdp_ingress"]);
    configure("xdp");
    check(
        &host,
        &[
            (
                "other-programs",
                Some("eth0"),
                "red",
                &["can't be attached"],
            ),
            // It has native XDP, which costs more than it saves.
            ("driver", Some("eth0"), "yellow", &["at a price"]),
        ],
    );
}
