//! `portcullis plan`: what the host will accept and reach, and why.

use std::io::IsTerminal;

use anyhow::Result;
use serde_json::json;

use super::Outcome;
use super::policy::status_of;
use crate::cli::PlanArgs;
use crate::diagnose::{Findings, Severity};
use crate::facts::collect::NAMES_PATIENCE;
use crate::inputs;
use crate::meaning::meaning;
use crate::plan::{self, Plan};

/// Shows the plan. Findings go to stderr; one of error severity makes the exit code 78.
///
/// # Errors
///
/// A file or directory that can't be read; this host's interfaces that can't be listed.
pub fn run(args: &PlanArgs) -> Result<Outcome> {
    let json = args.format.json();
    let said = inputs::read(&args.config)?;
    let Some(config) = &said.config else {
        return Ok(unreadable(&said.findings, json));
    };
    let file = args.facts.as_deref();
    let (facts, notes) = inputs::facts(file, said.names(), NAMES_PATIENCE, false)?;
    let meaning = meaning(config, &said.catalogue, &facts, &said.findings);
    let plan = Plan {
        config,
        catalogue: &said.catalogue,
        facts: &facts,
        resolved: &meaning.resolved,
        findings: &meaning.findings,
        sizes: meaning.tables.as_ref().map(|tables| &tables.sizes),
    };
    let stdout = if json {
        format!("{:#}\n", plan.json())
    } else {
        plan.text()
    };
    Ok(Outcome {
        stdout,
        stderr: talk(&notes, &meaning.findings),
        status: status_of(&meaning.findings),
    })
}

/// A configuration of which nothing could be read has no plan.
fn unreadable(findings: &Findings, json: bool) -> Outcome {
    let stdout = if json {
        let json = json!({ "schema": plan::SCHEMA, "findings": findings.to_json() });
        format!("{json:#}\n")
    } else {
        String::new()
    };
    Outcome {
        stdout,
        stderr: talk(&[], findings),
        status: status_of(findings),
    }
}

fn talk(notes: &[String], findings: &Findings) -> String {
    let mut talk: String = notes.iter().map(|note| format!("note: {note}\n")).collect();
    if findings.is_empty() {
        return talk;
    }
    let count = |severity, word: &str| match findings.count(severity) {
        1 => format!("1 {word}"),
        number => format!("{number} {word}s"),
    };
    talk += &findings.render(std::io::stderr().is_terminal());
    talk += &format!(
        "\n{}, {}\n",
        count(Severity::Error, "error"),
        count(Severity::Warning, "warning")
    );
    talk
}
