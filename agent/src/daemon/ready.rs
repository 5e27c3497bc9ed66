//! A policy made ready: the three inputs judged, resolved and compiled, with everything that is asked about it while it is in force.

use std::rc::Rc;

use jiff::Timestamp;
use serde_json::{Value, json};
use toml::Spanned;

use super::notes::{NotedAudit, NotedProduct};
use crate::compile::resolve::Resolved;
use crate::compile::tables::Tables;
use crate::compile::{Settings, compile};
use crate::diagnose::{Finding, Findings};
use crate::events::explain::Knowledge;
use crate::facts::{Facts, Interface};
use crate::host::HostConfig;
use crate::host::schema::Stage;
use crate::inputs::{Fnv, Said};
use crate::meaning::{Meaning, meaning};
use crate::plan::Plan;
use crate::rule::{DefaultAction, Forward};

/// A policy that can be put in force.
pub(super) struct Ready {
    /// What it was made from.
    pub(super) said: Said,
    pub(super) config: HostConfig,
    pub(super) facts: Facts,
    pub(super) resolved: Resolved,
    pub(super) tables: Rc<Tables>,
    pub(super) knowledge: Rc<Knowledge>,
    /// The plan, as `portcullis plan --json` gives it.
    pub(super) plan: Value,
    /// Hash of rules and defaults: the same for policies that decide alike.
    pub(super) hash: String,
    pub(super) products: Vec<NotedProduct>,
    pub(super) findings: Findings,
}

impl Ready {
    /// Judges the inputs; with an error among the findings there is nothing to put in force.
    pub(super) fn prepare(said: Said, facts: Facts) -> Result<Box<Self>, Findings> {
        match said.config.clone() {
            Some(config) => Self::understood(said, config.clone(), &config, facts),
            None => Err(said.findings),
        }
    }

    /// The same of what was good before, on a host that may have changed: forwarding of which nothing is said is no error, and denied.
    pub(super) fn follow(said: Said, facts: Facts) -> Result<Box<Self>, Findings> {
        let Some(config) = said.config.clone() else {
            return Err(said.findings);
        };
        let mut judged = config.clone();
        judged
            .forward
            .get_or_insert_with(|| Spanned::new(0..0, Forward::Deny));
        Self::understood(said, config, &judged, facts)
    }

    /// `judged` is the configuration as it is understood.
    fn understood(
        said: Said,
        config: HostConfig,
        judged: &HostConfig,
        facts: Facts,
    ) -> Result<Box<Self>, Findings> {
        let catalogue = &said.catalogue;
        let Meaning {
            resolved,
            tables,
            findings,
        } = meaning(judged, catalogue, &facts, &said.findings);
        let Some(tables) = tables.filter(|_| !findings.has_errors()) else {
            return Err(findings);
        };
        let plan = Plan {
            config: &config,
            catalogue,
            facts: &facts,
            resolved: &resolved,
            findings: &findings,
            sizes: Some(&tables.sizes),
        }
        .json();
        let hash =
            Fnv::of(&json!([&plan["ingress"], &plan["egress"], &plan["forward"]]).to_string());
        let knowledge = Knowledge::gather(&config, catalogue, &facts, &resolved);
        let products = config
            .products
            .iter()
            .map(|product| NotedProduct {
                name: product.name.clone(),
                policy: product.policy.get_ref().clone(),
                stage: match product.stage {
                    Stage::Enforce => "enforce",
                    Stage::Audit => "audit",
                }
                .to_owned(),
                audit_until: product.audit_until.as_ref().map(|until| until.get_ref().at),
            })
            .collect();
        Ok(Box::new(Self {
            said,
            config,
            facts,
            resolved,
            tables: Rc::new(tables),
            knowledge: Rc::new(knowledge),
            plan,
            hash,
            products,
            findings,
        }))
    }

    /// Time-outs and budgets once more, for the rate of jiffies that was measured.
    pub(super) fn with_hz(&mut self, hz: u32) -> Result<(), Findings> {
        if self.facts.hz == Some(hz) {
            return Ok(());
        }
        let before = self.facts.hz_or_default();
        self.facts.hz = Some(hz);
        if before == hz {
            return Ok(());
        }
        let settings = Settings::of(&self.config.daemon, &self.config.events);
        match compile(&self.resolved.rule_set, &self.facts, &settings) {
            Ok(tables) => {
                self.tables = Rc::new(tables);
                Ok(())
            }
            Err(errors) => {
                let mut findings = Findings::new();
                for error in errors {
                    findings.push(Finding::error("limit", error.to_string()));
                }
                Err(findings)
            }
        }
    }

    /// Whether it enforces the same by the same means: what differs, if anything, is what is told of it.
    pub(super) fn same_as(&self, other: &Self) -> bool {
        let (ours, theirs) = (&self.config, &other.config);
        self.hash == other.hash
            && self.tables == other.tables
            && self.interfaces() == other.interfaces()
            && self.missing() == other.missing()
            && ours.hook == theirs.hook
            && ours.conntrack == theirs.conntrack
            && ours.events == theirs.events
            && ours.metrics == theirs.metrics
            && ours.daemon == theirs.daemon
    }

    /// Interfaces of this host that the configuration lists, of a stack the lowest, once: where a bond's or a bridge's members are listed, or
    /// a VLAN's parent, it is seen there.
    pub(super) fn interfaces(&self) -> Vec<String> {
        const LOOPBACK: u16 = 772;
        let listed = |it: &Interface| it.link_type != LOOPBACK && self.config.guards(&it.name);
        let found = self.facts.interfaces.iter();
        found
            .filter(|it| listed(it) && !self.facts.any_below(it, &listed))
            .map(|it| it.name.clone())
            .collect()
    }

    /// Directions whose default is on trial.
    pub(super) fn default_audits(&self) -> Vec<NotedAudit> {
        let until = self.config.default.audit_until.as_ref();
        let rules = &self.resolved.rule_set;
        [("ingress", rules.ingress), ("egress", rules.egress)]
            .into_iter()
            .filter(|(_, default)| *default == DefaultAction::Audit)
            .map(|(direction, _)| NotedAudit {
                direction: direction.to_owned(),
                audit_until: until.map(|until| until.get_ref().at),
            })
            .collect()
    }

    /// Whether something passes on trial.
    pub(super) fn audits(&self) -> bool {
        self.products.iter().any(|it| it.stage == "audit") || !self.default_audits().is_empty()
    }

    /// Audits that were meant to end before this time.
    pub(super) fn overdue(&self, now: Timestamp) -> Vec<String> {
        let default = &self.config.default.audit_until;
        let default = default
            .as_ref()
            .map(|until| ("the audit by [default]".to_owned(), until.get_ref().at));
        let products = self.products.iter().filter_map(|product| {
            let what = format!("the audit of {}", product.name);
            product.audit_until.map(|until| (what, until))
        });
        default
            .into_iter()
            .chain(products)
            .filter(|(_, until)| *until <= now)
            .map(|(what, until)| format!("{what} was to end at {until}"))
            .collect()
    }

    /// Listed names, not globs, of which there is no interface.
    pub(super) fn missing(&self) -> Vec<String> {
        let there = |name: &str| self.facts.interfaces.iter().any(|it| it.name == name);
        let names = self.config.interfaces.iter().map(|name| name.get_ref());
        names
            .filter(|name| !name.contains(['*', '?']) && !there(name))
            .cloned()
            .collect()
    }
}
