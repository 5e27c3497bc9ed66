//! What a start needs when the configuration on disk can't or must not be enforced: the last good one, and which texts wait for their
//! confirmation or were reverted.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::files::{self, Directories};
use super::ready::Ready;
use crate::diagnose::Source;
use crate::facts::Facts;
use crate::host::Input;
use crate::inputs::{Said, Texts};
use crate::policy::catalogue;

/// Version of the files' shapes.
const SCHEMA: u32 = 1;

/// What was in force and confirmed: enough to enforce it again without the files that it was read from.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(super) struct LastGood {
    schema: u32,
    /// Hash of the texts.
    pub(super) hash: String,
    /// When it was kept.
    at: Timestamp,
    /// The configuration and its drop-ins.
    files: Vec<Text>,
    /// The files of its sets.
    sets: BTreeMap<String, String>,
    /// The policies that it selects and the binary of its time held.
    shipped: Vec<Text>,
    /// The operator's policies.
    own: Vec<Text>,
    /// The host that it was made for.
    pub(super) facts: Facts,
}

/// A file.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Text {
    name: String,
    text: String,
}

impl Text {
    fn all<'a>(sources: impl IntoIterator<Item = &'a Source>) -> Vec<Self> {
        let sources = sources.into_iter();
        sources
            .map(|source| Self {
                name: source.name().to_owned(),
                text: source.text().to_owned(),
            })
            .collect()
    }

    fn sources(texts: &[Self]) -> Vec<Source> {
        let texts = texts.iter();
        texts
            .map(|it| Source::new(it.name.as_str(), it.text.as_str()))
            .collect()
    }
}

impl LastGood {
    /// Of a policy that is in force.
    pub(super) fn of(ready: &Ready) -> Self {
        let texts = &ready.said.texts;
        let selected = ready.config.products.iter();
        let used = selected
            .filter_map(|product| ready.said.catalogue.product(product.policy.get_ref()))
            .map(|product| &product.source)
            .filter(|source| texts.shipped.iter().any(|it| it.name() == source.name()));
        let mut shipped = Text::all(used);
        // Two installations of one product.
        shipped.sort_by(|a, b| a.name.cmp(&b.name));
        shipped.dedup();
        let sets = texts.input.set_files.iter();
        Self {
            schema: SCHEMA,
            hash: texts.hash(),
            at: Timestamp::now(),
            files: Text::all(&texts.input.files),
            sets: sets
                .filter_map(|(name, text)| Some((name.clone(), text.clone().ok()?)))
                .collect(),
            shipped,
            own: Text::all(&texts.own),
            facts: ready.facts.clone(),
        }
    }

    /// What was kept; none where nothing was.
    ///
    /// # Errors
    ///
    /// Where it can't be read, or is of another version.
    pub(super) fn read(directories: &Directories) -> Result<Option<Self>> {
        let kept: Option<Self> = files::read_json(&directories.last_good())?;
        if let Some(kept) = &kept {
            ensure!(
                kept.schema == SCHEMA,
                "{}: of schema {}, this version reads {SCHEMA}",
                directories.last_good().display(),
                kept.schema
            );
        }
        Ok(kept)
    }

    /// Keeps it in the place of what was kept before.
    ///
    /// # Errors
    ///
    /// What the system says; what was kept before is then still there.
    pub(super) fn write(&self, directories: &Directories) -> Result<()> {
        files::replace_json(&directories.last_good(), 0o600, self)
            .context("what is in force would not survive a restart with a bad configuration")
    }

    /// Understands it again.
    pub(super) fn said(&self) -> Said {
        let sets = self.sets.iter();
        Said::of(Texts {
            input: Input {
                files: Text::sources(&self.files),
                set_files: sets
                    .map(|(name, text)| (name.clone(), Ok(text.clone())))
                    .collect(),
            },
            shipped: catalogue::embedded_beside(Text::sources(&self.shipped)),
            own: Text::sources(&self.own),
        })
    }
}

/// Texts that must not come into force by themselves.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Trial {
    schema: u32,
    /// Hash of the texts.
    pub(super) hash: String,
    /// They were reverted; else they wait for their confirmation.
    pub(super) reverted: bool,
    /// Nothing was in force before them: what they fall back to passes everything.
    pub(super) first: bool,
    /// Since when.
    at: Timestamp,
}

impl Trial {
    /// Texts that are about to come into force unconfirmed.
    pub(super) fn begin(hash: String, first: bool) -> Self {
        Self {
            schema: SCHEMA,
            hash,
            reverted: false,
            first,
            at: Timestamp::now(),
        }
    }

    /// Texts that the operator, or time, took back.
    pub(super) fn over(hash: String, first: bool) -> Self {
        Self {
            reverted: true,
            ..Self::begin(hash, first)
        }
    }

    /// In a few words.
    pub(super) fn what(&self) -> &'static str {
        if self.reverted {
            "were reverted"
        } else {
            "were never confirmed"
        }
    }

    /// What is marked; none where nothing is.
    ///
    /// # Errors
    ///
    /// Where the mark can't be read.
    pub(super) fn read(directories: &Directories) -> Result<Option<Self>> {
        files::read_json(&directories.trial())
    }

    /// Marks the texts.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub(super) fn write(&self, directories: &Directories) -> Result<()> {
        files::replace_json(&directories.trial(), 0o600, self)
    }

    /// Takes the mark away.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub(super) fn forget(directories: &Directories) -> Result<()> {
        files::remove(&directories.trial())
    }
}
