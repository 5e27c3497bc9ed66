//! The project's own commands: `cargo xtask help` lists them.
//!
//! One file per command. This crate depends on no other member, so it is built in seconds before
//! anything else is there; work that needs the agent's library is done by binaries of the `tests`
//! member, which it builds and starts.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use setup::Group;

mod build;
mod elf;
mod kernels;
mod leftovers;
mod lint;
mod package;
mod process;
mod project;
mod run;
mod setup;
mod sources;
mod test;
mod tidy;
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
    /// Build, then run the agent: `cargo xtask run -- ARGUMENTS of portcullis run`.
    Run(run::Arguments),
    /// Throw-away hosts, the agent on one of them, real flows, and a table of what happened.
    Demo(run::Arguments),
    /// Run all tests, those that need root among them.
    Test(test::Arguments),
    /// Format check, clippy with warnings as errors, cargo-deny, the repository's rules.
    Lint,
    /// Measure the programs beside their rivals.
    Bench(run::Arguments),
    /// Load the programs on other kernels under qemu.
    Kernels(kernels::Arguments),
    /// Make a Debian package and a tarball, and try them out.
    Package(package::Arguments),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Setup(arguments) => setup::run(&arguments),
        Command::Build(arguments) => build::run(&arguments),
        Command::Run(arguments) => run::agent(&arguments),
        Command::Demo(arguments) => run::of_tests("demo", Group::Demo, &arguments),
        Command::Test(arguments) => test::run(&arguments),
        Command::Lint => lint::run(),
        Command::Bench(arguments) => run::of_tests("bench", Group::Bench, &arguments),
        Command::Kernels(arguments) => kernels::run(&arguments),
        Command::Package(arguments) => package::run(&arguments),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
