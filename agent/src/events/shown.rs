//! An entry as people and filters look at it, whichever way it was kept: a line of a JSON sink, of the daemon's stream, or of
//! `journalctl -o json`. Pure.

use std::net::IpAddr;

use ipnet::IpNet;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::fields::SCHEMA;
use super::kinds::Message;

/// An entry. What is not known is none.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Shown {
    /// When its last packet came.
    pub time: Option<Timestamp>,
    /// `deny` or `audit`; none for an entry about entries.
    pub verdict: Option<String>,
    /// Why.
    pub reason: Option<String>,
    /// `ingress` or `egress`.
    pub direction: Option<String>,
    /// The interface's name.
    pub interface: Option<String>,
    /// `tcp`, `udp`, `icmp`, …
    pub transport: Option<String>,
    /// Source.
    pub source: Option<IpAddr>,
    /// Source port.
    pub source_port: Option<u16>,
    /// Destination.
    pub destination: Option<IpAddr>,
    /// Destination port.
    pub destination_port: Option<u16>,
    /// Type and code of ICMP; the journal has none.
    pub icmp: Option<(u8, u8)>,
    /// As `SYN,ACK`.
    pub tcp_flags: Option<String>,
    /// What decided.
    pub rows: Vec<String>,
    /// What came nearest.
    pub near_rows: Vec<String>,
    /// The difference.
    pub kind: Option<String>,
    /// A line to paste, or why nothing should be.
    pub remedy: Option<String>,
    /// The sentence.
    pub message: String,
    /// The sentence's kind.
    pub message_id: Option<String>,
    /// Packets.
    pub count: u64,
    /// The sender's user.
    pub uid: Option<u32>,
    /// The sender's unit.
    pub unit: Option<String>,
    /// The policy that decided.
    pub generation: Option<u32>,
    /// The entry as it came, where it has the shape of a JSON sink's.
    whole: Option<Value>,
}

impl Shown {
    /// Reads an entry; none where it is the daemon's own log, or no entry of ours.
    #[must_use]
    pub fn read(entry: &Value) -> Option<Self> {
        let get = |name: &str| {
            let journal = match name {
                "message" | "message_id" => name.to_uppercase(),
                _ => format!("PORTCULLIS_{}", name.to_uppercase()),
            };
            entry.get(name).or_else(|| entry.get(journal))
        };
        let text = |name: &str| match get(name)? {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        };
        let list = |name: &str, journal: &str| -> Vec<String> {
            match entry.get(name).or_else(|| entry.get(journal)) {
                Some(Value::String(one)) => vec![one.clone()],
                Some(Value::Array(many)) => {
                    let texts = many.iter().filter_map(Value::as_str);
                    texts.map(str::to_owned).collect()
                }
                _ => Vec::new(),
            }
        };
        let message_id = text("message_id");
        let verdict = text("verdict");
        let about_entries = [Message::Overflow, Message::Lost].map(Message::id);
        if verdict.is_none()
            && !message_id
                .as_deref()
                .is_some_and(|id| about_entries.contains(&id))
        {
            return None;
        }
        let difference = |key: &str| {
            let found = entry.get("difference")?.get(key)?.as_str()?;
            Some(found.to_owned())
        };
        let journal_time = || {
            let text = entry.get("__REALTIME_TIMESTAMP")?.as_str()?;
            Timestamp::from_microsecond(text.parse().ok()?).ok()
        };
        let octet = |name: &str| text(name)?.parse::<u8>().ok();
        Some(Self {
            time: text("time")
                .and_then(|it| it.parse().ok())
                .or_else(journal_time),
            reason: text("reason"),
            direction: text("direction"),
            interface: text("interface"),
            transport: text("transport"),
            source: text("src").and_then(|it| it.parse().ok()),
            source_port: text("src_port").and_then(|it| it.parse().ok()),
            destination: text("dst").and_then(|it| it.parse().ok()),
            destination_port: text("dst_port").and_then(|it| it.parse().ok()),
            icmp: octet("icmp_type").zip(octet("icmp_code")),
            tcp_flags: text("tcp_flags"),
            rows: list("rows", "PORTCULLIS_ROW"),
            near_rows: list("near_rows", "PORTCULLIS_NEAR_ROW"),
            kind: difference("kind").or_else(|| text("difference")),
            remedy: difference("remedy").or_else(|| text("remedy")),
            message: text("message").unwrap_or_default(),
            count: text("count").and_then(|it| it.parse().ok()).unwrap_or(1),
            uid: text("uid").and_then(|it| it.parse().ok()),
            unit: text("unit"),
            generation: text("generation").and_then(|it| it.parse().ok()),
            whole: entry.get("schema").map(|_| entry.clone()),
            verdict,
            message_id,
        })
    }

    /// The other end's address.
    #[must_use]
    pub fn peer(&self) -> Option<IpAddr> {
        match self.direction.as_deref() {
            Some("egress") => self.destination,
            _ => self.source,
        }
    }

