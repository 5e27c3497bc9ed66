//! A DHCP client (RFC 2131) that does one step at a time, and a server of another author.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nix::sys::socket::{setsockopt, sockopt};

use crate::link::mac;
use crate::netns::Namespace;
use crate::process::Running;

const SERVER_PORT: u16 = 67;
const CLIENT_PORT: u16 = 68;
/// RFC 2131 section 3.
const MAGIC: [u8; 4] = [0x63, 0x82, 0x53, 0x63];
const TRANSACTION: [u8; 4] = [0x70, 0x6f, 0x72, 0x74];

/// Message types (RFC 2132 section 9.6).
const DISCOVER: u8 = 1;
const REQUEST: u8 = 3;
const ACKNOWLEDGE: u8 = 5;

/// What a server gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// This host's address.
    pub address: Ipv4Addr,
    /// The server's.
    pub server: Ipv4Addr,
    /// After so many seconds the client asks again (option 58, T1).
    pub renewal: u32,
}

/// Starts dnsmasq on a host: leases of two minutes, its least, which are to be renewed after ten seconds.
///
/// # Errors
/// When it can't be started.
pub fn server(host: &Namespace, interface: &str, range: [Ipv4Addr; 2]) -> Result<Running> {
    let [first, last] = range;
    host.write("/run/portcullis/leases", "")?;
    let mut command = host.words(&format!(
        "dnsmasq --keep-in-foreground --conf-file=/dev/null --pid-file --user=root --port=0 --no-ping \
         --dhcp-authoritative --interface={interface} --bind-interfaces \
         --dhcp-range={first},{last},120 --dhcp-option=option:T1,10 \
         --dhcp-leasefile=/run/portcullis/leases"
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

    /// Asks everybody for an address, takes the one that is offered. `None` where nobody answers.
    ///
    /// # Errors
    /// When the host can't be entered, or an answer makes no sense.
    pub fn begin(&self) -> Result<Option<Lease>> {
        let everyone = Ipv4Addr::BROADCAST;
        let discover = self.message(Ipv4Addr::UNSPECIFIED, &[53, 1, DISCOVER, 55, 1, 58]);
        let Some(offer) = self.ask(Ipv4Addr::UNSPECIFIED, everyone, &discover)? else {
            return Ok(None);
        };
        let (address, server) = (offer.1.address.octets(), offer.1.server.octets());
        let mut options = vec![53, 1, REQUEST, 50, 4];
        options.extend(address);
        options.extend([54, 4]);
        options.extend(server);
        options.extend([55, 1, 58]);
        let request = self.message(Ipv4Addr::UNSPECIFIED, &options);
        self.acknowledged(Ipv4Addr::UNSPECIFIED, everyone, &request)
    }

    /// Renews a lease with the server that gave it, alone. `None` where it does not answer.
    ///
    /// # Errors
    /// As [`Self::begin`].
    pub fn renew(&self, lease: Lease) -> Result<Option<Lease>> {
        let request = self.message(lease.address, &[53, 1, REQUEST, 55, 1, 58]);
        self.acknowledged(lease.address, lease.server, &request)
    }

    /// Renews a lease with whoever hears it, as a client does whose server is silent.
    ///
    /// # Errors
    /// As [`Self::begin`].
    pub fn rebind(&self, lease: Lease) -> Result<Option<Lease>> {
        let request = self.message(lease.address, &[53, 1, REQUEST, 55, 1, 58]);
        self.acknowledged(lease.address, Ipv4Addr::BROADCAST, &request)
    }

    fn acknowledged(&self, from: Ipv4Addr, to: Ipv4Addr, octets: &[u8]) -> Result<Option<Lease>> {
        match self.ask(from, to, octets)? {
            None => Ok(None),
            Some((kind, lease)) => {
                ensure!(
                    kind == ACKNOWLEDGE,
                    "message type {kind}, not an acknowledgement"
                );
                Ok(Some(lease))
            }
        }
    }

    fn message(&self, own: Ipv4Addr, options: &[u8]) -> Vec<u8> {
        // Request, Ethernet, six octets of address, no hops.
        let mut message = vec![1, 1, 6, 0];
        message.extend(TRANSACTION);
        // No seconds yet; the answer to a host without an address goes to everyone.
        message.extend([0, 0, if own.is_unspecified() { 0x80 } else { 0 }, 0]);
        message.extend(own.octets());
        message.extend([0; 12]);
        message.extend(self.hardware);
        // The rest of the hardware address, a server's name, a file's name.
        message.extend([0; 10 + 64 + 128]);
        message.extend(MAGIC);
        message.extend(options);
        message.push(255);
        message
    }

    fn ask(&self, from: Ipv4Addr, to: Ipv4Addr, octets: &[u8]) -> Result<Option<(u8, Lease)>> {
        let answer = self.host.enter(|| -> Result<Option<Vec<u8>>> {
            let socket = UdpSocket::bind((from, CLIENT_PORT)).context("the client's port")?;
            setsockopt(&socket, sockopt::BindToDevice, &self.interface.into())?;
            socket.set_broadcast(true)?;
            socket.set_read_timeout(Some(self.patience))?;
            // Whoever guards the host may refuse it, which is silence as well.
            if socket
                .send_to(octets, SocketAddr::from((to, SERVER_PORT)))
                .is_err()
            {
                return Ok(None);
            }
            let mut answer = [0; 2048];
            match socket.recv(&mut answer) {
                Ok(length) => Ok(answer.get(..length).map(<[u8]>::to_vec)),
                Err(_) => Ok(None),
            }
        })??;
        answer.map(|answer| read(&answer)).transpose()
    }
}

/// Type and lease of a server's message.
fn read(octets: &[u8]) -> Result<(u8, Lease)> {
    let four = |at: usize| -> Result<[u8; 4]> {
        let four = octets.get(at..at + 4).context("a message cut short")?;
        Ok(four.try_into()?)
    };
    ensure!(octets.first() == Some(&2), "not a server's message");
    ensure!(four(4)? == TRANSACTION, "another client's message");
    ensure!(four(236)? == MAGIC, "no options");
    let (mut kind, mut server, mut renewal) = (0, Ipv4Addr::UNSPECIFIED, 0);
    let mut at = 240;
    while let (Some(&option), Some(&length)) = (octets.get(at), octets.get(at + 1)) {
        match option {
            255 => break,
            0 => {
                at += 1;
                continue;
            }
            53 => kind = *octets.get(at + 2).context("no type")?,
            54 => server = four(at + 2)?.into(),
            58 => renewal = u32::from_be_bytes(four(at + 2)?),
            _ => {}
        }
        at += 2 + usize::from(length);
    }
    let lease = Lease {
        address: four(16)?.into(),
        server,
        renewal,
    };
    Ok((kind, lease))
}
