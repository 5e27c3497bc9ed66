//! The shape that other programs rely on, for every row of every shipped product.

use std::collections::BTreeSet;

use serde_json::Value;

use super::super::*;

const TOP: &str =
    "schema product document tables roles topologies options versions ports groups rows";
const DOCUMENT: &str = "name vendor title edition covers silent";
const ROW: &str = "id table row service purpose application encrypted requirement when since device direction printed \
                   lost restored_from inferred contradicts baseline scope undecidable note from to transport ports flows";
const FLOW: &str = "from to via to_group transport ports port_names when encrypted inferred";
const WORDS: [(&str, &str); 7] = [
    ("tables", "title rows topologies when scope"),
    ("roles", "summary linux"),
    ("topologies", "adds_to several"),
    ("options", "default choices why"),
    ("versions", "summary"),
    ("ports", "default many suggest say_when configure why"),
    ("groups", "kind addresses answers names ours"),
];
/// Keys that always hold a list of strings.
const LISTS: &str = "when direction lost contradicts from to transport ports topologies several choices say_when addresses names covers";

/// The keys of an object in their order; lists are lists of strings, everything else is null or a
/// value that is not empty.
#[track_caller]
fn keys(value: &Value, expected: &str, what: &str) {
    let object = value
        .as_object()
        .unwrap_or_else(|| panic!("{what} is no object"));
    let found: Vec<&str> = object.keys().map(String::as_str).collect();
    let expected: Vec<&str> = expected.split_whitespace().collect();
    assert_eq!(found, expected, "{what}");
    for (key, value) in object {
        // The whole has tables under these keys, and a flow one transport.
        let list = LISTS.split(' ').any(|list| list == key)
            && !object.contains_key("product")
            && !(key == "transport" && object.contains_key("port_names"));
        if list {
            let words = value.as_array();
            let words = words.unwrap_or_else(|| panic!("{what}.{key} is no list"));
            let said = words
                .iter()
                .all(|it| it.as_str().is_some_and(|it| !it.is_empty()));
            assert!(said, "{what}.{key}");
        }
        assert_ne!(value.as_str(), Some(""), "{what}.{key} is empty");
    }
}

fn list<'a>(value: &'a Value, key: &str) -> Vec<&'a str> {
    value[key]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it.as_str().unwrap())
        .collect()
}

/// What a list of flows says together, each once, in the order of the first.
fn together<'a>(flows: &'a [Value], key: &str) -> Vec<&'a str> {
    let mut words = Vec::new();
    for flow in flows {
        let here = match flow[key].as_str() {
            Some(word) => vec![word],
            None => list(flow, key),
        };
        words.extend(here);
    }
    let mut seen = BTreeSet::new();
    words.retain(|word| seen.insert(*word));
    words
}

/// `443`, `8300-8302`, `switch + 1` or `<dcom-dynamic>`.
fn is_port(text: &str, ports: &Value) -> bool {
    let number = |text: &str| {
        text.parse::<u16>()
            .is_ok_and(|port| port > 0 && port.to_string() == text)
    };
    if let Some(name) = text.strip_prefix('<').and_then(|it| it.strip_suffix('>')) {
        return ports[name].is_object() && ports[name]["default"].is_null();
    }
    if let Some((base, add)) = text.split_once(" + ") {
        return ports[base].is_object() && number(add);
    }
    text.split_once('-').map_or_else(
        || number(text),
        |(first, last)| number(first) && number(last),
    )
}

