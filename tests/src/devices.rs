//! Devices that a server has and a test machine's kernel has not: bonds, VLANs, bridges, and IPsec between two hosts. In the init of an
//! emulated machine, with the agent as it ships.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::ipsec::{self, Mode};
use crate::machine::{Agent, Outside, answers, detach, serve, status};

/// The interfaces' numbers are part of their addresses: 10.79.N.0/24 and fd79:N::/64, where the server is 1.
const SERVER: u8 = 1;
/// Whom the policy knows.
const FRIEND: u8 = 2;
/// Whom it does not.
const STRANGER: u8 = 9;

/// Open by the policy, for friends.
const OPEN: u16 = 443;
/// Served and in no policy: reached only through what hides it.
const HIDDEN: u16 = 4433;

/// How long whoever is let in may wait for it.
const LET_IN: Duration = Duration::from_secs(30);
/// How long whoever is kept out tries: past the second SYN.
const KEPT_OUT: Duration = Duration::from_millis(2500);
/// How long a counter may take to show what was sent.
const COUNTED: Duration = Duration::from_secs(30);
/// As many packets are counted.
const PACKETS: u64 = 20;

/// One device of the server, with what it lies upon.
struct Device {
    /// What is tried.
    name: &'static str,
    /// Its kind, as `ip` calls it.
    kind: &'static str,
    number: u8,
    /// The device that has the addresses.
    upper: &'static str,
    /// `ip`'s arguments on the server, one command a line; the other side has the same with `s` for `o` as first letter.
    made: &'static [&'static str],
    /// The cables below, by the server's ends.
    cables: &'static [&'static str],
    /// What the configuration lists, and what of it must be guarded.
    listed: &'static [&'static str],
    guarded: &'static [&'static str],
}

const DEVICES: [Device; 6] = [
    Device {
        name: "a bond, its members not listed",
        kind: "bond",
        number: 1,
        upper: "sbond0",
        made: &[
            "link add sbond0 type bond mode balance-rr miimon 100",
            "link set sa0 master sbond0",
            "link set sa1 master sbond0",
        ],
        cables: &["sa0", "sa1"],
        listed: &["sbond0"],
        guarded: &["sbond0"],
    },
    Device {
        name: "a bond and its members listed",
        kind: "bond",
        number: 2,
        upper: "sbond1",
        made: &[
            "link add sbond1 type bond mode balance-rr miimon 100",
            "link set sb0 master sbond1",
            "link set sb1 master sbond1",
        ],
        cables: &["sb0", "sb1"],
        listed: &["sb0", "sb1", "sbond1"],
        guarded: &["sb0", "sb1"],
    },
    Device {
        name: "a VLAN, its parent not listed",
        kind: "vlan",
        number: 3,
        upper: "sc0.7",
        made: &["link add link sc0 name sc0.7 type vlan id 7"],
        cables: &["sc0"],
        listed: &["sc0.7"],
        guarded: &["sc0.7"],
    },
    Device {
        name: "a VLAN and its parent listed",
        kind: "vlan",
        number: 4,
        upper: "sd0.8",
        made: &["link add link sd0 name sd0.8 type vlan id 8"],
        cables: &["sd0"],
        listed: &["sd0", "sd0.8"],
        guarded: &["sd0"],
    },
    Device {
        name: "a bridge, its port not listed",
        kind: "bridge",
        number: 5,
        upper: "sbr0",
        made: &["link add sbr0 type bridge", "link set se0 master sbr0"],
        cables: &["se0"],
        listed: &["sbr0"],
        guarded: &["sbr0"],
    },
    Device {
        name: "a bridge and its port listed",
        kind: "bridge",
        number: 6,
        upper: "sbr1",
        made: &["link add sbr1 type bridge", "link set sf0 master sbr1"],
        cables: &["sf0"],
        listed: &["sf0", "sbr1"],
        guarded: &["sf0"],
    },
];

/// The cable of the hosts that speak IPsec, and its number.
const SECURED: (&str, u8) = ("sx0", 7);

