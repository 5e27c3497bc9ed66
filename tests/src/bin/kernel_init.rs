//! The init of an emulated machine, or of namespaces of the running one: has it live the lives that its command line names, each in a
//! process of its own, and turns the machine off. One of them loads every program of the agent's object, and says what the kernel made of it.
//!
//! `cargo xtask kernels` packs it as `/init` and reads what it says (the format is in xtask's `kernels/report.rs`).

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd as _;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result};
use aya::programs::{Program, ProgramError};
use aya::{EbpfLoader, VerifierLogLevel};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::reboot::{RebootMode, reboot};
use nix::sys::resource::{RLIM_INFINITY, Resource, setrlimit};
use portcullis::dataplane::Mechanism;
use portcullis::dataplane::object::BPF_OBJECT;
use portcullis::host::schema::Hook as Wanted;
use portcullis_tests::machine::{AGENT, STATE};
use portcullis_tests::verified::Counter;

/// XDP programs for frames in several buffers are refused before this kernel (commit f45d5b6ce2e8).
const MULTI_BUFFER_SINCE: (u32, u32) = (5, 18);

/// TCX links came with this kernel (commit e420bed02507).
const TCX_SINCE: (u32, u32) = (6, 6);

/// As many lines of a verifier's log as show the fault and the way to it.
const LOG_TAIL: usize = 40;

/// Until this kernel what maps hold counted as locked memory.
const NO_LOCKED_MEMORY_SINCE: (u32, u32) = (5, 11);

/// The word before the life that a process is for.
const LIFE: &str = "life";

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // Started by hand on a running system it must not mount anything nor turn that off.
    let of_init = nix::unistd::getppid().as_raw() == 1;
    match arguments.as_slice() {
        [word, name] if word == LIFE && of_init => {
            if let Err(error) = live(name) {
                println!("@@ failed\t{name}: {}", one_line(&format!("{error:#}")));
            }
        }
        words if std::process::id() == 1 => {
            if let Err(error) = all_lives(words) {
                println!("@@ failed\t{}", one_line(&format!("{error:#}")));
            }
            println!("@@ end");
            // Only ever fails for want of rights, which init has; the emulator is ended from outside, too.
            let _ = reboot(RebootMode::RB_POWER_OFF);
        }
        _ => {
            eprintln!("kernel_init is the init of an emulated machine: `cargo xtask kernels`");
            std::process::exit(2);
        }
    }
}

/// Those that these words name or, where there are none, the kernel's command line.
fn all_lives(words: &[String]) -> Result<()> {
    let release = release()?;
    prepare(&release)?;
    println!("@@ kernel\t{release}");
    let version = Command::new(AGENT)
        .arg("--version")
        .output()
        .context("the agent")?;
    println!(
        "@@ agent\t{}",
        one_line(&String::from_utf8_lossy(&version.stdout))
    );
    let line = match words {
        [] => fs::read_to_string("/proc/cmdline").context("/proc/cmdline")?,
        words => words.join(" "),
    };
    let named = line
        .split_whitespace()
        .find_map(|word| word.strip_prefix("portcullis.lives="))
        .context("no life is named")?;
    for name in named.split(',') {
        let status = Command::new("/proc/self/exe").args([LIFE, name]).status()?;
        if !status.success() {
            println!("@@ failed\t{name}: its process ended: {status}");
        }
        // The next server has a disk of its own.
        for place in ["/etc/portcullis", STATE, "/run/portcullis"] {
            // Not every life leaves each of them.
            let _ = fs::remove_dir_all(place);
        }
    }
    Ok(())
}

/// One of them, with a network, a /sys and pins of its own.
fn live(name: &str) -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET).context("namespaces")?;
    mounted("sysfs", "/sys")?;
    mounted("bpf", "/sys/fs/bpf")?;
    match name {
        "load" => load_all(&release()?),
        "devices" => portcullis_tests::devices::live(),
        "whole" => portcullis_tests::whole::live(),
        name => portcullis_tests::boots::live(name),
    }
}

fn release() -> Result<String> {
    let name = nix::sys::utsname::uname()?;
    Ok(name.release().to_string_lossy().into_owned())
}

/// The programs, one by one, then as the agent attaches them.
fn load_all(release: &str) -> Result<()> {
    let multi_buffer = kernel_version(release).is_some_and(|version| version >= MULTI_BUFFER_SINCE);

    let mut object = EbpfLoader::new()
        // The path to the fault alone: a log of all paths takes minutes under emulation.
        .verifier_log_level(VerifierLogLevel::DEBUG | VerifierLogLevel::STATS)
        .load(BPF_OBJECT)
        .context("the object and its maps")?;
    let mut programs: Vec<_> = object.programs_mut().collect();
    programs.sort_by_key(|(name, _)| name.to_string());
    let mut counter = None;
    for (name, program) in programs {
        println!("@@ program\t{name}\t{}", kind(program));
        if name.ends_with("_frags") && !multi_buffer {
            println!(
                "@@ skipped\tneeds {}.{}",
                MULTI_BUFFER_SINCE.0, MULTI_BUFFER_SINCE.1
            );
            continue;
        }
        let begin = Instant::now();
        match load(program) {
            Ok(()) => {
                let milliseconds = begin.elapsed().as_secs_f64() * 1e3;
                let walked = instructions(name, program, &mut counter)?;
                println!("@@ loaded\t{walked}\t{milliseconds:.1}");
            }
            Err(error) => refused(&error),
        }
    }
    drop(object);
    lives(kernel_version(release))
}

