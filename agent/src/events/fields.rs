//! What leaves the daemon about denied packets: one entry with its fields, the same for every sink.

use agent_common::event::Direction;
use agent_common::net::tcp;
use agent_common::verdict::Action;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::aggregate::{Merged, Overflow};
use super::decode::Transport;
use super::explain::Explanation;
use super::kinds::Message;
use super::message;

/// Version of the JSON shape.
pub const SCHEMA: u32 = 1;

/// The journal's fields, besides MESSAGE, MESSAGE_ID, PRIORITY and SYSLOG_IDENTIFIER. A field is left out where nothing is known; the row
/// fields come once for each row.
pub const FIELDS: [&str; 19] = [
    "PORTCULLIS_VERDICT",
    "PORTCULLIS_REASON",
    "PORTCULLIS_DIRECTION",
    "PORTCULLIS_INTERFACE",
    "PORTCULLIS_TRANSPORT",
    "PORTCULLIS_SRC",
    "PORTCULLIS_SRC_PORT",
    "PORTCULLIS_DST",
    "PORTCULLIS_DST_PORT",
    "PORTCULLIS_TCP_FLAGS",
    "PORTCULLIS_ROW",
    "PORTCULLIS_NEAR_ROW",
    "PORTCULLIS_DIFFERENCE",
    "PORTCULLIS_REMEDY",
    "PORTCULLIS_COUNT",
    "PORTCULLIS_GENERATION",
    "PORTCULLIS_STAGE",
    "PORTCULLIS_UID",
    "PORTCULLIS_UNIT",
];

/// Severity as syslog(3) counts it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum Priority {
    /// Denied, and near a documented row; or something was lost.
    Warning = 4,
    /// Denied as it should be, or passed by an audit.
    Notice = 5,
}

/// What a sink wants of its entries.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Entry {
    /// Equal denied or audited packets, explained.
    Denied(Box<Denied>),
    /// Packets that were too many to be told apart.
    Overflow(Overflow),
    /// Entries that this sink did not take.
    Lost(Lost),
}

/// Equal denied or audited packets, explained.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Denied {
    /// The packets.
    pub merged: Merged,
    /// Why.
    pub explanation: Explanation,
    /// The systemd unit of the sender, where it is known.
    pub unit: Option<String>,
}

/// What a sink did not take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lost {
    /// Entries.
    pub entries: u64,
    /// Packets that they stood for.
    pub count: u64,
    /// When the first of them was to leave.
    pub first: Timestamp,
    /// When the last of them was to leave.
    pub last: Timestamp,
}

/// The word for a direction.
pub(crate) const fn direction_name(direction: Direction) -> &'static str {
    match direction {
        Direction::Ingress => "ingress",
        Direction::Egress => "egress",
    }
}

/// The words for an action: verdict and stage.
const fn verdict_and_stage(action: Action) -> (&'static str, &'static str) {
    match action {
        Action::Audit => ("audit", "audit"),
        Action::Allow => ("allow", "enforce"),
        Action::Deny => ("deny", "enforce"),
    }
}

/// TCP flags by name, in the order of their bits.
const FLAGS: [(u8, &str); 8] = [
    (tcp::FIN, "FIN"),
    (tcp::SYN, "SYN"),
    (tcp::RST, "RST"),
    (tcp::PSH, "PSH"),
    (tcp::ACK, "ACK"),
    (tcp::URG, "URG"),
    (0x40, "ECE"),
    (0x80, "CWR"),
];

/// The flags by name, as `SYN,ACK`; `none` where no bit is set.
pub(crate) fn flag_names(flags: u8) -> String {
    let set = FLAGS.iter().filter(|(bit, _)| flags & bit != 0);
    let names: Vec<&str> = set.map(|(_, name)| *name).collect();
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(",")
    }
}

/// The flags that [`flag_names`] names.
pub(crate) fn flags_of(names: &str) -> u8 {
    let named = |name: &str| FLAGS.iter().find(|(_, known)| *known == name);
    let bits = names.split(',').filter_map(named);
    bits.fold(0, |flags, (bit, _)| flags | bit)
}

impl Entry {
    /// The packets that it stands for. Over all entries of a sink, they add up to the packets that were given to it.
    pub fn count(&self) -> u64 {
        match self {
            Self::Denied(denied) => denied.merged.count,
            Self::Overflow(overflow) => overflow.count,
            Self::Lost(lost) => lost.count,
        }
    }

    /// What it is about.
    pub fn message(&self) -> Message {
        match self {
            Self::Denied(denied) => denied.explanation.message(),
            Self::Overflow(_) => Message::Overflow,
            Self::Lost(_) => Message::Lost,
        }
    }

    /// How loud it is: a near miss is a warning, what is denied by intent or nowhere documented is not.
    pub fn priority(&self) -> Priority {
        use super::kinds::Kind;
        match self {
            Self::Denied(denied) => {
                let quiet = matches!(
                    denied.explanation.kind,
                    Kind::None | Kind::Blocked | Kind::Skipped | Kind::HostOnly
                );
                if quiet || denied.merged.denial.action == Action::Audit {
                    Priority::Notice
                } else {
                    Priority::Warning
                }
            }
            Self::Overflow(_) | Self::Lost(_) => Priority::Warning,
        }
    }

    /// A sentence that reads alone, of at most 300 characters.
    pub fn text(&self) -> String {
        match self {
            Self::Denied(denied) => message::denied(denied),
            Self::Overflow(overflow) => message::overflow(overflow),
            Self::Lost(lost) => message::lost(lost),
        }
    }