/// Tries them all, and says on the serial line what came of each.
///
/// # Errors
/// What kept it from trying.
pub fn live() -> Result<()> {
    let outside = Outside::empty()?;
    let (cable, number) = SECURED;
    outside.cable(cable, &other(cable))?;
    addresses(&outside, (cable, &other(cable)), number)?;
    let mut devices = Vec::new();
    for device in &DEVICES {
        if lacks(device.kind)? {
            skipped(device.name, "tc", device.kind);
            continue;
        }
        device.make(&outside).context(device.name)?;
        devices.push(device);
    }
    let has_esp = !ipsec::is_lacking()?;
    if has_esp {
        ipsec::between(&outside, cable, &other(cable), number)?;
    }
    for port in [OPEN, HIDDEN] {
        serve(port)?;
    }
    answers(OPEN)?;

    let listed = devices.iter().flat_map(|device| device.listed);
    let listed: Vec<&str> = listed.copied().chain([cable]).collect();
    crate::machine::configure(&configuration(&listed, "tc"))?;
    let mut agent = Agent::start(false)?;
    agent.ready().with_context(|| agent.told())?;
    for device in devices {
        said(device.name, "tc", || device.check(&outside));
    }
    for mode in Mode::ALL {
        if has_esp {
            said(mode.name(), "tc", || secured(&outside, mode, true));
        } else {
            skipped(mode.name(), "tc", "esp");
        }
    }
    drop(agent);
    detach()?;

    crate::machine::configure(&configuration(&[cable], "xdp"))?;
    let mut agent = Agent::start(false)?;
    agent.ready().with_context(|| agent.told())?;
    for mode in Mode::ALL {
        let name = format!("{}, by xdp", mode.name());
        if has_esp {
            said(&name, "xdp", || secured(&outside, mode, false));
        } else {
            skipped(&name, "xdp", "esp");
        }
    }
    drop(agent);
    detach()
}

/// Whether the kernel was built without devices of this kind. One is made for that alone: whatever else fails has another cause.
fn lacks(kind: &str) -> Result<bool> {
    const PROBE: &str = "probe0";
    let made = match kind {
        "vlan" => format!("link add link {} name {PROBE} type vlan id 9", SECURED.0),
        kind => format!("link add {PROBE} type {kind}"),
    };
    if is_unknown(ip(&made))? {
        return Ok(true);
    }
    ip(&format!("link del {PROBE}"))?;
    Ok(false)
}

/// Whether the kernel does not know what `ip` asked it for. Any other failure stays one.
pub(crate) fn is_unknown(asked: Result<()>) -> Result<bool> {
    // Of net/core/rtnetlink.c, EOPNOTSUPP, EPROTONOSUPPORT, and net/xfrm/xfrm_state.c.
    const WORDS: [&str; 4] = [
        "Unknown device type",
        "Operation not supported",
        "Protocol not supported",
        "Requested type not found",
    ];
    match asked {
        Ok(()) => Ok(false),
        Err(error) => {
            let said = format!("{error:#}");
            match WORDS.iter().any(|words| said.contains(words)) {
                true => Ok(true),
                false => Err(error),
            }
        }
    }
}

/// Says that something is not tried. Who reads it decides whether this kernel may lack it.
fn skipped(name: &str, hook: &str, lacks: &str) {
    println!("@@ program\t{name}\t{hook}");
    println!("@@ skipped\tlacks {lacks}");
}

/// Says on the serial line what is tried, and what came of it.
pub(crate) fn said(name: &str, hook: &str, tried: impl FnOnce() -> Result<()>) {
    println!("@@ program\t{name}\t{hook}");
    let begin = Instant::now();
    match tried() {
        Ok(()) => println!(
            "@@ loaded\tas meant\t{:.1}",
            begin.elapsed().as_secs_f64() * 1e3
        ),
        Err(error) => {
            let text = format!("{error:#}");
            let text: Vec<&str> = text.split_whitespace().collect();
            println!("@@ refused\t{}", text.join(" "));
        }
    }
}

