//! What is missing and the steps that bring it.

use std::path::Path;
use std::process::Command;

use super::{Group, is_debian};
use crate::process::{is_root, outside};
use crate::toolchain::{self, Found, Linker, Origin};

/// The bpf-linker that the object is built with.
const LINKER_VERSION: &str = "0.13.0";
/// The cargo-deny that is installed where there is none.
const DENY_VERSION: &str = "0.20.2";
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
    /// `cargo install` of what judges dependencies.
    Deny,
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
            Self::Deny => deny_command(),
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
        // One that is there is of another LLVM, or does not start.
        "--force",
    ]);
    command.args([
        "--no-default-features",
        "--features",
        &format!("llvm-{llvm}"),
    ]);
    command
}

fn deny_command() -> Command {
    let mut command = Command::new("cargo");
    command.args(["install", "cargo-deny", "--version", DENY_VERSION]);
    // Read once per run, it is built as fast as can be: half the time of an optimized build, which no run earns back.
    command.args(["--locked", "--debug"]);
    command.env("CARGO_PROFILE_DEV_DEBUG", "0");
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
    /// Whether cargo-deny is asked for and not there.
    needs_deny: bool,
    llvm_development: fn(u32) -> bool,
}

impl Plan {
    /// Looks at this machine.
    pub(super) fn of_this_machine(groups: &[Group]) -> Self {
        let found = toolchain::look();
        let of_rustup = found
            .toolchain()
            .is_some_and(|toolchain| toolchain.compiler.origin != Origin::Distribution);
        let mut missing = Vec::new();
        for group in groups {
            // A rustup toolchain has a clippy of its own.
            let of_debian = *group != Group::Lint || !of_rustup;
            let group = if of_debian { *group } else { Group::Build };
            for need in group.needs() {
                let package = need.package.to_owned();
                if !missing.contains(&package) && !need.is_met() {
                    missing.push(package);
                }
            }
        }
        let machine = Machine {
            found,
            debian: is_debian(),
            root: is_root(),
            rustup: crate::process::find("rustup").is_some(),
            needs_deny: groups.contains(&Group::Lint)
                && toolchain::of_cargo("cargo-deny").is_none(),
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
        if machine.needs_deny {
            plan.missing.push("cargo-deny".to_owned());
            plan.steps.push(Step::Deny);
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
                // Which linker fits is known when the compiler is there: in the next round.
                return;
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
        let linkers = &machine.found.linkers;
        if linkers.iter().any(|linker| linker.fits(llvm)) {
            return;
        }
        let others: Vec<String> = linkers.iter().map(unfit).collect();
        let others = match others.as_slice() {
            [] => String::new(),
            others => format!(" (there is {})", others.join(", ")),
        };
        self.missing.push(format!(
            "bpf-linker {LINKER_VERSION} of LLVM {llvm}{others}"
        ));
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

/// What a linker is that does not fit.
fn unfit(linker: &Linker) -> String {
    let (major, minor) = linker.version;
    let llvm = linker.llvm.map(|llvm| format!(" of LLVM {llvm}"));
    format!(
        "{}, which is {major}.{minor}{}",
        linker.path.display(),
        llvm.unwrap_or_default()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::toolchain::Compiler;

    fn compiler(origin: Origin, llvm: u32, has_sources: bool) -> Compiler {
        let version = "rustc".to_owned();
        Compiler {
            origin,
            version,
            llvm,
            sysroot: "/nowhere".into(),
            has_sources,
        }
    }

    fn linker(llvm: u32) -> Linker {
        Linker {
            path: "/nowhere/bpf-linker".into(),
            version: (0, 13),
            llvm: Some(llvm),
        }
    }

    /// A bare Debian with root.
    fn bare() -> Machine {
        Machine {
            found: Found {
                compilers: Vec::new(),
                linkers: Vec::new(),
            },
            debian: true,
            root: true,
            rustup: true,
            needs_deny: false,
            llvm_development: |_| false,
        }
    }

    /// Compares the steps, as they would be typed, and whether they are left to the reader.
    #[track_caller]
    fn check(packages: &[&str], machine: &Machine, expected: &[&str], refused: bool) {
        let packages = packages
            .iter()
            .map(|package| (*package).to_owned())
            .collect();
        let plan = Plan::new(packages, machine);
        let steps: Vec<String> = plan
            .steps
            .iter()
            .map(|step| crate::process::shown(&step.command()))
            .collect();
        assert_eq!(steps.len(), expected.len(), "{steps:#?}");
        for (step, expected) in steps.iter().zip(expected) {
            assert!(step.contains(expected), "`{step}` lacks `{expected}`");
        }
        assert_eq!(plan.is_refused(), refused, "{:?}", plan.refused);
        assert_eq!(plan.is_done(), expected.is_empty() && !refused);
    }

    const DEBIAN: &str = "rustc-web cargo-web rust-web-src llvm-22-dev libpolly-22-dev";

    #[test]
    fn a_bare_debian_installs_both_and_the_tools_at_once() {
        let tools = format!("curl {DEBIAN}");
        check(
            &["curl"],
            &bare(),
            &["update", &tools, "--features llvm-22"],
            false,
        );
    }

    #[test]
    fn without_root_the_commands_are_shown() {
        let machine = Machine {
            root: false,
            ..bare()
        };
        check(&[], &machine, &["update", DEBIAN, "cargo install"], true);
    }

    #[test]
    fn the_linker_alone_needs_no_root() {
        let mut machine = Machine {
            root: false,
            llvm_development: |_| true,
            ..bare()
        };
        machine.found.compilers = vec![compiler(Origin::Distribution, 22, true)];
        check(
            &[],
            &machine,
            &["cargo install bpf-linker --version 0.13.0"],
            false,
        );
    }

    #[test]
    fn nothing_is_done_twice() {
        let mut machine = bare();
        machine.found.compilers = vec![compiler(Origin::Distribution, 22, true)];
        machine.found.linkers = vec![linker(22)];
        check(&[], &machine, &[], false);
        check(&["curl"], &machine, &["update", "curl"], false);
    }

    #[test]
    fn a_nightly_with_its_linker_is_enough_anywhere() {
        let mut machine = Machine {
            debian: false,
            root: false,
            ..bare()
        };
        let nightly = Origin::Rustup("nightly".to_owned());
        machine.found.compilers = vec![compiler(nightly, 23, true)];
        machine.found.linkers = vec![linker(23)];
        check(&[], &machine, &[], false);
    }

    #[test]
    fn what_judges_dependencies_needs_no_root() {
        let mut machine = Machine {
            needs_deny: true,
            debian: false,
            root: false,
            ..bare()
        };
        machine.found.compilers = vec![compiler(Origin::Distribution, 22, true)];
        machine.found.linkers = vec![linker(22)];
        let install = "cargo install cargo-deny --version 0.20.2 --locked";
        check(&[], &machine, &[install], false);
        machine.needs_deny = false;
        check(&[], &machine, &[], false);
    }

    #[test]
    fn a_linker_of_another_llvm_is_replaced() {
        let mut machine = Machine {
            llvm_development: |_| true,
            ..bare()
        };
        machine.found.compilers = vec![compiler(Origin::Distribution, 22, true)];
        machine.found.linkers = vec![linker(21)];
        check(&[], &machine, &["--features llvm-22"], false);
        // An older one, too, and said with what it is.
        machine.found.linkers = vec![Linker {
            version: (0, 12),
            ..linker(22)
        }];
        check(&[], &machine, &["--force"], false);
        assert_eq!(
            Plan::new(Vec::new(), &machine).missing,
            [
                "bpf-linker 0.13.0 of LLVM 22 (there is /nowhere/bpf-linker, which is 0.12 of LLVM 22)"
            ]
        );
        machine.found.linkers.push(linker(22));
        check(&[], &machine, &[], false);
    }

    #[test]
    fn a_compiler_without_the_sources_of_core_is_none() {
        let mut machine = bare();
        machine.found.compilers = vec![compiler(Origin::Rustup("nightly".to_owned()), 22, false)];
        machine.found.linkers = vec![linker(22)];
        check(
            &[],
            &machine,
            &["update", "rustc-web cargo-web rust-web-src"],
            false,
        );
    }

    #[test]
    fn elsewhere_rustup_is_asked_or_its_absence_said() {
        let machine = Machine {
            debian: false,
            llvm_development: |_| true,
            ..bare()
        };
        check(&[], &machine, &["rust-src"], false);
        let machine = Machine {
            rustup: false,
            ..machine
        };
        check(&[], &machine, &["rust-src"], true);
    }

    #[test]
    fn an_llvm_that_the_linker_does_not_know_is_said() {
        let mut machine = bare();
        machine.found.compilers = vec![compiler(Origin::Distribution, 24, true)];
        check(&[], &machine, &["update", "llvm-24-dev", "llvm-24"], true);
    }
}
