//! `portcullis check`: what is wrong, missing or doubtful in the configuration, on this host or
//! on the one whose facts are given.

use std::io::IsTerminal;

use anyhow::Result;

use super::{Outcome, Status};
use crate::cli::CheckArgs;
use crate::diagnose::{Findings, Severity};
use crate::facts::collect::NAMES_PATIENCE;
use crate::inputs;
use crate::meaning::meaning;

/// Prints every finding with its place and way out, and one line that counts them.
///
/// # Errors
///
/// A file that can't be read, or a host that does not say which interfaces it has.
pub fn run(args: &CheckArgs) -> Result<Outcome> {
    let mut said = inputs::read(&args.config)?;
    let mut talk = String::new();
    if let Some(config) = &said.config {
        let names = said.names();
        let (facts, notes) = inputs::facts(args.facts.as_deref(), names, NAMES_PATIENCE, false)?;
        for note in notes {
            talk.push_str(&format!("note: {note}\n"));
        }
        said.findings = meaning(config, &said.catalogue, &facts, &said.findings).findings;
    }
    said.findings.sort();
    let colour = std::io::stdout().is_terminal();
    let name = args.config.config.display().to_string();
    Ok(Outcome {
        stdout: report(&name, &said.findings, colour),
        stderr: talk,
        status: status(&said.findings, args.strict),
    })
}

fn status(findings: &Findings, strict: bool) -> Status {
    if findings.has_errors() {
        Status::Findings
    } else if strict && findings.count(Severity::Warning) > 0 {
        Status::Failed
    } else {
        Status::Done
    }
}

fn report(name: &str, findings: &Findings, colour: bool) -> String {
    let count = |severity: Severity, what: &str| match findings.count(severity) {
        0 => format!("no {what}s"),
        1 => format!("1 {what}"),
        number => format!("{number} {what}s"),
    };
    let verdict = if findings.has_errors() {
        "refused"
    } else {
        "can be applied"
    };
    let next = if findings.has_errors() {
        ""
    } else {
        "; `portcullis plan` shows what it opens"
    };
    let closing = format!(
        "{name} {verdict}: {}, {}{next}\n",
        count(Severity::Error, "error"),
        count(Severity::Warning, "warning")
    );
    if findings.is_empty() {
        closing
    } else {
        format!("{}\n{closing}", findings.render(colour))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::ConfigArgs;
    use std::path::{Path, PathBuf};

    const SEAL: &str = include_str!("../../tests/data/host-seal-node.toml");

    struct Directory(PathBuf);

    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    /// The outcome for a configuration and the facts of a node.
    fn outcome(name: &str, config: &str, strict: bool) -> Outcome {
        let name = format!("portcullis-check-{}-{name}", std::process::id());
        let directory = Directory(std::env::temp_dir().join(name));
        let file = |name: &str| directory.0.join(name);
        let write = |path: &Path, text: &str| std::fs::write(path, text).expect("a file of ours");
        std::fs::create_dir_all(&directory.0).expect("a directory of ours");
        write(&file("portcullis.toml"), config);
        let mut facts = crate::compile::resolve::tests::facts();
        facts.hostname = "node1".to_owned();
        let json = serde_json::to_string(&facts).expect("facts are JSON");
        write(&file("facts.json"), &json);
        let args = CheckArgs {
            config: ConfigArgs {
                config: file("portcullis.toml"),
                policies: Some(file("none")),
            },
            facts: Some(file("facts.json")),
            strict,
        };
        run(&args).expect("readable")
    }

    #[track_caller]
    fn check(name: &str, config: &str, strict: bool, status: Status, last: &str) {
        let outcome = outcome(name, config, strict);
        assert_eq!(outcome.status, status, "{}", outcome.stdout);
        let closing = outcome.stdout.lines().last().unwrap_or_default();
        assert!(closing.ends_with(last), "{closing}");
    }

    #[test]
    fn exit_codes() {
        let clean = SEAL
            .replace("[\"10.0.44.0/24\"]", "\"any\"")
            .replace(
                "monitoring-server = [\"10.0.5.7\"]",
                "monitoring-server = \"any\"",
            )
            .replace(
                "[\"10.0.0.11\", \"10.0.0.12\", \"10.0.0.13\"]",
                "[\"10.0.0.12\", \"2001:db8:10::12\"]",
            )
            .replace(
                "admins = [\"10.0.200.0/24\"]",
                "admins = [\"10.0.200.0/24\", \"2001:db8:200::/48\"]",
            );
        let (none, one) = (
            "can be applied: no errors, no warnings; `portcullis plan` shows what it opens",
            "can be applied: no errors, 1 warning; `portcullis plan` shows what it opens",
        );
        check("clean", &clean, false, Status::Done, none);
        check("clean-strict", &clean, true, Status::Done, none);
        let doubtful = clean.replace("\"eth0\"", "\"eth0\", \"eth9\"");
        check("doubtful", &doubtful, false, Status::Done, one);
        check("doubtful-strict", &doubtful, true, Status::Failed, one);
        let wrong = clean.replace("\"node\"", "\"nod\"");
        check(
            "wrong",
            &wrong,
            false,
            Status::Findings,
            "refused: 1 error, no warnings",
        );
        check(
            "empty",
            "",
            false,
            Status::Findings,
            "refused: 2 errors, 1 warning",
        );
        check(
            "syntax",
            "[",
            true,
            Status::Findings,
            "refused: 3 errors, 1 warning",
        );
    }

    #[test]
    fn findings_read_like_a_compiler_s() {
        let text = SEAL.replace("print-client = \"@offices\"", "print-clients = \"@office\"");
        let outcome = outcome("render", &text, false);
        for expected in [
            "error[unknown-set]: there is no set `office`",
            "= help: `@offices` is the nearest set",
            "error[unknown-peer-role]: `seal-output-engine` has no role `print-clients`",
            "error[role-without-peers]: the role `print-client` has no peers",
        ] {
            assert!(
                outcome.stdout.contains(expected),
                "{expected}\n{}",
                outcome.stdout
            );
        }
    }
}
