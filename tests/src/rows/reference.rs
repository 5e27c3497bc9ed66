//! The list of rules itself over frames that another parser read: no code of the way that packets take.

use agent_common::event::Direction;
use agent_common::verdict::{Action, Reason};
use anyhow::{Context as _, Result, bail};
use portcullis::reference::{Judged, Reference};

use std::collections::HashMap;

use super::{Rows, Seen, World};
use crate::oracle::{self, Larger, Read};

/// A host in words.
#[derive(Default)]
pub struct InReference {
    host: Option<Reference>,
    /// Packets whose first fragment passed, and how.
    larger: HashMap<Larger, Judged>,
}

impl InReference {
    /// What becomes of a frame: the first of the reasons that hold where a frame has several faults.
    ///
    /// # Errors
    /// Where no policy is in force.
    pub fn all(&mut self, direction: Direction, frame: &[u8]) -> Result<Vec<Seen>> {
        let host = self.host.as_mut().context("no policy yet")?;
        let judged = match oracle::read(direction, frame) {
            read @ (Read::Packet(_) | Read::Link | Read::Broken(..) | Read::Refused(_)) => {
                whole(host, read)
            }
            Read::First(read, larger) => {
                let judged = whole(host, *read);
                if let [judged] = &judged[..]
                    && judged.action != Action::Deny
                    && judged.reason != Reason::Unenforced
                    && judged.reason != Reason::Forwarded
                {
                    self.larger.insert(larger, *judged);
                }
                judged
            }
            Read::Later(packet, larger) => {
                vec![match (host.passed_on(&packet), self.larger.get(&larger)) {
                    (Some(judged), _) => judged,
                    (None, Some(first)) => Judged {
                        reported: false,
                        ..*first
                    },
                    (None, None) => Judged {
                        through: host.is_through(&packet),
                        ..host.structural(Reason::FragmentEarly)
                    },
                }]
            }
        };
        Ok(judged
            .into_iter()
            .map(|judged| Seen {
                action: judged.action,
                reason: judged.reason,
                rule: judged
                    .rule
                    .and_then(|place| host.rule_id(place))
                    .map(str::to_owned),
                reported: judged.reported,
                through: judged.through,
            })
            .collect())
    }
}

/// What becomes of a frame that is judged by itself.
fn whole(host: &mut Reference, read: Read) -> Vec<Judged> {
    match read {
        Read::Packet(packet) => vec![host.judge(&packet)],
        Read::Link => vec![Judged {
            action: Action::Allow,
            reason: Reason::Link,
            rule: None,
            reported: false,
            through: false,
        }],
        Read::Broken(packet, reasons) => match host.passed_on(&packet) {
            Some(judged) => vec![judged],
            None => {
                let through = host.is_through(&packet);
                let reasons = reasons.into_iter();
                let reasons = reasons.filter(|it| through || *it != Reason::NotForwarded);
                let judged = structural(host, reasons.collect()).into_iter();
                judged.map(|judged| Judged { through, ..judged }).collect()
            }
        },
        Read::Refused(reasons) => structural(host, reasons),
        Read::First(..) | Read::Later(..) => Vec::new(),
    }
}

fn structural(host: &Reference, reasons: Vec<Reason>) -> Vec<Judged> {
    let all = reasons.into_iter().map(|reason| host.structural(reason));
    all.collect()
}

impl World for InReference {
    fn begin(&mut self, rows: &Rows, policy: &str) -> Result<()> {
        let (rules, facts) = rows.rule_set(policy, 250)?;
        let mut host = Reference::new(rules, &facts);
        if rows.is_generation_0(policy) {
            host.learn();
        }
        self.host = Some(host);
        self.larger.clear();
        Ok(())
    }

    fn switch(&mut self, rows: &Rows, policy: &str) -> Result<()> {
        let (rules, facts) = rows.rule_set(policy, 250)?;
        let host = self.host.as_mut().context("no policy yet")?;
        host.switch(rules, &facts);
        self.larger.clear();
        if rows.is_generation_0(policy) {
            host.learn();
        }
        Ok(())
    }

    fn pass(&mut self, _: u32) -> Result<()> {
        bail!("time does not pass here")
    }

    fn judge(&mut self, direction: Direction, frame: &[u8]) -> Result<Seen> {
        let all = self.all(direction, frame)?;
        all.into_iter().next().context("a frame without a verdict")
    }
}
