//! The edge of the doctor: looks at this machine, and tries out what can only be tried.

mod devices;
mod journal;
mod senders;

use std::collections::BTreeMap;
use std::fs;
use std::mem::{MaybeUninit, size_of};
use std::path::Path;

use agent_common::flow::{FlowEntry, FlowKey};
use anyhow::Result;

use super::machine::{Clock, Configuration, Configured, Kernel, Machine, Tried};
use crate::cli::ConfigArgs;
use crate::dataplane::inspect;
use crate::dataplane::object::BPF_OBJECT;
use crate::facts::Facts;
use crate::facts::collect::NAMES_PATIENCE;
use crate::inputs::{self, Said};
use crate::meaning::meaning;

/// Looks at this machine. With the privileges for it the programs are loaded once and removed again; nothing that is in force is touched.
/// What could not be learnt and has no place in the machine is told as a note.
///
/// # Errors
///
/// Where the kernel does not say which interfaces there are.
pub fn collect(args: &ConfigArgs, pins: &Path) -> Result<(Machine, Vec<String>)> {
    let said = read(args);
    let names = said.as_ref().map(Said::names).unwrap_or_default();
    let (facts, notes) = inputs::facts(None, names, NAMES_PATIENCE, false)?;
    let configuration = match &said {
        Ok(said) => configuration(said, &facts),
        Err(unread) => unread.clone(),
    };
    let kernel = kernel(&facts, pins);
    let devices = devices::of(&facts);
    let ours: Vec<u32> = inspect::ours(pins)
        .unwrap_or_default()
        .iter()
        .map(|link| link.program)
        .collect();
    let machine = Machine {
        names: devices::names_of_others(&devices, &ours),
        journal: journal::look(),
        clock: clock(),
        available: available(&read_small("/proc/meminfo").unwrap_or_default()),
        senders: senders::look(&facts),
        facts,
        configuration,
        kernel,
        devices,
        ours,
    };
    Ok((machine, notes))
}

/// The texts, or why there are none.
fn read(args: &ConfigArgs) -> Result<Said, Configuration> {
    if !args.config.exists() {
        return Err(Configuration::Missing(args.config.display().to_string()));
    }
    inputs::read(args).map_err(|error| Configuration::Unreadable(format!("{error:#}")))
}

fn configuration(said: &Said, facts: &Facts) -> Configuration {
    let Some(config) = &said.config else {
        return Configuration::Unreadable("it is no configuration".to_owned());
    };
    let meaning = meaning(config, &said.catalogue, facts, &said.findings);
    let findings = meaning.findings.iter();
    let ephemeral = findings
        .filter(|finding| finding.kind == crate::host::Kind::EphemeralPort.name())
        .map(|finding| {
            let help = finding.help.clone().unwrap_or_default();
            (finding.message.clone(), help)
        });
    /// What a hash table of the kernel needs for an entry besides key and value: `struct htab_elem` and its place in a bucket.
    const ENTRY: usize = 64;
    let flow = (size_of::<FlowKey>() + size_of::<FlowEntry>() + ENTRY) as u64;
    let flows = u64::from(config.conntrack.established) + u64::from(config.conntrack.new);
    let interfaces = config.interfaces.iter();
    Configuration::Read(Configured {
        interfaces: interfaces.map(|it| it.get_ref().clone()).collect(),
        hook: config.hook,
        forward: config.forward.as_ref().map(|said| *said.get_ref()),
        errors: meaning.findings.count(crate::diagnose::Severity::Error),
        ephemeral: ephemeral.collect(),
        bank: meaning.tables.as_ref().map(|tables| tables.sizes.bytes),
        flows: flow.saturating_mul(flows),
    })
}

