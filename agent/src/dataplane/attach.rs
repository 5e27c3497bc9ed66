//! Programs onto interfaces: XDP links, TCX links, or clsact filters where the kernel has no TCX.
//!
//! What is attached already is replaced in place, so that no packet passes between the old program and the new one. Egress comes first,
//! because it is what learns of flows; a foreign program is never touched.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use super::drivers::{self, Advice};
use super::error::{Error, SlotHolder};
use super::load::{Dataplane, TC_EGRESS, TC_EGRESS_L3, TC_INGRESS, TC_INGRESS_L3};
use super::netlink::{self, Parent};
use super::pinned;
use super::pins::Hook;
use super::sys::{self, AttachType};
use super::{clsact, detach, migrate};
use crate::host::schema::Hook as Wanted;

/// How a program hangs on an interface.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mechanism {
    /// A pinned XDP link.
    Xdp,
    /// A pinned TCX link (Linux 6.6 and later).
    Tcx,
    /// A filter at a clsact qdisc: can't be pinned, and outlives the process by itself.
    Clsact,
}

impl Mechanism {
    /// The word of `status`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Xdp => "xdp-link",
            Self::Tcx => "tcx",
            Self::Clsact => "clsact",
        }
    }
}

impl Hook {
    /// How a program hangs there.
    #[must_use]
    pub const fn mechanism(self) -> Mechanism {
        match self {
            Hook::Xdp | Hook::XdpGeneric => Mechanism::Xdp,
            Hook::TcIngress | Hook::TcEgress => Mechanism::Tcx,
            Hook::ClsactIngress | Hook::ClsactEgress | Hook::ClsactQdisc => Mechanism::Clsact,
        }
    }

    /// The hook in force, in the words of the configuration.
    #[must_use]
    pub const fn in_force(self) -> Wanted {
        match self {
            Hook::Xdp => Wanted::Xdp,
            Hook::XdpGeneric => Wanted::XdpGeneric,
            _ => Wanted::Tc,
        }
    }
}

/// One direction of an interface, attached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Filter {
    /// Where.
    pub hook: Hook,
    /// The program's id.
    pub program: u32,
    /// The link's id; `None` for a clsact filter.
    pub link: Option<u32>,
    /// It was there, and the program behind it was replaced.
    pub replaced: bool,
}

/// An interface that is guarded.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Attached {
    /// Its name.
    pub interface: String,
    /// Its index.
    pub index: u32,
    /// Ingress.
    pub ingress: Filter,
    /// Egress.
    pub egress: Filter,
    /// Why ingress is where it is.
    pub why: String,
}

/// An interface as it was found.
pub(super) struct Place<'a> {
    pub(super) name: &'a str,
    pub(super) index: u32,
    /// Its frames begin with an Ethernet header; else with IP.
    has_ethernet: bool,
}

/// Devices whose frames begin with IP, by `ARPHRD_…` (include/uapi/linux/if_arp.h): PPP, raw IP of modems, IP in IP of both families, SIT, GRE
/// of both families, and "none", which tun and WireGuard say.
const WITHOUT_ETHERNET: [u16; 8] = [512, 519, 768, 769, 776, 778, 823, 0xfffe];
const ETHERNET: u16 = 1;

impl<'a> Place<'a> {
    fn find(name: &'a str) -> Result<Self, Error> {
        const LOOPBACK: u16 = 772;
        let index =
            nix::net::if_::if_nametoindex(name).map_err(|_| Error::NoInterface(name.to_owned()))?;
        let found = netlink::interface(index)
            .map_err(Error::system(format!("{name}: asking for the interface")))?;
        if found.link_type == LOOPBACK {
            return Err(Error::Loopback(name.to_owned()));
        }
        let has_ethernet = found.link_type == ETHERNET;
        if !has_ethernet && !WITHOUT_ETHERNET.contains(&found.link_type) {
            return Err(Error::LinkType {
                interface: name.to_owned(),
                link_type: found.link_type,
            });
        }
        Ok(Self {
            name,
            index,
            has_ethernet,
        })
    }

    /// The program for a direction at TC.
    pub(super) fn tc_program(&self, parent: Parent) -> &'static str {
        match (parent, self.has_ethernet) {
            (Parent::Ingress, true) => TC_INGRESS,
            (Parent::Egress, true) => TC_EGRESS,
            (Parent::Ingress, false) => TC_INGRESS_L3,
            (Parent::Egress, false) => TC_EGRESS_L3,
        }
    }
}

impl Dataplane {
    /// Guards an interface with the programs of this load, egress first. What is attached there by an earlier load is replaced without a gap;
    /// what hangs on another hook of ours goes once the wanted one is in force.
    ///
    /// # Errors
    /// [`Error::Taken`] where a foreign program holds the place, [`Error::Attach`] with what the kernel says. Then nothing was taken away.
    pub fn attach(&mut self, interface: &str, wanted: Wanted) -> Result<Attached, Error> {
        let _lock = self.pins.lock()?;
        let place = Place::find(interface)?;
        let egress = self.attach_tc(&place, Parent::Egress)?;
        let (ingress, why) = match self.attach_ingress(&place, wanted) {
            Ok(done) => done,
            Err(error) => {
                if !egress.replaced {
                    // Not half a guard. The error to tell is the one above.
                    let _ = detach::remove_hook(&self.pins, place.name, egress.hook);
                }
                return Err(error);
            }
        };
        self.leave_only(&place, [ingress.hook, egress.hook])?;
        self.copy_flows()?;
        self.check_in_force(&place, ingress)?;
        Ok(Attached {
            interface: interface.to_owned(),
            index: place.index,
            ingress,
            egress,
            why,
        })
    }

