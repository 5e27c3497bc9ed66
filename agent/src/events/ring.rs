//! The ring buffer: read on a timer, never woken by an event (a wake-up costs the packet's path six times what the event does).

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use aya::maps::{Map, MapData, RingBuf};

/// How often the ring is read: an event is at most this old when it leaves, and the ring must hold what comes in that time.
pub const POLL: Duration = Duration::from_millis(50);

/// Events that are read in one turn; then the daemon looks at its other business first.
pub const TURN: usize = 4_096;

/// Octets of the ring; what `EVENTS` in the programs says.
pub const CAPACITY: u64 = 1 << 20;

/// Octets that the kernel writes before each record (BPF_RINGBUF_HDR_SZ).
const HEADER: u64 = 8;

/// The reading end of the ring. One reader at a time.
pub struct Ring {
    buffer: RingBuf<MapData>,
}

/// What a turn found.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Turn {
    /// Events that were read.
    pub read: usize,
    /// What they took up in the ring, in octets.
    pub octets: u64,
    /// The turn ended by its limit: there may be more, so that the next one should not wait for the timer.
    pub more: bool,
}

impl From<RingBuf<MapData>> for Ring {
    fn from(buffer: RingBuf<MapData>) -> Self {
        Self { buffer }
    }
}

impl Ring {
    /// The ring that is pinned at `path`.
    ///
    /// # Errors
    ///
    /// Where nothing is pinned there, or something else is, or it can't be mapped.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let map = MapData::from_pin(path)
            .with_context(|| format!("open the pinned event ring {}", path.display()))?;
        Self::new(map).with_context(|| format!("map the event ring {}", path.display()))
    }

    /// The ring that is this map.
    ///
    /// # Errors
    ///
    /// Where the map is no ring buffer, or can't be mapped.
    pub fn new(map: MapData) -> anyhow::Result<Self> {
        let map = Map::from_map_data(map)?;
        let buffer = RingBuf::try_from(map).context("not a ring buffer")?;
        Ok(Self { buffer })
    }

    /// Gives at most `limit` events to `each`, oldest first. Never blocks.
    pub fn drain(&mut self, limit: usize, mut each: impl FnMut(&[u8])) -> Turn {
        let mut turn = Turn::default();
        while turn.read < limit {
            let Some(event) = self.buffer.next() else {
                return turn;
            };
            each(&event);
            turn.read += 1;
            turn.octets += HEADER + (event.len() as u64).next_multiple_of(8);
        }
        turn.more = true;
        turn
    }
}
