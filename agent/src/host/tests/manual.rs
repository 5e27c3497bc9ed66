//! portcullis.toml(5) is docs/configuration.md in the language of man pages.
//!
//! The page is checked in beside its source, so that a package has it without building anything;
//! this test keeps the two the same.

use std::path::Path;

const SOURCE: &str = include_str!("../../../../docs/configuration.md");
/// Set to write the page instead of comparing it.
const WRITE: &str = "PORTCULLIS_WRITE_MAN";
const HEAD: &str = ".TH PORTCULLIS.TOML 5 \"\" portcullis \"File Formats\"\n.SH NAME\n\
                    portcullis.toml \\- which vendor products a host runs, and who its peers are\n.SH DESCRIPTION\n";
/// How a line of code begins.
const INDENT: &str = "    ";
/// How a line begins that goes on with no paragraph.
const BLOCKS: &[&str] = &["|", "```", "- ", "#"];
const TAIL: &str = ".SH SEE ALSO\n.BR portcullis (8)\n";

/// Words of a paragraph: code and what is strong in bold, links by their words.
fn inline(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(['`', '*', '[']) {
        let (before, here) = rest.split_at(at);
        out += &escaped(before);
        let span = |open: &str, close: &str| -> Option<(String, usize)> {
            let inside = here.strip_prefix(open)?;
            let end = inside.find(close)?;
            Some((inside[..end].to_owned(), open.len() + end + close.len()))
        };
        let link =
            span("[", "](").and_then(|(words, at)| Some((words, at + here[at..].find(')')? + 1)));
        let strong = span("`", "`")
            .map(|(code, at)| (code.replace('-', "\u{1}"), at))
            .or_else(|| span("**", "**"));
        if let Some((words, at)) = strong {
            out += &format!("\\fB{}\\fR", escaped(&words).replace('\u{1}', "\\-"));
            rest = &here[at..];
        } else if let Some((words, at)) = link {
            out += &inline(&words);
            rest = &here[at..];
        } else {
            out += &here[..1];
            rest = &here[1..];
        }
    }
    out + &escaped(rest)
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\e").replace('…', "\\[u2026]")
}

/// A line of text: one that begins with what would be a request is told apart.
fn line(text: &str) -> String {
    let guard = if text.starts_with(['.', '\'']) {
        "\\&"
    } else {
        ""
    };
    format!("{guard}{text}\n")
}

fn heading(text: &str) -> String {
    let words = text.replace('`', "");
    format!(".SH \"{}\"\n", escaped(&words).replace('"', "\\(dq"))
}

fn code<'a>(lines: impl Iterator<Item = &'a str>) -> String {
    let lines: String = lines
        .map(|text| line(&escaped(text).replace('-', "\\-")))
        .collect();
    format!(".PP\n.RS 4\n.EX\n{lines}.EE\n.RE\n")
}

fn cells(row: &str) -> Vec<String> {
    let inside = row.trim().trim_start_matches('|').trim_end_matches('|');
    inside
        .split('|')
        .map(|cell| cell.trim().to_owned())
        .collect()
}

/// A table as a list: the first cell, then the others, each but the one that says what it is by
/// its heading.
fn table(rows: &[&str]) -> String {
    let heads = cells(rows[0]);
    let mut out = String::new();
    for row in &rows[2..] {
        let cells = cells(row);
        out += &format!(".TP\n{}", line(&inline(&cells[0])));
        for (head, cell) in heads.iter().zip(&cells).skip(1) {
            let text = inline(cell);
            let sentence = match head.as_str() {
                "meaning" | "what" => format!("{text}."),
                "severity" => format!("({text})"),
                head => format!("{}{}: {text}.", head[..1].to_uppercase(), &head[1..]),
            };
            out += &line(&sentence);
        }
    }
    out
}

fn manual(source: &str) -> String {
    let mut out = HEAD.to_owned();
    // Up to the first empty line, or to where the block ends.
    let mut lines = source.lines().skip(1).peekable();
    while let Some(first) = lines.next() {
        if let Some(title) = first.strip_prefix("## ") {
            out += &heading(title);
        } else if first.starts_with("```") {
            let block: Vec<&str> = lines
                .by_ref()
                .take_while(|text| !text.starts_with("```"))
                .collect();
            out += &code(block.into_iter());
        } else if let Some(text) = first.strip_prefix(INDENT) {
            let mut block = vec![text];
            while let Some(text) = lines.peek().and_then(|next| next.strip_prefix(INDENT)) {
                block.push(text);
                lines.next();
            }
            out += &code(block.into_iter());
        } else if first.starts_with('|') {
            let mut rows = vec![first];
            while let Some(next) = lines.next_if(|text| text.starts_with('|')) {
                rows.push(next);
            }
            out += &table(&rows);
        } else if !first.is_empty() {
            let (begins, text) = match first.strip_prefix("- ") {
                Some(text) => (".IP \\(bu 2\n", text),
                None => (".PP\n", first),
            };
            let mut words = text.to_owned();
            while let Some(next) = lines.next_if(|text| {
                !text.is_empty() && !BLOCKS.iter().any(|block| text.starts_with(block))
            }) {
                words += " ";
                words += next.trim();
            }
            out += begins;
            out += &line(&inline(&words));
        }
    }
    out + TAIL
}

#[test]
fn the_manual_is_the_page() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/man/portcullis.toml.5");
    let generated = manual(SOURCE);
    if std::env::var_os(WRITE).is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &generated).unwrap();
    }
    let checked_in = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        checked_in == generated,
        "docs/man/portcullis.toml.5 is not what docs/configuration.md gives; repair it with\n    \
         {WRITE}=1 cargo test -p portcullis the_manual_is_the_page"
    );
}

#[track_caller]
fn check(markdown: &str, expected: &str) {
    let page = manual(&format!("# title\n{markdown}\n"));
    let body = page
        .strip_prefix(HEAD)
        .and_then(|page| page.strip_suffix(TAIL));
    assert_eq!(body, Some(expected));
}

#[test]
fn what_the_page_has_is_told_in_roff() {
    check(
        "a `b-c` **d** [e](f)\ng",
        ".PP\na \\fBb\\-c\\fR \\fBd\\fR e g\n",
    );
    check("`.options`", ".PP\n\\fB.options\\fR\n");
    check(".options", ".PP\n\\&.options\n");
    check(
        "- one\n  two\n- three",
        ".IP \\(bu 2\none two\n.IP \\(bu 2\nthree\n",
    );
    check("## `[a]`: b", ".SH \"[a]: b\"\n");
    check(
        "```toml\n.a = \"\\\\\"\n```",
        ".PP\n.RS 4\n.EX\n\\&.a = \"\\e\\e\"\n.EE\n.RE\n",
    );
    check("    x --y", ".PP\n.RS 4\n.EX\nx \\-\\-y\n.EE\n.RE\n");
    check(
        "| key | meaning | default |\n|---|---|---|\n| `a` | b | none |",
        ".TP\n\\fBa\\fR\nb.\nDefault: none.\n",
    );
    check("a * b [c", ".PP\na * b [c\n");
    check("a\n`b` c\n- d", ".PP\na \\fBb\\fR c\n.IP \\(bu 2\nd\n");
}
