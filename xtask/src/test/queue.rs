//! The tests that need root, each in a process of its own, several at a time.
//!
//! In processes and not in threads: what one test opens, a program that another starts at that moment would hold, too, from fork to exec. Ports
//! would be taken and programs be busy for no reason to be seen.

use std::collections::{BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::Count;
use crate::process::{host_cargo, output, shown};
use crate::{leftovers, project};

/// The modules of tests that need the machine to themselves, because they measure time.
const ALONE: &str = "alone::";

/// Which of them.
pub(super) struct Wanted<'a> {
    /// Those that take minutes, too.
    pub(super) long: bool,
    /// Those whose name contains this.
    pub(super) filter: Option<&'a str>,
}

/// Builds and runs them. Most wait most of the time: one more than there are processors run at a time. Those that somebody named, and the long
/// ones, have the machine to themselves.
///
/// # Errors
/// When they can't be built or started.
pub(super) fn run(wanted: &Wanted<'_>, watch: &leftovers::Watch) -> Result<Count> {
    let program = built()?;
    let ignored = listed(&program, &["--ignored"])?;
    let mut count = Count::default();
    let (mut together, mut alone) = (VecDeque::new(), VecDeque::new());
    for name in listed(&program, &[])? {
        if wanted.filter.is_some_and(|filter| !name.contains(filter)) {
            continue;
        }
        if ignored.contains(&name) && !wanted.long {
            println!("test {name} ... skipped, `--long` runs it");
            count.skipped += 1;
        } else if wanted.long || wanted.filter.is_some() || name.contains(ALONE) {
            alone.push_back(name);
        } else {
            together.push_back(name);
        }
    }
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    for (names, workers) in [(together, processors + 1), (alone, 1)] {
        count.add(all(&program, names, workers, watch)?);
    }
    Ok(count)
}

/// The program that holds them.
fn built() -> Result<PathBuf> {
    let mut cargo = host_cargo();
    cargo.args(["test", "--locked", "--release", "--no-run"]);
    cargo.args(["--package", "portcullis-tests", "--test", "it"]);
    cargo.arg("--message-format=json-render-diagnostics");
    eprintln!("$ {}", shown(&cargo));
    let built = cargo.stderr(Stdio::inherit()).output().context("cargo")?;
    anyhow::ensure!(built.status.success(), "`{}` failed", shown(&cargo));
    let said = String::from_utf8_lossy(&built.stdout);
    said.lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| message["target"]["name"] == "it")
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .context("cargo names no program of the tests")
}

fn listed(program: &Path, options: &[&str]) -> Result<BTreeSet<String>> {
    let mut list = Command::new(program);
    let said = output(list.args(["--list", "--format=terse"]).args(options))?;
    let names = said.lines().filter_map(|line| line.strip_suffix(": test"));
    Ok(names.map(str::to_owned).collect())
}

/// What came of one of them.
struct Ran {
    name: String,
    count: Count,
    said: String,
}

fn all(
    program: &Path,
    names: VecDeque<String>,
    workers: usize,
    watch: &leftovers::Watch,
) -> Result<Count> {
    let names = Mutex::new(names);
    let failed = Mutex::new(Vec::new());
    let worker = || -> Result<Count> {
        let mut count = Count::default();
        loop {
            let next = names
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .pop_front();
            let Some(name) = next else { return Ok(count) };
            let ran = one(program, name, watch)?;
            count.add(ran.count);
            if ran.count.failed > 0 {
                failed
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(ran);
            }
        }
    };
    let count = std::thread::scope(|scope| -> Result<Count> {
        let running: Vec<_> = (0..workers).map(|_| scope.spawn(worker)).collect();
        let mut count = Count::default();
        for worker in running {
            match worker.join() {
                Ok(done) => count.add(done?),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        Ok(count)
    })?;
    for Ran { name, said, .. } in failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
        println!("\n---- {name} ----\n{said}");
    }
    Ok(count)
}

/// Runs one in a process of its own, and says how it ended.
fn one(program: &Path, name: String, watch: &leftovers::Watch) -> Result<Ran> {
    let begun = Instant::now();
    let ran = Command::new(program)
        .args([&name, "--exact", "--include-ignored", "--test-threads=1"])
        .current_dir(project::root().join("tests"))
        .env(leftovers::MARK, &watch.mark)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("{}: cannot be started", program.display()))?;
    let said = [ran.stdout, ran.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    let mut count = Count::default();
    said.lines().for_each(|line| count.read(line));
    // A crash leaves no closing line.
    if !ran.status.success() || count.passed != 1 {
        count = Count {
            failed: 1,
            ..Count::default()
        };
    }
    let end = if count.failed == 0 { "ok" } else { "FAILED" };
    println!(
        "test {name} ... {end}, {:.1} s",
        begun.elapsed().as_secs_f32()
    );
    Ok(Ran { name, count, said })
}
