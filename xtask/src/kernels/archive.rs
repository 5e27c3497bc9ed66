//! Fetching a kernel: apt in a directory of its own, which knows other releases than this
//! machine's, verifies their signatures, and leaves the machine's own apt alone.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use super::list::{META_PACKAGE, MODULES, WHERE_THERE};
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

/// The kernel, from `cache` or, where it is not there or `update` asks for it, from these archives.
///
/// # Errors
/// When apt refuses or a package is not as expected.
pub(crate) fn get(name: &str, sources: &[&str], cache: &Path, update: bool) -> Result<Unpacked> {
    let directory = cache.join(name);
    let mut packages = find_packages(&directory);
    if packages.is_empty() || update {
        download(sources, &directory)?;
        packages = find_packages(&directory);
    }
    let image = packages
        .first()
        .context("apt said nothing and brought nothing")?;
    let root = directory
        .join("root")
        .join(image.file_stem().context("a package without name")?);
    if !root.exists() {
        unpack(&packages, &root)?;
    }
    // Each time: the list of what is wanted may have grown since.
    choose_modules(&root)?;
    look(&root)
}

/// The image's package and, where that one is empty, those that hold its parts; sorted.
fn find_packages(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut packages: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .collect();
    packages.sort();
    packages
}

/// Downloads beside the goal and renames, so that what is there is whole and of one version.
fn download(sources: &[&str], directory: &Path) -> Result<()> {
    let mut partial = directory.as_os_str().to_owned();
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    if partial.exists() {
        fs::remove_dir_all(&partial).with_context(|| format!("{}", partial.display()))?;
    }
    let apt = PrivateApt::new(sources, partial.join("apt"))?;
    start(apt.command("apt-get").args(["-q", "update"]))?;
    let depends = |package: &str| output(apt.command("apt-cache").args(["depends", package]));
    let image = depends(META_PACKAGE)?;
    let image = parts(&image, "image-")
        .next()
        .with_context(|| format!("{META_PACKAGE} names no kernel: {image}"))?
        .to_owned();
    // The image's package of newer kernels is empty, and these hold it.
    let version = image.trim_start_matches("linux-image-");
    let others = depends(&image)?;
    let others = ["base-", "binary-", "modules-"]
        .into_iter()
        .flat_map(|kind| parts(&others, kind))
        .filter(|package| package.ends_with(version));
    start(
        apt.command("apt-get")
            .args(["-q", "download", &image])
            .args(others)
            .current_dir(&partial),
    )?;
    fs::remove_dir_all(&apt.directory).with_context(|| format!("{}", apt.directory.display()))?;
    if directory.exists() {
        fs::remove_dir_all(directory).with_context(|| format!("{}", directory.display()))?;
    }
    fs::rename(&partial, directory).with_context(|| format!("{}", directory.display()))
}

/// The packages `linux-KIND…` in what `apt-cache depends` says.
fn parts<'a>(said: &'a str, kind: &str) -> impl Iterator<Item = &'a str> {
    let kind = format!("linux-{kind}");
    said.lines()
        .filter_map(|line| line.trim().strip_prefix("Depends: "))
        .filter(move |package| {
            let version = package.strip_prefix(&kind);
            version.is_some_and(|version| version.starts_with(|c: char| c.is_ascii_digit()))
        })
}

struct PrivateApt {
    directory: PathBuf,
}

impl PrivateApt {
    fn new(sources: &[&str], directory: PathBuf) -> Result<Self> {
        for place in ["state/lists/partial", "cache/archives/partial"] {
            let place = directory.join(place);
            fs::create_dir_all(&place).with_context(|| format!("{}", place.display()))?;
        }
        let line = |source: &&str| format!("deb [signed-by={KEYRING}] {source}\n");
        let sources: String = sources.iter().map(line).collect();
        fs::write(directory.join("sources.list"), sources)?;
        // Backports count as much as the rest: the highest version wins.
        let equal = "Package: *\nPin: release *\nPin-Priority: 500\n";
        fs::write(directory.join("preferences"), equal)?;
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
            format!("Dir::Etc::preferences={}", inside("preferences")),
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
fn unpack(packages: &[PathBuf], root: &Path) -> Result<()> {
    let partial = root.with_extension("partial");
    if partial.exists() {
        fs::remove_dir_all(&partial)?;
    }
    fs::create_dir_all(&partial).with_context(|| format!("{}", partial.display()))?;
    for package in packages {
        start(
            outside("dpkg-deb")
                .arg("--extract")
                .arg(package)
                .arg(&partial),
        )?;
    }
    // Where newer packages have everything below /usr, `depmod` looks in /lib all the same.
    if !partial.join("lib").exists() {
        std::os::unix::fs::symlink("usr/lib", partial.join("lib"))?;
    }
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
    let wanted = WHERE_THERE.map(|module| (module, false));
    for (wanted, needed) in wanted
        .into_iter()
        .chain(MODULES.map(|module| (module, true)))
    {
        if builtin.lines().any(|path| module_name(path) == wanted) {
            continue;
        }
        let line = dependencies
            .lines()
            .find(|line| module_name(line.split(':').next().unwrap_or_default()) == wanted);
        if line.is_none() && !needed {
            continue;
        }
        let line = line.with_context(|| format!("no module {wanted} in this kernel"))?;
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
    let image = [
        root.join("boot").join(format!("vmlinuz-{release}")),
        root.join("lib/modules").join(&release).join("vmlinuz"),
    ];
    let image = image.into_iter().find(|image| image.exists());
    let image = image.with_context(|| format!("{}: no image", root.display()))?;
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
        let text = format!("kernel/crypto/sha3.ko.zst:\nkernel/crypto/drbg.ko:\n{text}");
        let order = load_order(&text, "kernel/crypto/drbg.ko\n").unwrap();
        let order: Vec<_> = order.iter().map(|path| module_name(path)).collect();
        assert_eq!(
            order[..6],
            ["sha3", "veth", "far", "near", "sch_ingress", "cls_bpf"]
        );
        assert!(order[6..].iter().eq(MODULES[3..].iter()));
    }

    #[test]
    fn the_parts_of_an_image() {
        let said = "\
linux-image-7.3.4-cloud-amd64
  PreDepends: linux-base
 |Depends: dracut
  Depends: linux-base-7.3.4-cloud-amd64
  Depends: linux-modules-cloud-amd64
  Depends: linux-binary-7.3.4-cloud-amd64
";
        let found = |kind| parts(said, kind).collect::<Vec<_>>();
        assert_eq!(found("base-"), ["linux-base-7.3.4-cloud-amd64"]);
        assert_eq!(found("binary-"), ["linux-binary-7.3.4-cloud-amd64"]);
        assert!(found("modules-").is_empty() && found("image-").is_empty());
    }

    #[test]
    fn a_module_that_is_not_there_is_named() {
        let error = load_order("kernel/drivers/net/veth.ko:\n", "").unwrap_err();
        assert!(error.to_string().contains("sch_ingress"), "{error}");
    }
}
