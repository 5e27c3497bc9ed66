//! README's chapters on operating: there, and in commands that this binary understands.

use clap::Parser as _;

use super::Cli;

const README: &str = include_str!("../../../README.md");

/// A chapter of README, without its title.
#[track_caller]
fn chapter(title: &str) -> &'static str {
    let begin = README.split_once(&format!("\n## {title}\n"));
    let (_, rest) = begin.unwrap_or_else(|| panic!("README has no chapter {title}"));
    rest.split_once("\n## ")
        .map_or(rest, |(chapter, _)| chapter)
}

/// What stands between backquotes, with line ends as blanks.
fn code(text: &str) -> Vec<String> {
    let spans = text.split('`').skip(1).step_by(2);
    spans
        .map(|span| span.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect()
}

#[track_caller]
fn check(what: &str, text: &str, commands: &[&str]) {
    let code = code(text);
    for command in commands {
        assert!(
            code.iter().any(|it| it == command),
            "{what}: no `{command}`"
        );
    }
}

#[test]
fn operating_says_what_to_type() {
    let operating = chapter("Operating");
    let topic = |name: &str| {
        let begin = operating.split_once(&format!("- **{name}**"));
        let (_, rest) = begin.unwrap_or_else(|| panic!("nothing about {name}"));
        rest.split_once("\n- **").map_or(rest, |(text, _)| text)
    };
    for (name, commands) in [
        (
            "First roll-out",
            &[
                "portcullis run --confirm 60s",
                "portcullis confirm",
                "systemctl enable --now portcullis",
            ][..],
        ),
        (
            "Change",
            &[
                "portcullis check",
                "portcullis apply --confirm 60s",
                "portcullis confirm",
                "systemctl reload portcullis",
            ],
        ),
        ("Roll back", &["portcullis revert"]),
        ("Upgrade", &["systemctl restart portcullis"]),
        ("Stop", &["systemctl stop portcullis"]),
        ("What happens when", &["kill -9", "portcullis detach"]),
        ("Uninstall", &["portcullis detach"]),
    ] {
        check(name, topic(name), commands);
    }
    check(
        "locked out",
        chapter("Locked out"),
        &[
            "portcullis revert",
            "portcullis pause --for 10m",
            "portcullis detach",
            "rm -r /sys/fs/bpf/portcullis",
            "systemctl disable portcullis",
        ],
    );
}

#[test]
fn what_is_to_be_typed_is_understood() {
    let mut found = 0;
    for title in ["Operating", "Locked out"] {
        for command in code(chapter(title)) {
            if !command.starts_with("portcullis ") {
                continue;
            }
            found += 1;
            let words = command.replace("YOUR-ADDRESS", "192.0.2.1");
            let parsed = Cli::try_parse_from(words.split(' '));
            assert!(parsed.is_ok(), "{title}: {command}");
        }
    }
    assert!(found > 10, "{found} commands");
}
