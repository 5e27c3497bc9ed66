//! A pair of interfaces made by netlink, where there is no `ip` to ask: in the init of an emulated machine.

use std::net::IpAddr;
use std::os::fd::{AsRawFd as _, RawFd};

use anyhow::{Context as _, Result, bail};
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, connect, recv, send,
    socket,
};

/// VETH_INFO_PEER of include/uapi/linux/veth.h.
const VETH_INFO_PEER: u16 = 1;

/// Makes a veth pair in this network namespace; both ends are up when this returns.
///
/// # Errors
/// As the kernel says; EOPNOTSUPP where it has no veth.
pub fn make(name: &str, peer: &str) -> Result<()> {
    pair(name, peer)?;
    // Neither can be opened before the other is there.
    [name, peer].into_iter().try_for_each(up)
}

/// The same, and neither end is up.
///
/// # Errors
/// As [`make`].
pub fn pair(name: &str, peer: &str) -> Result<()> {
    let mut peer_message = interface(0);
    peer_message.extend(text(libc::IFLA_IFNAME, peer));
    let data = attribute(
        libc::IFLA_INFO_DATA,
        &attribute(VETH_INFO_PEER, &peer_message),
    );
    let mut info = text(libc::IFLA_INFO_KIND, "veth");
    info.extend(data);
    let mut message = interface(0);
    message.extend(text(libc::IFLA_IFNAME, name));
    message.extend(attribute(libc::IFLA_LINKINFO, &info));
    let create = libc::NLM_F_CREATE | libc::NLM_F_EXCL;
    request(libc::RTM_NEWLINK, create, &message).with_context(|| format!("veth {name}"))
}

/// Takes an interface up.
///
/// # Errors
/// As the kernel says.
pub fn up(name: &str) -> Result<()> {
    let mut message = interface(libc::IFF_UP as u32);
    message.extend(text(libc::IFLA_IFNAME, name));
    request(libc::RTM_NEWLINK, 0, &message).with_context(|| format!("{name} up"))
}

/// Moves an interface into the network namespace that this descriptor names.
///
/// # Errors
/// As the kernel says.
pub fn move_to(name: &str, namespace: RawFd) -> Result<()> {
    let mut message = interface(0);
    message.extend(text(libc::IFLA_IFNAME, name));
    message.extend(attribute(libc::IFLA_NET_NS_FD, &namespace.to_ne_bytes()));
    request(libc::RTM_NEWLINK, 0, &message).with_context(|| format!("moving {name}"))
}

/// Gives an interface an address, one of IPv6 without the wait for another that has it.
///
/// # Errors
/// As the kernel says.
pub fn address(name: &str, address: IpAddr, prefix: u8) -> Result<()> {
    let index = nix::net::if_::if_nametoindex(name).with_context(|| name.to_owned())?;
    let (family, flags, octets) = match address {
        IpAddr::V4(address) => (libc::AF_INET, 0, address.octets().to_vec()),
        IpAddr::V6(address) => (libc::AF_INET6, libc::IFA_F_NODAD, address.octets().to_vec()),
    };
    // struct ifaddrmsg: family, prefix length, flags, scope, index
    let mut message = vec![family as u8, prefix, flags as u8, 0];
    message.extend(index.to_ne_bytes());
    for kind in [libc::IFA_LOCAL, libc::IFA_ADDRESS] {
        message.extend(attribute(kind, &octets));
    }
    let create = libc::NLM_F_CREATE | libc::NLM_F_EXCL;
    request(libc::RTM_NEWADDR, create, &message).with_context(|| format!("{address} on {name}"))
}

/// `struct ifinfomsg`: family, type, index, flags, change.
fn interface(flags: u32) -> Vec<u8> {
    let mut message = vec![0; 8];
    message.extend(flags.to_ne_bytes());
    message.extend(flags.to_ne_bytes());
    message
}

fn text(kind: u16, value: &str) -> Vec<u8> {
    let mut bytes = value.as_bytes().to_vec();
    bytes.push(0);
    attribute(kind, &bytes)
}

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut bytes = ((4 + value.len()) as u16).to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn request(kind: u16, flags: i32, body: &[u8]) -> Result<()> {
    let flags = libc::NLM_F_REQUEST | libc::NLM_F_ACK | flags;
    let mut message = ((16 + body.len()) as u32).to_ne_bytes().to_vec();
    message.extend(kind.to_ne_bytes());
    message.extend((flags as u16).to_ne_bytes());
    message.extend([0; 8]);
    message.extend(body);
    let socket = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkRoute,
    )?;
    connect(socket.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
    send(socket.as_raw_fd(), &message, MsgFlags::empty())?;
    let mut answer = [0; 8192];
    let length = recv(socket.as_raw_fd(), &mut answer, MsgFlags::empty())?;
    // an acknowledgement is an error message with the code 0
    let code = answer
        .get(16..20)
        .filter(|_| length >= 20)
        .and_then(|bytes| bytes.try_into().ok())
        .map(i32::from_ne_bytes)
        .context("a short answer")?;
    if code != 0 {
        bail!(std::io::Error::from_raw_os_error(-code));
    }
    Ok(())
}
