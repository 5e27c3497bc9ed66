//! What each key takes, with an example: for whoever wrote a value of another type.

/// A key of the configuration.
pub(super) struct Key {
    /// Its tables and itself, `*` for a name that the operator chooses.
    pub(super) path: &'static str,
    /// What it takes.
    pub(super) takes: &'static str,
    /// The value of an example; for a table, the lines that stand in it.
    pub(super) example: &'static str,
    /// Whether it is a table.
    pub(super) table: bool,
}

const fn key(path: &'static str, takes: &'static str, example: &'static str) -> Key {
    Key {
        path,
        takes,
        example,
        table: false,
    }
}

const fn table(path: &'static str, example: &'static str) -> Key {
    Key {
        path,
        takes: "keys of its own",
        example,
        table: true,
    }
}

const PEERS: &str = "peers in quotes: addresses, prefixes, ranges, host names, \"@set\", or \"any\" or \"none\" alone";
const PEERS_EXAMPLE: &str = "[\"10.0.0.0/16\", \"2001:db8:10::/48\"]";
const PORTS: &str = "port numbers, and ranges in quotes";
const PORTS_EXAMPLE: &str = "[443, \"8300-8302\"]";
const MOMENT: &str = "a date, or a date-time with offset, without quotes";
const MOMENT_EXAMPLE: &str = "2027-01-31";
const DEFAULT: &str = "\"deny\", \"audit\" or \"open\"";
const WHY: &str = "a sentence in quotes";
const NUMBER: &str = "a whole number without quotes";
const BUDGET: &str = "{ peer = 20, all = 100 }";
const DIRECTORY: &str = "a path in quotes that begins with /";

