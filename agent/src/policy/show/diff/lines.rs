//! Which line of one document is which line of another: a line put in between moves the numbers
//! of all that follow in its table.

use serde_json::{Map, Value};

/// A row as `policy show` has it.
pub(super) type Line = Map<String, Value>;

/// Keys by which a line is known again wherever it stands.
const SAME: &[&str] = &[
    "device",
    "direction",
    "application",
    "from",
    "to",
    "transport",
    "ports",
];

/// The lines of two documents in the order of the second, each with its counterpart; a line
/// that is in one of them only stands alone.
pub(super) fn pair<'a>(
    old: &'a [Line],
    new: &'a [Line],
) -> Vec<(Option<&'a Line>, Option<&'a Line>)> {
    let table = |line: &'a Line| {
        line.get("table")
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let mut tables: Vec<&str> = Vec::new();
    for line in new.iter().chain(old) {
        if !tables.contains(&table(line)) {
            tables.push(table(line));
        }
    }
    let of = |lines: &'a [Line], name: &str| -> Vec<&'a Line> {
        lines.iter().filter(|line| table(line) == name).collect()
    };
    tables
        .into_iter()
        .flat_map(|name| in_table(&of(old, name), &of(new, name)))
        .collect()
}

/// How much two lines look like one; 0: they are two.
fn likeness(old: &Line, new: &Line) -> u32 {
    let same = |key: &str| old.get(key) == new.get(key);
    let moved = u32::from(same("row"));
    if SAME.iter().all(|key| same(key)) {
        // Lines that open nothing are known by their service alone.
        return 6 + 2 * u32::from(same("service")) + moved;
    }
    if same("service") { 3 + moved } else { moved }
}

/// The pairing without crossings that keeps most of the likeness.
fn in_table<'a>(old: &[&'a Line], new: &[&'a Line]) -> Vec<(Option<&'a Line>, Option<&'a Line>)> {
    // best[i][j]: the most that the lines from old[i] and new[j] on can keep.
    let mut best = vec![vec![0_u32; new.len() + 1]; old.len() + 1];
    let at = |best: &[Vec<u32>], i: usize, j: usize| {
        let row = best.get(i).map(Vec::as_slice).unwrap_or_default();
        row.get(j).copied().unwrap_or_default()
    };
    for (i, here) in old.iter().enumerate().rev() {
        for (j, there) in new.iter().enumerate().rev() {
            let kept = match likeness(here, there) {
                0 => 0,
                some => some + at(&best, i + 1, j + 1),
            };
            let most = kept.max(at(&best, i + 1, j)).max(at(&best, i, j + 1));
            if let Some(cell) = best.get_mut(i).and_then(|row| row.get_mut(j)) {
                *cell = most;
            }
        }
    }
    let (mut i, mut j) = (0, 0);
    let mut pairs = Vec::new();
    while let (Some(here), Some(there)) = (old.get(i), new.get(j)) {
        let likeness = likeness(here, there);
        if likeness > 0 && at(&best, i, j) == likeness + at(&best, i + 1, j + 1) {
            pairs.push((Some(*here), Some(*there)));
            (i, j) = (i + 1, j + 1);
        } else if at(&best, i, j) == at(&best, i + 1, j) {
            pairs.push((Some(*here), None));
            i += 1;
        } else {
            pairs.push((None, Some(*there)));
            j += 1;
        }
    }
    let gone = old.iter().skip(i).map(|line| (Some(*line), None));
    let come = new.iter().skip(j).map(|line| (None, Some(*line)));
    pairs.extend(gone.chain(come));
    pairs
}
