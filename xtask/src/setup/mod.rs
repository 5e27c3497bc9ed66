//! `cargo xtask setup`: looks at what is there, says what is missing, installs it.

use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::process::{Command, ExitCode};

use anyhow::{Result, bail};
use clap::ValueEnum as _;

use crate::process::{self, find, is_root, output, shown};
use crate::toolchain;

pub(crate) mod groups;
mod plan;
mod quiet;

pub(crate) use groups::Group;
use plan::{Plan, Step};

/// A compiler, then its linker; more would be going round in circles.
const ROUNDS: usize = 3;

/// Arguments of `setup`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Install without asking.
    #[arg(long)]
    yes: bool,
    /// Only say what would be done.
    #[arg(long, conflicts_with = "yes")]
    dry_run: bool,
    /// What to set up for; everything if unsaid.
    #[arg(value_enum)]
    groups: Vec<Group>,
}

/// Sets up for all groups, or those named.
///
/// # Errors
/// When something cannot be installed; the message says what to type.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let groups = if arguments.groups.is_empty() {
        Group::value_variants()
    } else {
        &arguments.groups
    };
    let plan = Plan::of_this_machine(groups);
    if plan.is_done() {
        println!("all there: {}", describe()?);
        return Ok(ExitCode::SUCCESS);
    }
    announce(&plan);
    if arguments.dry_run {
        return Ok(ExitCode::SUCCESS);
    }
    if !arguments.yes && std::io::stdin().is_terminal() && !plan.is_refused() && !confirmed()? {
        println!("nothing was done");
        return Ok(ExitCode::FAILURE);
    }
    carry_out(plan, groups)?;
    println!("all there: {}", describe()?);
    Ok(ExitCode::SUCCESS)
}

/// Sets up for another command: unasked, silent where all is there.
///
/// # Errors
/// As [`run`].
pub(crate) fn ensure(group: Group) -> Result<()> {
    let plan = Plan::of_this_machine(&[group]);
    if plan.is_done() {
        return Ok(());
    }
    announce(&plan);
    carry_out(plan, &[group])
}

fn announce(plan: &Plan) {
    for missing in &plan.missing {
        eprintln!("missing: {missing}");
    }
    if !plan.is_refused() {
        eprintln!("about to run:");
        for step in &plan.steps {
            eprintln!("    {}", shown(&step.command()));
        }
    }
}

fn confirmed() -> Result<bool> {
    eprint!("go ahead? [y/N] ");
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// Runs the steps, looks again, and runs what turned out to be due only then: which linker fits is
/// known when the compiler is there.
fn carry_out(mut plan: Plan, groups: &[Group]) -> Result<()> {
    for _ in 0..ROUNDS {
        if let Some(why) = &plan.refused {
            bail!(
                "{why}; run these yourself, then start again:\n{}",
                typed(&plan.steps)
            );
        }
        for step in &plan.steps {
            take(step)?;
        }
        let rest = Plan::of_this_machine(groups);
        if rest.is_done() {
            return Ok(());
        }
        if rest.steps == plan.steps {
            break;
        }
        plan = rest;
    }
    bail!(
        "still missing although all steps succeeded: {}; what remains to be run:\n{}",
        plan.missing.join(", "),
        typed(&plan.steps)
    );
}

fn take(step: &Step) -> Result<()> {
    let Step::Install(packages) = step else {
        return process::run(&mut step.command());
    };
    let quiet = quiet::Quiet::begin()?;
    process::run(&mut step.command())?;
    drop(quiet);
    quiet::stay_off(packages)
}

fn typed(steps: &[Step]) -> String {
    let line = |step: &Step| {
        let sudo = if step.needs_root() && !is_root() {
            "sudo "
        } else {
            ""
        };
        format!("    {sudo}{}", shown(&step.command()))
    };
    steps.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn describe() -> Result<String> {
    let Some(toolchain) = toolchain::look().toolchain() else {
        bail!("no BPF toolchain although nothing is missing");
    };
    let linker = output(Command::new(&toolchain.linker).arg("--version"))?;
    Ok(format!("{}, {}", toolchain.compiler.version, linker.trim()))
}

/// Whether this machine installs by Debian's means.
fn is_debian() -> bool {
    find("apt-get").is_some() && find("dpkg").is_some()
}
