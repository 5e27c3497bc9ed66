//! Questions to rtnetlink: what is attached to an interface, by id; and the removal of what a filter left.
//!
//! Message and attribute layouts: rtnetlink(7), include/uapi/linux/{if_link,pkt_cls,pkt_sched}.h. Host byte order throughout.

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};

use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, connect, recv, send,
    socket,
};

const HEADER: usize = 16;

/// Where a filter hangs: `TC_H_CLSACT` with its minor for each direction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub(super) enum Parent {
    Ingress = 0xffff_fff2,
    Egress = 0xffff_fff3,
}

const CLSACT_PARENT: u32 = 0xffff_fff1;
const CLSACT_HANDLE: u32 = 0xffff_0000;

/// XDP programs of an interface by mode; `None` where there is none.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct XdpPrograms {
    pub(super) driver: Option<u32>,
    pub(super) generic: Option<u32>,
    pub(super) hardware: Option<u32>,
}

impl XdpPrograms {
    pub(super) fn ids(self) -> Vec<u32> {
        [self.driver, self.generic, self.hardware]
            .into_iter()
            .flatten()
            .collect()
    }
}

/// What an interface says of itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Interface {
    /// ARPHRD_ number.
    pub(super) link_type: u16,
    pub(super) xdp: XdpPrograms,
}

/// Asks for one interface.
///
/// # Errors
/// What the kernel says; ENODEV where there is no such interface.
pub(super) fn interface(index: u32) -> io::Result<Interface> {
    let mut body = vec![0; 16]; // struct ifinfomsg
    body[4..8].copy_from_slice(&index.to_ne_bytes());
    let replies = ask_route(libc::RTM_GETLINK, 0, &body)?;
    let reply = replies
        .iter()
        .find(|reply| reply.kind == libc::RTM_NEWLINK)
        .ok_or_else(|| io::Error::from_raw_os_error(libc::ENODEV))?;
    let mut found = Interface {
        link_type: half(&reply.body, 2).unwrap_or(0),
        ..Interface::default()
    };
    for (kind, value) in attributes(reply.body.get(16..).unwrap_or(&[])) {
        if kind == libc::IFLA_XDP {
            found.xdp = xdp_programs(value);
        }
    }
    Ok(found)
}

fn xdp_programs(nested: &[u8]) -> XdpPrograms {
    const ATTACHED: u16 = 2;
    const PROGRAM: u16 = 4;
    const DRIVER: u16 = 5;
    const GENERIC: u16 = 6;
    const HARDWARE: u16 = 7;
    let mut found = XdpPrograms::default();
    let (mut mode, mut single) = (0, None);
    for (kind, value) in attributes(nested) {
        let id = word(value, 0).filter(|&id| id != 0);
        match kind {
            ATTACHED => mode = value.first().copied().unwrap_or(0),
            PROGRAM => single = id,
            DRIVER => found.driver = id,
            GENERIC => found.generic = id,
            HARDWARE => found.hardware = id,
            _ => {}
        }
    }
    // A kernel that gives only the one id says by XDP_ATTACHED_* which mode it is.
    match mode {
        1 => found.driver = found.driver.or(single),
        2 => found.generic = found.generic.or(single),
        3 => found.hardware = found.hardware.or(single),
        _ => {}
    }
    found
}

/// The id of the program in a BPF filter, or `None` where there is no such filter.
pub(super) fn filter_program(
    interface: u32,
    parent: Parent,
    priority: u16,
    handle: u32,
) -> io::Result<Option<u32>> {
    const TCA_OPTIONS: u16 = 2;
    const TCA_BPF_ID: u16 = 11;
    let body = filter_message(interface, parent, priority, handle);
    let replies = match ask_route(libc::RTM_GETTFILTER, 0, &body) {
        // no filter, no chain, no qdisc
        Err(error) if is_absent(&error) => return Ok(None),
        other => other?,
    };
    for reply in replies.iter().filter(|r| r.kind == libc::RTM_NEWTFILTER) {
        for (kind, options) in attributes(reply.body.get(20..).unwrap_or(&[])) {
            if kind == TCA_OPTIONS {
                let id = attributes(options).find(|&(kind, _)| kind == TCA_BPF_ID);
                // another kind of filter, or a kernel that says no id, is "something": 0
                return Ok(Some(id.and_then(|(_, value)| word(value, 0)).unwrap_or(0)));
            }
        }
    }
    Ok(None)
}

