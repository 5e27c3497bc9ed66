//! One configuration without findings, and what each change to it brings.

/// The configuration without findings.
pub(super) const BASE: &str = r#"schema = 1
interfaces = ["eth0"]

[default]
egress = "open"

[product.sample]
roles = ["server"]
topologies = ["base"]

[product.sample.options]
place = "here"

[product.sample.versions]
firmware = "4.2"

[product.sample.peers]
client = ["10.0.0.0/16", "2001:db8::/32"]
device = "any"

[product.sample.groups]
beacon = ["239.1.2.3"]

[product.sample.ports]
dynamic = 7000

[product.sample.skip]
"main/8" = "no mail here"

[failsafe.ssh]
tcp = 22
peers = ["10.0.200.0/24", "2001:db8:200::/48"]
"#;

/// A change: texts replaced (an empty one: added at the end), and what is found then.
pub(super) type Row = (
    &'static [(&'static str, &'static str)],
    &'static [&'static str],
);

/// Changes, by the kind that they bring.
pub(super) const ROWS: &[Row] = &[
    // nothing, and changes that are as good
    (&[], &[]),
    (&[("\"here\"", "\"there\"")], &[]),
    (&[("device = \"any\"", "device = \"none\"")], &[]),
    (&[("\"main/8\"", "\"sample/main/8\"")], &[]),
    // unknown-product
    (
        &[("[product.sample]", "[product.sample]\npolicy = \"simple\"")],
        &["8:10 unknown-product"],
    ),
    (
        &[("", "[product.other]\nroles = \"x\"\n")],
        &["33:10 unknown-product"],
    ),
    (
        &[("", "[product.Sample]\nroles = \"server\"\n")],
        &["33:10 unknown-product"],
    ),
    // unknown-role
    (
        &[("[\"server\"]", "[\"server\", \"serfer\"]")],
        &["8:20 unknown-role"],
    ),
    (
        &[("[\"server\"]", "[\"server\", \"Server\"]")],
        &["8:20 unknown-role"],
    ),
    (&[("[\"server\"]", "\"x\"")], &["8:9 unknown-role"]),
    // unknown-topology
    (&[("[\"base\"]", "[\"bas\"]")], &["9:15 unknown-topology"]),
    (
        &[("[\"base\"]", "[\"base\", \"narrow\"]")],
        &["9:23 unknown-topology"],
    ),
    (&[("[\"base\"]", "\"\"")], &["9:14 unknown-topology"]),
    // topology-unsaid
    (
        &[("topologies = [\"base\"]", "")],
        &["7:10 topology-unsaid"],
    ),
    (&[("[\"base\"]", "[]")], &["7:10 topology-unsaid"]),
    (
        &[
            ("topologies = [\"base\"]", ""),
            ("client = [\"10.0.0.0/16\", \"2001:db8::/32\"]", ""),
        ],
        &["7:10 topology-unsaid"],
    ),
    // unknown-option
    (
        &[("place = \"here\"", "place = \"here\"\nplaces = true")],
        &["13:1 unknown-option"],
    ),
    (
        &[("place = \"here\"", "place = \"here\"\nEXTRA = true")],
        &["13:1 unknown-option"],
    ),
    (
        &[("place = \"here\"", "place = \"here\"\nweb = true")],
        &["13:1 unknown-option"],
    ),
    // option-value
    (&[("\"here\"", "\"her\"")], &["12:9 option-value"]),
    (&[("\"here\"", "true")], &["12:9 option-value"]),
    (
        &[("\"here\"", "\"here\"\nextra = \"yes\"")],
        &["13:9 option-value"],
    ),
    // choice-unsaid
    (&[("place = \"here\"", "")], &["7:10 choice-unsaid"]),
    (
        &[("[product.sample.options]\nplace = \"here\"", "")],
        &["7:10 choice-unsaid"],
    ),
    (
        &[
            ("[\"base\"]", "\"wide\""),
            ("place = \"here\"", ""),
            ("client =", "server = \"none\"\nclient ="),
        ],
        &["7:10 choice-unsaid"],
    ),
    // ... but not for a role that no such row concerns, or a row that is skipped
    (
        &[
            ("[\"server\"]", "\"device\""),
            ("place = \"here\"", ""),
            ("client =", "server = \"any\"\nclient ="),
        ],
        &["8:9 role-not-linux"],
    ),
    (
        &[
            ("place = \"here\"", ""),
            ("\"main/8\"", "\"main/3\" = \"no cloud\"\n\"main/8\""),
        ],
        &[],
    ),
    // unknown-version
    (
        &[("firmware = \"4.2\"", "firmware = \"4.2\"\nfirm = \"1\"")],
        &["16:1 unknown-version"],
    ),
    (
        &[("firmware = \"4.2\"", "firmware = \"4.2\"\nsoftware = \"1\"")],
        &["16:1 unknown-version"],
    ),
    (
        &[("firmware = \"4.2\"", "Firmware = \"4.2\"")],
        &["7:10 version-unsaid", "15:1 unknown-version"],
    ),
    // version-unsaid
    (&[("firmware = \"4.2\"", "")], &["7:10 version-unsaid"]),
    (
        &[("[product.sample.versions]\nfirmware = \"4.2\"", "")],
        &["7:10 version-unsaid"],
    ),
    (
        &[("firmware = \"4.2\"", ""), ("\"main/8\"", "\"main/1\"")],
        &["7:10 version-unsaid"],
    ),
    (
        &[("firmware = \"4.2\"", ""), ("\"main/8\"", "\"main/2\"")],
        &[],
    ),
    (&[("\"4.2\"", "\"4.0\"")], &[]),
    // unknown-port
    (
        &[("dynamic = 7000", "dynamic = 7000\nwebb = 80")],
        &["26:1 unknown-port"],
    ),
    (
        &[("dynamic = 7000", "dynamic = 7000\nrest = 80")],
        &["26:1 unknown-port"],
    ),
    (
        &[("dynamic = 7000", "dynamics = 7000")],
        &["7:10 port-unsaid", "25:1 unknown-port"],
    ),
    // port-unsaid
    (&[("dynamic = 7000", "")], &["7:10 port-unsaid"]),
    (
        &[
            ("\"here\"", "\"here\"\nextra = true"),
            ("\"main/8\"", "\"main/6\""),
        ],
        &["7:10 port-unsaid"],
    ),
    (
        &[
            ("\"here\"", "\"here\"\nextra = true"),
            ("\"main/8\"", "\"main/6\""),
            ("dynamic =", "web = 80\ndynamic ="),
        ],
        &[],
    ),
    (&[("dynamic = 7000", ""), ("\"main/8\"", "\"main/4\"")], &[]),
    (
        &[("[product.sample.ports]\ndynamic = 7000", "")],
        &["7:10 port-unsaid"],
    ),
    // port-value
    (
        &[("dynamic = 7000", "dynamic = [7000, 7001]")],
        &["25:1 port-value"],
    ),
    (
        &[("dynamic =", "web-next = [80, 81]\ndynamic =")],
        &["25:1 port-value"],
    ),
    (
        &[("dynamic =", "web = 65535\nweb-next = 80\ndynamic =")],
        &[],
    ),
    (
        &[("dynamic =", "web = [80, 90]\nweb-next = 80\ndynamic =")],
        &["26:1 port-value"],
    ),
    // unknown-peer-role
    (
        &[("device =", "devise = \"any\"\ndevice =")],
        &["19:1 unknown-peer-role"],
    ),
    (
        &[("device =", "beacon = \"any\"\ndevice =")],
        &["19:1 unknown-peer-role"],
    ),
    (
        &[("device =", "Device = \"any\"\ndevice =")],
        &["19:1 unknown-peer-role"],
    ),
    // role-without-peers
    (&[("device = \"any\"", "")], &["7:10 role-without-peers"]),
    (&[("[\"base\"]", "\"wide\"")], &["7:10 role-without-peers"]),
    (
        &[
            ("device = \"any\"", ""),
            ("client = [\"10.0.0.0/16\", \"2001:db8::/32\"]", ""),
        ],
        &["7:10 role-without-peers", "7:10 role-without-peers"],
    ),
    (
        &[
            ("device = \"any\"", ""),
            (
                "\"main/8\"",
                "\"main/2\" = \"a\"\n\"main/5\" = \"b\"\n\"main/8\"",
            ),
        ],
        &[],
    ),
    // unknown-group
    (
        &[("beacon =", "beacons = \"any\"\nbeacon =")],
        &["22:1 unknown-group"],
    ),
    (
        &[("beacon =", "client = \"any\"\nbeacon =")],
        &["22:1 unknown-group"],
    ),
    (
        &[("beacon =", "x = \"any\"\nbeacon =")],
        &["22:1 unknown-group"],
    ),
    // group-members
    (
        &[("\"239.1.2.3\"", "\"10.0.0.1\"")],
        &["22:11 group-members"],
    ),
    (&[("[\"239.1.2.3\"]", "\"any\"")], &["22:10 group-members"]),
    (
        &[(
            "\"239.1.2.3\"",
            "\"239.0.0.0/8\", \"ff02::1\", \"local-subnets\"",
        )],
        &["22:11 group-members", "22:37 group-members"],
    ),
    // group-without-members
    (
        &[("beacon = [\"239.1.2.3\"]", "")],
        &["7:10 group-without-members"],
    ),
    (
        &[("[product.sample.groups]\nbeacon = [\"239.1.2.3\"]", "")],
        &["7:10 group-without-members"],
    ),
    (
        &[("beacon = [\"239.1.2.3\"]", "discovery = \"239.1.2.3\"")],
        &["7:10 group-without-members"],
    ),
    (
        &[
            ("beacon = [\"239.1.2.3\"]", ""),
            ("\"main/8\"", "\"main/5\""),
        ],
        &[],
    ),
    // unknown-row
    (&[("\"main/8\"", "\"main/9\"")], &["28:1 unknown-row"]),
    (&[("\"main/8\"", "\"other/main/8\"")], &["28:1 unknown-row"]),
    (
        &[(
            "",
            "[allow.mail]\ncites = \"sample/main/80\"\ndirection = \"egress\"\ntcp = 25\npeers = \"any\"\nreason = \"mail\"\n",
        )],
        &["34:9 unknown-row"],
    ),
    (
        &[(
            "",
            "[allow.mail]\ncites = \"sample/main/8\"\ndirection = \"egress\"\ntcp = 25\npeers = \"any\"\nreason = \"mail\"\n",
        )],
        &[],
    ),
    // role-not-linux
    (
        &[("[\"server\"]", "[\"server\", \"device\"]")],
        &["8:20 role-not-linux"],
    ),
    (
        &[("[\"server\"]", "[\"server\", \"client\"]")],
        &["8:20 role-not-linux"],
    ),
    (
        &[
            ("[\"server\"]", "[\"client\", \"device\"]"),
            ("client =", "server = \"any\"\nclient ="),
        ],
        &["8:10 role-not-linux", "8:20 role-not-linux"],
    ),
    // beyond-document
    (&[("\"open\"", "\"deny\"")], &["5:10 beyond-document"]),
    (
        &[
            ("\"open\"", "\"deny\""),
            (
                "",
                "[product.second]\npolicy = \"sample\"\nroles = \"device\"\ntopologies = \"base\"\n[product.second.peers]\nserver = \"any\"\n[product.second.groups]\nbeacon = \"239.1.2.3\"\n[product.second.versions]\nfirmware = \"4\"\n",
            ),
        ],
        &["5:10 beyond-document", "35:9 role-not-linux"],
    ),
    (
        &[("egress = \"open\"", "ingress = \"deny\"\negress = \"deny\"")],
        &["6:10 beyond-document"],
    ),
    (&[("egress = \"open\"", "ingress = \"deny\"")], &[]),
    // missing-interface
    (
        &[("[\"eth0\"]", "[\"eth0\", \"eth9\"]")],
        &["2:23 missing-interface"],
    ),
    (
        &[("[\"eth0\"]", "[\"eth*\", \"ens*\"]")],
        &["2:23 missing-interface"],
    ),
    (&[("[\"eth0\"]", "\"eth??\"")], &["2:14 missing-interface"]),
    (&[("[\"eth0\"]", "\"e*0\"")], &[]),
    // ipv4-only-role
    (&[(", \"2001:db8::/32\"]", "]")], &["18:10 ipv4-only-role"]),
    (
        &[("\"2001:db8::/32\"", "\"v4.example.com\"")],
        &["18:10 ipv4-only-role"],
    ),
    (
        &[("device = \"any\"", "device = \"10.0.0.5-10.0.0.9\"")],
        &["19:10 ipv4-only-role"],
    ),
    (&[("\"2001:db8::/32\"", "\"unknown.example.com\"")], &[]),
    (&[("\"2001:db8::/32\"", "\"local-subnets\"")], &[]),
    (
        &[(", \"2001:db8::/32\"]", "]"), ("\"eth0\"", "\"eth1\"")],
        &[],
    ),
    // ephemeral-port
    (
        &[
            ("\"here\"", "\"here\"\nextra = true"),
            ("dynamic =", "web = 80\ndynamic ="),
        ],
        &["7:10 ephemeral-port"],
    ),
    (
        &[("dynamic = 7000", "dynamic = 33000")],
        &["7:10 ephemeral-port"],
    ),
    (
        &[("tcp = 22", "tcp = [22, 60000]")],
        &["30:11 ephemeral-port"],
    ),
    (
        &[(
            "",
            "[allow.a]\ndirection = \"ingress\"\nudp = [\"60990-61010\"]\npeers = \"any\"\nreason = \"r\"\n",
        )],
        &["33:8 ephemeral-port"],
    ),
    // 41000 is reserved on the host of the facts; an egress port is another host's
    (&[("dynamic = 7000", "dynamic = 41000")], &[]),
    (
        &[(
            "",
            "[allow.a]\ndirection = \"egress\"\nudp = 33000\npeers = \"any\"\nreason = \"r\"\n",
        )],
        &[],
    ),
    // failsafe-any
    (
        &[(
            "peers = [\"10.0.200.0/24\", \"2001:db8:200::/48\"]",
            "peers = \"any\"",
        )],
        &["32:9 failsafe-any"],
    ),
    (
        &[("peers = [\"10.0.200.0/24\", \"2001:db8:200::/48\"]", "")],
        &["30:11 failsafe-any"],
    ),
    (
        &[(
            "[failsafe.ssh]\ntcp = 22\npeers = [\"10.0.200.0/24\", \"2001:db8:200::/48\"]",
            "",
        )],
        &["failsafe-any"],
    ),
    (
        &[("", "[failsafe.web]\ntcp = 9090\npeers = \"any\"\n")],
        &["35:9 failsafe-any"],
    ),
    // block-covers-failsafe
    (
        &[("", "[block.b]\npeers = \"any\"\n")],
        &["33:8 block-covers-failsafe"],
    ),
    (
        &[(
            "",
            "[block.b]\npeers = [\"10.0.0.0/8\", \"2001:db8::/32\"]\n",
        )],
        &["33:8 block-covers-failsafe"],
    ),
    (
        &[(
            "",
            "[block.b]\npeers = [\"10.0.200.0/25\", \"2001:db8::/32\"]\ntcp = \"1-1023\"\n[block.c]\npeers = \"10.0.200.128/25\"\n",
        )],
        &["33:8 block-covers-failsafe", "36:8 block-covers-failsafe"],
    ),
    (&[("", "[block.b]\npeers = \"any\"\nforce = true\n")], &[]),
    (&[("", "[block.b]\npeers = \"10.0.0.0/8\"\n")], &[]),
    (
        &[("", "[block.b]\npeers = \"any\"\nudp = \"1-65535\"\n")],
        &[],
    ),
    (
        &[(
            "",
            "[block.b]\npeers = \"any\"\ntcp = [\"1-21\", \"23-65535\"]\n",
        )],
        &[],
    ),
    (
        &[
            ("tcp = 22", "tcp = [22, 2222]"),
            ("", "[block.b]\npeers = \"any\"\ntcp = 22\n"),
        ],
        &[],
    ),
];
