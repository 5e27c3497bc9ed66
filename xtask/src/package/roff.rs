//! Markdown as the project's documents use it, into a manual page: man(7) by groff.
//!
//! Known: headings, paragraphs, lists of one level with lines that go on, tables, code in fences or indented by four, and inside lines code,
//! strong words, links. Anything else is text.

/// What stands in the page's head.
pub(super) struct Page<'a> {
    /// Its name.
    pub(super) name: &'a str,
    /// Its section.
    pub(super) section: &'a str,
    /// One line that whatis(1) finds.
    pub(super) about: &'a str,
    /// The program's version.
    pub(super) version: &'a str,
}

/// The page of these documents, one after the other. The title of each is left out of the first, which `about` names.
pub(super) fn page(page: &Page<'_>, documents: &[&str]) -> String {
    let Page {
        name,
        section,
        about,
        version,
    } = page;
    let mut out = String::new();
    let title = name.to_uppercase();
    out.push_str(&format!(
        ".TH {title} {section} \" \" \"portcullis {version}\" Portcullis\n"
    ));
    // Long words of code: do not stretch lines, do not break words.
    out.push_str(".ad l\n.nh\n");
    out.push_str(&format!(
        ".SH NAME\n{} \\- {}\n.SH DESCRIPTION\n",
        escaped(name),
        inline(about)
    ));
    for (number, document) in documents.iter().enumerate() {
        body(document, number == 0, &mut out);
    }
    out.push_str(".SH \"SEE ALSO\"\n\\fBportcullis\\fR(8), \\fBportcullis.toml\\fR(5), \\fBportcullis\\-policy\\fR(5)\n");
    out
}

fn body(document: &str, first: bool, out: &mut String) {
    let mut lines = document.lines().peekable();
    let mut paragraph: Vec<&str> = Vec::new();
    // The number of blanks that text of the list's entry is indented by.
    let mut entry: Option<usize> = None;
    while let Some(line) = lines.next() {
        let text = line.trim_start();
        let indent = line.len() - text.len();
        if text.starts_with("```") {
            flush(&mut paragraph, out);
            let code = lines
                .by_ref()
                .take_while(|line| !line.trim_start().starts_with("```"));
            example(code.collect::<Vec<_>>().iter().copied(), out);
        } else if text.is_empty() {
            flush(&mut paragraph, out);
        } else if indent >= 4 && entry.is_none() && paragraph.is_empty() {
            let mut code = vec![line.get(4..).unwrap_or(text)];
            while let Some(next) = lines.peek() {
                match next.strip_prefix("    ") {
                    Some(more) => code.push(more),
                    // A blank line belongs to the example if more of it follows.
                    None if next.trim().is_empty() => code.push(""),
                    None => break,
                }
                lines.next();
            }
            while code.last().is_some_and(|line| line.is_empty()) {
                code.pop();
            }
            example(code.into_iter(), out);
        } else if let Some((level, title)) = heading(line) {
            flush(&mut paragraph, out);
            entry = None;
            match level {
                1 if first => {}
                1 | 2 => out.push_str(&format!(".SH {}\n", quoted(title))),
                _ => out.push_str(&format!(".SS {}\n", quoted(title))),
            }
        } else if text.starts_with('|') {
            flush(&mut paragraph, out);
            let mut rows = vec![cells(text)];
            while let Some(next) = lines.next_if(|next| next.trim_start().starts_with('|')) {
                rows.push(cells(next.trim_start()));
            }
            table(&rows, out);
        } else if let Some(rest) = item(text) {
            flush(&mut paragraph, out);
            entry = Some(indent + text.len() - rest.len());
            let mark = text.strip_suffix(rest).unwrap_or("-").trim();
            let mark = if mark == "-" || mark == "*" {
                "\\(bu"
            } else {
                mark
            };
            out.push_str(&format!(".IP {mark} 4\n"));
            paragraph.push(rest);
        } else {
            if entry.is_some_and(|column| indent < column) && paragraph.is_empty() {
                entry = None;
            }
            if paragraph.is_empty() && entry.is_none() {
                out.push_str(".PP\n");
            }
            paragraph.push(text);
        }
    }
    flush(&mut paragraph, out);
}

