//! Who asked: a denied packet of this host names the user and the unit of its sender, found by an agent that has the capabilities of its
//! unit and no others.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use portcullis::events::units::MOUNTS;
use portcullis_tests::daemon::{Agent, binary, repository};
use portcullis_tests::journald::{Entry, Journald, field};
use portcullis_tests::link::cable;
use portcullis_tests::netns::Namespace;
use portcullis_tests::process::wait_for;

use crate::site::configuration;

const LIMIT: Duration = Duration::from_secs(20);
const USER: &str = "4711";

/// A cgroup of the machine that goes when the test ends.
struct Cgroup {
    slice: PathBuf,
    unit: PathBuf,
}

impl Cgroup {
    #[track_caller]
    fn new(unit: &str) -> Self {
        let is_v2 = |mount: &&&str| Path::new(mount).join("cgroup.controllers").exists();
        let root = MOUNTS.iter().find(is_v2).expect("cgroup v2 is mounted");
        let slice = format!("portcullis{}.slice", std::process::id());
        let slice = Path::new(root).join(slice);
        let unit = slice.join(unit);
        fs::create_dir_all(&unit).unwrap();
        Self { slice, unit }
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // The kernel takes a while to see a process out of its cgroup.
        let removed = wait_for("the cgroup to be empty", LIMIT, || {
            Ok(fs::remove_dir(&self.unit).ok())
        });
        let _ = removed.and_then(|()| Ok(fs::remove_dir(&self.slice)?));
    }
}

/// A program that becomes the agent with the unit's bounding set.
#[track_caller]
fn confined(host: &Namespace) -> PathBuf {
    let unit = fs::read_to_string(repository("agent/dist/portcullis.service")).unwrap();
    let key = "CapabilityBoundingSet=";
    let line = unit.lines().find_map(|line| line.strip_prefix(key));
    let kept: String = line
        .unwrap()
        .split_whitespace()
        .map(|name| format!(",+{}", name.trim_start_matches("CAP_").to_lowercase()))
        .collect();
    let path = "/run/portcullis-confined";
    let agent = binary().unwrap();
    let text = format!(
        "#!/bin/sh\nexec setpriv --no-new-privs --inh-caps=-all --bounding-set=-all{kept} {} \"$@\"\n",
        agent.display()
    );
    host.write(path, &text).unwrap();
    host.text(&format!("chmod 0755 {path}")).unwrap();
    path.into()
}

/// Sends a datagram from a process of that user, in that cgroup or in the machine's own.
#[track_caller]
fn ask(host: &Namespace, cgroup: Option<&Cgroup>, to: SocketAddr) {
    let join = cgroup.map_or(String::new(), |cgroup| {
        format!("echo $$ > {}/cgroup.procs && ", cgroup.unit.display())
    });
    let script = format!(
        "{join}exec setpriv --reuid={USER} --regid={USER} --clear-groups sh -c 'echo asked | socat - UDP4:{to}'"
    );
    let status = host.command("sh").args(["-c", &script]).status().unwrap();
    assert!(status.success(), "{script}: {status}");
}

#[test]
fn a_denied_packet_names_user_and_unit() {
    let (server, peer) = (
        Namespace::new("server").unwrap(),
        Namespace::new("peer").unwrap(),
    );
    cable(
        (&server, "eth0", &["10.88.0.1/24"]),
        (&peer, "eth0", &["10.88.0.2/24"]),
    )
    .unwrap();
    let cgroup = Cgroup::new("asked.service");
    let journald = Journald::start(&server).unwrap();
    server
        .write(
            "/etc/portcullis/portcullis.toml",
            &configuration("xdp", "deny", ""),
        )
        .unwrap();
    let program = confined(&server);
    let mut agent = Agent::start_by(&server, &program, &["--sink", "journal,json"]).unwrap();
    let status = fs::read_to_string(format!("/proc/{}/status", agent.id())).unwrap();
    let has = |line: &str| {
        status
            .lines()
            .any(|it| it.split_whitespace().eq(line.split(' ')))
    };
    // CAP_NET_ADMIN 12, CAP_PERFMON 38, CAP_BPF 39 (include/uapi/linux/capability.h)
    assert!(has("CapEff: 000000c000001000"), "{status}");

    let to = |port| SocketAddr::from(([10, 88, 0, 2], port));
    let told = |port: u16| -> Entry {
        let filter = format!("PORTCULLIS_DST_PORT={port}");
        journald.wait_entry(&[&filter], LIMIT, |_| true).unwrap()
    };
    ask(&server, Some(&cgroup), to(4001));
    let entry = told(4001);
    assert_eq!(field(&entry, "PORTCULLIS_DIRECTION"), Some("egress"));
    assert_eq!(field(&entry, "PORTCULLIS_UID"), Some(USER), "{entry:?}");
    assert_eq!(
        field(&entry, "PORTCULLIS_UNIT"),
        Some("asked.service"),
        "{entry:?}"
    );
    let same = agent
        .wait_event("the same as JSON", LIMIT, |event| event["dst_port"] == 4001)
        .unwrap();
    assert_eq!(same["uid"].to_string(), USER, "{same}");
    assert_eq!(same["unit"], "asked.service", "{same}");

    // A cgroup that is no unit's has no name: the user is all that is known.
    ask(&server, None, to(4002));
    let entry = told(4002);
    assert_eq!(field(&entry, "PORTCULLIS_UID"), Some(USER), "{entry:?}");
    assert_eq!(field(&entry, "PORTCULLIS_UNIT"), None, "{entry:?}");

    // Nobody of this host asked for what comes in.
    let sent = peer
        .command("sh")
        .args(["-c", "echo asked | socat - UDP4:10.88.0.1:4003"])
        .status();
    assert!(sent.unwrap().success());
    let entry = told(4003);
    assert_eq!(field(&entry, "PORTCULLIS_DIRECTION"), Some("ingress"));
    assert_eq!(field(&entry, "PORTCULLIS_UID"), None, "{entry:?}");
    assert_eq!(field(&entry, "PORTCULLIS_UNIT"), None, "{entry:?}");

    agent.stop().unwrap();
    journald.stop().unwrap();
}
