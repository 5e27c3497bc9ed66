//! A server on an emulated machine: the agent as its service manager starts it, and the network around it. In the init, where there are no
//! helpers of any kind.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, bind, setsockopt, socket, sockopt,
};
use serde_json::Value;

use crate::seccomp;
use crate::veth;

/// The agent's binary there.
pub const AGENT: &str = "/bin/portcullis";
/// Its configuration.
pub const CONFIGURATION: &str = "/etc/portcullis/portcullis.toml";
/// Its state.
pub const STATE: &str = "/var/lib/portcullis";
const NOTIFY: &str = "/run/notify";

/// The server.
pub const SERVER: Ipv4Addr = Ipv4Addr::new(10, 79, 0, 1);
/// Whom the policy knows.
pub const FRIEND: Ipv4Addr = Ipv4Addr::new(10, 79, 0, 2);
/// Whom it does not.
pub const STRANGER: Ipv4Addr = Ipv4Addr::new(10, 79, 0, 9);

/// Emulated, a start takes some ten seconds, and many times that on a machine that compiles beside it.
const READY: Duration = Duration::from_secs(400);

/// The network around the server: the other end of its cable, in a namespace of its own.
#[derive(Debug)]
pub struct Outside(File);

impl Outside {
    /// A namespace without anything.
    ///
    /// # Errors
    /// As unshare(2) says.
    pub fn empty() -> Result<Self> {
        let made = thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET)?;
            anyhow::Ok(File::open("/proc/thread-self/ns/net")?)
        });
        let Ok(namespace) = made.join() else {
            bail!("the outside can't be made")
        };
        let outside = Self(namespace?);
        // Nobody asks for routers: they would be counted among what is sent on purpose.
        unsolicited()?;
        outside.enter(unsolicited)??;
        Ok(outside)
    }

    /// The same with a cable to it. Neither end is up.
    ///
    /// # Errors
    /// As the kernel says.
    pub fn behind(server: &str, outside: &str) -> Result<Self> {
        let it = Self::empty()?;
        it.cable(server, outside)?;
        Ok(it)
    }

    /// Another cable. Neither end is up.
    ///
    /// # Errors
    /// As the kernel says.
    pub fn cable(&self, server: &str, outside: &str) -> Result<()> {
        veth::pair(server, outside)?;
        veth::move_to(outside, self.0.as_raw_fd())
    }

    /// Does this out there.
    ///
    /// # Errors
    /// As setns(2) says.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        let done = thread::scope(|scope| {
            let inside = scope.spawn(|| {
                setns(&self.0, CloneFlags::CLONE_NEWNET)?;
                anyhow::Ok(work())
            });
            inside.join()
        });
        match done {
            Ok(done) => done,
            Err(_) => bail!("what was done outside panicked"),
        }
    }

    /// Whether somebody there is answered.
    ///
    /// # Errors
    /// When it has no such address.
    pub fn reaches(&self, from: IpAddr, to: SocketAddr, limit: Duration) -> Result<bool> {
        self.enter(|| {
            let family = match from {
                IpAddr::V4(_) => AddressFamily::Inet,
                IpAddr::V6(_) => AddressFamily::Inet6,
            };
            let socket = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
            setsockopt(&socket, sockopt::ReuseAddr, &true)?;
            let own = SockaddrStorage::from(SocketAddr::from((from, 0)));
            bind(socket.as_raw_fd(), &own).with_context(|| format!("{from}"))?;
            Ok(connect(&TcpStream::from(socket), to, limit))
        })?
    }
}

/// Connects a socket that is bound, and reads what it is greeted with.
fn connect(socket: &TcpStream, to: SocketAddr, limit: Duration) -> bool {
    let end = Instant::now() + limit;
    let connected = socket.set_nonblocking(true).is_ok() && {
        // Under way, or done: what is read says which.
        let _ = nix::sys::socket::connect(socket.as_raw_fd(), &SockaddrStorage::from(to));
        let mut waiting = [PollFd::new(socket.as_fd(), PollFlags::POLLOUT)];
        let left = end.saturating_duration_since(Instant::now());
        let left = PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO);
        poll(&mut waiting, left).is_ok_and(|ready| ready > 0)
            && matches!(socket.take_error(), Ok(None))
    };
    let mut greeting = [0; 1];
    connected
        && socket.set_nonblocking(false).is_ok()
        && socket.set_read_timeout(Some(limit)).is_ok()
        && (&mut &*socket)
            .read(&mut greeting)
            .is_ok_and(|read| read > 0)
}

