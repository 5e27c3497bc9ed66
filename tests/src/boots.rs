//! A server's boot on an emulated machine: what is on its disk and nothing in its kernel. In the init, where there are no helpers.
//!
//! Each machine lives one life. What it leaves on its disk is said on the serial line, and `cargo xtask kernels --boots` gives it to the
//! next machine: a reboot. The lives are named on the kernel's command line.

use std::fs;
use std::net::UdpSocket;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use crate::machine::{
    AGENT, Agent, CONFIGURATION, FRIEND, Outside, SERVER, STATE, STRANGER, serve, status,
};
use crate::veth;

/// How long whoever is let in may wait for it.
const LET_IN: Duration = Duration::from_secs(20);
/// How long whoever is kept out tries: past the second SYN.
const KEPT_OUT: Duration = Duration::from_millis(2500);

/// A life.
struct Life {
    name: &'static str,
    configuration: &'static str,
    /// Programs can't be loaded.
    refused: bool,
    /// The state that `status` must say, and a part of what it must say of it.
    state: &'static str,
    said: &'static str,
}

const GOOD: &str = r#"schema = 1
interfaces = ["server0"]
hook = "tc"

[default]
ingress = "deny"
egress = "open"

[failsafe.ssh]
tcp = [22]
peers = "10.79.0.2"

[allow.web]
reason = "a test"
direction = "ingress"
tcp = [443]
peers = "10.79.0.2"
"#;

/// For another port, and for anybody: what must not come into force without a confirmation.
const OPEN: &str = r#"schema = 1
interfaces = ["server0"]
hook = "tc"

[default]
ingress = "deny"
egress = "open"

[failsafe.ssh]
tcp = [22]
peers = "10.79.0.2"

[allow.web]
reason = "a test"
direction = "ingress"
tcp = [443]
peers = "any"
"#;

const NAMES: &str = r#"
[allow.named]
reason = "a test"
direction = "ingress"
tcp = [443]
peers = "never.example"
"#;

/// All of them; the first two leave what the others find.
const LIVES: [Life; 7] = [
    Life {
        name: "good",
        configuration: GOOD,
        refused: false,
        state: "enforcing",
        said: "",
    },
    Life {
        name: "trial",
        configuration: GOOD,
        refused: false,
        state: "pending-confirm",
        said: "",
    },
    Life {
        name: "good-then-broken-file",
        configuration: "schema = 1\ninterfaces = [\"server0\"\n",
        refused: false,
        state: "degraded",
        said: "the last good configuration is in force",
    },
    Life {
        name: "good-then-silent-resolver",
        configuration: "",
        refused: false,
        state: "enforcing",
        said: "never.example",
    },
    Life {
        name: "good-then-missing-interface",
        configuration: "",
        refused: false,
        state: "degraded",
        said: "absent0: no such interface",
    },
    Life {
        name: "trial-then-unconfirmed-file",
        configuration: OPEN,
        refused: false,
        state: "reverted",
        said: "",
    },
    Life {
        name: "good-then-refusing-verifier",
        configuration: GOOD,
        refused: true,
        state: "degraded",
        said: "portcullis_failsafe stands in",
    },
];

impl Life {
    fn configuration(&self) -> String {
        match self.name {
            "good-then-silent-resolver" => format!("{GOOD}{NAMES}"),
            "good-then-missing-interface" => {
                GOOD.replace("[\"server0\"]", "[\"server0\", \"absent0\"]")
            }
            _ => self.configuration.to_owned(),
        }
    }
}

/// Lives it, and says what it leaves on the disk.
///
/// # Errors
/// Whatever was not as it should be.
pub fn live(name: &str) -> Result<()> {
    let life = LIVES.iter().find(|life| life.name == name);
    let life = life.with_context(|| format!("no life is called {name}"))?;
    println!("@@ program\t{name}\tboot");
    let begin = Instant::now();
    match lived(life) {
        Ok(()) => {
            let milliseconds = begin.elapsed().as_secs_f64() * 1e3;
            println!("@@ loaded\t{}\t{milliseconds:.1}", life.state);
        }
        Err(error) => {
            let text = format!("{error:#}");
            let text: Vec<&str> = text.split_whitespace().collect();
            println!("@@ refused\t{}", text.join(" "));
        }
    }
    // What is on the disk, for the machine that comes after.
    for entry in fs::read_dir(STATE).context(STATE)?.flatten() {
        let path = entry.path();
        if path.is_file() {
            let octets = fs::read(&path).with_context(|| format!("{}", path.display()))?;
            let hex: String = octets.iter().map(|octet| format!("{octet:02x}")).collect();
            println!("@@ left\t{}\t{hex}", path.display());
        }
    }
    Ok(())
}

fn lived(life: &Life) -> Result<()> {
    // The interface is there before the agent, and not up; packets come when it says READY.
    let outside = Outside::behind("server0", "outside0")?;
    veth::address("server0", SERVER.into(), 24)?;
    for address in [FRIEND, STRANGER] {
        outside.enter(|| veth::address("outside0", address.into(), 24))??;
    }
    fs::create_dir_all("/etc/portcullis")?;
    fs::create_dir_all(STATE)?;
    fs::write(CONFIGURATION, life.configuration())?;
    // Nobody answers there, and nobody says so.
    fs::write(
        "/etc/resolv.conf",
        format!("nameserver {FRIEND}\noptions timeout:5 attempts:5\n"),
    )?;
    let _silent = outside.enter(|| UdpSocket::bind((FRIEND, 53)))??;
    let _served = [serve(22)?, serve(443)?];

    let mut agent = Agent::start(life.refused)?;
    veth::up("server0")?;
    outside.enter(|| veth::up("outside0"))??;
    let checked = check(life, &outside, &mut agent);
    checked.with_context(|| agent.told())
}

fn check(life: &Life, outside: &Outside, agent: &mut Agent) -> Result<()> {
    agent.ready()?;
    if life.name == "trial" {
        fs::write(CONFIGURATION, OPEN)?;
        let applied = Command::new(AGENT)
            .args(["apply", "--confirm", "600s"])
            .output()?;
        ensure!(
            applied.status.success(),
            "apply: {}",
            String::from_utf8_lossy(&applied.stderr)
        );
        ensure!(
            outside.reaches(STRANGER.into(), (SERVER, 443).into(), LET_IN)?,
            "the trial is not in force"
        );
    } else {
        let names = life.said == "never.example";
        // A name that was never resolved admits nobody, and keeps nobody waiting.
        let limit = if names { LET_IN * 2 } else { LET_IN };
        ensure!(
            outside.reaches(FRIEND.into(), (SERVER, 22).into(), limit)?,
            "locked out"
        );
        if !life.refused {
            ensure!(
                outside.reaches(FRIEND.into(), (SERVER, 443).into(), limit)?,
                "the policy is not in force"
            );
        }
        for port in [22, 443] {
            ensure!(
                !outside.reaches(STRANGER.into(), (SERVER, port).into(), KEPT_OUT)?,
                "open: a stranger reaches port {port}"
            );
        }
    }
    let status = status()?;
    ensure!(status["state"] == life.state, "{status}");
    let said = format!("{}{}", status["problems"], status["unresolved"]);
    ensure!(said.contains(life.said), "{said}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn lives_are_told_apart() {
        let names: BTreeSet<&str> = LIVES.iter().map(|life| life.name).collect();
        assert_eq!(names.len(), LIVES.len());
    }
}
