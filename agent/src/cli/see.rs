//! Commands that look: at what was seen, and at what to make of it.

use std::path::PathBuf;

use clap::Args;
use ipnet::IpNet;

use super::{ConfigArgs, ControlArgs, DirectionWord, Format, TextOrJson};

/// `suggest`
#[derive(Debug, Args)]
pub struct SuggestArgs {
    /// What was seen: a file of lines of `run --sink json` or `journalctl -o json`, or - for standard input; unsaid, the journal
    #[arg(long, value_name = "FILE")]
    pub events: Option<String>,
    /// Of the journal, only what came since then, as journalctl takes it: -7d, 2027-01-31
    #[arg(
        long,
        value_name = "TIME",
        allow_hyphen_values = true,
        conflicts_with = "events"
    )]
    pub since: Option<String>,
    /// Propose to end the audits of products, too
    #[arg(long)]
    pub enforce: bool,
    /// What is added to
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Facts of another host, as `portcullis facts` wrote them there; else this host is looked at
    #[arg(long, value_name = "FILE")]
    pub facts: Option<PathBuf>,
    /// Where the daemon is, whose counters say which rows are in use
    #[command(flatten)]
    pub control: ControlArgs,
    /// How to print
    #[command(flatten)]
    pub format: TextOrJson,
}

/// `events`
#[derive(Debug, Args)]
pub struct EventsArgs {
    /// Entries as they come, from the daemon; says what was missed
    #[arg(long, short = 'f')]
    pub follow: bool,
    /// With --follow: how long to wait for a daemon that has gone; it is asked again, and the time without it told
    #[arg(long, value_name = "TIME", default_value = "60s", requires = "follow", value_parser = crate::host::units::duration)]
    pub wait: std::time::Duration,
    /// Saved entries: a file of lines of `run --sink json` or `journalctl -o json`, or - for standard input; unsaid, the journal
    #[arg(long, value_name = "FILE", conflicts_with = "follow")]
    pub events: Option<String>,
    /// Of the journal, only what came since then, as journalctl takes it: -1h, 2027-01-31
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, conflicts_with_all = ["follow", "events"])]
    pub since: Option<String>,
    /// Only these reasons: no-rule, block, fragment, …
    #[arg(long = "reason", value_name = "REASON", value_delimiter = ',', value_parser = reason)]
    pub reasons: Vec<String>,
    /// Only these kinds of difference: peer, option, none, …
    #[arg(long = "kind", value_name = "KIND", value_delimiter = ',', value_parser = kind)]
    pub kinds: Vec<String>,
    /// Only those near these rows or rules, or decided by them; also a product, or a table of one
    #[arg(long = "row", value_name = "ID", value_delimiter = ',')]
    pub rows: Vec<String>,
    /// Only those with these hosts at the other end: addresses or prefixes
    #[arg(long = "peer", value_name = "IP", value_delimiter = ',', value_parser = network)]
    pub peers: Vec<IpNet>,
    /// Only packets that went this way
    #[arg(long, value_enum)]
    pub direction: Option<DirectionWord>,
    /// Only packets of these units of this host
    #[arg(long = "unit", value_name = "UNIT", value_delimiter = ',')]
    pub units: Vec<String>,
    /// Write the packets' headers as pcap-ng to this file, or - for standard output, in place of lines
    #[arg(long, value_name = "FILE", conflicts_with_all = ["json", "format"])]
    pub pcap: Option<String>,
    /// Where the daemon is
    #[command(flatten)]
    pub control: ControlArgs,
    /// How to print; unsaid, columns on a terminal and JSON elsewhere
    #[arg(long, value_enum)]
    pub format: Option<Format>,
    /// The same as --format json
    #[arg(long, conflicts_with = "format")]
    pub json: bool,
}

fn reason(text: &str) -> Result<String, String> {
    let all = agent_common::verdict::Reason::ALL.iter();
    known(text, all.map(|it| it.name()))
}

fn kind(text: &str) -> Result<String, String> {
    known(text, crate::events::Kind::ALL.iter().map(|it| it.name()))
}

fn known<'a>(text: &str, all: impl Iterator<Item = &'a str>) -> Result<String, String> {
    let all: Vec<&str> = all.collect();
    match all.contains(&text) {
        true => Ok(text.to_owned()),
        false => Err(format!("not one of {}", all.join(", "))),
    }
}

fn network(text: &str) -> Result<IpNet, String> {
    let parsed = text.parse::<IpNet>().ok().map(|it| it.trunc());
    let host = || text.parse::<std::net::IpAddr>().ok().map(IpNet::from);
    parsed
        .or_else(host)
        .ok_or_else(|| "neither an address nor a prefix".to_owned())
}

/// `report`
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// Where the page goes, or - for standard output
    #[arg(long, value_name = "FILE")]
    pub html: PathBuf,
    /// Denied packets from a file of lines of `run --sink json` or `journalctl -o json`; unsaid, from the journal
    #[arg(long, value_name = "FILE")]
    pub events: Option<PathBuf>,
    /// Of the journal, only what came since then, as journalctl takes it: -30d, 2027-01-31
    #[arg(
        long,
        value_name = "TIME",
        allow_hyphen_values = true,
        conflicts_with = "events"
    )]
    pub since: Option<String>,
    /// What is reported
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Facts of another host, as `portcullis facts` wrote them there; else this host is looked at
    #[arg(long, value_name = "FILE")]
    pub facts: Option<PathBuf>,
    /// Where the daemon is, whose counters say when rows were used
    #[command(flatten)]
    pub control: ControlArgs,
}

/// `top`
#[cfg(feature = "top")]
#[derive(Debug, Args)]
pub struct TopArgs {
    /// Where the daemon is
    #[command(flatten)]
    pub control: ControlArgs,
    /// Whose rows are explained
    #[command(flatten)]
    pub catalogue: super::CatalogueArgs,
}
