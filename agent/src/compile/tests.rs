//! Compiled tables against a naive reading of the rules, and the decision over them.

mod build;
mod changes;
mod flows;
mod groups;
mod malformed;
mod messages;
mod naive;
mod properties;
mod sizes;
mod wire;
