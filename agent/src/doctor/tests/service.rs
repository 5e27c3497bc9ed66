//! journald, clock, memory.

use super::*;

#[test]
fn journald() {
    check(
        |it| it.journal.answers = false,
        "journald",
        RED,
        &["systemd-journald"],
    );
    check(
        |it| it.journal.storage = "none".to_owned(),
        "journald",
        RED,
        &["Storage="],
    );
    check(
        |it| it.journal.storage = "volatile".to_owned(),
        "journald",
        YELLOW,
        &["reboot"],
    );
    check(
        |it| it.journal.directory = false,
        "journald",
        YELLOW,
        &["mkdir -p /var/log/journal"],
    );
    check(
        |it| it.journal.free = Some(1 << 20),
        "journald",
        YELLOW,
        &["1 MiB are free"],
    );
    let limit = |seconds, burst| RateLimit {
        interval: Duration::from_secs(seconds),
        burst,
    };
    check(
        |it| it.journal.unit_limit = Some(limit(30, 100)),
        "journald-limits",
        YELLOW,
        &["the unit takes 100"],
    );
    check(
        |it| it.journal.unit_limit = Some(limit(0, 0)),
        "journald-limits",
        GREEN,
        &["no limit"],
    );
    let without_unit = |it: &mut Machine| {
        it.journal.unit_limit = None;
        it.journal.limit = limit(30, 1000);
    };
    check(
        without_unit,
        "journald-limits",
        YELLOW,
        &["journald takes 1000"],
    );
}

#[test]
fn clock_and_memory() {
    check(
        |it| it.facts.time = jiff::Timestamp::UNIX_EPOCH,
        "clock",
        RED,
        &["1970"],
    );
    check(
        |it| it.clock.synchronized = Some(false),
        "clock",
        YELLOW,
        &["audit-until"],
    );
    check(|it| it.clock.synchronized = None, "clock", YELLOW, &[]);
    // What is attached holds a load; one that replaces it takes 6 × 4 MiB.
    check(
        |it| it.available = Some(49 << 20),
        "memory",
        GREEN,
        &["24 MiB"],
    );
    check(|it| it.available = Some(47 << 20), "memory", YELLOW, &[]);
    check(
        |it| it.available = Some(23 << 20),
        "memory",
        RED,
        &["[conntrack]"],
    );
    // Nothing is attached: two loads and the flow tables.
    let first = |it: &mut Machine| {
        it.ours.clear();
        *hooks(it) = Hooks::default();
        it.available = Some(111 << 20);
    };
    check(first, "memory", RED, &["112 MiB"]);
    check(|it| it.available = None, "memory", YELLOW, &[]);
}
