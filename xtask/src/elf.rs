//! Section names of a 64-bit little-endian ELF file: enough to see that an object kept its BTF.

use std::path::Path;

use anyhow::{Context as _, Result, bail};

/// The names of all sections of `file`, in order.
///
/// # Errors
/// When the file cannot be read or is no ELF file of this kind.
pub(crate) fn section_names(file: &Path) -> Result<Vec<String>> {
    let bytes =
        std::fs::read(file).with_context(|| format!("{}: cannot be read", file.display()))?;
    names(&bytes)
        .with_context(|| format!("{}: not a 64-bit little-endian ELF file", file.display()))
}

/// The kind of machine that a file is for (`e_machine`).
///
/// # Errors
/// As [`section_names`].
pub(crate) fn machine(file: &Path) -> Result<u16> {
    let bytes =
        std::fs::read(file).with_context(|| format!("{}: cannot be read", file.display()))?;
    Ok(u16::try_from(number(&bytes, 0x12, 2)?)?)
}

fn names(bytes: &[u8]) -> Result<Vec<String>> {
    // e_ident: magic, ELFCLASS64, ELFDATA2LSB.
    if bytes.get(..6) != Some(&[0x7f, b'E', b'L', b'F', 2, 1]) {
        bail!("wrong magic, class or byte order");
    }
    let table = number(bytes, 0x28, 8)?;
    let entry_size = number(bytes, 0x3a, 2)?;
    let count = number(bytes, 0x3c, 2)?;
    let names_index = number(bytes, 0x3e, 2)?;
    let names_at = number(bytes, table + names_index * entry_size + 0x18, 8)?;
    (0..count)
        .map(|index| {
            let name_at = names_at + number(bytes, table + index * entry_size, 4)?;
            let name = bytes.get(name_at..).context("a name beyond the end")?;
            let length = name
                .iter()
                .position(|byte| *byte == 0)
                .context("a name without an end")?;
            Ok(String::from_utf8_lossy(&name[..length]).into_owned())
        })
        .collect()
}

fn number(bytes: &[u8], offset: usize, size: usize) -> Result<usize> {
    let field = bytes
        .get(offset..offset + size)
        .context("shorter than its header says")?;
    let value = field
        .iter()
        .rev()
        .fold(0u64, |value, byte| value << 8 | u64::from(*byte));
    Ok(usize::try_from(value)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_binary_has_its_text() {
        let names = section_names(&std::env::current_exe().unwrap()).unwrap();
        assert!(names.iter().any(|name| name == ".text"), "{names:?}");
    }

    #[test]
    fn text_is_no_elf_file() {
        assert!(names(b"[package]\nname = \"xtask\"").is_err());
    }

    #[test]
    fn a_cut_header_is_an_error() {
        assert!(names(&[0x7f, b'E', b'L', b'F', 2, 1, 1, 0]).is_err());
    }
}
