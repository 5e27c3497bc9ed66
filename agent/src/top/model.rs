//! What is looked at: counts, and where in them one looks. Pure: entries, keys and the time come from outside.

use std::collections::VecDeque;
use std::sync::Arc;

use jiff::Timestamp;

use super::count::{By, Recent, Sort, Table};
use crate::events::shown::Shown;
use crate::events::watch::Missed;

/// Entries that are kept to be looked at one by one.
pub const KEPT: usize = 2_000;

/// What somebody does at the keyboard.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Do {
    /// Another table.
    Table(By),
    /// The table to the right; the last one's right is the first.
    Next,
    /// The table to the left.
    Previous,
    /// So many lines down, or up where negative.
    Move(isize),
    /// Into what is selected.
    Enter,
    /// Out of it.
    Back,
    /// Another order.
    Sort,
    /// Counts begin anew.
    Clear,
}

/// How deep one looks.
#[derive(Clone, Debug, Default)]
pub enum Level {
    /// A table.
    #[default]
    Table,
    /// The entries of one of its lines.
    Entries {
        /// The line.
        key: String,
        /// The entry that is selected, by its number; none: the newest.
        selected: Option<u64>,
    },
    /// What there is to say of one.
    Entry {
        /// The line that it was found at, and its number.
        key: String,
        /// Its number.
        number: u64,
        /// It, whether it is still kept or not.
        entry: Arc<Shown>,
        /// Lines that were scrolled past.
        scrolled: usize,
    },
}

/// All of it.
#[derive(Clone, Debug)]
pub struct Model {
    /// When counting began, in seconds.
    pub since: i64,
    /// When the daemon went, if it has.
    pub gone: Option<i64>,
    /// What nobody saw.
    pub missed: Missed,
    /// Denied packets.
    pub denied: u64,
    /// Audited packets.
    pub audited: u64,
    /// Both, of late.
    pub recent: Recent,
    /// The table that is looked at.
    pub by: By,
    /// Its order.
    pub sort: Sort,
    /// How deep.
    pub level: Level,
    tables: [Table; By::ALL.len()],
    /// The selected key of each table; none: the first.
    selected: [Option<String>; By::ALL.len()],
    kept: VecDeque<(u64, Arc<Shown>)>,
    number: u64,
}

impl Model {
    /// Nothing was seen yet.
    #[must_use]
    pub fn new(now: i64) -> Self {
        Self {
            since: now,
            gone: None,
            missed: Missed::default(),
            denied: 0,
            audited: 0,
            recent: Recent::default(),
            by: By::Peer,
            sort: Sort::default(),
            level: Level::Table,
            tables: Default::default(),
            selected: Default::default(),
            kept: VecDeque::new(),
            number: 0,
        }
    }

    /// Counts an entry. Those about entries, which are no packet's, are not.
    pub fn take(&mut self, entry: Shown, now: Timestamp) {
        let Some(verdict) = entry.verdict.as_deref() else {
            return;
        };
        let packets = match verdict {
            "audit" => &mut self.audited,
            _ => &mut self.denied,
        };
        *packets = packets.saturating_add(entry.count);
        let time = entry.time.unwrap_or(now).min(now);
        let first = entry.first().unwrap_or(time).min(time);
        let times = (first.as_second(), time.as_second());
        self.recent.add(times.0, times.1, entry.count);
        let entry = Arc::new(entry);
        for (by, table) in By::ALL.into_iter().zip(&mut self.tables) {
            for key in by.keys(&entry) {
                table.add(key, &entry, times, time);
            }
        }
        self.number += 1;
        self.kept.push_front((self.number, entry));
        self.kept.truncate(KEPT);
    }

    /// Something was missed.
    pub fn miss(&mut self, missed: Missed) {
        let all = &mut self.missed;
        all.entries = all.entries.saturating_add(missed.entries);
        all.suppressed = all.suppressed.saturating_add(missed.suppressed);
        all.lost = all.lost.saturating_add(missed.lost);
        all.away = all.away.saturating_add(missed.away);
    }

    /// The table that is looked at.
    #[must_use]
    pub fn table(&self) -> &Table {
        let [peers, ports, rows, kinds] = &self.tables;
        match self.by {
            By::Peer => peers,
            By::Port => ports,
            By::Row => rows,
            By::Kind => kinds,
        }
    }

    fn selection(&mut self) -> &mut Option<String> {
        let [peers, ports, rows, kinds] = &mut self.selected;
        match self.by {
            By::Peer => peers,
            By::Port => ports,
            By::Row => rows,
            By::Kind => kinds,
        }
    }

