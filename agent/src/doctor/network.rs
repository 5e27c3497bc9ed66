//! The host as a whole on its network: what is guarded nowhere, what it forwards, ports that clash, who sends past the programs.

use super::{Check, Configuration, Machine, Sender};
use crate::facts::Interface;
use crate::rule::Forward;

/// Kinds of interfaces that carry packets inside other packets (`IFLA_INFO_KIND` of their drivers), and `ppp`, which has none.
const TUNNELS: [&str; 18] = [
    "wireguard",
    "tun",
    "ipip",
    "sit",
    "gre",
    "gretap",
    "ip6gre",
    "ip6gretap",
    "ip6tnl",
    "vti",
    "vti6",
    "xfrm",
    "vxlan",
    "geneve",
    "gtp",
    "bareudp",
    "l2tp",
    "ppp",
];

/// How the bridges of container and guest managers are called.
const BRIDGES_OF_GUESTS: [&str; 9] = [
    "docker", "br-", "podman", "cni", "cbr", "virbr", "lxcbr", "lxdbr", "incusbr",
];

/// Programs with packet sockets that do not ask for the bypass of the egress hooks: DHCP clients and neighbours' protocols receive by them and
/// send in the ordinary way.
const WITHOUT_BYPASS: [&str; 10] = [
    "dhclient",
    "dhcpcd",
    "systemd-network",
    "NetworkManager",
    "lldpd",
    "lldpad",
    "tcpdump",
    "wpa_supplicant",
    "arping",
    "chronyd",
];

pub(super) fn judge(machine: &Machine) -> Vec<Check> {
    let mut checks = vec![
        configuration(machine),
        tunnels(machine),
        unguarded(machine),
        forwarding(machine),
    ];
    checks.extend(ephemeral(machine));
    checks.push(senders(machine));
    checks
}

fn configuration(machine: &Machine) -> Check {
    const ID: &str = "configuration";
    match &machine.configuration {
        Configuration::Missing(path) => Check::yellow(
            ID,
            format!("there is no {path}; every interface was looked at as if it were listed"),
            "`portcullis init PRODUCT --role ROLE` writes one",
        ),
        Configuration::Unreadable(why) => {
            Check::red(ID, why.clone(), "`portcullis check` says what is wrong")
        }
        Configuration::Read(configured) if configured.errors > 0 => Check::red(
            ID,
            format!("errors: {}", configured.errors),
            "`portcullis check` names each with its place and the way out",
        ),
        Configuration::Read(_) if machine.guarded().next().is_none() => Check::red(
            ID,
            "no interface that it lists is here: nothing is guarded",
            "`portcullis check` names the interfaces of this host",
        ),
        Configuration::Read(_) => Check::green(ID, "can be applied"),
    }
}

/// Interfaces that are up and judged nowhere. Whoever has not said what to guard is told nothing.
fn left_out(machine: &Machine) -> impl Iterator<Item = &Interface> {
    let known = machine.configured().is_some();
    machine.facts.interfaces.iter().filter(move |interface| {
        known
            && interface.up
            && machine.devices.contains_key(&interface.name)
            && !machine.guards(&interface.name)
            && !machine.guarded_below(&interface.name)
    })
}

fn is_tunnel(interface: &Interface) -> bool {
    let kind = interface.driver.as_deref().unwrap_or_default();
    TUNNELS.contains(&kind) || interface.name.starts_with("ppp")
}

fn names<'a>(interfaces: impl Iterator<Item = &'a Interface>) -> Option<String> {
    let names: Vec<&str> = interfaces.map(|it| it.name.as_str()).collect();
    (!names.is_empty()).then(|| names.join(", "))
}

fn tunnels(machine: &Machine) -> Check {
    const ID: &str = "tunnels";
    match names(left_out(machine).filter(|it| is_tunnel(it))) {
        Some(list) => Check::yellow(
            ID,
            format!(
                "what {list} carries is judged nowhere: on the interface below only the tunnel itself is seen"
            ),
            format!("add {list} to `interfaces`"),
        ),
        None => Check::green(ID, "no tunnel that is not listed"),
    }
}

