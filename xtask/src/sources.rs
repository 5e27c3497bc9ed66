//! One hash over the sources of the BPF object. The agent's build script includes this file, so
//! that both sides mean the same by "older than its sources". The standard library alone is used.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// What the object is made of, relative to the workspace.
pub(crate) const BPF_SOURCES: [&str; 4] = [
    "agent-ebpf/Cargo.toml",
    "agent-ebpf/src",
    "agent-common/Cargo.toml",
    "agent-common/src",
];

/// A stable hash (FNV-1a, 64 bit, as hexadecimal digits) over names and contents of the sources.
///
/// # Errors
/// When one of them cannot be read; the error names it.
pub(crate) fn hash(root: &Path) -> io::Result<String> {
    let mut files = Vec::new();
    for source in BPF_SOURCES {
        collect(&root.join(source), &mut files)?;
    }
    files.sort();
    let mut state: u64 = 0xcbf2_9ce4_8422_2325;
    let mut feed = |bytes: &[u8]| {
        // The length keeps name and content apart.
        let length = (bytes.len() as u64).to_le_bytes();
        for byte in length.iter().chain(bytes) {
            state = (state ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    };
    for file in files {
        let name = file.strip_prefix(root).unwrap_or(&file);
        feed(name.as_os_str().as_encoded_bytes());
        feed(&fs::read(&file).map_err(|error| naming(&file, &error))?);
    }
    Ok(format!("{state:016x}"))
}

fn collect(path: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    if !path.is_dir() {
        files.push(path.to_path_buf());
        return Ok(());
    }
    for entry in fs::read_dir(path).map_err(|error| naming(path, &error))? {
        collect(&entry?.path(), files)?;
    }
    Ok(())
}

fn naming(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}
