//! What holds on every kernel: rows of packets, the proofs of all products, and a server's life under traffic, by the agent as it ships. In
//! the init of an emulated machine.

use std::fs;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use portcullis::compile::tables::Tables;
use portcullis::dataplane::Dataplane;
use portcullis::dataplane::testrun::Entry;
use portcullis::facts::Facts;
use portcullis::host::{Input, load};
use portcullis::meaning::meaning;
use portcullis::policy::Catalogue;
use portcullis::policy::catalogue::embedded;
use portcullis::rule::RuleSet;
use portcullis::verify::{Ports, prove};

use crate::devices::{Fate, addresses, hosts, ip, once, said};
use crate::machine::{AGENT, Agent, Outside, answers, configure, detach, serve, status};
use crate::rows::kernel::InKernel;
use crate::rows::{Rows, facts};

/// The rows, as they were when this was built.
const ROWS: &str = include_str!("../packets.toml");

/// A host of each product.
const PRODUCTS: [(&str, &str); 5] = [
    (
        "1e-platform",
        include_str!("../../agent/tests/data/hosts/1e-platform/single-server.toml"),
    ),
    (
        "seal-output-engine",
        include_str!("../../agent/tests/data/hosts/seal-output-engine/node.toml"),
    ),
    (
        "soti-connect",
        include_str!("../../agent/tests/data/hosts/soti-connect/connect-server.toml"),
    ),
    (
        "spinetix",
        include_str!("../../agent/tests/data/hosts/spinetix/player.toml"),
    ),
    (
        "tachyon",
        include_str!("../../agent/tests/data/hosts/tachyon/single-server.toml"),
    ),
];

const DEVICE: (&str, &str) = ("server0", "outside0");
const NUMBER: u8 = 20;
const SERVER: u8 = 1;
const FRIEND: u8 = 2;
const STRANGER: u8 = 9;

const OPEN: u16 = 443;
/// Watched under all changes: every policy admits the friend to one and somebody else to the other.
const ALLOWED: u16 = 5001;
const FORBIDDEN: u16 = 5002;

const LET_IN: Duration = Duration::from_secs(30);
/// Past the second SYN.
const KEPT_OUT: Duration = Duration::from_millis(2500);

/// Tries all of it, and says on the serial line what came of each.
///
/// # Errors
/// What kept it from trying.
pub fn live() -> Result<()> {
    in_memory()?;
    serve(OPEN)?;
    answers(OPEN)?;
    for hook in ["tc", "xdp"] {
        let outside = Outside::behind(DEVICE.0, DEVICE.1)?;
        addresses(&outside, DEVICE, NUMBER)?;
        life(&outside, hook)?;
        ip(&format!("link del {}", DEVICE.0))?;
    }
    Ok(())
}

/// What needs the programs and no network; they are loaded once, which takes longer than all of it.
fn in_memory() -> Result<()> {
    let mut world = InKernel::load(Entry::XdpIngress).context("loading")?;
    said("packets.toml at xdp", "xdp", || rows(&mut world, false));
    world.come_by(Entry::TcIngress);
    said("packets.toml at tc", "tc", || rows(&mut world, true));
    for (product, text) in PRODUCTS {
        said(&format!("verify {product}"), "all", || {
            proved(world.programs(), text)
        });
    }
    Ok(())
}

fn rows(world: &mut InKernel, at_tc: bool) -> Result<()> {
    let rows: Rows = toml::from_str(ROWS)?;
    let mut wrong = Vec::new();
    let mut ran = 0;
    for row in &rows.row {
        if row.not_in_kernel.is_some() || (at_tc && row.not_at_tc.is_some()) {
            continue;
        }
        ran += 1;
        match row.run(&rows, world) {
            Ok(None) => {}
            Ok(Some(seen)) => wrong.push(format!("{}: {seen}", row.name)),
            Err(error) => wrong.push(format!("{}: {error:#}", row.name)),
        }
    }
    ensure!(ran > 0, "no row ran");
    ensure!(wrong.is_empty(), "of {ran} rows: {}", wrong.join("; "));
    Ok(())
}

