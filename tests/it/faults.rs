//! A host in trouble: signals without end, no descriptors, a full disk, a clock that jumps, a second agent. What was in force stays, and the
//! agent outlives it.

use std::time::Duration;

use portcullis_tests::daemon::{
    Agent, CONFIGURATION, binary, portcullis, portcullis_json, portcullis_text,
};
use portcullis_tests::process::wait_for;
use portcullis_tests::service::Services;

use crate::control::says;
use crate::site::{LIMIT, SERVER, SILENCE, STRANGER, Site, configuration, reaches};

/// How long the agent may take to answer or to tell, on a machine that is busy with other things.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// A server with the matrix in force.
pub(crate) struct Troubled {
    pub(crate) site: Site,
    pub(crate) agent: Agent,
    pub(crate) services: Services,
}

impl Troubled {
    #[track_caller]
    pub(crate) fn new() -> Self {
        Self::started(|site| Agent::start_as_it_stands(&site.server, "json").unwrap())
    }

    /// With an agent that is started by hand, over the matrix.
    #[track_caller]
    pub(crate) fn started(start: impl FnOnce(&Site) -> Agent) -> Self {
        let site = Site::new();
        let mut services = Services::new();
        services.tcp(&site.server, 443, "printed").unwrap();
        site.server
            .write(CONFIGURATION, &configuration("tc", "deny", ""))
            .unwrap();
        let agent = start(&site);
        Self {
            site,
            agent,
            services,
        }
    }

    #[track_caller]
    pub(crate) fn open_for_stranger(&self) {
        let more = format!(
            "[allow.stranger]\nreason = \"a test\"\ndirection = \"ingress\"\ntcp = [443]\npeers = \"{}\"\n",
            STRANGER[0]
        );
        let text = configuration("tc", "deny", &more);
        self.site.server.write(CONFIGURATION, &text).unwrap();
    }

    #[track_caller]
    pub(crate) fn strangers(&self, pass: bool) {
        let limit = if pass { LIMIT } else { SILENCE };
        let site = &self.site;
        assert_eq!(reaches(&site.stranger, SERVER[0], 443, limit), pass);
        assert!(reaches(&site.client, SERVER[0], 443, LIMIT));
    }

    #[track_caller]
    pub(crate) fn state(&self, expected: &str) {
        let status = portcullis_json(&self.site.server, &["status", "--json"]).unwrap();
        assert_eq!(status["state"], expected, "{status}");
    }
}

#[test]
fn a_storm_of_signals() {
    let mut troubled = Troubled::new();
    for _ in 0..2_000 {
        troubled.agent.hang_up().unwrap();
    }
    troubled.strangers(false);
    troubled.open_for_stranger();
    says(&troubled.site.server, &["apply"], 0, "generation");
    troubled.strangers(true);
    troubled.state("enforcing");
    troubled.agent.stop().unwrap();
    troubled.strangers(true);
}

#[test]
fn no_descriptors() {
    let mut troubled = Troubled::new();
    let id = i32::try_from(troubled.agent.id()).unwrap();
    let limit = |most: u64| {
        let limit = libc::rlimit {
            rlim_cur: most,
            rlim_max: 4096,
        };
        let old = std::ptr::null_mut();
        // SAFETY: `limit` outlives the call, and nothing is written back.
        let set = unsafe { libc::prlimit(id, libc::RLIMIT_NOFILE, &raw const limit, old) };
        assert_eq!(set, 0, "{}", std::io::Error::last_os_error());
    };
    // From READY on the control socket needs none of its own.
    limit(0);
    troubled.open_for_stranger();
    // What can't be read or loaded is not put in force, and what is stays.
    troubled.agent.hang_up().unwrap();
    wait_for("the refusal", PATIENCE, || {
        Ok(troubled
            .agent
            .log()
            .contains("Too many open files")
            .then_some(()))
    })
    .unwrap();
    troubled.strangers(false);
    limit(4096);
    wait_for("the way back", PATIENCE, || {
        Ok(portcullis_text(&troubled.site.server, &["apply"]).ok())
    })
    .unwrap();
    troubled.strangers(true);
    troubled.state("enforcing");
}

#[test]
fn a_control_socket_that_has_no_place_is_served_once_it_has() {
    let site = Site::new();
    let path = "/run/portcullis/control.sock";
    site.server
        .write(&format!("{path}/in-the-way"), "")
        .unwrap();
    let text = configuration("tc", "deny", "");
    let mut agent = Agent::start(&site.server, &text, "json").unwrap();
    let status = portcullis_json(&site.server, &["status", "--json"]).unwrap();
    assert_eq!(status["state"], "degraded", "{status}");
    let problems = status["problems"].to_string();
    assert!(problems.contains("control socket"), "{problems}");
    says(&site.server, &["apply"], 3, "no daemon runs");
    site.server.text(&format!("rm -r {path}")).unwrap();
    wait_for("the control socket", PATIENCE, || {
        Ok(portcullis_text(&site.server, &["apply"]).ok())
    })
    .unwrap();
    let status = portcullis_json(&site.server, &["status", "--json"]).unwrap();
    assert_eq!(status["state"], "enforcing", "{}", agent.log());
}

/// The time that an agent on this host is told, from its next look on: the machine's, and so much.
#[track_caller]
fn set_clock(site: &Site, ahead: &str) {
    // Renamed into its place, so that nobody reads half of it.
    site.server.write("/run/clock.new", ahead).unwrap();
    let moved = site.server.text("mv /run/clock.new /run/clock");
    moved.unwrap();
}

