//! TC without TCX: a filter at the clsact qdisc with a priority and a handle of ours, for kernels before 6.6.
//!
//! Such a filter can't be pinned; it outlives the process by itself. A pin beside the links marks it as ours, and its program's id is
//! compared with those of our pinned programs before it is replaced or removed.

use std::os::fd::BorrowedFd;

use aya::programs::tc::{
    NlOptions, SchedClassifierLink, TcAttachOptions, TcError, TcHandle, qdisc_add_clsact,
};
use aya::programs::{ProgramError, TcAttachType};

use super::attach::{Filter, Place};
use super::error::{Error, SlotHolder};
use super::load::Dataplane;
use super::netlink::{self, Parent};
use super::pins::{self, Hook};
use super::{migrate, pinned, sys};

/// First of all filters.
pub(super) const PRIORITY: u16 = 1;
/// "port" in ASCII: not what others count to.
pub(super) const HANDLE: u32 = 0x706f_7274;

/// Attaches `program` in one direction, or replaces what we have there.
pub(super) fn attach(
    load: &mut Dataplane,
    place: &Place<'_>,
    parent: Parent,
    program: BorrowedFd<'_>,
) -> Result<Filter, Error> {
    let name = place.tc_program(parent);
    let (hook, attach_type) = match parent {
        Parent::Ingress => (Hook::ClsactIngress, TcAttachType::Ingress),
        Parent::Egress => (Hook::ClsactEgress, TcAttachType::Egress),
    };
    let refused = |source| Error::Attach {
        interface: place.name.to_owned(),
        what: "a clsact filter",
        source,
        hint: "; is the kernel built with NET_CLS_BPF and NET_SCH_INGRESS?",
    };
    add_qdisc(load, place, program)?;
    // The mark comes first: a filter without one would never be found again.
    for hook in [hook, Hook::ClsactQdisc] {
        migrate::settle_mark(&load.pins, place.name, hook)?;
    }
    let mark = load.pins.link(place.name, hook);
    let marked = mark.exists();
    if !marked {
        sys::pin(program, &mark).map_err(Error::system(format!("{}: pinning", mark.display())))?;
    }
    let there = current(place.index, parent)?;
    let done = match there {
        Some(id) if !pinned::is_ours(&load.pins, id)? => Err(Error::Taken {
            interface: place.name.to_owned(),
            what: "our place among the clsact filters",
            holder: SlotHolder { programs: vec![id] },
            instead: "move it to another priority",
        }),
        Some(_) => replace(load, place, name, attach_type).map_err(refused),
        None => create(load, place, name, attach_type).map_err(refused),
    };
    if let Err(error) = done {
        if !marked {
            pins::unlink(&mark)?;
        }
        return Err(error);
    }
    let ours = sys::program_id(program).map_err(Error::system("asking for a program's id"))?;
    match current(place.index, parent)? {
        Some(id) if id == ours => Ok(Filter {
            hook,
            program: id,
            link: None,
            replaced: there.is_some(),
        }),
        found => Err(Error::NotInForce {
            interface: place.name.to_owned(),
            what: "the clsact filter",
            found: found.unwrap_or(0),
            ours,
        }),
    }
}

/// The program of the filter in our place.
pub(super) fn current(interface: u32, parent: Parent) -> Result<Option<u32>, Error> {
    netlink::filter_program(interface, parent, PRIORITY, HANDLE)
        .map_err(Error::system("asking for a clsact filter"))
}

fn add_qdisc(load: &Dataplane, place: &Place<'_>, program: BorrowedFd<'_>) -> Result<(), Error> {
    match qdisc_add_clsact(place.name) {
        Ok(()) => {
            let mark = load.pins.link(place.name, Hook::ClsactQdisc);
            if mark.exists() {
                return Ok(());
            }
            sys::pin(program, &mark).map_err(Error::system(format!("{}: pinning", mark.display())))
        }
        Err(TcError::NetlinkError(error)) if error.raw_os_error() == Some(libc::EEXIST) => Ok(()),
        Err(error) => Err(Error::Attach {
            interface: place.name.to_owned(),
            what: "the clsact qdisc",
            source: io_error(error.into()),
            hint: "; is the kernel built with NET_SCH_INGRESS?",
        }),
    }
}

fn create(
    load: &mut Dataplane,
    place: &Place<'_>,
    name: &'static str,
    attach_type: TcAttachType,
) -> std::io::Result<()> {
    let program = load.classifier(name).map_err(std::io::Error::other)?;
    let options = TcAttachOptions::Netlink(NlOptions {
        priority: PRIORITY,
        handle: TcHandle::from(HANDLE),
        classid: None,
    });
    program
        .attach_with_options(place.name, attach_type, options)
        .and_then(|id| program.take_link(id))
        // Dropping it would detach it; it stays, and is found again by place and id.
        .map(std::mem::forget)
        .map_err(io_error)
}

/// The kernel exchanges the program of a filter that keeps its place: no packet passes in between.
fn replace(
    load: &mut Dataplane,
    place: &Place<'_>,
    name: &'static str,
    attach_type: TcAttachType,
) -> std::io::Result<()> {
    let program = load.classifier(name).map_err(std::io::Error::other)?;
    let handle = TcHandle::from(HANDLE);
    let link = SchedClassifierLink::attached(place.name, attach_type, PRIORITY, handle, None)?;
    program
        .attach_to_link(link)
        .and_then(|id| program.take_link(id))
        .map(std::mem::forget)
        .map_err(io_error)
}

/// The kernel's word at the bottom of aya's error.
fn io_error(error: ProgramError) -> std::io::Error {
    let errno = match &error {
        ProgramError::TcError(TcError::NetlinkError(inner)) => inner.raw_os_error(),
        ProgramError::NetlinkError(inner) => inner.raw_os_error(),
        ProgramError::TcError(TcError::IoError(inner)) => inner.raw_os_error(),
        _ => None,
    };
    match errno {
        Some(errno) => std::io::Error::from_raw_os_error(errno),
        None => std::io::Error::other(error),
    }
}
