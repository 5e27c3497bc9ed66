//! Which documented roles a host plays: the fewest that account for what it did, and of these the ones that open least besides.

use std::collections::{BTreeMap, BTreeSet};

/// Roles that are tried in every combination; with more, each flow takes its cheapest role.
const MOST: usize = 12;

/// What would be opened to a host by one role: names of flows, transport and ports.
pub(super) type Openings = BTreeMap<String, BTreeSet<String>>;

/// The roles to bind. Each demand lists the roles that would account for one flow; `free` are those that the host plays already, `opens`
/// what each role opens, `seen` what the host was seen to use.
pub(super) fn roles(
    demands: &[BTreeSet<String>],
    free: &BTreeSet<String>,
    opens: &Openings,
    seen: &BTreeSet<String>,
) -> BTreeSet<String> {
    let met = |demand: &&BTreeSet<String>, chosen: &BTreeSet<String>| {
        demand
            .iter()
            .any(|role| free.contains(role) || chosen.contains(role))
    };
    let nothing = BTreeSet::new();
    let open: Vec<&BTreeSet<String>> = demands.iter().filter(|it| !met(it, &nothing)).collect();
    let wanted: BTreeSet<&String> = open.iter().copied().flatten().collect();
    let wanted: Vec<&String> = wanted.into_iter().collect();
    let cost = |chosen: &BTreeSet<String>| {
        let opened = chosen.iter().filter_map(|role| opens.get(role)).flatten();
        let unused: BTreeSet<&String> = opened.filter(|it| !seen.contains(*it)).collect();
        (unused.len(), chosen.len())
    };
    if wanted.len() > MOST {
        let cheapest = open.iter().filter_map(|demand| {
            let alone = |role: &&String| cost(&BTreeSet::from([(*role).clone()]));
            demand.iter().min_by_key(alone)
        });
        return cheapest.cloned().collect();
    }
    let combinations = (0_u32..1 << wanted.len()).map(|bits| -> BTreeSet<String> {
        let chosen = wanted.iter().enumerate();
        let chosen = chosen.filter(|(at, _)| bits & (1 << at) != 0);
        chosen.map(|(_, role)| (*role).clone()).collect()
    });
    combinations
        .filter(|chosen| open.iter().all(|demand| met(demand, chosen)))
        .min_by_key(cost)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(words: &str) -> BTreeSet<String> {
        words.split_whitespace().map(str::to_owned).collect()
    }

    #[track_caller]
    fn check(demands: &[&str], free: &str, seen: &str, expected: &str) {
        let opens = Openings::from([
            ("node".to_owned(), set("443 4222 6222 8300")),
            ("printer".to_owned(), set("443 515 631")),
            ("lpr".to_owned(), set("515")),
        ]);
        let demands: Vec<_> = demands.iter().map(|it| set(it)).collect();
        let found = roles(&demands, &set(free), &opens, &set(seen));
        assert_eq!(found, set(expected), "{demands:?}");
    }

    #[test]
    fn the_fewest_that_open_least() {
        check(&[], "", "", "");
        check(&["node"], "", "4222", "node");
        check(&["node printer"], "", "443", "printer");
        check(&["node printer", "node"], "", "443 4222", "node");
        check(&["printer lpr"], "", "515", "lpr");
        check(&["printer lpr", "printer"], "", "515 443", "printer");
        check(&["node", "lpr printer"], "", "4222 515", "lpr node");
        check(&["node printer"], "node", "443", "");
    }
}
