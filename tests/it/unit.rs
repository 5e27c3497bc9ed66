//! The unit as it ships, under a real systemd: what it lets the agent do is enough, and what it forbids is forbidden.

use std::fs;
use std::time::Duration;

use portcullis_tests::daemon::{CONFIGURATION, portcullis_text, repository};
use portcullis_tests::journald::{Journald, field};
use portcullis_tests::manager::{Manager, UNIT};
use portcullis_tests::process::wait_for;
use portcullis_tests::service::Services;

use crate::site::{CLIENT, LIMIT, SERVER, SILENCE, STRANGER, Site, configuration, reaches};

/// How long systemd and the agent may take on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(60);

/// Whose uid the denied packet's sender has.
const USER: &str = "4711";

fn open_for_stranger() -> String {
    let allow = format!(
        "[allow.stranger]\nreason = \"a test\"\ndirection = \"ingress\"\ntcp = [443]\npeers = \"{}\"\n",
        STRANGER[0]
    );
    configuration("tc", "deny", &allow)
}

#[track_caller]
fn strangers(site: &Site, what: &str, pass: bool) {
    let limit = if pass { LIMIT } else { SILENCE };
    let found = reaches(&site.stranger, SERVER[0], 443, limit);
    assert_eq!(found, pass, "{what}: a stranger at port 443");
    assert!(
        reaches(&site.client, SERVER[0], 443, LIMIT),
        "{what}: the client can't print"
    );
}

#[track_caller]
fn property(manager: &Manager<'_>, name: &str, expected: &str) {
    assert_eq!(manager.property(name).unwrap(), expected, "{name}");
}

/// A server with the matrix on disk, on whose port 443 something answers.
fn installed() -> (Site, Services) {
    let site = Site::new();
    let mut services = Services::new();
    services.tcp(&site.server, 443, "printed").unwrap();
    let text = configuration("tc", "deny", "");
    site.server.write(CONFIGURATION, &text).unwrap();
    (site, services)
}

#[test]
fn exposure_is_2_or_lower() {
    let unit = repository("agent/dist").join(UNIT);
    let mut command = std::process::Command::new("systemd-analyze");
    command.args(["security", "--offline=true", "--no-pager", "--threshold=20"]);
    let output = command.arg(unit).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("Overall exposure level"), "{output:?}");
    assert!(output.status.success(), "{text}");
}

#[test]
fn what_the_unit_permits_is_enough_and_no_more() {
    let (site, _services) = installed();
    let journald = Journald::start(&site.server).unwrap();
    let manager = Manager::start(&site.server).unwrap();
    manager.done(&["start", UNIT]).unwrap();
    property(&manager, "StatusText", "enforcing generation 1 on eth0");
    strangers(&site, "started", false);

    let process = manager.main_process().unwrap();
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let has = |line: &str| {
        let mut lines = status.lines();
        lines.any(|it| it.split_whitespace().eq(line.split(' ')))
    };
    // CAP_NET_ADMIN 12, CAP_PERFMON 38, CAP_BPF 39 (include/uapi/linux/capability.h); a filter; no new privileges
    for line in [
        "CapBnd: 000000c000001000",
        "CapEff: 000000c000001000",
        "Seccomp: 2",
        "NoNewPrivs: 1",
    ] {
        assert!(has(line), "no {line}: {status}");
    }

    // Who asked is found under these, too.
    let ask = format!(
        "[Unit]\nDefaultDependencies=no\n[Service]\nType=oneshot\nExecStart=/usr/bin/setpriv --reuid={USER} --regid={USER} --clear-groups /bin/sh -c 'echo asked | socat - UDP4:{}:4001'\n",
        CLIENT[0]
    );
    manager.install("asker.service", &ask).unwrap();
    manager.done(&["start", "asker.service"]).unwrap();
    let entry = journald
        .wait_entry(&["PORTCULLIS_DST_PORT=4001"], PATIENCE, |_| true)
        .unwrap();
    assert_eq!(field(&entry, "PORTCULLIS_UID"), Some(USER), "{entry:?}");
    let unit = field(&entry, "PORTCULLIS_UNIT");
    assert_eq!(unit, Some("asker.service"), "{entry:?}");

    // Everything that a command asks for is done under them as well.
    site.server
        .write(CONFIGURATION, &open_for_stranger())
        .unwrap();
    for (command, pass) in [
        (&["apply", "--confirm", "60s"][..], true),
        (&["confirm"], true),
        (&["revert"], false),
        (&["apply"], true),
        (&["pause", "--for", "60s"], true),
        (&["revert"], true),
    ] {
        portcullis_text(&site.server, command).unwrap();
        strangers(&site, command[0], pass);
    }
    manager.done(&["stop", UNIT]).unwrap();
    strangers(&site, "stopped", true);
    portcullis_text(&site.server, &["status"]).unwrap_err();
    let journal = journald.entries(&["PRIORITY=3"]).unwrap();
    let errors = journal.iter().filter(|it| {
        let text = field(it, "MESSAGE").unwrap_or_default();
        field(it, "SYSLOG_IDENTIFIER") == Some("portcullis") && text.contains("denied: ")
    });
    assert_eq!(errors.count(), 0, "{journal:?}");
}

