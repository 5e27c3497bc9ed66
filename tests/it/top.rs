//! The live view on a terminal of tmux: counts, explanations, a daemon that goes and comes back, and the terminal as it was.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use portcullis_tests::daemon::{Agent, binary, portcullis};
use portcullis_tests::netns::Namespace;
use portcullis_tests::process::wait_for;
use portcullis_tests::terminal::Terminal;

use crate::site::{CLIENT, SERVER, SILENCE, STRANGER, Site, configuration, reaches};

const LIMIT: Duration = Duration::from_secs(30);

/// How the terminal is set, as it says itself, and what else can be left behind.
#[track_caller]
fn state(terminal: &Terminal<'_>, round: u32) -> (String, [String; 2]) {
    let mark = format!("set {round} ");
    terminal
        .line(&format!("echo \"set {round} $(stty -g)\""))
        .unwrap();
    let screen = terminal
        .wait("how it is set", LIMIT, |it| {
            it.lines().any(|line| line.starts_with(&mark))
        })
        .unwrap();
    let line = screen.lines().find_map(|line| line.strip_prefix(&mark));
    let flags = ["alternate_on", "cursor_flag"].map(|it| terminal.property(it).unwrap());
    (line.unwrap().to_owned(), flags)
}

/// Waits for a screen with all of these: what is read in the midst of a drawing has only some of them.
#[track_caller]
fn shows(terminal: &Terminal<'_>, what: &str, parts: &[&str]) -> String {
    let found = terminal.wait(what, LIMIT, |screen| {
        parts.iter().all(|part| screen.contains(part))
    });
    found.unwrap()
}

/// One datagram to this port.
#[track_caller]
fn knock(from: &Namespace, port: u16) {
    from.enter(|| {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        let to = SocketAddr::new(SERVER[0].parse().unwrap(), port);
        // It is denied, and so nobody answers.
        let _ = socket.send_to(b"?", to);
    })
    .unwrap();
}

/// The view is there, and has counted something.
#[track_caller]
fn begin(terminal: &Terminal<'_>, site: &Site) {
    let command = binary().unwrap();
    terminal
        .line(&format!("{} top; echo code $?", command.display()))
        .unwrap();
    shows(terminal, "the view", &["1 peers", "q quit"]);
    // It looks on from some moment.
    let mut port = 7000;
    wait_for("a denial", LIMIT, || {
        port += 1;
        knock(&site.stranger, port);
        let screen = terminal.screen()?;
        Ok(screen.contains(STRANGER[0]).then_some(()))
    })
    .unwrap();
}

#[test]
fn denials_are_counted_and_explained_and_the_terminal_is_given_back() {
    let site = Site::new();
    let server = &site.server;
    let agent = Agent::start(server, &configuration("tc", "deny", ""), "json").unwrap();
    let terminal = Terminal::open(server, (150, 40)).unwrap();
    let before = state(&terminal, 0);
    assert_eq!(before.1, ["0", "1"], "on the plain screen, with a cursor");

    begin(&terminal, &site);
    assert!(!reaches(&site.client, SERVER[0], 9000, SILENCE));
    shows(
        &terminal,
        "both peers",
        &[
            CLIENT[0],
            STRANGER[0],
            "a second in the last minute",
            "watching",
        ],
    );
    // The other tables.
    terminal.press(&["Tab"]).unwrap();
    shows(&terminal, "the ports", &["in tcp/9000"]);
    terminal.press(&["4"]).unwrap();
    shows(&terminal, "the kinds", &["\npeer ", "\nnone "]);
    // By name: an order that does not change by itself.
    terminal.press(&["3", "s", "s", "s"]).unwrap();
    let row = "seal-output-engine/single-server/11";
    let (line, none) = (format!("\n{row} "), "\nno row comes near ");
    let screen = shows(
        &terminal,
        "the rows",
        &["by name", &line, none, "enter its denials"],
    );
    // To the line of the vendor's row, wherever it stands, into its denials, and into one.
    let body = screen.lines().skip_while(|it| !it.starts_with("row "));
    let place = body.skip(1).position(|it| it.starts_with(row)).unwrap();
    terminal.press(&["g"]).unwrap();
    for _ in 0..place {
        terminal.press(&["Down"]).unwrap();
    }
    terminal.press(&["Enter"]).unwrap();
    let head = format!("row {row}, the newest first");
    shows(&terminal, "its denials", &[&head, "in tcp/9000", CLIENT[0]]);
    terminal.press(&["Enter"]).unwrap();
    shows(
        &terminal,
        "the explanation",
        &[
            CLIENT[0],
            "no-rule",
            "to do",
            "near",
            row,
            "PLOSSYS Administrator",
            "admin-browser → node: tcp 9000",
            "SEAL Output Engine by SEAL Systems",
        ],
    );

    // The daemon goes, and comes back.
    agent.kill().unwrap();
    shows(&terminal, "that it has gone", &["the daemon has gone"]);
    let _agent = Agent::start_as_it_stands(server, "json").unwrap();
    let back = [" s without a daemon", "watching"];
    shows(&terminal, "that it is back", &back);
    terminal.press(&["1"]).unwrap();
    knock(&site.client, 6543);
    shows(&terminal, "a denial after it", &["udp/6543"]);

    // However it ends, the terminal is as it was.
    terminal.press(&["q"]).unwrap();
    // What was there before is there again.
    let screen = shows(&terminal, "the end", &["code 0", "set 0 "]);
    assert!(!screen.contains("1 peers"), "{screen}");
    assert_eq!(state(&terminal, 1), before);
    for signal in ["TERM", "HUP"] {
        terminal.line("clear").unwrap();
        begin(&terminal, &site);
        let pid = terminal.property("pane_pid").unwrap();
        // The shell's child is the view.
        let children = format!("/proc/{pid}/task/{pid}/children");
        let child = std::fs::read_to_string(children).unwrap();
        let child = nix::unistd::Pid::from_raw(child.trim().parse().unwrap());
        let signal = match signal {
            "HUP" => nix::sys::signal::Signal::SIGHUP,
            _ => nix::sys::signal::Signal::SIGTERM,
        };
        nix::sys::signal::kill(child, signal).unwrap();
        shows(&terminal, "the end", &["code 0"]);
        assert_eq!(state(&terminal, 2), before, "after {signal}");
    }
}

#[test]
fn without_a_terminal_or_a_daemon_it_says_so() {
    let site = Site::new();
    let done = portcullis(&site.server, &["top"]).unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    assert_eq!(done.status.code(), Some(2), "{said}");
    assert!(
        said.contains("needs a terminal") && done.stdout.is_empty(),
        "{said}"
    );
    let terminal = Terminal::open(&site.server, (100, 20)).unwrap();
    let command = binary().unwrap();
    terminal
        .line(&format!("{} top; echo code $?", command.display()))
        .unwrap();
    shows(&terminal, "the refusal", &["code 3", "no daemon runs"]);
}
