//! Medians, ranges, ratios, as a table or JSON.

use std::fmt::Write as _;

use serde::Serialize;

/// A row's figures.
#[derive(Clone, Debug, Serialize)]
pub struct Measured {
    /// What was measured.
    pub name: String,
    /// Median nanoseconds.
    pub median: f64,
    /// Least.
    pub least: f64,
    /// Most.
    pub most: f64,
    /// Median as a ratio of the first row's.
    pub ratio: f64,
    /// Most that the ratio may be.
    pub limit: Option<f64>,
}

impl Measured {
    /// The figures of these times. The ratio is set by [`relate`].
    pub fn new(name: String, limit: Option<f64>, mut times: Vec<f64>) -> Self {
        times.sort_by(f64::total_cmp);
        let at = |index: usize| times.get(index).copied().unwrap_or(f64::NAN);
        Self {
            name,
            median: at(times.len() / 2),
            least: at(0),
            most: at(times.len().saturating_sub(1)),
            ratio: f64::NAN,
            limit,
        }
    }

    /// Whether it keeps its limit.
    pub fn holds(&self) -> bool {
        self.limit.is_none_or(|limit| self.ratio <= limit)
    }
}

/// Sets the ratios to the first row, which is the rival's.
pub fn relate(rows: &mut [Measured]) {
    let rival = rows.first().map_or(f64::NAN, |row| row.median);
    for row in rows {
        row.ratio = row.median / rival;
    }
}

/// A table for people.
pub fn table(rows: &[Measured]) -> String {
    let width = rows.iter().map(|row| row.name.len()).max().unwrap_or(0);
    let mut text = format!(
        "{:width$}  {:>6}  {:>13}  {:>5}  {:>7}\n",
        "ns per packet", "median", "range", "ratio", "at most"
    );
    for row in rows {
        let range = format!("{:.0}-{:.0}", row.least, row.most);
        let limit = row
            .limit
            .map_or("-".to_owned(), |limit| format!("{limit:.2}"));
        let mark = if row.holds() { "" } else { "  OVER" };
        let _ = writeln!(
            text,
            "{:width$}  {:>6.0}  {range:>13}  {:>5.2}  {limit:>7}{mark}",
            row.name, row.median, row.ratio
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_over_its_limit_says_so() {
        let mut rows = vec![
            Measured::new("rival".to_owned(), None, vec![45.0, 44.0, 50.0]),
            Measured::new("ours".to_owned(), Some(0.5), vec![22.0, 30.0, 24.0]),
        ];
        relate(&mut rows);
        assert_eq!(
            (rows[0].median, rows[0].least, rows[0].most),
            (45.0, 44.0, 50.0)
        );
        assert!(!rows[1].holds() && table(&rows).contains("OVER"));
        rows[1].limit = Some(0.54);
        assert!(rows[1].holds());
    }
}
