use super::*;

fn line() -> Value {
    json!({
        "schema": 1, "time": "2026-11-21T09:00:00Z", "message": "denied", "verdict": "deny", "reason": "no-rule", "direction": "egress",
        "interface": "eth0", "transport": "tcp", "src": "10.0.0.11", "src_port": 50000, "dst": "10.1.0.5", "dst_port": 25,
        "tcp_flags": "SYN", "rows": [], "near_rows": ["1e-platform/servers/7"],
        "difference": { "kind": "peer", "remedy": "add it" }, "count": 3, "uid": 33, "unit": "relay.service", "generation": 4,
    })
}

/// The same as `journalctl -o json` prints it.
fn journal() -> Value {
    json!({
        "__REALTIME_TIMESTAMP": "1795251600000000", "MESSAGE": "denied", "PORTCULLIS_VERDICT": "deny", "PORTCULLIS_REASON": "no-rule",
        "PORTCULLIS_DIRECTION": "egress", "PORTCULLIS_INTERFACE": "eth0", "PORTCULLIS_TRANSPORT": "tcp",
        "PORTCULLIS_SRC": "10.0.0.11", "PORTCULLIS_SRC_PORT": "50000", "PORTCULLIS_DST": "10.1.0.5", "PORTCULLIS_DST_PORT": "25",
        "PORTCULLIS_TCP_FLAGS": "SYN", "PORTCULLIS_NEAR_ROW": "1e-platform/servers/7", "PORTCULLIS_DIFFERENCE": "peer",
        "PORTCULLIS_REMEDY": "add it", "PORTCULLIS_COUNT": "3", "PORTCULLIS_UID": "33", "PORTCULLIS_UNIT": "relay.service",
        "PORTCULLIS_GENERATION": "4",
    })
}

#[test]
fn both_ways_of_keeping_read_alike() {
    let (line, journal) = (
        Shown::read(&line()).unwrap(),
        Shown::read(&journal()).unwrap(),
    );
    assert_eq!(
        line,
        Shown {
            whole: line.whole.clone(),
            ..journal.clone()
        }
    );
    assert_eq!(journal.json()["difference"]["kind"], "peer");
    assert_eq!(
        Shown::read(&journal.json()).unwrap().near_rows,
        line.near_rows
    );
    for other in [
        json!({ "MESSAGE": "enforcing generation 3" }),
        json!(7),
        json!({ "schema": 1 }),
    ] {
        assert_eq!(Shown::read(&other), None, "{other}");
    }
    let lost =
        json!({ "MESSAGE_ID": Message::Lost.id(), "PORTCULLIS_COUNT": "9", "MESSAGE": "lost" });
    assert_eq!(Shown::read(&lost).unwrap().count, 9);
}

#[track_caller]
fn check(filter: Filter, wanted: bool) {
    let entry = Shown::read(&journal()).unwrap();
    assert_eq!(filter.wants(&entry), wanted, "{filter:?}");
    let lost = json!({ "MESSAGE_ID": Message::Lost.id(), "MESSAGE": "lost" });
    assert!(
        filter.wants(&Shown::read(&lost).unwrap()),
        "what is missing is always told"
    );
}

#[test]
fn filters_take_and_leave() {
    let words = |text: &str| -> Vec<String> { text.split(' ').map(str::to_owned).collect() };
    check(Filter::default(), true);
    for (text, wanted) in [("no-rule", true), ("block", false), ("block no-rule", true)] {
        check(
            Filter {
                reasons: words(text),
                ..Filter::default()
            },
            wanted,
        );
    }
    for (text, wanted) in [("peer", true), ("none", false)] {
        check(
            Filter {
                kinds: words(text),
                ..Filter::default()
            },
            wanted,
        );
    }
    for (text, wanted) in [
        ("1e-platform/servers/7", true),
        ("1e-platform/servers", true),
        ("1e-platform", true),
        ("1e-platform/servers/70", false),
        ("1e", false),
    ] {
        check(
            Filter {
                rows: words(text),
                ..Filter::default()
            },
            wanted,
        );
    }
    for (text, wanted) in [
        ("10.1.0.0/16", true),
        ("10.1.0.5/32", true),
        ("10.0.0.11/32", false),
        ("::/0", false),
    ] {
        check(
            Filter {
                peers: vec![text.parse().unwrap()],
                ..Filter::default()
            },
            wanted,
        );
    }
    for (text, wanted) in [("egress", true), ("ingress", false)] {
        check(
            Filter {
                direction: Some(text.to_owned()),
                ..Filter::default()
            },
            wanted,
        );
    }
    for (text, wanted) in [("relay", true), ("relay.service", true), ("rel", false)] {
        check(
            Filter {
                units: words(text),
                ..Filter::default()
            },
            wanted,
        );
    }
    let both = Filter {
        kinds: words("peer"),
        units: words("cups"),
        ..Filter::default()
    };
    check(both, false);
}
