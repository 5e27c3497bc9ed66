//! Neighbours: what a default deny must not cut minutes later.

use portcullis_tests::daemon::Agent;
use portcullis_tests::netns::Namespace;
use portcullis_tests::process::wait_for;
use portcullis_tests::service::Services;

use crate::site::{CLIENT, LIMIT, SERVER, Site, configuration, reaches};

/// The state of a neighbour's entry, `GONE` where there is none.
fn state(host: &Namespace, neighbour: &str) -> anyhow::Result<String> {
    let entry = host.ip(&format!("neighbour show to {neighbour} dev eth0"))?;
    let state = entry.split_whitespace().last();
    Ok(state.unwrap_or("GONE").to_owned())
}

#[track_caller]
fn check_expiry(hook: &str) {
    let site = Site::new();
    // What takes minutes by default takes tenths of a second here.
    for host in [&site.server, &site.client] {
        for family in ["ipv4", "ipv6"] {
            for (key, value) in [
                ("base_reachable_time_ms", "200"),
                ("delay_first_probe_time", "1"),
                ("retrans_time_ms", "100"),
                ("gc_stale_time", "1"),
            ] {
                let path = format!("net/{family}/neigh/eth0/{key}");
                host.sysctl(&path, value).unwrap();
            }
        }
    }
    let mut services = Services::new();
    services.tcp(&site.server, 443, "printed").unwrap();
    let _agent = Agent::start(&site.server, &configuration(hook, "deny", ""), "json").unwrap();
    for family in [0, 1] {
        let (server, client) = (SERVER[family], CLIENT[family]);
        assert!(reaches(&site.client, server, 443, LIMIT), "{hook} {server}");
        for (host, neighbour) in [(&site.client, server), (&site.server, client)] {
            // First it is only doubted, and asked for again by a unicast probe.
            wait_for("the neighbour is doubted", LIMIT, || {
                Ok((state(host, neighbour)? != "REACHABLE").then_some(()))
            })
            .unwrap();
            assert!(
                reaches(&site.client, server, 443, LIMIT),
                "{hook} {server}, stale"
            );
            wait_for("the probe is answered", LIMIT, || {
                let _ = reaches(&site.client, server, 443, LIMIT);
                Ok((state(host, neighbour)? == "REACHABLE").then_some(()))
            })
            .unwrap();
            // Then it is forgotten, and asked for by a group or broadcast.
            host.ip(&format!("neighbour flush to {neighbour} dev eth0"))
                .unwrap();
            assert!(
                reaches(&site.client, server, 443, LIMIT),
                "{hook} {server}, gone"
            );
        }
    }
}

#[test]
fn neighbours_expire_and_are_found_again_at_xdp() {
    check_expiry("xdp");
}

#[test]
fn neighbours_expire_and_are_found_again_at_tc() {
    check_expiry("tc");
}
