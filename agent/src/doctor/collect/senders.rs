//! Who can send past the egress programs: packet sockets by /proc/net/packet, AF_XDP sockets by /proc/net/protocols.

use std::collections::BTreeMap;
use std::fs;

use crate::doctor::machine::{Sender, Senders};
use crate::facts::Facts;

pub(super) fn look(facts: &Facts) -> Senders {
    let read =
        |name| fs::read_to_string(format!("/proc/thread-self/net/{name}")).unwrap_or_default();
    let sockets = packet_sockets(&read("packet"));
    let holders = if sockets.is_empty() {
        BTreeMap::new()
    } else {
        holders()
    };
    let own = std::process::id();
    let mut packet: Vec<Sender> = sockets
        .into_iter()
        .filter(|socket| {
            holders
                .get(&socket.inode)
                .is_none_or(|(pid, _)| *pid != own)
        })
        .map(|socket| Sender {
            program: holders.get(&socket.inode).map(|(_, name)| name.clone()),
            interface: facts
                .interfaces
                .iter()
                .find(|interface| interface.index == socket.interface)
                .map(|interface| interface.name.clone()),
        })
        .collect();
    packet.sort();
    packet.dedup();
    Senders {
        packet,
        xdp: xdp_sockets(&read("protocols")),
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct PacketSocket {
    interface: u32,
    inode: u64,
}

/// `sk RefCnt Type Proto Iface R Rmem User Inode`.
fn packet_sockets(table: &str) -> Vec<PacketSocket> {
    let one = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        Some(PacketSocket {
            interface: words.get(4)?.parse().ok()?,
            inode: words.get(8)?.parse().ok()?,
        })
    };
    table.lines().skip(1).filter_map(one).collect()
}

/// `protocol size sockets …`; there is no line where the kernel knows none.
fn xdp_sockets(table: &str) -> u32 {
    let line = table.lines().find(|line| line.starts_with("XDP "));
    line.and_then(|line| line.split_whitespace().nth(2)?.parse().ok())
        .unwrap_or(0)
}

/// Processes by the inodes of their sockets: id and name.
fn holders() -> BTreeMap<u64, (u32, String)> {
    let mut found = BTreeMap::new();
    for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = process
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        let path = process.path();
        let name = fs::read_to_string(path.join("comm")).unwrap_or_default();
        let descriptors = fs::read_dir(path.join("fd"))
            .into_iter()
            .flatten()
            .flatten();
        for link in descriptors.filter_map(|entry| fs::read_link(entry.path()).ok()) {
            let inode = link
                .to_str()
                .and_then(|link| link.strip_prefix("socket:[")?.strip_suffix(']'))
                .and_then(|inode| inode.parse().ok());
            if let Some(inode) = inode {
                found.insert(inode, (pid, name.trim_end().to_owned()));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_are_read() {
        let table = "sk               RefCnt Type Proto  Iface R Rmem   User   Inode\n\
                     ffff8c0e8b5f8000 3      3    0003   2     1 0      0      31337\n\
                     junk\n";
        let expected = PacketSocket {
            interface: 2,
            inode: 31_337,
        };
        assert_eq!(packet_sockets(table), [expected]);
        assert!(packet_sockets("").is_empty());
    }

    #[test]
    fn xdp_sockets_are_counted() {
        let table = "protocol  size sockets  memory press maxhdr  slab module\n\
                     XDP       1024      2      -1   NI       0   no   kernel\n\
                     PACKET    1472      1      -1   NI       0   no   kernel\n";
        assert_eq!(xdp_sockets(table), 2);
        assert_eq!(xdp_sockets("protocol\nPACKET 1 1\n"), 0);
    }
}
