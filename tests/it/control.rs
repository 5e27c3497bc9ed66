//! Changes by hand: applied, tried, confirmed, taken back, paused; and what refuses them.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt as _;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use portcullis_tests::daemon::{Agent, CONFIGURATION, binary, portcullis, portcullis_json};
use portcullis_tests::link::wait_listens;
use portcullis_tests::netns::Namespace;
use portcullis_tests::process::{Running, wait_for};
use portcullis_tests::service::Services;

use crate::site::{CLIENT, LIMIT, SERVER, SILENCE, STRANGER, Site, at, configuration, reaches};

/// Opens a port for the stranger.
fn open_for_stranger(port: u16) -> String {
    format!(
        "[allow.stranger]\nreason = \"a test\"\ndirection = \"ingress\"\ntcp = [{port}]\npeers = [\"{}\", \"{}\"]\n",
        STRANGER[0], STRANGER[1]
    )
}

/// A server with the matrix in force, on whose port 443 something answers.
struct Guarded {
    site: Site,
    agent: Option<Agent>,
    _services: Services,
}

impl Guarded {
    #[track_caller]
    fn new() -> Self {
        let site = Site::new();
        let mut services = Services::new();
        services.tcp(&site.server, 443, "printed").unwrap();
        let agent = Agent::start(&site.server, &configuration("tc", "deny", ""), "json").unwrap();
        Self {
            site,
            agent: Some(agent),
            _services: services,
        }
    }

    #[track_caller]
    fn write(&self, more: &str) {
        let text = configuration("tc", "deny", more);
        self.site.server.write(CONFIGURATION, &text).unwrap();
    }

    #[track_caller]
    fn strangers(&self, what: &str, pass: bool) {
        let limit = if pass { LIMIT } else { SILENCE };
        let found = reaches(&self.site.stranger, SERVER[0], 443, limit);
        assert_eq!(found, pass, "{what}: a stranger at port 443");
        assert!(
            reaches(&self.site.client, SERVER[0], 443, LIMIT),
            "{what}: the client can't print"
        );
    }

    #[track_caller]
    fn says(&self, arguments: &[&str], code: i32, part: &str) {
        says(&self.site.server, arguments, code, part);
    }

    #[track_caller]
    fn state(&self, expected: &str) {
        let status = portcullis_json(&self.site.server, &["status", "--json"]).unwrap();
        assert_eq!(status["state"], expected, "{status}");
    }

    #[track_caller]
    fn wait_state(&self, expected: &str) {
        wait_for(expected, LIMIT, || {
            let status = portcullis_json(&self.site.server, &["status", "--json"])?;
            Ok((status["state"] == expected).then_some(()))
        })
        .unwrap();
    }

    #[track_caller]
    fn kill(&mut self) {
        self.agent.take().unwrap().kill().unwrap();
    }

    #[track_caller]
    fn start(&mut self) {
        self.agent = Some(Agent::start_as_it_stands(&self.site.server, "json").unwrap());
    }
}

/// What a command says and how it ends.
#[track_caller]
pub(crate) fn says(host: &Namespace, arguments: &[&str], code: i32, part: &str) {
    let output = portcullis(host, arguments).unwrap();
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {text}");
    assert!(text.contains(part), "{arguments:?}: {text}");
}

#[test]
fn apply_changes_what_is_in_force_or_says_why_not() {
    let mut guarded = Guarded::new();
    guarded.says(&["apply"], 0, "unchanged");
    guarded.strangers("before", false);
    guarded.write(&open_for_stranger(443));
    guarded.says(&["apply"], 0, "applied: generation 2");
    guarded.strangers("applied", true);
    guarded.says(&["apply"], 0, "unchanged: generation 2");
    // A comment changes nothing that is enforced.
    guarded.write(&format!("{}# a comment\n", open_for_stranger(443)));
    guarded.says(&["apply"], 0, "unchanged: generation 2");

    guarded.write("[allow.broken]\n");
    guarded.says(&["apply"], 78, "allow.broken");
    guarded.says(&["reload"], 78, "allow.broken");
    guarded.strangers("refused", true);

    guarded.says(&["revert"], 0, "reverted: generation 1");
    guarded.strangers("reverted", false);
    guarded.says(&["revert"], 1, "no earlier policy");
    guarded.says(&["confirm"], 1, "no policy waits");

    guarded.write("");
    guarded.says(&["reload"], 0, "reloaded: generation");
    guarded.kill();
    for command in [
        &["apply"][..],
        &["confirm"],
        &["revert"],
        &["reload"],
        &["pause", "--for", "1m"],
    ] {
        guarded.says(command, 3, "no daemon runs");
    }
    guarded.strangers("dead", false);
}

