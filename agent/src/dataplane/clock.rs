//! The kernel's clock as the programs see it: jiffies, and how many there are to a second.
//!
//! User space is not told HZ. The program `clock` writes nanoseconds and jiffies of one moment; two test runs a while apart give the rate.

use std::path::Path;
use std::time::Duration;

use agent_common::tables::TICK_SHIFT;
use aya::EbpfLoader;
use aya::maps::{Array, Map, MapData};
use aya::programs::{Program, SchedClassifier, TestRun, TestRunOptions};

use super::error::Error;
use super::pins::{STATE_MAPS, TABLE_MAPS};

const PROGRAM: &str = "clock";
const MAP: &str = "CLOCK";

/// Rates that kernels are built with (kernel/Kconfig.hz).
const RATES: [u64; 4] = [100, 250, 300, 1000];

/// One moment by both clocks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Moment {
    /// `ktime_get_ns`.
    pub nanoseconds: u64,
    /// `jiffies64`; begins 300 s before its low half wraps.
    pub jiffies: u64,
}

impl Moment {
    /// The tick that entries, stamps and deadlines are counted in.
    #[must_use]
    pub const fn tick(self) -> u32 {
        (self.jiffies >> TICK_SHIFT) as u32
    }
}

/// The clock of a load, by its pins.
pub struct Clock {
    program: SchedClassifier,
    map: Array<MapData, [u64; 2]>,
}

impl Clock {
    /// Opens the clock that is pinned in a load's directory.
    pub(super) fn open(load: &Path) -> Result<Self, Error> {
        let program =
            SchedClassifier::from_pin(load.join(PROGRAM)).map_err(Error::program(PROGRAM))?;
        let map = MapData::from_pin(load.join(MAP))
            .and_then(Map::from_map_data)
            .and_then(Array::try_from)
            .map_err(Error::map(MAP))?;
        Ok(Self { program, map })
    }

    /// Now.
    ///
    /// # Errors
    /// What the kernel says of the test run.
    pub fn now(&self) -> Result<Moment, Error> {
        moment(&self.program, &self.map)
    }

    /// Jiffies a second, measured within about 0.15 s, on a busy machine in up to 4 s.
    ///
    /// # Errors
    /// [`Error::Hz`] where the rate is none that a kernel has.
    pub fn measure_hz(&self) -> Result<u32, Error> {
        measure(|| self.now())
    }
}

/// Jiffies a second, measured with a load of its own that is gone afterwards: for facts, before there are tables.
///
/// # Errors
/// Missing privileges, what the kernel says of the load, [`Error::Hz`].
pub fn measure_hz(object: &[u8]) -> Result<u32, Error> {
    super::probe::privileges()?;
    super::load::raise_memlock();
    let mut loader = EbpfLoader::new();
    for name in TABLE_MAPS
        .into_iter()
        .chain(STATE_MAPS.map(|(name, ..)| name))
    {
        // a ring buffer is a number of whole pages, rounded up by the loader
        loader.map_max_entries(name, 1);
    }
    let mut ebpf = loader.load(object)?;
    super::load::load_classifier(&mut ebpf, PROGRAM)?;
    let map = ebpf.take_map(MAP).ok_or(Error::Object("map CLOCK"))?;
    let map = Array::try_from(map).map_err(Error::map(MAP))?;
    let Some(Program::SchedClassifier(program)) = ebpf.program(PROGRAM) else {
        return Err(Error::Object("classifier clock"));
    };
    measure(|| moment(program, &map))
}

fn moment(program: &SchedClassifier, map: &Array<MapData, [u64; 2]>) -> Result<Moment, Error> {
    let frame = [0; 64];
    let options = TestRunOptions {
        data_in: Some(&frame),
        ..TestRunOptions::new()
    };
    program.test_run(options).map_err(Error::program(PROGRAM))?;
    let [nanoseconds, jiffies] = map.get(&0, 0).map_err(Error::map(MAP))?;
    Ok(Moment {
        nanoseconds,
        jiffies,
    })
}

/// Counts from one beat of jiffies to a later one, so that neither end is off by a part of a beat, and twice in a row.
///
/// A busy or emulated machine has beats that come late and in bunches, and 29 of 250 a second look like 300: the two counts must agree. Where they don't, or
/// fit no rate, both are taken again over twice the time, from 60 ms to 1 s each, in which a beat or two no longer matter. At last all that was
/// counted decides: a machine that gets a processor for a part of the time only makes up for late beats in seconds, and the sum is right.
fn measure(mut now: impl FnMut() -> Result<Moment, Error>) -> Result<u32, Error> {
    const FIRST: u64 = 60_000_000;
    const LAST: u64 = 16 * FIRST;
    let mut span = FIRST;
    let begin = next_beat(&mut now)?;
    let mut from = begin;
    loop {
        let middle = beat_after(span, from, &mut now)?;
        let to = beat_after(span, middle, &mut now)?;
        match (rate(from, middle), rate(middle, to)) {
            (Some(one), Some(other)) if one == other => return Ok(one),
            _ if span >= LAST => {
                return rate(begin, to).ok_or(Error::Hz {
                    jiffies: to.jiffies.saturating_sub(begin.jiffies),
                    nanoseconds: to.nanoseconds.saturating_sub(begin.nanoseconds),
                });
            }
            _ => {
                span *= 2;
                from = to;
            }
        }
    }
}