fn flush(paragraph: &mut Vec<&str>, out: &mut String) {
    if paragraph.is_empty() {
        return;
    }
    // One string, because code and links may go over a line's end.
    let text = inline(&paragraph.join("\n"));
    paragraph.clear();
    for line in text.lines() {
        out.push_str(&guarded(line));
        out.push('\n');
    }
}

fn heading(line: &str) -> Option<(usize, &str)> {
    let title = line.trim_start_matches('#');
    let level = line.len() - title.len();
    (level > 0).then(|| title.strip_prefix(' ').map(|title| (level, title)))?
}

/// The text of an entry of a list: behind `- `, `* ` or `1. `.
fn item(text: &str) -> Option<&str> {
    let bullet = text.strip_prefix("- ").or_else(|| text.strip_prefix("* "));
    bullet.or_else(|| {
        let (number, rest) = text.split_once(". ")?;
        let digits = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        digits.then_some(rest)
    })
}

fn example<'a>(code: impl Iterator<Item = &'a str>, out: &mut String) {
    out.push_str(".PP\n.RS 4\n.nf\n");
    for line in code {
        out.push_str(&guarded(&escaped(line)));
        out.push('\n');
    }
    out.push_str(".fi\n.RE\n");
}

/// The cells of a row; `\|` is a bar inside one.
fn cells(row: &str) -> Vec<String> {
    let row = row.trim().trim_start_matches('|');
    let mut cells = vec![String::new()];
    let mut letters = row.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' if letters.peek() == Some(&'|') => {
                letters.next();
                push(&mut cells, '|');
            }
            '|' => cells.push(String::new()),
            letter => push(&mut cells, letter),
        }
    }
    if cells.last().is_some_and(|last| last.trim().is_empty()) {
        cells.pop();
    }
    cells
        .into_iter()
        .map(|cell| cell.trim().to_owned())
        .collect()
}

fn push(cells: &mut [String], letter: char) {
    if let Some(cell) = cells.last_mut() {
        cell.push(letter);
    }
}

/// The second row of Markdown's tables only rules a line.
fn is_ruler(row: &[String]) -> bool {
    let rules =
        |cell: &String| !cell.is_empty() && cell.chars().all(|letter| "-: ".contains(letter));
    row.iter().all(rules)
}

/// Entries of a list: the first column is the term, and the others say more of it, under the words of the head. A grid of long sentences
/// could not be read in 80 columns.
fn table(rows: &[Vec<String>], out: &mut String) {
    let mut rows = rows.iter().filter(|row| !is_ruler(row));
    let Some(head) = rows.next() else { return };
    for row in rows {
        let mut cells = row.iter().zip(head.iter().map(String::as_str));
        let Some((term, _)) = cells.next() else {
            continue;
        };
        out.push_str(&format!(".TP\n{}\n", guarded(&inline(term))));
        let mut said = false;
        for (number, (cell, column)) in cells.enumerate() {
            if cell.is_empty() {
                continue;
            }
            if said {
                out.push_str(".br\n");
            }
            said = true;
            let text = inline(cell);
            // The first explains the term by itself; the others need their head.
            if number == 0 {
                out.push_str(&format!("{}\n", guarded(&text)));
            } else {
                out.push_str(&format!("\\fI{}\\fR: {text}\n", inline(column)));
            }
        }
        if !said {
            out.push_str("\\&\n");
        }
    }
}

/// A line must not be taken for a request.
fn guarded(line: &str) -> String {
    if line.starts_with(['.', '\'']) {
        format!("\\&{line}")
    } else {
        line.to_owned()
    }
}

fn quoted(title: &str) -> String {
    format!("\"{}\"", plain(title).replace('"', "\\(dq"))
}

/// Marks taken away: headings are set in bold as a whole.
fn plain(text: &str) -> String {
    escaped(&text.replace('`', ""))
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '\\' => out.push_str("\\e"),
            '-' => out.push_str("\\-"),
            '\'' => out.push_str("\\(aq"),
            '^' => out.push_str("\\(ha"),
            '~' => out.push_str("\\(ti"),
            '`' => out.push_str("\\(ga"),
            letter if letter.is_ascii() => out.push(letter),
            letter => out.push_str(&format!("\\[u{:04X}]", u32::from(letter))),
        }
    }
    out
}

