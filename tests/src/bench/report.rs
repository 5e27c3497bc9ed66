//! What was measured: medians, ranges, and each row beside what it is compared with, as a table or JSON.
//!
//! Machines change their speed from one second to the next. So whatever is compared is measured in turns, and a row's ratio is the median of
//! the ratios of the rounds, not the ratio of two medians.

use std::fmt::Write as _;

use anyhow::{Result, anyhow};
use serde::Serialize;

/// Figures of one thing, one a round or one for each of its turns; or why there are none.
#[derive(Clone, Debug, Default)]
pub struct Samples {
    taken: Vec<f64>,
    failure: Option<String>,
}

impl Samples {
    /// Adds a round's. After a failure nothing is added: rounds must stay side by side.
    pub fn add(&mut self, sample: Result<f64>) {
        match sample {
            _ if self.failed() => {}
            Ok(value) if value.is_finite() => self.taken.push(value),
            Ok(value) => self.failure = Some(format!("measured {value}")),
            Err(error) => self.failure = Some(format!("{error:#}")),
        }
    }

    /// Whether it could not be measured: then no further round needs to try.
    pub fn failed(&self) -> bool {
        self.failure.is_some()
    }

    /// What could not be measured at all.
    pub fn failure(why: impl Into<String>) -> Self {
        Self {
            taken: Vec::new(),
            failure: Some(why.into()),
        }
    }

    /// The figures, a round each.
    pub fn taken(&self) -> &[f64] {
        &self.taken
    }

    /// The middle one; NaN where there is none.
    pub fn median(&self) -> f64 {
        median(&self.taken)
    }

    /// The least, of what could be measured.
    ///
    /// # Errors
    /// Why it could not.
    pub fn into_least(self) -> Result<f64> {
        match self.failure {
            Some(why) => Err(anyhow!(why)),
            None => Ok(self.taken.into_iter().fold(f64::NAN, f64::min)),
        }
    }
}

impl FromIterator<f64> for Samples {
    fn from_iter<I: IntoIterator<Item = f64>>(figures: I) -> Self {
        let mut samples = Self::default();
        for figure in figures {
            samples.add(Ok(figure));
        }
        samples
    }
}

/// The most that a row may be.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Limit {
    /// Times what it is compared with.
    Ratio(f64),
    /// This, in the row's unit, whatever it is compared with.
    Figure(f64),
}

/// A row.
#[derive(Clone, Debug, Serialize)]
pub struct Measured {
    /// What was measured.
    pub name: String,
    /// In what.
    pub unit: &'static str,
    /// What it is compared with.
    pub against: Option<String>,
    /// One figure a round.
    pub samples: Vec<f64>,
    /// The middle one.
    pub median: f64,
    /// Least.
    pub least: f64,
    /// Most.
    pub most: f64,
    /// The middle one of what it is compared with.
    pub peer: f64,
    /// Median of each round's ratio.
    pub ratio: f64,
    /// Most that it may be.
    pub limit: Option<Limit>,
    /// Why there are no figures, of it or of what it is compared with. Such a row does not hold.
    pub failure: Option<String>,
    /// Whether it keeps its limit.
    pub holds: bool,
}

impl Measured {
    /// A row that is compared with nothing.
    pub fn alone(name: impl Into<String>, unit: &'static str, samples: &Samples) -> Self {
        Self::made(name.into(), unit, samples, None, None)
    }

    /// A row that may be so much and is compared with nothing.
    pub fn limited(
        name: impl Into<String>,
        unit: &'static str,
        samples: &Samples,
        limit: Limit,
    ) -> Self {
        Self::made(name.into(), unit, samples, None, Some(limit))
    }

    /// A row beside its peer, measured in the same rounds.
    pub fn beside(
        name: impl Into<String>,
        unit: &'static str,
        samples: &Samples,
        (against, peer): (&str, &Samples),
        limit: Option<Limit>,
    ) -> Self {
        Self::made(name.into(), unit, samples, Some((against, peer)), limit)
    }

    /// The same from what each round measured: the row's figure and its peer's.
    pub fn paired(
        name: impl Into<String>,
        unit: &'static str,
        against: &str,
        rounds: &[(f64, f64)],
        limit: Option<Limit>,
    ) -> Self {
        let ours = rounds.iter().map(|round| round.0).collect();
        let peer = rounds.iter().map(|round| round.1).collect();
        Self::beside(name, unit, &ours, (against, &peer), limit)
    }

