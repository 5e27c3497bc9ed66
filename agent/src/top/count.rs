//! Packets by whatever they have in common, with what came of late. Pure.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;

use crate::events::shown::Shown;

/// Seconds that count as of late. Repeats are told once a minute, so a shorter time would see them jump.
pub const SPAN: usize = 60;
/// Keys of a table at most; a flood of forged sources must not fill the memory of whoever looks on.
pub const MOST: usize = 4_096;

/// What packets are counted by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum By {
    /// The other end's address.
    Peer,
    /// Direction, transport and port.
    Port,
    /// Rows and rules that decided or came nearest; a packet near several counts at each.
    Row,
    /// What kept it from matching.
    Kind,
}

impl By {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Self; 4] = [Self::Peer, Self::Port, Self::Row, Self::Kind];

    /// The table's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Peer => "peers",
            Self::Port => "ports",
            Self::Row => "rows",
            Self::Kind => "kinds",
        }
    }

    /// What an entry counts at.
    #[must_use]
    pub fn keys(self, entry: &Shown) -> Vec<String> {
        match self {
            Self::Peer => {
                let peer = entry.peer();
                vec![peer.map_or_else(|| "no address".to_owned(), |it| it.to_string())]
            }
            Self::Port => vec![format!("{} {}", entry.way(), entry.service())],
            Self::Row => match entry.rows.is_empty() {
                false => entry.rows.clone(),
                true if entry.near_rows.is_empty() => vec!["no row comes near".to_owned()],
                true => entry.near_rows.clone(),
            },
            Self::Kind => vec![entry.kind.clone().unwrap_or_else(|| "not said".to_owned())],
        }
    }
}

/// Packets in each of the last seconds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Recent {
    /// By second, modulo their number.
    counts: [u64; SPAN],
    /// The newest second that `counts` has.
    newest: i64,
}

impl Default for Recent {
    fn default() -> Self {
        Self {
            counts: [0; SPAN],
            newest: i64::MIN / 2,
        }
    }
}

impl Recent {
    /// Counts packets that came between two seconds, both included; what is older than the span is of no matter.
    pub fn add(&mut self, first: i64, last: i64, packets: u64) {
        let first = first.min(last);
        self.advance(last);
        let seconds = u128::from(last.abs_diff(first)) + 1;
        // Evenly, and none lost where they do not divide.
        let until =
            |second: i64| u128::from(packets) * u128::from(second.abs_diff(first)) / seconds;
        let oldest = first.max(self.newest.saturating_sub(SPAN as i64 - 1));
        for second in oldest..=last {
            if let Some(count) = self.counts.get_mut(place(second)) {
                let these = until(second.saturating_add(1)) - until(second);
                *count = count.saturating_add(u64::try_from(these).unwrap_or(u64::MAX));
            }
        }
    }

    fn advance(&mut self, to: i64) {
        if to <= self.newest {
            return;
        }
        let steps = to.saturating_sub(self.newest).min(SPAN as i64);
        for second in to - steps + 1..=to {
            if let Some(count) = self.counts.get_mut(place(second)) {
                *count = 0;
            }
        }
        self.newest = to;
    }

    /// Packets by second, the oldest first, up to `now`.
    #[must_use]
    pub fn bars(&self, now: i64) -> [u64; SPAN] {
        let mut bars = [0; SPAN];
        for (bar, second) in bars.iter_mut().zip(now - SPAN as i64 + 1..=now) {
            let known = second <= self.newest && second > self.newest - SPAN as i64;
            if known {
                *bar = self.counts.get(place(second)).copied().unwrap_or(0);
            }
        }
        bars
    }

    /// Packets per second over the span, or over the seconds since `since` where these are fewer.
    #[must_use]
    pub fn rate(&self, since: i64, now: i64) -> f64 {
        let seconds = now
            .saturating_sub(since)
            .saturating_add(1)
            .clamp(1, SPAN as i64);
        // What came before is not of these seconds.
        let packets: u64 = self.bars(now).iter().rev().take(seconds as usize).sum();
        packets as f64 / seconds as f64
    }
}

/// The place of a second in the ring.
fn place(second: i64) -> usize {
    second.rem_euclid(SPAN as i64) as usize
}

/// What is known of a key.
#[derive(Clone, Debug)]
pub struct Line {
    /// Packets ever.
    pub packets: u64,
    /// When the last one came.
    pub last: Timestamp,
    /// Of late.
    pub recent: Recent,
    /// The newest entry.
    pub newest: Arc<Shown>,
}

/// Lines by key.
#[derive(Clone, Debug, Default)]
pub struct Table {
    lines: HashMap<String, Line>,
    /// Packets of keys that were forgotten.
    pub forgotten: u64,
}

/// In which order lines stand.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Sort {
    /// Most packets of late first.
    #[default]
    Rate,
    /// Most packets first.
    Packets,
    /// The newest first.
    Last,
    /// By name.
    Name,
}

impl Sort {
    /// The next one.
    #[must_use]
    pub const fn next(self) -> Self {
        match self {
            Self::Rate => Self::Packets,
            Self::Packets => Self::Last,
            Self::Last => Self::Name,
            Self::Name => Self::Rate,
        }
    }

    /// Its word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rate => "rate",
            Self::Packets => "packets",
            Self::Last => "last",
            Self::Name => "name",
        }
    }
}

impl Table {
    /// Counts an entry's packets at a key.
    pub fn add(
        &mut self,
        key: String,
        entry: &Arc<Shown>,
        (first, last): (i64, i64),
        time: Timestamp,
    ) {
        if !self.lines.contains_key(&key) && self.lines.len() >= MOST {
            self.forget();
        }
        let line = self.lines.entry(key).or_insert_with(|| Line {
            packets: 0,
            last: time,
            recent: Recent::default(),
            newest: Arc::clone(entry),
        });
        line.packets = line.packets.saturating_add(entry.count);
        line.recent.add(first, last, entry.count);
        if time >= line.last {
            line.last = time;
            line.newest = Arc::clone(entry);
        }
    }

    /// Lets the half go that was silent the longest.
    fn forget(&mut self) {
        let mut times: Vec<Timestamp> = self.lines.values().map(|it| it.last).collect();
        times.sort_unstable();
        let Some(&middle) = times.get(times.len() / 2) else {
            return;
        };
        let mut room = times.len() / 2;
        let forgotten = &mut self.forgotten;
        self.lines.retain(|_, line| {
            // Of equals, as many as it takes.
            let goes = line.last < middle || (line.last == middle && room > 0);
            if goes {
                room = room.saturating_sub(1);
                *forgotten = forgotten.saturating_add(line.packets);
            }
            !goes
        });
    }

    /// A line.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Line> {
        self.lines.get(key)
    }

    /// All lines in this order; equals by name.
    #[must_use]
    pub fn sorted(&self, sort: Sort, since: i64, now: i64) -> Vec<(&str, &Line, f64)> {
        let lines = self.lines.iter();
        let mut all: Vec<(&str, &Line, f64)> = lines
            .map(|(key, line)| (key.as_str(), line, line.recent.rate(since, now)))
            .collect();
        all.sort_by(|a, b| {
            let order = match sort {
                Sort::Rate => b.2.total_cmp(&a.2).then(b.1.packets.cmp(&a.1.packets)),
                Sort::Packets => b.1.packets.cmp(&a.1.packets),
                Sort::Last => b.1.last.cmp(&a.1.last),
                Sort::Name => std::cmp::Ordering::Equal,
            };
            order.then_with(|| a.0.cmp(b.0))
        });
        all
    }
}
