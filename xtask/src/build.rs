//! `cargo xtask build`: the BPF object, then the agent that carries it.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};

use crate::process::{host_cargo, run as start};
use crate::setup::{self, Group};
use crate::toolchain::{self, Toolchain};
use crate::{elf, project, sources};

mod cross;

/// Arguments of `build`.
#[derive(clap::Args, Default)]
pub(crate) struct Arguments {
    /// Build the agent without optimization; the BPF object is always optimized.
    #[arg(long)]
    debug: bool,
    /// Build only the BPF object.
    #[arg(long)]
    bpf: bool,
    /// Build for 64-bit Arm, wherever this runs.
    #[arg(long, conflicts_with = "bpf")]
    aarch64: bool,
}

/// Builds, after setting up if need be.
///
/// # Errors
/// When something is missing that can't be installed, or a build fails.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    setup::ensure(Group::Build)?;
    if arguments.aarch64 {
        return cross::aarch64(!arguments.debug).map(|()| ExitCode::SUCCESS);
    }
    bpf_object()?;
    if !arguments.bpf {
        agent(!arguments.debug)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Builds the BPF object and the release agent, for the commands that use them.
///
/// # Errors
/// As [`run`].
pub(crate) fn everything() -> Result<()> {
    run(&Arguments::default()).map(|_| ())
}

/// Builds the BPF object and writes it, with the hash of its sources beside it, to where the
/// agent's build script looks for it.
///
/// # Errors
/// When it does not build, or lost its type information on the way.
pub(crate) fn bpf_object() -> Result<()> {
    bpf_object_for(this_machine(), &project::bpf_object()?)
}

/// The same for machines of another kind, to be written there.
///
/// # Errors
/// As [`bpf_object`].
fn bpf_object_for(machine: &str, object: &Path) -> Result<()> {
    let found = toolchain::look();
    let toolchain = found
        .toolchain()
        .context("no BPF toolchain; run `cargo xtask setup build`")?;
    let root = project::root();
    // Before the compiler reads them: an edit in between makes the object old, not wrongly new.
    let hash = sources::hash(&root).context("the sources of the BPF object")?;
    let target = object.parent().context("no directory for the object")?;
    compile(&toolchain, machine, target)?;
    let built = target.join("bpfel-unknown-none/release/portcullis-bpf");
    finish(&toolchain, &built, object)?;
    let stamp = object.with_extension("stamp");
    let line = format!("{hash}\n");
    if std::fs::read_to_string(&stamp).ok().as_ref() != Some(&line) {
        std::fs::write(&stamp, line)
            .with_context(|| format!("{}: cannot be written", stamp.display()))?;
    }
    let size = std::fs::metadata(object)?.len();
    eprintln!(
        "built {} ({size} bytes, {})",
        object.display(),
        toolchain.compiler.version
    );
    Ok(())
}

/// The kind of machine that this runs on, as aya names it.
pub(crate) fn this_machine() -> &'static str {
    match std::env::consts::ARCH {
        arch if arch.starts_with("riscv64") => "riscv64",
        arch => arch,
    }
}

/// What decides the code: the machine whose registers and offsets the programs are built for, and the instruction set, which kernels have
/// known since 5.1.
pub(crate) fn target_flags(machine: &str) -> Vec<String> {
    vec![
        format!("--cfg=bpf_target_arch=\"{machine}\""),
        "-Ctarget-cpu=v3".to_owned(),
        "-Ctarget-feature=+allows-misaligned-mem-access".to_owned(),
    ]
}

/// What chooses the target, for any command of cargo.
pub(crate) const TARGET: [&str; 4] = ["--target", "bpfel-unknown-none", "-Z", "build-std=core"];

fn compile(toolchain: &Toolchain, machine: &str, target: &Path) -> Result<()> {
    let root = project::root();
    let mut flags = target_flags(machine);
    flags.extend([
        "-Cdebuginfo=2".to_owned(),
        format!("-Clinker={}", toolchain.linker.display()),
        "-Clink-arg=--btf".to_owned(),
        // The linker has copies expanded in order, which turns the expansion of clearing off: it would be a call that clears octet by octet.
        "-Clink-arg=--llvm-args=--max-store-memset=16".to_owned(),
        // The same object from any directory of any machine; where several fit, the last counts.
        format!(
            "--remap-path-prefix={}/lib/rustlib/src=.",
            toolchain.compiler.sysroot.display()
        ),
        format!("--remap-path-prefix={}=.", root.display()),
    ]);
    for registry in registries() {
        flags.push(format!("--remap-path-prefix={}=crates", registry.display()));
    }
    let mut cargo = toolchain.compiler.cargo();
    cargo
        .current_dir(&root)
        .args(["build", "--locked", "--package", "agent-ebpf", "--release"])
        .args(TARGET)
        .arg("--target-dir")
        .arg(target)
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"))
        // Incremental builds cut a crate into pieces, and code into other code.
        .env("CARGO_INCREMENTAL", "0");
    start(&mut cargo).context("the BPF object")
}

/// Where cargo keeps the sources of dependencies, one directory per registry.
fn registries() -> Vec<PathBuf> {
    let sources = toolchain::cargo_home().map(|home| home.join("registry").join("src"));
    let entries = sources.and_then(|sources| std::fs::read_dir(sources).ok());
    entries
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .collect()
}

/// Takes out DWARF, which only grows the binary, and keeps BTF, which the kernel wants.
fn finish(toolchain: &Toolchain, built: &Path, object: &Path) -> Result<()> {
    let fresh = object.with_extension("o.new");
    match &toolchain.objcopy {
        Some(objcopy) => start(
            std::process::Command::new(objcopy)
                .arg("--strip-debug")
                .arg(built)
                .arg(&fresh),
        )?,
        None => {
            eprintln!("no llvm-objcopy: the object keeps its debug information");
            std::fs::copy(built, &fresh).with_context(|| format!("{}", built.display()))?;
        }
    }
    let sections = elf::section_names(&fresh)?;
    for needed in [".BTF", ".BTF.ext"] {
        if !sections.iter().any(|section| section == needed) {
            bail!(
                "{}: no section {needed}; has the linker lost --btf?",
                built.display()
            );
        }
    }
    // An object that did not change keeps its time, and the agent is not built again.
    if std::fs::read(object).is_ok_and(|old| std::fs::read(&fresh).is_ok_and(|new| new == old)) {
        return std::fs::remove_file(&fresh).with_context(|| format!("{}", fresh.display()));
    }
    std::fs::rename(&fresh, object).with_context(|| format!("{}", object.display()))
}

/// What ships has the live view, whatever a plain build has.
const SHIPPED: [&str; 2] = ["--features", "top"];

fn agent(release: bool) -> Result<()> {
    let mut cargo = host_cargo();
    cargo.args(["build", "--locked", "--package", "portcullis"]);
    cargo.args(SHIPPED);
    if release {
        cargo.arg("--release");
    }
    start(&mut cargo).context("the agent")?;
    let binary = project::agent_binary(if release { "release" } else { "debug" })?;
    println!("{}", binary.display());
    Ok(())
}