fn compiled(text: &str, facts: &Facts) -> Option<(RuleSet, Tables)> {
    let catalogue = Catalogue::from_sources(embedded(), Vec::new()).0;
    let (config, findings) = load(&Input::single("portcullis.toml", text));
    let meaning = meaning(&config?, &catalogue, facts, &findings);
    Some((meaning.resolved.rule_set, meaning.tables?))
}

fn proved(programs: &mut Dataplane, text: &str) -> Result<()> {
    let facts = facts(false, 250);
    let (rules, tables) = compiled(text, &facts).context("the configuration has errors")?;
    let verified = prove(programs, &tables, &rules, &facts, Ports::Edges)?;
    ensure!(verified.holds(), "{}", verified.text());
    ensure!(!verified.proofs.is_empty(), "no rule was proved");
    Ok(())
}

/// A policy that admits the friend to what is watched, with as many ports more before them as `n` says.
fn policy(hook: &str, n: u16) -> String {
    let [four, six] = hosts(NUMBER, FRIEND);
    let friends = format!("\"{four}\", \"{six}\"");
    let mut text = format!(
        "schema = 1\ninterfaces = [\"{}\"]\nhook = \"{hook}\"\n[default]\ningress = \"deny\"\negress = \"deny\"\n[failsafe.ssh]\ntcp = [22]\npeers = [{friends}]\n",
        DEVICE.0
    );
    let mut allow = |name: &str, ports: &str, peers: &str| {
        text += &format!(
            "[allow.{name}]\nreason = \"a test\"\ndirection = \"ingress\"\n{ports}\npeers = [{peers}]\n"
        );
    };
    allow("web", &format!("tcp = [{OPEN}]\nudp = [{OPEN}]"), &friends);
    for extra in 0..n % 7 {
        allow(
            &format!("extra{extra}"),
            &format!("udp = [{}]", 4000 + extra),
            &format!("\"10.99.{extra}.0/24\""),
        );
    }
    allow("watched", &format!("udp = [{ALLOWED}]"), &friends);
    allow(
        "elsewhere",
        &format!("udp = [{FORBIDDEN}]"),
        "\"10.99.100.0/24\"",
    );
    text
}

/// The agent's life on one cable, by this hook.
fn life(outside: &Outside, hook: &str) -> Result<()> {
    configure(&policy(hook, 0))?;
    let mut agent = Some(started(AGENT)?);
    said(&format!("flows by {hook}"), hook, || flows(outside));
    let watched = Stream::new(outside)?;
    said(&format!("a switch under traffic by {hook}"), hook, || {
        watched.during(|| {
            for n in 1..=6 {
                configure(&policy(hook, n))?;
                run(&["apply"])?;
            }
            Ok(())
        })
    });
    said(&format!("a crash and adoption by {hook}"), hook, || {
        watched.during(|| {
            let before = status()?;
            // Killed, with nothing said.
            drop(agent.take());
            let orphaned = status()?;
            ensure!(orphaned["daemon"] == false, "{orphaned}");
            agent = Some(started(AGENT)?);
            let after = status()?;
            for direction in ["ingress", "egress"] {
                let link =
                    |status: &serde_json::Value| status["interfaces"][0][direction]["link"].clone();
                ensure!(
                    link(&before) == link(&after),
                    "{direction} was attached anew: {before}, then {after}"
                );
            }
            flows(outside)
        })
    });
    said(&format!("another build by {hook}"), hook, || {
        watched.during(|| {
            let other = another_build()?;
            drop(agent.take());
            agent = Some(started(other)?);
            let status = status()?;
            ensure!(status["state"] == "enforcing", "{status}");
            flows(outside)
        })
    });
    said(&format!("the balance by {hook}"), hook, || balance(outside));
    drop(agent);
    detach()
}

fn started(binary: &str) -> Result<Agent> {
    let mut agent = Agent::start_by(binary, false)?;
    agent.ready().with_context(|| agent.told())?;
    Ok(agent)
}

fn run(arguments: &[&str]) -> Result<()> {
    let ran = Command::new(AGENT).args(arguments).output()?;
    let told = String::from_utf8_lossy(&ran.stderr);
    ensure!(ran.status.success(), "{arguments:?}: {told}");
    Ok(())
}

