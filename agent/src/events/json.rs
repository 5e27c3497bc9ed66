//! JSON lines: one object for each entry, to a file, a pipe or standard output.

use std::io::{self, Write};

use super::fields::Entry;
use super::sink::Destination;

/// Writes a line for each entry.
#[derive(Debug)]
pub struct JsonLines<W>(W);

impl<W: Write> JsonLines<W> {
    /// Lines to `writer`.
    pub fn new(writer: W) -> Self {
        Self(writer)
    }

    /// The writer back.
    pub fn into_inner(self) -> W {
        self.0
    }
}

impl<W: Write + Send + 'static> Destination for JsonLines<W> {
    fn deliver(&mut self, entry: &Entry) -> io::Result<()> {
        let mut line = serde_json::to_vec(&entry.json())?;
        line.push(b'\n');
        self.0.write_all(&line)?;
        self.0.flush()
    }
}