/// Code, strong words and links inside text.
fn inline(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(['`', '*', '[']) {
        let (before, marked) = rest.split_at(at);
        out.push_str(&escaped(before));
        let (done, after) = marked_up(marked);
        out.push_str(&done);
        rest = after;
    }
    out.push_str(&escaped(rest));
    out
}

/// What begins with a mark, set, and what follows it. A mark without its other end is a letter.
fn marked_up(text: &str) -> (String, &str) {
    let between = |open: &str, close: &str| -> Option<(&str, &str)> {
        let inner = text.strip_prefix(open)?;
        let (inner, after) = inner.split_once(close)?;
        (!inner.is_empty()).then_some((inner, after))
    };
    if let Some((code, after)) = between("`", "`") {
        return (format!("\\fB{}\\fR", escaped(code)), after);
    }
    if let Some((strong, after)) = between("**", "**") {
        return (format!("\\fB{}\\fR", escaped(strong)), after);
    }
    if let Some((label, after)) = between("[", "](")
        && let Some((_, after)) = after.split_once(')')
    {
        return (inline(label), after);
    }
    let mark = text.chars().next().map_or(0, char::len_utf8);
    let (letter, after) = text.split_at(mark);
    (escaped(letter), after)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(document: &str, expected: &str) {
        let mut out = String::new();
        body(document, true, &mut out);
        assert_eq!(out, expected, "{document}");
    }

    #[test]
    fn blocks() {
        check(
            "# Title\n\nOne\ntwo.\n\nThree.\n",
            ".PP\nOne\ntwo.\n.PP\nThree.\n",
        );
        check("## A `b` c\n### D\n", ".SH \"A b c\"\n.SS \"D\"\n");
        check(
            "- one\n  more\n- two\n\nAfter.\n",
            ".IP \\(bu 4\none\nmore\n.IP \\(bu 4\ntwo\n.PP\nAfter.\n",
        );
        check(
            "1. first\n2. second\n",
            ".IP 1. 4\nfirst\n.IP 2. 4\nsecond\n",
        );
        check(
            "```toml\na = \"b\"\n.x\n```\n",
            ".PP\n.RS 4\n.nf\na = \"b\"\n\\&.x\n.fi\n.RE\n",
        );
        check(
            "Run\n\n    a --b\n\n    c\n\nthen.\n",
            ".PP\nRun\n.PP\n.RS 4\n.nf\na \\-\\-b\n\nc\n.fi\n.RE\n.PP\nthen.\n",
        );
        check(
            "| key | meaning | default |\n|---|---|---|\n| `a` | is \\| was | `1` |\n| b | | |\n",
            ".TP\n\\fBa\\fR\nis | was\n.br\n\\fIdefault\\fR: \\fB1\\fR\n.TP\nb\n\\&\n",
        );
    }

    #[test]
    fn words() {
        for (text, expected) in [
            ("a `b-c` d", "a \\fBb\\-c\\fR d"),
            ("**must** [see](x.md#y), here", "\\fBmust\\fR see, here"),
            ("a * b ` c [d]", "a * b \\(ga c [d]"),
            ("\\ é", "\\e \\[u00E9]"),
            ("`*.toml` and `[x]`", "\\fB*.toml\\fR and \\fB[x]\\fR"),
        ] {
            assert_eq!(inline(text), expected, "{text}");
        }
    }

    #[test]
    fn a_line_is_never_a_request() {
        check("text\n.so /etc/passwd\n", ".PP\ntext\n\\&.so /etc/passwd\n");
        check("'quoted'\n", ".PP\n\\(aqquoted\\(aq\n");
    }

    #[test]
    fn the_head_names_the_page() {
        let shown = page(
            &Page {
                name: "portcullis-policy",
                section: "5",
                about: "a vendor's ports",
                version: "1.2.3",
            },
            &["# T\n\nx\n", "# U\n\ny\n"],
        );
        assert!(shown.contains(".TH PORTCULLIS-POLICY 5 \" \" \"portcullis 1.2.3\""));
        assert!(shown.contains(".SH NAME\nportcullis\\-policy \\- a vendor\\(aqs ports\n"));
        assert!(shown.contains(".PP\nx\n.SH \"U\"\n.PP\ny\n"));
    }
}