/// What hangs in a direction of a clsact qdisc, in the order of its priorities.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Hanging {
    /// `bpf`, `flower`, …
    pub(super) kind: String,
    /// The program's id, where it is one of BPF.
    pub(super) program: Option<u32>,
}

/// Everything that hangs there.
pub(super) fn filters(interface: u32, parent: Parent) -> io::Result<Vec<Hanging>> {
    const TCA_KIND: u16 = 1;
    const TCA_OPTIONS: u16 = 2;
    const TCA_BPF_ID: u16 = 11;
    let mut body = filter_message(interface, parent, 0, 0);
    body[16..20].fill(0); // any protocol
    let replies = match ask_route(libc::RTM_GETTFILTER, libc::NLM_F_DUMP, &body) {
        Err(error) if is_absent(&error) => return Ok(Vec::new()),
        other => other?,
    };
    let mut found = Vec::new();
    for reply in replies.iter().filter(|r| r.kind == libc::RTM_NEWTFILTER) {
        let (mut kind, mut program) = (String::new(), None);
        for (attribute, value) in attributes(reply.body.get(20..).unwrap_or(&[])) {
            match attribute {
                TCA_KIND => kind = String::from_utf8_lossy(value).trim_end_matches('\0').into(),
                TCA_OPTIONS => {
                    let mut options = attributes(value);
                    let id = options.find(|&(attribute, _)| attribute == TCA_BPF_ID);
                    program = id.and_then(|(_, value)| word(value, 0));
                }
                _ => {}
            }
        }
        // A priority is announced by an entry without options before its filters.
        if kind != "bpf" || program.is_some() {
            found.push(Hanging { kind, program });
        }
    }
    Ok(found)
}

