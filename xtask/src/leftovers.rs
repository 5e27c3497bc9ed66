//! What a test run could leave behind on the machine: namespaces, pins, state, processes.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

/// Directories whose entries are made by the agent or by tests.
const PLACES: [&str; 5] = [
    "/run/netns",
    "/sys/fs/bpf",
    "/run/portcullis",
    "/var/lib/portcullis",
    "/etc/portcullis",
];

/// The variable that every process of a run inherits, whatever its name.
pub(crate) const MARK: &str = "PORTCULLIS_TEST_RUN";

/// A process that was told to end is given this long to do so.
const GRACE: Duration = Duration::from_secs(3);

/// What is there before the tests, and the mark for their processes.
pub(crate) struct Watch {
    before: BTreeSet<String>,
    /// The value of [`MARK`].
    pub(crate) mark: String,
}

impl Watch {
    /// Looks at the machine; what is there now is not blamed on the tests.
    pub(crate) fn new() -> Self {
        let mark = std::process::id().to_string();
        Self {
            before: files(),
            mark,
        }
    }

    /// What the tests left, in words.
    pub(crate) fn left(&self) -> Vec<String> {
        let deadline = Instant::now() + GRACE;
        let mut processes = marked(&self.mark);
        while !processes.is_empty() && Instant::now() < deadline {
            // Processes that are no children of this one tell nobody that they ended.
            std::thread::sleep(Duration::from_millis(20));
            processes = marked(&self.mark);
        }
        files()
            .difference(&self.before)
            .cloned()
            .chain(processes)
            .collect()
    }
}

fn files() -> BTreeSet<String> {
    let entries = PLACES.iter().filter_map(|place| fs::read_dir(place).ok());
    let paths = entries.flatten().flatten().map(|entry| entry.path());
    paths.map(|path| path.display().to_string()).collect()
}

/// Processes other than this one that carry the mark.
fn marked(mark: &str) -> Vec<String> {
    let wanted = format!("{MARK}={mark}");
    let carries = |process: &Path| {
        let environment = fs::read(process.join("environ")).unwrap_or_default();
        environment
            .split(|byte| *byte == 0)
            .any(|variable| variable == wanted.as_bytes())
    };
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let marked = processes
        .map(|entry| entry.path())
        .filter(|process| carries(process));
    marked.map(|process| named(&process)).collect()
}

fn named(process: &Path) -> String {
    let line = fs::read_to_string(process.join("cmdline")).unwrap_or_default();
    let number = process.file_name().unwrap_or_default().display();
    format!("process {number}: {}", line.replace('\0', " ").trim_end())
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_process_is_found_by_its_mark_until_it_ends() {
        let mark = format!("{}-of-this-test", std::process::id());
        let mut child = Command::new("cat")
            .env(MARK, &mark)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        // Until it has become `cat`, it carries this process's own environment.
        let deadline = Instant::now() + GRACE;
        while marked(&mark).is_empty() && Instant::now() < deadline {
            std::thread::yield_now();
        }
        assert_eq!(marked(&mark).len(), 1);
        drop(child.stdin.take());
        child.wait().unwrap();
        assert_eq!(marked(&mark), Vec::<String>::new());
    }
}
