//! Messages of the kernel about open flows: ctnetlink's (include/uapi/linux/netfilter/nfnetlink_conntrack.h) and sock_diag's
//! (include/uapi/linux/inet_diag.h). Any octets give a value or `None`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use agent_common::flow::FlowState;

use super::{Carrier, End, Socket, Tracked, Tuple};
use crate::facts::collect::netlink::attributes;

/// `struct nfgenmsg`.
const GENERIC: usize = 4;

const CTA_TUPLE_ORIG: u16 = 1;
const CTA_TUPLE_REPLY: u16 = 2;
const CTA_PROTOINFO: u16 = 4;
const CTA_TUPLE_IP: u16 = 1;
const CTA_TUPLE_PROTO: u16 = 2;
const CTA_IP_V4_SRC: u16 = 1;
const CTA_IP_V4_DST: u16 = 2;
const CTA_IP_V6_SRC: u16 = 3;
const CTA_IP_V6_DST: u16 = 4;
const CTA_PROTO_NUM: u16 = 1;
const CTA_PROTO_SRC_PORT: u16 = 2;
const CTA_PROTO_DST_PORT: u16 = 3;
const CTA_PROTOINFO_TCP: u16 = 1;
const CTA_PROTOINFO_TCP_STATE: u16 = 1;
const CTA_PROTOINFO_TCP_FLAGS_ORIGINAL: u16 = 4;
const CTA_PROTOINFO_TCP_FLAGS_REPLY: u16 = 5;
/// Set both ways where a connection was met in the middle (tcp_new in net/netfilter/nf_conntrack_proto_tcp.c), or where hardware took its
/// packets meanwhile.
const IP_CT_TCP_FLAG_BE_LIBERAL: u8 = 0x08;

/// A flow of TCP or UDP in a message of ctnetlink.
pub(crate) fn tracked(body: &[u8]) -> Option<Tracked> {
    let all = body.get(GENERIC..)?;
    let (protocol, original) = tuple(find(all, CTA_TUPLE_ORIG)?)?;
    let (again, reply) = tuple(find(all, CTA_TUPLE_REPLY)?)?;
    let carrier = Carrier::of(protocol).filter(|_| again == protocol)?;
    let mut it = Tracked {
        carrier,
        original,
        reply,
        state: Some(FlowState::Udp),
        met_midway: false,
    };
    if carrier == Carrier::Tcp {
        let tcp = find(find(all, CTA_PROTOINFO)?, CTA_PROTOINFO_TCP)?;
        it.state = tracked_state(octet(find(tcp, CTA_PROTOINFO_TCP_STATE)?)?);
        let liberal = |kind| {
            let flags = find(tcp, kind).and_then(octet);
            flags.is_some_and(|flags| flags & IP_CT_TCP_FLAG_BE_LIBERAL != 0)
        };
        it.met_midway =
            liberal(CTA_PROTOINFO_TCP_FLAGS_ORIGINAL) && liberal(CTA_PROTOINFO_TCP_FLAGS_REPLY);
    }
    Some(it)
}

/// `enum tcp_conntrack` (include/uapi/linux/netfilter/nf_conntrack_tcp.h). Which end closed first it does not say; what is closing has
/// a shorter time-out, which each packet renews.
const fn tracked_state(state: u8) -> Option<FlowState> {
    match state {
        // SYN_SENT, and that of both ends
        1 | 9 => Some(FlowState::Begun),
        // SYN_RECV
        2 => Some(FlowState::Answered),
        // ESTABLISHED
        3 => Some(FlowState::Established),
        // FIN_WAIT, CLOSE_WAIT, LAST_ACK
        4..=6 => Some(FlowState::Closing),
        _ => None,
    }
}

