//! The end of enforcement: what is attached goes, then the pins. Needs no configuration, no daemon, no BPF object.

use std::io;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use super::clsact;
use super::error::Error;
use super::netlink::{self, Parent};
use super::pinned::{self, LinkView};
use super::pins::{self, Hook, Pins};
use super::sys;

/// What was removed.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Removed {
    /// Attachments, as they were.
    pub links: Vec<LinkView>,
    /// Directories of pins, one for each version that had left any.
    pub directories: Vec<PathBuf>,
    /// What lay in our directory and is none of ours: left alone.
    pub left: Vec<PathBuf>,
}

impl Removed {
    /// Whether there was nothing to remove.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.links.is_empty() && self.directories.is_empty()
    }
}

/// Removes everything of ours under `root`, of every version: attachments first, ingress before egress, then tables and state.
///
/// # Errors
/// Missing privileges, another agent at work, or what the kernel says of a pin; what came before it is gone then.
pub fn detach_all(root: &Path) -> Result<Removed, Error> {
    super::probe::privileges()?;
    let mut removed = Removed::default();
    match std::fs::metadata(root) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(removed),
        Err(error) => {
            return Err(Error::system(format!("{}: looking", root.display()))(error));
        }
        Ok(_) => super::probe::bpffs(root)?,
    }
    let pins = Pins::new(root);
    let _lock = pins.lock()?;
    for pins in pins.all()? {
        let mut links = pinned::links(&pins)?;
        // While egress still learns, nothing asks what it learnt; the other way round replies would be denied meanwhile.
        links.sort_by_key(|link| !link.hook.is_ingress());
        for link in &links {
            remove_hook(&pins, &link.interface, link.hook)?;
        }
        // marks without a filter
        for (interface, hook, _) in pins.attachments()? {
            remove_hook(&pins, &interface, hook)?;
        }
        removed.links.extend(links);
        removed.directories.push(pins.home());
        removed.left.extend(pins.remove_home()?);
    }
    if !pins::remove_empty(root)? {
        let strangers = pinned::strangers(&pins)?;
        removed
            .left
            .extend(strangers.into_iter().map(|name| root.join(name)));
    }
    Ok(removed)
}

/// Removes one attachment and its pin. False where it was gone.
pub(super) fn remove_hook(pins: &Pins, interface: &str, hook: Hook) -> Result<bool, Error> {
    let path = pins.link(interface, hook);
    let there = if hook.is_link() {
        match sys::open_pin(&path) {
            Ok(link) => {
                // Whoever else holds it; where the interface is gone, there is nothing to detach from.
                match sys::link_detach(link.as_fd()) {
                    Ok(()) => true,
                    Err(error) if matches!(error.raw_os_error(), Some(libc::ENOLINK)) => true,
                    Err(error) => {
                        return Err(Error::system(format!("{}: detaching", path.display()))(
                            error,
                        ));
                    }
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => {
                return Err(Error::system(format!(
                    "{}: opening the pin",
                    path.display()
                ))(error));
            }
        }
    } else {
        match nix::net::if_::if_nametoindex(interface) {
            Ok(index) => remove_clsact(pins, index, hook)?,
            Err(_) => false,
        }
    };
    pins::unlink(&path)?;
    Ok(there)
}

fn remove_clsact(pins: &Pins, index: u32, hook: Hook) -> Result<bool, Error> {
    let parent = match hook {
        Hook::ClsactIngress => Parent::Ingress,
        Hook::ClsactEgress => Parent::Egress,
        _ => {
            return netlink::delete_empty_clsact(index)
                .map_err(Error::system("removing the clsact qdisc"));
        }
    };
    match clsact::current(index, parent)? {
        Some(id) if pinned::is_ours(pins, id)? => {
            netlink::delete_filter(index, parent, clsact::PRIORITY, clsact::HANDLE)
                .map_err(Error::system("removing a clsact filter"))
        }
        // gone, or somebody else's
        _ => Ok(false),
    }
}
