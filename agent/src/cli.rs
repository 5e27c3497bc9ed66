//! The command line: clap types and nothing else. One variant per command; what a command
//! does stands in `commands/`.

mod see;

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

#[cfg(feature = "top")]
pub use self::see::TopArgs;
pub use self::see::{EventsArgs, ReportArgs, SuggestArgs};

/// Host firewall agent that takes the vendor's port table as data.
#[derive(Debug, Parser)]
#[command(name = "portcullis", version, propagate_version = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// The catalogue: what vendors document
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// What this host is: interfaces, addresses, resolvers, names; for `--facts FILE` elsewhere
    Facts(FactsArgs),
    /// Check the configuration: what is wrong, missing or doubtful in it on this host
    Check(CheckArgs),
    /// What happens to a flow, by which row, or what it differs in from the nearest one
    Explain(ExplainArgs),
    /// The daemon: keep the policy in force and tell what is denied
    Run(RunArgs),
    /// Put the configuration on disk in force; refuses what would cut the session you sit in
    Apply(ApplyArgs),
    /// Keep the policy that waits for its confirmation
    Confirm(ControlArgs),
    /// Take a policy on trial back, end a pause, or put the earlier policy in force again
    Revert(ControlArgs),
    /// Read the configuration again, as SIGHUP does, and wait for what becomes of it
    Reload(ControlArgs),
    /// Let pass, and report, what would be denied, for a while; it ends by itself, in the kernel
    Pause(PauseArgs),
    /// What is in force, and what it has counted; exit code 3 where no daemon runs
    Status(StatusArgs),
    /// End enforcement: detach the programs and remove every pin. Needs no configuration and no daemon
    Detach(DetachArgs),
    /// Write a commented configuration for a role of a product, with everything to bind
    Init(InitArgs),
    /// Show what the host will accept and reach, and why
    Plan(PlanArgs),
    /// Is this host fit for it? Kernel, drivers, neighbours, journal, clock, memory; exit code 1 where something is red
    Doctor(DoctorArgs),
    /// Prove the configuration: packets at every rule's edges and beside, through the programs that the kernel has verified
    Verify(VerifyArgs),
    /// Propose, as a diff, the smallest configuration for what was denied or audited, as far as documents cover it
    Suggest(SuggestArgs),
    /// Denied and audited packets: those of the journal, or as they come; filtered; as columns, JSON or pcap-ng
    Events(EventsArgs),
    /// Who is denied what at the moment, by peer, port, row and kind, on a terminal
    #[cfg(feature = "top")]
    Top(TopArgs),
    /// Write one page for whoever signs off the host: what is documented, in force, proved and used
    Report(ReportArgs),
}

/// Where the agent's pins are.
#[derive(Debug, Clone, Args)]
pub struct PinArgs {
    /// Directory of pins on a BPF file system
    #[arg(long, alias = "pin-dir", value_name = "DIR", default_value = crate::dataplane::DEFAULT_ROOT)]
    pub pins: PathBuf,
}

/// `detach`
#[derive(Debug, Args)]
pub struct DetachArgs {
    /// Where the pins are
    #[command(flatten)]
    pub pins: PinArgs,
}

/// The host's configuration.
#[derive(Debug, Clone, Args)]
pub struct ConfigArgs {
    /// The configuration; drop-ins lie beside it in conf.d
    #[arg(long, value_name = "FILE", default_value = crate::host::files::DEFAULT_PATH)]
    pub config: PathBuf,
    /// Directory of further policy files (*.toml), instead of the configuration's
    #[arg(long, value_name = "DIR")]
    pub policies: Option<PathBuf>,
}

/// `run`
#[derive(Debug, Args)]
pub struct RunArgs {
    /// What to enforce
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Where denials go, instead of where the configuration says
    #[arg(long = "sink", value_name = "SINK", value_enum, value_delimiter = ',')]
    pub sinks: Vec<SinkName>,
    /// Fall back to passing everything after this time (60s, 10m) unless confirmed; for a first policy
    #[arg(long, value_name = "TIME", value_parser = crate::host::units::duration)]
    pub confirm: Option<std::time::Duration>,
    /// Directory of what survives a restart, instead of the configuration's
    #[arg(long, alias = "state-dir", value_name = "DIR")]
    pub state: Option<PathBuf>,
    /// Directory of the plan in force and the lock, instead of the configuration's
    #[arg(long, alias = "run-dir", value_name = "DIR")]
    pub runtime: Option<PathBuf>,
    /// Directory of pins on a BPF file system, instead of the configuration's
    #[arg(long, alias = "pin-dir", value_name = "DIR")]
    pub pins: Option<PathBuf>,
}