/// The agent's own way with the programs, on a pair of interfaces: by each hook, with the attachment that this kernel has.
fn lives(kernel: Option<(u32, u32)>) -> Result<()> {
    portcullis_tests::veth::make("guarded0", "other0")?;
    let expected = if kernel.is_some_and(|version| version >= TCX_SINCE) {
        Mechanism::Tcx
    } else {
        Mechanism::Clsact
    };
    println!("@@ program\ta life on veth\tall hooks");
    let begin = Instant::now();
    let hooks = [Wanted::Xdp, Wanted::Tc, Wanted::XdpGeneric];
    match portcullis_tests::life::live("guarded0", &hooks) {
        Ok(found) if found == expected => {
            let milliseconds = begin.elapsed().as_secs_f64() * 1e3;
            println!("@@ loaded\t{}\t{milliseconds:.1}", found.name());
        }
        Ok(found) => println!(
            "@@ refused\tegress is by {}, not by {}",
            found.name(),
            expected.name()
        ),
        Err(error) => println!("@@ refused\t{}", one_line(&format!("{error:#}"))),
    }
    Ok(())
}

/// What an init has to do before anything works.
fn prepare(release: &str) -> Result<()> {
    for (kind, place) in [("proc", "/proc"), ("sysfs", "/sys"), ("devtmpfs", "/dev")] {
        mounted(kind, place)?;
    }
    if kernel_version(release).is_none_or(|version| version < NO_LOCKED_MEMORY_SINCE) {
        setrlimit(Resource::RLIMIT_MEMLOCK, RLIM_INFINITY, RLIM_INFINITY).context("memlock")?;
    }
    let mut modules: Vec<_> = fs::read_dir("/modules")?
        .flatten()
        .map(|entry| entry.path())
        .collect();
    modules.sort();
    for module in modules {
        let file = File::open(&module).with_context(|| format!("{}", module.display()))?;
        // It makes a bond by itself unless it is told not to.
        let bonding = module.to_string_lossy().ends_with("-bonding.ko");
        let parameters = if bonding { c"max_bonds=0" } else { c"" };
        // SAFETY: the descriptor is open and the parameters are a string that outlives the call.
        let code = unsafe {
            libc::syscall(
                libc::SYS_finit_module,
                file.as_raw_fd(),
                parameters.as_ptr(),
                0,
            )
        };
        if code != 0 {
            return Err(io::Error::last_os_error())
                .with_context(|| format!("{}", module.display()));
        }
    }
    Ok(())
}

fn mounted(kind: &str, place: &str) -> Result<()> {
    let none: Option<&str> = None;
    mount(Some(kind), place, Some(kind), MsFlags::empty(), none)
        .with_context(|| format!("{place} cannot be mounted"))
}

fn load(program: &mut Program) -> Result<(), ProgramError> {
    match program {
        Program::Xdp(program) => program.load(),
        Program::SchedClassifier(program) => program.load(),
        _ => Err(ProgramError::UnexpectedProgramType),
    }
}

fn kind(program: &Program) -> &'static str {
    match program {
        Program::Xdp(_) => "xdp",
        Program::SchedClassifier(_) => "tc",
        _ => "unknown",
    }
}

/// As the kernel counted them: it says so since 5.16, and before in the verifier's log.
fn instructions(name: &str, program: &Program, counter: &mut Option<Counter>) -> Result<u64> {
    let said = program
        .info()
        .ok()
        .and_then(|info| info.verified_instruction_count());
    if let Some(count) = said {
        return Ok(count.into());
    }
    let counter = match counter {
        Some(counter) => counter,
        None => counter.insert(Counter::new(BPF_OBJECT).context("loading by hand")?),
    };
    counter
        .instructions(name)
        .with_context(|| format!("counting the instructions of {name}"))
}

fn refused(error: &ProgramError) {
    let ProgramError::LoadError {
        io_error,
        verifier_log,
    } = error
    else {
        println!("@@ refused\t{}", one_line(&error.to_string()));
        return;
    };
    println!("@@ refused\t{}", one_line(&io_error.to_string()));
    let log = verifier_log.to_string();
    let lines: Vec<&str> = log.lines().collect();
    for line in &lines[lines.len().saturating_sub(LOG_TAIL)..] {
        println!("@@ log\t{}", one_line(line));
    }
}

fn kernel_version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release
        .split(['.', '-'])
        .map_while(|number| number.parse().ok());
    Some((numbers.next()?, numbers.next()?))
}

/// A field of the report holds neither tabs nor line ends.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(release: &str, expected: Option<(u32, u32)>) {
        assert_eq!(kernel_version(release), expected);
    }

    #[test]
    fn versions() {
        check("5.10.0-46-cloud-amd64", Some((5, 10)));
        check("6.12-rc1", Some((6, 12)));
        check("linux", None);
    }
}
