//! Lines of text, wrapped where they are too long.

/// Columns that a line may take.
const WIDTH: usize = 110;

/// A text in the making.
#[derive(Default)]
pub(super) struct Page {
    lines: Vec<String>,
}

impl Page {
    /// A heading after an empty line.
    pub(super) fn section(&mut self, title: &str) {
        if !self.lines.is_empty() {
            self.lines.push(String::new());
        }
        self.lines.push(title.to_owned());
    }

    /// A paragraph: its first line indented, the others two columns more.
    pub(super) fn add(&mut self, indent: usize, text: &str) {
        let mut line = " ".repeat(indent);
        let mut empty = true;
        // Only single blanks are places to break: wider ones are there to be seen.
        for word in text.split(' ') {
            let long = line.chars().count() + 1 + word.chars().count() > WIDTH;
            if !empty && long && !word.is_empty() {
                let full = std::mem::replace(&mut line, " ".repeat(indent + 2));
                self.lines.push(full.trim_end().to_owned());
                empty = true;
            }
            if !empty {
                line.push(' ');
            }
            line.push_str(word);
            empty = false;
        }
        self.lines.push(line.trim_end().to_owned());
    }

    pub(super) fn finish(self) -> String {
        self.lines.join("\n") + "\n"
    }
}
