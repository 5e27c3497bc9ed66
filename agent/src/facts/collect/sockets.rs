//! Sockets that listen, and the programs that hold them: /proc/net/{tcp,tcp6,udp,udp6} as proc(5) describes them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use nix::sys::socket::SockProtocol;

use super::netlink::{attributes, dump};
use crate::facts::Listener;

/// A socket of one of the tables.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Socket {
    pub(super) address: IpAddr,
    pub(super) port: u16,
    pub(super) inode: u64,
}

/// A TCP connection that is established.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Connection {
    /// This host's end.
    pub local: SocketAddr,
    /// The other end.
    pub peer: SocketAddr,
    /// The other end began: something listens on the local port.
    pub accepted: bool,
    pub(super) inode: u64,
}

#[cfg(test)]
impl Connection {
    /// One that no process holds.
    pub(crate) fn of(local: SocketAddr, peer: SocketAddr, accepted: bool) -> Self {
        Self {
            local,
            peer,
            accepted,
            inode: 0,
        }
    }
}

/// Everything that is established.
pub(super) fn tcp_connections() -> Vec<Connection> {
    let listening: BTreeSet<u16> = tcp_listening().iter().map(|it| it.port).collect();
    tcp_tables()
        .flat_map(|text| connections(&text, &listening))
        .collect()
}

fn connections(table: &str, listening: &BTreeSet<u16>) -> Vec<Connection> {
    let end = |word: &str| {
        let (address, port) = word.split_once(':')?;
        let port = u16::from_str_radix(port, 16).ok()?;
        Some(SocketAddr::new(address_of(address)?.to_canonical(), port))
    };
    let one = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        (u8::from_str_radix(words.get(3)?, 16).ok()? == ESTABLISHED).then_some(())?;
        let local = end(words.get(1)?)?;
        Some(Connection {
            local,
            peer: end(words.get(2)?)?,
            accepted: listening.contains(&local.port()),
            inode: words.get(9)?.parse().ok()?,
        })
    };
    table.lines().skip(1).filter_map(one).collect()
}

const ESTABLISHED: u8 = 0x01;
const LISTEN: u8 = 0x0a;
/// An UDP socket that is not connected (TCP_CLOSE).
const UNCONNECTED: u8 = 0x07;

/// Everything that listens, by transport and port.
pub(super) fn listeners(notes: &mut Vec<String>) -> Vec<Listener> {
    let programs = programs(|_| true);
    let mut found = Vec::new();
    for (transport, state, tables) in [
        ("tcp", LISTEN, ["tcp", "tcp6"]),
        ("udp", UNCONNECTED, ["udp", "udp6"]),
    ] {
        for table in tables {
            let path = format!("/proc/thread-self/net/{table}");
            let Ok(text) = fs::read_to_string(&path) else {
                notes.push(format!(
                    "{path} can't be read; what listens there is left out"
                ));
                continue;
            };
            found.extend(sockets(&text, state).into_iter().map(|socket| Listener {
                transport: transport.to_owned(),
                address: socket.address,
                port: socket.port,
                program: programs.get(&socket.inode).cloned(),
            }));
        }
    }
    found.sort_by(|a, b| (&a.transport, a.port, a.address).cmp(&(&b.transport, b.port, b.address)));
    found.dedup();
    found
}

/// TCP sockets that listen.
pub(super) fn tcp_listening() -> Vec<Socket> {
    tcp_tables()
        .flat_map(|text| sockets(&text, LISTEN))
        .collect()
}

fn tcp_tables() -> impl Iterator<Item = String> {
    let text = |table| fs::read_to_string(Path::new("/proc/thread-self/net").join(table));
    ["tcp", "tcp6"]
        .into_iter()
        .filter_map(move |it| text(it).ok())
}

/// Ports of TCP sockets that listen, each with the cgroup it was made in: what /proc hides from who may not look into other processes.
/// Empty where the kernel says no cgroups (before 5.9, or built without).
pub(super) fn tcp_listening_by_cgroup() -> io::Result<Vec<(u16, u64)>> {
    let mut found = Vec::new();
    for family in [libc::AF_INET, libc::AF_INET6] {
        let bodies = dump(
            SockProtocol::NetlinkSockDiag,
            SOCK_DIAG_BY_FAMILY,
            &diag_question(family as u8, libc::IPPROTO_TCP as u8, 1 << LISTEN),
            SOCK_DIAG_BY_FAMILY,
        )?;
        found.extend(bodies.iter().filter_map(|body| diag_answer(body)));
    }
    Ok(found)
}

/// include/uapi/linux/sock_diag.h.
pub(super) const SOCK_DIAG_BY_FAMILY: u16 = 20;
/// `struct inet_diag_req_v2`, include/uapi/linux/inet_diag.h.
pub(super) const DIAG_REQUEST: usize = 56;
/// `struct inet_diag_msg`, in the same place.
const DIAG_MESSAGE: usize = 72;
const INET_DIAG_CGROUP_ID: u16 = 21;