fn configuration(listed: &[&str], hook: &str) -> String {
    let friends = |number: u8| {
        let [four, six] = hosts(number, FRIEND);
        format!("\"{four}\", \"{six}\"")
    };
    let numbers = DEVICES.iter().map(|device| device.number);
    let friends: Vec<String> = numbers.chain([SECURED.1]).map(friends).collect();
    let friends = friends.join(", ");
    let secured: Vec<String> = ipsec::admitted(SECURED.1)
        .iter()
        .map(|peer| format!("\"{peer}\""))
        .collect();
    let secured = secured.join(", ");
    format!(
        r#"schema = 1
interfaces = {listed:?}
hook = "{hook}"

[default]
ingress = "deny"
egress = "deny"

[failsafe.ssh]
tcp = [22]
peers = [{friends}]

[allow.web]
reason = "a test"
direction = "ingress"
tcp = [{OPEN}]
udp = [{OPEN}]
peers = [{friends}]

[allow.secured-in]
reason = "a test"
direction = "ingress"
protocol = ["esp"]
peers = [{secured}]

[allow.secured-out]
reason = "a test"
direction = "egress"
protocol = ["esp"]
peers = [{secured}]
"#
    )
}

/// Both addresses of a host on the interface of this number.
pub(crate) fn hosts(number: u8, host: u8) -> [IpAddr; 2] {
    [
        IpAddr::from([10, 79, number, host]),
        IpAddr::from([0xfd79, number.into(), 0, 0, 0, 0, 0, host.into()]),
    ]
}

/// The outside's name of a device of the server.
fn other(name: &str) -> String {
    format!("o{}", name.trim_start_matches('s'))
}

/// Addresses of both sides, and both up.
pub(crate) fn addresses(
    outside: &Outside,
    (device, theirs): (&str, &str),
    number: u8,
) -> Result<()> {
    let give = |device: &str, host: u8| -> Result<()> {
        let [four, six] = hosts(number, host);
        ip(&format!("address add {four}/24 dev {device}"))?;
        ip(&format!("address add {six}/64 dev {device} nodad"))
    };
    give(device, SERVER)?;
    ip(&format!("link set {device} up"))?;
    outside.enter(|| {
        for host in [FRIEND, STRANGER].into_iter().chain(ipsec::HOSTS) {
            give(theirs, host)?;
        }
        ip(&format!("link set {theirs} up"))
    })?
}

/// Runs `ip` with these words.
pub(crate) fn ip(words: &str) -> Result<()> {
    let ran = Command::new("/bin/ip").args(words.split(' ')).output();
    let ran = ran.context("ip")?;
    let told = String::from_utf8_lossy(&ran.stderr);
    ensure!(ran.status.success(), "ip {words}: {told}");
    Ok(())
}

impl Device {
    fn make(&self, outside: &Outside) -> Result<()> {
        for cable in self.cables {
            outside.cable(cable, &other(cable))?;
        }
        for words in self.made {
            ip(words)?;
        }
        for cable in self.cables {
            ip(&format!("link set {cable} up"))?;
        }
        outside.enter(|| {
            let names = self.cables.iter().chain([&self.upper]);
            for words in self.made {
                // Whole words: a VLAN's name begins with its parent's.
                let renamed: Vec<String> = words
                    .split(' ')
                    .map(|word| match names.clone().any(|name| *name == word) {
                        true => other(word),
                        false => word.to_owned(),
                    })
                    .collect();
                ip(&renamed.join(" "))?;
            }
            let mut cables = self.cables.iter();
            cables.try_for_each(|cable| ip(&format!("link set {} up", other(cable))))
        })??;
        addresses(outside, (self.upper, &other(self.upper)), self.number)
    }

