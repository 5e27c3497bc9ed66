//! What the service manager is told, sd_notify(3). Without one nothing is sent.
//!
//! Nothing here waits: a manager that does not read keeps neither policies nor commands waiting. What its socket does not take is sent
//! later, and only as far as it still holds.

use std::io::{self, ErrorKind};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::{Duration, Instant};

use libsystemd::daemon::watchdog_enabled;

/// The line to the service manager.
#[derive(Debug)]
pub(super) struct Manager {
    /// Its end, where there is one.
    line: Option<(UnixDatagram, SocketAddr)>,
    /// How often it wants to hear that the main loop runs, and when it was told last.
    watchdog: Option<(Duration, Instant)>,
    status: String,
    /// What it has not been told yet: the latest state of the daemon, the latest status.
    untold: (Option<&'static str>, Option<String>),
    complained: bool,
}

impl Manager {
    pub(super) fn new() -> Self {
        // Half of what is allowed, as sd_watchdog_enabled(3) advises.
        let watchdog = watchdog_enabled(false).map(|limit| (limit / 2, Instant::now()));
        let (line, error) = match std::env::var_os("NOTIFY_SOCKET") {
            None => (None, None),
            Some(name) => match open(name.as_bytes()) {
                Ok(line) => (Some(line), None),
                Err(error) => (None, Some(error)),
            },
        };
        let mut manager = Self {
            line,
            watchdog,
            status: String::new(),
            untold: (None, None),
            complained: false,
        };
        if let Some(error) = error {
            manager.complain(&error);
        }
        manager
    }

    /// What is in force; sent where it is news.
    pub(super) fn status(&mut self, status: String) {
        if self.status != status {
            self.status.clone_from(&status);
            self.untold.1 = Some(status);
            self.tell();
        }
    }

    /// Enforcement is in force.
    pub(super) fn ready(&mut self) {
        self.state("READY=1");
    }

    /// The configuration is read again; [`Self::ready`] says that this is over.
    pub(super) fn reloading(&mut self) {
        self.state("RELOADING=1");
    }

    /// The daemon ends; `status` is its last word.
    pub(super) fn stopping(&mut self, status: String) {
        self.untold.1 = Some(status);
        self.state("STOPPING=1");
    }

    /// Called by the main loop each time round.
    pub(super) fn alive(&mut self) {
        self.tell();
        if let Some((every, last)) = self.watchdog
            && last.elapsed() >= every
            && self.send("WATCHDOG=1")
        {
            self.watchdog = Some((every, Instant::now()));
        }
    }

    fn state(&mut self, state: &'static str) {
        self.untold.0 = Some(state);
        self.tell();
    }

    fn tell(&mut self) {
        let mut message = String::new();
        if let Some(state) = self.untold.0 {
            message += state;
            message.push('\n');
        }
        if let Some(status) = &self.untold.1 {
            message += "STATUS=";
            message += &status.replace('\n', " ");
            message.push('\n');
        }
        if !message.is_empty() && self.send(&message) {
            self.untold = (None, None);
        }
    }

    /// False where the socket is full, and the message is to be sent again.
    fn send(&mut self, message: &str) -> bool {
        let Some((socket, manager)) = &self.line else {
            return true;
        };
        match socket.send_to_addr(message.as_bytes(), manager) {
            Ok(_) => true,
            Err(error) if error.kind() == ErrorKind::WouldBlock => false,
            Err(error) => {
                self.complain(&error);
                true
            }
        }
    }

    fn complain(&mut self, error: &io::Error) {
        if !std::mem::replace(&mut self.complained, true) {
            log::warn!("the service manager can't be told what is in force: {error}");
        }
    }
}

/// The socket that `NOTIFY_SOCKET` names: a path, or an abstract name after `@`.
fn open(name: &[u8]) -> io::Result<(UnixDatagram, SocketAddr)> {
    let manager = match name.strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(name))?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    Ok((socket, manager))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_does_not_listen_is_told_the_latest_later() {
        let name = format!("portcullis-notify-{}", std::process::id());
        let manager = SocketAddr::from_abstract_name(&name).unwrap();
        let heard = UnixDatagram::bind_addr(&manager).unwrap();
        heard.set_nonblocking(true).unwrap();
        let mut line = Manager {
            line: Some(open(format!("@{name}").as_bytes()).unwrap()),
            watchdog: None,
            status: String::new(),
            untold: (None, None),
            complained: false,
        };
        line.ready();
        // More than any socket holds (net.unix.max_dgram_qlen).
        for number in 0..5_000 {
            line.status(format!("number {number}"));
        }
        let mut messages = Vec::new();
        let mut buffer = [0; 256];
        while let Ok(length) = heard.recv(&mut buffer) {
            messages.push(String::from_utf8_lossy(&buffer[..length]).into_owned());
        }
        assert_eq!(messages[0], "READY=1\n");
        assert_eq!(messages[1], "STATUS=number 0\n");
        line.alive();
        let length = heard.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"STATUS=number 4999\n");
        line.alive();
        assert!(heard.recv(&mut buffer).is_err(), "told twice");
    }
}
