//! Host names by the system's resolver, which can't be interrupted: threads ask, and nobody waits longer than wanted.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, ToSocketAddrs as _};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::facts::Name;

/// Questions under way at once.
const THREADS: usize = 8;

type Answer = (String, Result<Vec<IpAddr>, String>);

/// Questions under way.
#[derive(Debug)]
pub struct Lookup {
    asked: BTreeSet<String>,
    answers: Receiver<Answer>,
}

/// What has come back.
#[derive(Clone, Debug, Default)]
pub struct Answers {
    /// Names with an address.
    pub resolved: BTreeMap<String, Name>,
    /// Names without, and why.
    pub failed: BTreeMap<String, String>,
}

impl Answers {
    /// The failures in sentences.
    pub fn complaints(&self) -> impl Iterator<Item = String> {
        self.failed
            .iter()
            .map(|(name, why)| format!("{name}: {why}; until it resolves it admits nobody"))
    }
}

impl Lookup {
    /// Asks for these names, without waiting.
    #[must_use]
    pub fn start(names: &[String]) -> Self {
        let asked: BTreeSet<String> = names.iter().cloned().collect();
        let queue: VecDeque<String> = asked.iter().cloned().collect();
        let threads = queue.len().min(THREADS);
        let queue = Arc::new(Mutex::new(queue));
        let (sender, answers) = mpsc::channel();
        for _ in 0..threads {
            let (queue, sender) = (Arc::clone(&queue), sender.clone());
            // Where the system gives no thread, the others do its part; without any, all names count as unanswered.
            let _ = thread::Builder::new()
                .name("names".to_owned())
                .spawn(move || {
                    loop {
                        let next = queue
                            .lock()
                            .unwrap_or_else(PoisonError::into_inner)
                            .pop_front();
                        let Some(name) = next else { break };
                        let answer = resolve(&name);
                        if sender.send((name, answer)).is_err() {
                            break;
                        }
                    }
                });
        }
        Self { asked, answers }
    }

    /// What has come back when all have answered, or after `patience`. The threads of the rest end with their questions.
    #[must_use]
    pub fn wait(self, patience: Duration) -> Answers {
        let end = Instant::now() + patience;
        let mut found = Answers::default();
        let mut open = self.asked;
        while !open.is_empty() {
            let left = end.saturating_duration_since(Instant::now());
            let Ok((name, answer)) = self.answers.recv_timeout(left) else {
                break;
            };
            open.remove(&name);
            match answer {
                Ok(addresses) => {
                    let at = jiff::Timestamp::now();
                    found.resolved.insert(name, Name { addresses, at });
                }
                Err(why) => {
                    found.failed.insert(name, why);
                }
            }
        }
        let silent = open
            .into_iter()
            .map(|name| (name, format!("no answer within {patience:?}")));
        found.failed.extend(silent);
        found
    }
}

fn resolve(name: &str) -> Result<Vec<IpAddr>, String> {
    let answer = (name, 0)
        .to_socket_addrs()
        .map_err(|error| error.to_string())?;
    let addresses: BTreeSet<IpAddr> = answer.map(|address| address.ip()).collect();
    if addresses.is_empty() {
        return Err("no address".to_owned());
    }
    Ok(addresses.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_resolves_is_told_from_what_does_not() {
        let names = ["127.0.0.1", "::1", "name.invalid"].map(str::to_owned);
        let answers = Lookup::start(&names).wait(Duration::from_secs(20));
        assert_eq!(
            answers.resolved["127.0.0.1"].addresses,
            ["127.0.0.1".parse::<IpAddr>().unwrap()]
        );
        assert_eq!(answers.resolved.len(), 2, "{answers:?}");
        assert!(
            answers.failed.contains_key("name.invalid"),
            "reserved by RFC 6761: never resolves"
        );
    }

    #[test]
    fn nobody_waits_for_no_names() {
        let began = Instant::now();
        let answers = Lookup::start(&[]).wait(Duration::from_secs(60));
        assert!(answers.resolved.is_empty() && answers.failed.is_empty());
        assert!(began.elapsed() < Duration::from_secs(10));
    }
}
