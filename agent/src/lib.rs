//! The agent behind the `portcullis` binary: a library so that tests can reach every part.

pub mod diagnose;
pub mod policy;
