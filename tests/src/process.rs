//! Programs and conditions with a limit in time.

use std::io::{BufRead as _, BufReader, Read};
use std::os::fd::{AsFd as _, FromRawFd as _, OwnedFd};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Between two looks at a condition that nothing announces.
const LOOK: Duration = Duration::from_millis(5);

/// Waits until `condition` yields something, looking again every few milliseconds.
///
/// # Errors
/// When it doesn't within `limit`, naming `what`.
pub fn wait_for<T>(
    what: &str,
    limit: Duration,
    mut condition: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let end = Instant::now() + limit;
    loop {
        if let Some(found) = condition().with_context(|| what.to_owned())? {
            return Ok(found);
        }
        if Instant::now() >= end {
            bail!("{what}: not within {limit:?}");
        }
        thread::sleep(LOOK);
    }
}

/// Runs a program to its end and collects what it prints.
///
/// # Errors
/// When it can't be started, or takes longer than `limit`; then it was killed.
pub fn output(command: &mut Command, limit: Duration) -> Result<Output> {
    let shown = shown(command);
    command.stdin(Stdio::null());
    let mut running = Running::start(command)?;
    let (out, err) = (
        collect(running.child.stdout.take()),
        collect(running.child.stderr.take()),
    );
    let Some(status) = running.wait(limit)? else {
        bail!("`{shown}` takes longer than {limit:?}");
    };
    // A grandchild may keep the pipes open; what was printed until then is enough.
    let rest = Duration::from_secs(1);
    Ok(Output {
        status,
        stdout: out.recv_timeout(rest).unwrap_or_default(),
        stderr: err.recv_timeout(rest).unwrap_or_default(),
    })
}

fn collect(pipe: Option<impl Read + Send + 'static>) -> Receiver<Vec<u8>> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let mut all = Vec::new();
        if let Some(mut pipe) = pipe {
            // A broken pipe ends the text like its closing does.
            let _ = pipe.read_to_end(&mut all);
        }
        let _ = sender.send(all);
    });
    receiver
}

/// A command as one would type it.
pub fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<_> = words.map(|word| word.to_string_lossy()).collect();
    words.join(" ")
}

/// A program that runs; killed when this value goes.
#[derive(Debug)]
pub struct Running {
    child: Child,
    shown: String,
}

impl Running {
    /// Starts it, with its output in pipes unless the command says otherwise.
    ///
    /// # Errors
    /// When it can't be started: the program may not be installed.
    pub fn start(command: &mut Command) -> Result<Self> {
        let shown = shown(command);
        let child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("`{shown}` cannot be started"))?;
        Ok(Self { child, shown })
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Its standard output, line by line. Once.
    pub fn lines(&mut self) -> Lines {
        Lines::of(self.child.stdout.take())
    }

    /// Its standard error, line by line. Once.
    pub fn error_lines(&mut self) -> Lines {
        Lines::of(self.child.stderr.take())
    }

