//! `portcullis report`: the page for whoever signs off the host.

use std::fs;
use std::io::{BufReader, IsTerminal as _};

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use serde_json::Value;

use super::{Outcome, Status, suggest, verify};
use crate::cli::ReportArgs;
use crate::control;
use crate::events::Knowledge;
use crate::events::shown::Shown;
use crate::facts::collect::NAMES_PATIENCE;
use crate::inputs;
use crate::meaning::meaning;
use crate::report::{Denials, Report};

/// Writes the page.
///
/// # Errors
///
/// A file that can't be read or written, facts that can't be collected.
pub fn run(args: &ReportArgs) -> Result<Outcome> {
    let said = inputs::read(&args.config)?;
    let here = args.facts.is_none();
    let (facts, notes) = inputs::facts(args.facts.as_deref(), said.names(), NAMES_PATIENCE, false)?;
    let refused = |findings: &crate::diagnose::Findings| Outcome {
        stdout: String::new(),
        stderr: findings.render(std::io::stderr().is_terminal()),
        status: Status::Findings,
    };
    let Some(config) = &said.config else {
        return Ok(refused(&said.findings));
    };
    let meaning = meaning(config, &said.catalogue, &facts, &said.findings);
    let Some(tables) = meaning.tables.filter(|_| !meaning.findings.has_errors()) else {
        return Ok(refused(&meaning.findings));
    };
    let rules = &meaning.resolved.rule_set;
    let proof = verify::apart(&tables, rules, &facts);
    let status = match here {
        true => status(args),
        false => Err("these are another host's facts".to_owned()),
    };
    let report = Report {
        said: &said,
        config,
        facts: &facts,
        resolved: &meaning.resolved,
        knowledge: &Knowledge::gather(config, &said.catalogue, &facts, &meaning.resolved),
        warnings: meaning
            .findings
            .iter()
            .map(|it| it.message.clone())
            .collect(),
        proof: proof
            .map(|it| it.json())
            .map_err(|error| format!("{error:#}")),
        status,
        denials: denials(args, here).map_err(|error| format!("{error:#}")),
        time: Timestamp::now(),
    };
    let page = report.html();
    let mut talk: String = notes.iter().map(|note| format!("note: {note}\n")).collect();
    for (what, missing) in [
        ("proof", report.proof.as_ref().err()),
        ("counters", report.status.as_ref().err()),
        ("denials", report.denials.as_ref().err()),
    ] {
        talk += &missing.map_or(String::new(), |why| {
            format!("note: the page is without {what}: {why}\n")
        });
    }
    if args.html.as_os_str() == "-" {
        return Ok(Outcome::done(page).with_talk(talk));
    }
    fs::write(&args.html, page).with_context(|| format!("cannot write {}", args.html.display()))?;
    Ok(Outcome::done(String::new()).with_talk(talk))
}

fn status(args: &ReportArgs) -> Result<Value, String> {
    let answer = control::ask(
        &args.control.runtime,
        control::Command::Status { json: true },
    );
    let answer = answer.map_err(|error| error.to_string())?;
    serde_json::from_str(&answer.stdout).map_err(|_| answer.stderr)
}

fn denials(args: &ReportArgs, here: bool) -> Result<Denials> {
    let mut denials = Denials::default();
    let mut take = |value: &Value| {
        if let Some(entry) = Shown::read(value) {
            denials.add(&entry);
        }
    };
    match &args.events {
        Some(path) => {
            let file = fs::File::open(path);
            let file =
                file.with_context(|| format!("cannot read the events {}", path.display()))?;
            suggest::lines(BufReader::new(file), &path.display().to_string(), &mut take)?;
        }
        None if here => suggest::journal(args.since.as_deref(), &mut take)?,
        None => anyhow::bail!("say --events FILE for another host's"),
    }
    Ok(denials)
}
