//! Why a policy could not be put in force: for the exit code of a start, for the log and the status of a reload.

use super::enforce::Refusal;
use crate::commands::{Outcome, Status};
use crate::control::{Answer, Became};
use crate::diagnose::{Findings, Severity};

/// Why a policy could not be put in force.
pub(super) enum Trouble {
    /// A file can't be read, or this host can't be looked at.
    Unreadable(anyhow::Error),
    /// Findings, or what the kernel says.
    Refused(Refusal),
    /// The texts were never confirmed, or were reverted; in words.
    TakenBack(&'static str),
}

impl From<Refusal> for Trouble {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<Findings> for Trouble {
    fn from(findings: Findings) -> Self {
        Self::Refused(findings.into())
    }
}

impl Trouble {
    /// Whether what was in force before still is, so that the daemon can go on with it.
    pub(super) fn is_survivable(&self) -> bool {
        !matches!(self, Self::Refused(Refusal::NotFirst))
    }

    /// Whether the process ends by it where nothing is in force: for want of a permission, and a first start with a configuration that is no
    /// good, which leaves the host as it was. Else something must stand in.
    pub(super) fn ends_a_start(&self, new: bool) -> bool {
        match self {
            Self::Refused(Refusal::NotFirst) => true,
            Self::Refused(Refusal::Dataplane(error)) => {
                error.is_permission() || (new && !error.is_refused_program())
            }
            Self::Refused(_) | Self::Unreadable(_) | Self::TakenBack(_) => new,
        }
    }

    pub(super) fn outcome(&self) -> Outcome {
        match self {
            Self::Unreadable(error) => {
                let message = format!("{error:#}; nothing is attached");
                Outcome::refused(Status::Findings, &message)
            }
            Self::TakenBack(_) => Outcome::refused(Status::Failed, &self.summary()),
            Self::Refused(refusal) => refused(refusal),
        }
    }

    /// For the command that asked.
    pub(super) fn answer(&self) -> Answer {
        let (code, text) = match self {
            Self::Refused(Refusal::Findings(findings)) => {
                (Status::Findings, findings.render(false))
            }
            Self::Unreadable(error) => (Status::Findings, format!("error: {error:#}\n")),
            Self::Refused(Refusal::Dataplane(error)) if error.is_permission() => {
                (Status::NoPermission, format!("error: {error}\n"))
            }
            other => (Status::Failed, format!("error: {}\n", other.summary())),
        };
        let stderr = format!("{text}what was in force stays\n");
        Answer::new(Became::Refused, code as u8, String::new(), stderr)
    }

    /// In a line.
    pub(super) fn summary(&self) -> String {
        match self {
            Self::Unreadable(error) => format!("{error:#}"),
            Self::Refused(Refusal::Findings(findings)) => {
                let errors = findings.count(Severity::Error);
                let first = findings
                    .iter()
                    .find(|finding| finding.severity == Severity::Error);
                let first = first.map_or(String::new(), |finding| {
                    let place = match (finding.file(), finding.line()) {
                        (Some(file), Some(line)) => format!("{file}:{line}: "),
                        _ => String::new(),
                    };
                    format!(", first {place}{}", finding.message)
                });
                let s = if errors == 1 { "" } else { "s" };
                format!("the configuration has {errors} error{s}{first}")
            }
            Self::TakenBack(what) => format!(
                "the configuration on disk {what}, and stays out of force until `portcullis apply`"
            ),
            Self::Refused(refusal) => refusal.to_string(),
        }
    }

    pub(super) fn log(&self) {
        match self {
            Self::Refused(Refusal::Findings(findings)) => {
                super::log::findings(findings);
            }
            other => log::error!("{}", other.summary()),
        }
    }
}

pub(super) fn refused(refusal: &Refusal) -> Outcome {
    match refusal {
        Refusal::Findings(findings) => {
            let colour = std::io::IsTerminal::is_terminal(&std::io::stderr());
            Outcome {
                stdout: String::new(),
                stderr: format!("{}\nnothing is attached\n", findings.render(colour)),
                status: Status::Findings,
            }
        }
        Refusal::Dataplane(error) if error.is_permission() => {
            Outcome::refused(Status::NoPermission, &error.to_string())
        }
        other => Outcome::refused(Status::Failed, &other.to_string()),
    }
}
