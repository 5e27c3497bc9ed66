//! `portcullis policy`: what vendors document, and whether a policy file is coherent.

use std::io::IsTerminal;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::json;

use super::{Outcome, Status};
use crate::cli::{PolicyCheck, PolicyCommand, PolicyDiff, PolicyList, PolicyShow, ShowFormat};
use crate::diagnose::{Findings, Severity, Source};
use crate::host::files;
use crate::policy::Catalogue;
use crate::policy::catalogue::check_files;
use crate::policy::show::{self, Filter};

/// Runs one of the questions.
///
/// # Errors
///
/// A file or directory that is there but can't be read.
pub fn run(command: PolicyCommand) -> Result<Outcome> {
    match command {
        PolicyCommand::List(args) => list(&args),
        PolicyCommand::Show(args) => show(&args),
        PolicyCommand::Check(args) => check(&args),
        PolicyCommand::Diff(args) => diff(&args),
    }
}

/// The texts of a directory's `*.toml` files by name; none where there is no directory.
///
/// # Errors
///
/// Where the directory or a file in it can't be read as text, or is larger than any policy.
pub fn read_directory(directory: &Path) -> Result<Vec<(String, String)>> {
    let paths = files::listed(directory)?;
    let mut texts = Vec::new();
    for path in paths {
        let text = files::text(&path, files::MOST_TEXT);
        let text = text.with_context(|| format!("cannot read the policy {}", path.display()))?;
        texts.push((path.display().to_string(), text));
    }
    Ok(texts)
}