/// Says something to whoever connects, of either family.
///
/// # Errors
/// When the port is taken.
pub fn serve(port: u16) -> Result<thread::JoinHandle<()>> {
    let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, port))?;
    Ok(thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let mut client = client;
            // A client that is gone needs nothing.
            let _ = client.write_all(b"served\n");
        }
    }))
}

/// Interfaces that are made from now on in this network namespace ask for no routers.
fn unsolicited() -> Result<()> {
    const FILE: &str = "/proc/sys/net/ipv6/conf/default/router_solicitations";
    fs::write(FILE, "0").context(FILE)
}

/// Gives back each datagram that comes to this port, of either family.
///
/// # Errors
/// When the port is taken.
pub fn answers(port: u16) -> Result<thread::JoinHandle<()>> {
    let socket = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, port))?;
    Ok(thread::spawn(move || {
        let mut datagram = [0; 2048];
        while let Ok((length, from)) = socket.recv_from(&mut datagram) {
            // Who asked in vain asks again, or says so.
            let _ = socket.send_to(&datagram[..length], from);
        }
    }))
}

/// Writes the configuration, for a server without resolvers.
///
/// # Errors
/// When the disk is full.
pub fn configure(text: &str) -> Result<()> {
    fs::create_dir_all("/etc/portcullis")?;
    fs::create_dir_all(STATE)?;
    fs::write("/etc/resolv.conf", "")?;
    fs::write(CONFIGURATION, text).context(CONFIGURATION)
}

/// What `portcullis status` says, whatever its exit code.
///
/// # Errors
/// When it says no JSON.
pub fn status() -> Result<Value> {
    let status = Command::new(AGENT).args(["status", "--json"]).output()?;
    serde_json::from_slice(&status.stdout).with_context(|| {
        let told = String::from_utf8_lossy(&status.stderr);
        format!("status: {told}")
    })
}

/// Takes everything of the agent's out of the kernel.
///
/// # Errors
/// When it says so.
pub fn detach() -> Result<()> {
    let done = Command::new(AGENT).arg("detach").output()?;
    let told = String::from_utf8_lossy(&done.stderr);
    ensure!(done.status.success(), "detach: {told}");
    Ok(())
}

/// `portcullis run`, as the service manager starts it.
#[derive(Debug)]
pub struct Agent {
    child: Child,
    notify: UnixDatagram,
    log: thread::JoinHandle<()>,
    lines: Receiver<String>,
}

impl Agent {
    /// Starts it; with `refused`, where no program can be loaded.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn start(refused: bool) -> Result<Self> {
        Self::start_by(AGENT, refused)
    }

    /// The same by this binary.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn start_by(binary: &str, refused: bool) -> Result<Self> {
        // Of an agent before this one.
        let _ = fs::remove_file(NOTIFY);
        let notify = UnixDatagram::bind(NOTIFY).context(NOTIFY)?;
        let mut command = Command::new(binary);
        command
            .args(["run", "--sink", "json"])
            .env("NOTIFY_SOCKET", NOTIFY)
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        if refused {
            // SAFETY: the filter is installed by system calls alone, which may be done between fork and exec.
            unsafe { command.pre_exec(seccomp::refuse_programs) };
        }
        let mut child = command.spawn().with_context(|| binary.to_owned())?;
        let mut errors = child.stderr.take().context("no standard error")?;
        let (sender, lines) = channel();
        let log = thread::spawn(move || {
            let mut chunk = [0; 4096];
            while let Ok(read @ 1..) = errors.read(&mut chunk) {
                let _ = sender.send(String::from_utf8_lossy(&chunk[..read]).into_owned());
            }
        });
        Ok(Self {
            child,
            notify,
            log,
            lines,
        })
    }

    /// Waits until it says READY.
    ///
    /// # Errors
    /// When it ends before, or says nothing for minutes.
    pub fn ready(&mut self) -> Result<()> {
        let end = Instant::now() + READY;
        self.notify.set_read_timeout(Some(Duration::from_secs(1)))?;
        let mut message = [0; 4096];
        loop {
            if let Ok(length) = self.notify.recv(&mut message)
                && String::from_utf8_lossy(&message[..length])
                    .lines()
                    .any(|line| line == "READY=1")
            {
                return Ok(());
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("the agent ended: {status}");
            }
            ensure!(Instant::now() < end, "no READY within {READY:?}");
        }
    }

    /// What it has said since it was asked last.
    pub fn told(&self) -> String {
        let ended = self.log.is_finished();
        let lines: Vec<String> = self.lines.try_iter().collect();
        format!(
            "the agent{}: {}",
            if ended { ", which ended" } else { "" },
            lines.concat()
        )
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // One that has ended is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
