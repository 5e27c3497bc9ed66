//! What an earlier start left, taken over: links of another ABI version, and flow tables of another size.

use std::fs;
use std::io;
use std::path::PathBuf;

use agent_common::flow::FlowTable;

use super::counters::{self, Flows};
use super::error::Error;
use super::load::Options;
use super::pins::{self, Hook, Pins};

/// Moves the pin of a link, or the mark of a filter, from another version's directory into ours; the program behind it is replaced next.
/// True where there was one.
pub(super) fn adopt(pins: &Pins, interface: &str, hook: Hook) -> Result<bool, Error> {
    let ours = pins.link(interface, hook);
    if ours.exists() {
        return Ok(false);
    }
    for theirs in pins.others()? {
        let path = theirs.link(interface, hook);
        match fs::rename(&path, &ours) {
            Ok(()) => return Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                return Err(Error::system(format!("{}: taking over", path.display()))(
                    error,
                ));
            }
        }
    }
    Ok(false)
}

/// Removes the directories of other versions on which nothing hangs any more. Returns their names.
pub(super) fn retire_others(pins: &Pins) -> Result<Vec<String>, Error> {
    let mut retired = Vec::new();
    for theirs in pins.others()? {
        if theirs.attachments()?.is_empty() {
            theirs.remove_home()?;
            retired.push(theirs.abi().to_owned());
        }
    }
    Ok(retired)
}

/// A flow table that was pinned with another size; its entries are copied into the one of the wanted size.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Resized {
    table: FlowTable,
    name: &'static str,
    before: PathBuf,
    /// Set aside by this start, not by one that was interrupted.
    moved: bool,
}

/// Moves flow tables of another size aside, so that the load makes new ones. One that was left aside by a start that was interrupted is
/// taken up again.
pub(super) fn set_aside(pins: &Pins, options: &Options) -> Result<Vec<Resized>, Error> {
    let mut resized = Vec::new();
    for (table, wanted) in [
        (FlowTable::New, options.flows_new),
        (FlowTable::Established, options.flows_established),
    ] {
        let name = counters::flow_map(table);
        let path = pins.state().join(name);
        let before = pins.state().join(format!("{name}-before"));
        let moved = path.exists() && Flows::open_at(&path, table)?.capacity() != wanted;
        if moved {
            // What an interrupted start left aside is older than what is in force.
            fs::rename(&path, &before)
                .map_err(Error::system(format!("{}: setting aside", path.display())))?;
        }
        if before.exists() {
            resized.push(Resized {
                table,
                name,
                before,
                moved,
            });
        }
    }
    Ok(resized)
}

impl Resized {
    /// Puts the table back where the load failed: the programs in force use it still.
    pub(super) fn put_back(&self, pins: &Pins) -> Result<(), Error> {
        if !self.moved {
            return Ok(());
        }
        fs::rename(&self.before, pins.state().join(self.name)).map_err(Error::system(format!(
            "{}: putting back",
            self.before.display()
        )))
    }

    /// Copies the entries that the new table lacks. Returns how many found no room.
    pub(super) fn copy(&self, pins: &Pins) -> Result<usize, Error> {
        let before = Flows::open_at(&self.before, self.table)?;
        let mut after = Flows::open(pins, self.table)?;
        let mut without_room = 0;
        for (key, entry) in before.entries()? {
            if !after.insert_new(&key, entry)? {
                without_room += 1;
            }
        }
        Ok(without_room)
    }

    /// The table that was set aside goes.
    pub(super) fn forget(&self) -> Result<(), Error> {
        pins::unlink(&self.before)
    }

    /// Which table, for a note.
    pub(super) fn name(&self) -> &'static str {
        self.name
    }
}
