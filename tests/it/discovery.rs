//! Questions to groups: who asks one is answered by a member alone, and nobody else gets in. SSDP and mDNS of a guarded player and a
//! computer of its network; collectors that look for printers by broadcast and multicast.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};
use std::time::Duration;

use nix::net::if_::if_nametoindex;
use portcullis_tests::daemon::Agent;
use portcullis_tests::netns::Namespace;

use crate::every_port::configuration;
use crate::site::{CLIENT, LIMIT, SERVER, SILENCE, STRANGER, Site, at};

/// UPnP Device Architecture; RFC 6762 section 3.
const GROUPS: [(IpAddr, u16); 4] = [
    (IpAddr::V4(Ipv4Addr::new(239, 255, 255, 250)), 1900),
    (
        IpAddr::V6(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0xc)),
        1900,
    ),
    (IpAddr::V4(Ipv4Addr::new(224, 0, 0, 251)), 5353),
    (
        IpAddr::V6(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0xfb)),
        5353,
    ),
];

/// A group and the port that its members listen at.
#[derive(Clone, Copy)]
struct Group {
    address: IpAddr,
    port: u16,
}

impl Group {
    fn family(self) -> usize {
        usize::from(self.address.is_ipv6())
    }

    /// Where a host sends to it: a group of IPv6 is one of a link.
    #[track_caller]
    fn of(self, host: &Namespace) -> SocketAddr {
        match self.address {
            IpAddr::V4(_) => (self.address, self.port).into(),
            IpAddr::V6(group) => {
                let index = host.enter(|| if_nametoindex("eth0").unwrap()).unwrap();
                SocketAddrV6::new(group, self.port, 0, index).into()
            }
        }
    }

    /// A socket of a member, which hears what is sent to the group as well as what is sent to it alone.
    #[track_caller]
    fn member(self, host: &Namespace, own: &str) -> UdpSocket {
        host.enter(|| match self.address {
            IpAddr::V4(group) => {
                let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, self.port)).unwrap();
                if group.is_multicast() {
                    socket
                        .join_multicast_v4(&group, &own.parse().unwrap())
                        .unwrap();
                }
                socket
            }
            IpAddr::V6(group) => {
                let socket = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, self.port)).unwrap();
                let index = if_nametoindex("eth0").unwrap();
                socket.join_multicast_v6(&group, index).unwrap();
                socket
            }
        })
        .unwrap()
    }
}

/// A socket that asks from an address of its own.
#[track_caller]
fn socket(host: &Namespace, address: &str, port: u16) -> UdpSocket {
    let socket = host.enter(|| UdpSocket::bind(at(address, port)).unwrap());
    let socket = socket.unwrap();
    socket.set_broadcast(true).unwrap();
    socket
}

/// The next datagram, and where it came from.
#[track_caller]
fn heard(socket: &UdpSocket, limit: Duration) -> Option<(Vec<u8>, SocketAddr)> {
    socket.set_read_timeout(Some(limit)).unwrap();
    let mut octets = [0; 64];
    let (length, from) = socket.recv_from(&mut octets).ok()?;
    Some((octets[..length].to_vec(), from))
}

#[track_caller]
fn site() -> Site {
    let site = Site::new();
    for host in [&site.server, &site.client, &site.stranger] {
        host.ip("route add 224.0.0.0/4 dev eth0").unwrap();
    }
    site
}

/// The guarded host asks a group, and a member answers it alone.
#[track_caller]
fn asks(site: &Site, group: Group, hears_itself: Option<&UdpSocket>) {
    let family = group.family();
    let member = group.member(&site.client, CLIENT[family]);
    let asker = socket(&site.server, SERVER[family], 0);
    let asking = asker.local_addr().unwrap();

    // Nobody has asked: nothing comes to a port of the host's own.
    member.send_to(b"unasked", asking).unwrap();
    assert_eq!(heard(&asker, SILENCE), None, "{}", group.address);

    asker.send_to(b"search", group.of(&site.server)).unwrap();
    if let Some(member) = hears_itself {
        // Another program on the host that is a member hears it as well; no rule is asked about what stays on the host.
        let (own, _) = heard(member, LIMIT).expect("the host's own question");
        assert_eq!(own, b"search");
    }
    let (question, from) = heard(&member, LIMIT).expect("the host's question");
    assert_eq!(
        (question.as_slice(), from.ip(), from.port()),
        (&b"search"[..], asking.ip(), asking.port())
    );
    // Bound to everything, it would answer from whatever address the route says; that is its own.
    member.send_to(b"here", from).unwrap();
    let (answer, from) = heard(&asker, LIMIT).expect("a member's answer");
    assert_eq!(
        (answer.as_slice(), from),
        (&b"here"[..], at(CLIENT[family], group.port))
    );
    // Another port of the member is no answer.
    let other = socket(&site.client, CLIENT[family], group.port + 1);
    other.send_to(b"not the group's port", asking).unwrap();
    assert_eq!(heard(&asker, SILENCE), None, "{}", group.address);
}

