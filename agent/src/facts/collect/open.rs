//! Flows that are open on this host: what connection tracking and the sockets say.

use std::io;
use std::time::{Duration, Instant};

use nix::sys::socket::SockProtocol;

use super::netlink::{Bounds, Question, dump_into};
use super::sockets::{DIAG_REQUEST, SOCK_DIAG_BY_FAMILY, diag_question};
use super::text;
use crate::adopt::decode::{self, SOCKET_STATES};
use crate::adopt::{Carrier, Socket, Tracked};

/// Flows and sockets that are looked at, of each: twice what the kernel tracks unless it is told otherwise.
const MOST: usize = 524_288;

/// How long the kernel may take for all of it.
const PATIENCE: Duration = Duration::from_secs(3);

/// What was found, and what could not be learnt.
#[derive(Debug, Default)]
pub(crate) struct Open {
    pub(crate) tracked: Vec<Tracked>,
    pub(crate) sockets: Vec<Socket>,
    pub(crate) notes: Vec<String>,
}

/// Asks the kernel, in the caller's network namespace.
pub(crate) fn open() -> Open {
    let bounds = Bounds {
        messages: MOST,
        until: Instant::now() + PATIENCE,
    };
    let mut found = Open::default();
    if tracks_anything() {
        let asked = dump_into(&TRACKED, Some(bounds), &mut found.tracked, decode::tracked);
        found.told("flows that connection tracking knows", asked);
    }
    for (carrier, protocol) in [
        (Carrier::Tcp, libc::IPPROTO_TCP),
        (Carrier::Udp, libc::IPPROTO_UDP),
    ] {
        for family in [libc::AF_INET, libc::AF_INET6] {
            let body = diag_question(family as u8, protocol as u8, SOCKET_STATES);
            let question = diag(&body);
            let asked = dump_into(&question, Some(bounds), &mut found.sockets, |body| {
                decode::socket(carrier, body)
            });
            let version = if family == libc::AF_INET { 4 } else { 6 };
            found.told(&format!("{carrier} sockets of IPv{version}"), asked);
        }
    }
    found
}

impl Open {
    fn told(&mut self, what: &str, asked: io::Result<()>) {
        if let Err(error) = asked {
            self.notes.push(format!(
                "{what} can't all be listed: {error}; of a flow that is left out the peer is heard again once this host has sent, where the egress rules allow it"
            ));
        }
    }
}

/// Whether connection tracking is there and knows a flow. Asking it otherwise would only make the kernel load it.
fn tracks_anything() -> bool {
    text("/proc/sys/net/netfilter/nf_conntrack_count").is_some_and(|count| count != "0")
}

/// NFNL_SUBSYS_CTNETLINK (include/uapi/linux/netfilter/nfnetlink.h), with the kinds of nfnetlink_conntrack.h.
const SUBSYSTEM: u16 = 1 << 8;
const IPCTNL_MSG_CT_NEW: u16 = 0;
const IPCTNL_MSG_CT_GET: u16 = 1;

/// All flows of both families: `struct nfgenmsg` with AF_UNSPEC and version 0.
const TRACKED: Question<'static> = Question {
    protocol: SockProtocol::NetlinkNetFilter,
    kind: SUBSYSTEM | IPCTNL_MSG_CT_GET,
    body: &[0; 4],
    reply: SUBSYSTEM | IPCTNL_MSG_CT_NEW,
};

const fn diag(body: &[u8; DIAG_REQUEST]) -> Question<'_> {
    Question {
        protocol: SockProtocol::NetlinkSockDiag,
        kind: SOCK_DIAG_BY_FAMILY,
        body,
        reply: SOCK_DIAG_BY_FAMILY,
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream, UdpSocket};

    use super::*;
    use crate::adopt::End;

    #[test]
    fn sockets_of_this_test_are_found() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let listener = TcpListener::bind(address).unwrap();
            let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let asked = UdpSocket::bind(address).unwrap();
            let asking = UdpSocket::bind(address).unwrap();
            asking.connect(asked.local_addr().unwrap()).unwrap();
            let found = open();
            assert_eq!(found.notes, Vec::<String>::new());
            let end = |carrier, local| {
                let mut all = found.sockets.iter();
                let one = all.find(|it| it.carrier == carrier && it.local == local);
                one.map(|it| match it.end {
                    End::Anybody => None,
                    End::Peer(peer, _) => Some(peer),
                })
            };
            for (carrier, local, expected) in [
                (Carrier::Tcp, listener.local_addr(), None),
                (Carrier::Tcp, near.local_addr(), near.peer_addr().ok()),
                (Carrier::Udp, asked.local_addr(), None),
                (Carrier::Udp, asking.local_addr(), asking.peer_addr().ok()),
            ] {
                let local = local.unwrap();
                assert_eq!(end(carrier, local), Some(expected), "{carrier} {local}");
            }
        }
    }
}
