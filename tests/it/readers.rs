//! Who may ask the agent what, by the group that the configuration names; and a crowd of those who may, which stalls nobody.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::Instant;

use portcullis_tests::daemon::{Agent, CONFIGURATION, binary, portcullis, portcullis_json};
use portcullis_tests::netns::Namespace;
use portcullis_tests::process::{output, wait_for};
use serde_json::Value;

use crate::control::says;
use crate::site::{LIMIT, configuration};

const SOCKET: &str = "/run/portcullis/control.sock";
/// A copy of the agent's program that anybody may start, wherever this one lies.
const PROGRAM: &str = "/run/portcullis-of-anybody";
/// The group's number, and that of nobody's group.
const GROUP: u32 = 4_242;
const OTHERS: u32 = 4_343;
const USER: u32 = 4_444;

/// Users by their group and further groups.
const BY_OWN_GROUP: (u32, &[u32]) = (GROUP, &[]);
const BY_FURTHER_GROUP: (u32, &[u32]) = (OTHERS, &[7, GROUP, 9]);
const NO_MEMBER: (u32, &[u32]) = (OTHERS, &[7, 9]);

fn named(group: &str) -> String {
    let more = format!("[daemon]\nsocket-group = \"{group}\"\n");
    configuration("tc", "open", &more)
}

fn host() -> Namespace {
    let host = Namespace::new("server").unwrap();
    host.ip("link add eth0 type veth peer name eth1").unwrap();
    host.ip("link set eth0 up").unwrap();
    let place = host.text(&format!(
        "install -m 0755 {} {PROGRAM}",
        binary().unwrap().display()
    ));
    place.unwrap();
    host
}

/// Makes the group; the first call on a host.
fn make_group(host: &Namespace) {
    let groups = std::fs::read_to_string("/etc/group").unwrap();
    let line = format!("watchers:x:{GROUP}:\n");
    host.write("/etc/group", &(groups + &line)).unwrap();
}

