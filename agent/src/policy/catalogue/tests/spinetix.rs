//! The hardest rows of the SpinetiX page, each as the page prints it.

use super::*;
use crate::policy::schema::{BaselineItem, Requirement};

fn spinetix() -> Policy {
    let (catalogue, _) = Catalogue::load([]);
    catalogue.get("spinetix").unwrap().clone()
}

/// What a row opens, one line for each flow and transport:
/// `from > to [via group] transport ports [if conditions]`, with `inferred` at the end.
fn opens(policy: &Policy, row: &Row) -> Vec<String> {
    let names = |roles: &[toml::Spanned<String>]| {
        let names: Vec<&str> = roles.iter().map(|it| it.get_ref().as_str()).collect();
        names.join(",")
    };
    row.parts()
        .map(|part| {
            let to = match &part.flow.to_group {
                Some(group) => format!("group {}", group.get_ref()),
                None => names(&part.flow.to),
            };
            let via = match &part.flow.via {
                Some(group) => format!(" via {}", group.get_ref()),
                None => String::new(),
            };
            let ports: Vec<String> = part.ports().map(ToString::to_string).collect();
            let conditions: Vec<String> = policy
                .flow_conditions(row, part.flow)
                .map(ToString::to_string)
                .collect();
            let conditions = match conditions.is_empty() {
                true => String::new(),
                false => format!(" if {}", conditions.join(" ")),
            };
            let inferred = match part.flow.inferred.is_some() {
                true => " inferred",
                false => "",
            };
            format!(
                "{} > {to}{via} {} {}{conditions}{inferred}",
                names(&part.flow.from),
                part.transport,
                ports.join(",")
            )
        })
        .collect()
}

#[track_caller]
fn row(id: &str, since: &[(&str, &str)], expected: &[&str]) {
    let policy = spinetix();
    let row = policy.row(id).unwrap();
    assert_eq!(opens(&policy, row), expected, "{id}");
    let seen: Vec<(String, String)> = row
        .since
        .iter()
        .map(|(line, from)| (line.to_owned(), from.to_string()))
        .collect();
    let since: Vec<(String, String)> = since
        .iter()
        .map(|(line, from)| ((*line).to_owned(), (*from).to_owned()))
        .collect();
    assert_eq!(seen, since, "{id}");
    // What is switched on by somebody is off until then, and nothing else is.
    let off = row.requirement == Requirement::OffByDefault;
    let switched = row
        .flows
        .first()
        .is_some_and(|flow| policy.flow_conditions(row, flow).next().is_some());
    assert_eq!(off, switched, "{id}");
}

#[test]
fn every_printed_line_is_there() {
    let policy = spinetix();
    let ids: Vec<String> = policy
        .rows_in_order()
        .iter()
        .map(|row| row.id.get_ref().to_string())
        .collect();
    let printed: Vec<String> = [
        ("player-services", 12),
        ("network-firewall", 4),
        ("elementi", 8),
    ]
    .iter()
    .flat_map(|(table, lines)| (1..=*lines).map(move |line| format!("{table}/{line}")))
    .collect();
    assert_eq!(ids, printed);
}

#[test]
fn services_of_the_player() {
    row(
        "player-services/1",
        &[],
        &["management-client > player tcp 80"],
    );
    row(
        "player-services/4",
        &[("firmware", "4.0.0")],
        &["elementi,webdav-client > player tcp 9802"],
    );
    row(
        "player-services/5",
        &[],
        &[
            "shared-variables-client > player tcp shared-variables if shared-variables-legacy",
            "player > shared-variables-client tcp shared-variables if shared-variables-legacy computer-inbound inferred",
        ],
    );
    row(
        "player-services/7",
        &[],
        &[
            "snmp-manager > player tcp 161 if snmp",
            "snmp-manager > player udp 161 if snmp",
            "player > snmp-manager tcp 161 if snmp computer-inbound inferred",
            "player > snmp-manager udp 161 if snmp computer-inbound inferred",
        ],
    );
}

