//! Frames as they are, onto a link and from it: what no socket of a well-behaved stack would send or show.

use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, FromRawFd as _, OwnedFd};
use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::net::if_::if_nametoindex;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, recv, setsockopt, sockopt};

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
        // Protocol 0: the socket receives nothing.
        let socket = opened(host, interface, 0)?;
        Ok(Self { socket })
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

    /// Sends a frame, once.
    ///
    /// # Errors
    /// What the system says: also ENOBUFS, where a program of the sender's own host drops the frame.
    pub fn try_send(&self, frame: &[u8]) -> io::Result<()> {
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

/// Everything that comes in by one interface of a throw-away host, as it came.
#[derive(Debug)]
pub struct Receiver {
    socket: OwnedFd,
}

impl Receiver {
    /// Octets that wait to be read, at most.
    const ROOM: usize = 32 << 20;
    /// The longest frame that is read whole.
    const FRAME: usize = 65_536;

    /// Opens it; what comes from now on is received.
    ///
    /// # Errors
    /// When there is no such interface.
    pub fn new(host: &Namespace, interface: &str) -> Result<Self> {
        let socket = opened(host, interface, u16::try_from(libc::ETH_P_ALL)?)?;
        let name = || format!("packet socket on {interface} of {}", host.name());
        setsockopt(&socket, sockopt::RcvBufForce, &Self::ROOM).with_context(name)?;
        let on: libc::c_int = 1;
        // SAFETY: the number lives through the call, and its size is right.
        let set = unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::SOL_PACKET,
                IGNORE_OUTGOING,
                (&raw const on).cast(),
                u32::try_from(size_of_val(&on))?,
            )
        };
        if set < 0 {
            return Err(io::Error::last_os_error()).with_context(name);
        }
        Ok(Self { socket })
    }

    /// The next frame; none where none comes within `limit`.
    ///
    /// # Errors
    /// What the system says.
    pub fn next(&self, limit: Duration) -> Result<Option<Vec<u8>>> {
        let mut waiting = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
        if poll(&mut waiting, PollTimeout::try_from(limit)?)? == 0 {
            return Ok(None);
        }
        let mut frame = vec![0; Self::FRAME];
        let length = recv(self.socket.as_raw_fd(), &mut frame, MsgFlags::MSG_DONTWAIT)?;
        frame.truncate(length);
        Ok(Some(frame))
    }
}

/// `PACKET_IGNORE_OUTGOING` (include/uapi/linux/if_packet.h).
const IGNORE_OUTGOING: libc::c_int = 23;

/// A bound packet socket that receives frames of a protocol, 0 for none.
pub(crate) fn opened(host: &Namespace, interface: &str, protocol: u16) -> Result<OwnedFd> {
    let opened = host.enter(|| open(interface, protocol))?;
    opened.with_context(|| format!("packet socket on {interface} of {}", host.name()))
}

fn open(interface: &str, protocol: u16) -> Result<OwnedFd> {
    let protocol = protocol.to_be();
    // SAFETY: a system call with numbers; it returns a new descriptor, which nobody else owns, or -1.
    let number = unsafe {
        libc::socket(
            libc::AF_PACKET,
            libc::SOCK_RAW | libc::SOCK_CLOEXEC,
            libc::c_int::from(protocol),
        )
    };
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
    address.sll_protocol = protocol;
    let length = u32::try_from(size_of::<libc::sockaddr_ll>()).context("size")?;
    // SAFETY: the address lives through the call, and its length is that of its type.
    let bound = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) };
    if bound < 0 {
        return Err(io::Error::last_os_error()).context("bind");
    }
    Ok(socket)
}
