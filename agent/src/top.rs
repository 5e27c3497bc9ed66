//! `portcullis top`: who is denied what, at the moment.
//!
//! Entries come in by one end (control/stream.rs), keys by the other. What is counted, sorted, selected and said (count.rs, model.rs,
//! explain.rs) knows neither a terminal nor a clock; draw.rs puts it on any screen of ratatui's, and terminal.rs takes the real one and
//! gives it back.

pub mod count;
pub mod draw;
pub mod explain;
pub mod model;
pub mod terminal;
