//! Arithmetic and comparisons of the BPF instruction set (RFC 9669 §4).

use anyhow::{Result, bail};

/// `left op right` in 64 bits; the operation is the upper half of the opcode.
pub(super) fn calculate(operation: u8, left: u64, right: u64) -> Result<u64> {
    Ok(match operation {
        0x00 => left.wrapping_add(right),
        0x10 => left.wrapping_sub(right),
        0x20 => left.wrapping_mul(right),
        0x30 => left.checked_div(right).unwrap_or(0),
        0x40 => left | right,
        0x50 => left & right,
        0x60 => left << (right & 63),
        0x70 => left >> (right & 63),
        0x80 => left.wrapping_neg(),
        0x90 => left.checked_rem(right).unwrap_or(left),
        0xa0 => left ^ right,
        0xb0 => right,
        0xc0 => ((left as i64) >> (right & 63)) as u64,
        other => bail!("arithmetic {other:#x}"),
    })
}

/// The same in 32 bits, the upper half cleared.
pub(super) fn calculate_narrow(operation: u8, left: u64, right: u64) -> Result<u64> {
    let (narrow_left, narrow_right) = (left as u32, right as u32);
    let number = match operation {
        0x60 => narrow_left << (narrow_right & 31),
        0x70 => narrow_left >> (narrow_right & 31),
        0xc0 => ((narrow_left as i32) >> (narrow_right & 31)) as u32,
        other => calculate(other, u64::from(narrow_left), u64::from(narrow_right))? as u32,
    };
    Ok(u64::from(number))
}

/// The low `bits` of a number, in the other byte order where `swap`.
pub(super) fn ordered(number: u64, bits: i32, swap: bool) -> Result<u64> {
    Ok(match (bits, swap) {
        (16, true) => u64::from((number as u16).swap_bytes()),
        (32, true) => u64::from((number as u32).swap_bytes()),
        (64, true) => number.swap_bytes(),
        (16, false) => number & 0xffff,
        (32, false) => number & 0xffff_ffff,
        (64, false) => number,
        _ => bail!("a number of {bits} bits"),
    })
}

/// Whether a jump is taken: `left op right` in 64 bits, or the low 32 of both where `narrow`.
pub(super) fn holds(operation: u8, left: u64, right: u64, narrow: bool) -> Result<bool> {
    let (left, right, signed_left, signed_right) = if narrow {
        let (left, right) = (left as u32, right as u32);
        (
            u64::from(left),
            u64::from(right),
            i64::from(left as i32),
            i64::from(right as i32),
        )
    } else {
        (left, right, left as i64, right as i64)
    };
    Ok(match operation {
        0x10 => left == right,
        0x20 => left > right,
        0x30 => left >= right,
        0x40 => left & right != 0,
        0x50 => left != right,
        0x60 => signed_left > signed_right,
        0x70 => signed_left >= signed_right,
        0xa0 => left < right,
        0xb0 => left <= right,
        0xc0 => signed_left < signed_right,
        0xd0 => signed_left <= signed_right,
        other => bail!("jump {other:#x}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic() {
        const MINUS_ONE: u64 = u64::MAX;
        for (operation, left, right, wide, narrow) in [
            (0x00, MINUS_ONE, 2, 1, 1),
            (0x10, 1, 2, MINUS_ONE, 0xffff_ffff),
            (0x30, 7, 0, 0, 0),
            (0x60, 1, 33, 1 << 33, 2),
            (0x70, MINUS_ONE, 4, MINUS_ONE >> 4, 0x0fff_ffff),
            (0xc0, MINUS_ONE << 8, 4, MINUS_ONE << 4, 0xffff_fff0),
            (0xb0, 1, MINUS_ONE, MINUS_ONE, 0xffff_ffff),
        ] {
            let case = format!("{operation:#x} of {left:#x} and {right:#x}");
            assert_eq!(calculate(operation, left, right).unwrap(), wide, "{case}");
            assert_eq!(
                calculate_narrow(operation, left, right).unwrap(),
                narrow,
                "{case}"
            );
        }
        assert!(calculate(0xe0, 0, 0).is_err());
        assert_eq!(ordered(0x1_1234, 16, true).unwrap(), 0x3412);
        assert_eq!(ordered(0x1_1234, 16, false).unwrap(), 0x1234);
    }

    #[test]
    fn jumps() {
        const MINUS_ONE: u64 = u64::MAX;
        for (operation, left, right, wide, narrow) in [
            (0x10, 1 << 32, 0, false, true),
            (0x20, MINUS_ONE, 1, true, true),
            (0x60, MINUS_ONE, 1, false, false),
            (0xc0, 0x8000_0000, 0, false, true),
            (0x40, 6, 4, true, true),
        ] {
            let case = format!("{operation:#x} of {left:#x} and {right:#x}");
            assert_eq!(
                holds(operation, left, right, false).unwrap(),
                wide,
                "{case}"
            );
            assert_eq!(
                holds(operation, left, right, true).unwrap(),
                narrow,
                "{case}"
            );
        }
    }
}