    /// Which of these lines is selected: that of the key, wherever it stands by now, else the first.
    #[must_use]
    pub fn chosen(&self, keys: &[&str]) -> usize {
        let selected = self.selected.get(self.by as usize);
        let key = selected.and_then(Option::as_deref);
        let place = key.and_then(|key| keys.iter().position(|it| *it == key));
        place.unwrap_or(0)
    }

    /// Kept entries of a line of the present table, the newest first, with their numbers.
    #[must_use]
    pub fn entries(&self, key: &str) -> Vec<(u64, &Arc<Shown>)> {
        let kept = self.kept.iter();
        kept.filter(|(_, entry)| self.by.keys(entry).iter().any(|it| it == key))
            .map(|(number, entry)| (*number, entry))
            .collect()
    }

    /// Does what somebody wants at the keyboard.
    pub fn act(&mut self, what: Do, now: i64) {
        let place = self.by as usize;
        let count = By::ALL.len();
        let to = |place: usize| By::ALL.get(place % count).copied();
        match what {
            Do::Table(by) => self.turn(Some(by)),
            Do::Next => self.turn(to(place + 1)),
            Do::Previous => self.turn(to(place + count - 1)),
            Do::Sort => self.sort = self.sort.next(),
            Do::Clear => {
                let (gone, by, sort) = (self.gone, self.by, self.sort);
                *self = Self {
                    gone,
                    by,
                    sort,
                    ..Self::new(now)
                };
            }
            Do::Move(lines) => self.go(lines, now),
            Do::Enter => self.enter(now),
            Do::Back => self.back(),
        }
    }

    /// An explanation is not scrolled past its end: so many of its lines have no place.
    pub fn scroll_within(&mut self, beyond: usize) {
        if let Level::Entry { scrolled, .. } = &mut self.level {
            *scrolled = (*scrolled).min(beyond);
        }
    }

    fn turn(&mut self, by: Option<By>) {
        if let Some(by) = by {
            self.by = by;
            self.level = Level::Table;
        }
    }

    fn go(&mut self, lines: isize, now: i64) {
        let by = |from: usize, last: usize| from.saturating_add_signed(lines).min(last);
        match &self.level {
            Level::Table => {
                let sorted = self.table().sorted(self.sort, self.since, now);
                let keys: Vec<&str> = sorted.iter().map(|it| it.0).collect();
                let to = by(self.chosen(&keys), keys.len().saturating_sub(1));
                let key = keys.get(to).map(|it| (*it).to_owned());
                *self.selection() = key;
            }
            Level::Entries { key, selected } => {
                let entries = self.entries(key);
                let from = place_of(&entries, *selected);
                let to = by(from, entries.len().saturating_sub(1));
                // At the newest one stays at the newest.
                let number = entries.get(to).map(|it| it.0).filter(|_| to > 0);
                if let Level::Entries { selected, .. } = &mut self.level {
                    *selected = number;
                }
            }
            Level::Entry { .. } => {
                if let Level::Entry { scrolled, .. } = &mut self.level {
                    *scrolled = scrolled.saturating_add_signed(lines);
                }
            }
        }
    }

    fn enter(&mut self, now: i64) {
        match &self.level {
            Level::Table => {
                let sorted = self.table().sorted(self.sort, self.since, now);
                let keys: Vec<&str> = sorted.iter().map(|it| it.0).collect();
                let Some(key) = keys.get(self.chosen(&keys)).map(|it| (*it).to_owned()) else {
                    return;
                };
                *self.selection() = Some(key.clone());
                self.level = Level::Entries {
                    key,
                    selected: None,
                };
            }
            Level::Entries { key, selected } => {
                let entries = self.entries(key);
                let Some((number, entry)) = entries.get(place_of(&entries, *selected)) else {
                    return;
                };
                self.level = Level::Entry {
                    key: key.clone(),
                    number: *number,
                    entry: Arc::clone(entry),
                    scrolled: 0,
                };
            }
            Level::Entry { .. } => {}
        }
    }

    fn back(&mut self) {
        self.level = match std::mem::take(&mut self.level) {
            Level::Table | Level::Entries { .. } => Level::Table,
            Level::Entry { key, number, .. } => Level::Entries {
                key,
                selected: Some(number),
            },
        };
    }
}

/// Where the selected entry is; the newest where it is gone or none was selected.
#[must_use]
pub fn place_of(entries: &[(u64, &Arc<Shown>)], selected: Option<u64>) -> usize {
    let place = selected.and_then(|number| entries.iter().position(|it| it.0 == number));
    place.unwrap_or(0)
}

#[cfg(test)]
mod tests;
