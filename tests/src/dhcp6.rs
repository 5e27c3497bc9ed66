//! A DHCPv6 client (RFC 8415) that does one step at a time, and a server of another author.

use std::net::{Ipv6Addr, SocketAddrV6, UdpSocket};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nix::net::if_::if_nametoindex;
use nix::sys::socket::{setsockopt, sockopt};

use crate::link::mac;
use crate::netns::Namespace;
use crate::process::Running;

const SERVER_PORT: u16 = 547;
const CLIENT_PORT: u16 = 546;
/// All relay agents and servers (RFC 8415 section 7.1).
const SERVERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 2);
const TRANSACTION: [u8; 3] = *b"por";
/// The client's one association of addresses.
const ASSOCIATION: [u8; 4] = *b"eth0";

/// Message types (RFC 8415 section 7.3).
const SOLICIT: u8 = 1;
const ADVERTISE: u8 = 2;
const REQUEST: u8 = 3;
const RENEW: u8 = 5;
const REBIND: u8 = 6;
const REPLY: u8 = 7;

/// Options (RFC 8415 section 21).
const CLIENT_ID: u16 = 1;
const SERVER_ID: u16 = 2;
const ADDRESSES: u16 = 3;
const ADDRESS: u16 = 5;
const ELAPSED: u16 = 8;

/// What a server gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// This host's address.
    pub address: Ipv6Addr,
    /// The server's identifier.
    pub server: Vec<u8>,
}

/// Starts dnsmasq on a host: leases of two minutes, its least, of addresses in this range of a /64 that the host has an address in.
///
/// # Errors
/// When it can't be started.
pub fn server(host: &Namespace, interface: &str, range: [Ipv6Addr; 2]) -> Result<Running> {
    let [first, last] = range;
    host.write("/run/portcullis/leases6", "")?;
    let mut command = host.words(&format!(
        "dnsmasq --keep-in-foreground --conf-file=/dev/null --pid-file --user=root --port=0 --no-ping \
         --dhcp-authoritative --interface={interface} --bind-interfaces \
         --dhcp-range={first},{last},64,120 --dhcp-leasefile=/run/portcullis/leases6"
    ));
    let running = Running::start(&mut command)?;
    crate::link::wait_listens(host, "udp", SERVER_PORT)?;
    Ok(running)
}

/// A host that wants an address.
#[derive(Debug)]
pub struct Client<'a> {
    host: &'a Namespace,
    interface: &'a str,
    hardware: [u8; 6],
    patience: Duration,
}

impl<'a> Client<'a> {
    /// A client on an interface, which waits so long for each answer.
    ///
    /// # Errors
    /// When there is no such interface.
    pub fn new(host: &'a Namespace, interface: &'a str, patience: Duration) -> Result<Self> {
        Ok(Self {
            host,
            interface,
            hardware: mac(host, interface)?,
            patience,
        })
    }

    /// Asks all servers for an address, takes the one that is offered. `None` where nobody answers.
    ///
    /// # Errors
    /// When the host can't be entered, or an answer makes no sense.
    pub fn begin(&self) -> Result<Option<Lease>> {
        let solicit = self.message(SOLICIT, None);
        let Some(offer) = self.ask(SERVERS, ADVERTISE, &solicit)? else {
            return Ok(None);
        };
        let request = self.message(REQUEST, Some(&lease(&offer)?));
        let answer = self.ask(SERVERS, REPLY, &request)?;
        answer.map(|answer| lease(&answer)).transpose()
    }

    /// Renews a lease with the server that gave it, at this address: all servers', where the others take it as not meant for them, or its
    /// own. `None` where it does not answer.
    ///
    /// # Errors
    /// As [`Self::begin`].
    pub fn renew(&self, known: &Lease, at: Option<Ipv6Addr>) -> Result<Option<Lease>> {
        let renew = self.message(RENEW, Some(known));
        let answer = self.ask(at.unwrap_or(SERVERS), REPLY, &renew)?;
        answer.map(|answer| lease(&answer)).transpose()
    }

    /// Renews a lease with whoever hears it, as a client does whose server is silent.
    ///
    /// # Errors
    /// As [`Self::begin`].
    pub fn rebind(&self, known: &Lease) -> Result<Option<Lease>> {
        let anybodys = Lease {
            server: Vec::new(),
            ..known.clone()
        };
        let rebind = self.message(REBIND, Some(&anybodys));
        let answer = self.ask(SERVERS, REPLY, &rebind)?;
        answer.map(|answer| lease(&answer)).transpose()
    }

