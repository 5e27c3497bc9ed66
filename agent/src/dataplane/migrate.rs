//! What an earlier start left, taken over: links of another ABI version, and flow tables of another size.

use std::fs;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use agent_common::flow::FlowTable;

use super::attach::Place;
use super::counters::{self, Entered, Flows};
use super::error::Error;
use super::load::Options;
use super::pins::{self, Hook, Pins};
use super::sys;

/// Puts the pin for this place where it belongs: a link of ours that hangs on the interface may be pinned by another version, or under the
/// name that the interface had before it was renamed. The program behind the link is replaced next.
pub(super) fn settle_link(pins: &Pins, place: &Place<'_>, hook: Hook) -> Result<(), Error> {
    settle_names(pins)?;
    let right = pins.link(place.name, hook);
    if right.exists() {
        if index_of(&right)? == place.index {
            return Ok(());
        }
        // The interface was deleted and made again: this link guards nothing here.
        end(&right)?;
    }
    for theirs in pins.others()? {
        for (_, found, path) in theirs.attachments()? {
            if found == hook && index_of(&path)? == place.index {
                return rename(&path, &right);
            }
        }
    }
    Ok(())
}

/// Gives pins of links the names that their interfaces have now. Two interfaces may have exchanged names, so all that are wrong step aside
/// first; the names that they have meanwhile are no interface's, and a start that finds them goes on from there.
pub(super) fn settle_names(pins: &Pins) -> Result<(), Error> {
    let mut moving = Vec::new();
    for (interface, hook, path) in pins.attachments()? {
        if !hook.is_link() {
            continue;
        }
        if let Some(name) = pins::name_of(index_of(&path)?).filter(|name| *name != interface) {
            let free = (0..)
                .map(|number: u32| pins.link(&format!("moving/{number}"), hook))
                .find(|aside| !aside.exists());
            let Some(aside) = free else { continue };
            rename(&path, &aside)?;
            moving.push((aside, pins.link(&name, hook)));
        }
    }
    for (aside, right) in moving {
        if right.exists() {
            // what was left of an interface that is gone
            end(&right)?;
        }
        rename(&aside, &right)?;
    }
    Ok(())
}

/// The same for the mark of a clsact filter, which goes by the interface's name alone.
pub(super) fn settle_mark(pins: &Pins, interface: &str, hook: Hook) -> Result<(), Error> {
    let right = pins.link(interface, hook);
    for theirs in pins.others()? {
        let path = theirs.link(interface, hook);
        if path.exists() && !right.exists() {
            rename(&path, &right)?;
        }
    }
    Ok(())
}

/// Ends a link and its pin.
fn end(path: &Path) -> Result<(), Error> {
    let link = sys::open_pin(path).map_err(Error::system(format!(
        "{}: opening the pin",
        path.display()
    )))?;
    // What hangs on nothing can't be detached.
    let _ = sys::link_detach(link.as_fd());
    pins::unlink(path)
}

/// The interface that a pinned link hangs on; 0 where it is gone.
fn index_of(path: &Path) -> Result<u32, Error> {
    let about = |what: &str| Error::system(format!("{}: {what}", path.display()));
    let link = sys::open_pin(path).map_err(about("opening the pin"))?;
    let info = sys::link_info(link.as_fd()).map_err(about("asking for the link"))?;
    Ok(info.interface)
}

fn rename(from: &Path, to: &Path) -> Result<(), Error> {
    fs::rename(from, to).map_err(Error::system(format!(
        "{}: moving the pin to {}",
        from.display(),
        to.display()
    )))
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
            if after.enter(&key, entry)? == Entered::Full {
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
