//! The plan against the one in force, as the daemon wrote it.

use serde_json::Value;

/// What differs between two plans as JSON, in lines: defaults, and rules that one of them lacks.
/// Empty: the same is enforced. Findings, sizes and what opens nothing are no difference.
#[must_use]
pub fn differences(planned: &Value, running: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    let forwards = |plan: &Value| match plan["forward"]["forwards"].as_bool() {
        Some(true) => word(&plan["forward"]["default"]).to_owned(),
        _ => "no packet is forwarded".to_owned(),
    };
    if forwards(planned) != forwards(running) {
        lines.push(format!(
            "forward: {}, and {} is planned",
            forwards(running),
            forwards(planned)
        ));
    }
    for direction in ["ingress", "egress"] {
        let (new, old) = (&planned[direction], &running[direction]);
        if new["default"] != old["default"] {
            lines.push(format!(
                "{direction}: default is {}, and {} is planned",
                word(&old["default"]),
                word(&new["default"])
            ));
        }
        let (new, old) = (rules(new), rules(old));
        // In the order of judgement: what goes, then what comes.
        for rule in old.iter().filter(|rule| !new.contains(rule)) {
            lines.push(format!("{direction}: - {}", line(rule)));
        }
        for rule in new.iter().filter(|rule| !old.contains(rule)) {
            lines.push(format!("{direction}: + {}", line(rule)));
        }
    }
    lines
}

fn rules(direction: &Value) -> Vec<&Value> {
    direction["rules"]
        .as_array()
        .into_iter()
        .flatten()
        .collect()
}

fn word(value: &Value) -> &str {
    value.as_str().unwrap_or("unknown")
}

/// "allow tcp 443 from 10.0.0.0/16  product/table/1#1".
fn line(rule: &Value) -> String {
    let list = |key: &str| -> String {
        let words = rule[key].as_array().into_iter().flatten();
        words.map(word).collect::<Vec<_>>().join(",")
    };
    let until = match rule["until"].as_str() {
        Some(until) => format!(" until {until}"),
        None => String::new(),
    };
    format!(
        "{} {} {} {}{until}  {}",
        word(&rule["action"]),
        word(&rule["transport"]),
        list("ports"),
        list("peers"),
        word(&rule["id"])
    )
}
