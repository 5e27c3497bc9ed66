//! `cargo xtask bench`: what packets, streams, changes and events cost, beside what one would take instead.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::{Parser, ValueEnum as _};
use portcullis::dataplane::object::BPF_OBJECT;
use portcullis_tests::bench::report::{Section, table};
use portcullis_tests::bench::{self, Effort, Part, Subject, chart};
use serde_json::json;

/// Measures the agent as it ships beside its peers, and writes bench.json and charts into target/bench. Exit code 1 where a row is over its
/// limit or could not be measured.
#[derive(Parser)]
struct Arguments {
    /// The parts to measure; all where none is named.
    #[arg(long, value_enum)]
    section: Vec<Part>,
    /// Rounds; each measures every row once. Each part has a number that suits it.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: Option<u32>,
    /// Test runs of a row in a round.
    #[arg(long, default_value_t = Effort::default().repeat)]
    repeat: u32,
    /// Milliseconds for which a row is measured in a round, where it is not test runs.
    #[arg(long, default_value_t = Effort::default().slice.as_millis() as u64)]
    slice: u64,
    /// Only rows whose name has this in it, of those by test runs and of connections.
    #[arg(long, default_value = "")]
    only: String,
    /// Another BPF object than the one that the agent carries, to compare two builds.
    #[arg(long)]
    object: Option<PathBuf>,
    /// Figures as JSON on standard output, too.
    #[arg(long)]
    json: bool,
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    let effort = Effort {
        rounds: arguments.rounds,
        repeat: arguments.repeat,
        slice: Duration::from_millis(arguments.slice),
    };
    let object = match &arguments.object {
        Some(path) => {
            std::fs::read(path).with_context(|| format!("{}: cannot be read", path.display()))?
        }
        None => BPF_OBJECT.to_vec(),
    };
    let subject = Subject {
        object: &object,
        only: &arguments.only,
    };
    let parts = match arguments.section.as_slice() {
        [] => Part::value_variants(),
        named => named,
    };
    let mut sections = Vec::new();
    for &part in parts {
        let section = bench::run(part, effort, subject);
        if !arguments.json {
            println!("{}", table(&section));
        }
        sections.push(section);
    }
    let report = serde_json::to_string_pretty(&json!({
        "schema": 1,
        "machine": machine(),
        "sections": sections,
    }))?;
    write(&sections, &report)?;
    if arguments.json {
        println!("{report}");
    }
    let holds = sections.iter().all(Section::holds);
    Ok(ExitCode::from(u8::from(!holds)))
}

/// Into `bench` beside the directory of this program's profile.
fn write(sections: &[Section], report: &str) -> Result<()> {
    let this = std::env::current_exe().context("where does this program lie?")?;
    let target = this.ancestors().nth(2).unwrap_or(Path::new("."));
    let directory = target.join("bench");
    std::fs::create_dir_all(&directory).with_context(|| directory.display().to_string())?;
    let path = directory.join("bench.json");
    std::fs::write(&path, format!("{report}\n")).with_context(|| path.display().to_string())?;
    eprintln!("{}", path.display());
    for chart in sections.iter().flat_map(|section| &section.charts) {
        let path = directory.join(chart.name).with_extension("svg");
        chart::draw(chart, &path)?;
        eprintln!("{}", path.display());
    }
    Ok(())
}

/// What the figures are of.
fn machine() -> serde_json::Value {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let processor = read("/proc/cpuinfo");
    let model = processor
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map(|(_, model)| model.to_owned());
    json!({
        "kernel": read("/proc/sys/kernel/osrelease").trim(),
        "processor": model,
        "cpus": std::thread::available_parallelism().map_or(0, usize::from),
        "load": read("/proc/loadavg").split_whitespace().next(),
    })
}
