//! The throw-away hosts of the demonstration, on one switch.

use std::net::IpAddr;

use anyhow::Result;

use super::flows::Family;
use crate::link::Switch;
use crate::netns::Namespace;
use crate::service::Services;

/// A host by what it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// Guarded: the SEAL server.
    Server,
    /// In the set of print clients.
    Office,
    /// An administrator's machine.
    Admin,
    /// A program that uses the REST API.
    Application,
    /// In no set.
    Stranger,
    /// The site's resolver and proxy.
    Resolver,
}

impl Who {
    /// All of them, the guarded one first.
    pub const ALL: [Self; 6] = [
        Self::Server,
        Self::Office,
        Self::Admin,
        Self::Application,
        Self::Stranger,
        Self::Resolver,
    ];

    /// The name in the table.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Office => "office",
            Self::Admin => "admin",
            Self::Application => "application",
            Self::Stranger => "stranger",
            Self::Resolver => "resolver",
        }
    }

    const fn addresses(self) -> [&'static str; 2] {
        match self {
            Self::Server => ["10.20.0.10", "fd20::10"],
            Self::Office => ["10.20.1.5", "fd20:0:0:1::5"],
            Self::Admin => ["10.20.2.5", "fd20:0:0:2::5"],
            Self::Application => ["10.20.3.5", "fd20:0:0:3::5"],
            Self::Stranger => ["10.20.9.9", "fd20:0:0:9::9"],
            Self::Resolver => ["10.20.0.53", "fd20::53"],
        }
    }

    /// Its address.
    pub fn address(self, family: Family) -> IpAddr {
        let [v4, v6] = self.addresses();
        let text = match family {
            Family::V4 => v4,
            Family::V6 => v6,
        };
        // Constants; the test below reads them all.
        text.parse().unwrap_or(IpAddr::from([0, 0, 0, 0]))
    }
}

/// What a service of the server says, by port. The closed ones listen, too: what is denied is denied by the agent, not for want of a listener.
const SERVER_TCP: [(u16, &str); 17] = [
    (22, "SSH-2.0-demonstration"),
    (443, "seal-ipp-checkin"),
    (444, "not in the table"),
    (515, "seal-checkin"),
    (516, "not in the table"),
    (631, "seal-ipp-checkin"),
    (1948, "seal-checkin metrics"),
    (2119, "seal-mainland-checkout"),
    (2129, "seal-convert-dpf"),
    (3306, "not in the table"),
    (4222, "NATS"),
    (5601, "Kibana"),
    (8080, "seal-rest"),
    (8081, "seal-job-notifier"),
    (8082, "seal-job-notifier"),
    (9000, "PLOSSYS Administrator"),
    (27_017, "MongoDB"),
];

/// The hosts with their listeners.
#[derive(Debug)]
pub struct Hosts {
    hosts: Vec<(Who, Namespace)>,
    server: Services,
    others: Services,
    _switch: Switch,
}

impl Hosts {
    /// Makes and links them, and starts the listeners.
    ///
    /// # Errors
    /// Without root, or where the kernel has no namespaces, veth or bridge.
    pub fn new() -> Result<Self> {
        let switch = Switch::new()?;
        let mut hosts = Vec::new();
        for who in Who::ALL {
            let host = Namespace::new(who.name())?;
            let [v4, v6] = who.addresses();
            switch.plug(&host, "eth0", &[&format!("{v4}/16"), &format!("{v6}/48")])?;
            hosts.push((who, host));
        }
        let mut made = Self {
            hosts,
            server: Services::new(),
            others: Services::new(),
            _switch: switch,
        };
        made.listen()?;
        Ok(made)
    }

    fn listen(&mut self) -> Result<()> {
        let Self {
            hosts,
            server,
            others,
            ..
        } = self;
        for (who, host) in hosts.iter() {
            match who {
                Who::Server => {
                    for (port, text) in SERVER_TCP {
                        server.tcp(host, port, text)?;
                    }
                    for port in [443, 9000] {
                        server.udp_echo(host, port)?;
                    }
                }
                Who::Resolver => {
                    others.dns(host, [10, 20, 1, 77].into())?;
                    others.tcp(host, 3128, "proxy")?;
                }
                Who::Stranger => {
                    others.dns(host, [10, 20, 9, 77].into())?;
                    for port in [25, 80] {
                        others.tcp(host, port, "elsewhere")?;
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// A host.
    pub fn of(&self, who: Who) -> &Namespace {
        let mut found = self.hosts.iter().filter(|(other, _)| *other == who);
        match found.next() {
            Some((_, host)) => host,
            // Every `Who` is in `ALL`, of which each has a host.
            None => &self.hosts[0].1,
        }
    }

    /// Clients that listeners have served: of the server, of all others.
    pub fn served(&self) -> [u64; 2] {
        [self.server.served(), self.others.served()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_addresses() {
        for who in Who::ALL {
            assert!(who.address(Family::V4).is_ipv4() && !who.address(Family::V4).is_unspecified());
            assert!(who.address(Family::V6).is_ipv6());
        }
    }
}