/// Removes a filter. False where there is none.
pub(super) fn delete_filter(
    interface: u32,
    parent: Parent,
    priority: u16,
    handle: u32,
) -> io::Result<bool> {
    let body = filter_message(interface, parent, priority, handle);
    match ask_route(libc::RTM_DELTFILTER, 0, &body) {
        Ok(_) => Ok(true),
        Err(error) if is_absent(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Removes the clsact qdisc unless filters hang on it. False where it stays or there is none.
pub(super) fn delete_empty_clsact(interface: u32) -> io::Result<bool> {
    for parent in [Parent::Ingress, Parent::Egress] {
        let mut body = filter_message(interface, parent, 0, 0);
        body[16..20].fill(0); // any protocol
        match ask_route(libc::RTM_GETTFILTER, libc::NLM_F_DUMP, &body) {
            Ok(replies) => {
                if replies.iter().any(|r| r.kind == libc::RTM_NEWTFILTER) {
                    return Ok(false);
                }
            }
            Err(error) if is_absent(&error) => {}
            Err(error) => return Err(error),
        }
    }
    let mut body = vec![0; 20]; // struct tcmsg
    body[4..8].copy_from_slice(&interface.to_ne_bytes());
    body[8..12].copy_from_slice(&CLSACT_HANDLE.to_ne_bytes());
    body[12..16].copy_from_slice(&CLSACT_PARENT.to_ne_bytes());
    match ask_route(libc::RTM_DELQDISC, 0, &body) {
        Ok(_) => Ok(true),
        Err(error) if is_absent(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

/// ENOENT: no such filter; EINVAL: no such qdisc or chain (net/sched/cls_api.c); ENODEV: no such interface.
fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::ENOENT | libc::EINVAL | libc::ENODEV)
    )
}

/// `struct tcmsg`: family, index, handle, parent, priority << 16 | protocol in network order.
fn filter_message(interface: u32, parent: Parent, priority: u16, handle: u32) -> Vec<u8> {
    let protocol = (libc::ETH_P_ALL as u16).to_be();
    let info = u32::from(priority) << 16 | u32::from(protocol);
    let mut body = vec![0; 4];
    for word in [interface, handle, parent as u32, info] {
        body.extend_from_slice(&word.to_ne_bytes());
    }
    body
}

/// One message of an answer.
pub(super) struct Reply {
    pub(super) kind: u16,
    pub(super) body: Vec<u8>,
}

fn ask_route(kind: u16, flags: i32, body: &[u8]) -> io::Result<Vec<Reply>> {
    ask(SockProtocol::NetlinkRoute, kind, flags, body)
}

/// Sends one request, and gives all that comes back before the acknowledgement or the end of a dump.
pub(super) fn ask(
    protocol: SockProtocol,
    kind: u16,
    flags: i32,
    body: &[u8],
) -> io::Result<Vec<Reply>> {
    let socket = open(protocol)?;
    let flags = (libc::NLM_F_REQUEST | libc::NLM_F_ACK | flags) as u16;
    let mut request = Vec::with_capacity(HEADER + body.len());
    request.extend_from_slice(&((HEADER + body.len()) as u32).to_ne_bytes());
    request.extend_from_slice(&kind.to_ne_bytes());
    request.extend_from_slice(&flags.to_ne_bytes());
    request.extend_from_slice(&1u32.to_ne_bytes());
    request.extend_from_slice(&0u32.to_ne_bytes());
    request.extend_from_slice(body);
    send(socket.as_raw_fd(), &request, MsgFlags::empty())?;
    let mut replies = Vec::new();
    let mut buffer = vec![0; 65_536];
    loop {
        let length = recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
        if length == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
        }
        let received = buffer.get(..length).unwrap_or(&[]);
        if take_messages(received, &mut replies)? {
            return Ok(replies);
        }
    }
}

/// Takes the messages of one datagram. True where the last one has come.
fn take_messages(mut rest: &[u8], replies: &mut Vec<Reply>) -> io::Result<bool> {
    while let (Some(length), Some(kind)) = (word(rest, 0), half(rest, 4)) {
        let length = length as usize;
        let Some(body) = rest.get(HEADER..length) else {
            return Err(io::Error::from(io::ErrorKind::InvalidData));
        };
        match i32::from(kind) {
            libc::NLMSG_ERROR => {
                let code = word(body, 0).unwrap_or(0) as i32;
                return if code == 0 {
                    Ok(true)
                } else {
                    Err(io::Error::from_raw_os_error(-code))
                };
            }
            libc::NLMSG_DONE => return Ok(true),
            _ => replies.push(Reply {
                kind,
                body: body.to_vec(),
            }),
        }
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or(&[]);
    }
    Ok(false)
}

fn open(protocol: SockProtocol) -> io::Result<OwnedFd> {
    let socket = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        protocol,
    )?;
    connect(socket.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
    Ok(socket)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let mut bytes = ((4 + value.len()) as u16).to_ne_bytes().to_vec();
        bytes.extend_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    #[test]
    fn loopback_is_there_without_xdp() {
        let found = interface(1).unwrap();
        assert_eq!((found.link_type, found.xdp), (772, XdpPrograms::default()));
        let error = interface(0x7fff_fff0).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENODEV));
    }

    #[test]
    fn programs_by_mode() {
        let id = 77u32.to_ne_bytes();
        let (native, generic) = (attribute(5, &id), attribute(6, &id));
        for (nested, expected) in [
            (native.clone(), (Some(77), None)),
            (generic, (None, Some(77))),
            // the one id, and the mode beside it
            (
                [attribute(2, &[1]), attribute(4, &id)].concat(),
                (Some(77), None),
            ),
            (
                [attribute(2, &[2]), attribute(4, &id)].concat(),
                (None, Some(77)),
            ),
            (attribute(2, &[0]), (None, None)),
            (native[..6].to_vec(), (None, None)),
        ] {
            let found = xdp_programs(&nested);
            assert_eq!((found.driver, found.generic), expected, "{nested:?}");
        }
    }

    #[test]
    fn no_filter_is_an_answer() {
        assert_eq!(filter_program(1, Parent::Egress, 1, 1).unwrap(), None);
    }
}
