//! Starts over what a reboot leaves: files on disk, nothing in the kernel. Never open, the failsafe reachable, and said why.

use portcullis_tests::daemon::{
    Agent, CONFIGURATION, binary, portcullis, portcullis_json, portcullis_text,
};
use portcullis_tests::netns::Namespace;
use portcullis_tests::process::wait_for;
use portcullis_tests::seccomp;
use portcullis_tests::service::Services;
use serde_json::Value;
use std::os::unix::process::CommandExt as _;

use crate::site::{CLIENT, LIMIT, SERVER, SILENCE, STRANGER, Site, configuration, reaches};

/// A server that was up once with the matrix in force, and is booted anew.
struct Booted {
    site: Site,
    _services: Services,
}

const LAST_GOOD: &str = "/var/lib/portcullis/last-good.json";

impl Booted {
    /// Before its first start.
    #[track_caller]
    fn new() -> Self {
        let site = Site::new();
        let mut services = Services::new();
        for port in [22, 443] {
            services.tcp(&site.server, port, "served").unwrap();
        }
        services.tcp(&site.client, 8000, "asked").unwrap();
        Self {
            site,
            _services: services,
        }
    }

    /// After a life with this configuration.
    #[track_caller]
    fn after(text: &str) -> Self {
        let booted = Self::new();
        let mut agent = Agent::start(&booted.site.server, text, "json").unwrap();
        agent.stop().unwrap();
        booted.reboot();
        booted
    }

    /// What the kernel holds goes, what is on disk stays.
    #[track_caller]
    fn reboot(&self) {
        portcullis_text(&self.site.server, &["detach"]).unwrap();
        let removed = self
            .site
            .server
            .output("rm -rf /run/portcullis", LIMIT)
            .unwrap();
        assert!(removed.status.success());
        assert!(
            reaches(&self.site.stranger, SERVER[0], 443, LIMIT),
            "detached"
        );
    }

    #[track_caller]
    fn write(&self, text: &str) {
        self.site.server.write(CONFIGURATION, text).unwrap();
    }

    #[track_caller]
    fn start(&self) -> Agent {
        Agent::start_as_it_stands(&self.site.server, "json").unwrap()
    }

    /// The matrix is in force: the client prints and administers, a stranger does neither.
    #[track_caller]
    fn enforced(&self, agent: &mut Agent) {
        let site = &self.site;
        assert!(
            reaches(&site.client, SERVER[0], 22, LIMIT),
            "locked out: {}",
            agent.log()
        );
        assert!(
            reaches(&site.client, SERVER[0], 443, LIMIT),
            "{}",
            agent.log()
        );
        for port in [22, 443] {
            assert!(
                !reaches(&site.stranger, SERVER[0], port, SILENCE),
                "open: {}",
                agent.log()
            );
        }
    }

    #[track_caller]
    fn status(&self, state: &str) -> Value {
        let status = portcullis_json(&self.site.server, &["status", "--json"]).unwrap();
        assert_eq!(status["state"], state, "{status}");
        status
    }

    #[track_caller]
    fn says(&self, status: &Value, part: &str) {
        let problems = status["problems"].to_string();
        assert!(problems.contains(part), "{problems}");
    }

    /// Only what the failsafe admits comes in, everything goes out.
    #[track_caller]
    fn stood_in_for(&self, agent: &mut Agent, stranger_administers: bool) {
        let site = &self.site;
        assert!(
            reaches(&site.client, SERVER[0], 22, LIMIT),
            "locked out: {}",
            agent.log()
        );
        let limit = if stranger_administers { LIMIT } else { SILENCE };
        assert_eq!(
            reaches(&site.stranger, SERVER[0], 22, limit),
            stranger_administers
        );
        for host in [&site.client, &site.stranger] {
            assert!(
                !reaches(host, SERVER[0], 443, SILENCE),
                "open: {}",
                agent.log()
            );
        }
        let client = CLIENT[0];
        assert!(
            reaches(&site.server, client, 8000, LIMIT),
            "nothing goes out"
        );
        let told = agent.said().unwrap().join("\n");
        assert!(
            told.contains("READY=1") && told.contains("STATUS=degraded"),
            "{told}"
        );
    }
}

fn matrix() -> String {
    configuration("tc", "deny", "")
}

fn open_for_stranger() -> String {
    let allow = format!(
        "[allow.stranger]\nreason = \"a test\"\ndirection = \"ingress\"\ntcp = [443]\npeers = \"{}\"\n",
        STRANGER[0]
    );
    configuration("tc", "deny", &allow)
}

fn tables(host: &Namespace) -> String {
    host.text("nft list tables").unwrap()
}

#[test]
fn a_broken_file_leaves_the_last_good_policy_in_force() {
    let booted = Booted::after(&matrix());
    booted.write("schema = 1\ninterfaces = [\"eth0\"\n");
    let mut agent = booted.start();
    booted.enforced(&mut agent);
    let status = booted.status("degraded");
    booted.says(&status, "the last good configuration is in force");
    assert!(agent.said().unwrap().join("\n").contains("STATUS=degraded"));
    // Mended, it comes into force by a reload.
    booted.write(&open_for_stranger());
    portcullis_text(&booted.site.server, &["reload"]).unwrap();
    booted.status("enforcing");
    assert!(reaches(&booted.site.stranger, SERVER[0], 443, LIMIT));
}

#[test]
fn no_file_at_all_leaves_the_last_good_policy_in_force() {
    let booted = Booted::after(&matrix());
    let removed = booted
        .site
        .server
        .output(&format!("rm {CONFIGURATION}"), LIMIT)
        .unwrap();
    assert!(removed.status.success());
    let mut agent = booted.start();
    booted.enforced(&mut agent);
    booted.status("degraded");
}

