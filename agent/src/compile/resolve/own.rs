//! Rules that come from no product: blocks, failsafes, `allow` and the baseline.

use std::ops::RangeInclusive;

use agent_common::event::Direction;
use agent_common::net::icmp;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use toml::Spanned;

use super::peers::{PeerBook, is_nobody};
use crate::facts::Facts;
use crate::host::HostConfig;
use crate::host::schema::{Allow, BaselineItem};
use crate::policy::schema;
use crate::policy::values::PortRange;
use crate::rule::{Peers, Precedence, Rule, Service};

/// `[block.X]`: both directions; everything that a block reaches where no port is said.
pub(super) fn blocks(config: &HostConfig, book: &mut PeerBook<'_>, rules: &mut Vec<Rule>) {
    for block in &config.blocks {
        let peers = book.admit(&block.peers);
        if is_nobody(&peers) {
            continue;
        }
        let mut services = port_services(&block.tcp, &block.udp);
        if services.is_empty() {
            services.push(Service::All);
        }
        for direction in [Direction::Ingress, Direction::Egress] {
            for service in &services {
                let id = format!("block/{}", block.name);
                rules.push(rule(
                    id,
                    direction,
                    service.clone(),
                    peers.clone(),
                    Precedence::Block,
                ));
            }
        }
    }
}

/// `[failsafe.X]`: ingress TCP.
pub(super) fn failsafes(
    config: &HostConfig,
    facts: &Facts,
    book: &mut PeerBook<'_>,
    rules: &mut Vec<Rule>,
) {
    for failsafe in &config.failsafes {
        let peers = book.admit(&failsafe.peers);
        let ports = failsafe.ports(&facts.ssh_ports);
        if is_nobody(&peers) || ports.is_empty() {
            continue;
        }
        let service = Service::Tcp(ports.into_iter().map(range).collect());
        let id = format!("failsafe/{}", failsafe.name);
        rules.push(rule(
            id,
            Direction::Ingress,
            service,
            peers,
            Precedence::Failsafe,
        ));
    }
}

/// `[allow.X]` that has not expired.
pub(super) fn allows(
    config: &HostConfig,
    facts: &Facts,
    book: &mut PeerBook<'_>,
    rules: &mut Vec<Rule>,
) {
    for allow in config.allows.iter().filter(|allow| !expired(allow, facts)) {
        let peers = book.admit(&allow.peers);
        if is_nobody(&peers) {
            continue;
        }
        let mut services = port_services(&allow.tcp, &allow.udp);
        services.extend(
            allow
                .protocol
                .iter()
                .map(|protocol| Service::Protocol(protocol.get_ref().0)),
        );
        let direction = match allow.direction {
            schema::Direction::Ingress => Direction::Ingress,
            schema::Direction::Egress => Direction::Egress,
        };
        for service in services {
            let id = format!("allow/{}", allow.name);
            let mut rule = rule(id, direction, service, peers.clone(), Precedence::Allow);
            rule.rows = allow
                .cites
                .iter()
                .map(|row| row.get_ref().clone())
                .collect();
            rule.until = allow.expires.as_ref().map(|moment| moment.get_ref().at);
            rules.push(rule);
        }
    }
}

/// Whether an `allow` is over.
pub(super) fn expired(allow: &Allow, facts: &Facts) -> bool {
    allow
        .expires
        .as_ref()
        .is_some_and(|moment| moment.get_ref().at <= facts.time)
}

