//! `cargo xtask package`: a Debian package and a tarball, and a trial of both in a bare system.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, bail};

use crate::process::output;
use crate::setup::{self, Group};
use crate::{build, project};

mod contents;
mod deb;
mod roff;
mod root;
mod tarball;
mod trial;

/// Arguments of `package`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Install, enforce, upgrade, remove and purge the package in a bare system, and ask lintian.
    #[arg(long)]
    check: bool,
    /// Only the Debian package.
    #[arg(long)]
    deb: bool,
}

/// Builds, and tries out what was built.
///
/// # Errors
/// When something can't be built, or does not do what it should.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    setup::ensure(if arguments.check {
        Group::Trial
    } else {
        Group::Package
    })?;
    build::everything()?;
    let version = version()?;
    let directory = project::target()?.join("package");
    let binary = project::agent_binary("release")?;
    let items = contents::all(&binary, &version)?;
    let package = deb::build(&items, &version, &directory)?;
    let mut made = vec![package.clone()];
    let mut tarball = None;
    if !arguments.deb {
        let program = tarball::static_agent()?;
        let items = contents::with_program(&items, &program);
        let packed = tarball::build(&items, &version, &directory)?;
        made.push(packed.clone());
        tarball = Some(packed);
    }
    if arguments.check {
        // Newer by its number only: what an upgrade does is in the scripts.
        let next = deb::build(&items, &format!("{version}+next"), &directory.join("next"))?;
        trial::all(&directory, &package, &next, tarball.as_deref())?;
    }
    for path in &made {
        println!("{}", shown(path)?);
    }
    Ok(ExitCode::SUCCESS)
}

/// A path with the size of its file.
fn shown(path: &Path) -> Result<String> {
    let size = std::fs::metadata(path).with_context(|| format!("{}", path.display()))?;
    Ok(format!("{} ({} KiB)", path.display(), size.len() >> 10))
}

/// The version of the workspace.
fn version() -> Result<String> {
    let path: PathBuf = project::root().join("Cargo.toml");
    let text = std::fs::read_to_string(&path).with_context(|| format!("{}", path.display()))?;
    let mut lines = text.lines();
    if let Some(line) = lines.find_map(|line| line.strip_prefix("version = ")) {
        return Ok(line.trim_matches('"').to_owned());
    }
    bail!("{}: no version", path.display())
}

/// The time of the last commit: seconds since 1970. What is packed bears it.
fn epoch() -> Result<String> {
    let mut git = Command::new("git");
    git.current_dir(project::root())
        .args(["log", "-1", "--format=%ct"]);
    Ok(output(&mut git)?.trim().to_owned())
}
