//! Fetching a kernel: apt in a directory of its own, which knows other releases than this
//! machine's, verifies their signatures, and leaves the machine's own apt alone.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use super::list::{Kernel, META_PACKAGE, MODULES};
use crate::process::{output, outside, run as start};

/// The keys of all of Debian's releases, from the package `debian-archive-keyring`.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// A kernel, unpacked.
#[derive(Debug)]
pub(crate) struct Unpacked {
    /// As `uname -r` says it.
    pub(crate) release: String,
    /// What qemu boots.
    pub(crate) image: PathBuf,
    /// The modules in the order in which they load, uncompressed.
    pub(crate) modules: Vec<PathBuf>,
}

/// The kernel, from `cache` or, where it is not there or `update` asks for it, from the archive.
///
/// # Errors
/// When apt refuses or the package is not as expected.
pub(crate) fn get(kernel: &Kernel, cache: &Path, update: bool) -> Result<Unpacked> {
    let directory = cache.join(kernel.name);
    let package = match find_package(&directory) {
        Some(package) if !update => package,
        _ => download(kernel, &directory)?,
    };
    let root = directory
        .join("root")
        .join(package.file_stem().context("a package without name")?);
    if !root.exists() {
        unpack(&package, &root)?;
    }
    // Each time: the list of what is wanted may have grown since.
    choose_modules(&root)?;
    look(&root)
}

