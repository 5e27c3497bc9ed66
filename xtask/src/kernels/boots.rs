//! Reboots: a server that lives on one emulated machine after the other. What a life leaves on its disk is said on the serial line and
//! packed for the next; in the kernel nothing is left.

use std::path::Path;

use anyhow::{Context as _, Result, bail};

use super::archive::Unpacked;
use super::boot::{self, Machine, Payload, Slots};
use super::report::Report;

/// The kernel, where none is named.
pub(super) const KERNEL: &str = "6.1";

/// First lives, and those that find what one of them left. They are described where they are lived, in the tests member.
const FIRST: [&str; 2] = ["good", "trial"];
const LATER: [&str; 5] = [
    "good-then-broken-file",
    "good-then-silent-resolver",
    "good-then-missing-interface",
    "good-then-refusing-verifier",
    "trial-then-unconfirmed-file",
];

/// Lives them all. One report, a line for each.
///
/// # Errors
/// When a machine can't be started. What was not as it should be is a fault of the report.
pub(super) fn live(
    payload: &Payload<'_>,
    kernel: &Unpacked,
    directory: &Path,
    slots: &Slots,
) -> Result<Report> {
    let mut whole = Report::default();
    let all = |lives: &[&'static str], before: &Lived| {
        all(payload, kernel, directory, slots, lives, before)
    };
    let first = all(&FIRST, &Vec::new())?;
    let mut later = Vec::new();
    if first.iter().all(|(_, report)| report.faults().is_empty()) {
        later = all(&LATER, &first)?;
    }
    for (life, mut report) in first.into_iter().chain(later) {
        for failure in &mut report.failures {
            *failure = format!("{life}: {failure}");
        }
        whole.add(report);
    }
    Ok(whole)
}

type Lived = Vec<(&'static str, Report)>;

fn all(
    payload: &Payload<'_>,
    kernel: &Unpacked,
    directory: &Path,
    slots: &Slots,
    lives: &[&'static str],
    before: &[(&'static str, Report)],
) -> Result<Lived> {
    std::thread::scope(|scope| {
        let running: Vec<_> = lives
            .iter()
            .map(|&life| {
                let one = move || -> Result<Report> {
                    let disk = life
                        .split_once("-then-")
                        .and_then(|(first, _)| before.iter().find(|(name, _)| *name == first))
                        .map_or(&[][..], |(_, report)| &report.left);
                    let initramfs = directory.join(format!("{life}.cpio"));
                    boot::pack(payload, kernel, disk, &initramfs)?;
                    boot::boot(Machine::Emulated(kernel, &initramfs), life, slots)
                };
                (life, scope.spawn(one))
            })
            .collect();
        let mut reports = Vec::new();
        for (life, machine) in running {
            let Ok(report) = machine.join() else {
                bail!("{life}: the emulator's reader died")
            };
            reports.push((life, report.with_context(|| life.to_owned())?));
        }
        Ok(reports)
    })
}
