//! `portcullis verify`: packets through the programs that the kernel has verified, on an instance of their own.
//!
//! The instance lives in a mount namespace with a BPF file system of its own: its pins are seen by nobody, and those of the agent that runs
//! are out of its reach. It is gone with the thread that made it.

use std::io::IsTerminal as _;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use super::{Outcome, Status};
use crate::cli::VerifyArgs;
use crate::compile::tables::Tables;
use crate::dataplane::object::BPF_OBJECT;
use crate::dataplane::{self, BankSizes, Dataplane, Options};
use crate::facts::Facts;
use crate::facts::collect::NAMES_PATIENCE;
use crate::inputs;
use crate::meaning::meaning;
use crate::rule::RuleSet;
use crate::verify::{self, Ports, Verified};

/// Where BPF file systems are mounted.
const BPFFS: &str = "/sys/fs/bpf";

/// Proves the configuration.
///
/// # Errors
///
/// A file that can't be read, facts that can't be collected, what the kernel says of the programs.
pub fn run(args: &VerifyArgs) -> Result<Outcome> {
    let said = inputs::read(&args.config)?;
    let (facts, notes) = inputs::facts(args.facts.as_deref(), said.names(), NAMES_PATIENCE, false)?;
    let refused = |findings: &crate::diagnose::Findings| Outcome {
        stdout: String::new(),
        stderr: findings.render(std::io::stderr().is_terminal()),
        status: Status::Findings,
    };
    let Some(config) = &said.config else {
        return Ok(refused(&said.findings));
    };
    let meaning = meaning(config, &said.catalogue, &facts, &said.findings);
    let tables = match meaning.tables {
        Some(tables) if !meaning.findings.has_errors() => tables,
        _ => return Ok(refused(&meaning.findings)),
    };
    let verified = match apart(&tables, &meaning.resolved.rule_set, &facts) {
        Ok(verified) => verified,
        Err(error) if lacks_permission(&error) => {
            let message = format!("{error:#}");
            return Ok(Outcome::refused(Status::NoPermission, &message));
        }
        Err(error) => return Err(error),
    };
    let stdout = if args.format.json() {
        format!("{:#}\n", verified.json())
    } else {
        verified.text()
    };
    let talk: String = notes.iter().map(|note| format!("note: {note}\n")).collect();
    Ok(Outcome {
        stdout,
        stderr: talk,
        status: if verified.holds() {
            Status::Done
        } else {
            Status::Failed
        },
    })
}

fn lacks_permission(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let of_programs = match cause.downcast_ref::<verify::Error>() {
            Some(verify::Error::Dataplane(error)) => Some(error),
            None => cause.downcast_ref::<dataplane::Error>(),
        };
        of_programs.is_some_and(dataplane::Error::is_permission)
            || cause.downcast_ref() == Some(&nix::errno::Errno::EPERM)
    })
}

/// Proves on a thread with a mount namespace of its own.
pub(super) fn apart(tables: &Tables, rules: &RuleSet, facts: &Facts) -> Result<Verified> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| -> Result<Verified> {
            hide()?;
            let sizes = BankSizes::of(tables).with_room();
            let options = Options {
                flows_new: 4096,
                flows_established: 1024,
                ..Options::default()
            };
            let mut programs = Dataplane::load(BPF_OBJECT, sizes, &options)?;
            Ok(verify::prove(
                &mut programs,
                tables,
                rules,
                facts,
                Ports::All,
            )?)
        });
        match thread.join() {
            Ok(verified) => verified,
            Err(_) => bail!("the proof ended early; please report this"),
        }
    })
}

/// Puts an empty BPF file system before the one that others see, for this thread alone.
fn hide() -> Result<()> {
    let nothing: Option<&Path> = None;
    unshare(CloneFlags::CLONE_NEWNS)
        .context("a mount namespace of its own (it takes CAP_SYS_ADMIN; run it as root)")?;
    mount(
        nothing,
        "/",
        nothing,
        MsFlags::MS_REC | MsFlags::MS_PRIVATE,
        nothing,
    )
    .context("mounts of its own")?;
    mount(Some("bpf"), BPFFS, Some("bpf"), MsFlags::empty(), nothing)
        .with_context(|| format!("{BPFFS}: mounting a BPF file system for the proof"))
}
