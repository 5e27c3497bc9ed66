//! Entries from the daemon as they come, across its restarts.

use std::io::{BufRead as _, Read as _};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{Answer, Lines, NotAsked, watch};

/// Between two attempts to reach a daemon that has gone.
const AGAIN: Duration = Duration::from_millis(200);
/// Octets of a line at most; an entry has some thousand.
const MOST_LINE: u64 = 1 << 20;

/// What a stream brings.
#[derive(Clone, PartialEq, Debug)]
pub enum Came {
    /// An entry, or what was missed.
    Line(Value),
    /// The daemon has gone, or has ended the stream; it is asked again from now on.
    Gone,
    /// It answers again.
    Back {
        /// How long nobody told what was denied.
        away: Duration,
    },
}

/// Why no more comes.
#[derive(Debug, thiserror::Error)]
pub enum Ended {
    /// There is no daemon, or none that may be asked.
    #[error("{0}")]
    NotAsked(#[from] NotAsked),
    /// It gives no entries, and says why.
    #[error("{}", .0.stderr.trim_end())]
    Refused(Box<Answer>),
    /// It has gone, and was not back in time.
    #[error(
        "the daemon has gone and was not back within {} s; what is denied until it is asked again is in the journal, and counted ({why})",
        patience.as_secs_f64()
    )]
    Away {
        /// How long it was waited for.
        patience: Duration,
        /// What came of the last attempt.
        why: Box<Ended>,
    },
    /// What came is no line of a stream.
    #[error("the daemon's stream: {0}")]
    Garbled(#[from] serde_json::Error),
}

/// A stream that is asked for again where its daemon goes.
#[derive(Debug)]
pub struct Stream {
    runtime: PathBuf,
    patience: Duration,
    /// None while there is no daemon.
    lines: Option<Lines>,
    /// When it was seen that there is none.
    gone: Instant,
}

impl Stream {
    /// Asks for entries; a daemon that goes is waited for as long as `patience`.
    ///
    /// # Errors
    ///
    /// Where there is no daemon now, or it refuses.
    pub fn open(runtime: &Path, patience: Duration) -> Result<Self, Ended> {
        Ok(Self {
            runtime: runtime.to_owned(),
            patience,
            lines: Some(asked(runtime)?),
            gone: Instant::now(),
        })
    }

    /// Waits for what comes next.
    ///
    /// # Errors
    ///
    /// Where the daemon stays away for longer than it is waited for, or says what can't be read.
    pub fn wait(&mut self) -> Result<Came, Ended> {
        let Some(lines) = &mut self.lines else {
            return self.again();
        };
        let mut line = Vec::new();
        // A daemon that is killed may leave half a line, and an error in place of an end.
        let read = lines.take(MOST_LINE).read_until(b'\n', &mut line);
        if read.is_err() || line.last() != Some(&b'\n') {
            self.lines = None;
            self.gone = Instant::now();
            return Ok(Came::Gone);
        }
        Ok(Came::Line(serde_json::from_slice(&line)?))
    }

    /// Asks until a daemon answers. One that has just started may not know yet who may ask.
    fn again(&mut self) -> Result<Came, Ended> {
        loop {
            match asked(&self.runtime) {
                Ok(lines) => {
                    self.lines = Some(lines);
                    let away = self.gone.elapsed();
                    return Ok(Came::Back { away });
                }
                Err(why) if self.gone.elapsed() >= self.patience => {
                    return Err(Ended::Away {
                        patience: self.patience,
                        why: Box::new(why),
                    });
                }
                Err(_) => thread::sleep(AGAIN),
            }
        }
    }
}

fn asked(runtime: &Path) -> Result<Lines, Ended> {
    let (answer, lines) = watch(runtime)?;
    match answer.code {
        0 => Ok(lines),
        _ => Err(Ended::Refused(Box::new(answer))),
    }
}

#[cfg(test)]
mod tests;
