//! What the init of the tests member says on the serial line, and the table made of it.
//!
//! Lines that count begin with `@@ `; fields are separated by tabs:
//! `kernel RELEASE`, `program NAME KIND`, then for it one of `loaded INSTRUCTIONS MILLISECONDS`,
//! `skipped WHY` and `refused WHY` with `log LINE`s; `agent VERSION`; `left PATH HEX`, a file of the machine's disk; at last `end`.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde_json::{Value, json};

/// Instructions that the verifier may walk through in one program: a quarter of the kernel's own limit, so that a release has room on kernels
/// that walk more than these.
pub(crate) const MOST_INSTRUCTIONS: u64 = 250_000;

/// What became of one program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Verified instructions (how it was attached, for a life) and milliseconds.
    Loaded {
        instructions: String,
        milliseconds: String,
    },
    /// The kernel is older than the feature that the program is for.
    Skipped(String),
    /// Refused, with the tail of the verifier's log.
    Refused { why: String, log: Vec<String> },
    /// Announced, and then nothing.
    Unknown,
}

/// One program on one kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    /// As in the object.
    pub(crate) program: String,
    /// Its type.
    pub(crate) kind: String,
    /// What became of it.
    pub(crate) outcome: Outcome,
}

/// All that one boot said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Report {
    /// As `uname -r`.
    pub(crate) release: String,
    /// What the agent's binary said of itself.
    pub(crate) agent: String,
    /// In the order of loading.
    pub(crate) lines: Vec<Line>,
    /// What kept it from trying.
    pub(crate) failures: Vec<String>,
    /// How it ended by itself, with nothing found wrong until then: the kernel stopped, and may not the next time.
    pub(crate) accident: Option<String>,
    /// Files on the disk, by their absolute names.
    pub(crate) left: Vec<(String, Vec<u8>)>,
    /// Of the kernel that this command runs on, which was built as somebody needed it.
    here: bool,
    begun: bool,
    end: bool,
}

impl Report {
    /// An empty one; `here` for the kernel that this command runs on.
    pub(crate) fn of(here: bool) -> Self {
        Self {
            here,
            ..Self::default()
        }
    }

    /// Whether the last line has come.
    pub(crate) fn is_whole(&self) -> bool {
        self.end
    }

    /// Whether init has said anything.
    pub(crate) fn has_begun(&self) -> bool {
        self.begun
    }

    /// Takes that it ended early, and what was said last. An accident is a failure, too, where it is not tried again.
    pub(crate) fn cut_short(&mut self, said: String) {
        /// What a kernel says when our init is what died.
        const INIT_DIED: &str = "Attempted to kill init";
        let refused = |line: &Line| matches!(line.outcome, Outcome::Refused { .. });
        let sound = self.failures.is_empty() && !self.lines.iter().any(refused);
        if sound && !said.contains(INIT_DIED) {
            self.accident = Some(said.clone());
        }
        self.failures.push(said);
    }

    /// Takes one line of the serial console.
    pub(crate) fn read(&mut self, line: &str) {
        let Some((_, said)) = line.split_once("@@ ") else {
            return;
        };
        self.begun = true;
        let fields: Vec<&str> = said.split('\t').collect();
        match *fields.as_slice() {
            ["kernel", release] => self.release = release.to_owned(),
            ["agent", said] => self.agent = said.to_owned(),
            ["program", program, kind] => self.lines.push(Line {
                program: program.to_owned(),
                kind: kind.to_owned(),
                outcome: Outcome::Unknown,
            }),
            ["loaded", instructions, milliseconds] => self.set(Outcome::Loaded {
                instructions: instructions.to_owned(),
                milliseconds: milliseconds.to_owned(),
            }),
            ["skipped", why] => self.set(Outcome::Skipped(why.to_owned())),
            ["refused", why] => {
                self.set(Outcome::Refused {
                    why: why.to_owned(),
                    log: Vec::new(),
                });
            }
            ["log", text] => {
                if let Some(Line {
                    outcome: Outcome::Refused { log, .. },
                    ..
                }) = self.lines.last_mut()
                {
                    log.push(text.to_owned());
                }
            }
            ["left", path, hex] => match octets(hex) {
                Some(content) => self.left.push((path.to_owned(), content)),
                None => self.failures.push(format!("{path}: garbled")),
            },
            ["failed", why] => self.failures.push(why.to_owned()),
            ["end"] => self.end = true,
            _ => self.failures.push(format!("not understood: {line}")),
        }
    }

