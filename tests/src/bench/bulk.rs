//! Bulk data by iperf3, in turns: a client for each server that is compared runs for a moment and is stopped, then that of the next.
//!
//! What is compared differs by a few parts in a hundred, and a machine changes its speed by more from one second to the next. So the turns are
//! short and many.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;

use super::hosts::{GUARDED, OPEN, Pair, statistic};
use crate::process::{Running, wait_for};

/// How long a client sends.
const TURN: Duration = Duration::from_millis(12);
const LIMIT: Duration = Duration::from_secs(15);
/// Less than this, which is a few messages of no data, is silence.
const SILENT: u64 = 4_096;

/// A client of iperf3 that waits for its turn.
pub struct Bulk<'a> {
    pair: &'a Pair,
    client: Running,
}

impl<'a> Bulk<'a> {
    /// Begins so many streams to the server, on one processor with it, and stops them once they run.
    ///
    /// # Errors
    /// Where iperf3 can't be started, or nothing arrives.
    pub fn begin(pair: &'a Pair, streams: u32) -> Result<Self> {
        // A window that the system does not adapt: else each connection would find one of its own.
        let line = format!(
            "iperf3 --client {GUARDED} --port {OPEN} --time 0 --parallel {streams} --window 208K --affinity 0,0 --connect-timeout 3000"
        );
        let start = || Running::start(&mut pair.peer.words(&line)).context("iperf3 --client");
        let before = received(pair)?;
        let mut client = start()?;
        wait_for("the first megabyte of iperf3", LIMIT, || {
            // The server takes one client at a time, and may not have noticed yet that the last one went.
            if client.wait(Duration::ZERO)?.is_some() {
                client = start()?;
            }
            let all = received(pair)? - before;
            Ok((all > 1_000_000).then_some(()))
        })?;
        let bulk = Self { pair, client };
        bulk.pause()?;
        Ok(bulk)
    }

    /// Microseconds of a megabyte that the server receives.
    ///
    /// # Errors
    /// Where the client has ended, or nothing arrives.
    pub fn turn(&self) -> Result<f64> {
        let before = received(self.pair)?;
        let began = Instant::now();
        self.client.signal(Signal::SIGCONT)?;
        // What is measured is this time, not something that happens in it.
        thread::sleep(TURN);
        let after = received(self.pair)?;
        let took = began.elapsed();
        self.pause()?;
        ensure!(after > before, "iperf3 sent nothing");
        Ok(took.as_secs_f64() * 1e12 / (after - before) as f64)
    }

    /// Stops the client, and waits until what it had handed over has arrived.
    fn pause(&self) -> Result<()> {
        self.client.signal(Signal::SIGSTOP)?;
        let mut last = received(self.pair)?;
        wait_for("silence after iperf3 was stopped", LIMIT, || {
            let now = received(self.pair)?;
            let more = now - last;
            last = now;
            Ok((more < SILENT).then_some(()))
        })
    }
}

/// Octets that have arrived at the server's end of the cable.
fn received(pair: &Pair) -> Result<u64> {
    statistic(&pair.guarded, "eth0", "rx_bytes")
}
