//! xdp-filter of xdp-tools, as a host of its own would run it: native XDP on a veth, features tcp, udp, ipv4, deny by default.

use std::borrow::Cow;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use aya::programs::{ProgramInfo, TestRun as _, TestRunOptions, Xdp};
use aya_obj::programs::XdpAttachType;

use super::loaded::{HOST, PEER};
use crate::link::cable;
use crate::netns::Namespace;
use crate::packet::tcp;
use crate::process;

/// xdp-filter in force on a throw-away host.
pub struct XdpFilter {
    program: Xdp,
    _hosts: [Namespace; 2],
}

/// What it looks at where the comparison is with it.
pub const FEATURES: &str = "tcp,udp,ipv4";
/// All that it can look at.
pub const ALL_FEATURES: &str = "tcp,udp,ipv4,ipv6,ethernet";
/// The TCP port that it lets in.
const OPEN: u16 = 9;

const LIMIT: Duration = Duration::from_secs(20);

impl XdpFilter {
    /// Loads it.
    ///
    /// # Errors
    /// Where xdp-filter is missing or refuses.
    pub fn start(features: &str) -> Result<Self> {
        let hosts = [Namespace::new("rival")?, Namespace::new("peer")?];
        cable(
            (&hosts[0], "eth0", &["10.9.0.1/24"]),
            (&hosts[1], "eth0", &["10.9.0.2/24"]),
        )?;
        for line in [
            &format!("xdp-filter load -m native -p deny -f {features} eth0"),
            &format!("xdp-filter port -p tcp -m dst {OPEN}"),
        ] {
            let done = process::output(&mut hosts[0].words(line), LIMIT)
                .with_context(|| format!("`{line}` (Debian's package xdp-tools)"))?;
            ensure!(
                done.status.success(),
                "`{line}` failed: {}",
                String::from_utf8_lossy(&done.stderr)
            );
        }
        let links = process::output(&mut hosts[0].words("ip -j link show eth0"), LIMIT)?;
        let links: serde_json::Value = serde_json::from_slice(&links.stdout)?;
        let id = links[0]["xdp"]["prog"]["id"]
            .as_u64()
            .context("no XDP program on eth0 after `xdp-filter load`")?;
        let info = aya::programs::loaded_programs()
            .filter_map(Result::ok)
            .find(|info: &ProgramInfo| u64::from(info.id()) == id)
            .with_context(|| format!("program {id} of xdp-filter is gone"))?;
        // Only its test runs are used; it is never attached or detached through this handle, so which way it is attached matters to
        // nobody.
        let name = Cow::Borrowed("xdp-filter");
        let program = Xdp::from_program_info(info, name, XdpAttachType::Interface)?;
        Ok(Self {
            program,
            _hosts: hosts,
        })
    }

    /// A segment to the port that it lets in.
    ///
    /// # Errors
    /// None that is expected.
    pub fn allowed() -> Result<Vec<u8>> {
        tcp((PEER.into(), 40_000), (HOST.into(), OPEN), "S").frame()
    }

    /// Mean nanoseconds of a frame.
    ///
    /// # Errors
    /// What the kernel says, and where it gives another verdict.
    pub fn test_run(&self, frame: &[u8], passes: bool, repeat: u32) -> Result<f64> {
        const XDP_PASS: u32 = 2;
        let options = TestRunOptions {
            data_in: Some(frame),
            repeat,
            ..TestRunOptions::new()
        };
        let result = self.program.test_run(options)?;
        let passed = result.return_value == XDP_PASS;
        ensure!(passed == passes, "xdp-filter gave {}", result.return_value);
        Ok(result.duration.as_nanos() as f64)
    }
}
