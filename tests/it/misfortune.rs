//! What is taken from under the agent: memory, files, directories, the journal. What was in force stays, and it is told.

use std::process::Command;

use portcullis::events::Message;
use portcullis_tests::daemon::{Agent, CONFIGURATION, binary, portcullis};
use portcullis_tests::journald::Journald;
use portcullis_tests::netns::Namespace;
use portcullis_tests::process::{Running, wait_for};

use crate::control::says;
use crate::faults::{PATIENCE, Troubled};
use crate::site::{LIMIT, SERVER, SILENCE, STRANGER, configuration, reaches};

const STATE: &str = "/var/lib/portcullis";
/// While this file is there, the kernel has no memory for maps.
const NO_MEMORY: &str = "/run/no-memory";

/// The agent's way to bpf(2), which makes no map while there is no memory. A filter of system calls could not be taken back.
const SHIM: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdarg.h>
#include <sys/syscall.h>
#include <unistd.h>
long syscall(long number, ...)
{
    static long (*next)(long, ...);
    va_list list;
    long a[6];
    va_start(list, number);
    for (int i = 0; i < 6; i++)
        a[i] = va_arg(list, long);
    va_end(list);
    if (number == SYS_bpf && a[0] == 0 && access("/run/no-memory", F_OK) == 0) {
        errno = ENOMEM;
        return -1;
    }
    if (!next)
        next = dlsym(RTLD_NEXT, "syscall");
    return next(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}
"#;

/// Builds it on the host, and gives its path.
fn shim(host: &Namespace) -> &'static str {
    const LIBRARY: &str = "/run/no-memory.so";
    host.write("/run/no-memory.c", SHIM).unwrap();
    let line = format!("cc -shared -fPIC -O1 -o {LIBRARY} /run/no-memory.c -ldl");
    host.text(&line).unwrap();
    LIBRARY
}

#[test]
fn no_memory_for_a_larger_policy() {
    let mut troubled = Troubled::started(|site| {
        let library = shim(&site.server);
        let preload = |command: &mut Command| {
            command.env("LD_PRELOAD", library);
        };
        let program = binary().unwrap();
        Agent::start_changed(&site.server, &program, &["--sink", "json"], preload).unwrap()
    });
    // Networks all over a prefix, more than the least that is loaded for.
    let far: Vec<String> = (0..3_000_u32)
        .map(|n| format!("\"2001:db8:{n:x}:{:x}::/64\"", n * 40_503 % 65_536))
        .collect();
    let more = format!(
        "[allow.stranger]\nreason = \"a test\"\ndirection = \"ingress\"\ntcp = [443]\npeers = [\"{}\", {}]\n",
        STRANGER[0],
        far.join(", ")
    );
    let server = &troubled.site.server;
    server
        .write(CONFIGURATION, &configuration("tc", "deny", &more))
        .unwrap();
    server.write(NO_MEMORY, "").unwrap();
    for command in [&["apply"][..], &["reload"], &["apply", "--confirm", "60s"]] {
        says(server, command, 1, "Cannot allocate memory");
        troubled.strangers(false);
    }
    assert!(troubled.agent.log().contains("Cannot allocate memory"));
    let server = &troubled.site.server;
    server.text(&format!("rm {NO_MEMORY}")).unwrap();
    says(server, &["apply"], 0, "applied");
    troubled.strangers(true);
    troubled.state("enforcing");
    troubled.agent.stop().unwrap();
}

#[test]
fn a_configuration_directory_that_is_replaced() {
    let mut troubled = Troubled::new();
    let server = &troubled.site.server;
    let run = |line: &str| {
        server.text(line).unwrap();
    };
    run("mv /etc/portcullis /etc/was");
    // Nothing, a file, a link to nowhere, an empty directory in its place.
    for make in [
        "true",
        "touch /etc/portcullis",
        "ln -sfn /nowhere /etc/portcullis",
        "mkdir /etc/portcullis",
    ] {
        run("rm -rf /etc/portcullis");
        run(make);
        for command in ["reload", "apply"] {
            let done = portcullis(server, &[command]).unwrap();
            let said = String::from_utf8_lossy(&done.stderr);
            assert!(!done.status.success(), "{make}: {command}: {said}");
            assert!(said.contains(CONFIGURATION), "{make}: {command}: {said}");
        }
        troubled.strangers(false);
    }
    // One that holds something else, by way of a link.
    run("rm -rf /etc/portcullis");
    run("ln -s /etc/was /etc/portcullis");
    says(server, &["reload"], 0, "reloaded");
    run("cp -a /etc/was /etc/next");
    run("ln -sfn /etc/next /etc/portcullis");
    troubled.open_for_stranger();
    says(server, &["reload"], 0, "reloaded");
    troubled.strangers(true);
    // To and fro while it is read: one or the other, never a mixture.
    for n in 0..20 {
        let to = if n % 2 == 0 { "was" } else { "next" };
        let mut reload = server.command(binary().unwrap());
        let mut reload = Running::start(reload.arg("reload")).unwrap();
        run(&format!("ln -s /etc/{to} /etc/link"));
        run("mv -T /etc/link /etc/portcullis");
        assert!(reload.wait(PATIENCE).unwrap().unwrap().success(), "{n}");
    }
    says(server, &["reload"], 0, "");
    troubled.strangers(true);
    troubled.state("enforcing");
    troubled.agent.stop().unwrap();
}

