//! As much of nftables' netlink protocol as one table needs: include/uapi/linux/netfilter/nf_tables.h. Numbers in attributes are in network
//! byte order; what is compared with a number that the kernel keeps (a link type, a state) is in the machine's.

use std::io;
use std::os::fd::AsRawFd as _;

use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, connect, recv, send,
    setsockopt, socket, sockopt,
};
use nix::sys::time::TimeVal;

/// What a packet is asked; all must hold, then it is accepted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Expression {
    /// It belongs to a flow that connection tracking knows, or is an error about one.
    Established,
    /// The ARPHRD_ number of the interface that it came by.
    LinkTypeIs(u16),
    /// NFPROTO_ number.
    FamilyIs(u8),
    /// What the IP header carries.
    ProtocolIs(u8),
    /// Octets of the transport's header lie between these, both included.
    TransportIn {
        offset: u32,
        first: Vec<u8>,
        last: Vec<u8>,
    },
    /// An octet of the transport's header under a mask is not this.
    TransportMasked { offset: u32, mask: u8, not: u8 },
    /// Octets of the network's header under a mask are these.
    NetworkMasked {
        offset: u32,
        mask: Vec<u8>,
        value: Vec<u8>,
    },
}

pub(super) type Expressions = Vec<Expression>;

/// `struct nlmsghdr`, `struct nfgenmsg`.
const HEADER: usize = 16;
const GENERIC: usize = 4;
/// The answer to a batch should be there at once.
const PATIENCE_SECONDS: i64 = 5;

const NFNL_SUBSYS_NFTABLES: u16 = 10;
const NFNL_MSG_BATCH_BEGIN: u16 = 16;
const NFNL_MSG_BATCH_END: u16 = 17;

/// Messages that come into force together or not at all.
pub(super) struct Batch {
    octets: Vec<u8>,
    messages: u32,
}

impl Batch {
    pub(super) fn new() -> Self {
        let mut batch = Self {
            octets: Vec::new(),
            messages: 0,
        };
        batch.control(NFNL_MSG_BATCH_BEGIN);
        batch
    }

    pub(super) fn new_table(&mut self, table: &str) {
        self.message(libc::NFT_MSG_NEWTABLE, libc::NLM_F_CREATE, &text(1, table));
    }

    pub(super) fn delete_table(&mut self, table: &str) {
        self.message(libc::NFT_MSG_DELTABLE, 0, &text(1, table));
    }

    /// A base chain on the host's own packets that come in, of the usual priority, which drops what no rule accepts.
    pub(super) fn new_input_chain(&mut self, table: &str, chain: &str) {
        const LOCAL_IN: u32 = 1;
        let hook = [number(1, LOCAL_IN), number(2, 0)].concat();
        let body = [
            text(1, table),
            text(3, chain),
            nested(4, &hook),
            number(5, libc::NF_DROP as u32),
            text(7, "filter"),
        ];
        self.message(libc::NFT_MSG_NEWCHAIN, libc::NLM_F_CREATE, &body.concat());
    }

    /// Accepts what all the expressions hold of.
    pub(super) fn new_rule(&mut self, table: &str, chain: &str, expressions: Expressions) {
        let mut list: Vec<u8> = expressions.iter().flat_map(encoded).collect();
        list.extend(accept());
        let body = [text(1, table), text(2, chain), nested(4, &list)];
        let flags = libc::NLM_F_CREATE | libc::NLM_F_APPEND;
        self.message(libc::NFT_MSG_NEWRULE, flags, &body.concat());
    }

    /// Into the kernel.
    pub(super) fn send(mut self) -> io::Result<()> {
        self.control(NFNL_MSG_BATCH_END);
        self.exchange()
    }

    /// Asks for a table of family inet; the error is ENOENT where there is none.
    pub(super) fn ask_for(table: &str) -> io::Result<()> {
        let mut question = Self {
            octets: Vec::new(),
            messages: 0,
        };
        question.message(libc::NFT_MSG_GETTABLE, 0, &text(1, table));
        question.exchange()
    }

