//! What takes any octets: texts of an operator, frames of anyone, events of programs of another version.
//!
//! Each function is a target of cargo-fuzz (`targets/`), and runs over its kept cases in every test run (`tests/corpus.rs`). It holds what
//! must hold of every input; a panic, or an assertion here, is a fault.

mod events;
mod frames;
mod texts;

pub use events::events;
pub use frames::frames;
pub use texts::{configuration, policy};

/// A target by the name of its corpus.
#[must_use]
pub fn target(name: &str) -> Option<fn(&[u8])> {
    match name {
        "policy" => Some(policy),
        "configuration" => Some(configuration),
        "frames" => Some(frames),
        "events" => Some(events),
        _ => None,
    }
}
