use std::net::IpAddr;
use std::sync::Arc;

use agent_common::event::Hook;
use agent_common::verdict::Reason;
use proptest::prelude::*;

use super::*;
use crate::events::decode::{Asked, Denial};
use crate::events::kinds::Kind;

/// A denial and its explanation, for tests of what leaves.
pub(crate) fn sample() -> Denied {
    let time = Timestamp::from_second(1_790_000_000).unwrap();
    Denied {
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
                rule: Some(4),
                generation: 3,
                bank: 1,
                tick: 7,
                uid: None,
                cgroup: None,
            },
            asked: Asked {
                port: 443,
                answers: false,
            },
            count: 1,
            first: time,
            last: time,
            repeats: false,
        },
        explanation: Explanation {
            kind: Kind::Peer,
            packet: false,
            expected: Some("ingress tcp/443 from print-client".to_owned()),
            seen: "ingress tcp/443 from 10.9.9.9".to_owned(),
            text: "seal-ipp-checkin is open to print-client, which 10.9.9.9 is not".to_owned(),
            condition: Some("if it is print-client".to_owned()),
            remedy: "print-client = [\"10.9.9.9\"] # under [product.seal-output-engine.peers]"
                .to_owned(),
            step: "add it to peers.print-client".to_owned(),
            rows: vec![],
            near_rows: vec![
                "seal-output-engine/cluster/2".to_owned(),
                "seal-output-engine/cluster/4".to_owned(),
            ],
        },
        unit: None,
    }
}

fn entry(change: impl FnOnce(&mut Denied)) -> Entry {
    let mut denied = sample();
    change(&mut denied);
    Entry::Denied(Box::new(denied))
}

#[track_caller]
fn check_text(entry: &Entry, expected: &str) {
    assert_eq!(entry.text(), expected);
}

#[test]
fn sentences_read_alone() {
    check_text(
        &entry(|_| {}),
        "denied tcp 10.9.9.9:51514 > 10.0.0.11:443 in on eth0: seal-ipp-checkin is open to print-client, which 10.9.9.9 is not; \
         if it is print-client: print-client = [\"10.9.9.9\"] # under [product.seal-output-engine.peers] of portcullis.toml, \
         then `portcullis apply`",
    );
    check_text(
        &entry(|denied| {
            (denied.merged.repeats, denied.merged.count) = (true, 412);
            denied.merged.denial.direction = Direction::Egress;
            denied.merged.denial.action = Action::Audit;
            denied.merged.denial.destination = Some("2001:db8::5".parse().unwrap());
        }),
        "passed by audit, else denied 412 times more tcp 10.9.9.9 > [2001:db8::5]:443 out on eth0: seal-ipp-checkin is open to print-client, which \
         10.9.9.9 is not; if it is print-client: print-client = [\"10.9.9.9\"] # under [product.seal-output-engine.peers] of portcullis.toml, \
         then `portcullis apply`",
    );
    // too long for the line to paste: the step in its place, whole
    let long = entry(|denied| {
        denied.explanation.remedy = "x".repeat(300);
        denied.explanation.text = "ä".repeat(400);
    });
    let text = long.text();
    assert_eq!(text.chars().count(), 300);
    assert!(
        text.ends_with("ä…; if it is print-client: add it to peers.print-client"),
        "{text}"
    );
    check_text(
        &entry(|denied| {
            let denial = &mut denied.merged.denial;
            denial.transport = Transport::Link(0x88cd);
            (denial.source, denial.destination) = (None, None);
            denied.explanation.text = "no IP".to_owned();
            denied.explanation.condition = None;
            denied.explanation.remedy = "nothing".to_owned();
        }),
        "denied ethertype 0x88cd in on eth0: no IP; next: nothing",
    );
}

