//! The host's configuration: which products, which roles, who the peers are.
//!
//! `portcullis.toml`, then `conf.d/*.toml` by name, are merged into one tree and read as one
//! text; every value knows its file. The core takes texts and gives values and findings; the
//! files themselves are read at the edge.

pub mod peers;
pub mod schema;
pub mod sources;

pub use peers::{Peer, PeerEntry, PeerSpec, Peers};
pub use schema::{HostConfig, Product};
pub use sources::{Sources, Span};
