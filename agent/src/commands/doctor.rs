//! `portcullis doctor`: whether this host is fit for the agent, and what to do where it is not.

use std::io::IsTerminal as _;

use anyhow::Result;

use super::{Outcome, Status};
use crate::cli::DoctorArgs;
use crate::doctor::{self, Level, collect};

/// Prints every check. Exit code 1 where one is red.
///
/// # Errors
///
/// Where the kernel does not say which interfaces there are.
pub fn run(args: &DoctorArgs) -> Result<Outcome> {
    let (machine, notes) = collect::collect(&args.config, &args.pins.pins)?;
    let checks = doctor::judge(&machine);
    let stdout = if args.format.json() {
        serde_json::to_string_pretty(&doctor::json(&checks))? + "\n"
    } else {
        doctor::text(&checks, std::io::stdout().is_terminal())
    };
    let status = match doctor::worst(&checks) {
        Level::Red => Status::Failed,
        Level::Yellow | Level::Green => Status::Done,
    };
    let talk = notes.iter().map(|note| format!("note: {note}\n")).collect();
    Ok(Outcome {
        stdout,
        stderr: talk,
        status,
    })
}
