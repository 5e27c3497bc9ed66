//! A tarball for other distributions: one program that needs no library of the system, and a script that installs it.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use super::contents::{Item, Kind};
use super::deb::write;
use crate::process::{host_cargo, output, run as start};
use crate::{elf, project};

/// How a program without libraries can be built here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Linkage {
    /// With musl, whose target is installed.
    Musl,
    /// With the static glibc of the system.
    Gnu,
}

/// Builds a static agent and gives its path.
///
/// # Errors
/// When it does not build, or asks for a library all the same.
pub(super) fn static_agent() -> Result<PathBuf> {
    let arch = std::env::consts::ARCH;
    let musl = format!("{arch}-unknown-linux-musl");
    let sysroot = output(Command::new("rustc").args(["--print", "sysroot"]))?;
    let installed = Path::new(sysroot.trim())
        .join("lib/rustlib")
        .join(&musl)
        .exists();
    let linkage = if installed {
        Linkage::Musl
    } else {
        Linkage::Gnu
    };
    let triple = match linkage {
        Linkage::Musl => musl,
        Linkage::Gnu => {
            eprintln!(
                "the target {musl} is not installed (`rustup target add {musl}`): glibc is linked in instead"
            );
            format!("{arch}-unknown-linux-gnu")
        }
    };
    let mut cargo = host_cargo();
    cargo.args([
        "build",
        "--locked",
        "--release",
        "--package",
        "portcullis",
        "--target",
        &triple,
    ]);
    // With a target named, programs that only run while building are not linked like this.
    cargo.env("CARGO_ENCODED_RUSTFLAGS", "-Ctarget-feature=+crt-static");
    start(&mut cargo).context("the static agent")?;
    let program = project::target()?.join(&triple).join("release/portcullis");
    let sections = elf::section_names(&program)?;
    ensure!(
        !sections.iter().any(|section| section == ".interp"),
        "{} asks for a loader: it is not static",
        program.display()
    );
    Ok(program)
}

/// Packs what is installed, with `install.sh` beside it, and gives the tarball's path.
///
/// # Errors
/// When a file can't be written.
pub(super) fn build(items: &[Item], version: &str, directory: &Path) -> Result<PathBuf> {
    let name = format!("portcullis-{version}-{}-linux", std::env::consts::ARCH);
    let tree = directory.join(&name);
    if tree.exists() {
        std::fs::remove_dir_all(&tree).with_context(|| format!("{}", tree.display()))?;
    }
    for item in items {
        let (path, mode) = place(item.kind, &item.name);
        write(&tree.join(&path), &item.read()?, mode)?;
        if item.kind == Kind::Program {
            start(
                Command::new("strip")
                    .arg("--strip-unneeded")
                    .arg(tree.join(path)),
            )?;
        }
    }
    let root = project::root();
    for (from, to, mode) in [
        ("agent/dist/install.sh", "install.sh", 0o755),
        ("LICENSE-APACHE", "LICENSE-APACHE", 0o644),
        ("LICENSE-MIT", "LICENSE-MIT", 0o644),
    ] {
        let octets = std::fs::read(root.join(from)).with_context(|| from.to_owned())?;
        write(&tree.join(to), &octets, mode)?;
    }
    let package = directory.join(format!("{name}.tar.gz"));
    let mut tar = Command::new("tar");
    tar.current_dir(directory);
    // The same sources give the same tarball.
    tar.args([
        "--sort=name",
        "--owner=0",
        "--group=0",
        "--numeric-owner",
        "--mtime",
    ]);
    tar.arg(format!("@{}", super::epoch()?));
    tar.args(["-I", "gzip -9n", "-cf"]).arg(&package).arg(&name);
    start(&mut tar)?;
    Ok(package)
}

/// The place below the prefix, which install.sh chooses; the unit and the example have places of their own.
fn place(kind: Kind, name: &str) -> (String, u32) {
    let (path, mode) = match kind {
        Kind::Program => (format!("sbin/{name}"), 0o755),
        Kind::Manual(section) => (format!("share/man/man{section}/{name}"), 0o644),
        Kind::Bash => (format!("share/bash-completion/completions/{name}"), 0o644),
        Kind::Zsh => (format!("share/zsh/site-functions/{name}"), 0o644),
        Kind::Fish => (format!("share/fish/vendor_completions.d/{name}"), 0o644),
        Kind::Catalogue => (format!("lib/systemd/catalog/{name}"), 0o644),
        Kind::Data => (format!("share/portcullis/{name}"), 0o644),
        Kind::Document => (format!("share/doc/portcullis/{name}"), 0o644),
        Kind::Unit | Kind::Example => return (format!("etc/{name}"), 0o644),
    };
    (format!("files/{path}"), mode)
}
