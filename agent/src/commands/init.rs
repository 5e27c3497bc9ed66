//! `portcullis init`: a configuration to start from.

use std::path::Path;

use anyhow::Result;

use super::{Outcome, Status, policy};
use crate::cli::InitArgs;
use crate::host::files::DEFAULT_PATH;
use crate::init;
use crate::policy::Policy;
use crate::policy::show::Filter;

/// Writes the configuration to stdout, and to stderr what comes next.
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
    if args.role.is_empty() {
        return Ok(Outcome::refused(Status::Usage, &roles(policy)));
    }
    let roles = args.role.iter().map(|role| (Some(role), None));
    let topologies = args.topology.iter().map(|topology| (None, Some(topology)));
    for (role, topology) in roles.chain(topologies) {
        let filter = Filter {
            role: role.cloned(),
            topology: topology.cloned(),
        };
        if let Err(message) = filter.check(policy) {
            return Ok(Outcome::refused(Status::Usage, &message));
        }
    }
    let roles: Vec<&str> = args.role.iter().map(String::as_str).collect();
    let topologies: Vec<&str> = args.topology.iter().map(String::as_str).collect();
    let text = init::text(policy, &roles, &topologies);
    let talk = policy::talk(&findings) + &installed(policy, &topologies) + &next(&text);
    Ok(Outcome::done(text).with_talk(talk))
}

/// The roles of a product, for whoever has not said one; those that Linux plays first.
fn roles(policy: &Policy) -> String {
    let line = |name: &str, summary: Option<&str>| {
        format!("\n  {name:<24}{}", summary.unwrap_or_default())
            .trim_end()
            .to_owned()
    };
    let of = |linux: bool| -> String {
        let roles = policy.roles.iter().filter(|(_, role)| role.linux == linux);
        roles
            .map(|(name, role)| line(name, role.summary.as_deref()))
            .collect()
    };
    let mut text = format!(
        "say which role of `{}` this host plays, with --role:{}",
        policy.id(),
        of(true)
    );
    let others = of(false);
    if !others.is_empty() {
        text += "\nand those that the document knows on no Linux host:";
        text += &others;
    }
    text
}

/// That fewer lines are to be filled in where it is said how the product is installed.
fn installed(policy: &Policy, said: &[&str]) -> String {
    let known: Vec<&str> = policy.topologies.keys().collect();
    if !said.is_empty() || known.len() < 2 {
        return String::new();
    }
    format!(
        "note: with --topology ({}) only what that one needs is written\n",
        known.join(", ")
    )
}

/// What to do with the text.
fn next(text: &str) -> String {
    let count = text
        .lines()
        .filter(|line| line.starts_with("# ") && line.contains(init::FILL_IN))
        .count();
    let lines = if count == 1 { "line" } else { "lines" };
    format!(
        "note: keep this as {DEFAULT_PATH}, fill in the {count} {lines} marked FILL IN, then run `portcullis check`\n"
    )
}
