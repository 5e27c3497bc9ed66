//! No gap and no mixture: numbered packets, allowed and forbidden in turn, while policies change, daemons die and binaries are replaced.
//!
//! The policies differ in ports before the two that are watched, so that the watched ports are in other classes each time: a packet that was
//! looked up in the tables of one policy and judged by those of another would fall on a cell that says the opposite.

use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use portcullis_tests::daemon::{Agent, CONFIGURATION, binary, portcullis, portcullis_json};
use portcullis_tests::netns::Namespace;
use portcullis_tests::process::{Running, wait_for};

use crate::site::{CLIENT, LIMIT, SERVER, Site, configuration, counters, denied, pinned};

/// Admitted to the client by every policy.
const ALLOWED: u16 = 5001;
/// Admitted by every policy, but to somebody else.
const FORBIDDEN: u16 = 5002;

/// How often each thing happens.
struct Course {
    switches: u32,
    kills: u32,
    replacements: u32,
}

/// Policy number `n`: `n % 7` ports more lie before the watched ones, and an exception that ends in a second.
fn policy(hook: &str, n: u32) -> String {
    let mut more = String::new();
    let mut allow = |name: &str, port: u16, peer: &str, rest: &str| {
        more += &format!(
            "[allow.{name}]\nreason = \"a test\"\ndirection = \"ingress\"\nudp = [{port}]\npeers = \"{peer}\"\n{rest}"
        );
    };
    for extra in 0..(n % 7) as u16 {
        allow(
            &format!("extra{extra}"),
            4000 + extra,
            &format!("10.99.{extra}.0/24"),
            "",
        );
    }
    allow("watched", ALLOWED, CLIENT[0], "");
    allow("elsewhere", FORBIDDEN, "10.99.100.0/24", "");
    let soon = jiff::Timestamp::now() + Duration::from_secs(1);
    allow(
        "passing",
        6000 + (n % 5) as u16,
        "10.99.101.0/24",
        &format!("expires = {soon:.0}\n"),
    );
    configuration(hook, "deny", &more)
}

/// Numbered packets of one client to both ports of the server.
struct Stream {
    client: UdpSocket,
    allowed: UdpSocket,
    forbidden: UdpSocket,
}

impl Stream {
    #[track_caller]
    fn new(site: &Site) -> Self {
        let socket = |host: &Namespace, address: &str, port: u16| {
            let bound = host.enter(|| UdpSocket::bind((address, port)).unwrap());
            bound.unwrap()
        };
        let stream = Self {
            client: socket(&site.client, CLIENT[0], 0),
            allowed: socket(&site.server, SERVER[0], ALLOWED),
            forbidden: socket(&site.server, SERVER[0], FORBIDDEN),
        };
        stream.allowed.set_read_timeout(Some(LIMIT)).unwrap();
        stream.forbidden.set_nonblocking(true).unwrap();
        stream
    }

    /// Sends a forbidden and an allowed packet with the same number again and again, and waits for the allowed one each time.
    fn run(&self, over: &AtomicBool, sent: &AtomicU64) {
        while !over.load(Ordering::Relaxed) {
            let number = sent.fetch_add(1, Ordering::Relaxed);
            for port in [FORBIDDEN, ALLOWED] {
                let octets = number.to_be_bytes();
                self.client.send_to(&octets, (SERVER[0], port)).unwrap();
            }
            let mut got = [0; 8];
            let received = self.allowed.recv(&mut got);
            assert!(received.is_ok(), "allowed packet {number} was lost");
            assert_eq!(
                u64::from_be_bytes(got),
                number,
                "an allowed packet was lost"
            );
            let passed = self.forbidden.recv(&mut got).is_ok();
            assert!(
                !passed,
                "forbidden packet {} passed",
                u64::from_be_bytes(got)
            );
        }
    }
}

/// Ends the stream when it goes.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Numbers without a pattern, the same in every run (Numerical Recipes' congruence).
struct Random(u32);

impl Random {
    fn below(&mut self, limit: u32) -> u32 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (self.0 >> 8) % limit
    }
}

/// The agent's binary with another build id, as a build from the same sources elsewhere has it.
fn another_build(directory: &Path) -> PathBuf {
    let mut octets = std::fs::read(binary().unwrap()).unwrap();
    // .note.gnu.build-id: name of 4 octets, 20 octets of id, type 3, "GNU"
    let note = [&[4, 0, 0, 0, 20, 0, 0, 0, 3, 0, 0, 0][..], b"GNU\0"].concat();
    let at = octets.windows(note.len()).position(|window| window == note);
    let id = at.expect("the binary has a build id") + note.len();
    octets[id] ^= 0xff;
    let path = directory.join("portcullis");
    std::fs::write(&path, octets).unwrap();
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&path, executable).unwrap();
    path
}

/// The one who changes things while the stream runs.
struct Operator<'a> {
    site: &'a Site,
    hook: &'a str,
    agent: Option<Agent>,
    random: Random,
    policies: u32,
}

