//! `portcullis init`: a configuration to start from.

use std::path::Path;

use anyhow::Result;

use super::{Outcome, Status, policy};
use crate::cli::InitArgs;
use crate::init;
use crate::policy::show::Filter;

/// Writes the configuration to stdout.
///
/// # Errors
///
/// Where the directory of further policies can't be read.
pub fn run(args: &InitArgs) -> Result<Outcome> {
    let directory: &Path = &args.catalogue.policies;
    let (catalogue, findings) = policy::load(directory)?;
    let Some(policy) = catalogue.get(&args.product) else {
        return Ok(policy::no_product(&args.product, &catalogue, &findings));
    };
    for role in &args.role {
        let filter = Filter {
            role: Some(role.clone()),
            topology: args.topology.clone(),
        };
        if let Err(message) = filter.check(policy) {
            return Ok(Outcome::refused(Status::Usage, &message));
        }
    }
    let roles: Vec<&str> = args.role.iter().map(String::as_str).collect();
    let text = init::text(policy, &roles, args.topology.as_deref());
    Ok(Outcome::done(text).with_talk(policy::talk(&findings)))
}
