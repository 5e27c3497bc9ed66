//! A load: fresh tables sized to twice the need, state that outlives it, and the programs over both.

use std::path::{Path, PathBuf};

use agent_common::event::Direction;
use agent_common::flow::FlowTable;
use agent_common::switch::Switch;
use agent_common::tables::{BANKS, OPEN_BANK, PLANES, POLICY_BANKS};
use aya::maps::{MapInfo, ProgramArray};
use aya::programs::{Program, ProgramError, ProgramFd, ProgramType, SchedClassifier, Xdp};
use aya::sys::{BpfHelper, is_helper_supported};
use aya::{Ebpf, EbpfLoader};

use super::clock::Clock;
use super::error::Error;
use super::migrate::{self, Resized};
use super::pins::{DEFAULT_ROOT, Pins, STATE_MAPS, TABLE_MAPS};
use super::sizes::BankSizes;
use super::sync::TableMaps;

/// How to load.
#[derive(Clone, Debug)]
pub struct Options {
    /// The directory for pins.
    pub root: PathBuf,
    /// Entries of `FLOWS_NEW`; a power of two is used best.
    pub flows_new: u32,
    /// Entries of `FLOWS_ESTABLISHED`.
    pub flows_established: u32,
    /// Use TCX links where the kernel has them (6.6 and later); false: clsact filters everywhere, as on older kernels.
    pub tcx: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            root: PathBuf::from(DEFAULT_ROOT),
            flows_new: 65_536,
            flows_established: 262_144,
            tcx: true,
        }
    }
}

/// Loaded programs with their tables. Dropping it detaches nothing: what is attached is held by pins.
pub struct Dataplane {
    pub(super) pins: Pins,
    pub(super) number: u32,
    pub(super) ebpf: Ebpf,
    /// Which of the two XDP programs the kernel took.
    pub(super) xdp: &'static str,
    pub(super) tables: TableMaps,
    /// Policies that the banks hold.
    pub(super) banks: [super::switch::Bank; POLICY_BANKS as usize],
    pub(super) tcx: bool,
    clock: Clock,
    hz: u32,
    notes: Vec<String>,
    /// Flow tables or stamps were made by this load.
    pub(super) forgot: bool,
    /// Flow tables that the programs in force before this load use.
    pub(super) resized: Vec<Resized>,
}

pub(super) const XDP: &str = "xdp_ingress";
pub(super) const XDP_FRAGS: &str = "xdp_ingress_frags";
pub(super) const TC_INGRESS: &str = "tc_ingress";
pub(super) const TC_EGRESS: &str = "tc_egress";
/// For devices without a link header. They are loaded when the first such device is attached.
pub(super) const TC_INGRESS_L3: &str = "tc_ingress_l3";
pub(super) const TC_EGRESS_L3: &str = "tc_egress_l3";
/// Programs that the above leave rare packets to: the array, its slot, the program.
const RARE_TC: [(&str, u32, &str); 2] = [
    ("RARE_TC", Direction::Ingress as u32, "tc_ingress_rare"),
    ("RARE_TC", Direction::Egress as u32, "tc_egress_rare"),
];
const CLOCK: &str = "clock";
/// The pin that a load makes last: without it the load was interrupted.
pub(super) const LAST_PIN: &str = CLOCK;

