//! The daemon's own log, on standard error: with syslog's priorities where journald reads it (sd-daemon(3)), with words elsewhere.

use std::io::Write as _;

use log::{Level, LevelFilter};

use crate::diagnose::{Findings, Severity};

/// Sets it up; `RUST_LOG` changes what is shown.
pub(super) fn start() {
    let journal = std::env::var_os("JOURNAL_STREAM").is_some();
    let mut builder = env_logger::Builder::new();
    builder
        .filter_level(LevelFilter::Info)
        .parse_default_env()
        .format(move |out, record| {
            for line in record.args().to_string().lines() {
                if journal {
                    writeln!(out, "<{}>{line}", priority(record.level()))?;
                } else {
                    writeln!(out, "{}: {line}", word(record.level()))?;
                }
            }
            Ok(())
        });
    // A second one, as in a test process, is no harm.
    let _ = builder.try_init();
}

/// Findings, each in a line: a log is searched by lines, carets are for terminals.
pub(super) fn findings(findings: &Findings) {
    for finding in findings.iter() {
        let place = match (finding.file(), finding.line()) {
            (Some(file), Some(line)) => format!("{file}:{line}: "),
            _ => String::new(),
        };
        let help = finding.help.as_deref().map_or_else(String::new, |help| {
            format!(" ({})", help.replace('\n', " "))
        });
        let level = match finding.severity {
            Severity::Error => Level::Error,
            Severity::Warning => Level::Warn,
        };
        log::log!(level, "{place}{}{help}", finding.message);
    }
}

const fn priority(level: Level) -> u8 {
    match level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug | Level::Trace => 7,
    }
}

const fn word(level: Level) -> &'static str {
    match level {
        Level::Error => "error",
        Level::Warn => "warning",
        Level::Info => "info",
        Level::Debug => "debug",
        Level::Trace => "trace",
    }
}