/// `[baseline]`.
pub(super) fn baseline(
    config: &HostConfig,
    facts: &Facts,
    book: &mut PeerBook<'_>,
    rules: &mut Vec<Rule>,
) {
    const BOTH: [Direction; 2] = [Direction::Ingress, Direction::Egress];
    const IN: [Direction; 1] = [Direction::Ingress];
    const OUT: [Direction; 1] = [Direction::Egress];
    for (name, item) in config.baseline.items() {
        let auto = match name {
            "dns" => Peers::Prefixes(book.addresses(facts.resolvers.iter().copied())),
            "dhcp-client" if facts.interfaces.iter().any(|it| it.has_lease) => Peers::Any,
            _ => Peers::Prefixes(Vec::new()),
        };
        let peers = match item {
            BaselineItem::Off => continue,
            BaselineItem::Auto => auto,
            BaselineItem::Peers(peers) => book.admit(peers),
        };
        if is_nobody(&peers) {
            continue;
        }
        let mut add = |directions: &[Direction], service: &Service, peers: &Peers| {
            for direction in directions {
                let id = format!("baseline/{name}");
                rules.push(rule(
                    id,
                    *direction,
                    service.clone(),
                    peers.clone(),
                    Precedence::Allow,
                ));
            }
        };
        match name {
            "dns" => {
                add(&OUT, &Service::Udp(vec![53..=53]), &peers);
                add(&OUT, &Service::Tcp(vec![53..=53]), &peers);
            }
            "dhcp-client" => {
                for service in [Service::Dhcp4, Service::Dhcp6] {
                    add(&IN, &service, &peers);
                    add(&OUT, &service, &with_dhcp_groups(&peers));
                }
            }
            "ntp" => add(&OUT, &Service::Udp(vec![123..=123]), &peers),
            "icmp-echo-in" => echo(&mut add, &IN, &peers),
            "icmp-echo-out" => echo(&mut add, &OUT, &peers),
            "neighbour-discovery" => {
                let both = vec![icmp::NEIGHBOUR_SOLICITATION, icmp::NEIGHBOUR_ADVERTISEMENT];
                let mut out = vec![icmp::ROUTER_SOLICITATION];
                out.extend(&both);
                add(&IN, &Service::Icmpv6(both), &peers);
                add(&OUT, &Service::Icmpv6(out), &peers);
            }
            "router-advertisements" => {
                // RFC 4861 section 6.1.2: from a link-local source, whoever the operator means
                let peers = match peers {
                    Peers::Any => Peers::Prefixes(vec![LINK_LOCAL]),
                    said => said,
                };
                add(
                    &IN,
                    &Service::Icmpv6(vec![icmp::ROUTER_ADVERTISEMENT]),
                    &peers,
                );
            }
            "mld-igmp" => {
                let types = vec![
                    icmp::MLD_QUERY,
                    icmp::MLD_REPORT,
                    icmp::MLD_DONE,
                    icmp::MLD2_REPORT,
                ];
                add(&BOTH, &Service::Icmpv6(types), &peers);
                add(&BOTH, &Service::Protocol(IGMP), &peers);
            }
            _ => {}
        }
    }
}

/// IGMP (RFC 3376).
const IGMP: u8 = 2;

/// fe80::/10 (RFC 4291 section 2.4).
const LINK_LOCAL: IpNet = IpNet::V6(Ipv6Net::new_assert(
    std::net::Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0),
    10,
));

fn echo(
    add: &mut impl FnMut(&[Direction], &Service, &Peers),
    directions: &[Direction],
    peers: &Peers,
) {
    add(directions, &Service::Icmp(vec![icmp::ECHO]), peers);
    add(directions, &Service::Icmpv6(vec![icmp::V6_ECHO]), peers);
}

/// A client asks by broadcast (RFC 2131 section 4.1) and by multicast (RFC 8415 section 7.1),
/// whoever may answer.
fn with_dhcp_groups(peers: &Peers) -> Peers {
    match peers {
        Peers::Any => Peers::Any,
        Peers::Prefixes(servers) => {
            let mut prefixes = servers.clone();
            prefixes.push(IpNet::V4(Ipv4Net::from(std::net::Ipv4Addr::BROADCAST)));
            prefixes.push(IpNet::V6(Ipv6Net::from(std::net::Ipv6Addr::new(
                0xff02, 0, 0, 0, 0, 0, 1, 2,
            ))));
            Peers::Prefixes(prefixes)
        }
    }
}

fn port_services(tcp: &[Spanned<PortRange>], udp: &[Spanned<PortRange>]) -> Vec<Service> {
    let ranges = |list: &[Spanned<PortRange>]| {
        let mut ranges: Vec<RangeInclusive<u16>> = Vec::new();
        for one in list {
            let one = range(*one.get_ref());
            if !ranges.contains(&one) {
                ranges.push(one);
            }
        }
        ranges
    };
    let mut services = Vec::new();
    if !tcp.is_empty() {
        services.push(Service::Tcp(ranges(tcp)));
    }
    if !udp.is_empty() {
        services.push(Service::Udp(ranges(udp)));
    }
    services
}

fn range(range: PortRange) -> RangeInclusive<u16> {
    range.first..=range.last
}

fn rule(
    id: String,
    direction: Direction,
    service: Service,
    peers: Peers,
    precedence: Precedence,
) -> Rule {
    Rule {
        id,
        rows: Vec::new(),
        direction,
        service,
        peers,
        groups: Vec::new(),
        precedence,
        product: None,
        stated: false,
        until: None,
    }
}