#[test]
fn the_journals_fields() {
    let fields = entry(|denied| {
        denied.merged.denial.uid = Some(33);
        denied.unit = Some("cups.service".to_owned());
        denied.explanation.rows = vec!["block/incident".to_owned()];
    })
    .journal_fields();
    let expected = [
        ("SYSLOG_IDENTIFIER", "portcullis"),
        ("MESSAGE_ID", "4a6dfde224ea42a39ee10f29f040c222"),
        ("PORTCULLIS_VERDICT", "deny"),
        ("PORTCULLIS_REASON", "no-rule"),
        ("PORTCULLIS_DIRECTION", "ingress"),
        ("PORTCULLIS_INTERFACE", "eth0"),
        ("PORTCULLIS_TRANSPORT", "tcp"),
        ("PORTCULLIS_SRC", "10.9.9.9"),
        ("PORTCULLIS_SRC_PORT", "51514"),
        ("PORTCULLIS_DST", "10.0.0.11"),
        ("PORTCULLIS_DST_PORT", "443"),
        ("PORTCULLIS_TCP_FLAGS", "SYN"),
        ("PORTCULLIS_ROW", "block/incident"),
        ("PORTCULLIS_NEAR_ROW", "seal-output-engine/cluster/2"),
        ("PORTCULLIS_NEAR_ROW", "seal-output-engine/cluster/4"),
        ("PORTCULLIS_DIFFERENCE", "peer"),
        (
            "PORTCULLIS_REMEDY",
            "print-client = [\"10.9.9.9\"] # under [product.seal-output-engine.peers]",
        ),
        ("PORTCULLIS_GENERATION", "3"),
        ("PORTCULLIS_STAGE", "enforce"),
        ("PORTCULLIS_UID", "33"),
        ("PORTCULLIS_UNIT", "cups.service"),
        ("PORTCULLIS_COUNT", "1"),
    ];
    let fields: Vec<(&str, &str)> = fields
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    assert_eq!(fields, expected);
    for name in FIELDS {
        assert!(fields.iter().any(|(field, _)| *field == name), "{name}");
    }
    for (name, _) in &fields[2..] {
        assert!(FIELDS.contains(name), "{name}");
    }
}

#[test]
fn json_has_every_key_always() {
    let time = Timestamp::UNIX_EPOCH;
    let lost = Entry::Lost(Lost {
        entries: 2,
        count: 9,
        first: time,
        last: time,
    });
    let overflow = Entry::Overflow(Overflow {
        count: 5,
        first: time,
        last: time,
        capacity: 10,
    });
    let whole = entry(|_| {});
    let keys = |entry: &Entry| -> Vec<String> {
        entry.json().as_object().unwrap().keys().cloned().collect()
    };
    assert_eq!(keys(&whole), keys(&lost));
    assert_eq!(keys(&whole), keys(&overflow));
    let json = whole.json();
    assert_eq!(json["verdict"], "deny");
    assert_eq!(json["src_port"], 51_514);
    assert_eq!(json["uid"], Value::Null);
    assert_eq!(json["icmp_type"], Value::Null);
    assert_eq!(json["difference"]["kind"], "peer");
    assert_eq!(json["time"], "2026-09-21T14:13:20Z");
    assert_eq!(lost.json()["count"], 9);
    assert_eq!(lost.json()["difference"], Value::Null);
}

#[test]
fn flags_by_name() {
    for (flags, expected) in [
        (0, "none"),
        (2, "SYN"),
        (0x12, "SYN,ACK"),
        (0xc2, "SYN,ECE,CWR"),
    ] {
        assert_eq!(flag_names(flags), expected);
        assert_eq!(flags_of(expected), flags);
    }
}

proptest! {
    #[test]
    fn sentences_have_300_characters_at_most(
        text in ".{0,500}",
        remedy in ".{0,500}",
        step in ".{0,400}",
        source in any::<[u16; 8]>(),
        count in any::<u64>(),
        repeats in any::<bool>(),
    ) {
        let entry = entry(|denied| {
            let denial = &mut denied.merged.denial;
            denial.source = Some(IpAddr::from(source));
            denial.destination = Some(IpAddr::from(source));
            denial.interface = Arc::from("verylongname15c");
            (denied.merged.count, denied.merged.repeats) = (count, repeats);
            denied.explanation.text = text;
            denied.explanation.remedy = remedy;
            denied.explanation.step = step;
        });
        prop_assert!(entry.text().chars().count() <= message::MOST);
    }
}

/// The catalogue that `journalctl -x` shows beside an entry.
#[test]
fn the_message_catalogue_knows_every_id() {
    let catalogue = include_str!("../../../dist/portcullis.catalog");
    let in_file: Vec<&str> = catalogue
        .lines()
        .filter_map(|line| line.strip_prefix("-- "))
        .collect();
    let in_code: Vec<&str> = Message::all().map(Message::id).collect();
    assert_eq!(
        in_file, in_code,
        "one entry for each message, in the order of the kinds"
    );
    for block in catalogue.split("\n-- ").skip(1) {
        let id = block.lines().next().unwrap();
        let message = Message::all().find(|message| message.id() == id).unwrap();
        let subject = block
            .lines()
            .find_map(|line| line.strip_prefix("Subject: "))
            .unwrap_or_else(|| panic!("{id} has no subject"));
        if let Message::Difference(kind) = message {
            let word = format!("({})", kind.name());
            assert!(subject.ends_with(&word), "{subject} should end in {word}");
        }
        assert!(block.contains("\nDefined-By: Portcullis\n"), "{id}");
        let body = block.split_once("\n\n").map(|(_, body)| body.trim());
        assert!(
            body.is_some_and(|body| body.len() > 80),
            "{id} says nothing"
        );
        for field in block.split('@').skip(1).step_by(2) {
            assert!(FIELDS.contains(&field), "{id} names @{field}@");
        }
    }
}