/// Friend and stranger, in both families.
fn flows(outside: &Outside) -> Result<()> {
    for family in [0, 1] {
        let [server, friend, stranger] =
            [SERVER, FRIEND, STRANGER].map(|host| hosts(NUMBER, host)[family]);
        let to = SocketAddr::from((server, OPEN));
        ensure!(outside.reaches(friend, to, LET_IN)?, "{friend} is kept out");
        ensure!(
            !outside.reaches(stranger, to, KEPT_OUT)?,
            "{stranger} is let in"
        );
    }
    Ok(())
}

/// Whether each packet of a burst is counted, and counted once.
fn balance(outside: &Outside) -> Result<()> {
    for family in [0, 1] {
        let to = SocketAddr::from((hosts(NUMBER, SERVER)[family], OPEN));
        let [friend, stranger] = [FRIEND, STRANGER].map(|host| hosts(NUMBER, host)[family]);
        once(outside, friend, to, Fate::Answered)?;
        once(outside, stranger, to, Fate::Denied)?;
    }
    Ok(())
}

/// The agent's binary with another build id, as a build from the same sources elsewhere has it.
fn another_build() -> Result<&'static str> {
    const OTHER: &str = "/bin/portcullis-of-another-build";
    let mut octets = fs::read(AGENT)?;
    // .note.gnu.build-id: name of 4 octets, 20 octets of id, type 3, "GNU"
    let note = [&[4, 0, 0, 0, 20, 0, 0, 0, 3, 0, 0, 0][..], b"GNU\0"].concat();
    let at = octets.windows(note.len()).position(|window| window == note);
    let id = at.context("the binary has no build id")? + note.len();
    octets[id] ^= 0xff;
    fs::write(OTHER, octets)?;
    fs::set_permissions(OTHER, fs::Permissions::from_mode(0o755))?;
    Ok(OTHER)
}

/// Numbered packets of the friend to both watched ports.
struct Stream {
    client: UdpSocket,
    allowed: UdpSocket,
    forbidden: UdpSocket,
    server: IpAddr,
}

impl Stream {
    fn new(outside: &Outside) -> Result<Self> {
        let [server, friend] = [SERVER, FRIEND].map(|host| hosts(NUMBER, host)[0]);
        let stream = Self {
            client: outside.enter(|| UdpSocket::bind((friend, 0)))??,
            allowed: UdpSocket::bind((server, ALLOWED))?,
            forbidden: UdpSocket::bind((server, FORBIDDEN))?,
            server,
        };
        stream.allowed.set_read_timeout(Some(LET_IN))?;
        stream.forbidden.set_nonblocking(true)?;
        Ok(stream)
    }

    /// Whether nothing forbidden passes and nothing allowed is lost while this is done.
    fn during(&self, work: impl FnOnce() -> Result<()>) -> Result<()> {
        let (over, sent) = (AtomicBool::new(false), AtomicU64::new(0));
        thread::scope(|scope| {
            let watched = scope.spawn(|| self.run(&over, &sent));
            let done = work();
            over.store(true, Ordering::Relaxed);
            let Ok(watched) = watched.join() else {
                bail!("the stream panicked")
            };
            watched.and(done)
        })?;
        ensure!(sent.into_inner() > 0, "nothing was sent");
        Ok(())
    }

    fn run(&self, over: &AtomicBool, sent: &AtomicU64) -> Result<()> {
        while !over.load(Ordering::Relaxed) {
            let number = sent.fetch_add(1, Ordering::Relaxed);
            for port in [FORBIDDEN, ALLOWED] {
                let to = SocketAddr::from((self.server, port));
                self.client.send_to(&number.to_be_bytes(), to)?;
            }
            let mut got = [0; 8];
            let received = self.allowed.recv(&mut got);
            received.with_context(|| format!("allowed packet {number} was lost"))?;
            ensure!(
                u64::from_be_bytes(got) == number,
                "allowed packet {number} was lost"
            );
            ensure!(
                self.forbidden.recv(&mut got).is_err(),
                "forbidden packet {number} passed"
            );
        }
        Ok(())
    }
}
