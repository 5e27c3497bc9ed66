//! `portcullis plan`: what the host will accept and reach, and why.

use std::io::IsTerminal;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::json;

use super::policy::status_of;
use super::{Outcome, Status};
use crate::cli::PlanArgs;
use crate::diagnose::{Findings, Severity};
use crate::facts::collect::NAMES_PATIENCE;
use crate::inputs;
use crate::meaning::meaning;
use crate::plan::{self, Plan, expiring, listening, running};

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
    let (facts, notes) = inputs::facts(file, said.names(), NAMES_PATIENCE, args.listening)?;
    let meaning = meaning(config, &said.catalogue, &facts, &said.findings);
    let plan = Plan {
        config,
        catalogue: &said.catalogue,
        facts: &facts,
        resolved: &meaning.resolved,
        findings: &meaning.findings,
        sizes: meaning.tables.as_ref().map(|tables| &tables.sizes),
    };
    let mut status = status_of(&meaning.findings);
    let stdout = if let Some(time) = args.expiring {
        let horizon = facts
            .time
            .checked_add(time)
            .context("--expiring reaches beyond the calendar; say a shorter time")?;
        let list = expiring::expiring(&plan, horizon);
        match json {
            true => format!("{:#}\n", expiring::json(&list, facts.time)),
            false => expiring::text(&list, facts.time),
        }
    } else if args.against_running {
        let differences = against_running(&plan)?;
        if !differences.is_empty() && status == Status::Done {
            status = Status::Failed;
        }
        match json {
            true => {
                let json = json!({ "schema": plan::SCHEMA, "differences": differences });
                format!("{json:#}\n")
            }
            false if differences.is_empty() => "the plan is what is in force\n".to_owned(),
            false => differences.join("\n") + "\n",
        }
    } else {
        show(&plan, args.listening, json)?
    };
    Ok(Outcome {
        stdout,
        stderr: talk(&notes, &meaning.findings),
        status,
    })
}

/// The whole plan, with what listens where that was asked for.
fn show(plan: &Plan<'_>, listening: bool, json: bool) -> Result<String> {
    let heard = match listening {
        true => Some(listening::listening(plan).context(
            "these facts were collected without sockets; `portcullis facts --listening` on the host writes them",
        )?),
        false => None,
    };
    if !json {
        let heard = heard.map_or(String::new(), |heard| heard.text());
        return Ok(plan.text() + &heard);
    }
    let mut whole = plan.json();
    if let (Some(heard), Some(object)) = (heard, whole.as_object_mut()) {
        object.insert("listening".to_owned(), heard.json());
    }
    Ok(format!("{whole:#}\n"))
}

/// What differs from the plan that the daemon wrote at its last switch.
fn against_running(plan: &Plan<'_>) -> Result<Vec<String>> {
    let path = Path::new(&plan.config.daemon.runtime).join("plan.json");
    let text = std::fs::read_to_string(&path).with_context(|| {
        format!(
            "cannot read the plan in force, {}; the daemon writes it at each switch",
            path.display()
        )
    })?;
    let running =
        serde_json::from_str(&text).with_context(|| format!("{} holds no plan", path.display()))?;
    Ok(running::differences(&plan.json(), &running))
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
