//! `cargo xtask test`: all tests there are, and one line that counts them.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context as _, Result};

use crate::process::{host_cargo, is_root, shown};
use crate::setup::{self, Group};
use crate::{build, leftovers};

mod queue;

/// Arguments of `test`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Run the long ones, too: those marked `#[ignore]`.
    #[arg(long)]
    long: bool,
    /// Only tests whose name contains this.
    filter: Option<String>,
}

/// What the test runners said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Count {
    passed: u64,
    failed: u64,
    skipped: u64,
}

/// Builds, runs all tests and counts.
///
/// # Errors
/// When something they need is missing. A test that failed is no error but the exit code.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    setup::ensure(Group::Test)?;
    // Large, and asked for by the tests of this name alone.
    let filter = arguments.filter.as_deref().unwrap_or("report");
    if filter.contains("report") || "report".contains(filter) {
        setup::ensure(Group::Browser)?;
    }
    build::everything()?;
    let mut count = Count::default();

    // Without optimization: overflow checks and debug assertions count.
    let mut host = host_cargo();
    host.args(["test", "--locked", "--no-fail-fast", "--workspace"]);
    host.args(["--exclude", "agent-ebpf", "--exclude", "portcullis-tests"]);
    count.add(counted(host, arguments)?);

    // What they need of the helpers, then they themselves: they make namespaces, pins and a journal, against the release binary.
    let mut helpers = host_cargo();
    helpers.args(["test", "--locked", "--no-fail-fast", "--release"]);
    helpers.args(["--package", "portcullis-tests", "--lib", "--bins"]);
    if is_root() {
        let watch = leftovers::Watch::new();
        helpers.env(leftovers::MARK, &watch.mark);
        count.add(counted(helpers, arguments)?);
        let wanted = queue::Wanted {
            long: arguments.long,
            filter: arguments.filter.as_deref(),
        };
        count.add(queue::run(&wanted, &watch)?);
        for left in watch.left() {
            eprintln!("left behind by the tests: {left}");
            count.failed += 1;
        }
    } else {
        eprintln!("not run, and so failed: the tests that need root (`sudo`, with your PATH)");
        count.failed += 1;
    }

    if count.passed == 0 && count.failed == 0 {
        eprintln!("no test has that in its name");
        count.failed += 1;
    }
    let Count {
        passed,
        failed,
        skipped,
    } = count;
    let long = if skipped > 0 {
        format!(", {skipped} skipped")
    } else {
        String::new()
    };
    println!("\n{passed} passed, {failed} failed{long}");
    Ok(if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

impl Count {
    fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }

    /// Adds the closing line of one test binary; other lines say nothing.
    fn read(&mut self, line: &str) {
        let Some(result) = line.strip_prefix("test result: ") else {
            return;
        };
        let number = |what: &str| -> u64 {
            let fields = result.split(['.', ';']).map(str::trim);
            let mut found = fields.filter_map(|field| field.strip_suffix(what));
            found
                .next()
                .and_then(|number| number.trim().parse().ok())
                .unwrap_or(0)
        };
        self.passed += number("passed");
        self.failed += number("failed");
        self.skipped += number("ignored");
    }
}

/// Runs `cargo test`, passes its output on, and counts. What fails without a failed test (a build,
/// a crash) counts as one.
fn counted(mut cargo: Command, arguments: &Arguments) -> Result<Count> {
    cargo.args(&arguments.filter).arg("--");
    if arguments.long {
        cargo.arg("--include-ignored");
    }
    eprintln!("$ {}", shown(&cargo));
    let mut child = cargo
        .stdout(Stdio::piped())
        .spawn()
        .context("cargo cannot be started")?;
    let mut count = Count::default();
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).lines() {
            let line = line.context("what the tests print")?;
            count.read(&line);
            println!("{line}");
        }
    }
    let status = child.wait().context("cargo test")?;
    if !status.success() && count.failed == 0 {
        eprintln!("`{}` failed: {status}", shown(&cargo));
        count.failed += 1;
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: &str, expected: (u64, u64, u64)) {
        let mut count = Count::default();
        count.read(line);
        assert_eq!((count.passed, count.failed, count.skipped), expected);
    }

    #[test]
    fn closing_lines() {
        let tail = "0 measured; 0 filtered out; finished in 0.01s";
        check(
            &format!("test result: ok. 5 passed; 0 failed; 2 ignored; {tail}"),
            (5, 0, 2),
        );
        check(
            &format!("test result: FAILED. 40 passed; 3 failed; 0 ignored; {tail}"),
            (40, 3, 0),
        );
        check("test policy::reads_7_passed ... ok", (0, 0, 0));
        check("test result: ", (0, 0, 0));
    }
}
