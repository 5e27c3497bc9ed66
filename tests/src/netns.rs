//! A throw-away host: a network namespace and a mount namespace of its own.
//!
//! Neither has a name. The kernel frees both, with every address, link, pin and file in them, when the last process and the last handle
//! are gone; a run that was killed leaves nothing to be found and cleaned by the next one.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::fd::AsRawFd as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Output};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};

use crate::process;

/// How long a helper program (`ip`, `journalctl`) may take.
pub const HELPER_LIMIT: Duration = Duration::from_secs(10);

/// A throw-away host.
///
/// It has the machine's programs, but its own network, `/run`, `/sys/fs/bpf`, and its own copies of `/etc` and `/var`, which are written
/// to memory and vanish with it.
#[derive(Debug)]
pub struct Namespace {
    name: String,
    net: File,
    mnt: File,
}

impl Namespace {
    /// Makes the host; `name` is for messages. Its loopback is up, nothing else is there.
    ///
    /// # Errors
    /// Without root, and where the kernel refuses namespaces, tmpfs, overlay or bpffs.
    pub fn new(name: &str) -> Result<Self> {
        let made = thread::scope(|scope| {
            let namespaces = thread::Builder::new().spawn_scoped(scope, || {
                unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET)
                    .context("unshare network and mounts (root?)")?;
                private_mounts()?;
                let open = |kind: &str| {
                    let path = format!("/proc/thread-self/ns/{kind}");
                    File::open(&path).context(path)
                };
                anyhow::Ok((open("net")?, open("mnt")?))
            });
            joined(namespaces.context("a thread")?.join())
        });
        let (net, mnt) = made.with_context(|| format!("throw-away host {name}"))?;
        let host = Self {
            name: name.to_owned(),
            net,
            mnt,
        };
        // Duplicate address detection takes seconds and proves nothing here.
        for scope in ["all", "default"] {
            host.sysctl(&format!("net/ipv6/conf/{scope}/accept_dad"), "0")?;
        }
        // Nobody asks for routers: it would be denied now and then, and counted among what is sent on purpose.
        let solicitations = "net/ipv6/conf/default/router_solicitations";
        host.sysctl(solicitations, "0")?;
        host.ip("link set lo up")?;
        Ok(host)
    }

    /// The name in messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A path that names the network namespace, for `ip … netns PATH` and `nsenter --net=PATH`, while this value lives.
    pub fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.net.as_raw_fd())
    }

    /// Runs `work` on this host, in a thread of its own. What it opens (sockets, files) stays usable outside.
    ///
    /// # Errors
    /// When the namespaces can't be entered.
    ///
    /// # Panics
    /// When `work` panics, with its message.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        thread::scope(|scope| {
            let thread = thread::Builder::new().name(self.name.clone());
            let inside = thread.spawn_scoped(scope, || {
                // A mount namespace can be entered only by who shares root and working directory with nobody.
                unshare(CloneFlags::CLONE_FS).context("unshare file system state")?;
                setns(&self.mnt, CloneFlags::CLONE_NEWNS).context("enter mounts")?;
                setns(&self.net, CloneFlags::CLONE_NEWNET).context("enter network")?;
                anyhow::Ok(work())
            });
            joined(inside.context("a thread")?.join())
        })
        .with_context(|| format!("on throw-away host {}", self.name))
    }

    /// A program that will run on this host. It dies with the thread that starts it.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        let (net, mnt) = (self.net.as_raw_fd(), self.mnt.as_raw_fd());
        // Between fork and exec only async-signal-safe system calls are made. The descriptors are inherited: fork copies also those that
        // exec closes.
        let enter = move || {
            // SAFETY: plain system calls with numbers; no memory is passed.
            let done = unsafe {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) == 0
                    && libc::setns(mnt, libc::CLONE_NEWNS) == 0
                    && libc::setns(net, libc::CLONE_NEWNET) == 0
            };
            if done {
                Ok(())
            } else {
                Err(std::io::Error::last_os_error())
            }
        };
        // SAFETY: `enter` allocates nothing and takes no lock.
        unsafe { command.pre_exec(enter) };
        command
    }

    /// A program with words as arguments: `words("ip link show")`. No quoting: a word ends at white space.
    pub fn words(&self, line: &str) -> Command {
        let mut words = line.split_whitespace();
        let mut command = self.command(words.next().unwrap_or_default());
        command.args(words);
        command
    }

    /// Runs a program to its end, in at most `limit`.
    ///
    /// # Errors
    /// When it can't be started or takes longer; then it was killed.
    pub fn output(&self, line: &str, limit: Duration) -> Result<Output> {
        process::output(&mut self.words(line), limit)
            .with_context(|| format!("on throw-away host {}", self.name))
    }

    /// What a program that must succeed prints.
    ///
    /// # Errors
    /// As [`Self::output`], and when it fails.
    pub fn text(&self, line: &str) -> Result<String> {
        let output = self.output(line, HELPER_LIMIT)?;
        ensure!(
            output.status.success(),
            "`{line}` on throw-away host {}: {}: {}",
            self.name,
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// `ip ARGUMENTS`, which must succeed.
    ///
    /// # Errors
    /// As [`Self::text`].
    pub fn ip(&self, arguments: &str) -> Result<String> {
        self.text(&format!("ip {arguments}"))
    }

    /// Sets `/proc/sys/KEY` of this host's network.
    ///
    /// # Errors
    /// When there is no such key or the value is refused.
    pub fn sysctl(&self, key: &str, value: &str) -> Result<()> {
        let path = format!("/proc/sys/{key}");
        self.enter(|| fs::write(&path, value))?
            .with_context(|| format!("{path} = {value}"))
    }

    /// Writes a file of this host, with the directories above it.
    ///
    /// # Errors
    /// As the file system says.
    pub fn write(&self, path: &str, content: &str) -> Result<()> {
        self.enter(|| {
            if let Some(directory) = Path::new(path).parent() {
                fs::create_dir_all(directory)?;
            }
            fs::write(path, content)
        })?
        .with_context(|| path.to_owned())
    }

    /// Sets the host's resolvers.
    ///
    /// # Errors
    /// As the file system says.
    pub fn resolve_by(&self, resolvers: &[&str]) -> Result<()> {
        const PATH: &str = "/etc/resolv.conf";
        let lines: String = resolvers
            .iter()
            .map(|address| format!("nameserver {address}\n"))
            .collect();
        // It may be a link to what a resolver of the machine writes.
        self.enter(|| match fs::remove_file(PATH) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        })?
        .context(PATH)?;
        self.write("/etc/nsswitch.conf", "passwd: files\nhosts: files dns\n")?;
        self.write(PATH, &format!("{lines}options timeout:1 attempts:1\n"))
    }

    /// A file of this host.
    ///
    /// # Errors
    /// As the file system says.
    pub fn read(&self, path: &str) -> Result<String> {
        self.enter(|| fs::read_to_string(path))?
            .with_context(|| format!("{path} on throw-away host {}", self.name))
    }

    /// The names in a directory of this host, sorted; none where there is no such directory.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn list(&self, path: &str) -> Result<Vec<String>> {
        let names = self.enter(|| match fs::read_dir(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error),
            Ok(entries) => entries
                .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
                .collect(),
        })?;
        let mut names = names.with_context(|| path.to_owned())?;
        names.sort();
        Ok(names)
    }
}

