//! What the three inputs mean together: rules, tables, and everything that was found on the way.

use crate::compile::resolve::{Resolved, resolve};
use crate::compile::tables::Tables;
use crate::compile::{Settings, compile};
use crate::diagnose::{Finding, Findings};
use crate::facts::Facts;
use crate::host::{self, HostConfig};
use crate::policy::Catalogue;

/// A configuration understood. With errors in the findings it is good for showing, not for
/// enforcing.
pub struct Meaning {
    /// Rules, and where each flow stands.
    pub resolved: Resolved,
    /// The tables; none where the policy is over a limit.
    pub tables: Option<Tables>,
    /// All findings: those of reading that were given, of checking, resolving and compiling.
    pub findings: Findings,
}

/// Resolves, checks and compiles.
#[must_use]
pub fn meaning(
    config: &HostConfig,
    catalogue: &Catalogue,
    facts: &Facts,
    reading: &Findings,
) -> Meaning {
    let resolved = resolve(config, catalogue, facts);
    let mut findings = reading.clone();
    findings.extend(host::check::check(config, catalogue, facts, &resolved));
    findings.extend(resolved.findings.clone());
    let settings = Settings::of(&config.daemon, &config.events);
    let tables = match compile(&resolved.rule_set, facts, &settings) {
        Ok(tables) => Some(tables),
        Err(errors) => {
            for error in errors {
                findings.push(Finding::error("limit", error.to_string()));
            }
            None
        }
    };
    findings.sort();
    Meaning {
        resolved,
        tables,
        findings,
    }
}