fn unguarded(machine: &Machine) -> Check {
    const ID: &str = "unguarded";
    let with_addresses = left_out(machine).filter(|it| !is_tunnel(it) && !it.addresses.is_empty());
    match names(with_addresses.filter(|it| !is_of_guests(it))) {
        Some(list) => Check::yellow(
            ID,
            format!("{list} has addresses and is not guarded"),
            format!("add {list} to `interfaces`, if it should be"),
        ),
        None => Check::green(ID, "no interface with addresses is left out"),
    }
}

fn is_of_guests(interface: &Interface) -> bool {
    interface.driver.as_deref() == Some("bridge")
        && BRIDGES_OF_GUESTS
            .iter()
            .any(|prefix| interface.name.starts_with(prefix))
}

fn forwarding(machine: &Machine) -> Check {
    const ID: &str = "forwarding";
    if !machine.facts.forwards() {
        return Check::green(ID, "the host forwards nothing");
    }
    let guests = names(
        machine
            .facts
            .interfaces
            .iter()
            .filter(|it| is_of_guests(it)),
    );
    let behind = guests.map_or(String::new(), |list| format!(", for guests behind {list}"));
    let said = machine.configured().map(|configured| configured.forward);
    match said {
        None => Check::yellow(
            ID,
            format!("the host forwards{behind}"),
            "say what is meant in the configuration: [forward] default = \"deny\", \"pass\" or \"same-rules\"",
        ),
        Some(None) => Check::red(
            ID,
            format!(
                "the host forwards{behind}, and the configuration does not say what holds for it: `check` and `apply` refuse it"
            ),
            "say [forward] default = \"deny\", \"pass\" or \"same-rules\"; or turn forwarding off: sysctl -w net.ipv4.ip_forward=0",
        ),
        Some(Some(Forward::Deny)) if !behind.is_empty() => Check::yellow(
            ID,
            format!(
                "the host forwards{behind}, and [forward] default = \"deny\": they reach nothing by a guarded interface, and nothing reaches them"
            ),
            "say \"pass\" or \"same-rules\" if they should",
        ),
        Some(Some(_)) => Check::green(ID, format!("the host forwards{behind}, as [forward] says")),
    }
}

fn ephemeral(machine: &Machine) -> Vec<Check> {
    const ID: &str = "ephemeral-ports";
    let found = machine
        .configured()
        .map(|configured| configured.ephemeral.as_slice());
    match found {
        None => Vec::new(),
        Some([]) => vec![Check::green(
            ID,
            "no port of a service lies in the ephemeral range unreserved",
        )],
        Some(found) => found
            .iter()
            .map(|(what, line)| Check::yellow(ID, what.clone(), line.clone()))
            .collect(),
    }
}

fn senders(machine: &Machine) -> Check {
    const ID: &str = "senders";
    let senders = &machine.senders;
    let guarded = |sender: &&Sender| {
        let bound = sender.interface.as_deref();
        bound.is_none_or(|name| machine.guards(name))
    };
    let mut unknown: Vec<String> = senders
        .packet
        .iter()
        .filter(guarded)
        .filter(|sender| {
            let program = sender.program.as_deref();
            !program.is_some_and(|name| WITHOUT_BYPASS.contains(&name))
        })
        .map(|sender| match &sender.program {
            Some(name) => name.clone(),
            None => "a program that can't be seen".to_owned(),
        })
        .collect();
    unknown.sort();
    unknown.dedup();
    if senders.xdp > 0 {
        unknown.push(format!("{} AF_XDP sockets", senders.xdp));
    }
    if unknown.is_empty() {
        return Check::green(
            ID,
            "nobody has a packet socket that could send past the egress programs",
        );
    }
    Check::yellow(
        ID,
        format!(
            "can send past the egress programs (PACKET_QDISC_BYPASS, AF_XDP): {}",
            unknown.join(", ")
        ),
        "take CAP_NET_RAW from what does not need it (CapabilityBoundingSet=~CAP_NET_RAW in its unit)",
    )
}
