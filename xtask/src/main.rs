//! The project's own commands: `cargo xtask help` lists them.
//!
//! One file per command. This crate depends on no other member, so it is built in seconds before
//! anything else is there; work that needs the agent's library is done by binaries of the `tests`
//! member, which it builds and starts.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod build;
mod elf;
mod process;
mod project;
mod setup;
mod sources;
mod toolchain;

/// The project's own commands.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Install what the other commands need: the BPF toolchain, test and benchmark tools.
    Setup(setup::Arguments),
    /// Build the BPF object and the release binary that carries it.
    Build(build::Arguments),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Setup(arguments) => setup::run(&arguments),
        Command::Build(arguments) => build::run(&arguments),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
