//! What is installed, and where: one list for the Debian package and for the tarball.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use super::roff::{self, Page};
use crate::process::{host_cargo, run as start};
use crate::project;

/// Kinds of files: each distribution has its own place for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The agent.
    Program,
    /// A manual page of this section.
    Manual(char),
    /// Completions for bash, zsh, fish.
    Bash,
    Zsh,
    Fish,
    /// The journal's message catalogue.
    Catalogue,
    /// What other programs read: the schema of policies.
    Data,
    /// Documents.
    Document,
    /// The unit of systemd.
    Unit,
    /// The example of a configuration.
    Example,
}

/// A file to install.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub(super) kind: Kind,
    /// Its name where it is installed.
    pub(super) name: String,
    pub(super) source: Source,
}

/// Where its octets are.
#[derive(Clone, Debug)]
pub(super) enum Source {
    File(PathBuf),
    Text(String),
}

impl Item {
    /// Its octets.
    ///
    /// # Errors
    /// When the file can't be read.
    pub(super) fn read(&self) -> Result<Vec<u8>> {
        match &self.source {
            Source::Text(text) => Ok(text.clone().into_bytes()),
            Source::File(path) => fs::read(path).with_context(|| format!("{}", path.display())),
        }
    }
}

/// Documents that a host should carry.
const DOCUMENTS: [&str; 13] = [
    "README.md",
    "ARCHITECTURE.md",
    "docs/first-steps.md",
    "docs/configuration.md",
    "docs/policies.md",
    "docs/denials.md",
    "docs/operating.md",
    "docs/metrics.md",
    "docs/threat-model.md",
    "docs/kernels.md",
    "docs/performance.md",
    "docs/suggest.md",
    "policies/README.md",
];

/// Everything, with the binary that is given.
///
/// # Errors
/// When a page or a completion can't be made.
pub(super) fn all(binary: &Path, version: &str) -> Result<Vec<Item>> {
    let root = project::root();
    let file = |kind, name: &str, path: PathBuf| Item {
        kind,
        name: name.to_owned(),
        source: Source::File(path),
    };
    let dist = root.join("agent/dist");
    let mut items = vec![
        file(Kind::Program, "portcullis", binary.to_path_buf()),
        file(
            Kind::Unit,
            "portcullis.service",
            dist.join("portcullis.service"),
        ),
        file(
            Kind::Catalogue,
            "portcullis.catalog",
            dist.join("portcullis.catalog"),
        ),
        file(
            Kind::Example,
            "portcullis.toml.example",
            dist.join("portcullis.toml"),
        ),
        file(
            Kind::Data,
            "portcullis.rules.yml",
            dist.join("prometheus/portcullis.rules.yml"),
        ),
        file(
            Kind::Data,
            "grafana.json",
            dist.join("grafana/portcullis.json"),
        ),
        file(Kind::Data, "schema.json", root.join("policies/schema.json")),
    ];
    for path in DOCUMENTS {
        let text = fs::read_to_string(root.join(path)).with_context(|| path.to_owned())?;
        let source = Source::Text(relinked(path, &text)?);
        items.push(Item {
            kind: Kind::Document,
            name: flat(path),
            source,
        });
    }
    items.extend(manuals(&root, version)?);
    items.extend(generated()?);
    Ok(items)
}

/// A document's name where all lie in one directory; two of them have the same one.
fn flat(path: &str) -> String {
    path.strip_prefix("docs/").unwrap_or(path).replace('/', "-")
}

/// A document with its links as they lead where it is installed.
///
/// # Errors
/// When one leads to what is not installed.
fn relinked(path: &str, text: &str) -> Result<String> {
    const LINK: &str = "](";
    let mut parts = text.split(LINK);
    let mut linked = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        linked.push_str(LINK);
        let (target, rest) = part.split_once(')').unwrap_or((part, ""));
        if target.starts_with('#') || target.contains("://") {
            linked.push_str(part);
            continue;
        }
        let (file, place) = match target.split_once('#') {
            Some((file, place)) => (file, format!("#{place}")),
            None => (target, String::new()),
        };
        let file = beside(path, file);
        let name = match file.as_str() {
            "agent/dist/portcullis.toml" => "/etc/portcullis/portcullis.toml.example".to_owned(),
            file if DOCUMENTS.contains(&file) => flat(file),
            _ => bail!("{path}: {target} is not installed with it"),
        };
        linked.push_str(&format!("{name}{place}){rest}"));
    }
    Ok(linked)
}