fn kernel(facts: &Facts, pins: &Path) -> Kernel {
    let status = read_small("/proc/self/status").unwrap_or_default();
    let set = |name| capabilities(&status, name).unwrap_or(0);
    let lacks = inspect::capabilities_missing(set("CapEff:"));
    let bpffs = inspect::bpffs(pins).err().map(|error| error.to_string());
    let tried = if !lacks.is_empty() {
        Tried::Not(format!("{} is missing", lacks.join(", ")))
    } else if bpffs.is_some() {
        Tried::Not("there is no BPF file system".to_owned())
    } else {
        match inspect::try_out(BPF_OBJECT, pins) {
            Ok(out) => Tried::Loaded(out),
            Err(error) => Tried::Failed(error.to_string()),
        }
    };
    let number = |path| read_small(path).and_then(|text| text.trim().parse().ok());
    let lockdown = read_small("/sys/kernel/security/lockdown");
    Kernel {
        release: facts.kernel.clone(),
        tried,
        btf: Path::new("/sys/kernel/btf/vmlinux").exists(),
        jit: number("/proc/sys/net/core/bpf_jit_enable"),
        jit_harden: number("/proc/sys/net/core/bpf_jit_harden"),
        lockdown: lockdown.as_deref().and_then(chosen).map(str::to_owned),
        lacks,
        out_of_reach: inspect::capabilities_missing(set("CapBnd:")),
        bpffs,
        // Loopback is always there, and asking changes nothing.
        tcx: inspect::hooks(1).ok().map(|hooks| hooks.tcx.is_some()),
    }
}

/// A set of capabilities in /proc/PID/status, as bits.
fn capabilities(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

/// The word in brackets: `none [integrity] confidentiality`.
fn chosen(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once('[')?;
    Some(rest.split_once(']')?.0)
}

/// `MemAvailable` of /proc/meminfo in octets.
fn available(meminfo: &str) -> Option<u64> {
    let mut lines = meminfo.lines();
    let line = lines.find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kibi: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibi.checked_mul(1024)
}

/// What adjtimex(2) says; asking needs no privilege.
fn clock() -> Clock {
    let mut asked = MaybeUninit::<libc::timex>::zeroed();
    // SAFETY: all bits zero is a `struct timex` that changes nothing (`modes` is 0); it lives through the call and is initialised.
    let (state, answer) = unsafe {
        let state = libc::adjtimex(asked.as_mut_ptr());
        (state, asked.assume_init())
    };
    Clock {
        synchronized: (state >= 0).then_some(answer.status & libc::STA_UNSYNC == 0),
    }
}

fn read_small(path: &str) -> Option<String> {
    fs::read_to_string(path).ok()
}

/// Sections are not told apart: the files that are read here have keys of one section.
fn ini(texts: &[String]) -> BTreeMap<&str, &str> {
    let lines = texts.iter().flat_map(|text| text.lines());
    let settings = lines
        .map(str::trim)
        .filter(|line| !line.starts_with(['#', ';']));
    settings
        .filter_map(|line| line.split_once('='))
        .map(|(key, value)| (key.trim(), value.trim()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_texts() {
        let status = "Name:\tx\nCapEff:\t0000000000001000\nCapBnd:\t000001ffffffffff\n";
        assert_eq!(capabilities(status, "CapEff:"), Some(0x1000));
        assert_eq!(capabilities(status, "CapBnd:"), Some(0x1ff_ffff_ffff));
        assert_eq!(capabilities("", "CapEff:"), None);
        assert_eq!(
            chosen("none [integrity] confidentiality\n"),
            Some("integrity")
        );
        assert_eq!(chosen("none"), None);
        let memory = "MemTotal:  100 kB\nMemAvailable:   42 kB\n";
        assert_eq!(available(memory), Some(42 * 1024));
        assert_eq!(available("MemAvailable: lots"), None);
        let texts = [
            "[Journal]\n#Storage=none\nStorage=volatile\n".to_owned(),
            "Storage = auto\n".to_owned(),
        ];
        assert_eq!(ini(&texts).get("Storage"), Some(&"auto"));
    }

    #[test]
    fn this_machine_is_looked_at() {
        let args = ConfigArgs {
            config: "/nonexistent/portcullis.toml".into(),
            policies: None,
        };
        // No BPF file system, so that nothing is loaded.
        let (machine, _) = collect(&args, Path::new("/proc/self/pins")).unwrap();
        assert!(matches!(machine.configuration, Configuration::Missing(_)));
        assert!(matches!(machine.kernel.tried, Tried::Not(_)));
        assert!(machine.kernel.bpffs.is_some() && machine.available.is_some());
        assert!(!machine.devices.contains_key("lo"));
        let interfaces = machine.facts.interfaces.iter();
        for interface in interfaces.filter(|interface| interface.name != "lo") {
            assert!(
                machine.devices.contains_key(&interface.name),
                "{}",
                interface.name
            );
        }
    }
}