    /// When the first and the last of its packets came.
    pub fn times(&self) -> (Timestamp, Timestamp) {
        match self {
            Self::Denied(denied) => (denied.merged.first, denied.merged.last),
            Self::Overflow(overflow) => (overflow.first, overflow.last),
            Self::Lost(lost) => (lost.first, lost.last),
        }
    }

    /// The fields of the journal besides MESSAGE and PRIORITY.
    pub fn journal_fields(&self) -> Vec<(&'static str, String)> {
        let mut fields = vec![
            ("SYSLOG_IDENTIFIER", "portcullis".to_owned()),
            ("MESSAGE_ID", self.message().id().to_owned()),
        ];
        let mut put = |name: &'static str, value: Option<String>| {
            fields.extend(value.map(|value| (name, value)));
        };
        if let Self::Denied(denied) = self {
            let denial = &denied.merged.denial;
            let explanation = &denied.explanation;
            let (verdict, stage) = verdict_and_stage(denial.action);
            put("PORTCULLIS_VERDICT", Some(verdict.to_owned()));
            put("PORTCULLIS_REASON", Some(denial.reason.name().to_owned()));
            put(
                "PORTCULLIS_DIRECTION",
                Some(direction_name(denial.direction).to_owned()),
            );
            put("PORTCULLIS_INTERFACE", Some(denial.interface.to_string()));
            put("PORTCULLIS_TRANSPORT", Some(denial.transport.to_string()));
            put("PORTCULLIS_SRC", denial.source.map(|it| it.to_string()));
            put(
                "PORTCULLIS_SRC_PORT",
                denial.source_port.map(|it| it.to_string()),
            );
            put(
                "PORTCULLIS_DST",
                denial.destination.map(|it| it.to_string()),
            );
            put(
                "PORTCULLIS_DST_PORT",
                denial.destination_port.map(|it| it.to_string()),
            );
            put("PORTCULLIS_TCP_FLAGS", denial.tcp_flags.map(flag_names));
            for row in &explanation.rows {
                put("PORTCULLIS_ROW", Some(row.clone()));
            }
            for row in &explanation.near_rows {
                put("PORTCULLIS_NEAR_ROW", Some(row.clone()));
            }
            put(
                "PORTCULLIS_DIFFERENCE",
                Some(explanation.kind.name().to_owned()),
            );
            put("PORTCULLIS_REMEDY", Some(explanation.remedy.clone()));
            put("PORTCULLIS_GENERATION", Some(denial.generation.to_string()));
            put("PORTCULLIS_STAGE", Some(stage.to_owned()));
            put("PORTCULLIS_UID", denial.uid.map(|it| it.to_string()));
            put("PORTCULLIS_UNIT", denied.unit.clone());
        }
        put("PORTCULLIS_COUNT", Some(self.count().to_string()));
        fields
    }

    /// The same as JSON; every key is there, `null` where nothing is known.
    pub fn json(&self) -> Value {
        let mut object = Map::new();
        let (first, last) = self.times();
        let mut put = |name: &str, value: Value| object.insert(name.to_owned(), value);
        put("schema", json!(SCHEMA));
        put("time", json!(last));
        put("message", json!(self.text()));
        put("message_id", json!(self.message().id()));
        put("priority", json!(self.priority() as u8));
        let denied = match self {
            Self::Denied(denied) => Some(denied),
            Self::Overflow(_) | Self::Lost(_) => None,
        };
        let denial = denied.map(|it| &it.merged.denial);
        let explanation = denied.map(|it| &it.explanation);
        let words = denial.map(|it| verdict_and_stage(it.action));
        put("verdict", json!(words.map(|(verdict, _)| verdict)));
        put("reason", json!(denial.map(|it| it.reason.name())));
        put(
            "direction",
            json!(denial.map(|it| direction_name(it.direction))),
        );
        put("interface", json!(denial.map(|it| it.interface.as_ref())));
        put(
            "transport",
            json!(denial.map(|it| it.transport.to_string())),
        );
        put("src", json!(denial.and_then(|it| it.source)));
        put("src_port", json!(denial.and_then(|it| it.source_port)));
        put("dst", json!(denial.and_then(|it| it.destination)));
        put("dst_port", json!(denial.and_then(|it| it.destination_port)));
        let icmp = match denial.map(|it| it.transport) {
            Some(Transport::Icmp(kind, code) | Transport::Icmpv6(kind, code)) => Some((kind, code)),
            _ => None,
        };
        put("icmp_type", json!(icmp.map(|(kind, _)| kind)));
        put("icmp_code", json!(icmp.map(|(_, code)| code)));
        let flags = denial.and_then(|it| it.tcp_flags);
        put("tcp_flags", json!(flags.map(flag_names)));
        put(
            "rows",
            json!(explanation.map_or(&[][..], |it| it.rows.as_slice())),
        );
        put(
            "near_rows",
            json!(explanation.map_or(&[][..], |it| it.near_rows.as_slice())),
        );
        put("difference", explanation.map_or(Value::Null, difference));
        put("count", json!(self.count()));
        put("first", json!(first));
        put("last", json!(last));
        put("generation", json!(denial.map(|it| it.generation)));
        put("stage", json!(words.map(|(_, stage)| stage)));
        put("uid", json!(denial.and_then(|it| it.uid)));
        put("unit", json!(denied.and_then(|it| it.unit.as_deref())));
        Value::Object(object)
    }
}

/// The `difference` of `explain` and of events.
pub fn difference(explanation: &Explanation) -> Value {
    json!({
        "kind": explanation.kind.name(),
        "expected": explanation.expected,
        "seen": explanation.seen,
        "text": explanation.text,
        "remedy": explanation.remedy,
    })
}

#[cfg(test)]
pub(crate) mod tests;
