//! The flows, as data.

use super::hosts::Who;

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// The program that tries a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Client {
    /// curl over TCP.
    Curl,
    /// socat over TCP.
    SocatTcp,
    /// socat over UDP.
    SocatUdp,
    /// One echo request.
    Ping,
    /// The C library's resolver, over UDP.
    Getent,
}

impl Client {
    /// The program's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Curl => "curl",
            Self::SocatTcp | Self::SocatUdp => "socat",
            Self::Ping => "ping",
            Self::Getent => "getent",
        }
    }

    /// The transport, as `explain` and events name it; `None` for echo.
    pub const fn transport(self) -> Option<&'static str> {
        match self {
            Self::Curl | Self::SocatTcp => Some("tcp"),
            Self::SocatUdp | Self::Getent => Some("udp"),
            Self::Ping => None,
        }
    }
}

/// What should become of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// It passes by this rule or row.
    Passes(&'static str),
    /// It is denied: the kind of difference, and a row or rule that is named as near (empty: none has to be).
    Denied(&'static str, &'static str),
}

/// A flow: who tries what.
#[derive(Clone, Copy, Debug)]
pub struct Flow {
    /// What it shows.
    pub what: &'static str,
    /// Who begins it.
    pub from: Who,
    /// Where it goes.
    pub to: Who,
    /// Over which family.
    pub family: Family,
    /// By which program.
    pub client: Client,
    /// The service's port; 0 for echo.
    pub port: u16,
    /// What should become of it.
    pub expected: Expected,
}

use Client::{Curl, Getent, Ping, SocatTcp, SocatUdp};
use Expected::{Denied, Passes};
use Family::{V4, V6};
use Who::{Admin, Application, Office, Resolver, Server, Stranger};

const fn flow(
    what: &'static str,
    (from, to): (Who, Who),
    family: Family,
    (client, port): (Client, u16),
    expected: Expected,
) -> Flow {
    Flow {
        what,
        from,
        to,
        family,
        client,
        port,
        expected,
    }
}

macro_rules! row {
    ($row:literal) => {
        concat!("seal-output-engine/", $row)
    };
}

/// All flows, in the order in which they are tried.
#[rustfmt::skip]
pub const FLOWS: &[Flow] = &[
    flow("documented port, IPPS job", (Office, Server), V4, (Curl, 443), Passes(row!("single-server/1"))),
    flow("documented port, IPPS job", (Office, Server), V6, (Curl, 443), Passes(row!("single-server/1"))),
    flow("documented port, LPR job", (Office, Server), V4, (SocatTcp, 515), Passes(row!("single-server/2"))),
    flow("documented port, IPP job", (Office, Server), V6, (Curl, 631), Passes(row!("single-server/3"))),
    flow("documented port, Kibana", (Admin, Server), V4, (Curl, 5601), Passes(row!("single-server/7"))),
    flow("documented port, Administrator", (Admin, Server), V6, (Curl, 9000), Passes(row!("single-server/11"))),
    flow("documented port, notifier", (Application, Server), V4, (Curl, 8082), Passes(row!("single-server/10"))),
    flow("option that is on, REST", (Application, Server), V6, (Curl, 8080), Passes(row!("single-server/8"))),

    flow("same port, strange peer", (Stranger, Server), V4, (Curl, 443), Denied("peer", row!("single-server/1"))),
    flow("same port, strange peer", (Stranger, Server), V6, (Curl, 9000), Denied("peer", row!("single-server/11"))),
    flow("same port, peer in another role", (Office, Server), V4, (Curl, 5601), Denied("peer", row!("single-server/7"))),
    flow("neighbour port", (Office, Server), V4, (Curl, 444), Denied("neighbour-port", row!("single-server/1"))),
    flow("neighbour port", (Office, Server), V6, (SocatTcp, 516), Denied("neighbour-port", row!("single-server/2"))),
    flow("other transport", (Office, Server), V4, (SocatUdp, 443), Denied("transport", row!("single-server/1"))),
    flow("other transport", (Admin, Server), V6, (SocatUdp, 9000), Denied("transport", row!("single-server/11"))),
    flow("option that is off, metrics", (Admin, Server), V4, (Curl, 1948), Denied("option", row!("single-server/4"))),
    flow("option that is off, DPF", (Application, Server), V6, (Curl, 2129), Denied("option", row!("single-server/6"))),
    flow("cluster's port on one server", (Office, Server), V4, (SocatTcp, 4222), Denied("topology", row!("cluster/33"))),
    flow("cluster's port on one server", (Office, Server), V6, (SocatTcp, 27_017), Denied("topology", row!("cluster/47"))),
    flow("undocumented port", (Office, Server), V6, (SocatTcp, 3306), Denied("none", "")),

    flow("failsafe", (Admin, Server), V4, (SocatTcp, 22), Passes("failsafe/ssh")),
    flow("failsafe", (Admin, Server), V6, (SocatTcp, 22), Passes("failsafe/ssh")),
    flow("failsafe, strange peer", (Stranger, Server), V4, (SocatTcp, 22), Denied("peer", "failsafe/ssh")),
    flow("baseline echo", (Stranger, Server), V4, (Ping, 0), Passes("baseline/icmp-echo-in")),
    flow("baseline echo, reply to this host", (Server, Office), V6, (Ping, 0), Passes("baseline/icmp-echo-out")),

    flow("baseline DNS", (Server, Resolver), V4, (Getent, 53), Passes("baseline/dns")),
    flow("baseline DNS", (Server, Resolver), V6, (Getent, 53), Passes("baseline/dns")),
    flow("DNS at another resolver", (Server, Stranger), V4, (Getent, 53), Denied("peer", "baseline/dns")),
    flow("reply to a client of this host", (Server, Resolver), V4, (Curl, 3128), Passes("allow/package-mirror")),
    flow("reply to a client of this host", (Server, Resolver), V6, (Curl, 3128), Passes("allow/package-mirror")),
    flow("egress of products not selected, mail", (Server, Stranger), V4, (SocatTcp, 25), Denied("other-product", "1e-platform/servers/7")),
    flow("egress of products not selected, web", (Server, Stranger), V6, (Curl, 80), Denied("other-product", "spinetix/network-firewall/1")),
    flow("undocumented egress", (Server, Stranger), V4, (SocatTcp, 6667), Denied("none", "")),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn enough_of_each() {
        let denied = |flow: &&Flow| matches!(flow.expected, Denied(..));
        assert!(FLOWS.len() >= 24);
        assert!(FLOWS.iter().filter(denied).count() * 3 >= FLOWS.len());
        for family in [V4, V6] {
            let of = || FLOWS.iter().filter(|flow| flow.family == family);
            assert!(
                of().filter(denied).count() >= 4 && of().count() >= 10,
                "{family:?}"
            );
        }
    }
}