#[test]
fn ready_waits_for_no_name() {
    let allow = "[allow.named]\nreason = \"a test\"\ndirection = \"ingress\"\ntcp = [443]\npeers = \"never.example\"\n";
    let booted = Booted::new();
    // Somebody listens there, never answers, and would be waited for longer than a start may take.
    let silent = || std::net::UdpSocket::bind((CLIENT[0], 53));
    let _silent = booted.site.client.enter(silent).unwrap().unwrap();
    booted.site.server.resolve_by(&[CLIENT[0]]).unwrap();
    let options = format!("nameserver {}\noptions timeout:30 attempts:5\n", CLIENT[0]);
    let server = &booted.site.server;
    server.write("/etc/resolv.conf", &options).unwrap();
    booted.write(&configuration("tc", "deny", allow));
    let mut agent = booted.start();
    booted.enforced(&mut agent);
    let status = booted.status("enforcing");
    assert_eq!(status["unresolved"][0], "never.example", "{status}");
}

#[test]
fn ready_waits_for_no_interface() {
    let booted = Booted::new();
    booted.write(&matrix().replace("[\"eth0\"]", "[\"eth0\", \"eth9\"]"));
    let mut agent = booted.start();
    booted.enforced(&mut agent);
    let status = booted.status("degraded");
    booted.says(&status, "eth9: no such interface");
}

#[test]
fn files_that_were_never_confirmed_stay_out() {
    let booted = Booted::new();
    let agent = Agent::start(&booted.site.server, &matrix(), "json").unwrap();
    booted.write(&open_for_stranger());
    portcullis_text(&booted.site.server, &["apply", "--confirm", "60s"]).unwrap();
    assert!(reaches(&booted.site.stranger, SERVER[0], 443, LIMIT));
    agent.kill().unwrap();
    booted.reboot();
    let mut agent = booted.start();
    booted.enforced(&mut agent);
    booted.status("reverted");
    assert!(agent.said().unwrap().join("\n").contains("STATUS=reverted"));
}

#[test]
fn a_first_start_with_a_broken_file_attaches_nothing() {
    let booted = Booted::new();
    booted.write("schema = 1\ninterfaces = [\"eth0\"\n");
    let output = portcullis(&booted.site.server, &["run"]).unwrap();
    assert_eq!(output.status.code(), Some(78), "{output:?}");
    assert!(reaches(&booted.site.stranger, SERVER[0], 443, LIMIT));
    assert_eq!(tables(&booted.site.server), "");
    booted.status("detached");
}

#[test]
fn without_a_last_good_policy_the_failsafe_stands_in() {
    let booted = Booted::after(&matrix());
    booted.write("schema = 1\ninterfaces = [\"eth0\"\n");
    booted.site.server.write(LAST_GOOD, "half a fi").unwrap();
    let mut agent = booted.start();
    // Whose peers are not known, so that its port is open to all.
    booted.stood_in_for(&mut agent, true);
    let status = booted.status("degraded");
    booted.says(&status, "portcullis_failsafe stands in");
    // A policy takes over from it.
    booted.write(&matrix());
    portcullis_text(&booted.site.server, &["apply"]).unwrap();
    booted.enforced(&mut agent);
    booted.status("enforcing");
    assert_eq!(tables(&booted.site.server), "");
}

#[test]
fn on_failure_open_filters_nothing() {
    let booted = Booted::after(&matrix());
    let open = "[daemon]\non-failure = \"open\"\n[allow.broken]\n";
    booted.write(&configuration("tc", "deny", open));
    booted.site.server.write(LAST_GOOD, "").unwrap();
    let _agent = booted.start();
    assert!(reaches(&booted.site.stranger, SERVER[0], 443, LIMIT));
    let status = booted.status("degraded");
    booted.says(&status, "nothing is filtered");
}

#[test]
fn where_the_kernel_refuses_the_programs_the_failsafe_stands_in() {
    let booted = Booted::after(&matrix());
    let mut agent = Agent::start_changed(
        &booted.site.server,
        &binary().unwrap(),
        &["--sink", "json"],
        |command| {
            // SAFETY: the filter is installed by system calls alone, which may be done between fork and exec.
            unsafe { command.pre_exec(seccomp::refuse_programs) };
        },
    )
    .unwrap();
    // The configuration is good, so that its failsafe holds as it is.
    booted.stood_in_for(&mut agent, false);
    let status = booted.status("degraded");
    booted.says(&status, "portcullis_failsafe stands in");
    agent.kill().unwrap();
    assert!(
        !reaches(&booted.site.stranger, SERVER[0], 443, SILENCE),
        "it outlives the process"
    );

    let mut agent = booted.start();
    booted.enforced(&mut agent);
    assert_eq!(tables(&booted.site.server), "");
    booted.status("enforcing");
}

#[test]
fn detach_takes_the_failsafe_table_away() {
    let booted = Booted::after(&matrix());
    booted.write("");
    booted.site.server.write(LAST_GOOD, "").unwrap();
    let agent = booted.start();
    assert!(tables(&booted.site.server).contains("portcullis_failsafe"));
    agent.kill().unwrap();
    let said = portcullis_text(&booted.site.server, &["detach"]).unwrap();
    assert!(said.contains("portcullis_failsafe"), "{said}");
    assert_eq!(tables(&booted.site.server), "");
    wait_for("everything to pass", LIMIT, || {
        Ok(reaches(&booted.site.stranger, SERVER[0], 443, SILENCE).then_some(()))
    })
    .unwrap();
}
