//! The kernel: what it takes, what it forbids, what makes it slow.

use super::{Check, Machine, Tried};

const AS_ROOT: &str = "run `portcullis doctor` as root";

pub(super) fn judge(machine: &Machine) -> Vec<Check> {
    vec![
        capabilities(machine),
        bpffs(machine),
        programs(machine),
        clock_rate(machine),
        tc(machine),
        btf(machine),
        jit(machine),
        lockdown(machine),
    ]
}

fn capabilities(machine: &Machine) -> Check {
    const ID: &str = "capabilities";
    let kernel = &machine.kernel;
    if !kernel.out_of_reach.is_empty() {
        return Check::red(
            ID,
            format!(
                "no process here can have {} (the bounding set lacks it), and the agent needs it",
                kernel.out_of_reach.join(", ")
            ),
            "run the agent on the host, or give the container these capabilities",
        );
    }
    if kernel.lacks.is_empty() {
        return Check::green(ID, "CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON are there");
    }
    Check::yellow(
        ID,
        format!(
            "this process lacks {}, so the kernel could not be tried",
            kernel.lacks.join(", ")
        ),
        AS_ROOT,
    )
}

/// What lets the programs be tried.
fn way(machine: &Machine) -> &'static str {
    if machine.kernel.bpffs.is_some() {
        "mount the BPF file system, then run `portcullis doctor` as root again"
    } else {
        AS_ROOT
    }
}

fn bpffs(machine: &Machine) -> Check {
    const ID: &str = "bpffs";
    match &machine.kernel.bpffs {
        None => Check::green(ID, "a BPF file system is mounted where pins lie"),
        Some(why) => Check::red(
            ID,
            why.clone(),
            "systemd mounts it at boot, unless sys-fs-bpf.mount is masked",
        ),
    }
}

fn programs(machine: &Machine) -> Check {
    const ID: &str = "programs";
    let release = &machine.kernel.release;
    match &machine.kernel.tried {
        Tried::Loaded(out) => {
            let frags = if out.frags {
                "frames in several buffers too"
            } else {
                "not frames in several buffers (Linux 5.18 and later)"
            };
            Check::green(
                ID,
                format!(
                    "Linux {release} takes every program, {frags}; they load in {} ms, a bank is free {} ms after it was left",
                    out.took.as_millis(),
                    out.grace.as_millis()
                ),
            )
        }
        Tried::Failed(why) => Check::red(
            ID,
            format!("Linux {release} does not take the programs: {why}"),
            "kernels that are known to take them: 5.10 and later with CONFIG_BPF_SYSCALL, CONFIG_BPF_JIT and CONFIG_NET_CLS_ACT",
        ),
        Tried::Not(why) => {
            Check::yellow(ID, format!("not tried on Linux {release}: {why}"), AS_ROOT)
        }
    }
}

/// Loading measures it, and refuses another; here it is only told.
fn clock_rate(machine: &Machine) -> Check {
    const ID: &str = "hz";
    match &machine.kernel.tried {
        Tried::Loaded(out) => Check::green(ID, format!("{} jiffies a second, measured", out.hz)),
        Tried::Failed(_) | Tried::Not(_) => Check::yellow(
            ID,
            "the rate of jiffies was not measured, because no program was loaded",
            way(machine),
        ),
    }
}

fn tc(machine: &Machine) -> Check {
    const ID: &str = "tcx";
    match machine.kernel.tcx {
        Some(true) => Check::green(ID, "TCX is there: links are pinned and outlive the agent"),
        Some(false) => Check::green(
            ID,
            "no TCX before Linux 6.6: clsact filters are used, which outlive the agent by themselves; whoever deletes the clsact qdisc removes them",
        ),
        None => Check::yellow(ID, "whether the kernel has TCX could not be asked", AS_ROOT),
    }
}

fn btf(machine: &Machine) -> Check {
    const ID: &str = "btf";
    if machine.kernel.btf {
        return Check::green(ID, "the kernel carries its type information");
    }
    match machine.kernel.tried {
        Tried::Loaded(_) => Check::green(
            ID,
            "the kernel carries no type information; the programs load without it",
        ),
        Tried::Failed(_) | Tried::Not(_) => Check::yellow(
            ID,
            "/sys/kernel/btf/vmlinux is missing",
            "use a kernel built with CONFIG_DEBUG_INFO_BTF",
        ),
    }
}

fn jit(machine: &Machine) -> Check {
    const ID: &str = "jit";
    let kernel = &machine.kernel;
    match (kernel.jit, kernel.jit_harden) {
        (Some(0), _) => Check::yellow(
            ID,
            "the compiler of BPF programs is off: every packet costs many times as much",
            "sysctl -w net.core.bpf_jit_enable=1, and the same line in /etc/sysctl.d",
        ),
        (Some(_), Some(2)) => Check::yellow(
            ID,
            "the compiler of BPF programs blinds constants for root, too, which makes programs slower",
            "sysctl -w net.core.bpf_jit_harden=1, unless your rules ask for 2",
        ),
        (Some(_), _) => Check::green(ID, "programs are compiled"),
        (None, _) => Check::yellow(
            ID,
            "net.core.bpf_jit_enable is not there: interpreted, or not to be seen from here",
            "use a kernel built with CONFIG_BPF_JIT, and look from the host's own /proc",
        ),
    }
}

fn lockdown(machine: &Machine) -> Check {
    const ID: &str = "lockdown";
    let kernel = &machine.kernel;
    match (kernel.lockdown.as_deref(), &kernel.tried) {
        (None | Some("none"), _) => Check::green(ID, "the kernel is not locked down"),
        (Some(mode), Tried::Loaded(_)) => Check::green(
            ID,
            format!("locked down ({mode}), and the programs load all the same"),
        ),
        (Some("integrity"), _) => Check::green(
            ID,
            "locked down (integrity), which forbids nothing that the programs do",
        ),
        (Some(mode), _) => Check::yellow(
            ID,
            format!("locked down ({mode}), and it was not seen that the programs load"),
            AS_ROOT,
        ),
    }
}
