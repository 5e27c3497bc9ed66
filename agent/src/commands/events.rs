//! `portcullis events`: denied and audited packets, kept or as they come.

use std::fs::File;
use std::io::{self, BufReader, IsTerminal as _, Write};

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::Outcome;
use super::suggest::{journal, lines};
use crate::cli::{DirectionWord, EventsArgs, Format};
use crate::control::stream::{Came, Stream};
use crate::events::pcap::Capture;
use crate::events::shown::{Filter, Shown};
use crate::events::watch::Missed;

/// Prints entries; ends when there are no more, with `--follow` when the reader does, or no daemon comes back.
///
/// # Errors
///
/// A file, or a journal, that can't be read; a file that can't be written.
pub fn run(args: &EventsArgs) -> Result<Outcome> {
    let mut printer = match Printer::new(args) {
        Ok(printer) => printer,
        Err(error) if broken_pipe(&error) => return Ok(Outcome::done(String::new())),
        Err(error) => return Err(error),
    };
    let ended = match args.follow {
        true => follow(args, &mut printer),
        false => kept(args, &mut printer).map(|()| Outcome::done(String::new())),
    };
    match ended {
        // Whoever read has enough.
        Err(error) if broken_pipe(&error) => Ok(Outcome::done(String::new())),
        ended => ended,
    }
}

fn broken_pipe(error: &anyhow::Error) -> bool {
    let mut causes = error.chain();
    causes.any(|cause| {
        let io = cause.downcast_ref::<io::Error>();
        io.is_some_and(|it| it.kind() == io::ErrorKind::BrokenPipe)
            || cause.to_string().contains("Broken pipe")
    })
}

fn kept(args: &EventsArgs, printer: &mut Printer) -> Result<()> {
    let mut ended = Ok(());
    let mut take = |value: &Value| {
        if ended.is_ok() {
            ended = printer.take(value);
        }
    };
    match args.events.as_deref() {
        Some("-") => lines(io::stdin().lock(), "standard input", &mut take)?,
        Some(path) => {
            let file =
                File::open(path).with_context(|| format!("cannot read the events {path}"))?;
            lines(BufReader::new(file), path, &mut take)?;
        }
        None => journal(args.since.as_deref(), &mut take)?,
    }
    ended
}

fn follow(args: &EventsArgs, printer: &mut Printer) -> Result<Outcome> {
    let mut stream = match Stream::open(&args.control.runtime, args.wait) {
        Ok(stream) => stream,
        Err(ended) => return Ok(super::control::ended(ended)),
    };
    loop {
        match stream.wait() {
            Ok(Came::Line(value)) => printer.take(&value)?,
            Ok(Came::Gone) => {}
            Ok(Came::Back { away }) => {
                let missed = Missed {
                    away,
                    ..Missed::default()
                };
                printer.missed(missed, &missed.json())?;
            }
            Err(ended) => return Ok(super::control::ended(ended)),
        }
    }
}

/// Where entries go.
struct Printer {
    filter: Filter,
    way: Way,
}

enum Way {
    Json(Box<dyn Write>),
    Columns(Box<dyn Write>, Colours),
    Capture(Box<Capture<Box<dyn Write>>>),
}

/// Whether words have colours.
#[derive(Clone, Copy)]
struct Colours(bool);

impl Printer {
    fn new(args: &EventsArgs) -> Result<Self> {
        let terminal = io::stdout().is_terminal();
        let format = match (args.format, args.json) {
            (_, true) => Format::Json,
            (Some(format), _) => format,
            (None, _) if terminal => Format::Text,
            (None, _) => Format::Json,
        };
        let out = || -> Box<dyn Write> { Box::new(io::stdout()) };
        let way = match (args.pcap.as_deref(), format) {
            (Some("-"), _) => Way::Capture(Box::new(Capture::new(out())?)),
            (Some(path), _) => {
                let file = File::create(path);
                let file = file.with_context(|| format!("cannot write the capture {path}"))?;
                Way::Capture(Box::new(Capture::new(Box::new(file) as Box<dyn Write>)?))
            }
            (None, Format::Json) => Way::Json(out()),
            (None, Format::Text) => Way::Columns(out(), Colours::wanted(terminal)),
        };
        Ok(Self {
            filter: Filter {
                reasons: args.reasons.clone(),
                kinds: args.kinds.clone(),
                rows: args.rows.clone(),
                peers: args.peers.clone(),
                direction: args.direction.map(|it| {
                    let word = match it {
                        DirectionWord::Ingress => "ingress",
                        DirectionWord::Egress => "egress",
                    };
                    word.to_owned()
                }),
                units: args.units.clone(),
            },
            way,
        })
    }

