//! What is in force, seen from the pins alone: for `status` without a daemon, for the next start, for `detach`.

use std::io;
use std::os::fd::AsFd as _;
use std::path::Path;

use agent_common::flow::{FlowCounts, FlowTable};
use agent_common::switch::Switch;
use agent_common::tables::{BANKS, Head, RuleCounter};
use aya::maps::{MapData, RingBuf};

use super::clock::Clock;
use super::counters::{Counters, Flows};
use super::error::Error;
use super::load::{LAST_PIN, TC_EGRESS, TC_EGRESS_L3, TC_INGRESS, TC_INGRESS_L3, XDP};
use super::netlink::Parent;
use super::pins::{self, Hook, Pins};
use super::sizes::BankSizes;
use super::sync::TableMaps;
use super::{clsact, sys};

/// One attachment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LinkView {
    /// The interface's name when it was attached.
    pub interface: String,
    /// The interface's index; 0 where it is gone.
    pub index: u32,
    /// Where.
    pub hook: Hook,
    /// The program in force; 0 where there is none.
    pub program: u32,
    /// The link's id; `None` for a clsact filter.
    pub link: Option<u32>,
    /// The load that the program belongs to; `None` where it is none of ours.
    pub load: Option<u32>,
}

/// The pins of one directory, read only.
pub struct Pinned {
    pins: Pins,
    links: Vec<LinkView>,
    load: u32,
    tables: TableMaps,
    clock: Clock,
}

impl Pinned {
    /// Opens what is pinned under `root` by this version. `None` where nothing is.
    ///
    /// # Errors
    /// Missing privileges, or what the kernel says of a pin.
    pub fn open(root: &Path) -> Result<Option<Self>, Error> {
        super::probe::privileges()?;
        let pins = Pins::new(root);
        let links = links(&pins)?;
        // The load in force is the one that is attached; before the first attachment, the latest that is whole.
        let attached = links.iter().filter_map(|link| link.load).max();
        let whole = |load: &u32| pins.load(*load).join(LAST_PIN).exists();
        let latest = pins.loads()?.into_iter().rev().find(whole);
        let Some(load) = attached.or(latest) else {
            return Ok(None);
        };
        let directory = pins.load(load);
        Ok(Some(Self {
            tables: TableMaps::open(&directory, false)?,
            clock: Clock::open(&directory)?,
            links,
            load,
            pins,
        }))
    }

    /// The directory of this ABI's pins.
    #[must_use]
    pub fn directory(&self) -> std::path::PathBuf {
        self.pins.home()
    }

    /// Names of directories that other versions left under the same root.
    ///
    /// # Errors
    /// Where the root can't be listed.
    pub fn other_abis(&self) -> Result<Vec<String>, Error> {
        let mut found = self.pins.abis()?;
        found.retain(|abi| abi != self.pins.abi());
        Ok(found)
    }

    /// What is attached.
    #[must_use]
    pub fn links(&self) -> &[LinkView] {
        &self.links
    }

    /// The number of the load in force.
    #[must_use]
    pub fn load(&self) -> u32 {
        self.load
    }

    /// What a bank holds.
    #[must_use]
    pub fn sizes(&self) -> BankSizes {
        self.tables.sizes()
    }

    /// The switch word.
    ///
    /// # Errors
    /// Never with tables that were loaded by this version.
    pub fn switch(&self) -> Result<Switch, Error> {
        self.tables.switch()
    }

    /// The head of a bank.
    ///
    /// # Errors
    /// What the kernel says of the map.
    pub fn head(&self, bank: u32) -> Result<Head, Error> {
        if bank >= BANKS {
            return Err(Error::NoBank(bank));
        }
        self.tables.head(bank)
    }

    /// Counters of the first `rules` rules of a bank, and last that of packets that no rule came near.
    ///
    /// # Errors
    /// What the kernel says of the map.
    pub fn rule_counters(&self, bank: u32, rules: usize) -> Result<Vec<RuleCounter>, Error> {
        if bank >= agent_common::tables::POLICY_BANKS {
            return Err(Error::NoBank(bank));
        }
        self.tables.rule_counters(bank, rules)
    }

    /// The same of any load that is still pinned, for a bank's policy: none where the bank holds another one, or the load is gone.
    ///
    /// # Errors
    /// What the kernel says of the maps.
    pub fn counters_of(
        &self,
        load: u32,
        (bank, generation): (u32, u32),
        rules: usize,
    ) -> Result<Option<Vec<RuleCounter>>, Error> {
        if bank >= agent_common::tables::POLICY_BANKS {
            return Err(Error::NoBank(bank));
        }
        if load == self.load {
            return self.tables.counters_of(bank, generation, rules);
        }
        let directory = self.pins.load(load);
        if !directory.join(LAST_PIN).exists() {
            return Ok(None);
        }
        TableMaps::open(&directory, false)?.counters_of(bank, generation, rules)
    }

