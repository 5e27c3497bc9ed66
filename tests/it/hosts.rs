//! The helpers themselves: hosts are apart, linked as said, and gone afterwards.

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::unix::fs::MetadataExt as _;
use std::time::Duration;

use portcullis_tests::journald::{Journald, field};
use portcullis_tests::link::{Switch, cable, listens, mac, wait_listens};
use portcullis_tests::netns::Namespace;
use portcullis_tests::service::{Services, ask_tcp, ask_udp};

const LIMIT: Duration = Duration::from_secs(10);

#[test]
fn files_of_a_host_are_its_own() {
    let (one, two) = (
        Namespace::new("one").unwrap(),
        Namespace::new("two").unwrap(),
    );
    for path in [
        "/etc/portcullis/portcullis.toml",
        "/var/lib/portcullis/state",
        "/run/portcullis/plan.json",
    ] {
        one.write(path, "of one").unwrap();
        assert_eq!(one.read(path).unwrap(), "of one");
        assert!(two.read(path).is_err(), "{path} is seen by another host");
        let outside = std::fs::read_to_string(path).unwrap_or_default();
        assert_ne!(outside, "of one", "{path} is seen by the machine");
    }
    let device = |host: &Namespace| {
        let of = host.enter(|| std::fs::metadata("/sys/fs/bpf").unwrap().dev());
        of.unwrap()
    };
    assert_ne!(device(&one), device(&two), "one bpffs for two hosts");
}

#[test]
fn a_switch_carries_both_families() {
    let switch = Switch::new().unwrap();
    let (server, client) = (
        Namespace::new("server").unwrap(),
        Namespace::new("client").unwrap(),
    );
    switch
        .plug(&server, "eth0", &["10.77.0.1/24", "fd77::1/64"])
        .unwrap();
    switch
        .plug(&client, "eth0", &["10.77.0.2/24", "fd77::2/64"])
        .unwrap();
    client.text("ping -n -c 1 -W 5 10.77.0.1").unwrap();
    client.text("ping -n -c 1 -W 5 fd77::1").unwrap();
    let nobody = client.output("ping -n -c 1 -W 1 10.77.0.3", LIMIT).unwrap();
    assert!(
        !nobody.status.success(),
        "an address that nobody has answered"
    );
    assert_ne!(mac(&server, "eth0").unwrap(), mac(&client, "eth0").unwrap());
}

#[test]
fn a_cable_carries_both_families() {
    let (one, two) = (
        Namespace::new("one").unwrap(),
        Namespace::new("two").unwrap(),
    );
    cable(
        (&one, "eth0", &["10.78.0.1/24", "fd78::1/64"]),
        (&two, "eth1", &["10.78.0.2/24", "fd78::2/64"]),
    )
    .unwrap();
    one.text("ping -n -c 1 -W 5 10.78.0.2").unwrap();
    two.text("ping -n -c 1 -W 5 fd78::1").unwrap();
}

#[test]
fn listening_is_seen() {
    let host = Namespace::new("host").unwrap();
    assert!(!listens(&host, "tcp", 4000).unwrap() && !listens(&host, "udp", 4001).unwrap());
    let any = |port: u16| SocketAddr::from(([0, 0, 0, 0], port));
    let _tcp = host
        .enter(|| TcpListener::bind(any(4000)))
        .unwrap()
        .unwrap();
    let _udp = host
        .enter(|| UdpSocket::bind("[::]:4001"))
        .unwrap()
        .unwrap();
    wait_listens(&host, "tcp", 4000).unwrap();
    wait_listens(&host, "udp", 4001).unwrap();
    assert!(!listens(&host, "udp", 4000).unwrap());
}

#[test]
fn a_journal_of_its_own() {
    let (host, other) = (
        Namespace::new("host").unwrap(),
        Namespace::new("other").unwrap(),
    );
    let journal = Journald::start(&host).unwrap();
    let second = Journald::start(&other).unwrap();
    host.text("systemd-cat --identifier=portcullis-test echo once upon a time")
        .unwrap();
    let matches = ["SYSLOG_IDENTIFIER=portcullis-test"];
    let entry = journal
        .wait_entry(&matches, LIMIT, |entry| field(entry, "MESSAGE").is_some())
        .unwrap();
    assert_eq!(field(&entry, "MESSAGE"), Some("once upon a time"));
    assert!(second.entries(&matches).unwrap().is_empty());
    journal.stop().unwrap();
    second.stop().unwrap();
}

#[test]
fn programs_end_with_their_guard_and_namespaces_with_their_host() {
    let host = Namespace::new("host").unwrap();
    let device = host.enter(|| {
        let namespace = std::fs::metadata("/proc/thread-self/ns/net").unwrap();
        namespace.ino()
    });
    let inode = device.unwrap();
    let mut sleeper = host.words("sleep 600");
    let running = portcullis_tests::process::Running::start(&mut sleeper).unwrap();
    let process = format!("/proc/{}", running.id());
    let entered = std::fs::metadata(format!("{process}/ns/net")).unwrap();
    assert_eq!(entered.ino(), inode, "the program runs elsewhere");
    drop(running);
    assert!(
        !std::path::Path::new(&process).exists(),
        "{process} lives on"
    );
    drop(host);
    let still_there = std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| std::fs::metadata(entry.path().join("ns/net")).ok())
        .any(|namespace| namespace.ino() == inode);
    assert!(!still_there, "a process is left in the namespace");
}

#[test]
fn services_answer_until_they_are_dropped() {
    let host = Namespace::new("host").unwrap();
    let mut services = Services::new();
    services.tcp(&host, 443, "here").unwrap();
    services.udp_echo(&host, 5000).unwrap();
    services.dns(&host, [10, 0, 0, 7].into()).unwrap();
    let at = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
    let answer = ask_tcp(&host, at(443), LIMIT).unwrap().unwrap();
    assert!(answer.ends_with("here\n"), "{answer}");
    let echo = ask_udp(&host, 0, at(5000), LIMIT).unwrap();
    assert_eq!(echo.as_deref(), Some(&b"question"[..]));
    host.resolve_by(&["127.0.0.1"]).unwrap();
    let found = host.text("getent hosts printer.example").unwrap();
    assert!(found.contains("10.0.0.7"), "{found}");
    // no AAAA record, then the A record
    assert_eq!(services.served(), 4);
    drop(services);
    assert_eq!(ask_tcp(&host, at(443), LIMIT).unwrap(), None);
}
