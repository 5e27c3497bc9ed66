//! Dumps by netlink, in the caller's network namespace: rtnetlink(7), sock_diag(7). Numbers are in host byte order.

use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::time::Instant;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, connect, recv, send,
    socket,
};

/// `struct nlmsghdr`.
const HEADER: usize = 16;

/// How much of an answer is waited for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Messages that are kept.
    pub(super) messages: usize,
    /// When it must have come; the kernel answers at once, so this is for a host that is hardly alive.
    pub(super) until: Instant,
}

/// A question.
#[derive(Clone, Copy, Debug)]
pub(super) struct Question<'a> {
    pub(super) protocol: SockProtocol,
    pub(super) kind: u16,
    pub(super) body: &'a [u8],
    /// The kind of message that answers it.
    pub(super) reply: u16,
}

/// Everything that a question of this kind is answered with, the bodies of the messages.
pub(super) fn dump(
    protocol: SockProtocol,
    kind: u16,
    question: &[u8],
    reply: u16,
) -> io::Result<Vec<Vec<u8>>> {
    let question = Question {
        protocol,
        kind,
        body: question,
        reply,
    };
    let mut bodies = Vec::new();
    dump_into(&question, None, &mut bodies, |body| Some(body.to_vec()))?;
    Ok(bodies)
}

/// The same, each message read as it comes; what `read` has no use for is left out. A dump that was changed under way is asked again. With
/// an error `found` keeps what had come before it.
pub(super) fn dump_into<T>(
    question: &Question<'_>,
    bounds: Option<Bounds>,
    found: &mut Vec<T>,
    read: impl Fn(&[u8]) -> Option<T>,
) -> io::Result<()> {
    const ATTEMPTS: usize = 5;
    let before = found.len();
    let mut last = io::Error::from(io::ErrorKind::Interrupted);
    for _ in 0..ATTEMPTS {
        found.truncate(before);
        match dump_once(question, bounds, found, &read) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => last = error,
            other => return other,
        }
    }
    Err(last)
}

fn dump_once<T>(
    question: &Question<'_>,
    bounds: Option<Bounds>,
    found: &mut Vec<T>,
    read: &impl Fn(&[u8]) -> Option<T>,
) -> io::Result<()> {
    let socket = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        question.protocol,
    )?;
    connect(socket.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
    let flags = (libc::NLM_F_REQUEST | libc::NLM_F_DUMP) as u16;
    let length = HEADER + question.body.len();
    let mut request = Vec::with_capacity(length);
    request.extend_from_slice(&(length as u32).to_ne_bytes());
    request.extend_from_slice(&question.kind.to_ne_bytes());
    request.extend_from_slice(&flags.to_ne_bytes());
    request.extend_from_slice(&1u32.to_ne_bytes());
    request.extend_from_slice(&0u32.to_ne_bytes());
    request.extend_from_slice(question.body);
    send(socket.as_raw_fd(), &request, MsgFlags::empty())?;
    let room = bounds.map_or(usize::MAX, |it| found.len().saturating_add(it.messages));
    let mut buffer = vec![0; 65_536];
    loop {
        if let Some(bounds) = bounds {
            wait(&socket, bounds.until)?;
        }
        let received = recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
        if received == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let datagram = buffer.get(..received).unwrap_or(&[]);
        let last = take(datagram, i32::from(question.reply), &mut |body| {
            found.extend(read(body));
        })?;
        if found.len() > room {
            found.truncate(room);
            return Err(io::Error::other("there are more than are looked at"));
        }
        if last {
            return Ok(());
        }
    }
}

/// Waits for an answer.
fn wait(socket: &OwnedFd, until: Instant) -> io::Result<()> {
    let left = until.saturating_duration_since(Instant::now());
    let mut wanted = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
    let patience = PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO);
    match poll(&mut wanted, patience) {
        Ok(0) => Err(io::Error::from(io::ErrorKind::TimedOut)),
        Ok(_) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Takes the messages of one datagram. True where the last one has come.
fn take(mut rest: &[u8], reply: i32, found: &mut dyn FnMut(&[u8])) -> io::Result<bool> {
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
            kind if kind == reply => found(body),
            _ => {}
        }
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or(&[]);
    }
    Ok(false)
}

/// The attributes in a stretch: kind without flags, value.
pub(crate) fn attributes(mut rest: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: i32, flags: i32, body: &[u8]) -> Vec<u8> {
        let mut octets = ((HEADER + body.len()) as u32).to_ne_bytes().to_vec();
        octets.extend((kind as u16).to_ne_bytes());
        octets.extend((flags as u16).to_ne_bytes());
        octets.extend([0; 8]);
        octets.extend(body);
        octets.resize(octets.len().next_multiple_of(4), 0);
        octets
    }

    #[test]
    fn datagrams_are_taken_apart() {
        const REPLY: i32 = 0x100;
        let one = message(REPLY, 0, b"abcde");
        let done = message(libc::NLMSG_DONE, 0, &[0; 4]);
        let refused = message(libc::NLMSG_ERROR, 0, &(-libc::EBUSY).to_ne_bytes());
        let changed = message(REPLY, libc::NLM_F_DUMP_INTR, b"x");
        let mut long = one.clone();
        long[0] = 200;
        let mut short = one.clone();
        short[0] = 3;
        for (datagram, expected, error) in [
            ([one.clone(), one.clone()].concat(), 2, None),
            ([one.clone(), done.clone(), one.clone()].concat(), 1, None),
            ([message(REPLY + 1, 0, b"x"), one.clone()].concat(), 1, None),
            (
                [one.clone(), refused].concat(),
                1,
                Some(io::Error::from_raw_os_error(libc::EBUSY).kind()),
            ),
            (changed, 0, Some(io::ErrorKind::Interrupted)),
            (long, 0, Some(io::ErrorKind::InvalidData)),
            (short, 0, Some(io::ErrorKind::InvalidData)),
            (Vec::new(), 0, None),
            (one[..15].to_vec(), 0, Some(io::ErrorKind::InvalidData)),
        ] {
            let mut found = 0;
            let taken = take(&datagram, REPLY, &mut |_| found += 1);
            assert_eq!(found, expected, "{datagram:?}");
            assert_eq!(taken.err().map(|it| it.kind()), error, "{datagram:?}");
        }
    }

    #[test]
    fn an_answer_has_bounds() {
        // Links of this namespace: the loopback device at least (RTM_GETLINK, RTM_NEWLINK).
        let question = Question {
            protocol: SockProtocol::NetlinkRoute,
            kind: 18,
            body: &[0; 16],
            reply: 16,
        };
        let soon = Instant::now() + std::time::Duration::from_secs(10);
        let ask = |messages, until| {
            let mut found = vec![0];
            let bounds = Bounds { messages, until };
            let asked = dump_into(&question, Some(bounds), &mut found, |body| Some(body.len()));
            (found.len(), asked.err().map(|it| it.kind()))
        };
        let (whole, error) = ask(1_000_000, soon);
        assert!(whole >= 2 && error.is_none(), "{whole} {error:?}");
        assert_eq!(ask(0, soon), (1, Some(io::ErrorKind::Other)));
    }
}
