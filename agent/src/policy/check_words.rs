//! Whether a policy's options, ports and groups are coherent, and what is asked of them.

use std::collections::BTreeSet;

use toml::Spanned;

use super::check::Check;
use super::kinds::Kind;
use super::schema::{Group, GroupKind};
use super::values::{Condition, PortDefault};

/// Checks the tables whose words rows use.
pub(super) fn words(check: &mut Check<'_>) {
    check.options();
    check.ports();
    check.groups();
}

impl Check<'_> {
    fn options(&mut self) {
        if !self.read_whole {
            return;
        }
        for (name, option) in self.policy.options.spanned() {
            let message = match (option.default, option.choices.len()) {
                (Some(_), 0) | (None, 2..) => continue,
                (Some(_), _) => "has both a default and choices",
                (None, 0) => "has neither a default nor choices",
                (None, 1) => "has a single choice",
            };
            let message = format!("option `{}` {message}", name.get_ref());
            let help = "write `default = true|false`, or two or more `choices` without a default";
            self.refuse(name, Kind::OptionShape, message, help);
        }
    }

    fn ports(&mut self) {
        let policy = self.policy;
        for (name, port) in policy.ports.spanned() {
            for option in &port.say_when {
                if self.known(option, "option", policy.options.keys()) {
                    self.used.options.insert(option.get_ref().clone());
                    self.switch(option, option.get_ref());
                }
            }
            let Some(default) = &port.default else {
                if self.read_whole && !port.say_when.is_empty() {
                    let message = format!("port `{}` has no default to take away", name.get_ref());
                    self.refuse(
                        name,
                        Kind::NoDefault,
                        message,
                        "drop `say-when`, or add the default",
                    );
                }
                continue;
            };
            let PortDefault::Offset { base, add } = default.get_ref() else {
                continue;
            };
            let word = Spanned::new(default.span(), base.clone());
            if !self.known(&word, "port", policy.ports.keys()) {
                continue;
            }
            self.used.ports.insert(base.clone());
            match self.offset_chain(name.get_ref()) {
                Chain::Circle => {
                    let message = format!("port `{}` follows itself", name.get_ref());
                    self.refuse(
                        default,
                        Kind::PortCircle,
                        message,
                        "cut the circle of `other + n`",
                    );
                }
                Chain::Overflow => {
                    let message = format!("`{base} + {add}` is above 65535");
                    self.refuse(
                        default,
                        Kind::PortOverflow,
                        message,
                        "lower the number that is added",
                    );
                }
                Chain::Holds => {}
            }
            let base_many = policy.ports.get(base).is_some_and(|base| base.many);
            if base_many && !port.many {
                let message = format!("`{base}` can be many, `{}` can't", name.get_ref());
                self.refuse(
                    default,
                    Kind::PortMany,
                    message,
                    "say `many = true` here too",
                );
            }
        }
    }

    /// Follows `other + n` from a port to a number.
    fn offset_chain(&self, start: &str) -> Chain {
        let mut seen = BTreeSet::new();
        let mut name = start;
        let mut sum: u32 = 0;
        loop {
            if !seen.insert(name) {
                return Chain::Circle;
            }
            let default = self
                .policy
                .ports
                .get(name)
                .and_then(|it| it.default.as_ref());
            match default.map(Spanned::get_ref) {
                Some(PortDefault::Offset { base, add }) => {
                    sum += u32::from(*add);
                    name = base;
                }
                Some(PortDefault::Range(range)) if u32::from(range.last) + sum > 65_535 => {
                    return Chain::Overflow;
                }
                _ => return Chain::Holds,
            }
        }
    }

    fn groups(&mut self) {
        for (name, group) in self.policy.groups.spanned() {
            for (kind, fault, help) in group_faults(group) {
                let message = format!("group `{}` {fault}", name.get_ref());
                self.refuse(name, kind, message, help);
            }
            for address in &group.addresses {
                if group.kind == Some(GroupKind::Multicast) && !address.get_ref().is_multicast() {
                    let message = format!("{} is no multicast address", address.get_ref());
                    let help = "multicast is 224.0.0.0/4 and ff00::/8";
                    self.refuse(address, Kind::GroupAddress, message, help);
                }
            }
            for host in &group.names {
                if !is_host_pattern(host.get_ref()) {
                    let message = format!("`{}` is no host name", host.get_ref());
                    let help = "write \"host.example.com\" or \"*.example.com\"";
                    self.refuse(host, Kind::GroupName, message, help);
                }
            }
        }
    }

    /// Every condition names an option, and asks of it what it can answer.
    pub(super) fn conditions(&mut self, when: &[Spanned<Condition>]) {
        let policy = self.policy;
        for condition in when {
            let option = Spanned::new(condition.span(), condition.get_ref().option().to_owned());
            if !self.known(&option, "option", policy.options.keys()) {
                continue;
            }
            self.used.options.insert(option.get_ref().clone());
            match condition.get_ref() {
                Condition::On(name) | Condition::Off(name) => self.switch(&option, name),
                Condition::Is(name, choice) => {
                    let table = policy.options.get(name);
                    let choices = table.map_or(&[][..], |table| &table.choices);
                    if choices.is_empty() {
                        let message = format!("option `{name}` is a switch, not a choice");
                        let help = format!("write \"{name}\" or \"!{name}\"");
                        self.refuse(&option, Kind::NotAChoice, message, help);
                    } else {
                        let word = Spanned::new(condition.span(), choice.clone());
                        let known = choices.iter().map(|choice| choice.get_ref().as_str());
                        self.known(&word, "choice", known);
                    }
                }
            }
        }
    }

    /// Refuses a choice that is used as a switch.
    fn switch<T>(&mut self, at: &Spanned<T>, name: &str) {
        let choices = self.policy.options.get(name).map(|option| &option.choices);
        if let Some(first) = choices.and_then(|choices| choices.first()) {
            let message = format!("option `{name}` is a choice, not a switch");
            let help = format!("write \"{name}={}\"", first.get_ref());
            self.refuse(at, Kind::NotASwitch, message, help);
        }
    }
}

enum Chain {
    Holds,
    Circle,
    Overflow,
}

/// What is wrong with a group as a whole: kind, message and way out.
fn group_faults(group: &Group) -> Vec<(Kind, &'static str, &'static str)> {
    let mut faults = Vec::new();
    if group.kind.is_some() && !group.names.is_empty() {
        faults.push((
            Kind::GroupShape,
            "has a kind and host names",
            "multicast and broadcast groups have addresses",
        ));
    }
    if group.kind.is_none() && group.answers.is_some() {
        faults.push((
            Kind::GroupAnswers,
            "has answers but no kind",
            "`answers` belongs to a multicast or broadcast group",
        ));
    }
    if group.ours.is_some() && group.addresses.is_empty() {
        faults.push((
            Kind::GroupOurs,
            "has no addresses to be ours",
            "`ours` says where `addresses` come from",
        ));
    }
    faults
}

/// A host name of at least two labels, or `*.` and such a name.
fn is_host_pattern(name: &str) -> bool {
    let labels: Vec<&str> = name.strip_prefix("*.").unwrap_or(name).split('.').collect();
    name.len() <= 253
        && labels.len() >= 2
        && labels.iter().all(|label| {
            (1..=63).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        })
}
