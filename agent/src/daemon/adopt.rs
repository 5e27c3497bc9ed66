//! The first attach: flows that were open are entered before the policy comes into force, and those that it ends are told.

use std::time::{Duration, Instant};

use super::notes::NotedFlow;
use super::ready::Ready;
use super::sessions;
use crate::adopt::{Host, OpenFlow, open_flows};
use crate::dataplane::Dataplane;
use crate::facts::collect;
use crate::rule::Forward;

/// Flows in the log, each with an entry of its own.
const TOLD: usize = 20;
/// Flows that are kept for `status`.
const KEPT: usize = 1_000;
/// How long flows may be entered, and how long may be looked for those that the policy ends.
const PATIENCE: Duration = Duration::from_secs(2);

/// Enters what the kernel says is open. Whatever goes wrong is told and keeps nothing from coming into force: a flow that is not entered is
/// picked up once this host sends.
pub(super) fn open(dataplane: &mut Dataplane, ready: &Ready) -> Vec<OpenFlow> {
    let began = Instant::now();
    let found = collect::open::open();
    for note in &found.notes {
        log::warn!("{note}");
    }
    let flows = open_flows(&host(ready), &found.tracked, &found.sockets);
    match dataplane.adopt(&flows, PATIENCE) {
        Ok(adopted) => {
            if adopted.without_room > 0 {
                log::warn!(
                    "{} flows that are open found no room in the flow tables (raise `[conntrack] established` and `new`)",
                    adopted.without_room
                );
            }
            if adopted.late > 0 {
                log::warn!(
                    "{} flows that are open could not be entered in time, and are picked up once this host sends",
                    adopted.late
                );
            }
            log::info!(
                "{} flows that were open are entered, of {} that the kernel knows ({} were met already), in {} ms",
                adopted.entered,
                flows.len(),
                adopted.known,
                began.elapsed().as_millis()
            );
        }
        Err(error) => log::warn!(
            "flows that are open are not all entered, and are picked up once this host sends: {error}"
        ),
    }
    flows
}

/// The flows that the policy does not let go on: each is told, the first of them one by one.
pub(super) fn cut(ready: &Ready, flows: &[OpenFlow]) -> Vec<NotedFlow> {
    let until = Instant::now() + PATIENCE;
    let mut late = false;
    let more = || {
        late = Instant::now() > until;
        !late
    };
    let cut: Vec<NotedFlow> = sessions::ended(ready, flows, more)
        .take(KEPT)
        .map(|flow| NotedFlow {
            ends: flow.ends,
            began: flow.beginner,
        })
        .collect();
    for flow in cut.iter().take(TOLD) {
        log::warn!("{flow}: it was open before enforcement began, and the policy ends it");
    }
    if late {
        log::warn!(
            "not all flows that were open could be looked at in time; the policy may end more of them"
        );
    }
    let rest = cut.len().saturating_sub(TOLD);
    if rest > 0 {
        log::warn!("so are {rest} more, which `portcullis status --json` lists");
    }
    cut
}

fn host(ready: &Ready) -> Host {
    let interfaces = ready.facts.interfaces.iter();
    let addresses = interfaces.flat_map(|it| &it.addresses);
    Host {
        own: addresses.map(|it| it.address.addr()).collect(),
        same_rules: Forward::of(ready.tables.head.flags) == Some(Forward::SameRules),
    }
}
