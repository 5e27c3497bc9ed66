//! systemd itself as the service manager of a throw-away host: the unit as it ships, with all that it asks for.
//!
//! It is process 1 of a process namespace, in a cgroup of its own below the machine's, and has nothing but the unit to start. What it
//! protects a service by (mounts, capabilities, filters of system calls and of address families) is the kernel's and holds as on any host.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use portcullis::events::units::MOUNTS;

use crate::daemon::{binary, repository};
use crate::netns::Namespace;
use crate::process::{self, Running, wait_for};

const START: Duration = Duration::from_secs(30);
/// A start or a reload on a machine that is busy.
const COMMAND: Duration = Duration::from_secs(90);
const END: Duration = Duration::from_secs(20);

/// The unit's name.
pub const UNIT: &str = "portcullis.service";

/// Becomes process 1: everything that it may change is its own or read-only.
const BECOME: &str = r#"set -e
mount --make-rprivate /
mount -t proc proc /proc
mount --bind /proc/sys /proc/sys
mount -o remount,bind,ro /proc/sys
mount -t cgroup2 none /sys/fs/cgroup
mount -t tmpfs none /tmp
mount -t overlay overlay -o lowerdir=/usr/sbin,upperdir=/run/.sbin/upper,workdir=/run/.sbin/work /usr/sbin
exec env -i container=portcullis-test PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --system --unit=nothing.target --log-target=journal --show-status=0
"#;

/// A systemd that runs on a host, with the agent's binary and unit installed, and not started.
#[derive(Debug)]
pub struct Manager<'host> {
    host: &'host Namespace,
    running: Running,
    cgroup: PathBuf,
}

impl<'host> Manager<'host> {
    /// Starts it.
    ///
    /// # Errors
    /// When systemd is not installed, or does not come up.
    pub fn start(host: &'host Namespace) -> Result<Self> {
        let is_v2 = |mount: &&&str| Path::new(mount).join("cgroup.controllers").exists();
        let root = MOUNTS.iter().find(is_v2).context("cgroup v2 is mounted")?;
        // Several may run at a time.
        static STARTED: AtomicU32 = AtomicU32::new(0);
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let name = format!("portcullis{}systemd{number}.slice", std::process::id());
        let cgroup = Path::new(root).join(name);
        fs::create_dir_all(&cgroup).with_context(|| cgroup.display().to_string())?;
        host.enter(|| {
            fs::create_dir_all("/run/.sbin/upper")?;
            fs::create_dir_all("/run/.sbin/work")?;
            fs::create_dir_all("/run/systemd/system")?;
            fs::create_dir_all("/var/lib/portcullis")?;
            fs::copy(
                binary().map_err(std::io::Error::other)?,
                "/run/.sbin/upper/portcullis",
            )
        })?
        .context("installing the agent")?;
        let nothing = "[Unit]\nDefaultDependencies=no\n";
        host.write("/run/systemd/system/nothing.target", nothing)?;
        let unit = fs::read_to_string(repository("agent/dist").join(UNIT)).context(UNIT)?;
        host.write(&format!("/etc/systemd/system/{UNIT}"), &unit)?;
        host.write("/run/become.sh", BECOME)?;
        let mut command = host.command("sh");
        let enter = format!(
            "echo $$ > {}/cgroup.procs && exec unshare --cgroup --mount --uts --ipc --pid --fork --kill-child sh /run/become.sh",
            cgroup.display()
        );
        command.args(["-c", &enter]);
        let mut manager = Self {
            running: Running::start(&mut command)?,
            host,
            cgroup,
        };
        let mut said = manager.running.error_lines();
        wait_for("systemd", START, || {
            let state = manager.systemctl(&["is-system-running"]).ok();
            Ok(state.filter(|it| it.stdout.starts_with(b"running")))
        })
        .with_context(|| {
            said.drain();
            said.seen().join("\n")
        })?;
        Ok(manager)
    }

    /// `systemctl ARGUMENTS`. It runs where systemd does, which talks to nobody whose process it can't number.
    ///
    /// # Errors
    /// When it hangs, and before systemd is there.
    pub fn systemctl(&self, arguments: &[&str]) -> Result<Output> {
        let systemd = first_process(&self.cgroup.join("init.scope"))?;
        let mut command = self.host.command("nsenter");
        command.args(["--mount", "--pid", "--target", &systemd.to_string()]);
        command.arg("systemctl").args(arguments);
        process::output(&mut command, COMMAND)
    }

    /// The same, which must succeed.
    ///
    /// # Errors
    /// When it doesn't; with what the journal has of it.
    pub fn done(&self, arguments: &[&str]) -> Result<()> {
        let output = self.systemctl(arguments)?;
        if !output.status.success() {
            bail!(
                "systemctl {}: {}{}",
                arguments.join(" "),
                String::from_utf8_lossy(&output.stderr),
                self.host.text("journalctl --no-pager -o cat -n 60")?
            );
        }
        Ok(())
    }

    /// A property of the agent's unit, as `systemctl show` has it.
    ///
    /// # Errors
    /// When it can't be asked.
    pub fn property(&self, name: &str) -> Result<String> {
        let output = self.systemctl(&["show", "--value", "-p", name, UNIT])?;
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// A unit or a drop-in, read by systemd.
    ///
    /// # Errors
    /// When it can't be written or systemd does not answer.
    pub fn install(&self, path: &str, text: &str) -> Result<()> {
        self.host
            .write(&format!("/etc/systemd/system/{path}"), text)?;
        self.done(&["daemon-reload"])
    }

    /// The agent's process, as the machine numbers it.
    ///
    /// # Errors
    /// When it does not run.
    pub fn main_process(&self) -> Result<u32> {
        first_process(&self.cgroup.join("system.slice").join(UNIT))
    }
}

fn first_process(cgroup: &Path) -> Result<u32> {
    let path = cgroup.join("cgroup.procs");
    let processes = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let first = processes.lines().next();
    Ok(first.context("nobody is in the cgroup")?.parse()?)
}

impl Drop for Manager<'_> {
    fn drop(&mut self) {
        // All processes of its namespace go with it.
        let _ = self.running.kill();
        let cgroup = &self.cgroup;
        let _ = wait_for("the cgroups to be empty", END, || Ok(removed(cgroup).ok()));
    }
}

/// Removes a cgroup with those in it.
fn removed(cgroup: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(cgroup)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            removed(&entry.path())?;
        }
    }
    fs::remove_dir(cgroup)
}
