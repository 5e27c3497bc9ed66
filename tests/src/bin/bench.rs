//! `cargo xtask bench`: what a packet costs, beside xdp-filter.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Parser;
use portcullis::dataplane::object::BPF_OBJECT;
use portcullis_tests::bench::{self, Effort, Subject, report};

/// Measures the programs by BPF_PROG_TEST_RUN, beside xdp-filter on the same packets. Exit code 1 where a row is over its limit.
#[derive(Parser)]
struct Arguments {
    /// Rounds; each measures every row once.
    #[arg(long, default_value_t = Effort::default().rounds)]
    rounds: u32,
    /// Test runs of a row in a round.
    #[arg(long, default_value_t = Effort::default().repeat)]
    repeat: u32,
    /// Only rows whose name has this in it, and xdp-filter's.
    #[arg(long, default_value = "")]
    only: String,
    /// Another BPF object than the one that the agent carries, to compare two builds.
    #[arg(long)]
    object: Option<PathBuf>,
    /// Figures as JSON on standard output.
    #[arg(long)]
    json: bool,
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    let effort = Effort {
        rounds: arguments.rounds,
        repeat: arguments.repeat,
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
    let mut rows = bench::run(effort, subject, |round| {
        eprintln!("round {} of {}", round + 1, effort.rounds);
    })?;
    report::relate(&mut rows);
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&rows)?);
    } else {
        print!("{}", report::table(&rows));
    }
    let holds = rows.iter().all(report::Measured::holds);
    Ok(ExitCode::from(u8::from(!holds)))
}
