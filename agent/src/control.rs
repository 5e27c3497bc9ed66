//! The control socket: what commands and the daemon say to each other.
//!
//! One line of JSON each way, then the connection ends. The version stands in both; a daemon of another version says which it speaks. The
//! socket is root's: it is made with mode 0600. Where the configuration names a group, its mode is 0666 and the credentials of who connects
//! decide: root does everything, members of the group read, others are told that they may not.

pub mod stream;

use std::fmt;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Version of the protocol.
pub const VERSION: u32 = 1;

/// Octets of a request or an answer at most, its line end included.
pub const MOST_REQUEST: u64 = 64 << 10;
/// An answer holds all findings of a configuration.
const MOST_ANSWER: u64 = 16 << 20;

/// How long the daemon may take to judge and compile a policy.
const PATIENCE: Duration = Duration::from_secs(120);

/// Where the daemon listens.
#[must_use]
pub fn path(runtime: &Path) -> PathBuf {
    runtime.join("control.sock")
}

/// What is asked of the daemon.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Request {
    /// Of the protocol.
    pub version: u32,
    /// What to do.
    #[serde(flatten)]
    pub command: Command,
}

/// What to do.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "kebab-case")]
pub enum Command {
    /// Read the configuration and put it in force, by hand.
    Apply {
        /// Fall back after so many seconds unless confirmed.
        confirm: Option<u64>,
        /// How many sessions of others may be cut.
        cut: usize,
        /// The sessions that the operator sits in.
        own: Vec<Session>,
    },
    /// Keep the policy that waits for it.
    Confirm,
    /// End a trial or a pause; else put the earlier policy in force again.
    Revert,
    /// Read the configuration and put it in force, as SIGHUP does.
    Reload,
    /// Let denials pass as audits for so many seconds.
    Pause {
        /// How long.
        seconds: u64,
    },
    /// Entries about denied packets as they come: after the answer a line of JSON each, until either end has enough.
    Events,
    /// What is in force, as `portcullis status` says it.
    Status {
        /// As JSON.
        json: bool,
    },
}

impl Command {
    /// Whether it changes nothing at all.
    #[must_use]
    pub const fn reads(&self) -> bool {
        matches!(self, Self::Status { .. } | Self::Events)
    }

    /// Whether it asks for another policy.
    #[must_use]
    pub const fn changes(&self) -> bool {
        matches!(self, Self::Apply { .. } | Self::Reload)
    }
}

/// A TCP connection of this host.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct Session {
    /// This host's end.
    pub local: SocketAddr,
    /// The other end.
    pub peer: SocketAddr,
}

impl fmt::Display for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tcp {} with {}", self.local, self.peer)
    }
}

/// What became of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Became {
    /// It was done.
    Done,
    /// A policy is in force and waits for its confirmation.
    Unconfirmed,
    /// What was asked for is in force already.
    Unchanged,
    /// It was not done; what was in force stays.
    Refused,
}

/// The daemon's answer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Answer {
    /// Of the protocol.
    pub version: u32,
    /// What became of it.
    pub became: Became,
    /// The exit code of the command.
    pub code: u8,
    /// The generation in force, where the daemon holds one.
    pub generation: Option<u32>,
    /// When a trial or a pause ends by itself.
    pub until: Option<Timestamp>,
    /// What the command prints on standard output.
    pub stdout: String,
    /// What it prints on standard error.
    pub stderr: String,
}

impl Answer {
    /// An answer without a generation or a deadline.
    #[must_use]
    pub fn new(became: Became, code: u8, stdout: String, stderr: String) -> Self {
        Self {
            version: VERSION,
            became,
            code,
            generation: None,
            until: None,
            stdout,
            stderr,
        }
    }

    /// A refusal in one line, exit code 1.
    #[must_use]
    pub fn refused(message: &str) -> Self {
        Self::new(
            Became::Refused,
            1,
            String::new(),
            format!("error: {message}\n"),
        )
    }
}

/// What a line asks for, or how to answer it.
///
/// # Errors
///
/// The refusal, for a line that is no request of this version.
pub fn parse(line: &[u8]) -> Result<Command, Box<Answer>> {
    #[derive(Deserialize)]
    struct Versioned {
        version: u32,
    }
    let refused = |message: &str| Err(Box::new(Answer::refused(message)));
    match serde_json::from_slice::<Versioned>(line) {
        Ok(Versioned { version: VERSION }) => {}
        Ok(Versioned { version }) => {
            return refused(&format!(
                "this daemon speaks version {VERSION} of the control protocol, not {version}; use the `portcullis` of its version"
            ));
        }
        Err(error) => return refused(&format!("no request: {error}")),
    }
    match serde_json::from_slice::<Request>(line) {
        Ok(request) => Ok(request.command),
        Err(error) => refused(&format!("no request: {error}")),
    }
}