    /// Takes what another boot of the same kernel said.
    pub(crate) fn add(&mut self, other: Self) {
        self.release = other.release;
        self.agent = other.agent;
        self.here |= other.here;
        self.lines.extend(other.lines);
        self.failures.extend(other.failures);
    }

    /// As data: the kernel, the agent, and of each check what came of it.
    pub(crate) fn json(&self, name: &str) -> Value {
        let checks = self.lines.iter().map(|line| {
            let (result, text) = match &line.outcome {
                Outcome::Loaded { .. } => ("passed", cell(&line.outcome)),
                Outcome::Skipped(why) => ("skipped", why.clone()),
                Outcome::Refused { why, .. } => ("failed", why.clone()),
                Outcome::Unknown => ("failed", "tried, then silence".to_owned()),
            };
            json!({"check": line.program, "kind": line.kind, "result": result, "text": text})
        });
        json!({
            "kernel": name,
            "release": self.release,
            "agent": self.agent,
            "checks": checks.collect::<Vec<_>>(),
            "failures": self.failures,
        })
    }

    fn set(&mut self, outcome: Outcome) {
        if let Some(line) = self.lines.last_mut() {
            line.outcome = outcome;
        }
    }

    /// Everything that must not be, in words.
    pub(crate) fn faults(&self) -> Vec<String> {
        let mut faults = self.failures.clone();
        if self.lines.is_empty() {
            faults.push("no program in the object".to_owned());
        }
        if self.agent.is_empty() {
            faults.push("the agent did not run".to_owned());
        }
        for line in &self.lines {
            match &line.outcome {
                Outcome::Refused { why, log } => {
                    let log = log.join("\n    ");
                    faults.push(format!("{} refused: {why}\n    {log}", line.program));
                }
                Outcome::Unknown => faults.push(format!("{}: tried, then silence", line.program)),
                Outcome::Loaded { instructions, .. } if is_over(instructions) => {
                    faults.push(format!(
                        "{}: {instructions} verified instructions, more than {MOST_INSTRUCTIONS}",
                        line.program
                    ));
                }
                Outcome::Skipped(why) if !self.may_skip(why) => {
                    faults.push(format!(
                        "{}: not tried: {why}, and this kernel has it",
                        line.program
                    ));
                }
                Outcome::Loaded { .. } | Outcome::Skipped(_) => {}
            }
        }
        faults
    }

    /// Whether a check may be left out for this: `needs 5.18` only on kernels before that, `lacks bond` only where others chose what is built in.
    fn may_skip(&self, why: &str) -> bool {
        match why.split_once(' ') {
            Some(("needs", since)) => version(&self.release)
                .zip(version(since))
                .is_some_and(|(present, since)| present < since),
            Some(("lacks", _)) => self.here,
            _ => false,
        }
    }
}

/// The checks that some kernels have and these have not: nothing may be left out in silence. Only of reports of the same lives, without boots.
pub(crate) fn missing(reports: &[(String, Report)]) -> Vec<String> {
    let checks = |report: &Report| -> BTreeSet<String> {
        let lines = report.lines.iter().filter(|line| line.kind != BOOT);
        lines.map(|line| line.program.clone()).collect()
    };
    let all: BTreeSet<String> = reports.iter().flat_map(|(_, it)| checks(it)).collect();
    let mut missing = Vec::new();
    for (name, report) in reports {
        let present = checks(report);
        let absent = all.difference(&present);
        missing.extend(absent.map(|check| format!("{name}: {check} is not in its report")));
    }
    missing
}