    fn exchange(self) -> io::Result<()> {
        let expected = self.messages;
        let socket = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::NetlinkNetFilter,
        )?;
        connect(socket.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
        setsockopt(
            &socket,
            sockopt::ReceiveTimeout,
            &TimeVal::new(PATIENCE_SECONDS, 0),
        )?;
        send(socket.as_raw_fd(), &self.octets, MsgFlags::empty())?;
        let mut buffer = vec![0; 65_536];
        let mut acknowledged = 0;
        while acknowledged < expected {
            let received = recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
            acknowledged += answers(buffer.get(..received).unwrap_or(&[]))?;
        }
        Ok(())
    }

    fn control(&mut self, kind: u16) {
        // The subsystem stands in the place of the resource id.
        self.put(kind, 0, libc::AF_UNSPEC as u8, NFNL_SUBSYS_NFTABLES, &[]);
    }

    fn message(&mut self, kind: i32, flags: i32, body: &[u8]) {
        self.messages += 1;
        let kind = NFNL_SUBSYS_NFTABLES << 8 | kind as u16;
        let flags = flags | libc::NLM_F_ACK;
        self.put(kind, flags, libc::NFPROTO_INET as u8, 0, body);
    }

    fn put(&mut self, kind: u16, flags: i32, family: u8, resource: u16, body: &[u8]) {
        let length = (HEADER + GENERIC + body.len()) as u32;
        let flags = (flags | libc::NLM_F_REQUEST) as u16;
        self.octets.extend(length.to_ne_bytes());
        self.octets.extend(kind.to_ne_bytes());
        self.octets.extend(flags.to_ne_bytes());
        self.octets.extend(self.messages.to_ne_bytes());
        self.octets.extend(0_u32.to_ne_bytes());
        self.octets.extend([family, 0]);
        self.octets.extend(resource.to_be_bytes());
        self.octets.extend(body);
        self.octets.resize(self.octets.len().next_multiple_of(4), 0);
    }
}

/// How many messages a datagram acknowledges; the first refusal is the error.
fn answers(mut rest: &[u8]) -> io::Result<u32> {
    let mut count = 0;
    while let Some(header) = rest.first_chunk::<HEADER>() {
        let length = u32::from_ne_bytes([header[0], header[1], header[2], header[3]]) as usize;
        let kind = u16::from_ne_bytes([header[4], header[5]]);
        let body = rest.get(HEADER..length).ok_or(io::ErrorKind::InvalidData)?;
        if i32::from(kind) == libc::NLMSG_ERROR {
            let code = body.first_chunk().map_or(0, |it| i32::from_ne_bytes(*it));
            if code != 0 {
                return Err(io::Error::from_raw_os_error(code.wrapping_neg()));
            }
            count += 1;
        }
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or(&[]);
    }
    Ok(count)
}

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut octets = ((4 + value.len()) as u16).to_ne_bytes().to_vec();
    octets.extend(kind.to_ne_bytes());
    octets.extend(value);
    octets.resize(octets.len().next_multiple_of(4), 0);
    octets
}

fn nested(kind: u16, value: &[u8]) -> Vec<u8> {
    attribute(kind | libc::NLA_F_NESTED as u16, value)
}

fn number(kind: u16, value: u32) -> Vec<u8> {
    attribute(kind, &value.to_be_bytes())
}

fn text(kind: u16, value: &str) -> Vec<u8> {
    attribute(kind, &[value.as_bytes(), &[0]].concat())
}

/// The register that expressions hand their value on in.
const REGISTER: u32 = libc::NFT_REG_1 as u32;