/// Why the daemon was not asked.
#[derive(Debug, thiserror::Error)]
pub enum NotAsked {
    /// Nobody listens.
    #[error("no daemon runs ({0}); `systemctl start portcullis` or `portcullis run` starts it")]
    NotRunning(PathBuf),
    /// The socket is root's.
    #[error("{0}: permission denied; run as root")]
    NoPermission(PathBuf),
    /// It listens, and something went wrong under way.
    #[error("{path}: the daemon does not answer: {source}")]
    Broken {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Asks the daemon of a runtime directory and waits for its answer.
///
/// # Errors
///
/// Where there is none, or it does not answer.
pub fn ask(runtime: &Path, command: Command) -> Result<Answer, NotAsked> {
    let (mut stream, path) = connect(runtime)?;
    exchange(&mut stream, command).map_err(|source| NotAsked::Broken { path, source })
}

/// Entries as they come: one line of JSON each.
pub type Lines = BufReader<UnixStream>;

/// Asks the daemon for entries; none come where the answer says why not.
///
/// # Errors
///
/// Where there is none, or it does not answer.
pub fn watch(runtime: &Path) -> Result<(Answer, Lines), NotAsked> {
    let (mut stream, path) = connect(runtime)?;
    let answer = exchange(&mut stream, Command::Events).and_then(|answer| {
        // The next one may take days.
        stream.get_ref().set_read_timeout(None)?;
        Ok(answer)
    });
    match answer {
        Ok(answer) => Ok((answer, stream)),
        Err(source) => Err(NotAsked::Broken { path, source }),
    }
}

fn connect(runtime: &Path) -> Result<(Lines, PathBuf), NotAsked> {
    let path = path(runtime);
    match UnixStream::connect(&path) {
        Ok(stream) => Ok((BufReader::new(stream), path)),
        Err(error) => Err(match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                NotAsked::NotRunning(path)
            }
            io::ErrorKind::PermissionDenied => NotAsked::NoPermission(path),
            _ => NotAsked::Broken {
                path,
                source: error,
            },
        }),
    }
}

fn exchange(stream: &mut Lines, command: Command) -> io::Result<Answer> {
    stream.get_ref().set_read_timeout(Some(PATIENCE))?;
    stream.get_ref().set_write_timeout(Some(PATIENCE))?;
    let mut line = serde_json::to_vec(&Request {
        version: VERSION,
        command,
    })?;
    line.push(b'\n');
    match stream.get_mut().write_all(&line) {
        // Who is not listened to is told so, and the end closed.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
        written => written?,
    }
    let mut answer = Vec::new();
    stream.take(MOST_ANSWER).read_until(b'\n', &mut answer)?;
    if answer.is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(serde_json::from_slice(&answer)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: &str, expected: Result<Command, &str>) {
        let found = parse(line.as_bytes());
        match (found, expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found, expected),
            (Err(answer), Err(part)) => {
                assert!(answer.stderr.contains(part), "{line}: {answer:?}");
                assert_eq!((answer.code, answer.became), (1, Became::Refused));
            }
            (found, _) => panic!("{line}: {found:?}"),
        }
    }

    #[test]
    fn requests_of_this_version_are_understood() {
        check(r#"{"version":1,"command":"confirm"}"#, Ok(Command::Confirm));
        check(
            r#"{"version":1,"command":"apply","confirm":60,"cut":2,"own":[{"local":"10.0.0.1:22","peer":"[fd00::1]:4"}]}"#,
            Ok(Command::Apply {
                confirm: Some(60),
                cut: 2,
                own: vec![Session {
                    local: ([10, 0, 0, 1], 22).into(),
                    peer: "[fd00::1]:4".parse().unwrap(),
                }],
            }),
        );
        check(
            r#"{"version":1,"command":"pause","seconds":600}"#,
            Ok(Command::Pause { seconds: 600 }),
        );
    }

    #[test]
    fn what_is_none_is_answered() {
        for (line, part) in [
            ("", "no request"),
            ("garbage", "no request"),
            ("\u{0}\u{1}", "no request"),
            ("[]", "no request"),
            (r#"{"command":"confirm"}"#, "no request"),
            (r#"{"version":2,"command":"teleport"}"#, "speaks version 1"),
            (r#"{"version":1,"command":"detonate"}"#, "no request"),
            (
                r#"{"version":1,"command":"pause","seconds":-1}"#,
                "no request",
            ),
        ] {
            check(line, Err(part));
        }
    }

    #[test]
    fn what_is_written_is_read() {
        for command in [
            Command::Revert,
            Command::Reload,
            Command::Status { json: true },
            Command::Apply {
                confirm: None,
                cut: 0,
                own: Vec::new(),
            },
        ] {
            let request = Request {
                version: VERSION,
                command: command.clone(),
            };
            let line = serde_json::to_vec(&request).unwrap();
            assert_eq!(parse(&line).unwrap(), command);
        }
    }
}
