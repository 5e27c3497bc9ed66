//! The Debian package: a tree, then dpkg-deb.

use std::fs::{self, Permissions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};

use super::contents::{Item, Kind};
use super::epoch;
use crate::process::{output, run as start};
use crate::project;

/// Who answers for a package of which nobody has said so: an address that can't be anybody's (RFC 2606).
const NOBODY: &str = "Portcullis built from source <nobody@portcullis.invalid>";

const DESCRIPTION: &str = "host firewall agent that takes the vendor's port table as data
 You say which vendor product runs on a host, which role the host plays in it
 and who its peers are. Portcullis compiles the flows of the vendor's document
 into eBPF maps, lets exactly those flows in and out, denies the rest, and
 writes every denied packet to the journal, with the row of the document that
 it nearly matched and the line that would change that.
 .
 Installing it enforces nothing.";

/// Builds the package of this version into `directory`, and gives its path.
///
/// # Errors
/// When a tool is missing or a file can't be written.
pub(super) fn build(items: &[Item], version: &str, directory: &Path) -> Result<PathBuf> {
    let tree = directory.join("deb");
    if tree.exists() {
        fs::remove_dir_all(&tree).with_context(|| format!("{}", tree.display()))?;
    }
    let control = tree.join("DEBIAN");
    make_directory(&control)?;
    for item in items {
        put(item, &tree)?;
    }
    // A user's PATH has no sbin, and half of the commands need no root.
    let bin = tree.join("usr/bin");
    make_directory(&bin)?;
    std::os::unix::fs::symlink("../sbin/portcullis", bin.join("portcullis"))
        .with_context(|| format!("{}", bin.display()))?;
    for empty in ["conf.d", "policies.d"] {
        make_directory(&tree.join("etc/portcullis").join(empty))?;
    }
    let maintainer = maintainer()?;
    let documents = tree.join("usr/share/doc/portcullis");
    let dist = project::root().join("agent/dist/debian");
    copy(&dist.join("copyright"), &documents.join("copyright"), 0o644)?;
    let date = output(Command::new("date").args(["-R", "-u", "-d", &format!("@{}", epoch()?)]))?;
    write(
        &documents.join("changelog.gz"),
        &compressed(changelog(version, &maintainer, date.trim()).as_bytes())?,
        0o644,
    )?;

    for script in ["postinst", "prerm", "postrm"] {
        copy(&dist.join(script), &control.join(script), 0o755)?;
    }
    write(
        &control.join("conffiles"),
        b"/etc/portcullis/portcullis.toml.example\n",
        0o644,
    )?;
    let fields = fields(&tree, version, &maintainer)?;
    write(&control.join("control"), fields.as_bytes(), 0o644)?;
    let sums = sums(&tree)?;
    write(&control.join("md5sums"), sums.as_bytes(), 0o644)?;

    let package = directory.join(format!("portcullis_{version}_{}.deb", architecture()?));
    start(
        Command::new("dpkg-deb")
            .args(["--build", "--root-owner-group", "-Zxz"])
            .arg(&tree)
            .arg(&package)
            // The same sources give the same package.
            .env("SOURCE_DATE_EPOCH", epoch()?)
            .stdout(Stdio::null()),
    )?;
    Ok(package)
}

/// Debian's place for a file, and its mode.
fn place(kind: Kind, name: &str) -> (String, u32) {
    match kind {
        Kind::Program => (format!("usr/sbin/{name}"), 0o755),
        Kind::Manual(section) => (format!("usr/share/man/man{section}/{name}.gz"), 0o644),
        Kind::Bash => (
            format!("usr/share/bash-completion/completions/{name}"),
            0o644,
        ),
        Kind::Zsh => (format!("usr/share/zsh/vendor-completions/{name}"), 0o644),
        Kind::Fish => (format!("usr/share/fish/vendor_completions.d/{name}"), 0o644),
        Kind::Catalogue => (format!("usr/lib/systemd/catalog/{name}"), 0o644),
        Kind::Data => (format!("usr/share/portcullis/{name}"), 0o644),
        Kind::Document => (format!("usr/share/doc/portcullis/{name}"), 0o644),
        Kind::Unit => (format!("lib/systemd/system/{name}"), 0o644),
        Kind::Example => (format!("etc/portcullis/{name}"), 0o644),
    }
}

