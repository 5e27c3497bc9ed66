//! What the agent leans on: journald, the clock, memory.

use jiff::Timestamp;

use super::{Check, Machine, RateLimit};

pub(super) fn judge(machine: &Machine) -> Vec<Check> {
    vec![
        journal(machine),
        journal_limits(machine),
        clock(machine),
        memory(machine),
    ]
}

fn journal(machine: &Machine) -> Check {
    const ID: &str = "journald";
    /// Less is gone in a burst of denials.
    const LITTLE: u64 = 64 << 20;
    let journal = &machine.journal;
    if !journal.answers {
        return Check::red(
            ID,
            "journald does not take entries: denials are told to nobody",
            "systemctl start systemd-journald.socket systemd-journald.service, or sinks = [\"json\"] in [events]",
        );
    }
    let persistent = match journal.storage.as_str() {
        "none" => {
            return Check::red(
                ID,
                "journald keeps nothing (Storage=none)",
                "set Storage=persistent in /etc/systemd/journald.conf.d/portcullis.conf, then systemctl restart systemd-journald",
            );
        }
        "persistent" => true,
        "volatile" => false,
        _ => journal.directory,
    };
    if !persistent {
        return Check::yellow(
            ID,
            format!("entries end with a reboot (Storage={})", journal.storage),
            "mkdir -p /var/log/journal && systemctl restart systemd-journald, with Storage=auto or persistent",
        );
    }
    match journal.free {
        Some(free) if free < LITTLE => Check::yellow(
            ID,
            format!("entries are kept, and {} are free for them", octets(free)),
            "make room where /var/log/journal lies",
        ),
        _ => Check::green(ID, "takes entries and keeps them over a reboot"),
    }
}

fn journal_limits(machine: &Machine) -> Check {
    const ID: &str = "journald-limits";
    /// The unit's and journald's own default: 10,000 entries in 30 s.
    const ENTRIES_A_SECOND: f64 = 333.0;
    let journal = &machine.journal;
    let (limit, whose) = match journal.unit_limit {
        Some(limit) => (limit, "the unit"),
        None => (journal.limit, "journald"),
    };
    let Some(rate) = rate(limit) else {
        return Check::green(ID, format!("{whose} sets no limit on entries"));
    };
    let told = format!(
        "{whose} takes {} entries in {} s",
        limit.burst,
        limit.interval.as_secs()
    );
    if rate < ENTRIES_A_SECOND {
        return Check::yellow(
            ID,
            format!("{told}; what is over is counted, not written"),
            "LogRateLimitIntervalSec=30s and LogRateLimitBurst=10000 by `systemctl edit portcullis`",
        );
    }
    Check::green(ID, told)
}

/// Entries a second, where there is a limit.
fn rate(limit: RateLimit) -> Option<f64> {
    let seconds = limit.interval.as_secs_f64();
    (limit.burst > 0 && seconds > 0.0).then(|| f64::from(limit.burst).ceil() / seconds)
}

fn clock(machine: &Machine) -> Check {
    const ID: &str = "clock";
    const REMEDY: &str = "turn a time service on: timedatectl set-ntp true, or chrony";
    // 2026-01-01T00:00:00Z: before there was such a program.
    let oldest = Timestamp::constant(1_767_225_600, 0);
    let now = machine.facts.time;
    if now < oldest {
        return Check::red(
            ID,
            format!("the clock says {now}, which is long ago: nothing that expires can be judged"),
            REMEDY,
        );
    }
    match machine.clock.synchronized {
        Some(true) => Check::green(ID, "synchronized"),
        Some(false) => Check::yellow(
            ID,
            "not synchronized: `expires` and `audit-until` come too early or too late",
            REMEDY,
        ),
        None => Check::yellow(
            ID,
            "the kernel does not say whether it is synchronized",
            REMEDY,
        ),
    }
}

/// A load holds three banks at twice the need; while one load replaces another, there are two.
fn memory(machine: &Machine) -> Check {
    const ID: &str = "memory";
    const BANKS: u64 = 3;
    const ROOM: u64 = 2;
    let Some(available) = machine.available else {
        return Check::yellow(
            ID,
            "how much memory is free could not be read",
            "look at MemAvailable in /proc/meminfo",
        );
    };
    let Some((bank, flows)) = machine
        .configured()
        .and_then(|configured| configured.bank.map(|bank| (bank, configured.flows)))
    else {
        return Check::green(
            ID,
            format!(
                "{} are free; without a policy there is no need to compare with",
                octets(available)
            ),
        );
    };
    let load = bank.saturating_mul(BANKS * ROOM);
    // What is attached holds one load and the flow tables already.
    let need = if machine.ours.is_empty() {
        load.saturating_mul(2).saturating_add(flows)
    } else {
        load
    };
    let told = format!(
        "{} are free, the policy and one that replaces it need up to {}",
        octets(available),
        octets(need)
    );
    const REMEDY: &str = "free memory, or make peer lists and [conntrack] smaller";
    if need > available {
        Check::red(ID, told, REMEDY)
    } else if need > available / 2 {
        Check::yellow(ID, told, REMEDY)
    } else {
        Check::green(ID, told)
    }
}

fn octets(number: u64) -> String {
    const MEBI: u64 = 1 << 20;
    match number {
        0..MEBI => format!("{} KiB", number >> 10),
        _ => format!("{} MiB", number >> 20),
    }
}
