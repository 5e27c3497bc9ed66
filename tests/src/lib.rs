//! Helpers for tests that need root: throw-away hosts, real programs on them, a real journald, frames from data.
//!
//! A throw-away host is a network and a mount namespace without a name ([`netns::Namespace`]). The kernel takes it apart when the last
//! process in it and the last handle on it are gone, so a test that panics, is interrupted or killed leaves nothing behind.

pub mod bench;
pub mod boots;
mod bpf;
pub mod daemon;
pub mod damage;
pub mod demo;
pub mod devices;
pub mod dhcp;
pub mod dhcp6;
pub mod differential;
pub mod generator;
pub mod interpreter;
pub mod ipsec;
pub mod journald;
pub mod life;
pub mod link;
pub mod machine;
pub mod manager;
pub mod netns;
pub mod notify;
pub mod oracle;
pub mod packet;
pub mod process;
pub mod random;
pub mod raw;
pub mod ring;
pub mod rows;
pub mod scanner;
pub mod seccomp;
pub mod service;
pub mod terminal;
pub mod verified;
pub mod veth;
pub mod whole;
