//! The agent behind the `portcullis` binary: a library so that tests can reach every part.

pub mod adopt;
pub mod cli;
pub mod commands;
pub mod compile;
pub mod control;
pub mod daemon;
pub mod dataplane;
pub mod diagnose;
pub mod doctor;
pub mod events;
pub mod facts;
pub mod failsafe;
pub mod host;
pub mod init;
pub mod inputs;
pub mod meaning;
pub mod plan;
pub mod policy;
pub mod reference;
pub mod report;
pub mod rule;
pub mod suggest;
#[cfg(feature = "top")]
pub mod top;
pub mod verify;
