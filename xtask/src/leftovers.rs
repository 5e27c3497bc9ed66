//! What a test run could leave behind on the machine: namespaces, pins, state, processes.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Directories whose entries are made by the agent or by tests.
const PLACES: [&str; 5] = [
    "/run/netns",
    "/sys/fs/bpf",
    "/run/portcullis",
    "/var/lib/portcullis",
    "/etc/portcullis",
];

/// What is there now, in words. Two looks are compared, so what was there before is not blamed.
pub(crate) fn look() -> BTreeSet<String> {
    let mut seen = BTreeSet::new();
    for place in PLACES {
        for entry in fs::read_dir(place).into_iter().flatten().flatten() {
            seen.insert(entry.path().display().to_string());
        }
    }
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let name = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
        if name.trim() == "portcullis" && !is_zombie(&entry.path()) {
            seen.insert(format!(
                "process {} (portcullis)",
                entry.file_name().display()
            ));
        }
    }
    seen
}

/// A process that ended and waits for its parent is none that is left running.
fn is_zombie(process: &Path) -> bool {
    let status = fs::read_to_string(process.join("status")).unwrap_or_default();
    status
        .lines()
        .any(|line| line.starts_with("State:") && line.contains('Z'))
}
