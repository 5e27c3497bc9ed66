//! Each interface that is guarded.

use super::*;

#[test]
fn drivers() {
    let hook = |hook| move |it: &mut Machine| configured(it).hook = hook;
    check(
        hook(Hook::Auto),
        "driver eth0",
        GREEN,
        &["native XDP", "it is known"],
    );
    check(hook(Hook::Xdp), "driver eth0", GREEN, &["native XDP"]);
    check(hook(Hook::Tc), "driver eth0", GREEN, &["judged at TC"]);
    check(
        hook(Hook::XdpGeneric),
        "driver eth0",
        YELLOW,
        &["slower", "hook = \"auto\""],
    );
    let without = |hook, basic: Option<bool>| {
        move |it: &mut Machine| {
            configured(it).hook = hook;
            let device = eth0(it);
            device.auto.xdp = false;
            device.features = basic.map(|basic| XdpFeatures {
                basic,
                several_buffers: false,
            });
        }
    };
    check(
        without(Hook::Xdp, Some(false)),
        "driver eth0",
        RED,
        &["no native XDP"],
    );
    check(without(Hook::Xdp, None), "driver eth0", YELLOW, &["6.3"]);
    check(
        without(Hook::Xdp, Some(true)),
        "driver eth0",
        YELLOW,
        &["at a price: it is known"],
    );
    check(
        without(Hook::Auto, Some(true)),
        "driver eth0",
        GREEN,
        &["judged at TC"],
    );
}

#[test]
fn frames_that_take_several_buffers() {
    let jumbo = |hook, program, driver: Option<bool>| {
        move |it: &mut Machine| {
            configured(it).hook = hook;
            it.facts.interfaces[0].mtu = 9000;
            it.kernel.tried = loaded(program);
            let several = driver.map(|several_buffers| XdpFeatures {
                basic: true,
                several_buffers,
            });
            eth0(it).features = several;
        }
    };
    check(
        jumbo(Hook::Auto, true, Some(true)),
        "mtu eth0",
        GREEN,
        &["several buffers"],
    );
    check(
        jumbo(Hook::Auto, true, Some(false)),
        "mtu eth0",
        YELLOW,
        &["at most 3498"],
    );
    check(
        jumbo(Hook::Auto, true, None),
        "mtu eth0",
        YELLOW,
        &["does not say"],
    );
    check(
        jumbo(Hook::Auto, false, Some(true)),
        "mtu eth0",
        YELLOW,
        &["5.18"],
    );
    check(
        jumbo(Hook::Tc, false, Some(false)),
        "mtu eth0",
        GREEN,
        &["9000"],
    );
    check(
        |it| it.facts.interfaces[0].mtu = 3498,
        "mtu eth0",
        GREEN,
        &["3498"],
    );
}

#[test]
fn what_changes_frames_before_they_are_judged() {
    let offload = |vlan_taken_out, large_receive, hook| {
        move |it: &mut Machine| {
            configured(it).hook = hook;
            eth0(it).offloads = Some(Offloads {
                vlan_taken_out,
                large_receive,
            });
        }
    };
    check(
        offload(true, false, Hook::Auto),
        "vlan eth0",
        YELLOW,
        &["ethtool -K eth0 rxvlan off"],
    );
    check(offload(true, false, Hook::Tc), "vlan eth0", GREEN, &[]);
    check(
        offload(false, true, Hook::Auto),
        "lro eth0",
        YELLOW,
        &["ethtool -K eth0 lro off"],
    );
    check(offload(false, true, Hook::Tc), "vlan eth0", GREEN, &[]);
    check(
        |it| add(it, "eth0.7", "vlan", &["eth0"]),
        "vlan eth0",
        YELLOW,
        &["list eth0.7"],
    );
    check(
        |it| eth0(it).virtual_functions = 4,
        "virtual-functions eth0",
        YELLOW,
        &["4 virtual"],
    );
}

#[test]
fn stacks() {
    let bond = |both: bool| {
        move |it: &mut Machine| {
            add(it, "bond0", "bond", &["eth0"]);
            it.facts.interfaces[0].master = Some("bond0".to_owned());
            if both {
                configured(it).interfaces.push("bond0".to_owned());
            }
        }
    };
    check(bond(true), "stack bond0", YELLOW, &["list one of them"]);
    check(bond(false), "stack eth0", GREEN, &["a member of bond0"]);
    let bridge = |listed: &'static str| {
        move |it: &mut Machine| {
            add(it, "br0", "bridge", &["eth0"]);
            it.facts.interfaces[0].master = Some("br0".to_owned());
            configured(it).interfaces = vec![listed.to_owned()];
        }
    };
    check(
        bridge("eth0"),
        "stack eth0",
        YELLOW,
        &["guests", "list br0"],
    );
    let mut machine = good();
    bridge("br0")(&mut machine);
    let checks = judge(&machine);
    let stack = checks.iter().find(|check| check.id == "stack").unwrap();
    assert_eq!(
        (stack.level, stack.subject.as_deref()),
        (GREEN, Some("br0"))
    );
}

#[test]
fn programs_of_others() {
    let slot = |hook| {
        move |it: &mut Machine| {
            configured(it).hook = hook;
            hooks(it).xdp = vec![77];
        }
    };
    check(
        slot(Hook::Xdp),
        "other-programs eth0",
        RED,
        &["program 77 (theirs)", "hook = \"tc\""],
    );
    check(
        slot(Hook::Auto),
        "other-programs eth0",
        YELLOW,
        &["never reaches ours"],
    );
    // A slot that is taken puts `auto` on TC, where a large MTU is no matter.
    let taken = |it: &mut Machine| {
        slot(Hook::Auto)(it);
        it.facts.interfaces[0].mtu = 9000;
        eth0(it).features = None;
    };
    check(taken, "other-programs eth0", YELLOW, &[]);
    check(
        |it| hooks(it).tcx = Some([vec![], vec![77, 11]]),
        "other-programs eth0",
        RED,
        &["program 77 (theirs) runs before ours"],
    );
    check(
        |it| hooks(it).tcx = Some([vec![], vec![11, 77]]),
        "other-programs eth0",
        GREEN,
        &["beside ours", "theirs"],
    );
    let clsact = |it: &mut Machine| {
        hooks(it).tcx = None;
        hooks(it).clsact = [
            vec![("bpf".to_owned(), Some(10))],
            vec![("flower".to_owned(), None)],
        ];
    };
    check(
        clsact,
        "other-programs eth0",
        GREEN,
        &["a filter of kind flower"],
    );
    check(
        |it| eth0(it).hooks = None,
        "other-programs eth0",
        YELLOW,
        &["as root"],
    );
}
