//! The sessions that whoever runs this program sits in: TCP connections that its ancestors hold, as sshd does, and the one that sshd names
//! in the environment, which sudo drops and a terminal multiplexer keeps too long.

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use super::sockets::{self, Connection};

/// Ancestors that are asked at most.
const DEEPEST: usize = 64;

/// The connections that this process hangs on; only those that are established.
#[must_use]
pub fn own_connections() -> Vec<Connection> {
    let mut inodes = BTreeSet::new();
    let mut process = std::process::id();
    for _ in 0..DEEPEST {
        inodes.extend(sockets_of(process));
        match parent(process) {
            Some(parent) if parent > 0 => process = parent,
            _ => break,
        }
    }
    let named = std::env::var("SSH_CONNECTION")
        .ok()
        .and_then(|text| connection(&text));
    sockets::tcp_connections()
        .into_iter()
        .filter(|it| inodes.contains(&it.inode) || Some((it.local, it.peer)) == named)
        .collect()
}

/// Inodes of the sockets that a process holds, where it may be looked at.
fn sockets_of(process: u32) -> Vec<u64> {
    let directory = Path::new("/proc").join(process.to_string()).join("fd");
    let descriptors = fs::read_dir(directory).into_iter().flatten().flatten();
    descriptors
        .filter_map(|it| sockets::inode(&it.path()))
        .collect()
}

fn parent(process: u32) -> Option<u32> {
    let stat = super::text(format!("/proc/{process}/stat"))?;
    parent_of(&stat)
}

/// The fourth field of proc(5)'s stat; the second is in parentheses and may hold anything.
fn parent_of(stat: &str) -> Option<u32> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(1)?.parse().ok()
}

/// sshd(8): client's address and port, server's address and port.
fn connection(text: &str) -> Option<(SocketAddr, SocketAddr)> {
    let mut words = text.split_whitespace();
    let mut end = || {
        let address: IpAddr = words.next()?.parse().ok()?;
        let port = words.next()?.parse().ok()?;
        Some(SocketAddr::new(address.to_canonical(), port))
    };
    let (peer, local) = (end()?, end()?);
    Some((local, peer))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sshd_names_its_connection() {
        let ends = |local: &str, peer: &str| Some((local.parse().unwrap(), peer.parse().unwrap()));
        for (text, expected) in [
            (
                "192.0.2.9 50000 192.0.2.1 22",
                ends("192.0.2.1:22", "192.0.2.9:50000"),
            ),
            (
                "2001:db8::9 50000 2001:db8::1 2222",
                ends("[2001:db8::1]:2222", "[2001:db8::9]:50000"),
            ),
            ("192.0.2.9 50000 192.0.2.1", None),
            ("", None),
            ("fe80::1%eth0 1 fe80::2%eth0 22", None),
        ] {
            assert_eq!(connection(text), expected, "{text}");
        }
    }

    #[test]
    fn the_parent_is_read_past_any_name() {
        for (stat, expected) in [
            ("12 (sshd) S 7 12 12 0", Some(7)),
            ("12 (a) b) (c) S 8 12", Some(8)),
            ("12", None),
        ] {
            assert_eq!(parent_of(stat), expected, "{stat}");
        }
        assert_eq!(
            parent(std::process::id()),
            Some(std::os::unix::process::parent_id())
        );
    }

    #[test]
    fn a_connection_that_this_process_holds_is_its_own() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (local, peer) = (client.local_addr().unwrap(), client.peer_addr().unwrap());
        let own = own_connections();
        assert!(
            own.iter().any(|it| (it.local, it.peer) == (local, peer)),
            "{own:?}"
        );
    }
}
