//! `cargo xtask demo`: throw-away hosts, the agent on one of them, real flows, and a table of what happened.

use std::process::ExitCode;

fn main() -> ExitCode {
    match portcullis_tests::demo::run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
