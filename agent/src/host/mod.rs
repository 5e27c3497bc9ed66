//! The host's configuration: which products, which roles, who the peers are.
//!
//! `portcullis.toml`, then `conf.d/*.toml` by name, are merged into one tree and read as one
//! text; every value knows its file. The core takes texts and gives values and findings; the
//! files themselves are read at the edge.

mod build;
pub mod check;
pub mod files;
pub mod kinds;
mod merge;
mod misplaced;
pub mod peers;
mod raw;
pub mod schema;
mod settings;
pub mod sources;
mod takes;
mod typed;
pub mod units;
mod values;

use std::collections::BTreeMap;

pub use build::SetFiles;
pub use kinds::Kind;
pub use peers::{Peer, PeerEntry, PeerSpec, Peers};
pub use schema::{HostConfig, Product};
pub use sources::{Sources, Span};

use crate::diagnose::{Findings, Source, read_tree};

/// The texts of a configuration.
#[derive(Clone, Debug, Default)]
pub struct Input {
    /// `portcullis.toml` first, then the drop-ins by name.
    pub files: Vec<Source>,
    /// Texts of the files that sets name, by the path as it is written.
    pub set_files: SetFiles,
}

impl Input {
    /// One file and nothing else.
    #[must_use]
    pub fn single(name: &str, text: &str) -> Self {
        Self {
            files: vec![Source::new(name, text)],
            set_files: BTreeMap::new(),
        }
    }
}

/// Reads a configuration: merges its files, fills in its sets, and says everything that is
/// wrong with it as far as the configuration alone tells.
///
/// The value is there as long as anything could be read. With errors in the findings it must
/// not be used for anything but looking for more findings.
#[must_use]
pub fn load(input: &Input) -> (Option<HostConfig>, Findings) {
    let mut findings = Findings::new();
    let mut merged = merge::merge(&input.files, &mut findings);
    let low = misplaced::take_out(&mut merged.root, &merged.sources, &mut findings);
    let top = merged.root.span();
    let written = values::Written::of(merged.root.get_ref(), &low);
    let typed = typed::Typed::of(&merged.root, &merged.sources);
    let locate = |span| merged.sources.locate(span);
    let raw: Option<raw::Raw> = read_tree(merged.root, &merged.syntax, &locate, &mut findings);
    let config = raw.map(|raw| {
        let mut reader = values::Reader {
            sources: merged.sources.clone(),
            findings: Findings::new(),
            sets: BTreeMap::new(),
            written,
        };
        let config = build::config(raw, &input.set_files, &mut reader, top.start..top.start);
        findings.extend(reader.findings);
        config
    });
    typed.explain(&mut findings);
    findings.sort();
    (config, findings)
}

/// The paths of the files that the sets of these texts name, as they are written. What else is
/// wrong with the texts is [`load`]'s to say.
#[must_use]
pub fn set_file_names(files: &[Source]) -> Vec<String> {
    let mut unused = Findings::new();
    let merged = merge::merge(files, &mut unused);
    let sets = merged.root.get_ref().get("sets");
    let sets = sets.and_then(|sets| sets.get_ref().as_table());
    let mut names: Vec<String> = sets
        .into_iter()
        .flat_map(|sets| sets.values())
        .filter_map(|set| set.get_ref().get("file"))
        .filter_map(|file| file.get_ref().as_str().map(str::to_owned))
        .collect();
    names.sort();
    names.dedup();
    names
}

/// Whether a pattern of `interfaces` means this interface: `*` is any run of characters, `?`
/// any one. `lo` is never meant.
#[must_use]
pub fn glob(pattern: &str, interface: &str) -> bool {
    fn matches(pattern: &[u8], name: &[u8]) -> bool {
        match (pattern, name) {
            ([], []) => true,
            ([b'*', rest @ ..], _) => {
                matches(rest, name) || matches!(name, [_, tail @ ..] if matches(pattern, tail))
            }
            ([b'?', rest @ ..], [_, tail @ ..]) => matches(rest, tail),
            ([wanted, rest @ ..], [found, tail @ ..]) => wanted == found && matches(rest, tail),
            _ => false,
        }
    }
    interface != "lo" && matches(pattern.as_bytes(), interface.as_bytes())
}

#[cfg(test)]
mod tests;