/// The most memory that a process had, in KiB.
fn most_memory(id: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let line = status.lines().find_map(|it| it.strip_prefix("VmHWM:"));
    let number = line.and_then(|it| it.split_whitespace().next());
    number.unwrap().parse().unwrap()
}

#[test]
fn a_file_that_grows_to_a_gibibyte() {
    let troubled = Troubled::new();
    let server = &troubled.site.server;
    let before = most_memory(troubled.agent.id());
    server.write("/etc/portcullis/policies.d/none", "").unwrap();
    server.write("/etc/portcullis/conf.d/none", "").unwrap();
    let run = |line: &str| {
        server.text(line).unwrap();
    };
    for (file, make, why) in [
        ("policies.d/grown.toml", "truncate -s 1G", "larger than"),
        ("policies.d/pipe.toml", "mkfifo", "not a regular file"),
        ("conf.d/grown.toml", "truncate -s 1G", "larger than"),
        ("conf.d/pipe.toml", "mkfifo", "not a regular file"),
    ] {
        let path = format!("/etc/portcullis/{file}");
        run(&format!("{make} {path}"));
        for command in ["reload", "apply", "check"] {
            let done = portcullis(server, &[command]).unwrap();
            let said = String::from_utf8_lossy(&done.stderr);
            assert!(!done.status.success(), "{file}: {command}: {said}");
            for part in [file, why] {
                assert!(said.contains(part), "{file}: {command}: {said}");
            }
        }
        troubled.strangers(false);
        run(&format!("rm {path}"));
    }
    let grown = most_memory(troubled.agent.id()) - before;
    assert!(grown < 256 << 10, "{grown} KiB more");
    // Over a start, too: what was kept is in force.
    run("truncate -s 1G /etc/portcullis/policies.d/grown.toml");
    let Troubled {
        site,
        agent,
        services,
    } = troubled;
    agent.kill().unwrap();
    let agent = Agent::start_as_it_stands(&site.server, "json").unwrap();
    let mut troubled = Troubled {
        site,
        agent,
        services,
    };
    troubled.strangers(false);
    troubled.state("degraded");
    assert!(troubled.agent.log().contains("grown.toml"));
    let server = &troubled.site.server;
    server
        .text("rm /etc/portcullis/policies.d/grown.toml")
        .unwrap();
    says(server, &["apply"], 0, "");
    troubled.state("enforcing");
    troubled.agent.stop().unwrap();
}

#[test]
fn a_journald_that_goes_and_comes_back() {
    let troubled = Troubled::started(|site| {
        let journald = Journald::start(&site.server).unwrap();
        let agent = Agent::start_as_it_stands(&site.server, "journal").unwrap();
        assert!(!reaches(&site.stranger, SERVER[0], 443, SILENCE));
        let denied = ["PORTCULLIS_VERDICT=deny"];
        journald.wait_entry(&denied, LIMIT, |_| true).unwrap();
        journald.stop().unwrap();
        agent
    });
    let Troubled {
        site,
        mut agent,
        services: _services,
    } = troubled;
    for port in 8_001..8_004 {
        assert!(!reaches(&site.stranger, SERVER[0], port, SILENCE));
    }
    assert!(reaches(&site.client, SERVER[0], 443, LIMIT));
    wait_for("the loss in the log", LIMIT, || {
        let told = "the sink journal did not take entries";
        Ok(agent.log().contains(told).then_some(()))
    })
    .unwrap();
    let journald = Journald::start(&site.server).unwrap();
    assert!(!reaches(&site.stranger, SERVER[0], 8_009, SILENCE));
    let lost = format!("MESSAGE_ID={}", Message::Lost.id());
    let lost = journald.wait_entry(&[&lost], PATIENCE, |_| true).unwrap();
    let count: u64 = lost["PORTCULLIS_COUNT"].as_str().unwrap().parse().unwrap();
    assert!(count >= 3, "{lost:?}");
    let after = ["PORTCULLIS_DST_PORT=8009"];
    journald.wait_entry(&after, PATIENCE, |_| true).unwrap();
    agent.stop().unwrap();
    journald.stop().unwrap();
}

#[test]
fn a_state_directory_that_can_only_be_read() {
    let mut troubled = Troubled::new();
    let server = &troubled.site.server;
    let run = |line: &str| {
        server.text(line).unwrap();
    };
    run(&format!("cp -a {STATE} /run/kept"));
    run(&format!("mount -t tmpfs -o mode=0700 none {STATE}"));
    run(&format!("cp -a /run/kept/. {STATE}"));
    run(&format!("mount -o remount,ro {STATE}"));
    troubled.open_for_stranger();
    // A trial that a restart would take for confirmed is none.
    let trial = ["apply", "--confirm", "60s"];
    says(server, &trial, 78, "Read-only file system");
    troubled.strangers(false);
    says(server, &["apply"], 0, "applied");
    troubled.strangers(true);
    troubled.state("degraded");
    assert!(troubled.agent.log().contains("Read-only file system"));
    // Who starts over it takes what is there.
    let Troubled {
        site,
        agent,
        services,
    } = troubled;
    agent.kill().unwrap();
    let agent = Agent::start_as_it_stands(&site.server, "json").unwrap();
    let mut troubled = Troubled {
        site,
        agent,
        services,
    };
    troubled.strangers(true);
    troubled.state("degraded");
    let server = &troubled.site.server;
    server
        .text(&format!("mount -o remount,rw {STATE}"))
        .unwrap();
    says(server, &["reload"], 0, "");
    troubled.state("enforcing");
    troubled.agent.stop().unwrap();
}