    fn message(&self, kind: u8, known: Option<&Lease>) -> Vec<u8> {
        let mut message = vec![kind];
        message.extend(TRANSACTION);
        // A DUID of the link-layer address (RFC 8415 section 11.4), Ethernet.
        put(
            &mut message,
            CLIENT_ID,
            &[&[0, 3, 0, 1], &self.hardware[..]].concat(),
        );
        put(&mut message, ELAPSED, &[0, 0]);
        let mut addresses = ASSOCIATION.to_vec();
        // T1 and T2 are the server's to say.
        addresses.extend([0; 8]);
        if let Some(lease) = known {
            if !lease.server.is_empty() {
                put(&mut message, SERVER_ID, &lease.server);
            }
            let mut address = lease.address.octets().to_vec();
            address.extend([0; 8]);
            put(&mut addresses, ADDRESS, &address);
        }
        put(&mut message, ADDRESSES, &addresses);
        message
    }

    fn ask(&self, to: Ipv6Addr, kind: u8, octets: &[u8]) -> Result<Option<Vec<u8>>> {
        let answer = self.host.enter(|| -> Result<Option<Vec<u8>>> {
            let socket = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, CLIENT_PORT))
                .context("the client's port")?;
            setsockopt(&socket, sockopt::BindToDevice, &self.interface.into())?;
            socket.set_read_timeout(Some(self.patience))?;
            let scope = if to.is_multicast() {
                if_nametoindex(self.interface)?
            } else {
                0
            };
            let to = SocketAddrV6::new(to, SERVER_PORT, 0, scope);
            // Whoever guards the host may refuse it, which is silence as well.
            if socket.send_to(octets, to).is_err() {
                return Ok(None);
            }
            let mut answer = [0; 2048];
            match socket.recv(&mut answer) {
                Ok(length) => Ok(answer.get(..length).map(<[u8]>::to_vec)),
                Err(_) => Ok(None),
            }
        })??;
        if let Some(answer) = &answer {
            ensure!(
                answer.first() == Some(&kind) && answer.get(1..4) == Some(&TRANSACTION),
                "message type {:?}, expected {kind}",
                answer.first()
            );
        }
        Ok(answer)
    }
}

fn put(message: &mut Vec<u8>, code: u16, content: &[u8]) {
    message.extend(code.to_be_bytes());
    // None is longer than a message.
    message.extend(
        u16::try_from(content.len())
            .unwrap_or_default()
            .to_be_bytes(),
    );
    message.extend(content);
}

/// The content of an option of a message.
fn option(message: &[u8], wanted: u16) -> Option<&[u8]> {
    find(message.get(4..)?, wanted)
}

fn find(mut options: &[u8], wanted: u16) -> Option<&[u8]> {
    loop {
        let (head, rest) = options.split_at_checked(4)?;
        let code = u16::from_be_bytes([head[0], head[1]]);
        let length = u16::from_be_bytes([head[2], head[3]]);
        let (content, rest) = rest.split_at_checked(length.into())?;
        if code == wanted {
            return Some(content);
        }
        options = rest;
    }
}

fn lease(message: &[u8]) -> Result<Lease> {
    let server = option(message, SERVER_ID).context("no server's identifier")?;
    let addresses = option(message, ADDRESSES).context("no association")?;
    // Identifier, T1, T2, then options.
    let address = addresses.get(12..).and_then(|it| find(it, ADDRESS));
    let address: [u8; 16] = *address
        .and_then(|it| it.first_chunk())
        .context("no address")?;
    Ok(Lease {
        address: address.into(),
        server: server.to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_read() {
        let mut message = vec![REPLY, 1, 2, 3];
        put(&mut message, SERVER_ID, b"server");
        let mut addresses = [0; 12].to_vec();
        let address: Ipv6Addr = "fd88::7".parse().unwrap();
        put(
            &mut addresses,
            ADDRESS,
            &[&address.octets()[..], &[0; 8]].concat(),
        );
        put(&mut message, ADDRESSES, &addresses);
        let read = lease(&message).unwrap();
        assert_eq!((read.address, &read.server[..]), (address, &b"server"[..]));
        assert!(lease(&message[..message.len() - 1]).is_err());
        assert_eq!(option(&message, ADDRESS), None);
    }
}
