//! What the ring and the sinks have lost, told in the log: at once, and then at most once a minute. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::events::sink::SinkCounts;
use crate::events::watch::Missed;

/// After something was told, more of it is told this much later at the soonest.
const PAUSE: Duration = Duration::from_secs(60);

/// Packets whose loss was told.
#[derive(Debug, Default)]
pub(super) struct Losses {
    /// In a ring that was full; none before the first look: what an earlier process lost was its to tell.
    ring: Option<u64>,
    /// By sink.
    sinks: BTreeMap<&'static str, u64>,
    /// Nothing is told before.
    next: Duration,
    /// Packets without an entry that those who watch were told of: over budget, and lost in the ring.
    watched: Option<(u64, u64)>,
}

impl Losses {
    /// What those who watch have missed since the last look. The numbers count packets ever.
    pub(super) fn missed(&mut self, suppressed: u64, lost: u64) -> Missed {
        let told = self.watched.replace((suppressed, lost));
        // Before the first look it was nobody's; a state that was made anew begins anew.
        let (before, earlier) = told.unwrap_or((suppressed, lost));
        Missed {
            suppressed: suppressed.saturating_sub(before),
            lost: lost.saturating_sub(earlier),
            ..Missed::default()
        }
    }

    /// What to say. `ring` counts the packets that ever found the ring full, `now` is a monotonic time.
    pub(super) fn look(
        &mut self,
        now: Duration,
        ring: u64,
        sinks: &[(&'static str, SinkCounts)],
    ) -> Vec<String> {
        let told = *self.ring.get_or_insert(ring);
        if now < self.next {
            return Vec::new();
        }
        let mut lines = Vec::new();
        if let Some(more) = ring.checked_sub(told).filter(|more| *more > 0) {
            lines.push(format!(
                "{more} denied or audited packets found the event ring full and have no entry; `portcullis status` counts them as lost"
            ));
        }
        self.ring = Some(ring);
        for (name, counts) in sinks {
            let told = self.sinks.insert(name, counts.lost).unwrap_or(0);
            if let Some(more) = counts.lost.checked_sub(told).filter(|more| *more > 0) {
                lines.push(format!(
                    "the sink {name} did not take entries about {more} packets; it is told how many when it takes entries again"
                ));
            }
        }
        if !lines.is_empty() {
            self.next = now.saturating_add(PAUSE);
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks, and says how many lines there were, and the number in the first.
    fn look(losses: &mut Losses, seconds: u64, ring: u64, sink: u64) -> (usize, Option<u64>) {
        let counts = SinkCounts {
            lost: sink,
            ..SinkCounts::default()
        };
        let lines = losses.look(Duration::from_secs(seconds), ring, &[("json", counts)]);
        let number = |line: &String| line.split(' ').find_map(|word| word.parse().ok());
        (lines.len(), lines.first().and_then(number))
    }

    #[test]
    fn who_watches_is_told_the_difference() {
        let mut losses = Losses::default();
        for (suppressed, lost, expected) in [
            (7, 3, (0, 0)),
            (9, 3, (2, 0)),
            (9, 8, (0, 5)),
            (0, 0, (0, 0)),
            (1, 2, (1, 2)),
        ] {
            let missed = losses.missed(suppressed, lost);
            assert_eq!((missed.suppressed, missed.lost), expected);
        }
    }

    #[test]
    fn each_loss_is_told_once_and_seldom() {
        let mut losses = Losses::default();
        assert_eq!(
            look(&mut losses, 0, 70, 0),
            (0, None),
            "of an earlier process"
        );
        assert_eq!(look(&mut losses, 2, 70, 0), (0, None));
        assert_eq!(look(&mut losses, 4, 75, 0), (1, Some(5)));
        assert_eq!(look(&mut losses, 6, 80, 9), (0, None), "too soon");
        assert_eq!(look(&mut losses, 64, 82, 9), (2, Some(7)));
        assert_eq!(look(&mut losses, 200, 82, 11), (1, Some(2)));
        assert_eq!(look(&mut losses, 400, 82, 11), (0, None));
        // the state was made anew
        assert_eq!(look(&mut losses, 600, 0, 11), (0, None));
        assert_eq!(look(&mut losses, 602, 1, 11), (1, Some(1)));
    }
}