fn put(item: &Item, tree: &Path) -> Result<()> {
    let (path, mode) = place(item.kind, &item.name);
    let path = tree.join(path);
    let octets = item.read()?;
    match item.kind {
        Kind::Manual(_) => write(&path, &compressed(&octets)?, mode),
        Kind::Program => {
            write(&path, &octets, mode)?;
            // Symbols are of no use to a host.
            start(
                Command::new("strip")
                    .args([
                        "--strip-unneeded",
                        "--remove-section=.comment",
                        "--remove-section=.note",
                    ])
                    .arg(&path),
            )
        }
        _ => write(&path, &octets, mode),
    }
}

/// Who answers for the package: who the variables of Debian's own tools name (`DEBEMAIL`, `DEBFULLNAME`: dch(1)).
fn maintainer() -> Result<String> {
    let said = |name| std::env::var(name).ok();
    maintained_by(said("DEBFULLNAME").as_deref(), said("DEBEMAIL").as_deref())
}

fn maintained_by(name: Option<&str>, address: Option<&str>) -> Result<String> {
    let maintainer = match (name, address) {
        (_, None) => NOBODY.to_owned(),
        (None, Some(both)) => both.to_owned(),
        (Some(name), Some(address)) => format!("{name} <{address}>"),
    };
    let address = maintainer.strip_suffix('>');
    let parts = address.and_then(|it| it.split_once(" <"));
    let whole = parts.is_some_and(|(name, address)| {
        !name.is_empty() && address.contains('@') && !address.contains(['<', '>', ' '])
    });
    ensure!(
        whole && !maintainer.chars().any(char::is_control),
        "`{maintainer}` is no `NAME <ADDRESS>`: say DEBFULLNAME and DEBEMAIL, or neither"
    );
    Ok(maintainer)
}

fn fields(tree: &Path, version: &str, maintainer: &str) -> Result<String> {
    let program = tree.join("usr/sbin/portcullis");
    let depends = depends(&output(Command::new("objdump").arg("-p").arg(&program))?)?;
    let kibi: u64 = files(tree)?
        .iter()
        .map(|path| Ok(fs::metadata(tree.join(path))?.len().div_ceil(1024)))
        .sum::<Result<u64>>()?;
    Ok(format!(
        "Package: portcullis\nVersion: {version}\nArchitecture: {}\nMaintainer: {maintainer}\nInstalled-Size: {kibi}\n\
         Depends: {depends}\nRecommends: systemd\nSuggests: bpftool\nSection: admin\nPriority: optional\nDescription: {DESCRIPTION}\n",
        architecture()?
    ))
}

/// The libraries that a program asks for, as Debian calls them, by what `objdump -p` says.
fn depends(said: &str) -> Result<String> {
    let needed: Vec<&str> = said
        .lines()
        .filter_map(|line| line.trim().strip_prefix("NEEDED"))
        .map(str::trim)
        .collect();
    let mut found = Vec::new();
    for library in &needed {
        match *library {
            "libgcc_s.so.1" => found.push("libgcc-s1".to_owned()),
            "libc.so.6" | "libm.so.6" | "ld-linux-x86-64.so.2" | "ld-linux-aarch64.so.1" => {
                let glibc = newest_glibc(said).context("which glibc the program needs")?;
                found.push(format!("libc6 (>= {}.{})", glibc.0, glibc.1));
            }
            other => anyhow::bail!(
                "the program needs {other}; say its package in xtask/src/package/deb.rs"
            ),
        }
    }
    found.sort();
    found.dedup();
    ensure!(
        !found.is_empty(),
        "the program asks for no library at all: is it static?"
    );
    Ok(found.join(", "))
}

/// The newest `GLIBC_2.34` among the versions that are asked for.
fn newest_glibc(said: &str) -> Option<(u32, u32)> {
    let words = said.split_whitespace();
    let versions = words.filter_map(|word| word.strip_prefix("GLIBC_"));
    versions
        .filter_map(|version| {
            let mut numbers = version.split('.').map(str::parse);
            Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
        })
        .max()
}

fn changelog(version: &str, maintainer: &str, date: &str) -> String {
    format!(
        "portcullis ({version}) unstable; urgency=medium\n\n  * Release {version}; README.md says what it does.\n\n -- {maintainer}  {date}\n"
    )
}

fn architecture() -> Result<&'static str> {
    match std::env::consts::ARCH {
        "x86_64" => Ok("amd64"),
        "aarch64" => Ok("arm64"),
        other => anyhow::bail!("Debian's name for {other} is not known here"),
    }
}

