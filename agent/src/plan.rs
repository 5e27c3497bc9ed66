//! What a configuration means on a host, shown: as JSON that other programs rely on, and as text
//! for somebody who has not seen the tool before.

pub mod expiring;
pub mod listening;
pub mod running;
mod text;

use agent_common::event::Direction;
use serde_json::{Value, json};

use crate::compile::Sizes;
use crate::compile::resolve::Resolved;
use crate::diagnose::Findings;
use crate::facts::Facts;
use crate::host::HostConfig;
use crate::policy::Catalogue;
use crate::rule::{DefaultAction, Rule};

/// The number that JSON output carries.
pub const SCHEMA: u32 = 1;

/// Everything that is shown.
pub struct Plan<'a> {
    /// The host's configuration.
    pub config: &'a HostConfig,
    /// The products that it names.
    pub catalogue: &'a Catalogue,
    /// The host.
    pub facts: &'a Facts,
    /// What the three mean.
    pub resolved: &'a Resolved,
    /// All findings, those of `resolved` among them.
    pub findings: &'a Findings,
    /// How large the tables are, where they were compiled.
    pub sizes: Option<&'a Sizes>,
}

impl Plan<'_> {
    /// The plan as JSON: every key always there, `null` where nothing is known.
    #[must_use]
    pub fn json(&self) -> Value {
        let resolved = self.resolved;
        let direction = |direction: Direction, default: DefaultAction| {
            let rules: Vec<Value> = resolved
                .rules_of(direction)
                .map(|(rule, _)| rule_json(rule))
                .collect();
            json!({ "default": default_word(default), "rules": rules })
        };
        let list = |values: Vec<Value>| Value::Array(values);
        let other_roles: Vec<String> = resolved
            .other_roles
            .iter()
            .map(ToString::to_string)
            .collect();
        json!({
            "schema": SCHEMA,
            "ingress": direction(Direction::Ingress, resolved.rule_set.ingress),
            "egress": direction(Direction::Egress, resolved.rule_set.egress),
            "forward": {
                "default": resolved.rule_set.forward.name(),
                "said": self.config.forward.is_some(),
                "forwards": self.facts.forwards(),
            },
            "host_only": list(resolved.host_only.iter().map(|it| json!({
                "row": it.flow.row, "flow": it.flow.flow, "why": it.why,
            })).collect()),
            "undecided": list(resolved.undecided.iter().map(|it| json!({
                "row": it.row, "why": it.why,
            })).collect()),
            "inactive": list(resolved.inactive.iter().map(|it| json!({
                "row": it.flow.row, "flow": it.flow.flow, "why": it.why, "needs": it.needs,
            })).collect()),
            "skipped": list(resolved.skipped.iter().map(|it| json!({
                "row": it.row, "reason": it.reason,
            })).collect()),
            "other_roles": other_roles,
            "unguarded": resolved.unguarded,
            "findings": self.findings.to_json(),
            "sizes": self.sizes,
        })
    }

    /// The plan as text.
    #[must_use]
    pub fn text(&self) -> String {
        text::text(self)
    }
}

/// One rule as JSON.
fn rule_json(rule: &Rule) -> Value {
    let groups: Vec<String> = rule.groups.iter().map(ToString::to_string).collect();
    json!({
        "id": rule.id,
        "rows": rule.rows,
        "transport": rule.service.transport(),
        "ports": rule.service.ports(rule.direction),
        "peers": rule.peers.words(),
        "groups": groups,
        "action": rule.precedence.action(),
        "stated": rule.stated,
        "product": rule.product,
        "until": rule.until.map(|until| until.to_string()),
    })
}

/// The word of a default, as in the configuration.
#[must_use]
pub const fn default_word(default: DefaultAction) -> &'static str {
    match default {
        DefaultAction::Deny => "deny",
        DefaultAction::Audit => "audit",
        DefaultAction::Open => "open",
    }
}

#[cfg(test)]
mod tests;
