//! `portcullis`: arguments, command, exit code.

use std::process::ExitCode;

use clap::Parser;
use portcullis::cli::Cli;
use portcullis::commands::{self, Outcome, Status};

fn main() -> ExitCode {
    match commands::run(Cli::parse()) {
        Ok(outcome) => outcome.print(),
        Err(error) => Outcome::refused(Status::Failed, &format!("{error:#}")).print(),
    }
}