    /// Waits for its end; `None` where it still runs after `limit`.
    ///
    /// # Errors
    /// When the system can't say.
    pub fn wait(&mut self, limit: Duration) -> Result<Option<ExitStatus>> {
        if let Some(status) = self.child.try_wait()? {
            return Ok(Some(status));
        }
        let pidfd = pidfd(self.child.id()).with_context(|| self.shown.clone())?;
        let limit = PollTimeout::try_from(limit).context("a limit of milliseconds")?;
        let mut ended = [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
        poll(&mut ended, limit).with_context(|| format!("waiting for `{}`", self.shown))?;
        Ok(self.child.try_wait()?)
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// When it has ended.
    pub fn signal(&self, signal: nix::sys::signal::Signal) -> Result<()> {
        let id = i32::try_from(self.child.id()).context("a process id")?;
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(id), signal)
            .with_context(|| format!("{signal} to `{}`", self.shown))
    }

    /// Ends it: SIGTERM, and SIGKILL where it is not gone after `limit`. How it ended.
    ///
    /// # Errors
    /// When the system can't say, and when it had to be killed.
    pub fn stop(&mut self, limit: Duration) -> Result<ExitStatus> {
        if let Some(status) = self.child.try_wait()? {
            return Ok(status);
        }
        self.signal(nix::sys::signal::SIGTERM)?;
        if let Some(status) = self.wait(limit)? {
            return Ok(status);
        }
        self.kill()?;
        bail!("`{}` did not end within {limit:?} of SIGTERM", self.shown);
    }

    /// Kills it.
    ///
    /// # Errors
    /// When the system can't.
    pub fn kill(&mut self) -> Result<ExitStatus> {
        self.child.kill().with_context(|| self.shown.clone())?;
        self.child.wait().with_context(|| self.shown.clone())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn pidfd(id: u32) -> Result<OwnedFd> {
    // SAFETY: a system call with two numbers; it returns a new descriptor, which nobody else owns, or -1.
    let number = unsafe { libc::syscall(libc::SYS_pidfd_open, id, 0) };
    if number < 0 {
        return Err(std::io::Error::last_os_error()).context("pidfd_open");
    }
    let number = i32::try_from(number).context("a descriptor")?;
    // SAFETY: as above.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Lines of a pipe, as they come. Those that were read are kept for messages.
#[derive(Debug)]
pub struct Lines {
    receiver: Receiver<String>,
    seen: Vec<String>,
}

impl Lines {
    fn of(pipe: Option<impl Read + Send + 'static>) -> Self {
        let (sender, receiver) = channel();
        if let Some(pipe) = pipe {
            thread::spawn(move || {
                for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
                    if sender
                        .send(String::from_utf8_lossy(&line).into_owned())
                        .is_err()
                    {
                        break;
                    }
                }
            });
        }
        Self {
            receiver,
            seen: Vec::new(),
        }
    }

    /// The next line; `None` at the end of the pipe.
    ///
    /// # Errors
    /// When none comes within `limit`.
    pub fn next(&mut self, limit: Duration) -> Result<Option<String>> {
        match self.receiver.recv_timeout(limit) {
            Ok(line) => {
                self.seen.push(line.clone());
                Ok(Some(line))
            }
            Err(RecvTimeoutError::Disconnected) => Ok(None),
            Err(RecvTimeoutError::Timeout) => bail!("no line within {limit:?}"),
        }
    }

    /// Takes in what has come until now.
    pub fn drain(&mut self) {
        while let Ok(line) = self.receiver.try_recv() {
            self.seen.push(line);
        }
    }

    /// All lines that were read so far.
    pub fn seen(&self) -> &[String] {
        &self.seen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_and_status() {
        let output = output(
            Command::new("sh").args(["-c", "echo a; echo b >&2; exit 3"]),
            Duration::from_secs(5),
        )
        .unwrap();
        assert_eq!(output.status.code(), Some(3));
        assert_eq!(
            (&output.stdout[..], &output.stderr[..]),
            (&b"a\n"[..], &b"b\n"[..])
        );
    }

    #[test]
    fn a_limit_is_one() {
        let begin = Instant::now();
        let error = output(Command::new("sleep").arg("60"), Duration::from_millis(50)).unwrap_err();
        assert!(error.to_string().contains("takes longer"), "{error:#}");
        assert!(begin.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn lines_come_one_by_one_and_end() {
        let mut running = Running::start(Command::new("printf").arg("a\\nb\\n")).unwrap();
        let mut lines = running.lines();
        let limit = Duration::from_secs(5);
        assert_eq!(lines.next(limit).unwrap().as_deref(), Some("a"));
        assert_eq!(lines.next(limit).unwrap().as_deref(), Some("b"));
        assert_eq!(lines.next(limit).unwrap(), None);
        assert_eq!(lines.seen(), ["a", "b"]);
    }
}
