//! `cargo xtask bench`: what a packet costs, beside xdp-filter.

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use portcullis_tests::bench::{self, Effort, report};

/// Measures the programs by BPF_PROG_TEST_RUN, beside xdp-filter on the same packets. Exit code 1 where a row is over its limit.
#[derive(Parser)]
struct Arguments {
    /// Rounds; each measures every row once.
    #[arg(long, default_value_t = Effort::default().rounds)]
    rounds: u32,
    /// Test runs of a row in a round.
    #[arg(long, default_value_t = Effort::default().repeat)]
    repeat: u32,
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
    let mut rows = bench::run(effort, |round| {
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
