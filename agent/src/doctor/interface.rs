//! Each interface that is guarded: its driver, what changes frames before they are judged, who else is attached.

use super::{Check, Device, Machine, Tried};
use crate::dataplane::inspect::Hooks;
use crate::facts::Interface;
use crate::host::schema::Hook;

/// Octets of payload that fit into one buffer with XDP: a page of 4 KiB less 256 of headroom, 320 of `struct skb_shared_info`, an Ethernet
/// header and two VLAN tags. Drivers differ by a few.
const ONE_BUFFER: u32 = 4096 - 256 - 320 - 14 - 8;

pub(super) fn judge(machine: &Machine) -> Vec<Check> {
    let mut checks = Vec::new();
    for (interface, device) in machine.guarded() {
        let one = One {
            machine,
            interface,
            device,
            hook: machine
                .configured()
                .map_or(Hook::Auto, |configured| configured.hook),
        };
        let about = [
            Some(one.driver()),
            one.mtu(),
            one.vlan(),
            one.large_receive(),
            one.stack(),
            Some(one.others()),
            one.virtual_functions(),
        ];
        let about = about.into_iter().flatten();
        checks.extend(about.map(|check| check.of(&interface.name)));
    }
    checks
}

struct One<'a> {
    machine: &'a Machine,
    interface: &'a Interface,
    device: &'a Device,
    hook: Hook,
}

