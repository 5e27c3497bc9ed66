//! Interfaces and their addresses, by rtnetlink: sysfs shows the namespace it was mounted in, netlink the caller's.
//!
//! Layouts: rtnetlink(7), include/uapi/linux/{if_link,if_addr}.h. Numbers are in host byte order, addresses in network order.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use ipnet::{IpNet, Ipv4Net};
use nix::sys::socket::SockProtocol;

use super::netlink::{attributes, dump, half, word};
use crate::facts::{Interface, InterfaceAddress};

/// `struct ifinfomsg`.
const LINK: usize = 16;
/// `struct ifaddrmsg`.
const ADDRESS: usize = 8;

const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_LINK: u16 = 5;
const IFLA_MASTER: u16 = 10;
const IFLA_LINKINFO: u16 = 18;
const IFLA_LINK_NETNSID: u16 = 37;
const IFLA_INFO_KIND: u16 = 1;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_BROADCAST: u16 = 4;
const IFA_FLAGS: u16 = 8;
/// The address has no end: not from a lease, not from a router's advertisement.
const IFA_F_PERMANENT: u32 = 0x80;
/// Loopback, where nothing is leased.
const ARPHRD_LOOPBACK: u16 = 772;

/// Kinds that send and receive through the device that they name as their link, unchanged but for a tag; a veth names its peer there, a
/// tunnel the device that it was told to use.
const UPON_A_PARENT: [&str; 3] = ["vlan", "macvlan", "ipvlan"];

/// All interfaces by index, with their addresses. Forwarding is left out; a lease is seen only by an IPv4 address that ends.
pub(super) fn interfaces() -> io::Result<Vec<Interface>> {
    let mut found: BTreeMap<u32, Interface> = BTreeMap::new();
    let mut stacked = Vec::new();
    for body in route(libc::RTM_GETLINK, libc::RTM_NEWLINK)? {
        let Some((mut interface, above_and_below)) = link(&body) else {
            continue;
        };
        if let Some(driver) = driver(&interface.name, interface.index) {
            interface.driver = Some(driver);
        }
        stacked.push((interface.index, above_and_below));
        found.insert(interface.index, interface);
    }
    for (index, [master, parent]) in stacked {
        let name = |index: Option<u32>| Some(found.get(&index?)?.name.clone());
        let (master, parent) = (name(master), name(parent));
        if let Some(interface) = found.get_mut(&index) {
            (interface.master, interface.parent) = (master, parent);
        }
    }
    for body in route(libc::RTM_GETADDR, libc::RTM_NEWADDR)? {
        let Some((index, address, ends)) = address(&body) else {
            continue;
        };
        if let Some(interface) = found.get_mut(&index) {
            let leased = ends && address.address.addr().is_ipv4();
            interface.has_lease |= leased && interface.link_type != ARPHRD_LOOPBACK;
            interface.addresses.push(address);
        }
    }
    Ok(found.into_values().collect())
}

/// Everything of a kind, of all families.
fn route(kind: u16, reply: u16) -> io::Result<Vec<Vec<u8>>> {
    dump(SockProtocol::NetlinkRoute, kind, &[0; LINK], reply)
}

/// The driver of a device that hangs on a bus, if sysfs is of this namespace: the index tells.
fn driver(name: &str, index: u32) -> Option<String> {
    let directory = Path::new("/sys/class/net").join(name);
    let shown: u32 = super::text(directory.join("ifindex"))?.parse().ok()?;
    if shown != index {
        return None;
    }
    let driver = std::fs::read_link(directory.join("device/driver")).ok()?;
    Some(driver.file_name()?.to_str()?.to_owned())
}

/// One RTM_NEWLINK, and the indices of its master and its parent.
fn link(body: &[u8]) -> Option<(Interface, [Option<u32>; 2])> {
    let mut interface = Interface {
        name: String::new(),
        link_type: half(body, 2)?,
        index: word(body, 4)?,
        up: word(body, 8)? & libc::IFF_UP as u32 != 0,
        mtu: 0,
        driver: None,
        master: None,
        parent: None,
        addresses: Vec::new(),
        forwards_v4: false,
        forwards_v6: false,
        has_lease: false,
    };
    let (mut master, mut parent) = (None, None);
    let mut elsewhere = false;
    for (kind, value) in attributes(body.get(LINK..)?) {
        match kind {
            IFLA_IFNAME => interface.name = string(value),
            IFLA_MTU => interface.mtu = word(value, 0)?,
            IFLA_MASTER => master = word(value, 0),
            IFLA_LINK => parent = word(value, 0),
            // The index is another namespace's.
            IFLA_LINK_NETNSID => elsewhere = true,
            // A device without a bus names its kind, which is its driver's name: veth, bridge, bond.
            IFLA_LINKINFO => {
                interface.driver = attributes(value)
                    .find(|(kind, _)| *kind == IFLA_INFO_KIND)
                    .map(|(_, name)| string(name));
            }
            _ => {}
        }
    }
    let kind = interface.driver.as_deref().unwrap_or_default();
    let parent = parent.filter(|_| !elsewhere && UPON_A_PARENT.contains(&kind));
    (!interface.name.is_empty()).then_some((interface, [master, parent]))
}

