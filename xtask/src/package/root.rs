//! A bare Debian to try packages in: made once by mmdebstrap, and written to in memory only. Its network, its BPF file system and its
//! `/run` are its own; another host is on the other end of its cable.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use crate::process::{output, outside, run as start, shown};

/// The oldest release that the package is for.
const SUITE: &str = "bookworm";
const MIRROR: &str = "http://deb.debian.org/debian";
/// The machine's address, and the peer's.
const ADDRESS: &str = "10.77.0.1";
const PEER: &str = "10.77.0.2";

/// The system as mmdebstrap made it, in half the time of debootstrap; later calls take what is there.
///
/// # Errors
/// When mmdebstrap fails.
pub(super) fn cached(directory: &Path) -> Result<PathBuf> {
    let root = directory.join(format!("root-{SUITE}"));
    let done = directory.join(format!("root-{SUITE}.done"));
    if done.exists() {
        return Ok(root);
    }
    if root.exists() {
        fs::remove_dir_all(&root).with_context(|| format!("{}", root.display()))?;
    }
    start(
        outside("mmdebstrap")
            .args(["--variant=minbase", "--include=systemd", SUITE])
            .arg(&root)
            .arg(MIRROR)
            .stdout(Stdio::null()),
    )?;
    fs::write(&done, "").with_context(|| format!("{}", done.display()))?;
    Ok(root)
}

/// A process that waits for the end of its input, and ends with it: whoever holds the other end holds its namespaces.
struct Holder {
    child: Child,
}

