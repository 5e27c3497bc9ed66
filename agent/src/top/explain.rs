//! What there is to say of one denied packet: what it was, what came nearest in whose document, and what to do. Pure.

use crate::events::shown::Shown;
use crate::policy::Catalogue;
use crate::policy::show::flows_in_words;

/// Names and what is said of them.
pub type Lines = Vec<(&'static str, String)>;

/// All of it, in the order in which one asks.
#[must_use]
pub fn lines(entry: &Shown, catalogue: &Catalogue) -> Lines {
    let mut lines = Lines::new();
    let mut put = |name, text: Option<String>| {
        lines.extend(text.filter(|it| !it.is_empty()).map(|text| (name, text)));
    };
    let end = |address: Option<std::net::IpAddr>, port: Option<u16>| match (address, port) {
        (Some(address), Some(port)) => std::net::SocketAddr::new(address, port).to_string(),
        (Some(address), None) => address.to_string(),
        (None, _) => "no address".to_owned(),
    };
    let flags = entry.tcp_flags.as_ref();
    put(
        "packet",
        Some(format!(
            "{} {} > {}{}",
            entry.service(),
            end(entry.source, entry.source_port),
            end(entry.destination, entry.destination_port),
            flags.map_or(String::new(), |it| format!(", {it}")),
        )),
    );
    let interface = entry.interface.as_ref();
    put(
        "where",
        Some(format!(
            "{}{}",
            entry.direction.as_deref().unwrap_or("direction unknown"),
            interface.map_or(String::new(), |it| format!(" on {it}")),
        )),
    );
    let seconds = |time: jiff::Timestamp| time.strftime("%Y-%m-%d %H:%M:%S UTC").to_string();
    put(
        "when",
        entry.time.map(|last| match entry.first() {
            Some(first) if first.as_second() != last.as_second() => {
                format!(
                    "{} packets, {} to {}",
                    entry.count,
                    seconds(first),
                    seconds(last)
                )
            }
            _ => format!("{} packets, {}", entry.count, seconds(last)),
        }),
    );
    let sender = match (&entry.unit, entry.uid) {
        (Some(unit), Some(uid)) => Some(format!("{unit}, user {uid}")),
        (Some(unit), None) => Some(unit.clone()),
        (None, Some(uid)) => Some(format!("user {uid}")),
        (None, None) => None,
    };
    put("sent by", sender);
    let generation = entry.generation;
    put(
        "verdict",
        Some(format!(
            "{}, {}{}",
            entry.verdict.as_deref().unwrap_or("unknown"),
            entry.reason.as_deref().unwrap_or("no reason"),
            generation.map_or(String::new(), |it| format!(", by generation {it}")),
        )),
    );
    put("kind", entry.kind.clone());
    put("expected", entry.difference("expected"));
    put("seen", entry.difference("seen"));
    put(
        "why",
        entry
            .difference("text")
            .or_else(|| Some(entry.message.clone())),
    );
    put("to do", entry.remedy.clone());
    for (name, rows) in [("decided by", &entry.rows), ("near", &entry.near_rows)] {
        for row in rows {
            lines.push((name, row.clone()));
            lines.extend(documented(row, catalogue));
        }
    }
    lines
}

/// The vendor's row: service and purpose, who asks whom for which ports, and in which document.
fn documented(id: &str, catalogue: &Catalogue) -> Lines {
    let Some((policy, row)) = catalogue.row(id) else {
        return Lines::new();
    };
    let purpose = row.purpose.as_ref();
    let mut lines = vec![(
        "",
        format!(
            "{}{}",
            row.service,
            purpose.map_or(String::new(), |it| format!(": {it}"))
        ),
    )];
    lines.extend(flows_in_words(policy, row).into_iter().map(|it| ("", it)));
    let document = &policy.document;
    lines.push((
        "",
        format!(
            "{} by {}, {}, {}",
            policy.name, policy.vendor, document.title, document.edition
        ),
    ));
    lines
}
