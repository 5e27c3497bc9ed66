//! journald, by its native protocol: one datagram for each entry, with fields.
//!
//! The socket is addressed anew for each datagram, so that a journald that was restarted, or that comes later, is found by itself. A
//! journald that is stopped lets the send block, which costs this thread and nothing else.

use std::io;

use libsystemd::logging::{self, Priority as Level};

use super::fields::{Entry, Priority};
use super::sink::Destination;

/// The local journald.
#[derive(Clone, Copy, Debug, Default)]
pub struct Journal;

impl Destination for Journal {
    fn deliver(&mut self, entry: &Entry) -> io::Result<()> {
        let level = match entry.priority() {
            Priority::Warning => Level::Warning,
            Priority::Notice => Level::Notice,
        };
        logging::journal_send(level, &entry.text(), entry.journal_fields().into_iter())
            .map_err(io::Error::other)
    }
}
