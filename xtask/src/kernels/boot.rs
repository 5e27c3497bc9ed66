//! Booting a kernel under qemu, or living in namespaces of the one that is running, and reading what our init says.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Condvar, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::archive::Unpacked;
use super::cpio::Archive;
use super::here;
use super::report::Report;
use crate::process::{output, shown};

/// Between two words. The longest that a life waits for anything without a word is 400 s, on a machine that compiles beside it.
const SILENCE: Duration = Duration::from_secs(450);

/// The word of the kernel's command line, or of our init's, that names the lives.
pub(crate) const LIVES: &str = "portcullis.lives=";

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

/// Directories that must be there.
pub(crate) const PLACES: [&str; 9] = [
    "dev", "proc", "sys", "run", "tmp", "etc", "var/lib", "bin", "modules",
];

impl Payload<'_> {
    /// All files with their names in the root, without the leading slash.
    ///
    /// # Errors
    /// When `ldd` can't tell the libraries.
    pub(crate) fn files(&self) -> Result<Vec<(String, PathBuf)>> {
        let programs = [
            ("init", self.init),
            ("bin/portcullis", self.agent),
            ("bin/ip", self.ip),
        ];
        let mut libraries = BTreeSet::new();
        for (_, program) in programs {
            libraries.extend(shared_libraries(program)?);
        }
        let libraries = libraries.into_iter().map(|library| {
            let name = library.to_string_lossy().trim_start_matches('/').to_owned();
            (name, library)
        });
        let programs = programs.map(|(name, program)| (name.to_owned(), program.to_path_buf()));
        Ok(programs.into_iter().chain(libraries).collect())
    }
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
    for place in PLACES {
        add_directories(&mut archive, &mut directories, place)?;
    }
    archive.device("dev/console", 5, 1)?;
    for (name, source) in payload.files()? {
        add_directories(&mut archive, &mut directories, above(&name))?;
        archive.file(&name, &source)?;
    }
    for module in &kernel.modules {
        let name = module.file_name().unwrap_or_default().to_string_lossy();
        archive.file(&format!("modules/{name}"), module)?;
    }
    for (name, content) in disk {
        let name = name.trim_start_matches('/');
        add_directories(&mut archive, &mut directories, above(name))?;
        archive.data(name, content)?;
    }
    std::fs::write(goal, archive.finish()?).with_context(|| format!("{}", goal.display()))
}

fn above(name: &str) -> &str {
    name.rsplit_once('/').map_or("", |(directory, _)| directory)
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

/// Where a kernel is lived on.
#[derive(Clone, Copy)]
pub(crate) enum Machine<'a> {
    /// Under emulation, with this initramfs.
    Emulated(&'a Unpacked, &'a Path),
    /// This one, in namespaces, with this directory as its root.
    Here(&'a Path),
}

impl Machine<'_> {
    fn command(self, lives: &str) -> Command {
        match self {
            Self::Emulated(kernel, initramfs) => emulator(kernel, initramfs, lives),
            Self::Here(root) => here::command(root, lives),
        }
    }

    fn name(self) -> String {
        match self {
            Self::Emulated(kernel, _) => kernel.release.clone(),
            Self::Here(_) => "the running kernel".to_owned(),
        }
    }
}

/// How many run at a time.
pub(crate) struct Slots {
    state: Mutex<State>,
    freed: Condvar,
}

struct State {
    free: usize,
    /// Who waits, by how long they will take, the longest first, and then by when they came.
    waiting: BTreeSet<(Reverse<usize>, u64)>,
    came: u64,
}

impl Slots {
    /// One for each processor: an emulated machine keeps one busy, and what it waits for has limits.
    pub(crate) fn new() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            state: Mutex::new(State {
                free: processors,
                waiting: BTreeSet::new(),
                came: 0,
            }),
            freed: Condvar::new(),
        }
    }

    /// Does this when there is room, and nothing longer waits for it. `length` is in any unit.
    fn hold<T>(&self, length: usize, work: impl FnOnce() -> T) -> T {
        let sound = PoisonError::into_inner;
        let mut state = self.state.lock().unwrap_or_else(sound);
        state.came += 1;
        let place = (Reverse(length), state.came);
        state.waiting.insert(place);
        let mut state = self
            .freed
            .wait_while(state, |it| {
                it.free == 0 || it.waiting.first() != Some(&place)
            })
            .unwrap_or_else(sound);
        state.waiting.remove(&place);
        state.free -= 1;
        drop(state);
        // There may be room for another.
        self.freed.notify_all();
        let done = work();
        self.state.lock().unwrap_or_else(sound).free += 1;
        self.freed.notify_all();
        done
    }
}

/// Has it live these lives, separated by commas, once there is room, and waits for the end of the report.
///
/// # Errors
/// When it can't be started. A kernel that stopped or hung is a failure in the report, with the
/// last lines that it said.
pub(crate) fn boot(machine: Machine<'_>, lives: &str, slots: &Slots) -> Result<Report> {
    let length = lives.split(',').count();
    for _ in 1..BOOTS {
        let report = slots.hold(length, || boot_once(machine, lives))?;
        match report.accident {
            None => return Ok(report),
            Some(said) => eprintln!("{}: {said}\nbooting again", machine.name()),
        }
    }
    slots.hold(length, || boot_once(machine, lives))
}

fn emulator(kernel: &Unpacked, initramfs: &Path, lives: &str) -> Command {
    let mut qemu = Command::new("qemu-system-x86_64");
    // Emulation always: some hosts show a KVM device that does not work. Without CMPXCHG16B: qemu 7.2 computes its flags from an operation
    // before the last, so that an interrupt just after one finds garbage in them, and kernels allocate memory by it all the time. They panicked.
    // Without the fast ways to move octets, which are slow here, one octet at a time: the verifier copies its states all the time, and takes
    // less than half the time by plain moves.
    qemu.args([
        "-accel",
        "tcg",
        "-cpu",
        "max,-cx16,-erms,-fsrm",
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
    // An emulated timer misses its test when the machine is busy, and 5.10 panics over that. What is cleared is X86_FEATURE_REP_GOOD, word 3,
    // bit 16, which no CPU says of itself.
    qemu.arg("-append").arg(format!(
        "console=ttyS0 quiet loglevel=4 panic=-1 mitigations=off no_timer_check clearcpuid=112 {LIVES}{lives}"
    ));
    qemu
}

fn boot_once(machine: Machine<'_>, lives: &str) -> Result<Report> {
    let mut command = machine.command(lives);
    eprintln!("$ {}", shown(&command));
    let begin = Instant::now();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("{} cannot be started", command.get_program().display()))?;
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
    let mut report = Report::of(matches!(machine, Machine::Here(_)));
    let mut said = Vec::new();
    // Ends with the report, with the machine, or with the patience.
    while !report.is_whole() {
        let patience = if report.has_begun() {
            SILENCE
        } else {
            FIRST_WORD
        };
        let Ok(line) = lines.recv_timeout(patience) else {
            break;
        };
        report.read(&line);
        said.push(line);
    }
    // It has nothing to lose; killing one that is gone is an error of no interest.
    let _ = child.kill();
    child.wait().context("the machine")?;
    eprintln!(
        "{}: {lives} in {:.1} s",
        machine.name(),
        begin.elapsed().as_secs_f32()
    );
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
