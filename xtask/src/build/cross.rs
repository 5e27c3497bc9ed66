//! `cargo xtask build --aarch64`: both halves for 64-bit Arm, on any machine; and for the other byte order neither.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::process::{find, host_cargo, run as start};
use crate::setup::{self, Group};
use crate::{elf, project, toolchain};

const MACHINE: &str = "aarch64";
const TRIPLE: &str = "aarch64-unknown-linux-gnu";
/// Debian's cross compiler: it knows where that machine's C library lies.
const LINKER: &str = "aarch64-linux-gnu-gcc";
/// EM_AARCH64 (ELF for the Arm 64-bit Architecture, §5.2).
const ELF_MACHINE: u16 = 183;

/// Builds them. The object lies beside this machine's own, the agent where cargo puts another target's.
///
/// # Errors
/// When something can't be installed, does not build, or is not for that machine; and when what must not build does.
pub(super) fn aarch64(release: bool) -> Result<()> {
    setup::ensure(Group::Cross)?;
    // Where the compiler is another's, its standard library for that machine is that one's matter, and cargo says what is missing.
    if find("rustup").is_some() {
        start(Command::new("rustup").args(["target", "add", TRIPLE]))?;
    }
    let target = project::target()?;
    let directory = target.join(format!("bpf-{MACHINE}"));
    std::fs::create_dir_all(&directory).with_context(|| format!("{}", directory.display()))?;
    let object = directory.join("portcullis.bpf.o");
    super::bpf_object_for(MACHINE, &object)?;
    refuses_big_endian(&target.join("bpf-big-endian"))?;

    let mut cargo = host_cargo();
    cargo.args(["build", "--locked", "--package", "portcullis"]);
    cargo.args(super::SHIPPED);
    cargo.args(["--target", TRIPLE]);
    cargo.env("PORTCULLIS_BPF_OBJECT", &object);
    cargo.env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", LINKER);
    if release {
        cargo.arg("--release");
    } else {
        // Nobody debugs it on this machine.
        cargo.env("CARGO_PROFILE_DEV_DEBUG", "0");
    }
    start(&mut cargo).context("the agent")?;
    let profile = if release { "release" } else { "debug" };
    let binary = target.join(TRIPLE).join(profile).join("portcullis");
    let machine = elf::machine(&binary)?;
    ensure!(
        machine == ELF_MACHINE,
        "{} is for machine {machine}, not {ELF_MACHINE}",
        binary.display()
    );
    println!("{}", binary.display());
    Ok(())
}

/// Whether the types that both halves share refuse to be built for a big-endian machine, in the words that they have for it.
fn refuses_big_endian(directory: &Path) -> Result<()> {
    const REFUSAL: &str = "a big-endian one is not supported";
    let found = toolchain::look();
    let toolchain = found.toolchain().context("no BPF toolchain")?;
    let mut cargo = toolchain.compiler.cargo();
    cargo
        .current_dir(project::root())
        .args(["check", "--locked", "--package", "agent-common"])
        .args(["--target", "bpfeb-unknown-none", "-Z", "build-std=core"])
        .arg("--target-dir")
        .arg(directory);
    let checked = cargo.output().context("cargo")?;
    let said = String::from_utf8_lossy(&checked.stderr);
    ensure!(
        !checked.status.success() && said.contains(REFUSAL),
        "a big-endian build is not refused as it should be: {}: {said}",
        checked.status
    );
    eprintln!("a big-endian build is refused");
    Ok(())
}
