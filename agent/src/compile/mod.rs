//! From rules to tables: pure, and constant work per packet whatever the policy's size.

pub mod resolve;
pub mod tables;
