//! The rows: a policy, a packet, the verdict that it must get, what it is compared with and the limit.

use anyhow::{Context as _, Result};

use super::described::{denied, described, in_force};
use super::loaded::{Loaded, Sent};
use super::report::Limit;
use crate::interpreter::Cost;

/// What a row is compared with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Against {
    /// xdp-filter, as it denies.
    Filter,
    /// Another row.
    Row(String),
}

/// Something that is measured.
#[derive(Debug)]
pub struct Row {
    /// What, for people.
    pub name: String,
    /// What it is compared with.
    pub against: Against,
    /// Most that it may take.
    pub limit: Option<Limit>,
    pub(super) policy: String,
    pub(super) sent: Sent,
}

impl Row {
    /// Whether what it takes can be counted: of packets that differ, each takes its own.
    #[must_use]
    pub fn counts(&self) -> bool {
        self.sent.vary.is_none()
    }
}

/// Rows and the policies that they need.
#[derive(Default)]
pub struct Rows {
    /// They, in the order of the table.
    pub rows: Vec<Row>,
    loaded: Vec<(String, Loaded)>,
}

impl Rows {
    /// All rows whose name has `only` in it, loaded from this object.
    ///
    /// # Errors
    /// Where a policy can't be compiled or loaded.
    pub fn load(object: &[u8], only: &str) -> Result<Self> {
        let mut rows = described()?;
        let wanted: Vec<String> = rows
            .iter()
            .filter(|row| row.name.contains(only))
            .flat_map(|row| match &row.against {
                Against::Row(other) => vec![row.name.clone(), other.clone()],
                _ => vec![row.name.clone()],
            })
            .collect();
        rows.retain(|row| wanted.contains(&row.name));
        let mut loaded: Vec<(String, Loaded)> = Vec::new();
        for row in &rows {
            if loaded.iter().any(|(policy, _)| *policy == row.policy) {
                continue;
            }
            let number = loaded.len().to_string();
            let policy = in_force(&row.policy)
                .and_then(|policy| Loaded::new(object, &number, policy))
                .with_context(|| row.policy.clone())?;
            loaded.push((row.policy.clone(), policy));
        }
        Ok(Self { rows, loaded })
    }

    /// Mean nanoseconds of a row's packet, `repeat` times.
    ///
    /// # Errors
    /// Where the program can't be run or gives another verdict.
    pub fn time(&mut self, row: usize, repeat: u32) -> Result<f64> {
        let (row, policy) = self.at(row)?;
        policy.time(&row.sent, repeat)
    }

    /// What a row's packet takes, counted.
    ///
    /// # Errors
    /// Where the program can't be gone through or gives another verdict.
    pub fn cost(&mut self, row: usize) -> Result<Cost> {
        let (row, policy) = self.at(row)?;
        policy.cost(&row.sent)
    }

    /// The number of the row with this name.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<usize> {
        self.rows.iter().position(|row| row.name == name)
    }

    /// The frame that xdp-filter gets beside them: a segment that it denies as these programs do.
    ///
    /// # Errors
    /// None that is expected.
    pub fn denied() -> Result<Vec<u8>> {
        denied().frame()
    }

    fn at(&mut self, row: usize) -> Result<(&Row, &mut Loaded)> {
        let row = self.rows.get(row).context("no such row")?;
        let mut loaded = self.loaded.iter_mut();
        let policy = loaded.find(|(policy, _)| *policy == row.policy);
        Ok((row, &mut policy.context("a policy that nobody loaded")?.1))
    }
}