/// What a thread returned; its panic goes on here.
fn joined<T>(result: thread::Result<T>) -> T {
    result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Called in the new mount namespace: everything that a program may write is in memory from here on.
fn private_mounts() -> Result<()> {
    let nothing: Option<&str> = None;
    let attach = |kind: &str, target: &str, data: Option<&str>| {
        mount(Some(kind), target, Some(kind), MsFlags::empty(), data)
            .map_err(|errno| anyhow!("{kind} on {target}: {errno}"))
    };
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(nothing, "/", nothing, private, nothing).context("private mounts")?;
    attach("tmpfs", "/run", Some("mode=0755"))?;
    for directory in ["etc", "var"] {
        let (upper, work) = (
            format!("/run/.{directory}/upper"),
            format!("/run/.{directory}/work"),
        );
        fs::create_dir_all(&upper).context("overlay")?;
        fs::create_dir_all(&work).context("overlay")?;
        let target = format!("/{directory}");
        let data = format!("lowerdir={target},upperdir={upper},workdir={work}");
        attach("overlay", &target, Some(&data))?;
    }
    // What the machine keeps of an installed agent is not this host's.
    for path in ["/etc/portcullis", "/var/lib/portcullis", "/var/log/journal"] {
        match fs::remove_dir_all(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).context(path);
            }
            _ => {}
        }
    }
    // A fresh sysfs shows this namespace's interfaces; it has no bpffs and no cgroups yet. The cgroups are the machine's.
    let bind = |from: &str, to: &str| {
        let how = MsFlags::MS_BIND | MsFlags::MS_REC;
        mount(Some(from), to, nothing, how, nothing)
            .map_err(|errno| anyhow!("{from} on {to}: {errno}"))
    };
    fs::create_dir("/run/.cgroup").context("/run/.cgroup")?;
    bind("/sys/fs/cgroup", "/run/.cgroup")?;
    attach("sysfs", "/sys", None)?;
    bind("/run/.cgroup", "/sys/fs/cgroup")?;
    attach("bpf", "/sys/fs/bpf", Some("mode=0700"))
}
