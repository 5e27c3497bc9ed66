//! README's tour and docs/first-steps.md as they are written: on a host as they tell of, each command is run and prints what the page says.
//!
//! A line `…` stands for any number of lines, within a line `…` stands for any text. `^C` ends what runs in the foreground. Commands of
//! systemd stand in blocks that are not walked; what they do is tested elsewhere.

use std::time::Duration;

use nix::sys::signal::Signal;
use portcullis_tests::daemon::{CONFIGURATION, binary, portcullis_text, repository};
use portcullis_tests::journald::Journald;
use portcullis_tests::link::cable;
use portcullis_tests::netns::Namespace;
use portcullis_tests::process::{Lines, Running, output, wait_for};

use crate::site::{SILENCE, reaches};

/// What a page's command may take on a busy machine.
const LIMIT: Duration = Duration::from_secs(180);
const SERVER: &str = "10.0.0.7";
const SERVER_6: &str = "2001:db8:10::7/64";
/// The stranger of both pages, and what he asks for.
const STRANGER: &str = "10.9.9.9";
const PORT: u16 = 631;

/// The blocks of a page between two of its lines: language and text.
fn blocks(page: &str, from: &str) -> Vec<(String, String)> {
    let text = std::fs::read_to_string(repository(page)).unwrap();
    let (_, text) = text.split_once(from).unwrap();
    let blocks = text.split("```").skip(1).step_by(2);
    let cut = blocks.map(|block| block.split_once('\n').unwrap());
    cut.map(|(language, text)| (language.to_owned(), text.to_owned()))
        .collect()
}

/// Whether a line is as the page says it.
fn is(page: &str, printed: &str) -> bool {
    let mut parts = page.split('…');
    let Some(mut rest) = parts.next().and_then(|first| printed.strip_prefix(first)) else {
        return false;
    };
    let parts: Vec<&str> = parts.collect();
    let Some((last, between)) = parts.split_last() else {
        return rest.is_empty();
    };
    for part in between {
        let Some((_, after)) = rest.split_once(part) else {
            return false;
        };
        rest = after;
    }
    rest.ends_with(last)
}

/// Whether what was printed is what the page says; where not, the line of the page that is missing.
fn differs(page: &[&str], printed: &[String]) -> Option<String> {
    let (mut at, mut skipping) = (0, false);
    for line in page {
        if *line == "…" {
            skipping = true;
            continue;
        }
        let rest = &printed[at..];
        match rest.iter().position(|printed| is(line, printed.trim_end())) {
            Some(found) if skipping || found == 0 => at += found + 1,
            _ => return Some((*line).to_owned()),
        }
        skipping = false;
    }
    (!skipping && at < printed.len()).then(|| format!("(nothing more) before `{}`", printed[at]))
}

/// A host as the pages tell of, and what runs there in the foreground.
struct Walk<'host> {
    server: &'host Namespace,
    stranger: &'host Namespace,
    foreground: Option<(Running, Lines, usize)>,
    commands: usize,
}

