//! The kernel that this runs on: the same init in namespaces of its own, as process 1 of a root that holds what an emulated machine's holds.
//! Of the network, the mounts and the pins of this machine it sees nothing.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};

use super::boot::{LIVES, PLACES, Payload};

/// Makes the root anew.
///
/// # Errors
/// When a file can't be read or written.
pub(crate) fn lay_out(payload: &Payload<'_>, root: &Path) -> Result<()> {
    if root.exists() {
        fs::remove_dir_all(root).with_context(|| format!("{}", root.display()))?;
    }
    for place in PLACES {
        fs::create_dir_all(root.join(place)).with_context(|| format!("{}", root.display()))?;
    }
    for (name, source) in payload.files()? {
        let goal = root.join(name);
        let above = goal.parent().unwrap_or(root);
        fs::create_dir_all(above).with_context(|| format!("{}", above.display()))?;
        fs::copy(&source, &goal)
            .with_context(|| format!("{} to {}", source.display(), goal.display()))?;
    }
    Ok(())
}

/// Starts init there. What it mounts is gone with it.
pub(crate) fn command(root: &Path, lives: &str) -> Command {
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "--net", "--uts", "--ipc", "--pid", "--fork"])
        .arg("--kill-child")
        .arg(format!("--root={}", root.display()))
        .arg("/init")
        .arg(format!("{LIVES}{lives}"));
    command
}
