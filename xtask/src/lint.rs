//! `cargo xtask lint`: format, clippy on both sides, what the dependencies may be, and the repository's own rules.

use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result};

use crate::process::{host_cargo, outside, run as start, run_aside};
use crate::setup::{self, Group};
use crate::toolchain::{self, Origin};
use crate::{build, project, tidy};

/// What clippy reads: everything that is built for this machine, and the agent without what draws on a terminal.
const SUBJECTS: [(&str, &[&str]); 2] = [
    (
        "clippy",
        &["--workspace", "--exclude", "agent-ebpf", "--all-targets"],
    ),
    (
        "clippy without features",
        &["--package", "portcullis", "--no-default-features"],
    ),
];

/// Runs all of them, so that one run shows everything.
///
/// # Errors
/// When the BPF object, without which the agent does not compile, can't be built.
pub(crate) fn run() -> Result<ExitCode> {
    setup::ensure(Group::Lint)?;
    // Side by side: each compiles the core library, and much of that keeps one processor busy.
    let (object, kernel_side) = std::thread::scope(|scope| {
        let aside = scope.spawn(kernel_side);
        (build::bpf_object(), aside.join())
    });
    object?;
    let mut broken: Vec<&str> = Vec::new();

    let mut format = host_cargo();
    format.args(["fmt", "--all", "--check"]);
    if let Err(error) = start(&mut format) {
        eprintln!("error: {error:#}; `cargo fmt --all` repairs it");
        broken.push("format");
    }

    for (name, subject) in SUBJECTS {
        let mut clippy = host_cargo();
        clippy.args(["clippy", "--locked"]).args(subject);
        clippy.args(["--", "--deny", "warnings"]);
        if let Err(error) = start(&mut clippy) {
            eprintln!("error: {error:#}");
            broken.push(name);
        }
    }

    match kernel_side {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            eprintln!("error: {error:#}");
            broken.push("clippy of agent-ebpf");
        }
        Err(panic) => std::panic::resume_unwind(panic),
    }

    if let Err(error) = dependencies() {
        eprintln!("error: {error:#}");
        broken.push("dependencies");
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

/// Licences, bans and sources, by deny.toml.
fn dependencies() -> Result<()> {
    let program = toolchain::of_cargo("cargo-deny").context("no cargo-deny")?;
    let mut deny = Command::new(program);
    deny.current_dir(project::root());
    // Only what the lock file says is judged.
    deny.args(["--locked", "check", "--hide-inclusion-graph"]);
    deny.args(["licenses", "bans", "sources"]);
    start(&mut deny)
}

/// The BPF toolchain's own clippy, for the BPF target.
fn kernel_side() -> Result<()> {
    let toolchain = toolchain::look().toolchain().context("no BPF toolchain")?;
    let mut clippy = match toolchain.compiler.origin {
        Origin::Distribution => {
            // Not `cargo clippy`: that looks into rustup's directory first.
            let mut clippy = outside("/usr/bin/cargo-clippy");
            clippy.env("CARGO", "/usr/bin/cargo").arg("clippy");
            clippy
                .env("RUSTC", "/usr/bin/rustc")
                .env("RUSTC_BOOTSTRAP", "1");
            clippy
        }
        Origin::Rustup(_) => {
            let mut clippy = toolchain.compiler.cargo();
            clippy.arg("clippy");
            clippy
        }
    };
    clippy
        .args(["--locked", "--package", "agent-ebpf"])
        .args(build::TARGET);
    clippy
        .arg("--target-dir")
        .arg(project::target()?.join("bpf-lint"));
    clippy
        .args(["--", "--deny", "warnings"])
        .current_dir(project::root());
    clippy.env(
        "CARGO_ENCODED_RUSTFLAGS",
        build::target_flags(build::this_machine()).join("\x1f"),
    );
    run_aside(&mut clippy)
}
