//! How long the compiler takes at the sizes that a policy may have, and how large the tables become: the figures of docs/performance.md.
//!
//! `cargo run --release -p portcullis --example compile-scale`. Fails where a shape takes two seconds or more of CPU time.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use agent_common::event::Direction;
use anyhow::{Context, Result, bail};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;
use portcullis::compile::{Settings, compile};
use portcullis::facts::Facts;
use portcullis::rule::{DefaultAction, Peers, Precedence, Rule, RuleSet, Service};

/// A compilation may take this long.
const LIMIT: Duration = Duration::from_secs(2);
/// The best of so many runs counts: other work on the machine only adds.
const RUNS: usize = 5;

fn main() -> Result<()> {
    let facts: Facts = serde_json::from_value(serde_json::json!({
        "schema": 1, "time": "2026-01-01T00:00:00Z", "hostname": "host", "kernel": "6.18.0",
        "interfaces": [], "resolvers": [], "names": {}, "ephemeral": { "first": 32768, "last": 60999 },
        "reserved_ports": [], "ssh_ports": [22], "listeners": null, "hz": 250, "cpus": 2,
    }))
    .context("facts")?;
    let shapes = [
        ("5 ports × 2 prefixes", grid(5, 2, 1, 0)),
        ("100 ports × 100 prefixes", grid(100, 100, 1, 0)),
        ("254 ports × 256 prefixes", grid(254, 256, 1, 0)),
        ("4,000 ports × 16 prefixes", grid(4_000, 16, 1, 0)),
        (
            "254 ports × 256 prefixes, block list of 100,000",
            grid(254, 256, 1, 100_000),
        ),
        (
            "4,000 ports × 16 prefixes, block list of 100,000",
            grid(4_000, 16, 1, 100_000),
        ),
        (
            "254 ports × 256 sets of 390 prefixes",
            grid(254, 256, 390, 0),
        ),
        ("4,000 ports × 16 sets, block list of 100,000", {
            grid(4_000, 16, 8, 100_000)
        }),
    ];
    println!(
        "| policy | rules | prefixes | port classes | peer classes | blocks | IPv6 nodes | MiB | ms |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    let mut slow = Vec::new();
    for (name, rules) in shapes {
        let mut best = Duration::MAX;
        let mut sizes = None;
        for _ in 0..RUNS {
            let (wall, cpu) = (Instant::now(), cpu_time()?);
            let tables = compile(&rules, &facts, &Settings::default());
            best = best.min(cpu_time()? - cpu).min(wall.elapsed());
            match tables {
                Ok(tables) => sizes = Some(tables.sizes),
                Err(errors) => bail!("{name}: {errors:?}"),
            }
        }
        let sizes = sizes.context("no run")?;
        println!(
            "| {name} | {} | {} | {} | {} | {} | {} | {:.1} | {:.0} |",
            sizes.rules,
            sizes.prefixes,
            sizes.port_classes,
            sizes.peer_classes,
            sizes.nodes,
            sizes.v6_nodes,
            sizes.bytes as f64 / f64::from(1 << 20),
            best.as_secs_f64() * 1e3,
        );
        if best >= LIMIT {
            slow.push(name);
        }
    }
    if !slow.is_empty() {
        bail!("{LIMIT:?} or more: {}", slow.join(", "));
    }
    Ok(())
}

fn cpu_time() -> Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    let micros = (usage.user_time() + usage.system_time()).num_microseconds();
    Ok(Duration::from_micros(u64::try_from(micros)?))
}

/// A rule for each port and each peer list, with `each` prefixes to a list, and a block list.
fn grid(ports: u16, lists: u32, each: u32, blocked: u32) -> RuleSet {
    let mut rules = Vec::new();
    if blocked > 0 {
        for direction in [Direction::Ingress, Direction::Egress] {
            rules.push(rule(
                Precedence::Block,
                direction,
                Service::All,
                (0..blocked).map(scattered).collect(),
            ));
        }
    }
    for port in 0..ports {
        // not next to each other, so that no two share a range
        let port = 1_000 + port * 3;
        for list in 0..lists {
            let peers = (0..each).map(|number| net(list * each + number)).collect();
            rules.push(rule(
                Precedence::Allow,
                Direction::Ingress,
                Service::Tcp(vec![port..=port]),
                peers,
            ));
        }
    }
    RuleSet {
        rules,
        ingress: DefaultAction::Deny,
        egress: DefaultAction::Open,
        ..RuleSet::default()
    }
}

fn rule(precedence: Precedence, direction: Direction, service: Service, peers: Vec<IpNet>) -> Rule {
    Rule {
        id: "scale/rule".into(),
        rows: Vec::new(),
        direction,
        service,
        peers: Peers::Prefixes(peers),
        groups: Vec::new(),
        precedence,
        product: None,
        stated: true,
        until: None,
    }
}

/// A site's network: every other one IPv4, 24 bits of 10.0.0.0/8; the rest IPv6, 64 bits of a documentation prefix.
fn net(number: u32) -> IpNet {
    if number.is_multiple_of(2) {
        let bits = 10 << 24 | (number / 2 % 65_536) << 8;
        Ipv4Net::new_assert(Ipv4Addr::from_bits(bits), 24).into()
    } else {
        let bits = 0x2001_0db8 << 96 | u128::from(number) << 64;
        Ipv6Net::new_assert(Ipv6Addr::from_bits(bits), 64).into()
    }
}

/// A host or a network anywhere: seven of ten IPv4 addresses, the rest IPv6 networks of 64 bits.
fn scattered(number: u32) -> IpNet {
    let random = u128::from(number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
    let random = random ^ random >> 59;
    if number % 10 < 7 {
        Ipv4Net::from(Ipv4Addr::from_bits((random >> 40) as u32)).into()
    } else {
        let bits = 0x2 << 124 | random >> 3;
        Ipv6Net::new_assert(Ipv6Addr::from_bits(bits), 64)
            .trunc()
            .into()
    }
}
