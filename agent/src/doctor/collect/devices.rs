//! Interfaces: what drivers and the kernel say of them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use crate::dataplane::inspect::{self, Auto};
use crate::doctor::machine::Device;
use crate::facts::{Facts, Interface};

/// ARPHRD_LOOPBACK.
const LOOPBACK: u16 = 772;

/// Every interface but loopback.
pub(super) fn of(facts: &Facts) -> BTreeMap<String, Device> {
    let interfaces = facts.interfaces.iter();
    interfaces
        .filter(|interface| interface.link_type != LOOPBACK)
        .map(|interface| (interface.name.clone(), device(interface)))
        .collect()
}

fn device(interface: &Interface) -> Device {
    let name = &interface.name;
    let (driver, auto) = inspect::auto(name).unwrap_or_else(|error| {
        let why = format!("its driver can't be asked: {error}");
        (None, Auto { xdp: false, why })
    });
    let sysfs = directory(interface);
    let virtual_functions = sysfs
        .as_ref()
        .and_then(|sysfs| fs::read_to_string(sysfs.join("device/sriov_numvfs")).ok())
        .and_then(|number| number.trim().parse().ok());
    Device {
        driver: driver.or_else(|| interface.driver.clone()),
        auto,
        features: inspect::xdp_features(interface.index).unwrap_or(None),
        offloads: inspect::offloads(name).ok(),
        hooks: inspect::hooks(interface.index).ok(),
        lower: sysfs.as_deref().map(lower).unwrap_or_default(),
        virtual_functions: virtual_functions.unwrap_or(0),
    }
}

/// The interface's directory, if sysfs is of this network namespace: the index tells.
fn directory(interface: &Interface) -> Option<PathBuf> {
    let directory = Path::new("/sys/class/net").join(&interface.name);
    let shown = fs::read_to_string(directory.join("ifindex")).ok()?;
    (shown.trim() == interface.index.to_string()).then_some(directory)
}

/// Links `lower_NAME`: members, ports, the parent.
fn lower(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let mut found: Vec<String> = names
        .filter_map(|name| name.strip_prefix("lower_").map(str::to_owned))
        .collect();
    found.sort();
    found
}

/// Names of programs that are attached and none of ours, where they may be seen.
pub(super) fn names_of_others(
    devices: &BTreeMap<String, Device>,
    ours: &[u32],
) -> BTreeMap<u32, String> {
    let mut ids = BTreeSet::new();
    for hooks in devices.values().filter_map(|device| device.hooks.as_ref()) {
        ids.extend(&hooks.xdp);
        ids.extend(hooks.tcx.iter().flatten().flatten());
        let clsact = hooks.clsact.iter().flatten();
        ids.extend(clsact.filter_map(|(_, program)| *program));
    }
    ids.retain(|id| !ours.contains(id));
    let named = ids
        .into_iter()
        .filter_map(|id| Some((id, inspect::program_name(id)?)));
    named.collect()
}
