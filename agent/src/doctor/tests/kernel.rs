//! What the kernel takes and forbids.

use super::*;

#[test]
fn kernel() {
    check(
        |it| it.kernel.tried = loaded(false),
        "programs",
        GREEN,
        &["not frames in several buffers", "900 ms", "17 ms"],
    );
    check(
        |it| it.kernel.btf = false,
        "btf",
        GREEN,
        &["load without it"],
    );
    check(
        |it| it.kernel.jit = Some(0),
        "jit",
        YELLOW,
        &["bpf_jit_enable=1"],
    );
    check(
        |it| it.kernel.jit = None,
        "jit",
        YELLOW,
        &["CONFIG_BPF_JIT"],
    );
    check(
        |it| it.kernel.jit_harden = Some(2),
        "jit",
        YELLOW,
        &["bpf_jit_harden=1"],
    );
    check(
        |it| it.kernel.jit_harden = Some(1),
        "jit",
        GREEN,
        &["compiled"],
    );
    check(
        |it| it.kernel.lockdown = Some("confidentiality".to_owned()),
        "lockdown",
        GREEN,
        &["load all the same"],
    );
    check(
        |it| it.kernel.lockdown = None,
        "lockdown",
        GREEN,
        &["not locked down"],
    );
    check(
        |it| it.kernel.bpffs = Some("no".to_owned()),
        "bpffs",
        RED,
        &["sys-fs-bpf.mount"],
    );
    check(
        |it| it.kernel.out_of_reach = vec!["CAP_BPF"],
        "capabilities",
        RED,
        &["CAP_BPF", "on the host"],
    );
    check(|it| it.kernel.tcx = Some(false), "tcx", GREEN, &["clsact"]);
    check(|it| it.kernel.tcx = None, "tcx", YELLOW, &["as root"]);
}

#[test]
fn a_kernel_that_was_not_tried_is_not_called_good() {
    let mut machine = good();
    machine.kernel.tried = Tried::Not("CAP_BPF is missing".to_owned());
    machine.kernel.lacks = vec!["CAP_BPF"];
    machine.kernel.btf = false;
    machine.kernel.lockdown = Some("confidentiality".to_owned());
    let checks = judge(&machine);
    let yellow: Vec<&str> = checks
        .iter()
        .filter(|check| check.level == YELLOW)
        .map(|check| check.id)
        .collect();
    assert_eq!(
        yellow,
        ["capabilities", "programs", "hz", "btf", "lockdown"]
    );
    machine.kernel.tried = Tried::Failed("the verifier said no".to_owned());
    let checks = judge(&machine);
    let programs = checks.iter().find(|check| check.id == "programs").unwrap();
    assert_eq!(programs.level, RED);
    assert!(programs.found.contains("the verifier said no"));
}