#[test]
fn groups_are_asked_in_both_directions() {
    let both = |group: &str, port: u16| {
        [
            format!("elementi > player via {group} udp {port}"),
            format!("player > elementi via {group} udp {port}"),
        ]
    };
    for (id, since, [asked, announced]) in [
        (
            "player-services/10",
            vec![("firmware", "4.1.0")],
            both("ssdp", 1900),
        ),
        ("player-services/11", vec![], both("mdns", 5353)),
        ("elementi/5", vec![("elementi", "2016")], both("ssdp", 1900)),
        ("elementi/6", vec![], both("mdns", 5353)),
    ] {
        row(id, &since, &[&asked, &announced]);
    }
    row(
        "player-services/12",
        &[("firmware", "4.7.1")],
        &[
            "name-asker > player via llmnr udp 5355",
            "name-asker > player tcp 5355",
        ],
    );
}

#[test]
fn groups_have_addresses_of_both_families() {
    let policy = spinetix();
    for name in ["ssdp", "mdns", "llmnr"] {
        let group = policy.groups.get(name).unwrap();
        let addresses = || group.addresses.iter().map(toml::Spanned::get_ref);
        assert!(addresses().any(std::net::IpAddr::is_ipv4), "{name}");
        assert!(addresses().any(std::net::IpAddr::is_ipv6), "{name}");
        assert!(group.answers.is_some() && group.ours.is_some(), "{name}");
    }
}

#[test]
fn what_goes_outward_names_hosts_not_addresses() {
    row(
        "network-firewall/2",
        &[],
        &[
            "player > group spinetix-cloud tcp 443",
            "player > group external-web tcp 443",
            "arya-client > group spinetix-cloud tcp 443 if arya-in-browser inferred",
        ],
    );
    row(
        "network-firewall/3",
        &[("firmware", "4.4.0")],
        &["player > group spinetix-cloud tcp 8883"],
    );
    let policy = spinetix();
    let cloud = policy.groups.get("spinetix-cloud").unwrap();
    assert!(
        cloud
            .names
            .iter()
            .all(|name| name.get_ref().starts_with("*."))
    );
    // The operator says who the other web servers are.
    let external = policy.groups.get("external-web").unwrap();
    assert!(external.names.is_empty() && external.addresses.is_empty());
}

#[test]
fn the_baseline_gets_the_lease_and_the_player_asks_for_the_time() {
    let policy = spinetix();
    let dhcp = policy.row("player-services/8").unwrap();
    assert!(dhcp.flows.is_empty() && dhcp.undecidable.is_some());
    assert_eq!(dhcp.baseline, Some(BaselineItem::DhcpClient));
    for id in ["player-services/9", "network-firewall/4"] {
        row(id, &[], &["player > ntp-server udp 123"]);
        let baseline = policy.row(id).unwrap().baseline;
        assert_eq!(baseline, Some(BaselineItem::Ntp));
    }
}

#[test]
fn shared_variables_of_elementi_hang_on_the_edition() {
    row(
        "elementi/7",
        &[("elementi", "2018")],
        &[
            "elementi > player tcp 5684 if coap elementi-x",
            "elementi > player udp 5684 if coap elementi-x",
            "player > elementi tcp 5684 if coap elementi-x computer-inbound inferred",
            "player > elementi udp 5684 if coap elementi-x computer-inbound inferred",
        ],
    );
    row(
        "elementi/8",
        &[],
        &[
            "elementi > player tcp shared-variables if shared-variables-legacy elementi-x",
            "player > elementi tcp shared-variables if shared-variables-legacy elementi-x computer-inbound inferred",
        ],
    );
}

#[test]
fn every_option_is_off() {
    let policy = spinetix();
    for (name, option) in policy.options.iter() {
        assert_eq!(option.default, Some(false), "{name}");
    }
}