fn sums(tree: &Path) -> Result<String> {
    let mut command = Command::new("md5sum");
    command.current_dir(tree).args(files(tree)?);
    output(&mut command)
}

/// Files of the tree by their paths in it, links and the control directory left out.
fn files(tree: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut directories = vec![tree.to_path_buf()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).with_context(|| format!("{}", directory.display()))? {
            let path = entry?.path();
            if path.ends_with("DEBIAN") {
                continue;
            }
            if path.is_dir() {
                directories.push(path);
            } else if !path.is_symlink() {
                found.push(path.strip_prefix(tree)?.to_path_buf());
            }
        }
    }
    found.sort();
    Ok(found)
}

/// `gzip -9n`: without name and time, as Debian asks for.
fn compressed(octets: &[u8]) -> Result<Vec<u8>> {
    let mut gzip = Command::new("gzip")
        .arg("-9nc")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("gzip cannot be started")?;
    let mut stdin = gzip.stdin.take().context("gzip's input")?;
    let octets = octets.to_vec();
    // Its output may fill before all of its input is read.
    let writer = std::thread::spawn(move || stdin.write_all(&octets));
    let done = gzip.wait_with_output().context("gzip")?;
    let written = writer
        .join()
        .unwrap_or_else(|_| Err(std::io::ErrorKind::Other.into()));
    written.context("writing to gzip")?;
    ensure!(done.status.success(), "gzip: {}", done.status);
    Ok(done.stdout)
}

pub(super) fn make_directory(path: &Path) -> Result<()> {
    fs::create_dir_all(path).with_context(|| format!("{}", path.display()))
}

fn copy(from: &Path, to: &Path, mode: u32) -> Result<()> {
    let octets = fs::read(from).with_context(|| format!("{}", from.display()))?;
    write(to, &octets, mode)
}

pub(super) fn write(path: &Path, octets: &[u8], mode: u32) -> Result<()> {
    if let Some(directory) = path.parent() {
        make_directory(directory)?;
    }
    fs::write(path, octets)
        .and_then(|()| fs::set_permissions(path, Permissions::from_mode(mode)))
        .with_context(|| format!("{}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_debian_s_packages() {
        let said = "  NEEDED               libgcc_s.so.1\n  NEEDED               libm.so.6\n  NEEDED               libc.so.6\n\
                    Version References:\n  required from libc.so.6:\n    0x069691b4 0x00 05 GLIBC_2.34\n    0x0 0x00 03 GLIBC_2.9\n    0x0 0x0 1 GLIBC_2.2.5\n";
        assert_eq!(depends(said).unwrap(), "libc6 (>= 2.34), libgcc-s1");
        assert!(depends("  NEEDED  libssl.so.3\n").is_err());
        assert!(depends("").is_err());
    }

    #[test]
    fn maintainers_are_said_or_nobody() {
        let of = |name, address| maintained_by(name, address).ok();
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(of(None, None), some(NOBODY));
        assert_eq!(of(Some("A B"), Some("a@b.org")), some("A B <a@b.org>"));
        assert_eq!(of(None, Some("A B <a@b.org>")), some("A B <a@b.org>"));
        // A name alone says nothing of where to write to.
        assert_eq!(of(Some("A B"), None), some(NOBODY));
        for (name, address) in [
            (None, "a@b.org"),
            (Some("A"), "nowhere"),
            (Some("A"), "A <a@b.org>"),
            (Some("A\nDepends: x"), "a@b.org"),
            (Some(""), ""),
        ] {
            assert_eq!(of(name, Some(address)), None, "{name:?} {address}");
        }
    }

    #[test]
    fn places_are_debian_s() {
        assert_eq!(
            place(Kind::Program, "portcullis"),
            ("usr/sbin/portcullis".to_owned(), 0o755)
        );
        let (page, mode) = place(Kind::Manual('5'), "portcullis.toml.5");
        assert_eq!(
            (page.as_str(), mode),
            ("usr/share/man/man5/portcullis.toml.5.gz", 0o644)
        );
    }

    #[test]
    fn gzip_gives_the_same_twice() {
        let once = compressed(&[7; 100_000]).unwrap();
        assert_eq!(once, compressed(&[7; 100_000]).unwrap());
        assert!(once.len() < 1000 && once.starts_with(&[0x1f, 0x8b]));
    }
}
