//! The demonstration: a vendor's port table enforced on a throw-away host, tried by real clients against real listeners.
//!
//! Everything lives in namespaces without a name: when this program ends, by whatever way, the kernel takes them apart.

mod flows;
mod hosts;
mod table;
mod trial;

use std::time::Instant;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::daemon::{Agent, portcullis_json, portcullis_text};

pub use flows::{Client, Expected, FLOWS, Family, Flow};
pub use hosts::{Hosts, Who};
pub use trial::Outcome;

/// What the guarded host is told.
pub const CONFIGURATION: &str = include_str!("demo/portcullis.toml");

const PRODUCT: &str = "seal-output-engine";

/// Runs it and prints the table. Whether everything was as expected.
///
/// # Errors
/// When the hosts or the agent can't be started.
pub fn run() -> Result<bool> {
    let begin = Instant::now();
    println!(
        "hosts: a guarded server, its clients, a stranger, a resolver; each in namespaces of its own"
    );
    let hosts = Hosts::new().context("throw-away hosts")?;
    println!("{}", limits(&hosts)?);
    let mut agent =
        Agent::start(hosts.of(Who::Server), CONFIGURATION, "json").context("the agent")?;
    println!(
        "agent: in force on eth0 of the server, configuration tests/src/demo/portcullis.toml; {} flows\n",
        FLOWS.len()
    );
    let mut outcomes = Vec::new();
    for flow in FLOWS {
        outcomes.push(trial::run(flow, &hosts, &mut agent)?);
    }
    agent.stop().context("stopping the agent")?;
    portcullis_text(hosts.of(Who::Server), &["detach"]).context("detach")?;
    print!("{}", table::render(&outcomes));
    let wrong = outcomes.iter().filter(|outcome| !outcome.right()).count();
    let denied = outcomes.iter().filter(|outcome| !outcome.passed()).count();
    println!(
        "\n{} flows, {denied} of them denied, {wrong} not as expected; {:.1} s",
        outcomes.len(),
        begin.elapsed().as_secs_f32()
    );
    Ok(wrong == 0)
}

/// What the vendor's page covers, and what that means for the egress default of this demonstration.
fn limits(hosts: &Hosts) -> Result<String> {
    let server = hosts.of(Who::Server);
    let shown = portcullis_json(server, &["policy", "show", PRODUCT, "--format", "json"])?;
    let document = &shown["document"];
    let list = |key: &str| -> Vec<&str> {
        let values = document[key].as_array().map(Vec::as_slice);
        let words = values.unwrap_or_default().iter();
        words.filter_map(Value::as_str).collect()
    };
    let covers = list("covers");
    let title = document["title"].as_str().unwrap_or_default();
    let silent = document["silent"].as_str().unwrap_or_default();
    let egress = if covers.contains(&"egress") {
        "it lists egress, too".to_owned()
    } else {
        format!(
            "it lists no egress ({silent}), so with egress = \"deny\" the server reaches nothing but the baseline and what `allow` adds"
        )
    };
    Ok(format!(
        "product: {PRODUCT}, \"{title}\", covers {}; {egress}",
        covers.join(" and ")
    ))
}
