//! A start proves that what it attached decides: nothing counts the proof, and without it nothing is called guarded.

use std::os::unix::process::CommandExt as _;

use portcullis_tests::daemon::{Agent, CONFIGURATION, binary, portcullis_json};
use portcullis_tests::damage::let_everything_pass;
use portcullis_tests::netns::Namespace;
use portcullis_tests::process::wait_for;
use portcullis_tests::{seccomp, veth};
use serde_json::Value;

use crate::site::{LIMIT, configuration, counters, denied, pinned};

/// A host with a cable on which nobody says anything.
#[track_caller]
fn silent() -> Namespace {
    let host = Namespace::new("silent").unwrap();
    host.sysctl("net/ipv6/conf/default/disable_ipv6", "1")
        .unwrap();
    host.enter(|| veth::make("eth0", "other0").unwrap())
        .unwrap();
    host
}

#[track_caller]
fn status(host: &Namespace) -> Value {
    portcullis_json(host, &["status", "--json"]).unwrap()
}

#[track_caller]
fn check_guarded(host: &Namespace, state: &str, guarded: bool, part: &str) {
    let status = status(host);
    assert_eq!(status["state"], state, "{status}");
    assert_eq!(status["interfaces"][0]["guarded"], guarded, "{status}");
    assert!(status["problems"].to_string().contains(part), "{status}");
}

#[test]
fn nothing_counts_what_a_start_proves() {
    for hook in ["xdp", "tc"] {
        let host = silent();
        let text = configuration(hook, "deny", "");
        let mut agent = Agent::start(&host, &text, "json").unwrap();
        check_guarded(&host, "enforcing", true, "[]");
        // Again, over what is in force.
        agent.stop().unwrap();
        let mut agent = Agent::start_as_it_stands(&host, "json").unwrap();
        check_guarded(&host, "enforcing", true, "[]");
        let counted = counters(&host);
        assert_eq!(denied(&counted), 0, "{hook}: {counted:?}");
        assert_eq!(counted.reasons, [], "{hook}");
        assert_eq!(counted.balance.audit_reported, 0, "{hook}");
        assert_eq!(counted.balance.audit_suppressed, 0, "{hook}");
        assert_eq!(agent.events().unwrap(), [0; 0], "{hook}");
    }
}

#[test]
fn a_start_without_proof_says_so() {
    for hook in ["xdp", "tc"] {
        let host = silent();
        host.write(CONFIGURATION, &configuration(hook, "deny", ""))
            .unwrap();
        let mut agent =
            Agent::start_changed(&host, &binary().unwrap(), &["--sink", "json"], |command| {
                // SAFETY: the filter is installed by system calls alone, which may be done between fork and exec.
                unsafe { command.pre_exec(seccomp::refuse_probes) };
            })
            .unwrap();
        check_guarded(&host, "degraded", false, "running the probe");
        let told = agent.said().unwrap().join("\n");
        assert!(told.contains("READY=1"), "{told}");
        assert!(told.contains("STATUS=degraded"), "{told}");
        // What it attached stays, and the next start proves it.
        agent.kill().unwrap();
        let _agent = Agent::start_as_it_stands(&host, "json").unwrap();
        check_guarded(&host, "enforcing", true, "[]");
    }
}

#[test]
fn programs_that_do_not_deny_are_no_guard() {
    let host = silent();
    let text = configuration("tc", "deny", "");
    let mut agent = Agent::start(&host, &text, "json").unwrap();
    pinned(&host, |pinned| let_everything_pass(pinned, true).unwrap());
    // What is put back is proved as well.
    let link = &status(&host)["interfaces"][0]["ingress"]["link"];
    host.text(&format!("bpftool link detach id {link}"))
        .unwrap();
    wait_for("what was taken away", LIMIT * 6, || {
        let log = agent.log();
        Ok(log.contains("enforcement is not proved").then_some(()))
    })
    .unwrap();
    let why = "passes a probe that the policy in force denies";
    wait_for("the notes", LIMIT, || {
        let status = status(&host);
        let told = status["problems"].to_string().contains(why);
        Ok((told && status["state"] == "degraded").then_some(()))
    })
    .unwrap();
    check_guarded(&host, "degraded", false, why);
}