#[test]
fn a_service_manager_that_does_not_read_holds_up_nothing() {
    let mut guarded = Guarded::new();
    // Many more messages than its socket holds.
    for n in 0..40 {
        guarded.write(&open_for_stranger(4000 + n));
        guarded.says(&["apply"], 0, "applied");
    }
    // Once it reads again, it learns where things stand.
    let agent = guarded.agent.as_mut().unwrap();
    wait_for("the latest status", LIMIT, || {
        let said = agent.said()?;
        let last = said.last().map(String::as_str);
        Ok((last == Some("STATUS=enforcing generation 41 on eth0")).then_some(()))
    })
    .unwrap();
}

#[test]
fn a_trial_that_is_confirmed_stays() {
    let mut guarded = Guarded::new();
    guarded.write(&open_for_stranger(443));
    guarded.says(
        &["apply", "--confirm", "60s"],
        0,
        "unconfirmed: generation 2",
    );
    guarded.strangers("on trial", true);
    guarded.state("pending-confirm");
    for refused in [&["apply"][..], &["reload"], &["pause", "--for", "1m"]] {
        guarded.says(refused, 1, "for another");
    }
    guarded.says(&["confirm"], 0, "confirmed: generation 2");
    guarded.state("enforcing");
    guarded.kill();
    guarded.start();
    guarded.strangers("after a restart", true);
    guarded.state("enforcing");
}

#[test]
fn a_trial_falls_back_with_the_daemon_dead_and_stays_out() {
    let mut guarded = Guarded::new();
    guarded.write(&open_for_stranger(443));
    guarded.says(&["apply", "--confirm", "2s"], 0, "unconfirmed");
    guarded.strangers("on trial", true);
    guarded.kill();
    wait_for("the programs to fall back", LIMIT, || {
        Ok((!reaches(&guarded.site.stranger, SERVER[0], 443, SILENCE)).then_some(()))
    })
    .unwrap();
    guarded.strangers("fallen back", false);
    guarded.state("reverted");
    // The files still say otherwise.
    guarded.start();
    guarded.strangers("started over the same files", false);
    guarded.state("reverted");
    guarded.says(&["reload"], 1, "were never confirmed");
    guarded.strangers("reload refused", false);
    guarded.says(&["apply"], 0, "applied");
    guarded.strangers("applied after all", true);
    guarded.state("enforcing");
}

#[test]
fn a_trial_falls_back_and_the_daemon_takes_the_old_policy_as_its_own() {
    let guarded = Guarded::new();
    guarded.write(&open_for_stranger(443));
    guarded.says(&["apply", "--confirm", "1s"], 0, "unconfirmed");
    guarded.wait_state("reverted");
    guarded.strangers("fallen back", false);
    guarded.agent.as_ref().unwrap().hang_up().unwrap();
    guarded.says(&["reload"], 1, "were reverted");
    guarded.says(&["apply", "--confirm", "60s"], 0, "unconfirmed");
    guarded.strangers("on trial again", true);
    guarded.says(&["revert"], 0, "reverted: generation");
    guarded.strangers("taken back at once", false);
    guarded.state("reverted");
    guarded.write("");
    guarded.says(&["apply"], 0, "unchanged");
    guarded.state("enforcing");
}

#[test]
fn a_first_policy_falls_back_to_none() {
    let site = Site::new();
    let mut services = Services::new();
    services.tcp(&site.server, 443, "printed").unwrap();
    let text = configuration("tc", "deny", "");
    site.server.write(CONFIGURATION, &text).unwrap();
    let run = ["--sink", "json", "--confirm", "2s"];
    let agent = Agent::start_by(&site.server, &binary().unwrap(), &run).unwrap();
    assert!(
        !reaches(&site.stranger, SERVER[0], 443, SILENCE),
        "on trial"
    );
    agent.kill().unwrap();
    wait_for("generation 0", LIMIT, || {
        Ok(reaches(&site.stranger, SERVER[0], 443, SILENCE).then_some(()))
    })
    .unwrap();
    let mut agent = Agent::start_as_it_stands(&site.server, "json").unwrap();
    assert!(
        reaches(&site.stranger, SERVER[0], 443, LIMIT),
        "{}",
        agent.log()
    );
    let status = portcullis_json(&site.server, &["status", "--json"]).unwrap();
    assert_eq!(status["state"], "reverted", "{status}");
    says(&site.server, &["apply"], 0, "applied");
    assert!(!reaches(&site.stranger, SERVER[0], 443, SILENCE), "applied");
}