impl Dataplane {
    /// Loads `object` with tables of these sizes beside whatever is in force. Nothing is attached yet; the switch stands on the open bank,
    /// generation 0.
    ///
    /// # Errors
    /// Missing privileges or file system, what the kernel says of a program (with the end of the verifier's log), a clock of no known rate.
    pub fn load(object: &[u8], sizes: BankSizes, options: &Options) -> Result<Self, Error> {
        super::probe::privileges()?;
        raise_memlock();
        let pins = Pins::new(&options.root);
        let _lock = pins.prepare()?;
        check_state(&pins)?;
        let forgot = ["FLOWS_NEW", "FLOWS_ESTABLISHED", "BEGAN"]
            .iter()
            .any(|name| !pins.state().join(name).exists());
        let resized = migrate::set_aside(&pins, options)?;
        let number = pins.loads()?.last().map_or(1, |last| last + 1);
        let directory = pins.load(number);
        std::fs::create_dir(&directory).map_err(Error::system(format!(
            "{}: making the directory",
            directory.display()
        )))?;
        let loaded = load_pinned(object, sizes, options, &pins, &directory);
        let (ebpf, xdp, tables, clock, hz) = match loaded {
            Ok(loaded) => loaded,
            Err(error) => {
                // The error is what counts; a pin that can't be removed now goes with the next load.
                let _ = pins.remove_load(number);
                for table in &resized {
                    let _ = table.put_back(&pins);
                }
                return Err(error);
            }
        };
        let mut loaded = Self {
            pins,
            number,
            ebpf,
            xdp,
            tables,
            banks: Default::default(),
            tcx: options.tcx,
            clock,
            hz,
            notes: Vec::new(),
            forgot,
            resized,
        };
        for theirs in loaded.pins.others()? {
            loaded.notes.push(format!(
                "{} was pinned by another version, whose flows this one can't read: those that the kernel knows are entered anew, and replies to others pass once this host sends again",
                theirs.home().display()
            ));
        }
        loaded.copy_flows()?;
        Ok(loaded)
    }

    /// Copies flows from tables that had another size, again once the programs were replaced: what began in between is in the old ones.
    pub(super) fn copy_flows(&mut self) -> Result<(), Error> {
        for table in &self.resized {
            let without_room = table.copy(&self.pins)?;
            if without_room > 0 {
                let name = table.name();
                self.notes.push(format!(
                    "{without_room} flows found no room in {name}, which is smaller now"
                ));
            }
        }
        Ok(())
    }

    /// The number of this load; it names a directory of pins.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.number
    }

    /// What a bank holds.
    #[must_use]
    pub fn sizes(&self) -> BankSizes {
        self.tables.sizes()
    }

    /// Jiffies a second, as measured.
    #[must_use]
    pub fn hz(&self) -> u32 {
        self.hz
    }

    /// The clock of ticks, for deadlines.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// What an operator should know of this load.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Whether jumbo frames in several buffers are taken (Linux 5.18 and later).
    #[must_use]
    pub fn takes_frags(&self) -> bool {
        self.xdp == XDP_FRAGS
    }

    /// Programs and maps, for the programs' own log.
    pub fn ebpf(&mut self) -> &mut Ebpf {
        &mut self.ebpf
    }

    /// The map of a flow table, opened anew by its pin.
    ///
    /// # Errors
    /// What the kernel says of the pin.
    pub fn flows(&self, table: FlowTable) -> Result<super::counters::Flows, Error> {
        super::counters::Flows::open(&self.pins, table)
    }

    /// The ring buffer of events, opened anew by its pin; one reader at a time makes sense.
    ///
    /// # Errors
    /// What the kernel says of the pin.
    pub fn events(&self) -> Result<aya::maps::RingBuf<aya::maps::MapData>, Error> {
        super::counters::events(&self.pins)
    }

    /// What was counted since the state was made, over all loads.
    ///
    /// # Errors
    /// What the kernel says of the maps.
    pub fn counters(&self) -> Result<super::counters::Counters, Error> {
        super::counters::Counters::read(&self.pins)
    }

    /// A TC program, loaded and pinned at its first use where [`Self::load`] left it.
    pub(super) fn loaded(&mut self, name: &'static str) -> Result<&mut SchedClassifier, Error> {
        if classifier(&mut self.ebpf, name)?.fd().is_err() {
            load_classifier(&mut self.ebpf, name)?;
            let path = self.pins.load(self.number).join(name);
            classifier(&mut self.ebpf, name)?
                .pin(path)
                .map_err(pin_error(name))?;
        }
        classifier(&mut self.ebpf, name)
    }

    pub(super) fn classifier(&mut self, name: &'static str) -> Result<&mut SchedClassifier, Error> {
        classifier(&mut self.ebpf, name)
    }

    pub(super) fn xdp(&mut self) -> Result<&mut Xdp, Error> {
        xdp(&mut self.ebpf, self.xdp)
    }
}

