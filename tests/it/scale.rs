//! The largest policies compile in less than two seconds of processor time, and fit into the memory that a bank has unasked.

use std::net::IpAddr;
use std::rc::Rc;

use agent_common::event::Direction;
use agent_common::lookup::Lookup as _;
use agent_common::net::{V4, V6};
use agent_common::tables::{CellAction, Plane};
use agent_common::trie::Classified as _;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use nix::time::{ClockId, clock_gettime};
use portcullis::compile::memory::Memory;
use portcullis::compile::{Settings, compile};
use portcullis::rule::{Peers, Rule};
use portcullis_tests::bench::policy::{admits, closed, facts};

/// Seconds.
const LIMIT: f64 = 2.0;
const PREFIXES: u32 = 100_000;

/// What this thread has computed, in seconds: other work on the machine doesn't count.
#[track_caller]
fn computed() -> f64 {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap();
    time.tv_sec() as f64 + time.tv_nsec() as f64 / 1e9
}

/// Prefix `number` of the 256 that 11.0.0.0/8 is cut into.
fn slice(number: usize) -> IpNet {
    let bits = 11 << 24 | (number as u32 & 0xff) << 16;
    Ipv4Net::new_assert(bits.into(), 16).into()
}

/// Prefixes as far apart as can be: hosts all over IPv4, networks all over 2000::/3. No two share a block of a trie.
fn scattered(v6: bool) -> Vec<IpNet> {
    let numbers = 1..=u64::from(PREFIXES);
    numbers
        .map(|number| {
            // Fibonacci hashing: multiples of 2^64 over the golden ratio lie evenly (Knuth, volume 3, 6.4)
            let bits = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            if v6 {
                let bits = u128::from(bits >> 3 | 1 << 61) << 64;
                Ipv6Net::new_assert(bits.into(), 64).into()
            } else {
                Ipv4Net::new_assert(((bits >> 32) as u32).into(), 32).into()
            }
        })
        .collect()
}

/// A rule for each of `ports` and each of `slices`, and one that admits `PREFIXES` more to a port of its own.
#[track_caller]
fn check(ports: u16, slices: usize, v6: bool) {
    let mut rules: Vec<Rule> = (0..usize::from(ports) * slices)
        .map(|number| {
            let (port, slice_of) = (number / slices, number % slices);
            let peers = Peers::Prefixes(vec![slice(slice_of)]);
            admits(number, Direction::Ingress, 1_000 + 2 * port as u16, peers)
        })
        .collect();
    let scattered = scattered(v6);
    let (first, last) = (scattered[0].addr(), scattered[scattered.len() - 1].addr());
    let many = Peers::Prefixes(scattered);
    rules.push(admits(rules.len(), Direction::Ingress, 443, many));
    let count = rules.len();
    let set = closed(rules);

    let settings = Settings::default();
    let began = computed();
    let compiled = compile(&set, &facts(), &settings);
    let took = computed() - began;
    let tables = compiled.unwrap_or_else(|errors| panic!("{errors:?}"));
    let sizes = tables.sizes;
    eprintln!(
        "{ports} ports x {slices} prefixes, and {PREFIXES} of {}: {count} rules in {took:.2} s, {} KiB",
        if v6 { "IPv6" } else { "IPv4" },
        sizes.bytes >> 10
    );

    // They are the tables of this policy.
    let world = Memory::new(Rc::new(tables));
    let action = |port: u16, peer: IpAddr| {
        let class = world.port_class(Plane::IngressTcp, port).unwrap();
        let peer = match peer {
            IpAddr::V4(peer) => V4(peer.to_bits()).class(&world),
            IpAddr::V6(peer) => {
                let bits = peer.to_bits();
                V6((bits >> 64) as u64, bits as u64).class(&world)
            }
        };
        world.cell(class, peer.unwrap()).unwrap().action()
    };
    let (inside, beyond) = ([11, 0, 9, 9].into(), [12, 0, 9, 8].into());
    let last_port = 1_000 + 2 * (ports - 1);
    assert_eq!(action(1_000, inside), CellAction::Allow);
    assert_eq!(action(last_port, inside), CellAction::Allow);
    assert_eq!(action(1_001, inside), CellAction::Deny);
    assert_eq!(action(last_port, beyond), CellAction::Deny);
    assert_eq!(action(443, first), CellAction::Allow);
    assert_eq!(action(443, last), CellAction::Allow);
    assert_eq!(action(443, beyond), CellAction::Deny);

    assert!(sizes.bytes <= settings.bank_memory, "{sizes:?}");
    assert!(took < LIMIT, "{took:.2} s");
}

mod alone {
    use super::check;

    #[test]
    fn few_ports_with_many_prefixes() {
        check(254, 256, false);
        check(254, 256, true);
    }

    #[test]
    fn many_ports_with_few_prefixes() {
        check(4_000, 16, false);
        check(4_000, 16, true);
    }
}
