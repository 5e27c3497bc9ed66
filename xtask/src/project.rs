//! Where things lie: the workspace, its target directory and what this crate writes there.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// The directory of the workspace's `Cargo.toml`.
pub(crate) fn root() -> PathBuf {
    let member = Path::new(env!("CARGO_MANIFEST_DIR"));
    member.parent().unwrap_or(member).to_path_buf()
}

/// Cargo's target directory: the one in which this very binary lies (`TARGET/debug/xtask`), so
/// that environment and configuration of cargo count without being asked.
///
/// # Errors
/// When the running binary cannot be located.
pub(crate) fn target() -> Result<PathBuf> {
    let binary = std::env::current_exe().context("where does this binary lie?")?;
    binary
        .ancestors()
        .nth(2)
        .map(Path::to_path_buf)
        .context("this binary lies in no target directory; start it by `cargo xtask`")
}

/// The BPF object as the agent embeds it.
///
/// # Errors
/// As [`target`].
pub(crate) fn bpf_object() -> Result<PathBuf> {
    Ok(target()?.join("bpf").join("portcullis.bpf.o"))
}

/// The agent's release binary.
///
/// # Errors
/// As [`target`].
pub(crate) fn agent_binary(profile_directory: &str) -> Result<PathBuf> {
    Ok(target()?.join(profile_directory).join("portcullis"))
}
