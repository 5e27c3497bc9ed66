//! What the daemon keeps on disk, and the lock that says it is there.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use nix::fcntl::{FcntlArg, fcntl};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Where the daemon's files lie.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Directories {
    /// What survives a reboot: totals, addresses of names.
    pub state: PathBuf,
    /// What is of this boot: the lock, the plan in force, notes for `status`.
    pub runtime: PathBuf,
    /// Pinned maps and links, on a BPF file system.
    pub pins: PathBuf,
}

impl Directories {
    /// The plan in force.
    #[must_use]
    pub fn plan(&self) -> PathBuf {
        self.runtime.join("plan.json")
    }

    /// What the daemon knows and pins don't say.
    #[must_use]
    pub fn notes(&self) -> PathBuf {
        self.runtime.join("notes.json")
    }

    /// Counters by row.
    #[must_use]
    pub fn totals(&self) -> PathBuf {
        self.state.join("totals.json")
    }

    /// What names resolved to.
    #[must_use]
    pub fn names(&self) -> PathBuf {
        self.state.join("names.json")
    }

    /// What is in force and confirmed.
    #[must_use]
    pub fn last_good(&self) -> PathBuf {
        self.state.join("last-good.json")
    }

    /// Texts that wait for their confirmation, or were reverted.
    #[must_use]
    pub fn trial(&self) -> PathBuf {
        self.state.join("trial.json")
    }

    /// Whether nothing was ever kept here: the state directory is missing or empty, as the service manager makes it before the first start.
    #[must_use]
    pub fn is_new(&self) -> bool {
        fs::read_dir(&self.state).map_or(true, |mut entries| entries.next().is_none())
    }

    /// Makes state and runtime directory where they are missing.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn prepare(&self) -> Result<()> {
        for (directory, mode) in [(&self.state, 0o700), (&self.runtime, 0o755)] {
            if directory.is_dir() {
                continue;
            }
            fs::create_dir_all(directory)
                .and_then(|()| fs::set_permissions(directory, Permissions::from_mode(mode)))
                .with_context(|| format!("cannot make the directory {}", directory.display()))?;
        }
        Ok(())
    }
}

/// Replaces a file as a whole: who reads it sees the old one or the new one, also after a power cut.
///
/// # Errors
///
/// What the system says; the old file is then as it was.
pub fn replace(path: &Path, mode: u32, content: &[u8]) -> Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let new = PathBuf::from(name);
    let written = write_synced(&new, mode, content)
        .and_then(|()| fs::rename(&new, path))
        .and_then(|()| sync_directory_of(path));
    if written.is_err() {
        // Half a file is of no use; what counts is the error below.
        let _ = fs::remove_file(&new);
    }
    written.with_context(|| format!("cannot write {}", path.display()))
}

/// Removes a file, where there is one.
///
/// # Errors
///
/// What the system says.
pub fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed.and_then(|()| sync_directory_of(path)),
    }
    .with_context(|| format!("cannot remove {}", path.display()))
}

/// A name lies in its directory: what is synced is there after a power cut, too.
fn sync_directory_of(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(directory) => File::open(directory)?.sync_all(),
        None => Ok(()),
    }
}

fn write_synced(path: &Path, mode: u32, content: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(path)?;
    // Whatever the process's mask is.
    file.set_permissions(Permissions::from_mode(mode))?;
    file.write_all(content)?;
    file.sync_all()
}

/// The same with a value as JSON.
///
/// # Errors
///
/// As [`replace`].
pub fn replace_json(path: &Path, mode: u32, value: &impl Serialize) -> Result<()> {
    let mut text = serde_json::to_vec(value)?;
    text.push(b'\n');
    replace(path, mode, &text)
}

/// A value that [`replace_json`] wrote; none where there is no file.
///
/// # Errors
///
/// Where the file can't be read, or holds something else.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            return Err(error).with_context(|| format!("cannot read {}", path.display()));
        }
    };
    let value = serde_json::from_slice(&text)
        .with_context(|| format!("{}: written by something else", path.display()))?;
    Ok(Some(value))
}

/// The right to be the daemon of a runtime directory; it ends with the process.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

const LOCK: &str = "lock";

impl Lock {
    /// Takes it; the inner error is the process that has it.
    ///
    /// # Errors
    ///
    /// Where the file can't be opened or locked.
    pub fn take(runtime: &Path) -> Result<Result<Self, u32>> {
        let path = runtime.join(LOCK);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o644)
            .open(&path)
            .with_context(|| format!("cannot open the lock {}", path.display()))?;
        match fcntl(&file, FcntlArg::F_OFD_SETLK(&whole_file())) {
            Ok(_) => {}
            Err(nix::errno::Errno::EAGAIN | nix::errno::Errno::EACCES) => {
                return Ok(Err(holder(&mut file)));
            }
            Err(error) => {
                return Err(error).with_context(|| format!("cannot lock {}", path.display()));
            }
        }
        file.set_len(0)
            .and_then(|()| writeln!(file, "{}", std::process::id()))
            .with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Ok(Self { _file: file }))
    }
}

/// The daemon of a runtime directory, where there is one. Takes no lock, so that asking never is in a daemon's way.
#[must_use]
pub fn running(runtime: &Path) -> Option<u32> {
    let mut file = File::open(runtime.join(LOCK)).ok()?;
    let mut lock = whole_file();
    fcntl(&file, FcntlArg::F_OFD_GETLK(&mut lock)).ok()?;
    (i32::from(lock.l_type) != libc::F_UNLCK).then(|| holder(&mut file))
}

/// The number in the lock file; 0 where it was not written yet.
fn holder(file: &mut File) -> u32 {
    let mut text = String::new();
    match file.read_to_string(&mut text) {
        Ok(_) => text.trim().parse().unwrap_or(0),
        Err(_) => 0,
    }
}

fn whole_file() -> libc::flock {
    libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Directory(PathBuf);

    impl Directory {
        fn new(name: &str) -> Self {
            let name = format!("portcullis-daemon-{}-{name}", std::process::id());
            let path = std::env::temp_dir().join(name);
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn one_daemon_at_a_time() {
        let directory = Directory::new("lock");
        assert_eq!(running(&directory.0), None, "no file");
        let lock = Lock::take(&directory.0).unwrap().unwrap();
        assert_eq!(running(&directory.0), Some(std::process::id()));
        assert_eq!(
            Lock::take(&directory.0).unwrap().unwrap_err(),
            std::process::id()
        );
        drop(lock);
        assert_eq!(running(&directory.0), None, "a file without a daemon");
        assert!(Lock::take(&directory.0).unwrap().is_ok());
    }

    #[test]
    fn a_file_is_replaced_as_a_whole() {
        let directory = Directory::new("replace");
        let path = directory.0.join("value.json");
        assert_eq!(read_json::<Vec<u8>>(&path).unwrap(), None);
        replace_json(&path, 0o600, &vec![1, 2]).unwrap();
        replace_json(&path, 0o600, &vec![3]).unwrap();
        assert_eq!(read_json::<Vec<u8>>(&path).unwrap(), Some(vec![3]));
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(fs::read_dir(&directory.0).unwrap().count(), 1);
        assert!(read_json::<String>(&path).is_err());
        assert!(replace(&directory.0.join("no/such"), 0o600, b"").is_err());
    }
}
