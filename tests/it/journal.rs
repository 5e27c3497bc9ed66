//! Denied packets on their way to a journald: what is sent, what it reads, and what becomes of entries that it does not take.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;
use std::time::{Duration, Instant};

use agent_common::event::{Direction, Hook};
use agent_common::verdict::{Action, Reason};
use jiff::Timestamp;
use nix::mount::{MsFlags, mount};
use nix::sys::signal::Signal;
use portcullis::events::decode::{Asked, Denial, Transport};
use portcullis::events::explain::Explanation;
use portcullis::events::explain::read::Event;
use portcullis::events::fields::Denied;
use portcullis::events::journal::Journal;
use portcullis::events::sink::Destination as _;
use portcullis::events::{Entry, Kind, Merged, Message, Overflow, Sink};
use portcullis_tests::daemon::repository;
use portcullis_tests::journald::{Journald, field};
use portcullis_tests::netns::Namespace;
use portcullis_tests::process::wait_for;
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(20);
const PEER: &str = "MESSAGE_ID=4a6dfde224ea42a39ee10f29f040c222";

/// So many denied packets, near a row.
fn denied(count: u64) -> Entry {
    let time = Timestamp::now();
    Entry::Denied(Box::new(Denied {
        merged: Merged {
            denial: Denial {
                time,
                direction: Direction::Ingress,
                hook: Hook::Xdp,
                interface_index: 2,
                interface: Arc::from("eth0"),
                transport: Transport::Tcp,
                source: Some(IpAddr::from([10, 9, 9, 9])),
                destination: Some(IpAddr::from([10, 0, 0, 11])),
                source_port: Some(51_514),
                destination_port: Some(443),
                tcp_flags: Some(2),
                length: 60,
                action: Action::Deny,
                reason: Reason::NoRule,
                rule: None,
                generation: 3,
                bank: 1,
                tick: 7,
                uid: Some(33),
                cgroup: None,
            },
            asked: Asked {
                port: 443,
                answers: false,
            },
            count,
            first: time,
            last: time,
            repeats: count > 1,
        },
        explanation: Explanation {
            kind: Kind::Peer,
            packet: false,
            expected: None,
            seen: "ingress tcp/443 from 10.9.9.9".to_owned(),
            text: "seal-ipp-checkin is open to print-client".to_owned(),
            condition: None,
            remedy: "print-client = [\"10.9.9.9\"]".to_owned(),
            step: "add it".to_owned(),
            rows: vec![],
            near_rows: vec!["seal/cluster/2".to_owned(), "seal/cluster/4".to_owned()],
        },
        unit: Some("cups.service".to_owned()),
    }))
}

/// The fields of a datagram of the native protocol that has no binary field.
fn parsed(datagram: &[u8]) -> BTreeMap<String, Vec<String>> {
    let mut fields: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in std::str::from_utf8(datagram).unwrap().lines() {
        let (name, value) = line.split_once('=').unwrap();
        fields
            .entry(name.to_owned())
            .or_default()
            .push(value.to_owned());
    }
    fields
}

#[test]
fn a_datagram_has_the_fields() {
    let host = Namespace::new("fields").unwrap();
    let entry = denied(1);
    let datagram = host
        .enter(|| {
            std::fs::create_dir_all("/run/systemd/journal").unwrap();
            let socket = UnixDatagram::bind("/run/systemd/journal/socket").unwrap();
            socket.set_read_timeout(Some(LIMIT)).unwrap();
            Journal.deliver(&entry).unwrap();
            let mut octets = vec![0; 65_536];
            let length = socket.recv(&mut octets).unwrap();
            octets.truncate(length);
            octets
        })
        .unwrap();
    let mut expected: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in entry.journal_fields() {
        expected.entry(name.to_owned()).or_default().push(value);
    }
    expected.insert("MESSAGE".to_owned(), vec![entry.text()]);
    expected.insert("PRIORITY".to_owned(), vec!["4".to_owned()]);
    assert_eq!(parsed(&datagram), expected);
}

#[test]
fn a_journald_reads_them() {
    let host = Namespace::new("reads").unwrap();
    let journald = Journald::start(&host).unwrap();
    let sink = host
        .enter(|| Sink::start("journal", Journal, 16).unwrap())
        .unwrap();
    sink.send(denied(1));
    let read = journald.wait_entry(&[PEER], LIMIT, |_| true).unwrap();
    for (name, value) in [
        ("SYSLOG_IDENTIFIER", "portcullis"),
        ("PRIORITY", "4"),
        ("PORTCULLIS_VERDICT", "deny"),
        ("PORTCULLIS_SRC", "10.9.9.9"),
        ("PORTCULLIS_DIFFERENCE", "peer"),
        ("PORTCULLIS_REMEDY", "print-client = [\"10.9.9.9\"]"),
        ("PORTCULLIS_COUNT", "1"),
        ("PORTCULLIS_UNIT", "cups.service"),
    ] {
        assert_eq!(field(&read, name), Some(value), "{name}");
    }
    assert_eq!(
        read.get("PORTCULLIS_NEAR_ROW"),
        Some(&json!(["seal/cluster/2", "seal/cluster/4"]))
    );
    // asked again from what journalctl prints
    let event = Event::read(&Value::Object(read.clone())).unwrap();
    assert_eq!(
        (
            event.direction,
            event.transport,
            event.reason,
            event.destination_port
        ),
        (
            Direction::Ingress,
            Transport::Tcp,
            Reason::NoRule,
            Some(443)
        )
    );
    assert_eq!(event.source, Some(IpAddr::from([10, 9, 9, 9])));
    // each of the rows finds it
    let by_row = journald
        .entries(&["PORTCULLIS_NEAR_ROW=seal/cluster/4"])
        .unwrap();
    assert_eq!(by_row.len(), 1);
    assert_eq!(sink.close(LIMIT).delivered, 1);
    journald.stop().unwrap();
}

