//! Frames sent through a packet ring: the kernel takes their octets from the ring itself, so the guarded side sees no more of them in one piece
//! than the Ethernet header.

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::ptr::NonNull;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::netns::Namespace;
use crate::process::wait_for;
use crate::raw::opened;

/// Octets of the one block of the ring, which is one frame: whole pages, with room for a jumbo frame.
const BLOCK: usize = 16_384;

/// A packet socket on one interface of a throw-away host, with a ring of one frame.
pub struct RingSender {
    socket: OwnedFd,
    ring: NonNull<libc::tpacket2_hdr>,
}

impl RingSender {
    /// Opens it.
    ///
    /// # Errors
    /// When there is no such interface, or no memory for the ring.
    pub fn new(host: &Namespace, interface: &str) -> Result<Self> {
        let socket = opened(host, interface, 0)?;
        let version = libc::tpacket_versions::TPACKET_V2 as libc::c_int;
        set(&socket, libc::PACKET_VERSION, &version).context("version of the ring")?;
        let block = u32::try_from(BLOCK)?;
        let request = libc::tpacket_req {
            tp_block_size: block,
            tp_block_nr: 1,
            tp_frame_size: block,
            tp_frame_nr: 1,
        };
        set(&socket, libc::PACKET_TX_RING, &request).context("the ring")?;
        // SAFETY: a new mapping of the descriptor's ring; nothing is there that could be overwritten.
        let ring = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                BLOCK,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                socket.as_raw_fd(),
                0,
            )
        };
        if ring == libc::MAP_FAILED {
            return Err(io::Error::last_os_error()).context("mapping the ring");
        }
        let ring = NonNull::new(ring.cast()).context("the ring")?;
        Ok(Self { socket, ring })
    }

    /// Sends a frame; it has left when this returns.
    ///
    /// # Errors
    /// When the frame is too long for the ring, or what the system says.
    pub fn send(&mut self, frame: &[u8]) -> Result<()> {
        // Where the kernel looks for the octets: after the header, as it says in Documentation/networking/packet_mmap.rst.
        const OCTETS: usize = size_of::<libc::tpacket2_hdr>();
        ensure!(
            frame.len() <= BLOCK - OCTETS,
            "a frame too long for the ring"
        );
        let header = self.ring.as_ptr();
        // SAFETY: the ring is mapped, large enough as just checked, and the kernel does not read it before the status says so.
        unsafe {
            let octets = header.cast::<u8>().add(OCTETS);
            octets.copy_from_nonoverlapping(frame.as_ptr(), frame.len());
            (&raw mut (*header).tp_len).write(u32::try_from(frame.len())?);
            (&raw mut (*header).tp_status).write_volatile(libc::TP_STATUS_SEND_REQUEST);
        }
        // SAFETY: no octets are passed; the kernel takes them from the ring.
        let sent = unsafe { libc::send(self.socket.as_raw_fd(), std::ptr::null(), 0, 0) };
        if sent < 0 {
            return Err(io::Error::last_os_error()).context("sending by the ring");
        }
        // The octets are the ring's until the last reader is done with them.
        wait_for("the ring to be free", Duration::from_secs(2), || {
            // SAFETY: the ring is mapped; the kernel writes the word whole.
            let status = unsafe { (&raw const (*header).tp_status).read_volatile() };
            Ok((status == libc::TP_STATUS_AVAILABLE).then_some(()))
        })
    }
}

impl Drop for RingSender {
    fn drop(&mut self) {
        // SAFETY: the mapping that `new` made; nothing points there any more.
        unsafe { libc::munmap(self.ring.as_ptr().cast(), BLOCK) };
    }
}

/// Sets an option of the packet level.
fn set<T>(socket: &OwnedFd, name: libc::c_int, value: &T) -> Result<()> {
    let length = u32::try_from(size_of::<T>())?;
    // SAFETY: the value lives through the call, and its length is that of its type.
    let set = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            name,
            std::ptr::from_ref(value).cast(),
            length,
        )
    };
    if set < 0 {
        return Err(io::Error::last_os_error()).context("setsockopt");
    }
    Ok(())
}
