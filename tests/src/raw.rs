//! Frames as they are, onto a link: what no socket of a well-behaved stack would send.

use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::net::if_::if_nametoindex;

use crate::netns::Namespace;
use crate::process::wait_for;

/// A packet socket on one interface of a throw-away host.
#[derive(Debug)]
pub struct Sender {
    socket: OwnedFd,
}

impl Sender {
    /// Opens it.
    ///
    /// # Errors
    /// When there is no such interface.
    pub fn new(host: &Namespace, interface: &str) -> Result<Self> {
        let opened = host.enter(|| open(interface))?;
        opened.with_context(|| format!("packet socket on {interface} of {}", host.name()))
    }

    /// Sends a frame. A receiver that has no room yet (ENOBUFS: on a busy machine the other end of a cable reads late) is waited for; such a
    /// frame was not sent, so it is not sent twice.
    ///
    /// # Errors
    /// What the system says: ENETDOWN, EMSGSIZE; and where the receiver finds no room within two seconds.
    pub fn send(&self, frame: &[u8]) -> Result<()> {
        wait_for("room for a frame", Duration::from_secs(2), || {
            match self.try_send(frame) {
                Ok(()) => Ok(Some(())),
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => Ok(None),
                Err(error) => Err(error).context("sending a frame"),
            }
        })
    }

    fn try_send(&self, frame: &[u8]) -> io::Result<()> {
        // SAFETY: the octets live through the call, their number is right, and the descriptor is ours.
        let sent = unsafe {
            libc::send(
                self.socket.as_raw_fd(),
                frame.as_ptr().cast(),
                frame.len(),
                0,
            )
        };
        if usize::try_from(sent).ok() == Some(frame.len()) {
            return Ok(());
        }
        Err(io::Error::last_os_error())
    }
}

fn open(interface: &str) -> Result<Sender> {
    // Protocol 0: the socket receives nothing.
    // SAFETY: a system call with numbers; it returns a new descriptor, which nobody else owns, or -1.
    let number = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
    if number < 0 {
        return Err(io::Error::last_os_error()).context("socket");
    }
    // SAFETY: as above.
    let socket = unsafe { OwnedFd::from_raw_fd(number) };
    let index = if_nametoindex(interface).context("interface")?;
    // SAFETY: all zeros is a valid sockaddr_ll.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = u16::try_from(libc::AF_PACKET).context("AF_PACKET")?;
    address.sll_ifindex = i32::try_from(index).context("index")?;
    let length = u32::try_from(size_of::<libc::sockaddr_ll>()).context("size")?;
    // SAFETY: the address lives through the call, and its length is that of its type.
    let bound = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) };
    if bound < 0 {
        return Err(io::Error::last_os_error()).context("bind");
    }
    Ok(Sender { socket })
}