/// The message catalogue as the package installs it: `journalctl -x` tells more of every kind, in words filled in from the entry.
#[test]
fn journalctl_explains_every_kind() {
    let host = Namespace::new("explains").unwrap();
    let catalogue = std::fs::read_to_string(repository("agent/dist/portcullis.catalog")).unwrap();
    // The only place that every journalctl reads; on this host it is its own.
    const PLACE: &str = "/usr/lib/systemd/catalog";
    host.enter(|| {
        let nothing = None::<&str>;
        mount(nothing, PLACE, Some("tmpfs"), MsFlags::empty(), nothing).unwrap();
    })
    .unwrap();
    host.write(&format!("{PLACE}/portcullis.catalog"), &catalogue)
        .unwrap();
    host.text("journalctl --update-catalog").unwrap();
    let journald = Journald::start(&host).unwrap();
    let sink = host
        .enter(|| Sink::start("journal", Journal, 32).unwrap())
        .unwrap();
    for &kind in Kind::ALL {
        let Entry::Denied(mut entry) = denied(1) else {
            unreachable!("made above");
        };
        entry.explanation.kind = kind;
        sink.send(Entry::Denied(entry));
    }
    assert_eq!(sink.close(LIMIT).delivered, Kind::ALL.len() as u64);
    for &kind in Kind::ALL {
        let word = format!("PORTCULLIS_DIFFERENCE={}", kind.name());
        journald.wait_entry(&[&word], LIMIT, |_| true).unwrap();
        let plain = host
            .text(&format!("journalctl --no-pager --quiet {word}"))
            .unwrap();
        let told = host
            .text(&format!("journalctl -x --no-pager --quiet {word}"))
            .unwrap();
        let more: Vec<&str> = told.lines().filter(|line| line.starts_with("░░")).collect();
        let more = more.join("\n");
        assert!(!plain.contains("░░"), "{plain}");
        let subject = format!("({})", kind.name());
        assert!(more.contains(&subject), "{subject} is not in\n{told}");
        assert!(more.contains("Defined-By: Portcullis"), "{told}");
        assert!(!more.contains("@PORTCULLIS_SRC@"), "{told}");
    }
    journald.stop().unwrap();
}

#[test]
fn what_an_absent_journald_missed_is_said_when_it_comes() {
    let host = Namespace::new("absent").unwrap();
    let sink = host
        .enter(|| Sink::start("journal", Journal, 16).unwrap())
        .unwrap();
    sink.send(denied(7));
    sink.send(denied(2));
    wait_for("both to be lost", LIMIT, || {
        Ok((sink.counts().lost == 9).then_some(()))
    })
    .unwrap();
    let journald = Journald::start(&host).unwrap();
    let id = format!("MESSAGE_ID={}", Message::Lost.id());
    let lost = journald.wait_entry(&[&id], LIMIT, |_| true).unwrap();
    assert_eq!(field(&lost, "PORTCULLIS_COUNT"), Some("9"));
    sink.send(denied(3));
    journald.wait_entry(&[PEER], LIMIT, |_| true).unwrap();
    let counts = sink.close(LIMIT);
    assert_eq!(
        (counts.given, counts.delivered, counts.lost, counts.told),
        (12, 3, 9, 9)
    );
    journald.stop().unwrap();
}

/// A stopped journald takes what its socket holds, and then the send blocks: the sender must not notice.
#[test]
fn a_stopped_journald_holds_nobody() {
    const ENTRIES: u64 = 5_000;
    let host = Namespace::new("stopped").unwrap();
    let journald = Journald::start(&host).unwrap();
    let sink = host
        .enter(|| Sink::start("journal", Journal, 64).unwrap())
        .unwrap();
    journald.signal(Signal::SIGSTOP).unwrap();
    let time = Timestamp::now();
    let entry = Entry::Overflow(Overflow {
        count: 1,
        first: time,
        last: time,
        capacity: 1,
    });
    let began = Instant::now();
    for _ in 0..ENTRIES {
        sink.send(entry.clone());
    }
    let took = began.elapsed();
    assert!(took < LIMIT, "sending took {took:?}");
    let counts = sink.counts();
    assert!(
        counts.lost > 0 && counts.queued > 0,
        "nothing was held up: {counts:?}"
    );
    journald.signal(Signal::SIGCONT).unwrap();
    let counts = sink.close(LIMIT);
    assert_eq!((counts.given, counts.queued), (ENTRIES, 0));
    assert_eq!(counts.told, counts.lost);
    let sum = wait_for("all counts in the journal", LIMIT, || {
        let entries = journald.entries(&["SYSLOG_IDENTIFIER=portcullis"])?;
        let counts = entries
            .iter()
            .filter_map(|it| field(it, "PORTCULLIS_COUNT"));
        let sum: u64 = counts.map(|count| count.parse::<u64>().unwrap()).sum();
        Ok((sum >= ENTRIES).then_some(sum))
    })
    .unwrap();
    assert_eq!(sum, ENTRIES);
    journald.stop().unwrap();
}
