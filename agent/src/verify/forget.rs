//! An instance forgets what packets left behind, so that one proof says nothing of the next.

use agent_common::flow::{ASKED_SLOTS, BEGAN_TABLES, FlowTable};
use agent_common::tables::Timeouts;
use aya::maps::{Array, MapError};

use crate::dataplane::{Dataplane, Error};

/// Removes every flow, and clears the stamps of flows that were begun, of questions and of first fragments that were let in. For programs that nothing is
/// attached to: packets that arrive meanwhile would leave new ones.
///
/// # Errors
/// What the kernel says of the maps.
pub fn forget(programs: &mut Dataplane) -> Result<(), Error> {
    // With time-outs of nothing, whatever is a tick old has expired.
    let later = programs.clock().now()?.tick().wrapping_add(2);
    for table in [FlowTable::New, FlowTable::Established] {
        programs.flows(table)?.sweep(later, &Timeouts::default())?;
    }
    // What is remembered of fragments takes as many octets.
    for (map, slots) in [("BEGAN", BEGAN_TABLES), ("ASKED", 1), ("FRAGMENTS", 1)] {
        let failed = |source: MapError| Error::Map {
            map,
            source: Box::new(source),
        };
        let stamps = programs.ebpf().map_mut(map);
        let stamps = stamps.ok_or(MapError::KeyNotFound).map_err(failed)?;
        let mut stamps: Array<_, [u32; ASKED_SLOTS as usize]> =
            stamps.try_into().map_err(failed)?;
        let never = Box::new([0; ASKED_SLOTS as usize]);
        for slot in 0..slots {
            stamps.set(slot, *never, 0).map_err(failed)?;
        }
    }
    Ok(())
}