/// `struct inet_diag_req_v2`: family, protocol, extensions, padding, states, and an address of zeros.
pub(super) fn diag_question(family: u8, protocol: u8, states: u32) -> [u8; DIAG_REQUEST] {
    let mut question = [0; DIAG_REQUEST];
    question[0] = family;
    question[1] = protocol;
    question[4..8].copy_from_slice(&states.to_ne_bytes());
    question
}

/// The port, in network byte order at octet 4, and the cgroup.
fn diag_answer(body: &[u8]) -> Option<(u16, u64)> {
    let port = u16::from_be_bytes([*body.get(4)?, *body.get(5)?]);
    let cgroup = attributes(body.get(DIAG_MESSAGE..)?)
        .find(|(kind, _)| *kind == INET_DIAG_CGROUP_ID)
        .and_then(|(_, value)| value.try_into().ok())?;
    Some((port, u64::from_ne_bytes(cgroup)))
}

/// The lines of a table that are in a state. UDP port 0 is a socket without a port.
fn sockets(table: &str, state: u8) -> Vec<Socket> {
    let one = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (address, port) = words.get(1)?.split_once(':')?;
        (u8::from_str_radix(words.get(3)?, 16).ok()? == state).then_some(())?;
        Some(Socket {
            address: address_of(address)?,
            port: u16::from_str_radix(port, 16).ok().filter(|&it| it != 0)?,
            inode: words.get(9)?.parse().ok()?,
        })
    };
    table.lines().skip(1).filter_map(one).collect()
}

/// Words of 32 bits in the machine's byte order, each printed as a number.
fn address_of(text: &str) -> Option<IpAddr> {
    let word = |at: usize| {
        let digits = text.get(at * 8..at * 8 + 8)?;
        Some(u32::from_str_radix(digits, 16).ok()?.to_ne_bytes())
    };
    match text.len() {
        8 => Some(Ipv4Addr::from(word(0)?).into()),
        32 => {
            let octets = [word(0)?, word(1)?, word(2)?, word(3)?].concat();
            let octets: [u8; 16] = octets.try_into().ok()?;
            Some(Ipv6Addr::from(octets).into())
        }
        _ => None,
    }
}

/// Programs by the inodes of their sockets; only those that the user may look at, and whose name is `wanted`.
pub(super) fn programs(wanted: impl Fn(&str) -> bool) -> BTreeMap<u64, String> {
    let mut found = BTreeMap::new();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    for process in processes {
        let name = process.file_name();
        if !name
            .to_str()
            .is_some_and(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
        {
            continue;
        }
        let Some(program) = super::text(process.path().join("comm")).filter(|name| wanted(name))
        else {
            continue;
        };
        let descriptors = fs::read_dir(process.path().join("fd"))
            .into_iter()
            .flatten();
        for descriptor in descriptors.flatten() {
            let inode = inode(&descriptor.path());
            if let Some(inode) = inode {
                found.entry(inode).or_insert_with(|| program.clone());
            }
        }
    }
    found
}

/// The socket that a link under /proc/PID/fd stands for.
pub(super) fn inode(descriptor: &Path) -> Option<u64> {
    let target = fs::read_link(descriptor).ok()?;
    let number = target.to_str()?.strip_prefix("socket:[")?;
    number.strip_suffix(']')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0 100 0 0 10 0
   1: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4712 1 0 100 0 0 10 0
   2: 0100007F:C350 0100007F:1F90 01 00000000:00000000 00:00000000 00000000     0        0 4713 1 0 100 0 0 10 0
";

    #[test]
    #[cfg(target_endian = "little")]
    fn the_kernels_table_is_read() {
        let found = sockets(TABLE, LISTEN);
        let words: Vec<String> = found
            .iter()
            .map(|it| format!("{} {} {}", it.address, it.port, it.inode))
            .collect();
        assert_eq!(words, ["127.0.0.1 8080 4711", "0.0.0.0 22 4712"]);
        assert_eq!(
            address_of("B80D0120000000000000000001000000").map(|it| it.to_string()),
            Some("2001:db8::1".to_owned())
        );
        assert_eq!(address_of("012"), None);
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn connections_know_who_began() {
        let found = connections(TABLE, &BTreeSet::from([8080]));
        let [one] = found[..] else {
            panic!("{found:?}")
        };
        assert_eq!(
            (
                one.local.to_string(),
                one.peer.to_string(),
                one.accepted,
                one.inode
            ),
            (
                "127.0.0.1:50000".to_owned(),
                "127.0.0.1:8080".to_owned(),
                false,
                4713
            )
        );
        assert!(connections(TABLE, &BTreeSet::from([50_000]))[0].accepted);
    }

    #[test]
    fn the_kernel_says_which_cgroup_listens() {
        let socket = std::net::TcpListener::bind("[::1]:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        let found = tcp_listening_by_cgroup().unwrap();
        let ours = found.iter().find(|(it, _)| *it == port);
        assert!(ours.is_some_and(|(_, cgroup)| *cgroup != 0), "{found:?}");
    }

    #[test]
    fn a_socket_of_this_test_is_found() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        let found = listeners(&mut Vec::new());
        let ours = found
            .iter()
            .find(|it| it.transport == "tcp" && it.port == port)
            .unwrap();
        assert!(ours.address.is_loopback());
        assert!(tcp_listening().iter().any(|it| it.port == port));
    }
}