/// A file that is named by hand may be a pipe.
fn read_file(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

/// The catalogue with a directory's policies.
///
/// # Errors
///
/// As [`read_directory`].
pub fn load(directory: &Path) -> Result<(Catalogue, Findings)> {
    Ok(Catalogue::load(read_directory(directory)?))
}

/// Findings as talk: rendered for people, in colour where stderr is a terminal.
pub(super) fn talk(findings: &Findings) -> String {
    findings.render(std::io::stderr().is_terminal())
}

pub(super) fn status_of(findings: &Findings) -> Status {
    if findings.has_errors() {
        Status::Findings
    } else {
        Status::Done
    }
}

fn list(args: &PolicyList) -> Result<Outcome> {
    let (catalogue, findings) = load(&args.catalogue.policies)?;
    let stdout = if args.format.json() {
        let products: Vec<_> = catalogue
            .iter()
            .map(|(id, policy)| {
                json!({
                    "product": id,
                    "name": policy.name,
                    "vendor": policy.vendor,
                    "title": policy.document.title,
                    "edition": policy.document.edition,
                    "covers": policy.document.covers,
                    "topologies": policy.topologies.keys().collect::<Vec<_>>(),
                    "rows": policy.rows.len(),
                })
            })
            .collect();
        let findings = findings.to_json();
        format!(
            "{:#}\n",
            json!({ "schema": show::SCHEMA, "products": products, "findings": findings })
        )
    } else {
        list_text(&catalogue)
    };
    Ok(Outcome {
        stdout,
        stderr: talk(&findings),
        status: status_of(&findings),
    })
}

fn list_text(catalogue: &Catalogue) -> String {
    let width = catalogue.iter().map(|(id, _)| id.len()).max().unwrap_or(0);
    catalogue
        .iter()
        .map(|(id, policy)| {
            let covers: Vec<&str> = policy.document.covers.iter().map(|it| it.name()).collect();
            format!(
                "{id:width$}  {} by {}, {}; {} rows, lists {}\n",
                policy.name,
                policy.vendor,
                policy.document.edition,
                policy.rows.len(),
                covers.join(" and ")
            )
        })
        .collect()
}

fn show(args: &PolicyShow) -> Result<Outcome> {
    let (catalogue, findings) = load(&args.catalogue.policies)?;
    let Some(policy) = catalogue.get(&args.product) else {
        return Ok(no_product(&args.product, &catalogue, &findings));
    };
    let filter = Filter {
        role: args.role.clone(),
        topology: args.topology.clone(),
    };
    if let Err(message) = filter.check(policy) {
        return Ok(Outcome::refused(Status::Usage, &message));
    }
    let format = if args.json {
        ShowFormat::Json
    } else {
        args.format
    };
    let stdout = match format {
        ShowFormat::Text => show::text(&catalogue, policy, &filter),
        ShowFormat::Json => format!("{:#}\n", show::json(&catalogue, policy, &filter)),
        ShowFormat::Dot => show::dot(policy, &filter),
        ShowFormat::Mermaid => show::mermaid(policy, &filter),
    };
    // What is shown is whole; a fault in another file is said, and is no reason to fail.
    Ok(Outcome::done(stdout).with_talk(talk(&findings)))
}

/// Why a product is not there. It may stand in a file that was refused.
pub(super) fn no_product(id: &str, catalogue: &Catalogue, findings: &Findings) -> Outcome {
    let hint = match catalogue.nearest(id) {
        Some(near) => format!("`{near}` is the nearest that is known"),
        None => "`portcullis policy list` names them all".to_owned(),
    };
    let message = format!("no product is called `{id}`; {hint}");
    let mut outcome = Outcome::refused(Status::Usage, &message);
    if findings.has_errors() {
        outcome.stderr = talk(findings) + "\n" + &outcome.stderr;
        outcome.status = Status::Findings;
    }
    outcome
}

fn check(args: &PolicyCheck) -> Result<Outcome> {
    let mut sources = Vec::new();
    for path in &args.files {
        sources.push(Source::new(path.display().to_string(), read_file(path)?));
    }
    let findings = check_files(sources);
    let stdout = if args.format.json() {
        let json = json!({ "schema": show::SCHEMA, "findings": findings.to_json() });
        format!("{json:#}\n")
    } else {
        check_text(args.files.len(), &findings)
    };
    Ok(Outcome {
        stdout,
        stderr: String::new(),
        status: status_of(&findings),
    })
}

fn check_text(files: usize, findings: &Findings) -> String {
    let count = |number: usize, what: &str| match number {
        1 => format!("1 {what}"),
        _ => format!("{number} {what}s"),
    };
    let summary = format!(
        "{} checked: {}, {}\n",
        count(files, "file"),
        count(findings.count(Severity::Error), "error"),
        count(findings.count(Severity::Warning), "warning")
    );
    let rendered = findings.render(std::io::stdout().is_terminal());
    if rendered.is_empty() {
        summary
    } else {
        format!("{rendered}\n{summary}")
    }
}

fn diff(args: &PolicyDiff) -> Result<Outcome> {
    let (catalogue, findings) = load(&args.catalogue.policies)?;
    let mut sides = Vec::new();
    for side in [&args.old, &args.new] {
        let policy = if side.contains('/') || side.ends_with(".toml") {
            // A file is compared as it is, whatever product it stands in for.
            let source = Source::new(side.as_str(), read_file(Path::new(side))?);
            let (own, findings) = Catalogue::from_sources(vec![source], Vec::new());
            let policy = own.iter().next().map(|(_, policy)| policy.clone());
            let Some(policy) = policy else {
                return Ok(Outcome {
                    stdout: String::new(),
                    stderr: talk(&findings),
                    status: Status::Findings,
                });
            };
            policy
        } else {
            match catalogue.get(side) {
                Some(policy) => policy.clone(),
                None => return Ok(no_product(side, &catalogue, &findings)),
            }
        };
        sides.push(policy);
    }
    let comparison = show::diff(&catalogue, &sides[0], &sides[1]);
    let stdout = if args.format.json() {
        format!("{:#}\n", comparison.to_json())
    } else {
        comparison.text(args.all)
    };
    Ok(Outcome::done(stdout).with_talk(talk(&findings)))
}

#[cfg(test)]
mod tests;
