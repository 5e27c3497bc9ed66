//! The configuration's files: the edge that reads them.
//!
//! Every read is bounded, and only regular files are opened, so that a device or a pipe in the
//! place of a list can't stop the daemon.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use super::{Input, set_file_names};
use crate::diagnose::Source;

/// Where the configuration lies unless told otherwise.
pub const DEFAULT_PATH: &str = "/etc/portcullis/portcullis.toml";

/// The directory of drop-ins, beside the configuration.
const DROP_INS: &str = "conf.d";

/// Octets of one configuration file, or of one policy.
pub(crate) const MOST_TEXT: u64 = 4 << 20;

/// Octets of the file of one set: some 800,000 prefixes.
const MOST_SET: u64 = 32 << 20;

/// Drop-ins, or policies, in one directory.
const MOST_FILES: usize = 512;

/// Reads the configuration at this path, its drop-ins by name, and the files that its sets
/// name. A path in a set that is not absolute counts from the configuration's directory; a set
/// that can't be read is kept with its reason, for the finding at its place.
///
/// # Errors
///
/// Where the configuration or a drop-in is missing, unreadable, no UTF-8 or too large.
pub fn read(path: &Path) -> Result<Input> {
    let directory = path.parent().unwrap_or(Path::new(""));
    let mut files = vec![source(path).with_context(|| {
        format!(
            "cannot read the configuration {}; `portcullis init PRODUCT --role ROLE` writes one, \
             `portcullis policy list` names the products",
            path.display()
        )
    })?];
    for path in listed(&directory.join(DROP_INS))? {
        let drop_in = source(&path);
        files.push(drop_in.with_context(|| format!("cannot read the drop-in {}", path.display()))?);
    }
    let set_files = set_file_names(&files)
        .into_iter()
        .map(|name| {
            let text = text(&directory.join(&name), MOST_SET);
            (name, text.map_err(|error| format!("{error:#}")))
        })
        .collect();
    Ok(Input { files, set_files })
}

fn source(path: &Path) -> Result<Source> {
    let text = text(path, MOST_TEXT)?;
    Ok(Source::new(path.display().to_string(), text))
}

/// The text of a regular file of at most this many octets.
///
/// # Errors
///
/// Where it is missing, something else, unreadable, larger, or no UTF-8.
pub(crate) fn text(path: &Path, most: u64) -> Result<String> {
    // Looked at before it is opened: opening a pipe waits for its writer.
    ensure!(fs::metadata(path)?.is_file(), "not a regular file");
    let file = File::open(path)?;
    let mut octets = Vec::new();
    // One more than allowed tells a file that is too large, whatever its metadata said.
    file.take(most + 1).read_to_end(&mut octets)?;
    ensure!(
        u64::try_from(octets.len()).is_ok_and(|length| length <= most),
        "larger than {} MiB",
        most >> 20
    );
    String::from_utf8(octets).context("not UTF-8")
}

/// The `*.toml` files of a directory by name, hidden ones left out; none where there is no
/// directory.
///
/// # Errors
///
/// Where it can't be listed, or holds more files than anybody keeps by hand.
pub(crate) fn listed(directory: &Path) -> Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => {
            return Err(error).with_context(|| format!("cannot list {}", directory.display()));
        }
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry
            .with_context(|| format!("cannot list {}", directory.display()))?
            .path();
        let hidden = path
            .file_name()
            .is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
        if !hidden && path.extension().is_some_and(|it| it == "toml") {
            paths.push(path);
        }
        if paths.len() > MOST_FILES {
            bail!("more than {MOST_FILES} files in {}", directory.display());
        }
    }
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory of this test alone, gone when it ends.
    struct Directory(PathBuf);

    impl Directory {
        fn new(name: &str) -> Self {
            let name = format!("portcullis-files-{}-{name}", std::process::id());
            let path = std::env::temp_dir().join(name);
            fs::create_dir_all(path.join(DROP_INS)).expect("a directory of our own");
            Self(path)
        }

        fn write(&self, name: &str, content: impl AsRef<[u8]>) {
            fs::write(self.0.join(name), content).expect("a file of our own");
        }

        fn main(&self) -> PathBuf {
            self.0.join("portcullis.toml")
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn drop_ins_come_by_name() {
        let directory = Directory::new("order");
        directory.write(
            "portcullis.toml",
            "schema = 1\n[sets]\na = { file = \"a.txt\" }\n",
        );
        directory.write("a.txt", "10.0.0.1\n");
        for name in ["20-b.toml", "10-a.toml", ".hidden.toml", "30.toml~"] {
            directory.write(&format!("{DROP_INS}/{name}"), "");
        }
        directory.write(
            &format!("{DROP_INS}/40.toml"),
            "[sets]\nb = { file = \"gone\" }\n",
        );
        let input = read(&directory.main()).expect("readable");
        let names: Vec<_> = input
            .files
            .iter()
            .map(|file| file.name().rsplit('/').next().unwrap_or_default())
            .collect();
        assert_eq!(
            names,
            ["portcullis.toml", "10-a.toml", "20-b.toml", "40.toml"]
        );
        assert_eq!(input.set_files["a.txt"].as_deref(), Ok("10.0.0.1\n"));
        assert!(input.set_files["gone"].is_err());
    }

    #[test]
    fn what_is_no_text_is_refused() {
        let directory = Directory::new("refused");
        #[track_caller]
        fn check(directory: &Directory, expected: &str) {
            let error = read(&directory.main()).expect_err("refused");
            let message = format!("{error:#}");
            assert!(message.contains(expected), "{message}");
        }
        check(&directory, "portcullis init");
        directory.write("portcullis.toml", [0xff, 0xfe]);
        check(&directory, "not UTF-8");
        let large = usize::try_from(MOST_TEXT).expect("fits") + 1;
        directory.write("portcullis.toml", vec![b'#'; large]);
        check(&directory, "larger than 4 MiB");
        directory.write("portcullis.toml", vec![b'#'; large - 1]);
        assert!(
            read(&directory.main()).is_ok(),
            "the bound itself is allowed"
        );
        fs::create_dir(directory.0.join(DROP_INS).join("x.toml")).expect("a directory");
        check(&directory, "not a regular file");
    }
}
