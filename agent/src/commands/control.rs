//! Commands that the daemon does: `apply`, `confirm`, `revert`, `reload`, `pause`.

use std::path::Path;

use super::{Outcome, Status};
use crate::cli::{ApplyArgs, ControlArgs, PauseArgs};
use crate::control::stream::Ended;
use crate::control::{self, Answer, Command, NotAsked, Session};
use crate::facts::collect;

/// Puts the configuration on disk in force.
#[must_use]
pub fn apply(args: &ApplyArgs) -> Outcome {
    let own = collect::own_connections().into_iter().map(|it| Session {
        local: it.local,
        peer: it.peer,
    });
    let command = Command::Apply {
        confirm: args.confirm.map(|time| time.as_secs()),
        cut: args.cut,
        own: own.collect(),
    };
    asked(&args.control.runtime, command)
}

/// Keeps the policy on trial.
#[must_use]
pub fn confirm(args: &ControlArgs) -> Outcome {
    asked(&args.runtime, Command::Confirm)
}

/// Takes it back.
#[must_use]
pub fn revert(args: &ControlArgs) -> Outcome {
    asked(&args.runtime, Command::Revert)
}

/// Reads the configuration again.
#[must_use]
pub fn reload(args: &ControlArgs) -> Outcome {
    asked(&args.runtime, Command::Reload)
}

/// Lets denials pass for a while.
#[must_use]
pub fn pause(args: &PauseArgs) -> Outcome {
    let seconds = args.time.as_secs();
    asked(&args.control.runtime, Command::Pause { seconds })
}

fn asked(runtime: &Path, command: Command) -> Outcome {
    match control::ask(runtime, command) {
        Ok(answer) => outcome(answer),
        Err(error) => ended(Ended::NotAsked(error)),
    }
}

/// How a command ends that gets no entries any more.
pub(super) fn ended(why: Ended) -> Outcome {
    let status = match why {
        Ended::Refused(answer) => return outcome(*answer),
        Ended::NotAsked(NotAsked::NotRunning(_)) | Ended::Away { .. } => Status::NotRunning,
        Ended::NotAsked(NotAsked::NoPermission(_)) => Status::NoPermission,
        Ended::NotAsked(NotAsked::Broken { .. }) | Ended::Garbled(_) => Status::Failed,
    };
    Outcome::refused(status, &why.to_string())
}

/// What a command prints and how it ends, by the daemon's answer.
pub(super) fn outcome(answer: Answer) -> Outcome {
    let known = [
        Status::Done,
        Status::Usage,
        Status::NotRunning,
        Status::NoPermission,
        Status::Findings,
    ];
    let status = known.into_iter().find(|it| *it as u8 == answer.code);
    Outcome {
        stdout: answer.stdout,
        stderr: answer.stderr,
        status: status.unwrap_or(Status::Failed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::Became;

    #[test]
    fn the_daemons_word_is_the_exit_code() {
        for (code, expected) in [
            (0, Status::Done),
            (1, Status::Failed),
            (78, Status::Findings),
            (77, Status::NoPermission),
            (9, Status::Failed),
        ] {
            let answer = Answer::new(Became::Refused, code, String::new(), String::new());
            assert_eq!(outcome(answer).status, expected, "{code}");
        }
    }

    #[test]
    fn without_a_daemon_it_is_3() {
        let nowhere = Path::new("/nonexistent/portcullis");
        for command in [Command::Confirm, Command::Revert, Command::Reload] {
            let outcome = asked(nowhere, command);
            assert_eq!(outcome.status, Status::NotRunning);
            assert!(
                outcome.stderr.contains("no daemon runs"),
                "{}",
                outcome.stderr
            );
        }
    }
}