/// Every key.
pub(super) const KEYS: &[Key] = &[
    key("schema", "the number 1", "1"),
    key("interfaces", "names of interfaces in quotes", "[\"eth0\"]"),
    key(
        "hook",
        "\"auto\", \"xdp\", \"tc\" or \"xdp-generic\"",
        "\"auto\"",
    ),
    table("default", "ingress = \"deny\""),
    key("default.ingress", DEFAULT, "\"deny\""),
    key("default.egress", DEFAULT, "\"open\""),
    key("default.audit-until", MOMENT, MOMENT_EXAMPLE),
    table("sets", "offices = [\"10.0.0.0/16\"]"),
    key(
        "sets.*",
        "a list of peers in quotes, or the file that holds them",
        "[\"10.0.0.0/16\", \"2001:db8:10::/48\"]",
    ),
    key(
        "sets.*.file",
        "a path in quotes",
        "\"/etc/portcullis/feed.txt\"",
    ),
    table("product", "[product.seal-output-engine]"),
    table("product.*", "roles = [\"node\"]"),
    key(
        "product.*.policy",
        "a product's id in quotes",
        "\"seal-output-engine\"",
    ),
    key(
        "product.*.roles",
        "roles of the product in quotes",
        "[\"node\"]",
    ),
    key(
        "product.*.topologies",
        "topologies of the product in quotes",
        "[\"cluster\"]",
    ),
    key("product.*.stage", "\"enforce\" or \"audit\"", "\"enforce\""),
    key("product.*.audit-until", MOMENT, MOMENT_EXAMPLE),
    table("product.*.options", "monitoring = true"),
    key(
        "product.*.options.*",
        "true or false, or a choice in quotes",
        "true",
    ),
    table("product.*.versions", "firmware = \"4.8.2\""),
    key(
        "product.*.versions.*",
        "dotted numbers in quotes",
        "\"4.8.2\"",
    ),
    table("product.*.peers", "node = [\"10.0.0.11\"]"),
    key("product.*.peers.*", PEERS, PEERS_EXAMPLE),
    table("product.*.groups", "ssdp = [\"239.255.255.250\"]"),
    key("product.*.groups.*", PEERS, "[\"239.255.255.250\"]"),
    table("product.*.ports", "rest = 8443"),
    key("product.*.ports.*", PORTS, "8443"),
    table("product.*.skip", "\"cluster/37\" = \"no client uses it\""),
    key(
        "product.*.skip.*",
        "the reason, in quotes",
        "\"no client uses it\"",
    ),
    table("allow", "[allow.syslog]"),
    table("allow.*", "direction = \"egress\""),
    key(
        "allow.*.direction",
        "\"ingress\" or \"egress\"",
        "\"egress\"",
    ),
    key("allow.*.tcp", PORTS, PORTS_EXAMPLE),
    key("allow.*.udp", PORTS, PORTS_EXAMPLE),
    key(
        "allow.*.protocol",
        "IP protocols: IANA's keywords in lower case and quotes, or numbers",
        "[\"esp\", 112]",
    ),
    key("allow.*.peers", PEERS, PEERS_EXAMPLE),
    key("allow.*.reason", WHY, "\"central syslog over TLS\""),
    key("allow.*.owner", "a name in quotes", "\"platform\""),
    key("allow.*.expires", MOMENT, MOMENT_EXAMPLE),
    key(
        "allow.*.cites",
        "the whole id of a row in quotes",
        "\"seal-output-engine/cluster/37\"",
    ),
    table("block", "[block.incident-4711]"),
    table("block.*", "peers = [\"192.0.2.0/24\"]"),
    key("block.*.tcp", PORTS, PORTS_EXAMPLE),
    key("block.*.udp", PORTS, PORTS_EXAMPLE),
    key("block.*.peers", PEERS, PEERS_EXAMPLE),
    key("block.*.reason", WHY, "\"incident 4711\""),
    key("block.*.force", "true or false", "true"),
    table("failsafe", "[failsafe.ssh]"),
    table("failsafe.*", "peers = [\"10.0.200.0/24\"]"),
    key("failsafe.*.tcp", PORTS, "[22]"),
    key("failsafe.*.peers", PEERS, PEERS_EXAMPLE),
    table("baseline", "dns = \"auto\""),
    key(
        "baseline.dns",
        "\"auto\", false, or peers in quotes",
        "[\"10.0.0.53\"]",
    ),
    key(
        "baseline.dhcp-client",
        "\"auto\", false, or peers in quotes",
        "\"auto\"",
    ),
    key("baseline.ntp", "false, or peers in quotes", "\"any\""),
    key(
        "baseline.icmp-echo",
        "false, peers in quotes, or one of these for each way",
        "{ in = \"10.0.0.0/8\", out = \"any\" }",
    ),
    key(
        "baseline.icmp-echo.in",
        "false, or peers in quotes",
        "\"10.0.0.0/8\"",
    ),
    key(
        "baseline.icmp-echo.out",
        "false, or peers in quotes",
        "\"any\"",
    ),
    key(
        "baseline.neighbour-discovery",
        "true, false, or peers in quotes",
        "true",
    ),
    key(
        "baseline.router-advertisements",
        "true, false, or peers in quotes",
        "true",
    ),
    key(
        "baseline.mld-igmp",
        "true, false, or peers in quotes",
        "true",
    ),
    table("forward", "default = \"deny\""),
    key(
        "forward.default",
        "\"deny\", \"pass\" or \"same-rules\"",
        "\"deny\"",
    ),
    table("conntrack", "established = 262144"),
    key("conntrack.established", NUMBER, "262144"),
    key("conntrack.new", NUMBER, "65536"),
    table("events", "window = \"60s\""),
    key(
        "events.window",
        "a time in quotes, with its unit",
        "\"60s\"",
    ),
    key(
        "events.acquaintances",
        "events per second: of one peer, and of all",
        BUDGET,
    ),
    key("events.acquaintances.peer", NUMBER, "20"),
    key("events.acquaintances.all", NUMBER, "100"),
    key(
        "events.strangers",
        "events per second: of one peer, and of all",
        "{ peer = 5, all = 100 }",
    ),
    key("events.strangers.peer", NUMBER, "5"),
    key("events.strangers.all", NUMBER, "100"),
    key("events.sinks", "\"journal\" and \"json\"", "[\"journal\"]"),
    table("metrics", "listen = \"127.0.0.1:9469\""),
    key(
        "metrics.listen",
        "an address and a port in quotes",
        "\"127.0.0.1:9469\"",
    ),
    table("daemon", "bank-memory = \"64MiB\""),
    key(
        "daemon.bank-memory",
        "a size in quotes, with its unit",
        "\"64MiB\"",
    ),
    key(
        "daemon.on-failure",
        "\"failsafe-only\" or \"open\"",
        "\"failsafe-only\"",
    ),
    key("daemon.socket-group", "a group's name in quotes", "\"adm\""),
    key(
        "daemon.policies",
        DIRECTORY,
        "\"/etc/portcullis/policies.d\"",
    ),
    key("daemon.state", DIRECTORY, "\"/var/lib/portcullis\""),
    key("daemon.runtime", DIRECTORY, "\"/run/portcullis\""),
    key("daemon.pins", DIRECTORY, "\"/sys/fs/bpf/portcullis\""),
];

impl Key {
    /// The key at a path of the text.
    pub(super) fn at(path: &[String]) -> Option<&'static Self> {
        KEYS.iter().find(|key| {
            let parts = key.path.split('.');
            parts.clone().count() == path.len()
                && parts
                    .zip(path)
                    .all(|(part, name)| part == "*" || part == name)
        })
    }

    /// The line to write, in backticks, with the names that the operator chose.
    pub(super) fn line(&self, path: &[String]) -> String {
        let bare = |name: &str| {
            !name.is_empty()
                && name
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        };
        let quoted = |name: &String| {
            if bare(name) {
                name.clone()
            } else {
                format!("{name:?}")
            }
        };
        match path {
            _ if !self.table => {
                let name = path.last().map(quoted).unwrap_or_default();
                format!("`{name} = {}`", self.example)
            }
            // A table of tables has nothing but tables.
            _ if self.example.starts_with('[') => format!("`{}`", self.example),
            path => {
                let header: Vec<String> = path.iter().map(quoted).collect();
                format!("`[{}]` and below it `{}`", header.join("."), self.example)
            }
        }
    }
}