/// Where the daemon is.
#[derive(Debug, Clone, Args)]
pub struct ControlArgs {
    /// Directory of the daemon's control socket
    #[arg(
        long,
        alias = "run-dir",
        value_name = "DIR",
        default_value = "/run/portcullis"
    )]
    pub runtime: PathBuf,
}

/// `apply`
#[derive(Debug, Args)]
pub struct ApplyArgs {
    /// Fall back to what is in force now after this time (60s, 10m) unless confirmed, also when daemon and session are dead
    #[arg(long, value_name = "TIME", value_parser = crate::host::units::duration)]
    pub confirm: Option<std::time::Duration>,
    /// Cut as many sessions of others
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub cut: usize,
    /// Where the daemon is
    #[command(flatten)]
    pub control: ControlArgs,
}

/// `pause`
#[derive(Debug, Args)]
pub struct PauseArgs {
    /// How long: 10m
    #[arg(long = "for", value_name = "TIME", value_parser = crate::host::units::duration)]
    pub time: std::time::Duration,
    /// Where the daemon is
    #[command(flatten)]
    pub control: ControlArgs,
}

/// Where denials go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SinkName {
    /// journald
    Journal,
    /// JSON lines on standard output
    Json,
}

impl SinkName {
    /// The sink.
    #[must_use]
    pub const fn sink(self) -> crate::host::schema::Sink {
        match self {
            Self::Journal => crate::host::schema::Sink::Journal,
            Self::Json => crate::host::schema::Sink::Json,
        }
    }
}

/// `status`
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Where the pins are
    #[command(flatten)]
    pub pins: PinArgs,
    /// Directory of what survives a restart
    #[arg(
        long,
        alias = "state-dir",
        value_name = "DIR",
        default_value = "/var/lib/portcullis"
    )]
    pub state: PathBuf,
    /// Directory of the plan in force and the lock
    #[arg(
        long,
        alias = "run-dir",
        value_name = "DIR",
        default_value = "/run/portcullis"
    )]
    pub runtime: PathBuf,
    /// How to print
    #[command(flatten)]
    pub format: TextOrJson,
}

/// `doctor`
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// What is to be enforced here
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Where the pins are
    #[command(flatten)]
    pub pins: PinArgs,
    /// How to print
    #[command(flatten)]
    pub format: TextOrJson,
}

/// `facts`
#[derive(Debug, Args)]
pub struct FactsArgs {
    /// The configuration whose host names are resolved
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Sockets that listen, too
    #[arg(long)]
    pub listening: bool,
    /// JSON, which it is anyway
    #[arg(long)]
    pub json: bool,
}

/// `check`
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// The configuration
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Facts of another host, as `portcullis facts` writes them there; else this host is looked at
    #[arg(long, value_name = "FILE")]
    pub facts: Option<PathBuf>,
    /// Exit code 1 where there are warnings
    #[arg(long)]
    pub strict: bool,
}

/// `plan`
#[derive(Debug, Args)]
pub struct PlanArgs {
    /// What is judged
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Facts of another host, as `portcullis facts` wrote them there; else this host is looked at
    #[arg(long, value_name = "FILE")]
    pub facts: Option<PathBuf>,
    /// Compare with the sockets that listen
    #[arg(long)]
    pub listening: bool,
    /// Only what ends within this time: 30d, 12h
    #[arg(long, value_name = "TIME", value_parser = crate::host::units::duration, conflicts_with_all = ["listening", "against_running"])]
    pub expiring: Option<std::time::Duration>,
    /// Only what differs from the plan in force; exit code 1 where anything does
    #[arg(long, conflicts_with = "listening")]
    pub against_running: bool,
    /// How to print
    #[command(flatten)]
    pub format: TextOrJson,
}

/// `verify`
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// What is proved
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Facts of another host, as `portcullis facts` wrote them there; else this host is looked at
    #[arg(long, value_name = "FILE")]
    pub facts: Option<PathBuf>,
    /// How to print
    #[command(flatten)]
    pub format: TextOrJson,
}

/// `init`
#[derive(Debug, Args)]
pub struct InitArgs {
    /// The product's id
    pub product: String,
    /// A role that the host plays; can be said more than once. Without one the roles are listed
    #[arg(long)]
    pub role: Vec<String>,
    /// How the product is installed; additions can be said together
    #[arg(long)]
    pub topology: Vec<String>,
    /// Where else policies are
    #[command(flatten)]
    pub catalogue: CatalogueArgs,
}

