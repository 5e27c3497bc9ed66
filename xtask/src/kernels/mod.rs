//! `cargo xtask kernels`: the programs on every kernel that is claimed, under emulation.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};

use crate::setup::{self, Group};
use crate::{build, project, run};

mod archive;
mod boot;
mod cpio;
mod list;
mod report;

use archive::Unpacked;
use list::KERNELS;
use report::{Report, table};

/// Arguments of `kernels`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Load and verify every program of the embedded object on each kernel.
    #[arg(long)]
    load: bool,
    /// Ask the archives for newer packages of the same lines.
    #[arg(long)]
    update: bool,
    /// Write the table into docs/kernels.md.
    #[arg(long, requires = "load")]
    write: bool,
    /// Only this line, for example 5.10.
    only: Option<String>,
}

/// Lists the kernels, or loads on each.
///
/// # Errors
/// When a kernel can't be had or booted. A refused program is no error but the exit code.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let wanted = |name: &str| arguments.only.as_deref().is_none_or(|only| only == name);
    let kernels: Vec<_> = KERNELS
        .iter()
        .filter(|kernel| wanted(kernel.name))
        .collect();
    anyhow::ensure!(
        !kernels.is_empty(),
        "no such line of kernels; `cargo xtask kernels` lists them"
    );
    if !arguments.load && !arguments.update {
        for kernel in kernels {
            println!("{}\t{}", kernel.name, kernel.of);
        }
        return Ok(ExitCode::SUCCESS);
    }
    setup::ensure(Group::Kernels)?;
    build::everything()?;
    let init = run::build_of_tests("kernel_init")?;
    let agent = project::agent_binary("release")?;
    let payload = boot::Payload {
        init: &init,
        agent: &agent,
    };
    let directory = project::target()?.join("kernels");

    let mut machines = Vec::new();
    for kernel in kernels {
        let unpacked = archive::get(kernel, &directory.join("cache"), arguments.update)
            .with_context(|| format!("the kernel {} ({})", kernel.name, kernel.of))?;
        let initramfs = directory.join(format!("{}.cpio", kernel.name));
        boot::pack(&payload, &unpacked, &initramfs)?;
        machines.push((kernel.name, unpacked, initramfs));
    }
    let reports = boot_all(&machines)?;
    let faults: Vec<String> = reports
        .iter()
        .flat_map(|(name, report)| {
            report
                .faults()
                .into_iter()
                .map(move |fault| format!("{name}: {fault}"))
        })
        .collect();
    let table = table(&reports);
    println!("{table}");
    for fault in &faults {
        eprintln!("error: {fault}");
    }
    if !faults.is_empty() {
        return Ok(ExitCode::FAILURE);
    }
    if arguments.write {
        write(&table)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// All at once: an emulated machine keeps one core busy, and none waits for another.
fn boot_all(machines: &[(&str, Unpacked, PathBuf)]) -> Result<Vec<(String, Report)>> {
    std::thread::scope(|scope| {
        let running: Vec<_> = machines
            .iter()
            .map(|(name, kernel, initramfs)| {
                (name, scope.spawn(move || boot::boot(kernel, initramfs)))
            })
            .collect();
        let mut reports = Vec::new();
        for (name, machine) in running {
            let Ok(report) = machine.join() else {
                bail!("{name}: the emulator's reader died")
            };
            reports.push((
                (*name).to_owned(),
                report.with_context(|| (*name).to_owned())?,
            ));
        }
        Ok(reports)
    })
}

/// What stands around the table in the page.
const MARKS: [&str; 2] = [
    "<!-- cargo xtask kernels --load --write -->\n",
    "<!-- end -->\n",
];

fn write(table: &str) -> Result<()> {
    let page = project::root().join("docs/kernels.md");
    let text = std::fs::read_to_string(&page).with_context(|| format!("{}", page.display()))?;
    let text = replaced(&text, table)
        .with_context(|| format!("{}: the marks of the table are gone", page.display()))?;
    write_page(&page, &text)
}

fn write_page(page: &Path, text: &str) -> Result<()> {
    std::fs::write(page, text).with_context(|| format!("{}", page.display()))?;
    eprintln!("wrote {}", page.display());
    Ok(())
}

fn replaced(text: &str, table: &str) -> Option<String> {
    let (before, rest) = text.split_once(MARKS[0])?;
    let (_, after) = rest.split_once(MARKS[1])?;
    Some([before, MARKS[0], table, MARKS[1], after].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_replaced_and_nothing_else() {
        let page = [MARKS[0], "old\n", MARKS[1]].concat();
        let text = replaced(&format!("a\n{page}b\n"), "new\n").unwrap();
        assert_eq!(text, format!("a\n{}new\n{}b\n", MARKS[0], MARKS[1]));
        assert_eq!(replaced("a\n", "new\n"), None);
    }
}
