//! The repository's own rules, which no compiler checks. Also run by `cargo test`.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::process::output;

/// A source file longer than this is split.
const LONGEST: usize = 500;

/// What must not stand in any file, and why. Split, so that this file keeps its own rule.
const FORBIDDEN: [(&[&str], &str); 8] = [
    (&["/wo", "rk/"], "a path of one machine"),
    (&["/ro", "ot/"], "a path of one machine"),
    (&["/tmp", "/w/"], "a path of one machine"),
    (
        &["DESIGN", ".md"],
        "a file that is not here: say what the rule is",
    ),
    (&["TO", "DO"], "open work belongs in an issue"),
    (&["FIX", "ME"], "open work belongs in an issue"),
    (&["to", "do!("], "open work belongs in an issue"),
    (&["#[al", "low("], "use #[expect(lint, reason = \"…\")]"),
];

/// All findings over the files that git knows or would take.
///
/// # Errors
/// When git can't be asked or a file can't be read.
pub(crate) fn check(root: &Path) -> Result<Vec<String>> {
    let mut git = Command::new("git");
    git.current_dir(root).args([
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
    ]);
    let mut findings = Vec::new();
    for name in output(&mut git)?
        .split('\0')
        .filter(|name| !name.is_empty())
    {
        // Deleted but not yet committed, or not text: no rule holds.
        let Ok(text) = std::fs::read_to_string(root.join(name)) else {
            continue;
        };
        check_file(name, &text, &mut findings);
    }
    Ok(findings)
}

fn check_file(name: &str, text: &str, findings: &mut Vec<String>) {
    for (at, line) in text.lines().enumerate() {
        for (parts, why) in FORBIDDEN {
            let word = parts.concat();
            if line.contains(&word) {
                findings.push(format!("{name}:{}: `{word}`: {why}", at + 1));
            }
        }
    }
    if name.ends_with(".rs") {
        let length = text.lines().count();
        if length > LONGEST {
            findings.push(format!(
                "{name}: {length} lines, split it ({LONGEST} at most)"
            ));
        }
    }
    if name.ends_with("/Cargo.toml") {
        check_manifest(name, text, findings);
    }
}

/// Versions stand in the workspace alone.
fn check_manifest(name: &str, text: &str, findings: &mut Vec<String>) {
    let mut section = "";
    for (at, line) in text.lines().map(str::trim).enumerate() {
        if let Some(header) = line.strip_prefix('[') {
            section = header.trim_end_matches(']');
            continue;
        }
        let is_entry = section.ends_with("dependencies") && line.contains('=');
        if is_entry && !line.starts_with('#') && !line.contains("workspace = true") {
            findings.push(format!(
                "{name}:{}: a version outside the workspace: {line}",
                at + 1
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repository_keeps_its_rules() {
        let findings = check(&crate::project::root()).unwrap();
        assert!(findings.is_empty(), "{}", findings.join("\n"));
    }

    #[track_caller]
    fn check_text(name: &str, text: &str, expected: &[&str]) {
        let mut findings = Vec::new();
        check_file(name, text, &mut findings);
        assert_eq!(findings.len(), expected.len(), "{findings:?}");
        for (finding, expected) in findings.iter().zip(expected) {
            assert!(finding.contains(expected), "{finding} lacks {expected}");
        }
    }

    #[test]
    fn words() {
        check_text(
            "a.md",
            &format!("see {}main", ["/wo", "rk/"].concat()),
            &["a.md:1"],
        );
        check_text("a.md", "the work tree, and root", &[]);
        check_text(
            "a.rs",
            &format!("\n// {}: later", ["TO", "DO"].concat()),
            &["a.rs:2"],
        );
    }

    #[test]
    fn length() {
        check_text("a.rs", &"\n".repeat(LONGEST), &[]);
        check_text("a.rs", &"\n".repeat(LONGEST + 1), &["split it"]);
        check_text("a.toml", &"\n".repeat(LONGEST + 1), &[]);
    }

    #[test]
    fn versions() {
        check_text("m/Cargo.toml", "[dependencies]\nx.workspace = true", &[]);
        check_text(
            "m/Cargo.toml",
            "[dependencies]\nx = { workspace = true }",
            &[],
        );
        check_text(
            "m/Cargo.toml",
            "[dev-dependencies]\nx = \"1\"",
            &["outside the workspace"],
        );
        check_text("Cargo.toml", "[workspace.dependencies]\nx = \"1\"", &[]);
    }
}