/// A command by a user who is not root: its exit code and what it said.
#[track_caller]
fn by(host: &Namespace, (group, further): (u32, &[u32]), arguments: &[&str]) -> (i32, String) {
    let mut command = host.command("setpriv");
    command.args([format!("--reuid={USER}"), format!("--regid={group}")]);
    let further: Vec<String> = further.iter().map(u32::to_string).collect();
    command.arg(match further.join(",") {
        none if none.is_empty() => "--clear-groups".to_owned(),
        some => format!("--groups={some}"),
    });
    command.arg(PROGRAM).args(arguments);
    let done = output(&mut command, LIMIT).unwrap();
    let said = [done.stdout, done.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    (done.status.code().unwrap(), said)
}

#[track_caller]
fn check(host: &Namespace, user: (u32, &[u32]), arguments: &[&str], code: i32, part: &str) {
    let (found, said) = by(host, user, arguments);
    assert_eq!(found, code, "{user:?} {arguments:?}: {said}");
    assert!(said.contains(part), "{user:?} {arguments:?}: {said}");
}

fn comes_to_read(host: &Namespace, user: (u32, &[u32]), expected: bool) {
    let what = format!("{user:?} reads: {expected}");
    wait_for(&what, LIMIT, || {
        let (code, _) = by(host, user, &["status"]);
        Ok(((code == 0) == expected).then_some(()))
    })
    .unwrap();
}

#[test]
fn the_group_reads_and_root_alone_changes() {
    let host = host();
    let mut agent = Agent::start(&host, &configuration("tc", "open", ""), "json").unwrap();
    // Nothing is said of a group: nobody but root.
    for user in [BY_OWN_GROUP, BY_FURTHER_GROUP, NO_MEMBER] {
        check(&host, user, &["status"], 77, "run as root");
        check(&host, user, &["events", "--follow"], 77, "run as root");
        check(&host, user, &["confirm"], 77, "run as root");
    }
    // A group that is not there yet is told, and looked for again.
    host.write(CONFIGURATION, &named("watchers")).unwrap();
    says(&host, &["apply"], 0, "applied");
    wait_for("the missing group", LIMIT, || {
        let told = "no group `watchers` in /etc/group";
        Ok(agent.log().contains(told).then_some(()))
    })
    .unwrap();
    check(&host, BY_OWN_GROUP, &["status"], 77, "run as root");
    make_group(&host);
    comes_to_read(&host, BY_OWN_GROUP, true);

    let of_root = portcullis_json(&host, &["status", "--json"]).unwrap();
    for user in [BY_OWN_GROUP, BY_FURTHER_GROUP] {
        check(&host, user, &["status"], 0, "ENFORCING");
        let (_, said) = by(&host, user, &["status", "--json"]);
        let of_user: Value = serde_json::from_str(&said).unwrap();
        for key in ["daemon", "state", "generation", "policy_hash", "interfaces"] {
            assert_eq!(of_user[key], of_root[key], "{key}");
        }
        for command in [
            &["apply"][..],
            &["reload"],
            &["confirm"],
            &["revert"],
            &["pause", "--for", "1m"],
        ] {
            check(&host, user, command, 77, "change nothing");
        }
    }
    check(&host, NO_MEMBER, &["status"], 77, "run as root");
    check(&host, NO_MEMBER, &["revert"], 77, "run as root");
    // Who reads may watch as well.
    check(&host, NO_MEMBER, &["events", "--follow"], 77, "run as root");
    let watching = connections(&host, GROUP, 1, EVENTS).remove(0);
    let mut begin = String::new();
    BufReader::new(watching).read_line(&mut begin).unwrap();
    let begin: Value = serde_json::from_str(&begin).unwrap();
    assert_eq!(begin["code"], 0, "{begin}");
    let after = portcullis_json(&host, &["status", "--json"]).unwrap();
    assert_eq!(after["generation"], of_root["generation"]);
    // Root changes; another group may read, and this one no more.
    host.write(CONFIGURATION, &named(&OTHERS.to_string()))
        .unwrap();
    says(&host, &["apply"], 0, "applied");
    comes_to_read(&host, NO_MEMBER, true);
    check(&host, BY_OWN_GROUP, &["status"], 77, "run as root");
    host.write(CONFIGURATION, &configuration("tc", "open", ""))
        .unwrap();
    says(&host, &["apply"], 0, "applied");
    comes_to_read(&host, NO_MEMBER, false);
    // Without a daemon nobody tells them.
    drop(agent);
    check(&host, BY_OWN_GROUP, &["status"], 77, "run as root");
    assert_eq!(
        portcullis(&host, &["status"]).unwrap().status.code(),
        Some(3)
    );
}

/// This thread is the user's from here on; it is left to end. The system calls themselves: the library's would change all threads.
fn become_user(group: u32) {
    // SAFETY: plain numbers and no memory; of this thread alone.
    let done = unsafe {
        [
            libc::syscall(libc::SYS_setgroups, 0, 0),
            libc::syscall(libc::SYS_setresgid, group, group, group),
            libc::syscall(libc::SYS_setresuid, USER, USER, USER),
        ]
    };
    assert_eq!(done, [0; 3]);
}

/// Connections of a user, each of which says this.
fn connections(host: &Namespace, group: u32, count: usize, says: &[u8]) -> Vec<UnixStream> {
    host.enter(move || {
        become_user(group);
        let connect = |_| {
            let mut client = UnixStream::connect(SOCKET).unwrap();
            // Some are sent away for those that came after them.
            let _ = client.write_all(says);
            client
        };
        (0..count).map(connect).collect()
    })
    .unwrap()
}

const EVENTS: &[u8] = b"{\"version\":1,\"command\":\"events\"}\n";
const STATUS: &[u8] = b"{\"version\":1,\"command\":\"status\",\"json\":true}\n";

#[test]
fn a_crowd_of_readers_stalls_nobody() {
    let host = host();
    make_group(&host);
    let agent = Agent::start(&host, &named("watchers"), "json").unwrap();
    comes_to_read(&host, BY_OWN_GROUP, true);
    let root_is_served = |what: &str| {
        let begin = Instant::now();
        says(&host, &["apply"], 0, "unchanged");
        says(&host, &["status"], 0, "ENFORCING");
        assert!(begin.elapsed() < LIMIT, "{what}: {:?}", begin.elapsed());
    };
    let silent = connections(&host, GROUP, 200, b"");
    root_is_served("readers that say nothing");
    let deaf = connections(&host, GROUP, 100, STATUS);
    root_is_served("readers that do not read");
    let strangers = connections(&host, OTHERS, 300, STATUS);
    root_is_served("strangers");
    for mut client in strangers {
        let mut said = String::new();
        let _ = client.read_to_string(&mut said);
        assert!(said.contains("permission denied"), "{said}");
    }
    let garbage = connections(&host, GROUP, 100, &[b'x'; 1 << 12]);
    root_is_served("garbage");
    // Those that were heard have their answer, or are told why not.
    let mut answers = [0; 2];
    for mut client in deaf {
        let mut said = String::new();
        let _ = client.read_to_string(&mut said);
        let answer: Value = serde_json::from_str(&said).unwrap_or_default();
        match answer["code"].as_u64() {
            Some(code) if code < 2 => answers[code as usize] += 1,
            None => {}
            other => panic!("{other:?}: {said}"),
        }
    }
    assert!(answers[0] > 0, "{answers:?}");
    drop((silent, garbage));
    comes_to_read(&host, BY_OWN_GROUP, true);
    root_is_served("afterwards");
    drop(agent);
}
