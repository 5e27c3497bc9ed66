//! The three inputs of a policy, read at the edge: configuration, catalogue, facts. Commands and the daemon read them here alike.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::cli::ConfigArgs;
use crate::commands::policy;
use crate::compile::resolve;
use crate::diagnose::Findings;
use crate::facts::Facts;
use crate::facts::collect::{self, Wanted};
use crate::host::{self, HostConfig};
use crate::policy::Catalogue;

/// What the operator and the vendors say.
#[derive(Clone, Debug)]
pub struct Said {
    /// The configuration; none where nothing of it could be read. With errors in the findings it is good for looking only.
    pub config: Option<HostConfig>,
    /// The products that are known.
    pub catalogue: Catalogue,
    /// What is wrong with the texts.
    pub findings: Findings,
}

/// Reads configuration and catalogue.
///
/// # Errors
///
/// A file or directory that can't be read.
pub fn read(args: &ConfigArgs) -> Result<Said> {
    let input = host::files::read(&args.config)?;
    let (config, mut findings) = host::load(&input);
    let directory = match (&args.policies, &config) {
        (Some(said), _) => said.clone(),
        (None, Some(config)) => PathBuf::from(&config.daemon.policies),
        (None, None) => PathBuf::from(crate::host::schema::Daemon::default().policies),
    };
    let (catalogue, about) = policy::load(&directory)?;
    findings.extend(about);
    Ok(Said {
        config,
        catalogue,
        findings,
    })
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