/// The computer asks, the player answers; a stranger asks, and is not heard.
#[track_caller]
fn is_asked(site: &Site, group: Group, player: &UdpSocket) {
    let family = group.family();
    let asker = socket(&site.client, CLIENT[family], 0);
    asker.send_to(b"search", group.of(&site.client)).unwrap();
    let (question, from) = heard(player, LIMIT).expect("the computer's question");
    assert_eq!(question, b"search");
    player.send_to(b"here", from).unwrap();
    let (answer, from) = heard(&asker, LIMIT).expect("the player's answer");
    assert_eq!(
        (answer.as_slice(), from),
        (&b"here"[..], at(SERVER[family], group.port))
    );
    let stranger = socket(&site.stranger, STRANGER[family], 0);
    stranger
        .send_to(b"search", group.of(&site.stranger))
        .unwrap();
    assert_eq!(heard(player, SILENCE), None, "{}", group.address);

    // What it announces to all, from the group's port to the group.
    let member = group.member(&site.client, CLIENT[family]);
    player.send_to(b"announce", group.of(&site.server)).unwrap();
    let (announced, from) = heard(&member, LIMIT).expect("the player's announcement");
    assert_eq!(
        (announced.as_slice(), from.port()),
        (&b"announce"[..], group.port)
    );
    let (own, _) = heard(player, LIMIT).expect("its own announcement");
    assert_eq!(own, b"announce");
}

#[track_caller]
fn check_player(hook: &str) {
    let site = site();
    let text = configuration(hook, "spinetix", "player", "default", &[]);
    let mut agent = Agent::start(&site.server, &text, "json").unwrap();
    for (address, port) in GROUPS {
        let group = Group { address, port };
        let player = group.member(&site.server, SERVER[group.family()]);
        asks(&site, group, Some(&player));
        is_asked(&site, group, &player);
    }
    agent.stop().unwrap();
}

#[test]
fn a_group_is_asked_and_answered_at_xdp() {
    check_player("xdp");
}

#[test]
fn a_group_is_asked_and_answered_at_tc() {
    check_player("tc");
}

/// Printers are looked for: by whom, with which option, where.
const COLLECTORS: [(&str, &str, [u8; 4], u16); 2] = [
    ("epson-pic", "epson-pic", [10, 88, 255, 255], 3289),
    // The group that `init` proposes, for the document prints none.
    ("conductor-agent", "brother", [239, 255, 0, 1], 49_501),
];

#[track_caller]
fn check_collectors(hook: &str) {
    let site = site();
    for (role, option, address, port) in COLLECTORS {
        let group = Group {
            address: address.into(),
            port,
        };
        let text = configuration(hook, "soti-connect", role, "primary", &[option]);
        let mut agent = Agent::start(&site.server, &text, "json").unwrap();
        asks(&site, group, None);
        // The twin: a port at the same group that no rule names.
        let asker = socket(&site.server, SERVER[0], 0);
        let elsewhere = Group {
            port: port + 7,
            ..group
        };
        let member = elsewhere.member(&site.client, CLIENT[0]);
        // The kernel may say so at once; the packet counts.
        let _ = asker.send_to(b"search", elsewhere.of(&site.server));
        assert_eq!(heard(&member, SILENCE), None, "{role}");
        agent.stop().unwrap();
    }
}

#[test]
fn printers_are_looked_for_at_xdp() {
    check_collectors("xdp");
}

#[test]
fn printers_are_looked_for_at_tc() {
    check_collectors("tc");
}
