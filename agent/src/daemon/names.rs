//! Host names while the daemon runs: asked again and again, never waited for. What fails keeps its last good answer, and an address that
//! left the answers stays for a day, and while a flow to it lives.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc::UnboundedSender;

use crate::facts::Name;
use crate::facts::collect::{Answers, Lookup};

/// How often names are asked for. The system's resolver does not say how long an answer holds; whoever gives a name a new address expects it
/// to be admitted about as soon as clients see it, and few zones promise less than a minute.
const EVERY: Duration = Duration::from_secs(60);
/// How often while one of them has no answer.
const AGAIN: Duration = Duration::from_secs(15);
/// How long one round may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long an address stays after it left the answers, at least.
const KEPT: SignedDuration = SignedDuration::from_hours(24);

/// What is known of names; kept on disk.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(super) struct Known(BTreeMap<String, KnownName>);

/// One name.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct KnownName {
    /// The last good answer.
    at: Timestamp,
    /// Addresses, and when each was last in an answer.
    addresses: BTreeMap<IpAddr, Timestamp>,
}

impl Known {
    /// Takes answers in. True where the addresses of a name changed. `live` tells which addresses flows lead to; it is asked where one is to go.
    pub(super) fn learn(
        &mut self,
        answers: &Answers,
        live: impl FnOnce() -> BTreeSet<IpAddr>,
    ) -> bool {
        let before = self.names();
        let mut asked = None;
        let mut live = Some(live);
        for (name, answer) in &answers.resolved {
            let known = self.0.entry(name.clone()).or_insert_with(|| KnownName {
                at: answer.at,
                addresses: BTreeMap::new(),
            });
            known.at = answer.at;
            for address in &answer.addresses {
                known.addresses.insert(*address, answer.at);
            }
            known.addresses.retain(|address, seen| {
                answer.at.duration_since(*seen) <= KEPT
                    || asked
                        .get_or_insert_with(|| live.take().map(|ask| ask()).unwrap_or_default())
                        .contains(address)
            });
        }
        let after = self.names();
        after.len() != before.len()
            || after.iter().any(|(name, now)| {
                before
                    .get(name)
                    .is_none_or(|it| it.addresses != now.addresses)
            })
    }

    /// As facts.
    pub(super) fn names(&self) -> BTreeMap<String, Name> {
        let of = |known: &KnownName| Name {
            addresses: known.addresses.keys().copied().collect(),
            at: known.at,
        };
        let names = self.0.iter();
        names
            .map(|(name, known)| (name.clone(), of(known)))
            .collect()
    }
}

/// When to ask next.
#[derive(Debug)]
pub(super) struct Asking {
    names: Vec<String>,
    next: Option<Instant>,
    under_way: bool,
}

impl Asking {
    pub(super) fn new() -> Self {
        Self {
            names: Vec::new(),
            next: None,
            under_way: false,
        }
    }

    /// These names are needed; what is new is asked for at once.
    pub(super) fn need(&mut self, names: Vec<String>) {
        if self.names != names {
            self.next = (!names.is_empty()).then(Instant::now);
            self.names = names;
        }
    }

    /// Asks if it is time to; the answers come through `answers`.
    pub(super) fn turn<E: Send + 'static>(
        &mut self,
        answers: &UnboundedSender<E>,
        event: fn(Answers) -> E,
    ) {
        if self.under_way || self.next.is_none_or(|next| next > Instant::now()) {
            return;
        }
        let (lookup, answers) = (Lookup::start(&self.names), answers.clone());
        let waiting = std::thread::Builder::new()
            .name("names-wait".to_owned())
            .spawn(move || {
                // The daemon may have ended meanwhile.
                let _ = answers.send(event(lookup.wait(PATIENCE)));
            });
        match waiting {
            Ok(_) => self.under_way = true,
            Err(error) => {
                log::warn!("names can't be resolved now: {error}");
                self.next = Some(Instant::now() + AGAIN);
            }
        }
    }

    /// A round has ended.
    pub(super) fn done(&mut self, answers: &Answers) {
        self.under_way = false;
        let pause = if answers.failed.is_empty() {
            EVERY
        } else {
            AGAIN
        };
        // Names that became needed while the round was under way are asked for now.
        let all = self
            .names
            .iter()
            .all(|name| answers.resolved.contains_key(name) || answers.failed.contains_key(name));
        let pause = if all { pause } else { Duration::ZERO };
        self.next = (!self.names.is_empty()).then(|| Instant::now() + pause);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(name: &str, addresses: &[&str], hours: i64) -> Answers {
        let at = Timestamp::UNIX_EPOCH + SignedDuration::from_hours(hours);
        let addresses = addresses.iter().map(|it| it.parse().unwrap()).collect();
        Answers {
            resolved: BTreeMap::from([(name.to_owned(), Name { addresses, at })]),
            failed: BTreeMap::new(),
        }
    }

    #[test]
    fn addresses_stay_a_day_and_failures_change_nothing() {
        let mut known = Known::default();
        let flow = BTreeSet::from(["10.0.0.1".parse().unwrap()]);
        for (addresses, hours, live, changed, expected) in [
            (&["10.0.0.1"][..], 0, false, true, &["10.0.0.1"][..]),
            (&["10.0.0.1"], 1, false, false, &["10.0.0.1"]),
            (&["10.0.0.2"], 2, false, true, &["10.0.0.1", "10.0.0.2"]),
            (&["10.0.0.2"], 25, false, false, &["10.0.0.1", "10.0.0.2"]),
            (&["10.0.0.2"], 26, true, false, &["10.0.0.1", "10.0.0.2"]),
            (&["10.0.0.2"], 27, false, true, &["10.0.0.2"]),
        ] {
            let live = if live { flow.clone() } else { BTreeSet::new() };
            assert_eq!(
                known.learn(&answer("a", addresses, hours), || live),
                changed,
                "{hours}"
            );
            let found: Vec<String> = known.names()["a"]
                .addresses
                .iter()
                .map(ToString::to_string)
                .collect();
            assert_eq!(found, expected, "{hours}");
        }
        let failed = Answers {
            failed: BTreeMap::from([("a".to_owned(), "no answer".to_owned())]),
            ..Answers::default()
        };
        assert!(!known.learn(&failed, BTreeSet::new));
        assert_eq!(known.names()["a"].addresses.len(), 1);
    }

    #[test]
    fn what_is_on_disk_comes_back() {
        let mut known = Known::default();
        known.learn(
            &answer("a.example", &["10.0.0.1", "2001:db8::1"], 3),
            BTreeSet::new,
        );
        let text = serde_json::to_string(&known).unwrap();
        assert_eq!(serde_json::from_str::<Known>(&text).unwrap(), known);
    }
}
