//! A sink: a thread of its own behind a bounded queue, so that a slow or dead reader never holds the daemon.
//!
//! What is given is delivered, in the queue, or lost, and the loss is said as soon as the reader takes something again.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use jiff::Timestamp;

use super::fields::{Entry, Lost};

/// Entries that wait at most; about 2 MB.
pub const QUEUE: usize = 4_096;

/// How often a reader that was gone is tried again while nothing new is to be said.
const RETRY: Duration = Duration::from_secs(1);

/// Where entries go. May block; it has a thread to itself.
pub trait Destination: Send + 'static {
    /// Delivers one entry, whole or not at all.
    ///
    /// # Errors
    ///
    /// Where the reader did not take it.
    fn deliver(&mut self, entry: &Entry) -> io::Result<()>;
}

/// Packets by what became of their entries. `given` is the sum of the others.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SinkCounts {
    /// Given to the sink.
    pub given: u64,
    /// In entries that the reader took.
    pub delivered: u64,
    /// Waiting, or being delivered.
    pub queued: u64,
    /// In entries that were lost, those whose loss the reader has been told included.
    pub lost: u64,
    /// Of the lost ones, those whose loss the reader has been told.
    pub told: u64,
}

/// What was lost.
#[derive(Default)]
struct Losses {
    /// Packets, ever.
    lost: u64,
    /// Packets whose loss the reader has been told.
    told: u64,
    /// What it has not been told.
    untold: Option<Lost>,
}

#[derive(Default)]
struct Counters {
    given: AtomicU64,
    delivered: AtomicU64,
    /// Held for a few instructions only, never while something is delivered.
    losses: Mutex<Losses>,
}

impl Counters {
    fn losses(&self) -> MutexGuard<'_, Losses> {
        self.losses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Refused by the reader, or dropped before the queue.
    fn lose(&self, count: u64, time: Timestamp) {
        let mut losses = self.losses();
        losses.lost += count;
        let untold = losses.untold.get_or_insert(Lost {
            entries: 0,
            count: 0,
            first: time,
            last: time,
        });
        untold.entries += 1;
        untold.count += count;
        untold.last = time;
    }
}

/// A running sink.
pub struct Sink {
    name: &'static str,
    queue: Option<SyncSender<Entry>>,
    counters: Arc<Counters>,
    thread: Option<JoinHandle<()>>,
    /// Closed when the thread ends.
    ended: Receiver<()>,
}

impl Sink {
    /// Starts a thread that delivers to `destination`; `capacity` entries may wait.
    ///
    /// # Errors
    ///
    /// Where the system gives no thread.
    pub fn start(
        name: &'static str,
        destination: impl Destination,
        capacity: usize,
    ) -> io::Result<Self> {
        let (queue, entries) = mpsc::sync_channel(capacity);
        let (ending, ended) = mpsc::sync_channel(0);
        let counters = Arc::new(Counters::default());
        let shared = Arc::clone(&counters);
        let thread = thread::Builder::new()
            .name(format!("sink-{name}"))
            .spawn(move || {
                run(destination, &entries, &shared);
                drop(ending);
            })?;
        Ok(Self {
            name,
            queue: Some(queue),
            counters,
            thread: Some(thread),
            ended,
        })
    }

    /// Its name, for status and metrics.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Gives it an entry; never blocks. What finds the queue full is lost, and counted.
    pub fn send(&self, entry: Entry) {
        let (count, (_, last)) = (entry.count(), entry.times());
        self.counters.given.fetch_add(count, Relaxed);
        let refused = match &self.queue {
            Some(queue) => queue.try_send(entry).is_err(),
            None => true,
        };
        if refused {
            self.counters.lose(count, last);
        }
    }

    /// What became of the packets so far.
    pub fn counts(&self) -> SinkCounts {
        let Losses { lost, told, .. } = *self.counters.losses();
        // `given` last: a packet that moves meanwhile shows as queued, never as one too many.
        let delivered = self.counters.delivered.load(Relaxed);
        let given = self.counters.given.load(Relaxed);
        SinkCounts {
            given,
            delivered,
            queued: given.saturating_sub(delivered + lost),
            lost,
            told,
        }
    }

    /// Delivers what waits, for at most `patience`, and says what became of everything. A reader that blocks for longer keeps the thread,
    /// which ends with the process.
    pub fn close(mut self, patience: Duration) -> SinkCounts {
        drop(self.queue.take());
        if let Err(RecvTimeoutError::Disconnected) = self.ended.recv_timeout(patience)
            && let Some(thread) = self.thread.take()
        {
            // A panic of the thread has been printed; what it held shows as queued.
            let _ = thread.join();
        }
        self.counts()
    }
}

fn run(mut destination: impl Destination, entries: &Receiver<Entry>, counters: &Counters) {
    loop {
        let entry = match entries.recv_timeout(RETRY) {
            Ok(entry) => Some(entry),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => break,
        };
        if let Some(entry) = entry {
            let (count, (_, last)) = (entry.count(), entry.times());
            match destination.deliver(&entry) {
                Ok(()) => {
                    counters.delivered.fetch_add(count, Relaxed);
                }
                Err(_) => {
                    counters.lose(count, last);
                    continue;
                }
            }
        }
        confess(&mut destination, counters);
    }
    confess(&mut destination, counters);
}

/// Says what was lost, if the reader takes it.
fn confess(destination: &mut impl Destination, counters: &Counters) {
    let Some(lost) = counters.losses().untold.take() else {
        return;
    };
    let told = destination.deliver(&Entry::Lost(lost)).is_ok();
    let mut losses = counters.losses();
    if told {
        losses.told += lost.count;
        return;
    }
    // Put back, together with what was lost meanwhile.
    let untold = losses.untold.get_or_insert(Lost {
        entries: 0,
        count: 0,
        ..lost
    });
    untold.entries += lost.entries;
    untold.count += lost.count;
    untold.first = lost.first;
}

#[cfg(test)]
mod tests;