    fn take(&mut self, value: &Value) -> Result<()> {
        if let Some(missed) = Missed::read(value) {
            return self.missed(missed, value);
        }
        let Some(entry) = Shown::read(value).filter(|it| self.filter.wants(it)) else {
            return Ok(());
        };
        match &mut self.way {
            Way::Json(out) => line(out, &entry.json().to_string()),
            Way::Columns(out, colours) => line(out, &columns(&entry, *colours)),
            Way::Capture(capture) => capture.write(&entry),
        }
    }

    /// What was missed stands among the entries, in the order in which it happened.
    fn missed(&mut self, missed: Missed, value: &Value) -> Result<()> {
        let text = format!("missed: {}", missed.text());
        match &mut self.way {
            Way::Json(out) => line(out, &value.to_string()),
            Way::Columns(out, colours) => line(out, &colours.paint("1;33", &text)),
            Way::Capture(_) => {
                eprintln!("{text}");
                Ok(())
            }
        }
    }
}

fn line(out: &mut dyn Write, text: &str) -> Result<()> {
    writeln!(out, "{text}")
        .and_then(|()| out.flush())
        .context("standard output")
}

impl Colours {
    /// On a terminal that has them, unless NO_COLOR says otherwise (no-color.org).
    fn wanted(terminal: bool) -> Self {
        let set = |name: &str| std::env::var_os(name).is_some_and(|it| !it.is_empty());
        let dumb = std::env::var_os("TERM").is_none_or(|it| it == "dumb");
        Self(terminal && !set("NO_COLOR") && !dumb)
    }

    fn paint(self, code: &str, text: &str) -> String {
        match self.0 {
            true => format!("\u{1b}[{code}m{text}\u{1b}[0m"),
            false => text.to_owned(),
        }
    }
}

/// Time, verdict, direction, service, peer, kind, packets, row, unit; then the sentence.
fn columns(entry: &Shown, colours: Colours) -> String {
    let time = entry.time.map_or(String::new(), |time| {
        let zoned = time.to_zoned(jiff::tz::TimeZone::system());
        zoned.strftime("%m-%d %H:%M:%S").to_string()
    });
    let Some(verdict) = entry.verdict.as_deref() else {
        return format!("{time}  {}", colours.paint("1;33", &entry.message));
    };
    let (service, way) = (entry.service(), entry.way());
    let peer = entry
        .peer()
        .map_or_else(|| "-".to_owned(), |it| it.to_string());
    let kind = entry.kind.as_deref().unwrap_or_default();
    let row = entry.rows.first().or(entry.near_rows.first());
    let row = row.map_or("-", String::as_str);
    let unit = entry
        .unit
        .as_ref()
        .map_or(String::new(), |unit| format!("  {unit}"));
    let verdict = match verdict {
        "audit" => colours.paint("36", &format!("{verdict:<5}")),
        _ => colours.paint("31", &format!("{verdict:<5}")),
    };
    // A near miss is what somebody may have to do something about.
    let near = !matches!(kind, "none" | "blocked" | "skipped" | "host-only");
    let kind = colours.paint(if near { "1" } else { "2" }, &format!("{kind:<14}"));
    let what = entry
        .message
        .split_once(": ")
        .map_or(entry.message.as_str(), |(_, rest)| rest);
    format!(
        "{time}  {verdict}  {way:<3}  {service:<12}  {peer:<24}  {kind}  {:>5}  {row}{unit}  {}",
        format!("×{}", entry.count),
        colours.paint("2", what)
    )
}
