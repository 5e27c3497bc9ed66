//! The reference page says what the code does: every key, every kind of finding, and examples
//! that hold.

use super::{good, input};
use crate::host::{Kind, load};

const PAGE: &str = include_str!("../../../../docs/configuration.md");

/// Tables by the text that opens them; the key below it is none that they know.
const TABLES: &[&str] = &[
    "",
    "[default]\n",
    "[product.p]\nroles = \"r\"\n",
    "[allow.a]\n",
    "[block.b]\n",
    "[failsafe.ssh]\n",
    "[baseline]\n",
    "[baseline.icmp-echo]\n",
    "[forward]\n",
    "[conntrack]\n",
    "[events]\n",
    "[events.strangers]\n",
    "[metrics]\n",
    "[daemon]\n",
    "[sets.s]\n",
];

#[test]
fn every_key_is_on_the_page() {
    let mut keys = 0;
    for table in TABLES {
        let text = format!("schema = 1\ninterfaces = \"e\"\n{table}zzzzzzzz = 1\n");
        let (_, findings) = load(&input(&[&text]));
        let unknown = findings
            .iter()
            .find(|finding| finding.kind == "unknown-key")
            .expect("no table knows this key");
        let help = unknown.help.as_deref().unwrap_or_default();
        let known = help.strip_prefix("known here: ").expect("nothing is near");
        for key in known.split(", ") {
            keys += 1;
            let said = [
                format!("`{key}`"),
                format!("`.{key}`"),
                format!(" {key}`"),
                format!("[{key}]"),
                format!("[{key}.NAME]"),
            ];
            assert!(
                said.iter().any(|said| PAGE.contains(said)),
                "{table}{key} is not on the page"
            );
        }
    }
    assert!(keys > 60, "{keys} keys were looked for");
}

/// The table of kinds is what the types say, in their order and nothing else.
#[test]
fn the_kinds_are_the_page_s() {
    let rows = Kind::ALL.iter().map(|kind| {
        let what = kind.what().trim_end_matches('.');
        // A sentence begins in upper case, a cell does not; names stay as they are.
        let cell = match what.split_at(1) {
            (first, rest) if rest.starts_with(|next: char| !next.is_uppercase()) => {
                first.to_lowercase() + rest
            }
            _ => what.to_owned(),
        };
        format!(
            "| `{}` | {} | {cell} |\n",
            kind.name(),
            kind.severity().name()
        )
    });
    let table = format!(
        "| kind | severity | what |\n|---|---|---|\n{}\n",
        String::from_iter(rows)
    );
    assert!(
        PAGE.contains(&table),
        "the page's table of kinds is not\n{table}"
    );
}

/// All examples of the page together are one configuration without findings.
#[test]
fn the_examples_hold() {
    let mut whole = String::new();
    for block in PAGE.split("```toml\n").skip(1) {
        whole.push_str(block.split("```").next().unwrap_or_default());
    }
    let mut texts = input(&[&whole]);
    texts
        .set_files
        .insert("/etc/portcullis/feed.txt".to_owned(), Ok(String::new()));
    let (config, findings) = load(&texts);
    assert!(findings.is_empty(), "{}", findings.render(false));
    let config = config.expect("without findings");
    assert_eq!(
        (
            config.products.len(),
            config.allows.len(),
            config.blocks.len()
        ),
        (1, 1, 1)
    );
    // The values of `The rest` are the defaults, but for the two that have none.
    let bare = good(&["schema = 1\ninterfaces = \"e\"\n"]);
    assert_eq!(config.events, bare.events);
    assert_eq!(config.conntrack, bare.conntrack);
    let mut daemon = config.daemon.clone();
    daemon.socket_group = None;
    assert_eq!(daemon, bare.daemon);
}