/// The first beat that is at least `span` nanoseconds after another.
fn beat_after(
    span: u64,
    from: Moment,
    now: &mut impl FnMut() -> Result<Moment, Error>,
) -> Result<Moment, Error> {
    loop {
        let at = next_beat(now)?;
        if at.nanoseconds.saturating_sub(from.nanoseconds) >= span {
            return Ok(at);
        }
    }
}

/// The first moment after jiffies went on.
fn next_beat(now: &mut impl FnMut() -> Result<Moment, Error>) -> Result<Moment, Error> {
    const PATIENCE: u64 = 2;
    let from = now()?;
    loop {
        let at = now()?;
        if at.jiffies != from.jiffies {
            return Ok(at);
        }
        if at.nanoseconds.saturating_sub(from.nanoseconds) > PATIENCE * 1_000_000_000 {
            return Err(Error::ClockStopped(PATIENCE));
        }
        // nothing announces a beat; a tenth of the shortest one
        std::thread::sleep(Duration::from_micros(100));
    }
}

/// The rate that a kernel has between two moments, within 4 %: 250 and 300 are 20 % apart.
fn rate(from: Moment, to: Moment) -> Option<u32> {
    let jiffies = to.jiffies.saturating_sub(from.jiffies);
    let nanoseconds = to.nanoseconds.saturating_sub(from.nanoseconds);
    let expected = |rate: u64| u128::from(nanoseconds) * u128::from(rate) / 1_000_000;
    let counted = u128::from(jiffies) * 1000;
    RATES
        .into_iter()
        .find(|&rate| counted.abs_diff(expected(rate)) * 25 <= expected(rate))
        .map(|rate| rate as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(jiffies: u64, milliseconds: u64, expected: Option<u32>) {
        let from = Moment {
            nanoseconds: 5,
            jiffies: u64::from(u32::MAX) - 3,
        };
        let to = Moment {
            nanoseconds: 5 + milliseconds * 1_000_000,
            jiffies: from.jiffies + jiffies,
        };
        assert_eq!(rate(from, to), expected);
    }

    #[test]
    fn rates_of_kernels() {
        check(10, 100, Some(100));
        check(25, 100, Some(250));
        check(26, 102, Some(250));
        check(30, 100, Some(300));
        check(100, 100, Some(1000));
        check(103, 100, Some(1000));
        check(110, 100, None);
        check(27, 100, None);
        check(6, 100, None);
        check(0, 100, None);
    }

    #[test]
    fn both_ends_lie_on_a_beat() {
        // 250 a second, asked every 0.7 ms
        let mut nanoseconds = 1_300_000;
        let now = || {
            nanoseconds += 700_000;
            Ok(Moment {
                nanoseconds,
                jiffies: nanoseconds / 4_000_000,
            })
        };
        assert_eq!(measure(now).unwrap(), 250);
    }

    /// `late` beats are missing at each look in the first 100 ms, as on a machine that has no time for its timer.
    #[track_caller]
    fn check_late(per_second: u64, late: u64, expected: Option<u32>) {
        let mut nanoseconds = 0;
        let now = || {
            nanoseconds += 700_000;
            let beats = nanoseconds * per_second / 1_000_000_000;
            let late = if nanoseconds < 100_000_000 { late } else { 0 };
            Ok(Moment {
                nanoseconds,
                jiffies: 100 + beats - late.min(beats),
            })
        };
        assert_eq!(measure(now).ok(), expected, "{per_second} less {late}");
    }

    #[test]
    fn beats_that_come_late_are_waited_for() {
        check_late(250, 0, Some(250));
        check_late(250, 1, Some(250));
        check_late(250, 3, Some(250));
        // within 100 ms these look like 300
        check_late(250, 4, Some(250));
        check_late(300, 2, Some(300));
        check_late(1000, 40, Some(1000));
        // no rate of a kernel, however long one looks
        check_late(270, 0, None);
    }

    /// Beats at one rate for the first half of each pair of counts, and at another for the second.
    #[track_caller]
    fn check_uneven(first: u64, second: u64, expected: Option<u32>) {
        const HALF: u64 = 60_000_000;
        let mut nanoseconds = 0;
        let now = || {
            nanoseconds += 700_000;
            let (mut left, mut half, mut beats) = (nanoseconds, HALF, 0);
            while left > 0 {
                for per_second in [first, second] {
                    let gone = left.min(half);
                    beats += gone * per_second;
                    left -= gone;
                }
                half *= 2;
            }
            Ok(Moment {
                nanoseconds,
                jiffies: beats / 1_000_000_000,
            })
        };
        assert_eq!(measure(now).ok(), expected, "{first}, then {second}");
    }

    #[test]
    fn where_no_half_fits_the_whole_decides() {
        check_uneven(230, 270, Some(250));
        check_uneven(270, 230, Some(250));
        check_uneven(265, 281, None);
    }

    #[test]
    fn a_clock_that_stands_still_is_an_error() {
        let mut nanoseconds = 0;
        let now = || {
            nanoseconds += 500_000_000;
            Ok(Moment {
                nanoseconds,
                jiffies: 7,
            })
        };
        assert!(matches!(measure(now), Err(Error::ClockStopped(2))));
    }
}
