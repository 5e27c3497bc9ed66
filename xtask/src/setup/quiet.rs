//! Packages are installed for their programs: the services that some of them bring (keepalived, prometheus) are neither started now nor at
//! the next boot.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::process::{find, output, outside, run};

/// What Debian's packages ask before they start a service (invoke-rc.d(8)).
const POLICY: &str = "/usr/sbin/policy-rc.d";
/// 101: the action is not allowed.
const TEXT: &str = "#!/bin/sh\n# `cargo xtask setup` installs packages and starts no services; it removes this file afterwards.\nexit 101\n";

/// Whose units are the system itself, its consoles and its journal: they stay as they come.
const SYSTEM: &str = "systemd";

/// While this value lives, no package starts a service. A policy of the machine's owner is left alone, and decides.
pub(super) struct Quiet {
    path: PathBuf,
    ours: bool,
}

impl Quiet {
    /// Begins.
    ///
    /// # Errors
    /// When the policy can't be written.
    pub(super) fn begin() -> Result<Self> {
        Self::at(Path::new(POLICY))
    }

    fn at(path: &Path) -> Result<Self> {
        let ours = match fs::read_to_string(path) {
            // Left by a run that was killed.
            Ok(text) => text == TEXT,
            Err(error) if error.kind() == io::ErrorKind::NotFound => true,
            Err(error) => return Err(error).with_context(|| format!("{}", path.display())),
        };
        if ours {
            let written = fs::write(path, TEXT)
                .and_then(|()| fs::set_permissions(path, Permissions::from_mode(0o755)));
            written.with_context(|| format!("{}", path.display()))?;
        }
        let path = path.to_path_buf();
        Ok(Self { path, ours })
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        if self.ours
            && let Err(error) = fs::remove_file(&self.path)
        {
            eprintln!("error: {}: {error}; remove it", self.path.display());
        }
    }
}

/// Takes what these packages, which were not there before, would start at the next boot out of it.
///
/// # Errors
/// When dpkg or systemctl fails.
pub(super) fn stay_off(packages: &[String]) -> Result<()> {
    // Without systemd nothing starts them.
    if find("systemctl").is_none() {
        return Ok(());
    }
    let packages: Vec<&String> = packages.iter().filter(|it| *it != SYSTEM).collect();
    if packages.is_empty() {
        return Ok(());
    }
    let files = output(Command::new("dpkg").arg("--listfiles").args(packages))?;
    let units = services(&files);
    if units.is_empty() {
        return Ok(());
    }
    run(outside("systemctl")
        .args(["--quiet", "disable"])
        .args(units))
}

/// The services among files.
fn services(files: &str) -> Vec<&str> {
    let of_system = |path: &str| {
        let (directory, name) = path.rsplit_once('/')?;
        let known = ["/lib/systemd/system", "/usr/lib/systemd/system"].contains(&directory);
        // A template is started by nothing but its name with a word in it.
        let starts = ["service", "socket", "timer"].iter().any(|kind| {
            name.rsplit_once('.')
                .is_some_and(|(name, it)| it == *kind && !name.ends_with('@'))
        });
        (known && starts).then_some(())
    };
    let mut units: Vec<&str> = files
        .lines()
        .filter(|path| of_system(path).is_some())
        .filter_map(|path| path.rsplit('/').next())
        .collect();
    units.sort_unstable();
    units.dedup();
    units
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_among_files() {
        let files = "/.\n/lib/systemd/system/prometheus.service\n/lib/systemd/system\n/usr/lib/systemd/system/a.timer\n\
            /usr/share/doc/x.service\n/lib/systemd/system/prometheus.service\n/lib/systemd/system/x@.service\n/lib/systemd/system/x.target\n";
        assert_eq!(services(files), ["a.timer", "prometheus.service"]);
        assert!(services("").is_empty());
    }

    #[test]
    fn the_policy_is_there_for_a_while_and_an_owners_stays() {
        let name = format!("portcullis-policy-rc-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let quiet = Quiet::at(&path).unwrap();
        let answer = Command::new(&path).status().unwrap();
        assert_eq!(answer.code(), Some(101));
        // A run that was killed left it.
        std::mem::forget(quiet);
        drop(Quiet::at(&path).unwrap());
        assert!(!path.exists());

        fs::write(&path, "#!/bin/sh\nexit 0\n").unwrap();
        drop(Quiet::at(&path).unwrap());
        assert_eq!(fs::read_to_string(&path).unwrap(), "#!/bin/sh\nexit 0\n");
        fs::remove_file(&path).unwrap();
    }
}