fn find_package(directory: &Path) -> Option<PathBuf> {
    let entries = fs::read_dir(directory)
        .ok()?
        .flatten()
        .map(|entry| entry.path());
    entries
        .filter(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .max()
}

fn download(kernel: &Kernel, directory: &Path) -> Result<PathBuf> {
    // A half or an older package must not be found instead of what comes now.
    if directory.exists() {
        fs::remove_dir_all(directory).with_context(|| format!("{}", directory.display()))?;
    }
    let apt = PrivateApt::new(kernel, directory.join("apt"))?;
    start(apt.command("apt-get").args(["-q", "update"]))?;
    let depends = output(apt.command("apt-cache").args(["depends", META_PACKAGE]))?;
    let image = depends
        .lines()
        .find_map(|line| line.trim().strip_prefix("Depends: linux-image-"))
        .with_context(|| format!("{META_PACKAGE} names no kernel: {depends}"))?;
    let package = format!("linux-image-{image}");
    start(
        apt.command("apt-get")
            .args(["-q", "download", &package])
            .current_dir(directory),
    )?;
    fs::remove_dir_all(&apt.directory).with_context(|| format!("{}", apt.directory.display()))?;
    find_package(directory).with_context(|| format!("apt said nothing and brought no {package}"))
}

struct PrivateApt {
    directory: PathBuf,
}

impl PrivateApt {
    fn new(kernel: &Kernel, directory: PathBuf) -> Result<Self> {
        for place in ["state/lists/partial", "cache/archives/partial"] {
            let place = directory.join(place);
            fs::create_dir_all(&place).with_context(|| format!("{}", place.display()))?;
        }
        let line = |source: &&str| format!("deb [signed-by={KEYRING}] {source}\n");
        let sources: String = kernel.sources.iter().map(line).collect();
        fs::write(directory.join("sources.list"), sources)?;
        Ok(Self { directory })
    }

    fn command(&self, program: &str) -> Command {
        let mut command = outside(program);
        let inside = |name: &str| self.directory.join(name).display().to_string();
        for option in [
            format!("Dir::State={}", inside("state")),
            "Dir::State::status=/dev/null".to_owned(),
            format!("Dir::Cache={}", inside("cache")),
            format!("Dir::Etc::sourcelist={}", inside("sources.list")),
            "Dir::Etc::sourceparts=/dev/null".to_owned(),
            "Dir::Etc::preferences=/dev/null".to_owned(),
            "Dir::Etc::preferencesparts=/dev/null".to_owned(),
            "APT::Architecture=amd64".to_owned(),
            "APT::Architectures=amd64".to_owned(),
            "APT::Sandbox::User=".to_owned(),
            "Acquire::Languages=none".to_owned(),
            // A mirror that hiccups once is no reason to fail.
            "Acquire::Retries=5".to_owned(),
            // What software centres on this machine ask for beside the packages.
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false".to_owned(),
            // A release that is no longer updated is signed all the same.
            "Acquire::Check-Valid-Until=false".to_owned(),
            "Acquire::AllowInsecureRepositories=false".to_owned(),
        ] {
            command.arg("-o").arg(option);
        }
        command
    }
}

/// Unpacks beside the goal and renames, so that what is there is whole.
fn unpack(package: &Path, root: &Path) -> Result<()> {
    let partial = root.with_extension("partial");
    if partial.exists() {
        fs::remove_dir_all(&partial)?;
    }
    fs::create_dir_all(&partial).with_context(|| format!("{}", partial.display()))?;
    start(
        outside("dpkg-deb")
            .arg("--extract")
            .arg(package)
            .arg(&partial),
    )?;
    let release = release(&partial)?;
    start(
        outside("depmod")
            .arg("--basedir")
            .arg(&partial)
            .arg(&release),
    )?;
    fs::rename(&partial, root).with_context(|| format!("{}", root.display()))
}

/// Puts the modules that are wanted into one directory, uncompressed, named so that they sort by the order of loading.
fn choose_modules(root: &Path) -> Result<()> {
    let modules = root.join("lib/modules").join(release(root)?);
    let read = |name: &str| {
        let path = modules.join(name);
        fs::read_to_string(&path).with_context(|| format!("{}", path.display()))
    };
    let order = load_order(&read("modules.dep")?, &read("modules.builtin")?)?;
    let goal = root.join("wanted");
    if goal.exists() {
        fs::remove_dir_all(&goal).with_context(|| format!("{}", goal.display()))?;
    }
    fs::create_dir_all(&goal)?;
    for (number, module) in order.iter().enumerate() {
        uncompress(&modules.join(module), &goal, number)?;
    }
    Ok(())
}

fn release(root: &Path) -> Result<String> {
    let modules = root.join("lib/modules");
    let mut entries = fs::read_dir(&modules).with_context(|| format!("{}", modules.display()))?;
    let entry = entries.next().context("the package holds no modules")??;
    Ok(entry.file_name().to_string_lossy().into_owned())
}

/// The wanted modules and what they depend on, dependencies first, from the text of `modules.dep`; those of the text of `modules.builtin`
/// are there already.
fn load_order(dependencies: &str, builtin: &str) -> Result<Vec<String>> {
    let mut order: Vec<String> = Vec::new();
    for wanted in MODULES {
        if builtin.lines().any(|path| module_name(path) == wanted) {
            continue;
        }
        let line = dependencies
            .lines()
            .find(|line| module_name(line.split(':').next().unwrap_or_default()) == wanted)
            .with_context(|| format!("no module {wanted} in this kernel"))?;
        let (module, needs) = line.split_once(':').unwrap_or((line, ""));
        // modules.dep lists the nearest first; the farthest has to be loaded first.
        for path in needs.split_whitespace().rev().chain([module]) {
            if !order.iter().any(|present| present == path) {
                order.push(path.to_owned());
            }
        }
    }
    Ok(order)
}

fn module_name(path: &str) -> &str {
    path.rsplit('/')
        .next()
        .and_then(|file| file.split('.').next())
        .unwrap_or_default()
}

fn uncompress(module: &Path, goal: &Path, number: usize) -> Result<()> {
    let name = module_name(&module.to_string_lossy()).to_owned();
    let plain = goal.join(format!("{number:02}-{name}.ko"));
    let bytes = match module.extension().and_then(|extension| extension.to_str()) {
        Some("ko") => fs::read(module)?,
        Some("xz") => {
            let unpacked = Command::new("xz")
                .args(["-dc"])
                .arg(module)
                .output()
                .context("xz")?;
            anyhow::ensure!(unpacked.status.success(), "xz refuses {}", module.display());
            unpacked.stdout
        }
        _ => anyhow::bail!(
            "{}: compressed in a way that is not known here",
            module.display()
        ),
    };
    fs::write(&plain, bytes).with_context(|| format!("{}", plain.display()))
}

fn look(root: &Path) -> Result<Unpacked> {
    let release = release(root)?;
    let image = root.join("boot").join(format!("vmlinuz-{release}"));
    anyhow::ensure!(image.exists(), "{} is not there", image.display());
    let entries = fs::read_dir(root.join("wanted")).context("the modules")?;
    let mut modules: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    modules.sort();
    Ok(Unpacked {
        release,
        image,
        modules,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependencies_come_first() {
        let alone = MODULES.map(|module| format!("kernel/{module}.ko:\n"));
        let text = alone
            .concat()
            .replace(
                "sch_ingress.ko:",
                "sch_ingress.ko: kernel/near.ko.xz kernel/far.ko.xz",
            )
            .replace("cls_bpf.ko:", "cls_bpf.ko: kernel/far.ko.xz");
        let order = load_order(&text, "kernel/crypto/drbg.ko\n").unwrap();
        let order: Vec<_> = order.iter().map(|path| module_name(path)).collect();
        assert_eq!(
            order[..5],
            ["veth", "far", "near", "sch_ingress", "cls_bpf"]
        );
        let rest = MODULES[3..].iter().copied();
        assert!(
            order[5..]
                .iter()
                .copied()
                .eq(rest.filter(|module| *module != "drbg"))
        );
    }

    #[test]
    fn a_module_that_is_not_there_is_named() {
        let error = load_order("kernel/drivers/net/veth.ko:\n", "").unwrap_err();
        assert!(error.to_string().contains("sch_ingress"), "{error}");
    }
}