#[test]
fn a_reload_fails_with_what_it_ran_into() {
    let (site, _services) = installed();
    let _journald = Journald::start(&site.server).unwrap();
    let manager = Manager::start(&site.server).unwrap();
    manager.done(&["start", UNIT]).unwrap();
    site.server
        .write(CONFIGURATION, "schema = 1\n[allow.broken]\n")
        .unwrap();
    let reload = manager.systemctl(&["reload", UNIT]).unwrap();
    assert!(!reload.status.success(), "{reload:?}");
    property(&manager, "ActiveState", "active");
    let said = manager.property("StatusText").unwrap();
    assert!(
        said.starts_with("degraded: generation 1 on eth0; reload refused"),
        "{said}"
    );
    strangers(&site, "refused", false);

    site.server
        .write(CONFIGURATION, &open_for_stranger())
        .unwrap();
    manager.done(&["reload", UNIT]).unwrap();
    // It waited for the outcome.
    strangers(&site, "reloaded", true);
    property(&manager, "StatusText", "enforcing generation 2 on eth0");
}

#[test]
fn a_first_start_with_findings_is_not_tried_again() {
    let (site, _services) = installed();
    let _journald = Journald::start(&site.server).unwrap();
    site.server
        .write(CONFIGURATION, "schema = 1\n[allow.broken]\n")
        .unwrap();
    let manager = Manager::start(&site.server).unwrap();
    let start = manager.systemctl(&["start", UNIT]).unwrap();
    assert!(!start.status.success(), "{start:?}");
    property(&manager, "ActiveState", "failed");
    property(&manager, "ExecMainStatus", "78");
    property(&manager, "NRestarts", "0");
    // It left the host as it was.
    assert!(reaches(&site.stranger, SERVER[0], 443, LIMIT));
}

#[test]
fn who_dies_or_hangs_is_started_again_and_nothing_opens() {
    let (site, _services) = installed();
    let _journald = Journald::start(&site.server).unwrap();
    let manager = Manager::start(&site.server).unwrap();
    // The main loop tells the watchdog; less patience than the unit's, so that the test ends soon.
    let sooner = "[Service]\nWatchdogSec=4s\nTimeoutAbortSec=1s\n";
    manager
        .install(&format!("{UNIT}.d/sooner.conf"), sooner)
        .unwrap();
    manager.done(&["start", UNIT]).unwrap();
    for (signal, restarts) in [(libc::SIGKILL, "1"), (libc::SIGSTOP, "2")] {
        let process = manager.main_process().unwrap();
        let process = i32::try_from(process).unwrap();
        // SAFETY: a system call with two numbers.
        assert_eq!(unsafe { libc::kill(process, signal) }, 0);
        strangers(&site, "after the signal", false);
        wait_for("another start", PATIENCE, || {
            let again = manager.property("NRestarts")? == restarts;
            Ok((again && manager.property("ActiveState")? == "active").then_some(()))
        })
        .unwrap();
        strangers(&site, "started again", false);
    }
}
