//! One file per command: arguments in, an [`Outcome`] out. Commands print nothing themselves
//! unless they stream.

pub mod check;
pub mod control;
pub mod detach;
pub mod doctor;
pub mod events;
pub mod explain;
pub mod facts;
pub mod init;
pub mod plan;
pub mod policy;
pub mod report;
pub mod status;
pub mod suggest;
#[cfg(feature = "top")]
pub mod top;
pub mod verify;

#[cfg(test)]
mod first_steps;

use std::io::{self, Write};
use std::process::ExitCode;

use crate::cli::{Cli, Command};

/// How a command ended; the exit code of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Status {
    /// What was asked for is done.
    Done = 0,
    /// It could not be done, or the answer is no.
    Failed = 1,
    /// The command line names something that is not there.
    Usage = 2,
    /// No daemon answers.
    NotRunning = 3,
    /// The user may not.
    NoPermission = 77,
    /// Findings of error severity.
    Findings = 78,
}

/// What a command has to say: data for stdout, talk for stderr, and how it ended.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Data.
    pub stdout: String,
    /// Talk.
    pub stderr: String,
    /// The exit code.
    pub status: Status,
}

impl Outcome {
    /// Data alone, all well.
    #[must_use]
    pub fn done(stdout: String) -> Self {
        Self {
            stdout,
            stderr: String::new(),
            status: Status::Done,
        }
    }

    /// A message alone, and why there is no data.
    #[must_use]
    pub fn refused(status: Status, message: &str) -> Self {
        Self {
            stdout: String::new(),
            stderr: format!("error: {message}\n"),
            status,
        }
    }

    /// The same with another end.
    #[must_use]
    pub fn with_status(mut self, status: Status) -> Self {
        self.status = status;
        self
    }

    /// The same with talk.
    #[must_use]
    pub fn with_talk(mut self, stderr: String) -> Self {
        self.stderr = stderr;
        self
    }

    /// Writes both streams and gives the exit code. A reader that has gone away (`| head`) is
    /// no failure.
    #[must_use]
    pub fn print(self) -> ExitCode {
        let written = write_all(io::stdout().lock(), &self.stdout);
        let told = write_all(io::stderr().lock(), &self.stderr);
        match written.and(told) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                ExitCode::from(Status::Failed as u8)
            }
            _ => ExitCode::from(self.status as u8),
        }
    }
}

fn write_all(mut stream: impl Write, text: &str) -> io::Result<()> {
    stream.write_all(text.as_bytes())?;
    stream.flush()
}

/// Does what the command line says.
///
/// # Errors
///
/// What the machine refuses: a file that can't be read, a system call that fails. The exit
/// code is then [`Status::Failed`].
pub fn run(cli: Cli) -> anyhow::Result<Outcome> {
    match cli.command {
        Command::Policy(command) => policy::run(command),
        Command::Check(args) => check::run(&args),
        Command::Detach(arguments) => Ok(detach::run(&arguments)),
        Command::Doctor(args) => doctor::run(&args),
        Command::Events(args) => events::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Facts(args) => facts::run(&args),
        Command::Init(args) => init::run(&args),
        Command::Plan(args) => plan::run(&args),
        Command::Report(args) => report::run(&args),
        Command::Suggest(args) => suggest::run(&args),
        #[cfg(feature = "top")]
        Command::Top(args) => top::run(&args),
        Command::Verify(args) => verify::run(&args),
        Command::Run(args) => crate::daemon::run(&args),
        Command::Status(args) => status::run(&args),
        Command::Apply(args) => Ok(control::apply(&args)),
        Command::Confirm(args) => Ok(control::confirm(&args)),
        Command::Revert(args) => Ok(control::revert(&args)),
        Command::Reload(args) => Ok(control::reload(&args)),
        Command::Pause(args) => Ok(control::pause(&args)),
    }
}