impl Walk<'_> {
    fn walk(&mut self, page: &str, from: &str) {
        for (language, text) in blocks(page, from) {
            match language.as_str() {
                "toml" => self.write(&text),
                "console" => self.console(&text),
                other => panic!("{page}: a block of {other}"),
            }
        }
        assert!(self.foreground.is_none(), "{page}: an agent still runs");
    }

    /// A whole configuration, or lines for one that `init` wrote.
    fn write(&self, text: &str) {
        if text.starts_with("schema") {
            return self.server.write(CONFIGURATION, text).unwrap();
        }
        let mut written = self.server.read(CONFIGURATION).unwrap();
        for line in text.lines() {
            let (key, _) = line.split_once(" = ").unwrap();
            let place = format!("# {key} = ");
            let lines = written.lines();
            let lines = lines.map(|it| if it.starts_with(&place) { line } else { it });
            written = lines.map(|it| format!("{it}\n")).collect();
            assert!(written.contains(line), "no place for {line}:\n{written}");
        }
        self.server.write(CONFIGURATION, &written).unwrap();
    }

    fn console(&mut self, text: &str) {
        let mut lines = text.lines().peekable();
        while let Some(command) = lines.next() {
            let mut page = Vec::new();
            while let Some(line) = lines.next_if(|it| !it.starts_with("$ ")) {
                page.push(line.trim_end());
            }
            self.commands += 1;
            match command.strip_prefix("$ ") {
                Some(command) => self.run(command.trim_start_matches("sudo "), &page),
                None if command == "^C" => self.interrupt(&page),
                None => panic!("`{command}` is no command"),
            }
        }
    }

    #[track_caller]
    fn run(&mut self, command: &str, page: &[&str]) {
        let (words, into) = match command.split_once(" > ") {
            Some((words, _)) => (words, Some(CONFIGURATION)),
            None => (command, None),
        };
        let mut words = words.split(' ');
        let program = words.next().unwrap();
        let arguments: Vec<&str> = words.collect();
        let mut started = if program == "portcullis" {
            self.server.command(binary().unwrap())
        } else {
            self.server.command(program)
        };
        started.args(&arguments).env("COLUMNS", "110");
        if program == "portcullis" && arguments.first() == Some(&"run") {
            let mut running = Running::start(&mut started).unwrap();
            let lines = running.error_lines();
            self.foreground = Some((running, lines, 0));
            return self.says(command, page);
        }
        if program == "journalctl" {
            // Somebody was turned away; where he is told of is where the page reads on.
            assert!(!reaches(self.stranger, SERVER, PORT, SILENCE));
            let limit = Duration::from_secs(10);
            wait_for("the denial in the journal", limit, || {
                let said = output(
                    self.server.command("journalctl").args(&arguments),
                    Duration::from_secs(10),
                )?;
                Ok(String::from_utf8_lossy(&said.stdout)
                    .contains(STRANGER)
                    .then_some(()))
            })
            .unwrap();
        }
        let done = output(&mut started, LIMIT).unwrap();
        let mut printed = String::from_utf8(done.stdout).unwrap();
        if let Some(path) = into {
            self.server.write(path, &printed).unwrap();
            printed.clear();
        }
        printed += &String::from_utf8(done.stderr).unwrap();
        let lines: Vec<String> = printed.lines().map(str::to_owned).collect();
        let differs = differs(page, &lines);
        assert_eq!(
            differs, None,
            "the page says so of `{command}`, which prints\n{printed}"
        );
    }

    /// What runs in the foreground comes to say this.
    #[track_caller]
    fn says(&mut self, command: &str, page: &[&str]) {
        let (_, lines, said) = self.foreground.as_mut().unwrap();
        let told = wait_for("what the page says", LIMIT, || {
            lines.drain();
            Ok(differs(page, &lines.seen()[*said..])
                .is_none()
                .then_some(()))
        });
        let seen = &lines.seen()[*said..];
        assert!(told.is_ok(), "`{command}` says {seen:?}, and not {page:?}");
        *said = lines.seen().len();
    }

    #[track_caller]
    fn interrupt(&mut self, page: &[&str]) {
        let (running, ..) = self.foreground.as_ref().unwrap();
        running.signal(Signal::SIGINT).unwrap();
        self.says("^C", page);
        let (mut running, ..) = self.foreground.take().unwrap();
        assert!(running.wait(LIMIT).unwrap().unwrap().success());
    }
}

#[track_caller]
fn check(page: &str, from: &str, commands: usize) {
    let server = Namespace::new("server").unwrap();
    let stranger = Namespace::new("stranger").unwrap();
    cable(
        // Both families, as most servers have them: whoever gives a role one of them only is warned.
        (&server, "eth0", &[&format!("{SERVER}/8"), SERVER_6]),
        (&stranger, "eth0", &[&format!("{STRANGER}/8")]),
    )
    .unwrap();
    let journald = Journald::start(&server).unwrap();
    let mut walk = Walk {
        server: &server,
        stranger: &stranger,
        foreground: None,
        commands: 0,
    };
    walk.walk(page, from);
    assert!(
        walk.commands >= commands,
        "{page}: {} commands",
        walk.commands
    );
    portcullis_text(&server, &["detach"]).unwrap();
    journald.stop().unwrap();
}

#[test]
fn readme_is_what_happens() {
    check("README.md", "\n## Five minutes on a real server\n", 11);
}

#[test]
fn first_steps_are_what_happens() {
    check(
        "docs/first-steps.md",
        "\n## Which product, which role\n",
        12,
    );
}