    fn check(&self, outside: &Outside) -> Result<()> {
        let status = status()?;
        let guarded = |name: &str| {
            let mut interfaces = status["interfaces"].as_array().into_iter().flatten();
            interfaces.any(|it| it["name"] == name && !it["ingress"].is_null())
        };
        for name in self.cables.iter().chain([&self.upper]) {
            let expected = self.guarded.contains(name);
            ensure!(guarded(name) == expected, "{name}: guarded {}", !expected);
        }
        let [server, friend, stranger] =
            [SERVER, FRIEND, STRANGER].map(|host| hosts(self.number, host));
        for family in [0, 1] {
            let open = SocketAddr::from((server[family], OPEN));
            ensure!(
                outside.reaches(friend[family], open, LET_IN)?,
                "{} is kept out",
                friend[family]
            );
            ensure!(
                !outside.reaches(stranger[family], open, KEPT_OUT)?,
                "{} is let in",
                stranger[family]
            );
            once(outside, friend[family], open, Fate::Answered)?;
            once(outside, stranger[family], open, Fate::Denied)?;
        }
        Ok(())
    }
}

/// What happens to a datagram to the port that is open.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Passed by the rule, and answered.
    Answered,
    /// Denied.
    Denied,
}

impl Fate {
    fn counted(self) -> Result<u64> {
        let counters = &status()?["counters"];
        let found = match self {
            Fate::Answered => &counters["by_row"]["allow/web"]["passed"],
            Fate::Denied => &counters["denied"],
        };
        // A row that nothing has met yet is not listed.
        Ok(found.as_u64().unwrap_or(0))
    }
}

/// Whether each packet of a burst is counted, and counted once.
pub(crate) fn once(outside: &Outside, from: IpAddr, to: SocketAddr, fate: Fate) -> Result<()> {
    let before = fate.counted()?;
    let answered = outside.enter(|| -> Result<u64> {
        let socket = UdpSocket::bind((from, 0))?;
        socket.connect(to)?;
        socket.set_read_timeout(Some(LET_IN))?;
        let mut answers = 0;
        for _ in 0..PACKETS {
            socket.send(b"question")?;
            // One after the other, so that none is lost for want of room.
            if fate == Fate::Answered && socket.recv(&mut [0; 16]).is_ok() {
                answers += 1;
            }
        }
        Ok(answers)
    })??;
    if fate == Fate::Answered {
        ensure!(answered == PACKETS, "{answered} of {PACKETS} answers");
    }
    let end = Instant::now() + COUNTED;
    let mut counted = fate.counted()? - before;
    while counted < PACKETS && Instant::now() < end {
        counted = fate.counted()? - before;
    }
    ensure!(
        counted == PACKETS,
        "{PACKETS} packets of {from} were counted as {counted}"
    );
    Ok(())
}

/// Whether a host whose ESP is admitted reaches what no other rule opens, one whose ESP is not doesn't, and one without neither.
fn secured(outside: &Outside, mode: Mode, at_tc: bool) -> Result<()> {
    let decrypted = |status: &Value| {
        let by_reason = &status["counters"]["by_reason"]["ingress"];
        by_reason["decrypted"].as_u64().unwrap_or(0)
    };
    let number = SECURED.1;
    let before = decrypted(&status()?);
    for family in [0, 1] {
        let [server, admitted, refused] = mode.ends(number, family);
        let hidden = SocketAddr::from((server, HIDDEN));
        ensure!(
            outside.reaches(admitted, hidden, LET_IN)?,
            "{admitted} is kept out"
        );
        ensure!(
            !outside.reaches(refused, hidden, KEPT_OUT)?,
            "{refused} is let in without a rule for its esp"
        );
        let (plain, [friend, _]) = (hosts(number, SERVER), [FRIEND, STRANGER]);
        let friend = hosts(number, friend)[family];
        let hidden = SocketAddr::from((plain[family], HIDDEN));
        ensure!(
            !outside.reaches(friend, hidden, KEPT_OUT)?,
            "{friend} is let in without esp"
        );
    }
    let grown = decrypted(&status()?) - before;
    // What comes out of a tunnel is received once more, at TC; of a transport's packet nothing is.
    let again = mode == Mode::Tunnel && at_tc;
    ensure!(
        (grown > 0) == again,
        "{grown} packets were counted as decrypted"
    );
    Ok(())
}
