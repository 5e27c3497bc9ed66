//! What is missing and the steps that bring it.

use std::path::Path;
use std::process::Command;

use super::{Group, is_debian};
use crate::process::{is_root, outside};
use crate::toolchain::{self, Found, Origin};

/// The bpf-linker that the object is built with.
const LINKER_VERSION: &str = "0.13.0";
/// The LLVM versions that this bpf-linker can be built for.
const LINKER_LLVM: std::ops::RangeInclusive<u32> = 21..=23;
/// The LLVM of Debian 12's `rustc-web`, for the time before it is there to be asked.
const DISTRIBUTION_LLVM: u32 = 22;

/// One thing to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// `apt-get update`.
    Update,
    /// `apt-get install` of these packages.
    Install(Vec<String>),
    /// A nightly with the sources of `core`, by rustup.
    Nightly,
    /// `cargo install` of the linker for this LLVM.
    Linker { llvm: u32 },
}

impl Step {
    /// The command, ready to be shown or started.
    pub(super) fn command(&self) -> Command {
        match self {
            Self::Update => {
                let mut command = apt();
                command.arg("update");
                command
            }
            Self::Install(packages) => {
                let mut command = apt();
                // Nothing of the machine's owner is taken away to make room.
                command.args(["install", "-y", "--no-install-recommends", "--no-remove"]);
                command.args(packages);
                command
            }
            Self::Nightly => {
                let mut command = outside("rustup");
                command.args(["toolchain", "install", "nightly", "--profile", "minimal"]);
                command.args(["--component", "rust-src,llvm-tools"]);
                command
            }
            Self::Linker { llvm } => linker_command(*llvm),
        }
    }

    /// Whether only root may run it.
    pub(super) fn needs_root(&self) -> bool {
        matches!(self, Self::Update | Self::Install(_))
    }
}

fn apt() -> Command {
    let mut command = outside("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive");
    command.args(["-q", "-o", "DPkg::Lock::Timeout=300"]);
    command
}

fn linker_command(llvm: u32) -> Command {
    // The reader's own cargo: its compiler builds the linker and need not be the BPF one.
    let mut command = Command::new("cargo");
    let prefix = format!("/usr/lib/llvm-{llvm}");
    if Path::new(&prefix).exists() || is_debian() {
        // The first for bpf-linker itself, the second for the bindings that it uses.
        command.env("LLVM_PREFIX", &prefix);
        command.env(format!("LLVM_SYS_{llvm}1_PREFIX"), &prefix);
    }
    command.args([
        "install",
        "bpf-linker",
        "--version",
        LINKER_VERSION,
        "--locked",
    ]);
    command.args([
        "--no-default-features",
        "--features",
        &format!("llvm-{llvm}"),
    ]);
    command
}

/// What is missing, and how to get it.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// In words, one line each.
    pub(super) missing: Vec<String>,
    /// To be run in this order.
    pub(super) steps: Vec<Step>,
    /// Why the steps can't be run from here.
    pub(super) refused: Option<String>,
}

/// What a plan depends on, so that it can be made for a machine that is not there.
struct Machine {
    found: Found,
    debian: bool,
    root: bool,
    rustup: bool,
    llvm_development: fn(u32) -> bool,
}

impl Plan {
    /// Looks at this machine.
    pub(super) fn of_this_machine(groups: &[Group]) -> Self {
        let mut missing = Vec::new();
        for need in groups.iter().flat_map(|group| group.needs()) {
            let package = need.package.to_owned();
            if !missing.contains(&package) && !need.is_met() {
                missing.push(package);
            }
        }
        let machine = Machine {
            found: toolchain::look(),
            debian: is_debian(),
            root: is_root(),
            rustup: crate::process::find("rustup").is_some(),
            llvm_development: |llvm| {
                let prefix = format!("/usr/lib/llvm-{llvm}");
                Path::new(&prefix).join("bin/llvm-config").exists()
                    && Path::new(&prefix).join("lib/libPolly.a").exists()
            },
        };
        Self::new(missing, &machine)
    }

    /// Whether there is nothing to do.
    pub(super) fn is_done(&self) -> bool {
        self.missing.is_empty()
    }

    /// Whether the steps are for the reader to run.
    pub(super) fn is_refused(&self) -> bool {
        self.refused.is_some()
    }

    fn new(mut packages: Vec<String>, machine: &Machine) -> Self {
        let mut plan = Self {
            missing: packages.clone(),
            ..Self::default()
        };
        if machine.found.toolchain().is_none() {
            plan.add_toolchain(&mut packages, machine);
        }
        if !packages.is_empty() {
            plan.steps
                .splice(0..0, [Step::Update, Step::Install(packages)]);
        }
        let needs_root = plan.steps.iter().any(Step::needs_root);
        if plan.refused.is_none() && needs_root && !machine.debian {
            plan.refused = Some("this is no Debian, whose packages these are".to_owned());
        } else if plan.refused.is_none() && needs_root && !machine.root {
            plan.refused = Some("installing packages needs root".to_owned());
        }
        plan
    }

    fn add_toolchain(&mut self, packages: &mut Vec<String>, machine: &Machine) {
        let ready = machine
            .found
            .compilers
            .iter()
            .find(|compiler| compiler.has_sources);
        let llvm = match (ready, machine.debian) {
            (Some(compiler), _) => compiler.llvm,
            (None, true) => {
                self.missing
                    .push("a compiler with the sources of core (rustc-web)".to_owned());
                packages.extend(["rustc-web", "cargo-web", "rust-web-src"].map(str::to_owned));
                DISTRIBUTION_LLVM
            }
            (None, false) => {
                self.missing
                    .push("a nightly compiler with the sources of core".to_owned());
                self.steps.push(Step::Nightly);
                if !machine.rustup {
                    self.refused = Some("neither apt nor rustup is here".to_owned());
                }
                // Known only when it is there; today's nightlies and the newest linker agree.
                *LINKER_LLVM.end()
            }
        };
        let origin = ready.map(|compiler| &compiler.origin);
        self.add_linker(llvm, origin, packages, machine);
    }

    fn add_linker(
        &mut self,
        llvm: u32,
        origin: Option<&Origin>,
        packages: &mut Vec<String>,
        machine: &Machine,
    ) {
        let fits = |linker: &toolchain::Linker| linker.llvm.is_none_or(|found| found == llvm);
        match &machine.found.linker {
            Some(linker) if fits(linker) => return,
            Some(linker) => self.missing.push(format!(
                "a bpf-linker of LLVM {llvm} ({} is of LLVM {} and will be replaced)",
                linker.path.display(),
                linker.llvm.unwrap_or_default()
            )),
            None => self.missing.push(format!("a bpf-linker of LLVM {llvm}")),
        }
        if !LINKER_LLVM.contains(&llvm) {
            self.refused = Some(format!(
                "bpf-linker {LINKER_VERSION} knows LLVM {} to {}, the compiler has {llvm}",
                LINKER_LLVM.start(),
                LINKER_LLVM.end()
            ));
        }
        if !(machine.llvm_development)(llvm) {
            if machine.debian {
                packages.extend([format!("llvm-{llvm}-dev"), format!("libpolly-{llvm}-dev")]);
            } else if origin.is_none_or(|origin| matches!(origin, Origin::Rustup(_))) {
                self.missing
                    .push(format!("the development files of LLVM {llvm}"));
                self.refused.get_or_insert_with(|| {
                    format!("install the development files of LLVM {llvm} by this system's means")
                });
            }
        }
        self.steps.push(Step::Linker { llvm });
    }
}
