//! Dumps by netlink, in the caller's network namespace: rtnetlink(7), sock_diag(7). Numbers are in host byte order.

use std::io;
use std::os::fd::AsRawFd as _;

use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, connect, recv, send,
    socket,
};

/// `struct nlmsghdr`.
const HEADER: usize = 16;

/// Everything that a question of this kind is answered with, the bodies of the messages. A dump that was changed under way is asked again.
pub(super) fn dump(
    protocol: SockProtocol,
    kind: u16,
    question: &[u8],
    reply: u16,
) -> io::Result<Vec<Vec<u8>>> {
    const ATTEMPTS: usize = 5;
    let mut last = io::Error::from(io::ErrorKind::Interrupted);
    for _ in 0..ATTEMPTS {
        match dump_once(protocol, kind, question, reply) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => last = error,
            other => return other,
        }
    }
    Err(last)
}

fn dump_once(
    protocol: SockProtocol,
    kind: u16,
    question: &[u8],
    reply: u16,
) -> io::Result<Vec<Vec<u8>>> {
    let socket = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        protocol,
    )?;
    connect(socket.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
    let flags = (libc::NLM_F_REQUEST | libc::NLM_F_DUMP) as u16;
    let length = HEADER + question.len();
    let mut request = Vec::with_capacity(length);
    request.extend_from_slice(&(length as u32).to_ne_bytes());
    request.extend_from_slice(&kind.to_ne_bytes());
    request.extend_from_slice(&flags.to_ne_bytes());
    request.extend_from_slice(&1u32.to_ne_bytes());
    request.extend_from_slice(&0u32.to_ne_bytes());
    request.extend_from_slice(question);
    send(socket.as_raw_fd(), &request, MsgFlags::empty())?;
    let mut bodies = Vec::new();
    let mut buffer = vec![0; 65_536];
    loop {
        let received = recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
        if received == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if take(
            buffer.get(..received).unwrap_or(&[]),
            i32::from(reply),
            &mut bodies,
        )? {
            return Ok(bodies);
        }
    }
}

/// Takes the messages of one datagram. True where the last one has come.
fn take(mut rest: &[u8], reply: i32, bodies: &mut Vec<Vec<u8>>) -> io::Result<bool> {
    while let (Some(length), Some(kind), Some(flags)) =
        (word(rest, 0), half(rest, 4), half(rest, 6))
    {
        if i32::from(flags) & libc::NLM_F_DUMP_INTR != 0 {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let length = length as usize;
        let body = rest.get(HEADER..length).ok_or(io::ErrorKind::InvalidData)?;
        match i32::from(kind) {
            libc::NLMSG_DONE => return Ok(true),
            libc::NLMSG_ERROR => {
                let code = word(body, 0).unwrap_or(0) as i32;
                return Err(io::Error::from_raw_os_error(code.wrapping_neg()));
            }
            kind if kind == reply => bodies.push(body.to_vec()),
            _ => {}
        }
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or(&[]);
    }
    Ok(false)
}

/// The attributes in a stretch: kind without flags, value.
pub(super) fn attributes(mut rest: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(half(rest, 0)?);
        let kind = half(rest, 2)? & libc::NLA_TYPE_MASK as u16;
        let value = rest.get(4..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or(&[]);
        Some((kind, value))
    })
}

pub(super) fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let four = bytes.get(at..at + 4)?;
    four.try_into().ok().map(u32::from_ne_bytes)
}

pub(super) fn half(bytes: &[u8], at: usize) -> Option<u16> {
    let two = bytes.get(at..at + 2)?;
    two.try_into().ok().map(u16::from_ne_bytes)
}
