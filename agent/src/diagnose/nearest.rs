//! The nearest known word to a mistyped one.

/// The candidate that is meant most likely, or `None` where none is close: at most a third of
/// the word's characters may differ (never fewer than one).
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (word.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .filter(|candidate| !candidate.is_empty())
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Edits (insert, delete, replace, swap of neighbours) from one word to the other; `_` and `-`
/// count as the same, because keys are in kebab case and fingers are not.
fn distance(left: &str, right: &str) -> usize {
    let normal = |word: &str| -> Vec<char> {
        word.chars()
            .map(|character| if character == '_' { '-' } else { character })
            .collect()
    };
    let (left, right) = (normal(left), normal(right));
    let mut rows: Vec<Vec<usize>> = vec![(0..=right.len()).collect()];
    for i in 1..=left.len() {
        let mut row = vec![i];
        for j in 1..=right.len() {
            let replaced = rows[i - 1][j - 1] + usize::from(left[i - 1] != right[j - 1]);
            let mut best = replaced.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && left[i - 1] == right[j - 2] && left[i - 2] == right[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[left.len()][right.len()]
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[track_caller]
    fn check(word: &str, candidates: &[&str], expected: Option<&str>) {
        assert_eq!(nearest(word, candidates.iter().copied()), expected);
    }

    #[test]
    fn nearest_word() {
        check("purose", &["purpose", "service"], Some("purpose"));
        check("to_group", &["to-group", "to"], Some("to-group"));
        check("fro", &["from", "to"], Some("from"));
        check("form", &["from", "flows"], Some("from"));
        check("zebra", &["from", "to"], None);
        check("", &["a"], Some("a"));
        check("x", &[], None);
    }
}
