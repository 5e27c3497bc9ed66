//! `portcullis suggest`: from what was seen to the configuration that the documents cover.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, IsTerminal as _};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use jiff::Timestamp;
use serde_json::Value;

use super::{Outcome, Status};
use crate::cli::SuggestArgs;
use crate::control;
use crate::facts::Facts;
use crate::facts::collect::NAMES_PATIENCE;
use crate::inputs;
use crate::rule::RowId;
use crate::suggest::seen::Seen;
use crate::suggest::{Understood, output, propose, understand};

/// Reads what was seen and writes the diff to standard output, everything else to standard error.
///
/// # Errors
///
/// A file, or a journal, that can't be read.
pub fn run(args: &SuggestArgs) -> Result<Outcome> {
    let mut config = args.config.clone();
    // The diff names the files from the root.
    config.config = std::path::absolute(&config.config).context("the configuration's path")?;
    let said = inputs::read(&config)?;
    let here = args.facts.is_none();
    let (facts, notes) = inputs::facts(args.facts.as_deref(), said.names(), NAMES_PATIENCE, here)?;
    let understood = match understand(&said, &facts) {
        Ok(understood) => understood,
        Err(findings) => {
            return Ok(Outcome {
                stdout: String::new(),
                stderr: findings.render(std::io::stderr().is_terminal()),
                status: Status::Findings,
            });
        }
    };
    let mut seen = Seen::default();
    read(args, &mut seen, &understood, &facts)?;
    let used = match here {
        true => used(&args.control.runtime),
        false => None,
    };
    let proposal = propose(
        &said,
        &understood,
        &facts,
        &seen,
        used.as_ref(),
        args.enforce,
    )?;
    let mut talk: String = notes.iter().map(|note| format!("note: {note}\n")).collect();
    if used.is_none() {
        talk += "note: no daemon was asked for its counters, so a row that passes already may be called not seen\n";
    }
    if args.format.json() {
        let json = output::json(&proposal, &seen);
        return Ok(Outcome::done(format!("{json:#}\n")).with_talk(talk));
    }
    talk += &output::text(&proposal, &seen);
    if !proposal.is_empty() {
        talk += "\nstandard output has the change: keep it in a file, look at it, `patch -d / -p1 < FILE`, then `portcullis apply --confirm 60s`\n";
    }
    Ok(Outcome::done(proposal.diff()).with_talk(talk))
}

fn read(args: &SuggestArgs, seen: &mut Seen, understood: &Understood, facts: &Facts) -> Result<()> {
    let ephemeral = facts.ephemeral.first..=facts.ephemeral.last;
    let mut take = |value: &Value| seen.take(value, &understood.knowledge, &ephemeral);
    match args.events.as_deref() {
        Some("-") => lines(std::io::stdin().lock(), "standard input", &mut take),
        Some(path) => {
            let file =
                File::open(path).with_context(|| format!("cannot read the events {path}"))?;
            lines(BufReader::new(file), path, &mut take)
        }
        None => journal(args.since.as_deref(), &mut take),
    }
}

/// Takes each line of JSON in.
pub(super) fn lines(
    mut from: impl BufRead,
    name: &str,
    take: &mut impl FnMut(&Value),
) -> Result<()> {
    let mut line = Vec::new();
    for number in 1_u64.. {
        line.clear();
        let read = from.read_until(b'\n', &mut line);
        if read.with_context(|| format!("cannot read {name}"))? == 0 {
            break;
        }
        if line.trim_ascii().is_empty() {
            continue;
        }
        let value: Value = serde_json::from_slice(&line).with_context(|| {
            format!("{name}, line {number}: no JSON; give lines of `run --sink json` or of `journalctl -o json`")
        })?;
        take(&value);
    }
    Ok(())
}

/// Takes in what the journal has under our name.
pub(super) fn journal(since: Option<&str>, take: &mut impl FnMut(&Value)) -> Result<()> {
    let mut command = Command::new("journalctl");
    command.args([
        "--identifier=portcullis",
        "--output=json",
        "--all",
        "--quiet",
        "--no-pager",
    ]);
    command.args(since.map(|since| format!("--since={since}")));
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot run journalctl; give saved events by --events FILE")?;
    let Some(entries) = child.stdout.take() else {
        bail!("journalctl has no output");
    };
    let mut none = true;
    let read = lines(
        BufReader::new(entries),
        "the journal",
        &mut |value: &Value| {
            none = false;
            take(value);
        },
    );
    let ended = child.wait().context("journalctl")?;
    read?;
    ensure!(ended.success(), "journalctl: {ended}");
    if none && !nix::unistd::geteuid().is_root() {
        eprintln!(
            "note: nothing in what you may read of the journal; root and the groups adm and systemd-journal may read all of it"
        );
    }
    Ok(())
}

/// When each row was last used, as the daemon has counted; none where there is no daemon, or it may not be asked.
fn used(runtime: &Path) -> Option<BTreeMap<RowId, Timestamp>> {
    let answer = control::ask(runtime, control::Command::Status { json: true }).ok()?;
    let status: Value = serde_json::from_str(&answer.stdout).ok()?;
    let rows = status.pointer("/counters/by_row")?.as_object()?;
    let used = rows.iter().filter(|(_, row)| {
        ["passed", "audited"].iter().any(|key| {
            row.get(key)
                .and_then(Value::as_u64)
                .is_some_and(|count| count > 0)
        })
    });
    Some(
        used.map(|(row, count)| {
            let last = count
                .get("last")
                .and_then(Value::as_str)
                .and_then(|it| it.parse().ok());
            (row.clone(), last.unwrap_or(Timestamp::UNIX_EPOCH))
        })
        .collect(),
    )
}
