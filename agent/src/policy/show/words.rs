//! What a row says, in few words.

use toml::Spanned;

use super::super::schema::{Policy, Row};

/// A row's flows with the ports that are printed: `print-client → node: tcp 443`; one line for each pair of ends.
#[must_use]
pub fn flows_in_words(policy: &Policy, row: &Row) -> Vec<String> {
    let words = |list: &[Spanned<String>]| -> String {
        let words: Vec<&str> = list.iter().map(|it| it.get_ref().as_str()).collect();
        words.join(", ")
    };
    let mut lines: Vec<(String, String)> = Vec::new();
    for part in row.parts() {
        let to = match &part.flow.to_group {
            Some(group) => group.get_ref().clone(),
            None => words(&part.flow.to),
        };
        let ends = format!("{} → {to}", words(&part.flow.from));
        let ports: Vec<String> = part.ports().map(|it| policy.documented_port(it)).collect();
        let service = format!("{} {}", part.transport, ports.join(", "));
        let service = service.trim_end().to_owned();
        match lines.iter_mut().find(|(other, _)| *other == ends) {
            Some((_, services)) if !services.contains(&service) => {
                *services = format!("{services}; {service}");
            }
            Some(_) => {}
            None => lines.push((ends, service)),
        }
    }
    lines
        .into_iter()
        .map(|(ends, services)| format!("{ends}: {services}"))
        .collect()
}