    /// `in` or `out`.
    #[must_use]
    pub fn way(&self) -> &'static str {
        match self.direction.as_deref() {
            Some("egress") => "out",
            _ => "in",
        }
    }

    /// Transport and port of the service, or type of ICMP: `tcp/443`, `icmp:8`, `esp`.
    #[must_use]
    pub fn service(&self) -> String {
        let transport = self.transport.as_deref().unwrap_or_default();
        match (self.destination_port, self.icmp) {
            (Some(port), _) => format!("{transport}/{port}"),
            (None, Some((kind, _))) => format!("{transport}:{kind}"),
            (None, None) => transport.to_owned(),
        }
    }

    /// When its first packet came; the journal does not keep it.
    #[must_use]
    pub fn first(&self) -> Option<Timestamp> {
        self.whole.as_ref()?.get("first")?.as_str()?.parse().ok()
    }

    /// What is said of the difference: `expected`, `seen`, `text`; the journal does not keep it apart.
    #[must_use]
    pub fn difference(&self, key: &str) -> Option<String> {
        let said = self.whole.as_ref()?.get("difference")?.get(key)?;
        said.as_str().map(str::to_owned)
    }

    /// The entry in the shape of the JSON sink; of one from the journal the keys that it does not have are `null`.
    #[must_use]
    pub fn json(&self) -> Value {
        if let Some(whole) = &self.whole {
            return whole.clone();
        }
        let mut object = Map::new();
        let mut put = |name: &str, value: Value| object.insert(name.to_owned(), value);
        put("schema", json!(SCHEMA));
        put("time", json!(self.time));
        put("message", json!(self.message));
        put("message_id", json!(self.message_id));
        put("priority", Value::Null);
        put("verdict", json!(self.verdict));
        put("reason", json!(self.reason));
        put("direction", json!(self.direction));
        put("interface", json!(self.interface));
        put("transport", json!(self.transport));
        put("src", json!(self.source));
        put("src_port", json!(self.source_port));
        put("dst", json!(self.destination));
        put("dst_port", json!(self.destination_port));
        put("icmp_type", json!(self.icmp.map(|(kind, _)| kind)));
        put("icmp_code", json!(self.icmp.map(|(_, code)| code)));
        put("tcp_flags", json!(self.tcp_flags));
        put("rows", json!(self.rows));
        put("near_rows", json!(self.near_rows));
        let difference = self.kind.as_ref().map(|kind| {
            json!({ "kind": kind, "expected": null, "seen": null, "text": null, "remedy": self.remedy })
        });
        put("difference", json!(difference));
        put("count", json!(self.count));
        put("first", Value::Null);
        put("last", json!(self.time));
        put("generation", json!(self.generation));
        let stage = self.verdict.as_deref().map(|verdict| match verdict {
            "audit" => "audit",
            _ => "enforce",
        });
        put("stage", json!(stage));
        put("uid", json!(self.uid));
        put("unit", json!(self.unit));
        Value::Object(object)
    }
}

/// Which entries are wanted. Of one kind of condition any may hold, of different kinds all must; none wants everything.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Filter {
    /// Reasons.
    pub reasons: Vec<String>,
    /// Kinds of difference.
    pub kinds: Vec<String>,
    /// Rows or rules, near or decisive: whole ids, or a product or a table of one.
    pub rows: Vec<String>,
    /// Addresses of the other end.
    pub peers: Vec<IpNet>,
    /// `ingress` or `egress`.
    pub direction: Option<String>,
    /// Units of this host, with or without `.service`.
    pub units: Vec<String>,
}

impl Filter {
    /// Whether the entry is wanted. Entries about entries are wanted always: they say what is missing.
    #[must_use]
    pub fn wants(&self, entry: &Shown) -> bool {
        if entry.verdict.is_none() {
            return true;
        }
        let one_of = |wanted: &[String], found: &Option<String>| {
            wanted.is_empty() || found.as_ref().is_some_and(|found| wanted.contains(found))
        };
        let row = |wanted: &String| {
            let mut rows = entry.rows.iter().chain(&entry.near_rows);
            rows.any(|row| {
                let rest = row.strip_prefix(wanted.as_str());
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            })
        };
        let unit = |wanted: &String| {
            entry.unit.as_ref().is_some_and(|unit| {
                unit == wanted || unit.strip_suffix(".service") == Some(wanted.as_str())
            })
        };
        one_of(&self.reasons, &entry.reason)
            && one_of(&self.kinds, &entry.kind)
            && (self.rows.is_empty() || self.rows.iter().any(row))
            && (self.peers.is_empty()
                || entry
                    .peer()
                    .is_some_and(|peer| self.peers.iter().any(|it| it.contains(&peer))))
            && self
                .direction
                .as_ref()
                .is_none_or(|way| entry.direction.as_ref() == Some(way))
            && (self.units.is_empty() || self.units.iter().any(unit))
    }
}

#[cfg(test)]
mod tests;
