//! `portcullis facts`: this host as a value, for a build server's `--facts FILE`.

use anyhow::Result;

use super::{Outcome, Status};
use crate::cli::FactsArgs;
use crate::facts::collect::{self, NAMES_PATIENCE, Wanted};
use crate::inputs;

/// Prints the facts as JSON; what could not be learnt is talk.
///
/// # Errors
///
/// Where the kernel does not say which interfaces there are.
pub fn run(args: &FactsArgs) -> Result<Outcome> {
    let mut talk = String::new();
    // A host without a configuration has facts all the same, only no names to resolve.
    let names = if args.config.config.exists() {
        match inputs::names(&args.config) {
            Ok(names) => names,
            Err(error) => {
                talk.push_str(&format!("note: no names are resolved: {error:#}\n"));
                Vec::new()
            }
        }
    } else {
        Vec::new()
    };
    let collected = collect::collect(&Wanted {
        names,
        patience: NAMES_PATIENCE,
        listeners: args.listening,
    })?;
    for note in &collected.notes {
        talk.push_str(&format!("note: {note}\n"));
    }
    Ok(Outcome {
        stdout: serde_json::to_string_pretty(&collected.facts)? + "\n",
        stderr: talk,
        status: Status::Done,
    })
}
