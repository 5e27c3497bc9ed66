//! Booting a kernel under qemu and reading what our init says on the serial line.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::archive::Unpacked;
use super::cpio::Archive;
use super::report::Report;
use crate::process::{output, shown};

/// Without hardware support and on a quiet machine all that is done takes 45 s, on one that compiles beside it four times that; a
/// hang must not take the whole run.
const LONGEST: Duration = Duration::from_secs(900);

/// The kernel reaches init in about 4 s, on a busy machine in a minute. Under emulation a boot now and then stops long before that, idle,
/// waiting for a timer that was lost.
const FIRST_WORD: Duration = Duration::from_secs(120);

/// As many boots as there are at most. Emulated kernels stop or panic now and then, at any place and with the object that passed a minute
/// ago: such a boot is tried again, and said to be. What is wrong with ours comes back each time, or is in the report.
const BOOTS: usize = 4;

/// As many lines as show what a kernel died of.
const SILENCE_TAIL: usize = 40;

/// What is packed: the loader as init, the agent, `ip`, and the libraries of all.
pub(crate) struct Payload<'a> {
    /// Becomes `/init`.
    pub(crate) init: &'a Path,
    /// Becomes `/bin/portcullis`.
    pub(crate) agent: &'a Path,
    /// Becomes `/bin/ip`.
    pub(crate) ip: &'a Path,
}

/// Writes the initramfs for this kernel, with these files of another life, by their absolute names.
///
/// # Errors
/// When a file can't be read or written.
pub(crate) fn pack(
    payload: &Payload<'_>,
    kernel: &Unpacked,
    disk: &[(String, Vec<u8>)],
    goal: &Path,
) -> Result<()> {
    let mut archive = Archive::new();
    let mut directories = BTreeSet::new();
    for place in [
        "dev", "proc", "sys", "run", "tmp", "etc", "var/lib", "bin", "modules",
    ] {
        add_directories(&mut archive, &mut directories, place)?;
    }
    archive.device("dev/console", 5, 1)?;
    archive.file("init", payload.init)?;
    archive.file("bin/portcullis", payload.agent)?;
    archive.file("bin/ip", payload.ip)?;
    let mut libraries = BTreeSet::new();
    for program in [payload.init, payload.agent, payload.ip] {
        libraries.extend(shared_libraries(program)?);
    }
    for library in libraries {
        let name = library.to_string_lossy().trim_start_matches('/').to_owned();
        let directory = name.rsplit_once('/').map_or("", |(directory, _)| directory);
        add_directories(&mut archive, &mut directories, directory)?;
        archive.file(&name, &library)?;
    }
    for module in &kernel.modules {
        let name = module.file_name().unwrap_or_default().to_string_lossy();
        archive.file(&format!("modules/{name}"), module)?;
    }
    for (name, content) in disk {
        let name = name.trim_start_matches('/');
        let directory = name.rsplit_once('/').map_or("", |(directory, _)| directory);
        add_directories(&mut archive, &mut directories, directory)?;
        archive.data(name, content)?;
    }
    std::fs::write(goal, archive.finish()?).with_context(|| format!("{}", goal.display()))
}

fn add_directories(
    archive: &mut Archive,
    present: &mut BTreeSet<String>,
    path: &str,
) -> Result<()> {
    let ends = path
        .match_indices('/')
        .map(|(at, _)| at)
        .chain([path.len()]);
    for end in ends.filter(|end| *end > 0) {
        let directory = path.get(..end).unwrap_or(path);
        if present.insert(directory.to_owned()) {
            archive.directory(directory)?;
        }
    }
    Ok(())
}

/// As the dynamic linker finds them: `name => path (address)`, and the linker's own `path (address)`.
fn shared_libraries(program: &Path) -> Result<BTreeSet<PathBuf>> {
    let listed = output(Command::new("ldd").arg(program))?;
    let path = |line: &str| {
        let target = line.split("=>").last().unwrap_or(line).trim();
        let path = target.split_whitespace().next().unwrap_or_default();
        path.starts_with('/').then(|| PathBuf::from(path))
    };
    Ok(listed.lines().filter_map(path).collect())
}

/// Boots, with `more` words on the kernel's command line, and waits for the end of the report.
///
/// # Errors
/// When qemu can't be started. A kernel that stopped or hung is a failure in the report, with the
/// last lines that it said.
pub(crate) fn boot(kernel: &Unpacked, initramfs: &Path, more: &str) -> Result<Report> {
    for _ in 1..BOOTS {
        let report = boot_once(kernel, initramfs, more)?;
        match report.accident {
            None => return Ok(report),
            Some(said) => eprintln!("{}: {said}\nbooting again", kernel.release),
        }
    }
    boot_once(kernel, initramfs, more)
}

fn boot_once(kernel: &Unpacked, initramfs: &Path, more: &str) -> Result<Report> {
    let mut qemu = Command::new("qemu-system-x86_64");
    // Emulation always: some hosts show a KVM device that does not work. Without CMPXCHG16B: qemu 7.2 computes its flags from an operation
    // before the last, so that an interrupt just after one finds garbage in them, and kernels allocate memory by it all the time. They panicked.
    qemu.args([
        "-accel",
        "tcg",
        "-cpu",
        "max,-cx16",
        "-m",
        "1024",
        "-smp",
        "2",
        "-no-reboot",
    ]);
    qemu.args([
        "-nodefaults",
        "-no-user-config",
        "-display",
        "none",
        "-serial",
        "stdio",
    ]);
    qemu.arg("-kernel")
        .arg(&kernel.image)
        .arg("-initrd")
        .arg(initramfs);
    // An emulated timer misses its test when the machine is busy, and 5.10 panics over that.
    qemu.arg("-append").arg(format!(
        "console=ttyS0 quiet loglevel=4 panic=-1 mitigations=off no_timer_check {more}"
    ));
    eprintln!("$ {}", shown(&qemu));
    let begin = Instant::now();
    let mut child = qemu
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("qemu-system-x86_64 cannot be started")?;
    let serial = child.stdout.take().context("no serial line")?;
    let (sender, lines) = mpsc::channel();
    let reader = std::thread::spawn(move || {
        for line in BufReader::new(serial).split(b'\n').map_while(Result::ok) {
            if sender
                .send(String::from_utf8_lossy(&line).trim_end().to_owned())
                .is_err()
            {
                break;
            }
        }
    });
    let mut report = Report::default();
    let mut said = Vec::new();
    // Ends with the report, with qemu, or with the patience.
    while !report.is_whole() {
        let patience = if report.has_begun() {
            LONGEST
        } else {
            FIRST_WORD
        };
        let left = patience.saturating_sub(begin.elapsed());
        let Ok(line) = lines.recv_timeout(left) else {
            break;
        };
        report.read(&line);
        said.push(line);
    }
    // It has nothing to lose; killing one that is gone is an error of no interest.
    let _ = child.kill();
    child.wait().context("qemu")?;
    eprintln!("{}: {:.1} s", kernel.release, begin.elapsed().as_secs_f32());
    drop(lines);
    let _ = reader.join();
    if !report.is_whole() {
        let tail = said
            .get(said.len().saturating_sub(SILENCE_TAIL)..)
            .unwrap_or_default();
        report.cut_short(format!(
            "ended before its report was whole, after {:.0} s; it said last:\n    {}",
            begin.elapsed().as_secs_f32(),
            tail.join("\n    ")
        ));
    }
    Ok(report)
}
