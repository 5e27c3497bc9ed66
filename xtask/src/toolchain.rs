//! Finding what compiles for the BPF target: a compiler with the sources of `core` beside it, and
//! a bpf-linker that was built against the LLVM of that compiler.
//!
//! Two kinds are looked for, in this order: the distribution's (`rustc-web` and friends on Debian)
//! and rustup's nightlies with the component `rust-src`.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::process::{find, output, outside};

/// The oldest compiler that builds the workspace (`rust-version` of its manifest).
const OLDEST_RUSTC: (u32, u32) = (1, 95);
/// The oldest bpf-linker that the object was made with; older ones write other code, or none that a kernel takes.
const OLDEST_LINKER: (u32, u32) = (0, 13);

/// Where a compiler comes from, and so how it is started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// `/usr/bin/rustc` and `/usr/bin/cargo`, stable: asked for unstable flags by a variable.
    Distribution,
    /// The rustup toolchain of this name.
    Rustup(String),
}

/// A compiler that could build the BPF object.
#[derive(Clone, Debug)]
pub(crate) struct Compiler {
    /// Where it comes from.
    pub(crate) origin: Origin,
    /// As `rustc --version` says it.
    pub(crate) version: String,
    /// The major version of its LLVM.
    pub(crate) llvm: u32,
    /// Where `--print sysroot` lies.
    pub(crate) sysroot: PathBuf,
    /// Whether the sources of `core` are where cargo looks for them.
    pub(crate) has_sources: bool,
}

impl Compiler {
    /// Its cargo, ready for unstable flags.
    pub(crate) fn cargo(&self) -> Command {
        match &self.origin {
            Origin::Distribution => {
                let mut command = outside("/usr/bin/cargo");
                command
                    .env("RUSTC", "/usr/bin/rustc")
                    .env("RUSTC_BOOTSTRAP", "1");
                command
            }
            Origin::Rustup(name) => {
                let mut command = outside("rustup");
                command.args(["run", name, "cargo"]);
                command
            }
        }
    }

    fn rustc(origin: &Origin) -> Command {
        match origin {
            Origin::Distribution => outside("/usr/bin/rustc"),
            Origin::Rustup(name) => {
                let mut command = outside("rustup");
                command.args(["run", name, "rustc"]);
                command
            }
        }
    }

    fn ask(origin: Origin) -> Result<Option<Self>> {
        let verbose = output(Self::rustc(&origin).arg("-vV"))?;
        let sysroot = output(Self::rustc(&origin).args(["--print", "sysroot"]))?;
        let sysroot = PathBuf::from(sysroot.trim());
        let has_sources = sysroot
            .join("lib/rustlib/src/rust/library/core/Cargo.toml")
            .exists();
        Ok(read_version(&verbose).map(|(version, llvm)| Self {
            origin,
            version,
            llvm,
            sysroot,
            has_sources,
        }))
    }
}

/// The first line and LLVM's major version of `rustc -vV`; nothing where it is too old.
fn read_version(verbose: &str) -> Option<(String, u32)> {
    let field = |name: &str| verbose.lines().find_map(|line| line.strip_prefix(name));
    let mut release = field("release: ")?
        .split(['.', '-'])
        .map_while(|part| part.parse().ok());
    let release: (u32, u32) = (release.next()?, release.next()?);
    let llvm = field("LLVM version: ")?.split('.').next()?.parse().ok()?;
    (release >= OLDEST_RUSTC).then(|| (verbose.lines().next().unwrap_or_default().to_owned(), llvm))
}

/// A bpf-linker that starts.
#[derive(Clone, Debug)]
pub(crate) struct Linker {
    /// Where it lies.
    pub(crate) path: PathBuf,
    /// The first two numbers of its version.
    pub(crate) version: (u32, u32),
    /// The major version of the LLVM that it is linked with; unknown where that is linked statically.
    pub(crate) llvm: Option<u32>,
}

impl Linker {
    /// Whether it is new enough, and reads what a compiler of this LLVM writes.
    pub(crate) fn fits(&self, llvm: u32) -> bool {
        self.version >= OLDEST_LINKER && self.llvm.is_none_or(|own| own == llvm)
    }
}

