//! Blocks that shut a failsafe: every peer of it on all its ports, alone or together.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use agent_common::event::Direction;
use ipnet::IpNet;

use super::Out;
use crate::compile::resolve::Resolved;
use crate::host::HostConfig;
use crate::host::kinds::Kind;
use crate::rule::{Peers, Precedence, Rule, Service};

pub(super) fn check(config: &HostConfig, resolved: &Resolved, out: &mut Out<'_>) {
    let rules = |precedence: Precedence| {
        resolved.rule_set.rules.iter().filter(move |rule| {
            rule.precedence == precedence && rule.direction == Direction::Ingress
        })
    };
    for failsafe in rules(Precedence::Failsafe) {
        let Service::Tcp(ports) = &failsafe.service else {
            continue;
        };
        let blocks: Vec<(&Rule, Addresses)> = rules(Precedence::Block)
            .filter(|block| shuts(&block.service, ports))
            .map(|block| (block, Addresses::of(&block.peers)))
            .collect();
        let wanted = Addresses::of(&failsafe.peers);
        let together = blocks
            .iter()
            .fold(Addresses::default(), |all, (_, block)| all.and(block));
        if wanted.is_empty() || !wanted.lies_in(&together) {
            continue;
        }
        let touching = blocks.iter().filter(|(_, block)| wanted.meets(block));
        let several = touching.clone().count() > 1;
        for (rule, _) in touching {
            let name = rule.id.strip_prefix("block/").unwrap_or(&rule.id);
            let Some(block) = config.blocks.iter().find(|it| it.name == name && !it.force) else {
                continue;
            };
            let others = if several { " together with others" } else { "" };
            out.say(
                Kind::BlockCoversFailsafe,
                format!("`block.{name}`{others} shuts every peer of {} out", failsafe.id),
                "take the administrators' networks out of the block, or write `force = true` if that is meant",
                &block.span,
            );
        }
    }
}

/// Whether a block of this service leaves none of the ports.
fn shuts(block: &Service, ports: &[RangeInclusive<u16>]) -> bool {
    match block {
        Service::All => true,
        Service::Tcp(blocked) => ports.iter().all(|range| {
            range
                .clone()
                .all(|port| blocked.iter().any(|blocked| blocked.contains(&port)))
        }),
        _ => false,
    }
}

/// Addresses of both families as sorted ranges of numbers that do not touch.
#[derive(Clone, Default)]
struct Addresses {
    v4: Vec<(u128, u128)>,
    v6: Vec<(u128, u128)>,
}

impl Addresses {
    fn of(peers: &Peers) -> Self {
        let mut addresses = Self::default();
        match peers {
            Peers::Any => {
                addresses.v4.push((0, u128::from(u32::MAX)));
                addresses.v6.push((0, u128::MAX));
            }
            Peers::Prefixes(prefixes) => {
                for prefix in prefixes {
                    let (list, range) = match prefix {
                        IpNet::V4(prefix) => (
                            &mut addresses.v4,
                            (
                                number(prefix.network().into()),
                                number(prefix.broadcast().into()),
                            ),
                        ),
                        IpNet::V6(prefix) => (
                            &mut addresses.v6,
                            (
                                number(prefix.network().into()),
                                number(prefix.broadcast().into()),
                            ),
                        ),
                    };
                    list.push(range);
                }
            }
        }
        addresses.v4 = joined(addresses.v4);
        addresses.v6 = joined(addresses.v6);
        addresses
    }

    fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }

    fn and(self, other: &Self) -> Self {
        let both = |mut left: Vec<_>, right: &[_]| {
            left.extend_from_slice(right);
            joined(left)
        };
        Self {
            v4: both(self.v4, &other.v4),
            v6: both(self.v6, &other.v6),
        }
    }

    fn lies_in(&self, other: &Self) -> bool {
        let inside = |inner: &[(u128, u128)], outer: &[(u128, u128)]| {
            inner.iter().all(|(first, last)| {
                outer
                    .iter()
                    .any(|(start, end)| start <= first && last <= end)
            })
        };
        inside(&self.v4, &other.v4) && inside(&self.v6, &other.v6)
    }

    fn meets(&self, other: &Self) -> bool {
        let meet = |left: &[(u128, u128)], right: &[(u128, u128)]| {
            left.iter().any(|(first, last)| {
                right
                    .iter()
                    .any(|(start, end)| start <= last && first <= end)
            })
        };
        meet(&self.v4, &other.v4) || meet(&self.v6, &other.v6)
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits(),
    }
}

fn joined(mut ranges: Vec<(u128, u128)>) -> Vec<(u128, u128)> {
    ranges.sort_unstable();
    let mut joined: Vec<(u128, u128)> = Vec::with_capacity(ranges.len());
    for (first, last) in ranges {
        match joined.last_mut() {
            // Neighbours are joined too: a prefix may lie across both.
            Some((_, end)) if first <= end.saturating_add(1) => *end = (*end).max(last),
            _ => joined.push((first, last)),
        }
    }
    joined
}