/// `explain`
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// Which way the flow begins, seen from this host
    #[arg(long, value_enum, required_unless_present = "event")]
    pub direction: Option<DirectionWord>,
    /// tcp, udp, icmp, or another IP protocol by its name or number
    #[arg(long, required_unless_present = "event")]
    pub transport: Option<String>,
    /// The other end's address
    #[arg(long, value_name = "IP", required_unless_present = "event")]
    pub peer: Option<IpAddr>,
    /// The address at this end; unsaid, one of this host's. Another host's: the packet is on its way through this one
    #[arg(long, value_name = "IP")]
    pub local: Option<IpAddr>,
    /// The service's port: the destination of the first packet; for icmp the type
    #[arg(long, value_name = "N")]
    pub port: Option<u16>,
    /// The source port of the first packet; unsaid, one that clients use
    #[arg(long, value_name = "N")]
    pub source_port: Option<u16>,
    /// Exit with 1 where the answer is another
    #[arg(long, value_enum)]
    pub expect: Option<VerdictWord>,
    /// Events in place of a flow: a file of lines of `run --sink json` or `journalctl -o json`, or - for standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = ["direction", "transport", "peer", "local", "port", "source_port"])]
    pub event: Option<String>,
    /// The configuration that is asked
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Facts of another host, as `portcullis facts` wrote them
    #[arg(long, value_name = "FILE")]
    pub facts: Option<PathBuf>,
    /// How to print
    #[command(flatten)]
    pub format: TextOrJson,
}

/// A direction on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DirectionWord {
    /// To this host
    Ingress,
    /// From this host
    Egress,
}

/// A verdict on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum VerdictWord {
    /// It passes
    Allow,
    /// It is dropped
    Deny,
    /// It passes and is reported
    Audit,
}

/// Where policies come from besides the binary.
#[derive(Debug, Clone, Args)]
pub struct CatalogueArgs {
    /// Directory of further policy files (*.toml)
    #[arg(long, value_name = "DIR", default_value = "/etc/portcullis/policies.d")]
    pub policies: PathBuf,
}

/// Questions to the catalogue; none needs root.
#[derive(Debug, Subcommand)]
pub enum PolicyCommand {
    /// List the products that are known
    List(PolicyList),
    /// Show a product's document: roles, options, ports, and every row
    Show(PolicyShow),
    /// Check policy files; exit code 78 where one has an error
    Check(PolicyCheck),
    /// Compare two policies: what the second says otherwise
    Diff(PolicyDiff),
}

/// `policy list`
#[derive(Debug, Args)]
pub struct PolicyList {
    /// Where else policies are
    #[command(flatten)]
    pub catalogue: CatalogueArgs,
    /// How to print
    #[command(flatten)]
    pub format: TextOrJson,
}

/// `policy show`
#[derive(Debug, Args)]
pub struct PolicyShow {
    /// The product's id
    pub product: String,
    /// Only rows in which this role takes part
    #[arg(long)]
    pub role: Option<String>,
    /// Only rows that hold in this topology
    #[arg(long)]
    pub topology: Option<String>,
    /// Where else policies are
    #[command(flatten)]
    pub catalogue: CatalogueArgs,
    /// How to print
    #[arg(long, value_enum, default_value_t = ShowFormat::Text)]
    pub format: ShowFormat,
    /// The same as --format json
    #[arg(long, conflicts_with = "format")]
    pub json: bool,
}

/// `policy check`
#[derive(Debug, Args)]
pub struct PolicyCheck {
    /// Policy files
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// How to print
    #[command(flatten)]
    pub format: TextOrJson,
}

/// `policy diff`
#[derive(Debug, Args)]
pub struct PolicyDiff {
    /// A product's id, or a policy file (a path with `/` or `.toml`)
    pub old: String,
    /// The other one
    pub new: String,
    /// List headings, remarks and the cells of lines, too
    #[arg(long)]
    pub all: bool,
    /// Where else policies are
    #[command(flatten)]
    pub catalogue: CatalogueArgs,
    /// How to print
    #[command(flatten)]
    pub format: TextOrJson,
}

/// `--format text|json`, `--json`
#[derive(Debug, Clone, Args)]
pub struct TextOrJson {
    /// How to print
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
    /// The same as --format json
    #[arg(long, conflicts_with = "format")]
    pub json: bool,
}

impl TextOrJson {
    /// Whether JSON was asked for, either way.
    #[must_use]
    pub fn json(&self) -> bool {
        self.json || self.format == Format::Json
    }
}

/// Output of most commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    Text,
    /// For programs; its shape is stable
    Json,
}

/// Output of `policy show`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ShowFormat {
    /// For people
    Text,
    /// For programs; its shape is stable
    Json,
    /// A graph of roles and flows for Graphviz
    Dot,
    /// The same for Mermaid
    Mermaid,
}

#[cfg(test)]
mod tests;