impl Operator<'_> {
    fn write_next(&mut self) {
        self.policies += 1;
        let text = policy(self.hook, self.policies);
        self.site.server.write(CONFIGURATION, &text).unwrap();
    }

    #[track_caller]
    fn done(&self, arguments: &[&str]) {
        let output = portcullis(&self.site.server, arguments).unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {text}");
    }

    fn switch(&mut self, n: u32) {
        self.write_next();
        match n % 6 {
            0 => self.done(&["apply"]),
            1 => self.done(&["reload"]),
            2 => {
                self.done(&["apply", "--confirm", "60s"]);
                self.done(&["confirm"]);
            }
            3 => {
                self.done(&["apply", "--confirm", "60s"]);
                self.done(&["revert"]);
                // What was taken back stays out until somebody says otherwise.
                self.write_next();
            }
            4 => {
                let before = generation(&self.site.server);
                self.agent.as_ref().unwrap().hang_up().unwrap();
                wait_for("the reload", LIMIT, || {
                    Ok((generation(&self.site.server) > before).then_some(()))
                })
                .unwrap();
            }
            _ => {
                self.done(&["apply"]);
                self.done(&["revert"]);
                self.write_next();
                self.done(&["apply"]);
            }
        }
    }

    /// `kill -9` while a change is under way, and the next start over what it left.
    fn kill(&mut self) {
        self.write_next();
        let mut apply = self.site.server.command(binary().unwrap());
        apply.arg("apply");
        let mut apply = Running::start(&mut apply).unwrap();
        // A moment somewhere in it: nothing to wait for.
        thread::sleep(Duration::from_millis(self.random.below(150).into()));
        self.agent.take().unwrap().kill().unwrap();
        apply.wait(LIMIT).unwrap();
        self.start(&binary().unwrap());
    }

    fn replace(&mut self, by: &Path) {
        self.agent.take().unwrap().stop().unwrap();
        self.write_next();
        self.start(by);
    }

    fn start(&mut self, binary: &Path) {
        let agent = Agent::start_by(&self.site.server, binary, &["--sink", "json"]);
        self.agent = Some(agent.unwrap());
    }
}

fn generation(host: &Namespace) -> u32 {
    pinned(host, |pinned| pinned.switch().unwrap().generation())
}

#[track_caller]
fn check(hook: &str, course: &Course) {
    let site = Site::new();
    let agent = Agent::start(&site.server, &policy(hook, 0), "json").unwrap();
    let other = format!("portcullis-build-{}-{hook}", std::process::id());
    let other = std::env::temp_dir().join(other);
    std::fs::create_dir_all(&other).unwrap();
    let another = another_build(&other);
    let mut operator = Operator {
        site: &site,
        hook,
        agent: Some(agent),
        random: Random(7),
        policies: 0,
    };
    let before = denied(&counters(&site.server));
    let stream = Stream::new(&site);
    let (over, sent) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        let watched = scope.spawn(|| stream.run(&over, &sent));
        // Also where the operator fails: the stream would wait for its end for ever.
        let end = End(&over);
        let most = course.switches.max(course.kills).max(course.replacements);
        let mut replaced = false;
        let due = |n: u32, times: u32| (n + 1) * times / most > n * times / most;
        for n in 0..most {
            if watched.is_finished() {
                break;
            }
            if due(n, course.switches) {
                operator.switch(n);
            }
            if due(n, course.kills) {
                operator.kill();
            }
            if due(n, course.replacements) {
                let by = if replaced {
                    binary().unwrap()
                } else {
                    another.clone()
                };
                operator.replace(&by);
                replaced = !replaced;
            }
        }
        drop(end);
        if let Err(panic) = watched.join() {
            std::panic::resume_unwind(panic);
        }
    });
    let sent = sent.load(Ordering::Relaxed);
    assert!(sent > u64::from(course.switches), "{sent} packets only");
    let counted = denied(&counters(&site.server)) - before;
    assert!(counted >= sent, "{counted} of {sent} denials were counted");
    let status = portcullis_json(&site.server, &["status", "--json"]).unwrap();
    assert_eq!(status["state"], "enforcing", "{status}");
    std::fs::remove_dir_all(&other).unwrap();
}

const SHORT: Course = Course {
    switches: 18,
    kills: 2,
    replacements: 1,
};

const LONG: Course = Course {
    switches: 1_000,
    kills: 50,
    replacements: 20,
};

#[test]
fn no_gap_and_no_mixture() {
    check("tc", &SHORT);
}

#[test]
#[ignore = "twenty minutes: `cargo xtask test --long` runs it"]
fn no_gap_and_no_mixture_in_a_thousand_switches_at_tc() {
    check("tc", &LONG);
}

#[test]
#[ignore = "twenty minutes: `cargo xtask test --long` runs it"]
fn no_gap_and_no_mixture_in_a_thousand_switches_at_xdp() {
    check("xdp", &LONG);
}