#[test]
fn every_row_of_every_product_has_the_shape() {
    let (catalogue, _) = Catalogue::load([]);
    for (id, policy) in catalogue.iter() {
        let shown = json(&catalogue, policy, &Filter::default());
        keys(&shown, TOP, id);
        assert_eq!(
            (&shown["schema"], shown["product"].as_str()),
            (&json!(1), Some(id))
        );
        keys(&shown["document"], DOCUMENT, "document");
        for (table, expected) in WORDS {
            for (name, value) in shown[table].as_object().unwrap() {
                keys(value, expected, &format!("{id} {table}.{name}"));
            }
        }
        let printed = shown["tables"].as_object().unwrap().iter();
        let printed: Vec<String> = printed
            .flat_map(|(table, it)| {
                (1..=it["rows"].as_u64().unwrap()).map(move |row| format!("{id}/{table}/{row}"))
            })
            .collect();
        let rows = shown["rows"].as_array().unwrap();
        let ids: Vec<&str> = rows.iter().map(|row| row["id"].as_str().unwrap()).collect();
        assert_eq!(ids, printed, "every printed line, in its order");
        for row in rows {
            let id = row["id"].as_str().unwrap();
            keys(row, ROW, id);
            assert_eq!(
                format!(
                    "{}/{}/{}",
                    policy.id(),
                    row["table"].as_str().unwrap(),
                    row["row"]
                ),
                id
            );
            let flows = row["flows"].as_array().unwrap();
            for flow in flows {
                keys(flow, FLOW, id);
                let ports = list(flow, "ports");
                assert_eq!(
                    flow["port_names"].as_array().unwrap().len(),
                    ports.len(),
                    "{id}"
                );
                for (port, name) in ports.iter().zip(flow["port_names"].as_array().unwrap()) {
                    assert!(is_port(port, &shown["ports"]), "{id} {port}");
                    assert!(
                        name.is_null() || shown["ports"][name.as_str().unwrap()].is_object(),
                        "{id} {name}"
                    );
                }
                assert!(
                    list(flow, "to").is_empty() != flow["to_group"].is_null(),
                    "{id}"
                );
            }
            for key in ["from", "to", "transport", "ports"] {
                assert_eq!(list(row, key), together(flows, key), "{id} {key}");
            }
            assert_eq!(flows.is_empty(), row["undecidable"].is_string(), "{id}");
        }
    }
}

/// Rows that a reader of the whole JSON would choose.
#[test]
fn filters_choose_rows_of_every_product() {
    let (catalogue, _) = Catalogue::load([]);
    for (_, policy) in catalogue.iter() {
        let ids = |role: Option<&str>, topology: Option<&str>| -> Vec<String> {
            let filter = Filter {
                role: role.map(str::to_owned),
                topology: topology.map(str::to_owned),
            };
            let shown = json(&catalogue, policy, &filter);
            let rows = shown["rows"].as_array().unwrap();
            rows.iter()
                .map(|row| row["id"].as_str().unwrap().to_owned())
                .collect()
        };
        let whole = json(&catalogue, policy, &Filter::default());
        let whole = whole["rows"].as_array().unwrap();
        for role in policy.roles.keys() {
            let chosen = whole.iter().filter(|row| {
                list(row, "from").contains(&role)
                    || list(row, "to").contains(&role)
                    || row["device"] == role
            });
            let chosen: Vec<&str> = chosen.map(|row| row["id"].as_str().unwrap()).collect();
            assert_eq!(ids(Some(role), None), chosen, "{role}");
            assert!(!chosen.is_empty(), "{role} takes part in nothing");
        }
        let all = ids(None, None);
        let mut seen = BTreeSet::new();
        for topology in policy.topologies.keys() {
            let chosen = ids(None, Some(topology));
            // In the order of the whole, with the rows of what it adds to.
            assert!(
                all.iter().filter(|id| chosen.contains(id)).eq(&chosen),
                "{topology}"
            );
            let base = policy
                .topologies
                .get(topology)
                .and_then(|it| it.adds_to.as_ref());
            if let Some(base) = base {
                let base = ids(None, Some(base.get_ref()));
                assert!(base.iter().all(|id| chosen.contains(id)), "{topology}");
            }
            for role in policy.roles.keys() {
                let of_role = ids(Some(role), None);
                let both = ids(Some(role), Some(topology));
                assert!(
                    chosen.iter().filter(|id| of_role.contains(id)).eq(&both),
                    "{topology} {role}"
                );
            }
            seen.extend(chosen);
        }
        assert_eq!(seen.len(), all.len(), "a row holds in no topology");
    }
}
