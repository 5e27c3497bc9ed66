//! docs/first-steps.md is walked as it is written, up to where it needs root: each command of the
//! page is run, and prints what the page says. The rest, and README's tour, are walked on a
//! throw-away host.

use std::path::Path;

use clap::Parser;

use crate::cli::Cli;

const PAGE: &str = include_str!("../../../docs/first-steps.md");

/// What stands between ``` marks.
enum Block<'a> {
    /// Commands after `$ `, each with what it prints.
    Console(&'a str),
    /// Lines that are written into the configuration.
    Configuration(&'a str),
}

fn blocks() -> Vec<Block<'static>> {
    let (page, _) = PAGE.split_once("\n## In force\n").expect("the chapter");
    let mut parts = page.split("```");
    let mut blocks = Vec::new();
    while let (Some(_), Some(block)) = (parts.next(), parts.next()) {
        let (language, text) = block.split_once('\n').expect("a block has lines");
        blocks.push(match language {
            "console" => Block::Console(text),
            "toml" => Block::Configuration(text),
            other => panic!("a block of {other}"),
        });
    }
    blocks
}

/// Writes a line where `init` left its place: `key = value` instead of `# key = …`.
fn edit(config: &str, line: &str) -> String {
    let (key, _) = line.split_once(" = ").expect("a key and a value");
    let place = format!("# {key} = ");
    let found = config.lines().filter(|text| text.starts_with(&place));
    assert_eq!(found.count(), 1, "places for {key} in\n{config}");
    let lines = config.lines().map(|text| {
        let line = if text.starts_with(&place) { line } else { text };
        format!("{line}\n")
    });
    lines.collect()
}

/// The lines of the page occur in what was printed, in this order; `…` stands for any number of
/// lines, and without it one follows the other.
fn check(command: &str, page: &[&str], printed: &str) {
    let printed_lines: Vec<&str> = printed.lines().map(str::trim_end).collect();
    let mut at = 0;
    let mut skipping = false;
    for line in page {
        if *line == "…" {
            skipping = true;
            continue;
        }
        let rest = &printed_lines[at..];
        let found = rest.iter().position(|text| text == line);
        assert!(
            found.is_some_and(|found| skipping || found == 0),
            "the page says of `{command}`\n{line}\nwhere it prints\n{}",
            rest.join("\n")
        );
        at += found.unwrap_or_default() + 1;
        skipping = false;
    }
    assert!(
        skipping || at == printed_lines.len(),
        "the page leaves out of `{command}`\n{}",
        printed_lines[at..].join("\n")
    );
}

struct Directory(std::path::PathBuf);

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Runs a command as on a host whose configuration lies in the usual place.
fn run(command: &str, directory: &Path) -> String {
    let (words, into) = match command.split_once(" > ") {
        Some((words, into)) => (words, Some(into)),
        None => (command, None),
    };
    let mut words: Vec<String> = words.split(' ').map(str::to_owned).collect();
    let mut add = |name: &str, value: &Path| {
        words.extend([name.to_owned(), value.display().to_string()]);
    };
    add("--policies", &directory.join("policies.d"));
    if ["check", "plan", "explain"].contains(&command.split(' ').nth(1).unwrap_or_default()) {
        add("--config", &directory.join("portcullis.toml"));
        add("--facts", &directory.join("facts.json"));
    }
    let cli = Cli::try_parse_from(&words).unwrap_or_else(|error| panic!("{command}: {error}"));
    let mut outcome = super::run(cli).unwrap_or_else(|error| panic!("{command}: {error:#}"));
    if into.is_some() {
        std::fs::write(directory.join("portcullis.toml"), &outcome.stdout).expect("written");
        outcome.stdout.clear();
    }
    let printed = outcome.stdout + &outcome.stderr;
    printed.replace(&directory.display().to_string(), "/etc/portcullis")
}

#[test]
fn the_page_is_what_happens() {
    let name = format!("portcullis-first-steps-{}", std::process::id());
    let directory = Directory(std::env::temp_dir().join(name));
    let file = |name: &str| directory.0.join(name);
    std::fs::create_dir_all(&directory.0).expect("a directory of ours");
    let facts = crate::compile::resolve::tests::facts();
    let facts = serde_json::to_string(&facts).expect("facts are JSON");
    std::fs::write(file("facts.json"), facts).expect("written");
    let mut commands = 0;
    for block in blocks() {
        match block {
            Block::Configuration(lines) => {
                let path = file("portcullis.toml");
                let mut config = std::fs::read_to_string(&path).expect("written by init");
                for line in lines.lines() {
                    config = edit(&config, line);
                }
                std::fs::write(path, config).expect("written");
            }
            Block::Console(text) => {
                for part in text.split("$ ").skip(1) {
                    let mut lines = part.lines().map(str::trim_end);
                    let command = lines.next().expect("a command");
                    let page: Vec<&str> = lines.collect();
                    let printed = run(command, &directory.0);
                    check(command, &page, &printed);
                    commands += 1;
                }
            }
        }
    }
    assert!(commands > 6, "{commands} commands");
}