fn tuple(nested: &[u8]) -> Option<(u8, Tuple)> {
    let address = find(nested, CTA_TUPLE_IP)?;
    let (source, destination): (IpAddr, IpAddr) = match find(address, CTA_IP_V4_SRC) {
        Some(source) => (v4(source)?, v4(find(address, CTA_IP_V4_DST)?)?),
        None => (
            v6(find(address, CTA_IP_V6_SRC)?)?,
            v6(find(address, CTA_IP_V6_DST)?)?,
        ),
    };
    let protocol = find(nested, CTA_TUPLE_PROTO)?;
    let port = |kind| {
        let two: [u8; 2] = find(protocol, kind)?.try_into().ok()?;
        Some(u16::from_be_bytes(two))
    };
    let number = octet(find(protocol, CTA_PROTO_NUM)?)?;
    let tuple = Tuple {
        source: SocketAddr::new(source, port(CTA_PROTO_SRC_PORT)?),
        destination: SocketAddr::new(destination, port(CTA_PROTO_DST_PORT)?),
    };
    Some((number, tuple))
}

fn find(stretch: &[u8], wanted: u16) -> Option<&[u8]> {
    let mut all = attributes(stretch);
    all.find(|(kind, _)| *kind == wanted)
        .map(|(_, value)| value)
}

fn octet(value: &[u8]) -> Option<u8> {
    value.first().copied()
}

fn v4(octets: &[u8]) -> Option<IpAddr> {
    let octets: [u8; 4] = octets.try_into().ok()?;
    Some(Ipv4Addr::from(octets).into())
}

fn v6(octets: &[u8]) -> Option<IpAddr> {
    let octets: [u8; 16] = octets.try_into().ok()?;
    Some(Ipv6Addr::from(octets).to_canonical())
}

/// States of sockets that are asked for, as bits: all but those of which nothing is left but to wait (TIME_WAIT), and those whose peer has
/// not been heard of twice (SYN_RECV).
pub(crate) const SOCKET_STATES: u32 = 1 << ESTABLISHED
    | 1 << SYN_SENT
    | 1 << FIN_WAIT1
    | 1 << FIN_WAIT2
    | 1 << CLOSE
    | 1 << CLOSE_WAIT
    | 1 << LAST_ACK
    | 1 << LISTEN
    | 1 << CLOSING;

/// include/net/tcp_states.h.
const ESTABLISHED: u8 = 1;
const SYN_SENT: u8 = 2;
const FIN_WAIT1: u8 = 4;
const FIN_WAIT2: u8 = 5;
const CLOSE: u8 = 7;
const CLOSE_WAIT: u8 = 8;
const LAST_ACK: u8 = 9;
const LISTEN: u8 = 10;
const CLOSING: u8 = 11;

/// A socket in an answer of sock_diag, `struct inet_diag_msg`; the message does not say what carries it.
pub(crate) fn socket(carrier: Carrier, body: &[u8]) -> Option<Socket> {
    let family = i32::from(*body.first()?);
    let port = |at: usize| -> Option<u16> {
        let two: [u8; 2] = body.get(at..at + 2)?.try_into().ok()?;
        Some(u16::from_be_bytes(two))
    };
    let address = |at: usize| match family {
        libc::AF_INET => v4(body.get(at..at + 4)?),
        libc::AF_INET6 => v6(body.get(at..at + 16)?),
        _ => None,
    };
    let local = SocketAddr::new(address(8)?, port(4)?);
    let peer = SocketAddr::new(address(24)?, port(6)?);
    if local.port() == 0 {
        return None;
    }
    let end = match (carrier, *body.get(1)?) {
        (Carrier::Tcp, LISTEN) | (Carrier::Udp, CLOSE) => End::Anybody,
        (Carrier::Udp, ESTABLISHED) => End::Peer(peer, FlowState::Udp),
        (Carrier::Tcp, SYN_SENT) => End::Peer(peer, FlowState::Begun),
        (Carrier::Tcp, ESTABLISHED | CLOSE_WAIT) => End::Peer(peer, FlowState::Established),
        (Carrier::Tcp, FIN_WAIT1 | FIN_WAIT2 | LAST_ACK | CLOSING) => {
            End::Peer(peer, FlowState::Closing)
        }
        _ => return None,
    };
    Some(Socket {
        carrier,
        local,
        end,
    })
}
