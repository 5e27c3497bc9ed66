use ipnet::IpNet;

use super::super::tests::{config, facts};
use super::{PeerBook, unguarded};
use crate::host::{Peer, PeerEntry, PeerSpec, Peers};

/// Peers of a list on a host with 10.0.0.11 and 2001:db8:10::11.
#[track_caller]
fn check(list: &[&str], expected: &[&str]) {
    let entries = list.iter().map(|text| PeerEntry {
        peer: text.parse::<Peer>().unwrap(),
        set: None,
        span: 0..0,
    });
    let peers = Peers {
        spec: PeerSpec::List(entries.collect()),
        span: 0..0,
    };
    let (config, facts) = (config(), facts());
    let admitted = PeerBook::new(&config, &facts).admit(&peers);
    let expected: Vec<IpNet> = expected.iter().map(|text| text.parse().unwrap()).collect();
    assert_eq!(admitted, crate::rule::Peers::Prefixes(expected), "{list:?}");
}

#[test]
fn own_addresses_leave_and_ranges_become_prefixes() {
    check(&["10.0.0.12"], &["10.0.0.12/32"]);
    check(&["10.0.0.11", "10.0.0.12"], &["10.0.0.12/32"]);
    check(&["10.0.0.12", "10.0.0.12"], &["10.0.0.12/32"]);
    check(&["10.0.0.11", "2001:db8:10::11"], &[]);
    check(&["10.0.0.11-10.0.0.13"], &["10.0.0.12/31"]);
    check(&["10.0.0.10-10.0.0.12"], &["10.0.0.10/32", "10.0.0.12/32"]);
    check(&["10.0.0.9-10.0.0.11"], &["10.0.0.9/32", "10.0.0.10/32"]);
    check(&["10.0.0.11-10.0.0.11"], &[]);
    check(
        &["192.168.7.0-192.168.7.2"],
        &["192.168.7.0/32", "192.168.7.2/32"],
    );
    check(
        &["255.255.255.254-255.255.255.255"],
        &["255.255.255.254/31"],
    );
    check(
        &["2001:db8:10::10-2001:db8:10::13"],
        &["2001:db8:10::10/128", "2001:db8:10::12/127"],
    );
    // as the operator wrote it: nothing from outside can have an own address
    check(&["10.0.0.0/16"], &["10.0.0.0/16"]);
}

#[test]
fn names_admit_their_last_good_answer() {
    check(
        &["adapter2.example.com"],
        &["10.1.0.21/32", "2001:db8:1::21/128"],
    );
    check(&["self.example.com"], &[]);
    check(&["never.example.com"], &[]);
    check(&["never.example.com", "10.9.9.9"], &["10.9.9.9/32"]);
    let (config, facts) = (config(), facts());
    let mut book = PeerBook::new(&config, &facts);
    book.name("Never.Example.com");
    book.name("adapter2.example.com");
    let names: Vec<_> = book.unresolved.keys().cloned().collect();
    assert_eq!(names, ["never.example.com"]);
}

#[test]
fn local_subnets_are_those_of_guarded_interfaces() {
    check(
        &["local-subnets"],
        &["10.0.0.0/24", "2001:db8:10::/64", "fe80::/64"],
    );
}

#[test]
fn interfaces_that_nothing_sees_are_named() {
    let mut config = config();
    let mut facts = facts();
    assert_eq!(unguarded(&config, &facts), ["eth1"]);
    // a bridge over a guarded member is seen there
    facts.interfaces[0].master = Some("eth1".to_owned());
    assert_eq!(unguarded(&config, &facts), Vec::<String>::new());
    facts.interfaces[0].master = None;
    config.interfaces = vec![toml::Spanned::new(0..0, "eth*".to_owned())];
    assert_eq!(unguarded(&config, &facts), Vec::<String>::new());
}