/// All that was found, complete or not.
#[derive(Debug)]
pub(crate) struct Found {
    /// The compilers that are new enough, those with the sources of `core` first.
    pub(crate) compilers: Vec<Compiler>,
    /// Every bpf-linker: in PATH, then in cargo's own directory.
    pub(crate) linkers: Vec<Linker>,
}

/// A compiler and a linker that fit each other.
#[derive(Clone, Debug)]
pub(crate) struct Toolchain {
    /// Compiles.
    pub(crate) compiler: Compiler,
    /// Links.
    pub(crate) linker: PathBuf,
    /// `llvm-objcopy`, which takes the debug information out; the object is larger without it.
    pub(crate) objcopy: Option<PathBuf>,
}

impl Found {
    /// The first pair that can build the object.
    pub(crate) fn toolchain(&self) -> Option<Toolchain> {
        let ready = self
            .compilers
            .iter()
            .filter(|compiler| compiler.has_sources);
        let (compiler, linker) = ready
            .flat_map(|compiler| self.linkers.iter().map(move |linker| (compiler, linker)))
            .find(|(compiler, linker)| linker.fits(compiler.llvm))?;
        Some(Toolchain {
            compiler: compiler.clone(),
            linker: linker.path.clone(),
            objcopy: find_objcopy(compiler),
        })
    }
}

/// Looks at this machine; starts a few programs, changes nothing.
pub(crate) fn look() -> Found {
    let mut origins = Vec::new();
    if is_distribution_rustc(Path::new("/usr/bin/rustc")) && Path::new("/usr/bin/cargo").exists() {
        origins.push(Origin::Distribution);
    }
    if find("rustup").is_some()
        && let Ok(list) = output(outside("rustup").args(["toolchain", "list"]))
    {
        let names = list
            .lines()
            .filter_map(|line| line.split_whitespace().next());
        let nightlies = names.filter(|name| name.starts_with("nightly"));
        origins.extend(nightlies.map(|name| Origin::Rustup(name.to_owned())));
    }
    let ask = |origin| Compiler::ask(origin).ok().flatten();
    let mut compilers: Vec<_> = origins.into_iter().filter_map(ask).collect();
    compilers.sort_by_key(|compiler| !compiler.has_sources);
    Found {
        compilers,
        linkers: find_linkers(),
    }
}

/// rustup's proxies are links to rustup, wherever they lie.
fn is_distribution_rustc(path: &Path) -> bool {
    std::fs::canonicalize(path).is_ok_and(|real| !real.ends_with("rustup"))
}

fn find_linkers() -> Vec<Linker> {
    let places = [find("bpf-linker"), installed("bpf-linker")];
    let mut paths: Vec<PathBuf> = places.into_iter().flatten().collect();
    paths.dedup();
    paths.into_iter().filter_map(ask_linker).collect()
}

fn ask_linker(path: PathBuf) -> Option<Linker> {
    // One whose LLVM library is gone does not start.
    let said = output(Command::new(&path).arg("--version")).ok()?;
    let bytes = std::fs::read(&path).ok()?;
    Some(Linker {
        path,
        version: linker_version(&said),
        llvm: linked_llvm(&bytes),
    })
}

/// `bpf-linker 0.13.0`; what says nothing of the kind is older than any.
fn linker_version(said: &str) -> (u32, u32) {
    let version = said.split_whitespace().nth(1).unwrap_or_default();
    let mut numbers = version.split('.').map_while(|part| part.parse().ok());
    (
        numbers.next().unwrap_or_default(),
        numbers.next().unwrap_or_default(),
    )
}

/// The major version in the name of the LLVM library that a program is linked with:
/// `libLLVM.so.22.1` or, from older packages, `libLLVM-22.so`.
fn linked_llvm(bytes: &[u8]) -> Option<u32> {
    ["libLLVM.so.", "libLLVM-"].iter().find_map(|prefix| {
        bytes
            .windows(prefix.len())
            .enumerate()
            .find_map(|(at, window)| {
                let digits = bytes[at + prefix.len()..]
                    .iter()
                    .take_while(|byte| byte.is_ascii_digit());
                let digits: String = digits.map(|byte| char::from(*byte)).collect();
                (window == prefix.as_bytes())
                    .then(|| digits.parse().ok())
                    .flatten()
            })
    })
}

