//! What the audit stage of a product lets pass: every port that a row of it names for a role of
//! this host, unless a row of an enforced product names the port too.

use std::ops::RangeInclusive;

use agent_common::event::Direction;

use super::product::Selected;
use crate::host::schema::Stage;
use crate::rule::{Peers, Precedence, Rule, Service};

/// The audit rules of all products on trial, at most one for each direction and transport.
pub(super) fn rules(selected: &[Selected<'_>]) -> Vec<Rule> {
    let in_stage = |stage: Stage| selected.iter().filter(move |it| it.product.stage == stage);
    let enforced = Named::of(in_stage(Stage::Enforce));
    let mut rules = Vec::new();
    for trial in in_stage(Stage::Audit) {
        let named = Named::of([trial].into_iter()).without(&enforced);
        for (direction, service) in named.services() {
            rules.push(Rule {
                id: format!("audit/{}", trial.product.name),
                rows: Vec::new(),
                direction,
                service,
                peers: Peers::Any,
                groups: Vec::new(),
                precedence: Precedence::AuditStage,
                product: Some(trial.product.name.clone()),
                stated: false,
                until: None,
            });
        }
    }
    rules
}

/// Ports and protocols that rows name, by direction.
#[derive(Default)]
struct Named {
    sets: [Set; 2],
}

#[derive(Default)]
struct Set {
    tcp: Vec<RangeInclusive<u16>>,
    udp: Vec<RangeInclusive<u16>>,
    protocols: Vec<u8>,
}

const DIRECTIONS: [Direction; 2] = [Direction::Ingress, Direction::Egress];

impl Named {
    fn of<'a, 'b: 'a>(products: impl Iterator<Item = &'a Selected<'b>>) -> Self {
        let mut named = Self::default();
        for (direction, service) in products.flat_map(Selected::named_services) {
            let [ingress, egress] = &mut named.sets;
            let set = match direction {
                Direction::Ingress => ingress,
                Direction::Egress => egress,
            };
            match service {
                Service::Tcp(ports) => set.tcp.extend(ports),
                Service::Udp(ports) => set.udp.extend(ports),
                Service::Protocol(number) => set.protocols.push(number),
                // Rows name nothing else.
                _ => {}
            }
        }
        for set in &mut named.sets {
            set.tcp = joined(std::mem::take(&mut set.tcp));
            set.udp = joined(std::mem::take(&mut set.udp));
            set.protocols.sort_unstable();
            set.protocols.dedup();
        }
        named
    }

    fn without(mut self, other: &Self) -> Self {
        for (own, other) in self.sets.iter_mut().zip(&other.sets) {
            own.tcp = minus(&own.tcp, &other.tcp);
            own.udp = minus(&own.udp, &other.udp);
            own.protocols
                .retain(|number| !other.protocols.contains(number));
        }
        self
    }

    fn services(self) -> Vec<(Direction, Service)> {
        let mut services = Vec::new();
        for (direction, set) in DIRECTIONS.into_iter().zip(self.sets) {
            if !set.tcp.is_empty() {
                services.push((direction, Service::Tcp(set.tcp)));
            }
            if !set.udp.is_empty() {
                services.push((direction, Service::Udp(set.udp)));
            }
            let protocols = set.protocols.into_iter().map(Service::Protocol);
            services.extend(protocols.map(|service| (direction, service)));
        }
        services
    }
}

/// Sorted, with ranges that overlap made one. Neighbours stay apart: near-consecutive ports are
/// no range in any vendor's table.
fn joined(mut ranges: Vec<RangeInclusive<u16>>) -> Vec<RangeInclusive<u16>> {
    ranges.sort_by_key(|range| (*range.start(), *range.end()));
    let mut joined: Vec<RangeInclusive<u16>> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match joined.last_mut() {
            Some(last) if range.start() <= last.end() => {
                *last = *last.start()..=*last.end().max(range.end());
            }
            _ => joined.push(range),
        }
    }
    joined
}

/// What of the sorted `left` is not in the sorted `right`.
fn minus(left: &[RangeInclusive<u16>], right: &[RangeInclusive<u16>]) -> Vec<RangeInclusive<u16>> {
    let mut rest = Vec::new();
    for range in left {
        let (mut start, end) = (u32::from(*range.start()), u32::from(*range.end()));
        for hole in right {
            let (first, last) = (u32::from(*hole.start()), u32::from(*hole.end()));
            if last < start || first > end {
                continue;
            }
            if first > start {
                rest.extend(ports(start, first - 1));
            }
            start = last + 1;
        }
        rest.extend(ports(start, end));
    }
    rest
}

fn ports(first: u32, last: u32) -> Option<RangeInclusive<u16>> {
    let (first, last) = (u16::try_from(first).ok()?, u16::try_from(last).ok()?);
    (first <= last).then_some(first..=last)
}

#[cfg(test)]
mod tests {
    use super::{joined, minus};

    #[track_caller]
    fn check(left: &[(u16, u16)], right: &[(u16, u16)], expected: &[(u16, u16)]) {
        let ranges =
            |list: &[(u16, u16)]| joined(list.iter().map(|(first, last)| *first..=*last).collect());
        let expected: Vec<_> = expected
            .iter()
            .map(|(first, last)| *first..=*last)
            .collect();
        assert_eq!(minus(&ranges(left), &ranges(right)), expected);
    }

    #[test]
    fn ports_that_an_enforced_product_names_leave_the_trial() {
        check(&[(1, 65535)], &[], &[(1, 65535)]);
        check(&[(1, 65535)], &[(1, 65535)], &[]);
        check(&[(80, 80), (443, 443)], &[(443, 443)], &[(80, 80)]);
        check(&[(100, 200)], &[(150, 150)], &[(100, 149), (151, 200)]);
        check(&[(100, 200)], &[(50, 120), (190, 300)], &[(121, 189)]);
        check(&[(65000, 65535)], &[(65535, 65535)], &[(65000, 65534)]);
        check(
            &[(8300, 8300), (8301, 8301)],
            &[(8302, 8302)],
            &[(8300, 8300), (8301, 8301)],
        );
        check(&[(10, 30), (20, 40)], &[(35, 36)], &[(10, 34), (37, 40)]);
    }
}