fn encoded(expression: &Expression) -> Vec<u8> {
    let equal = |value: &[u8]| compare(libc::NFT_CMP_EQ, value);
    match expression {
        Expression::Established => {
            // NF_CT_STATE_BIT: established 2, related 4; a number of the machine
            let wanted = 6_u32.to_ne_bytes();
            let nothing = 0_u32.to_ne_bytes();
            let state = [number(1, REGISTER), number(2, libc::NFT_CT_STATE as u32)];
            [
                element("ct", &state.concat()),
                masked(&wanted),
                compare(libc::NFT_CMP_NEQ, &nothing),
            ]
            .concat()
        }
        Expression::LinkTypeIs(kind) => {
            [meta(libc::NFT_META_IIFTYPE), equal(&kind.to_ne_bytes())].concat()
        }
        Expression::FamilyIs(family) => [meta(libc::NFT_META_NFPROTO), equal(&[*family])].concat(),
        Expression::ProtocolIs(protocol) => {
            [meta(libc::NFT_META_L4PROTO), equal(&[*protocol])].concat()
        }
        Expression::TransportIn {
            offset,
            first,
            last,
        } => [
            payload(libc::NFT_PAYLOAD_TRANSPORT_HEADER, *offset, first.len()),
            compare(libc::NFT_CMP_GTE, first),
            compare(libc::NFT_CMP_LTE, last),
        ]
        .concat(),
        Expression::TransportMasked { offset, mask, not } => [
            payload(libc::NFT_PAYLOAD_TRANSPORT_HEADER, *offset, 1),
            masked(&[*mask]),
            compare(libc::NFT_CMP_NEQ, &[*not]),
        ]
        .concat(),
        Expression::NetworkMasked {
            offset,
            mask,
            value,
        } => [
            payload(libc::NFT_PAYLOAD_NETWORK_HEADER, *offset, mask.len()),
            masked(mask),
            equal(value),
        ]
        .concat(),
    }
}

fn element(name: &str, data: &[u8]) -> Vec<u8> {
    nested(1, &[text(1, name), nested(2, data)].concat())
}

fn meta(key: i32) -> Vec<u8> {
    element(
        "meta",
        &[number(1, REGISTER), number(2, key as u32)].concat(),
    )
}

fn payload(base: i32, offset: u32, length: usize) -> Vec<u8> {
    let data = [
        number(1, REGISTER),
        number(2, base as u32),
        number(3, offset),
        number(4, length as u32),
    ];
    element("payload", &data.concat())
}

fn masked(mask: &[u8]) -> Vec<u8> {
    let nothing = vec![0; mask.len()];
    let data = [
        number(1, REGISTER),
        number(2, REGISTER),
        number(3, mask.len() as u32),
        nested(4, &attribute(1, mask)),
        nested(5, &attribute(1, &nothing)),
    ];
    element("bitwise", &data.concat())
}

fn compare(operator: i32, value: &[u8]) -> Vec<u8> {
    let data = [
        number(1, REGISTER),
        number(2, operator as u32),
        nested(3, &attribute(1, value)),
    ];
    element("cmp", &data.concat())
}

fn accept() -> Vec<u8> {
    let verdict = number(1, libc::NF_ACCEPT as u32);
    let data = [
        number(1, libc::NFT_REG_VERDICT as u32),
        nested(2, &nested(2, &verdict)),
    ];
    element("immediate", &data.concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_padded_and_say_their_length() {
        assert_eq!(text(1, "ab"), [7, 0, 1, 0, b'a', b'b', 0, 0]);
        assert_eq!(number(2, 0x0102), [8, 0, 2, 0, 0, 0, 1, 2]);
        assert_eq!(nested(4, &[1]), [5, 0, 4, 0x80, 1, 0, 0, 0]);
    }

    #[test]
    fn answers_are_counted_and_the_first_refusal_told() {
        let message = |kind: i32, body: &[u8]| {
            let length = (HEADER + body.len()) as u32;
            let mut octets = length.to_ne_bytes().to_vec();
            octets.extend((kind as u16).to_ne_bytes());
            octets.extend([0; 10]);
            octets.extend(body);
            octets
        };
        let fine = message(libc::NLMSG_ERROR, &0_i32.to_ne_bytes());
        let refused = message(libc::NLMSG_ERROR, &(-libc::ENOENT).to_ne_bytes());
        assert_eq!(answers(&[fine.clone(), fine.clone()].concat()).unwrap(), 2);
        let error = answers(&[fine, refused].concat()).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENOENT));
        assert_eq!(answers(&[]).unwrap(), 0);
    }
}
