//! One packet through a loaded program, by BPF_PROG_TEST_RUN: for tests and for measuring.

use aya::programs::{TestRun as _, TestRunAttrs, TestRunOptions};

use super::error::Error;
use super::load::{Dataplane, TC_EGRESS, TC_INGRESS, XDP};

/// Which program.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Entry {
    /// Ingress at XDP: the variant that this kernel took.
    XdpIngress,
    /// Ingress at TC.
    TcIngress,
    /// Egress at TC.
    TcEgress,
}

impl Entry {
    /// All of them.
    pub const ALL: [Entry; 3] = [Entry::XdpIngress, Entry::TcIngress, Entry::TcEgress];
}

/// What came of a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ran {
    /// The program's return value: XDP_PASS (2) and XDP_DROP (1), or TC_ACT_UNSPEC (-1) and TC_ACT_SHOT (2) as `u32`.
    pub returned: u32,
    /// Whether the packet goes on.
    pub passed: bool,
    /// Mean nanoseconds of a run, as the kernel measured.
    pub nanoseconds: u64,
}

impl Dataplane {
    /// Runs a program over a frame `repeat` times. `context` is `struct xdp_md` or `struct __sk_buff`, where the frame has to come by a
    /// certain interface; empty for none.
    ///
    /// # Errors
    /// What the kernel says: EINVAL for a frame shorter than an Ethernet header.
    pub fn test_run(
        &mut self,
        entry: Entry,
        frame: &[u8],
        context: &[u8],
        repeat: u32,
    ) -> Result<Ran, Error> {
        let options = TestRunOptions {
            data_in: Some(frame),
            ctx_in: (!context.is_empty()).then_some(context),
            repeat,
            ..TestRunOptions::new()
        };
        const XDP_PASS: u32 = 2;
        const TC_ACT_UNSPEC: u32 = u32::MAX;
        let (name, passes) = match entry {
            Entry::XdpIngress => (XDP, XDP_PASS),
            Entry::TcIngress => (TC_INGRESS, TC_ACT_UNSPEC),
            Entry::TcEgress => (TC_EGRESS, TC_ACT_UNSPEC),
        };
        let result = match entry {
            Entry::XdpIngress => self.xdp()?.test_run(options),
            Entry::TcIngress | Entry::TcEgress => self.classifier(name)?.test_run(options),
        }
        .map_err(Error::program(name))?;
        Ok(Ran {
            returned: result.return_value,
            passed: result.return_value == passes,
            nanoseconds: result.duration.as_nanos() as u64,
        })
    }

    /// Sends a frame `repeat` times through XDP as if an interface had received it: what passes goes on into the stack (Linux 5.18 and later).
    ///
    /// # Errors
    /// What the kernel says.
    pub fn inject(&mut self, frame: &[u8], interface: u32, repeat: u32) -> Result<(), Error> {
        // struct xdp_md: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex
        let words = [0, frame.len() as u32, 0, interface, 0, 0];
        let context: Vec<u8> = words.into_iter().flat_map(u32::to_ne_bytes).collect();
        let options = TestRunOptions {
            data_in: Some(frame),
            ctx_in: Some(&context),
            repeat,
            attrs: TestRunAttrs::new().xdp_live_frames(64),
            ..TestRunOptions::new()
        };
        self.xdp()?
            .test_run(options)
            .map(|_| ())
            .map_err(Error::program(XDP))
    }
}