/// The path, from the project's root, of what `path` calls `target`.
fn beside(path: &str, target: &str) -> String {
    let mut parts: Vec<&str> = path.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// The same with another program.
pub(super) fn with_program(items: &[Item], program: &Path) -> Vec<Item> {
    let mut items = items.to_vec();
    for item in items.iter_mut().filter(|item| item.kind == Kind::Program) {
        item.source = Source::File(program.to_path_buf());
    }
    items
}

/// The pages about files, from the documents about them.
fn manuals(root: &Path, version: &str) -> Result<Vec<Item>> {
    let read = |path: &str| fs::read_to_string(root.join(path)).with_context(|| path.to_owned());
    let configuration = read("docs/configuration.md")?;
    let policies = read("docs/policies.md")?;
    let how = read("policies/README.md")?;
    let page = |name: &str, about, documents: &[&str]| Item {
        kind: Kind::Manual('5'),
        name: format!("{name}.5"),
        source: Source::Text(roff::page(
            &Page {
                name,
                section: "5",
                about,
                version,
            },
            documents,
        )),
    };
    Ok(vec![
        page(
            "portcullis.toml",
            "the configuration of a host guarded by portcullis",
            &[&configuration],
        ),
        page(
            "portcullis-policy",
            "a vendor's table of network ports as data",
            &[&policies, &how],
        ),
    ])
}

/// The pages of commands and the completions, which only the command line itself knows.
fn generated() -> Result<Vec<Item>> {
    let directory = project::target()?.join("package/generated");
    if directory.exists() {
        fs::remove_dir_all(&directory).with_context(|| format!("{}", directory.display()))?;
    }
    let mut cargo = host_cargo();
    cargo.args([
        "run",
        "--quiet",
        "--locked",
        "--package",
        "portcullis",
        "--example",
        "generate",
        "--",
    ]);
    start(cargo.arg(&directory))?;
    let entries = fs::read_dir(&directory).with_context(|| format!("{}", directory.display()))?;
    let mut items = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let name = name.context("a name of a generated file")?.to_owned();
        let (kind, name) = match name.as_str() {
            "portcullis.bash" => (Kind::Bash, "portcullis".to_owned()),
            "_portcullis" => (Kind::Zsh, name),
            "portcullis.fish" => (Kind::Fish, name),
            _ => (Kind::Manual('8'), name),
        };
        let source = Source::File(path);
        items.push(Item { kind, name, source });
    }
    items.sort_by(|left, right| left.name.cmp(&right.name));
    Ok(items)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(path: &str, text: &str, expected: Option<&str>) {
        let linked = relinked(path, text).ok();
        assert_eq!(linked.as_deref(), expected, "{text}");
    }

    #[test]
    fn links_lead_where_documents_are_installed() {
        check(
            "README.md",
            "[a](docs/policies.md), b",
            Some("[a](policies.md), b"),
        );
        check(
            "README.md",
            "[a](ARCHITECTURE.md)",
            Some("[a](ARCHITECTURE.md)"),
        );
        check(
            "docs/denials.md",
            "[a](suggest.md#b) (c)",
            Some("[a](suggest.md#b) (c)"),
        );
        let policies = Some("[a](policies-README.md)");
        check("docs/policies.md", "[a](../policies/README.md)", policies);
        let example = Some("[a](/etc/portcullis/portcullis.toml.example)");
        check(
            "docs/configuration.md",
            "[a](../agent/dist/portcullis.toml)",
            example,
        );
        for same in ["[a](#b)", "[a](https://b.org/c)", "none", ""] {
            check("docs/denials.md", same, Some(same));
        }
        check("README.md", "[a](agent/Cargo.toml)", None);
        check("docs/denials.md", "[a](README.md)", None);
    }

    #[test]
    fn every_link_of_every_document_leads_somewhere() {
        for path in DOCUMENTS {
            let text = fs::read_to_string(project::root().join(path)).unwrap();
            relinked(path, &text).unwrap();
        }
    }
}