impl Holder {
    /// Runs `script`, which must not wait, and then only holds on.
    fn start(unshare: &[&str], script: &str) -> Result<Self> {
        let mut child = outside("unshare")
            .args(unshare)
            .args(["sh", "-euc"])
            .arg(format!("{script}\necho ready\nexec cat >/dev/null"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("unshare cannot be started")?;
        let mut said = String::new();
        if let Some(stdout) = child.stdout.take() {
            BufReader::new(stdout).read_line(&mut said)?;
        }
        let holder = Self { child };
        ensure!(
            said == "ready\n",
            "no namespaces for a trial: `{script}` failed"
        );
        Ok(holder)
    }

    fn enter(&self, namespaces: &[&str]) -> Command {
        let mut command = outside("nsenter");
        command.arg(format!("--target={}", self.child.id()));
        command.args(namespaces).arg("--");
        command
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// A machine of its own.
pub(super) struct Machine {
    holder: Holder,
    peer: Holder,
    root: PathBuf,
}

/// What came of asking for a port of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// Nobody listens there, and the machine says so: the packet came through.
    Refused,
    /// Nothing comes back.
    Silence,
}

impl Machine {
    /// A fresh machine over the cached system, with `packages` in its `/packages`.
    ///
    /// # Errors
    /// Without root, and where the kernel has no overlay file system.
    pub(super) fn new(directory: &Path, packages: &[&Path]) -> Result<Self> {
        let lower = cached(directory)?;
        let place = directory.join("trial");
        fs::create_dir_all(&place).with_context(|| format!("{}", place.display()))?;
        let root = place.join("root");
        let (lower, place) = (lower.display(), place.display());
        let mut script = format!(
            "mount --make-rprivate /\n\
             mount -t tmpfs tmpfs '{place}'\n\
             cd '{place}'\n\
             mkdir upper work root empty\n\
             mount -t overlay overlay -o 'lowerdir={lower},upperdir=upper,workdir=work' root\n\
             mount -t proc proc root/proc\n\
             mount -t sysfs sysfs root/sys\n\
             mount -t bpf bpf root/sys/fs/bpf\n\
             mount -t tmpfs tmpfs root/run\n\
             mount --rbind /dev root/dev\n\
             mkdir root/packages\n\
             ip link set lo up\n"
        );
        for package in packages {
            script.push_str(&format!("cp '{}' root/packages/\n", package.display()));
        }
        let holder = Holder::start(&["--mount", "--net"], &script)?;
        let peer = Holder::start(&["--net"], "ip link set lo up")?;
        let machine = Self { holder, peer, root };
        let cable = format!(
            "link add eth0 type veth peer name eth0 netns {}",
            machine.peer.child.id()
        );
        let net = ["--net"];
        for (holder, line) in [
            (&machine.holder, cable),
            (
                &machine.holder,
                format!("address add {ADDRESS}/24 dev eth0"),
            ),
            (&machine.holder, "link set eth0 up".to_owned()),
            (&machine.peer, format!("address add {PEER}/24 dev eth0")),
            (&machine.peer, "link set eth0 up".to_owned()),
        ] {
            output(holder.enter(&net).arg("ip").args(line.split(' ')))?;
        }
        machine.reached()?;
        Ok(machine)
    }

    /// Waits until the cable carries: a fresh interface needs a moment, on a busy machine several.
    fn reached(&self) -> Result<()> {
        const ANY_PORT: u16 = 9;
        const ATTEMPTS: u32 = 10;
        for _ in 0..ATTEMPTS {
            if self.ask(ANY_PORT)? == Answer::Refused {
                return Ok(());
            }
        }
        bail!("{PEER} does not reach {ADDRESS}: nothing answers");
    }

    /// A command on the machine.
    pub(super) fn command(&self, words: &[&str]) -> Command {
        let mut command = self.holder.enter(&["--mount", "--net"]);
        command.arg("chroot").arg(&self.root);
        command.args([
            "env",
            "-i",
            "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
            "LC_ALL=C.UTF-8",
            "DEBIAN_FRONTEND=noninteractive",
        ]);
        command.args(words);
        command
    }

    /// Runs a command, whatever comes of it.
    ///
    /// # Errors
    /// When it can't be started.
    pub(super) fn run(&self, words: &[&str]) -> Result<Output> {
        let mut command = self.command(words);
        let done = command.stdin(Stdio::null()).output();
        done.with_context(|| shown(&command))
    }

    /// Runs a command that must succeed, and gives what it said on both streams.
    ///
    /// # Errors
    /// When it fails.
    pub(super) fn said(&self, words: &[&str]) -> Result<String> {
        let done = self.run(words)?;
        let said = [done.stdout, done.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        ensure!(
            done.status.success(),
            "`{}`: {}\n{said}",
            words.join(" "),
            done.status
        );
        Ok(said)
    }

    /// Whether a path is there, a link that leads nowhere too.
    ///
    /// # Errors
    /// When the machine can't be asked.
    pub(super) fn has(&self, path: &str) -> Result<bool> {
        let there = self.run(&["sh", "-c", "test -e \"$0\" || test -L \"$0\"", path])?;
        Ok(there.status.success())
    }

    /// Writes a file.
    ///
    /// # Errors
    /// When it can't be written.
    pub(super) fn write(&self, path: &str, text: &str) -> Result<()> {
        let mut command = self.command(&["sh", "-c", "cat >\"$0\"", path]);
        let mut child = command.stdin(Stdio::piped()).spawn().context("sh")?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(text.as_bytes())?;
        }
        let status = child.wait()?;
        ensure!(status.success(), "{path}: {status}");
        Ok(())
    }

    /// A program of the machine where nothing else is.
    ///
    /// # Errors
    /// When it can't be started.
    pub(super) fn alone(&self, program: &str, arguments: &[&str]) -> Result<Output> {
        let empty = self.root.with_file_name("empty");
        let inside = format!("{}{program}", self.root.display());
        let mut copy = self.holder.enter(&["--mount"]);
        output(copy.arg("cp").arg(inside).arg(empty.join("program")))?;
        let mut command = self.holder.enter(&["--mount", "--net"]);
        command
            .arg("chroot")
            .arg(&empty)
            .arg("/program")
            .args(arguments);
        command
            .stdin(Stdio::null())
            .output()
            .with_context(|| shown(&command))
    }

    /// What the peer gets from a port of the machine.
    ///
    /// # Errors
    /// When it is neither of the answers that are known.
    pub(super) fn ask(&self, port: u16) -> Result<Answer> {
        const PATIENCE: &str = "3";
        const TIMED_OUT: i32 = 124;
        let mut command = self.peer.enter(&["--net"]);
        command.args(["timeout", PATIENCE, "bash", "-c"]);
        command.arg(format!("exec 3<>/dev/tcp/{ADDRESS}/{port}"));
        let done = command.stdin(Stdio::null()).output()?;
        let said = String::from_utf8_lossy(&done.stderr);
        match done.status.code() {
            Some(TIMED_OUT) => Ok(Answer::Silence),
            Some(1) if said.contains("refused") => Ok(Answer::Refused),
            _ => bail!("port {port}: {}: {said}", done.status),
        }
    }

    /// Starts a program that goes on, and waits until `command` prints `expected`.
    ///
    /// # Errors
    /// When it doesn't within a minute, or ends before.
    pub(super) fn start(&self, words: &[&str], until: &[&str], expected: &str) -> Result<Daemon> {
        const LONGEST: Duration = Duration::from_secs(60);
        let child = self
            .command(words)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()?;
        let mut daemon = Daemon { child };
        let deadline = Instant::now() + LONGEST;
        loop {
            let done = self.run(until)?;
            let said = String::from_utf8_lossy(&done.stdout).into_owned();
            if said.contains(expected) {
                return Ok(daemon);
            }
            if let Some(status) = daemon.child.try_wait()? {
                bail!("`{}` ended: {status}", words.join(" "));
            }
            ensure!(
                Instant::now() < deadline,
                "`{}` does not say {expected}:\n{said}",
                until.join(" ")
            );
            // The program tells nobody else.
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// A program that goes on until it is dropped.
pub(super) struct Daemon {
    child: Child,
}

impl Daemon {
    /// Whether it still runs.
    ///
    /// # Errors
    /// When the system does not say.
    pub(super) fn runs(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