    /// What was counted since the state was made.
    ///
    /// # Errors
    /// What the kernel says of the maps.
    pub fn counters(&self) -> Result<Counters, Error> {
        Counters::read(&self.pins)
    }

    /// A flow table.
    ///
    /// # Errors
    /// What the kernel says of the map.
    pub fn flows(&self, table: FlowTable) -> Result<Flows, Error> {
        Flows::open(&self.pins, table)
    }

    /// What became of entries of the flow tables.
    ///
    /// # Errors
    /// What the kernel says of the map.
    pub fn flow_counts(&self) -> Result<FlowCounts, Error> {
        super::counters::flow_counts(&self.pins)
    }

    /// The ring buffer of events. One reader at a time makes sense: what one takes the other never sees.
    ///
    /// # Errors
    /// What the kernel says of the map.
    pub fn events(&self) -> Result<RingBuf<MapData>, Error> {
        super::counters::events(&self.pins)
    }

    /// The clock of ticks.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Where a bank differs from a policy, if it does.
    ///
    /// # Errors
    /// Where the tables are not of this load's size, or the maps can't be read.
    pub fn verify(
        &self,
        bank: u32,
        tables: &crate::compile::tables::Tables,
        generation: u32,
    ) -> Result<Option<super::Mismatch>, Error> {
        if bank >= agent_common::tables::POLICY_BANKS {
            return Err(Error::NoBank(bank));
        }
        self.tables.differs(bank, tables, generation)
    }
}

/// Interfaces that programs of other versions guard, by their pins under `root`. This version can replace or remove them, not read them.
///
/// # Errors
/// Missing privileges, or what the kernel says of a pin.
pub fn guarded_by_others(root: &Path) -> Result<Vec<String>, Error> {
    super::probe::privileges()?;
    let mut found = Vec::new();
    for pins in Pins::new(root).others()? {
        let links = links(&pins)?;
        let live = links
            .into_iter()
            .filter(|link| link.load.is_some() && link.index != 0);
        found.extend(live.map(|link| link.interface));
    }
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

/// What is attached, by the pins of one ABI.
pub(super) fn links(pins: &Pins) -> Result<Vec<LinkView>, Error> {
    let programs = programs(pins)?;
    let load_of = |program: u32| {
        programs
            .iter()
            .find(|&&(_, id)| id == program)
            .map(|&(load, _)| load)
    };
    let mut found = Vec::new();
    for (interface, hook, path) in pins.attachments()? {
        let (index, program, link) = if hook.is_link() {
            let about = |what: &str| Error::system(format!("{}: {what}", path.display()));
            let link = match sys::open_pin(&path) {
                Ok(link) => link,
                // Renamed or taken away since it was listed.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(about("opening the pin")(error)),
            };
            let info = sys::link_info(link.as_fd()).map_err(about("asking for the link"))?;
            (info.interface, info.program, Some(info.id))
        } else {
            let parent = match hook {
                Hook::ClsactIngress => Parent::Ingress,
                Hook::ClsactEgress => Parent::Egress,
                _ => continue,
            };
            match nix::net::if_::if_nametoindex(interface.as_str()) {
                Ok(index) => (index, clsact::current(index, parent)?.unwrap_or(0), None),
                Err(_) => (0, 0, None),
            }
        };
        found.push(LinkView {
            load: load_of(program),
            interface,
            index,
            hook,
            program,
            link,
        });
    }
    Ok(found)
}

/// Ids of all programs of ours: load and id.
fn programs(pins: &Pins) -> Result<Vec<(u32, u32)>, Error> {
    let mut found = Vec::new();
    for load in pins.loads()? {
        for name in [XDP, TC_INGRESS, TC_EGRESS, TC_INGRESS_L3, TC_EGRESS_L3] {
            let path = pins.load(load).join(name);
            match sys::open_pin(&path).and_then(|program| sys::program_id(program.as_fd())) {
                Ok(id) => found.push((load, id)),
                // a load that was interrupted
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    return Err(Error::system(format!(
                        "{}: opening the pin",
                        path.display()
                    ))(error));
                }
            }
        }
    }
    Ok(found)
}

/// Whether a program is of any load of any version of ours under this root.
pub(super) fn is_ours(pins: &Pins, program: u32) -> Result<bool, Error> {
    for pins in pins.all()? {
        let ours = programs(&pins)?;
        if ours.iter().any(|&(_, id)| id == program) {
            return Ok(true);
        }
        // The marks of clsact filters are pins of their programs.
        for (_, hook, path) in pins.attachments()? {
            if hook.is_link() {
                continue;
            }
            let id = sys::open_pin(&path).and_then(|program| sys::program_id(program.as_fd()));
            if id.is_ok_and(|id| id == program) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// Entries of a directory of pins that are no pins of ours: nothing is ever removed for being in the way.
pub(super) fn strangers(pins: &Pins) -> Result<Vec<String>, Error> {
    let mut found = pins::names(pins.root())?;
    let abis = pins.abis()?;
    found.retain(|name| !abis.contains(name));
    Ok(found)
}
