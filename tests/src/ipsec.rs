//! IPsec between the server and hosts outside, by keys that both know. In the init of an emulated machine.

use std::net::IpAddr;

use anyhow::{Result, ensure};

use crate::devices::{hosts, ip, is_unknown};
use crate::machine::Outside;

/// How a packet is carried.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// Between the hosts whose packet it is (RFC 4301 §3.2).
    Transport,
    /// A packet in a packet: its addresses are others.
    Tunnel,
}

/// Hosts outside, by mode: one whose ESP the policy admits, and one whose it does not.
const PEERS: [(Mode, [u8; 2]); 2] = [(Mode::Transport, [3, 4]), (Mode::Tunnel, [5, 6])];

/// All of them.
pub(crate) const HOSTS: [u8; 4] = [3, 4, 5, 6];

/// The server's number, here and within the tunnels, whose addresses are of this interface.
const SERVER: u8 = 1;
const WITHIN: u8 = 100;

impl Mode {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Transport, Self::Tunnel];

    /// In words.
    pub fn name(self) -> &'static str {
        match self {
            Self::Transport => "esp in transport mode",
            Self::Tunnel => "esp in tunnel mode",
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Transport => "transport",
            Self::Tunnel => "tunnel",
        }
    }

    fn peers(self) -> [u8; 2] {
        match self {
            Self::Transport => PEERS[0].1,
            Self::Tunnel => PEERS[1].1,
        }
    }

    /// Whose packets are carried, in this family: the server, who is admitted, who is not.
    pub fn ends(self, number: u8, family: usize) -> [IpAddr; 3] {
        let [admitted, refused] = self.peers();
        let number = if self == Self::Tunnel { WITHIN } else { number };
        [SERVER, admitted, refused].map(|host| hosts(number, host)[family])
    }
}

/// Whose ESP the policy admits, on the interface of this number.
pub(crate) fn admitted(number: u8) -> Vec<IpAddr> {
    PEERS
        .iter()
        .flat_map(|(_, [admitted, _])| hosts(number, *admitted))
        .collect()
}

/// Whether the kernel was built without ESP, asked by states of either family that nothing uses.
///
/// # Errors
/// When it has it for one family alone, or does not say.
pub(crate) fn is_lacking() -> Result<bool> {
    let unknown = |source: &str, goal: &str| -> Result<bool> {
        if is_unknown(state(source, goal, 1, Mode::Transport))? {
            return Ok(true);
        }
        ip(&format!(
            "xfrm state delete src {source} dst {goal} proto esp spi 1"
        ))?;
        Ok(false)
    };
    let four = unknown("192.0.2.1", "192.0.2.2")?;
    let six = unknown("2001:db8::1", "2001:db8::2")?;
    ensure!(
        four == six,
        "esp is lacking over IPv4: {four}, over IPv6: {six}"
    );
    Ok(four)
}

fn state(from: &str, to: &str, spi: u32, mode: Mode) -> Result<()> {
    ip(&format!(
        "xfrm state add src {from} dst {to} proto esp spi {spi} mode {} auth hmac(sha256) {} enc cbc(aes) {}",
        mode.word(),
        KEYS[0],
        KEYS[1]
    ))
}

/// Has both sides carry what they say to each other, on this cable.
pub(crate) fn between(
    outside: &Outside,
    server_device: &str,
    outside_device: &str,
    number: u8,
) -> Result<()> {
    for (mode, peers) in PEERS {
        for peer in peers {
            for family in [0, 1] {
                let carriers = [SERVER, peer].map(|host| hosts(number, host)[family]);
                let within = mode == Mode::Tunnel;
                let ends = [SERVER, peer]
                    .map(|host| hosts(if within { WITHIN } else { number }, host)[family]);
                side(mode, carriers, ends, server_device)?;
                let ([ours, theirs], [our_end, their_end]) = (carriers, ends);
                outside
                    .enter(|| side(mode, [theirs, ours], [their_end, our_end], outside_device))??;
            }
        }
    }
    Ok(())
}

/// One side: `carriers` and `ends` are its own address first, then the other's.
fn side(mode: Mode, carriers: [IpAddr; 2], ends: [IpAddr; 2], device: &str) -> Result<()> {
    let [own, other] = carriers;
    let [own_end, other_end] = ends;
    let length = if own.is_ipv4() { 32 } else { 128 };
    if mode == Mode::Tunnel {
        // The server has several tunnels and one address within.
        let unprobed = if own.is_ipv4() { "" } else { " nodad" };
        ip(&format!(
            "address replace {own_end}/{length} dev {device}{unprobed}"
        ))?;
        ip(&format!(
            "route replace {other_end}/{length} dev {device} src {own_end}"
        ))?;
    }
    for (from, to) in [(own, other), (other, own)] {
        state(&from.to_string(), &to.to_string(), spi(from, to), mode)?;
    }
    for (direction, [from, to], [from_end, to_end]) in [
        ("out", [own, other], [own_end, other_end]),
        ("in", [other, own], [other_end, own_end]),
    ] {
        // Not all protocols: hosts ask for each other's link addresses in the clear.
        ip(&format!(
            "xfrm policy add src {from_end}/{length} dst {to_end}/{length} proto 6 dir {direction} tmpl src {from} dst {to} proto esp mode {}",
            mode.word()
        ))?;
    }
    Ok(())
}

/// Known to both sides: of a test, and nobody's secret.
const KEYS: [&str; 2] = [
    "0x000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
    "0x202122232425262728292a2b2c2d2e2f",
];

/// A number that both sides come to: of the last octets of both addresses.
fn spi(from: IpAddr, to: IpAddr) -> u32 {
    let last = |address: IpAddr| match address {
        IpAddr::V4(address) => u32::from(address.octets()[3]),
        IpAddr::V6(address) => u32::from(address.octets()[15]),
    };
    0x1000 + (last(from) << 8) + last(to)
}
