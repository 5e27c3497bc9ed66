//! Starting other programs: shown as they would be typed, with an environment of their own.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

/// What cargo and rustup set for this process and what would lead another toolchain's cargo astray.
const OF_THE_OUTER_CARGO: [&str; 9] = [
    "CARGO",
    "CARGO_ENCODED_RUSTFLAGS",
    "LD_LIBRARY_PATH",
    "RUSTC",
    "RUSTC_WRAPPER",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTDOC",
    "RUSTFLAGS",
    "RUSTUP_TOOLCHAIN",
];

/// A cargo of the toolchain that started this process.
pub(crate) fn host_cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(crate::project::root());
    command
}

/// A program that must not see the toolchain that started this process.
pub(crate) fn outside(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("CARGO_PKG_") {
            command.env_remove(name);
        }
    }
    for name in OF_THE_OUTER_CARGO {
        command.env_remove(name);
    }
    command
}

/// The command as a shell would take it, with the variables that it sets.
pub(crate) fn shown(command: &Command) -> String {
    let mut line = String::new();
    for (name, value) in command.get_envs() {
        // A separator of cargo's own, unreadable and never typed.
        if let Some(value) = value
            && name != "CARGO_ENCODED_RUSTFLAGS"
        {
            let _ = write!(line, "{}={} ", name.display(), quoted(value));
        }
    }
    line.push_str(&quoted(command.get_program()));
    for argument in command.get_args() {
        line.push(' ');
        line.push_str(&quoted(argument));
    }
    line
}

fn quoted(word: &OsStr) -> String {
    let word = word.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=./:,+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.into_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// Says what it starts, starts it, and waits.
///
/// # Errors
/// When it cannot be started or does not succeed.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    eprintln!("$ {}", shown(command));
    let status = command
        .status()
        .with_context(|| format!("{}: cannot be started", command.get_program().display()))?;
    if !status.success() {
        bail!("`{}` failed: {status}", shown(command));
    }
    Ok(())
}

/// The same beside others: what it says comes in one piece, when it has ended.
///
/// # Errors
/// As [`run`].
pub(crate) fn run_aside(command: &mut Command) -> Result<()> {
    let ran = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("{}: cannot be started", command.get_program().display()))?;
    let said = String::from_utf8_lossy(&ran.stderr);
    eprintln!("$ {}\n{}", shown(command), said.trim_end());
    if !ran.status.success() {
        bail!("`{}` failed: {}", shown(command), ran.status);
    }
    Ok(())
}

/// Starts it unsaid and returns what it printed on standard output.
///
/// # Errors
/// When it cannot be started or does not succeed; the message holds what it said on standard error.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("{}: cannot be started", command.get_program().display()))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!(
            "`{}` failed: {}\n{}",
            shown(command),
            output.status,
            said.trim_end()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Finds a program in PATH and in the directories of system programs, which a user's PATH lacks.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin", "/usr/bin"].map(PathBuf::from))
        .map(|directory| directory.join(program))
        .find(|candidate| is_program(candidate))
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(path)
        .is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
}

/// Whether this process may do what root may.
pub(crate) fn is_root() -> bool {
    // The effective user is the second number of `Uid:`; without procfs nothing here works anyway.
    std::fs::read_to_string("/proc/self/status")
        .unwrap_or_default()
        .lines()
        .find_map(|line| line.strip_prefix("Uid:"))
        .and_then(|ids| ids.split_whitespace().nth(1))
        == Some("0")
}
