//! `cargo xtask lint`: format, clippy on both sides, and the repository's own rules.

use std::process::ExitCode;

use anyhow::Result;

use crate::process::{host_cargo, run as start};
use crate::setup::{self, Group};
use crate::{build, project, tidy};

/// Runs all of them, so that one run shows everything.
///
/// # Errors
/// When the BPF object, without which the agent does not compile, can't be built.
pub(crate) fn run() -> Result<ExitCode> {
    setup::ensure(Group::Build)?;
    build::bpf_object()?;
    let mut broken: Vec<&str> = Vec::new();

    let mut format = host_cargo();
    format.args(["fmt", "--all", "--check"]);
    if let Err(error) = start(&mut format) {
        eprintln!("error: {error:#}; `cargo fmt --all` repairs it");
        broken.push("format");
    }

    let mut clippy = host_cargo();
    clippy.args([
        "clippy",
        "--locked",
        "--workspace",
        "--exclude",
        "agent-ebpf",
        "--all-targets",
    ]);
    clippy.args(["--", "--deny", "warnings"]);
    if let Err(error) = start(&mut clippy) {
        eprintln!("error: {error:#}");
        broken.push("clippy");
    }

    // For the host's target, which clippy has a core library for; the sources are the same.
    let mut kernel_side = host_cargo();
    kernel_side.args([
        "clippy",
        "--locked",
        "--package",
        "agent-ebpf",
        "--target-dir",
    ]);
    kernel_side.arg(project::target()?.join("bpf-lint"));
    kernel_side.args(["--", "--deny", "warnings"]);
    let flags = [build::target_arch_flag(), "-Cpanic=abort".to_owned()];
    kernel_side.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"));
    if let Err(error) = start(&mut kernel_side) {
        eprintln!("error: {error:#}");
        broken.push("clippy of agent-ebpf");
    }

    let findings = tidy::check(&project::root())?;
    for finding in &findings {
        eprintln!("error: {finding}");
    }
    if !findings.is_empty() {
        broken.push("repository rules");
    }

    if broken.is_empty() {
        println!("lint: clean");
        return Ok(ExitCode::SUCCESS);
    }
    println!("lint: {}", broken.join(", "));
    Ok(ExitCode::FAILURE)
}
