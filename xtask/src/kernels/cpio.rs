//! An initramfs: files in the "newc" format of cpio, which the kernel unpacks at boot.
//!
//! Written here and not by `cpio`, because a device node in a real directory needs root.

use std::io::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result};

/// Collects entries; directories above an entry must be added before it.
pub(crate) struct Archive {
    bytes: Vec<u8>,
    inode: u32,
}

const DIRECTORY: u32 = 0o040_755;
const CHARACTER_DEVICE: u32 = 0o020_600;
const PROGRAM: u32 = 0o100_755;
const DATA: u32 = 0o100_600;

impl Archive {
    /// Empty.
    pub(crate) fn new() -> Self {
        Self {
            bytes: Vec::new(),
            inode: 0,
        }
    }

    /// A directory; `name` without the leading slash, as everywhere here.
    ///
    /// # Errors
    /// None in practice: it is written to memory.
    pub(crate) fn directory(&mut self, name: &str) -> Result<()> {
        self.entry(name, DIRECTORY, (0, 0), &[])
    }

    /// A character device of these numbers.
    ///
    /// # Errors
    /// As [`Self::directory`].
    pub(crate) fn device(&mut self, name: &str, major: u32, minor: u32) -> Result<()> {
        self.entry(name, CHARACTER_DEVICE, (major, minor), &[])
    }

    /// A copy of a file, executable.
    ///
    /// # Errors
    /// When it can't be read.
    pub(crate) fn file(&mut self, name: &str, source: &Path) -> Result<()> {
        let bytes = std::fs::read(source).with_context(|| format!("{}", source.display()))?;
        self.entry(name, PROGRAM, (0, 0), &bytes)
    }

    /// A file with this content.
    ///
    /// # Errors
    /// As [`Self::directory`].
    pub(crate) fn data(&mut self, name: &str, content: &[u8]) -> Result<()> {
        self.entry(name, DATA, (0, 0), content)
    }

    /// The archive with its closing entry.
    ///
    /// # Errors
    /// As [`Self::directory`].
    pub(crate) fn finish(mut self) -> Result<Vec<u8>> {
        self.entry("TRAILER!!!", 0, (0, 0), &[])?;
        Ok(self.bytes)
    }

    /// The header: magic, then 13 numbers of 8 hexadecimal digits (cpio(5), "New ASCII Format").
    fn entry(&mut self, name: &str, mode: u32, device: (u32, u32), content: &[u8]) -> Result<()> {
        self.inode += 1;
        let size = u32::try_from(content.len()).context("a file of 4 GiB")?;
        let name_size = u32::try_from(name.len() + 1)?;
        let (links, no_time, no_owner, no_checksum) = (1, 0, 0, 0);
        write!(self.bytes, "070701")?;
        for number in [
            self.inode,
            mode,
            no_owner,
            no_owner,
            links,
            no_time,
            size,
            0,
            0,
            device.0,
            device.1,
            name_size,
            no_checksum,
        ] {
            write!(self.bytes, "{number:08x}")?;
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(content);
        self.pad();
        Ok(())
    }

    /// Header with name, and content, each end at a multiple of 4 bytes.
    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layout() {
        let mut archive = Archive::new();
        archive.device("dev/console", 5, 1).unwrap();
        let bytes = archive.finish().unwrap();
        assert_eq!(&bytes[..6], b"070701");
        assert_eq!(&bytes[14..22], b"00002180"); // 0o020600
        assert_eq!(&bytes[78..94], b"0000000500000001");
        assert_eq!(&bytes[110..122], b"dev/console\0");
        assert_eq!(bytes.len() % 4, 0);
        assert!(bytes.windows(11).any(|window| window == b"TRAILER!!!\0"));
    }
}
