//! `cargo xtask kernels`: the programs on every kernel that is claimed, under emulation.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};

use crate::setup::{self, Group};
use crate::{build, process, project, run};

mod archive;
mod boot;
mod boots;
mod cpio;
mod list;
mod report;

use archive::Unpacked;
use list::KERNELS;
use report::{Report, table};

/// Arguments of `kernels`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    part: Part,
    /// Ask the archives for newer packages of the same lines.
    #[arg(long)]
    update: bool,
    /// Write the table into docs/kernels.md.
    #[arg(long, conflicts_with_all = ["list", "boots", "devices", "life"])]
    write: bool,
    /// Only this line, for example 5.10.
    only: Option<String>,
}

/// A part of the whole.
#[derive(clap::Args)]
#[group(multiple = false)]
struct Part {
    /// Name the kernels.
    #[arg(long)]
    list: bool,
    /// Load and verify every program of the embedded object.
    #[arg(long)]
    load: bool,
    /// The rows of packets, the proofs of all products, and the agent's life under traffic.
    #[arg(long)]
    life: bool,
    /// Bonds, VLANs, bridges and IPsec.
    #[arg(long)]
    devices: bool,
    /// Boot a server again and again over what its earlier lives left on its disk, on one kernel.
    #[arg(long)]
    boots: bool,
}

impl Part {
    /// The lives of an emulated machine that are asked for, as its init knows them: on each kernel, one after the other.
    fn lives(&self) -> &'static [&'static str] {
        match (self.life, self.devices) {
            (true, _) => &["whole"],
            (_, true) => &["devices"],
            _ if self.is_whole() => &["", "whole", "devices"],
            _ => &[],
        }
    }

    fn is_whole(&self) -> bool {
        !(self.list || self.load || self.life || self.devices || self.boots)
    }
}

/// Does on each kernel what is asked for, all of it where nothing is.
///
/// # Errors
/// When a kernel can't be had or booted. A refused program is no error but the exit code.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let part = &arguments.part;
    let only = arguments.only.as_deref();
    let only = only.or(part.boots.then_some(boots::KERNEL));
    let wanted = |name: &str| only.is_none_or(|only| only == name);
    let kernels: Vec<_> = KERNELS
        .iter()
        .filter(|kernel| wanted(kernel.name))
        .collect();
    anyhow::ensure!(
        !kernels.is_empty(),
        "no such line of kernels; `cargo xtask kernels --list` names them"
    );
    if part.list {
        for kernel in kernels {
            println!("{}\t{}", kernel.name, kernel.of);
        }
        return Ok(ExitCode::SUCCESS);
    }
    setup::ensure(Group::Kernels)?;
    build::everything()?;
    let init = run::build_of_tests("kernel_init")?;
    let agent = project::agent_binary("release")?;
    let ip = process::find("ip").context("there is no ip")?;
    let payload = boot::Payload {
        init: &init,
        agent: &agent,
        ip: &ip,
    };
    let directory = project::target()?.join("kernels");

    let mut machines = Vec::new();
    for kernel in kernels {
        let unpacked = archive::get(kernel, &directory.join("cache"), arguments.update)
            .with_context(|| format!("the kernel {} ({})", kernel.name, kernel.of))?;
        let initramfs = directory.join(format!("{}.cpio", kernel.name));
        boot::pack(&payload, &unpacked, &[], &initramfs)?;
        machines.push((kernel.name, unpacked, initramfs));
    }
    let reports = if part.load {
        boot_all(&machines)?
    } else {
        let mut reports = Vec::new();
        for (name, kernel, initramfs) in &machines {
            let mut report = Report::default();
            // One after the other: what is waited for there has limits.
            for life in part.lives() {
                let word = match *life {
                    "" => String::new(),
                    life => format!("portcullis.life={life}"),
                };
                report.add(boot::boot(kernel, initramfs, &word)?);
            }
            if part.boots || (part.is_whole() && *name == boots::KERNEL) {
                report.add(boots::live(&payload, kernel, &directory)?);
            }
            reports.push(((*name).to_owned(), report));
        }
        reports
    };
    conclude(&reports, &directory, arguments.write)
}

/// Prints the table and what is at fault, and writes both down.
fn conclude(
    reports: &[(String, Report)],
    directory: &Path,
    into_the_docs: bool,
) -> Result<ExitCode> {
    let faults: Vec<String> = reports
        .iter()
        .flat_map(|(name, report)| {
            report
                .faults()
                .into_iter()
                .map(move |fault| format!("{name}: {fault}"))
        })
        .collect();
    let table = table(reports);
    println!("{table}");
    for fault in &faults {
        eprintln!("error: {fault}");
    }
    let data: Vec<_> = reports
        .iter()
        .map(|(name, report)| report.json(name))
        .collect();
    let data = serde_json::to_string_pretty(&data)?;
    let file = directory.join("report.json");
    std::fs::write(&file, data + "\n").with_context(|| format!("{}", file.display()))?;
    if !faults.is_empty() {
        return Ok(ExitCode::FAILURE);
    }
    if into_the_docs {
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
                (name, scope.spawn(move || boot::boot(kernel, initramfs, "")))
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
const MARKS: [&str; 2] = ["<!-- cargo xtask kernels --write -->\n", "<!-- end -->\n"];

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