#[test]
fn a_pause_ends_with_the_daemon_dead() {
    let mut guarded = Guarded::new();
    guarded.says(&["pause", "--for", "60s"], 0, "paused");
    guarded.strangers("paused", true);
    guarded.state("paused");
    for refused in [&["apply"][..], &["reload"], &["pause", "--for", "1m"]] {
        guarded.says(refused, 1, "is paused for another");
    }
    guarded.says(&["revert"], 0, "the pause is over");
    guarded.strangers("ended by hand", false);
    guarded.says(&["pause", "--for", "2s"], 0, "paused");
    guarded.strangers("paused again", true);
    guarded.kill();
    wait_for("enforcement", LIMIT, || {
        Ok((!reaches(&guarded.site.stranger, SERVER[0], 443, SILENCE)).then_some(()))
    })
    .unwrap();
    guarded.start();
    guarded.state("enforcing");
}

/// A connection to a server that says everything back.
pub(crate) struct Held {
    near: TcpStream,
    /// Another process holds the far end, so that it is not the operator's.
    server: Running,
}

impl Drop for Held {
    fn drop(&mut self) {
        // The server's children, too: of a session that was cut they never learn the end.
        if let Ok(group) = i32::try_from(self.server.id()) {
            let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
        }
    }
}

impl Held {
    #[track_caller]
    fn new(server: &Namespace, client: &Namespace, port: u16) -> Self {
        Self::to(server, SERVER[0], client, port)
    }

    /// To an address of the server.
    #[track_caller]
    pub(crate) fn to(server: &Namespace, address: &str, client: &Namespace, port: u16) -> Self {
        let mut echo = server.command("socat");
        echo.args([&format!("TCP4-LISTEN:{port},fork,reuseaddr"), "EXEC:cat"]);
        echo.process_group(0);
        let running = Running::start(&mut echo).unwrap();
        wait_listens(server, "tcp", port).unwrap();
        let to = at(address, port);
        let near = client
            .enter(|| TcpStream::connect_timeout(&to, LIMIT).unwrap())
            .unwrap();
        let mut held = Self {
            near,
            server: running,
        };
        assert!(held.lives(), "port {port}");
        held
    }

    pub(crate) fn lives(&mut self) -> bool {
        self.near.set_read_timeout(Some(SILENCE * 5)).unwrap();
        self.near.write_all(b"x").is_ok() && self.near.read(&mut [0; 8]).is_ok_and(|read| read > 0)
    }
}

#[test]
fn apply_lists_the_sessions_it_would_cut() {
    let guarded = Guarded::new();
    let (server, stranger) = (&guarded.site.server, &guarded.site.stranger);
    guarded.write(&open_for_stranger(7777));
    guarded.says(&["apply"], 0, "applied");
    let mut session = Held::new(server, stranger, 7777);
    guarded.write("");
    guarded.says(&["apply"], 1, "repeat it with --cut 1");
    let listed = format!("tcp {}:7777 with {}:", SERVER[0], STRANGER[0]);
    guarded.says(&["apply", "--confirm", "60s"], 1, &listed);
    assert!(session.lives());

    // A failsafe's session is never cut by hand, whatever the number.
    let mut operator = Held::new(server, &guarded.site.client, 22);
    let failsafe = "tcp = [22]\npeers = \"@clients\"";
    let elsewhere = "tcp = [22]\npeers = \"10.88.200.0/24\"";
    let moved = configuration("tc", "deny", "").replace(failsafe, elsewhere);
    server.write(CONFIGURATION, &moved).unwrap();
    guarded.says(&["apply", "--cut", "9"], 1, "sessions of a failsafe (1)");
    guarded.says(&["apply", "--cut", "9"], 1, &format!("with {}:", CLIENT[0]));
    assert!(operator.lives() && session.lives());

    guarded.write("");
    guarded.says(&["apply", "--cut", "1"], 0, "applied");
    assert!(!session.lives(), "it was to be cut");
    assert!(operator.lives());
}

#[test]
fn apply_spares_the_session_that_the_operator_sits_in() {
    let guarded = Guarded::new();
    let (server, stranger) = (&guarded.site.server, &guarded.site.stranger);
    guarded.write(&open_for_stranger(7777));
    guarded.says(&["apply"], 0, "applied");
    // This process is an ancestor of the command, as sshd is of a shell's.
    let listener = server
        .enter(|| TcpListener::bind(("0.0.0.0", 7777)).unwrap())
        .unwrap();
    let to = at(SERVER[0], 7777);
    let near = stranger
        .enter(|| TcpStream::connect_timeout(&to, LIMIT).unwrap())
        .unwrap();
    let (far, _) = listener.accept().unwrap();
    guarded.write("");
    guarded.says(&["apply", "--cut", "9"], 1, "the session that you sit in");
    drop((near, far));
    wait_for("the session to end", LIMIT, || {
        let output = portcullis(server, &["apply"])?;
        Ok(output.status.success().then_some(()))
    })
    .unwrap();
}
