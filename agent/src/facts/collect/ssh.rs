//! The ports by which an administrator comes in: those that sshd's configuration names, those that ssh.socket names, and those that
//! sshd listens on, together. One too many is a port that nothing listens on; one too few is a lockout.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use crate::events::units::{MOUNTS, Units};

/// How long `sshd -T` may take; it reads files.
const PATIENCE: Duration = Duration::from_secs(2);

/// Where sshd lies: not every PATH has the sbin directories.
const SSHD: [&str; 3] = ["/usr/sbin/sshd", "/usr/local/sbin/sshd", "/sbin/sshd"];

/// What sshd reads (sshd_config(5)), and beside it the directory of drop-ins that distributions have it include.
const FILE: &str = "/etc/ssh/sshd_config";

/// Where units lie, the strongest first (systemd.unit(5)).
const UNITS: [&str; 6] = [
    "/etc/systemd/system",
    "/run/systemd/system",
    "/run/systemd/generator",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
];

/// All of them, in order; empty where none is known.
pub(super) fn ports(notes: &mut Vec<String>) -> Vec<u16> {
    let mut found = BTreeSet::new();
    if let Some(sshd) = SSHD.into_iter().map(Path::new).find(|path| path.exists()) {
        match configuration(sshd) {
            Ok(text) => found.extend(named(&text)),
            // Without host keys, which only root may read, sshd says nothing, and nor before its directory in /run is made, at boot; its files
            // are there, and anybody's to read.
            Err(why) => match files(Path::new(FILE)) {
                Some(text) => found.extend(written(&text)),
                None => notes.push(format!("{} -T: {why}", sshd.display())),
            },
        }
    }
    for unit in ["ssh.socket", "sshd.socket"] {
        found.extend(socket_unit(unit));
    }
    let held = super::sockets::programs(|name| name == "sshd");
    let listening = super::sockets::tcp_listening();
    found.extend(
        listening
            .iter()
            .filter(|socket| held.contains_key(&socket.inode))
            .map(|socket| socket.port),
    );
    found.extend(of_units());
    found.into_iter().collect()
}

/// What the units of sshd listen on. A daemon with few capabilities may not look into sshd's process, but may ask which cgroup a socket is
/// of.
fn of_units() -> Vec<u16> {
    let Ok(listening) = super::sockets::tcp_listening_by_cgroup() else {
        return Vec::new();
    };
    let mut units = Units::at(&MOUNTS);
    let mut of_sshd = |cgroup| {
        let unit = units.unit(cgroup, Duration::ZERO);
        unit.is_some_and(|unit| unit.starts_with("ssh.") || unit.starts_with("sshd."))
    };
    listening
        .into_iter()
        .filter(|(_, cgroup)| of_sshd(*cgroup))
        .map(|(port, _)| port)
        .collect()
}

/// What sshd makes of its configuration.
fn configuration(sshd: &Path) -> Result<String, String> {
    let mut command = Command::new(sshd);
    command
        .arg("-T")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut child = command.spawn().map_err(|error| error.to_string())?;
    let result = read_all(&mut child);
    // It has ended, or it is to end now; either way it is waited for.
    let _ = child.kill();
    let status = child.wait().map_err(|error| error.to_string())?;
    match result {
        Some(text) if status.success() || !text.is_empty() => Ok(text),
        Some(_) => Err(format!(
            "{status}; its configuration is left out, because {FILE} can't be read either"
        )),
        None => Err(format!(
            "no answer within {PATIENCE:?}; its configuration is left out"
        )),
    }
}

fn read_all(child: &mut Child) -> Option<String> {
    let mut output = child.stdout.take()?;
    let (sender, receiver) = mpsc::channel();
    thread::Builder::new()
        .name("sshd-T".to_owned())
        .spawn(move || {
            let mut text = String::new();
            // What is no text any more ends what can be read.
            let _ = output.read_to_string(&mut text);
            let _ = sender.send(text);
        })
        .ok()?;
    receiver.recv_timeout(PATIENCE).ok()
}

/// `port 22` and `listenaddress [::]:2222` of `sshd -T`.
fn named(text: &str) -> BTreeSet<u16> {
    let mut found = BTreeSet::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        match (words.next(), words.next()) {
            (Some("port"), Some(port)) => found.extend(port.parse::<u16>()),
            (Some("listenaddress"), Some(address)) => found.extend(port_of(address)),
            _ => {}
        }
    }
    found.remove(&0);
    found
}

/// The text of sshd's file and of its drop-ins; none where one of them can't be read.
fn files(file: &Path) -> Option<String> {
    let mut text = fs::read_to_string(file).ok()?;
    let entries = fs::read_dir(file.with_extension("d"));
    let paths = entries.into_iter().flatten().flatten().map(|it| it.path());
    for path in paths.filter(|path| path.extension().is_some_and(|it| it == "conf")) {
        text.push('\n');
        text.push_str(&fs::read_to_string(path).ok()?);
    }
    Some(text)
}

