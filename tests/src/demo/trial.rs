//! One flow: tried by a real program, and what became of it.

use std::net::IpAddr;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::flows::{Client, Expected, Flow};
use super::hosts::{Hosts, Who};
use crate::daemon::{Agent, portcullis_json};
use crate::process::{self, Running};

/// How long a client may take for an answer.
const CLIENT: Duration = Duration::from_secs(5);
/// How long a denial may take to the JSON sink: the ring is read every 100 ms.
const EVENT: Duration = Duration::from_secs(3);
/// A name that the resolvers know.
const NAME: &str = "printer.example";

/// What became of a flow.
#[derive(Debug)]
pub struct Outcome {
    /// The flow.
    pub flow: &'static Flow,
    /// What was seen of it.
    pub seen: Seen,
}

/// What was seen.
#[derive(Debug, PartialEq, Eq)]
pub enum Seen {
    /// The client got its answer; by these rows or rules.
    Passed {
        /// Rows and rules that admit it.
        rows: Vec<String>,
    },
    /// The agent reported a denial, and nothing reached a listener.
    Denied {
        /// The kind of difference.
        kind: String,
        /// The rows that it nearly matched.
        near: Vec<String>,
        /// What to do.
        remedy: String,
    },
    /// Neither: in words.
    Neither(String),
}

impl Outcome {
    /// Whether it was as expected.
    pub fn right(&self) -> bool {
        match (&self.flow.expected, &self.seen) {
            (Expected::Passes(by), Seen::Passed { rows }) => rows.iter().any(|row| row == by),
            (Expected::Denied(expected, row), Seen::Denied { kind, near, .. }) => {
                kind == expected && (row.is_empty() || near.iter().any(|it| it == row))
            }
            _ => false,
        }
    }

    /// Whether the flow passed.
    pub fn passed(&self) -> bool {
        matches!(self.seen, Seen::Passed { .. })
    }
}

/// Tries a flow.
///
/// # Errors
/// When a client can't be started, or the agent can't be asked. A flow that goes another way than expected is no error.
pub(super) fn run(flow: &'static Flow, hosts: &Hosts, agent: &mut Agent) -> Result<Outcome> {
    if flow.client == Client::Getent {
        let resolver = flow.to.address(flow.family).to_string();
        hosts.of(flow.from).resolve_by(&[&resolver])?;
    }
    let tried = match flow.expected {
        Expected::Passes(_) => passes(flow, hosts, agent),
        Expected::Denied(..) => denied(flow, hosts, agent),
    };
    let seen = tried.with_context(|| format!("{} ({})", flow.what, flow.client.name()))?;
    Ok(Outcome { flow, seen })
}

fn passes(flow: &Flow, hosts: &Hosts, agent: &mut Agent) -> Result<Seen> {
    let output = process::output(&mut command(flow, hosts), CLIENT + CLIENT)?;
    if output.status.success() && !output.stdout.is_empty() {
        return Ok(Seen::Passed {
            rows: rows(flow, hosts)?,
        });
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Ok(match agent.events()?.iter().find(|it| is_of(it, flow)) {
        Some(event) => explained(event),
        None => Seen::Neither(format!(
            "no answer, no denial; {} said: {said}",
            flow.client.name()
        )),
    })
}

fn denied(flow: &Flow, hosts: &Hosts, agent: &mut Agent) -> Result<Seen> {
    let before = hosts.served();
    let mut client = Running::start(&mut command(flow, hosts))?;
    let event = agent.wait_event(flow.what, EVENT, |event| is_of(event, flow));
    let seen = match event {
        Ok(event) => explained(&event),
        Err(_) => match client.wait(CLIENT)? {
            Some(status) if status.success() => Seen::Passed { rows: Vec::new() },
            _ => Seen::Neither("no answer, and no denial reported".to_owned()),
        },
    };
    if hosts.served() != before {
        return Ok(Seen::Neither("it reached a listener".to_owned()));
    }
    Ok(seen)
}

fn explained(event: &Value) -> Seen {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    Seen::Denied {
        kind: text(&event["difference"]["kind"]),
        near: strings(&event["near_rows"]),
        remedy: text(&event["difference"]["remedy"]),
    }
}

fn strings(list: &Value) -> Vec<String> {
    let values = list.as_array().map(Vec::as_slice).unwrap_or_default();
    let words = values.iter().filter_map(Value::as_str);
    words.map(str::to_owned).collect()
}

/// Whether an event is about the flow.
fn is_of(event: &Value, flow: &Flow) -> bool {
    let address = |key: &str| event[key].as_str().and_then(|it| it.parse::<IpAddr>().ok());
    event["verdict"] == "deny"
        && address("src") == Some(flow.from.address(flow.family))
        && address("dst") == Some(flow.to.address(flow.family))
        && flow.client.transport().is_none_or(|transport| {
            event["transport"] == transport && event["dst_port"] == flow.port
        })
}

/// The rows and rules by which the policy in force admits the flow.
fn rows(flow: &Flow, hosts: &Hosts) -> Result<Vec<String>> {
    let (direction, peer) = if flow.to == Who::Server {
        ("ingress", flow.from)
    } else {
        ("egress", flow.to)
    };
    let peer = peer.address(flow.family).to_string();
    let port = flow.port.to_string();
    let mut arguments = vec![
        "explain",
        "--direction",
        direction,
        "--peer",
        &peer,
        "--json",
    ];
    match flow.client.transport() {
        Some(transport) => arguments.extend(["--transport", transport, "--port", &port]),
        None if flow.family == super::Family::V4 => arguments.extend(["--transport", "icmp"]),
        None => arguments.extend(["--transport", "icmpv6"]),
    }
    let answer = portcullis_json(hosts.of(Who::Server), &arguments)?;
    anyhow::ensure!(
        answer["verdict"] == "allow",
        "it passed, and `explain` says {answer}"
    );
    Ok(strings(&answer["rows"]))
}

fn command(flow: &Flow, hosts: &Hosts) -> Command {
    let to = flow.to.address(flow.family);
    let host = match to {
        IpAddr::V4(to) => to.to_string(),
        IpAddr::V6(to) => format!("[{to}]"),
    };
    let seconds = CLIENT.as_secs();
    let mut command = hosts.of(flow.from).command(flow.client.name());
    match flow.client {
        Client::Curl => command
            .args(["--silent", "--show-error", "--globoff", "--noproxy", "*"])
            .args(["--max-time", &seconds.to_string()])
            .arg(format!("http://{host}:{}/", flow.port)),
        Client::SocatTcp | Client::SocatUdp => {
            let transport = if flow.client == Client::SocatTcp {
                format!("TCP:{host}:{},connect-timeout={seconds}", flow.port)
            } else {
                format!("UDP:{host}:{}", flow.port)
            };
            // A small file goes out, the answer to standard output.
            command
                .args(["-t", "1", "-T", &seconds.to_string()])
                .args(["OPEN:/etc/nsswitch.conf,rdonly!!STDOUT", &transport])
        }
        Client::Ping => command
            .args(["-n", "-c", "1", "-W", &seconds.to_string()])
            .arg(to.to_string()),
        Client::Getent => command.args(["hosts", NAME]),
    };
    command
}
