//! Memory of an interpreted program: pieces with gaps of 4 GiB between them, so that what reads or writes beside one is found out.

use anyhow::{Context as _, Result, bail};

/// All that a program can point to.
#[derive(Debug, Default)]
pub(super) struct Memory {
    pieces: Vec<Vec<u8>>,
}

/// Where an address points: the piece, and the octet in it.
fn place(address: u64) -> (usize, usize) {
    (
        (address >> 32) as usize,
        (address & u64::from(u32::MAX)) as usize,
    )
}

impl Memory {
    /// Adds a piece and gives the address of its first octet. None is at 0.
    pub(super) fn add(&mut self, octets: Vec<u8>) -> u64 {
        self.pieces.push(octets);
        (self.pieces.len() as u64) << 32
    }

    /// The octets from an address on.
    ///
    /// # Errors
    /// Where they are not all in one piece.
    pub(super) fn octets(&self, address: u64, length: usize) -> Result<&[u8]> {
        let (piece, at) = place(address);
        let piece = piece.checked_sub(1).and_then(|it| self.pieces.get(it));
        piece
            .and_then(|octets| octets.get(at..at + length))
            .with_context(|| format!("{length} octets at {address:#x} are nobody's"))
    }

    /// A number of 1, 2, 4 or 8 octets, as this machine has it in memory.
    ///
    /// # Errors
    /// Where it is not all in one piece.
    pub(super) fn read(&self, address: u64, width: usize) -> Result<u64> {
        let mut number = [0; 8];
        let octets = self.octets(address, width)?;
        let Some(room) = number.get_mut(..width) else {
            bail!("a number of {width} octets");
        };
        room.copy_from_slice(octets);
        Ok(u64::from_le_bytes(number))
    }

    /// Writes the low octets of a number.
    ///
    /// # Errors
    /// Where there is no room for it in one piece.
    pub(super) fn write(&mut self, address: u64, width: usize, number: u64) -> Result<()> {
        let (piece, at) = place(address);
        let piece = piece
            .checked_sub(1)
            .and_then(|it| self.pieces.get_mut(it))
            .and_then(|octets| octets.get_mut(at..at + width));
        let octets = number.to_le_bytes();
        match (piece, octets.get(..width)) {
            (Some(room), Some(octets)) => room.copy_from_slice(octets),
            _ => bail!("{width} octets at {address:#x} are nobody's"),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_ends_where_it_ends() {
        let mut memory = Memory::default();
        let (first, second) = (memory.add(vec![1, 2, 3, 4]), memory.add(vec![0; 8]));
        assert_eq!(memory.read(first, 4).unwrap(), 0x0403_0201);
        assert_eq!(memory.read(first + 2, 2).unwrap(), 0x0403);
        assert!(memory.read(first + 2, 4).is_err() && memory.read(0, 1).is_err());
        memory.write(second + 4, 4, 0xffff_ffff_1234_5678).unwrap();
        assert_eq!(memory.read(second, 8).unwrap(), 0x1234_5678_0000_0000);
        assert!(memory.write(second + 5, 4, 0).is_err());
    }
}