/// The kind of the checks that are lived on one kernel only.
const BOOT: &str = "boot";

/// The first two numbers of a release.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release
        .split(['.', '-'])
        .map_while(|number| number.parse().ok());
    Some((numbers.next()?, numbers.next()?))
}

fn is_over(instructions: &str) -> bool {
    instructions
        .parse()
        .is_ok_and(|walked: u64| walked > MOST_INSTRUCTIONS)
}

/// Octets from hexadecimal digits.
fn octets(hex: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = hex
        .chars()
        .map(|digit| digit.to_digit(16).and_then(|it| u8::try_from(it).ok()))
        .collect();
    let digits = digits.filter(|digits| digits.len().is_multiple_of(2))?;
    Some(
        digits
            .chunks(2)
            .map(|pair| pair[0] << 4 | pair[1])
            .collect(),
    )
}

/// Kernel × check, as a Markdown table that reads well as text, too.
pub(crate) fn table(reports: &[(String, Report)]) -> String {
    let lines = || reports.iter().flat_map(|(_, report)| &report.lines);
    let programs: BTreeSet<(&str, &str)> = lines()
        .map(|line| (line.program.as_str(), line.kind.as_str()))
        .collect();
    let heading = format!("check (programs: at most {MOST_INSTRUCTIONS} instructions)");
    let mut rows = vec![vec![heading, "kind".to_owned()]];
    rows[0].extend(
        reports
            .iter()
            .map(|(name, report)| format!("{name}: {}", report.release)),
    );
    for (program, kind) in programs {
        let cell = |report: &Report| {
            let found = report.lines.iter().find(|line| line.program == program);
            found.map_or("not there".to_owned(), |line| cell(&line.outcome))
        };
        let mut row = vec![format!("`{program}`"), kind.to_owned()];
        row.extend(reports.iter().map(|(_, report)| cell(report)));
        rows.push(row);
    }
    let columns = rows[0].len();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<usize> = (0..columns)
        .map(|column| width(column).unwrap_or(0))
        .collect();
    let mut text = String::new();
    for (number, row) in rows.iter().enumerate() {
        for (cell, width) in row.iter().zip(&widths) {
            let _ = write!(text, "| {cell:width$} ");
        }
        text.push_str("|\n");
        if number == 0 {
            for width in &widths {
                let _ = write!(text, "|-{}-", "-".repeat(*width));
            }
            text.push_str("|\n");
        }
    }
    text
}

