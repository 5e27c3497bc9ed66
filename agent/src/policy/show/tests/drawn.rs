//! The graphs of every shipped product, read back by a reader of the grammar that they use.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::super::*;

/// From, to, dashed, and the lines of the label.
type Drawn = BTreeSet<(String, String, bool, Vec<String>)>;

/// Ports by transport and group, in the order of the rows.
type Parts = Vec<(String, Vec<String>)>;

/// A text in double quotes at the start, and what follows it.
fn quoted(text: &str) -> (String, &str) {
    let text = text
        .strip_prefix('"')
        .unwrap_or_else(|| panic!("no quote: {text}"));
    let (inside, rest) = text
        .split_once('"')
        .unwrap_or_else(|| panic!("no end: {text}"));
    (inside.to_owned(), rest)
}

/// `digraph "x" { … }` with attributes of the graph, nodes `"a" [k=v];` and edges
/// `"a" -> "b" [label="…", style=dashed];`, one statement a line.
fn read_dot(text: &str) -> Drawn {
    let mut lines = text.lines();
    let (_, rest) = quoted(lines.next().unwrap().strip_prefix("digraph ").unwrap());
    assert_eq!(rest, " {");
    assert_eq!(lines.next_back(), Some("}"));
    let (mut nodes, mut edges) = (BTreeSet::new(), Drawn::new());
    for line in lines {
        let statement = line
            .trim_start()
            .strip_suffix(';')
            .unwrap_or_else(|| panic!("no end: {line}"));
        if ["rankdir=LR", "node [shape=box]"].contains(&statement) {
            continue;
        }
        let (from, rest) = quoted(statement);
        let Some(rest) = rest.strip_prefix(" -> ") else {
            assert!(["", " [shape=ellipse]"].contains(&rest), "{line}");
            assert!(nodes.insert(from), "a node stands twice: {line}");
            continue;
        };
        let (to, rest) = quoted(rest);
        let (label, rest) = quoted(
            rest.strip_prefix(" [label=")
                .unwrap_or_else(|| panic!("no label: {line}")),
        );
        assert!(["]", ", style=dashed]"].contains(&rest), "{line}");
        assert!(nodes.contains(&from) && nodes.contains(&to), "{line}");
        let parts: Vec<String> = label.split("\\n").map(str::to_owned).collect();
        assert!(!parts.iter().any(|part| part.contains('\\')), "{line}");
        assert!(
            edges.insert((from, to, rest != "]", parts)),
            "an edge stands twice: {line}"
        );
    }
    edges
}

/// `flowchart LR`, nodes `n0["a"]` and `n0(["a"])`, edges `n0 -->|"…"| n1` and `-.->`.
fn read_mermaid(text: &str) -> Drawn {
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("flowchart LR"));
    let mut nodes: BTreeMap<&str, String> = BTreeMap::new();
    let mut edges = Drawn::new();
    for line in lines {
        let statement = line.trim_start();
        if let Some((from, rest)) = statement.split_once(' ') {
            let (arrow, rest) = rest
                .split_once('|')
                .unwrap_or_else(|| panic!("no label: {line}"));
            assert!(["-->", "-.->"].contains(&arrow), "{line}");
            let (label, to) = quoted(rest);
            let to = to
                .strip_prefix("| ")
                .unwrap_or_else(|| panic!("no end: {line}"));
            let parts = label.split("<br>").map(|part| {
                // Nothing else that could be read as a tag, and no entity but this.
                assert!(
                    !part.contains('<')
                        && part.matches('#').count() == part.matches("#lt;").count(),
                    "{line}"
                );
                part.replace("#lt;", "<")
            });
            let edge = (
                nodes[from].clone(),
                nodes[to].clone(),
                arrow == "-.->",
                parts.collect(),
            );
            assert!(edges.insert(edge), "an edge stands twice: {line}");
            continue;
        }
        let at = statement
            .find(['[', '('])
            .unwrap_or_else(|| panic!("no node: {line}"));
        let (id, shape) = statement.split_at(at);
        assert!(
            id.strip_prefix('n')
                .is_some_and(|it| it.parse::<u32>().is_ok()),
            "{line}"
        );
        let (open, close) = if shape.starts_with("([") {
            ("([", "])")
        } else {
            ("[", "]")
        };
        let inner = shape
            .strip_prefix(open)
            .and_then(|it| it.strip_suffix(close))
            .unwrap();
        let (name, rest) = quoted(inner);
        assert_eq!(rest, "", "{line}");
        assert_eq!(nodes.insert(id, name), None, "{line}");
    }
    edges
}

/// The same from the JSON: who reaches whom, over what, and whether a condition must hold.
fn from_json(shown: &Value) -> Drawn {
    let mut edges: BTreeMap<(String, String, bool), Parts> = BTreeMap::new();
    for row in shown["rows"].as_array().unwrap() {
        if row["scope"] == "host" {
            continue;
        }
        for flow in row["flows"].as_array().unwrap() {
            let words = |key: &str| -> Vec<String> {
                let list = flow[key].as_array().unwrap().iter();
                list.map(|it| it.as_str().unwrap().to_owned()).collect()
            };
            let conditions = [&row["when"], &flow["when"]];
            let dashed = conditions
                .iter()
                .any(|list| !list.as_array().unwrap().is_empty())
                || row["since"].is_object();
            let tos = flow["to_group"]
                .as_str()
                .map_or_else(|| words("to"), |group| vec![group.to_owned()]);
            let via = flow["via"]
                .as_str()
                .map_or(String::new(), |via| format!(" via {via}"));
            for from in words("from") {
                for to in &tos {
                    let parts = edges.entry((from.clone(), to.clone(), dashed)).or_default();
                    let transport = flow["transport"].as_str().unwrap().to_owned() + &via;
                    let index = parts
                        .iter()
                        .position(|(known, _)| *known == transport)
                        .unwrap_or_else(|| {
                            parts.push((transport, Vec::new()));
                            parts.len() - 1
                        });
                    for port in words("ports") {
                        if !parts[index].1.contains(&port) {
                            parts[index].1.push(port);
                        }
                    }
                }
            }
        }
    }
    edges
        .into_iter()
        .map(|((from, to, dashed), parts)| {
            let lines = parts.into_iter().map(|(transport, ports)| {
                let (transport, via) = transport.split_once(' ').unwrap_or((&transport, ""));
                let words = [transport, &ports.join(", "), via];
                let words: Vec<&str> = words.into_iter().filter(|word| !word.is_empty()).collect();
                words.join(" ")
            });
            (from, to, dashed, lines.collect())
        })
        .collect()
}

#[test]
fn every_product_is_drawn_as_it_is_told() {
    let (catalogue, _) = Catalogue::load([]);
    let mut drawn = 0;
    for (id, policy) in catalogue.iter() {
        let topologies = policy
            .topologies
            .keys()
            .map(|it| Some(it.to_owned()))
            .chain([None]);
        for topology in topologies {
            let roles = policy
                .roles
                .keys()
                .map(|it| Some(it.to_owned()))
                .chain([None]);
            for role in roles {
                let filter = Filter {
                    role,
                    topology: topology.clone(),
                };
                let told = from_json(&json(&catalogue, policy, &filter));
                assert_eq!(read_dot(&dot(policy, &filter)), told, "{id} {filter:?}");
                assert_eq!(
                    read_mermaid(&mermaid(policy, &filter)),
                    told,
                    "{id} {filter:?}"
                );
                drawn += told.len();
            }
        }
    }
    assert!(drawn > 500, "{drawn} edges in all");
}