/// Whether programs at TC may ask what the kernel has decrypted: one that was built without IPsec does not know the question. Where that
/// can't be found out nothing is loaded anyway, and the reason is said there.
fn tells_decrypted() -> bool {
    let helper = BpfHelper::BPF_FUNC_skb_get_xfrm_state;
    is_helper_supported(ProgramType::SchedClassifier, helper).unwrap_or(false)
}

type Loaded = (Ebpf, &'static str, TableMaps, Clock, u32);

fn load_pinned(
    object: &[u8],
    sizes: BankSizes,
    options: &Options,
    pins: &Pins,
    directory: &Path,
) -> Result<Loaded, Error> {
    let tells_decrypted = u32::from(tells_decrypted());
    let mut loader = EbpfLoader::new();
    loader
        .override_global("TELLS_DECRYPTED", &tells_decrypted, true)
        .map_max_entries("PORT_CLASS", BANKS * PLANES)
        .map_max_entries("FLOWS_NEW", options.flows_new)
        .map_max_entries("FLOWS_ESTABLISHED", options.flows_established);
    for (name, entries) in sizes.entries() {
        loader.map_max_entries(name, entries);
    }
    for name in TABLE_MAPS {
        loader.map_pin_path(name, directory.join(name));
    }
    for (name, ..) in STATE_MAPS {
        loader.map_pin_path(name, pins.state().join(name));
    }
    let mut ebpf = loader.load(object)?;

    let xdp = load_xdp(&mut ebpf)?;
    for name in [TC_INGRESS, TC_EGRESS, CLOCK] {
        load_classifier(&mut ebpf, name)?;
    }
    // Before anything is attached: a program whose array has no entry denies.
    load_rare(&mut ebpf, xdp)?;
    // Pinned so that ids can be compared without the right to turn ids into descriptors.
    self::xdp(&mut ebpf, xdp)?
        .pin(directory.join(XDP))
        .map_err(pin_error(xdp))?;
    for name in [TC_INGRESS, TC_EGRESS, CLOCK] {
        classifier(&mut ebpf, name)?
            .pin(directory.join(name))
            .map_err(pin_error(name))?;
    }
    let mut tables = TableMaps::open(directory, true)?;
    let clock = Clock::open(directory)?;
    let hz = clock.measure_hz()?;
    tables.write_open_bank(hz)?;
    tables.store(Switch::to(OPEN_BANK, OPEN_BANK, 0))?;
    Ok((ebpf, xdp, tables, clock, hz))
}

fn pin_error(name: &'static str) -> impl FnOnce(aya::pin::PinError) -> Error {
    move |error| Error::ProgramUse {
        program: name,
        source: Box::new(ProgramError::IOError(std::io::Error::other(error))),
    }
}

/// The program for frames in several buffers first. Linux before 5.18 refuses its flag with EINVAL, before the verifier has said a word;
/// what the verifier refuses, it would refuse of the other as well.
fn load_xdp(ebpf: &mut Ebpf) -> Result<&'static str, Error> {
    match xdp(ebpf, XDP_FRAGS)?.load() {
        Ok(()) => return Ok(XDP_FRAGS),
        Err(ProgramError::LoadError {
            io_error,
            verifier_log,
        }) if io_error.raw_os_error() == Some(libc::EINVAL)
            && verifier_log.to_string().trim().is_empty() => {}
        Err(error) => return Err(refused(XDP_FRAGS, error)),
    }
    xdp(ebpf, XDP)?
        .load()
        .map_err(|error| refused(XDP, error))?;
    Ok(XDP)
}