#[test]
fn a_clock_that_jumps() {
    let site = Site::new();
    let mut services = Services::new();
    services.tcp(&site.server, 443, "printed").unwrap();
    let end = jiff::Timestamp::now() + Duration::from_secs(3600);
    let text = |port: u16| {
        let more = format!(
            "[allow.stranger]\nreason = \"a test\"\ndirection = \"ingress\"\ntcp = [443, {port}]\npeers = \"{}\"\nexpires = {end:.0}\n",
            STRANGER[0]
        );
        configuration("tc", "deny", &more)
    };
    let write = |port| site.server.write(CONFIGURATION, &text(port)).unwrap();
    let state = |expected: &str| {
        let status = portcullis_json(&site.server, &["status", "--json"]).unwrap();
        assert_eq!(status["state"], expected, "{status}");
    };
    let comes_to = |what: &str, pass: bool| {
        let found = wait_for(what, PATIENCE, || {
            Ok((reaches(&site.stranger, SERVER[0], 443, SILENCE) == pass).then_some(()))
        });
        found.unwrap();
        assert!(reaches(&site.client, SERVER[0], 443, LIMIT), "{what}");
    };
    set_clock(&site, "+0");
    write(8001);
    let changed = Agent::start_changed(
        &site.server,
        &binary().unwrap(),
        &["--sink", "json"],
        |command| {
            // $LIB is the dynamic linker's word. What is measured by the clock that nobody sets stays the kernel's.
            command
                .env("LD_PRELOAD", "/usr/$LIB/faketime/libfaketime.so.1")
                .env("FAKETIME_TIMESTAMP_FILE", "/run/clock")
                .env("FAKETIME_NO_CACHE", "1")
                .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        },
    );
    let mut agent = changed.unwrap();
    comes_to("before its end", true);
    set_clock(&site, "+2d");
    comes_to("two days later", false);
    set_clock(&site, "-2d");
    comes_to("two days before", true);

    // A trial and a pause last as long as was said, by the programs' own clock.
    write(8002);
    says(
        &site.server,
        &["apply", "--confirm", "60s"],
        0,
        "unconfirmed",
    );
    set_clock(&site, "+9d");
    says(&site.server, &["apply"], 1, "for another");
    state("pending-confirm");
    set_clock(&site, "+0");
    says(&site.server, &["confirm"], 0, "confirmed");
    says(&site.server, &["pause", "--for", "60s"], 0, "paused");
    set_clock(&site, "+9d");
    says(&site.server, &["apply"], 1, "is paused for another");
    state("paused");
    says(&site.server, &["revert"], 0, "the pause is over");
    comes_to("nine days later", false);
    // Back and forth without end: it follows, and what it follows last holds.
    for n in 0..40 {
        set_clock(&site, if n % 2 == 0 { "-30d" } else { "+30d" });
        says(&site.server, &["reload"], 0, "reloaded");
    }
    comes_to("after all that", false);
    set_clock(&site, "+0");
    comes_to("set right", true);
    state("enforcing");
    let log = agent.log();
    assert!(!log.contains("panicked"), "{log}");
    agent.stop().unwrap();
}

#[test]
fn two_agents_at_once() {
    let mut troubled = Troubled::new();
    let first = format!(
        "another `portcullis run` is at work (process {}, /run/portcullis)",
        troubled.agent.id()
    );
    troubled.open_for_stranger();
    let second = portcullis(&troubled.site.server, &["run"]).unwrap();
    assert_eq!(second.status.code(), Some(1), "{second:?}");
    let said = String::from_utf8_lossy(&second.stderr);
    assert_eq!(said.matches("error: ").count(), 1, "{said}");
    assert!(said.contains(&first), "{said}");
    // It changed nothing, and took neither socket nor lock with it.
    troubled.strangers(false);
    troubled.state("enforcing");
    says(
        &troubled.site.server,
        &["apply"],
        0,
        "applied: generation 2",
    );
    troubled.strangers(true);
    troubled.agent.stop().unwrap();
    // The lock goes with its holder.
    let mut next = Agent::start_as_it_stands(&troubled.site.server, "json").unwrap();
    troubled.strangers(true);
    next.stop().unwrap();
}

#[test]
fn a_full_disk() {
    let mut troubled = Troubled::new();
    let server = &troubled.site.server;
    let state = "/var/lib/portcullis";
    server.text(&format!("cp -a {state} /run/kept")).unwrap();
    server
        .text(&format!(
            "mount -t tmpfs -o size=64k,mode=0700 none {state}"
        ))
        .unwrap();
    server
        .text(&format!("cp -a /run/kept/last-good.json {state}/"))
        .unwrap();
    let filled = server
        .output(&format!("dd if=/dev/zero of={state}/ballast bs=1k"), LIMIT)
        .unwrap();
    assert!(!filled.status.success(), "it was not filled");
    // A trial that a restart would take for confirmed is none.
    troubled.open_for_stranger();
    says(server, &["apply", "--confirm", "60s"], 78, "No space left");
    troubled.strangers(false);
    // A change by hand comes into force, and that it can't be kept is told.
    says(server, &["apply"], 0, "applied");
    troubled.strangers(true);
    troubled.state("degraded");
    wait_for("the error", PATIENCE, || {
        Ok(troubled.agent.log().contains("No space left").then_some(()))
    })
    .unwrap();
    let server = &troubled.site.server;
    server.text(&format!("rm {state}/ballast")).unwrap();
    portcullis_text(server, &["reload"]).unwrap();
    troubled.state("enforcing");
}