/// One RTM_NEWADDR: the interface's index, the address, and whether it ends by itself.
fn address(body: &[u8]) -> Option<(u32, InterfaceAddress, bool)> {
    let (family, prefix) = (*body.first()?, *body.get(1)?);
    let mut flags = u32::from(*body.get(2)?);
    let index = word(body, 4)?;
    let (mut local, mut other, mut broadcast) = (None, None, None);
    for (kind, value) in attributes(body.get(ADDRESS..)?) {
        match kind {
            IFA_LOCAL => local = ip(family, value),
            // The other end of a point-to-point link; the address itself where there is no IFA_LOCAL.
            IFA_ADDRESS => other = ip(family, value),
            IFA_BROADCAST => broadcast = ip(family, value),
            IFA_FLAGS => flags = word(value, 0)?,
            _ => {}
        }
    }
    let address = IpNet::new(local.or(other)?, prefix).ok()?;
    let said = match broadcast {
        Some(IpAddr::V4(address)) => Some(address),
        _ => None,
    };
    let implied = match address {
        IpNet::V4(net) => directed_broadcast(net),
        IpNet::V6(_) => None,
    };
    let broadcast = said.or(implied);
    let address = InterfaceAddress { address, broadcast };
    Some((index, address, flags & IFA_F_PERMANENT == 0))
}

/// The kernel takes the last address of a subnet as its broadcast address, set or not, except in /31 and /32
/// (net/ipv4/fib_frontend.c, fib_add_ifaddr).
fn directed_broadcast(net: Ipv4Net) -> Option<Ipv4Addr> {
    (net.prefix_len() < 31).then(|| net.broadcast())
}

fn ip(family: u8, value: &[u8]) -> Option<IpAddr> {
    match i32::from(family) {
        libc::AF_INET => <[u8; 4]>::try_from(value)
            .ok()
            .map(|octets| Ipv4Addr::from(octets).into()),
        libc::AF_INET6 => <[u8; 16]>::try_from(value)
            .ok()
            .map(|octets| Ipv6Addr::from(octets).into()),
        _ => None,
    }
}

fn string(value: &[u8]) -> String {
    let end = value
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(value.len());
    String::from_utf8_lossy(value.get(..end).unwrap_or(&[])).into_owned()
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

    fn address_message(family: u8, prefix: u8, flags: u8, attributes: &[Vec<u8>]) -> Vec<u8> {
        let mut body = vec![family, prefix, flags, 0];
        body.extend_from_slice(&7u32.to_ne_bytes());
        body.extend(attributes.concat());
        body
    }

    #[track_caller]
    fn check(message: &[u8], expected: (&str, Option<&str>, bool)) {
        let (index, found, ends) = address(message).unwrap();
        let broadcast = found.broadcast.map(|it| it.to_string());
        assert_eq!(index, 7);
        assert_eq!(
            (
                found.address.to_string().as_str(),
                broadcast.as_deref(),
                ends
            ),
            expected
        );
    }

    #[test]
    fn addresses_with_their_broadcast_and_their_end() {
        let local = attribute(IFA_LOCAL, &[10, 0, 0, 5]);
        let other = attribute(IFA_ADDRESS, &[10, 0, 0, 9]);
        let set = attribute(IFA_BROADCAST, &[10, 0, 255, 255]);
        let v6 = attribute(IFA_ADDRESS, &Ipv6Addr::LOCALHOST.octets());
        let permanent = IFA_F_PERMANENT as u8;
        let long = attribute(IFA_FLAGS, &0x280u32.to_ne_bytes());
        for (message, expected) in [
            (
                address_message(2, 24, permanent, std::slice::from_ref(&local)),
                ("10.0.0.5/24", Some("10.0.0.255"), false),
            ),
            (
                address_message(2, 24, 0, &[local.clone(), set]),
                ("10.0.0.5/24", Some("10.0.255.255"), true),
            ),
            (
                address_message(2, 32, permanent, &[other, local.clone()]),
                ("10.0.0.5/32", None, false),
            ),
            (
                address_message(2, 31, permanent, &[local]),
                ("10.0.0.5/31", None, false),
            ),
            (
                address_message(10, 128, 0, &[v6, long]),
                ("::1/128", None, false),
            ),
        ] {
            check(&message, expected);
        }
    }

    #[test]
    fn a_message_that_is_cut_off_says_nothing() {
        let message = address_message(2, 24, 0, &[attribute(IFA_LOCAL, &[10, 0, 0, 5])]);
        for length in 0..message.len() {
            assert!(address(&message[..length]).is_none(), "{length}");
        }
    }

    #[test]
    fn loopback_is_an_interface_without_a_lease() {
        let found = interfaces().unwrap();
        let loopback = found.iter().find(|it| it.name == "lo").unwrap();
        assert_eq!(loopback.link_type, ARPHRD_LOOPBACK);
        assert!(!loopback.has_lease && loopback.mtu > 0);
    }
}
