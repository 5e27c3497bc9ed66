//! A service manager's end of `sd_notify`: what a program says of its state.

use std::io::ErrorKind;
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::netns::Namespace;
use crate::process::Running;

/// How often the program's end is looked for while it has not spoken.
const LOOK: Duration = Duration::from_millis(50);

/// A socket to be named in `NOTIFY_SOCKET`.
#[derive(Debug)]
pub struct Notify {
    socket: UnixDatagram,
    path: String,
    said: Vec<String>,
}

impl Notify {
    /// Binds it on a host.
    ///
    /// # Errors
    /// When it can't be bound, or is taken.
    pub fn new(host: &Namespace, name: &str) -> Result<Self> {
        let path = format!("/run/notify-{name}");
        let socket = host.enter(|| {
            // An earlier program of the same name had one, too.
            let _ = std::fs::remove_file(&path);
            UnixDatagram::bind(&path)
        })?;
        let socket = socket.with_context(|| path.clone())?;
        socket.set_read_timeout(Some(LOOK)).context("a time-out")?;
        Ok(Self {
            socket,
            path,
            said: Vec::new(),
        })
    }

    /// The value of `NOTIFY_SOCKET`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Waits for an assignment such as `READY=1`.
    ///
    /// # Errors
    /// When it doesn't come within `limit`, or the program ends before.
    pub fn wait(&mut self, assignment: &str, running: &mut Running, limit: Duration) -> Result<()> {
        let end = Instant::now() + limit;
        let mut message = [0; 8192];
        loop {
            match self.socket.recv(&mut message) {
                Ok(length) => {
                    let text = String::from_utf8_lossy(&message[..length]);
                    self.said.extend(text.lines().map(str::to_owned));
                    if text.lines().any(|line| line == assignment) {
                        return Ok(());
                    }
                }
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) =>
                {
                    if let Some(status) = running.wait(Duration::ZERO)? {
                        bail!("ended before {assignment}: {status}");
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error).context("notifications"),
            }
            if Instant::now() >= end {
                bail!("no {assignment} within {limit:?}; said: {:?}", self.said);
            }
        }
    }

    /// Everything that was said so far, one assignment each.
    ///
    /// # Errors
    /// When the socket fails.
    pub fn said(&mut self) -> Result<&[String]> {
        self.socket.set_nonblocking(true)?;
        let mut message = [0; 8192];
        while let Ok(length) = self.socket.recv(&mut message) {
            let text = String::from_utf8_lossy(&message[..length]);
            self.said.extend(text.lines().map(str::to_owned));
        }
        self.socket.set_nonblocking(false)?;
        Ok(&self.said)
    }
}