/// What `sshd -T` would name, by the files: keywords in any case, perhaps with `=`, and 22 where no port is said.
fn written(text: &str) -> BTreeSet<u16> {
    let lines = text
        .lines()
        .map(|line| line.replacen('=', " ", 1).to_ascii_lowercase());
    let text: Vec<String> = lines.collect();
    let says_port = |line: &String| line.split_whitespace().next() == Some("port");
    let mut found = named(&text.join("\n"));
    if !text.iter().any(says_port) {
        found.insert(22);
    }
    found
}

/// The port at the end of `22`, `0.0.0.0:22`, `[::]:22`; none for a path or an address alone.
fn port_of(address: &str) -> Option<u16> {
    let port = match address.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => port,
        Some(_) => return None,
        None => address,
    };
    port.parse().ok().filter(|&port| port != 0)
}

/// The ports of a socket unit that something wants started.
fn socket_unit(name: &str) -> BTreeSet<u16> {
    let path = |directory: &str| PathBuf::from(directory).join(name);
    let Some(unit) = UNITS.into_iter().map(path).find(|path| path.exists()) else {
        return BTreeSet::new();
    };
    let wanted = UNITS.into_iter().any(|directory| {
        [
            "sockets.target.wants",
            "multi-user.target.wants",
            "ssh.service.requires",
        ]
        .into_iter()
        .any(|wants| fs::symlink_metadata(Path::new(directory).join(wants).join(name)).is_ok())
    });
    if !wanted {
        return BTreeSet::new();
    }
    let mut text = super::text(unit).unwrap_or_default();
    // Drop-ins go by file name, whatever directory they lie in.
    let mut drop_ins: Vec<PathBuf> = UNITS
        .into_iter()
        .flat_map(|directory| fs::read_dir(Path::new(directory).join(format!("{name}.d"))))
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|it| it == "conf"))
        .collect();
    drop_ins.sort_by_key(|path| path.file_name().map(ToOwned::to_owned));
    for path in drop_ins {
        text.push('\n');
        text.push_str(&super::text(path).unwrap_or_default());
    }
    streams(&text)
}

/// `ListenStream=`; an empty one takes back those before it (systemd.socket(5)).
fn streams(text: &str) -> BTreeSet<u16> {
    let mut found = BTreeSet::new();
    for line in text.lines() {
        let Some((key, value)) = line.trim().split_once('=') else {
            continue;
        };
        if key.trim() != "ListenStream" {
            continue;
        }
        match value.trim() {
            "" => found.clear(),
            address => found.extend(port_of(address)),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_of_sshd_t() {
        for (text, expected) in [
            ("", vec![]),
            (
                "port 22\naddressfamily any\nlistenaddress [::]:22\nlistenaddress 0.0.0.0:2222\n",
                vec![22, 2222],
            ),
            ("port 0\nport junk\nlistenaddress ::1\n", vec![]),
        ] {
            let found: Vec<u16> = named(text).into_iter().collect();
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn ports_of_sshd_s_files() {
        for (text, expected) in [
            ("", vec![22]),
            (
                "#Port 2222\nListenAddress ::\nPermitRootLogin no\n",
                vec![22],
            ),
            ("Port 2222\nport=2200\n", vec![2200, 2222]),
            ("ListenAddress 10.0.0.7:2222\n", vec![22, 2222]),
            ("  PORT 443 # for guests\n", vec![443]),
        ] {
            let found: Vec<u16> = written(text).into_iter().collect();
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn sshd_s_files_are_read_with_their_drop_ins() {
        let place = std::env::temp_dir().join(format!("portcullis-sshd-{}", std::process::id()));
        let file = place.join("sshd_config");
        assert_eq!(files(&file), None);
        fs::create_dir_all(place.join("sshd_config.d")).unwrap();
        fs::write(&file, "Include it\n").unwrap();
        assert_eq!(files(&file).as_deref(), Some("Include it\n"));
        fs::write(place.join("sshd_config.d/port.conf"), "Port 2222\n").unwrap();
        fs::write(place.join("sshd_config.d/port.old"), "Port 2223\n").unwrap();
        let text = files(&file).unwrap();
        assert_eq!(written(&text).into_iter().collect::<Vec<_>>(), [2222]);
        // What is there and can't be read leaves all in doubt.
        fs::create_dir(place.join("sshd_config.d/a.conf")).unwrap();
        assert_eq!(files(&file), None);
        fs::remove_dir_all(&place).unwrap();
    }

    #[test]
    fn ports_of_a_socket_unit() {
        for (text, expected) in [
            ("[Socket]\nListenStream=22\nAccept=no\n", vec![22]),
            (
                "ListenStream=22\nListenStream=\nListenStream=0.0.0.0:2222\nListenStream=[::]:2222\n",
                vec![2222],
            ),
            (
                "ListenStream=/run/x.sock\nListenDatagram=53\nListenStream=vsock::22",
                vec![],
            ),
        ] {
            let found: Vec<u16> = streams(text).into_iter().collect();
            assert_eq!(found, expected, "{text}");
        }
    }
}
