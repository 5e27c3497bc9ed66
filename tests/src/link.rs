//! Links between throw-away hosts: a switch, and interfaces with addresses of both families on it.

use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::netns::Namespace;
use crate::process::wait_for;

const LIMIT: Duration = Duration::from_secs(10);

/// An Ethernet segment: a bridge in a namespace of its own.
#[derive(Debug)]
pub struct Switch {
    bridge: Namespace,
    ports: std::cell::Cell<u32>,
}

impl Switch {
    /// A switch without ports. It forwards at once and floods multicast.
    ///
    /// # Errors
    /// Where the kernel has no bridge.
    pub fn new() -> Result<Self> {
        let bridge = Namespace::new("switch")?;
        // The switch itself has no address and says nothing on the segment.
        bridge.sysctl("net/ipv6/conf/default/disable_ipv6", "1")?;
        bridge.ip("link add br0 type bridge forward_delay 0 mcast_snooping 0")?;
        bridge.ip("link set br0 up")?;
        Ok(Self {
            bridge,
            ports: std::cell::Cell::new(0),
        })
    }

    /// Plugs a host in: interface `name` with these addresses (`10.0.0.1/24`, `fd00::1/64`), up and usable when this returns.
    ///
    /// # Errors
    /// When the link can't be made, or is not up within seconds.
    pub fn plug(&self, host: &Namespace, name: &str, addresses: &[&str]) -> Result<()> {
        let port = format!("port{}", self.ports.get());
        self.ports.set(self.ports.get() + 1);
        self.bridge.ip(&format!(
            "link add {port} type veth peer name {name} netns {}",
            host.path()
        ))?;
        self.bridge.ip(&format!("link set {port} master br0 up"))?;
        up(host, name, addresses)
    }
}

/// A cable between two hosts, without anything in between.
///
/// # Errors
/// As [`Switch::plug`].
pub fn cable(one: (&Namespace, &str, &[&str]), other: (&Namespace, &str, &[&str])) -> Result<()> {
    one.0.ip(&format!(
        "link add {} type veth peer name {} netns {}",
        one.1,
        other.1,
        other.0.path()
    ))?;
    // Both ends must be up before either is.
    other.0.ip(&format!("link set {} up", other.1))?;
    up(one.0, one.1, one.2)?;
    up(other.0, other.1, other.2)
}

fn up(host: &Namespace, name: &str, addresses: &[&str]) -> Result<()> {
    for address in addresses {
        let nodad = if address.contains(':') { " nodad" } else { "" };
        host.ip(&format!("address add {address} dev {name}{nodad}"))?;
    }
    host.ip(&format!("link set {name} up"))?;
    wait_for(&format!("{name} of {} is up", host.name()), LIMIT, || {
        let state = host.text(&format!("ip -o link show dev {name}"))?;
        Ok(state.contains("state UP").then_some(()))
    })?;
    wait_for(
        &format!("addresses of {name} of {} are usable", host.name()),
        LIMIT,
        || {
            let tentative = host.text(&format!("ip -o address show dev {name} tentative"))?;
            Ok(tentative.trim().is_empty().then_some(()))
        },
    )
}

/// The link-layer address of an interface.
///
/// # Errors
/// When there is no such interface.
pub fn mac(host: &Namespace, name: &str) -> Result<[u8; 6]> {
    let path = format!("/sys/class/net/{name}/address");
    let text = host.read(&path)?;
    let mut address = [0; 6];
    let mut octets = text.trim().split(':');
    for octet in &mut address {
        let text = octets.next().with_context(|| path.clone())?;
        *octet = u8::from_str_radix(text, 16).with_context(|| path.clone())?;
    }
    Ok(address)
}

/// Waits until something listens on a port of the host; `kind` is `tcp` or `udp`.
///
/// # Errors
/// When nothing does within seconds.
pub fn wait_listens(host: &Namespace, kind: &str, port: u16) -> Result<()> {
    wait_for(
        &format!("{kind} port {port} of {} listens", host.name()),
        LIMIT,
        || Ok(listens(host, kind, port)?.then_some(())),
    )
}

/// Whether a socket is bound to a port of the host, listening where it is TCP, in either family.
///
/// # Errors
/// When the kernel's table can't be read.
pub fn listens(host: &Namespace, kind: &str, port: u16) -> Result<bool> {
    // include/net/tcp_states.h: TCP_LISTEN; a UDP socket without a peer is TCP_CLOSE.
    let state = if kind == "tcp" { "0A" } else { "07" };
    let (local, mut found) = (format!(":{port:04X}"), false);
    for table in [kind.to_owned(), format!("{kind}6")] {
        // /proc/net is the process's; thread-self is this thread's.
        let sockets = host.read(&format!("/proc/thread-self/net/{table}"))?;
        found |= sockets.lines().skip(1).any(|line| {
            let mut fields = line.split_whitespace().skip(1);
            let ends_so = fields
                .next()
                .is_some_and(|address| address.ends_with(&local));
            ends_so && fields.nth(1) == Some(state)
        });
    }
    Ok(found)
}
