//! Where no policy of ours can be in force: what `[daemon] on-failure` says.

use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::Daemon;
use super::files;
use super::notes::Notes;
use super::trouble::Trouble;
use crate::compile::resolve::resolve;
use crate::failsafe::{self, Admitted};
use crate::host::schema::OnFailure;
use crate::inputs::{self, Said};
use crate::rule::{Precedence, Service};

/// How often the policy is tried again: what refused it may be gone.
const AGAIN: Duration = Duration::from_secs(300);

impl Daemon {
    /// Stands in for a policy: the failsafe table, or nothing. `candidates` are configurations, the best first.
    pub(super) fn stand_in_for(&mut self, trouble: &Trouble, candidates: &[&Said]) {
        let configs = candidates.iter().filter_map(|said| said.config.as_ref());
        let whole = candidates.iter().find(|said| !said.findings.has_errors());
        let on_failure = whole
            .and_then(|said| said.config.as_ref())
            .or_else(|| configs.clone().next())
            .map_or_else(OnFailure::default, |config| config.daemon.on_failure);
        let what = match on_failure {
            OnFailure::Open => "nothing is filtered ([daemon] on-failure = \"open\")".to_owned(),
            OnFailure::FailsafeOnly => {
                let admitted = self.admitted(candidates);
                match failsafe::install(&admitted) {
                    Ok(()) => format!(
                        "the nftables table {} stands in, which admits established flows, {} and what a host needs to live",
                        failsafe::TABLE,
                        admitted.text()
                    ),
                    Err(error) => format!(
                        "nothing is filtered, for the nftables table {} is refused too: {error}",
                        failsafe::TABLE
                    ),
                }
            }
        };
        log::error!("no policy is in force, and {what}:");
        trouble.log();
        self.problems = vec![format!("{what}: {}", trouble.summary())];
        self.stands_in = true;
        self.not_before = Some(Instant::now() + AGAIN);
        let notes = Notes {
            schema: 1,
            load: 0,
            generation: 0,
            since: Timestamp::now(),
            policy_hash: String::new(),
            interfaces: Vec::new(),
            products: Vec::new(),
            audits: Vec::new(),
            problems: self.problems.clone(),
            unresolved: Vec::new(),
            reverted: false,
            cut: Vec::new(),
        };
        if let Err(error) = files::replace_json(&self.directories.notes(), 0o644, &notes) {
            log::error!("{error:#}");
        }
    }

    /// The failsafes of the first configuration without errors; else the ports of failsafes and of sshd, for anyone.
    fn admitted(&self, candidates: &[&Said]) -> Admitted {
        let Ok(facts) = self.facts() else {
            return Admitted::ports(&[]);
        };
        let mut ports = facts.ssh_ports.clone();
        for said in candidates {
            let Some(config) = &said.config else {
                continue;
            };
            let resolved = resolve(config, &said.catalogue, &facts);
            if !said.findings.has_errors() && !resolved.findings.has_errors() {
                return Admitted::by(&resolved.rule_set);
            }
            let rules = resolved.rule_set.rules.iter();
            for rule in rules.filter(|rule| rule.precedence == Precedence::Failsafe) {
                if let Service::Tcp(ranges) = &rule.service {
                    ports.extend(ranges.iter().cloned().flatten());
                }
            }
        }
        ports.sort_unstable();
        ports.dedup();
        Admitted::ports(&ports)
    }

    /// The policy once more; called by the clock.
    pub(super) fn try_again(&mut self) {
        if !self.stands_in || self.not_before.is_some_and(|then| then > Instant::now()) {
            return;
        }
        self.not_before = Some(Instant::now() + AGAIN);
        match self.begin(inputs::read(&self.args), None) {
            Ok(()) => self.say(),
            Err(trouble) => log::error!("no policy can be put in force yet: {}", trouble.summary()),
        }
    }

    /// A policy is in force: what stood in for it goes.
    pub(super) fn leave_to_the_programs(&mut self) {
        if !std::mem::replace(&mut self.stood_in_removed, true) || self.stands_in {
            match failsafe::remove() {
                Ok(true) => log::info!("the nftables table {} is gone again", failsafe::TABLE),
                Ok(false) => {}
                Err(error) => {
                    log::error!(
                        "the nftables table {} can't be removed and filters beside the programs: {error}; `nft delete table inet {0}` removes it",
                        failsafe::TABLE
                    );
                }
            }
        }
        self.stands_in = false;
    }
}
