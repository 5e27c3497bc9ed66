//! The host as a whole on its network.

use super::*;

#[test]
fn what_is_judged_nowhere() {
    check(
        |it| add(it, "wg0", "wireguard", &[]),
        "tunnels",
        YELLOW,
        &["add wg0"],
    );
    let listed = |it: &mut Machine| {
        add(it, "wg0", "wireguard", &[]);
        configured(it).interfaces.push("wg*".to_owned());
    };
    check(listed, "tunnels", GREEN, &[]);
    check(
        |it| add(it, "eth1", "igb", &[]),
        "unguarded",
        YELLOW,
        &["add eth1"],
    );
    let down = |it: &mut Machine| {
        add(it, "eth1", "igb", &[]);
        it.facts.interfaces[1].up = false;
    };
    check(down, "unguarded", GREEN, &[]);
    // guarded by the interfaces below it
    check(
        |it| add(it, "bond0", "bond", &["eth0"]),
        "unguarded",
        GREEN,
        &[],
    );
}

#[test]
fn configurations() {
    check(
        |it| configured(it).errors = 2,
        "configuration",
        RED,
        &["errors: 2"],
    );
    let path = || Configuration::Missing("/etc/portcullis/portcullis.toml".to_owned());
    check(
        |it| it.configuration = path(),
        "configuration",
        YELLOW,
        &["portcullis init"],
    );
    check(
        |it| it.configuration = Configuration::Unreadable("cut off".to_owned()),
        "configuration",
        RED,
        &["cut off"],
    );
    let mut machine = good();
    configured(&mut machine).interfaces = vec!["eth9".to_owned()];
    let checks = judge(&machine);
    let nothing = checks
        .iter()
        .find(|check| check.id == "configuration")
        .unwrap();
    assert_eq!(nothing.level, RED, "{nothing:?}");
}

#[test]
fn forwarding() {
    let forwards = |said, docker: bool| {
        move |it: &mut Machine| {
            it.facts.interfaces[0].forwards_v4 = true;
            configured(it).forward = said;
            if docker {
                add(it, "docker0", "bridge", &[]);
            }
        }
    };
    check(
        forwards(None, false),
        "forwarding",
        RED,
        &["[forward] default"],
    );
    check(
        forwards(Some(Forward::Deny), false),
        "forwarding",
        GREEN,
        &[],
    );
    check(
        forwards(Some(Forward::Deny), true),
        "forwarding",
        YELLOW,
        &["docker0"],
    );
    check(
        forwards(Some(Forward::Pass), true),
        "forwarding",
        GREEN,
        &["docker0"],
    );
}

#[test]
fn ports_of_services_that_a_flow_can_hold() {
    let clash = |it: &mut Machine| {
        let line = "net.ipv4.ip_local_reserved_ports = 49500".to_owned();
        configured(it).ephemeral = vec![("port 49500".to_owned(), line)];
    };
    check(
        clash,
        "ephemeral-ports",
        YELLOW,
        &["ip_local_reserved_ports = 49500"],
    );
}

#[test]
fn who_sends_past_the_programs() {
    let sender = |program: Option<&'static str>, interface: Option<&'static str>| {
        move |it: &mut Machine| {
            it.senders.packet = vec![Sender {
                program: program.map(str::to_owned),
                interface: interface.map(str::to_owned),
            }];
        }
    };
    check(
        sender(Some("trafgen"), Some("eth0")),
        "senders",
        YELLOW,
        &["trafgen", "CAP_NET_RAW"],
    );
    check(sender(None, None), "senders", YELLOW, &["can't be seen"]);
    check(
        sender(Some("dhclient"), Some("eth0")),
        "senders",
        GREEN,
        &[],
    );
    check(
        sender(Some("trafgen"), Some("veth7")),
        "senders",
        GREEN,
        &[],
    );
    check(|it| it.senders.xdp = 3, "senders", YELLOW, &["3 AF_XDP"]);
}
