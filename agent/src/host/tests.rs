//! What configurations mean, and what is found in those that mean nothing.

mod alone;
mod documented;
mod meaning;
mod mutated;
mod together;
mod typed;

use super::{Input, load};
use crate::diagnose::{Findings, Source};

/// The files of a test: the first is `portcullis.toml`, the rest are drop-ins.
pub(super) fn input(texts: &[&str]) -> Input {
    let names = ["portcullis.toml", "conf.d/10.toml", "conf.d/20.toml"];
    Input {
        files: names
            .into_iter()
            .zip(texts)
            .map(|(name, text)| Source::new(name, *text))
            .collect(),
        set_files: [
            (
                "/lists/good".to_owned(),
                Ok("# comment\n192.0.2.0/24\n\n2001:db8::/32 # another\n".to_owned()),
            ),
            (
                "/lists/bad".to_owned(),
                Ok("10.0.0.0/8\n10.0.0.1/8\nany\n".to_owned()),
            ),
            (
                "/lists/gone".to_owned(),
                Err("no such file or directory".to_owned()),
            ),
        ]
        .into(),
    }
}

/// Findings as `line:column kind`, with the file before them where it is not the first.
pub(super) fn brief(findings: &Findings) -> Vec<String> {
    let brief = findings.iter().map(|finding| {
        let file = match finding.file() {
            None | Some("portcullis.toml") => String::new(),
            Some(file) => format!("{file}:"),
        };
        let place = match (finding.line(), finding.column()) {
            (Some(line), Some(column)) => format!("{line}:{column} "),
            _ => String::new(),
        };
        format!("{file}{place}{}", finding.kind)
    });
    brief.collect()
}

/// A configuration whose text alone is in order.
#[track_caller]
pub(super) fn good(texts: &[&str]) -> super::HostConfig {
    let (config, findings) = load(&input(texts));
    assert!(findings.is_empty(), "{}", findings.render(false));
    config.expect("a configuration without findings is there")
}