fn cell(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Loaded {
            instructions,
            milliseconds,
        } => {
            match instructions.parse::<u64>() {
                Ok(walked) if is_over(instructions) => {
                    format!("{walked} instructions: TOO MANY, {milliseconds} ms")
                }
                Ok(walked) => format!("{walked} instructions, {milliseconds} ms"),
                // A word where something else was tried.
                Err(_) => format!("{instructions}, {milliseconds} ms"),
            }
        }
        Outcome::Skipped(why) => format!("not tried: {why}"),
        Outcome::Refused { .. } => "REFUSED".to_owned(),
        Outcome::Unknown => "UNKNOWN".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(text: &str) -> Report {
        let mut report = Report::default();
        text.lines().for_each(|line| report.read(line));
        report
    }

    #[track_caller]
    fn check_faults(text: &str, expected: &[&str]) {
        let faults = report(text).faults();
        assert_eq!(faults.len(), expected.len(), "{faults:?}");
        for (fault, expected) in faults.iter().zip(expected) {
            assert!(fault.contains(expected), "{fault} lacks {expected}");
        }
    }

    const LOADED: &str = "@@ kernel\t6.1\n@@ agent\tportcullis 0.1.0\n\
        @@ program\ta\txdp\n@@ loaded\t7\t1.5\n";

    #[test]
    fn faults() {
        check_faults(LOADED, &[]);
        for (release, why, expected) in [
            ("5.10.0-46-cloud-amd64", "needs 5.18", &[][..]),
            ("5.18.1", "needs 5.18", &["b: not tried: needs 5.18"]),
            ("6.1", "needs 5.18", &["b: not tried: needs 5.18"]),
            ("5.10", "lacks bond", &["b: not tried: lacks bond"]),
        ] {
            let text = LOADED.replace("6.1", release);
            let text = format!("{text}@@ program\tb\ttc\n@@ skipped\t{why}\n");
            check_faults(&text, expected);
        }
        let mut here = Report::of(true);
        let text = format!("{LOADED}@@ program\tb\ttc\n@@ skipped\tlacks bond\n");
        text.lines().for_each(|line| here.read(line));
        assert!(here.faults().is_empty(), "{:?}", here.faults());
        check_faults(
            &format!("{LOADED}@@ program\tb\ttc\n@@ refused\tEACCES\n@@ log\tR1 unbounded\n"),
            &["R1 unbounded"],
        );
        check_faults(&format!("{LOADED}@@ program\tb\ttc\n"), &["silence"]);
        let most = |more: u64| {
            let walked = MOST_INSTRUCTIONS + more;
            format!("{LOADED}@@ program\tb\ttc\n@@ loaded\t{walked}\t1.5\n")
        };
        check_faults(&most(0), &[]);
        check_faults(&most(1), &["b: 250001 verified instructions"]);
        check_faults(&format!("{LOADED}@@ failed\tno bpffs\n"), &["no bpffs"]);
        check_faults("@@ kernel\t6.1\n", &["no program", "did not run"]);
    }

    #[test]
    fn nothing_is_left_out_in_silence() {
        let more = format!("{LOADED}@@ program\tb\ttc\n@@ loaded\t7\t1.5\n");
        let more = format!("{more}@@ program\tgood\tboot\n@@ loaded\t7\t1.5\n");
        let reports = [LOADED, &more].map(|text| ("x".to_owned(), report(text)));
        assert_eq!(missing(&reports), ["x: b is not in its report"]);
        assert!(missing(&reports[1..]).is_empty());
    }

    #[test]
    fn files_that_are_left() {
        let report = report("@@ left\t/var/a\t00ff7b\n@@ left\t/var/b\t0\n");
        assert_eq!(report.left, [("/var/a".to_owned(), vec![0, 0xff, 0x7b])]);
        assert_eq!(report.failures, ["/var/b: garbled"]);
    }

    #[test]
    fn only_the_last_line_makes_it_whole() {
        assert!(!report(LOADED).is_whole());
        assert!(
            report(&format!("[    1.0] noise\n{LOADED}@@ end\r"))
                .failures
                .len()
                == 1
        );
        assert!(report(&format!("{LOADED}@@ end")).is_whole());
    }

    #[test]
    fn only_what_init_says_begins_it() {
        assert!(!report("[    1.0] noise\n").has_begun());
        assert!(report("@@ failed\tno bpffs\n").has_begun());
    }

    #[test]
    fn a_table() {
        let text = table(&[("6.1".to_owned(), report(LOADED))]);
        let expected = "\
| check (programs: at most 250000 instructions) | kind | 6.1: 6.1               |
|-----------------------------------------------|------|------------------------|
| `a`                                           | xdp  | 7 instructions, 1.5 ms |
";
        assert_eq!(text, expected);
    }

    #[test]
    fn only_what_stops_by_itself_is_an_accident() {
        let stops = "Kernel panic - not syncing: Fatal exception";
        for (lines, said, expected) in [
            (&[][..], "", true),
            (&["@@ program\tclock\ttc"], stops, true),
            (
                &["@@ program\tclock\ttc", "@@ refused\tEINVAL"],
                stops,
                false,
            ),
            (&["@@ failed\tno bpffs"], stops, false),
            (
                &[],
                "Kernel panic - not syncing: Attempted to kill init!",
                false,
            ),
        ] {
            let mut report = Report::default();
            for line in lines {
                report.read(line);
            }
            report.cut_short(said.to_owned());
            assert_eq!(report.accident.is_some(), expected, "{lines:?} {said}");
            assert!(!report.faults().is_empty());
        }
    }
}