    fn made(
        name: String,
        unit: &'static str,
        samples: &Samples,
        against: Option<(&str, &Samples)>,
        limit: Option<Limit>,
    ) -> Self {
        let nothing = Samples::default();
        let peer = against.map_or(&nothing, |(_, peer)| peer);
        let mut sorted = samples.taken.clone();
        sorted.sort_by(f64::total_cmp);
        let rounds = samples.taken.iter().zip(&peer.taken);
        let ratios: Vec<f64> = rounds.map(|(ours, peer)| ours / peer).collect();
        let of_peer = peer.failure.as_ref().zip(against);
        let mut failure = samples
            .failure
            .clone()
            .or_else(|| of_peer.map(|(why, (peer, _))| format!("{peer}: {why}")));
        if failure.is_none() && samples.taken.is_empty() {
            failure = Some("not measured".to_owned());
        }
        if failure.is_none() && against.is_some() && samples.taken.len() != peer.taken.len() {
            failure = Some("not measured in the same rounds as its peer".to_owned());
        }
        let mut row = Self {
            name,
            unit,
            against: against.map(|(name, _)| name.to_owned()),
            samples: samples.taken.clone(),
            median: samples.median(),
            least: sorted.first().copied().unwrap_or(f64::NAN),
            most: sorted.last().copied().unwrap_or(f64::NAN),
            peer: peer.median(),
            ratio: median(&ratios),
            limit,
            failure,
            holds: false,
        };
        // A comparison with NaN is false: what has no figure does not hold.
        row.holds = row.failure.is_none()
            && match limit {
                None => true,
                Some(Limit::Ratio(most)) => row.ratio <= most,
                Some(Limit::Figure(most)) => row.median <= most,
            };
        row
    }

    fn compared(&self) -> String {
        match &self.against {
            Some(_) if self.ratio.is_finite() => format!("{:.2}", self.ratio),
            _ => "-".to_owned(),
        }
    }

    fn at_most(&self) -> String {
        match self.limit {
            None => "-".to_owned(),
            Some(Limit::Ratio(most)) => format!("{most:.2}"),
            Some(Limit::Figure(most)) => number(most),
        }
    }
}

