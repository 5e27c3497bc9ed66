//! The three inputs of a policy, read at the edge: configuration, catalogue, facts. Commands and the daemon read them here alike.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::cli::ConfigArgs;
use crate::commands::policy;
use crate::compile::resolve;
use crate::diagnose::{Findings, Source};
use crate::facts::Facts;
use crate::facts::collect::{self, Wanted};
use crate::host::{self, HostConfig};
use crate::policy::{Catalogue, catalogue};

/// What the operator and the vendors say.
#[derive(Clone, Debug)]
pub struct Said {
    /// The configuration; none where nothing of it could be read. With errors in the findings it is good for looking only.
    pub config: Option<HostConfig>,
    /// The products that are known.
    pub catalogue: Catalogue,
    /// What is wrong with the texts.
    pub findings: Findings,
    /// The texts themselves.
    pub texts: Arc<Texts>,
}

/// What configuration and catalogue are read from; with it the same can be understood again later.
#[derive(Clone, Debug, Default)]
pub struct Texts {
    /// The configuration, its drop-ins and the files of its sets.
    pub input: host::Input,
    /// The policies in the binary.
    pub shipped: Vec<Source>,
    /// The operator's policies.
    pub own: Vec<Source>,
}

impl Texts {
    /// Hash of everything that the operator wrote, in hexadecimal digits. The policies in the binary are left out: a text that was refused
    /// does not become another one by an upgrade.
    #[must_use]
    pub fn hash(&self) -> String {
        let mut hash = Fnv::default();
        for source in self.input.files.iter().chain(&self.own) {
            hash.add(source.name());
            hash.add(source.text());
        }
        for (name, text) in &self.input.set_files {
            hash.add(name);
            hash.add(text.as_ref().map_or("", String::as_str));
        }
        hash.digits()
    }
}

/// FNV-1a of 64 bits (draft-eastlake-fnv). It tells texts apart; it protects against nobody.
#[derive(Clone, Copy, Debug)]
pub struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Fnv {
    const fn octet(&mut self, octet: u8) {
        self.0 = (self.0 ^ octet as u64).wrapping_mul(0x0100_0000_01b3);
    }

    /// Takes a text in, and its end: what is moved from one text to the next changes the hash.
    pub fn add(&mut self, text: &str) {
        text.bytes().for_each(|octet| self.octet(octet));
        // no octet of UTF-8
        self.octet(0xff);
    }

    /// The hash in hexadecimal digits.
    #[must_use]
    pub fn digits(self) -> String {
        format!("{:016x}", self.0)
    }

    /// The hash of one text alone, without its end.
    #[must_use]
    pub fn of(text: &str) -> String {
        let mut hash = Self::default();
        text.bytes().for_each(|octet| hash.octet(octet));
        hash.digits()
    }
}

/// Reads configuration and catalogue.
///
/// # Errors
///
/// A file or directory that can't be read.
pub fn read(args: &ConfigArgs) -> Result<Said> {
    let input = host::files::read(&args.config)?;
    let (config, findings) = host::load(&input);
    let directory = match (&args.policies, &config) {
        (Some(said), _) => said.clone(),
        (None, Some(config)) => PathBuf::from(&config.daemon.policies),
        (None, None) => PathBuf::from(crate::host::schema::Daemon::default().policies),
    };
    let own = policy::read_directory(&directory)?
        .into_iter()
        .map(|(name, text)| Source::new(name, text))
        .collect();
    let texts = Texts {
        input,
        shipped: catalogue::embedded(),
        own,
    };
    Ok(Said::with(config, findings, texts))
}

/// The host names that a configuration needs resolved.
///
/// # Errors
///
/// As [`read`].
pub fn names(args: &ConfigArgs) -> Result<Vec<String>> {
    Ok(read(args)?.names())
}

impl Said {
    /// Understands texts.
    #[must_use]
    pub fn of(texts: Texts) -> Self {
        let (config, findings) = host::load(&texts.input);
        Self::with(config, findings, texts)
    }

    fn with(config: Option<HostConfig>, mut findings: Findings, texts: Texts) -> Self {
        let (catalogue, about) = Catalogue::from_sources(texts.shipped.clone(), texts.own.clone());
        findings.extend(about);
        Self {
            config,
            catalogue,
            findings,
            texts: Arc::new(texts),
        }
    }

    /// The host names that must be resolved.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        let needed = self
            .config
            .as_ref()
            .map(|config| resolve::names_needed(config, &self.catalogue));
        needed.into_iter().flatten().map(str::to_owned).collect()
    }
}

/// Facts: those of a file where one is named, else this host's, with the names that are needed resolved within `patience`. Notes say what
/// could not be learnt.
///
/// # Errors
///
/// A file that can't be read or holds no facts; this host's interfaces that can't be listed.
pub fn facts(
    file: Option<&Path>,
    names: Vec<String>,
    patience: Duration,
    listeners: bool,
) -> Result<(Facts, Vec<String>)> {
    if let Some(path) = file {
        return Ok((facts_of(path)?, Vec::new()));
    }
    let collected = collect::collect(&Wanted {
        names,
        patience,
        listeners,
    })?;
    Ok((collected.facts, collected.notes))
}

fn facts_of(path: &Path) -> Result<Facts> {
    let text = fs::read_to_string(path)
        .with_context(|| format!("cannot read the facts {}", path.display()))?;
    let facts: Facts = serde_json::from_str(&text).with_context(|| {
        format!(
            "{}: these are no facts; `portcullis facts` on the host writes them",
            path.display()
        )
    })?;
    ensure!(
        facts.schema == 1,
        "{}: facts of schema {}, this version reads 1; write them anew by `portcullis facts`",
        path.display(),
        facts.schema
    );
    Ok(facts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_fnv_1a() {
        // test vectors of the draft's appendix
        for (text, expected) in [
            ("", "cbf29ce484222325"),
            ("a", "af63dc4c8601ec8c"),
            ("foobar", "85944171f73967e8"),
        ] {
            assert_eq!(Fnv::of(text), expected);
        }
    }

    fn texts(files: &[(&str, &str)], own: &[(&str, &str)]) -> Texts {
        let sources = |texts: &[(&str, &str)]| {
            let texts = texts.iter();
            texts
                .map(|(name, text)| Source::new(*name, *text))
                .collect()
        };
        Texts {
            input: host::Input {
                files: sources(files),
                ..host::Input::default()
            },
            shipped: Vec::new(),
            own: sources(own),
        }
    }

    #[test]
    fn the_hash_of_texts_is_of_all_that_the_operator_wrote() {
        let base = texts(&[("a", "x = 1\n"), ("b", "")], &[("p", "id")]);
        let same = Texts {
            shipped: vec![Source::new("shipped", "another version")],
            ..base.clone()
        };
        assert_eq!(base.hash(), same.hash(), "the binary's own policies");
        for (what, other) in [
            (
                "a letter",
                texts(&[("a", "x = 2\n"), ("b", "")], &[("p", "id")]),
            ),
            (
                "moved",
                texts(&[("a", "x ="), ("b", " 1\n")], &[("p", "id")]),
            ),
            ("a file less", texts(&[("a", "x = 1\n")], &[("p", "id")])),
            (
                "a policy",
                texts(&[("a", "x = 1\n"), ("b", "")], &[("p", "ID")]),
            ),
        ] {
            assert_ne!(base.hash(), other.hash(), "{what}");
        }
        let mut set = base.clone();
        set.input
            .set_files
            .insert("list".to_owned(), Ok(String::new()));
        assert_ne!(base.hash(), set.hash(), "the file of a set");
    }
}