/// Loads the programs for rare packets and puts them where the others look for them. The arrays are pinned as tables of this load: they lose
/// their entries with the last pin or descriptor, whatever programs use them.
fn load_rare(ebpf: &mut Ebpf, first: &'static str) -> Result<(), Error> {
    let (array, rare) = if first == XDP_FRAGS {
        ("RARE_XDP_FRAGS", "xdp_rare_frags")
    } else {
        ("RARE_XDP", "xdp_rare")
    };
    xdp(ebpf, rare)?
        .load()
        .map_err(|error| refused(rare, error))?;
    let program = descriptor_of(xdp(ebpf, rare)?.fd(), rare)?;
    enter(ebpf, array, 0, &program)?;
    for (array, slot, name) in RARE_TC {
        load_classifier(ebpf, name)?;
        let program = descriptor_of(classifier(ebpf, name)?.fd(), name)?;
        enter(ebpf, array, slot, &program)?;
    }
    Ok(())
}

fn descriptor_of(
    program: Result<&ProgramFd, ProgramError>,
    name: &'static str,
) -> Result<ProgramFd, Error> {
    program
        .map_err(Error::program(name))?
        .try_clone()
        .map_err(Error::system(format!("program {name}: another descriptor")))
}

fn enter(
    ebpf: &mut Ebpf,
    array: &'static str,
    slot: u32,
    program: &ProgramFd,
) -> Result<(), Error> {
    let map = ebpf.map_mut(array).ok_or(Error::Object(array))?;
    ProgramArray::try_from(map)
        .and_then(|mut array| array.set(slot, program, 0))
        .map_err(Error::map(array))
}

pub(super) fn load_classifier(ebpf: &mut Ebpf, name: &'static str) -> Result<(), Error> {
    classifier(ebpf, name)?
        .load()
        .map_err(|error| refused(name, error))
}

fn classifier<'a>(
    ebpf: &'a mut Ebpf,
    name: &'static str,
) -> Result<&'a mut SchedClassifier, Error> {
    match ebpf.program_mut(name) {
        Some(Program::SchedClassifier(program)) => Ok(program),
        _ => Err(Error::Object(name)),
    }
}

fn xdp<'a>(ebpf: &'a mut Ebpf, name: &'static str) -> Result<&'a mut Xdp, Error> {
    match ebpf.program_mut(name) {
        Some(Program::Xdp(program)) => Ok(program),
        _ => Err(Error::Object(name)),
    }
}

/// The end of the verifier's log is where it says what it disliked.
fn refused(program: &'static str, error: ProgramError) -> Error {
    const LAST: usize = 20;
    match error {
        ProgramError::LoadError {
            io_error,
            verifier_log,
        } => {
            let log = verifier_log.to_string();
            let lines: Vec<&str> = log.lines().filter(|line| !line.is_empty()).collect();
            let tail = lines.len().saturating_sub(LAST);
            Error::Program {
                program,
                source: io_error,
                log: lines.get(tail..).unwrap_or(&[]).join("\n"),
            }
        }
        other => Error::ProgramUse {
            program,
            source: Box::new(other),
        },
    }
}

/// State that is pinned already must have the shape that this version gives it.
fn check_state(pins: &Pins) -> Result<(), Error> {
    for (name, key, value) in STATE_MAPS {
        let path = pins.state().join(name);
        if !path.exists() {
            continue;
        }
        let info = MapInfo::from_pin(&path).map_err(Error::map(name))?;
        let found = (info.key_size() as usize, info.value_size() as usize);
        if found != (key, value) {
            return Err(Error::Foreign {
                path,
                found: format!("{} and {} octets", found.0, found.1),
                expected: format!("{key} and {value} octets"),
            });
        }
    }
    Ok(())
}

/// Before 5.11 maps count against RLIMIT_MEMLOCK. Where it may not be raised, the kernel says so when a map is made.
pub(super) fn raise_memlock() {
    let unlimited = libc::rlimit {
        rlim_cur: libc::RLIM_INFINITY,
        rlim_max: libc::RLIM_INFINITY,
    };
    // SAFETY: a struct that lives through the call.
    unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const unlimited) };
}