impl One<'_> {
    /// Programs of others at XDP.
    fn xdp_others(&self) -> Vec<u32> {
        let hooks = self.device.hooks.iter();
        let programs = hooks.flat_map(|hooks| hooks.xdp.iter().copied());
        programs
            .filter(|program| !self.machine.ours.contains(program))
            .collect()
    }

    /// Whether ingress is judged at native XDP, or will be.
    fn at_xdp(&self) -> bool {
        match self.hook {
            Hook::Xdp => true,
            Hook::Auto => self.device.auto.xdp && self.xdp_others().is_empty(),
            Hook::Tc | Hook::XdpGeneric => false,
        }
    }

    fn driver(&self) -> Check {
        const ID: &str = "driver";
        let name = self.device.driver.as_deref().unwrap_or("without a name");
        let why = &self.device.auto.why;
        let basic = self.device.features.map(|features| features.basic);
        match (self.hook, basic) {
            (Hook::Xdp, Some(false)) => Check::red(
                ID,
                format!("driver {name} has no native XDP, which hook = \"xdp\" asks for"),
                "say hook = \"auto\" or \"tc\"",
            ),
            (Hook::Xdp, None) => Check::yellow(
                ID,
                format!("driver {name}: Linux before 6.3 does not say whether it has native XDP"),
                "say hook = \"auto\", which knows drivers, or try it beside a console",
            ),
            (Hook::Xdp, Some(true)) if !self.device.auto.xdp => Check::yellow(
                ID,
                format!("driver {name} has native XDP, at a price: {why}"),
                "say hook = \"auto\", which takes TC here",
            ),
            (Hook::Xdp, Some(true)) => Check::green(ID, format!("native XDP; {why}")),
            (Hook::XdpGeneric, _) => Check::yellow(
                ID,
                "generic XDP runs after the packet was built: slower than TC, for trials",
                "say hook = \"auto\"",
            ),
            (Hook::Auto, Some(false)) if self.device.auto.xdp => {
                Check::green(ID, format!("judged at TC: this {name} has no native XDP"))
            }
            (Hook::Auto, _) if self.at_xdp() => {
                Check::green(ID, format!("judged at native XDP; {why}"))
            }
            (Hook::Auto, _) => Check::green(ID, format!("judged at TC; {why}")),
            (Hook::Tc, _) => Check::green(ID, format!("driver {name}, judged at TC as asked for")),
        }
    }

    fn mtu(&self) -> Option<Check> {
        const ID: &str = "mtu";
        let mtu = self.interface.mtu;
        if !self.at_xdp() || mtu <= ONE_BUFFER {
            return Some(Check::green(ID, format!("{mtu} octets fit")));
        }
        let program = match &self.machine.kernel.tried {
            Tried::Loaded(out) => out.frags,
            // What was not tried is not held against the driver.
            Tried::Failed(_) | Tried::Not(_) => true,
        };
        let driver = self
            .device
            .features
            .map(|features| features.several_buffers);
        Some(match (program, driver) {
            (true, Some(true)) => Check::green(
                ID,
                format!("{mtu} octets take several buffers, which kernel and driver know"),
            ),
            (false, _) => Check::yellow(
                ID,
                format!(
                    "{mtu} octets take several buffers, which XDP knows from Linux 5.18 on: attaching is refused"
                ),
                format!("say hook = \"tc\", or set an MTU of at most {ONE_BUFFER}"),
            ),
            (true, _) => Check::yellow(
                ID,
                format!(
                    "{mtu} octets take several buffers, and the driver does not say that its XDP knows them"
                ),
                format!(
                    "say hook = \"tc\" if attaching is refused, or set an MTU of at most {ONE_BUFFER}"
                ),
            ),
        })
    }

    fn vlan(&self) -> Option<Check> {
        const ID: &str = "vlan";
        let name = &self.interface.name;
        let above: Vec<&str> = self
            .machine
            .facts
            .interfaces
            .iter()
            .filter(|other| other.driver.as_deref() == Some("vlan"))
            .filter(|other| {
                let device = self.machine.devices.get(&other.name);
                device.is_some_and(|device| device.lower.contains(name))
            })
            .map(|other| other.name.as_str())
            .collect();
        if !above.is_empty() {
            let list = above.join(", ");
            return Some(Check::yellow(
                ID,
                format!("{list} receives by it, and frames with a VLAN tag are denied here"),
                format!("list {list} in `interfaces` in place of {name}"),
            ));
        }
        let offloads = self.device.offloads?;
        Some(if offloads.vlan_taken_out && self.at_xdp() {
            Check::yellow(
                ID,
                "the card takes VLAN tags out before XDP: a tagged frame is judged as if it had none",
                format!("ethtool -K {name} rxvlan off, or hook = \"tc\""),
            )
        } else {
            Check::green(ID, "no VLAN above it, and tags are seen where they come")
        })
    }

    fn large_receive(&self) -> Option<Check> {
        const ID: &str = "lro";
        let offloads = self.device.offloads?;
        (offloads.large_receive && self.at_xdp()).then(|| {
            Check::yellow(
                ID,
                "the card merges segments (LRO), and most drivers refuse XDP then",
                format!("ethtool -K {} lro off", self.interface.name),
            )
        })
    }

    /// Of a stack the lowest listed device is guarded, once.
    fn stack(&self) -> Option<Check> {
        const ID: &str = "stack";
        let name = &self.interface.name;
        let kind = self.interface.driver.as_deref().unwrap_or_default();
        let lower = &self.device.lower;
        let listed: Vec<&str> = lower
            .iter()
            .filter(|lower| self.machine.guards(lower))
            .map(String::as_str)
            .collect();
        if self.machine.configured().is_some() && !listed.is_empty() {
            return Some(Check::yellow(
                ID,
                format!(
                    "{} lies below it and is listed as well: a packet is judged at both",
                    listed.join(", ")
                ),
                format!(
                    "list one of them: {name}, or {} for what comes in before the stack",
                    lower.join(", ")
                ),
            ));
        }
        if kind == "bridge" && !lower.is_empty() {
            return Some(Check::green(
                ID,
                format!(
                    "a bridge over {}: what it passes from port to port is not judged here",
                    lower.join(", ")
                ),
            ));
        }
        let master = self.interface.master.as_ref()?;
        let bridged = self
            .machine
            .facts
            .interfaces
            .iter()
            .any(|other| other.name == *master && other.driver.as_deref() == Some("bridge"));
        Some(if bridged {
            Check::yellow(
                ID,
                format!(
                    "a port of the bridge {master}: what guests behind it send and get is judged here as well"
                ),
                format!("list {master} in place of {name}, unless the guests' traffic is meant"),
            )
        } else {
            Check::green(
                ID,
                format!("a member of {master}; what comes by it is judged here"),
            )
        })
    }

    /// Who else is attached. Ours goes first at TC when it is attached, and the chain goes on behind it.
    fn others(&self) -> Check {
        const ID: &str = "other-programs";
        let Some(hooks) = &self.device.hooks else {
            return Check::yellow(
                ID,
                "what is attached to it could not be asked",
                "run `portcullis doctor` as root",
            );
        };
        let named = |programs: &[u32]| -> String {
            let words: Vec<String> = programs.iter().map(|id| self.machine.named(*id)).collect();
            words.join(", ")
        };
        let xdp = self.xdp_others();
        if !xdp.is_empty() {
            let found = format!("{} holds the XDP slot", named(&xdp));
            return match self.hook {
                Hook::Xdp | Hook::XdpGeneric => Check::red(
                    ID,
                    format!("{found}, so ours can't be attached there"),
                    "say hook = \"tc\" or \"auto\", or remove the other program",
                ),
                Hook::Auto | Hook::Tc => Check::yellow(
                    ID,
                    format!("{found}: what it drops or sends elsewhere never reaches ours at TC"),
                    "look whether it is meant to be there: `bpftool net`",
                ),
            };
        }
        let before = self.before_ours(hooks);
        if !before.is_empty() {
            return Check::red(
                ID,
                format!(
                    "{} runs before ours, and what it lets pass at once is not judged",
                    named(&before)
                ),
                "detach it and attach it again after ours, or `portcullis detach` and start anew: ours goes first",
            );
        }
        let beside = self.beside(hooks);
        if beside.is_empty() {
            Check::green(ID, "nothing of others is attached")
        } else {
            Check::green(
                ID,
                format!("beside ours at TC, behind it: {}", beside.join(", ")),
            )
        }
    }

    /// Programs of others that run before one of ours at TCX.
    fn before_ours(&self, hooks: &Hooks) -> Vec<u32> {
        let ours = |id: &u32| self.machine.ours.contains(id);
        let mut found = Vec::new();
        for programs in hooks.tcx.iter().flatten() {
            if let Some(place) = programs.iter().position(ours) {
                found.extend(programs.iter().take(place).copied());
            }
        }
        found
    }

    /// Programs and filters of others at TC, in words.
    fn beside(&self, hooks: &Hooks) -> Vec<String> {
        let theirs = |id: &u32| !self.machine.ours.contains(id);
        let tcx = hooks.tcx.iter().flatten().flatten().copied();
        let mut found: Vec<String> = tcx
            .filter(theirs)
            .map(|id| self.machine.named(id))
            .collect();
        for (kind, program) in hooks.clsact.iter().flatten() {
            match program {
                Some(id) if !theirs(id) => {}
                Some(id) => found.push(self.machine.named(*id)),
                None => found.push(format!("a filter of kind {kind}")),
            }
        }
        found
    }

    fn virtual_functions(&self) -> Option<Check> {
        let number = self.device.virtual_functions;
        (number > 0).then(|| {
            Check::yellow(
                "virtual-functions",
                format!("{number} virtual functions are on: what their owners send and get passes the card alone"),
                "guard them where they are used, or turn them off (sriov_numvfs)",
            )
        })
    }
}
