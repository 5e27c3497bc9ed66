//! `cargo xtask run`, `demo` and `bench`: build, then become the program.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result};

use crate::process::{host_cargo, is_root, run as start, shown};
use crate::setup::{self, Group};
use crate::{build, project};

/// What the commands pass on, unread.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Passed on as they stand.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// sysexits.h: no permission.
const NO_PERMISSION: u8 = 77;

/// Builds and becomes `portcullis run ARGUMENTS`.
///
/// # Errors
/// When it can't be built or started; else this process is the agent and its exit code counts.
pub(crate) fn agent(arguments: &Arguments) -> Result<ExitCode> {
    build::everything()?;
    let binary = project::agent_binary("release")?;
    replace(Command::new(&binary).arg("run").args(&arguments.arguments))
}

/// Builds and becomes the binary `name` of the tests member.
///
/// # Errors
/// As [`agent`].
pub(crate) fn of_tests(name: &str, group: Group, arguments: &Arguments) -> Result<ExitCode> {
    setup::ensure(group)?;
    build::everything()?;
    let binary = build_of_tests(name)?;
    let mut command = Command::new(binary);
    command
        .args(&arguments.arguments)
        .current_dir(project::root());
    replace(&mut command)
}

/// Builds a binary of the tests member, with the agent's library in it, and says where it lies.
///
/// # Errors
/// When it does not build.
pub(crate) fn build_of_tests(name: &str) -> Result<PathBuf> {
    let mut cargo = host_cargo();
    cargo.args([
        "build",
        "--locked",
        "--release",
        "--package",
        "portcullis-tests",
        "--bin",
        name,
    ]);
    start(&mut cargo)?;
    Ok(project::target()?.join("release").join(name))
}

fn replace(command: &mut Command) -> Result<ExitCode> {
    if !is_root() {
        eprintln!(
            "this needs root; it is built, run it as:\n    sudo {}",
            shown(command)
        );
        return Ok(ExitCode::from(NO_PERMISSION));
    }
    let program = Path::new(command.get_program()).to_path_buf();
    // Returns only when it failed.
    let error = command.exec();
    Err(error).with_context(|| format!("{}: cannot be started", program.display()))
}
