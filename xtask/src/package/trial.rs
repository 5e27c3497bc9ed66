//! What becomes of a machine that gets the package, newer ones, and loses it; and of one that gets the tarball.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use super::root::{Answer, Machine};
use crate::process::{outside, run as start};

/// Denies what comes in, but for one port.
const CONFIGURATION: &str = "schema = 1
interfaces = [\"eth0\"]
hook = \"tc\"

[default]
ingress = \"deny\"
egress = \"open\"

[failsafe.ssh]
tcp = [22]
peers = \"any\"
";
const PATH: &str = "/etc/portcullis/portcullis.toml";
const PINS: &str = "/sys/fs/bpf/portcullis";
/// A port that the configuration admits, and one that it does not.
const ADMITTED: u16 = 22;
const DENIED: u16 = 23;

const STATUS: [&str; 3] = ["portcullis", "status", "--json"];
const ENFORCING: &str = "\"state\": \"enforcing\"";
const RUN: [&str; 4] = ["portcullis", "run", "--sink", "json"];

/// All trials, one after the other.
///
/// # Errors
/// With what was not as it should be.
pub(super) fn all(
    directory: &Path,
    package: &Path,
    next: &Path,
    tarball: Option<&Path>,
) -> Result<()> {
    lintian(package)?;
    let machine = Machine::new(directory, &[package, next])?;
    life(&machine, &inside(package)?, &inside(next)?)?;
    println!("package: installs, enforces, upgrades, is removed and purged as it should");
    if let Some(tarball) = tarball {
        let machine = Machine::new(directory, &[tarball])?;
        unpacked(&machine, &inside(tarball)?)?;
        println!("tarball: installs, runs without a library, is removed as it should");
    }
    Ok(())
}

fn inside(package: &Path) -> Result<String> {
    let name = package.file_name().and_then(|name| name.to_str());
    Ok(format!("/packages/{}", name.context("a package's name")?))
}

/// Debian's own judge of packages; errors fail.
fn lintian(package: &Path) -> Result<()> {
    let mut lintian: Command = outside("lintian");
    lintian.args([
        "--allow-root",
        "--fail-on",
        "error",
        "--tag-display-limit",
        "0",
    ]);
    start(lintian.arg(package)).context("lintian")
}

/// What both ports answer: open where nothing is enforced.
fn guarded(machine: &Machine, when: &str, expected: bool) -> Result<()> {
    let denied = if expected {
        Answer::Silence
    } else {
        Answer::Refused
    };
    for (port, expected) in [(ADMITTED, Answer::Refused), (DENIED, denied)] {
        let found = machine.ask(port)?;
        ensure!(
            found == expected,
            "{when}: port {port} answers {found:?}, not {expected:?}"
        );
    }
    Ok(())
}

fn says(said: &str, word: &str) -> Result<()> {
    ensure!(
        said.contains(word),
        "`{word}` is not in what was said:\n{said}"
    );
    Ok(())
}

fn life(machine: &Machine, package: &str, next: &str) -> Result<()> {
    guarded(machine, "before anything", false)?;
    let said = machine.said(&["dpkg", "--install", package])?;
    says(&said, "enforces nothing")?;
    guarded(machine, "after installing", false)?;
    ensure!(!machine.has(PINS)?, "installing pinned something");
    let enabled = machine.said(&["find", "/etc/systemd/system", "-name", "portcullis*"])?;
    ensure!(enabled.is_empty(), "installing enabled the unit: {enabled}");
    installed(machine)?;

    machine.write(PATH, CONFIGURATION)?;
    let mut daemon = machine.start(&RUN, &STATUS, ENFORCING)?;
    guarded(machine, "in force", true)?;

    machine.said(&["dpkg", "--install", next])?;
    ensure!(daemon.runs()?, "the upgrade ended the daemon");
    guarded(machine, "after the upgrade", true)?;
    // What systemd does at the end of an upgrade: the new program takes over.
    drop(daemon);
    guarded(machine, "between the daemons", true)?;
    daemon = machine.start(&RUN, &STATUS, "\"daemon\": true")?;
    guarded(machine, "under the new daemon", true)?;
    let kept = machine.said(&["cat", PATH])?;
    ensure!(
        kept == CONFIGURATION,
        "the upgrade changed the configuration:\n{kept}"
    );

    drop(daemon);
    let said = machine.said(&["dpkg", "--remove", "portcullis"])?;
    says(&said, "stays in force")?;
    says(&said, "/etc/portcullis and /var/lib/portcullis stay")?;
    ensure!(
        !machine.has("/usr/sbin/portcullis")?,
        "the program is still there"
    );
    ensure!(machine.has(PATH)?, "the configuration is gone");
    guarded(machine, "after removing", true)?;

    machine.said(&["dpkg", "--install", next])?;
    ensure!(
        !machine.has("/var/lib/portcullis/detach")?,
        "what the removal left is still there"
    );
    guarded(machine, "after installing again", true)?;
    machine.said(&["dpkg", "--purge", "portcullis"])?;
    guarded(machine, "after purging", false)?;
    ensure!(!machine.has(PINS)?, "purging left pins");
    nothing_left(machine, "purging")
}

/// Files whose name says that they are ours.
fn nothing_left(machine: &Machine, what: &str) -> Result<()> {
    let mut find = vec!["find", "/"];
    for place in ["/proc", "/sys", "/dev", "/packages"] {
        find.extend(["-path", place, "-prune", "-o"]);
    }
    find.extend(["-name", "*portcullis*", "-print"]);
    let left = machine.said(&find)?;
    ensure!(left.is_empty(), "{what} left:\n{left}");
    Ok(())
}

/// What came with the package is of use.
fn installed(machine: &Machine) -> Result<()> {
    let status = machine.run(&STATUS)?;
    says(
        &String::from_utf8_lossy(&status.stdout),
        "\"state\": \"detached\"",
    )?;
    ensure!(
        status.status.code() == Some(3),
        "status without a daemon: {}",
        status.status
    );
    let products = machine.said(&["portcullis", "policy", "list"])?;
    says(&products, "seal-output-engine")?;
    // As a user's PATH has it.
    machine.said(&["/usr/bin/portcullis", "policy", "list"])?;
    machine.said(&[
        "bash",
        "-n",
        "/usr/share/bash-completion/completions/portcullis",
    ])?;
    let completed = machine.said(&[
        "bash",
        "-c",
        ". /usr/share/bash-completion/completions/portcullis; COMP_WORDS=(portcullis doc); COMP_CWORD=1; _portcullis portcullis doc portcullis; echo \"${COMPREPLY[@]}\"",
    ])?;
    says(&completed, "doctor")?;
    // A denial whose row hangs on an option that is off.
    let text = machine.said(&[
        "journalctl",
        "--catalog",
        "--list-catalog",
        "25c2f18766174fa6acb485e3b27a7256",
    ])?;
    says(&text, "option")?;
    let unit = machine
        .said(&["systemctl", "cat", "portcullis.service"])
        .or_else(|_| {
            // Without a running manager it is only read.
            machine.said(&["cat", "/lib/systemd/system/portcullis.service"])
        })?;
    says(&unit, "ExecStart=/usr/sbin/portcullis run")
}

fn unpacked(machine: &Machine, tarball: &str) -> Result<()> {
    machine.said(&["mkdir", "/unpacked"])?;
    machine.said(&[
        "tar",
        "-xzf",
        tarball,
        "-C",
        "/unpacked",
        "--strip-components=1",
    ])?;
    let said = machine.said(&["/unpacked/install.sh"])?;
    says(&said, "what is enforced has not changed")?;
    guarded(machine, "after installing the tarball", false)?;
    const PROGRAM: &str = "/usr/local/sbin/portcullis";
    let unit = machine.said(&["cat", "/etc/systemd/system/portcullis.service"])?;
    says(&unit, &format!("ExecStart={PROGRAM} run"))?;
    says(&unit, &format!("ExecReload={PROGRAM} reload"))?;
    machine.said(&["/usr/local/bin/portcullis", "policy", "list"])?;
    let alone = machine.alone(PROGRAM, &["policy", "list"])?;
    let said = String::from_utf8_lossy(&alone.stdout);
    says(&said, "seal-output-engine").context("the program where no library is")?;

    let named = CONFIGURATION.replace("\"any\"", "[\"localhost\", \"10.77.0.2\"]");
    machine.write(PATH, &named)?;
    // A system as bare as this has none.
    machine.write("/etc/hosts", "127.0.0.1 localhost\n")?;
    let facts = machine.said(&[PROGRAM, "facts"])?;
    says(&facts, "\"127.0.0.1\"").context("a name, resolved by a program without libraries")?;
    let run: Vec<&str> = [PROGRAM]
        .into_iter()
        .chain(RUN.into_iter().skip(1))
        .collect();
    let status: Vec<&str> = [PROGRAM]
        .into_iter()
        .chain(STATUS.into_iter().skip(1))
        .collect();
    let daemon = machine.start(&run, &status, ENFORCING)?;
    guarded(machine, "in force from the tarball", true)?;
    drop(daemon);
    let refused = machine.run(&["/unpacked/install.sh", "--remove"])?;
    ensure!(
        refused.status.code() == Some(1),
        "removed while a policy is in force: {}",
        refused.status
    );
    guarded(machine, "after a removal that was refused", true)?;
    machine.said(&[PROGRAM, "detach"])?;
    machine.said(&["/unpacked/install.sh", "--remove"])?;
    machine.said(&[
        "rm",
        "-r",
        "/etc/portcullis",
        "/var/lib/portcullis",
        "/run/portcullis",
        "/unpacked",
    ])?;
    guarded(machine, "after removing the tarball", false)?;
    nothing_left(machine, "removing the tarball")
}