fn find_objcopy(compiler: &Compiler) -> Option<PathBuf> {
    let host = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let of_rustup = compiler
        .sysroot
        .join("lib/rustlib")
        .join(host)
        .join("bin/llvm-objcopy");
    find(&format!("llvm-objcopy-{}", compiler.llvm))
        .or_else(|| of_rustup.exists().then_some(of_rustup))
        .or_else(|| find("llvm-objcopy"))
}

/// A program that `cargo install` brings: in PATH, or in cargo's own directory, which a shell may not have in its PATH.
pub(crate) fn of_cargo(program: &str) -> Option<PathBuf> {
    find(program).or_else(|| installed(program))
}

fn installed(program: &str) -> Option<PathBuf> {
    let path = cargo_home()?.join("bin").join(program);
    path.exists().then_some(path)
}

/// Cargo's home: `CARGO_HOME`, else `~/.cargo`.
pub(crate) fn cargo_home() -> Option<PathBuf> {
    let said = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    said.or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cargo")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_version(verbose: &str, expected: Option<(&str, u32)>) {
        let read = read_version(verbose);
        assert_eq!(
            read.as_ref()
                .map(|(version, llvm)| (version.as_str(), *llvm)),
            expected
        );
    }

    #[test]
    fn versions() {
        let stable = "rustc 1.96.0 (ac68faa20 2026-05-25)\nrelease: 1.96.0\nLLVM version: 22.1.8\n";
        check_version(stable, Some(("rustc 1.96.0 (ac68faa20 2026-05-25)", 22)));
        let nightly = "rustc 1.97.0-nightly\nrelease: 1.97.0-nightly\nLLVM version: 22.1.4\n";
        check_version(nightly, Some(("rustc 1.97.0-nightly", 22)));
        check_version(
            "rustc 1.63.0\nrelease: 1.63.0\nLLVM version: 14.0.6\n",
            None,
        );
        check_version("rustc 1.95.0-next\nrelease: 1.95.0-next\n", None);
        check_version("", None);
    }

    #[test]
    fn versions_of_a_linker() {
        for (said, expected) in [
            ("bpf-linker 0.13.0\n", (0, 13)),
            ("bpf-linker 0.9.15-dev\n", (0, 9)),
            ("bpf-linker 1\n", (1, 0)),
            ("bpf-linker\n", (0, 0)),
            ("", (0, 0)),
        ] {
            assert_eq!(linker_version(said), expected, "{said}");
        }
    }

    #[test]
    fn the_first_linker_that_fits_is_taken() {
        let linker = |path: &str, version, llvm| Linker {
            path: path.into(),
            version,
            llvm,
        };
        let compiler = Compiler {
            origin: Origin::Distribution,
            version: "rustc".to_owned(),
            llvm: 22,
            sysroot: "/nowhere".into(),
            has_sources: true,
        };
        for (linkers, expected) in [
            (vec![linker("a", (0, 13), Some(22))], Some("a")),
            (vec![linker("a", (0, 14), None)], Some("a")),
            (vec![linker("a", (0, 12), Some(22))], None),
            (vec![linker("a", (0, 13), Some(21))], None),
            // One in PATH of another LLVM does not hide cargo's own.
            (
                vec![
                    linker("a", (0, 13), Some(21)),
                    linker("b", (0, 13), Some(22)),
                ],
                Some("b"),
            ),
            (vec![], None),
        ] {
            let shown = format!("{linkers:?}");
            let found = Found {
                compilers: vec![compiler.clone()],
                linkers,
            };
            let taken = found.toolchain().map(|it| it.linker);
            assert_eq!(taken, expected.map(PathBuf::from), "{shown}");
        }
    }

    #[track_caller]
    fn check_llvm(bytes: &[u8], expected: Option<u32>) {
        assert_eq!(linked_llvm(bytes), expected);
    }

    #[test]
    fn llvm_of_a_linker() {
        check_llvm(b"\0libc.so.6\0libLLVM.so.22.1\0", Some(22));
        check_llvm(b"\0libLLVM-19.so\0", Some(19));
        check_llvm(b"\0libLLVM.so.x\0libLLVM.so.21\0", Some(21));
        check_llvm(b"libLLVM.so.", None);
        check_llvm(b"", None);
    }
}
