//! Proof that what is attached decides: a probe through the very programs that the kernel names at an interface's hooks.

use std::os::fd::{AsFd as _, OwnedFd};
use std::rc::Rc;

use agent_common::event::{Direction, Summary};
use agent_common::judge;
use agent_common::parse::probe;
use agent_common::tables::OPEN_BANK;

use super::error::Error;
use super::load::{Dataplane, TC_EGRESS, TC_EGRESS_L3, TC_INGRESS, TC_INGRESS_L3, XDP};
use super::netlink;
use super::pinned::LinkView;
use super::pins::Hook;
use super::sys::{self, AttachType};
use crate::compile::memory::Memory;
use crate::compile::tables::Tables;

impl Dataplane {
    /// Asks the kernel which programs are attached to an interface, and sends the probe through each of them: they must be of this load, and
    /// decide as `tables` do, which are in force; generation 0 and a pause let it pass. No counter shows it.
    ///
    /// # Errors
    /// [`Error::NotInForce`] where something else or nothing is attached, [`Error::Unproved`] where a program decides otherwise, or what the
    /// kernel says.
    pub fn prove(&self, interface: &str, tables: &Rc<Tables>) -> Result<(), Error> {
        let mut ingress = false;
        let mut egress = false;
        let links = self.attached()?;
        for link in links.iter().filter(|it| it.interface == interface) {
            self.prove_link(link, tables)?;
            if link.hook.is_ingress() {
                ingress = true;
            } else {
                egress = true;
            }
        }
        let missing = match (ingress, egress) {
            (true, true) => return Ok(()),
            (false, _) => "ingress",
            (true, false) => "egress",
        };
        Err(Error::NotInForce {
            interface: interface.to_owned(),
            what: missing,
            found: 0,
            ours: 0,
        })
    }

    fn prove_link(&self, link: &LinkView, tables: &Rc<Tables>) -> Result<(), Error> {
        let Some((name, program)) = self.program_of(link)? else {
            return Err(Error::NotInForce {
                interface: link.interface.clone(),
                what: link.hook.name(),
                found: link.program,
                ours: self.id_for(link.hook)?,
            });
        };
        let direction = if link.hook.is_ingress() {
            Direction::Ingress
        } else {
            Direction::Egress
        };
        loop {
            let before = self.opens()?;
            let returned = sys::test_run(program.as_fd(), &probe::FRAME)
                .map_err(Error::system(format!("program {name}: running the probe")))?;
            let passed = match link.hook {
                Hook::Xdp | Hook::XdpGeneric => returned == XDP_PASS,
                _ => returned == TC_ACT_UNSPEC,
            };
            if self.opens()? != before {
                // A trial or a pause ended in between, which neither does again.
                continue;
            }
            let expected = before || decides(direction, tables);
            if passed == expected {
                return Ok(());
            }
            return Err(Error::Unproved {
                interface: link.interface.clone(),
                hook: link.hook.name(),
                program: link.program,
                expected,
            });
        }
    }

    /// The program of this load that is attached there, where the link and the hook itself both name it.
    fn program_of(&self, link: &LinkView) -> Result<Option<(&'static str, OwnedFd)>, Error> {
        if link.load != Some(self.number) || link.index == 0 {
            return Ok(None);
        }
        let is_there = match link.hook {
            Hook::Xdp | Hook::XdpGeneric => {
                netlink::interface(link.index).map(|found| found.xdp.ids().contains(&link.program))
            }
            Hook::TcIngress => sys::tcx_programs(link.index, AttachType::TcxIngress)
                .map(|found| found.contains(&link.program)),
            Hook::TcEgress => sys::tcx_programs(link.index, AttachType::TcxEgress)
                .map(|found| found.contains(&link.program)),
            // The filter itself was asked, for there is no link.
            Hook::ClsactIngress | Hook::ClsactEgress | Hook::ClsactQdisc => Ok(true),
        };
        let is_there = is_there.map_err(Error::system(format!(
            "{}: asking for what is attached",
            link.interface
        )))?;
        if !is_there {
            return Ok(None);
        }
        for name in programs_for(link.hook) {
            if let Some((id, program)) = self.pinned_program(name)?
                && id == link.program
            {
                return Ok(Some((name, program)));
            }
        }
        Ok(None)
    }

    /// The id of the program that belongs there, for a message.
    fn id_for(&self, hook: Hook) -> Result<u32, Error> {
        let [name, _] = programs_for(hook);
        Ok(self.pinned_program(name)?.map_or(0, |(id, _)| id))
    }

    /// A program of this load by its pin, with its id; those for devices without a link header are loaded at their first use.
    fn pinned_program(&self, name: &'static str) -> Result<Option<(u32, OwnedFd)>, Error> {
        let about = |what: &str| Error::system(format!("program {name}: {what}"));
        match sys::open_pin(&self.pins.load(self.number).join(name)) {
            Ok(program) => {
                let id = sys::program_id(program.as_fd()).map_err(about("asking for its id"))?;
                Ok(Some((id, program)))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(about("opening the pin")(error)),
        }
    }

    /// Whether generation 0 or a pause lets pass what the policy denies.
    fn opens(&self) -> Result<bool, Error> {
        let (bank, paused) = self.switch()?.in_force(self.clock().now()?.tick());
        Ok(paused || bank == OPEN_BANK)
    }
}

const XDP_PASS: u32 = 2;
const TC_ACT_UNSPEC: u32 = u32::MAX;

/// The programs that may be attached there: with a link header, and without.
const fn programs_for(hook: Hook) -> [&'static str; 2] {
    match hook {
        Hook::Xdp | Hook::XdpGeneric => [XDP, XDP],
        Hook::TcIngress | Hook::ClsactIngress => [TC_INGRESS, TC_INGRESS_L3],
        Hook::TcEgress | Hook::ClsactEgress | Hook::ClsactQdisc => [TC_EGRESS, TC_EGRESS_L3],
    }
}

/// Whether the tables let the probe pass, by the same decision in memory.
fn decides(direction: Direction, tables: &Rc<Tables>) -> bool {
    let host = Memory::new(Rc::clone(tables));
    let mut summary = Summary::default();
    judge::frame(direction, probe::FRAME.as_slice(), &host, &mut summary).passes()
}