/// The middle one, of an even number the upper; NaN of none.
pub fn median(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

/// A line of a chart.
#[derive(Clone, Debug, Serialize)]
pub struct Line {
    /// What grows.
    pub name: String,
    /// Size and cost.
    pub points: Vec<(f64, f64)>,
}

/// How a cost grows with a size.
#[derive(Clone, Debug, Serialize)]
pub struct Chart {
    /// Its file's name, without an ending.
    pub name: &'static str,
    /// Above it.
    pub title: String,
    /// The size.
    pub x: &'static str,
    /// The cost.
    pub y: &'static str,
    /// One or more.
    pub lines: Vec<Line>,
}

/// A part of the bench.
#[derive(Clone, Debug, Serialize)]
pub struct Section {
    /// Its name on the command line.
    pub name: String,
    /// What its rows are about.
    pub title: &'static str,
    /// They.
    pub rows: Vec<Measured>,
    /// How what was measured grows.
    pub charts: Vec<Chart>,
}

impl Section {
    /// Whether every row holds, and there is one.
    pub fn holds(&self) -> bool {
        !self.rows.is_empty() && self.rows.iter().all(|row| row.holds)
    }
}

/// A table for people.
pub fn table(section: &Section) -> String {
    let cells: Vec<[String; 7]> = section.rows.iter().map(cells).collect();
    let heads = ["", "against", "unit", "median", "range", "ratio", "at most"];
    let width = |column: usize| {
        let longest = cells.iter().filter_map(|row| row.get(column));
        let longest = longest.map(|cell| cell.chars().count()).max().unwrap_or(0);
        longest.max(heads.get(column).map_or(0, |head| head.len()))
    };
    let widths: Vec<usize> = (0..heads.len()).map(width).collect();
    let line = |cells: &[&str]| {
        let padded = cells.iter().zip(&widths).enumerate();
        let padded = padded.map(|(column, (cell, &width))| match column {
            0..=2 => format!("{cell:width$}"),
            _ => format!("{cell:>width$}"),
        });
        padded.collect::<Vec<_>>().join("  ")
    };
    let mut text = format!("{}: {}\n{}\n", section.name, section.title, line(&heads));
    for (row, cells) in section.rows.iter().zip(&cells) {
        let mark = match &row.failure {
            Some(why) => format!("  FAILED: {}", why.lines().collect::<Vec<_>>().join("; ")),
            None if row.holds => String::new(),
            None => "  OVER".to_owned(),
        };
        let cells: Vec<&str> = cells.iter().map(String::as_str).collect();
        let _ = writeln!(text, "{}{mark}", line(&cells));
    }
    text
}

fn cells(row: &Measured) -> [String; 7] {
    [
        row.name.clone(),
        row.against.clone().unwrap_or_else(|| "-".to_owned()),
        row.unit.to_owned(),
        number(row.median),
        format!("{}-{}", number(row.least), number(row.most)),
        row.compared(),
        row.at_most(),
    ]
}

/// Three digits, or all of a large number's.
fn number(value: f64) -> String {
    match value.abs() {
        _ if value.is_nan() => "?".to_owned(),
        size if size >= 100.0 || size == 0.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(figures: &[f64]) -> Samples {
        figures.iter().copied().collect()
    }

    fn section(row: Measured) -> Section {
        Section {
            name: "packet".to_owned(),
            title: "a test",
            rows: vec![row],
            charts: Vec::new(),
        }
    }

    /// Rounds of which one was slow for both: its ratio is like the others'.
    #[track_caller]
    fn check(limit: Limit, holds: bool) {
        let ours = samples(&[22.0, 60.0, 24.0]);
        let peer = samples(&[44.0, 120.0, 50.0]);
        let row = Measured::beside("ours", "ns", &ours, ("peer", &peer), Some(limit));
        assert_eq!((row.median, row.least, row.most), (24.0, 22.0, 60.0));
        assert_eq!((row.peer, row.ratio), (50.0, 0.5));
        let section = section(row);
        assert_eq!(section.holds(), holds, "{limit:?}");
        assert_eq!(table(&section).contains("OVER"), !holds, "{limit:?}");
    }

    #[test]
    fn a_row_over_its_limit_says_so() {
        check(Limit::Ratio(0.5), true);
        check(Limit::Ratio(0.49), false);
        check(Limit::Figure(24.0), true);
        check(Limit::Figure(23.0), false);
    }

    #[track_caller]
    fn check_fails(row: Measured, why: &str) {
        let section = section(row);
        assert!(!section.holds());
        let text = table(&section);
        assert!(text.contains("FAILED") && text.contains(why), "{text}");
    }

    #[test]
    fn what_cannot_run_fails_its_rows_and_stays() {
        let ours = samples(&[1.0]);
        let mut peer = samples(&[2.0]);
        let beside = |ours: &Samples, peer: &Samples| {
            Measured::beside("ours", "ns", ours, ("the peer", peer), None)
        };
        assert!(beside(&ours, &peer).holds);
        check_fails(beside(&samples(&[]), &samples(&[])), "not measured");
        check_fails(beside(&samples(&[1.0, 1.0]), &peer), "same rounds");
        peer.add(Err(anyhow::anyhow!("no such program")));
        peer.add(Ok(2.0));
        assert_eq!(peer.taken(), [2.0]);
        check_fails(beside(&ours, &peer), "the peer: no such program");
        check_fails(beside(&peer, &ours), "FAILED: no such program");
        let none = Samples::failure("not here");
        check_fails(Measured::alone("ours", "ns", &none), "not here");
        let limit = Limit::Figure(9.0);
        let none = samples(&[f64::NAN]);
        check_fails(
            Measured::limited("ours", "ns", &none, limit),
            "measured NaN",
        );
    }

    #[test]
    fn the_least_is_of_all_turns_or_there_is_none() {
        let mut turns = samples(&[3.0, 1.0, 2.0]);
        assert_eq!(turns.clone().into_least().unwrap(), 1.0);
        turns.add(Err(anyhow::anyhow!("a frame was lost")));
        assert!(turns.into_least().is_err());
        assert!(samples(&[]).into_least().unwrap().is_nan());
    }

    #[test]
    fn a_section_without_rows_does_not_hold() {
        let mut section = section(Measured::alone("ours", "ns", &samples(&[1.0])));
        assert!(section.holds());
        section.rows.clear();
        assert!(!section.holds());
    }
}
