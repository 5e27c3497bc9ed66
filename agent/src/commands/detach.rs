//! `portcullis detach`: the end of enforcement.

use std::fmt::Write as _;
use std::io;
use std::path::Path;

use super::{Outcome, Status};
use crate::cli::DetachArgs;
use crate::dataplane::{Error, LinkView, Removed, detach_all};
use crate::failsafe;

/// Removes what is attached and pinned, and says what it was.
#[must_use]
pub fn run(arguments: &DetachArgs) -> Outcome {
    let root = &arguments.pins.pins;
    let outcome = outcome(root, detach_all(root));
    with_table(outcome, failsafe::remove())
}

/// The table that stands in for the programs goes as well.
fn with_table(mut outcome: Outcome, removed: io::Result<bool>) -> Outcome {
    match removed {
        Ok(false) => {}
        Ok(true) => {
            let _ = writeln!(
                outcome.stdout,
                "removed the nftables table {}",
                failsafe::TABLE
            );
        }
        // Without the permission to detach the one for this is missing as well, and was said.
        Err(_) if outcome.status == Status::NoPermission => {}
        Err(error) => {
            let _ = writeln!(
                outcome.stderr,
                "error: the nftables table {} can't be removed: {error}",
                failsafe::TABLE
            );
            outcome.status = Status::Failed;
        }
    }
    outcome
}

fn outcome(root: &Path, result: Result<Removed, Error>) -> Outcome {
    match result {
        Ok(removed) => {
            let mut talk = String::new();
            for path in &removed.left {
                let _ = writeln!(
                    talk,
                    "warning: {} is none of ours and was left",
                    path.display()
                );
            }
            Outcome::done(report(root, &removed)).with_talk(talk)
        }
        Err(error) if error.is_permission() => {
            Outcome::refused(Status::NoPermission, &error.to_string())
        }
        Err(error) => Outcome::refused(Status::Failed, &error.to_string()),
    }
}

fn report(root: &Path, removed: &Removed) -> String {
    if removed.is_empty() {
        return format!("nothing was attached or pinned under {}\n", root.display());
    }
    let mut text = String::new();
    for link in &removed.links {
        let _ = writeln!(text, "detached {}", described(link));
    }
    for directory in &removed.directories {
        let _ = writeln!(text, "removed {}", directory.display());
    }
    text.push_str("nothing is enforced any more\n");
    text
}

fn described(link: &LinkView) -> String {
    let LinkView {
        interface,
        hook,
        program,
        ..
    } = link;
    let place = format!("{interface} {}", hook.name());
    let held = match link.link {
        Some(id) => format!("{place}: program {program}, link {id}"),
        None => format!("{place}: program {program}"),
    };
    if link.index == 0 {
        format!("{held} (the interface is gone)")
    } else {
        held
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataplane::Hook;

    #[track_caller]
    fn check(result: Result<Removed, Error>, status: Status, stdout: &str, stderr: &str) {
        let outcome = outcome(Path::new("/pins"), result);
        assert_eq!(outcome.status, status);
        assert_eq!(outcome.stdout, stdout);
        assert_eq!(outcome.stderr, stderr);
    }

    #[test]
    fn nothing_there_is_done() {
        check(
            Ok(Removed::default()),
            Status::Done,
            "nothing was attached or pinned under /pins\n",
            "",
        );
    }

    #[test]
    fn what_was_removed_is_said() {
        let link = LinkView {
            interface: "eth0".to_owned(),
            index: 2,
            hook: Hook::Xdp,
            program: 17,
            link: Some(5),
            load: Some(1),
        };
        let filter = LinkView {
            index: 0,
            hook: Hook::ClsactEgress,
            link: None,
            ..link.clone()
        };
        check(
            Ok(Removed {
                links: vec![link, filter],
                directories: vec!["/pins/v1-0123abcd".into()],
                left: vec!["/pins/theirs".into()],
            }),
            Status::Done,
            "detached eth0 xdp: program 17, link 5\n\
             detached eth0 clsact-egress: program 17 (the interface is gone)\n\
             removed /pins/v1-0123abcd\n\
             nothing is enforced any more\n",
            "warning: /pins/theirs is none of ours and was left\n",
        );
    }

    #[test]
    fn without_permission_it_is_77() {
        check(
            Err(Error::Privileges {
                missing: vec!["CAP_BPF"],
            }),
            Status::NoPermission,
            "",
            "error: missing CAP_BPF: run as root, or as uid 0 with CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON\n",
        );
        check(
            Err(Error::NoBank(4)),
            Status::Failed,
            "",
            "error: there is no policy bank 4\n",
        );
    }
}
