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
mod here;
mod list;
mod report;

use archive::Unpacked;
use boot::{Machine, Payload, Slots};
use list::{From, KERNELS, Kernel};
use report::{Report, missing, table};

/// Arguments of `kernels`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    part: Part,
    /// Ask the archives for newer packages of the same lines.
    #[arg(long)]
    update: bool,
    /// Write the table into docs/kernels.md.
    #[arg(long, conflicts_with = "part")]
    write: bool,
    /// Only this line, for example 5.10.
    only: Option<String>,
}

/// A part of the whole.
#[derive(clap::Args)]
#[group(id = "part", multiple = false)]
struct Part {
    /// Name the kernels.
    #[arg(long)]
    list: bool,
    /// What each change must pass: the programs on each kernel, and the life and the reboots on some.
    #[arg(long)]
    each_change: bool,
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
    /// The lives that are asked for on this kernel, as our init knows them, one after the other.
    fn lives(&self, kernel: &Kernel) -> &'static str {
        match self {
            Self { boots: true, .. } => "",
            Self { load: true, .. } => "load",
            Self { life: true, .. } => "whole",
            Self { devices: true, .. } => "devices",
            Self {
                each_change: true, ..
            } if kernel.on_each_change => "load,whole",
            Self {
                each_change: true, ..
            } => "load",
            _ => "load,whole,devices",
        }
    }

    /// Whether a server is booted again and again on this kernel.
    fn has_boots(&self, kernel: &Kernel, only: Option<&str>) -> bool {
        let alone = self.load || self.life || self.devices;
        let named = self.boots && only.is_some();
        matches!(kernel.from, From::Debian(_)) && !alone && (named || kernel.name == boots::KERNEL)
    }
}

/// Does on each kernel what is asked for, all of it where nothing is.
///
/// # Errors
/// When a kernel can't be had or booted. A refused program is no error but the exit code.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let part = &arguments.part;
    let only = arguments.only.as_deref();
    let wanted = |kernel: &&Kernel| only.is_none_or(|only| only == kernel.name);
    let kernels: Vec<_> = KERNELS.iter().filter(wanted).collect();
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
    let payload = Payload {
        init: &init,
        agent: &agent,
        ip: &ip,
    };
    let directory = project::target()?.join("kernels");

    let mut machines = Vec::new();
    for kernel in kernels {
        let machine = Prepared {
            name: kernel.name,
            lives: part.lives(kernel),
            has_boots: part.has_boots(kernel, only),
            kernel: prepared(kernel, &payload, &directory, arguments.update)
                .with_context(|| format!("the kernel {} ({})", kernel.name, kernel.of))?,
        };
        if !machine.lives.is_empty() || machine.has_boots {
            machines.push(machine);
        }
    }
    anyhow::ensure!(!machines.is_empty(), "nothing of this is tried there");
    let reports = live(&machines, &payload, &directory)?;
    let mut faults = Vec::new();
    if machines.iter().all(|it| it.lives == machines[0].lives) {
        faults = missing(&reports);
    }
    conclude(&reports, faults, &directory, arguments.write)
}

/// A kernel, ready to be lived on.
struct Prepared {
    name: &'static str,
    lives: &'static str,
    has_boots: bool,
    kernel: Place,
}

/// Where that is.
enum Place {
    Emulated(Unpacked, PathBuf),
    Here(PathBuf),
}

impl Place {
    fn machine(&self) -> Machine<'_> {
        match self {
            Self::Emulated(kernel, initramfs) => Machine::Emulated(kernel, initramfs),
            Self::Here(root) => Machine::Here(root),
        }
    }
}

fn prepared(
    kernel: &Kernel,
    payload: &Payload<'_>,
    directory: &Path,
    update: bool,
) -> Result<Place> {
    match kernel.from {
        From::Debian(sources) => {
            let cache = directory.join("cache");
            let unpacked = archive::get(kernel.name, sources, &cache, update)?;
            let initramfs = directory.join(format!("{}.cpio", kernel.name));
            boot::pack(payload, &unpacked, &[], &initramfs)?;
            Ok(Place::Emulated(unpacked, initramfs))
        }
        From::Here => {
            anyhow::ensure!(process::is_root(), "this needs root");
            let root = directory.join(kernel.name);
            here::lay_out(payload, &root)?;
            Ok(Place::Here(root))
        }
    }
}

/// All at once, as far as there is room; what takes longest is asked for first.
fn live(
    machines: &[Prepared],
    payload: &Payload<'_>,
    directory: &Path,
) -> Result<Vec<(String, Report)>> {
    let slots = &Slots::new();
    std::thread::scope(|scope| {
        let running: Vec<_> = machines
            .iter()
            .map(|it| {
                let lives = (!it.lives.is_empty())
                    .then(|| scope.spawn(|| boot::boot(it.kernel.machine(), it.lives, slots)));
                let boots = match &it.kernel {
                    Place::Emulated(kernel, _) if it.has_boots => {
                        Some(scope.spawn(|| boots::live(payload, kernel, directory, slots)))
                    }
                    _ => None,
                };
                (it.name, [lives, boots])
            })
            .collect();
        let mut reports = Vec::new();
        for (name, parts) in running {
            let mut whole = Report::default();
            for part in parts.into_iter().flatten() {
                let Ok(report) = part.join() else {
                    bail!("{name}: the machine's reader died")
                };
                whole.add(report.with_context(|| name.to_owned())?);
            }
            reports.push((name.to_owned(), whole));
        }
        Ok(reports)
    })
}

/// Prints the table and what is at fault, and writes both down.
fn conclude(
    reports: &[(String, Report)],
    mut faults: Vec<String>,
    directory: &Path,
    into_the_docs: bool,
) -> Result<ExitCode> {
    for (name, report) in reports {
        let found = report.faults().into_iter();
        faults.extend(found.map(|fault| format!("{name}: {fault}")));
    }
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