    /// Removes what is attached to an interface; nothing else goes. True where something was.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn detach(&mut self, interface: &str) -> Result<bool, Error> {
        let _lock = self.pins.lock()?;
        migrate::settle_names(&self.pins)?;
        let mut any = false;
        for pins in self.pins.all()? {
            for (name, hook, _) in pins.attachments()? {
                if name == interface {
                    any |= detach::remove_hook(&pins, interface, hook)?;
                }
            }
        }
        Ok(any)
    }

    /// What is attached by this or an earlier load.
    ///
    /// # Errors
    /// What the kernel says of a pin.
    pub fn attached(&self) -> Result<Vec<pinned::LinkView>, Error> {
        pinned::links(&self.pins)
    }

    /// Removes the tables of other loads, and directories of other versions, that no attached program uses; flow tables of another size
    /// with them. Call it once every interface was attached. Returns the numbers of the loads.
    ///
    /// # Errors
    /// What the kernel says of a pin.
    pub fn retire_others(&mut self) -> Result<Vec<u32>, Error> {
        let _lock = self.pins.lock()?;
        self.copy_flows()?;
        for table in std::mem::take(&mut self.resized) {
            table.forget()?;
        }
        // With its pins an array of programs loses its entries: first whatever still runs in a program that was replaced ends.
        super::switch::grace()?;
        migrate::retire_others(&self.pins)?;
        let used: Vec<u32> = self
            .attached()?
            .iter()
            .filter_map(|link| link.load)
            .collect();
        let mut retired = Vec::new();
        for load in self.pins.loads()? {
            if load != self.number && !used.contains(&load) {
                self.pins.remove_load(load)?;
                retired.push(load);
            }
        }
        Ok(retired)
    }

    fn attach_ingress(
        &mut self,
        place: &Place<'_>,
        wanted: Wanted,
    ) -> Result<(Filter, String), Error> {
        let asked = || format!("asked for by hook = \"{}\"", wanted.name());
        match wanted {
            Wanted::Tc => Ok((self.attach_tc(place, Parent::Ingress)?, asked())),
            Wanted::Auto if !place.has_ethernet => {
                let why = "its frames have no Ethernet header, which XDP expects";
                Ok((self.attach_tc(place, Parent::Ingress)?, why.to_owned()))
            }
            Wanted::Xdp | Wanted::XdpGeneric if !place.has_ethernet => {
                Err(Error::WithoutEthernet(place.name.to_owned()))
            }
            Wanted::Xdp => Ok((self.attach_xdp(place, Hook::Xdp)?, asked())),
            Wanted::XdpGeneric => Ok((self.attach_xdp(place, Hook::XdpGeneric)?, asked())),
            Wanted::Auto => {
                let driver = drivers::driver(place.name).map_err(Error::system(format!(
                    "{}: asking for its driver",
                    place.name
                )))?;
                let (advice, mut why) = drivers::advice(driver.as_deref());
                if advice == Advice::Xdp {
                    match self.attach_xdp(place, Hook::Xdp) {
                        Ok(filter) => return Ok((filter, why)),
                        Err(error @ (Error::Taken { .. } | Error::Attach { .. }))
                            if !error.is_permission() =>
                        {
                            why = error.to_string();
                        }
                        Err(error) => return Err(error),
                    }
                }
                Ok((self.attach_tc(place, Parent::Ingress)?, why))
            }
        }
    }

    fn attach_xdp(&mut self, place: &Place<'_>, hook: Hook) -> Result<Filter, Error> {
        let (flags, other, what) = match hook {
            Hook::XdpGeneric => (sys::XDP_SKB, Hook::Xdp, "generic XDP"),
            _ => (sys::XDP_DRIVER, Hook::XdpGeneric, "native XDP"),
        };
        for pins in self.pins.all()? {
            if pins.link(place.name, other).exists() {
                // Both modes can't be there at once: TC stands in while they change.
                self.attach_tc(place, Parent::Ingress)?;
                detach::remove_hook(&pins, place.name, other)?;
            }
        }
        let program = descriptor(self.xdp()?.fd(), "xdp_ingress")?;
        let result = self.attach_link(place, hook, program.as_fd(), AttachType::Xdp, flags);
        match result? {
            Ok(filter) => Ok(filter),
            Err(error) => Err(self.xdp_refused(place, what, error)),
        }
    }

    fn xdp_refused(&self, place: &Place<'_>, what: &'static str, error: io::Error) -> Error {
        let interface = place.name.to_owned();
        match error.raw_os_error() {
            Some(libc::EBUSY | libc::EEXIST) => Error::Taken {
                interface,
                what: "the XDP slot",
                holder: SlotHolder {
                    programs: netlink::interface(place.index)
                        .map(|found| found.xdp.ids())
                        .unwrap_or_default(),
                },
                instead: "say hook = \"tc\"",
            },
            errno => Error::Attach {
                interface,
                what,
                source: error,
                hint: match errno {
                    Some(libc::EOPNOTSUPP) => {
                        "; the driver has no such XDP, say hook = \"tc\" or \"auto\""
                    }
                    Some(libc::EINVAL | libc::ERANGE) => {
                        "; mostly an MTU or an offload that the driver can't have with XDP, say hook = \"tc\" or \"auto\""
                    }
                    _ => "",
                },
            },
        }
    }

    /// TC in one direction: TCX where the kernel has it, which is found by trying.
    fn attach_tc(&mut self, place: &Place<'_>, parent: Parent) -> Result<Filter, Error> {
        let name = place.tc_program(parent);
        let (hook, attach_type) = match parent {
            Parent::Ingress => (Hook::TcIngress, AttachType::TcxIngress),
            Parent::Egress => (Hook::TcEgress, AttachType::TcxEgress),
        };
        let program = descriptor(self.loaded(name)?.fd(), name)?;
        if self.tcx {
            let flags = sys::TCX_FIRST;
            match self.attach_link(place, hook, program.as_fd(), attach_type, flags)? {
                Ok(filter) => return Ok(filter),
                // before 6.6, or built without CONFIG_NET_XGRESS
                Err(error)
                    if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EOPNOTSUPP)) => {}
                Err(source) => {
                    return Err(Error::Attach {
                        interface: place.name.to_owned(),
                        what: "a TCX link",
                        source,
                        hint: "",
                    });
                }
            }
        }
        clsact::attach(self, place, parent, program.as_fd())
    }

    /// A link of ours: the program behind the pinned one is replaced, or a new link is made and pinned. The inner error is the kernel's
    /// refusal to attach.
    fn attach_link(
        &self,
        place: &Place<'_>,
        hook: Hook,
        program: BorrowedFd<'_>,
        attach_type: AttachType,
        flags: u32,
    ) -> Result<io::Result<Filter>, Error> {
        migrate::settle_link(&self.pins, place, hook)?;
        let path = self.pins.link(place.name, hook);
        let about = |what: &str| Error::system(format!("{}: {what}", path.display()));
        let filter = |link: &OwnedFd, replaced| {
            let info = sys::link_info(link.as_fd()).map_err(about("asking for the link"))?;
            Ok(Filter {
                hook,
                program: info.program,
                link: Some(info.id),
                replaced,
            })
        };
        match sys::open_pin(&path) {
            Ok(link) => {
                return match sys::link_update(link.as_fd(), program) {
                    Ok(()) => filter(&link, true).map(Ok),
                    Err(error) => Ok(Err(error)),
                };
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(about("opening the pin")(error)),
        }
        let link = match sys::link_create(program, place.index, attach_type, flags) {
            Ok(link) => link,
            Err(error) => return Ok(Err(error)),
        };
        sys::pin(link.as_fd(), &path).map_err(about("pinning the link"))?;
        filter(&link, false).map(Ok)
    }

    /// Removes what of ours hangs on other hooks of the interface.
    fn leave_only(&self, place: &Place<'_>, hooks: [Hook; 2]) -> Result<(), Error> {
        let clsact = hooks
            .iter()
            .any(|kept| kept.mechanism() == Mechanism::Clsact);
        for pins in self.pins.all()? {
            let ours = pins == self.pins;
            for (name, hook, _) in pins.attachments()? {
                let kept = ours && (hooks.contains(&hook) || (clsact && hook == Hook::ClsactQdisc));
                if name == place.name && !kept {
                    detach::remove_hook(&pins, place.name, hook)?;
                }
            }
        }
        Ok(())
    }

    /// Looks by another way whether the program that is attached is ours.
    fn check_in_force(&self, place: &Place<'_>, ingress: Filter) -> Result<(), Error> {
        let xdp = || {
            netlink::interface(place.index)
                .map(|found| found.xdp)
                .map_err(Error::system(format!("{}: asking for XDP", place.name)))
        };
        let (what, found) = match ingress.hook {
            Hook::Xdp => ("native XDP", xdp()?.driver),
            Hook::XdpGeneric => ("generic XDP", xdp()?.generic),
            _ => return Ok(()),
        };
        if found == Some(ingress.program) {
            return Ok(());
        }
        Err(Error::NotInForce {
            interface: place.name.to_owned(),
            what,
            found: found.unwrap_or(0),
            ours: ingress.program,
        })
    }
}

/// A descriptor of our own, so that the load can be borrowed again.
pub(super) fn descriptor(
    program: Result<&aya::programs::ProgramFd, aya::programs::ProgramError>,
    name: &'static str,
) -> Result<OwnedFd, Error> {
    program
        .map_err(Error::program(name))?
        .as_fd()
        .try_clone_to_owned()
        .map_err(Error::system(format!(
            "program {name}: duplicating its descriptor"
        )))
}
