//! Which systemd unit a cgroup belongs to. The kernel gives ids; the cgroup file system has them as inode numbers.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where cgroup v2 is mounted: alone, or beside v1.
pub const MOUNTS: [&str; 2] = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"];

/// How long an unknown id is left unknown before the tree is read again.
const PAUSE: Duration = Duration::from_secs(10);

/// Directories that are read at most in one go.
const MOST: usize = 20_000;

/// Units by cgroup id, read from the tree when an unknown id comes up.
#[derive(Debug, Default)]
pub struct Units {
    root: Option<PathBuf>,
    known: HashMap<u64, Option<String>>,
    next: Duration,
}

impl Units {
    /// The tree at the first of `mounts` that is a cgroup v2 one; without any, no unit is ever known.
    pub fn at(mounts: &[&str]) -> Self {
        let is_v2 = |path: &&&str| Path::new(path).join("cgroup.controllers").exists();
        Self {
            root: mounts.iter().find(is_v2).map(PathBuf::from),
            ..Self::default()
        }
    }

    /// The unit of a cgroup. `now` is a monotonic time: the tree is read at most every ten seconds.
    pub fn unit(&mut self, id: u64, now: Duration) -> Option<String> {
        if let Some(known) = self.known.get(&id) {
            return known.clone();
        }
        let root = self.root.as_ref().filter(|_| now >= self.next)?;
        self.next = now.saturating_add(PAUSE);
        self.known = read(root);
        self.known.get(&id).cloned().flatten()
    }
}

fn read(root: &Path) -> HashMap<u64, Option<String>> {
    let mut known = HashMap::new();
    let mut open = vec![root.to_owned()];
    while let Some(directory) = open.pop() {
        // One that has gone meanwhile is none.
        let Ok(metadata) = fs::symlink_metadata(&directory) else {
            continue;
        };
        let path = directory.strip_prefix(root).unwrap_or(Path::new(""));
        known.insert(metadata.ino(), unit_of(path));
        if known.len() >= MOST {
            break;
        }
        let entries = fs::read_dir(&directory).into_iter().flatten().flatten();
        open.extend(
            entries
                .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
                .map(|entry| entry.path()),
        );
    }
    known
}

/// The unit in a cgroup's path: what follows the slices (systemd.slice(5)), as `cups.service` in `system.slice/cups.service/payload`.
fn unit_of(path: &Path) -> Option<String> {
    const KINDS: [&str; 5] = [".service", ".scope", ".socket", ".mount", ".swap"];
    let mut names = path.iter().filter_map(|name| name.to_str());
    let unit = names.find(|name| !name.ends_with(".slice"))?;
    let known = KINDS.iter().any(|kind| unit.ends_with(kind));
    known.then(|| unit.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit_follows_the_slices() {
        for (path, expected) in [
            ("", None),
            ("init.scope", Some("init.scope")),
            ("system.slice", None),
            ("system.slice/cups.service", Some("cups.service")),
            ("system.slice/cups.service/payload", Some("cups.service")),
            (
                "user.slice/user-0.slice/session-1.scope",
                Some("session-1.scope"),
            ),
            ("machine", None),
        ] {
            assert_eq!(unit_of(Path::new(path)).as_deref(), expected, "{path}");
        }
    }

    #[test]
    fn ids_are_inode_numbers() {
        let root = std::env::temp_dir().join(format!("portcullis-units-{}", std::process::id()));
        let unit = root.join("system.slice/cups.service");
        fs::create_dir_all(&unit).unwrap();
        fs::write(root.join("cgroup.controllers"), "").unwrap();
        let id = fs::metadata(&unit).unwrap().ino();

        let mut units = Units::at(&["/nonexistent", root.to_str().unwrap()]);
        assert_eq!(
            units.unit(id, Duration::ZERO).as_deref(),
            Some("cups.service")
        );
        // one that is made later is found after the pause
        let later = root.join("system.slice/late.service");
        fs::create_dir(&later).unwrap();
        let late = fs::metadata(&later).unwrap().ino();
        assert_eq!(units.unit(late, Duration::from_secs(9)), None);
        assert_eq!(
            units.unit(late, Duration::from_secs(10)).as_deref(),
            Some("late.service")
        );
        fs::remove_dir_all(&root).unwrap();
        assert_eq!(Units::at(&["/nonexistent"]).unit(1, Duration::ZERO), None);
    }
}
